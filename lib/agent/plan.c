/*
 * Theory of operation. Both states are sorted, so every list is one merge walk: what stands only
 * in the desired one is added, what stands only in the observed one is removed, what stands in
 * both is compared. Operations are appended tunnel by tunnel and then ordered by kind, whose
 * enumeration is the order in which they have to happen; within a kind the order of appending
 * stays.
 *
 * What is removed is only ever what carries our mark: the observed state lists no other routes
 * and rules, and interfaces have their owner with them.
 */
#include "agent/plan_priv.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

struct agent_op *plan_add(struct agent_plan *p, enum agent_op_kind kind,
			  const struct agent_tunnel *want, const struct agent_tunnel *have)
{
	if (mem_grow(&p->ops, p->n, &p->cap, sizeof(*p->ops)) < 0)
		return NULL;
	struct agent_op *op = &p->ops[p->n];
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->want = want;
	op->have = have;
	op->seq = p->n++;
	return op;
}

static int plan_addrs(struct agent_plan *p, const struct agent_tunnel *want,
		      const struct agent_tunnel *have)
{
	size_t i = 0, j = 0, n_have = have ? have->n_addrs : 0;

	while (i < want->n_addrs || j < n_have) {
		int c = i == want->n_addrs ? 1
			: j == n_have      ? -1
					   : ip_prefix_cmp(&want->addrs[i], &have->addrs[j]);
		struct agent_op *op;

		if (c == 0) {
			i++, j++;
			continue;
		}
		/* The kernel gives every IPv6 link its own link-local address. */
		if (c > 0 && have->addrs[j].addr.family == AF_INET6 &&
		    ip_addr_is_link_local(&have->addrs[j].addr)) {
			j++;
			continue;
		}
		op = plan_add(p, c < 0 ? AGENT_OP_ADDR_ADD : AGENT_OP_ADDR_DEL, want, have);
		if (!op)
			return -ENOMEM;
		op->addr = c < 0 ? &want->addrs[i++] : &have->addrs[j++];
	}
	return 0;
}

/* Point-to-point addresses are somebody else's: a network's have a prefix. */
static int plan_pairs(struct agent_plan *p, const struct agent_tunnel *want,
		      const struct agent_tunnel *have)
{
	for (size_t i = 0; i < have->n_pairs; i++) {
		struct agent_op *op = plan_add(p, AGENT_OP_ADDR_DEL, want, have);

		if (!op)
			return -ENOMEM;
		op->addr = &have->pairs[i].own;
		op->addr_peer = &have->pairs[i].peer;
	}
	return 0;
}

static int plan_routes(struct agent_plan *p, const struct agent_tunnel *want,
		       const struct agent_tunnel *have)
{
	size_t i = 0, j = 0, n_want = want ? want->n_routes : 0, n_have = have ? have->n_routes : 0;

	while (i < n_want || j < n_have) {
		int c = i == n_want   ? 1
			: j == n_have ? -1
				      : agent_route_cmp(&want->routes[i], &have->routes[j]);
		struct agent_op *op;

		if (c == 0) {
			i++, j++;
			continue;
		}
		op = plan_add(p, c < 0 ? AGENT_OP_ROUTE_ADD : AGENT_OP_ROUTE_DEL, want, have);
		if (!op)
			return -ENOMEM;
		op->route = c < 0 ? &want->routes[i++] : &have->routes[j++];
	}
	return 0;
}

static bool device_differs(const struct agent_tunnel *want, const struct agent_tunnel *have)
{
	const struct wgdev *w = &want->wg, *h = &have->wg;

	return agent_key_differs(w, h) || (w->listen_port && w->listen_port != h->listen_port) ||
	       w->fwmark != h->fwmark;
}

/* A tunnel that is wanted and does not exist. */
static int plan_create(struct agent_plan *p, const struct agent_tunnel *want)
{
	if (!plan_add(p, AGENT_OP_LINK_CREATE, want, NULL) ||
	    !plan_add(p, AGENT_OP_DEVICE_SET, want, NULL) ||
	    !plan_add(p, AGENT_OP_LINK_UP, want, NULL) ||
	    (want->mtu && !plan_add(p, AGENT_OP_LINK_MTU, want, NULL)))
		return -ENOMEM;
	if (plan_peers(p, want, NULL) < 0 || plan_addrs(p, want, NULL) < 0)
		return -ENOMEM;
	return plan_routes(p, want, NULL);
}

/* The same interface by another backend: routes and addresses go with the former one. */
static int plan_again(struct agent_plan *p, const struct agent_tunnel *want,
		      const struct agent_tunnel *have)
{
	return plan_add(p, AGENT_OP_LINK_DELETE, want, have) ? plan_create(p, want) : -ENOMEM;
}

static int plan_existing(struct agent_plan *p, const struct agent_tunnel *want,
			 const struct agent_tunnel *have)
{
	if (have->unknown)
		return 0;
	if (agent_made_differs(want, have)) {
		if (!have->adopted && !want->problem[0])
			return plan_again(p, want, have);
		/* An error, beside which the rest goes on. */
		if (!plan_add(p, AGENT_OP_CONFLICT, want, have))
			return -ENOMEM;
	}
	/* What can be no WireGuard device is not meant by "uapi" either. */
	if (have->owner == AGENT_OWNER_FOREIGN &&
	    (!want->adopt || !agent_is_tunnel_kind(have->link_kind)))
		return plan_add(p, AGENT_OP_CONFLICT, want, have) ? 0 : -ENOMEM;
	if (have->owner != AGENT_OWNER_US && !plan_add(p, AGENT_OP_LINK_ADOPT, want, have))
		return -ENOMEM;
	if (want->mtu && want->mtu != have->mtu && !plan_add(p, AGENT_OP_LINK_MTU, want, have))
		return -ENOMEM;
	if (device_differs(want, have) && !plan_add(p, AGENT_OP_DEVICE_SET, want, have))
		return -ENOMEM;
	if (!have->up && !plan_add(p, AGENT_OP_LINK_UP, want, have))
		return -ENOMEM;
	if (plan_peers(p, want, have) < 0 || plan_addrs(p, want, have) < 0 ||
	    plan_pairs(p, want, have) < 0)
		return -ENOMEM;
	return plan_routes(p, want, have);
}

static int plan_removal(struct agent_plan *p, const struct agent_tunnel *have)
{
	if (have->owner != AGENT_OWNER_US)
		return 0;
	if (!have->adopted)
		return plan_add(p, AGENT_OP_LINK_DELETE, NULL, have) ? 0 : -ENOMEM;
	if (plan_routes(p, NULL, have) < 0 || plan_peers(p, NULL, have) < 0)
		return -ENOMEM;
	return plan_add(p, AGENT_OP_LINK_RELEASE, NULL, have) ? 0 : -ENOMEM;
}

static int plan_tunnels(struct agent_plan *p, const struct agent_state *d,
			const struct agent_state *o)
{
	size_t i = 0, j = 0;
	int r = 0;

	while (r == 0 && (i < d->n_tunnels || j < o->n_tunnels)) {
		const struct agent_tunnel *want = i < d->n_tunnels ? &d->tunnels[i] : NULL;
		const struct agent_tunnel *have = j < o->n_tunnels ? &o->tunnels[j] : NULL;
		int c = !want ? 1 : !have ? -1 : strcmp(want->ifname, have->ifname);

		if (c > 0) {
			r = plan_removal(p, have);
		} else if (c < 0 || have->owner == AGENT_OWNER_NONE) {
			r = plan_create(p, want);
		} else {
			r = plan_existing(p, want, have);
		}
		i += c <= 0;
		j += c >= 0;
	}
	return r;
}

static int plan_rules(struct agent_plan *p, const struct agent_state *d,
		      const struct agent_state *o)
{
	size_t i = 0, j = 0;

	while (i < d->n_rules || j < o->n_rules) {
		int c = i == d->n_rules   ? 1
			: j == o->n_rules ? -1
					  : agent_rule_cmp(&d->rules[i], &o->rules[j]);
		struct agent_op *op;

		if (c == 0) {
			i++, j++;
			continue;
		}
		op = plan_add(p, c < 0 ? AGENT_OP_RULE_ADD : AGENT_OP_RULE_DEL, NULL, NULL);
		if (!op)
			return -ENOMEM;
		op->rule = c < 0 ? &d->rules[i++] : &o->rules[j++];
	}
	return 0;
}

static int add_sysctl(struct agent_plan *p, const struct agent_sysctl *want, const char *was)
{
	struct agent_op *op = plan_add(p, AGENT_OP_SYSCTL, NULL, NULL);

	if (!op)
		return -ENOMEM;
	op->sysctl = want;
	op->was = was;
	return 0;
}

/* The observed list has the same keys as the desired one; a value that could not be read is "".
 * Nothing is undone when a key is no longer wanted: others may rely on it by then. */
static int plan_sysctls(struct agent_plan *p, const struct agent_state *d,
			const struct agent_state *o)
{
	for (size_t i = 0; i < d->n_sysctls; i++) {
		const char *was = NULL;

		for (size_t j = 0; j < o->n_sysctls; j++)
			if (str_eq(o->sysctls[j].key, d->sysctls[i].key))
				was = o->sysctls[j].value;
		if (was && str_eq(was, d->sysctls[i].value))
			continue;
		if (add_sysctl(p, &d->sysctls[i], was) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < o->n_strict; i++)
		if (add_sysctl(p, &o->strict[i], "1") < 0)
			return -ENOMEM;
	return 0;
}

static int plan_nft(struct agent_plan *p, const struct agent_state *d, const struct agent_state *o)
{
	bool same = d->n_nft == o->n_nft && !o->nft_drifted;

	if (o->nft_unknown)
		return 0;
	for (size_t i = 0; same && i < d->n_nft; i++) {
		const struct agent_nft *a = &d->nft[i], *b = &o->nft[i];

		same = str_eq(a->ifname, b->ifname) && a->masquerade == b->masquerade &&
		       a->mss_clamp == b->mss_clamp && a->forward == b->forward &&
		       a->fwmark == b->fwmark && a->n_closed == b->n_closed;
	}
	if (same)
		return 0;
	struct agent_op *op = plan_add(p, AGENT_OP_NFT, NULL, NULL);
	if (!op)
		return -ENOMEM;
	op->nft = d->nft;
	op->n_nft = d->n_nft;
	return 0;
}

static int cmp_op(const void *a, const void *b)
{
	const struct agent_op *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

int agent_plan(const struct agent_state *desired, const struct agent_state *observed,
	       struct agent_plan *ret)
{
	_cleanup_agent_plan_ struct agent_plan p = {0};

	if (plan_sysctls(&p, desired, observed) < 0 || plan_nft(&p, desired, observed) < 0 ||
	    plan_tunnels(&p, desired, observed) < 0 || plan_rules(&p, desired, observed) < 0)
		return -ENOMEM;
	if (p.n)
		qsort(p.ops, p.n, sizeof(*p.ops), cmp_op);
	*ret = p;
	p = (struct agent_plan){0};
	return 0;
}

void agent_plan_clear(struct agent_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->ops[i].added);
	free(p->ops);
	*p = (struct agent_plan){0};
}
