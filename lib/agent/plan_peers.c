/*
 * Theory of operation. An allowed IP belongs to one peer of a device, and adding it to a second
 * one takes it from the first within that same message. So a prefix that moves needs no removal
 * at all: it is enough, and without a gap, to add it where it goes. Only what leaves without a
 * new owner is removed, by sending the shorter list ("shrink"); that happens after all additions.
 *
 *     pass 1   new peers; changed fields; prefixes gained          PEER_ADD, PEER_CHANGE
 *     pass 2   prefixes lost to nobody                             PEER_SHRINK
 *     pass 3   peers that are no longer wanted                     PEER_REMOVE
 *
 * To know what is lost to nobody, pass 1 leaves behind the sorted list of all prefixes gained by
 * anyone.
 */
#include "agent/plan_priv.h"

#include <errno.h>
#include <string.h>

struct gained {
	struct ip_prefix *list;
	size_t n, cap;
};

static int cmp_prefix(const void *a, const void *b)
{
	return ip_prefix_cmp(a, b);
}

static bool is_gained(const struct gained *g, const struct ip_prefix *p)
{
	return g->n && bsearch(p, g->list, g->n, sizeof(*g->list), cmp_prefix);
}

/* A zero preshared key is how a dump may spell "none". */
static const struct key *psk_of(const struct wgdev_peer *p)
{
	return p->preshared_key && !key_is_zero(p->preshared_key) ? p->preshared_key : NULL;
}

static bool psk_differs(const struct wgdev_peer *a, const struct wgdev_peer *b)
{
	const struct key *x = psk_of(a), *y = psk_of(b);

	return x && y ? !key_eq(x, y) : x != y;
}

static bool endpoint_differs(const struct wgdev_peer *want, const struct wgdev_peer *have,
			     const struct agent_peer_policy *policy)
{
	if (want->endpoint.addr.family == AF_UNSPEC)
		return false;
	if (have->endpoint.addr.family == AF_UNSPEC)
		return true;
	return policy && policy->assert_endpoint &&
	       ip_endpoint_cmp(&want->endpoint, &have->endpoint) != 0;
}

static int op_gains(struct agent_op *op, struct gained *g, const struct ip_prefix *p)
{
	if (mem_grow(&op->added, op->n_added, &op->cap_added, sizeof(*op->added)) < 0 ||
	    mem_grow(&g->list, g->n, &g->cap, sizeof(*g->list)) < 0)
		return -ENOMEM;
	op->added[op->n_added++] = *p;
	g->list[g->n++] = *p;
	return 0;
}

/* Prefixes of `want` that `have` (NULL: an empty list) has not. */
static int op_gains_all(struct agent_op *op, struct gained *g, const struct wgdev_peer *want,
			const struct wgdev_peer *have)
{
	size_t j = 0, n_have = have ? have->n_allowed : 0;

	for (size_t i = 0; i < want->n_allowed; i++) {
		while (j < n_have && ip_prefix_cmp(&have->allowed[j], &want->allowed[i]) < 0)
			j++;
		if (j < n_have && ip_prefix_cmp(&have->allowed[j], &want->allowed[i]) == 0)
			continue;
		if (op_gains(op, g, &want->allowed[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool gains_any(const struct wgdev_peer *want, const struct wgdev_peer *have)
{
	size_t j = 0;

	for (size_t i = 0; i < want->n_allowed; i++) {
		while (j < have->n_allowed &&
		       ip_prefix_cmp(&have->allowed[j], &want->allowed[i]) < 0)
			j++;
		if (j == have->n_allowed || ip_prefix_cmp(&have->allowed[j], &want->allowed[i]))
			return true;
	}
	return false;
}

static size_t count_lost(const struct wgdev_peer *want, const struct wgdev_peer *have,
			 const struct gained *g)
{
	size_t i = 0, lost = 0;

	for (size_t j = 0; j < have->n_allowed; j++) {
		while (i < want->n_allowed &&
		       ip_prefix_cmp(&want->allowed[i], &have->allowed[j]) < 0)
			i++;
		if (i < want->n_allowed && ip_prefix_cmp(&want->allowed[i], &have->allowed[j]) == 0)
			continue;
		lost += !is_gained(g, &have->allowed[j]);
	}
	return lost;
}

static struct agent_op *peer_op(struct agent_plan *p, enum agent_op_kind kind,
				const struct agent_tunnel *want, const struct agent_tunnel *have,
				const struct wgdev_peer *peer, const struct wgdev_peer *was)
{
	struct agent_op *op = plan_add(p, kind, want, have);

	if (!op)
		return NULL;
	op->peer = peer;
	op->peer_was = was;
	if (peer && want->policy)
		op->peer_name = want->policy[peer - want->wg.peers].name;
	return op;
}

static int add_or_change(struct agent_plan *p, const struct agent_tunnel *want,
			 const struct agent_tunnel *have, const struct wgdev_peer *peer,
			 const struct wgdev_peer *was, struct gained *g)
{
	const struct agent_peer_policy *policy =
		want->policy ? &want->policy[peer - want->wg.peers] : NULL;
	struct agent_op *op;

	if (!was) {
		op = peer_op(p, AGENT_OP_PEER_ADD, want, have, peer, NULL);
		if (!op)
			return -ENOMEM;
		op->set_endpoint = peer->endpoint.addr.family != AF_UNSPEC;
		op->set_preshared = psk_of(peer) != NULL;
		return op_gains_all(op, g, peer, NULL);
	}

	bool endpoint = endpoint_differs(peer, was, policy), psk = psk_differs(peer, was);
	if (!endpoint && !psk && peer->keepalive == was->keepalive && !gains_any(peer, was))
		return 0;
	op = peer_op(p, AGENT_OP_PEER_CHANGE, want, have, peer, was);
	if (!op)
		return -ENOMEM;
	op->set_endpoint = endpoint;
	op->set_preshared = psk;
	return op_gains_all(op, g, peer, was);
}

/* One walk over both sorted lists. Pass 1 looks at the wanted peers, 2 at those in both, 3 at
 * those that go. */
static int walk(struct agent_plan *p, const struct agent_tunnel *want,
		const struct agent_tunnel *have, int pass, struct gained *g)
{
	size_t i = 0, j = 0, n_want = want ? want->wg.n_peers : 0,
	       n_have = have ? have->wg.n_peers : 0;

	while (i < n_want || j < n_have) {
		const struct wgdev_peer *w = i < n_want ? &want->wg.peers[i] : NULL;
		const struct wgdev_peer *h = j < n_have ? &have->wg.peers[j] : NULL;
		int c = !w ? 1 : !h ? -1 : key_cmp(&w->public_key, &h->public_key);

		if (pass == 1 && c <= 0) {
			if (add_or_change(p, want, have, w, c == 0 ? h : NULL, g) < 0)
				return -ENOMEM;
		} else if (pass == 2 && c == 0) {
			size_t lost = count_lost(w, h, g);

			if (lost > 0) {
				struct agent_op *op =
					peer_op(p, AGENT_OP_PEER_SHRINK, want, have, w, h);
				if (!op)
					return -ENOMEM;
				op->n_removed = lost;
			}
		} else if (pass == 3 && c > 0) {
			if (!peer_op(p, AGENT_OP_PEER_REMOVE, want, have, NULL, h))
				return -ENOMEM;
		}
		i += c <= 0;
		j += c >= 0;
	}
	return 0;
}

int plan_peers(struct agent_plan *p, const struct agent_tunnel *want,
	       const struct agent_tunnel *have)
{
	struct gained g = {0};
	int r = walk(p, want, have, 1, &g);

	if (r == 0) {
		if (g.n)
			qsort(g.list, g.n, sizeof(*g.list), cmp_prefix);
		r = walk(p, want, have, 2, &g);
	}
	if (r == 0)
		r = walk(p, want, have, 3, &g);
	free(g.list);
	return r;
}
