/* Lines of a watch, Status objects, and what is in a Secret or ConfigMap. */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "fault.h"
#include "json/json.h"
#include "kube/kube_priv.h"
#include "kube/stream.h"
#include "unit.h"

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;
	const struct json_limits limits = {1 << 20, 32};

	ck_assert_int_eq(json_parse(text, strlen(text), limits, &o, NULL), 0);
	return o;
}

/* ---- Lines ---- */

#define SECRET_LINE                                                                                \
	"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"s\",\"resourceVersion\":\"7\"}," \
	"\"data\":{\"k\":\"dg==\"}}}"

/* Feeds `text` in pieces of `piece` bytes and counts the lines that were read. */
static unsigned feed(const char *text, size_t piece)
{
	struct kube_stream s;
	struct kube_line line;
	struct err e;
	unsigned n = 0;

	kube_stream_init(&s, 4096);
	for (size_t at = 0, len = strlen(text); at < len; at += piece) {
		size_t take = len - at < piece ? len - at : piece;

		ck_assert_int_eq(kube_stream_add(&s, text + at, take), 0);
		while (kube_stream_next(&s, &line, &e) == 1) {
			n++;
			json_object_put(line.event);
		}
	}
	kube_stream_reset(&s);
	return n;
}

START_TEST(lines_in_pieces_of_any_size)
{
	static const char text[] = SECRET_LINE "\n\n\r\n" SECRET_LINE "\n{\"type\":\"BOOKMARK\","
					       "\"object\":{\"metadata\":{\"resourceVersion\":"
					       "\"9\"}}}\n" SECRET_LINE;

	for (size_t piece = 1; piece < sizeof(text); piece++)
		ck_assert_uint_eq(feed(text, piece), 3); /* the fourth is not whole */
}
END_TEST

START_TEST(line_types)
{
	static const struct {
		const char *text;
		int result;
		enum kube_line_type type;
	} cases[] = {
		{SECRET_LINE "\n", 1, KUBE_LINE_OBJECT},
		{"{\"type\":\"MODIFIED\",\"object\":{}}\n", 1, KUBE_LINE_OBJECT},
		{"{\"type\":\"DELETED\",\"object\":{}}\n", 1, KUBE_LINE_DELETED},
		{"{\"type\":\"BOOKMARK\",\"object\":{}}\n", 1, KUBE_LINE_BOOKMARK},
		{"{\"type\":\"ERROR\",\"object\":{}}\n", 1, KUBE_LINE_ERROR},
		{"{\"type\":\"OTHER\",\"object\":{}}\n", -EINVAL, 0},
		{"{\"type\":\"ADDED\"}\n", -EINVAL, 0},
		{"{\"type\":\"ADDED\",\"object\":[]}\n", -EINVAL, 0},
		{"{\"object\":{}}\n", -EINVAL, 0},
		{"{\"type\":\"ADDED\",\"object\":{}\n", -EINVAL, 0},
		{"[]\n", -EINVAL, 0},
		{"x\n", -EINVAL, 0},
		{SECRET_LINE, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kube_stream s;
		struct kube_line line;
		struct err e;

		kube_stream_init(&s, 4096);
		ck_assert_int_eq(kube_stream_add(&s, cases[i].text, strlen(cases[i].text)), 0);
		int r = kube_stream_next(&s, &line, &e);
		ck_assert_msg(r == cases[i].result, "case %zu: %d", i, r);
		if (r == 1) {
			ck_assert_msg(line.type == cases[i].type, "case %zu", i);
			json_object_put(line.event);
		}
		/* A line that cannot be read is taken out: the next is not lost. */
		if (r < 0) {
			ck_assert_int_eq(
				kube_stream_add(&s, SECRET_LINE "\n", strlen(SECRET_LINE) + 1), 0);
			ck_assert_int_eq(kube_stream_next(&s, &line, &e), 1);
			json_object_put(line.event);
		}
		kube_stream_reset(&s);
	}
}
END_TEST

START_TEST(long_lines_are_refused)
{
	struct kube_stream s;
	struct kube_line line;
	struct err e;
	char piece[1024];
	int r = 0;

	memset(piece, 'x', sizeof(piece));
	kube_stream_init(&s, 4096);
	for (unsigned i = 0; r == 0 && i < 1000; i++)
		r = kube_stream_add(&s, piece, sizeof(piece));
	ck_assert_int_eq(r, -E2BIG);
	ck_assert_int_eq(kube_stream_next(&s, &line, &e), -EINVAL);
	kube_stream_reset(&s);

	/* Whole lines that wait are no reason to refuse, only to take them out first. */
	for (unsigned i = 0; i < 10000 && r != -EAGAIN; i++)
		r = kube_stream_add(&s, SECRET_LINE "\n", strlen(SECRET_LINE) + 1);
	ck_assert_int_eq(r, -EAGAIN);
	while (kube_stream_next(&s, &line, &e) == 1)
		json_object_put(line.event);
	ck_assert_int_eq(kube_stream_add(&s, SECRET_LINE "\n", strlen(SECRET_LINE) + 1), 0);
	kube_stream_reset(&s);
}
END_TEST

START_TEST(taken_lines_leave_nothing_behind)
{
	struct kube_stream s;
	struct kube_line line;
	struct err e;

	kube_stream_init(&s, 4096);
	ck_assert_int_eq(kube_stream_add(&s, SECRET_LINE "\n{", strlen(SECRET_LINE) + 2), 0);
	ck_assert_int_eq(kube_stream_next(&s, &line, &e), 1);
	ck_assert_uint_eq(s.in.len, 1);
	for (size_t i = 1; i <= strlen(SECRET_LINE); i++)
		ck_assert_int_eq(s.in.data[i], 0);
	kube_object_wipe(line.object);
	ck_assert_ptr_null(strstr(json_object_to_json_string(line.event), "dg=="));
	json_object_put(line.event);
	kube_stream_reset(&s);
}
END_TEST

/* Two lines in pieces. The number of lines that were read, or what failed. */
static int read_two(const char *text, struct err *e)
{
	struct kube_stream s;
	struct kube_line line;
	size_t len = strlen(text), half = len / 2;
	int n = 0, r;

	kube_stream_init(&s, 4096);
	r = kube_stream_add(&s, text, half);
	if (r == 0)
		r = kube_stream_add(&s, text + half, len - half);
	while (r == 0 && (r = kube_stream_next(&s, &line, e)) == 1) {
		n++;
		kube_object_wipe(line.object);
		json_object_put(line.event);
		r = 0;
		if (n == 2)
			break;
	}
	kube_stream_reset(&s);
	return r < 0 ? r : n;
}

START_TEST(lines_without_memory)
{
	static const char text[] = SECRET_LINE "\n" SECRET_LINE "\n";
	struct err e = {0};
	size_t rounds = 0;
	int r;

	ck_assert_int_eq(read_two(text, &e), 2);
	FAULT_LOOP(r = read_two(text, &e))
	{
		/* -EINVAL of a line that cannot be read, for whatever reason. */
		ck_assert_msg(r == -ENOMEM || (r == -EINVAL && str_eq(e.msg, "out of memory")),
			      "allocation %zu: %d, %s", rounds, r, e.msg);
		rounds++;
	}
	ck_assert_int_eq(r, 2);
	ck_assert_uint_gt(rounds, 20);
}
END_TEST

/* ---- Status ---- */

START_TEST(status_objects)
{
	struct kube_status s = {0};
	_cleanup_json_ struct json_object *gone =
		parse("{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too "
		      "old\"}");
	_cleanup_json_ struct json_object *large = parse(
		"{\"kind\":\"Status\",\"code\":504,\"details\":{\"retryAfterSeconds\":3,\"causes\":"
		"[7,{\"reason\":\"ResourceVersionTooLarge\"}]}}");
	_cleanup_json_ struct json_object *words = parse(
		"{\"kind\":\"Status\",\"code\":504,\"message\":\"Too large resource version: 5\"}");
	_cleanup_json_ struct json_object *other = parse("{\"kind\":\"Secret\",\"code\":410}");

	ck_assert(kube_status_from_object(gone, &s));
	ck_assert_int_eq(s.http, 410);
	ck_assert_str_eq(s.reason, "Expired");
	ck_assert(!s.rv_too_large);
	s = (struct kube_status){.http = 500};
	ck_assert(kube_status_from_object(large, &s));
	ck_assert_int_eq(s.http, 500); /* the answer's own wins */
	ck_assert(s.rv_too_large);
	ck_assert_uint_eq(s.retry_after, 3);
	ck_assert(kube_status_from_object(words, &s) && s.rv_too_large);
	ck_assert(!kube_status_from_object(other, &s));
	ck_assert(!kube_status_from_object(NULL, &s));
}
END_TEST

/* ---- Entries ---- */

struct seen {
	char text[256];
	unsigned stop_after;
};

static int see(void *arg, const char *key, const char *data, size_t len, struct err *e)
{
	struct seen *s = arg;

	ck_assert_int_eq(data[len], 0);
	snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text), "%s=%s(%zu) ", key,
		 data, len);
	if (s->stop_after && --s->stop_after == 0)
		return err_set(e, -ECANCELED, "enough");
	return 0;
}

START_TEST(secret_entries_are_decoded)
{
	_cleanup_json_ struct json_object *o =
		parse("{\"data\":{\"a.toml\":\"aGVsbG8=\",\"empty\":\"\",\"nul\":\"YQBi\"}}");
	struct seen s = {0};
	struct err e;

	ck_assert_int_eq(kube_object_each(KUBE_SECRET, o, see, &s, &e), 0);
	ck_assert_str_eq(s.text, "a.toml=hello(5) empty=(0) nul=a(3) ");
	s = (struct seen){.stop_after = 1};
	ck_assert_int_eq(kube_object_each(KUBE_SECRET, o, see, &s, &e), -ECANCELED);
	ck_assert_str_eq(s.text, "a.toml=hello(5) ");
}
END_TEST

START_TEST(configmap_entries)
{
	_cleanup_json_ struct json_object *o =
		parse("{\"data\":{\"a.yaml\":\"x: 1\"},\"binaryData\":{\"b\":\"aGVsbG8=\"}}");
	_cleanup_json_ struct json_object *none = parse("{}");
	struct seen s = {0};
	struct err e;

	ck_assert_int_eq(kube_object_each(KUBE_CONFIGMAP, o, see, &s, &e), 0);
	ck_assert_str_eq(s.text, "a.yaml=x: 1(4) b=hello(5) ");
	ck_assert_int_eq(kube_object_each(KUBE_CONFIGMAP, none, see, &s, &e), 0);
	ck_assert_int_eq(kube_object_each(KUBE_SECRET, NULL, see, &s, &e), 0);
}
END_TEST

START_TEST(bad_entries_are_named_but_not_shown)
{
	static const char *const bad[] = {
		"{\"data\":{\"the-key\":\"hush hush!\"}}", "{\"data\":{\"the-key\":\"aGVsbG8\"}}",
		"{\"data\":{\"the-key\":\"aGVsbG8=aGVs\"}}", "{\"data\":{\"the-key\":7}}",
		"{\"data\":{\"the-key\":null}}"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		_cleanup_json_ struct json_object *o = parse(bad[i]);
		struct seen s = {0};
		struct err e = {0};

		ck_assert_int_eq(kube_object_each(KUBE_SECRET, o, see, &s, &e), -EINVAL);
		ck_assert_msg(strstr(e.msg, "the-key") && !strstr(e.msg, "hush"), "%s", e.msg);
		ck_assert_str_eq(s.text, "");
	}
}
END_TEST

/* check's own assertions take memory. */
static int count(void *arg, const char *key, const char *data, size_t len, struct err *e)
{
	unsigned *n = arg;

	*n += len == 5 && data[len] == '\0';
	return 0;
}

START_TEST(entries_without_memory)
{
	_cleanup_json_ struct json_object *o = parse(
		"{\"data\":{\"a\":\"aGVsbG8=\",\"b\":\"aGVsbG8=\"},\"binaryData\":{\"c\":\"\"}}");
	struct err e = {0};
	size_t rounds = 0;
	unsigned n;
	int r;

	FAULT_LOOP(n = 0; r = kube_object_each(KUBE_SECRET, o, count, &n, &e))
	{
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_nonnull(strstr(e.msg, "Cannot allocate memory"));
		rounds++;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(rounds, 2);
}
END_TEST

START_TEST(documents_by_name)
{
	ck_assert(kube_key_is_document("a.toml") && kube_key_is_document("a.yaml"));
	ck_assert(kube_key_is_document("a.yml") && kube_key_is_document("a.json"));
	ck_assert(!kube_key_is_document("node-a.key") && !kube_key_is_document("toml"));
}
END_TEST

START_TEST(names)
{
	ck_assert(kube_is_name("a") && kube_is_name("a.b-c.9") && kube_is_namespace("kube-system"));
	ck_assert(!kube_is_name("") && !kube_is_name("A") && !kube_is_name("-a"));
	ck_assert(!kube_is_name("a-") && !kube_is_name("a..b") && !kube_is_name("a/b"));
	ck_assert(!kube_is_name("a.-b") && !kube_is_name("a%2e") && !kube_is_namespace("a.b"));
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_object", lines_in_pieces_of_any_size, line_types,
			  long_lines_are_refused, taken_lines_leave_nothing_behind,
			  lines_without_memory, status_objects, secret_entries_are_decoded,
			  configmap_entries, bad_entries_are_named_but_not_shown,
			  entries_without_memory, documents_by_name, names);
}

UNIT_MAIN(suite)
