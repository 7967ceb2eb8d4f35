/*
 * Control messages: any line must give exactly one line that is valid JSON, and says success or
 * carries an error of a known type.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/control_priv.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_status(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	if (network)
		return err_set(e, -ENOENT, "no network \"%s\"", network);
	*ret = json_object_new_object();
	return 0;
}

static int on_reload(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	return network ? err_set(e, -(int)strlen(network) - 1, "%s", network) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_ops ops = {.status = on_status, .reload = on_reload};
	_cleanup_buf_ struct buf out = BUF_INIT(CONTROL_ANSWER_MAX);
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_limits limits = {CONTROL_ANSWER_MAX, 64};

	control_answer(&ops, NULL, (const char *)data, size, &out);
	if (buf_error(&out) < 0 || out.len == 0 || out.data[out.len - 1] != '\n' ||
	    memchr(out.data, '\n', out.len - 1) ||
	    json_parse(out.data, out.len, limits, &answer, NULL) < 0)
		abort();
	if (json_get_bool(answer, "success", false) ? !json_get(answer, "data", json_type_object)
						    : !json_path(answer, "error", "message", NULL))
		abort();
	return 0;
}
