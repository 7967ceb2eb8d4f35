/*
 * Theory of operation. One Lease, several who want it; all of them look at it every RETRY.
 *
 *            ┌──────── GET ── not ours, and alive ────────┐
 *            v                                            │
 *          wait ── RETRY ──> GET ── free, ours, or ──> PATCH at that resourceVersion
 *            ^                      not renewed for       │            │
 *            │                      its whole time        409          answered
 *            └────────────────────────────────────────────┴── held until 2/3 of the time <──┘
 *
 * The resourceVersion in the patch makes it conditional: of two who patch the same version one gets
 * 409. Clocks of different machines are never compared: whether a holder is alive is told by its
 * record having changed within its duration, as seen by our own clock. The holder's own time runs
 * from before its request was sent.
 *
 * Whoever acts as the holder must still write under a condition of its own: a process that was
 * stopped for a minute learns of its loss only when it runs again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

struct kube_lease {
	struct kube_client *client;
	char *path, *what, *identity;
	unsigned duration;
	void (*changed)(void *arg, bool held);
	void *arg;
	struct event *timer, *lost;
	struct kube_call *call;
	bool held, released;
	struct mono asked_at; /* when the request under way was sent */
	/* The record as last seen, and since when it has been so. */
	char version[64], holder[256];
	uint64_t transitions;
	unsigned holder_duration;
	struct mono seen_at;
	char error[ERR_MSG_MAX];
	uint64_t failures;
};

static void get(struct kube_lease *l);

static int64_t retry_ns(const struct kube_lease *l)
{
	return (int64_t)l->duration * NS_PER_SEC / 5;
}

static void again(struct kube_lease *l, int64_t ns)
{
	/* Apart by chance, so that those who wait do not ask in step. */
	int64_t spread = ns / 5 * (kube_random(NULL) % 1024) / 1024;

	if (!l->released)
		kube_timer_in(l->timer, ns + spread);
}

/* The last of all: who is told may free the lease. */
static void set_held(struct kube_lease *l, bool held)
{
	if (l->held == held)
		return;
	l->held = held;
	if (!held)
		event_del(l->lost);
	l->changed(l->arg, held);
}

static void failed(struct kube_lease *l, const struct kube_status *s)
{
	snprintf(l->error, sizeof(l->error), "%s: %.300s%s", l->what, s->message,
		 s->http == 404   ? "; it must exist (the chart makes it)"
		 : s->http == 403 ? "; needed: get and patch of leases with that resourceName"
				  : "");
	l->failures++;
	again(l, retry_ns(l));
}

/* Keeps what the answer says. */
static void see(struct kube_lease *l, struct json_object *o)
{
	struct json_object *spec = json_get(o, "spec", json_type_object);
	const char *holder = json_get_str(spec, "holderIdentity");
	int64_t duration = json_get_int(spec, "leaseDurationSeconds", l->duration);
	struct kube_meta meta;

	kube_object_meta(o, &meta);
	if (!str_eq(meta.resource_version, l->version))
		l->seen_at = mono_now();
	snprintf(l->version, sizeof(l->version), "%s", meta.resource_version);
	snprintf(l->holder, sizeof(l->holder), "%s", holder ? holder : "");
	l->transitions = (uint64_t)json_get_int(spec, "leaseTransitions", 0);
	l->holder_duration = duration > 0 && duration < 86400 ? (unsigned)duration : l->duration;
}

static void on_patched(void *arg, const struct kube_status *s, struct json_object *o)
{
	struct kube_lease *l = arg;

	l->call = NULL;
	if (s->http == 409) { /* somebody was faster: look again */
		l->version[0] = '\0';
		again(l, retry_ns(l) / 4);
		return;
	}
	if (s->http < 200 || s->http >= 300) {
		failed(l, s);
		return;
	}
	l->error[0] = '\0';
	see(l, o);
	if (l->released)
		return;
	kube_timer_in(l->lost, (int64_t)l->duration * NS_PER_SEC / 3 * 2 -
				       mono_since(mono_now(), l->asked_at));
	again(l, retry_ns(l));
	set_held(l, true);
}

static void ask(struct kube_lease *l, const struct kube_request *req, kube_done_fn done)
{
	struct err e = {.msg = "out of memory"};

	l->asked_at = mono_now();
	if (kube_client_send(l->client, req, done, l, &l->call, &e) < 0) {
		memcpy(l->error, e.msg, sizeof(l->error));
		l->failures++;
		again(l, retry_ns(l));
	}
}

/* holder "": it is given back. */
static void patch(struct kube_lease *l, const char *holder)
{
	_cleanup_buf_ struct buf body = BUF_INIT(4096);
	char now[TIME_RFC3339_LEN];
	bool mine = str_eq(l->holder, l->identity);

	time_rfc3339(wall_now(), now);
	buf_adds(&body, "{\"metadata\":{\"resourceVersion\":");
	json_quote(&body, l->version);
	buf_adds(&body, "},\"spec\":{\"holderIdentity\":");
	json_quote(&body, holder);
	buf_addf(&body, ",\"renewTime\":\"%s\",\"leaseDurationSeconds\":%u", now, l->duration);
	if (!mine)
		buf_addf(&body, ",\"acquireTime\":\"%s\",\"leaseTransitions\":%llu", now,
			 (unsigned long long)l->transitions + 1);
	buf_adds(&body, "}}");
	if (buf_error(&body)) {
		again(l, retry_ns(l));
		return;
	}
	ask(l,
	    &(struct kube_request){.method = "PATCH",
				   .path = l->path,
				   .content_type = "application/merge-patch+json",
				   .body = body.data,
				   .body_len = body.len,
				   .timeout_secs = l->duration},
	    on_patched);
}

static bool is_to_be_taken(const struct kube_lease *l)
{
	return l->holder[0] == '\0' || str_eq(l->holder, l->identity) ||
	       mono_since(mono_now(), l->seen_at) > (int64_t)l->holder_duration * NS_PER_SEC;
}

static void on_got(void *arg, const struct kube_status *s, struct json_object *o)
{
	struct kube_lease *l = arg;

	l->call = NULL;
	if (s->http < 200 || s->http >= 300) {
		failed(l, s);
		return;
	}
	l->error[0] = '\0';
	see(l, o);
	if (is_to_be_taken(l)) {
		patch(l, l->identity);
		return;
	}
	again(l, retry_ns(l));
	set_held(l, false);
}

static void get(struct kube_lease *l)
{
	ask(l,
	    &(struct kube_request){.method = "GET", .path = l->path, .timeout_secs = l->duration},
	    on_got);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kube_lease *l = arg;

	if (l->call || l->released)
		return;
	if (l->held && l->version[0])
		patch(l, l->identity);
	else
		get(l);
}

static void on_lost(evutil_socket_t fd, short what, void *arg)
{
	set_held(arg, false);
}

int kube_lease_new(struct kube_client *c, const char *ns, const char *name, const char *identity,
		   unsigned duration_secs, void (*changed)(void *arg, bool held), void *arg,
		   struct kube_lease **ret, struct err *e)
{
	_cleanup_(kube_lease_free_p) struct kube_lease *l = NULL;

	if (!ns)
		ns = kube_client_namespace(c);
	if (!kube_is_namespace(ns) || !kube_is_name(name))
		return err_set(e, -EINVAL,
			       "found lease \"%s/%s\", accepted: names of small letters, digits, "
			       "'-' and '.'",
			       ns, name);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_sys(e, -ENOMEM, "lease");
	l->client = c;
	l->duration = duration_secs;
	l->changed = changed;
	l->arg = arg;
	l->identity = strdup(identity);
	if (asprintf(&l->path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", ns, name) <
	    0)
		l->path = NULL;
	if (asprintf(&l->what, "lease %s/%s", ns, name) < 0)
		l->what = NULL;
	l->timer = evtimer_new(c->base, on_timer, l);
	l->lost = evtimer_new(c->base, on_lost, l);
	if (!l->identity || !l->path || !l->what || !l->timer || !l->lost)
		return err_sys(e, -ENOMEM, "lease");
	kube_timer_in(l->timer, 0);
	*ret = mem_steal(&l);
	return 0;
}

bool kube_lease_held(const struct kube_lease *l)
{
	return l->held;
}

const char *kube_lease_error(const struct kube_lease *l)
{
	return l->error;
}

uint64_t kube_lease_failures(const struct kube_lease *l)
{
	return l->failures;
}

void kube_lease_release(struct kube_lease *l)
{
	bool was = l->held;

	if (l->released)
		return;
	l->released = true;
	event_del(l->timer);
	kube_call_cancel(mem_steal(&l->call));
	if (was && l->version[0])
		patch(l, "");
	set_held(l, false);
}

void kube_lease_free(struct kube_lease *l)
{
	if (!l)
		return;
	kube_call_cancel(l->call);
	if (l->timer)
		event_free(l->timer);
	if (l->lost)
		event_free(l->lost);
	free(l->path);
	free(l->what);
	free(l->identity);
	free(l);
}
