/*
 * lib/config: the TOML 1.0 parser. The cases of the toml-test project are read in place from
 * $TOML_TEST_DIR (valid/ with the expected values as tagged JSON beside each file, and invalid/);
 * without them the cases below still run.
 */
#include "unit.h"

#include <errno.h>
#include <ftw.h>
#include <json-c/json_util.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/str.h"
#include "cfgdump.h"
#include "config/toml.h"
#include "fault.h"
#include "json/json.h"

static const char *test_dir(void)
{
	const char *dir = getenv("TOML_TEST_DIR");

	return dir && *dir ? dir : "../shared/conformance/toml-1.0";
}

/* A clone of this tree alone has no such folder, and is in order; who has named one wants it read.
 */
static const char *no_cases(void)
{
	const char *dir = getenv("TOML_TEST_DIR");

	return dir && *dir ? "no toml-test cases in $TOML_TEST_DIR"
			   : "optional, no toml-test cases in ../shared/conformance/toml-1.0 "
			     "($TOML_TEST_DIR)";
}

static int parse_bytes(const char *text, size_t len, struct cfg_value **ret, struct err *e)
{
	/* The exact size on the heap, so that a sanitizer sees one byte past the end. */
	char *copy = malloc(len ? len : 1);
	struct cfg_pos pos = {0};

	memcpy(copy, text, len);
	int r = toml_parse(copy, len, ret, &pos, e);
	if (r < 0) {
		char place[32];

		snprintf(place, sizeof(place), "%u:%u: ", pos.line, pos.column);
		ck_assert_msg(str_starts(e->msg, place), "%s at %s", e->msg, place);
		ck_assert_int_eq(e->code, r);
	}
	free(copy);
	return r;
}

/* The text gives this dump. */
static void gives(const char *text, const char *dump)
{
	struct cfg_value *v = NULL;
	struct err e = {0};

	ck_assert_msg(parse_bytes(text, strlen(text), &v, &e) == 0, "%s: %s", text, e.msg);
	char *got = cfg_dump(v, false);
	ck_assert_str_eq(got, dump);
	free(got);
	cfg_value_free(v);
}

static void refused_bytes(const char *text, size_t len, int code, const char *message)
{
	struct cfg_value *v = NULL;
	struct err e = {0};
	int r = parse_bytes(text, len, &v, &e);

	ck_assert_msg(r == code, "%s: returned %d", text, r);
	ck_assert_ptr_null(v);
	ck_assert_str_eq(e.msg, message);
}

static void refused(const char *text, const char *message)
{
	refused_bytes(text, strlen(text), -EINVAL, message);
}

/*
 * toml-test.
 */

static struct buf failures = BUF_INIT(0);
static size_t n_files;

static char *slurp(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	char *data = malloc(1 << 20);

	ck_assert_ptr_nonnull(f);
	*ret_len = fread(data, 1, 1 << 20, f);
	fclose(f);
	return data;
}

/* 'T' between date and time, 'Z' for UTC, a fraction without zeros at its end. */
static void normalize(const char *s, char out[static 64])
{
	size_t n = 0;
	bool fraction = false;

	for (; *s && n < 63; s++) {
		bool in_digits = *s >= '0' && *s <= '9';

		if (fraction && !in_digits) {
			while (out[n - 1] == '0')
				n--;
			n -= out[n - 1] == '.';
			fraction = false;
		}
		fraction |= *s == '.';
		out[n++] = *s == 't' || *s == ' ' ? 'T' : *s == 'z' ? 'Z' : *s;
	}
	while (fraction && out[n - 1] == '0')
		n--;
	n -= fraction && out[n - 1] == '.';
	out[n] = '\0';
}

static bool same_float(double d, const char *text)
{
	if (strcmp(text, "nan") == 0)
		return isnan(d);
	return d == strtod(text, NULL);
}

static bool same_leaf(const struct cfg_value *v, struct json_object *want)
{
	static const char *const datetime_types[] = {
		[CFG_OFFSET_DATETIME] = "datetime",
		[CFG_LOCAL_DATETIME] = "datetime-local",
		[CFG_LOCAL_DATE] = "date-local",
		[CFG_LOCAL_TIME] = "time-local",
	};
	const char *type = json_get_str(want, "type"), *text = json_get_str(want, "value");
	size_t len = (size_t)json_object_get_string_len(json_get(want, "value", json_type_string));
	char a[64], b[64];

	switch (v->type) {
	case CFG_STRING:
		return str_eq(type, "string") && v->len == len && memcmp(v->str, text, len) == 0;
	case CFG_INTEGER: return str_eq(type, "integer") && v->integer == strtoll(text, NULL, 10);
	case CFG_FLOAT: return str_eq(type, "float") && same_float(v->number, text);
	case CFG_BOOL: return str_eq(type, "bool") && v->boolean == str_eq(text, "true");
	case CFG_DATETIME:
		normalize(v->str, a);
		normalize(text, b);
		return str_eq(type, datetime_types[v->datetime]) && str_eq(a, b);
	default: return false;
	}
}

static bool same(const struct cfg_value *v, struct json_object *want)
{
	if (json_get_str(want, "type"))
		return same_leaf(v, want);
	if (v->type == CFG_ARRAY) {
		if (!json_object_is_type(want, json_type_array) ||
		    json_object_array_length(want) != v->n_items)
			return false;
		for (size_t i = 0; i < v->n_items; i++)
			if (!same(v->items[i], json_object_array_get_idx(want, i)))
				return false;
		return true;
	}
	if (v->type != CFG_TABLE || !json_object_is_type(want, json_type_object) ||
	    (size_t)json_object_object_length(want) != v->n_entries)
		return false;
	for (size_t i = 0; i < v->n_entries; i++) {
		struct json_object *member;

		/* json-c ends the one key with a NUL there, as this look-up does. */
		if (!json_object_object_get_ex(want, v->entries[i].key, &member) ||
		    !same(v->entries[i].value, member))
			return false;
	}
	return true;
}

static int check_valid(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char json[4096];
	struct cfg_value *v = NULL;
	struct err e = {0};
	size_t len;

	if (type != FTW_F || !str_ends(path, ".toml"))
		return 0;
	n_files++;
	snprintf(json, sizeof(json), "%.*s.json", (int)strlen(path) - 5, path);
	struct json_object *want = json_object_from_file(json);
	char *text = slurp(path, &len);
	if (!want)
		buf_addf(&failures, "\n  %s: not readable", json);
	else if (parse_bytes(text, len, &v, &e) < 0)
		buf_addf(&failures, "\n  %s:%s", path, e.msg);
	else if (!same(v, want))
		buf_addf(&failures, "\n  %s: another value", path);
	cfg_value_free(v);
	json_object_put(want);
	free(text);
	return 0;
}

static int check_invalid(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	struct cfg_value *v = NULL;
	struct err e = {0};
	size_t len;

	if (type != FTW_F || !str_ends(path, ".toml"))
		return 0;
	n_files++;
	char *text = slurp(path, &len);
	int r = parse_bytes(text, len, &v, &e);
	if (r != -EINVAL)
		buf_addf(&failures, "\n  %s: accepted", path);
	else if (getenv("TOML_TEST_SHOW"))
		printf("%s:%s\n", path, e.msg);
	cfg_value_free(v);
	free(text);
	return 0;
}

static void walk(const char *group, size_t at_least, __nftw_func_t check)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", test_dir(), group);
	ck_assert_int_eq(nftw(path, check, 16, FTW_PHYS), 0);
	ck_assert_msg(failures.len == 0, "of %zu files:%s", n_files, buf_str(&failures));
	ck_assert_msg(n_files >= at_least, "only %zu files in %s", n_files, path);
}

START_TEST(toml_test_valid)
{
	walk("valid", 210, check_valid);
}
END_TEST

START_TEST(toml_test_invalid)
{
	walk("invalid", 499, check_invalid);
}
END_TEST

/*
 * Cases of our own.
 */

START_TEST(values)
{
	gives("", "{}");
	gives("# only a comment", "{}");
	gives("\xEF\xBB\xBF"
	      "a = 1\r\n\r\n",
	      "{a: 1}");
	gives("i = [0, +7, -0, 1_000, 0xDEAD_beef, 0o17, 0b101]",
	      "{i: [0, 7, 0, 1000, 3735928559, 15, 5]}");
	gives("a = 9223372036854775807\nb = -9223372036854775808",
	      "{a: 9223372036854775807, b: -9223372036854775808}");
	gives("f = [0.5, -1e3, 1_0.2_5e+0_1, 5e-1, inf, -inf]",
	      "{f: [0.50000000000000000, -1000.0000000000000, 102.50000000000000, "
	      "0.50000000000000000, inf, -inf]}");
	gives("b = [true, false]", "{b: [true, false]}");
	gives("d = [1979-05-27, 07:32:00, 1979-05-27 07:32:00.5, 1979-05-27t07:32:00z, "
	      "2000-02-29T23:59:60-08:00]",
	      "{d: [1979-05-27, 07:32:00, 1979-05-27 07:32:00.5, 1979-05-27t07:32:00z, "
	      "2000-02-29T23:59:60-08:00]}");
	gives("d = 1979-05-27 # not a time", "{d: 1979-05-27}");
	gives("a = [ # c\n 1,\n\n 2, # d\n]\nt = { x = 1, y.z = 2 }\ne = {}",
	      "{a: [1, 2], t: {x: 1, y: {z: 2}}, e: {}}");
}
END_TEST

START_TEST(strings)
{
	gives("s = \"a\\tb\\u00e9\\U0001F600\\\"\\\\\"", "{s: \"a\\x09bé😀\\x22\\x5C\"}");
	gives("s = 'C:\\n \"x\"'", "{s: \"C:\\x5Cn \\x22x\\x22\"}");
	gives("s = \"\"\"\r\na\nb \\  \n\n   c\"\"\"", "{s: \"a\\x0Ab c\"}");
	gives("s = \"\"\"\"a\"\"\"\"\"", "{s: \"\\x22a\\x22\\x22\"}");
	gives("s = '''''a''b'''''", "{s: \"''a''b''\"}");
	gives("s = \"\"\"\"\"\"\nt = ''''''\nu = \"\"\nv = ''",
	      "{s: \"\", t: \"\", u: \"\", v: \"\"}");
	gives("s = \"a\\u0000b\"", "{s: \"a\\x00b\"}");
	refused("s = \"a\nb\"", "1:5: the string that begins here has no end on its line, "
				"accepted: a closing quote");
	refused("s = 'a", "1:5: the string that begins here has no end, accepted: closing quotes");
	refused("s = \"\"\"a\"\"",
		"1:5: the string that begins here has no end, accepted: closing quotes");
	refused("s = \"é\\q\"",
		"1:7: unknown escape, accepted: \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX "
		"\\UXXXXXXXX (or a literal string in single quotes)");
	refused("s = \"\\u12\"", "1:6: \\u without 4 hexadecimal digits");
	refused("s = \"\\uD800\"", "1:6: found an escape of U+D800, accepted: U+0000 to U+D7FF and "
				   "U+E000 to U+10FFFF");
	refused("s = \"\"\"a\"\"\"\"\"\"", "1:14: found '\"', accepted: the end of the line");
}
END_TEST

START_TEST(keys_and_tables)
{
	gives("a.b.c = 1\na.b.d = 2\n\"x y\".'' = 3\n1.2 = 4",
	      "{a: {b: {c: 1, d: 2}}, \"x y\": {\"\": 3}, 1: {2: 4}}");
	gives("[a.b]\nx = 1\n[a]\ny = 2\n[a.c]", "{a: {b: {x: 1}, y: 2, c: {}}}");
	gives("[[p]]\nn = 1\n[p.s]\nx = 1\n[[p]]\nn = 2\n[[p.q]]\n[[p.q]]",
	      "{p: [{n: 1, s: {x: 1}}, {n: 2, q: [{}, {}]}]}");
	gives("[network.default]\nmtu = 1280\n[network.default.http]\nbind_port = 8081\n"
	      "[[network.default.peers]]\nallowed_ips = [\"10.42.0.0/16\"]\n"
	      "[network.default.nodes.\"node-a\"]\naddress = \"10.0.0.1/24\"",
	      "{network: {default: {mtu: 1280, http: {bind_port: 8081}, peers: [{allowed_ips: "
	      "[\"10.42.0.0/16\"]}], nodes: {\"node-a\": {address: \"10.0.0.1/24\"}}}}}");
	/* Implicit by a header, then filled by dotted keys, is filled no more. */
	gives("[a.b.c]\n[a]\nb.x = 1", "{a: {b: {c: {}, x: 1}}}");
	refused("[a.b.c]\n[a]\nb.x = 1\n[a.b]",
		"4:4: found \"b\" again, which is a table by dotted keys since 1:4, accepted: each "
		"table once");
	refused("mtu = 1\n mtu = 2", "2:2: found \"mtu\" again, which is an integer since 1:1, "
				     "accepted: each key once");
	refused("[a]\n[b]\n[a]", "3:2: found \"a\" again, which is a table with a [header] since "
				 "1:2, accepted: each table once");
	refused("a = {x = 1}\na.y = 2", "2:1: found \"a\" again, which is an inline table since "
					"1:1, accepted: dotted keys into a table that only dotted "
					"keys have made");
	refused("a = {x = 1}\n[a.y]", "2:2: found \"a\" again, which is an inline table since "
				      "1:1, accepted: the name of a table that is not closed");
	refused("[[a]]\n[a]", "2:2: found \"a\" again, which is an array of [[tables]] since 1:3, "
			      "accepted: [[double brackets]] for one more");
	refused("a = []\n[[a]]", "2:3: found \"a\" again, which is an array since 1:1, accepted: "
				 "[[double brackets]] from the first element on");
	refused("[a]\n[[a]]", "2:3: found \"a\" again, which is a table with a [header] since 1:2, "
			      "accepted: another name for the [[tables]]");
}
END_TEST

START_TEST(syntax_errors)
{
	refused("a", "1:2: found the end of the text, accepted: '=' behind the key");
	refused("a =\nb = 1",
		"1:4: found the end of the line, accepted: a value: \"string\", number, true, "
		"false, date, [array] or {table} (a string needs quotes)");
	refused("a = 1 b = 2", "1:7: found 'b', accepted: the end of the line");
	refused("é = 1", "1:1: found 'é', accepted: a key: A-Z a-z 0-9 _ -, or a text in quotes");
	refused("[a",
		"1:3: found the end of the text, accepted: '.' or ']' behind the table's name");
	refused("[[a]\n", "1:5: found the end of the line, accepted: ']]' behind the name of an "
			  "array of tables");
	refused("a = [1 2]", "1:8: found '2', accepted: ',' or ']'");
	refused("a = {b = 1,}",
		"1:12: found '}', accepted: a key: A-Z a-z 0-9 _ -, or a text in quotes");
	refused("a = {b = 1\n}",
		"1:11: found the end of the line, accepted: ',' or '}' on the same line");
	refused("\"\"\"a\"\"\" = 1", "1:1: found a multi-line string, accepted as a key: bare, "
				     "\"basic\" or 'literal' on one line");
	refused("a = 1979-02-30",
		"1:5: malformed date or time, accepted: 1979-05-27, 07:32:00, 1979-05-27T07:32:00 "
		"and 1979-05-27T07:32:00Z, with a fraction of seconds and an offset such as "
		"+09:00");
	refused("a = 1\rb = 2", "1:6: found a carriage return alone, accepted: lines that end in "
				"LF or CR LF");
	refused("# é \x01", "1:5: found the control character U+0001, accepted: tab and printable "
			    "characters");
	refused("a = 1\n# \xFF", "2:3: found the byte 0xFF, accepted: UTF-8");
	refused_bytes("a = 1\0", 6, -EINVAL,
		      "1:6: found the control character U+0000, accepted: "
		      "tab and printable characters");
	refused("a = 9223372036854775808", "1:5: integer out of range, accepted: "
					   "-9223372036854775808 to 9223372036854775807");
	refused("a = 1e999", "1:5: float out of the range of 64 bits, accepted for infinity: inf");
	for (size_t i = 0; i < 10; i++) {
		static const char *const bad[] = {"01", "1__0", "1_", "0x",  "+0x1",
						  "1.", ".5",   "1e", "0b2", "1.e5"};
		char text[32];

		snprintf(text, sizeof(text), "a = %s", bad[i]);
		refused(text,
			"1:5: malformed number, accepted: 1, -1, 1_000, 1.5, 1e6, 0xff, 0o17, "
			"0b11, inf, nan (no leading zeros, digits on both sides of '.' and "
			"'_'; a string needs quotes)");
	}
}
END_TEST

/* A key whose quotes were forgotten is not in the message. */
START_TEST(no_secret_in_errors)
{
	static const char *const texts[] = {
		"k = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqXG9PubVsOio=",
		"k = 4wdtCnMYpX08FsFyUbJmRd9ML4frwJkqXG9PubVsOio=",
		"k = \"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqXG9PubVsOio=",
		"k = [ \"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqXG9PubVsOio=\" x ]",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct cfg_value *v = NULL;
		struct err e = {0};

		ck_assert_int_eq(toml_parse(texts[i], strlen(texts[i]), &v, NULL, &e), -EINVAL);
		ck_assert_ptr_null(strstr(e.msg, "CnMY"));
		ck_assert_int_eq(toml_parse(texts[i], strlen(texts[i]), &v, NULL, NULL), -EINVAL);
	}
}
END_TEST

START_TEST(positions)
{
	static const char text[] = "\n[a.b]\n  x.y = [1,\n\t\"z\"]\n[[c]]\nt = {k = 1}";
	struct cfg_value *v = NULL;

	ck_assert_int_eq(toml_parse(text, strlen(text), &v, NULL, NULL), 0);
	char *got = cfg_dump(v, true);
	ck_assert_str_eq(got, "{a@2:2: {b@2:4: {x@3:3: {y@3:5: [1@3:10, \"z\"@4:2]@3:9}@3:3}@2:1}"
			      "@2:2, c@5:3: [{t@6:1: {k@6:6: 1@6:10}@6:5}@5:1]@5:3}@1:1");
	free(got);
	cfg_value_free(v);
	v = NULL;
	ck_assert_int_eq(toml_parse("\"é\" = ['ü', 1]", 16, &v, NULL, NULL), 0);
	got = cfg_dump(v, true);
	ck_assert_str_eq(got, "{\"é\"@1:1: [\"ü\"@1:8, 1@1:13]@1:7}@1:1");
	free(got);
	cfg_value_free(v);
}
END_TEST

static void fill(struct buf *b, const char *unit, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_adds(b, unit);
}

/* `head`, n times `open`, n times `close`. */
static int parse_nested(const char *head, const char *open, const char *mid, const char *close,
			size_t n, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_cfg_value_ struct cfg_value *v = NULL;

	buf_adds(&b, head);
	fill(&b, open, n);
	buf_adds(&b, mid);
	fill(&b, close, n);
	return parse_bytes(b.data, b.len, &v, e);
}

START_TEST(bounds)
{
	struct err e;

	ck_assert_int_eq(parse_nested("a = ", "[", "", "]", 64, &e), 0);
	ck_assert_int_eq(parse_nested("a = ", "[", "", "]", 65, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "1:69: nested deeper than 64 levels");
	ck_assert_int_eq(parse_nested("a = ", "{a=", "1", "}", 64, &e), 0);
	ck_assert_int_eq(parse_nested("a = ", "{a=", "1", "}", 65, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("", "a.", "a = 1", "", 64, &e), 0);
	ck_assert_int_eq(parse_nested("", "a.", "a = 1", "", 65, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("", "a.", "a = []", "", 64, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("[", "a.", "a]", "", 63, &e), 0);
	ck_assert_int_eq(parse_nested("[", "a.", "a]", "", 64, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("[[", "a.", "a]]", "", 62, &e), 0);
	ck_assert_int_eq(parse_nested("[[", "a.", "a]]", "", 63, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("[[a]]\n[", "a.", "a]", "", 62, &e), 0);
	ck_assert_int_eq(parse_nested("[[a]]\n[", "a.", "a]", "", 63, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("", "a.", "", "", 1000000, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("", "#", "", "", CFG_MAX_BYTES, &e), 0);
	ck_assert_int_eq(parse_nested("", "#", "", "", CFG_MAX_BYTES + 1, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("a = [", "1,", "]", "", CFG_MAX_VALUES, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "1:2097154: more than 1048576 values");
}
END_TEST

/* Hostile documents of 100,000 keys, tables or elements: n log n, so far below a second each. */
START_TEST(many)
{
	static const char *const lines[] = {"k%d = 1\n",    "[t%d]\n",         "[a.t%d]\nx = 1\n",
					    "[[a]]\n#%d\n", "a.b.c.k%d = 1\n", "[[a]]\n[a.b%d]\n"};
	clock_t begin = clock();

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT(0);
		_cleanup_cfg_value_ struct cfg_value *v = NULL;
		struct err e = {0};

		for (int n = 0; n < 100000; n++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			buf_addf(&b, lines[i], n);
#pragma GCC diagnostic pop
		}
		ck_assert_msg(toml_parse(b.data, b.len, &v, NULL, &e) == 0, "%s", e.msg);
	}

	/* On one line: places are counted on, not from the line's begin. */
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	buf_adds(&b, "a = [");
	fill(&b, "'x',", 500000);
	buf_adds(&b, "]");
	ck_assert_int_eq(toml_parse(b.data, b.len, &v, NULL, NULL), 0);
	ck_assert_msg(clock() - begin < 20 * CLOCKS_PER_SEC, "quadratic?");
}
END_TEST

/* However many keys a table has, one of them again is found, with the place of the first. */
START_TEST(keys_again)
{
	for (int n = 1; n <= 40; n++)
		for (int again = 0; again<n; again += n> 20 ? 7 : 1) {
			_cleanup_buf_ struct buf b = BUF_INIT(0);
			_cleanup_cfg_value_ struct cfg_value *v = NULL;
			struct err e = {0};
			char place[32];

			buf_adds(&b, "[other]\nk0 = 0\n[t]\n");
			for (int i = 0; i < n; i++)
				buf_addf(&b, "k%d = %d\n", i, i);
			ck_assert_int_eq(toml_parse(b.data, b.len, &v, NULL, &e), 0);
			buf_addf(&b, "k%d = 1\n", again);
			cfg_value_free(mem_steal(&v));
			ck_assert_int_eq(toml_parse(b.data, b.len, &v, NULL, &e), -EINVAL);
			snprintf(place, sizeof(place), "since %d:1,", 4 + again);
			ck_assert_msg(strstr(e.msg, place), "%d of %d: %s", again, n, e.msg);
		}
}
END_TEST

START_TEST(no_memory)
{
	static const char text[] = "a = 1\nb.c = [1.5, true, 'x', \"\\u00e9\", "
				   "1979-05-27]\n[t.u.\"v w\"]\nx = {y = 1}\n"
				   "[[p]]\n[[p]]\na=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\n"
				   "i=1\nj=1\nk=1\nl=1\nm=1\nn=1\no=1\np=1\nq=1\nr=1\ns=1\n";

	cfg_no_memory(toml_parse, text, 60);
}
END_TEST

START_TEST(value_tree)
{
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	static const char text[] = "a = 1\n\"b\\u0000\" = 2\nbb = 3";

	ck_assert_int_eq(toml_parse(text, strlen(text), &v, NULL, NULL), 0);
	ck_assert_int_eq(cfg_table_find(v, "bb")->value->integer, 3);
	ck_assert_ptr_null(cfg_table_find(v, "b"));
	ck_assert_ptr_null(cfg_table_find(v, ""));
	ck_assert_str_eq(cfg_type_name(CFG_DATETIME), "datetime");
	ck_assert_str_eq(cfg_type_name(CFG_NULL), "null");
	cfg_value_free(NULL);
}
END_TEST

START_TEST(strings_are_wiped)
{
	static const char text[] = "k = \"a secret \\u00e9\"\n";
	struct cfg_value *v = NULL;

	ck_assert_int_eq(toml_parse(text, strlen(text), &v, NULL, NULL), 0);
	const struct cfg_value *s = cfg_table_find(v, "k")->value;
	fault_watch(s->str, s->len);
	cfg_value_free(v);
	ck_assert(fault_watched_zero());
}
END_TEST

static Suite *suite(void)
{
	Suite *s = UNIT_SUITE("toml", values, strings, keys_and_tables, syntax_errors,
			      no_secret_in_errors, positions, bounds, many, keys_again, no_memory,
			      value_tree, strings_are_wiped);

	if (access(test_dir(), R_OK) == 0) {
		TCase *valid = tcase_create("toml_test_valid"),
		      *invalid = tcase_create("toml_test_invalid");
		tcase_add_test(valid, toml_test_valid);
		tcase_add_test(invalid, toml_test_invalid);
		suite_add_tcase(s, valid);
		suite_add_tcase(s, invalid);
	} else {
		unit_skip("toml_test_valid", no_cases());
		unit_skip("toml_test_invalid", no_cases());
	}
	return s;
}

UNIT_MAIN(suite)
