/*
 * Theory of operation. A node can join the cluster with a taint that keeps ordinary pods away until
 * its tunnels are up. Whoever makes nodes sets it (the kubelet's --register-with-taints, a node
 * pool); the agent of the node takes it away, and never sets one.
 *
 *     set(ready) ──> GET node ── none of that key ──> wait LOOK ──> GET …
 *                       │  ^
 *          tainted, and │  │ wait AFTER
 *          still ready  v  │
 *                 PATCH: test and remove the entries of that key, and nothing else
 *
 * Nothing is asked while the tunnels are down. Later looks are for a node that is registered anew,
 * with its taint again, while the agent runs on.
 *
 * spec.taints is one value to the API (listType=atomic), so entries are removed by their place in
 * the list (JSON Patch, RFC 6902), each behind a test that an entry of our key stands there. The
 * server applies tests and removals to one version of the object, as a whole or not at all: where
 * somebody changed the list after we read it, a test fails, and we look again. The resourceVersion
 * is no part of the tests, since a node that starts is written often, by its kubelet, and the rest
 * of it is not our concern.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

#define LOOK  (300 * NS_PER_SEC)
#define AFTER (30 * NS_PER_SEC)

/* Taints of one key differ in their effect, of which there are three. */
#define ENTRIES_MAX 3

struct kube_taint {
	struct kube_client *client;
	char *path, *key;
	struct event *timer;
	struct kube_call *call;
	bool ready;
	unsigned attempts;
	void (*removed)(void *arg);
	void *arg;
	char error[ERR_MSG_MAX];
};

static void again(struct kube_taint *t, int64_t ns)
{
	/* Else kube_taint_set does, when it is ready. */
	if (t->ready)
		kube_timer_in(t->timer, ns);
}

static void retry(struct kube_taint *t, unsigned retry_after)
{
	again(t, kube_retry_delay(t->attempts, retry_after));
	t->attempts += t->attempts < 16;
}

static void settled(struct kube_taint *t, int64_t ns)
{
	t->attempts = 0;
	t->error[0] = '\0';
	again(t, ns);
}

static void failed(struct kube_taint *t, const struct kube_status *s)
{
	snprintf(t->error, sizeof(t->error), "%.300s%s", s->message,
		 s->http == 403 ? "; needed: get and patch of nodes, and a token that is bound to "
				  "this node"
				: "");
	retry(t, s->retry_after);
}

/* The places of the entries of our key, the last first. */
static size_t find(const struct kube_taint *t, struct json_object *node,
		   size_t ret[static ENTRIES_MAX])
{
	struct json_object *spec = json_get(node, "spec", json_type_object);
	struct json_object *list = json_get(spec, "taints", json_type_array);
	size_t n = 0;

	for (size_t i = list ? json_object_array_length(list) : 0; i-- > 0 && n < ENTRIES_MAX;) {
		const char *key = json_get_str(json_object_array_get_idx(list, i), "key");

		if (key && str_eq(key, t->key))
			ret[n++] = i;
	}
	return n;
}

static void on_patched(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_taint *t = arg;

	t->call = NULL;
	if (s->http >= 200 && s->http < 300) {
		settled(t, AFTER);
		t->removed(t->arg); /* may free it */
	} else if ((s->http == 404 || s->http == 409 || s->http == 422) && t->attempts == 0) {
		retry(t, s->retry_after); /* changed since it was read, which is nobody's fault */
	} else {
		failed(t, s);
	}
}

static int patch(struct kube_taint *t, const size_t *at, size_t n, struct err *e)
{
	_cleanup_buf_ struct buf body = BUF_INIT(8192);

	buf_addc(&body, '[');
	for (size_t i = 0; i < n; i++) {
		buf_addf(&body, "%s{\"op\":\"test\",\"path\":\"/spec/taints/%zu/key\",\"value\":",
			 i ? "," : "", at[i]);
		json_quote(&body, t->key);
		buf_addf(&body, "},{\"op\":\"remove\",\"path\":\"/spec/taints/%zu\"}", at[i]);
	}
	buf_addc(&body, ']');
	if (buf_error(&body))
		return err_set(e, buf_error(&body), "out of memory");
	return kube_client_send(
		t->client,
		&(struct kube_request){.method = "PATCH",
				       .path = t->path,
				       .content_type = "application/json-patch+json",
				       .body = body.data,
				       .body_len = body.len},
		on_patched, t, &t->call, e);
}

static void on_node(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_taint *t = arg;
	size_t at[ENTRIES_MAX], n;
	struct err e = {0};

	t->call = NULL;
	if (s->http < 200 || s->http >= 300) {
		failed(t, s);
		return;
	}
	if (!json_get(object, "metadata", json_type_object)) {
		snprintf(t->error, sizeof(t->error), "GET %s: the answer is no Node", t->path);
		retry(t, 0);
		return;
	}
	n = find(t, object, at);
	if (n == 0) {
		settled(t, LOOK);
	} else if (t->ready && patch(t, at, n, &e) < 0) {
		memcpy(t->error, e.msg, sizeof(t->error));
		retry(t, 0);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kube_taint *t = arg;
	struct err e = {0};

	if (t->call || !t->ready)
		return;
	if (kube_client_send(t->client, &(struct kube_request){.method = "GET", .path = t->path},
			     on_node, t, &t->call, &e) < 0) {
		memcpy(t->error, e.msg, sizeof(t->error));
		retry(t, 0);
	}
}

/* A qualified name (apimachinery, validation.IsQualifiedName): at most 63 letters, digits, '-', '_'
 * and '.', and before them the name of a domain and '/'. Kubernetes' own domains are not ours to
 * speak for: a node that is not Ready has a taint of theirs. */
static bool is_key(const char *key)
{
	static const char alnum[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char *const theirs[] = {"kubernetes.io", "k8s.io"};
	const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;
	size_t len = strlen(name);

	if (slash) {
		char domain[254];
		size_t n = (size_t)(slash - key);

		if (n >= sizeof(domain))
			return false;
		memcpy(domain, key, n);
		domain[n] = '\0';
		if (!kube_is_name(domain))
			return false;
		for (size_t i = 0; i < ARRAY_LEN(theirs); i++) {
			size_t m = strlen(theirs[i]);

			if (str_ends(domain, theirs[i]) && (n == m || domain[n - m - 1] == '.'))
				return false;
		}
	}
	if (len == 0 || len > 63 || !strchr(alnum, name[0]) || !strchr(alnum, name[len - 1]))
		return false;
	for (const char *p = name; *p; p++)
		if (!strchr(alnum, *p) && !strchr("-_.", *p))
			return false;
	return true;
}

int kube_taint_new(struct kube_client *c, const char *node, const char *key,
		   void (*removed)(void *arg), void *arg, struct kube_taint **ret, struct err *e)
{
	_cleanup_(kube_taint_free_p) struct kube_taint *t = NULL;

	if (!kube_is_name(node))
		return err_set(e, -EINVAL,
			       "found the node \"%s\", accepted: a name of small letters, digits, "
			       "'-' and '.'",
			       node);
	if (!is_key(key))
		return err_set(e, -EINVAL,
			       "found the taint \"%s\", accepted: a key such as "
			       "harmony-agent/not-ready, outside of Kubernetes' own domains",
			       key);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_sys(e, -ENOMEM, "taint");
	t->client = c;
	t->removed = removed;
	t->arg = arg;
	t->key = strdup(key);
	if (asprintf(&t->path, "/api/v1/nodes/%s", node) < 0)
		t->path = NULL;
	t->timer = evtimer_new(c->base, on_timer, t);
	if (!t->key || !t->path || !t->timer)
		return err_sys(e, -ENOMEM, "taint");
	*ret = mem_steal(&t);
	return 0;
}

void kube_taint_free(struct kube_taint *t)
{
	if (!t)
		return;
	kube_call_cancel(t->call);
	if (t->timer)
		event_free(t->timer);
	free(t->path);
	free(t->key);
	free(t);
}

void kube_taint_set(struct kube_taint *t, bool ready)
{
	if (t->ready == ready)
		return;
	t->ready = ready;
	if (!ready)
		event_del(t->timer);
	else if (!t->call)
		/* A tunnel that comes and goes asks no oftener than failures admit. */
		kube_timer_in(t->timer, t->attempts ? kube_retry_delay(t->attempts - 1, 0) : 0);
}

const char *kube_taint_error(const struct kube_taint *t)
{
	return t->error;
}
