/* lib/json: what the parser takes and refuses, reading members, quoting. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "fault.h"
#include "json/json.h"

static const struct json_limits limits = {1 << 24, 8};

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;
	struct err e = {0};
	int r = json_parse(text, strlen(text), limits, &o, &e);

	ck_assert_msg(r == 0, "%s: %s", text, e.msg);
	return o;
}

/* The text is refused with `code` and exactly this message, and *ret stays. */
static void refused_bytes(const char *text, size_t len, int code, const char *message)
{
	struct json_object *before = json_object_new_object(), *o = before;
	/* The exact size on the heap, so that a sanitizer sees one byte past the end. */
	char *copy = malloc(len ? len : 1);
	struct err e = {0};

	memcpy(copy, text, len);
	int r = json_parse(copy, len, limits, &o, &e);
	ck_assert_msg(r == code, "%s: returned %d", text, r);
	ck_assert_str_eq(e.msg, message);
	ck_assert_ptr_eq(o, before);
	ck_assert_int_eq(json_parse(copy, len, limits, &o, NULL), code);
	free(copy);
	json_object_put(before);
}

static void refused(const char *text, const char *message)
{
	refused_bytes(text, strlen(text), -EINVAL, message);
}

START_TEST(every_type)
{
	_cleanup_json_ struct json_object *o = parse(
		" {\"s\":\"a\\u00e9\\ud83d\\ude00\\\"\\/\\b\\f\\n\\r\\t\",\"i\":-7,\"d\":1.5e1,"
		"\"t\":true,\"f\":false,\"n\":null,\"a\":[1,[],{}],\"\":0}\r\n\t ");

	ck_assert_str_eq(json_get_str(o, "s"), "aé😀\"/\b\f\n\r\t");
	ck_assert_int_eq(json_get_int(o, "i", 0), -7);
	ck_assert(json_object_get_double(json_get(o, "d", json_type_double)) == 15.0);
	ck_assert(json_get_bool(o, "t", false));
	ck_assert(!json_get_bool(o, "f", true));
	ck_assert_uint_eq(json_object_array_length(json_get(o, "a", json_type_array)), 3);
	ck_assert_int_eq(json_object_object_length(o), 8);
	ck_assert_int_eq(json_get_int(o, "", 5), 0);
	ck_assert_ptr_null(parse("null"));
	struct json_object *lone = parse("\"x\"");
	ck_assert_str_eq(json_object_get_string(lone), "x");
	json_object_put(lone);
}
END_TEST

START_TEST(members_by_type)
{
	_cleanup_json_ struct json_object *o =
		parse("{\"a\":{\"b\":{\"c\":\"x\"}},\"n\":null,\"s\":\"5\",\"i\":5}");

	ck_assert_ptr_null(json_get(o, "n", json_type_null));
	ck_assert_ptr_null(json_get(o, "absent", json_type_string));
	ck_assert_ptr_null(json_get_str(o, "i"));
	ck_assert_int_eq(json_get_int(o, "s", 9), 9);
	ck_assert(json_get_bool(o, "i", true));
	ck_assert_ptr_null(json_get_str(NULL, "s"));
	ck_assert_str_eq(json_object_get_string(json_path(o, "a", "b", "c", NULL)), "x");
	ck_assert_ptr_null(json_path(o, "a", "x", "c", NULL));
	ck_assert_ptr_null(json_path(o, "s", "x", NULL));
	ck_assert_ptr_eq(json_path(o, NULL), o);
	ck_assert_ptr_null(json_path(NULL, "a", NULL));
	/* Of another type than an object. */
	ck_assert_ptr_null(json_get_str(json_get(o, "s", json_type_string), "x"));
}
END_TEST

START_TEST(numbers)
{
	static const struct {
		const char *text;
		enum json_type type;
		double value;
	} cases[] = {
		{"0", json_type_int, 0},
		{"-0", json_type_int, 0},
		{"9223372036854775807", json_type_int, 9223372036854775807.0},
		{"-9223372036854775808", json_type_int, -9223372036854775808.0},
		{"9223372036854775808", json_type_double, 9223372036854775808.0},
		{"-9223372036854775809", json_type_double, -9223372036854775808.0},
		{"18446744073709551616", json_type_double, 18446744073709551616.0},
		{"1.0", json_type_double, 1},
		{"-0.5E-1", json_type_double, -0.05},
		{"1e+3", json_type_double, 1000},
		{"1e-999", json_type_double, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_json_ struct json_object *o = parse(cases[i].text);

		ck_assert_msg(json_object_is_type(o, cases[i].type), "%s", cases[i].text);
		ck_assert_msg(json_object_get_double(o) == cases[i].value, "%s", cases[i].text);
	}

	_cleanup_json_ struct json_object *max = parse("{\"i\":9223372036854775807,"
						       "\"o\":9223372036854775808}");
	ck_assert(json_get_int(max, "i", 0) == INT64_MAX);
	ck_assert_int_eq(json_get_int(max, "o", -1), -1);

	refused("01", "line 1, column 1: number with a leading zero, accepted: none");
	refused("-", "line 1, column 2: found the end of the text, accepted: a digit");
	refused("[-a]", "line 1, column 3: found 'a', accepted: a digit");
	refused("1.", "line 1, column 3: found the end of the text, accepted: a digit");
	refused("[.5]", "line 1, column 2: found '.', accepted: an object, array, string, number, "
			"true, false or null");
	refused("1e", "line 1, column 3: found the end of the text, accepted: a digit");
	refused("+1", "line 1, column 1: found '+', accepted: an object, array, string, number, "
		      "true, false or null");
	refused("0x10", "line 1, column 2: found 'x', accepted: nothing more");
	refused("1e999", "line 1, column 1: number beyond the range of a double");
	refused("NaN", "line 1, column 1: found 'N', accepted: an object, array, string, number, "
		       "true, false or null");

	char longest[1100];
	memset(longest, '1', sizeof(longest));
	refused_bytes(longest, sizeof(longest), -E2BIG,
		      "line 1, column 1: number of more than 1024 characters");
}
END_TEST

START_TEST(strings_refused)
{
	refused("\"a\nb\"",
		"line 1, column 3: control character in a string, accepted: its escape");
	refused("{\"é\":\"a\\u0000\"}", "line 1, column 8: U+0000 is not accepted in a string");
	refused("{\"a\\u0000\":1}", "line 1, column 4: U+0000 is not accepted in a string");
	refused_bytes("\"a\0\"", 4, -EINVAL,
		      "line 1, column 3: control character in a string, accepted: its escape");
	for (size_t i = 0; i < 4; i++) {
		static const char *const lone[] = {"\"\\ud800\"", "\"\\udc00\"",
						   "\"\\ud800\\ud800\"", "\"\\ud800x\\udc00\""};
		refused(lone[i], "line 1, column 2: half of a surrogate pair, accepted: "
				 "\\uD800-\\uDBFF followed by \\uDC00-\\uDFFF");
	}
	refused("\"\\u12g4\"", "line 1, column 2: \\u needs four hexadecimal digits");
	refused("\"\\u12", "line 1, column 2: \\u needs four hexadecimal digits");
	refused("\"\\x41\"", "line 1, column 2: unknown escape, accepted: "
			     "\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
	refused("\"\\", "line 1, column 2: the text ends inside an escape");
	refused("[\"abc", "line 1, column 2: the string that begins here has no end");
	/* Overlong, surrogate, beyond U+10FFFF, cut short, a lone continuation byte. */
	for (size_t i = 0; i < 5; i++) {
		static const char *const bad[] = {"\"\xC0\x80\"", "\"\xED\xA0\x80\"",
						  "\"\xF4\x90\x80\x80\"", "\"\xE2\x82\"",
						  "\"\x80\""};
		refused(bad[i], "line 1, column 2: invalid UTF-8 in a string");
	}
}
END_TEST

START_TEST(structure_refused)
{
	refused("", "line 1, column 1: found the end of the text, accepted: an object, array, "
		    "string, number, true, false or null");
	refused("{\n \"mtu\": 1,\n \"a\": {\"mtu\": 1}, \"mtu\": 2}",
		"line 3, column 19: duplicate key \"mtu\"");
	/* Equal after decoding. */
	refused("{\"a\":1,\"\\u0061\":2}", "line 1, column 8: duplicate key \"a\"");
	refused("{\"a\":1,}", "line 1, column 8: found '}', accepted: a key in double quotes");
	refused("[1,]", "line 1, column 4: found ']', accepted: an object, array, string, number, "
			"true, false or null");
	refused("[1 2]", "line 1, column 4: found '2', accepted: ',' or ']'");
	refused("{\"a\" 1}", "line 1, column 6: found '1', accepted: ':'");
	refused("{\"a\":1 \"b\"}", "line 1, column 8: found a string, accepted: ',' or '}'");
	refused("{a:1}", "line 1, column 2: found 'a', accepted: a key in double quotes");
	refused("{\"a\":1", "line 1, column 7: found the end of the text, accepted: ',' or '}'");
	refused("{} x", "line 1, column 4: found 'x', accepted: nothing more");
	refused_bytes("{}\0", 3, -EINVAL,
		      "line 1, column 3: found '\\x00', accepted: nothing more");
	refused("[1] // c", "line 1, column 5: found '/', accepted: nothing more");
	refused("\xEF\xBB\xBF{}", "line 1, column 1: found '\xEF\xBB\xBF', accepted: an object, "
				  "array, string, number, true, false or null");
	refused("tru", "line 1, column 1: found 't', accepted: an object, array, string, number, "
		       "true, false or null");
	refused("nullx", "line 1, column 5: found 'x', accepted: nothing more");
}
END_TEST

START_TEST(bounds)
{
	json_object_put(parse("[[[[[[[[]]]]]]]]"));
	refused_bytes("[[[[[[[[[]]]]]]]]]", 18, -E2BIG,
		      "line 1, column 9: nested deeper than 8 levels");
	struct json_object *o = NULL;
	struct err e = {0};
	ck_assert_int_eq(json_parse("1234", 4, (struct json_limits){3, 1}, &o, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "line 1, column 1: 4 bytes of JSON, at most 3 are accepted");
	ck_assert_int_eq(json_parse("[]", 2, (struct json_limits){3, 0}, &o, &e), -E2BIG);

	_cleanup_buf_ struct buf b = BUF_INIT(1 << 24);
	buf_addc(&b, '[');
	for (size_t i = 0; i < JSON_MAX_VALUES; i++)
		buf_adds(&b, "1,");
	buf_adds(&b, "1]");
	ck_assert_int_eq(json_parse(b.data, b.len, limits, &o, &e), -E2BIG);
	ck_assert_ptr_null(o);
}
END_TEST

/* 100,000 keys, and the last equal to the first: linear work, so far below a second. */
START_TEST(many_keys)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 24);
	struct json_object *o = NULL;
	struct err e = {0};

	buf_addc(&b, '{');
	for (int i = 0; i < 100000; i++)
		buf_addf(&b, "\"key-%d\":%d,\n", i, i);
	clock_t begin = clock();
	buf_adds(&b, "\"key-0\":0}");
	ck_assert_int_eq(json_parse(b.data, b.len, limits, &o, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "line 100001, column 1: duplicate key \"key-0\"");
	b.data[b.len - 5] = 'x';
	ck_assert_int_eq(json_parse(b.data, b.len, limits, &o, &e), 0);
	ck_assert_int_eq(json_object_object_length(o), 100001);
	ck_assert_int_eq(json_get_int(o, "key-99999", 0), 99999);
	json_object_put(o);
	ck_assert_msg(clock() - begin < 5 * CLOCKS_PER_SEC, "quadratic?");
}
END_TEST

START_TEST(quoting)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	json_quote(&b, "a\"\\\b\f\n\r\t\x01\x7F é😀 \xFF\xED\xA0\x80");
	ck_assert_str_eq(buf_str(&b), "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7F é😀 "
				      "\uFFFD\uFFFD\uFFFD\uFFFD\"");
	_cleanup_json_ struct json_object *o = NULL;
	ck_assert_int_eq(json_parse(b.data, b.len, limits, &o, NULL), 0);
}
END_TEST

/* The bytes of the strings are zero before json-c gets them back. */
START_TEST(wiped)
{
	struct json_object *o = parse(
		"{\"k\":[\"short\",{\"x\":\"a long one that json-c cannot keep inline …\"}]}");
	struct json_object *array = json_get(o, "k", json_type_array);
	struct json_object *s = json_object_get(json_object_array_get_idx(array, 0));
	struct json_object *l =
		json_object_get(json_path(json_object_array_get_idx(array, 1), "x", NULL));

	json_put_wiped(o);
	ck_assert_uint_eq((unsigned char)json_object_get_string(s)[0], 0);
	ck_assert_uint_eq((unsigned char)json_object_get_string(s)[4], 0);
	ck_assert_uint_eq((unsigned char)json_object_get_string(l)[0], 0);
	json_object_put(s);
	json_object_put(l);
	json_put_wiped(NULL);
}
END_TEST

START_TEST(no_memory)
{
	static const char text[] =
		"{\"a\":[1,2.5,true,null,\"x\",\"\\u00e9\",5,6,7,8],\"b\":{\"c\":{},"
		"\"d\":\"long enough to be a block of its own\"},\"1\":1,\"2\":1,\"3\":1,"
		"\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"10\":1,\"11\":1,\"12\":1}";
	struct json_object *o = NULL;
	struct err e = {0};
	size_t rounds = 0;
	int r;

	json_object_put(parse("{\"seeds the hash\":1}"));
	FAULT_LOOP({
		r = json_parse(text, strlen(text), limits, &o, &e);
		if (r == 0)
			json_object_put(mem_steal(&o));
	})
	{
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_str_eq(e.msg, "out of memory");
		ck_assert_ptr_null(o);
		rounds++;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_gt(rounds, 30);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("json", every_type, members_by_type, numbers, strings_refused,
			  structure_refused, bounds, many_keys, quoting, wiped, no_memory);
}

UNIT_MAIN(suite)
