/*
 * Messages and answers, apart from how they travel.
 *
 * A message is an object with "action" and, if the client likes, "id" (echoed) and "network".
 * What else it holds is ignored, so that a client may send what a later agent understands; an
 * action that we do not know is not. Answers are put together as text around the one part that is
 * an object of the agent's, its data.
 */
#include "control/control_priv.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "json/json.h"

static const struct {
	int code;
	const char *type;
	int status;
} errors[] = {
	/* The first one of a type is what its name is turned back into. */
	{-ENOENT, "network_not_found", 404}, {-EINVAL, "config_error", 422},
	{-EBUSY, "invalid_state", 409},      {-EALREADY, "invalid_state", 409},
	{-EPERM, "permission_denied", 403},  {-EACCES, "permission_denied", 403},
	{-ENODEV, "platform_error", 500},    {-EOPNOTSUPP, "platform_error", 500},
	{-EBADMSG, "parse_error", 400},      {-EIO, "internal_error", 500},
};

const char *control_error_type(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		if (errors[i].code == code)
			return errors[i].type;
	return "internal_error";
}

int control_error_code(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		if (str_eq(errors[i].type, type))
			return errors[i].code;
	return -EIO;
}

int control_error_status(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		if (errors[i].code == code)
			return errors[i].status;
	return 500;
}

void control_put_error(struct buf *out, const char *type, const char *msg)
{
	buf_adds(out, "{\"error\":{\"type\":");
	json_quote(out, type);
	buf_adds(out, ",\"message\":");
	json_quote(out, msg);
	buf_adds(out, "}}");
}

static void put_json(struct buf *out, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (text)
		buf_adds(out, text);
	else
		out->error = -ENOMEM;
}

/* `id`: a string or a number, or NULL. */
static void put_head(struct buf *out, struct json_object *id, bool success)
{
	buf_adds(out, "{\"id\":");
	if (id)
		put_json(out, id);
	else
		buf_adds(out, "null");
	buf_adds(out, success ? ",\"success\":true,\"data\":" : ",\"success\":false,\"error\":");
}

static void put_failure(struct buf *out, struct json_object *id, const char *type, const char *msg)
{
	put_head(out, id, false);
	buf_adds(out, "{\"type\":");
	json_quote(out, type);
	buf_adds(out, ",\"message\":");
	json_quote(out, msg);
	buf_adds(out, "}}\n");
}

void control_answer_error(struct buf *out, const char *type, const char *msg)
{
	put_failure(out, NULL, type, msg);
}

/* -EBADMSG for an action that does not exist. */
static int perform(const struct control_ops *ops, void *arg, const char *action,
		   const char *network, struct json_object **ret, struct buf *why, struct err *e)
{
	if (str_eq(action, "status"))
		return ops->status(arg, network, ret, why, e);
	if (str_eq(action, "reload"))
		return ops->reload(arg, network, ret, why, e);
	return err_set(e, -EBADMSG, "unknown action \"%s\"; accepted: status, reload", action);
}

/* Why an action failed, whole where that is known. */
static const char *message_of(const struct buf *why, const struct err *e)
{
	return why->len && buf_error(why) == 0 ? buf_str(why) : e->msg;
}

/* Where `out` cannot take the whole of an answer, what was begun is taken back. */
static bool take_back(struct buf *out, size_t len)
{
	if (buf_error(out) == 0)
		return false;
	out->error = 0;
	out->len = len;
	if (out->data)
		out->data[len] = '\0';
	return true;
}

static void put_data(struct buf *out, struct json_object *data)
{
	if (data)
		put_json(out, data);
	else
		buf_adds(out, "{}");
}

/* What is wrong with the message, or NULL. Members of a wrong type are errors, not absent. */
static const char *check_message(struct json_object *o)
{
	struct json_object *m = NULL;

	if (json_object_get_type(o) != json_type_object)
		return "a message is a JSON object";
	if (json_object_object_get_ex(o, "id", &m) && m &&
	    json_object_get_type(m) != json_type_string && json_object_get_type(m) != json_type_int)
		return "\"id\" must be a string or an integer";
	if (!json_get_str(o, "action"))
		return "\"action\" must be a string; accepted: status, reload";
	if (json_object_object_get_ex(o, "network", &m) && m &&
	    json_object_get_type(m) != json_type_string)
		return "\"network\" must be a string";
	return NULL;
}

static struct json_object *message_id(struct json_object *o)
{
	struct json_object *id = json_get(o, "id", json_type_string);

	return id ? id : json_get(o, "id", json_type_int);
}

void control_answer(const struct control_ops *ops, void *arg, const char *text, size_t len,
		    struct buf *out)
{
	_cleanup_json_ struct json_object *msg = NULL, *data = NULL;
	_cleanup_buf_ struct buf why = BUF_INIT(CONTROL_WHY_MAX);
	struct json_limits limits = {CONTROL_MESSAGE_MAX, CONTROL_DEPTH_MAX};
	size_t before = out->len;
	struct err e = {0};

	if (json_parse(text, len, limits, &msg, &e) < 0) {
		control_answer_error(out, "parse_error", e.msg);
		return;
	}

	const char *wrong = check_message(msg);
	struct json_object *id =
		json_object_is_type(msg, json_type_object) ? message_id(msg) : NULL;
	if (wrong) {
		put_failure(out, id, "parse_error", wrong);
		return;
	}
	int r = perform(ops, arg, json_get_str(msg, "action"), json_get_str(msg, "network"), &data,
			&why, &e);
	if (r < 0) {
		put_failure(out, id, control_error_type(r), message_of(&why, &e));
		return;
	}
	put_head(out, id, true);
	put_data(out, data);
	buf_adds(out, "}\n");
	if (take_back(out, before))
		put_failure(out, id, "serialization_error", "the answer is too large");
}

int control_answer_http(const struct control_ops *ops, void *arg, const char *action,
			const char *network, struct buf *out)
{
	_cleanup_json_ struct json_object *data = NULL;
	_cleanup_buf_ struct buf why = BUF_INIT(CONTROL_WHY_MAX);
	size_t before = out->len;
	struct err e = {0};
	int r = perform(ops, arg, action, network, &data, &why, &e);

	if (r < 0) {
		control_put_error(out, control_error_type(r), message_of(&why, &e));
		return control_error_status(r);
	}
	put_data(out, data);
	if (!take_back(out, before))
		return 200;
	control_put_error(out, "serialization_error", "the answer is too large");
	return 500;
}
