/* JSON documents: lib/json's objects as a tree of values, and wiped. */
#include "config/json.h"

#include <errno.h>
#include <json-c/json_util.h>
#include <json-c/linkhash.h>
#include <string.h>

#include "json/json.h"

static const struct cfg_pos nowhere = {0};

static int convert(struct json_object *o, struct cfg_value **ret);

static int convert_array(struct json_object *o, struct cfg_value *array)
{
	for (size_t i = 0; i < json_object_array_length(o); i++) {
		struct cfg_value *item = NULL;
		int r = convert(json_object_array_get_idx(o, i), &item);

		if (r == 0)
			r = cfg_array_add(array, item);
		if (r < 0) {
			cfg_value_free(item);
			return r;
		}
	}
	return 0;
}

static int convert_object(struct json_object *o, struct cfg_value *table)
{
	json_object_object_foreach(o, name, member)
	{
		struct cfg_value *value = NULL;
		size_t len = strlen(name);
		char *key = mem_dup_str(name, len);
		int r = key ? convert(member, &value) : -ENOMEM;

		if (r == 0)
			r = cfg_table_add(table, key, len, nowhere, value);
		if (r < 0) {
			cfg_value_free(value);
			free(key);
			return r;
		}
	}
	return 0;
}

static enum cfg_type type_of(struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_boolean: return CFG_BOOL;
	case json_type_double: return CFG_FLOAT;
	case json_type_int: return CFG_INTEGER;
	case json_type_object: return CFG_TABLE;
	case json_type_array: return CFG_ARRAY;
	case json_type_string: return CFG_STRING;
	default: return CFG_NULL;
	}
}

/* Recursion is bounded by lib/json's depth. */
static int convert(struct json_object *o, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *v = cfg_value_new(type_of(o), nowhere);
	int r = 0;

	if (!v)
		return -ENOMEM;
	switch (v->type) {
	case CFG_BOOL: v->boolean = json_object_get_boolean(o); break;
	case CFG_FLOAT: v->number = json_object_get_double(o); break;
	case CFG_INTEGER: v->integer = json_object_get_int64(o); break;
	case CFG_TABLE: r = convert_object(o, v); break;
	case CFG_ARRAY: r = convert_array(o, v); break;
	case CFG_STRING:
		v->len = (size_t)json_object_get_string_len(o);
		v->str = mem_dup_str(json_object_get_string(o), v->len);
		r = v->str ? 0 : -ENOMEM;
		break;
	default: break;
	}
	if (r == 0)
		*ret = mem_steal(&v);
	return r;
}

int cfg_json_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
		   struct err *e)
{
	/* The document itself does not count as a level here, and does there. */
	static const struct json_limits limits = {CFG_MAX_BYTES, CFG_MAX_DEPTH + 1};
	_cleanup_json_wiped_ struct json_object *o = NULL;
	struct json_place place = {1, 1};
	int r = json_parse_at(text, len, limits, &o, &place, e);

	if (r == 0 && !json_object_is_type(o, json_type_object))
		r = err_set(e, -EINVAL, "found a JSON %s, accepted: an object",
			    json_type_to_name(json_object_get_type(o)));
	if (r == -EINVAL || r == -E2BIG) {
		if (ret_pos)
			*ret_pos = (struct cfg_pos){.line = place.line, .column = place.column};
		err_prefix(e, "%u:%u", place.line, place.column);
		return r;
	}
	if (r == 0)
		r = convert(o, ret);
	return r == -ENOMEM ? err_set(e, r, "out of memory") : r;
}
