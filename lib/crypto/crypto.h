/*
 * The primitives of WireGuard (the WireGuard paper, section 5.4): X25519, BLAKE2s, HKDF over it,
 * ChaCha20-Poly1305 with counter nonces, XChaCha20-Poly1305, and a keyed hash for tables.
 *
 * crypto_init() comes first, once, before any other thread is started. All calls but the AEAD
 * contexts' are reentrant; a context belongs to one thread at a time. Nothing here waits, and
 * only crypto_aead_ops.new and crypto_aead_choose() allocate (and a backend in each new thread).
 * Comparisons of secrets are made in constant time; intermediate values are wiped.
 *
 * X25519 is libsodium's: measured beside OpenSSL's at the same speed for the multiplication,
 * while OpenSSL computes the public key again for each private key that it is given (2.4 times
 * the whole).
 */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/key.h"

#define CRYPTO_TAG  16
#define CRYPTO_HASH 32 /* BLAKE2s-256 */

/* 0, or -EIO where libsodium or OpenSSL cannot do their part (a FIPS-only configuration). */
int crypto_init(void);

/* Makes 32 random bytes a private key (RFC 7748 section 5: clamping). */
void crypto_x25519_clamp(struct key *k);
void crypto_x25519_public(const struct key *private_key, struct key *ret);
/* -EINVAL for an all-zero result, which a peer's point of low order gives; *ret is unchanged. */
int crypto_x25519(const struct key *private_key, const struct key *public_key, struct key *ret);

/* BLAKE2s (RFC 7693), keyed where key_len is not 0; out_len and key_len up to 32. `final` wipes
 * the state. */
struct crypto_blake2s {
	uint32_t h[8];
	uint64_t bytes;
	uint8_t block[64];
	unsigned used, out_len;
};

void crypto_blake2s_init(struct crypto_blake2s *s, size_t out_len, const void *key, size_t key_len);
void crypto_blake2s_update(struct crypto_blake2s *s, const void *in, size_t len);
void crypto_blake2s_final(struct crypto_blake2s *s, void *out);

/* HASH(a || b); b may be empty. */
void crypto_blake2s_hash(const void *a, size_t a_len, const void *b, size_t b_len,
			 uint8_t ret[static CRYPTO_HASH]);
/* MAC(key, in): keyed BLAKE2s with 16 bytes of output. */
void crypto_mac(const void *key, size_t key_len, const void *in, size_t len,
		uint8_t ret[static 16]);
/* HMAC (RFC 2104) with BLAKE2s-256. */
void crypto_hmac(const void *key, size_t key_len, const void *in, size_t len,
		 uint8_t ret[static CRYPTO_HASH]);
/* KDF1 to KDF3: HKDF (RFC 5869) with chain as the salt and no info. The outputs may be NULL from
 * the second on (fewer are computed); each may be the same memory as chain or in. */
void crypto_kdf(const uint8_t chain[static CRYPTO_HASH], const void *in, size_t len, uint8_t *ret1,
		uint8_t *ret2, uint8_t *ret3);

/* One message with associated data and counter 0, as handshakes use it. `out` takes len + 16
 * bytes for seal; open takes len bytes of ciphertext with the tag and writes len - 16. `open`
 * returns 0 or -EBADMSG. In place is allowed. */
void crypto_seal0(const uint8_t key[static KEY_LEN], const void *ad, size_t ad_len, const void *in,
		  size_t len, void *out);
int crypto_open0(const uint8_t key[static KEY_LEN], const void *ad, size_t ad_len, const void *in,
		 size_t len, void *out);

/* The same with XChaCha20-Poly1305 and a 24-byte nonce, as cookies use it. */
void crypto_xseal(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 24], const void *ad,
		  size_t ad_len, const void *in, size_t len, void *out);
int crypto_xopen(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 24], const void *ad,
		 size_t ad_len, const void *in, size_t len, void *out);

/* Constant time. */
bool crypto_eq(const void *a, const void *b, size_t len);

/* SipHash-2-4 for tables that others can fill. */
uint64_t crypto_siphash(const uint8_t key[static 16], const void *in, size_t len);

/*
 * ChaCha20-Poly1305 (RFC 8439) for data packets, without associated data. The nonce is four
 * zero bytes and the counter, little-endian. A job is one packet in place: `len` bytes of plain
 * text (seal) or of ciphertext without its tag (open) at `buf`, the tag behind them at buf + len.
 */
struct crypto_aead_job {
	uint8_t *buf;
	uint32_t len;
	bool ok; /* set by open: authentic. The buffer of one that is not is undefined. */
	uint64_t counter;
};

/* A backend. Contexts are for one key, one direction and one thread. */
struct crypto_aead_ops {
	const char *name;
	/* Loads what it needs of this machine, once; false: it has not got it. NULL: needs nothing.
	 * Any thread, and before the process is confined. */
	bool (*available)(void);
	void *(*new)(const struct key *key, bool seal); /* NULL: memory has run out */
	void (*free)(void *ctx);                        /* wipes; NULL is accepted; any thread */
	/* 0, or -EIO: then nothing of the batch may be sent. */
	int (*seal)(void *ctx, struct crypto_aead_job *jobs, size_t n);
	void (*open)(void *ctx, struct crypto_aead_job *jobs, size_t n);
};

/* OpenSSL's EVP with one context a key: only the nonce is set anew for each packet. Works on
 * every machine. */
extern const struct crypto_aead_ops crypto_aead_evp;
/* "split": OpenSSL's ChaCha20 and Poly1305, each by itself, which costs less a packet. */
extern const struct crypto_aead_ops crypto_aead_split;
/* "ipsec-mb": Intel's library of that name (libIPSec_MB.so.1), where it is installed. */
extern const struct crypto_aead_ops crypto_aead_ipsec;

#define CRYPTO_AEAD_BACKENDS 3
/* All that are built in, the first being preferred where two are equally fast; NULL at the end. */
extern const struct crypto_aead_ops *const crypto_aead_all[CRYPTO_AEAD_BACKENDS + 1];

/* Known answers in both directions, and that a changed bit is noticed: 0, -EIO, or -ENOTSUP for
 * one that this machine has not got. */
int crypto_aead_selftest(const struct crypto_aead_ops *ops);

/* Nanoseconds a packet, the mean of sealing and opening full ones (1420 bytes) and small ones
 * (64 bytes): the best of what fits into 2 ms. 0 where it fails. */
unsigned crypto_aead_measure(const struct crypto_aead_ops *ops);

struct crypto_aead_choice {
	const struct crypto_aead_ops *ops;
	/* As measured, in the order of crypto_aead_all; 0: not available, broken or not asked. */
	unsigned ns[CRYPTO_AEAD_BACKENDS];
};

/*
 * The backend to use: call it once at the start of a program that moves data, after crypto_init()
 * and before it confines itself (a library may be loaded); 8 ms or so. The result lives for ever
 * and is what wg_new() takes; ops->name is for logs and statistics.
 *
 * `name` forces one ("evp", "split", "ipsec-mb") that still has to pass its self-test; NULL or
 * "auto" takes the fastest of those that pass. 0; -EINVAL for a name that is unknown; -ENOTSUP
 * where the named one is not on this machine; -EIO where it, or every one, fails its self-test.
 */
int crypto_aead_choose(const char *name, struct crypto_aead_choice *ret, struct err *e);

#endif
