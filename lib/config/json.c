/*
 * JSON documents: lib/json's objects as a tree of values, and wiped. json-c keeps no places, but
 * the order of members; so the tree is walked beside the text once more, which is known to be JSON
 * by then, and each value meets its own first character.
 */
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

/* --- places --- */

struct walk {
	const char *p, *end;
	struct cfg_pos pos;
};

static void step(struct walk *w)
{
	if (w->p == w->end)
		return;
	if (*w->p == '\n')
		w->pos = (struct cfg_pos){.line = w->pos.line + 1, .column = 1};
	else if (((unsigned char)*w->p & 0xC0) != 0x80)
		w->pos.column++;
	w->p++;
}

static bool is_at(const struct walk *w, const char *any_of)
{
	return w->p < w->end && *w->p && strchr(any_of, *w->p);
}

static void skip_space(struct walk *w)
{
	while (is_at(w, " \t\r\n"))
		step(w);
}

static void skip_string(struct walk *w)
{
	step(w);
	while (w->p < w->end && *w->p != '"') {
		if (*w->p == '\\')
			step(w);
		step(w);
	}
	step(w);
}

/* The comma or bracket behind a member, with the space around it. */
static void skip_mark(struct walk *w)
{
	skip_space(w);
	step(w);
	skip_space(w);
}

static void place(struct walk *w, struct cfg_value *v);

static void place_table(struct walk *w, struct cfg_value *v)
{
	skip_mark(w); /* { */
	for (size_t i = 0; i < v->n_entries; i++) {
		v->entries[i].key_pos = w->pos;
		skip_string(w);
		skip_mark(w); /* : */
		place(w, v->entries[i].value);
		skip_mark(w); /* , } */
	}
	if (!v->n_entries)
		step(w);
}

static void place_array(struct walk *w, struct cfg_value *v)
{
	skip_mark(w);
	for (size_t i = 0; i < v->n_items; i++) {
		place(w, v->items[i]);
		skip_mark(w);
	}
	if (!v->n_items)
		step(w);
}

/* Recursion is bounded as in convert. */
static void place(struct walk *w, struct cfg_value *v)
{
	skip_space(w);
	v->pos = w->pos;
	switch (v->type) {
	case CFG_TABLE: place_table(w, v); break;
	case CFG_ARRAY: place_array(w, v); break;
	case CFG_STRING: skip_string(w); break;
	default:
		while (w->p < w->end && !is_at(w, ",]} \t\r\n"))
			step(w);
	}
}

int cfg_json_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
		   struct err *e)
{
	/* The document itself does not count as a level here, and does there. */
	static const struct json_limits limits = {CFG_MAX_BYTES, CFG_MAX_DEPTH + 1};
	_cleanup_json_wiped_ struct json_object *o = NULL;
	struct json_place wrong = {1, 1};
	int r = json_parse_at(text, len, limits, &o, &wrong, e);

	if (r == 0 && !json_object_is_type(o, json_type_object))
		r = err_set(e, -EINVAL, "found a JSON %s, accepted: an object",
			    json_type_to_name(json_object_get_type(o)));
	if (r == -EINVAL || r == -E2BIG) {
		if (ret_pos)
			*ret_pos = (struct cfg_pos){.line = wrong.line, .column = wrong.column};
		err_prefix(e, "%u:%u", wrong.line, wrong.column);
		return r;
	}
	if (r == 0)
		r = convert(o, ret);
	if (r == 0)
		place(&(struct walk){text, text + len, {.line = 1, .column = 1}}, *ret);
	return r == -ENOMEM ? err_set(e, r, "out of memory") : r;
}
