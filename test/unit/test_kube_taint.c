/* lib/kube/taint.c against an API server of our own: what is asked, when, and which entries of the
 * node's list of taints are removed. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kubeapi.h"

#define KEY "harmony-agent/not-ready"

#define TAINT(key)   "{\"key\":\"" key "\",\"effect\":\"NoSchedule\"}"
#define NODE(spec)   "{\"kind\":\"Node\",\"metadata\":{\"name\":\"node-a\"},\"spec\":" spec "}"
#define TAINTS(list) NODE("{\"taints\":[" list "]}")

struct world {
	struct kubeapi api;
	struct kube_taint *taint;
	const char *node, *after; /* JSON: until a patch was admitted, and from then on */
	int get_fails, patch_fails;
	bool turn; /* the tunnels go while the node is on its way */
	bool free_when_removed;
	unsigned gets, patches, removed;
	char places[64];         /* of the last patch: "3 1" */
	char error[ERR_MSG_MAX]; /* at the last GET */
};

static void on_get(struct http_request *req, struct world *w)
{
	w->gets++;
	/* What was asked before the taint was freed arrives after it all the same. */
	if (w->taint)
		snprintf(w->error, sizeof(w->error), "%s", kube_taint_error(w->taint));
	if (w->turn) {
		w->turn = false;
		kube_taint_set(w->taint, false);
	}
	if (w->get_fails)
		kubeapi_fail(req, w->get_fails);
	else
		http_reply(req, 200, "application/json", w->node);
}

/* Pairs of a test that an entry is ours, and its removal: nothing else is ever asked for. */
static void read_patch(struct world *w, struct json_object *ops)
{
	size_t n = json_object_array_length(ops), len = 0;

	ck_assert(n > 0 && n % 2 == 0);
	for (size_t i = 0; i < n; i += 2) {
		struct json_object *test = json_object_array_get_idx(ops, i);
		struct json_object *remove = json_object_array_get_idx(ops, i + 1);
		unsigned at;
		char path[64];

		ck_assert_str_eq(json_get_str(test, "op"), "test");
		ck_assert_str_eq(json_get_str(test, "value"), KEY);
		ck_assert_str_eq(json_get_str(remove, "op"), "remove");
		ck_assert_int_eq(sscanf(json_get_str(remove, "path"), "/spec/taints/%u", &at), 1);
		snprintf(path, sizeof(path), "/spec/taints/%u", at);
		ck_assert_str_eq(json_get_str(remove, "path"), path);
		snprintf(path, sizeof(path), "/spec/taints/%u/key", at);
		ck_assert_str_eq(json_get_str(test, "path"), path);
		len += (size_t)snprintf(w->places + len, sizeof(w->places) - len, "%s%u",
					i ? " " : "", at);
	}
}

static void on_patch(struct http_request *req, struct world *w)
{
	size_t len = 0;
	const char *body = http_request_body(req, &len);
	_cleanup_json_ struct json_object *ops = NULL;

	ck_assert_str_eq(http_request_header(req, "Content-Type"), "application/json-patch+json");
	ck_assert_int_eq(json_parse(body, len, (struct json_limits){8192, 4}, &ops, NULL), 0);
	ck_assert(json_object_is_type(ops, json_type_array));
	read_patch(w, ops);
	w->patches++;
	if (w->patch_fails) {
		kubeapi_fail(req, w->patch_fails);
		return;
	}
	w->node = w->after;
	http_reply(req, 200, "application/json", w->node);
}

static void on_request(struct http_request *req, void *arg)
{
	if (http_request_method(req) == HTTP_GET)
		on_get(req, arg);
	else
		on_patch(req, arg);
}

static void on_removed(void *arg)
{
	struct world *w = arg;

	w->removed++;
	if (w->free_when_removed)
		kube_taint_free(mem_steal(&w->taint));
}

static void begin(struct world *w)
{
	struct err e;

	if (!w->after)
		w->after = NODE("{}");
	kubeapi_start(&w->api);
	ck_assert_int_eq(http_server_route(w->api.server, "/api/v1/nodes/node-a",
					   HTTP_GET | HTTP_PATCH, on_request, w),
			 0);
	ck_assert_int_eq(kube_taint_new(w->api.client, "node-a", KEY, on_removed, w, &w->taint, &e),
			 0);
}

static void end(struct world *w)
{
	kube_taint_free(w->taint);
	kubeapi_end(&w->api);
}

static bool is_removed(void *arg)
{
	return ((struct world *)arg)->removed > 0;
}
static bool has_failed(void *arg)
{
	return *kube_taint_error(((struct world *)arg)->taint) != '\0';
}
static bool is_patched(void *arg)
{
	return ((struct world *)arg)->patches > 0;
}
static bool is_asked(void *arg)
{
	return ((struct world *)arg)->gets > 0;
}
static bool is_asked_again(void *arg)
{
	return ((struct world *)arg)->gets > 1;
}

START_TEST(removed_when_ready)
{
	struct world w = {.node = TAINTS(TAINT(KEY))};

	begin(&w);
	kube_taint_set(w.taint, false);
	kubeapi_for(&w.api, 200);
	ck_assert_uint_eq(w.gets, 0); /* not asked for before it is ready */
	kube_taint_set(w.taint, true);
	ck_assert(kubeapi_until(&w.api, is_removed, &w));
	ck_assert_str_eq(w.places, "0");
	ck_assert_str_eq(kube_taint_error(w.taint), "");
	kube_taint_set(w.taint, true); /* no news */
	kubeapi_for(&w.api, 200);
	ck_assert(w.gets == 1 && w.patches == 1 && w.removed == 1);

	/* The node is registered anew, and the tunnels come again. */
	w.node = TAINTS(TAINT("a") "," TAINT(KEY));
	w.removed = 0;
	kube_taint_set(w.taint, false);
	kubeapi_for(&w.api, 100);
	ck_assert_uint_eq(w.gets, 1);
	kube_taint_set(w.taint, true);
	ck_assert(kubeapi_until(&w.api, is_removed, &w));
	ck_assert_str_eq(w.places, "1");
	end(&w);
}
END_TEST

/* Whatever their effect, from behind, so that places stay what they were; names that only look
 * alike are others'. */
START_TEST(entries_of_the_key_only)
{
	static const struct {
		const char *node, *places; /* "": nothing to remove */
	} rows[] = {
		{TAINTS(TAINT("a") "," TAINT(KEY) "," TAINT("b") "," TAINT(KEY) "," TAINT("c")),
		 "3 1"},
		{TAINTS(TAINT(KEY) "," TAINT(KEY) "," TAINT(KEY)), "2 1 0"},
		{TAINTS(TAINT(KEY "x") "," TAINT("x" KEY) "," TAINT("Harmony-agent/not-ready")),
		 ""},
		{TAINTS(TAINT("node.kubernetes.io/not-ready")), ""},
		{NODE("{\"taints\":[]}"), ""},
		{NODE("{}"), ""},
		/* What no server says, and what follows from it. */
		{TAINTS("null,7,[],{},{\"key\":7},{\"key\":null},\"" KEY "\"," TAINT(KEY)), "7"},
		{TAINTS(TAINT(KEY) "," TAINT(KEY) "," TAINT(KEY) "," TAINT(KEY)), "3 2 1"},
		{NODE("{\"taints\":{\"key\":\"" KEY "\"}}"), ""},
		{NODE("[]"), ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w = {.node = rows[i].node};

		begin(&w);
		kube_taint_set(w.taint, true);
		if (rows[i].places[0]) {
			ck_assert(kubeapi_until(&w.api, is_removed, &w));
		} else {
			ck_assert(kubeapi_until(&w.api, is_asked, &w));
			kubeapi_for(&w.api, 50);
		}
		ck_assert_str_eq(w.places, rows[i].places);
		ck_assert_str_eq(kube_taint_error(w.taint), "");
		end(&w);
	}
}
END_TEST

START_TEST(answers_that_are_no_node)
{
	static const char *const rows[] = {"",          "{}", "[]", "null", "{\"metadata\":7}",
					   "{\"spec\":"};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w = {.node = rows[i]};

		begin(&w);
		kube_taint_set(w.taint, true);
		ck_assert(kubeapi_until(&w.api, has_failed, &w));
		ck_assert_ptr_nonnull(strstr(kube_taint_error(w.taint), "nodes/node-a"));
		ck_assert_uint_eq(w.patches, 0);
		end(&w);
	}
}
END_TEST

/* Told, tried again after a while, and the missing right is named. */
START_TEST(failures_are_told_and_pass)
{
	static const struct {
		int get, patch;
		const char *words;
	} rows[] = {
		{404, 0, "it will not be"},
		{500, 0, "it will not be"},
		{403, 0, "needed: get and patch of nodes"},
		{0, 403, "needed: get and patch of nodes"},
		{0, 500, "it will not be"},
	};

	struct world worlds[ARRAY_LEN(rows)] = {0}; /* they wait side by side */

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = &worlds[i];

		w->node = TAINTS(TAINT(KEY));
		w->get_fails = rows[i].get;
		w->patch_fails = rows[i].patch;
		begin(w);
		kube_taint_set(w->taint, true);
		ck_assert(kubeapi_until(&w->api, has_failed, w));
		ck_assert_ptr_nonnull(strstr(kube_taint_error(w->taint), rows[i].words));
		ck_assert_uint_eq(w->removed, 0);
		/* A tunnel that comes and goes does not ask the oftener. */
		for (unsigned j = 0; j < 20; j++)
			kube_taint_set(w->taint, j % 2);
		kubeapi_for(&w->api, 50);
		ck_assert_uint_eq(w->gets, 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = &worlds[i];

		w->get_fails = w->patch_fails = 0;
		ck_assert(kubeapi_until(&w->api, is_removed, w));
		ck_assert_str_eq(kube_taint_error(w->taint), "");
		end(w);
	}
}
END_TEST

/* Somebody else was quicker: no failure, unless it goes on. */
START_TEST(changed_meanwhile)
{
	static const int codes[] = {404, 409, 422};

	struct world worlds[ARRAY_LEN(codes)] = {0};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct world *w = &worlds[i];

		w->node = TAINTS(TAINT(KEY));
		w->patch_fails = codes[i];
		begin(w);
		kube_taint_set(w->taint, true);
		ck_assert(kubeapi_until(&w->api, is_patched, w));
	}
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct world *w = &worlds[i];

		ck_assert(kubeapi_until(&w->api, is_asked_again, w));
		ck_assert_str_eq(w->error, "");
		ck_assert(kubeapi_until(&w->api, has_failed, w));
		ck_assert(w->patches == 2 && w->removed == 0);
		w->node = NODE("{}");
	}
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct world *w = &worlds[i];

		w->gets = 0;
		ck_assert(kubeapi_until(&w->api, is_asked, w));
		kubeapi_for(&w->api, 50);
		ck_assert_str_eq(kube_taint_error(w->taint), "");
		ck_assert_uint_eq(w->patches, 2);
		end(w);
	}
}
END_TEST

/* What was read while the tunnels were up is not acted on when they are not. */
START_TEST(gone_on_the_way)
{
	struct world w = {.node = TAINTS(TAINT(KEY)), .turn = true};

	begin(&w);
	kube_taint_set(w.taint, true);
	ck_assert(kubeapi_until(&w.api, is_asked, &w));
	kubeapi_for(&w.api, 200);
	ck_assert_uint_eq(w.patches, 0);
	kube_taint_set(w.taint, true);
	ck_assert(kubeapi_until(&w.api, is_removed, &w));
	end(&w);
}
END_TEST

START_TEST(names)
{
	static const char *const good[] = {KEY,           "not-ready",        "a", "Example.com_1",
					   "notk8s.io/x", "example.com/A_b.c"};
	static const char *const bad[] = {
		"",
		"/",
		"a/",
		"/a",
		"a/b/c",
		"-a",
		"a-",
		"a b",
		"A.b/c",
		"a\"b",
		"a/~1",
		"node.kubernetes.io/not-ready",
		"kubernetes.io/x",
		"k8s.io/x",
		"x.k8s.io/y",
		"a123456789b123456789c123456789d123456789e123456789f123456789g123"};
	struct world w = {.node = NODE("{}")};
	struct kube_taint *t = NULL;
	struct err e;
	char domain[400];

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		ck_assert_int_eq(kube_taint_new(w.api.client, "n", good[i], on_removed, &w, &t, &e),
				 0);
		kube_taint_free(mem_steal(&t));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_eq(kube_taint_new(w.api.client, "n", bad[i], on_removed, &w, &t, &e),
				 -EINVAL);
		ck_assert_ptr_null(t);
	}
	memset(domain, 'a', sizeof(domain));
	memcpy(domain + sizeof(domain) - 3, "/b", 3);
	ck_assert_int_eq(kube_taint_new(w.api.client, "n", domain, on_removed, &w, &t, &e),
			 -EINVAL);
	ck_assert_int_eq(kube_taint_new(w.api.client, "a/../b", KEY, on_removed, &w, &t, &e),
			 -EINVAL);
	end(&w);
}
END_TEST

START_TEST(freed_in_between)
{
	for (unsigned ms = 0; ms < 8; ms++) {
		struct world w = {.node = TAINTS(TAINT(KEY))};

		begin(&w);
		kube_taint_set(w.taint, true);
		kubeapi_for(&w.api, ms);
		kube_taint_free(mem_steal(&w.taint));
		kubeapi_for(&w.api, 20);
		end(&w);
	}
	struct world own = {.node = TAINTS(TAINT(KEY)), .free_when_removed = true};
	begin(&own);
	kube_taint_set(own.taint, true);
	ck_assert(kubeapi_until(&own.api, is_removed, &own));
	end(&own);
	kube_taint_free(NULL);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_taint", removed_when_ready, entries_of_the_key_only,
			  answers_that_are_no_node, failures_are_told_and_pass, changed_meanwhile,
			  gone_on_the_way, names, freed_in_between);
}

UNIT_MAIN(suite)
