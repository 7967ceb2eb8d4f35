/* lib/kube/publish.c against an API server of our own and on our own time: what is written into the
 * nodes' ConfigMap, when, how often, and again after a failure. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fault.h"
#include "kube/kube_priv.h"
#include "kubeapi.h"
#include "kubeclock.h"

#define SEC       NS_PER_SEC
#define PATH      "/api/v1/namespaces/vpn/configmaps/harmony-nodes"
#define NOTHING   "(nothing)"
#define MAX_VALUE 16384

struct world {
	struct kubeapi api;
	struct kube_publish *publish;
	const char *node;
	unsigned requests; /* that have ended, by our own account */
	unsigned patches;
	int fails;
	const char *retry_after;
	const char *turn;          /* set while the patch is on its way */
	bool free_on_request;      /* which is not answered yet */
	char entry[MAX_VALUE + 1]; /* as the API server has it */
};

static int set(struct world *w, const char *generation, struct err *e)
{
	const struct kube_node_state s = {.generation = generation};

	return kube_publish_set(w->publish, &s, e);
}

static void sets(struct world *w, const char *generation)
{
	ck_assert_int_eq(set(w, generation, NULL), 0);
}

/* The node's entry, and no other. */
static void write_entry(struct world *w, struct http_request *req)
{
	_cleanup_json_ struct json_object *o = kubeapi_body(req);
	struct json_object *data = json_get(o, "data", json_type_object), *value;
	const char *s;

	ck_assert_int_eq(json_object_object_length(o), 1);
	ck_assert_int_eq(json_object_object_length(data), 1);
	ck_assert(json_object_object_get_ex(data, w->node, &value));
	ck_assert(!value || json_object_is_type(value, json_type_string));
	s = value ? json_object_get_string(value) : NOTHING;
	if (!w->fails)
		ck_assert_int_eq(str_copy(w->entry, sizeof(w->entry), s), 0);
}

static void on_patch(struct http_request *req, void *arg)
{
	struct world *w = arg;

	w->patches++;
	ck_assert_str_eq(http_request_header(req, "Content-Type"), "application/merge-patch+json");
	ck_assert_str_eq(http_request_query(req, "fieldManager"), "harmony-agent");
	write_entry(w, req);
	if (w->turn)
		sets(w, mem_steal(&w->turn));
	if (w->free_on_request)
		kube_publish_free(mem_steal(&w->publish));
	if (w->fails && w->retry_after)
		http_reply_header(req, "Retry-After", w->retry_after);
	if (w->fails)
		kubeapi_fail(req, w->fails);
	else
		http_reply(req, 200, "application/json", "{}");
}

static void begin(struct world *w)
{
	struct err e;

	if (!w->node)
		w->node = "node-a";
	kubeclock_start();
	kubeapi_start(&w->api);
	ck_assert_int_eq(http_server_route(w->api.server, PATH, HTTP_PATCH, on_patch, w), 0);
	ck_assert_int_eq(
		kube_publish_new(w->api.client, NULL, "harmony-nodes", w->node, &w->publish, &e),
		0);
}

static void end(struct world *w)
{
	kube_publish_free(w->publish);
	kubeapi_end(&w->api);
}

/* So many more requests come to their end, and then there are no others. */
static void expect(struct world *w, unsigned more)
{
	w->requests += more;
	ck_assert_uint_eq(kubeapi_requests(&w->api, w->requests), w->requests);
}

static bool is_done(const struct world *w)
{
	return kube_publish_done(w->publish, NULL);
}

static const char *why(const struct world *w)
{
	const char *error = NULL;

	(void)kube_publish_done(w->publish, &error);
	return error;
}

static void ck_entry(const struct world *w, const char *generation)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"generation\":\"%s\",\"keys\":{}}", generation);
	ck_assert_str_eq(w->entry, text);
}

START_TEST(names)
{
	static const struct {
		const char *ns, *name, *node;
	} bad[] = {
		{"a.b", "nodes", "node-a"},   {"../vpn", "nodes", "node-a"},
		{"", "nodes", "node-a"},      {"vpn", "", "node-a"},
		{"vpn", "nodes/x", "node-a"}, {"vpn", "nodes?x=y", "node-a"},
		{"vpn", "Nodes", "node-a"},   {"vpn", "nodes", ""},
		{"vpn", "nodes", "node\"a"},  {"vpn", "nodes", "node_a"},
		{NULL, "nodes", "../node-a"},
	};
	struct world w = {.node = "node-a.example.com"};
	struct kube_publish *p = NULL;
	struct err e;

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_eq(
			kube_publish_new(w.api.client, bad[i].ns, bad[i].name, bad[i].node, &p, &e),
			-EINVAL);
		ck_assert_int_eq(e.code, -EINVAL);
		ck_assert_ptr_nonnull(strstr(e.msg, bad[i].name));
		ck_assert_ptr_null(p);
	}
	sets(&w, "1");
	expect(&w, 1);
	ck_entry(&w, "1");
	end(&w);

	/* The namespace is said, or the client's. */
	struct world other = {0};
	begin(&other);
	ck_assert_int_eq(http_server_route(other.api.server,
					   "/api/v1/namespaces/other/configmaps/nodes", HTTP_PATCH,
					   on_patch, &other),
			 0);
	kube_publish_free(mem_steal(&other.publish));
	ck_assert_int_eq(
		kube_publish_new(other.api.client, "other", "nodes", "node-a", &other.publish, &e),
		0);
	sets(&other, "2");
	expect(&other, 1);
	ck_entry(&other, "2");
	end(&other);
}
END_TEST

START_TEST(what_is_written)
{
	static const struct kube_node_key keys[] = {{"office", "a2V5IG9uZQ==", NULL},
						    {"say \"hi\"", "a2V5IHR3bw==", NULL}};
	static const struct kube_node_key reached[] = {{"a", "S0E=", NULL},
						       {"b", "S0I=", "gw.example.com:51820"},
						       {"c", "S0M=", "[2001:db8::1]:51821"}};
	static const struct {
		struct kube_node_state state;
		const char *entry;
	} rows[] = {
		{{0}, "{\"generation\":\"\",\"keys\":{}}"},
		{{.keys = keys, .n_keys = 1, .generation = "41"},
		 "{\"generation\":\"41\",\"keys\":{\"office\":\"a2V5IG9uZQ==\"}}"},
		{{.keys = keys, .n_keys = 2, .generation = "42", .error = ""},
		 "{\"generation\":\"42\",\"keys\":{\"office\":\"a2V5IG9uZQ==\","
		 "\"say \\\"hi\\\"\":\"a2V5IHR3bw==\"}}"},
		{{.keys = keys, .n_keys = 1, .generation = "4\\2", .error = "line 3:\tno"},
		 "{\"generation\":\"4\\\\2\",\"keys\":{\"office\":\"a2V5IG9uZQ==\"},"
		 "\"error\":\"line 3:\\tno\"}"},
		{{.keys = reached, .n_keys = 3, .generation = "43", .error = "no"},
		 "{\"generation\":\"43\",\"keys\":{\"a\":\"S0E=\",\"b\":\"S0I=\",\"c\":\"S0M=\"},"
		 "\"endpoints\":{\"b\":\"gw.example.com:51820\",\"c\":\"[2001:db8::1]:51821\"},"
		 "\"error\":\"no\"}"},
	};
	struct world w = {0};

	begin(&w);
	ck_assert(is_done(&w) && str_eq(why(&w), "")); /* nothing is wanted yet */
	expect(&w, 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ck_assert_int_eq(kube_publish_set(w.publish, &rows[i].state, NULL), 0);
		ck_assert(!is_done(&w) && str_eq(why(&w), ""));
		expect(&w, 1);
		ck_assert_str_eq(w.entry, rows[i].entry);
		ck_assert(is_done(&w) && str_eq(why(&w), ""));
		kubeclock_skip(5 * SEC);
	}
	end(&w);
}
END_TEST

/* 200 bytes, of them whole characters. */
START_TEST(errors_are_cut)
{
	static const struct {
		unsigned fill; /* that many "x", and then: */
		const char *end;
		unsigned len;
	} rows[] = {
		{200, "", 200},
		{200, "y", 200},
		{198, "\xC3\xA9", 200},
		{199, "\xC3\xA9", 199},
		{198, "\xE2\x82\xAC", 198},
		{150, "\xE2\x82\xAC and a text after it that is longer than what is left", 200},
	};
	struct world w = {0};

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_json_ struct json_object *o = NULL;
		char error[300] = "";
		const struct kube_node_state s = {.error = error};

		memset(error, 'x', rows[i].fill);
		strcat(error, rows[i].end);
		w.entry[0] = '\0';
		ck_assert_int_eq(kube_publish_set(w.publish, &s, NULL), 0);
		if (i == 1) { /* all that is different was cut off */
			expect(&w, 0);
			continue;
		}
		expect(&w, 1);
		ck_assert_int_eq(json_parse(w.entry, strlen(w.entry),
					    (struct json_limits){MAX_VALUE, 4}, &o, NULL),
				 0);
		ck_assert_uint_eq(strlen(json_get_str(o, "error")), rows[i].len);
		ck_assert_int_eq(strncmp(json_get_str(o, "error"), error, rows[i].len), 0);
		kubeclock_skip(5 * SEC);
	}
	end(&w);
}
END_TEST

/* Once, and the next in five seconds: the last of what was set until then. */
START_TEST(written_when_it_differs)
{
	struct world w = {0};

	begin(&w);
	sets(&w, "1");
	sets(&w, "2");
	expect(&w, 1);
	ck_entry(&w, "2");
	for (unsigned i = 0; i < 3; i++) {
		sets(&w, "2");
		kubeclock_skip(60 * SEC);
		expect(&w, 0);
	}
	ck_assert(is_done(&w));

	sets(&w, "3");
	expect(&w, 1);
	ck_entry(&w, "3");
	kubeclock_skip(SEC);
	sets(&w, "4");
	expect(&w, 0);
	kubeclock_skip(3 * SEC);
	sets(&w, "5");
	expect(&w, 0);
	kubeclock_skip(SEC - 1);
	sets(&w, "5");
	expect(&w, 0);
	ck_assert(!is_done(&w) && str_eq(why(&w), ""));
	kubeclock_skip(1);
	expect(&w, 1);
	ck_entry(&w, "5");
	ck_assert(is_done(&w) && w.patches == 3);
	kubeclock_skip(60 * SEC);
	expect(&w, 0);
	end(&w);
}
END_TEST

/* What is set while another one is on its way is written behind it. */
START_TEST(set_on_the_way)
{
	struct world w = {.turn = "2"};

	begin(&w);
	sets(&w, "1");
	expect(&w, 1);
	ck_entry(&w, "1");
	ck_assert(!is_done(&w));
	kubeclock_skip(5 * SEC - 1);
	expect(&w, 0);
	kubeclock_skip(1);
	expect(&w, 1);
	ck_entry(&w, "2");
	ck_assert(is_done(&w));

	/* The same again is nothing new. */
	w.turn = "3";
	kubeclock_skip(5 * SEC);
	sets(&w, "3");
	expect(&w, 1);
	ck_entry(&w, "3");
	ck_assert(is_done(&w));
	kubeclock_skip(60 * SEC);
	expect(&w, 0);
	end(&w);
}
END_TEST

START_TEST(entry_is_removed)
{
	struct world w = {0};

	begin(&w);
	sets(&w, "1");
	expect(&w, 1);
	kubeclock_skip(5 * SEC);
	ck_assert_int_eq(kube_publish_set(w.publish, NULL, NULL), 0);
	ck_assert(!is_done(&w));
	expect(&w, 1);
	ck_assert_str_eq(w.entry, NOTHING);
	ck_assert(is_done(&w));
	kubeclock_skip(5 * SEC);
	ck_assert_int_eq(kube_publish_set(w.publish, NULL, NULL), 0);
	expect(&w, 0);
	sets(&w, "1");
	expect(&w, 1);
	ck_entry(&w, "1");
	end(&w);

	/* What was there before us is not known: it is removed all the same. */
	struct world first = {0};
	begin(&first);
	ck_assert_int_eq(kube_publish_set(first.publish, NULL, NULL), 0);
	ck_assert(!is_done(&first));
	expect(&first, 1);
	ck_assert_str_eq(first.entry, NOTHING);
	ck_assert(is_done(&first));
	end(&first);
}
END_TEST

/* Told, tried again after a while that grows, with what is wanted by then. */
START_TEST(failures_are_told_and_pass)
{
	static const struct {
		int code;
		const char *retry_after, *words;
		int64_t first, second; /* delays: at least; at most the double */
	} rows[] = {
		{403, NULL, "needed: patch of configmaps", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{404, NULL, "it must exist", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{401, NULL, "it will not be", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{409, NULL, "it will not be", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{422, NULL, "it will not be", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{429, NULL, "it will not be", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
		{429, "120", "it will not be", 120 * SEC, 120 * SEC},
		{500, NULL, "it will not be", 800 * NS_PER_MSEC, 1600 * NS_PER_MSEC},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w = {.fails = rows[i].code, .retry_after = rows[i].retry_after};

		begin(&w);
		sets(&w, "1");
		expect(&w, 1);
		ck_assert(!is_done(&w));
		ck_assert_ptr_nonnull(strstr(why(&w), "configmap vpn/harmony-nodes"));
		ck_assert_ptr_nonnull(strstr(why(&w), rows[i].words));
		for (unsigned j = 0; j < 20; j++) /* does not hurry it */
			sets(&w, j % 2 ? "2" : "3");
		kubeclock_skip(rows[i].first - 1);
		expect(&w, 0);
		kubeclock_skip(rows[i].first + 1);
		expect(&w, 1);
		kubeclock_skip(rows[i].second - 1);
		expect(&w, 0);
		ck_assert_str_eq(w.entry, "");
		ck_assert_ptr_nonnull(strstr(why(&w), rows[i].words));
		w.fails = 0;
		kubeclock_skip(rows[i].second + 1);
		expect(&w, 1);
		ck_entry(&w, "2");
		ck_assert(is_done(&w) && str_eq(why(&w), ""));
		end(&w);
	}
}
END_TEST

/* However long it takes, and the delay begins anew after a success. */
START_TEST(never_given_up)
{
	struct world w = {.fails = 500};

	begin(&w);
	sets(&w, "1");
	for (unsigned i = 0; i < 40; i++) {
		expect(&w, 1);
		kubeclock_skip(60 * SEC); /* 30 s, and as much by chance */
	}
	w.fails = 0;
	expect(&w, 1);
	ck_entry(&w, "1");

	w.fails = 500;
	kubeclock_skip(5 * SEC);
	sets(&w, "2");
	expect(&w, 1);
	w.fails = 0;
	kubeclock_skip(1600 * NS_PER_MSEC);
	expect(&w, 1);
	ck_entry(&w, "2");
	end(&w);
}
END_TEST

START_TEST(no_answer)
{
	struct world w = {0};

	begin(&w);
	kubeapi_mute(&w.api, true);
	sets(&w, "1");
	expect(&w, 1);
	ck_assert(!is_done(&w) && w.patches == 0);
	ck_assert_ptr_nonnull(strstr(why(&w), "configmap vpn/harmony-nodes"));
	kubeapi_mute(&w.api, false);
	kubeclock_skip(2 * SEC);
	expect(&w, 1);
	ck_entry(&w, "1");
	ck_assert(is_done(&w) && str_eq(why(&w), ""));
	end(&w);
}
END_TEST

/* 16384 bytes and no more; what is too long changes nothing. */
START_TEST(too_long)
{
	const size_t room = MAX_VALUE - strlen("{\"generation\":\"\",\"keys\":{}}");
	struct world w = {0};
	char text[MAX_VALUE];
	struct err e = {0};

	begin(&w);
	memset(text, '"', sizeof(text)); /* twice as long, and that twice in the patch */
	text[room / 2] = '\0';
	sets(&w, text);
	expect(&w, 1);
	ck_assert_uint_eq(strlen(w.entry), MAX_VALUE - room % 2);

	kubeclock_skip(5 * SEC);
	text[room / 2] = '"';
	text[room / 2 + 1] = '\0';
	ck_assert_int_eq(set(&w, text, &e), -E2BIG);
	ck_assert_int_eq(e.code, -E2BIG);
	ck_assert_ptr_nonnull(strstr(e.msg, "configmap vpn/harmony-nodes"));
	ck_assert_ptr_nonnull(strstr(e.msg, "16384"));
	ck_assert(is_done(&w));
	expect(&w, 0);
	sets(&w, "1");
	ck_assert_int_eq(set(&w, text, NULL), -E2BIG);
	expect(&w, 1);
	ck_entry(&w, "1");
	end(&w);
}
END_TEST

START_TEST(without_memory)
{
	struct world w = {0};
	struct kube_publish *p;
	unsigned failed = 0;
	struct err e;
	int r;

	begin(&w);
	sets(&w, "1"); /* libevent has room for the timer */
	FAULT_LOOP(({
		p = NULL;
		r = kube_publish_new(w.api.client, "vpn", "nodes", "node-a", &p, &e);
		kube_publish_free(p);
	}))
	{
		/* 0: asprintf gets on without memory for less memory. */
		ck_assert(r == 0 || (r == -ENOMEM && e.code == r && !p));
		failed += r < 0;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_ge(failed, 2);
	expect(&w, 1);

	kubeclock_skip(5 * SEC);
	fault_after(0);
	r = set(&w, "2", &e);
	ck_assert(fault_off());
	ck_assert(r == -ENOMEM && e.code == r);
	ck_assert(is_done(&w)); /* nothing has changed */
	expect(&w, 0);
	sets(&w, "2");
	expect(&w, 1);
	ck_entry(&w, "2");
	end(&w);
}
END_TEST

START_TEST(freed_in_between)
{
	for (unsigned ms = 0; ms < 8; ms++) {
		struct world w = {0};

		begin(&w);
		sets(&w, "1");
		kubeapi_for(&w.api, ms);
		kube_publish_free(mem_steal(&w.publish));
		kubeapi_for(&w.api, 20);
		end(&w);
	}
	/* With a request that was not answered yet, and with one that is to be tried again. */
	struct world w = {.free_on_request = true};
	begin(&w);
	sets(&w, "1");
	expect(&w, 0);
	end(&w);
	struct world again = {.fails = 500};
	begin(&again);
	sets(&again, "1");
	expect(&again, 1);
	end(&again);
	kube_publish_free(NULL);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_publish", names, what_is_written, errors_are_cut,
			  written_when_it_differs, set_on_the_way, entry_is_removed,
			  failures_are_told_and_pass, never_given_up, no_answer, too_long,
			  without_memory, freed_in_between);
}

UNIT_MAIN(suite)
