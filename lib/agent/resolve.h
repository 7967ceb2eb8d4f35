/*
 * Names to addresses, off the loop's way: asynchronous DNS (libevent's evdns, with the system's
 * resolv.conf: servers, search list, ndots) after /etc/hosts. Both families are asked; the answer
 * lists IPv4 addresses, then IPv6 ones, each as the servers gave them.
 */
#ifndef AGENT_RESOLVE_H
#define AGENT_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/mem.h"

struct event_base;
struct agent_resolver;

/* One answer: n addresses and the smaller TTL of the two families, or n = 0 and why. */
typedef void (*agent_resolved_fn)(void *arg, const char *host, const struct ip_addr *addrs,
				  size_t n, uint32_t ttl_secs, const char *error);

/* `hosts` and `resolv_conf` NULL: the files under /etc. Both are read again when they change. */
int agent_resolver_new(struct event_base *base, const char *hosts, const char *resolv_conf,
		       agent_resolved_fn fn, void *arg, struct agent_resolver **ret, struct err *e);
void agent_resolver_free(struct agent_resolver *r); /* look-ups under way end without answer */
MEM_CLEANUP(struct agent_resolver, agent_resolver_free);

/* Starts a look-up; the answer comes from the loop, never from inside this call. A name that is
 * being looked up already is not asked for twice. Bounded: an answer comes within 15 s. */
void agent_resolver_lookup(struct agent_resolver *r, const char *host);

/* Other bounds than 15 s for a look-up and 3 s for each of its (at most four) attempts; before the
 * first look-up. */
void agent_resolver_set_limits(struct agent_resolver *r, unsigned lookup_ms, unsigned query_ms);

#endif
