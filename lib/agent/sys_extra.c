/*
 * Observing and applying what is not an interface: sysctls and the nftables table.
 *
 * A sysctl that may not be written (a read-only /proc/sys in a container) is warned about once
 * and then taken as it is: only the administrator of the node can do something about it, and the
 * tunnel may work without. The same goes for a kernel without nf_tables where the table would hold
 * nothing but what nobody has asked for by name: the MSS clamp, which is on by default, and the
 * marks of a default route, which only a strict reverse path check needs; who asks for
 * masquerading or the guard gets an error.
 *
 * Whether an interface's reverse path check is strict where it may not be (desired.c says why) is
 * known here only: which links lead to the endpoints, whether the table is there to mark what comes
 * from them, and what the kernel applies to an interface. So the list of what to change is part of
 * what is observed. The tunnel's own setting comes with its interface, and is looked at when that
 * is there: by the look that follows its creation.
 */
#include "agent/sys_priv.h"
#include "base/str.h"
#include "log/log.h"
#include "netlink/nft.h"
#include "netlink/route.h"
#include "netlink/sysctl.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>

static struct sys_setting *find_setting(struct agent_sys *s, const char *key)
{
	for (size_t i = 0; i < s->n_settings; i++)
		if (str_eq(s->settings[i].key, key))
			return &s->settings[i];
	return NULL;
}

static bool is_refused(struct agent_sys *s, const char *key)
{
	const struct sys_setting *known = find_setting(s, key);

	return known && known->refused;
}

/* NULL when memory has run out: then it is asked again. */
static struct sys_setting *note_setting(struct agent_sys *s, const char *key)
{
	struct sys_setting *known = find_setting(s, key);

	if (known)
		return known;
	if (mem_grow(&s->settings, s->n_settings, &s->cap_settings, sizeof(*s->settings)) < 0)
		return NULL;
	known = &s->settings[s->n_settings];
	*known = (struct sys_setting){.refused = false};
	if (str_copy(known->key, sizeof(known->key), key) < 0)
		return NULL;
	s->n_settings++;
	return known;
}

static void refuse(struct agent_sys *s, const char *key, const char *why)
{
	struct sys_setting *known = note_setting(s, key);

	if (!known || known->refused)
		return;
	known->refused = true;
	log_warn("kernel setting left as it is", LOG_STR("warning", why));
}

/* Whether the kernel takes router advertisements there only while it does not forward. */
static bool ends_with_forwarding(struct agent_sys *s, unsigned ifindex, struct nl_link *ret)
{
	char key[SYSCTL_PATH_MAX];
	int64_t accept = 0;

	if (nl_link_get_index(s->route, ifindex, ret, NULL) < 0)
		return false;
	snprintf(key, sizeof(key), "net/ipv6/conf/%s/accept_ra", ret->name);
	return sysctl_read(SYSCTL_ROOT, key, &accept, NULL) == 0 && accept == 1;
}

/* With forwarding on, an interface with accept_ra = 1 is a router's, and the kernel removes the
 * default routes that it has learned there: a node may lose its way out. Whether that is meant only
 * its administrator knows, so it is said, once, before it happens. */
static void warn_of_forwarding(struct agent_sys *s)
{
	struct nl_route_filter learned = {.family = AF_INET6, .protocol = RTPROT_RA};
	_cleanup_buf_ struct buf names = BUF_INIT(256), advice = BUF_INIT(1024);
	_cleanup_free_ struct nl_route *routes = NULL;
	unsigned last = 0;
	size_t n = 0;

	if (s->ra_warned || nl_route_dump(s->route, &learned, &routes, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		struct nl_link link;

		if (routes[i].dst.len != 0 || routes[i].ifindex == last ||
		    !ends_with_forwarding(s, routes[i].ifindex, &link))
			continue;
		last = routes[i].ifindex;
		buf_addf(&advice, "%snet/ipv6/conf/%s/accept_ra=2", names.len ? " " : "sysctl -w ",
			 link.name);
		buf_addf(&names, "%s%s", names.len ? ", " : "", link.name);
	}
	if (!names.len)
		return;
	s->ra_warned = true;
	log_warn("IPv6 forwarding ends default routes that are learned from router advertisements",
		 LOG_STR("interfaces", buf_str(&names)), LOG_STR("keep_with", buf_str(&advice)));
}

int sys_observe_sysctls(struct agent_sys *s, const struct agent_state *desired,
			struct agent_state *ret)
{
	for (size_t i = 0; i < desired->n_sysctls; i++) {
		const struct agent_sysctl *want = &desired->sysctls[i];
		char value[24];
		int64_t now;

		if (is_refused(s, want->key)) {
			str_copy(value, sizeof(value), want->value);
		} else {
			if (sysctl_read(SYSCTL_ROOT, want->key, &now, NULL) < 0)
				continue; /* the attempt to set it says why */
			snprintf(value, sizeof(value), "%" PRId64, now);
			if (str_eq(want->key, SYSCTL_IPV6_FORWARD) && now == 0)
				warn_of_forwarding(s);
		}
		if (agent_state_add_sysctl(ret, want->key, value) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int observe_rp_filter(struct agent_sys *s, const char *ifname, struct agent_state *ret)
{
	char key[SYSCTL_PATH_MAX];
	bool strict = false;

	snprintf(key, sizeof(key), SYSCTL_RP_FILTER, ifname);
	/* What cannot be read is no interface any more. */
	if (sysctl_rp_filter_is_strict(SYSCTL_ROOT, ifname, &strict, NULL) < 0 || !strict ||
	    is_refused(s, key))
		return 0;
	return agent_state_add_strict(ret, key, "2", !find_setting(s, key));
}

/* The links by which a tunnel's IPv4 endpoints are reached. */
static int observe_uplinks(struct agent_sys *s, const struct agent_tunnel *want,
			   struct agent_state *ret)
{
	unsigned last = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < want->wg.n_peers; i++) {
		const struct ip_endpoint *e = &want->wg.peers[i].endpoint;
		unsigned ifindex =
			e->addr.family == AF_INET ? sys_path_link(s, e, want->wg.fwmark) : 0;
		struct nl_link link;

		if (ifindex && ifindex != last &&
		    nl_link_get_index(s->route, ifindex, &link, NULL) == 0)
			r = observe_rp_filter(s, link.name, ret);
		last = ifindex ? ifindex : last;
	}
	return r;
}

int sys_observe_strict(struct agent_sys *s, const struct agent_state *desired,
		       struct agent_state *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ret->n_tunnels; i++) {
		const struct agent_tunnel *have = &ret->tunnels[i];
		const struct agent_tunnel *want = agent_state_find(desired, have->ifname);

		if (want && want->loose && have->owner == AGENT_OWNER_US)
			r = observe_rp_filter(s, have->ifname, ret);
	}
	for (size_t i = 0; r == 0 && ret->nft_unknown && i < desired->n_tunnels; i++)
		if (desired->tunnels[i].marked)
			r = observe_uplinks(s, &desired->tunnels[i], ret);
	return r;
}

/* "eth0" of net/ipv4/conf/eth0/rp_filter; false: it is another setting. */
static bool is_rp_filter(const char *key, char ifname[static IFNAMSIZ])
{
	char again[SYSCTL_PATH_MAX];

	if (sscanf(key, "net/ipv4/conf/%15[^/]", ifname) != 1)
		return false;
	snprintf(again, sizeof(again), SYSCTL_RP_FILTER, ifname);
	return str_eq(again, key);
}

int sys_apply_sysctl(struct agent_sys *s, const struct agent_op *op, struct err *e)
{
	struct sysctl_result result;
	char ifname[IFNAMSIZ];
	uint64_t value = 0;

	str_to_u64(op->sysctl->value, strlen(op->sysctl->value), 0, INT64_MAX, &value);
	struct err why = {0};
	int r = is_rp_filter(op->sysctl->key, ifname)
			? sysctl_ensure_rp_filter(SYSCTL_ROOT, ifname, &result, &why)
			: sysctl_ensure(SYSCTL_ROOT, op->sysctl->key, (int64_t)value, &result,
					&why);

	if (r == -ENOMEM)
		return err_set(e, r, "out of memory");
	if (r < 0)
		refuse(s, op->sysctl->key, why.msg);
	else if (result.outcome == SYSCTL_REFUSED)
		refuse(s, op->sysctl->key, result.message);
	else
		note_setting(s, op->sysctl->key);
	return r < 0 || result.outcome == SYSCTL_REFUSED;
}

static size_t to_nft(const struct agent_nft *list, size_t n, struct nft_tunnel *ret)
{
	for (size_t i = 0; i < n; i++) {
		ret[i] = (struct nft_tunnel){.masquerade = list[i].masquerade,
					     .mss_clamp = list[i].mss_clamp,
					     .forward = list[i].forward,
					     .fwmark = list[i].fwmark,
					     .addrs = list[i].addrs,
					     .n_addrs = list[i].n_addrs,
					     .closed = list[i].closed,
					     .n_closed = list[i].n_closed,
					     .spared = list[i].spared,
					     .n_spared = list[i].n_spared,
					     .own_mark = list[i].own_mark};
		memcpy(ret[i].ifname, list[i].ifname, sizeof(ret[i].ifname));
	}
	return n;
}

static int nft_socket(struct agent_sys *s, struct err *e)
{
	return s->nft ? 0 : nl_open(NETLINK_NETFILTER, &s->nft, e);
}

static bool wants_more_than_clamp(const struct agent_state *desired)
{
	for (size_t i = 0; i < desired->n_nft; i++)
		if (desired->nft[i].masquerade || desired->nft[i].forward ||
		    desired->nft[i].n_closed)
			return true;
	return false;
}

int sys_observe_nft(struct agent_sys *s, const struct agent_state *desired, struct agent_state *ret,
		    struct err *e)
{
	_cleanup_nft_state_ struct nft_state state;
	_cleanup_free_ struct nft_tunnel *want = calloc(desired->n_nft + 1, sizeof(*want));
	struct err why = {0};

	nft_state_init(&state);
	if (!want)
		return -ENOMEM;
	if (s->no_nft) {
		ret->nft_unknown = true;
		return 0;
	}
	int r = nft_socket(s, &why);
	if (r == 0)
		r = nft_get(s->nft, &state, &why);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && !wants_more_than_clamp(desired)) {
		ret->nft_unknown = true;
		if (desired->n_nft && !s->nft_warned)
			log_warn("no MSS clamp", LOG_STR("warning", why.msg));
		s->nft_warned = true;
		return 0;
	}
	if (r < 0) {
		ret->nft_drifted = true; /* the attempt to set it says why */
		return 0;
	}
	r = nft_compare(&state, want, to_nft(desired->nft, desired->n_nft, want), NULL, e);
	if (r < 0)
		return r;
	/* Alike: the same list stands for it. Different: in what way is not the plan's matter. */
	ret->nft_drifted = r == 1;
	for (size_t i = 0; r == 0 && i < desired->n_nft; i++)
		if (agent_state_add_nft(ret, &desired->nft[i]) < 0)
			return -ENOMEM;
	return 0;
}

int sys_apply_nft(struct agent_sys *s, const struct agent_op *op, struct err *e)
{
	_cleanup_free_ struct nft_tunnel *want = calloc(op->n_nft + 1, sizeof(*want));
	int r;

	if (!want)
		return err_set(e, -ENOMEM, "out of memory");
	if ((r = nft_socket(s, e)) < 0)
		return r;
	if (op->n_nft == 0)
		return nft_table_delete(s->nft, e);
	return nft_apply(s->nft, want, to_nft(op->nft, op->n_nft, want), e);
}
