/* lib/kube/events.c against an API server of our own and on our own time: what is told as an Event,
 * what is counted into one that is there, and what becomes of what fails or is too much. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fault.h"
#include "kube/kube_priv.h"
#include "kubeapi.h"
#include "kubeclock.h"

#define SEC     NS_PER_SEC
#define BURST   20         /* Events at once, */
#define REFILL  (15 * SEC) /* one more in that time, */
#define TABLE   64         /* and so many that wait */
#define RETRIES 8

/* An Event that the API server has: what it was made from, and its series. */
struct told {
	struct world *world;
	struct json_object *post;
	char path[512], series[64]; /* series: "COUNT LAST-TIME" */
};

struct world {
	struct kubeapi api;
	struct kube_events *ev;
	struct told told[TABLE + 16];
	size_t n_told;
	unsigned requests; /* that have ended, by our own account */
	unsigned posts, patches;
	int post_fails, patch_fails;
	const char *retry_after;
	bool again;           /* it happens once more while its POST is on its way */
	bool free_on_request; /* which is not answered yet */
	char last_id[300];
};

static const struct kube_ref POD = {"v1", "Pod", "vpn", "gw-0", "u-1"};

static void happens(struct world *w, const char *note)
{
	kube_event(w->ev, &POD, true, "PeerDown", "Reconcile", note);
}

static struct kube_events_stats stats(const struct world *w)
{
	struct kube_events_stats s;

	kube_events_get_stats(w->ev, &s);
	return s;
}

static bool fails(struct http_request *req, struct world *w, int code)
{
	if (w->free_on_request)
		kube_events_free(mem_steal(&w->ev));
	if (code && w->retry_after)
		http_reply_header(req, "Retry-After", w->retry_after);
	if (code)
		kubeapi_fail(req, code);
	return code != 0;
}

static void on_patch(struct http_request *req, void *arg)
{
	struct told *t = arg;
	struct world *w = t->world;
	_cleanup_json_ struct json_object *o = kubeapi_body(req);
	struct json_object *series = json_get(o, "series", json_type_object);

	w->patches++;
	ck_assert_str_eq(http_request_header(req, "Content-Type"), "application/merge-patch+json");
	ck_assert_int_eq(json_object_object_length(o), 1); /* the series alone */
	if (fails(req, w, w->patch_fails))
		return;
	snprintf(t->series, sizeof(t->series), "%d %s", (int)json_get_int(series, "count", 0),
		 json_get_str(series, "lastObservedTime"));
	http_reply(req, 200, "application/json", "{}");
}

static void admit(struct world *w, struct http_request *req, struct json_object *o)
{
	struct told *t = &w->told[w->n_told++];

	ck_assert_uint_le(w->n_told, ARRAY_LEN(w->told));
	t->world = w;
	t->post = json_object_get(o);
	snprintf(t->path, sizeof(t->path), "%s/%s", http_request_path(req), w->last_id);
	ck_assert_int_eq(http_server_route(w->api.server, t->path, HTTP_PATCH, on_patch, t), 0);
}

static void on_post(struct http_request *req, void *arg)
{
	struct world *w = arg;
	_cleanup_json_ struct json_object *o = kubeapi_body(req);

	w->posts++;
	ck_assert_str_eq(http_request_header(req, "Content-Type"), "application/json");
	snprintf(w->last_id, sizeof(w->last_id), "%s",
		 json_get_str(json_path(o, "metadata", NULL), "name"));
	if (w->again) {
		w->again = false;
		happens(w, "a");
	}
	if (!w->post_fails || w->post_fails == 409) /* 409: it is there */
		admit(w, req, o);
	if (!fails(req, w, w->post_fails))
		http_reply(req, 201, "application/json", "{}");
}

static void begin(struct world *w)
{
	static const char *const paths[] = {"/apis/events.k8s.io/v1/namespaces/vpn/events",
					    "/apis/events.k8s.io/v1/namespaces/default/events"};
	struct err e;

	kubeclock_start();
	kubeapi_start(&w->api);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		ck_assert_int_eq(http_server_route(w->api.server, paths[i], HTTP_POST, on_post, w),
				 0);
	ck_assert_int_eq(kube_events_new(w->api.client, "node-a", &w->ev, &e), 0);
}

static void end(struct world *w)
{
	kube_events_free(w->ev);
	kubeapi_end(&w->api);
	for (size_t i = 0; i < w->n_told; i++)
		json_object_put(w->told[i].post);
}

/* So many more requests come to their end, and then there are no others. */
static void expect(struct world *w, unsigned more)
{
	w->requests += more;
	ck_assert_uint_eq(kubeapi_requests(&w->api, w->requests), w->requests);
}

static const char *text(const struct told *t, const char *member)
{
	return json_get_str(t->post, member);
}

static const char *of(const struct told *t, const char *object, const char *member)
{
	return json_get_str(json_path(t->post, object, NULL), member);
}

START_TEST(told_as_an_event)
{
	struct world w = {0};

	begin(&w);
	kube_event(w.ev, &POD, true, "PeerDown", "Reconcile",
		   "peer \"gw\" is\tdown\x01 \xFF\xC3\xA9");
	ck_assert_uint_eq(stats(&w).sent, 0);
	expect(&w, 1);
	const struct told *t = &w.told[0];
	ck_assert_str_eq(text(t, "apiVersion"), "events.k8s.io/v1");
	ck_assert_str_eq(text(t, "kind"), "Event");
	ck_assert_str_eq(of(t, "metadata", "namespace"), "vpn");
	ck_assert_ptr_eq(strstr(of(t, "metadata", "name"), "gw-0."), of(t, "metadata", "name"));
	ck_assert(kube_is_name(of(t, "metadata", "name")));
	ck_assert_str_eq(text(t, "eventTime"), KUBECLOCK_MINUTE "00.000000Z");
	ck_assert_str_eq(text(t, "type"), "Warning");
	ck_assert_str_eq(text(t, "reason"), "PeerDown");
	ck_assert_str_eq(text(t, "action"), "Reconcile");
	ck_assert_str_eq(text(t, "note"),
			 "peer \"gw\" is\tdown\x01 \xEF\xBF\xBD\xC3\xA9"); /* U+FFFD */
	ck_assert_str_eq(text(t, "reportingController"), "harmony-agent");
	ck_assert_str_eq(text(t, "reportingInstance"), "node-a");
	ck_assert_str_eq(of(t, "regarding", "apiVersion"), "v1");
	ck_assert_str_eq(of(t, "regarding", "kind"), "Pod");
	ck_assert_str_eq(of(t, "regarding", "namespace"), "vpn");
	ck_assert_str_eq(of(t, "regarding", "name"), "gw-0");
	ck_assert_str_eq(of(t, "regarding", "uid"), "u-1");

	kube_event(w.ev, &POD, false, "PeerUp", "Reconcile", "");
	expect(&w, 1);
	ck_assert_str_eq(text(&w.told[1], "type"), "Normal");
	ck_assert_str_eq(text(&w.told[1], "note"), "");
	ck_assert(stats(&w).sent == 2 && stats(&w).repeated == 0 && stats(&w).error[0] == '\0');
	end(&w);
}
END_TEST

/* Their Events are in "default", by the API's rule. */
START_TEST(objects_without_namespace)
{
	static const struct kube_ref nodes[] = {{"v1", "Node", "", "node-a", ""},
						{"v1", "Node", NULL, "node-b", NULL}};
	struct world w = {0};

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		kube_event(w.ev, &nodes[i], false, "TaintRemoved", "Reconcile", "it is ready");
		expect(&w, 1);
		ck_assert_str_eq(of(&w.told[i], "metadata", "namespace"), "default");
		ck_assert_str_eq(of(&w.told[i], "regarding", "name"), nodes[i].name);
		ck_assert_ptr_null(of(&w.told[i], "regarding", "namespace"));
		ck_assert_ptr_null(of(&w.told[i], "regarding", "uid"));
	}
	kube_event(w.ev, &nodes[0], false, "TaintRemoved", "Reconcile", "it is ready");
	kubeclock_skip(30 * SEC);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "2 " KUBECLOCK_MINUTE "00.000000Z");
	end(&w);
}
END_TEST

/* What happens again is one patch in half a minute, however often it does. */
START_TEST(same_again_is_a_series)
{
	struct world w = {0};

	begin(&w);
	happens(&w, "a");
	expect(&w, 1);
	kubeclock_skip(10 * SEC);
	for (unsigned i = 0; i < 3; i++)
		happens(&w, "a");
	expect(&w, 0);
	kubeclock_skip(20 * SEC - 1);
	expect(&w, 0);
	kubeclock_skip(1);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "4 " KUBECLOCK_MINUTE "10.000000Z");

	kubeclock_skip(SEC);
	happens(&w, "a");
	expect(&w, 0);
	kubeclock_skip(29 * SEC - 1);
	expect(&w, 0);
	kubeclock_skip(1);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "5 " KUBECLOCK_MINUTE "31.000000Z");
	kubeclock_skip(300 * SEC); /* nothing new */
	expect(&w, 0);
	ck_assert(w.posts == 1 && stats(&w).sent == 1 && stats(&w).repeated == 4);
	end(&w);
}
END_TEST

/* What is due later holds up nothing else. */
START_TEST(another_beside_a_series)
{
	struct world w = {0};

	begin(&w);
	happens(&w, "a");
	expect(&w, 1);
	happens(&w, "a");
	expect(&w, 0);
	happens(&w, "b");
	expect(&w, 1);
	ck_assert_str_eq(text(&w.told[1], "note"), "b");
	kubeclock_skip(30 * SEC);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "2 " KUBECLOCK_MINUTE "00.000000Z");
	end(&w);
}
END_TEST

/* What comes before the Event is made, or while it is, is in the series and not lost. */
START_TEST(same_again_meanwhile)
{
	static const char *const series[] = {"2 " KUBECLOCK_MINUTE "00.000000Z",
					     "3 " KUBECLOCK_MINUTE "00.000000Z"};

	for (unsigned i = 0; i < 2; i++) {
		struct world w = {.again = i == 1};

		begin(&w);
		happens(&w, "a");
		happens(&w, "a");
		expect(&w, 1);
		ck_assert_uint_eq(stats(&w).repeated, 1 + i);
		kubeclock_skip(30 * SEC);
		expect(&w, 1);
		ck_assert_str_eq(w.told[0].series, series[i]);
		end(&w);
	}
}
END_TEST

/* Ten minutes, counted from the last time. */
START_TEST(forgotten_after_ten_minutes)
{
	struct world w = {0};

	begin(&w);
	happens(&w, "a");
	expect(&w, 1);
	for (unsigned i = 0; i < 3; i++) {
		kubeclock_skip(600 * SEC);
		happens(&w, "a");
		expect(&w, 1);
	}
	ck_assert(w.posts == 1 && w.patches == 3);
	kubeclock_skip(600 * SEC + 1);
	happens(&w, "a");
	expect(&w, 1);
	ck_assert(w.posts == 2 && w.patches == 3);
	ck_assert_str_ne(of(&w.told[0], "metadata", "name"), of(&w.told[1], "metadata", "name"));
	end(&w);
}
END_TEST

START_TEST(what_makes_it_another)
{
	static const struct {
		struct kube_ref about;
		bool normal;
		const char *reason, *note;
	} rows[] = {
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, false, "PeerDown", "a"},
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, false, "PeerDown", "b"},
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, false, "PeerDown", "ab"},
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, false, "PeerDown", ""},
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, false, "PeerLost", "a"},
		{{"v1", "Pod", "vpn", "gw-0", "u-1"}, true, "PeerDown", "a"},
		{{"v1", "Pod", "vpn", "gw-0", "u-2"}, false, "PeerDown", "a"},
		{{"v1", "Pod", "vpn", "gw-1", "u-1"}, false, "PeerDown", "a"},
		{{"v1", "Pod", "default", "gw-0", "u-1"}, false, "PeerDown", "a"},
		{{"v1", "Secret", "vpn", "gw-0", "u-1"}, false, "PeerDown", "a"},
	};
	struct world w = {0};

	begin(&w);
	for (unsigned turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)
			kube_event(w.ev, &rows[i].about, !rows[i].normal, rows[i].reason,
				   "Reconcile", rows[i].note);
		ck_assert_uint_eq(stats(&w).repeated, turn ? ARRAY_LEN(rows) : 0);
	}
	expect(&w, ARRAY_LEN(rows));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) { /* in their order */
		ck_assert_str_eq(text(&w.told[i], "note"), rows[i].note);
		ck_assert_str_eq(text(&w.told[i], "reason"), rows[i].reason);
		ck_assert_str_eq(of(&w.told[i], "regarding", "uid"), rows[i].about.uid);
	}
	end(&w);
}
END_TEST

static void happen(struct world *w, unsigned first, unsigned n)
{
	char note[16];

	for (unsigned i = first; i < first + n; i++) {
		snprintf(note, sizeof(note), "%u", i);
		happens(w, note);
	}
}

/* More than a burst is dropped; the right to one more comes back every quarter of a minute. */
START_TEST(too_many_are_dropped)
{
	struct world w = {0};

	begin(&w);
	happen(&w, 0, BURST + 5);
	ck_assert_uint_eq(stats(&w).dropped, 5);
	expect(&w, BURST);
	ck_assert_str_eq(text(&w.told[BURST - 1], "note"), "19");
	happens(&w, "0"); /* what is there already costs nothing */
	ck_assert(stats(&w).dropped == 5 && stats(&w).repeated == 1);
	kubeclock_skip(REFILL - 1);
	happens(&w, "early");
	ck_assert_uint_eq(stats(&w).dropped, 6);
	kubeclock_skip(1);
	happens(&w, "in time");
	happens(&w, "one too many");
	ck_assert_uint_eq(stats(&w).dropped, 7);
	kubeclock_skip(REFILL + REFILL / 2);
	happens(&w, "late");
	kubeclock_skip(REFILL - REFILL / 2); /* what was begun is not lost */
	happens(&w, "in time again");
	ck_assert_uint_eq(stats(&w).dropped, 7);

	kubeclock_skip(3600 * SEC);
	expect(&w, 4); /* and the series */
	happen(&w, 100, BURST + 5);
	ck_assert_uint_eq(stats(&w).dropped, 12);
	expect(&w, BURST);
	ck_assert_uint_eq(stats(&w).sent, 2 * BURST + 3);
	end(&w);
}
END_TEST

/* What waits is bounded too. */
START_TEST(table_is_bounded)
{
	struct world w = {0};

	begin(&w);
	happens(&w, "told");
	expect(&w, 1);
	for (unsigned i = 0; i < TABLE + 3; i++) {
		kubeclock_skip(REFILL);
		happen(&w, i, 1);
	}
	ck_assert_uint_eq(stats(&w).dropped, 3);
	expect(&w, TABLE);
	ck_assert_str_eq(text(&w.told[1], "note"), "0");
	ck_assert_str_eq(text(&w.told[TABLE], "note"), "63");
	happens(&w, "room again");
	expect(&w, 1);
	ck_assert(stats(&w).dropped == 3 && stats(&w).sent == TABLE + 2);
	end(&w);
}
END_TEST

/* Where all of it is remembered for what may happen again, the first is not any more. */
START_TEST(first_told_makes_room)
{
	struct world w = {0};

	begin(&w);
	happen(&w, 0, 20);
	expect(&w, 20);
	kubeclock_skip(300 * SEC);
	happen(&w, 0, 20);
	happen(&w, 20, 20);
	expect(&w, 40);
	kubeclock_skip(300 * SEC);
	happen(&w, 40, 20);
	expect(&w, 20);
	kubeclock_skip(6 * REFILL);
	happen(&w, 60, 5); /* one more than there is room for: 0 goes, */
	happen(&w, 0, 1);  /* is new therefore, and so 1 goes */
	expect(&w, 6);
	ck_assert(w.posts == TABLE + 2 && stats(&w).dropped == 0 && stats(&w).repeated == 20);
	happen(&w, 2, 1);
	expect(&w, 1);
	ck_assert(w.posts == TABLE + 2 && stats(&w).dropped == 0 && stats(&w).repeated == 21);
	end(&w);
}
END_TEST

/* 1023 bytes, of them whole characters; what is cut off makes no difference. */
START_TEST(notes_are_cut)
{
	static const struct {
		unsigned fill; /* that many "x", and then: */
		const char *end;
		unsigned len;
	} rows[] = {
		{1023, "", 1023},
		{1023, "y", 1023},
		{1021, "\xC3\xA9", 1023},
		{1022, "\xC3\xA9", 1022},
		{1020, "\xE2\x82\xAC", 1023},
		{1022, "\xE2\x82\xAC", 1022},
		{1020, "\xF0\x9F\x94\x91", 1020},
		{1000, "\xF0\x9F\x94\x91 and a long text after it", 1023},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w = {0};
		char note[1200] = "";

		memset(note, 'x', rows[i].fill);
		strcat(note, rows[i].end);
		begin(&w);
		happens(&w, note);
		happens(&w, note);
		expect(&w, 1);
		const char *said = text(&w.told[0], "note");
		ck_assert_uint_eq(strlen(said), rows[i].len);
		ck_assert_int_eq(strncmp(said, note, rows[i].len), 0);
		ck_assert_uint_eq(stats(&w).repeated, 1);
		happens(&w, "xx"); /* which it begins with */
		happens(&w, note);
		expect(&w, 1);
		ck_assert_uint_eq(stats(&w).repeated, 2);
		end(&w);
	}
	/* The other way round. */
	struct world w = {0};
	char note[1200] = "";
	memset(note, 'x', sizeof(note) - 1);
	begin(&w);
	happens(&w, "xx");
	happens(&w, note);
	expect(&w, 2);
	end(&w);
}
END_TEST

/* Names become paths: what is none is dropped. */
START_TEST(names_that_are_none)
{
	static const struct kube_ref rows[] = {
		{"v1", "Pod", "vpn", "../../../secrets/x", ""},
		{"v1", "Pod", "vpn", "a/b", ""},
		{"v1", "Pod", "vpn", "a?b", ""},
		{"v1", "Pod", "vpn", "A", ""},
		{"v1", "Pod", "vpn", "", ""},
		{"v1", "Pod", "vpn", NULL, ""},
		{"v1", "Pod", "../vpn", "a", ""},
		{"v1", "Pod", "a.b", "a", ""},
		{"v1", "Pod", "vpn\"", "a", ""},
	};
	struct world w = {0};

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		kube_event(w.ev, &rows[i], false, "PeerUp", "Reconcile", "a");
	expect(&w, 0);
	ck_assert_uint_eq(stats(&w).dropped, ARRAY_LEN(rows));
	end(&w);
}
END_TEST

/* An Event's name is its object's, of which 200 bytes, and the time. */
START_TEST(long_names)
{
	static const char *const ends[] = {"a", "-", ".a", "a.", "-.", "--"};
	struct world w = {0};

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		char name[254] = "";
		const struct kube_ref about = {"v1", "Node", "", name, ""};

		memset(name, 'a', 253);
		name[100] = '.';
		memcpy(name + 200 - strlen(ends[i]), ends[i], strlen(ends[i]));
		if (!kube_is_name(name))
			continue;
		kube_event(w.ev, &about, true, "PeerDown", "Reconcile", "a");
		expect(&w, 1);
		ck_assert(kube_is_name(w.last_id));
		ck_assert_int_eq(strncmp(w.last_id, name, 198), 0);
	}
	ck_assert_uint_ge(w.posts, 4);
	end(&w);
}
END_TEST

/* Told, and tried again after a while that grows, as the same Event; what comes behind waits. */
START_TEST(failures_are_told_and_pass)
{
	static const struct {
		int code;
		const char *retry_after;
		int64_t first, second; /* delays: at least; at most the double */
	} rows[] = {
		{500, NULL, 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{503, NULL, 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{401, NULL, 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{429, NULL, 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{429, "120", 120 * SEC, 120 * SEC},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w = {.post_fails = rows[i].code, .retry_after = rows[i].retry_after};
		char id[300];

		begin(&w);
		happens(&w, "a");
		happens(&w, "b");
		expect(&w, 1);
		memcpy(id, w.last_id, sizeof(id));
		ck_assert_ptr_nonnull(strstr(stats(&w).error, "it will not be"));
		ck_assert_ptr_nonnull(strstr(stats(&w).error, "POST /apis/events.k8s.io/v1/"));
		happens(&w, "c"); /* does not hurry it */
		kubeclock_skip(rows[i].first - 1);
		expect(&w, 0);
		kubeclock_skip(rows[i].first + 1);
		expect(&w, 1);
		kubeclock_skip(rows[i].second - 1);
		expect(&w, 0);
		w.post_fails = 0;
		kubeclock_skip(rows[i].second + 1);
		expect(&w, 3);
		ck_assert_str_eq(of(&w.told[0], "metadata", "name"), id);
		ck_assert_str_eq(text(&w.told[0], "note"), "a");
		ck_assert_str_eq(text(&w.told[1], "note"), "b");
		ck_assert_str_eq(text(&w.told[2], "note"), "c");
		ck_assert_str_eq(text(&w.told[0], "eventTime"), KUBECLOCK_MINUTE "00.000000Z");
		ck_assert(stats(&w).sent == 3 && stats(&w).failed == 0 && !stats(&w).error[0]);
		end(&w);
	}
}
END_TEST

/* No answer at all; and where the one that was not heard of had made it, it is there. */
START_TEST(no_answer)
{
	struct world w = {0};

	begin(&w);
	kubeapi_mute(&w.api, true);
	happens(&w, "a");
	expect(&w, 1);
	ck_assert(w.posts == 0 && stats(&w).sent == 0 && stats(&w).error[0]);
	kubeapi_mute(&w.api, false);
	w.post_fails = 409;
	kubeclock_skip(2 * SEC);
	expect(&w, 1);
	ck_assert(stats(&w).sent == 1 && stats(&w).failed == 0 && !stats(&w).error[0]);
	happens(&w, "a");
	kubeclock_skip(30 * SEC);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "2 " KUBECLOCK_MINUTE "02.000000Z");
	end(&w);
}
END_TEST

/* Told, not tried again, and nothing is held up by it. */
START_TEST(refusals)
{
	static const int codes[] = {400, 403, 404, 422};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct world w = {.post_fails = codes[i]};

		begin(&w);
		happens(&w, "a");
		expect(&w, 1);
		ck_assert_uint_eq(stats(&w).failed, 1);
		ck_assert_ptr_nonnull(strstr(stats(&w).error, "it will not be"));
		kubeclock_skip(300 * SEC);
		expect(&w, 0);
		w.post_fails = 0;
		happens(&w, "a"); /* a new one */
		expect(&w, 1);
		ck_assert(stats(&w).sent == 1 && stats(&w).repeated == 0 && !stats(&w).error[0]);

		w.patch_fails = codes[i];
		happens(&w, "a");
		kubeclock_skip(30 * SEC);
		expect(&w, codes[i] == 404 ? 2 : 1); /* 404: see expired */
		ck_assert_uint_eq(stats(&w).failed, codes[i] == 404 ? 1 : 2);
		end(&w);
	}
}
END_TEST

/* What cannot even be sent is told too. */
START_TEST(too_long_to_send)
{
	struct world w = {0};
	char action[20000];

	memset(action, 'x', sizeof(action));
	action[sizeof(action) - 1] = '\0';
	begin(&w);
	kube_event(w.ev, &POD, true, "PeerDown", action, "a");
	expect(&w, 0);
	ck_assert_uint_eq(stats(&w).failed, 1);
	ck_assert_str_ne(stats(&w).error, "");
	happens(&w, "a");
	expect(&w, 1);
	ck_assert_str_eq(stats(&w).error, "");
	end(&w);
}
END_TEST

/* An API server that only ever fails is not asked for ever. */
START_TEST(given_up)
{
	struct world w = {.post_fails = 500};

	begin(&w);
	happens(&w, "a");
	for (unsigned i = 1; i <= RETRIES; i++) {
		ck_assert_uint_eq(stats(&w).failed, 0);
		expect(&w, 1);
		kubeclock_skip(60 * SEC);
	}
	expect(&w, 0);
	ck_assert_uint_eq(stats(&w).failed, 1);
	ck_assert_ptr_nonnull(strstr(stats(&w).error, "it will not be"));
	w.post_fails = 0;
	happens(&w, "b");
	expect(&w, 1);
	ck_assert_str_eq(text(&w.told[0], "note"), "b");
	end(&w);
}
END_TEST

/* A series that cannot be told is told later, by what it has grown to. */
START_TEST(patches_that_fail)
{
	static const int codes[] = {401, 429, 500};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct world w = {.patch_fails = codes[i]};

		begin(&w);
		happens(&w, "a");
		expect(&w, 1);
		happens(&w, "a");
		kubeclock_skip(30 * SEC);
		expect(&w, 1);
		ck_assert_ptr_nonnull(strstr(stats(&w).error, "PATCH /apis/"));
		happens(&w, "a");
		w.patch_fails = 0;
		kubeclock_skip(2 * SEC);
		expect(&w, 1);
		ck_assert_str_eq(w.told[0].series, "3 " KUBECLOCK_MINUTE "30.000000Z");
		ck_assert(w.posts == 1 && stats(&w).failed == 0 && !stats(&w).error[0]);
		end(&w);
	}
}
END_TEST

/* What succeeded at last has all its attempts again. */
START_TEST(attempts_begin_anew)
{
	struct world w = {.post_fails = 500, .patch_fails = 500};

	begin(&w);
	happens(&w, "a");
	for (unsigned i = 1; i < RETRIES; i++) {
		expect(&w, 1);
		kubeclock_skip(60 * SEC);
	}
	w.post_fails = 0;
	expect(&w, 1);
	happens(&w, "a");
	kubeclock_skip(30 * SEC);
	for (unsigned i = 1; i < RETRIES; i++) {
		expect(&w, 1);
		kubeclock_skip(60 * SEC);
	}
	w.patch_fails = 0;
	expect(&w, 1);
	ck_assert(w.posts == RETRIES && w.patches == RETRIES);
	ck_assert(w.told[0].series[0] == '2' && stats(&w).failed == 0 && !stats(&w).error[0]);
	end(&w);
}
END_TEST

/* API servers keep Events for an hour: a series whose Event is gone is a new one. */
START_TEST(expired)
{
	struct world w = {.patch_fails = 404};

	begin(&w);
	happens(&w, "a");
	expect(&w, 1);
	kubeclock_skip(45 * SEC);
	happens(&w, "a");
	expect(&w, 2);
	ck_assert(w.posts == 2 && w.patches == 1 && stats(&w).failed == 0);
	ck_assert_str_ne(of(&w.told[0], "metadata", "name"), of(&w.told[1], "metadata", "name"));
	ck_assert_str_eq(text(&w.told[1], "eventTime"), KUBECLOCK_MINUTE "45.000000Z");
	w.patch_fails = 0;
	happens(&w, "a");
	kubeclock_skip(30 * SEC);
	expect(&w, 1);
	ck_assert_str_eq(w.told[0].series, "");
	ck_assert_str_eq(w.told[1].series, "2 " KUBECLOCK_MINUTE "45.000000Z");
	end(&w);
}
END_TEST

START_TEST(without_memory)
{
	struct world w = {0};
	struct kube_events_stats s = {0};
	struct kube_events *ev;
	unsigned failed = 0;
	struct err e;
	int r;

	begin(&w);
	happens(&w, "a"); /* libevent has room for the timer */
	FAULT_LOOP(({
		ev = NULL;
		r = kube_events_new(w.api.client, "node-a", &ev, &e);
		if (ev) {
			kube_event(ev, &POD, true, "PeerDown", "Reconcile", "a");
			kube_events_get_stats(ev, &s);
		}
		kube_events_free(ev);
	}))
	{
		ck_assert(r == 0 ? s.dropped == 1 : r == -ENOMEM && e.code == r && !ev);
		failed++;
	}
	ck_assert(r == 0 && s.dropped == 0);
	ck_assert_uint_ge(failed, 4);
	end(&w);
}
END_TEST

START_TEST(freed_in_between)
{
	for (unsigned ms = 0; ms < 8; ms++) {
		struct world w = {0};

		begin(&w);
		happens(&w, "a");
		happens(&w, "b");
		kubeapi_for(&w.api, ms);
		kube_events_free(mem_steal(&w.ev));
		kubeapi_for(&w.api, 20);
		end(&w);
	}
	/* With a request that was not answered yet, and with one that is to be tried again. */
	struct world w = {.free_on_request = true};
	begin(&w);
	happens(&w, "a");
	expect(&w, 0);
	ck_assert_uint_eq(w.posts, 1);
	end(&w);
	struct world again = {.post_fails = 500};
	begin(&again);
	happens(&again, "a");
	expect(&again, 1);
	end(&again);
	kube_events_free(NULL);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_events", told_as_an_event, objects_without_namespace,
			  same_again_is_a_series, another_beside_a_series, same_again_meanwhile,
			  forgotten_after_ten_minutes, what_makes_it_another, too_many_are_dropped,
			  table_is_bounded, first_told_makes_room, notes_are_cut,
			  names_that_are_none, long_names, failures_are_told_and_pass, no_answer,
			  refusals, too_long_to_send, given_up, patches_that_fail,
			  attempts_begin_anew, expired, without_memory, freed_in_between);
}

UNIT_MAIN(suite)
