/* Values: which kind begins at the cursor, arrays, inline tables, booleans. */
#include <errno.h>
#include <string.h>

#include "config/toml_priv.h"

#define ACCEPTED                                                                                   \
	"a value: \"string\", number, true, false, date, [array] or {table} (a string needs "      \
	"quotes)"

static int too_deep(struct toml *t)
{
	return toml_fail(t, t->p, -E2BIG, "nested deeper than %d levels", CFG_MAX_DEPTH);
}

/* Line ends, comments and a comma behind the last value are accepted in an array. */
static int read_array(struct toml *t, unsigned depth, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *array = NULL;
	int r;

	if (depth > CFG_MAX_DEPTH)
		return too_deep(t);
	r = toml_new_value(t, CFG_ARRAY, toml_pos(t, t->p), &array);
	if (r < 0)
		return r;
	t->p++;
	for (;;) {
		_cleanup_cfg_value_ struct cfg_value *item = NULL;

		toml_skip_lines(t);
		if (toml_at(t, ']'))
			break;
		r = toml_value(t, depth, &item);
		if (r < 0)
			return r;
		if (cfg_array_add(array, item) < 0)
			return toml_fail_memory(t);
		item = NULL;
		toml_skip_lines(t);
		if (toml_at(t, ']'))
			break;
		if (!toml_at(t, ','))
			return toml_fail_found(t, "',' or ']'");
		t->p++;
	}
	t->p++;
	*ret = mem_steal(&array);
	return 0;
}

/* All on one line, no comma behind the last value. */
static int read_inline_table(struct toml *t, unsigned depth, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *table = NULL;
	int r;

	if (depth > CFG_MAX_DEPTH)
		return too_deep(t);
	r = toml_new_value(t, CFG_TABLE, toml_pos(t, t->p), &table);
	if (r < 0)
		return r;
	t->p++;
	toml_skip_blank(t);
	for (bool first = true; !toml_at(t, '}'); first = false) {
		if (!first) {
			if (!toml_at(t, ','))
				return toml_fail_found(t, "',' or '}' on the same line");
			t->p++;
			toml_skip_blank(t);
		}
		r = toml_key_value(t, table, depth);
		if (r < 0)
			return r;
		toml_skip_blank(t);
	}
	t->p++;
	*ret = mem_steal(&table);
	return 0;
}

static int read_string(struct toml *t, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	int r = toml_new_value(t, CFG_STRING, toml_pos(t, t->p), &v);

	if (r < 0)
		return r;
	r = toml_string(t, true, &v->str, &v->len);
	if (r < 0)
		return r;
	*ret = mem_steal(&v);
	return 0;
}

static int read_bool(struct toml *t, bool b, struct cfg_value **ret)
{
	int r = toml_new_value(t, CFG_BOOL, toml_pos(t, t->p), ret);

	if (r == 0)
		(*ret)->boolean = b;
	return r;
}

/* The end of the word at the cursor: a number, true, false, or a text that lacks its quotes. */
static const char *word_end(const struct toml *t)
{
	const char *s = t->p;

	while (s < t->end && ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
			      (*s >= 'A' && *s <= 'Z') || (*s && strchr("_+-.", *s))))
		s++;
	return s;
}

static bool is_number_like(const char *s, size_t n)
{
	return (*s >= '0' && *s <= '9') || *s == '+' || *s == '-' || *s == '.' ||
	       (n == 3 && (memcmp(s, "inf", 3) == 0 || memcmp(s, "nan", 3) == 0));
}

static int read_word(struct toml *t, struct cfg_value **ret)
{
	const char *end = word_end(t);
	size_t n = (size_t)(end - t->p);
	int r;

	if (n == 0)
		return toml_fail_found(t, ACCEPTED);
	if (n == 4 && memcmp(t->p, "true", n) == 0)
		r = read_bool(t, true, ret);
	else if (n == 5 && memcmp(t->p, "false", n) == 0)
		r = read_bool(t, false, ret);
	else if (is_number_like(t->p, n))
		r = toml_number(t, end, ret);
	else
		/* The text is not shown: it may be a key whose quotes were forgotten. */
		return toml_fail(t, t->p, -EINVAL,
				 "found text without quotes, accepted: " ACCEPTED);
	if (r == 0)
		t->p = end;
	return r;
}

int toml_value(struct toml *t, unsigned depth, struct cfg_value **ret)
{
	if (toml_at(t, '"') || toml_at(t, '\''))
		return read_string(t, ret);
	if (toml_at(t, '['))
		return read_array(t, depth + 1, ret);
	if (toml_at(t, '{'))
		return read_inline_table(t, depth + 1, ret);
	if (toml_is_datetime(t))
		return toml_datetime(t, ret);
	return read_word(t, ret);
}
