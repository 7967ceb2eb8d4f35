/*
 * The state of the machine as far as the agent manages it, in one shape for both sides of the
 * plan: as it should be (desired.h builds it from the configuration) and as it is (observe.h
 * reads it from the kernel and the devices). Plain data, sorted, so that the plan is a merge.
 */
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/mem.h"
#include "wgdev/wgdev.h"

/* A route through the tunnel's interface, on link. */
struct agent_route {
	struct ip_prefix dst;
	uint32_t table, metric;
};

/* A point-to-point address: its own side, with the length of the other's network, and the other. */
struct agent_pair {
	struct ip_prefix own;
	struct ip_addr peer;
};

/* A policy rule of ours: wg-quick's pair for a default route, and what stays outside of it. */
struct agent_rule {
	sa_family_t family;
	uint32_t priority;
	uint32_t fwmark; /* with mask 0xffffffff; 0: the rule does not look at the mark */
	bool invert;     /* "not fwmark …" */
	uint32_t table;
	int suppress_prefixlen; /* -1: none */
	struct ip_prefix dst;   /* "to …", masked; family 0: any */
};

struct agent_sysctl {
	char *key;   /* "net.ipv4.ip_forward"; owned */
	char *value; /* owned; as it should be, or as it is */
	bool first; /* of agent_state's `strict`: we have not set it before, so nobody undid that */
};

/* One peer of a desired tunnel, beside its entry in `wg.peers` (same index). */
struct agent_peer_policy {
	const char *name; /* borrowed from the configuration */
	bool required;
	uint32_t stale_after_secs;
	/* Set the endpoint though the device has another: the configured one has changed, or the
	 * peer is stale where it has roamed to. Else a roamed endpoint is left alone. */
	bool assert_endpoint;
	bool endpoint_new; /* see agent_desired_renewed */
};

enum agent_owner {
	AGENT_OWNER_NONE,    /* no such interface */
	AGENT_OWNER_US,      /* carries our mark */
	AGENT_OWNER_BLANK,   /* a WireGuard device without mark, key, peers or addresses: what a
			      * crash between creation and marking leaves */
	AGENT_OWNER_FOREIGN, /* anything else by that name */
};

/* Which backend is named for an interface. */
enum agent_made {
	AGENT_MADE_ANY, /* none: what is there and works is left */
	AGENT_MADE_KERNEL,
	AGENT_MADE_USERSPACE,
};

struct agent_tunnel {
	char ifname[IFNAMSIZ];
	const char *network; /* borrowed from the configuration; NULL in an observed state */
	bool up;
	uint32_t mtu;
	struct wgdev wg;

	struct ip_prefix *addrs; /* host bits kept; sorted */
	size_t n_addrs, cap_addrs;
	struct agent_route *routes; /* sorted; observed: those with our protocol number */
	size_t n_routes, cap_routes;

	/* desired only */
	struct agent_peer_policy *policy; /* as many as wg.peers; owned */
	bool mtu_new, any_new;            /* see agent_desired_renewed; any: this, or a policy's */
	bool masquerade, mss_clamp, forward;
	/* The reverse path check: `loose`, the tunnel's own may not be strict, since rules of
	 * others lead to its routes; `marked`, nor may that of the links to its endpoints, where no
	 * table marks what comes from there. */
	bool loose, marked;
	struct ip_prefix *closed; /* of a guarded network: what is reached by the tunnel only,
				   * each once */
	size_t n_closed, cap_closed;
	bool adopt; /* backend = "uapi": somebody else made the interface, and it is meant */
	enum agent_made made; /* why it cannot be made so is its `problem`: agent_backend_settle */

	/* observed only */
	struct agent_pair *pairs; /* which nobody wants */
	size_t n_pairs, cap_pairs;
	enum agent_owner owner;
	bool adopted;      /* ours by adoption: the mark says so */
	bool unknown;      /* the device does not answer: the plan leaves the tunnel alone */
	char problem[256]; /* in the desired state: see `made` */
	unsigned ifindex;
	char link_kind[16]; /* "wireguard", "tun", … */
	char alias[256];    /* IFALIASZ */
};

/* The tunnel's line in the nftables table. */
struct agent_nft {
	char ifname[IFNAMSIZ];
	bool masquerade, mss_clamp, forward;
	uint32_t fwmark; /* the peer's answers get it, for a default route; 0: they do not */
	const struct ip_prefix *addrs; /* the tunnel's, guarded with a default route; borrowed */
	size_t n_addrs;
	/* The guard: what is reached by the tunnel only, and what is spared of it; borrowed. */
	const struct ip_prefix *closed, *spared;
	size_t n_closed, n_spared;
	uint32_t own_mark; /* the guard's: the device's own packets have it */
};

struct agent_state {
	struct agent_tunnel *tunnels; /* sorted by ifname */
	size_t n_tunnels, cap_tunnels;
	struct agent_rule *rules; /* sorted by agent_rule_cmp; observed: those with our protocol */
	size_t n_rules, cap_rules;
	struct agent_sysctl *sysctls; /* sorted by key; observed: the same keys as desired */
	size_t n_sysctls, cap_sysctls;
	struct agent_nft *nft; /* sorted by ifname; empty: no table */
	size_t n_nft, cap_nft;
	/* observed only: settings of interfaces that are strict and may not be; the value is as it
	 * should be */
	struct agent_sysctl *strict;
	size_t n_strict, cap_strict;
	/* observed only: the table is there but not as `nft` says (changed by somebody), or could
	 * not be read (nft_unknown: the plan leaves it alone) */
	bool nft_drifted, nft_unknown;
};

void agent_state_init(struct agent_state *s);
void agent_state_clear(struct agent_state *s);
#define _cleanup_agent_state_ _cleanup_(agent_state_clear)

/* Appenders: NULL or -ENOMEM when memory has run out. A new tunnel is zeroed but for its name
 * and stays at its address only until the next append. */
struct agent_tunnel *agent_state_add_tunnel(struct agent_state *s, const char *ifname);
int agent_tunnel_add_addr(struct agent_tunnel *t, struct ip_prefix addr);
int agent_tunnel_add_pair(struct agent_tunnel *t, struct agent_pair pair);
int agent_tunnel_add_route(struct agent_tunnel *t, struct agent_route route);
int agent_tunnel_add_closed(struct agent_tunnel *t, struct ip_prefix net);
int agent_state_add_rule(struct agent_state *s, struct agent_rule rule);
int agent_state_add_sysctl(struct agent_state *s, const char *key, const char *value);
/* Once each. */
int agent_state_add_strict(struct agent_state *s, const char *key, const char *value, bool first);
int agent_state_add_nft(struct agent_state *s, const struct agent_nft *n);

/* Sorts all lists and drops repeated addresses, routes and rules. The device parts are sorted by
 * wgdev_sort before, since policy[] follows their order. */
void agent_state_sort(struct agent_state *s);
struct agent_tunnel *agent_state_find(const struct agent_state *s, const char *ifname);

/* Whether a link of that kind may be a WireGuard device: the kernel's, or a program's TUN. */
bool agent_is_tunnel_kind(const char *link_kind);

/* Whether our interface is there by another backend than the one that is named for it. */
bool agent_made_differs(const struct agent_tunnel *want, const struct agent_tunnel *have);

/* Whether the device has another private key than it should (h NULL: a new device). Public keys
 * are compared: not every device tells its private one. */
bool agent_key_differs(const struct wgdev *want, const struct wgdev *have);

int agent_route_cmp(const struct agent_route *a, const struct agent_route *b);
int agent_rule_cmp(const struct agent_rule *a, const struct agent_rule *b);

#endif
