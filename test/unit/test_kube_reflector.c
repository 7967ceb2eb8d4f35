/*
 * The list/watch state machine on a fake clock: each case is a timeline of what happens and when,
 * with the state and the command that must follow.
 */
#include <string.h>

#include "kube/reflector.h"
#include "unit.h"

#define MS NS_PER_MSEC

/* What happens at `ms`, and what must follow. `due` is the deadline in ms from the start, -1: not
 * looked at. */
struct happening {
	int64_t ms;
	struct kube_reflector_input in;
	enum kube_reflector_state state;
	enum kube_reflector_action action;
	const char *rv; /* of the command; "" = none must be there, NULL = not looked at */
	int64_t due;
};

static uint32_t random_value;

static uint32_t fake_random(void *arg)
{
	return random_value;
}

/* Inputs, by short names. */
#define START                                                                                      \
	{                                                                                          \
		.type = KUBE_REFLECTOR_START                                                       \
	}
#define LISTED(v)                                                                                  \
	{                                                                                          \
		.type = KUBE_REFLECTOR_LISTED, .rv = (v)                                           \
	}
#define OPENED                                                                                     \
	{                                                                                          \
		.type = KUBE_REFLECTOR_OPENED                                                      \
	}
#define OBJECT(v)                                                                                  \
	{                                                                                          \
		.type = KUBE_REFLECTOR_OBJECT, .rv = (v)                                           \
	}
#define BOOKMARK(v)                                                                                \
	{                                                                                          \
		.type = KUBE_REFLECTOR_BOOKMARK, .rv = (v)                                         \
	}
#define ENDED                                                                                      \
	{                                                                                          \
		.type = KUBE_REFLECTOR_ENDED                                                       \
	}
#define TIMER                                                                                      \
	{                                                                                          \
		.type = KUBE_REFLECTOR_TIMER                                                       \
	}
#define RENEW                                                                                      \
	{                                                                                          \
		.type = KUBE_REFLECTOR_RENEW                                                       \
	}
#define NETWORK                                                                                    \
	{                                                                                          \
		.type = KUBE_REFLECTOR_FAILED, .failure = KUBE_FAILURE_NETWORK                     \
	}
#define GARBAGE                                                                                    \
	{                                                                                          \
		.type = KUBE_REFLECTOR_FAILED, .failure = KUBE_FAILURE_GARBAGE                     \
	}
#define HTTP(code, after)                                                                          \
	{                                                                                          \
		.type = KUBE_REFLECTOR_FAILED, .failure = KUBE_FAILURE_HTTP, .http = (code),       \
		.retry_after = (after)                                                             \
	}
#define TOO_LARGE                                                                                  \
	{                                                                                          \
		.type = KUBE_REFLECTOR_FAILED, .failure = KUBE_FAILURE_HTTP, .http = 504,          \
		.rv_too_large = true                                                               \
	}

/* States and commands, by short names. */
#define IN_LIST(v, d)    KUBE_REFLECTOR_LIST, KUBE_REFLECTOR_DO_LIST, v, d
#define IN_WATCH(v, d)   KUBE_REFLECTOR_WATCH, KUBE_REFLECTOR_DO_WATCH, v, d
#define IN_STREAM(d)     KUBE_REFLECTOR_STREAM, KUBE_REFLECTOR_NOTHING, NULL, d
#define IN_LIST_WAIT(d)  KUBE_REFLECTOR_LIST_WAIT, KUBE_REFLECTOR_DO_WAIT, NULL, d
#define IN_WATCH_WAIT(d) KUBE_REFLECTOR_WATCH_WAIT, KUBE_REFLECTOR_DO_WAIT, NULL, d
#define STILL(s)         KUBE_REFLECTOR_##s, KUBE_REFLECTOR_NOTHING, NULL, -1

static void run(struct kube_reflector *r, const struct happening *h, size_t n)
{
	kube_reflector_init(r, fake_random, NULL);
	for (size_t i = 0; i < n; i++) {
		struct mono now = {h[i].ms * MS};
		struct kube_reflector_command c = kube_reflector_step(r, now, &h[i].in);

		ck_assert_msg(r->state == h[i].state, "step %zu: state %s, wanted %s", i,
			      kube_reflector_state_name(r->state),
			      kube_reflector_state_name(h[i].state));
		ck_assert_msg(c.action == h[i].action, "step %zu: action %d, wanted %d", i,
			      (int)c.action, (int)h[i].action);
		if (h[i].rv && h[i].rv[0] == '\0')
			ck_assert_msg(!c.rv, "step %zu: version %s, wanted none", i, c.rv);
		else if (h[i].rv)
			ck_assert_msg(c.rv && strcmp(c.rv, h[i].rv) == 0,
				      "step %zu: version %s, wanted %s", i, c.rv, h[i].rv);
		if (h[i].due >= 0)
			ck_assert_msg(r->deadline.ns == h[i].due * MS,
				      "step %zu: due at %lld ms, wanted %lld", i,
				      (long long)(r->deadline.ns / MS), (long long)h[i].due);
	}
}

#define RUN(...)                                                                                   \
	struct kube_reflector r;                                                                   \
	const struct happening timeline[] = {__VA_ARGS__};                                         \
	run(&r, timeline, sizeof(timeline) / sizeof(timeline[0]))

/* Up to an open stream at version 10, opened at 0 ms, with a timeout of 300 s. */
#define SYNCED                                                                                     \
	{0, START, IN_LIST("0", 35000)}, {0, LISTED("10"), IN_WATCH("10", 35000)},                 \
	{                                                                                          \
		0, OPENED, IN_STREAM(330000)                                                       \
	}

START_TEST(lists_at_zero_then_watches_from_there)
{
	random_value = 0;
	RUN(SYNCED, {1000, OBJECT("11"), IN_STREAM(330000)}, {2000, ENDED, IN_WATCH_WAIT(2800)},
	    {2800, TIMER, IN_WATCH("11", 37800)});
	ck_assert_uint_eq(r.lists, 1);
	ck_assert_uint_eq(r.watches, 2);
}
END_TEST

START_TEST(ordinary_end_watches_again_at_once)
{
	random_value = 0;
	RUN(SYNCED, {250000, BOOKMARK("40"), IN_STREAM(330000)},
	    {300000, ENDED, IN_WATCH("40", 335000)}, {300010, OPENED, IN_STREAM(630000)});
	ck_assert_uint_eq(r.errors, 0);
	ck_assert_uint_eq(r.lists, 1);
}
END_TEST

START_TEST(timeout_is_random_from_5_to_10_minutes)
{
	struct kube_reflector r;
	const struct kube_reflector_input start = START, listed = LISTED("1"), renew = RENEW;
	bool low = false, high = false;

	kube_reflector_init(&r, fake_random, NULL);
	kube_reflector_step(&r, (struct mono){0}, &start);
	kube_reflector_step(&r, (struct mono){0}, &listed);
	for (random_value = 0; random_value < 1000; random_value++) {
		unsigned t = kube_reflector_step(&r, (struct mono){0}, &renew).timeout_secs;

		ck_assert_uint_ge(t, 300);
		ck_assert_uint_le(t, 600);
		low |= t == 300;
		high |= t == 600;
	}
	ck_assert(low && high);
}
END_TEST

START_TEST(expired_watch_lists_at_the_last_version)
{
	random_value = 0;
	RUN(SYNCED, {5000, OBJECT("12"), IN_STREAM(-1)}, {6000, HTTP(410, 0), IN_LIST("12", -1)},
	    {6010, LISTED("90"), IN_WATCH("90", -1)});
}
END_TEST

START_TEST(expired_list_falls_back_to_no_version)
{
	random_value = 0;
	RUN(SYNCED, {6000, HTTP(410, 0), IN_LIST("10", -1)}, {6010, HTTP(410, 0), IN_LIST("", -1)},
	    {6020, LISTED("90"), IN_WATCH("90", -1)});
	/* A list without a version that fails waits like any other. */
	ck_assert(!r.rv_unusable);
}
END_TEST

START_TEST(expired_without_version_waits)
{
	random_value = 0;
	RUN({0, START, IN_LIST("0", -1)}, {0, HTTP(410, 0), IN_LIST("", -1)},
	    {0, HTTP(410, 0), IN_LIST_WAIT(800)}, {800, TIMER, IN_LIST("", -1)});
}
END_TEST

START_TEST(too_large_version_lists_without)
{
	random_value = 0;
	RUN(SYNCED, {6000, HTTP(410, 0), IN_LIST("10", -1)}, {6010, TOO_LARGE, IN_LIST("", -1)});
}
END_TEST

START_TEST(too_large_version_on_a_watch_lists_without)
{
	random_value = 0;
	RUN(SYNCED, {6000, TOO_LARGE, IN_LIST("", -1)});
}
END_TEST

START_TEST(expiry_again_and_again_is_slowed)
{
	random_value = 0;
	RUN(SYNCED, {1000, HTTP(410, 0), IN_LIST("10", -1)},
	    {1000, LISTED("11"), IN_WATCH("11", -1)}, {1000, HTTP(410, 0), IN_LIST_WAIT(1800)},
	    {1800, TIMER, IN_LIST("11", -1)});
}
END_TEST

START_TEST(network_failure_does_not_list)
{
	random_value = 0;
	RUN(SYNCED, {1000, NETWORK, IN_WATCH_WAIT(1800)}, {1800, TIMER, IN_WATCH("10", -1)},
	    {1801, NETWORK, IN_WATCH_WAIT(3401)}, {3401, TIMER, IN_WATCH("10", -1)},
	    {3402, OPENED, IN_STREAM(-1)});
	ck_assert_uint_eq(r.lists, 1);
}
END_TEST

START_TEST(backoff_doubles_to_30_s)
{
	static const int64_t delays[] = {800,   1600,  3200,  6400,  12800,
					 25600, 30000, 30000, 30000, 30000};
	struct kube_reflector r;
	const struct kube_reflector_input start = START, listed = LISTED("1"), net = NETWORK,
					  timer = TIMER;
	int64_t now = 0;

	random_value = 0;
	kube_reflector_init(&r, fake_random, NULL);
	kube_reflector_step(&r, (struct mono){0}, &start);
	kube_reflector_step(&r, (struct mono){0}, &listed);
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		kube_reflector_step(&r, (struct mono){now}, &net);
		ck_assert_int_eq(r.deadline.ns - now, delays[i] * MS);
		now = r.deadline.ns;
		kube_reflector_step(&r, (struct mono){now}, &timer);
	}
}
END_TEST

START_TEST(jitter_is_up_to_as_much_again)
{
	random_value = UINT32_MAX;
	struct kube_reflector r;
	const struct kube_reflector_input start = START, net = NETWORK;

	kube_reflector_init(&r, fake_random, NULL);
	kube_reflector_step(&r, (struct mono){0}, &start);
	kube_reflector_step(&r, (struct mono){0}, &net);
	ck_assert_int_gt(r.deadline.ns, 1599 * MS);
	ck_assert_int_le(r.deadline.ns, 1600 * MS);
}
END_TEST

START_TEST(two_healthy_minutes_clear_the_backoff)
{
	random_value = 0;
	RUN(SYNCED, {1000, NETWORK, IN_WATCH_WAIT(1800)}, {1800, TIMER, IN_WATCH("10", -1)},
	    {2000, OPENED, IN_STREAM(-1)},
	    /* 119 s are not enough */
	    {121000, NETWORK, IN_WATCH_WAIT(122600)}, {122600, TIMER, IN_WATCH("10", -1)},
	    {123000, OPENED, IN_STREAM(-1)}, {243000, NETWORK, IN_WATCH_WAIT(243800)});
}
END_TEST

START_TEST(retry_after_is_obeyed)
{
	random_value = 0;
	RUN(SYNCED, {1000, HTTP(429, 7), IN_WATCH_WAIT(8000)}, {8000, TIMER, IN_WATCH("10", -1)},
	    {8000, HTTP(503, 9), IN_LIST_WAIT(17000)}, {17000, TIMER, IN_LIST("10", -1)},
	    {17000, HTTP(500, 1), IN_LIST_WAIT(20200)}, /* the backoff is longer */
	    {20200, TIMER, IN_LIST("10", -1)},
	    {20200, HTTP(429, 86400), IN_LIST_WAIT(320200)}, /* within reason */
	    {320200, TIMER, IN_LIST("10", -1)},
	    /* not on others */
	    {320200, HTTP(403, 100), IN_LIST_WAIT(333000)});
	ck_assert_uint_eq(r.lists, 4);
}
END_TEST

START_TEST(unauthorized_tries_once_at_once)
{
	random_value = 0;
	RUN(SYNCED, {1000, HTTP(401, 0), IN_WATCH("10", -1)},
	    {1010, HTTP(401, 0), IN_WATCH_WAIT(1810)}, {1810, TIMER, IN_WATCH("10", -1)});
}
END_TEST

START_TEST(unauthorized_list_tries_once_at_once)
{
	random_value = 0;
	RUN({0, START, IN_LIST("0", -1)}, {0, HTTP(401, 0), IN_LIST("0", -1)},
	    {0, HTTP(401, 0), IN_LIST_WAIT(800)});
}
END_TEST

START_TEST(forbidden_lists_after_a_delay)
{
	random_value = 0;
	RUN(SYNCED, {1000, HTTP(403, 0), IN_LIST_WAIT(1800)}, {1800, TIMER, IN_LIST("10", -1)});
}
END_TEST

START_TEST(unreadable_line_lists_after_a_delay)
{
	random_value = 0;
	RUN(SYNCED, {1000, GARBAGE, IN_LIST_WAIT(1800)}, {1800, TIMER, IN_LIST("10", -1)});
}
END_TEST

START_TEST(stream_is_given_up_30_s_after_its_timeout)
{
	random_value = 0;
	RUN(SYNCED, {329999, TIMER, STILL(STREAM)}, {330000, TIMER, IN_WATCH_WAIT(330800)});
	ck_assert_uint_eq(r.errors, 1);
}
END_TEST

START_TEST(silence_after_bookmarks_is_noticed)
{
	random_value = 0;
	RUN(SYNCED, {60000, BOOKMARK("11"), IN_STREAM(210000)},
	    {120000, BOOKMARK("12"), IN_STREAM(270000)},
	    /* never beyond the end */
	    {200000, OBJECT("13"), IN_STREAM(330000)}, {200001, BOOKMARK("14"), IN_STREAM(330000)},
	    {330000, TIMER, IN_WATCH_WAIT(-1)});
}
END_TEST

START_TEST(unanswered_requests_are_given_up)
{
	random_value = 0;
	RUN({0, START, IN_LIST("0", 35000)}, {35000, TIMER, IN_LIST_WAIT(35800)},
	    {35800, TIMER, IN_LIST("0", 70800)}, {36000, LISTED("5"), IN_WATCH("5", 71000)},
	    {71000, TIMER, IN_WATCH_WAIT(72600)});
}
END_TEST

START_TEST(renewed_credentials_open_a_new_stream)
{
	random_value = 0;
	RUN(SYNCED, {1000, RENEW, IN_WATCH("10", 36000)}, {1100, OPENED, IN_STREAM(331000)},
	    {2000, HTTP(403, 0), IN_LIST_WAIT(2800)}, {2100, RENEW, IN_LIST("10", -1)},
	    {2100, RENEW, STILL(LIST)});
	ck_assert_uint_eq(r.lists, 2);
}
END_TEST

START_TEST(late_news_is_ignored)
{
	random_value = 0;
	RUN({0, OPENED, STILL(IDLE)}, {0, START, IN_LIST("0", -1)}, {0, START, STILL(LIST)},
	    {0, OBJECT("9"), STILL(LIST)}, {0, ENDED, STILL(LIST)},
	    {0, LISTED("10"), IN_WATCH("10", -1)}, {0, LISTED("11"), STILL(WATCH)},
	    {0, OBJECT("12"), STILL(WATCH)}, {0, NETWORK, IN_WATCH_WAIT(-1)},
	    {0, NETWORK, STILL(WATCH_WAIT)}, {0, OPENED, STILL(WATCH_WAIT)},
	    {0, TIMER, STILL(WATCH_WAIT)});
	ck_assert_str_eq(r.rv, "10");
}
END_TEST

START_TEST(versions_that_cannot_be_are_refused)
{
	static const char long_rv[] = "1234567890123456789012345678901234567890"
				      "1234567890123456789012345678901234567890";
	random_value = 0;
	RUN({0, START, IN_LIST("0", -1)}, {0, LISTED(""), IN_LIST_WAIT(800)},
	    {800, TIMER, IN_LIST("0", -1)}, {800, LISTED(long_rv), IN_LIST_WAIT(-1)},
	    {5000, TIMER, IN_LIST("0", -1)}, {5000, LISTED("4"), IN_WATCH("4", -1)},
	    {5000, OPENED, IN_STREAM(-1)}, {5000, OBJECT(long_rv), IN_LIST_WAIT(-1)});
	ck_assert_str_eq(r.rv, "4");
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE(
		"kube_reflector", lists_at_zero_then_watches_from_there,
		ordinary_end_watches_again_at_once, timeout_is_random_from_5_to_10_minutes,
		expired_watch_lists_at_the_last_version, expired_list_falls_back_to_no_version,
		expired_without_version_waits, too_large_version_lists_without,
		too_large_version_on_a_watch_lists_without, expiry_again_and_again_is_slowed,
		network_failure_does_not_list, backoff_doubles_to_30_s,
		jitter_is_up_to_as_much_again, two_healthy_minutes_clear_the_backoff,
		retry_after_is_obeyed, unauthorized_tries_once_at_once,
		unauthorized_list_tries_once_at_once, forbidden_lists_after_a_delay,
		unreadable_line_lists_after_a_delay, stream_is_given_up_30_s_after_its_timeout,
		silence_after_bookmarks_is_noticed, unanswered_requests_are_given_up,
		renewed_credentials_open_a_new_stream, late_news_is_ignored,
		versions_that_cannot_be_are_refused);
}

UNIT_MAIN(suite)
