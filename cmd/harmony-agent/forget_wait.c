/*
 * harmony-agent forget --daemonset: waits until the pods of a DaemonSet, each of which forgets on
 * its node and is Ready when it has, are Ready on every node, and deletes the DaemonSet: also where
 * nobody waits for us any more, since one that is left would forget again at a node's next start.
 *
 *     GET ── not all Ready, and time is left ──> a second ──> GET …
 *      │
 *      └── all Ready, or time is up ──> DELETE ──> said how many
 *
 * An API server that fails is asked again until the time is up; so long it takes at most.
 */
#include "commands.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"
#include "json/json.h"
#include "kube/kube.h"
#include "log/log.h"

#define LOOK_SECS   1
#define DELETE_SECS 10 /* for that, when the time is up */

struct waiting {
	struct event_base *base;
	struct kube_client *client;
	struct kube_call *call;
	struct event *timer;
	char path[512];
	struct mono until;
	int64_t ready, wanted; /* pods; wanted -1: not known */
	int status;            /* of the program */
};

static void end(struct waiting *w, int status)
{
	w->status = status;
	event_base_loopbreak(w->base);
}

static void look_again(struct waiting *w)
{
	evtimer_add(w->timer, &(struct timeval){.tv_sec = LOOK_SECS});
}

static void ask(struct waiting *w, const char *method, kube_done_fn done)
{
	struct err e = {0};
	const struct kube_request request = {
		.method = method, .path = w->path, .timeout_secs = DELETE_SECS};

	if (kube_client_send(w->client, &request, done, w, &w->call, &e) == 0)
		return;
	log_error("cannot ask", LOG_STR("error", e.msg));
	end(w, EXIT_SYSTEM);
}

static void on_deleted(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct waiting *w = arg;
	bool all = w->wanted >= 0 && w->ready >= w->wanted;

	w->call = NULL;
	if (s->http != 404 && (s->http < 200 || s->http >= 300)) {
		log_error("the DaemonSet stays: delete it, or it forgets again when a node starts",
			  LOG_STR("error", s->message));
		end(w, EXIT_SYSTEM);
	} else if (all) {
		log_info("forgotten on all nodes", LOG_INT("nodes", w->wanted));
		end(w, EXIT_OK);
	} else {
		log_error("not forgotten on all nodes: what the others keep stays there",
			  LOG_INT("forgotten", w->ready), LOG_INT("nodes", w->wanted));
		end(w, EXIT_FAILED);
	}
}

/* Of a DaemonSet that its controller has seen as it is. */
static bool count(struct waiting *w, struct json_object *o)
{
	struct json_object *status = json_get(o, "status", json_type_object);
	int64_t generation =
		json_get_int(json_get(o, "metadata", json_type_object), "generation", 1);

	if (json_get_int(status, "observedGeneration", 0) < generation)
		return false;
	w->ready = json_get_int(status, "numberReady", 0);
	w->wanted = json_get_int(status, "desiredNumberScheduled", 0);
	return w->ready >= w->wanted;
}

static void on_answer(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct waiting *w = arg;
	bool done = false;

	w->call = NULL;
	if (s->http == 404) {
		log_error("the DaemonSet is gone", LOG_STR("error", s->message));
		end(w, EXIT_FAILED);
		return;
	}
	if (s->http >= 200 && s->http < 300)
		done = count(w, object);
	else
		log_warn("no answer", LOG_STR("error", s->message));
	if (done || !mono_before(mono_now(), w->until))
		ask(w, "DELETE", on_deleted);
	else
		look_again(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	ask(arg, "GET", on_answer);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct waiting *w = arg;

	w->until = mono_now(); /* the next answer is the last */
	if (!w->call)
		evtimer_add(w->timer, &(struct timeval){0});
}

/* "NS/NAME", of small letters, digits, '-' and '.'. */
static int path_of(const char *daemonset, char *ret, size_t size)
{
	const char *slash = strchr(daemonset, '/');
	size_t ns = slash ? (size_t)(slash - daemonset) : 0;

	if (ns == 0 || !slash[1] ||
	    strspn(daemonset, "abcdefghijklmnopqrstuvwxyz0123456789-.") != ns ||
	    slash[1 + strspn(slash + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.")])
		return -1;
	int n = snprintf(ret, size, "/apis/apps/v1/namespaces/%.*s/daemonsets/%s", (int)ns,
			 daemonset, slash + 1);
	return n > 0 && (size_t)n < size ? 0 : -1;
}

static int open_client(struct waiting *w, const char *kubeconfig, struct err *e)
{
	struct kube_config *config;
	int r = kube_config_find(kubeconfig, NULL, &config, e);

	return r < 0 ? r : kube_client_new(w->base, config, &w->client, e);
}

static int run(struct waiting *w, const char *kubeconfig)
{
	struct event *term = evsignal_new(w->base, SIGTERM, on_signal, w);
	struct event *interrupt = evsignal_new(w->base, SIGINT, on_signal, w);
	struct err e = {0};
	int r = open_client(w, kubeconfig, &e);

	w->timer = evtimer_new(w->base, on_timer, w);
	if (r == 0 && (!term || !interrupt || !w->timer || event_add(term, NULL) < 0 ||
		       event_add(interrupt, NULL) < 0))
		r = err_set(&e, -ENOMEM, "out of memory");
	if (r < 0) {
		w->status = cmd_fail("forget", EXIT_SYSTEM, "%s", e.msg);
	} else {
		evtimer_add(w->timer, &(struct timeval){0});
		event_base_dispatch(w->base);
	}
	kube_call_cancel(w->call);
	kube_client_free(w->client);
	if (w->timer)
		event_free(w->timer);
	if (term)
		event_free(term);
	if (interrupt)
		event_free(interrupt);
	return w->status;
}

int forget_wait(const char *daemonset, const char *kubeconfig, unsigned secs)
{
	struct waiting w = {.wanted = -1, .status = EXIT_SYSTEM};

	if (path_of(daemonset, w.path, sizeof(w.path)) < 0)
		return cmd_fail("forget", EXIT_USAGE,
				"--daemonset: found '%s', accepted: NAMESPACE/NAME", daemonset);
	signal(SIGPIPE, SIG_IGN);
	w.until = mono_add(mono_now(), (int64_t)secs * NS_PER_SEC);
	w.base = event_base_new();
	if (!w.base)
		return cmd_fail("forget", EXIT_SYSTEM, "out of memory");
	int status = run(&w, kubeconfig);
	event_base_free(w.base);
	return status;
}
