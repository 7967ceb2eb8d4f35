/*
 * The two MACs of handshake messages, and what is done under load (the WireGuard paper, sections
 * 5.3 and 5.4.4).
 *
 * mac1 is keyed by the receiver's public key: it proves nothing but that the sender knows whom it
 * speaks to, and is checked first. Under load mac2 must be there as well, keyed by a cookie that
 * the receiver gave to this source address and port: a MAC under a secret, so that the receiver
 * keeps no state for those who ask. The cookie is encrypted with the mac1 of the message that it
 * answers as associated data, so only who sees that message can put a cookie on us.
 *
 * A cookie is good for two minutes at most: the number of a period of time is under the MAC. The
 * secret itself stays, so lanes compute without having to agree on a new one. In the first seconds
 * of a period the cookies of the one before hold as well: else who got one at its end would be
 * asked again by the retry that carries it.
 *
 * A source that has proved itself is held to 20 messages a second, five at once, by buckets: an
 * IPv4 address or an IPv6 /64 each. The table has a fixed size and keyed places, four to a set;
 * in a full set the one that has waited longest makes room, so nobody's flood keeps another out.
 */
#include "wg/wg_priv.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define PACE    (NS_PER_SEC / 20)
#define BURST   5
#define OVERLAP (WG_REKEY_TIMEOUT + NS_PER_SEC) /* a retry with its jitter, and its way */
#define PERIOD  (WG_COOKIE_SECRET_LIFE - OVERLAP)

static struct wg_mac_keys mac_keys(const struct key *public_key)
{
	struct wg_mac_keys k;

	crypto_blake2s_hash("mac1----", 8, public_key->b, KEY_LEN, k.mac1);
	crypto_blake2s_hash("cookie--", 8, public_key->b, KEY_LEN, k.cookie);
	return k;
}

int wg_cookie_init(struct wg_device *d)
{
	struct wg_checker *c = &d->checker;

	c->secret = secret_new();
	c->buckets = calloc((size_t)WG_BUCKET_SETS * WG_BUCKET_WAYS, sizeof(*c->buckets));
	atomic_flag_clear(&c->buckets_lock);
	wg_random(d, c->table_key, sizeof(c->table_key));
	if (!c->secret || !c->buckets)
		return -ENOMEM;
	wg_random(d, c->secret->b, KEY_LEN);
	return 0;
}

void wg_cookie_clear(struct wg_device *d)
{
	secret_free(d->checker.secret);
	free(d->checker.buckets);
}

void wg_cookie_set_key(struct wg_device *d)
{
	struct wg_mac_keys k = mac_keys(&d->public_key);

	wg_words_write(&d->checker.keys_seq, d->checker.keys, &k, sizeof(k));
}

void wg_cookie_set_peer(struct wg_peer *p)
{
	p->cookie.keys = mac_keys(&p->public_key);
}

static struct wg_mac_keys own_keys(const struct wg_device *d)
{
	struct wg_mac_keys k;

	wg_words_read(&d->checker.keys_seq, d->checker.keys, &k, sizeof(k));
	return k;
}

static struct wg_macs *macs_of(void *message, size_t len)
{
	return (struct wg_macs *)((uint8_t *)message + len - sizeof(struct wg_macs));
}

static const struct wg_macs *macs_in(const void *message, size_t len)
{
	return (const struct wg_macs *)((const uint8_t *)message + len - sizeof(struct wg_macs));
}

void wg_cookie_sign(struct wg_peer *p, void *message, size_t len, struct mono now)
{
	struct wg_cookie *c = &p->cookie;
	struct wg_macs *m = macs_of(message, len);

	crypto_mac(c->keys.mac1, KEY_LEN, message, len - sizeof(*m), m->mac1);
	memcpy(c->mac1, m->mac1, sizeof(c->mac1));
	c->sent = true;
	if (c->valid && mono_since(now, c->birth) >= WG_COOKIE_LIFE) {
		c->valid = false;
		mem_wipe(c->cookie, sizeof(c->cookie));
	}
	if (c->valid)
		crypto_mac(c->cookie, sizeof(c->cookie), message, len - sizeof(m->mac2), m->mac2);
	else
		memset(m->mac2, 0, sizeof(m->mac2));
}

bool wg_cookie_mac1_ok(const struct wg_device *d, const void *message, size_t len)
{
	const struct wg_macs *m = macs_in(message, len);
	struct wg_mac_keys keys = own_keys(d);
	uint8_t want[16];

	crypto_mac(keys.mac1, KEY_LEN, message, len - sizeof(*m), want);
	return crypto_eq(want, m->mac1, sizeof(want));
}

/* Under the MAC: the period, address and port in network order; 14 or 26 bytes, so the families
 * cannot be mixed up. */
static void make_cookie(const struct wg_device *d, const struct ip_endpoint *from, int64_t period,
			uint8_t ret[static 16])
{
	uint8_t b[sizeof(period) + 18];
	size_t n = ip_bytes(from->addr.family);
	uint16_t port = htobe16(from->port);

	memcpy(b, &period, sizeof(period));
	memcpy(b + sizeof(period), from->addr.b, n);
	memcpy(b + sizeof(period) + n, &port, 2);
	crypto_mac(d->checker.secret->b, KEY_LEN, b, sizeof(period) + n + 2, ret);
}

static bool proves(const uint8_t cookie[static 16], const void *message, size_t len)
{
	const struct wg_macs *m = macs_in(message, len);
	uint8_t want[16];

	crypto_mac(cookie, 16, message, len - sizeof(m->mac2), want);
	return crypto_eq(want, m->mac2, sizeof(want));
}

bool wg_cookie_mac2_ok(const struct wg_device *d, const void *message, size_t len,
		       const struct ip_endpoint *from, struct mono now,
		       uint8_t ret_cookie[static 16])
{
	static const uint8_t none[16];
	int64_t period = now.ns / PERIOD;
	uint8_t before[16];
	bool ok;

	make_cookie(d, from, period, ret_cookie);
	if (crypto_eq(macs_in(message, len)->mac2, none, sizeof(none)))
		return false;
	if (proves(ret_cookie, message, len))
		return true;
	if (now.ns % PERIOD >= OVERLAP)
		return false;
	make_cookie(d, from, period - 1, before);
	ok = proves(before, message, len);
	mem_wipe(before, sizeof(before));
	return ok;
}

bool wg_cookie_loaded(struct wg_device *d, bool now_loaded, struct mono now)
{
	_Atomic int64_t *at = &d->checker.loaded_at;

	if (now_loaded)
		atomic_store_explicit(at, wg_stamp(now), memory_order_relaxed);
	return now_loaded || wg_cookie_under_load(d, now);
}

bool wg_cookie_under_load(const struct wg_device *d, struct mono now)
{
	int64_t at = atomic_load_explicit(&d->checker.loaded_at, memory_order_relaxed);

	return at && now.ns - at < WG_LOAD_HYSTERESIS;
}

static bool allow(struct wg_bucket *set, uint64_t tag, struct mono now)
{
	struct wg_bucket *b = &set[0];

	for (unsigned i = 0; i < WG_BUCKET_WAYS; i++) {
		if (set[i].tag == tag) {
			b = &set[i];
			break;
		}
		if (b->tag && (!set[i].tag || set[i].full < b->full))
			b = &set[i];
	}
	if (b->tag != tag)
		*b = (struct wg_bucket){.tag = tag, .full = now.ns};
	if (b->full < now.ns)
		b->full = now.ns;
	if (b->full - now.ns > (BURST - 1) * PACE)
		return false;
	b->full += PACE;
	return true;
}

bool wg_cookie_allow(struct wg_device *d, const struct ip_endpoint *from, struct mono now)
{
	struct wg_checker *c = &d->checker;
	bool v6 = from->addr.family == AF_INET6, ok;
	uint64_t tag = crypto_siphash(c->table_key, from->addr.b, v6 ? 8 : 4) << 1 | v6;

	while (atomic_flag_test_and_set_explicit(&c->buckets_lock, memory_order_acquire))
		;
	ok = allow(&c->buckets[(tag >> 32) % WG_BUCKET_SETS * WG_BUCKET_WAYS], tag ? tag : 2, now);
	atomic_flag_clear_explicit(&c->buckets_lock, memory_order_release);
	return ok;
}

/* The sender's index stands at the same place in initiations and responses. */
void wg_cookie_reply(const struct wg_device *d, const void *message, size_t len,
		     const uint8_t cookie[static 16], struct wg_msg_cookie *ret)
{
	const struct wg_macs *m = macs_in(message, len);
	struct wg_mac_keys keys = own_keys(d);

	memcpy(ret->type, (uint8_t[]){WG_KIND_COOKIE, 0, 0, 0}, sizeof(ret->type));
	memcpy(&ret->receiver,
	       (const uint8_t *)message + offsetof(struct wg_msg_initiation, sender),
	       sizeof(ret->receiver));
	crypto_xseal(keys.cookie, ret->nonce, m->mac1, sizeof(m->mac1), cookie, 16, ret->cookie);
}

bool wg_cookie_take(struct wg_peer *p, const struct wg_msg_cookie *m, struct mono now)
{
	struct wg_cookie *c = &p->cookie;
	uint8_t cookie[16];

	if (!c->sent || crypto_xopen(c->keys.cookie, m->nonce, c->mac1, sizeof(c->mac1), m->cookie,
				     sizeof(m->cookie), cookie) < 0)
		return false;
	memcpy(c->cookie, cookie, sizeof(cookie));
	mem_wipe(cookie, sizeof(cookie));
	c->birth = now;
	c->valid = true;
	c->sent = false;
	return true;
}
