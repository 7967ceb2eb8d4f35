/*
 * Allowed IPs against a naive table. The input is a list of 19-byte records: a byte of operation
 * and peer, a length, a byte of family, and an address, of which IPv4 takes the first four bytes.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "wg/wg_priv.h"

#define RULES 256
#define PEERS 4

static struct {
	struct ip_prefix prefix;
	struct wg_peer *peer;
} rules[RULES];
static unsigned n_rules;

static void fill(void *user, void *out, size_t len)
{
	memset(out, 7, len);
}

static void drop(void *user, struct wg_packet *list)
{
}

static void wake(void *user, enum wg_wake what)
{
}

static const struct wg_ops ops = {.random = fill, .drop = drop, .wake = wake};

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
	unsigned i = 0;

	prefix = ip_prefix_mask(prefix);
	while (i < n_rules && ip_prefix_cmp(&rules[i].prefix, &prefix) != 0)
		i++;
	rules[i].prefix = prefix;
	rules[i].peer = p;
	if (i == n_rules)
		n_rules++;
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

static void record(struct wg_device *d, struct wg_peer *const *peers, const uint8_t *in)
{
	struct wg_peer *p = peers[in[0] % PEERS];
	struct ip_prefix pre = {.addr.family = in[2] & 1 ? AF_INET6 : AF_INET};

	memcpy(pre.addr.b, in + 3, ip_bytes(pre.addr.family));
	pre.len = (uint8_t)(in[1] % (ip_bits(pre.addr.family) + 1));
	if (in[0] >> 2 == 0) {
		wg_route_remove_peer(d, p);
		naive_remove(p, NULL);
	} else if (in[0] >> 2 == 1) {
		pre = ip_prefix_mask(pre);
		wg_route_remove(d, p, &pre);
		naive_remove(p, &pre);
	} else if (n_rules < RULES && in[0] >> 2 < 32) {
		assert(wg_route_add(d, p, &pre) == 0);
		naive_add(p, pre);
	}
	struct wg_peer *got = pre.addr.family == AF_INET ? wg_route_v4(d, pre.addr.b)
							 : wg_route_v6(d, pre.addr.b);
	assert(got == naive(&pre.addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wg_peer *peers[PEERS];
	struct wg_device *d;
	static bool once;

	if (!once && crypto_init() == 0)
		once = true;
	d = wg_new(&ops, NULL, &crypto_aead_evp, 1);
	assert(d);
	n_rules = 0;
	for (unsigned i = 0; i < PEERS; i++) {
		struct key k = {{(uint8_t)(i + 1)}};

		peers[i] = wg_peer_add(d, &k);
		assert(peers[i]);
	}
	for (; size >= 19; data += 19, size -= 19)
		record(d, peers, data);
	wg_tick(d, (struct wg_time){{1}, {1}});
	wg_free(d);
	return 0;
}
