/*
 * Theory of operation. Everything that happens (a notification of the kernel, a new
 * configuration, an answer of the resolver, the clock) only wakes the loop; a run of the loop
 * reads the machine anew and acts on the difference. So a lost wake-up costs a delay, never a
 * wrong state.
 *
 *     wake ──(settle)──> run: desired, observe, health, plan, apply ──> next tick
 *       ^                                                                  │
 *       └── notifications, configuration, resolver ── tick (1 s … poll) <──┘
 *
 * Load is bounded from both ends. Only what concerns our own interfaces, routes, rules and table
 * wakes the loop; wake-ups within SETTLE are one run; and runs are COST_FACTOR times their own
 * duration apart, so that ten thousand peers cost one per cent of a core (after a notification at
 * most SPACED_MAX: who changes our own things all day makes us work). The tick is the slow poll for
 * what nobody notifies of (peers, sysctls); while a required peer is not up it is faster, so that
 * its return is seen within about a second, and where a short stale_after_secs asks for a quick
 * judgement it is a fifth of that: a loss begins to count between two looks. A peer
 * with a probe address is asked when it has been silent for its time (health_probe, prober.c): the
 * tick comes then, too.
 *
 * What is observed is read anew in every run. What is desired is computed, from the configuration,
 * the endpoints' addresses and the MTU of the paths to them, so it is kept until one of these
 * changes: for ten thousand peers it costs as much as the look at the device. A changed path is
 * told by any notification of rtnetlink, also one that wakes nobody, but for an MTU that was
 * learned from an ICMP message, which is found after PATHS_NS. Notifications of what the agent's
 * own socket has done are left out: who made a change looks at the machine once more anyway.
 *
 * A device that does not answer (a stopped program) costs its time limit at each look, during
 * which nobody is answered. So after a look that was SLOW because of one, the next waits for the
 * backoff too, at most RETRY_HUNG: probes are answered in between. A new configuration has one look
 * at once, and no more: the device keeps it from being applied whole, and so it stays new.
 *
 * A device that ends (its program was killed) takes its interface with it, which the kernel tells.
 * That is acted on at once, without SETTLE and without spacing, for no packet passes meanwhile. A
 * device that has lived less than SHORT_LIFE is made again after a backoff only, so a program that
 * always dies costs no more than one start each SHORT_LIFE.
 *
 * An operation that fails is reported, and tried again after a backoff; what is to be done is
 * found by reading, so nothing is remembered of the failure but the time of the next attempt and
 * a digest of what failed. A plan that holds anything else is carried out at once, so that what
 * can never succeed (a name that is taken) does not hold up the repair of another network. A new
 * configuration is tried at once, too.
 */
#include "agent/agent_priv.h"
#include "agent/desired.h"
#include "base/str.h"
#include "log/log.h"
#include "netlink/nft.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_NS      (50 * NS_PER_MSEC)
#define COST_FACTOR    100
#define SPACED_MAX_NS  (800 * NS_PER_MSEC) /* what is notified is repaired within a second */
#define TICK_FAST_NS   NS_PER_SEC
#define RETRY_FIRST_NS NS_PER_SEC
#define RETRY_MAX_NS   (60 * NS_PER_SEC)
#define RETRY_HUNG_NS  (15 * NS_PER_SEC)
#define SLOW_NS        (500 * NS_PER_MSEC)
#define POLL_DEFAULT   5
#define POLL_EARLY_NS  (150 * NS_PER_MSEC) /* for the look and the repair to be within it, too */
#define SHORT_LIFE_NS  NS_PER_SEC
#define LOOKS          5 /* within the threshold of a required peer */
#define SOURCES_NS     (60 * NS_PER_SEC)
#define PATHS_NS       (30 * NS_PER_SEC)
#define LAUNCHER_NS    (5 * NS_PER_SEC) /* in which the container beside this one starts */

static struct timeval to_timeval(int64_t ns)
{
	if (ns < 0)
		ns = 0;
	return (struct timeval){.tv_sec = ns / NS_PER_SEC, .tv_usec = ns % NS_PER_SEC / 1000};
}

/* --- what desired.h asks --- */

static bool endpoint_now(void *arg, const struct config_network *n, const struct config_peer *p,
			 struct ip_endpoint *ret, bool *ret_assert)
{
	struct agent *a = arg;

	return agent_endpoints_get(a->endpoints, n->name, &p->public_key, ret, ret_assert);
}

static uint32_t path_mtu(void *arg, const struct wgdev *dev)
{
	struct agent *a = arg;

	return agent_sys_path_mtu(a->sys, dev);
}

struct agent_desired_env agent_desired_env_of(struct agent *a)
{
	return (struct agent_desired_env){.endpoint = endpoint_now,
					  .path_mtu = path_mtu,
					  .arg = a,
					  .nft = !a->opts->no_nft,
					  .guard = a->opts->guard};
}

/* --- one run --- */

/* The launcher's container may start after the agent's, and beside the socket of the one before it.
 * For so long it is waited for in silence: it is no failure, and nobody is told of one. */
static bool launcher_comes(const struct agent *a)
{
	const char *path = a->opts->userspace;

	if (!path || mono_since(mono_now(), a->started) >= LAUNCHER_NS)
		return false;
	if (access(path, F_OK) < 0)
		return errno == ENOENT;
	return device_is_launcher(path) && !device_launcher_listens(path);
}

static int choose_backend(void *arg, const char *network, struct agent_backend_choice *ret,
			  struct err *e)
{
	struct agent *a = ((struct agent_run *)arg)->a;
	struct agent_net *n = agent_net_by_name(a, network);
	enum config_backend wish = n ? n->wish : CONFIG_BACKEND_AUTO;
	const char *why = wish == CONFIG_BACKEND_AUTO ? a->probe.why : "configured";
	struct agent_backend_choice choice;
	int r = agent_backend_find(&a->probe, wish, &choice, e);

	if (r < 0)
		return r;
	bool kernel = choice.kind == DEVICE_KERNEL;
	if (n && mono_before(mono_now(), n->not_before))
		return err_set(e, -EAGAIN, "%s has ended %u times within a second of its start",
			       kernel ? "the interface" : choice.program, n->short_lives);
	if (!kernel && launcher_comes(a))
		return err_set(e, -EINPROGRESS, "%s is waited for", choice.program);
	*ret = choice;
	if (n)
		snprintf(n->backend_why, sizeof(n->backend_why), "%.190s", why);
	log_info("backend chosen", LOG_STR("network", network),
		 LOG_STR("backend", kernel ? "kernel" : choice.program), LOG_STR("why", why));
	return 0;
}

static int64_t backoff(unsigned failures)
{
	int64_t ns = RETRY_FIRST_NS;

	while (failures-- > 1 && ns < RETRY_MAX_NS)
		ns *= 2;
	return ns < RETRY_MAX_NS ? ns : RETRY_MAX_NS;
}

/* A failed run: what and when again. */
static void failed(struct agent *a, const char *why, struct mono now)
{
	bool known = str_eq(a->error, why);

	snprintf(a->error, sizeof(a->error), "%s", why);
	a->failures++;
	a->counts.reconcile_errors++;
	a->next_attempt = mono_add(now, backoff(a->failures));
	if (!known) {
		char d[TIME_DURATION_LEN];

		log_error("not in the wanted state", LOG_STR("error", why),
			  LOG_STR("retry_in", time_duration(backoff(a->failures), d)));
		if (a->kube)
			agent_source_kube_event(a->kube, true, "ApplyFailed", why);
		agent_publish(a);
	}
}

static void succeeded(struct agent *a)
{
	bool mended = a->error[0];

	if (mended)
		log_info("in the wanted state again");
	a->error[0] = '\0';
	a->failures = 0;
	a->pending = 0;
	a->told_generation = a->generation;
	if (a->applied_generation == a->generation) {
		if (mended)
			agent_publish(a);
		return;
	}
	a->applied_generation = a->generation;
	a->applied_at = wall_now();
	a->dirty = false;
	log_info("configuration applied", LOG_INT("generation", (int64_t)a->generation));
	if (a->kube) {
		char note[64];

		snprintf(note, sizeof(note), "generation %llu", (unsigned long long)a->generation);
		agent_source_kube_event(a->kube, false, "Applied", note);
	}
	agent_publish(a);
}

/* What differs is told, and counted, when it has changed. */
static void observed_only(struct agent_run *run, const struct agent_plan *p, struct mono now)
{
	struct agent *a = run->a;
	uint64_t ops = agent_audit_digest(p);

	if (ops != a->told_ops) {
		agent_audit_drift(a, p);
		agent_audit_differs(a, p);
	}
	a->told_ops = ops;
	if (run->first_error[0])
		failed(a, run->first_error, now);
	else if (p->n == 0)
		succeeded(a);
}

/* Networks of which the plan has nothing to say are as they should be. */
static void note_applied(struct agent *a, const struct agent_plan *p)
{
	for (size_t i = 0; i < a->n_nets; i++) {
		struct agent_net *n = &a->nets[i];
		struct agent_tunnel *t;
		bool touched = n->error[0];

		for (size_t j = 0; !touched && j < p->n; j++) {
			const char *ifname = agent_op_ifname(&p->ops[j]);

			touched = ifname && str_eq(ifname, n->ifname);
		}
		/* After a failed operation what is tried again is no more drift. */
		if (!touched) {
			n->applied_generation = a->generation;
			if ((t = agent_state_find(&a->desired, n->ifname)))
				agent_desired_settled(t);
		} else if (n->error[0]) {
			n->applied_generation = 0;
		}
	}
}

/* True when the machine was changed. */
static bool plan_and_apply(struct agent *a, const struct agent_state *desired,
			   const struct agent_state *observed, struct mono now)
{
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct agent_run run = {.a = a};

	if (agent_plan(desired, observed, &plan) < 0) {
		failed(a, "out of memory", now);
		return false;
	}
	a->pending = plan.n;
	if (plan.n && a->failures && mono_before(now, a->next_attempt) &&
	    agent_audit_digest(&plan) == a->failed_ops)
		return false;
	for (size_t i = 0; i < a->n_nets; i++)
		a->nets[i].error[0] = '\0';
	for (size_t i = 0; i < observed->n_tunnels; i++)
		if (observed->tunnels[i].unknown)
			agent_audit_error(&run, observed->tunnels[i].ifname,
					  observed->tunnels[i].problem);
	if (a->opts->observe_only) {
		observed_only(&run, &plan, now);
		note_applied(a, &plan);
		return false;
	}
	agent_audit_drift(a, &plan);
	a->pending = agent_apply(a->sys, &plan, choose_backend, agent_audit_applied, &run);
	agent_audit_undone(&run, &plan);
	agent_audit_repaired(&run);
	a->failed_ops = run.failed_ops;
	a->host_failed = run.host_failed;
	note_applied(a, &plan);
	if (run.first_error[0])
		failed(a, run.first_error, now);
	else if (plan.n == 0)
		succeeded(a);
	return plan.n > 0;
}

void agent_apply_part(struct agent *a, const struct agent_state *want,
		      const struct agent_state *had)
{
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct agent_run run = {.a = a};

	if (agent_plan(want, had, &plan) < 0)
		return;
	a->last_run = mono_now();
	/* A failure is told like any other, and the look that follows at once finds what is left.
	 */
	if (agent_apply(a->sys, &plan, choose_backend, agent_audit_applied, &run) > 0)
		return;
	a->told_generation = a->generation;
	a->dirty = false;
}

/* --- health --- */

/* Whose health is told of. */
struct telling {
	struct agent *a;
	const struct agent_net *n;
};

static void on_health(const struct health_event *ev, void *arg)
{
	const struct telling *t = arg;
	struct agent *a = t->a;
	const struct health_peer *p = ev->peer;
	char lasted[TIME_DURATION_LEN], k[KEY_BASE64], note[256];

	if (ev->latency_ns >= 0)
		agent_exporter_handshake(a->exporter, (double)ev->latency_ns / (double)NS_PER_SEC);
	if (ev->from == ev->to)
		return;
	key_to_base64(&p->public_key, k);
	time_duration(ev->lasted_ns, lasted);
	if (ev->to == HEALTH_UP)
		log_info("peer up", LOG_STR("network", t->n->name), LOG_STR("peer", p->name),
			 LOG_STR("public_key", k), LOG_STR("was", health_state_name(ev->from)),
			 LOG_STR("for", lasted));
	else
		log_warn("peer down", LOG_STR("network", t->n->name), LOG_STR("peer", p->name),
			 LOG_STR("public_key", k), LOG_STR("state", health_state_name(ev->to)),
			 LOG_STR("was_up_for", lasted));
	if (a->kube && (ev->to == HEALTH_UP || ev->from == HEALTH_UP)) {
		/* Without the time that it lasted: the same note again is one Event with a count.
		 */
		snprintf(note, sizeof(note), "peer %.60s is %s (was %s), network %.63s", p->name,
			 health_state_name(ev->to), health_state_name(ev->from), t->n->name);
		agent_source_kube_event(a->kube, ev->to != HEALTH_UP,
					ev->to == HEALTH_UP ? "PeerUp" : "PeerDown", note);
	}
}

struct asking {
	struct agent *a;
	unsigned ifindex;
};

static bool ask(const struct health_peer *p, void *arg)
{
	struct asking *q = arg;
	struct err e = {0};

	if (agent_prober_ask(q->a->prober, q->ifindex, &p->probe, &e) == 0)
		return true;
	log_debug("probe not sent", LOG_STR("peer", p->name), LOG_STR("error", e.msg));
	return false;
}

/* Tells health and the endpoints what the device says; `t` is NULL where it says nothing. */
static void judge(struct agent *a, struct agent_net *n, const struct agent_tunnel *t, bool unknown,
		  struct health_now now)
{
	static const struct ip_endpoint none;

	n->rx_bytes = n->tx_bytes = 0;
	for (size_t i = 0; t && i < t->wg.n_peers; i++) {
		n->rx_bytes += t->wg.peers[i].rx_bytes;
		n->tx_bytes += t->wg.peers[i].tx_bytes;
	}
	health_tick(n->health, t ? &t->wg : NULL, now, on_health,
		    &(struct telling){.a = a, .n = n});
	for (size_t i = 0; !unknown && i < health_count(n->health); i++) {
		const struct health_peer *p = health_peer(n->health, i);

		agent_endpoints_seen(a->endpoints, n->name, &p->public_key,
				     p->present ? &p->endpoint : &none, p->state == HEALTH_UP,
				     now.mono);
	}
	if (!t || a->opts->observe_only)
		return;

	struct asking q = {a, t->ifindex};
	struct mono next = health_probe(n->health, now.mono, ask, &q);

	if (mono_before(next, a->next_probe))
		a->next_probe = next;
	for (size_t i = 0; i < health_count(n->health); i++) {
		const struct health_peer *p = health_peer(n->health, i);

		/* Without a keepalive a quiet peer is in order: nothing asks for its address. */
		if (p->present && p->state != HEALTH_UP && (p->required || p->asked))
			agent_endpoints_down(a->endpoints, n->name, &p->public_key, now.mono);
	}
}

static void judge_all(struct agent *a, const struct agent_state *observed)
{
	struct health_now now = {mono_now(), wall_now()};
	const char *host;

	for (size_t i = 0; i < a->n_nets; i++) {
		struct agent_net *n = &a->nets[i];
		const struct agent_tunnel *t = agent_state_find(observed, n->ifname);
		struct device *dev = agent_sys_device(a->sys, n->ifname);
		bool unknown = t && t->unknown;

		if (t && (t->owner != AGENT_OWNER_US || t->unknown))
			t = NULL;
		snprintf(n->backend, sizeof(n->backend), "%s",
			 dev && t ? device_backend_name(dev) : "");
		if (n->backend[0] && !n->backend_why[0])
			snprintf(n->backend_why, sizeof(n->backend_why),
				 "the interface was there already");
		judge(a, n, t, unknown, now);
	}
	while ((host = agent_endpoints_due(a->endpoints, now.mono)))
		agent_resolver_lookup(a->resolver, host);
}

/* --- the loop --- */

static bool any_unknown(const struct agent_state *observed)
{
	for (size_t i = 0; i < observed->n_tunnels; i++)
		if (observed->tunnels[i].unknown)
			return true;
	return false;
}

void agent_forget_desired(struct agent *a)
{
	a->desired_known = false;
	agent_state_clear(&a->desired);
}

/* *former takes over what was desired until now, where that is another: what was observed meanwhile
 * may borrow from it. */
static int update_desired(struct agent *a, struct agent_state *former, struct mono now,
			  struct err *e)
{
	struct agent_state fresh;
	struct agent_desired_env env = agent_desired_env_of(a);
	uint64_t endpoints = agent_endpoints_version(a->endpoints);

	if (!a->paths_known || mono_since(now, a->paths_at) >= PATHS_NS) {
		agent_sys_forget_paths(a->sys);
		a->paths_known = true;
		a->paths_at = now;
		a->desired_known = false;
	}
	if (a->desired_known && a->desired_endpoints == endpoints)
		return 0;
	agent_state_init(&fresh);
	int r = agent_desired(a->wanted, &env, &fresh, e);
	if (r == 0)
		agent_desired_renewed(&fresh, &a->desired);
	agent_state_clear(former);
	*former = a->desired;
	a->desired = fresh;
	a->desired_known = r == 0;
	a->desired_endpoints = endpoints;
	return r;
}

static void run_once(struct agent *a)
{
	_cleanup_agent_state_ struct agent_state observed, former;
	struct err e = {0};
	struct mono start = mono_now();

	agent_state_init(&observed);
	agent_state_init(&former);
	a->next_probe = (struct mono){INT64_MAX};
	if (!a->wanted || (a->hung && a->looked_generation == a->generation &&
			   mono_before(start, a->next_attempt)))
		return;
	a->looked_generation = a->generation;
	a->counts.reconciles++;
	int r = update_desired(a, &former, start, &e);
	if (r == 0)
		r = agent_observe(a->sys, &a->desired, &observed, &e);
	if (r == 0) {
		a->nft_in_place = !observed.nft_drifted && !observed.nft_unknown;
		judge_all(a, &observed);
		/* What health has just said of the endpoints is planned with, and not against: a
		 * peer that came up meanwhile is not moved. */
		r = update_desired(a, &former, start, &e);
	}
	bool again = false;
	if (r < 0) {
		failed(a, e.msg, start);
	} else {
		agent_backend_settle(&a->desired, &observed, &a->probe);
		again = plan_and_apply(a, &a->desired, &observed, start);
	}
	a->run_cost_ns = mono_since(mono_now(), start);
	agent_exporter_reconciled(a->exporter, (double)a->run_cost_ns / (double)NS_PER_SEC);
	a->hung = a->run_cost_ns > SLOW_NS && any_unknown(&observed);
	/* From the end of this look, which may have taken longer than the backoff. */
	if (a->hung) {
		int64_t pause = backoff(a->failures);

		a->next_attempt =
			mono_add(mono_now(), pause < RETRY_HUNG_NS ? pause : RETRY_HUNG_NS);
	}
	/* What was changed is looked at once more: only an empty plan says that all is well. */
	if (again && !a->failures)
		agent_wake(a);
}

static bool all_up(const struct agent *a)
{
	for (size_t i = 0; i < a->n_nets; i++)
		for (size_t j = 0; j < health_count(a->nets[i].health); j++) {
			const struct health_peer *p = health_peer(a->nets[i].health, j);

			/* What is asked and not answered yet may be down soon. */
			if (p->required && (p->state != HEALTH_UP || p->asked))
				return false;
		}
	return !a->failures && a->applied_generation == a->generation;
}

/* How often required peers are to be looked at while they are up: at most `poll`. */
static int64_t look_interval(const struct agent *a, int64_t poll)
{
	for (size_t i = 0; i < a->n_nets; i++)
		for (size_t j = 0; j < health_count(a->nets[i].health); j++) {
			const struct health_peer *p = health_peer(a->nets[i].health, j);
			int64_t each = p->stale_after_secs * NS_PER_SEC / LOOKS;

			if (p->required && each < poll)
				poll = each > TICK_FAST_NS ? each : TICK_FAST_NS;
		}
	return poll;
}

static void schedule_tick(struct agent *a)
{
	int64_t poll = (a->opts->poll_secs ? a->opts->poll_secs : POLL_DEFAULT) * NS_PER_SEC -
		       POLL_EARLY_NS;
	int64_t next = all_up(a)             ? look_interval(a, poll)
		       : poll < TICK_FAST_NS ? poll
					     : TICK_FAST_NS;
	int64_t least = a->run_cost_ns * COST_FACTOR;
	int64_t probe = mono_since(a->next_probe, mono_now());

	if (probe < next)
		next = probe > 0 ? probe : 0;
	if (next < least)
		next = least < poll ? least : poll;
	struct timeval tv = to_timeval(next);
	evtimer_add(a->tick, &tv);
}

static void tell_cluster(struct agent *a)
{
	_cleanup_buf_ struct buf why = BUF_INIT(65536);
	bool ready;

	if (!a->kube || (!a->opts->kube_gate && !a->opts->kube_taint))
		return;
	ready = agent_write_readiness(a, &why);
	agent_source_kube_ready(a->kube, ready,
				ready ? "the node's tunnels are up" : buf_str(&why));
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	/* What no notice tells of: a network file system, a key file in another directory. */
	if (mono_since(mono_now(), a->last_read) >= SOURCES_NS)
		agent_load(a, false);
	a->last_run = mono_now();
	run_once(a);
	tell_cluster(a);
	schedule_tick(a);
}

static void wake_in(struct agent *a, int64_t wait)
{
	struct mono at = mono_add(mono_now(), wait);
	struct timeval tv = to_timeval(wait);

	if (evtimer_pending(a->wake, NULL) && !mono_before(at, a->wake_at))
		return;
	a->wake_at = at;
	evtimer_add(a->wake, &tv);
}

void agent_wake(struct agent *a)
{
	int64_t wait = SETTLE_NS, spaced = a->run_cost_ns * COST_FACTOR;
	struct mono now = mono_now();

	if (!a->wake)
		return;
	/* A new configuration is worth more than the bound on load, and does not wait for others.
	 */
	if (a->dirty && !a->failures) {
		wait = 0;
	} else if (!a->dirty) {
		if (spaced > SPACED_MAX_NS)
			spaced = SPACED_MAX_NS;
		if (spaced - mono_since(now, a->last_run) > wait)
			wait = spaced - mono_since(now, a->last_run);
	}
	wake_in(a, wait);
}

/* A device of ours has ended, made by us or adopted. Once each, by its index: who makes and removes
 * links of that name all day does not get round the bound on load. */
static bool device_ended(struct agent *a, const struct nl_event *ev)
{
	struct agent_net *n = agent_net_by_ifname(a, ev->name);
	struct mono now = mono_now();

	if (ev->kind != NL_EVENT_LINK || !ev->removed || !n ||
	    !agent_sys_knows(a->sys, ev->ifindex))
		return false;
	if (n->made.ns && mono_since(now, n->made) < SHORT_LIFE_NS) {
		n->short_lives++;
		n->not_before = mono_add(now, backoff(n->short_lives));
	} else {
		n->short_lives = 0;
	}
	n->made.ns = 0;
	return true;
}

/* What others do is none of our business, and it may be much: on a busy node there is always a
 * pod that comes or goes, and a kube-proxy or routing daemon at work. */
static bool is_ours(struct agent *a, const struct nl_event *ev)
{
	switch (ev->kind) {
	case NL_EVENT_LINK: /* by index too: one of ours may have got another name */
		return agent_net_by_ifname(a, ev->name) || agent_sys_knows(a->sys, ev->ifindex);
	case NL_EVENT_ADDR: return agent_sys_knows(a->sys, ev->ifindex);
	case NL_EVENT_ROUTE:
	case NL_EVENT_RULE: return ev->protocol == NL_PROTO_HARMONY || ev->protocol == 0;
	/* Each change of a table comes with its name; the end of a transaction has none. */
	case NL_EVENT_NFT: return str_eq(ev->name, NFT_TABLE);
	case NL_EVENT_LOST: break;
	}
	return true;
}

static void on_event(const struct nl_event *ev, void *arg)
{
	struct agent *a = arg;

	/* A path may be another; but not by our own routes: what goes through a tunnel of ours is
	 * no path to an endpoint. */
	if (ev->kind != NL_EVENT_NFT && ev->protocol != NL_PROTO_HARMONY)
		a->paths_known = false;
	if (device_ended(a, ev))
		wake_in(a, 0);
	else if (is_ours(a, ev))
		agent_wake(a);
}

static int open_monitor(struct agent *a, int protocol, struct nl_monitor **m, struct event **event,
			event_callback_fn fn, struct err *e)
{
	int r = nl_monitor_open(protocol, m, e);

	if (r < 0)
		return r;
	*event = event_new(a->base, nl_monitor_fd(*m), EV_READ | EV_PERSIST, fn, a);
	if (!*event || event_add(*event, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static void on_route_event(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	struct err e = {0};

	if (nl_monitor_read(a->route_monitor, on_event, a, &e) < 0) {
		/* The poll goes on; notifications come back with the next start. */
		log_warn("kernel notifications ended", LOG_STR("error", e.msg));
		event_del(a->route_event);
	}
}

static void on_nft_event(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	struct err e = {0};

	if (nl_monitor_read(a->nft_monitor, on_event, a, &e) < 0) {
		log_warn("nftables notifications ended", LOG_STR("error", e.msg));
		event_del(a->nft_event);
	}
}

int agent_loop_start(struct agent *a, struct err *e)
{
	int r = open_monitor(a, NETLINK_ROUTE, &a->route_monitor, &a->route_event, on_route_event,
			     e);

	if (r < 0)
		return r;
	nl_monitor_skip(a->route_monitor, agent_sys_route(a->sys));
	if (!a->opts->no_nft) {
		struct err ignored = {0};

		/* A kernel without nf_tables is said when the table is needed. */
		r = open_monitor(a, NETLINK_NETFILTER, &a->nft_monitor, &a->nft_event, on_nft_event,
				 &ignored);
		if (r < 0)
			log_debug("no nftables notifications", LOG_STR("error", ignored.msg));
	}
	a->wake = evtimer_new(a->base, on_wake, a);
	a->tick = evtimer_new(a->base, on_wake, a);
	if (!a->wake || !a->tick)
		return err_set(e, -ENOMEM, "out of memory");
	a->started = mono_now();
	agent_wake(a);
	return 0;
}

void agent_loop_stop(struct agent *a)
{
	struct event **events[] = {&a->route_event, &a->nft_event, &a->wake, &a->tick};

	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		if (*events[i])
			event_free(*events[i]);
		*events[i] = NULL;
	}
	nl_monitor_close(mem_steal(&a->route_monitor));
	nl_monitor_close(mem_steal(&a->nft_monitor));
}

/* The guards of what is wanted, and nothing else of it. */
static int guards_alone(struct agent *a, struct agent_state *ret)
{
	_cleanup_agent_state_ struct agent_state former;
	struct err e = {0};

	agent_state_init(&former);
	int r = update_desired(a, &former, mono_now(), &e);

	for (size_t i = 0; r == 0 && i < a->desired.n_nft; i++) {
		struct agent_nft guard = a->desired.nft[i];

		guard.masquerade = guard.mss_clamp = guard.forward = false;
		guard.fwmark = 0;
		if (guard.n_closed)
			r = agent_state_add_nft(ret, &guard);
	}
	return r;
}

void agent_teardown(struct agent *a)
{
	_cleanup_agent_state_ struct agent_state nothing, observed;
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct agent_run run = {.a = a};
	struct err e = {0};

	agent_state_init(&nothing);
	agent_state_init(&observed);
	int r = guards_alone(a, &nothing);
	if (agent_observe(a->sys, &nothing, &observed, &e) == 0) {
		if (r < 0) /* not known what the table should hold: it stays */
			observed.nft_unknown = true;
		r = agent_plan(&nothing, &observed, &plan);
	} else {
		r = -EIO;
	}
	if (r < 0) {
		log_error("tunnels could not be removed", LOG_STR("error", e.msg));
		return;
	}
	agent_apply(a->sys, &plan, choose_backend, agent_audit_applied, &run);
}
