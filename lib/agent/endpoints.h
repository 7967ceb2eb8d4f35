/*
 * Which address each peer's endpoint has now, and whether it has to be set over what the device
 * has: the memory between reconciliations that endpoints need. Pure: names are looked up by
 * resolve.h, time is handed in.
 */
#ifndef AGENT_ENDPOINTS_H
#define AGENT_ENDPOINTS_H

#include <stdbool.h>

#include "base/ip.h"
#include "base/mem.h"
#include "base/time.h"
#include "config/model.h"

/* Of a name's addresses, so many are tried. */
#define AGENT_ENDPOINT_ADDRS 8
/* While a peer is not up, so often its next address is tried and its name looked up again. */
#define AGENT_ENDPOINT_LADDER (15 * NS_PER_SEC)
/* Bounds of the time after which a name is looked up again, whatever its TTL says. */
#define AGENT_ENDPOINT_TTL_MIN (15 * NS_PER_SEC)
#define AGENT_ENDPOINT_TTL_MAX (3600 * NS_PER_SEC)

struct agent_endpoints;

struct agent_endpoints *agent_endpoints_new(void); /* NULL when memory has run out */
void agent_endpoints_free(struct agent_endpoints *s);
MEM_CLEANUP(struct agent_endpoints, agent_endpoints_free);

/* A new configuration: peers are kept by network and key, with what is known of them; one whose
 * endpoint was changed has it set over the device's. -ENOMEM with everything as it was. */
int agent_endpoints_update(struct agent_endpoints *s, const struct config *c, struct mono now);

/* One peer of a configuration that was amended: as it is now, or gone. -ENOMEM with everything as
 * it was. */
int agent_endpoints_put(struct agent_endpoints *s, const char *network, const struct config_peer *p,
			struct mono now);
void agent_endpoints_drop(struct agent_endpoints *s, const char *network, const struct key *peer);

/* The address to use now; false where none is known yet. */
bool agent_endpoints_get(const struct agent_endpoints *s, const char *network,
			 const struct key *peer, struct ip_endpoint *ret, bool *ret_assert);

/* What the device has (AF_UNSPEC: nothing, or no such peer), and whether the peer is up with it:
 * told after each observation. What works ends the ladder: an address that it was about to try is
 * not tried any more. */
void agent_endpoints_seen(struct agent_endpoints *s, const char *network, const struct key *peer,
			  const struct ip_endpoint *endpoint, bool up, struct mono now);

/* The peer is in the device and not up (stale, stalled, or never was): told at each health check.
 * Climbs the ladder when its time has come: the next address, the configured one over one that the
 * peer has roamed to, another look-up of the name. True when something has changed. */
bool agent_endpoints_down(struct agent_endpoints *s, const char *network, const struct key *peer,
			  struct mono now);

/* A look-up's answer: n addresses, or none and the reason (kept for status). True when something
 * has changed that the machine should follow. */
bool agent_endpoints_resolved(struct agent_endpoints *s, const char *host,
			      const struct ip_addr *addrs, size_t n, uint32_t ttl_secs,
			      const char *error, struct mono now);

/* A name whose look-up is due, NULL when there is none; the caller starts it, and gets no name
 * again before its answer, or AGENT_ENDPOINT_LADDER, whichever comes first. */
const char *agent_endpoints_due(struct agent_endpoints *s, struct mono now);

/* Another number whenever agent_endpoints_get may answer differently than before. */
uint64_t agent_endpoints_version(const struct agent_endpoints *s);

/* Why a peer has no address, NULL when it has one or needs none. */
const char *agent_endpoints_error(const struct agent_endpoints *s, const char *network,
				  const struct key *peer);

#endif
