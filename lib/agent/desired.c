/*
 * Theory of operation.
 *
 * Routes: every allowed IP gets a route through the interface, except one that is the on-link
 * prefix of the interface's own address, which the kernel has added already. A default route
 * (prefix length 0) with table = "auto" is wg-quick's construction: it stands in a table of its
 * own, to which all packets go that do not carry the device's mark, after the main table has
 * been asked for everything but its default route. So the tunnel's own packets, and whatever has
 * a more specific route, stay outside of the tunnel:
 *
 *     32764: from all lookup main suppress_prefixlength 0
 *     32765: not from all fwmark 0xca6c lookup 51820
 *
 * The answers of the peer carry no mark, and a strict reverse path check would look for their
 * sender in the tunnel: the nftables table gives them the mark of what they answer. Where there is
 * no such table (--no-nft, a kernel without nf_tables), the check of the links that lead to the
 * endpoints is made loose instead. It is also for a tunnel whose routes stand in a table of the
 * user's: what comes out of it is looked for in the tables that the user's rules lead unmarked
 * packets to.
 *
 * Guard: what the allowed IPs and the on-link prefixes of a guarded network cover leaves by its
 * tunnel or not at all. The rules are nft.h's; they stand before the interface does (plan.h), and
 * do not know whether it is there. The device's own packets are told by their mark, since an
 * endpoint may lie within the allowed IPs: so a guarded network always has one.
 *
 * MTU: the smallest path MTU towards any endpoint, less 80 bytes (an outer IPv6 header, UDP,
 * and the data message; 20 less would do over IPv4, but a peer may roam to IPv6), at least 1280.
 * Nothing known: 1420.
 */
#include "agent/desired.h"
#include "base/secret.h"
#include "netlink/nft.h"
#include "netlink/sysctl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define TUNNEL_OVERHEAD 80u
#define MTU_MIN         1280u
#define MTU_DEFAULT     1420u

static bool has_default(const struct config_network *n, sa_family_t family)
{
	for (size_t i = 0; i < n->n_peers; i++)
		for (size_t j = 0; j < n->peers[i].n_allowed; j++)
			if (n->peers[i].allowed[j].len == 0 &&
			    (family == AF_UNSPEC || n->peers[i].allowed[j].addr.family == family))
				return true;
	return false;
}

/* Whether the network's default route goes the way of the two rules. */
static bool uses_rules(const struct config_network *n)
{
	return n->table == CONFIG_TABLE_AUTO && has_default(n, AF_UNSPEC);
}

/* Whether IPv4 routes stand where only rules lead that somebody else has made. */
static bool leads_elsewhere(const struct config_network *n)
{
	if (n->table == CONFIG_TABLE_AUTO || n->table == CONFIG_TABLE_OFF ||
	    n->table == RT_TABLE_MAIN || n->table == RT_TABLE_DEFAULT)
		return false;
	for (size_t i = 0; i < n->n_peers; i++)
		for (size_t j = 0; j < n->peers[i].n_allowed; j++)
			if (n->peers[i].allowed[j].addr.family == AF_INET)
				return true;
	return false;
}

static bool is_guarded(const struct config_network *n, const struct agent_desired_env *env)
{
	return n->guard || env->guard;
}

/* Of the default route's rules. */
static uint32_t table_mark(const struct config_network *n)
{
	return n->fwmark ? n->fwmark : uses_rules(n) ? CONFIG_DEFAULT_TABLE : 0;
}

/* Of the device's own packets. */
static uint32_t mark_of(const struct config_network *n, const struct agent_desired_env *env)
{
	uint32_t mark = table_mark(n);

	return mark || !is_guarded(n, env) ? mark : AGENT_GUARD_MARK;
}

static bool is_on_link(const struct config_network *n, const struct ip_prefix *dst)
{
	for (size_t i = 0; i < n->n_addresses; i++) {
		struct ip_prefix link = ip_prefix_mask(n->addresses[i]);

		if (ip_prefix_cmp(&link, dst) == 0)
			return true;
	}
	return false;
}

static int add_routes(struct agent_tunnel *t, const struct config_network *n,
		      const struct config_peer *p)
{
	for (size_t i = 0; i < p->n_allowed; i++) {
		const struct ip_prefix *dst = &p->allowed[i];
		struct agent_route route = {*dst, config_route_table(n, dst),
					    config_route_metric(n, dst)};

		if (route.table == RT_TABLE_MAIN && is_on_link(n, dst))
			continue;
		if (agent_tunnel_add_route(t, route) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_sysctl_once(struct agent_state *s, const char *key)
{
	for (size_t i = 0; i < s->n_sysctls; i++)
		if (strcmp(s->sysctls[i].key, key) == 0)
			return 0;
	return agent_state_add_sysctl(s, key, "1");
}

/* What a default route does not take. */
static int add_exceptions(struct agent_state *s, const struct config_network *n, sa_family_t family)
{
	for (size_t i = 0; i < n->n_guard_except; i++) {
		struct agent_rule except = {.family = family,
					    .priority = AGENT_RULE_EXCEPT,
					    .table = RT_TABLE_MAIN,
					    .suppress_prefixlen = -1,
					    .dst = n->guard_except[i]};

		if (except.dst.addr.family != family)
			continue;
		if (except.dst.len == 0) /* as the kernel tells it */
			except.dst = (struct ip_prefix){0};
		if (agent_state_add_rule(s, except) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_rules(struct agent_state *s, const struct config_network *n)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6};

	for (unsigned i = 0; uses_rules(n) && i < ARRAY_LEN(families); i++) {
		struct agent_rule suppress = {.family = families[i],
					      .priority = AGENT_RULE_SUPPRESS,
					      .table = RT_TABLE_MAIN,
					      .suppress_prefixlen = 0};
		struct agent_rule tunnel = {.family = families[i],
					    .priority = AGENT_RULE_TUNNEL,
					    .fwmark = table_mark(n),
					    .invert = true,
					    .table = table_mark(n),
					    .suppress_prefixlen = -1};

		if (!has_default(n, families[i]))
			continue;
		if (add_exceptions(s, n, families[i]) < 0 ||
		    agent_state_add_rule(s, suppress) < 0 || agent_state_add_rule(s, tunnel) < 0)
			return -ENOMEM;
		/* Replies to marked packets must pass a strict reverse path check. */
		if (families[i] == AF_INET && add_sysctl_once(s, SYSCTL_SRC_VALID_MARK) < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool has_family(const struct config_network *n, sa_family_t family)
{
	for (size_t i = 0; i < n->n_addresses; i++)
		if (n->addresses[i].addr.family == family)
			return true;
	return false;
}

static int add_closed(struct agent_tunnel *t, const struct config_network *n)
{
	for (size_t i = 0; i < n->n_peers; i++)
		for (size_t j = 0; j < n->peers[i].n_allowed; j++)
			if (agent_tunnel_add_closed(t, n->peers[i].allowed[j]) < 0)
				return -ENOMEM;
	for (size_t i = 0; i < n->n_addresses; i++)
		if (agent_tunnel_add_closed(t, ip_prefix_mask(n->addresses[i])) < 0)
			return -ENOMEM;
	return 0;
}

/* What lets other machines' or pods' packets pass through this one, and what keeps packets in. */
static int add_nft(struct agent_state *s, const struct agent_tunnel *t,
		   const struct config_network *n, const struct agent_desired_env *env)
{
	struct agent_nft nft = {.masquerade = n->masquerade,
				.mss_clamp = n->mss_clamp,
				.forward = n->forward,
				.fwmark = uses_rules(n) ? table_mark(n) : 0};

	if (n->masquerade || n->forward) {
		if (has_family(n, AF_INET) && add_sysctl_once(s, SYSCTL_IPV4_FORWARD) < 0)
			return -ENOMEM;
		if (has_family(n, AF_INET6) && add_sysctl_once(s, SYSCTL_IPV6_FORWARD) < 0)
			return -ENOMEM;
	}
	if (is_guarded(n, env)) {
		nft.closed = t->closed, nft.n_closed = t->n_closed;
		nft.spared = n->guard_except, nft.n_spared = n->n_guard_except;
		nft.own_mark = t->wg.fwmark;
	}
	if (!env->nft ||
	    !(nft.masquerade || nft.mss_clamp || nft.forward || nft.fwmark || nft.n_closed))
		return 0;
	if (nft.fwmark) /* the list itself stays where it is when the states are sorted */
		nft.addrs = t->addrs, nft.n_addrs = t->n_addrs;
	memcpy(nft.ifname, n->interface, sizeof(nft.ifname));
	return agent_state_add_nft(s, &nft);
}

static int add_peers(struct agent_tunnel *t, const struct agent_wanted_network *wn,
		     const struct agent_desired_env *env)
{
	const struct config_network *n = wn->conf;

	t->policy = calloc(n->n_peers ? n->n_peers : 1, sizeof(*t->policy));
	if (!t->policy ||
	    mem_reserve(&t->wg.peers, n->n_peers, &t->wg.cap_peers, sizeof(*t->wg.peers)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n->n_peers; i++) {
		const struct config_peer *c = &n->peers[i];
		struct agent_peer_policy *policy = &t->policy[i];
		struct wgdev_peer *p = wgdev_add_peer(&t->wg, &c->public_key);

		if (!p)
			return -ENOMEM;
		p->keepalive = c->keepalive;
		if (wn->keys.preshared[i] &&
		    !(p->preshared_key = secret_copy(wn->keys.preshared[i])))
			return -ENOMEM;
		for (size_t j = 0; j < c->n_allowed; j++)
			if (wgdev_peer_add_allowed(p, c->allowed[j]) < 0)
				return -ENOMEM;
		policy->name = c->name;
		policy->required = config_peer_required(c);
		policy->stale_after_secs =
			c->stale_after_secs ? c->stale_after_secs : n->stale_after_secs;
		if (c->endpoint.set &&
		    !env->endpoint(env->arg, n, c, &p->endpoint, &policy->assert_endpoint))
			p->endpoint = (struct ip_endpoint){0};
		if (n->table != CONFIG_TABLE_OFF && add_routes(t, n, c) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint32_t tunnel_mtu(const struct config_network *n, const struct wgdev *dev,
			   const struct agent_desired_env *env)
{
	uint32_t path_mtu;

	if (n->mtu)
		return n->mtu;
	path_mtu = env->path_mtu ? env->path_mtu(env->arg, dev) : 0;
	if (!path_mtu)
		return MTU_DEFAULT;
	return path_mtu >= MTU_MIN + TUNNEL_OVERHEAD ? path_mtu - TUNNEL_OVERHEAD : MTU_MIN;
}

static int add_tunnel(struct agent_state *s, const struct agent_wanted_network *wn,
		      const struct agent_desired_env *env)
{
	const struct config_network *n = wn->conf;
	struct agent_tunnel *t = agent_state_add_tunnel(s, n->interface);

	if (!t)
		return -ENOMEM;
	t->network = n->name;
	t->up = true;
	t->masquerade = n->masquerade;
	t->mss_clamp = n->mss_clamp;
	t->forward = n->forward;
	t->adopt = n->backend == CONFIG_BACKEND_UAPI;
	t->made = n->backend == CONFIG_BACKEND_KERNEL      ? AGENT_MADE_KERNEL
		  : n->backend == CONFIG_BACKEND_USERSPACE ? AGENT_MADE_USERSPACE
							   : AGENT_MADE_ANY;
	t->wg.listen_port = n->listen_port;
	t->wg.fwmark = mark_of(n, env);
	t->wg.public_key = wn->public_key;
	if (wn->keys.private_key && !(t->wg.private_key = secret_copy(wn->keys.private_key)))
		return -ENOMEM;
	t->loose = leads_elsewhere(n);
	t->marked = uses_rules(n) && has_default(n, AF_INET);
	/* The configuration's peers and allowed IPs are sorted as a device's are, so policy[]
	 * follows wg.peers without another sort. */
	if (add_peers(t, wn, env) < 0)
		return -ENOMEM;
	t->mtu = tunnel_mtu(n, &t->wg, env);
	for (size_t i = 0; i < n->n_addresses; i++)
		if (agent_tunnel_add_addr(t, n->addresses[i]) < 0)
			return -ENOMEM;
	if (add_rules(s, n) < 0)
		return -ENOMEM;
	if (is_guarded(n, env) && add_closed(t, n) < 0)
		return -ENOMEM;
	return add_nft(s, t, n, env);
}

/* More than the table can hold, or none that may be touched. */
static int check_guards(const struct config *c, const struct agent_desired_env *env,
			struct config_diags *diags)
{
	size_t count = 0, before = 0;
	int r = 0;

	for (size_t i = 0; i < c->n_networks && r == 0; i++, before = count) {
		const struct config_network *n = &c->networks[i];

		if (!n->enabled || !is_guarded(n, env))
			continue;
		if (!env->nft) {
			r = config_diag_network(
				diags, n, "found a guard, which --no-nft leaves no place for");
			continue;
		}
		count += n->n_addresses + n->n_guard_except;
		for (size_t j = 0; j < n->n_peers; j++)
			count += n->peers[j].n_allowed;
		if (count > NFT_CLOSED_MAX && before <= NFT_CLOSED_MAX)
			r = config_diag_network(diags, n,
						"found a guard of %zu prefixes with those before "
						"it (allowed_ips, addresses, guard_except), "
						"accepted: %d at most",
						count, NFT_CLOSED_MAX);
	}
	return r;
}

/* What both have is a route that config_read refuses twice already; of a network with an error it
 * is not known what it wants. */
static bool is_told(const struct config_network *m, const struct config_network *n)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6};

	for (unsigned i = 0; i < ARRAY_LEN(families); i++)
		if (m->metric == n->metric && has_default(m, families[i]) &&
		    has_default(n, families[i]))
			return true;
	return m->flawed || n->flawed;
}

/* Each default route needs a table and a mark of its own. */
static int check_marks(const struct config *c, struct config_diags *diags)
{
	int r = 0;

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		for (size_t j = 0; n->enabled && uses_rules(n) && j < i && r == 0; j++) {
			const struct config_network *m = &c->networks[j];

			if (m->enabled && uses_rules(m) && table_mark(m) == table_mark(n) &&
			    !is_told(m, n))
				r = config_diag_network(
					diags, n,
					"found the default route with the mark and table %u, "
					"which network.%s takes too, accepted: a fwmark of its own",
					table_mark(n), m->name);
		}
	}
	return r;
}

int agent_desired_check(const struct config *c, const struct agent_desired_env *env,
			struct config_diags *diags)
{
	int r = check_guards(c, env, diags);

	if (r == 0)
		r = check_marks(c, diags);
	config_diags_sort(diags);
	return r;
}

int agent_desired(const struct agent_wanted *w, const struct agent_desired_env *env,
		  struct agent_state *ret, struct err *e)
{
	_cleanup_agent_state_ struct agent_state s;

	agent_state_init(&s);
	for (size_t i = 0; i < w->config->n_networks; i++) {
		const struct config_network *n = &w->config->networks[i];

		if (!n->enabled)
			continue;
		if (add_tunnel(&s, &w->networks[i], env) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	}
	agent_state_sort(&s);
	*ret = s;
	agent_state_init(&s);
	return 0;
}

static void peers_renewed(struct agent_tunnel *t, const struct agent_tunnel *former)
{
	for (size_t i = 0, j = 0; i < t->wg.n_peers; i++) {
		const struct wgdev_peer *p = &t->wg.peers[i], *was;

		while (j < former->wg.n_peers &&
		       key_cmp(&former->wg.peers[j].public_key, &p->public_key) < 0)
			j++;
		if (j == former->wg.n_peers)
			return;
		was = &former->wg.peers[j];
		if (!key_eq(&was->public_key, &p->public_key))
			continue;
		t->policy[i].endpoint_new = former->policy[j].endpoint_new ||
					    ip_endpoint_cmp(&was->endpoint, &p->endpoint) != 0;
		t->any_new |= t->policy[i].endpoint_new;
	}
}

void agent_desired_renewed(struct agent_state *now, const struct agent_state *former)
{
	for (size_t i = 0; i < now->n_tunnels; i++) {
		struct agent_tunnel *t = &now->tunnels[i];
		const struct agent_tunnel *f = agent_state_find(former, t->ifname);

		if (!f)
			continue;
		t->mtu_new = f->mtu_new || f->mtu != t->mtu;
		t->any_new = t->mtu_new;
		peers_renewed(t, f);
	}
}

void agent_desired_settled(struct agent_tunnel *t)
{
	if (!t->any_new)
		return;
	t->any_new = t->mtu_new = false;
	for (size_t i = 0; i < t->wg.n_peers; i++)
		t->policy[i].endpoint_new = false;
}

int agent_desired_part(const struct agent_wanted_network *wn, const struct config_peer *peers,
		       size_t n_peers, const struct agent_desired_env *env, struct agent_state *ret)
{
	_cleanup_free_ struct key **none = calloc(n_peers + 1, sizeof(*none));
	struct config_network n = *wn->conf;
	struct agent_wanted_network part = {.conf = &n, .public_key = wn->public_key};
	struct agent_desired_env no_table = *env;
	_cleanup_agent_state_ struct agent_state s;

	agent_state_init(&s);
	n.peers = (struct config_peer *)peers;
	n.n_peers = n_peers;
	n.mtu = MTU_DEFAULT; /* no path is looked at */
	n.backend = CONFIG_BACKEND_AUTO;
	n.masquerade = n.forward = false;
	n.guard = no_table.guard = no_table.nft = false;
	part.keys.preshared = none;
	if (!none || add_tunnel(&s, &part, &no_table) < 0)
		return -ENOMEM;
	s.tunnels[0].network = wn->conf->name;
	s.tunnels[0].owner = AGENT_OWNER_US;
	agent_state_sort(&s);
	*ret = s;
	agent_state_init(&s);
	return 0;
}
