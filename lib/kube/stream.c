/*
 * A watch's answer is one JSON object a line: {"type":"ADDED","object":{…}} (API concepts,
 * "Efficient detection of changes"). Bytes come in pieces of any size; a line is parsed when it
 * is whole, and its bytes are wiped when it was taken out.
 */
#include "kube/stream.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

/* Room beyond the longest line, so that a pause (-EAGAIN) is rare. */
#define SLACK ((size_t)256 << 10)
/* Most objects fit, so that growth does not leave copies of a Secret behind. */
#define RESERVE ((size_t)64 << 10)

void kube_stream_init(struct kube_stream *s, size_t max_line)
{
	*s = (struct kube_stream){.max_line = max_line};
}

void kube_stream_reset(struct kube_stream *s)
{
	buf_wipe(&s->in);
	kube_stream_init(s, s->max_line);
}

static char *find_newline(const struct kube_stream *s)
{
	return s->in.len > s->scanned
		       ? memchr(s->in.data + s->scanned, '\n', s->in.len - s->scanned)
		       : NULL;
}

int kube_stream_add(struct kube_stream *s, const char *data, size_t len)
{
	if (!s->in.data && buf_reserve(&s->in, RESERVE) < 0)
		return s->in.error;
	if (s->in.len + len > s->max_line + SLACK)
		return find_newline(s) ? -EAGAIN : -E2BIG;
	buf_add(&s->in, data, len);
	return buf_error(&s->in);
}

static int read_line(const char *line, size_t len, struct kube_line *ret, struct err *e)
{
	static const struct {
		const char *name;
		enum kube_line_type type;
	} types[] = {
		{"ADDED", KUBE_LINE_OBJECT},    {"MODIFIED", KUBE_LINE_OBJECT},
		{"DELETED", KUBE_LINE_DELETED}, {"BOOKMARK", KUBE_LINE_BOOKMARK},
		{"ERROR", KUBE_LINE_ERROR},
	};
	const struct json_limits limits = {KUBE_MAX_BYTES, KUBE_MAX_DEPTH};
	struct json_object *o = NULL;

	if (json_parse(line, len, limits, &o, e) < 0)
		return -EINVAL;
	const char *type = json_get_str(o, "type");
	struct json_object *object = json_get(o, "object", json_type_object);
	if (!type || !object) {
		kube_object_wipe(o);
		json_object_put(o);
		return err_set(e, -EINVAL, "a watch event without type or object");
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (str_eq(type, types[i].name)) {
			*ret = (struct kube_line){types[i].type, o, object};
			return 1;
		}
	}
	err_set(e, -EINVAL,
		"a watch event of type \"%.40s\"; known: ADDED, MODIFIED, DELETED, "
		"BOOKMARK, ERROR",
		type);
	kube_object_wipe(object);
	json_object_put(o);
	return -EINVAL;
}

/* Removes the first n bytes, wiping what they leave behind. */
static void take(struct kube_stream *s, size_t n)
{
	size_t before = s->in.len;

	buf_consume(&s->in, n);
	mem_wipe(s->in.data + s->in.len, before - s->in.len);
	s->scanned = 0;
}

int kube_stream_next(struct kube_stream *s, struct kube_line *ret, struct err *e)
{
	for (;;) {
		char *nl = find_newline(s);
		size_t len = nl ? (size_t)(nl - s->in.data) : s->in.len;

		if (len > s->max_line)
			return err_set(e, -EINVAL, "a line of more than %zu bytes", s->max_line);
		if (!nl) {
			s->scanned = s->in.len;
			return 0;
		}
		if (len == 0 || (len == 1 && s->in.data[0] == '\r')) {
			take(s, len + 1);
			continue;
		}
		int r = read_line(s->in.data, len, ret, e);
		take(s, len + 1);
		return r;
	}
}
