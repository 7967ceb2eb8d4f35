/*
 * The plan: what has to be done so that the machine becomes what it should be. A pure function
 * of the two states; no I/O, no clock. The same list is carried out by apply.h, printed by
 * `harmony-agent plan`, and logged line by line as the audit of what was changed.
 */
#ifndef AGENT_PLAN_H
#define AGENT_PLAN_H

#include "agent/state.h"
#include "base/buf.h"
#include "base/err.h"

/* In the order in which they stand in a plan. */
enum agent_op_kind {
	/* The interface's name is taken (nothing is done there), or it cannot be made by the
	 * backend that is named (the one that is there is kept up): an error is shown. */
	AGENT_OP_CONFLICT,
	AGENT_OP_SYSCTL,
	AGENT_OP_NFT, /* the whole table, in one transaction */
	AGENT_OP_RULE_DEL,
	AGENT_OP_ROUTE_DEL,
	AGENT_OP_LINK_DELETE, /* with `want`: to be made again by another backend */
	AGENT_OP_LINK_CREATE,
	AGENT_OP_LINK_ADOPT, /* our mark is put on what is there already */
	AGENT_OP_LINK_MTU,
	AGENT_OP_DEVICE_SET, /* private key, listen port, fwmark: those that differ */
	AGENT_OP_PEER_ADD,
	AGENT_OP_PEER_CHANGE,
	AGENT_OP_PEER_SHRINK, /* allowed IPs replaced by fewer */
	AGENT_OP_PEER_REMOVE,
	AGENT_OP_ADDR_ADD, /* before DEL: the kernel flushes the routes of a link without address */
	AGENT_OP_ADDR_DEL,
	AGENT_OP_LINK_UP,
	AGENT_OP_ROUTE_ADD,
	AGENT_OP_RULE_ADD,
	AGENT_OP_LINK_RELEASE, /* adopted and no longer wanted: our mark is taken off again */
	AGENT_OP_KINDS
};

/* Points into the desired and the observed state, which outlive it. */
struct agent_op {
	enum agent_op_kind kind;
	const struct agent_tunnel *want, *have; /* NULL: not in that state */
	/* Peers: the peer's two sides and its name. */
	const struct wgdev_peer *peer, *peer_was;
	const char *peer_name;
	bool set_endpoint, set_preshared;
	/* What else the kind is about. */
	union {
		const struct ip_prefix *addr;
		const struct agent_route *route;
		const struct agent_rule *rule;
		const struct agent_sysctl *sysctl; /* what it should be; `was` beside it */
		struct {
			const struct agent_nft *nft;
			size_t n_nft;
		};
	};
	const struct ip_addr *addr_peer; /* ADDR_DEL: the other end's; NULL: it has none */
	const char *was; /* sysctl: the value found, NULL when it could not be read */
	/* PEER_ADD and PEER_CHANGE: the allowed IPs to add. Owned. */
	struct ip_prefix *added;
	size_t n_added, cap_added;
	size_t n_removed; /* PEER_SHRINK: how many the peer loses, for the text */
	size_t seq;       /* place among its kind, so that the sort is stable */
};

struct agent_plan {
	struct agent_op *ops;
	size_t n, cap;
};

/* 0 or -ENOMEM. The list is deterministic and minimal: equal states give an empty plan, a peer
 * that is as it should be appears in no operation. Order:
 *  - what takes the machine back (rules, routes, links that go) before what is added;
 *  - a new link is marked, configured and given its addresses before it goes up, and its routes
 *    follow that;
 *  - an allowed IP that moves from one peer to another is added to the new one first, which
 *    takes it from the old one in the same message; lists shrink after that. */
int agent_plan(const struct agent_state *desired, const struct agent_state *observed,
	       struct agent_plan *ret);
void agent_plan_clear(struct agent_plan *p);
#define _cleanup_agent_plan_ _cleanup_(agent_plan_clear)

const char *agent_op_name(enum agent_op_kind kind);     /* "peer_add": for metrics and JSON */
const char *agent_op_ifname(const struct agent_op *op); /* NULL where it concerns none */
/* Whether all that it changes has become another by itself in the desired state, is an endpoint
 * that is asserted, or a setting of an interface that was not looked at before: then nobody else
 * has done anything. */
bool agent_op_is_own(const struct agent_op *op);
/* One line, without key material: "wg0: peer core: endpoint 1.2.3.4:51820 -> 1.2.3.5:51820". */
void agent_op_text(const struct agent_op *op, struct buf *out);
/* The operation as the device understands it (peer kinds only); borrows from op. */
void agent_op_peer_change(const struct agent_op *op, struct wgdev_peer_change *ret);

#endif
