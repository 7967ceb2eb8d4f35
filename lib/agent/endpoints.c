/*
 * Theory of operation. A device changes a peer's endpoint by itself when the peer roams, so what
 * the device has is not drift, and is left alone while it works. An endpoint is set ("asserted")
 * over the device's only
 *  - when the configured one was changed;
 *  - when its name got other addresses, and the device still uses an old one;
 *  - when the peer is not up: then every AGENT_ENDPOINT_LADDER the next address is tried, or the
 *    configured one where the device has wandered off, and the name is looked up again.
 * An assertion ends when the device is seen to have the address; the ladder's also when the peer is
 * up, whatever it is up with: a working peer is not moved to an address that nobody has tried.
 *
 * Each address has its time: the ladder waits from when the device was first seen to have it. A
 * peer that is not in the device tries nothing, so nothing is concluded from its being down.
 *
 * A peer that is new in the device gets its endpoint with the peer, without an assertion; after
 * a restart of the agent every peer of the device is taken as it is.
 */
#include "agent/endpoints.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	char *network;
	struct key peer;
	char *host; /* NULL: addrs[0] is what was configured */
	uint16_t port;
	uint32_t scope;
	struct ip_addr addrs[AGENT_ENDPOINT_ADDRS];
	size_t n_addrs, current;
	bool assert;
	bool climbed;            /* `assert` is the ladder's */
	struct ip_endpoint seen; /* AF_UNSPEC: the device has none, or was not looked at yet */
	struct mono next_step;   /* of the ladder */
	struct mono next_lookup;
	char error[128];
};

struct agent_endpoints {
	struct entry *entries; /* sorted by network, peer */
	size_t n, cap;
	bool loaded; /* a configuration was taken before: what changes now is a change */
	uint64_t version;
};

struct agent_endpoints *agent_endpoints_new(void)
{
	return calloc(1, sizeof(struct agent_endpoints));
}

static void entries_free(struct entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(entries[i].network);
		free(entries[i].host);
	}
	free(entries);
}

void agent_endpoints_free(struct agent_endpoints *s)
{
	if (!s)
		return;
	entries_free(s->entries, s->n);
	free(s);
}

static int cmp_entry(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int c = strcmp(x->network, y->network);

	return c ? c : key_cmp(&x->peer, &y->peer);
}

static struct entry *find(const struct agent_endpoints *s, const char *network,
			  const struct key *peer)
{
	struct entry probe = {.network = (char *)network, .peer = *peer};

	return s->n ? bsearch(&probe, s->entries, s->n, sizeof(*s->entries), cmp_entry) : NULL;
}

static struct ip_endpoint current_of(const struct entry *e)
{
	struct ip_endpoint ep = {.port = e->port, .scope = e->scope};

	if (e->n_addrs)
		ep.addr = e->addrs[e->current];
	return ep;
}

static int entry_init(struct entry *e, const char *network, const struct config_peer *p,
		      struct mono now)
{
	*e = (struct entry){.peer = p->public_key, .next_step = now, .next_lookup = now};
	e->network = strdup(network);
	if (p->endpoint.host) {
		e->host = strdup(p->endpoint.host);
		e->port = p->endpoint.port;
		snprintf(e->error, sizeof(e->error), "%.90s is being looked up", p->endpoint.host);
	} else {
		e->addrs[0] = p->endpoint.addr.addr;
		e->n_addrs = 1;
		e->port = p->endpoint.addr.port;
		e->scope = p->endpoint.addr.scope;
	}
	return e->network && (e->host || !p->endpoint.host) ? 0 : -ENOMEM;
}

static bool same_configured(const struct entry *a, const struct entry *b)
{
	if (a->port != b->port || a->scope != b->scope || !a->host != !b->host)
		return false;
	return a->host ? str_eq(a->host, b->host) : ip_addr_cmp(&a->addrs[0], &b->addrs[0]) == 0;
}

/* What is known of the peer from before, into its new entry. */
static void carry_over(const struct agent_endpoints *s, struct entry *e)
{
	const struct entry *old = find(s, e->network, &e->peer);

	if (!old) {
		/* New, or its endpoint is: over whatever the device may have. */
		e->assert = s->loaded;
		return;
	}
	e->seen = old->seen;
	if (!same_configured(old, e)) {
		e->assert = true;
		return;
	}
	memcpy(e->addrs, old->addrs, sizeof(e->addrs));
	memcpy(e->error, old->error, sizeof(e->error));
	e->n_addrs = old->n_addrs;
	e->current = old->current;
	e->assert = old->assert;
	e->climbed = old->climbed;
	e->next_step = old->next_step;
	e->next_lookup = old->next_lookup;
}

int agent_endpoints_update(struct agent_endpoints *s, const struct config *c, struct mono now)
{
	struct agent_endpoints fresh = {.loaded = true, .version = s->version + 1};

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		for (size_t j = 0; n->enabled && j < n->n_peers; j++) {
			if (!n->peers[j].endpoint.set)
				continue;
			if (mem_grow(&fresh.entries, fresh.n, &fresh.cap, sizeof(*fresh.entries)) <
			    0)
				goto nomem;
			struct entry *e = &fresh.entries[fresh.n++];
			if (entry_init(e, n->name, &n->peers[j], now) < 0)
				goto nomem;
			carry_over(s, e);
		}
	}
	if (fresh.n)
		qsort(fresh.entries, fresh.n, sizeof(*fresh.entries), cmp_entry);
	entries_free(s->entries, s->n);
	*s = fresh;
	return 0;
nomem:
	entries_free(fresh.entries, fresh.n);
	return -ENOMEM;
}

int agent_endpoints_put(struct agent_endpoints *s, const char *network, const struct config_peer *p,
			struct mono now)
{
	struct entry *known = find(s, network, &p->public_key), e;
	size_t at = s->n;

	if (!p->endpoint.set) {
		agent_endpoints_drop(s, network, &p->public_key);
		return 0;
	}
	if (entry_init(&e, network, p, now) < 0 ||
	    (!known && mem_grow(&s->entries, s->n, &s->cap, sizeof(*s->entries)) < 0)) {
		free(e.network);
		free(e.host);
		return -ENOMEM;
	}
	carry_over(s, &e);
	s->version++;
	if (known) {
		free(known->network);
		free(known->host);
		*known = e;
		return 0;
	}
	while (at > 0 && cmp_entry(&s->entries[at - 1], &e) > 0)
		at--;
	memmove(&s->entries[at + 1], &s->entries[at], (s->n - at) * sizeof(e));
	s->entries[at] = e;
	s->n++;
	return 0;
}

void agent_endpoints_drop(struct agent_endpoints *s, const char *network, const struct key *peer)
{
	struct entry *e = find(s, network, peer);

	if (!e)
		return;
	free(e->network);
	free(e->host);
	s->n--;
	memmove(e, e + 1, (s->n - (size_t)(e - s->entries)) * sizeof(*e));
	s->version++;
}

bool agent_endpoints_get(const struct agent_endpoints *s, const char *network,
			 const struct key *peer, struct ip_endpoint *ret, bool *ret_assert)
{
	const struct entry *e = find(s, network, peer);

	if (!e || e->n_addrs == 0)
		return false;
	*ret = current_of(e);
	*ret_assert = e->assert;
	return true;
}

static bool has_addr(const struct ip_addr *addrs, size_t n, const struct ip_addr *a, size_t *at)
{
	for (size_t i = 0; i < n; i++) {
		if (ip_addr_cmp(&addrs[i], a) == 0) {
			*at = i;
			return true;
		}
	}
	return false;
}

/* The peer is up with what the device has. True when something has changed. */
static bool stay(struct entry *e)
{
	size_t at = e->current;

	if (!e->assert || !e->climbed)
		return false;
	/* Whoever makes the peer anew is to use what worked. Elsewhere it has roamed to. */
	if (e->seen.port == e->port)
		has_addr(e->addrs, e->n_addrs, &e->seen.addr, &at);
	e->current = at;
	e->assert = e->climbed = false;
	return true;
}

void agent_endpoints_seen(struct agent_endpoints *s, const char *network, const struct key *peer,
			  const struct ip_endpoint *endpoint, bool up, struct mono now)
{
	struct entry *e = find(s, network, peer);

	if (!e)
		return;
	bool other = ip_endpoint_cmp(&e->seen, endpoint) != 0;
	struct ip_endpoint wanted = current_of(e);

	e->seen = *endpoint;
	if (e->n_addrs && ip_endpoint_cmp(&wanted, endpoint) == 0) {
		if (other)
			e->next_step = mono_add(now, AGENT_ENDPOINT_LADDER);
		s->version += e->assert;
		e->assert = e->climbed = false;
	}
	if (up && stay(e))
		s->version++;
}

bool agent_endpoints_down(struct agent_endpoints *s, const char *network, const struct key *peer,
			  struct mono now)
{
	struct entry *e = find(s, network, peer);

	if (!e || mono_before(now, e->next_step))
		return false;
	e->next_step = mono_add(now, AGENT_ENDPOINT_LADDER);
	if (e->n_addrs == 0)
		return false;
	if (e->host && mono_before(now, e->next_lookup))
		e->next_lookup = now;

	struct ip_endpoint was = current_of(e);
	/* Where the device has the current address, it was tried: on to the next. */
	if (ip_endpoint_cmp(&was, &e->seen) == 0)
		e->current = (e->current + 1) % e->n_addrs;
	struct ip_endpoint next = current_of(e);
	if (ip_endpoint_cmp(&next, &e->seen) == 0)
		return false;
	e->climbed = e->climbed || !e->assert;
	e->assert = true;
	s->version++;
	return true;
}

/* True when the address in use has changed. */
static bool take_addrs(struct entry *e, const struct ip_addr *addrs, size_t n)
{
	struct ip_endpoint was = current_of(e);
	bool had = e->n_addrs > 0;
	size_t at = 0;

	if (n > AGENT_ENDPOINT_ADDRS)
		n = AGENT_ENDPOINT_ADDRS;
	/* Servers rotate their answers; the order alone changes nothing. */
	bool still = had && has_addr(addrs, n, &was.addr, &at);
	memcpy(e->addrs, addrs, n * sizeof(*addrs));
	e->n_addrs = n;
	e->current = still ? at : 0;
	e->error[0] = '\0';
	if (still)
		return false;
	/* A peer that has roamed elsewhere and works is left there. */
	if (had && ip_endpoint_cmp(&was, &e->seen) == 0) {
		e->assert = true;
		e->climbed = false;
	}
	return true;
}

bool agent_endpoints_resolved(struct agent_endpoints *s, const char *host,
			      const struct ip_addr *addrs, size_t n, uint32_t ttl_secs,
			      const char *error, struct mono now)
{
	int64_t ttl = ttl_secs * NS_PER_SEC;
	bool changed = false;

	if (n == 0 || ttl < AGENT_ENDPOINT_TTL_MIN)
		ttl = AGENT_ENDPOINT_TTL_MIN;
	if (ttl > AGENT_ENDPOINT_TTL_MAX)
		ttl = AGENT_ENDPOINT_TTL_MAX;
	for (size_t i = 0; i < s->n; i++) {
		struct entry *e = &s->entries[i];

		if (!e->host || !str_eq(e->host, host))
			continue;
		e->next_lookup = mono_add(now, ttl);
		if (n)
			changed |= take_addrs(e, addrs, n);
		else /* the addresses known so far stay */
			snprintf(e->error, sizeof(e->error), "%.60s: %.60s", host, error);
	}
	s->version += changed;
	return changed;
}

uint64_t agent_endpoints_version(const struct agent_endpoints *s)
{
	return s->version;
}

const char *agent_endpoints_due(struct agent_endpoints *s, struct mono now)
{
	const char *host = NULL;

	for (size_t i = 0; i < s->n; i++) {
		struct entry *e = &s->entries[i];

		if (!e->host || mono_before(now, e->next_lookup))
			continue;
		if (!host)
			host = e->host;
		/* One answer serves all peers behind the same name. */
		if (str_eq(e->host, host))
			e->next_lookup = mono_add(now, AGENT_ENDPOINT_LADDER);
	}
	return host;
}

const char *agent_endpoints_error(const struct agent_endpoints *s, const char *network,
				  const struct key *peer)
{
	const struct entry *e = find(s, network, peer);

	return e && e->n_addrs == 0 && e->error[0] ? e->error : NULL;
}
