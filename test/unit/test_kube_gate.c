/* lib/kube/gate.c against an API server of our own: which pods are asked for, which are written,
 * and with what. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kubeapi.h"

struct pod {
	const char *name, *uid, *condition; /* condition: JSON, or NULL */
	int fails;                          /* what a patch is answered with; 0: done */
	unsigned patches;
	char status[8], reason[16], message[256], said_uid[16];
};

struct world {
	struct kubeapi api;
	struct kube_gate *gate;
	struct pod *pods;
	size_t n_pods;
	bool turn; /* the answer changes while the list is on its way */
	int list_fails;
	unsigned lists;
};

#define CONDITION(status, reason)                                                                  \
	"{\"type\":\"harmony-agent/tunnel-ready\",\"status\":\"" status "\",\"reason\":\"" reason  \
	"\"}"

static void on_list(struct http_request *req, void *arg)
{
	struct world *w = arg;
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	w->lists++;
	ck_assert_str_eq(http_request_query(req, "fieldSelector"), "spec.nodeName=node-a");
	ck_assert_str_eq(http_request_query(req, "labelSelector"),
			 "harmony-agent/tunnel-gate=true");
	ck_assert_str_eq(http_request_query(req, "resourceVersion"), "0");
	if (w->turn) {
		w->turn = false;
		kube_gate_set(w->gate, false, "it went meanwhile");
	}
	if (w->list_fails) {
		kubeapi_fail(req, w->list_fails);
		return;
	}
	buf_adds(&b, "{\"kind\":\"PodList\",\"items\":[");
	for (size_t i = 0; i < w->n_pods; i++) {
		const struct pod *p = &w->pods[i];

		buf_addf(&b,
			 "%s{\"metadata\":{\"namespace\":\"apps\",\"name\":\"%s\",\"uid\":\"%s\"}",
			 i ? "," : "", p->name, p->uid);
		if (p->status[0])
			buf_addf(&b,
				 ",\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":"
				 "\"False\"}," CONDITION("%s", "%s") "]}",
				 p->status, p->reason);
		else if (p->condition)
			buf_addf(&b, ",\"status\":{\"conditions\":[%s]}", p->condition);
		buf_addc(&b, '}');
	}
	buf_adds(&b, "]}");
	http_reply_buf(req, 200, "application/json", &b);
}

static void on_patch(struct http_request *req, void *arg)
{
	struct pod *p = arg;
	_cleanup_json_ struct json_object *o = kubeapi_body(req);
	struct json_object *list = json_path(o, "status", "conditions", NULL);
	struct json_object *c = json_object_array_get_idx(list, 0);

	ck_assert_str_eq(http_request_header(req, "Content-Type"),
			 "application/strategic-merge-patch+json");
	ck_assert_str_eq(http_request_query(req, "fieldManager"), "harmony-agent");
	ck_assert_uint_eq(json_object_array_length(list), 1); /* ours, and nothing else */
	ck_assert_str_eq(json_get_str(c, "type"), KUBE_GATE_CONDITION);
	/* metav1.Time, such as 2026-01-02T03:04:05Z: no fractions */
	ck_assert_uint_eq(strlen(json_get_str(c, "lastTransitionTime")), 20);
	p->patches++;
	if (p->fails) {
		kubeapi_fail(req, p->fails);
		return;
	}
	snprintf(p->said_uid, sizeof(p->said_uid), "%s",
		 json_get_str(json_get(o, "metadata", json_type_object), "uid"));
	snprintf(p->status, sizeof(p->status), "%s", json_get_str(c, "status"));
	snprintf(p->reason, sizeof(p->reason), "%s", json_get_str(c, "reason"));
	snprintf(p->message, sizeof(p->message), "%s", json_get_str(c, "message"));
	http_reply(req, 200, "application/json", "{}");
}

static void begin(struct world *w, struct pod *pods, size_t n)
{
	static char paths[8][96]; /* routes borrow them */
	struct err e;

	w->pods = pods;
	w->n_pods = n;
	kubeapi_start(&w->api);
	ck_assert_int_eq(http_server_route(w->api.server, "/api/v1/pods", HTTP_GET, on_list, w), 0);
	for (size_t i = 0; i < n; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/api/v1/namespaces/apps/pods/%s/status",
			 pods[i].name);
		ck_assert_int_eq(
			http_server_route(w->api.server, paths[i], HTTP_PATCH, on_patch, &pods[i]),
			0);
	}
	ck_assert_int_eq(kube_gate_new(w->api.client, "node-a", &w->gate, &e), 0);
}

static void end(struct world *w)
{
	kube_gate_free(w->gate);
	kubeapi_end(&w->api);
}

static bool all_say(struct world *w, const char *status)
{
	for (size_t i = 0; i < w->n_pods; i++)
		if (!str_eq(w->pods[i].status, status) && !w->pods[i].fails)
			return false;
	return true;
}
static bool all_true(void *arg)
{
	return all_say(arg, "True");
}
static bool all_false(void *arg)
{
	return all_say(arg, "False");
}
static bool has_failed(void *arg)
{
	return *kube_gate_error(((struct world *)arg)->gate) != '\0';
}
static bool is_listed_again(void *arg)
{
	return ((struct world *)arg)->lists >= 2;
}
static bool is_second_patched(void *arg)
{
	return ((struct world *)arg)->pods[1].patches > 0;
}

START_TEST(those_that_say_otherwise_are_told)
{
	struct pod pods[] = {
		{.name = "new", .uid = "u-1"},
		{.name = "other", .uid = "u-2", .condition = CONDITION("False", "TunnelDown")},
		{.name = "reason", .uid = "u-3", .condition = CONDITION("True", "Because")},
		{.name = "foreign",
		 .uid = "u-4",
		 .condition = "{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"TunnelUp\"}"},
		{.name = "right", .uid = "u-5", .status = "True", .reason = "TunnelUp"},
	};
	struct world w = {0};

	begin(&w, pods, ARRAY_LEN(pods));
	kubeapi_for(&w.api, 200);
	ck_assert_uint_eq(w.lists, 0); /* nothing is known yet */
	kube_gate_set(w.gate, true, "1 of 1 up");
	ck_assert(kubeapi_until(&w.api, all_true, &w));
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(pods[i].patches, 1);
		ck_assert_str_eq(pods[i].said_uid, pods[i].uid);
		ck_assert_str_eq(pods[i].reason, "TunnelUp");
		ck_assert_str_eq(pods[i].message, "1 of 1 up");
	}
	ck_assert_uint_eq(pods[4].patches, 0);
	ck_assert_uint_eq(w.lists, 1);

	/* Other words alone are not written; another answer is, at once. */
	kube_gate_set(w.gate, true, "2 of 2 up");
	kubeapi_for(&w.api, 300);
	ck_assert_uint_eq(w.lists, 1);
	kube_gate_set(w.gate, false, "peer gw: no handshake");
	ck_assert(kubeapi_until(&w.api, all_false, &w));
	ck_assert_str_eq(pods[4].reason, "TunnelDown");
	ck_assert_str_eq(pods[4].message, "peer gw: no handshake");
	ck_assert_str_eq(kube_gate_error(w.gate), "");
	end(&w);
}
END_TEST

/* What was read for one answer is not written with another, and the list is made anew. */
START_TEST(answer_changes_on_the_way)
{
	struct pod pods[] = {
		{.name = "a", .uid = "u-1"},
		{.name = "b", .uid = "u-2", .status = "False", .reason = "TunnelDown"}};
	struct world w = {.turn = true};

	begin(&w, pods, ARRAY_LEN(pods));
	kube_gate_set(w.gate, true, "up");
	ck_assert(kubeapi_until(&w.api, all_false, &w));
	ck_assert(kubeapi_until(&w.api, is_listed_again, &w));
	ck_assert_str_eq(pods[0].message, "it went meanwhile");
	ck_assert_uint_eq(pods[0].patches, 1);
	ck_assert_uint_eq(pods[1].patches, 0);
	end(&w);
}
END_TEST

/* A pod that has gone, or is another one by now, does not hold up the next; a right that is missing
 * is told, and tried again later. */
START_TEST(patches_that_fail)
{
	struct pod pods[] = {{.name = "a", .uid = "u-1"},
			     {.name = "b", .uid = "u-2"},
			     {.name = "c", .uid = "u-3", .fails = 404},
			     {.name = "d", .uid = "u-4", .fails = 409}};
	struct world w = {0};

	begin(&w, pods, ARRAY_LEN(pods));
	kube_gate_set(w.gate, true, "up");
	ck_assert(kubeapi_until(&w.api, all_true, &w));
	ck_assert(pods[2].patches == 1 && pods[3].patches == 1);
	ck_assert_str_eq(kube_gate_error(w.gate), "");
	end(&w);

	/* Refused for one pod: told, and the others are patched all the same. */
	struct pod three[] = {{.name = "a", .uid = "u-1"},
			      {.name = "b", .uid = "u-2"},
			      {.name = "c", .uid = "u-3", .fails = 403}};
	struct world denied = {0};
	begin(&denied, three, ARRAY_LEN(three));
	kube_gate_set(denied.gate, true, "up");
	ck_assert(kubeapi_until(&denied.api, all_true, &denied));
	ck_assert_ptr_nonnull(strstr(kube_gate_error(denied.gate), "pods/c/status: "));
	ck_assert_ptr_nonnull(strstr(kube_gate_error(denied.gate), "patch of pods/status"));
	three[2].fails = 500;
	ck_assert(kubeapi_until(&denied.api, is_listed_again, &denied));
	ck_assert_str_ne(kube_gate_error(denied.gate), "");
	three[2].fails = 0;
	ck_assert(kubeapi_until(&denied.api, all_true, &denied));
	kubeapi_for(&denied.api, 50);
	ck_assert_str_eq(kube_gate_error(denied.gate), "");
	end(&denied);

	/* What is no answer about a pod ends the pass. */
	struct pod two[] = {{.name = "a", .uid = "u-1"}, {.name = "b", .uid = "u-2", .fails = 503}};
	struct world away = {0};
	begin(&away, two, ARRAY_LEN(two));
	kube_gate_set(away.gate, true, "up");
	ck_assert(kubeapi_until(&away.api, has_failed, &away));
	ck_assert(is_second_patched(&away) && two[0].patches == 0);
	two[1].fails = 0;
	ck_assert(kubeapi_until(&away.api, all_true, &away));
	end(&away);
}
END_TEST

START_TEST(lists_that_fail)
{
	struct pod pods[] = {{.name = "a", .uid = "u-1"}};
	struct world w = {.list_fails = 403};

	begin(&w, pods, 1);
	kube_gate_set(w.gate, true, "up");
	ck_assert(kubeapi_until(&w.api, has_failed, &w));
	ck_assert_ptr_nonnull(strstr(kube_gate_error(w.gate), "needed: list of pods"));
	w.list_fails = 0;
	ck_assert(kubeapi_until(&w.api, all_true, &w));
	ck_assert_str_eq(kube_gate_error(w.gate), "");
	end(&w);
}
END_TEST

/* The first line, of it 200 bytes, of them whole characters. */
START_TEST(words_are_cut)
{
	struct pod pods[] = {{.name = "a", .uid = "u-1"}};
	struct world w = {0};
	char why[300];

	memset(why, 'x', sizeof(why));
	memcpy(why + 199, "\xC3\xA9", 2); /* bytes 200 and 201 */
	why[299] = '\0';
	begin(&w, pods, 1);
	kube_gate_set(w.gate, true, why);
	ck_assert(kubeapi_until(&w.api, all_true, &w));
	ck_assert_uint_eq(strlen(pods[0].message), 199);
	kube_gate_set(w.gate, false, "one\ntwo");
	ck_assert(kubeapi_until(&w.api, all_false, &w));
	ck_assert_str_eq(pods[0].message, "one");
	end(&w);
}
END_TEST

/* Names become paths: what is none is left out. */
START_TEST(names_that_are_none)
{
	struct pod pods[] = {{.name = "a", .uid = "u-1"},
			     {.name = "../../../secrets/x", .uid = "u-2", .fails = 500},
			     {.name = "A_b", .uid = "u-3", .fails = 500},
			     {.name = "", .uid = "u-4", .fails = 500}};
	struct world w = {0};
	struct kube_gate *g = NULL;
	struct err e;

	begin(&w, pods, ARRAY_LEN(pods));
	kube_gate_set(w.gate, true, "up");
	ck_assert(kubeapi_until(&w.api, all_true, &w));
	kubeapi_for(&w.api, 100);
	ck_assert_str_eq(kube_gate_error(w.gate), "");
	for (size_t i = 1; i < ARRAY_LEN(pods); i++)
		ck_assert_uint_eq(pods[i].patches, 0);
	ck_assert_int_eq(kube_gate_new(w.api.client, "a&b=c", &g, &e), -EINVAL);
	ck_assert_ptr_null(g);
	end(&w);
}
END_TEST

START_TEST(freed_in_between)
{
	struct pod pods[] = {{.name = "a", .uid = "u-1"}, {.name = "b", .uid = "u-2"}};

	for (unsigned ms = 0; ms < 8; ms++) {
		struct world w = {0};

		begin(&w, pods, ARRAY_LEN(pods));
		kube_gate_set(w.gate, true, "up");
		kubeapi_for(&w.api, ms);
		kube_gate_free(mem_steal(&w.gate));
		kubeapi_for(&w.api, 20);
		end(&w);
	}
	kube_gate_free(NULL);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_gate", those_that_say_otherwise_are_told, answer_changes_on_the_way,
			  patches_that_fail, lists_that_fail, words_are_cut, names_that_are_none,
			  freed_in_between);
}

UNIT_MAIN(suite)
