/*
 * Theory of operation. One pass of dumps (links, then per link the device and its addresses;
 * routes and rules of our protocol number; our table), never memory: what the last pass saw plays
 * no part. The dumps are not one snapshot of the machine. That does no harm: whatever changes
 * in between is another event, and leads to another pass.
 */
#include "agent/sys_priv.h"
#include "base/str.h"
#include "netlink/addr.h"
#include "netlink/route.h"
#include "netlink/rule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_blank(const struct agent_tunnel *t)
{
	return !t->wg.n_peers && !t->n_addrs && !t->n_pairs && !t->alias[0] &&
	       (!t->wg.private_key || key_is_zero(t->wg.private_key));
}

static int observe_addrs(struct agent_sys *s, struct agent_tunnel *t, struct err *e)
{
	_cleanup_free_ struct nl_addr *addrs = NULL;
	size_t n;
	int r = nl_addr_dump(s->route, t->ifindex, &addrs, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = addrs[i].peer.family == AF_UNSPEC
			    ? agent_tunnel_add_addr(t, addrs[i].prefix)
			    : agent_tunnel_add_pair(
				      t, (struct agent_pair){addrs[i].prefix, addrs[i].peer});
	return r;
}

static bool is_adopted(const struct nl_link *link)
{
	return strncmp(link->alias, AGENT_MARK_ADOPTED, sizeof(AGENT_MARK_ADOPTED) - 1) == 0;
}

/* The owner, and the device's state where it is one. */
static void observe_device(struct agent_sys *s, const struct nl_link *link, bool adopt,
			   struct agent_tunnel *t)
{
	struct device *dev;
	struct err e = {0};

	if (str_eq(link->alias, AGENT_MARK))
		t->owner = AGENT_OWNER_US;
	else if (is_adopted(link))
		t->owner = AGENT_OWNER_US, t->adopted = true;
	else
		t->owner = AGENT_OWNER_FOREIGN;

	if (!agent_is_tunnel_kind(link->kind) && t->owner == AGENT_OWNER_FOREIGN)
		return;

	int r = sys_handle_get(s, link, &dev, &e);
	if (r == 0)
		r = device_get(dev, &t->wg, &e);
	if (r == 0) {
		if (t->owner == AGENT_OWNER_FOREIGN && is_blank(t))
			t->owner = AGENT_OWNER_BLANK;
		return;
	}
	sys_handle_drop(s, link->name);
	/* Somebody else's TUN that is no WireGuard device: a conflict, not a problem. */
	if (t->owner == AGENT_OWNER_FOREIGN && !adopt)
		return;
	t->unknown = true;
	snprintf(t->problem, sizeof(t->problem), "%.250s", e.msg);
}

static int observe_link(struct agent_sys *s, const struct nl_link *link,
			const struct agent_tunnel *want, struct agent_state *ret, struct err *e)
{
	struct agent_tunnel *t = agent_state_add_tunnel(ret, link->name);

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->ifindex = link->index;
	t->up = link->up;
	t->mtu = link->mtu;
	snprintf(t->link_kind, sizeof(t->link_kind), "%s", link->kind);
	snprintf(t->alias, sizeof(t->alias), "%s", link->alias);
	int r = observe_addrs(s, t, e);
	if (r == 0)
		observe_device(s, link, want && want->adopt, t);
	return r;
}

static int observe_links(struct agent_sys *s, const struct agent_state *desired,
			 struct agent_state *ret, struct err *e)
{
	_cleanup_free_ struct nl_link *links = NULL;
	size_t n;
	int r = nl_link_dump(s->route, &links, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct agent_tunnel *want = agent_state_find(desired, links[i].name);

		if (want || str_eq(links[i].alias, AGENT_MARK) || is_adopted(&links[i]))
			r = observe_link(s, &links[i], want, ret, e);
	}
	return r;
}

static int observe_routes(struct agent_sys *s, struct agent_state *ret, struct err *e)
{
	_cleanup_free_ struct nl_route *routes = NULL;
	size_t n;
	int r = nl_route_dump(s->route, &(struct nl_route_filter){.protocol = NL_PROTO_HARMONY},
			      &routes, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		for (size_t j = 0; j < ret->n_tunnels; j++) {
			struct agent_tunnel *t = &ret->tunnels[j];

			if (t->ifindex == routes[i].ifindex)
				r = agent_tunnel_add_route(
					t, (struct agent_route){routes[i].dst, routes[i].table,
								routes[i].metric});
		}
	}
	return r;
}

static int observe_rules(struct agent_sys *s, struct agent_state *ret, struct err *e)
{
	_cleanup_free_ struct nl_rule *rules = NULL;
	size_t n;
	int r = nl_rule_dump(s->route, NL_PROTO_HARMONY, &rules, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = agent_state_add_rule(
			ret, (struct agent_rule){.family = rules[i].family,
						 .priority = rules[i].priority,
						 .fwmark = rules[i].fwmark,
						 .invert = rules[i].invert,
						 .table = rules[i].table,
						 .suppress_prefixlen = rules[i].suppress_prefixlen,
						 .dst = rules[i].dst});
	return r;
}

int agent_observe(struct agent_sys *s, const struct agent_state *desired, struct agent_state *ret,
		  struct err *e)
{
	_cleanup_agent_state_ struct agent_state o;

	agent_state_init(&o);
	int r = observe_links(s, desired, &o, e);
	if (r == 0)
		r = observe_routes(s, &o, e);
	if (r == 0)
		r = observe_rules(s, &o, e);
	if (r == 0)
		r = sys_observe_sysctls(s, desired, &o);
	if (r == 0)
		r = sys_observe_nft(s, desired, &o, e);
	if (r == 0)
		r = sys_observe_strict(s, desired, &o);
	if (r < 0)
		return r == -ENOMEM ? err_set(e, -ENOMEM, "out of memory") : r;
	agent_state_sort(&o);
	*ret = o;
	agent_state_init(&o);
	return 0;
}
