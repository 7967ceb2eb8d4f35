/*
 * Theory of operation. A pod that uses the node's tunnel, and has no sidecar of its own, can name a
 * readiness gate: a condition in its status that somebody else has to set before the kubelet calls
 * the pod Ready. The agent sets it for the pods of its node that ask for it by label.
 *
 *     set ──> wanted          list (PERIOD, and when `wanted` changes)
 *                │                  │ pods whose condition says something else
 *                └────────> PATCH pods/status, one after the other ──> wait PERIOD
 *
 * A pod that cannot be patched (a policy or webhook of its namespace refuses) holds up no other: it
 * is told of, and is in the next list again.
 *
 * The list goes by node and label, so that it is short however many pods there are, and is answered
 * from the API server's cache (resourceVersion=0). A patch carries the pod's uid: a new pod of the
 * same name is not told what was meant for the old one. Nothing is remembered of what was written:
 * the next list shows it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

#define PERIOD   (5 * NS_PER_SEC)
#define PODS_MAX 500
#define WHY_MAX  200

struct pod {
	char *path, *uid;
};

struct kube_gate {
	struct kube_client *client;
	char *path;
	struct event *timer;
	struct kube_call *call;
	bool wanted_set, ready;
	bool again; /* `ready` has changed since the list was asked for */
	char why[WHY_MAX + 1];
	struct pod *pods; /* still to be patched, the last first */
	size_t n_pods, cap_pods;
	char *patching; /* the path of the one under way */
	bool refused;   /* one or more since the list */
	unsigned attempts;
	char error[ERR_MSG_MAX];
};

static void next(struct kube_gate *g);

static const char *reason(const struct kube_gate *g)
{
	return g->ready ? "TunnelUp" : "TunnelDown";
}

static void pods_clear(struct kube_gate *g)
{
	for (size_t i = 0; i < g->n_pods; i++) {
		free(g->pods[i].path);
		free(g->pods[i].uid);
	}
	g->n_pods = 0;
}

static void say_failed(struct kube_gate *g, const char *what, const struct kube_status *s)
{
	snprintf(g->error, sizeof(g->error), "%.*s: %.300s%s", (int)strcspn(what, "?"), what,
		 s->message,
		 s->http == 403 ? "; needed: list of pods, and patch of pods/status" : "");
}

static void failed(struct kube_gate *g, const char *what, const struct kube_status *s)
{
	say_failed(g, what, s);
	pods_clear(g);
	kube_timer_in(g->timer, kube_retry_delay(g->attempts, s->retry_after));
	g->attempts += g->attempts < 16;
}

/* What the pod's condition says, or NULL. */
static struct json_object *condition(struct json_object *pod)
{
	struct json_object *status = json_get(pod, "status", json_type_object);
	struct json_object *list = json_get(status, "conditions", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *c = json_object_array_get_idx(list, i);
		const char *type = json_get_str(c, "type");

		if (type && str_eq(type, KUBE_GATE_CONDITION))
			return c;
	}
	return NULL;
}

static bool says(const struct kube_gate *g, struct json_object *pod)
{
	struct json_object *c = condition(pod);
	const char *status = json_get_str(c, "status"), *why = json_get_str(c, "reason");

	return status && why && str_eq(status, g->ready ? "True" : "False") &&
	       str_eq(why, reason(g));
}

static int add_pod(struct kube_gate *g, struct json_object *pod)
{
	struct kube_meta meta;
	struct pod new = {0};

	kube_object_meta(pod, &meta);
	if (!kube_is_namespace(meta.ns) || !kube_is_name(meta.name))
		return 0;
	if (mem_grow(&g->pods, g->n_pods, &g->cap_pods, sizeof(*g->pods)) < 0)
		return -ENOMEM;
	if (asprintf(&new.path, "/api/v1/namespaces/%s/pods/%s/status?fieldManager=harmony-agent",
		     meta.ns, meta.name) < 0)
		return -ENOMEM;
	new.uid = strdup(meta.uid);
	g->pods[g->n_pods++] = new;
	return new.uid ? 0 : -ENOMEM;
}

static void on_list(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_gate *g = arg;
	struct json_object *items;

	g->call = NULL;
	if (s->http < 200 || s->http >= 300) {
		failed(g, "pods", s);
		return;
	}
	g->attempts = 0;
	g->refused = false;
	items = json_get(object, "items", json_type_array);
	for (size_t i = 0; items && i < json_object_array_length(items); i++) {
		struct json_object *pod = json_object_array_get_idx(items, i);

		if (!says(g, pod) && add_pod(g, pod) < 0)
			break; /* the next list has them again */
	}
	next(g);
}

/* An answer that says nothing of other pods: 500 is what the server makes of a webhook's failure.
 */
static bool is_of_the_pod(unsigned http)
{
	return http == 500 || (http >= 400 && http < 500 && http != 401 && http != 429);
}

static void on_patched(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_gate *g = arg;

	g->call = NULL;
	/* 404, 409: gone, or another pod of that name by now: the next list tells. */
	if (s->http == 404 || s->http == 409 || (s->http >= 200 && s->http < 300)) {
		next(g);
	} else if (is_of_the_pod((unsigned)s->http)) {
		g->refused = true;
		say_failed(g, g->patching, s);
		next(g);
	} else {
		failed(g, "pods/status", s);
	}
}

static int patch(struct kube_gate *g, const struct pod *pod, struct err *e)
{
	_cleanup_buf_ struct buf body = BUF_INIT(4096);
	char now[TIME_RFC3339_LEN];

	time_rfc3339(wall_now(), now);
	memcpy(now + sizeof("2026-01-02T03:04:05") - 1, "Z", 2); /* metav1.Time: no fractions */
	buf_adds(&body, "{\"metadata\":{\"uid\":");
	json_quote(&body, pod->uid);
	buf_addf(&body,
		 "},\"status\":{\"conditions\":[{\"type\":\"" KUBE_GATE_CONDITION
		 "\",\"status\":\"%s\",\"reason\":\"%s\",\"lastTransitionTime\":\"%s\","
		 "\"message\":",
		 g->ready ? "True" : "False", reason(g), now);
	json_quote(&body, g->why);
	buf_adds(&body, "}]}}");
	if (buf_error(&body))
		return err_set(e, buf_error(&body), "out of memory");
	return kube_client_send(
		g->client,
		&(struct kube_request){.method = "PATCH",
				       .path = pod->path,
				       .content_type = "application/strategic-merge-patch+json",
				       .body = body.data,
				       .body_len = body.len},
		on_patched, g, &g->call, e);
}

static void next(struct kube_gate *g)
{
	struct pod pod;
	struct err e = {0};

	if (g->n_pods == 0) {
		if (!g->refused)
			g->error[0] = '\0';
		kube_timer_in(g->timer, g->again ? 0 : PERIOD);
		return;
	}
	pod = g->pods[--g->n_pods];
	if (patch(g, &pod, &e) < 0) {
		memcpy(g->error, e.msg, sizeof(g->error));
		pods_clear(g);
		kube_timer_in(g->timer, PERIOD);
	}
	free(g->patching);
	g->patching = pod.path;
	free(pod.uid);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kube_gate *g = arg;
	struct err e = {0};

	if (g->call || !g->wanted_set)
		return;
	pods_clear(g);
	g->again = false;
	if (kube_client_send(g->client, &(struct kube_request){.method = "GET", .path = g->path},
			     on_list, g, &g->call, &e) < 0) {
		memcpy(g->error, e.msg, sizeof(g->error));
		kube_timer_in(g->timer, PERIOD);
	}
}

int kube_gate_new(struct kube_client *c, const char *node, struct kube_gate **ret, struct err *e)
{
	_cleanup_(kube_gate_free_p) struct kube_gate *g = NULL;

	if (!kube_is_name(node))
		return err_set(e, -EINVAL,
			       "found the node \"%s\", accepted: a name of small letters, digits, "
			       "'-' and '.'",
			       node);
	g = calloc(1, sizeof(*g));
	if (!g)
		return err_sys(e, -ENOMEM, "gate");
	g->client = c;
	if (asprintf(&g->path,
		     "/api/v1/pods?fieldSelector=spec.nodeName%%3D%s&labelSelector="
		     "harmony-agent%%2Ftunnel-gate%%3Dtrue&resourceVersion=0&limit=%d",
		     node, PODS_MAX) < 0)
		g->path = NULL;
	g->timer = evtimer_new(c->base, on_timer, g);
	if (!g->path || !g->timer)
		return err_sys(e, -ENOMEM, "gate");
	*ret = mem_steal(&g);
	return 0;
}

void kube_gate_free(struct kube_gate *g)
{
	if (!g)
		return;
	kube_call_cancel(g->call);
	if (g->timer)
		event_free(g->timer);
	pods_clear(g);
	free(g->pods);
	free(g->patching);
	free(g->path);
	free(g);
}

void kube_gate_set(struct kube_gate *g, bool ready, const char *why)
{
	size_t n = strcspn(why, "\n");
	bool changed = !g->wanted_set || g->ready != ready;

	for (; n > WHY_MAX || (n && why[n] && ((unsigned char)why[n] & 0xC0) == 0x80);)
		n--;
	memcpy(g->why, why, n);
	g->why[n] = '\0';
	g->ready = ready;
	g->wanted_set = true;
	if (!changed)
		return;
	/* What is under way was for the other answer: the list is made anew behind it. */
	pods_clear(g);
	g->again = true;
	if (!g->call)
		kube_timer_in(g->timer, 0);
}

const char *kube_gate_error(const struct kube_gate *g)
{
	return g->error;
}
