/*
 * The AEAD backend "split": RFC 8439 section 2.8 put together from OpenSSL's ChaCha20 and
 * Poly1305. The same assembly as "evp" runs, with less around it for each packet.
 *
 *     block 0 of the key stream ──> key of Poly1305 (its first half)
 *     block 1 …                 ──> cipher text = plain text XOR key stream
 *     Poly1305(cipher text || zeros up to 16 || 0 as 64 bits || length as 64 bits) = tag
 *
 * Opening computes the tag first, so what is not authentic is not decrypted.
 *
 * Each packet keys Poly1305 anew; its context is wiped by OpenSSL as the tag is taken.
 *
 * OpenSSL's vector code pays for a change to and from its own form of numbers, so that Poly1305
 * over the packet and, by itself, over the one or two blocks behind it costs half as much again as
 * over all in one piece. Block 0 of the key stream by itself costs a fifth of a packet's others. So
 * a packet is copied, for a few per cent, to where there is room before and behind it.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#define BLOCK  64   /* of ChaCha20 */
#define PACKET 2048 /* longer ones are not copied, and little is lost by it */
#define TAIL   (15 + 16)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *chacha20; /* set once, then only read */
static EVP_MAC *poly1305;

struct split {
	EVP_CIPHER_CTX *cipher;
	EVP_MAC_CTX *mac;
};

static void fetch(void)
{
	chacha20 = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	poly1305 = EVP_MAC_fetch(NULL, "Poly1305", NULL);
}

static bool split_available(void)
{
	pthread_once(&once, fetch);
	return chacha20 && poly1305;
}

static void split_free(void *ctx)
{
	struct split *s = ctx;

	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->cipher); /* wipes the key */
	EVP_MAC_CTX_free(s->mac);
	free(s);
}

static void *split_new(const struct key *key, bool seal)
{
	struct split *s = split_available() ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->cipher = EVP_CIPHER_CTX_new();
	s->mac = EVP_MAC_CTX_new(poly1305);
	/* A stream cipher: both directions encrypt. */
	if (!s->cipher || !s->mac ||
	    EVP_EncryptInit_ex2(s->cipher, chacha20, key->b, NULL, NULL) != 1) {
		split_free(s);
		return NULL;
	}
	return s;
}

static bool set_nonce(struct split *s, uint64_t counter)
{
	uint8_t iv[16] = {0}; /* OpenSSL's: block number (LE), nonce */

	crypto_nonce(counter, iv + 4);
	return EVP_EncryptInit_ex2(s->cipher, NULL, NULL, iv, NULL) == 1;
}

static bool stream_xor(struct split *s, uint8_t *buf, size_t len)
{
	int out;

	return len == 0 || EVP_EncryptUpdate(s->cipher, buf, &out, buf, (int)len) == 1;
}

/* Begins a packet: the cipher stands at block 1, the MAC is keyed. */
static bool begin(struct split *s, uint64_t counter)
{
	uint8_t stream[BLOCK] = {0};
	bool ok = set_nonce(s, counter) && stream_xor(s, stream, BLOCK) &&
		  EVP_MAC_init(s->mac, stream, KEY_LEN, NULL) == 1;

	mem_wipe(stream, sizeof(stream));
	return ok;
}

/* Padding and lengths, as they follow the cipher text; at most TAIL bytes. */
static size_t put_tail(uint8_t tail[static TAIL], size_t len)
{
	size_t pad = -len & 15;
	uint64_t le = htole64(len);

	memset(tail, 0, pad + 8);
	memcpy(tail + pad + 8, &le, sizeof(le));
	return pad + 16;
}

static bool finish(struct split *s, uint8_t ret[static CRYPTO_TAG])
{
	size_t len;

	return EVP_MAC_final(s->mac, ret, &len, CRYPTO_TAG) == 1;
}

/* Of a cipher text with TAIL bytes of room behind it. */
static bool tag_of(struct split *s, uint8_t *text, size_t len, uint8_t ret[static CRYPTO_TAG])
{
	len += put_tail(text + len, len);
	return EVP_MAC_update(s->mac, text, len) == 1 && finish(s, ret);
}

/* Of one that stays where it is. */
static bool tag_of_long(struct split *s, const uint8_t *text, size_t len,
			uint8_t ret[static CRYPTO_TAG])
{
	uint8_t tail[TAIL];

	return EVP_MAC_update(s->mac, text, len) == 1 &&
	       EVP_MAC_update(s->mac, tail, put_tail(tail, len)) == 1 && finish(s, ret);
}

static bool seal_packet(struct split *s, const struct crypto_aead_job *j)
{
	uint8_t *tag = j->buf + j->len, b[BLOCK + PACKET + TAIL];

	memset(b, 0, BLOCK);
	memcpy(b + BLOCK, j->buf, j->len);
	bool ok = set_nonce(s, j->counter) && stream_xor(s, b, BLOCK + j->len) &&
		  EVP_MAC_init(s->mac, b, KEY_LEN, NULL) == 1;

	mem_wipe(b, BLOCK);
	ok = ok && tag_of(s, b + BLOCK, j->len, tag);
	memcpy(j->buf, b + BLOCK, j->len);
	return ok;
}

static bool seal_long(struct split *s, const struct crypto_aead_job *j)
{
	return j->len <= INT_MAX && begin(s, j->counter) && stream_xor(s, j->buf, j->len) &&
	       tag_of_long(s, j->buf, j->len, j->buf + j->len);
}

static int split_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(jobs[i].len <= PACKET ? seal_packet : seal_long)(ctx, &jobs[i]))
			return -EIO;
	return 0;
}

static bool tag_of_packet(struct split *s, const struct crypto_aead_job *j,
			  uint8_t ret[static CRYPTO_TAG])
{
	uint8_t b[PACKET + TAIL];

	memcpy(b, j->buf, j->len);
	return tag_of(s, b, j->len, ret);
}

static bool open_one(struct split *s, const struct crypto_aead_job *j, uint8_t tag[CRYPTO_TAG])
{
	return j->len <= INT_MAX && begin(s, j->counter) &&
	       (j->len <= PACKET ? tag_of_packet(s, j, tag)
				 : tag_of_long(s, j->buf, j->len, tag)) &&
	       crypto_eq(tag, j->buf + j->len, CRYPTO_TAG) && stream_xor(s, j->buf, j->len);
}

static void split_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t tag[CRYPTO_TAG];

		jobs[i].ok = open_one(ctx, &jobs[i], tag);
		mem_wipe(tag, sizeof(tag)); /* a forger's would be worth having */
	}
}

const struct crypto_aead_ops crypto_aead_split = {
	.name = "split",
	.available = split_available,
	.new = split_new,
	.free = split_free,
	.seal = split_seal,
	.open = split_open,
};
