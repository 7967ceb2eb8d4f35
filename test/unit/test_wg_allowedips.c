/* lib/wg: allowed IPs against a naive table, and the shape of the trie. */
#include "unit.h"
#include "wgworld.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEERS 8
#define RULES 600

static struct world *w;
static struct wg_peer *peers[PEERS];

static struct {
	struct ip_prefix prefix;
	struct wg_peer *peer;
} rules[RULES];
static unsigned n_rules;

static void set_up(void)
{
	w = world_new(1);
	for (unsigned i = 0; i < PEERS; i++) {
		struct key k = {{(uint8_t)(i + 100)}};

		peers[i] = wg_peer_add(w->d, &k);
		ck_assert_ptr_nonnull(peers[i]);
	}
	n_rules = 0;
}

static void take(unsigned peer, const char *text)
{
	struct ip_prefix p;

	ck_assert_int_eq(ip_prefix_parse(text, strlen(text), &p), 0);
	wg_route_remove(w->d, peers[peer], &p);
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	ck_assert_int_eq(ip_addr_parse(text, strlen(text), &a), 0);
	return a;
}

static void add(unsigned peer, const char *text)
{
	struct ip_prefix p;

	ck_assert_int_eq(ip_prefix_parse(text, strlen(text), &p), 0);
	ck_assert_int_eq(wg_route_add(w->d, peers[peer], &p), 0);
}

static struct wg_peer *look(const struct ip_addr *a)
{
	return a->family == AF_INET ? wg_route_v4(w->d, a->b) : wg_route_v6(w->d, a->b);
}

static int who(const char *text)
{
	struct ip_addr a = addr(text);
	struct wg_peer *p = look(&a);

	for (int i = 0; i < PEERS; i++)
		if (peers[i] == p)
			return i;
	return -1;
}

START_TEST(longest_match)
{
	set_up();
	ck_assert_int_eq(who("10.0.0.1"), -1);
	add(0, "0.0.0.0/0");
	add(1, "10.0.0.0/8");
	add(2, "10.64.0.0/10");
	add(3, "10.64.0.1/32");
	add(4, "::/0");
	add(5, "fd00::/8");
	add(6, "fd00::1/128");
	add(7, "fd00:0:0:0:8000::/65");
	ck_assert_int_eq(who("9.255.255.255"), 0);
	ck_assert_int_eq(who("10.0.0.0"), 1);
	ck_assert_int_eq(who("10.127.255.255"), 2);
	ck_assert_int_eq(who("10.128.0.0"), 1);
	ck_assert_int_eq(who("10.64.0.1"), 3);
	ck_assert_int_eq(who("11.0.0.0"), 0);
	ck_assert_int_eq(who("fe80::1"), 4);
	ck_assert_int_eq(who("fd00::2"), 5);
	ck_assert_int_eq(who("fd00::1"), 6);
	ck_assert_int_eq(who("fd00::8000:0:0:1"), 7);
	/* A prefix that another peer takes moves; host bits do not count. */
	add(2, "10.1.2.3/8");
	ck_assert_int_eq(who("10.0.0.0"), 2);
	ck_assert(list_empty(&peers[1]->routes));
	wg_route_remove_peer(w->d, peers[2]);
	ck_assert_int_eq(who("10.64.0.0"), 0);
	ck_assert_int_eq(who("10.64.0.1"), 3);
	for (unsigned i = 0; i < PEERS; i++)
		wg_route_remove_peer(w->d, peers[i]);
	ck_assert_ptr_null(atomic_load(&w->d->routes.v4));
	ck_assert_ptr_null(atomic_load(&w->d->routes.v6));
	world_free(w);
}
END_TEST

/* One prefix goes: exactly that, and only from whose it is. */
START_TEST(one_prefix)
{
	set_up();
	take(0, "10.0.0.0/8"); /* of none at all */
	add(0, "0.0.0.0/0");
	add(1, "10.0.0.0/8");
	add(2, "10.64.0.0/10");
	add(3, "10.192.0.0/10");
	add(4, "fd00::/8");
	add(5, "fd00::1/128");
	take(2, "10.0.0.0/8"); /* another's */
	take(1, "10.0.0.0/9"); /* longer, shorter, beside it, and where the other family has one */
	take(1, "10.0.0.0/7");
	take(1, "11.0.0.0/8");
	take(1, "fd00::/8");
	take(4, "0.0.0.0/0");
	take(4, "fd00::1/128");
	take(4, "fc00::/8");
	ck_assert_int_eq(who("10.0.0.1"), 1);
	ck_assert_int_eq(who("fd00::1"), 5);
	ck_assert_int_eq(who("fd00::2"), 4);
	take(1, "10.1.2.3/8"); /* host bits do not count */
	ck_assert_int_eq(who("10.0.0.1"), 0);
	ck_assert_int_eq(who("10.64.0.1"), 2);
	ck_assert_int_eq(who("10.192.0.1"), 3);
	take(0, "10.0.0.0/8"); /* a mere branch may be in its place */
	take(2, "10.64.0.0/10");
	take(4, "fd00::/8");
	ck_assert_int_eq(who("10.64.0.1"), 0);
	ck_assert_int_eq(who("fd00::2"), -1);
	ck_assert_int_eq(who("fd00::1"), 5);
	take(0, "0.0.0.0/0");
	take(3, "10.192.0.0/10");
	take(5, "fd00::1/128");
	ck_assert_ptr_null(atomic_load(&w->d->routes.v4));
	ck_assert_ptr_null(atomic_load(&w->d->routes.v6));
	world_free(w);
}
END_TEST

/* As a change says it: taken before what is added, and after all were replaced. */
START_TEST(removed_by_change)
{
	struct ip_prefix eight = {{AF_INET, {10}}, 8}, nine = {{AF_INET, {10}}, 9},
			 other = {{AF_INET, {11}}, 8}, list[2];
	struct wgdev_peer_change c = {.public_key = {{100}}, .removed = &eight, .n_removed = 1};
	struct wgdev_change change = {.peers = &c, .n_peers = 1};

	set_up();
	add(0, "10.0.0.0/8");
	add(0, "12.0.0.0/8");
	c.allowed = &nine;
	c.n_allowed = 1;
	c.public_key = *wg_peer_key(peers[0]);
	ck_assert_int_eq(wg_apply(w->d, &change, w->now), 0);
	ck_assert_int_eq(who("10.0.0.1"), 0);
	ck_assert_int_eq(who("10.128.0.1"), -1);
	ck_assert_int_eq(who("12.0.0.1"), 0);
	/* Removed and added again: the last line wins, so it is there. */
	list[0] = eight;
	list[1] = other;
	c.replace_allowed = true;
	c.allowed = list;
	c.n_allowed = 2;
	ck_assert_int_eq(wg_apply(w->d, &change, w->now), 0);
	ck_assert_int_eq(who("10.128.0.1"), 0);
	ck_assert_int_eq(who("11.0.0.1"), 0);
	ck_assert_int_eq(who("12.0.0.1"), -1);
	world_free(w);
}
END_TEST

static struct wg_peer *naive(const struct ip_addr *a)
{
	struct wg_peer *best = NULL;
	int len = -1;

	for (unsigned i = 0; i < n_rules; i++) {
		if (rules[i].prefix.len > len && ip_prefix_contains(&rules[i].prefix, a)) {
			best = rules[i].peer;
			len = rules[i].prefix.len;
		}
	}
	return best;
}

static void naive_add(struct wg_peer *p, struct ip_prefix prefix)
{
	prefix = ip_prefix_mask(prefix);
	for (unsigned i = 0; i < n_rules; i++) {
		if (ip_prefix_cmp(&rules[i].prefix, &prefix) == 0) {
			rules[i].peer = p;
			return;
		}
	}
	rules[n_rules].prefix = prefix;
	rules[n_rules++].peer = p;
}

/* Of one prefix, or of all for NULL. */
static void naive_remove(const struct wg_peer *p, const struct ip_prefix *only)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_rules; i++)
		if (rules[i].peer != p || (only && ip_prefix_cmp(&rules[i].prefix, only) != 0))
			rules[n++] = rules[i];
	n_rules = n;
}

/* Addresses that share many bits, so that prefixes nest. */
static struct ip_addr some_addr(void)
{
	struct ip_addr a = {.family = random() % 2 ? AF_INET : AF_INET6};
	size_t n = ip_bytes(a.family);

	for (size_t i = 0; i < n; i++)
		a.b[i] = (uint8_t)(random() % 3 ? 0xAA : random() % 4 << 6 | random() % 4);
	return a;
}

/* Nodes without a peer join two: the trie is never larger than it must be. */
static unsigned nodes(struct wg_route *r)
{
	if (!r)
		return 0;
	struct wg_route *zero = atomic_load(&r->child[0]), *one = atomic_load(&r->child[1]);
	ck_assert(atomic_load(&r->peer) || (zero && one));
	ck_assert(!zero || zero->len > r->len);
	ck_assert(!one || one->len > r->len);
	return 1 + nodes(zero) + nodes(one);
}

START_TEST(against_naive)
{
	srandom(5);
	set_up();
	for (unsigned round = 0; round < 4000; round++) {
		struct ip_addr a = some_addr();
		struct wg_peer *p = peers[random() % PEERS];

		if (random() % 40 == 0) {
			wg_route_remove_peer(w->d, p);
			naive_remove(p, NULL);
		} else if (n_rules && random() % 4 == 0) {
			struct ip_prefix pre = rules[(unsigned)random() % n_rules].prefix;

			wg_route_remove(w->d, p, &pre);
			naive_remove(p, &pre);
		} else if (n_rules < RULES) {
			struct ip_prefix pre = {a, (uint8_t)(random() % (ip_bits(a.family) + 1))};

			ck_assert_int_eq(wg_route_add(w->d, p, &pre), 0);
			naive_add(p, pre);
		}
		for (unsigned i = 0; i < 20; i++) {
			a = some_addr();
			ck_assert_ptr_eq(look(&a), naive(&a));
		}
		if (round % 100 == 0) {
			unsigned n = nodes(atomic_load(&w->d->routes.v4)) +
				     nodes(atomic_load(&w->d->routes.v6));
			ck_assert_uint_le(n, 2 * n_rules);
			wg_tick(w->d, w->now);
		}
	}
	/* What each peer lists is what was put there. */
	unsigned listed = 0;
	for (unsigned i = 0; i < PEERS; i++)
		list_for_each (r, &peers[i]->routes, struct wg_route, of_peer) {
			struct ip_prefix pre = wg_route_prefix(r);
			bool found = false;

			for (unsigned k = 0; k < n_rules && !found; k++)
				found = rules[k].peer == peers[i] &&
					ip_prefix_cmp(&rules[k].prefix, &pre) == 0;
			ck_assert(found);
			listed++;
		}
	ck_assert_uint_eq(listed, n_rules);
	world_free(w);
}
END_TEST

START_TEST(hundred_thousand)
{
	struct ip_prefix p = {.addr.family = AF_INET, .len = 32};

	set_up();
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t a = i * 2654435761U;

		memcpy(p.addr.b, &a, 4);
		ck_assert_int_eq(wg_route_add(w->d, peers[i % PEERS], &p), 0);
	}
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t a = i * 2654435761U;

		memcpy(p.addr.b, &a, 4);
		ck_assert_ptr_eq(wg_route_v4(w->d, p.addr.b), peers[i % PEERS]);
	}
	ck_assert_uint_eq(nodes(atomic_load(&w->d->routes.v4)), 199999);
	for (unsigned i = 0; i < PEERS; i++)
		wg_route_remove_peer(w->d, peers[i]);
	ck_assert_ptr_null(atomic_load(&w->d->routes.v4));
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_allowedips", longest_match, one_prefix, removed_by_change,
			  against_naive, hundred_thousand);
}

UNIT_MAIN(suite)
