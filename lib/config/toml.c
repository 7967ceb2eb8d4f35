/*
 * TOML 1.0: the structure of a document. The other files of the parser: toml_value.c (values,
 * arrays, inline tables), toml_string.c, toml_number.c, toml_datetime.c.
 *
 * The whole text is first checked for what may stand nowhere in it (broken UTF-8, control
 * characters, a carriage return alone), so that the readers need not. Then one pass, recursive
 * descent, with the depth bounded.
 *
 * Who may add to a table later depends on how it came to be. That is the `state` of its value, and
 * a table changes it in these ways only:
 *
 *     how the table began         [a.b] of it      sub-table [a.b.c]   dotted a.b.c = 1
 *     IMPLICIT  [a.b.c]           once: HEADER     yes                 yes: DOTTED
 *     HEADER    [a.b]             refused          yes                 refused
 *     DOTTED    a.b.x = 1         refused          yes                 yes
 *     CLOSED    a.b = {…}         refused          refused             refused
 *     ELEMENTS  [[a.b]]           [[a.b]] only     of its last one     refused
 *
 * A dotted key cannot add to a table of another section than its own: on the way to it stands
 * that section's table, which is HEADER. Arrays written as values are CLOSED.
 */
#include "config/toml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/toml_priv.h"

enum state { CLOSED, IMPLICIT, HEADER, DOTTED, ELEMENTS };

struct part {
	char *s; /* owned until it is a key of a table */
	size_t len;
	struct cfg_pos pos;
};

/* a."b c".d; n is 0 at first, the parts are not initialised (they would cost more than reading
 * the key does). */
struct path {
	struct part parts[CFG_MAX_DEPTH + 1];
	size_t n;
};

static void path_clear(struct path *path)
{
	for (size_t i = 0; i < path->n; i++)
		free(path->parts[i].s);
}

/*
 * The cursor.
 */

/* Counted on from the last place asked for, as places are asked for in order; only an error may
 * look back. */
struct cfg_pos toml_pos(struct toml *t, const char *at)
{
	if (at < t->mark) {
		t->mark = t->text;
		t->mark_pos = (struct cfg_pos){.line = 1, .column = 1};
	}
	for (; t->mark < at; t->mark++) {
		if (*t->mark == '\n') {
			t->mark_pos.line++;
			t->mark_pos.column = 1;
		} else if (((unsigned char)*t->mark & 0xC0) != 0x80) {
			t->mark_pos.column++;
		}
	}
	t->mark_pos.offset = (unsigned)(at - t->text);
	return t->mark_pos;
}

static int fail_pos(struct toml *t, struct cfg_pos pos, int code, const char *message)
{
	if (t->ret_pos)
		*t->ret_pos = pos;
	err_set(t->e, code, "%u:%u: %s", pos.line, pos.column, message);
	return code;
}

int toml_fail(struct toml *t, const char *at, int code, const char *fmt, ...)
{
	char message[ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	return fail_pos(t, toml_pos(t, at), code, message);
}

int toml_fail_found(struct toml *t, const char *accepted)
{
	char shown[STR_SHOW_LEN];

	if (t->p >= t->end)
		return toml_fail(t, t->end, -EINVAL, "found the end of the text, accepted: %s",
				 accepted);
	if (*t->p == '\n' || *t->p == '\r')
		return toml_fail(t, t->p, -EINVAL, "found the end of the line, accepted: %s",
				 accepted);
	str_show(t->p, str_utf8_len(t->p, (size_t)(t->end - t->p)), shown);
	return toml_fail(t, t->p, -EINVAL, "found '%s', accepted: %s", shown, accepted);
}

int toml_fail_memory(struct toml *t)
{
	err_set(t->e, -ENOMEM, "out of memory");
	return -ENOMEM;
}

bool toml_at(const struct toml *t, char c)
{
	return t->p < t->end && *t->p == c;
}

void toml_skip_blank(struct toml *t)
{
	while (toml_at(t, ' ') || toml_at(t, '\t'))
		t->p++;
}

void toml_skip_comment(struct toml *t)
{
	if (toml_at(t, '#'))
		while (t->p < t->end && *t->p != '\n' && *t->p != '\r')
			t->p++;
}

void toml_skip_lines(struct toml *t)
{
	for (;;) {
		toml_skip_blank(t);
		toml_skip_comment(t);
		if (!toml_at(t, '\n') && !toml_at(t, '\r'))
			return;
		t->p++;
	}
}

int toml_new_value(struct toml *t, enum cfg_type type, struct cfg_pos pos, struct cfg_value **ret)
{
	struct cfg_value *v;

	if (++t->n_values > CFG_MAX_VALUES)
		return fail_pos(t, pos, -E2BIG, "more than 1048576 values");
	v = cfg_value_new(type, pos);
	if (!v)
		return toml_fail_memory(t);
	*ret = v;
	return 0;
}

/*
 * Keys.
 */

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

static int read_part(struct toml *t, struct part *ret)
{
	const char *begin = t->p;

	*ret = (struct part){.pos = toml_pos(t, begin)};
	if (toml_at(t, '"') || toml_at(t, '\''))
		return toml_string(t, false, &ret->s, &ret->len);
	while (t->p < t->end && is_bare(*t->p))
		t->p++;
	ret->len = (size_t)(t->p - begin);
	if (ret->len == 0)
		return toml_fail_found(t, "a key: A-Z a-z 0-9 _ -, or a text in quotes");
	ret->s = mem_dup_str(begin, ret->len);
	return ret->s ? 0 : toml_fail_memory(t);
}

/* Leaves the cursor behind the blanks that follow. On failure what was read is in *path too. */
static int read_path(struct toml *t, struct path *path)
{
	for (;;) {
		int r;

		if (path->n == ARRAY_LEN(path->parts))
			return toml_fail(t, t->p, -E2BIG, "nested deeper than %d levels",
					 CFG_MAX_DEPTH);
		r = read_part(t, &path->parts[path->n]);
		if (r < 0)
			return r;
		path->n++;
		toml_skip_blank(t);
		if (!toml_at(t, '.'))
			return 0;
		t->p++;
		toml_skip_blank(t);
	}
}

/* Puts the value under the key, which is new in the table; both are taken over on success. */
static int add(struct toml *t, struct cfg_value *table, struct part *part, struct cfg_value *value,
	       enum state state)
{
	if (cfg_index_add(&t->index, table, part->s, part->len, part->pos, value) < 0)
		return toml_fail_memory(t);
	value->state = state;
	part->s = NULL;
	return 0;
}

static struct cfg_entry *find(struct toml *t, const struct cfg_value *table,
			      const struct part *part)
{
	return cfg_index_find(&t->index, table, part->s, part->len);
}

/* A new table under a key that is new in `table`. */
static int add_table(struct toml *t, struct cfg_value *table, struct part *part, enum state state,
		     struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *sub = NULL;
	int r = toml_new_value(t, CFG_TABLE, part->pos, &sub);

	if (r < 0)
		return r;
	r = add(t, table, part, sub, state);
	if (r < 0)
		return r;
	*ret = mem_steal(&sub);
	return 0;
}

/* The key stands in the way: it is there already, as something that cannot be added to. */
static int fail_taken(struct toml *t, const struct part *part, const struct cfg_entry *known,
		      const char *accepted)
{
	static const char *const how[] = {[CLOSED] = "",
					  [IMPLICIT] = "",
					  [HEADER] = " with a [header]",
					  [DOTTED] = " by dotted keys",
					  [ELEMENTS] = " of [[tables]]"};
	bool inline_table = known->value->type == CFG_TABLE && known->value->state == CLOSED;
	char shown[STR_SHOW_LEN], message[ERR_MSG_MAX];

	snprintf(message, sizeof(message),
		 "found \"%s\" again, which is %s %s%s since %u:%u, accepted: %s",
		 str_show(known->key, known->key_len, shown),
		 strchr("aeiou", inline_table ? 'i' : *cfg_type_name(known->value->type)) ? "an"
											  : "a",
		 inline_table ? "inline table" : cfg_type_name(known->value->type),
		 how[known->value->state], known->key_pos.line, known->key_pos.column, accepted);
	return fail_pos(t, part->pos, -EINVAL, message);
}

static int too_deep(struct toml *t, const struct part *part)
{
	char message[64];

	snprintf(message, sizeof(message), "nested deeper than %d levels", CFG_MAX_DEPTH);
	return fail_pos(t, part->pos, -E2BIG, message);
}

/* One step of a dotted key: the table `part` of *table, made where it is not there yet. */
static int enter_dotted(struct toml *t, struct part *part, struct cfg_value **table)
{
	struct cfg_entry *known = find(t, *table, part);

	if (!known)
		return add_table(t, *table, part, DOTTED, table);
	if (known->value->state != IMPLICIT && known->value->state != DOTTED)
		return fail_taken(t, part, known,
				  "dotted keys into a table that only dotted keys have made");
	known->value->state = DOTTED;
	*table = known->value;
	return 0;
}

int toml_key_value(struct toml *t, struct cfg_value *table, unsigned depth)
{
	_cleanup_cfg_value_ struct cfg_value *value = NULL;
	_cleanup_(path_clear) struct path path;
	struct cfg_entry *known;
	int r;

	path.n = 0;
	r = read_path(t, &path);
	if (r < 0)
		return r;
	if (!toml_at(t, '='))
		return toml_fail_found(t, "'=' behind the key");
	t->p++;
	toml_skip_blank(t);

	struct part *last = &path.parts[path.n - 1];
	if (depth + path.n - 1 > CFG_MAX_DEPTH)
		return too_deep(t, last);
	for (struct part *part = path.parts; part < last; part++) {
		r = enter_dotted(t, part, &table);
		if (r < 0)
			return r;
	}
	known = find(t, table, last);
	if (known)
		return fail_taken(t, last, known, "each key once");
	r = toml_value(t, depth + (unsigned)path.n - 1, &value);
	if (r < 0)
		return r;
	r = add(t, table, last, value, CLOSED);
	if (r == 0)
		value = NULL;
	return r;
}

/*
 * Headers.
 */

/* One step through a header before its last part: into the table, or the last of the [[tables]],
 * that stands there, or into a new one. */
static int enter_header(struct toml *t, struct part *part, struct cfg_value **table,
			unsigned *depth)
{
	struct cfg_entry *known = find(t, *table, part);

	if (++*depth > CFG_MAX_DEPTH)
		return too_deep(t, part);
	if (!known)
		return add_table(t, *table, part, IMPLICIT, table);
	if (known->value->state == CLOSED)
		return fail_taken(t, part, known, "the name of a table that is not closed");
	*table = known->value;
	if (known->value->state == ELEMENTS) {
		*table = known->value->items[known->value->n_items - 1];
		if (++*depth > CFG_MAX_DEPTH)
			return too_deep(t, part);
	}
	return 0;
}

/* The last part of [header]. */
static int open_table(struct toml *t, struct part *part, struct cfg_pos pos,
		      struct cfg_value **table)
{
	struct cfg_entry *known = find(t, *table, part);
	int r;

	if (!known) {
		r = add_table(t, *table, part, HEADER, table);
		if (r < 0)
			return r;
	} else if (known->value->state == IMPLICIT) {
		known->value->state = HEADER;
		*table = known->value;
	} else {
		return fail_taken(t, part, known,
				  known->value->state == ELEMENTS
					  ? "[[double brackets]] for one more"
					  : "each table once");
	}
	(*table)->pos = pos;
	return 0;
}

/* The array that [[header]] adds to. */
static int open_array(struct toml *t, struct cfg_value *table, struct part *part,
		      struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *array = NULL;
	struct cfg_entry *known = find(t, table, part);
	int r;

	if (known && known->value->state != ELEMENTS)
		return fail_taken(t, part, known,
				  known->value->type == CFG_ARRAY
					  ? "[[double brackets]] from the first element on"
					  : "another name for the [[tables]]");
	if (known) {
		*ret = known->value;
		return 0;
	}
	r = toml_new_value(t, CFG_ARRAY, part->pos, &array);
	if (r < 0)
		return r;
	r = add(t, table, part, array, ELEMENTS);
	if (r < 0)
		return r;
	*ret = mem_steal(&array);
	return 0;
}

/* The last part of [[header]]: one more table in its array. */
static int open_element(struct toml *t, struct part *part, struct cfg_pos pos,
			struct cfg_value **table)
{
	_cleanup_cfg_value_ struct cfg_value *element = NULL;
	struct cfg_value *array = NULL;
	int r = open_array(t, *table, part, &array);

	if (r < 0)
		return r;
	r = toml_new_value(t, CFG_TABLE, pos, &element);
	if (r == 0 && cfg_array_add(array, element) < 0)
		r = toml_fail_memory(t);
	if (r < 0)
		return r;
	*table = mem_steal(&element);
	return 0;
}

/* [a.b] or [[a.b]]: *table is the root, and then the table that the lines below it fill. */
static int read_header(struct toml *t, struct cfg_value **table, unsigned *depth)
{
	_cleanup_(path_clear) struct path path;
	struct cfg_pos pos = toml_pos(t, t->p);
	bool element;
	int r;

	path.n = 0;
	t->p++;
	element = toml_at(t, '[');
	t->p += element;
	toml_skip_blank(t);
	r = read_path(t, &path);
	if (r < 0)
		return r;
	if (!toml_at(t, ']'))
		return toml_fail_found(t, "'.' or ']' behind the table's name");
	t->p++;
	if (element) {
		if (!toml_at(t, ']'))
			return toml_fail_found(t, "']]' behind the name of an array of tables");
		t->p++;
	}

	struct part *last = &path.parts[path.n - 1];
	for (struct part *part = path.parts; part < last; part++) {
		r = enter_header(t, part, table, depth);
		if (r < 0)
			return r;
	}
	*depth += element ? 2 : 1;
	if (*depth > CFG_MAX_DEPTH)
		return too_deep(t, last);
	return element ? open_element(t, last, pos, table) : open_table(t, last, pos, table);
}

/*
 * The document.
 */

/* What may stand nowhere in a document, not even in a comment. */
static int check_text(struct toml *t)
{
	const char *s = t->text;

	while (s < t->end) {
		unsigned char c = (unsigned char)*s;
		size_t n = 1;

		if (c >= ' ' && c < 0x7F) { /* nearly all */
			s++;
			continue;
		}
		if (c >= 0x80) {
			n = str_utf8_len(s, (size_t)(t->end - s));
			if (n == 0)
				return toml_fail(t, s, -EINVAL,
						 "found the byte 0x%02X, accepted: UTF-8", c);
		} else if (c == '\r' && (s + 1 == t->end || s[1] != '\n')) {
			return toml_fail(t, s, -EINVAL,
					 "found a carriage return alone, accepted: lines that end "
					 "in LF or CR LF");
		} else if (c != '\t' && c != '\n' && c != '\r') {
			return toml_fail(t, s, -EINVAL,
					 "found the control character U+%04X, accepted: tab and "
					 "printable characters",
					 c);
		}
		s += n;
	}
	return 0;
}

static int read_document(struct toml *t, struct cfg_value *root)
{
	struct cfg_value *table = root;
	unsigned depth = 0;

	for (toml_skip_lines(t); t->p < t->end; toml_skip_lines(t)) {
		int r;

		if (toml_at(t, '[')) {
			table = root;
			depth = 0;
			r = read_header(t, &table, &depth);
		} else {
			r = toml_key_value(t, table, depth);
		}
		if (r < 0)
			return r;
		toml_skip_blank(t);
		toml_skip_comment(t);
		if (t->p < t->end && *t->p != '\n' && *t->p != '\r')
			return toml_fail_found(t, "the end of the line");
	}
	return 0;
}

int toml_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
	       struct err *e)
{
	static const char bom[] = "\xEF\xBB\xBF";
	_cleanup_cfg_value_ struct cfg_value *root = NULL;
	int r;

	if (len >= 3 && memcmp(text, bom, 3) == 0) {
		text += 3;
		len -= 3;
	}
	struct toml t = {.text = text,
			 .p = text,
			 .end = text + len,
			 .mark = text,
			 .mark_pos = {.line = 1, .column = 1},
			 .ret_pos = ret_pos,
			 .e = e};
	if (len > CFG_MAX_BYTES)
		return toml_fail(&t, text, -E2BIG, "%zu bytes, at most %zu are accepted", len,
				 CFG_MAX_BYTES);
	r = check_text(&t);
	if (r < 0)
		return r;
	r = toml_new_value(&t, CFG_TABLE, (struct cfg_pos){.line = 1, .column = 1}, &root);
	if (r < 0)
		return r;
	r = read_document(&t, root);
	cfg_index_free(&t.index);
	if (r == 0)
		*ret = mem_steal(&root);
	return r;
}
