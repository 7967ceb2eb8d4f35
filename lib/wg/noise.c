/*
 * The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (the WireGuard paper, sections 5.4.2 and
 * 5.4.3, whose order of steps this follows).
 *
 *     initiator                                   responder
 *       e, es, s, ss, {stamp}    ──────────────>
 *                                <──────────────   e, ee, se, psk, {}
 *
 * Each step mixes into the chain (a key) or the hash (of everything said). The initiator's state
 * between the two messages is in the peer, with its secrets in slots; the responder's is on the
 * stack and ends as a session at once, so answering a peer leaves our own initiation to it
 * alone, and two that cross both complete.
 *
 * The product of the two static keys is computed when first needed, and kept.
 */
#include "wg/wg_priv.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

#define TAI64_BASE UINT64_C(0x400000000000000A) /* of 1970 UTC, with the ten seconds of then */

/* HASH(construction): where the chain begins, and HASH(that || identifier || responder's key). */
static void initial(const struct key *responder, uint8_t chain[static CRYPTO_HASH],
		    uint8_t hash[static CRYPTO_HASH])
{
	crypto_blake2s_hash(construction, sizeof(construction) - 1, NULL, 0, chain);
	crypto_blake2s_hash(chain, CRYPTO_HASH, identifier, sizeof(identifier) - 1, hash);
	crypto_blake2s_hash(hash, CRYPTO_HASH, responder->b, KEY_LEN, hash);
}

void wg_noise_set_key(struct wg_device *d)
{
	uint8_t chain[CRYPTO_HASH];

	initial(&d->public_key, chain, d->hash);
}

static void mix_hash(uint8_t hash[static CRYPTO_HASH], const void *in, size_t len)
{
	crypto_blake2s_hash(hash, CRYPTO_HASH, in, len, hash);
}

static void mix_ephemeral(uint8_t *chain, uint8_t *hash, const uint8_t public_key[static KEY_LEN])
{
	mix_hash(hash, public_key, KEY_LEN);
	crypto_kdf(chain, public_key, KEY_LEN, chain, NULL, NULL);
}

/* Mixes a product into the chain, with a key for the next encryption unless that is NULL. */
static int mix_dh(uint8_t *chain, uint8_t *key, const struct key *private_key,
		  const uint8_t public_key[static KEY_LEN])
{
	struct key pub, dh;

	memcpy(pub.b, public_key, KEY_LEN);
	if (crypto_x25519(private_key, &pub, &dh) < 0)
		return -EINVAL;
	crypto_kdf(chain, dh.b, KEY_LEN, chain, key, NULL);
	mem_wipe(&dh, sizeof(dh));
	return 0;
}

/* The peer's static-static product, or NULL for a key of low order and when memory is out. */
static const struct key *static_static(struct wg_peer *p)
{
	if (!p->static_static) {
		struct key *k = secret_new();

		if (k && crypto_x25519(p->d->private_key, &p->public_key, k) < 0) {
			secret_free(k);
			k = NULL;
		}
		p->static_static = k;
	}
	return p->static_static;
}

static void seal(uint8_t *hash, const uint8_t *key, const void *in, size_t len, uint8_t *out)
{
	crypto_seal0(key, hash, CRYPTO_HASH, in, len, out);
	mix_hash(hash, out, len + CRYPTO_TAG);
}

static int open(uint8_t *hash, const uint8_t *key, const uint8_t *in, size_t len, void *out)
{
	if (crypto_open0(key, hash, CRYPTO_HASH, in, len, out) < 0)
		return -EBADMSG;
	mix_hash(hash, in, len);
	return 0;
}

/* TAI64N in steps of 2^24 ns, so that it tells little about the clock, and beyond the last one. */
static void next_stamp(struct wg_peer *p, struct wall now)
{
	int64_t sec = now.ns / NS_PER_SEC, ns = now.ns % NS_PER_SEC;
	uint8_t stamp[12];
	uint64_t hi;
	uint32_t lo = (uint32_t)ns & ~UINT32_C(0xFFFFFF);

	hi = TAI64_BASE + (uint64_t)sec;
	uint64_t be = htobe64(hi);
	uint32_t be_lo = htobe32(lo);
	memcpy(stamp, &be, 8);
	memcpy(stamp + 8, &be_lo, 4);
	if (memcmp(stamp, p->sent_stamp, sizeof(stamp)) <= 0) {
		memcpy(&be, p->sent_stamp, 8);
		memcpy(&be_lo, p->sent_stamp + 8, 4);
		hi = be64toh(be);
		lo = (be32toh(be_lo) & ~UINT32_C(0xFFFFFF)) + (UINT32_C(1) << 24);
		if (lo >= NS_PER_SEC) {
			lo = 0;
			hi++;
		}
		be = htobe64(hi);
		be_lo = htobe32(lo);
		memcpy(stamp, &be, 8);
		memcpy(stamp + 8, &be_lo, 4);
	}
	memcpy(p->sent_stamp, stamp, sizeof(stamp));
}

void wg_handshake_clear(struct wg_peer *p)
{
	struct wg_handshake *h = &p->handshake;

	if (h->waiting)
		wg_index_remove(p->d, &h->index);
	h->waiting = false; /* a lane may be reading the rest of the index entry */
	secret_free(mem_steal(&h->ephemeral));
	secret_free(mem_steal(&h->chain));
	mem_wipe(h->hash, sizeof(h->hash));
}

static void fresh_ephemeral(struct wg_device *d, struct key *private_key, uint8_t *ret_public)
{
	struct key pub;

	wg_random(d, private_key->b, KEY_LEN);
	crypto_x25519_clamp(private_key);
	crypto_x25519_public(private_key, &pub);
	memcpy(ret_public, pub.b, KEY_LEN);
}

static int build_initiation(struct wg_peer *p, struct wg_handshake *h, struct wall now,
			    struct wg_msg_initiation *m)
{
	struct wg_device *d = p->d;
	const struct key *ss = static_static(p);
	uint8_t key[KEY_LEN];
	int r = -EINVAL;

	if (!ss)
		return -EINVAL;
	memset(m, 0, sizeof(*m));
	m->type[0] = WG_KIND_INITIATION;
	initial(&p->public_key, h->chain->b, h->hash);
	fresh_ephemeral(d, h->ephemeral, m->ephemeral);
	mix_ephemeral(h->chain->b, h->hash, m->ephemeral);
	if (mix_dh(h->chain->b, key, h->ephemeral, p->public_key.b) == 0) {
		seal(h->hash, key, d->public_key.b, KEY_LEN, m->public_key);
		crypto_kdf(h->chain->b, ss->b, KEY_LEN, h->chain->b, key, NULL);
		next_stamp(p, now);
		seal(h->hash, key, p->sent_stamp, sizeof(p->sent_stamp), m->stamp);
		r = 0;
	}
	mem_wipe(key, sizeof(key));
	return r;
}

int wg_noise_initiate(struct wg_peer *p, struct wall now, struct wg_msg_initiation *ret)
{
	struct wg_handshake *h = &p->handshake;
	int r;

	wg_handshake_clear(p);
	h->ephemeral = secret_new();
	h->chain = secret_new();
	if (!h->ephemeral || !h->chain)
		r = -ENOMEM;
	else if ((r = build_initiation(p, h, now, ret)) == 0)
		r = wg_index_add(p->d, &h->index);
	if (r < 0) {
		wg_handshake_clear(p);
		return r;
	}
	h->waiting = true;
	ret->sender = h->index.index;
	return 0;
}

struct wg_peer *wg_noise_read_initiation(struct wg_device *d, const struct wg_msg_initiation *m,
					 struct wg_received *st, enum wg_outcome *ret_outcome)
{
	struct wg_peer *p = NULL;
	const struct key *ss;
	uint8_t key[KEY_LEN];

	*ret_outcome = WG_HS_UNAUTHENTIC;
	crypto_blake2s_hash(construction, sizeof(construction) - 1, NULL, 0, st->chain);
	memcpy(st->hash, d->hash, CRYPTO_HASH);
	memcpy(st->ephemeral.b, m->ephemeral, KEY_LEN);
	st->sender = m->sender;
	mix_ephemeral(st->chain, st->hash, m->ephemeral);
	if (mix_dh(st->chain, key, d->private_key, m->ephemeral) < 0 ||
	    open(st->hash, key, m->public_key, sizeof(m->public_key), st->public_key.b) < 0)
		goto out;
	*ret_outcome = WG_HS_UNKNOWN;
	struct wg_peer *claimed = wg_peer_find(d, &st->public_key);
	if (!claimed)
		goto out;
	*ret_outcome = WG_HS_UNAUTHENTIC;
	ss = static_static(claimed);
	if (!ss)
		goto out;
	crypto_kdf(st->chain, ss->b, KEY_LEN, st->chain, key, NULL);
	if (open(st->hash, key, m->stamp, sizeof(m->stamp), st->stamp) == 0)
		p = claimed;
out:
	mem_wipe(key, sizeof(key));
	return p;
}

static void mix_preshared(const struct wg_peer *p, uint8_t *chain, uint8_t *hash, uint8_t *key)
{
	static const struct key none;
	uint8_t temp[CRYPTO_HASH];

	crypto_kdf(chain, (p->preshared ? p->preshared : &none)->b, KEY_LEN, chain, temp, key);
	mix_hash(hash, temp, sizeof(temp));
	mem_wipe(temp, sizeof(temp));
}

int wg_noise_respond(struct wg_peer *p, struct wg_received *st, struct wg_keypair *kp,
		     struct wg_msg_response *ret)
{
	struct key *ephemeral = secret_new();
	uint8_t key[KEY_LEN];
	int r = ephemeral ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->type[0] = WG_KIND_RESPONSE;
	ret->receiver = st->sender;
	fresh_ephemeral(p->d, ephemeral, ret->ephemeral);
	mix_ephemeral(st->chain, st->hash, ret->ephemeral);
	if (mix_dh(st->chain, NULL, ephemeral, st->ephemeral.b) < 0 ||
	    mix_dh(st->chain, NULL, ephemeral, p->public_key.b) < 0)
		r = -EINVAL;
	if (r == 0) {
		mix_preshared(p, st->chain, st->hash, key);
		seal(st->hash, key, NULL, 0, ret->empty);
		crypto_kdf(st->chain, NULL, 0, kp->recv->b, kp->send->b, NULL);
		kp->remote = st->sender;
		r = wg_index_add(p->d, &kp->index); /* from here lanes can find it */
		ret->sender = kp->index.index;
	}
	mem_wipe(key, sizeof(key));
	secret_free(ephemeral);
	return r;
}

/* The state is used up only by a response that is authentic. */
int wg_noise_read_response(struct wg_peer *p, const struct wg_msg_response *m,
			   struct wg_keypair *kp)
{
	struct wg_handshake *h = &p->handshake;
	uint8_t chain[CRYPTO_HASH], hash[CRYPTO_HASH], key[KEY_LEN], none[1];
	int r = -EBADMSG;

	memcpy(chain, h->chain->b, sizeof(chain));
	memcpy(hash, h->hash, sizeof(hash));
	mix_ephemeral(chain, hash, m->ephemeral);
	if (mix_dh(chain, NULL, h->ephemeral, m->ephemeral) == 0 &&
	    mix_dh(chain, NULL, p->d->private_key, m->ephemeral) == 0) {
		mix_preshared(p, chain, hash, key);
		r = open(hash, key, m->empty, sizeof(m->empty), none);
	}
	if (r == 0) {
		crypto_kdf(chain, NULL, 0, kp->send->b, kp->recv->b, NULL);
		kp->remote = m->sender;
		kp->initiator = true;
		atomic_store(&kp->confirmed, true);
	}
	mem_wipe(chain, sizeof(chain));
	mem_wipe(hash, sizeof(hash));
	mem_wipe(key, sizeof(key));
	return r;
}
