/* Reading members by name, wiping, quoting. The parser is json_parse.c. */
#include "json/json.h"

#include <json-c/linkhash.h>
#include <string.h>

#include "base/str.h"

void json_put_wiped(struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_string: {
		/* json-c hands out its own bytes; const only guards the length it keeps. */
		char *s = (char *)(uintptr_t)json_object_get_string(o);

		mem_wipe(s, (size_t)json_object_get_string_len(o));
		break;
	}
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(o); i++) {
			struct json_object *item = json_object_array_get_idx(o, i);

			json_put_wiped(json_object_get(item));
		}
		break;
	case json_type_object: {
		json_object_object_foreach(o, key, value)
		{
			(void)key;
			json_put_wiped(json_object_get(value));
		}
		break;
	}
	default: break;
	}
	json_object_put(o);
}

struct json_object *json_get(struct json_object *o, const char *name, enum json_type type)
{
	struct json_object *value;

	if (!o || !json_object_object_get_ex(o, name, &value) || !value)
		return NULL;
	return json_object_is_type(value, type) ? value : NULL;
}

const char *json_get_str(struct json_object *o, const char *name)
{
	struct json_object *value = json_get(o, name, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

int64_t json_get_int(struct json_object *o, const char *name, int64_t other)
{
	struct json_object *value = json_get(o, name, json_type_int);

	return value ? json_object_get_int64(value) : other;
}

bool json_get_bool(struct json_object *o, const char *name, bool other)
{
	struct json_object *value = json_get(o, name, json_type_boolean);

	return value ? json_object_get_boolean(value) : other;
}

struct json_object *json_path(struct json_object *o, ...)
{
	const char *name;
	va_list ap;

	va_start(ap, o);
	while ((name = va_arg(ap, const char *)) && o) {
		struct json_object *value = NULL;

		json_object_object_get_ex(o, name, &value);
		o = value;
	}
	va_end(ap);
	return o;
}

void json_quote(struct buf *b, const char *s)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	size_t left = strlen(s);

	buf_addc(b, '"');
	for (size_t n; left; s += n, left -= n) {
		const char *hit = strchr(from, *s);

		n = str_utf8_len(s, left);
		if (n == 0) {
			buf_adds(b, "\xEF\xBF\xBD"); /* U+FFFD */
			n = 1;
		} else if (hit) {
			buf_addc(b, '\\');
			buf_addc(b, to[hit - from]);
		} else if ((unsigned char)*s < ' ') {
			buf_addf(b, "\\u%04x", *s);
		} else {
			buf_add(b, s, n);
		}
	}
	buf_addc(b, '"');
}
