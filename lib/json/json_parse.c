/*
 * The parser. One pass over the text, recursive descent with an explicit depth bound, that checks
 * and builds at once. json-c's own tokener is not used: it accepts more than RFC 8259, keeps the
 * last of two equal keys, and up to 0.16 drops an allocation failure in the middle of a string.
 * Built directly, every allocation is checked, and what was built is freed on the first error.
 *
 * Duplicate keys are found in the very hash table that the object becomes. json-c seeds its hash
 * at random, so an object of 100,000 keys costs 100,000 look-ups whatever the keys are. The table
 * is filled through linkhash.h: json_object_object_add would hash again, and loses the key's copy
 * when the table cannot grow.
 *
 * A string without escapes goes from the text into its json-c object; one with escapes passes
 * through one buffer of exactly the size needed, which is wiped. No growing buffer leaves copies
 * of a secret behind.
 */
#include "json/json.h"

#include <errno.h>
#include <json-c/linkhash.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define NUMBER_MAX 1024

struct parser {
	const char *text, *p, *end;
	unsigned max_depth;
	size_t n_values;
	struct json_place *ret_place;
	struct err *e;
};

/* A string as it stands in the text between its quotes, already checked. */
struct span {
	const char *s;
	size_t len;
	size_t decoded_len; /* < len when there are escapes */
};

static int parse_value(struct parser *p, unsigned depth, struct json_object **ret);

static void set_place(struct parser *p, const char *at)
{
	struct json_place place = {1, 1};

	if (!p->ret_place)
		return;
	for (const char *s = p->text; s < at; s++) {
		if (*s == '\n')
			place = (struct json_place){place.line + 1, 1};
		else if (((unsigned char)*s & 0xC0) != 0x80)
			place.column++;
	}
	*p->ret_place = place;
}

/* What stands at `at`, for a message. Only syntax is shown, never the inside of a string. */
static const char *found(const struct parser *p, const char *at, char out[static STR_SHOW_LEN + 2])
{
	char shown[STR_SHOW_LEN];

	if (at >= p->end)
		return "the end of the text";
	if (*at == '\n' || *at == '\r')
		return "the end of the line";
	if (*at == '"')
		return "a string";
	size_t n = str_utf8_len(at, (size_t)(p->end - at));
	snprintf(out, STR_SHOW_LEN + 2, "'%s'", str_show(at, n ? n : 1, shown));
	return out;
}

static int fail_expected(struct parser *p, const char *accepted)
{
	char shown[STR_SHOW_LEN + 2];

	set_place(p, p->p);
	err_set(p->e, -EINVAL, "found %s, accepted: %s", found(p, p->p, shown), accepted);
	return -EINVAL;
}

static int fail_at(struct parser *p, const char *at, int code, const char *message)
{
	set_place(p, at);
	err_set(p->e, code, "%s", message);
	return code;
}

static int fail_memory(struct parser *p)
{
	err_set(p->e, -ENOMEM, "out of memory");
	return -ENOMEM;
}

static void skip_space(struct parser *p)
{
	while (p->p < p->end && (*p->p == ' ' || *p->p == '\t' || *p->p == '\n' || *p->p == '\r'))
		p->p++;
}

static bool at_char(const struct parser *p, char c)
{
	return p->p < p->end && *p->p == c;
}

static bool at_digit(const struct parser *p)
{
	return p->p < p->end && *p->p >= '0' && *p->p <= '9';
}

/* The four hex digits behind "\u", or -1. */
static int32_t hex4(const char *s, const char *end)
{
	int32_t v = 0;

	if (end - s < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = s[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

static bool is_high(int32_t c)
{
	return c >= 0xD800 && c <= 0xDBFF;
}

static bool is_low(int32_t c)
{
	return c >= 0xDC00 && c <= 0xDFFF;
}

/* The escape whose backslash is at `s`: how many bytes it has (0: it is wrong, *ret_why says how)
 * and the character it stands for. */
static size_t read_escape(const char *s, const char *end, uint32_t *ret_c, const char **ret_why)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	if (end - s < 2) {
		*ret_why = "the text ends inside an escape";
		return 0;
	}
	if (s[1] != 'u') {
		const char *hit = s[1] ? strchr(from, s[1]) : NULL;

		*ret_why = "unknown escape, accepted: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX";
		if (hit)
			*ret_c = (unsigned char)to[hit - from];
		return hit ? 2 : 0;
	}

	int32_t c = hex4(s + 2, end), low;
	if (c < 0) {
		*ret_why = "\\u needs four hexadecimal digits";
		return 0;
	}
	if (c == 0) {
		*ret_why = "U+0000 is not accepted in a string";
		return 0;
	}
	*ret_c = (uint32_t)c;
	if (!is_high(c) && !is_low(c))
		return 6;
	*ret_why =
		"half of a surrogate pair, accepted: \\uD800-\\uDBFF followed by \\uDC00-\\uDFFF";
	if (!is_high(c) || end - s < 8 || s[6] != '\\' || s[7] != 'u' ||
	    !is_low(low = hex4(s + 8, end)))
		return 0;
	*ret_c = 0x10000 + (((uint32_t)c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
	return 12;
}

/* Checks the string that begins at the cursor and moves behind its closing quote. */
static int scan_string(struct parser *p, struct span *ret)
{
	const char *s = p->p + 1, *begin = s;
	size_t decoded = 0;

	while (s < p->end && *s != '"') {
		const char *why;
		char utf8[4];
		uint32_t c;
		size_t n;

		if ((unsigned char)*s < ' ')
			return fail_at(p, s, -EINVAL,
				       "control character in a string, accepted: its escape");
		if (*s == '\\') {
			n = read_escape(s, p->end, &c, &why);
			if (n == 0)
				return fail_at(p, s, -EINVAL, why);
			decoded += str_utf8_put(c, utf8);
		} else {
			n = str_utf8_len(s, (size_t)(p->end - s));
			if (n == 0)
				return fail_at(p, s, -EINVAL, "invalid UTF-8 in a string");
			decoded += n;
		}
		s += n;
	}
	if (s == p->end)
		return fail_at(p, p->p, -EINVAL, "the string that begins here has no end");
	*ret = (struct span){begin, (size_t)(s - begin), decoded};
	p->p = s + 1;
	return 0;
}

/* A copy with the escapes replaced, NUL-terminated; NULL: no memory. */
static char *decode(const struct span *span)
{
	char *out = malloc(span->decoded_len + 1), *to = out;
	const char *s = span->s, *end = s + span->len, *why;

	if (!out)
		return NULL;
	while (s < end) {
		char utf8[4];
		uint32_t c;

		if (*s != '\\') {
			*to++ = *s++;
			continue;
		}
		s += read_escape(s, end, &c, &why);
		size_t n = str_utf8_put(c, utf8);
		memcpy(to, utf8, n);
		to += n;
	}
	*to = '\0';
	return out;
}

static int parse_string(struct parser *p, struct json_object **ret)
{
	struct span span;
	int r = scan_string(p, &span);

	if (r < 0)
		return r;
	if (span.decoded_len == span.len) {
		*ret = json_object_new_string_len(span.s, (int)span.len);
	} else {
		char *decoded = decode(&span);

		*ret = decoded ? json_object_new_string_len(decoded, (int)span.decoded_len) : NULL;
		mem_wipe(decoded, decoded ? span.decoded_len : 0);
		free(decoded);
	}
	return *ret ? 0 : fail_memory(p);
}

static int need_digits(struct parser *p)
{
	if (!at_digit(p))
		return fail_expected(p, "a digit");
	while (at_digit(p))
		p->p++;
	return 0;
}

/* Moves over `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`. */
static int scan_number(struct parser *p, bool *ret_integer)
{
	int r;

	*ret_integer = true;
	if (at_char(p, '-'))
		p->p++;
	if (at_char(p, '0')) {
		p->p++;
		if (at_digit(p))
			return fail_at(p, p->p - 1, -EINVAL,
				       "number with a leading zero, accepted: none");
	} else if ((r = need_digits(p)) < 0) {
		return r;
	}
	if (at_char(p, '.')) {
		*ret_integer = false;
		p->p++;
		if ((r = need_digits(p)) < 0)
			return r;
	}
	if (at_char(p, 'e') || at_char(p, 'E')) {
		*ret_integer = false;
		p->p++;
		if (at_char(p, '+') || at_char(p, '-'))
			p->p++;
		if ((r = need_digits(p)) < 0)
			return r;
	}
	return 0;
}

static bool to_int64(const char *s, const char *end, int64_t *ret)
{
	bool negative = *s == '-';
	int64_t v = 0;

	for (s += negative; s < end; s++) {
		int digit = *s - '0';

		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, negative ? -digit : digit, &v))
			return false;
	}
	*ret = v;
	return true;
}

static int parse_number(struct parser *p, struct json_object **ret)
{
	const char *begin = p->p;
	char copy[NUMBER_MAX + 1];
	bool integer;
	int64_t i;
	int r = scan_number(p, &integer);

	if (r < 0)
		return r;
	if (integer && to_int64(begin, p->p, &i)) {
		*ret = json_object_new_int64(i);
		return *ret ? 0 : fail_memory(p);
	}

	size_t len = (size_t)(p->p - begin);
	if (len > NUMBER_MAX)
		return fail_at(p, begin, -E2BIG, "number of more than 1024 characters");
	memcpy(copy, begin, len);
	copy[len] = '\0';
	/* The program runs in the "C" locale, where the decimal point is a point. */
	double d = strtod(copy, NULL);
	if (!isfinite(d))
		return fail_at(p, begin, -EINVAL, "number beyond the range of a double");
	*ret = json_object_new_double(d);
	return *ret ? 0 : fail_memory(p);
}

static int parse_word(struct parser *p, struct json_object **ret)
{
	static const char *const words[] = {"null", "true", "false"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(p->end - p->p) < n || memcmp(p->p, words[i], n) != 0)
			continue;
		p->p += n;
		if (i == 0) {
			*ret = NULL;
			return 0;
		}
		*ret = json_object_new_boolean(i == 1);
		return *ret ? 0 : fail_memory(p);
	}
	return fail_expected(p, "an object, array, string, number, true, false or null");
}

/* The key at the cursor and its colon: a copy in *ret_key, with its hash in `table`. */
static int parse_key(struct parser *p, struct lh_table *table, char **ret_key,
		     unsigned long *ret_hash)
{
	const char *begin = p->p;
	_cleanup_free_ char *key = NULL;
	struct span span;
	int r;

	if (!at_char(p, '"'))
		return fail_expected(p, "a key in double quotes");
	r = scan_string(p, &span);
	if (r < 0)
		return r;
	key = decode(&span);
	if (!key)
		return fail_memory(p);
	*ret_hash = lh_get_hash(table, key);
	if (lh_table_lookup_entry_w_hash(table, key, *ret_hash)) {
		char shown[STR_SHOW_LEN];

		set_place(p, begin);
		return err_set(p->e, -EINVAL, "duplicate key \"%s\"",
			       str_show(key, span.decoded_len, shown));
	}
	skip_space(p);
	if (!at_char(p, ':'))
		return fail_expected(p, "':'");
	p->p++;
	*ret_key = mem_steal(&key);
	return 0;
}

static int parse_member(struct parser *p, unsigned depth, struct json_object *object)
{
	struct lh_table *table = json_object_get_object(object);
	_cleanup_free_ char *key = NULL;
	struct json_object *value = NULL;
	unsigned long hash = 0;
	int r;

	r = parse_key(p, table, &key, &hash);
	if (r < 0)
		return r;
	r = parse_value(p, depth, &value);
	if (r < 0)
		return r;
	if (lh_table_insert_w_hash(table, key, value, hash, 0) < 0) {
		json_put_wiped(value);
		return fail_memory(p);
	}
	key = NULL;
	return 0;
}

static int parse_element(struct parser *p, unsigned depth, struct json_object *array)
{
	struct json_object *value = NULL;
	int r = parse_value(p, depth, &value);

	if (r < 0)
		return r;
	if (json_object_array_add(array, value) < 0) {
		json_put_wiped(value);
		return fail_memory(p);
	}
	return 0;
}

/* An object or an array, the cursor on its opening bracket. */
static int parse_container(struct parser *p, unsigned depth, struct json_object **ret)
{
	bool object = *p->p == '{';
	char close = object ? '}' : ']';
	_cleanup_json_wiped_ struct json_object *o = NULL;
	int r;

	if (depth >= p->max_depth) {
		set_place(p, p->p);
		return err_set(p->e, -E2BIG, "nested deeper than %u levels", p->max_depth);
	}
	o = object ? json_object_new_object() : json_object_new_array_ext(4);
	if (!o)
		return fail_memory(p);
	p->p++;
	skip_space(p);
	for (bool first = true; !at_char(p, close); first = false) {
		if (!first) {
			if (!at_char(p, ','))
				return fail_expected(p, object ? "',' or '}'" : "',' or ']'");
			p->p++;
			skip_space(p);
		}
		r = object ? parse_member(p, depth + 1, o) : parse_element(p, depth + 1, o);
		if (r < 0)
			return r;
		skip_space(p);
	}
	p->p++;
	*ret = mem_steal(&o);
	return 0;
}

static int parse_value(struct parser *p, unsigned depth, struct json_object **ret)
{
	skip_space(p);
	if (++p->n_values > JSON_MAX_VALUES)
		return fail_at(p, p->p, -E2BIG, "more than 1048576 values");
	if (at_char(p, '{') || at_char(p, '['))
		return parse_container(p, depth, ret);
	if (at_char(p, '"'))
		return parse_string(p, ret);
	if (at_char(p, '-') || at_digit(p))
		return parse_number(p, ret);
	return parse_word(p, ret);
}

int json_parse_at(const char *text, size_t len, struct json_limits limits, struct json_object **ret,
		  struct json_place *ret_place, struct err *e)
{
	struct parser p = {.text = text,
			   .p = text,
			   .end = text + len,
			   .max_depth = limits.max_depth,
			   .ret_place = ret_place,
			   .e = e};
	struct json_object *o = NULL;
	/* json-c counts string lengths in int. */
	size_t max = limits.max_bytes < INT_MAX ? limits.max_bytes : INT_MAX;
	int r;

	if (len > max) {
		set_place(&p, text);
		return err_set(e, -E2BIG, "%zu bytes of JSON, at most %zu are accepted", len, max);
	}
	r = parse_value(&p, 0, &o);
	if (r < 0)
		return r;
	skip_space(&p);
	if (p.p < p.end) {
		json_put_wiped(o);
		return fail_expected(&p, "nothing more");
	}
	*ret = o;
	return 0;
}

int json_parse(const char *text, size_t len, struct json_limits limits, struct json_object **ret,
	       struct err *e)
{
	struct json_place place = {0, 0};
	int r = json_parse_at(text, len, limits, ret, &place, e);

	if (r < 0 && place.line > 0)
		err_prefix(e, "line %u, column %u", place.line, place.column);
	return r;
}
