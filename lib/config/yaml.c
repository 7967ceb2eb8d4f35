/*
 * YAML from libyaml's events, not from its document loader: what is refused (anchors, aliases,
 * tags, merge keys, keys that are not strings, further documents) is refused as it is met, with
 * its place, and nothing is ever expanded.
 *
 *     stream  = STREAM-START document? STREAM-END
 *     value   = SCALAR | SEQUENCE-START value* SEQUENCE-END
 *                      | MAPPING-START (SCALAR value)* MAPPING-END
 *
 * Plain scalars are typed here by the core schema of YAML 1.2 (section 10.3.2). Scalars are wiped
 * in the events; libyaml's own buffers, through which the text passes, cannot be.
 */
#include "config/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/str.h"
#include "config/value_priv.h"

struct reader {
	yaml_parser_t parser;
	const char *text;
	size_t len;
	bool is_ascii;
	struct cfg_index index;
	size_t n_values;
	struct cfg_pos *ret_pos;
	struct err *e;
};

static int read_value(struct reader *y, yaml_event_t *event, unsigned depth,
		      struct cfg_value **ret);

static void event_clear(yaml_event_t *event)
{
	if (event->type == YAML_SCALAR_EVENT)
		mem_wipe(event->data.scalar.value, event->data.scalar.length);
	yaml_event_delete(event);
}
#define _cleanup_event_ _cleanup_(event_clear)

/*
 * Places and errors.
 */

/* libyaml counts characters: its index is an offset in bytes where the text is ASCII. Otherwise
 * the offset is not told (0). */
static struct cfg_pos pos_of(const struct reader *y, yaml_mark_t mark)
{
	return (struct cfg_pos){.line = (unsigned)mark.line + 1,
				.column = (unsigned)mark.column + 1,
				.offset = y->is_ascii ? (unsigned)mark.index : 0};
}

static int fail_pos(struct reader *y, struct cfg_pos pos, int code, const char *message)
{
	if (y->ret_pos)
		*y->ret_pos = pos;
	err_set(y->e, code, "%u:%u: %s", pos.line, pos.column, message);
	return code;
}

static int fail(struct reader *y, yaml_mark_t mark, const char *message)
{
	return fail_pos(y, pos_of(y, mark), -EINVAL, message);
}

static int fail_memory(struct reader *y)
{
	err_set(y->e, -ENOMEM, "out of memory");
	return -ENOMEM;
}

/* libyaml could not decode the bytes; it knows the byte and not the line. */
static int fail_bytes(struct reader *y)
{
	struct cfg_pos pos = {.line = 1, .column = 1};
	size_t at = y->parser.problem_offset < y->len ? y->parser.problem_offset : y->len;
	char message[128];

	for (size_t i = 0; i < at; i++) {
		if (y->text[i] == '\n')
			pos = (struct cfg_pos){.line = pos.line + 1, .column = 1};
		else if (((unsigned char)y->text[i] & 0xC0) != 0x80)
			pos.column++;
	}
	snprintf(message, sizeof(message),
		 "%s (0x%02X), accepted: UTF-8 without control characters", y->parser.problem,
		 (unsigned)y->parser.problem_value);
	return fail_pos(y, pos, -EINVAL, message);
}

/* Whether the character at the mark is a tab, of which libyaml says no more than that it "cannot
 * start any token". */
static bool is_tab(const struct reader *y, yaml_mark_t mark)
{
	const char *s = y->text, *end = s + y->len;

	for (size_t i = 0; i < mark.index && s < end; i++) {
		size_t n = str_utf8_len(s, (size_t)(end - s));

		s += n ? n : 1;
	}
	return s < end && *s == '\t';
}

static int fail_libyaml(struct reader *y)
{
	yaml_parser_t *p = &y->parser;
	char message[256];

	if (p->error == YAML_MEMORY_ERROR)
		return fail_memory(y);
	if (p->error == YAML_READER_ERROR)
		return fail_bytes(y);
	if (is_tab(y, p->problem_mark))
		return fail(y, p->problem_mark, "found a tab, accepted: spaces for indentation");
	snprintf(message, sizeof(message), "%s%s%s%s", p->problem ? p->problem : "malformed YAML",
		 p->context ? " (" : "", p->context ? p->context : "", p->context ? ")" : "");
	return fail(y, p->problem_mark, message);
}

static int next_event(struct reader *y, yaml_event_t *ret)
{
	yaml_event_t event;

	if (!yaml_parser_parse(&y->parser, &event))
		return fail_libyaml(y);
	*ret = event;
	return 0;
}

static int new_value(struct reader *y, enum cfg_type type, yaml_mark_t mark, struct cfg_value **ret)
{
	struct cfg_value *v;

	if (++y->n_values > CFG_MAX_VALUES)
		return fail_pos(y, pos_of(y, mark), -E2BIG, "more than 1048576 values");
	v = cfg_value_new(type, pos_of(y, mark));
	if (!v)
		return fail_memory(y);
	*ret = v;
	return 0;
}

/*
 * Plain scalars.
 */

static bool is_one_of(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (str_eq(s, *words))
			return true;
	return false;
}

static const char *skip_digits(const char *s)
{
	while (*s >= '0' && *s <= '9')
		s++;
	return s;
}

/* [-+]? [0-9]+, or 0o[0-7]+, or 0x[0-9a-fA-F]+. 0, -ERANGE, or -EINVAL: it is none. */
static int to_integer(const char *s, int64_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	bool negative = *s == '-';
	int base = 10;
	int64_t v = 0;

	if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x')) {
		base = s[1] == 'o' ? 8 : 16;
		s += 2;
	} else if (*s == '-' || *s == '+') {
		s++;
	}
	if (!*s)
		return -EINVAL;
	bool overflow = false;
	for (; *s; s++) {
		char c = *s >= 'A' && *s <= 'F' ? (char)(*s | 0x20) : *s;
		const char *hit = memchr(digits, c, (size_t)base);

		if (!hit)
			return -EINVAL;
		int digit = (int)(hit - digits);
		overflow = overflow || __builtin_mul_overflow(v, base, &v) ||
			   __builtin_add_overflow(v, negative ? -digit : digit, &v);
	}
	if (overflow)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* [-+]? ( \.[0-9]+ | [0-9]+ (\.[0-9]*)? ) ([eE] [-+]? [0-9]+)?, or an infinity, or not a number. */
static int to_float(const char *s, double *ret)
{
	static const char *const nan_words[] = {".nan", ".NaN", ".NAN", NULL};
	static const char *const inf_words[] = {".inf", ".Inf", ".INF", NULL};
	const char *begin = s, *digits;

	if (is_one_of(s, nan_words)) {
		*ret = NAN;
		return 0;
	}
	s += *s == '-' || *s == '+';
	if (is_one_of(s, inf_words)) {
		*ret = *begin == '-' ? -INFINITY : INFINITY;
		return 0;
	}
	digits = s;
	s = skip_digits(s);
	bool whole = s > digits;
	if (*s == '.') {
		digits = ++s;
		s = skip_digits(s);
	}
	if (!whole && s == digits)
		return -EINVAL;
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '-' || *s == '+';
		digits = s;
		s = skip_digits(s);
		if (s == digits)
			return -EINVAL;
	}
	if (*s)
		return -EINVAL;
	/* The program runs in the "C" locale, where the decimal point is a point. */
	double d = strtod(begin, NULL);
	if (!isfinite(d))
		return -ERANGE;
	*ret = d;
	return 0;
}

/* The type of a scalar, and its value where it is none that keeps a text. 0 or -ERANGE. */
static int resolve(const yaml_event_t *event, struct cfg_value *ret)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const trues[] = {"true", "True", "TRUE", NULL};
	static const char *const falses[] = {"false", "False", "FALSE", NULL};
	const char *s = (const char *)event->data.scalar.value;
	int r;

	ret->type = CFG_STRING;
	if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
	    event->data.scalar.length != strlen(s))
		return 0;
	if (is_one_of(s, nulls)) {
		ret->type = CFG_NULL;
		return 0;
	}
	ret->boolean = is_one_of(s, trues);
	if (ret->boolean || is_one_of(s, falses)) {
		ret->type = CFG_BOOL;
		return 0;
	}
	r = to_integer(s, &ret->integer);
	if (r != -EINVAL) {
		ret->type = CFG_INTEGER;
		return r;
	}
	r = to_float(s, &ret->number);
	if (r != -EINVAL) {
		ret->type = CFG_FLOAT;
		return r;
	}
	return 0;
}

/*
 * Values.
 */

static int refuse_properties(struct reader *y, const yaml_event_t *event)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return fail(y, event->start_mark, "found an alias (*), accepted: the value itself");
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default: break;
	}
	if (anchor)
		return fail(y, event->start_mark, "found an anchor (&), accepted: the value alone");
	if (tag)
		return fail(y, event->start_mark, "found a tag (!), accepted: the value alone");
	return 0;
}

/* A copy of the scalar's text; NUL is refused. */
static int copy_text(struct reader *y, const yaml_event_t *event, char **ret)
{
	const char *s = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	char *copy;

	if (memchr(s, '\0', len))
		return fail(y, event->start_mark, "found U+0000 in a string, accepted: any other");
	copy = mem_dup_str(s, len);
	if (!copy)
		return fail_memory(y);
	*ret = copy;
	return 0;
}

static int read_scalar(struct reader *y, const yaml_event_t *event, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	struct cfg_value resolved = {0};
	int r;

	if (resolve(event, &resolved) < 0)
		return fail(
			y, event->start_mark,
			"number out of range, accepted: integers of 64 bits, floats of 64 bits, "
			"or quotes around a string");
	r = new_value(y, resolved.type, event->start_mark, &v);
	if (r < 0)
		return r;
	if (v->type == CFG_STRING) {
		v->len = event->data.scalar.length;
		r = copy_text(y, event, &v->str);
		if (r < 0)
			return r;
	} else if (v->type == CFG_INTEGER) {
		v->integer = resolved.integer;
	} else if (v->type == CFG_FLOAT) {
		v->number = resolved.number;
	} else {
		v->boolean = resolved.boolean;
	}
	*ret = mem_steal(&v);
	return 0;
}

static int read_sequence(struct reader *y, yaml_mark_t mark, unsigned depth, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *array = NULL;
	int r = new_value(y, CFG_ARRAY, mark, &array);

	if (r < 0)
		return r;
	for (;;) {
		_cleanup_event_ yaml_event_t event = {0};
		_cleanup_cfg_value_ struct cfg_value *item = NULL;

		r = next_event(y, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT)
			break;
		r = read_value(y, &event, depth, &item);
		if (r < 0)
			return r;
		if (cfg_array_add(array, item) < 0)
			return fail_memory(y);
		item = NULL;
	}
	*ret = mem_steal(&array);
	return 0;
}

/* Whether the event is a key that the table can have: a string, and not there yet. */
static int check_key(struct reader *y, const yaml_event_t *event, const struct cfg_value *table)
{
	struct cfg_value resolved = {0};
	const struct cfg_entry *known;
	char shown[STR_SHOW_LEN], message[256];
	int r = refuse_properties(y, event);

	if (r < 0)
		return r;
	if (event->type != YAML_SCALAR_EVENT)
		return fail(y, event->start_mark,
			    "found a sequence or mapping as a key, accepted: a string");

	const char *key = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	resolve(event, &resolved);
	if (resolved.type != CFG_STRING) {
		snprintf(message, sizeof(message),
			 "found a key of type %s, accepted: a string (put it in quotes)",
			 cfg_type_name(resolved.type));
		return fail(y, event->start_mark, message);
	}
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && str_eq(key, "<<"))
		return fail(y, event->start_mark, "found a merge key (<<), accepted: the keys");
	known = cfg_index_find(&y->index, table, key, len);
	if (known) {
		snprintf(message, sizeof(message),
			 "found \"%s\" again, first at %u:%u, accepted: each key once",
			 str_show(key, len, shown), known->key_pos.line, known->key_pos.column);
		return fail(y, event->start_mark, message);
	}
	return 0;
}

/* One key, whose event is given, and its value. */
static int read_pair(struct reader *y, const yaml_event_t *key_event, unsigned depth,
		     struct cfg_value *table)
{
	_cleanup_event_ yaml_event_t event = {0};
	_cleanup_cfg_value_ struct cfg_value *value = NULL;
	_cleanup_free_ char *key = NULL;
	int r;

	r = check_key(y, key_event, table);
	if (r < 0)
		return r;
	r = copy_text(y, key_event, &key);
	if (r < 0)
		return r;
	r = next_event(y, &event);
	if (r < 0)
		return r;
	r = read_value(y, &event, depth, &value);
	if (r < 0)
		return r;
	if (cfg_index_add(&y->index, table, key, key_event->data.scalar.length,
			  pos_of(y, key_event->start_mark), value) < 0)
		return fail_memory(y);
	key = NULL;
	value = NULL;
	return 0;
}

static int read_mapping(struct reader *y, yaml_mark_t mark, unsigned depth, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *table = NULL;
	int r = new_value(y, CFG_TABLE, mark, &table);

	if (r < 0)
		return r;
	for (;;) {
		_cleanup_event_ yaml_event_t event = {0};

		r = next_event(y, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_MAPPING_END_EVENT)
			break;
		r = read_pair(y, &event, depth, table);
		if (r < 0)
			return r;
	}
	*ret = mem_steal(&table);
	return 0;
}

/* `depth` is that of the table or array that the value stands in. */
static int read_value(struct reader *y, yaml_event_t *event, unsigned depth, struct cfg_value **ret)
{
	int r = refuse_properties(y, event);

	if (r < 0)
		return r;
	if (event->type == YAML_SCALAR_EVENT)
		return read_scalar(y, event, ret);
	if (++depth > CFG_MAX_DEPTH)
		return fail_pos(y, pos_of(y, event->start_mark), -E2BIG,
				"nested deeper than 64 levels");
	return event->type == YAML_SEQUENCE_START_EVENT
		       ? read_sequence(y, event->start_mark, depth, ret)
		       : read_mapping(y, event->start_mark, depth, ret);
}

/*
 * The stream.
 */

/* The root of the document: a mapping, or nothing at all. */
static int read_root(struct reader *y, struct cfg_value **ret)
{
	_cleanup_event_ yaml_event_t event = {0};
	struct cfg_value resolved = {0};
	int r = next_event(y, &event);

	if (r == 0)
		r = refuse_properties(y, &event);
	if (r < 0)
		return r;
	if (event.type == YAML_MAPPING_START_EVENT)
		return read_mapping(y, event.start_mark, 0, ret);
	if (event.type == YAML_SCALAR_EVENT && resolve(&event, &resolved) == 0 &&
	    resolved.type == CFG_NULL)
		return new_value(y, CFG_TABLE, event.start_mark, ret);
	return fail(y, event.start_mark,
		    event.type == YAML_SCALAR_EVENT
			    ? "found a scalar, accepted: a mapping (key: value)"
			    : "found a sequence, accepted: a mapping (key: value)");
}

/* STREAM-START (DOCUMENT-START root DOCUMENT-END)? STREAM-END. */
static int read_document(struct reader *y, struct cfg_value **ret)
{
	_cleanup_event_ yaml_event_t start = {0}, document = {0}, end = {0}, last = {0};
	int r = next_event(y, &start);

	if (r == 0)
		r = next_event(y, &document);
	if (r < 0)
		return r;
	if (document.type == YAML_STREAM_END_EVENT)
		return new_value(y, CFG_TABLE, document.start_mark, ret);
	if (document.data.document_start.tag_directives.start !=
	    document.data.document_start.tag_directives.end)
		return fail(y, document.start_mark, "found a %TAG directive, accepted: none");
	r = read_root(y, ret);
	if (r == 0)
		r = next_event(y, &end);
	if (r == 0)
		r = next_event(y, &last);
	if (r < 0)
		return r;
	if (last.type != YAML_STREAM_END_EVENT)
		return fail(y, last.start_mark, "found a second document, accepted: one");
	return 0;
}

static bool is_ascii(const char *text, size_t len)
{
	unsigned char all = 0;

	for (size_t i = 0; i < len; i++)
		all |= (unsigned char)text[i];
	return all < 0x80;
}

int yaml_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
	       struct err *e)
{
	static const char bom[] = "\xEF\xBB\xBF";
	_cleanup_cfg_value_ struct cfg_value *root = NULL;
	int r;

	if (len >= 3 && memcmp(text, bom, 3) == 0) {
		text += 3;
		len -= 3;
	}
	struct reader y = {.text = text,
			   .len = len,
			   .is_ascii = is_ascii(text, len),
			   .ret_pos = ret_pos,
			   .e = e};
	if (len > CFG_MAX_BYTES) {
		char message[96];

		snprintf(message, sizeof(message), "%zu bytes, at most %zu are accepted", len,
			 CFG_MAX_BYTES);
		return fail_pos(&y, (struct cfg_pos){.line = 1, .column = 1}, -E2BIG, message);
	}
	if (!yaml_parser_initialize(&y.parser))
		return fail_memory(&y);
	/* Said, not guessed: libyaml would take UTF-16 by its byte order mark. */
	yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, len);
	r = read_document(&y, &root);
	cfg_index_free(&y.index);
	yaml_parser_delete(&y.parser);
	if (r == 0)
		*ret = mem_steal(&root);
	return r;
}
