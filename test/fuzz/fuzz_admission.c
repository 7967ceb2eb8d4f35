/*
 * Whatever is sent to the injector: a failure has a message and no answer; an answer is JSON with
 * a uid, refused with a message or allowed, and has a patch exactly where the outcome says so.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inject/inject.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct buf *answer, const struct inject_outcome *o)
{
	_cleanup_json_ struct json_object *root = NULL;
	struct json_limits limits = {1 << 24, 64};
	struct err e;

	if (json_parse(buf_str(answer), answer->len, limits, &root, &e) < 0)
		abort();
	struct json_object *r = json_path(root, "response", NULL);
	bool patched = json_get_str(r, "patch") != NULL;
	if (!json_get_str(r, "uid") || patched != (o->verdict == INJECT_PATCHED) ||
	    json_get_bool(r, "allowed", false) != (o->verdict != INJECT_REFUSED))
		abort();
	if (o->verdict == INJECT_REFUSED && !json_get_str(json_path(r, "status", NULL), "message"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inject_settings s = {
		.own_namespace = "own",
		.defaults = {.image = "agent",
			     .log_level = "info",
			     .readiness = "tunnel",
			     .port = "9586",
			     .tun = "true",
			     .memory_limit = "128Mi"},
	};
	_cleanup_buf_ struct buf answer = BUF_INIT(0);
	struct inject_outcome o;
	struct err e = {0};

	if (size > 0 && data[0] & 1) {
		s.mode = INJECT_MODE_CONTAINER;
		s.defaults.config = "all";
	}
	int r = inject_review(&s, (const char *)data, size, &answer, &o, &e);
	if (r < 0) {
		if (answer.len || !e.msg[0])
			abort();
		return 0;
	}
	check_answer(&answer, &o);
	return 0;
}
