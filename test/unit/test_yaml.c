/* lib/config: the YAML reader. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/str.h"
#include "cfgdump.h"
#include "config/toml.h"
#include "config/yaml.h"
#include "fault.h"

static int parse_bytes(const char *text, size_t len, struct cfg_value **ret, struct err *e)
{
	char *copy = malloc(len ? len : 1);
	struct cfg_pos pos = {0};

	memcpy(copy, text, len);
	int r = yaml_parse(copy, len, ret, &pos, e);
	if (r < 0) {
		char place[32];

		snprintf(place, sizeof(place), "%u:%u: ", pos.line, pos.column);
		ck_assert_msg(str_starts(e->msg, place), "%s at %s", e->msg, place);
	}
	free(copy);
	return r;
}

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

static void refused_bytes(const char *text, size_t len, const char *message)
{
	struct cfg_value *v = NULL;
	struct err e = {0};
	int r = parse_bytes(text, len, &v, &e);

	ck_assert_msg(r == -EINVAL, "%s: returned %d", text, r);
	ck_assert_ptr_null(v);
	ck_assert_str_eq(e.msg, message);
	ck_assert_int_eq(yaml_parse(text, len, &v, NULL, NULL), r);
}

static void refused(const char *text, const char *message)
{
	refused_bytes(text, strlen(text), message);
}

START_TEST(documents)
{
	gives("", "{}");
	gives("# only a comment\n", "{}");
	gives("---\n", "{}");
	gives("~", "{}");
	gives("\xEF\xBB\xBF"
	      "a: 1\r\nb: 2\r\n",
	      "{a: 1, b: 2}");
	gives("%YAML 1.1\n---\na: 1\n...\n", "{a: 1}");
	gives("{}", "{}");
	gives("network:\n  default:\n    dns: [10.100.0.2, 'fd00::1']\n    peers:\n"
	      "    - name: core\n      allowed_ips:\n      - 10.42.0.0/16\n    - {}\n",
	      "{network: {default: {dns: [\"10.100.0.2\", \"fd00::1\"], peers: [{name: \"core\", "
	      "allowed_ips: [\"10.42.0.0/16\"]}, {}]}}}");
	gives("a: |\n  x\n  y\nb: >-\n  x\n  y\nc: \"\\u00e9\\n\"\nd: 'it''s'\n",
	      "{a: \"x\\x0Ay\\x0A\", b: \"x y\", c: \"é\\x0A\", d: \"it's\"}");
}
END_TEST

/* The core schema of YAML 1.2: what 1.1 would take for more is a string. */
START_TEST(plain_scalars)
{
	gives("a: [null, Null, NULL, ~, ]\nb:\n", "{a: [null, null, null, null], b: null}");
	gives("a: [true, True, TRUE, false, False, FALSE]",
	      "{a: [true, true, true, false, false, false]}");
	gives("a: [yes, no, on, off, y, n, tRUE, nULL, 1_000, 0b11, 1:30, 2001-01-01, +0x1, 0X1F]",
	      "{a: [\"yes\", \"no\", \"on\", \"off\", \"y\", \"n\", \"tRUE\", \"nULL\", \"1_000\", "
	      "\"0b11\", \"1:30\", \"2001-01-01\", \"+0x1\", \"0X1F\"]}");
	gives("a: [0, -1, +7, 010, 0o17, 0xDEADbeef, 9223372036854775807, -9223372036854775808]",
	      "{a: [0, -1, 7, 10, 15, 3735928559, 9223372036854775807, -9223372036854775808]}");
	gives("a: [1.5, .5, 1., -2e3, 1e-1, .inf, -.Inf, +.INF]",
	      "{a: [1.5000000000000000, 0.50000000000000000, 1.0000000000000000, "
	      "-2000.0000000000000, 0.10000000000000001, inf, -inf, inf]}");
	gives("a: [., +, 1e, 0x, 0o8, 1.2.3, .nanx]",
	      "{a: [\".\", \"+\", \"1e\", \"0x\", \"0o8\", \"1.2.3\", \".nanx\"]}");
	gives("a: [\"1\", 'true', \"\", '~']", "{a: [\"1\", \"true\", \"\", \"~\"]}");
	for (size_t i = 0; i < 4; i++) {
		static const char *const far[] = {"a: 9223372036854775808", "a: 0xffffffffffffffff",
						  "a: 1e999", "a: -9223372036854775809"};
		refused(far[i],
			"1:4: number out of range, accepted: integers of 64 bits, floats of "
			"64 bits, or quotes around a string");
	}
}
END_TEST

START_TEST(hidden_meaning_refused)
{
	refused("a: &x 1\nb: *x", "1:4: found an anchor (&), accepted: the value alone");
	refused("a: &x [1]", "1:4: found an anchor (&), accepted: the value alone");
	refused("&x {a: 1}", "1:1: found an anchor (&), accepted: the value alone");
	refused("é: *x", "1:4: found an alias (*), accepted: the value itself");
	refused("*x : 1", "1:1: found an alias (*), accepted: the value itself");
	refused("a: !!str 1", "1:4: found a tag (!), accepted: the value alone");
	refused("a: ! x", "1:4: found a tag (!), accepted: the value alone");
	refused("a: !!map {}", "1:4: found a tag (!), accepted: the value alone");
	refused("!x a: 1", "1:1: found a tag (!), accepted: the value alone");
	refused("%TAG ! tag:x,1:\n---\na: 1", "1:1: found a %TAG directive, accepted: none");
	refused("<<: {a: 1}", "1:1: found a merge key (<<), accepted: the keys");
	gives("\"<<\": 1", "{\"<<\": 1}");
	refused("a: 1\n---\nb: 1", "2:1: found a second document, accepted: one");
	refused("a: 1\n---\n", "2:1: found a second document, accepted: one");
}
END_TEST

START_TEST(keys_refused)
{
	refused("a:\n  mtu: 1\n  x: 2\n  mtu: 3",
		"4:3: found \"mtu\" again, first at 2:3, accepted: each key once");
	refused("{a: 1, \"\\x61\": 2}",
		"1:8: found \"a\" again, first at 1:2, accepted: each key once");
	refused("1: x", "1:1: found a key of type integer, accepted: a string (put it in quotes)");
	refused("true: x",
		"1:1: found a key of type boolean, accepted: a string (put it in quotes)");
	refused("~: x", "1:1: found a key of type null, accepted: a string (put it in quotes)");
	refused("1e999: x",
		"1:1: found a key of type float, accepted: a string (put it in quotes)");
	refused("[a]: x", "1:1: found a sequence or mapping as a key, accepted: a string");
	refused("? {a: b}\n: x", "1:3: found a sequence or mapping as a key, accepted: a string");
	refused("\"a\\0\": x", "1:1: found U+0000 in a string, accepted: any other");
	gives("\"1\": x\nyes: y", "{1: \"x\", yes: \"y\"}");
}
END_TEST

START_TEST(syntax_errors)
{
	refused("a: \"x\\0y\"", "1:4: found U+0000 in a string, accepted: any other");
	refused("a: |\n  x\n\tb: 1", "3:1: found a tab, accepted: spaces for indentation");
	refused("- 1", "1:1: found a sequence, accepted: a mapping (key: value)");
	refused("just text", "1:1: found a scalar, accepted: a mapping (key: value)");
	refused_bytes("a: 1\nb: x\0", 10,
		      "2:5: control characters are not allowed (0x00), accepted: UTF-8 without "
		      "control characters");
	refused("é: \xFF", "1:4: invalid leading UTF-8 octet (0xFF), accepted: UTF-8 without "
			   "control characters");
	refused("a: [1", "2:1: did not find expected ',' or ']' (while parsing a flow sequence)");
	refused("a: 'x", "1:6: found unexpected end of stream (while scanning a quoted scalar)");
	/* UTF-16 is not guessed. */
	refused_bytes("\xFF\xFE"
		      "a\0:\0 \0"
		      "1\0",
		      10,
		      "1:1: invalid leading UTF-8 octet (0xFF), accepted: UTF-8 without control "
		      "characters");
}
END_TEST

START_TEST(positions)
{
	static const char text[] = "é: 'ü'\nb:\n  - x: 1\n  - [ü, 2]\n";
	struct cfg_value *v = NULL;

	ck_assert_int_eq(yaml_parse(text, strlen(text), &v, NULL, NULL), 0);
	char *got = cfg_dump(v, true);
	ck_assert_str_eq(got, "{\"é\"@1:1: \"ü\"@1:4, b@2:1: [{x@3:5: 1@3:8}@3:5, [\"ü\"@4:6, "
			      "2@4:9]@4:5]@3:3}@1:1");
	free(got);
	cfg_value_free(v);
}
END_TEST

/* The same network in both spellings gives the same tree. */
START_TEST(equal_to_toml)
{
	static const char toml[] =
		"[network.default]\nenable_wireguard = true\nmtu = 1280\ndns = [\"10.100.0.2\"]\n"
		"[[network.default.peers]]\nname = \"a\"\nweight = 1.5\n"
		"[[network.default.peers]]\nname = \"b\"\n";
	static const char yaml[] =
		"network:\n  default:\n    enable_wireguard: true\n    mtu: 1280\n"
		"    dns: [10.100.0.2]\n    peers:\n    - name: a\n      weight: 1.5\n    - name: "
		"b\n";

	cfg_same(toml_parse, toml, yaml_parse, yaml);
}
END_TEST

static int parse_nested(const char *head, const char *open, const char *mid, const char *close,
			size_t n, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_cfg_value_ struct cfg_value *v = NULL;

	buf_adds(&b, head);
	for (size_t i = 0; i < n; i++)
		buf_adds(&b, open);
	buf_adds(&b, mid);
	for (size_t i = 0; i < n; i++)
		buf_adds(&b, close);
	return parse_bytes(b.data, b.len, &v, e);
}

START_TEST(bounds)
{
	struct err e;

	ck_assert_int_eq(parse_nested("a: ", "[", "", "]", 64, &e), 0);
	ck_assert_int_eq(parse_nested("a: ", "[", "", "]", 65, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "1:68: nested deeper than 64 levels");
	ck_assert_int_eq(parse_nested("a: ", "{a: ", "1", "}", 64, &e), 0);
	ck_assert_int_eq(parse_nested("a: ", "{a: ", "1", "}", 65, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("a:\n ", "- ", "1", "", 100000, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("a: ", "[", "", "", 100000, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("", "#", "", "", CFG_MAX_BYTES, &e), 0);
	ck_assert_int_eq(parse_nested("", "#", "", "", CFG_MAX_BYTES + 1, &e), -E2BIG);
	ck_assert_int_eq(parse_nested("a: [", "1,", "]", "", CFG_MAX_VALUES, &e), -E2BIG);
}
END_TEST

START_TEST(many_keys)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	struct err e = {0};
	clock_t begin = clock();

	for (int i = 0; i < 100000; i++)
		buf_addf(&b, "k%d: 1\n", i);
	ck_assert_int_eq(yaml_parse(b.data, b.len, &v, NULL, &e), 0);
	ck_assert_uint_eq(v->n_entries, 100000);
	ck_assert_msg(clock() - begin < 10 * CLOCKS_PER_SEC, "quadratic?");
}
END_TEST

START_TEST(no_memory)
{
	static const char text[] = "a: 1\nb: [1.5, true, x, \"\\u00e9\", ~]\nc: {d: {e: f}}\n"
				   "g: |\n  text\nh: 5\ni: 6\nj: 7\n";

	cfg_no_memory(yaml_parse, text, 60);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("yaml", documents, plain_scalars, hidden_meaning_refused, keys_refused,
			  syntax_errors, positions, equal_to_toml, bounds, many_keys, no_memory);
}

UNIT_MAIN(suite)
