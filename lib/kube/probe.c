/*
 * Theory of operation. A watch is silent for up to a minute in good order, so silence says
 * nothing; and a server process that is stopped, or hangs, still acknowledges TCP. While a
 * stream is open, something that is always answered is therefore asked every PROBE_SECS, on
 * another connection: /version, a constant that every authenticated user may read (/livez runs
 * checks, and its parts are not public). Any HTTP answer is a sign of life, a refusal too; a
 * server under load refuses what has waited for 15 s. No answer within PROBE_TIMEOUT_SECS: all
 * streams are reopened. Together that is 38 s, within the 45 s in which client-go notices (its
 * HTTP/2 pings: 30 s and 15 s).
 */
#include <errno.h>

#include "kube/kube_priv.h"
#include "log/log.h"

#define PROBE_SECS         20
#define PROBE_TIMEOUT_SECS 18

static bool is_streaming(const struct kube_client *c)
{
	list_for_each (u, &c->users, struct kube_user, node) {
		if (u->streaming)
			return true;
	}
	return false;
}

static void on_answer(void *arg, const struct kube_status *status, struct json_object *object)
{
	struct kube_client *c = arg;

	c->probe_call = NULL;
	if (status->http == 0) {
		c->stats.probe_failures++;
		log_debug("kube: no sign of life", LOG_STR("error", status->message));
		list_for_each (u, &c->users, struct kube_user, node) {
			if (u->streaming)
				u->lost(u);
		}
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kube_client *c = arg;
	const struct kube_request req = {
		.method = "GET", .path = "/version", .timeout_secs = PROBE_TIMEOUT_SECS};

	if (!is_streaming(c))
		return; /* kube_probe_wanted starts it again */
	kube_timer_in(c->probe_timer, PROBE_SECS * NS_PER_SEC);
	if (!c->probe_call)
		kube_client_send(c, &req, on_answer, c, &c->probe_call, NULL);
}

int kube_probe_init(struct kube_client *c, struct err *e)
{
	c->probe_timer = evtimer_new(c->base, on_timer, c);
	return c->probe_timer ? 0 : err_sys(e, -ENOMEM, "Kubernetes client");
}

void kube_probe_done(struct kube_client *c)
{
	kube_call_cancel(mem_steal(&c->probe_call));
	if (c->probe_timer)
		event_free(mem_steal(&c->probe_timer));
}

void kube_probe_wanted(struct kube_client *c)
{
	if (!evtimer_pending(c->probe_timer, NULL))
		kube_timer_in(c->probe_timer, PROBE_SECS * NS_PER_SEC);
}
