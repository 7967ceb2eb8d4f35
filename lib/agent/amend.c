/*
 * Theory of operation. A configuration that differs from the one in force in a few peers is taken
 * without reading the whole, and told to the device without looking at the whole:
 *
 *     documents ─> the same as in force ─> are the keys? ─> nothing to do
 *         │
 *         ├─> a few peers differ (config/amend.h) ─> amend what is in force ─> plan of those peers
 *         │                                                                         │
 *         └─> anything else: agent_load reads the whole            apply now, look later
 *
 * The plan of those peers is the plan between two parts of desired states: the network with its
 * former peers (gone) and with its new ones (come), all else left out of both. What the last look
 * has found to be as wanted is, but for what somebody has changed since, what was wanted. So the
 * former part stands for what is observed, but only then: the last look found nothing to do, or
 * what there was to do since has all been acknowledged in this same way.
 *
 * Nothing is called applied by this. The next look, which comes sooner for it, finds the machine
 * as wanted, or finds what is left to do, as it would have without: a change that somebody made
 * in between, an MTU or a rule that follows from the peers. And when an operation fails, that look
 * is taken at once.
 */
#include "agent/agent_priv.h"
#include "agent/desired.h"
#include "base/str.h"
#include "config/amend.h"
#include "log/log.h"

#include <errno.h>
#include <string.h>

/* Whether a network of a document is to be removed when its source is deleted. */
static bool removes(const struct config *c, size_t doc)
{
	for (size_t i = 0; i < c->n_networks; i++)
		if (c->networks[i].doc == doc && c->networks[i].remove_on_delete)
			return true;
	return false;
}

/* The index of the one document with another text; n: none. -1: more, or other documents. `b` are
 * those of `c`. */
static long which_differs(const struct agent_docs *a, const struct agent_docs *b,
			  const struct config *c)
{
	long at = (long)a->n;

	if (a->n != b->n)
		return -1;
	for (size_t i = 0; i < a->n; i++) {
		const struct config_doc *x = &a->items[i], *y = &b->items[i];

		if (!str_eq(x->name, y->name) || y->gone > x->gone ||
		    (x->gone && !y->gone && removes(c, i)))
			return -1;
		if (x->len == y->len && memcmp(x->text, y->text, x->len) == 0)
			continue;
		if (at < (long)a->n)
			return -1;
		at = (long)i;
	}
	return at;
}

static bool has_default(const struct config_peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < peers[i].n_allowed; j++)
			if (peers[i].allowed[j].len == 0)
				return true;
	return false;
}

/* The peers of an amendment, borrowed from it and from the configuration; the copies stay right
 * when it is carried out. */
struct part {
	struct config_peer *gone, *come;
	size_t n_gone, n_come;
};

static void part_clear(struct part *p)
{
	free(p->gone);
	free(p->come);
}

static int part_copy(struct part *p, const struct config_network *n,
		     const struct config_amendment *am)
{
	p->gone = calloc(am->n_gone + 1, sizeof(*p->gone));
	p->come = calloc(am->n_come + 1, sizeof(*p->come));
	if (!p->gone || !p->come)
		return -ENOMEM;
	for (; p->n_gone < am->n_gone; p->n_gone++)
		p->gone[p->n_gone] = n->peers[am->gone_at[p->n_gone]];
	for (; p->n_come < am->n_come; p->n_come++)
		p->come[p->n_come] = am->come[p->n_come];
	return 0;
}

static bool comes(const struct part *p, const struct key *k)
{
	for (size_t i = 0; i < p->n_come; i++)
		if (key_eq(&p->come[i].public_key, k))
			return true;
	return false;
}

/* Health and endpoints follow. */
static int follow(struct agent *a, struct agent_net *net, const struct config_network *n,
		  const struct part *p)
{
	struct health_now now = {mono_now(), wall_now()};

	a->peers_version++;
	for (size_t i = 0; i < p->n_come; i++) {
		struct health_policy policy = agent_health_policy(n, &p->come[i]);

		if (health_put_peer(net->health, &policy, now) < 0 ||
		    agent_endpoints_put(a->endpoints, n->name, &p->come[i], now.mono) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < p->n_gone; i++) {
		if (comes(p, &p->gone[i].public_key))
			continue;
		health_drop_peer(net->health, &p->gone[i].public_key);
		agent_endpoints_drop(a->endpoints, n->name, &p->gone[i].public_key);
	}
	return 0;
}

/* A default route is more than its peer (agent_desired_check looks at it), and a guard holds so
 * many prefixes, and has to be closed before there is a route. */
static bool is_plain(const struct agent *a, const struct config_amendment *am)
{
	const struct config_network *n = a->wanted->networks[am->network].conf;

	return !n->guard && !a->opts->guard && !has_default(am->come, am->n_come);
}

/* Whether the former part stands for what is observed. */
static bool can_apply(const struct agent *a, const struct agent_net *net, const struct part *p)
{
	return a->told_generation == a->generation && !a->failures && !a->hung && !net->error[0] &&
	       !a->opts->observe_only && agent_sys_device(a->sys, net->ifname) &&
	       !has_default(p->gone, p->n_gone);
}

/* Once this has begun it can only fail for memory, and then all of it is made anew by reading the
 * whole. */
static int amend(struct agent *a, struct agent_docs *docs, struct config_amendment *am)
{
	const struct agent_wanted_network *wn = &a->wanted->networks[am->network];
	struct agent_net *net = agent_net_by_name(a, wn->conf->name);
	struct agent_desired_env env = agent_desired_env_of(a);
	_cleanup_agent_state_ struct agent_state had, want;
	_cleanup_(part_clear) struct part part = {0};

	agent_state_init(&had);
	agent_state_init(&want);
	if (!net || part_copy(&part, wn->conf, am) < 0)
		return -ENOMEM;
	bool now = can_apply(a, net, &part) &&
		   agent_desired_part(wn, part.gone, part.n_gone, &env, &had) == 0;
	a->desired_known = false;
	if (follow(a, net, wn->conf, &part) < 0 || agent_wanted_amend(a->wanted, am) < 0)
		return -ENOMEM;
	now = now && agent_desired_part(wn, part.come, part.n_come, &env, &want) == 0;
	agent_in_force(a, docs);
	if (now)
		agent_apply_part(a, &want, &had);
	agent_publish(a);
	agent_wake(a);
	return 0;
}

bool agent_amend(struct agent *a, const struct agent_wanted_env *env, struct agent_docs *docs)
{
	_cleanup_config_amendment_ struct config_amendment am = {0};
	long at = a->wanted ? which_differs(docs, &a->docs, a->wanted->config) : -1;

	if (at < 0 || agent_wanted_keys_stand(a->wanted, env) <= 0)
		return false;
	if ((size_t)at == docs->n) {
		agent_stands_again(a);
		return true;
	}
	return config_amendment_read(a->wanted->config, &a->docs.items[at], &docs->items[at],
				     &am) == 0 &&
	       is_plain(a, &am) && agent_wanted_can_amend(a->wanted, &am) &&
	       amend(a, docs, &am) == 0;
}
