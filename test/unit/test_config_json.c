/* lib/config: JSON documents as trees of values. What JSON is, is tested in test_json.c. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "cfgdump.h"
#include "config/json.h"
#include "config/yaml.h"
#include "fault.h"

START_TEST(every_type)
{
	static const char text[] = "{\"z\":1,\"a\":[true,null,\"x\",-1.5,9223372036854775808],"
				   "\"\":{\"b\":{}}}";
	_cleanup_cfg_value_ struct cfg_value *v = NULL;

	ck_assert_int_eq(cfg_json_parse(text, strlen(text), &v, NULL, NULL), 0);
	char *got = cfg_dump(v, true);
	ck_assert_str_eq(got,
			 "{z@1:2: 1@1:6, a@1:8: [true@1:13, null@1:18, \"x\"@1:23, "
			 "-1.5000000000000000@1:27, 9.2233720368547758e+18@1:32]@1:12, \"\"@1:53: "
			 "{b@1:57: {}@1:61}@1:56}@1:1");
	free(got);
}
END_TEST

/* Space wherever it may be, escapes, a bracket in a string, characters of several bytes. */
START_TEST(places)
{
	static const char text[] = " {\n"
				   "\t\"a\\\"}\" :\r\n"
				   "  [ ] , \"\xC3\xA9\" : \"\xC3\xA9\\\\\" ,\n"
				   "\"b\":[\"]\",[{ }\n"
				   ",2 ] ] }\n";
	_cleanup_cfg_value_ struct cfg_value *v = NULL;

	ck_assert_int_eq(cfg_json_parse(text, strlen(text), &v, NULL, NULL), 0);
	char *got = cfg_dump(v, true);
	ck_assert_str_eq(got, "{\"a\\x22}\"@2:2: []@3:3, \"\xC3\xA9\"@3:9: \"\xC3\xA9\\x5C\"@3:15, "
			      "b@4:1: [\"]\"@4:6, [{}@4:11, 2@5:2]@4:10]@4:5}@1:2");
	free(got);
}
END_TEST

START_TEST(equal_to_yaml)
{
	static const char text[] =
		"{\"network\": {\"default\": {\"mtu\": 1280, \"peers\": [{\"name\": \"é\"}]}}}";

	cfg_same(cfg_json_parse, text, yaml_parse, text);
}
END_TEST

static void refused(const char *text, int code, unsigned line, unsigned column, const char *message)
{
	struct cfg_value *v = NULL;
	struct cfg_pos pos = {0};
	struct err e = {0};

	ck_assert_int_eq(cfg_json_parse(text, strlen(text), &v, &pos, &e), code);
	ck_assert_ptr_null(v);
	ck_assert_str_eq(e.msg, message);
	ck_assert_uint_eq(pos.line, line);
	ck_assert_uint_eq(pos.column, column);
	ck_assert_int_eq(cfg_json_parse(text, strlen(text), &v, NULL, NULL), code);
}

START_TEST(errors)
{
	refused("{\"a\": 1,\n \"a\": 2}", -EINVAL, 2, 2, "2:2: duplicate key \"a\"");
	refused("[]", -EINVAL, 1, 1, "1:1: found a JSON array, accepted: an object");
	refused("null", -EINVAL, 1, 1, "1:1: found a JSON null, accepted: an object");
	refused("{\"a\":\"\\u0000\"}", -EINVAL, 1, 7, "1:7: U+0000 is not accepted in a string");
	refused("{\"a\":"
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
		-E2BIG, 1, 70, "1:70: nested deeper than 65 levels");
}
END_TEST

START_TEST(no_memory)
{
	static const char text[] =
		"{\"a\":1,\"b\":[1.5,true,null,\"x\",\"\\u00e9\"],\"c\":{\"d\":{}},"
		"\"e\":1,\"f\":2,\"g\":3}";

	cfg_no_memory(cfg_json_parse, text, 40);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("config_json", every_type, places, equal_to_yaml, errors, no_memory);
}

UNIT_MAIN(suite)
