/*
 * Allowed IPs: for each family a binary trie with compressed paths. A node stands for a prefix;
 * its two children continue it with a 0 or a 1 after its length, any number of bits further on. A
 * node has a peer, or else two children. So n prefixes make at most 2n - 1 nodes, and a look-up
 * visits at most one node for each bit of the address.
 *
 *               10.0.0.0/8 → A
 *              0 /           \ 1
 *     10.0.0.0/9 (branch)    10.192.0.0/10 → B
 *     0 /          \ 1
 *   10.1.0.0/16    10.64.0.0/16
 *
 * Lanes look up without a lock. An insertion or removal publishes one pointer; a node that is
 * spliced out keeps its children, so that a lane that stands on it still goes on, and is freed
 * by way of epoch.c.
 *
 * Addresses are compared as two 64-bit words, an IPv4 address being the upper half of the first.
 */
#include "wg/wg_priv.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

struct addr {
	uint64_t hi, lo;
};

typedef _Atomic(struct wg_route *) edge;

static struct wg_route *get(edge *l)
{
	return atomic_load_explicit(l, memory_order_acquire);
}

static void set(edge *l, struct wg_route *r)
{
	atomic_store_explicit(l, r, memory_order_release);
}

static struct addr load(const uint8_t *b, bool v6)
{
	struct addr a = {0};
	uint32_t v4;

	if (v6) {
		memcpy(&a.hi, b, 8);
		memcpy(&a.lo, b + 8, 8);
		return (struct addr){be64toh(a.hi), be64toh(a.lo)};
	}
	memcpy(&v4, b, 4);
	a.hi = (uint64_t)be32toh(v4) << 32;
	return a;
}

static unsigned bit(struct addr a, unsigned at)
{
	return (at < 64 ? a.hi >> (63 - at) : a.lo >> (127 - at)) & 1;
}

/* How many leading bits are the same, at most 128. */
static unsigned common(struct addr a, struct addr b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	if (a.lo != b.lo)
		return 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
	return 128;
}

static struct addr of(const struct wg_route *r)
{
	return (struct addr){r->hi, r->lo};
}

static struct wg_peer *find(const edge *root, struct addr a, unsigned bits)
{
	struct wg_peer *best = NULL;
	struct wg_route *r = get((edge *)root);

	while (r && common(of(r), a) >= r->len) {
		struct wg_peer *p = atomic_load_explicit(&r->peer, memory_order_acquire);

		if (p)
			best = p;
		if (r->len >= bits)
			break;
		r = get(&r->child[bit(a, r->len)]);
	}
	return best;
}

struct wg_peer *wg_route_v4(const struct wg_device *d, const uint8_t addr[static 4])
{
	return find(&d->routes.v4, load(addr, false), 32);
}

struct wg_peer *wg_route_v6(const struct wg_device *d, const uint8_t addr[static 16])
{
	return find(&d->routes.v6, load(addr, true), 128);
}

static struct wg_route *route_new(struct addr a, unsigned len, bool v6)
{
	struct wg_route *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->hi = a.hi;
	r->lo = a.lo;
	r->len = (uint8_t)len;
	r->v6 = v6;
	return r;
}

/* The node that joins two that differ at bit `len`. */
static struct wg_route *branch_new(const struct wg_route *one, unsigned len)
{
	struct addr a = of(one);

	if (len <= 64) {
		a.lo = 0;
		a.hi = len ? a.hi & ~UINT64_C(0) << (64 - len) : 0;
	} else {
		a.lo &= ~UINT64_C(0) << (128 - len);
	}
	return route_new(a, len, one->v6);
}

static void give(struct wg_route *r, struct wg_peer *p)
{
	if (atomic_load_explicit(&r->peer, memory_order_relaxed))
		list_del(&r->of_peer);
	list_add(&p->routes, &r->of_peer);
	atomic_store_explicit(&r->peer, p, memory_order_release);
}

int wg_route_add(struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix)
{
	struct ip_prefix m = ip_prefix_mask(*prefix);
	bool v6 = m.addr.family == AF_INET6;
	edge *at = v6 ? &d->routes.v6 : &d->routes.v4;
	struct addr a = load(m.addr.b, v6);
	struct wg_route *r, *new, *branch;
	unsigned same = 0;

	while ((r = get(at))) {
		same = common(of(r), a);
		same = same > m.len ? m.len : same;
		if (same < r->len)
			break;
		if (r->len == m.len) {
			give(r, p);
			return 0;
		}
		at = &r->child[bit(a, r->len)];
	}
	new = route_new(a, m.len, v6);
	if (!new)
		return -ENOMEM;
	if (!r || same == m.len) { /* a leaf, or between r and what is above it */
		if (r)
			set(&new->child[bit(of(r), m.len)], r);
		give(new, p);
		set(at, new);
		return 0;
	}
	branch = branch_new(new, same);
	if (!branch) {
		free(new);
		return -ENOMEM;
	}
	set(&branch->child[bit(of(r), same)], r);
	set(&branch->child[bit(a, same)], new);
	give(new, p);
	set(at, branch);
	return 0;
}

static bool route_free(struct wg_retired *r)
{
	free(list_entry(r, struct wg_route, retired));
	return true;
}

/* Takes a node without a peer out of the trie if it does not join two. */
static bool splice(struct wg_device *d, edge *at)
{
	struct wg_route *r = get(at), *zero = get(&r->child[0]), *one = get(&r->child[1]);

	if (atomic_load_explicit(&r->peer, memory_order_relaxed) || (zero && one))
		return false;
	set(at, zero ? zero : one);
	wg_retire(d, &r->retired, route_free);
	return true;
}

static void remove_route(struct wg_device *d, struct wg_route *r)
{
	edge *at = r->v6 ? &d->routes.v6 : &d->routes.v4, *above = NULL;

	while (get(at) != r) {
		above = at;
		at = &get(at)->child[bit(of(r), get(at)->len)];
	}
	list_del(&r->of_peer);
	atomic_store_explicit(&r->peer, NULL, memory_order_release);
	if (splice(d, at) && above)
		splice(d, above);
}

void wg_route_remove(struct wg_device *d, const struct wg_peer *p, const struct ip_prefix *prefix)
{
	struct ip_prefix m = ip_prefix_mask(*prefix);
	bool v6 = m.addr.family == AF_INET6;
	struct addr a = load(m.addr.b, v6);
	struct wg_route *r = get(v6 ? &d->routes.v6 : &d->routes.v4);

	while (r && r->len < m.len && common(of(r), a) >= r->len)
		r = get(&r->child[bit(a, r->len)]);
	if (r && r->len == m.len && common(of(r), a) >= m.len &&
	    atomic_load_explicit(&r->peer, memory_order_relaxed) == p)
		remove_route(d, r);
}

void wg_route_remove_peer(struct wg_device *d, struct wg_peer *p)
{
	list_for_each_safe (r, &p->routes, struct wg_route, of_peer)
		remove_route(d, r);
}

struct ip_prefix wg_route_prefix(const struct wg_route *r)
{
	struct ip_prefix p = {.len = r->len};
	uint64_t hi = htobe64(r->hi), lo = htobe64(r->lo);

	p.addr.family = r->v6 ? AF_INET6 : AF_INET;
	memcpy(p.addr.b, &hi, r->v6 ? 8 : 4);
	if (r->v6)
		memcpy(p.addr.b + 8, &lo, 8);
	return p;
}
