/*
 * BLAKE2s after RFC 7693. Our own, because a handshake makes some forty short hashes and a flood
 * three for each message: a state on the stack needs no allocation, no context for each thread
 * and cannot fail, and is faster than OpenSSL's EVP for short inputs (by a quarter for 64 bytes).
 */
#include "crypto/crypto.h"
#include "base/mem.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static const uint32_t iv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
			       0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

static inline uint32_t rotr(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

#define G(a, b, c, d, x, y)                                                                        \
	do {                                                                                       \
		a += b + (x);                                                                      \
		d = rotr(d ^ a, 16);                                                               \
		c += d;                                                                            \
		b = rotr(b ^ c, 12);                                                               \
		a += b + (y);                                                                      \
		d = rotr(d ^ a, 8);                                                                \
		c += d;                                                                            \
		b = rotr(b ^ c, 7);                                                                \
	} while (0)

/* One round with the message words in the order of sigma's row (RFC 7693 section 2.7). */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                \
	do {                                                                                       \
		G(v[0], v[4], v[8], v[12], m[s0], m[s1]);                                          \
		G(v[1], v[5], v[9], v[13], m[s2], m[s3]);                                          \
		G(v[2], v[6], v[10], v[14], m[s4], m[s5]);                                         \
		G(v[3], v[7], v[11], v[15], m[s6], m[s7]);                                         \
		G(v[0], v[5], v[10], v[15], m[s8], m[s9]);                                         \
		G(v[1], v[6], v[11], v[12], m[s10], m[s11]);                                       \
		G(v[2], v[7], v[8], v[13], m[s12], m[s13]);                                        \
		G(v[3], v[4], v[9], v[14], m[s14], m[s15]);                                        \
	} while (0)

static void compress(struct crypto_blake2s *s, const uint8_t *block, bool last)
{
	uint32_t m[16], v[16];

	for (unsigned i = 0; i < 16; i++) {
		memcpy(&m[i], block + 4 * i, 4);
		m[i] = le32toh(m[i]);
	}
	memcpy(v, s->h, sizeof(s->h));
	memcpy(v + 8, iv, sizeof(iv));
	v[12] ^= (uint32_t)s->bytes;
	v[13] ^= (uint32_t)(s->bytes >> 32);
	if (last)
		v[14] = ~v[14];
	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
	ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
	ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
	ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
	ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
	ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
	ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
	ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
	ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
	for (unsigned i = 0; i < 8; i++)
		s->h[i] ^= v[i] ^ v[i + 8];
	mem_wipe(m, sizeof(m));
	mem_wipe(v, sizeof(v));
}

void crypto_blake2s_init(struct crypto_blake2s *s, size_t out_len, const void *key, size_t key_len)
{
	assert(out_len > 0 && out_len <= 32 && key_len <= 32);
	memcpy(s->h, iv, sizeof(iv));
	s->h[0] ^= 0x01010000 | (uint32_t)key_len << 8 | (uint32_t)out_len;
	s->bytes = 0;
	s->used = 0;
	s->out_len = (unsigned)out_len;
	if (key_len > 0) {
		memset(s->block, 0, sizeof(s->block));
		memcpy(s->block, key, key_len);
		s->used = sizeof(s->block);
	}
}

/* The last block is compressed by `final` only, so a full one waits until more comes. */
void crypto_blake2s_update(struct crypto_blake2s *s, const void *in, size_t len)
{
	const uint8_t *p = in;

	while (len > 0) {
		if (s->used == sizeof(s->block)) {
			s->bytes += sizeof(s->block);
			compress(s, s->block, false);
			s->used = 0;
		}
		size_t n = sizeof(s->block) - s->used;
		if (n > len)
			n = len;
		memcpy(s->block + s->used, p, n);
		s->used += (unsigned)n;
		p += n;
		len -= n;
	}
}

void crypto_blake2s_final(struct crypto_blake2s *s, void *out)
{
	s->bytes += s->used;
	memset(s->block + s->used, 0, sizeof(s->block) - s->used);
	compress(s, s->block, true);
	for (unsigned i = 0; i < 8; i++)
		s->h[i] = htole32(s->h[i]);
	memcpy(out, s->h, s->out_len);
	mem_wipe(s, sizeof(*s));
}

void crypto_blake2s_hash(const void *a, size_t a_len, const void *b, size_t b_len,
			 uint8_t ret[static CRYPTO_HASH])
{
	struct crypto_blake2s s;

	crypto_blake2s_init(&s, CRYPTO_HASH, NULL, 0);
	crypto_blake2s_update(&s, a, a_len);
	crypto_blake2s_update(&s, b, b_len);
	crypto_blake2s_final(&s, ret);
}

void crypto_mac(const void *key, size_t key_len, const void *in, size_t len, uint8_t ret[static 16])
{
	struct crypto_blake2s s;

	crypto_blake2s_init(&s, 16, key, key_len);
	crypto_blake2s_update(&s, in, len);
	crypto_blake2s_final(&s, ret);
}

void crypto_hmac(const void *key, size_t key_len, const void *in, size_t len,
		 uint8_t ret[static CRYPTO_HASH])
{
	struct crypto_blake2s s;
	uint8_t pad[64] = {0}, inner[CRYPTO_HASH];

	if (key_len > sizeof(pad))
		crypto_blake2s_hash(key, key_len, NULL, 0, pad);
	else
		memcpy(pad, key, key_len);
	for (unsigned i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	crypto_blake2s_init(&s, CRYPTO_HASH, NULL, 0);
	crypto_blake2s_update(&s, pad, sizeof(pad));
	crypto_blake2s_update(&s, in, len);
	crypto_blake2s_final(&s, inner);
	for (unsigned i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5C;
	crypto_blake2s_init(&s, CRYPTO_HASH, NULL, 0);
	crypto_blake2s_update(&s, pad, sizeof(pad));
	crypto_blake2s_update(&s, inner, sizeof(inner));
	crypto_blake2s_final(&s, ret);
	mem_wipe(pad, sizeof(pad));
	mem_wipe(inner, sizeof(inner));
}

void crypto_kdf(const uint8_t chain[static CRYPTO_HASH], const void *in, size_t len, uint8_t *ret1,
		uint8_t *ret2, uint8_t *ret3)
{
	uint8_t *rets[] = {ret1, ret2, ret3};
	uint8_t secret[CRYPTO_HASH], t[CRYPTO_HASH + 1];

	crypto_hmac(chain, CRYPTO_HASH, in, len, secret);
	for (uint8_t i = 0; i < 3 && rets[i]; i++) {
		t[i ? CRYPTO_HASH : 0] = (uint8_t)(i + 1);
		crypto_hmac(secret, sizeof(secret), t, i ? sizeof(t) : 1, t);
		memcpy(rets[i], t, CRYPTO_HASH);
	}
	mem_wipe(secret, sizeof(secret));
	mem_wipe(t, sizeof(t));
}
