/*
 * Theory of operation. What becomes of the operations of a plan is told here: a line of the log for
 * each thing that was changed or could not be, counters, an Event, the error of a network; and the
 * digest by which the loop knows a plan again.
 *
 * An operation that succeeds is believed by nobody: the next look finds what it did, or makes the
 * same plan again. What was done TIMES in a row, with no look between that found it so, does not
 * stay: another program undoes it at once, or the kernel means something else by it than we do.
 * That is told and tried again after a backoff like a failure, instead of some ten times a second.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "log/log.h"

#include <errno.h>
#include <stdio.h>

#define TIMES 5 /* in a row the same was done */

/*
 * The configuration was in force already, and what differs has not become another by itself (an MTU
 * that follows its path, an endpoint): somebody else has changed something. What belongs to no
 * network (a sysctl, the table) is judged apart from them: a device that could not be made again
 * at once does not turn the repair of a sysctl into a change of ours.
 */
static bool is_drift(struct agent *a, const struct agent_op *op)
{
	const char *ifname = agent_op_ifname(op);
	const struct agent_net *n = ifname ? agent_net_by_ifname(a, ifname) : NULL;

	if (agent_op_is_own(op))
		return false;
	if (n)
		return n->applied_generation == a->generation;
	return a->applied_generation == a->generation && !a->host_failed;
}

/* Digests are sums, so that the order does not count; 0 stands for no operation. */
static uint64_t digest_text(enum agent_op_kind kind, const struct buf *text)
{
	const char *s = buf_str(text);
	uint64_t h = 0xcbf29ce484222325 ^ kind; /* FNV-1a */

	for (size_t i = 0; i < text->len; i++)
		h = (h ^ (uint8_t)s[i]) * 0x100000001b3;
	return h;
}

static uint64_t digest_of(const struct agent_op *op)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	agent_op_text(op, &text);
	return digest_text(op->kind, &text);
}

uint64_t agent_audit_digest(const struct agent_plan *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < p->n; i++)
		sum += digest_of(&p->ops[i]);
	return sum;
}

void agent_audit_error(struct agent_run *run, const char *ifname, const char *msg)
{
	struct agent_net *n = ifname ? agent_net_by_ifname(run->a, ifname) : NULL;

	if (!run->first_error[0])
		snprintf(run->first_error, sizeof(run->first_error), "%s", msg);
	if (n && !n->error[0])
		snprintf(n->error, sizeof(n->error), "%s", msg);
}

/* The audit: one line for each thing that was changed, or could not be. */
void agent_audit_applied(void *arg, const struct agent_op *op, int code, const char *msg)
{
	struct agent_run *run = arg;
	struct agent *a = run->a;
	const char *ifname = agent_op_ifname(op);
	struct agent_net *n = ifname ? agent_net_by_ifname(a, ifname) : NULL;
	_cleanup_buf_ struct buf text = BUF_INIT(4096);

	if (code > 0)
		return;
	agent_op_text(op, &text);
	if (code == 0) {
		a->counts.ops[op->kind]++;
		run->n_done++;
		run->done_ops += digest_text(op->kind, &text);
		if (!run->first_done[0])
			snprintf(run->first_done, sizeof(run->first_done), "%s", buf_str(&text));
		if (n && op->kind == AGENT_OP_LINK_CREATE)
			n->made = mono_now();
		bool drift = is_drift(a, op);

		if (drift && !run->first_repaired[0])
			snprintf(run->first_repaired, sizeof(run->first_repaired), "%s",
				 buf_str(&text));
		log_info(drift ? "drift repaired" : "applied",
			 LOG_STR("op", agent_op_name(op->kind)),
			 LOG_STR("network", n ? n->name : NULL), LOG_STR("change", buf_str(&text)));
		return;
	}
	if (code == -EINPROGRESS || (run->waits && code == -ECANCELED)) {
		run->waits = true;
		log_debug("not yet", LOG_STR("change", buf_str(&text)), LOG_STR("error", msg));
		return;
	}
	a->counts.ops_failed++;
	run->failed_ops += digest_of(op);
	if (!n)
		run->host_failed = true;
	agent_audit_error(run, ifname, msg);
	/* The same failure again every minute is told at debug. */
	if (a->failures == 0 && code != -ECANCELED)
		log_error("not applied", LOG_STR("op", agent_op_name(op->kind)),
			  LOG_STR("network", n ? n->name : NULL), LOG_STR("change", buf_str(&text)),
			  LOG_STR("error", msg));
	else
		log_debug("not applied", LOG_STR("op", agent_op_name(op->kind)),
			  LOG_STR("change", buf_str(&text)), LOG_STR("error", msg));
}

void agent_audit_undone(struct agent_run *run, const struct agent_plan *p)
{
	struct agent *a = run->a;
	char msg[ERR_MSG_MAX];

	a->done_again = run->done_ops && run->done_ops == a->done_ops ? a->done_again + 1 : 1;
	a->done_ops = run->done_ops;
	if (a->done_again < TIMES)
		return;
	run->first_repaired[0] = '\0';
	if (run->n_done == 1)
		snprintf(msg, sizeof(msg), "the same change does not stay: %s", run->first_done);
	else
		snprintf(msg, sizeof(msg), "the same %zu changes do not stay, the first: %s",
			 run->n_done, run->first_done);
	for (size_t i = 0; i < p->n; i++) {
		agent_audit_error(run, agent_op_ifname(&p->ops[i]), msg);
		run->host_failed |= !agent_op_ifname(&p->ops[i]);
	}
	run->failed_ops = agent_audit_digest(p);
}

void agent_audit_differs(struct agent *a, const struct agent_plan *p)
{
	a->differs[0] = '\0';
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_buf_ struct buf text = BUF_INIT(4096);

		agent_op_text(&p->ops[i], &text);
		if (i == 0)
			snprintf(a->differs, sizeof(a->differs), "%s", buf_str(&text));
		log_warn("differs (observe only, nothing is changed)",
			 LOG_STR("op", agent_op_name(p->ops[i].kind)),
			 LOG_STR("change", buf_str(&text)));
	}
}

/* Two observations of one state count once: drift is counted where it is about to be repaired. */
void agent_audit_drift(struct agent *a, const struct agent_plan *p)
{
	const struct agent_op *first = NULL;
	_cleanup_buf_ struct buf note = BUF_INIT(1024);

	for (size_t i = 0; i < p->n; i++) {
		if (!is_drift(a, &p->ops[i]))
			continue;
		a->counts.drift[p->ops[i].kind]++;
		if (!first)
			first = &p->ops[i];
	}
	if (!first || !a->kube || !a->opts->observe_only)
		return;
	buf_adds(&note, "not repaired (--observe-only): ");
	agent_op_text(first, &note);
	agent_source_kube_event(a->kube, true, "Drift", buf_str(&note));
}

void agent_audit_repaired(struct agent_run *run)
{
	if (run->first_repaired[0] && run->a->kube)
		agent_source_kube_event(run->a->kube, false, "DriftRepaired", run->first_repaired);
}
