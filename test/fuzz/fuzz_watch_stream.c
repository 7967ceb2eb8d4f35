/*
 * A watch's bytes: cut into lines, lines into events, events into the reflector's inputs; then
 * what an object holds. The first byte says how large the pieces are.
 */
#include <string.h>

#include "kube/kube_priv.h"
#include "kube/reflector.h"
#include "kube/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t no_random(void *arg)
{
	return 0;
}

static int use_entry(void *arg, const char *key, const char *bytes, size_t len, struct err *e)
{
	return bytes[len] == '\0' && kube_key_is_document(key) ? -1 : 0;
}

static void step(struct kube_reflector *r, struct mono *now, const struct kube_reflector_input *in)
{
	struct kube_reflector_command c = kube_reflector_step(r, *now, in);

	*now = mono_add(*now, NS_PER_SEC);
	if (c.action == KUBE_REFLECTOR_DO_WAIT) {
		const struct kube_reflector_input timer = {.type = KUBE_REFLECTOR_TIMER};

		*now = r->deadline;
		kube_reflector_step(r, *now, &timer);
	}
}

static void use_line(const struct kube_line *line, struct kube_reflector *r, struct mono *now)
{
	static const struct kube_reflector_input listed = {.type = KUBE_REFLECTOR_LISTED,
							   .rv = "1"};
	static const struct kube_reflector_input opened = {.type = KUBE_REFLECTOR_OPENED};
	struct kube_status s = {0};
	struct kube_meta m;
	struct kube_reflector_input in = {.type = line->type == KUBE_LINE_BOOKMARK
							  ? KUBE_REFLECTOR_BOOKMARK
							  : KUBE_REFLECTOR_OBJECT};

	kube_object_meta(line->object, &m);
	in.rv = m.resource_version;
	if (line->type == KUBE_LINE_ERROR && kube_status_from_object(line->object, &s))
		in = (struct kube_reflector_input){.type = KUBE_REFLECTOR_FAILED,
						   .failure = KUBE_FAILURE_HTTP,
						   .http = s.http,
						   .rv_too_large = s.rv_too_large,
						   .retry_after = s.retry_after};
	step(r, now, &in);
	step(r, now, &listed);
	step(r, now, &opened);
	kube_object_each(KUBE_SECRET, line->object, use_entry, NULL, NULL);
	kube_object_each(KUBE_CONFIGMAP, line->object, use_entry, NULL, NULL);
	kube_object_wipe(line->object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kube_reflector_input start = {.type = KUBE_REFLECTOR_START};
	struct kube_reflector r;
	struct kube_stream s;
	struct kube_line line;
	struct mono now = {0};
	struct err e;

	if (size == 0)
		return 0;
	size_t piece = data[0] ? data[0] : 4096;
	kube_reflector_init(&r, no_random, NULL);
	step(&r, &now, &start);
	kube_stream_init(&s, 2048);
	for (size_t at = 1; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		int got;

		if (kube_stream_add(&s, (const char *)data + at, n) < 0)
			break;
		while ((got = kube_stream_next(&s, &line, &e)) > 0) {
			use_line(&line, &r, &now);
			json_object_put(line.event);
		}
		if (got < 0)
			break;
	}
	kube_stream_reset(&s);
	return 0;
}
