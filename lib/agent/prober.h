/*
 * Questions to peers that are silent: a datagram to UDP port 9 (discard, RFC 863) of an address
 * behind the peer, through the tunnel's interface whatever the routes say. Nobody has to listen
 * there: WireGuard at the other end answers any packet with data by an empty one (whitepaper
 * section 6.5), and what its machine says on top (a port that is unreachable) is an answer too.
 * Needs no right.
 */
#ifndef AGENT_PROBER_H
#define AGENT_PROBER_H

#include <stdbool.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/mem.h"

struct agent_prober;

struct agent_prober *agent_prober_new(void); /* NULL when memory has run out */
void agent_prober_free(struct agent_prober *p);
MEM_CLEANUP(struct agent_prober, agent_prober_free);

/* 0 when the packet is on its way. -ENETUNREACH, -EADDRNOTAVAIL, -ENODEV and the like where the
 * interface cannot send there; -EAGAIN where its queue is full. */
int agent_prober_ask(struct agent_prober *p, unsigned ifindex, const struct ip_addr *to,
		     struct err *e);

#endif
