/*
 * Shared by plan.c (links, addresses, routes, rules) and plan_peers.c.
 */
#ifndef AGENT_PLAN_PRIV_H
#define AGENT_PLAN_PRIV_H

#include "agent/plan.h"

/* Appends an operation, zeroed but for the three; NULL when memory has run out. */
struct agent_op *plan_add(struct agent_plan *p, enum agent_op_kind kind,
			  const struct agent_tunnel *want, const struct agent_tunnel *have);

/* The operations on the peers of one device. `have` may be NULL: a new device. `want` may be
 * NULL: every peer goes. 0 or -ENOMEM. */
int plan_peers(struct agent_plan *p, const struct agent_tunnel *want,
	       const struct agent_tunnel *have);

#endif
