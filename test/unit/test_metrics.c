/* lib/metrics: registration, kept and collected families, both formats, negotiation. */
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "metrics/metrics.h"

#define DESC(t, n, h, ...)                                                                         \
	{                                                                                          \
		.type = METRICS_##t, .name = n, .help = h, __VA_ARGS__                             \
	}
#define LABELS(...) .labels = METRICS_LABELS(__VA_ARGS__)

static struct metrics *m;

static void setup(void)
{
	m = metrics_new();
	ck_assert_ptr_nonnull(m);
}

static char *exposed(enum metrics_format format)
{
	struct buf b = BUF_INIT(0);

	ck_assert_int_eq(metrics_write(m, format, &b), 0);
	return b.data ? b.data : strdup("");
}

static void assert_exposes(enum metrics_format format, const char *want)
{
	char *text = exposed(format);

	ck_assert_str_eq(text, want);
	free(text);
}

START_TEST(registration_refuses)
{
	const struct {
		struct metrics_desc d;
		int code;
		const char *why;
	} cases[] = {
		{DESC(COUNTER, "ops", "h"), -EINVAL, "must end in _total"},
		{DESC(COUNTER, "_total", "h"), -EINVAL, "must end in _total"},
		{DESC(INFO, "build", "h"), -EINVAL, "must end in _info"},
		{DESC(GAUGE, "x_total", "h"), -EINVAL, "another type"},
		{DESC(GAUGE, "x_bucket", "h"), -EINVAL, "another type"},
		{DESC(GAUGE, "9x", "h"), -EINVAL, "cannot be a metric's name"},
		{DESC(GAUGE, "x:y", "h"), -EINVAL, "cannot be a metric's name"},
		{DESC(GAUGE, "x", ""), -EINVAL, "no help"},
		{DESC(GAUGE, "x_seconds", "h", .unit = "bytes"), -EINVAL, "unit _bytes"},
		{DESC(GAUGE, "seconds", "h", .unit = "seconds"), -EINVAL, "unit _seconds"},
		{DESC(GAUGE, "x", "h", LABELS("a-b")), -EINVAL, "be a label"},
		{DESC(GAUGE, "x", "h", LABELS("__a")), -EINVAL, "be a label"},
		{DESC(GAUGE, "x", "h", LABELS("le")), -EINVAL, "be a label"},
		{DESC(GAUGE, "x", "h", LABELS("a", "a")), -EINVAL, "twice"},
		{DESC(HISTOGRAM, "x", "h"), -EINVAL, "buckets"},
		{DESC(HISTOGRAM, "x", "h", METRICS_BUCKETS(2, 1)), -EINVAL, "ascend"},
		{DESC(GAUGE, "x", "h", METRICS_BUCKETS(1)), -EINVAL, "buckets"},
		{DESC(GAUGE, "taken", "h"), -EEXIST, "taken_total is registered"},
	};
	struct metrics_desc taken = DESC(COUNTER, "taken_total", "h");
	struct metrics_family *f, *untouched = NULL;

	setup();
	ck_assert_int_eq(metrics_add_family(m, &taken, &f, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = {0};

		ck_assert_msg(metrics_add_family(m, &cases[i].d, &untouched, &e) == cases[i].code &&
				      strstr(e.msg, cases[i].why),
			      "%s: %d %s", cases[i].d.name, e.code, e.msg);
	}
	ck_assert_ptr_null(untouched);
	metrics_free(m);
}
END_TEST

START_TEST(counter_and_gauge)
{
	struct metrics_family *ops;
	struct metrics_series *add, *del, *age, *again = NULL;
	struct err e = {0};

	setup();
	struct metrics_desc d = DESC(COUNTER, "ops_total", "Ops \"by\" kind\\\n.", LABELS("kind"));
	ck_assert_int_eq(metrics_add_family(m, &d, &ops, NULL), 0);
	ck_assert_int_eq(metrics_add_series(ops, METRICS_LABELS("peer_add"), &add, NULL), 0);
	ck_assert_int_eq(metrics_add_series(ops, METRICS_LABELS("peer\"\\\ndel\xff"), &del, NULL),
			 0);
	ck_assert_int_eq(metrics_add_series(ops, METRICS_LABELS("peer_add"), &again, &e), -EEXIST);
	ck_assert_str_eq(e.msg, "metric ops_total{kind=\"peer_add\"}: the series stands already");
	ck_assert_ptr_null(again);
	struct metrics_desc g = DESC(GAUGE, "age_seconds", "Age.", .unit = "seconds");
	ck_assert_int_eq(metrics_add_single(m, &g, &age, NULL), 0);
	metrics_inc(add);
	ck_assert_int_eq(metrics_add(add, 2), 0);
	ck_assert_int_eq(metrics_add(add, -1), -EINVAL);
	ck_assert_int_eq(metrics_add(add, NAN), -EINVAL);
	metrics_set(add, 99); /* a counter is not set */
	metrics_set(age, -0.1);
	metrics_inc(NULL);
	ck_assert(metrics_value(add) == 3);

	assert_exposes(METRICS_TEXT, "# HELP ops_total Ops \"by\" kind\\\\\\n.\n"
				     "# TYPE ops_total counter\n"
				     "ops_total{kind=\"peer_add\"} 3\n"
				     "ops_total{kind=\"peer\\\"\\\\\\ndel\xEF\xBF\xBD\"} 0\n"
				     "# HELP age_seconds Age.\n"
				     "# TYPE age_seconds gauge\n"
				     "age_seconds -0.1\n");
	metrics_remove_series(del);
	metrics_set(age, INFINITY);
	assert_exposes(METRICS_OPENMETRICS, "# TYPE ops counter\n"
					    "# HELP ops Ops \\\"by\\\" kind\\\\\\n.\n"
					    "ops_total{kind=\"peer_add\"} 3\n"
					    "# TYPE age_seconds gauge\n"
					    "# UNIT age_seconds seconds\n"
					    "# HELP age_seconds Age.\n"
					    "age_seconds +Inf\n"
					    "# EOF\n");
	metrics_free(m);
}
END_TEST

START_TEST(histogram)
{
	struct metrics_desc d = {
		METRICS_HISTOGRAM, "t_seconds",          "T.",
		"seconds",         METRICS_LABELS("op"), METRICS_BUCKETS(0.005, 1, 10)};
	static const double seen[] = {0.005, 0.0051, 1, 10.5, NAN};
	struct metrics_family *f;
	struct metrics_series *s;

	setup();
	ck_assert_int_eq(metrics_add_family(m, &d, &f, NULL), 0);
	ck_assert_int_eq(metrics_add_series(f, METRICS_LABELS("x"), &s, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(seen); i++)
		metrics_observe(s, seen[i]);
	ck_assert(metrics_value(s) == 4);
	ck_assert_int_eq(metrics_add(s, 1), -EINVAL);
	assert_exposes(METRICS_TEXT, "# HELP t_seconds T.\n# TYPE t_seconds histogram\n"
				     "t_seconds_bucket{op=\"x\",le=\"0.005\"} 1\n"
				     "t_seconds_bucket{op=\"x\",le=\"1\"} 3\n"
				     "t_seconds_bucket{op=\"x\",le=\"10\"} 3\n"
				     "t_seconds_bucket{op=\"x\",le=\"+Inf\"} 4\n"
				     "t_seconds_sum{op=\"x\"} 11.5101\n"
				     "t_seconds_count{op=\"x\"} 4\n");
	char *text = exposed(METRICS_OPENMETRICS);
	ck_assert_ptr_nonnull(strstr(text, "t_seconds_bucket{op=\"x\",le=\"1.0\"} 3\n"));
	ck_assert_ptr_nonnull(strstr(text, "t_seconds_bucket{op=\"x\",le=\"+Inf\"} 4\n"));
	free(text);
	metrics_free(m);
}
END_TEST

/* What the collector of the cases below emits, and what it was told. */
static struct metrics_family *rx, *info, *kept;
static int results[8];

static void collect_few(struct metrics_writer *w, void *arg)
{
	int *r = results;

	*r++ = metrics_sample_u64(w, METRICS_LABELS("a", "b"), 1); /* nothing begun */
	*r++ = metrics_begin(w, kept);
	*r++ = metrics_begin(w, rx);
	*r++ = metrics_sample_u64(w, METRICS_LABELS("wg0", "k1"), UINT64_MAX);
	*r++ = metrics_sample_u64(w, METRICS_LABELS("wg0", "k1"), 8);
	*r++ = metrics_sample(w, METRICS_LABELS("wg0", "k2"), -1);
	metrics_sample(w, METRICS_LABELS("wg0", "k"), 1e300);
	metrics_begin(w, info);
	*r++ = metrics_sample(w, METRICS_LABELS("wg0"), 7);
	*r++ = metrics_begin(w, rx);
}

static void add_collected(void)
{
	struct metrics_desc d = DESC(COUNTER, "rx_bytes_total", "R.", .unit = "bytes",
				     LABELS("device", "public_key"));
	struct metrics_desc i = DESC(INFO, "dev_info", "I.", LABELS("device"));
	struct metrics_desc k = DESC(GAUGE, "kept", "K.");
	struct metrics_series *s;

	ck_assert_int_eq(metrics_add_family(m, &d, &rx, NULL), 0);
	ck_assert_int_eq(metrics_add_family(m, &i, &info, NULL), 0);
	ck_assert_int_eq(metrics_add_family(m, &k, &kept, NULL), 0);
	ck_assert_int_eq(metrics_add_series(kept, NULL, &s, NULL), 0);
}

START_TEST(collected)
{
	static const int want[] = {-EINVAL, -EALREADY, 0, 0, -EEXIST, -EINVAL, 0, -EALREADY};

	setup();
	add_collected();
	ck_assert_int_eq(metrics_add_collector(m, collect_few, NULL, NULL), 0);
	for (int again = 0; again < 2; again++) {
		assert_exposes(METRICS_OPENMETRICS,
			       "# TYPE kept gauge\n# HELP kept K.\nkept 0\n"
			       "# TYPE rx_bytes counter\n# UNIT rx_bytes bytes\n"
			       "# HELP rx_bytes R.\n"
			       "rx_bytes_total{device=\"wg0\",public_key=\"k1\"} "
			       "18446744073709551615\n"
			       "rx_bytes_total{device=\"wg0\",public_key=\"k\"} 1e+300\n"
			       "# TYPE dev info\n# HELP dev I.\ndev_info{device=\"wg0\"} 1\n"
			       "# EOF\n");
		for (size_t i = 0; i < ARRAY_LEN(want); i++)
			ck_assert_int_eq(results[i], want[i]);
		ck_assert_uint_eq(metrics_refused(m), 5 * ((unsigned)again + 1));
	}
	char *text = exposed(METRICS_TEXT);
	ck_assert_ptr_nonnull(strstr(text, "# TYPE dev_info gauge\ndev_info{device=\"wg0\"} 1\n"));
	ck_assert_ptr_null(strstr(text, "EOF"));
	free(text);
	metrics_free(m);
}
END_TEST

static int doubles;

/* Ten thousand peers; peer 7777 stands twice, the second time at the end. */
static void collect_many(struct metrics_writer *w, void *arg)
{
	doubles = 0;
	metrics_begin(w, rx);
	for (unsigned i = 0; i <= 10000; i++) {
		char key[45];

		snprintf(key, sizeof(key), "%043u=", i == 10000 ? 7777 : i);
		doubles += metrics_sample_u64(w, METRICS_LABELS("wg0", key), i) == -EEXIST;
	}
}

START_TEST(collected_many)
{
	setup();
	add_collected();
	ck_assert_int_eq(metrics_add_collector(m, collect_many, NULL, NULL), 0);
	for (int again = 0; again < 3; again++) {
		char *text = exposed(METRICS_TEXT);
		size_t lines = 0;

		for (char *p = text; (p = strchr(p, '\n')); p++)
			lines++;
		free(text);
		ck_assert_int_eq(doubles, 1);
		ck_assert_uint_eq(lines, 10000 + 2 + 3);
	}
	struct buf small = BUF_INIT(10000);
	ck_assert_int_eq(metrics_write(m, METRICS_TEXT, &small), -E2BIG);
	buf_free(&small);
	metrics_free(m);
}
END_TEST

START_TEST(negotiation)
{
	static const struct {
		const char *accept;
		enum metrics_format want;
	} cases[] = {
		{NULL, METRICS_TEXT},
		{"", METRICS_TEXT},
		{"*/*", METRICS_TEXT},
		{"text/html,application/xhtml+xml,*/*;q=0.8", METRICS_TEXT},
		{"application/openmetrics-text", METRICS_OPENMETRICS},
		{"Application/OpenMetrics-Text; version=\"1.0.0\" ; q=0.5", METRICS_OPENMETRICS},
		{"application/openmetrics-text;version=0.0.1", METRICS_TEXT},
		{"application/openmetrics-text;q=0", METRICS_TEXT},
		{"application/openmetrics-text;q=0.5,text/plain", METRICS_TEXT},
		{"application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.6", METRICS_TEXT},
		{"application/openmetrics-text;q=x", METRICS_TEXT},
		{"application/openmetrics-text;q=1.5", METRICS_TEXT},
		/* Prometheus 2.42 and 3.x as they send it. */
		{"application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
		 "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		 METRICS_OPENMETRICS},
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
		 "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;"
		 "escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
		 METRICS_OPENMETRICS},
		{"text/plain;version=0.0.4;q=0.5,*/*;q=0.1", METRICS_TEXT},
		{";;;,,=;q", METRICS_TEXT},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_msg(metrics_negotiate(cases[i].accept) == cases[i].want, "%s",
			      cases[i].accept);
	ck_assert_str_eq(metrics_content_type(METRICS_TEXT),
			 "text/plain; version=0.0.4; charset=utf-8");
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("metrics", registration_refuses, counter_and_gauge, histogram, collected,
			  collected_many, negotiation);
}
UNIT_MAIN(suite)
