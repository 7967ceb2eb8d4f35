/*
 * X25519 and what handshakes and cookies need of libsodium. Its calls allocate nothing and fail
 * only where the header says so.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

int crypto_init(void)
{
	if (sodium_init() < 0)
		return -EIO;
	return crypto_aead_init();
}

void crypto_x25519_clamp(struct key *k)
{
	k->b[0] &= 248;
	k->b[31] = (uint8_t)((k->b[31] & 127) | 64);
}

void crypto_x25519_public(const struct key *private_key, struct key *ret)
{
	crypto_scalarmult_base(ret->b, private_key->b);
}

int crypto_x25519(const struct key *private_key, const struct key *public_key, struct key *ret)
{
	struct key k;
	int r = crypto_scalarmult(k.b, private_key->b, public_key->b);

	if (r == 0)
		*ret = k;
	mem_wipe(&k, sizeof(k));
	return r == 0 ? 0 : -EINVAL;
}

static const uint8_t nonce0[12];

void crypto_seal_nonce(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 12],
		       const void *ad, size_t ad_len, const void *in, size_t len, void *out)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, ad, ad_len, NULL, nonce, key);
}

int crypto_open_nonce(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 12],
		      const void *ad, size_t ad_len, const void *in, size_t len, void *out)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len, ad, ad_len, nonce,
						      key) < 0)
		return -EBADMSG;
	return 0;
}

void crypto_seal0(const uint8_t key[static KEY_LEN], const void *ad, size_t ad_len, const void *in,
		  size_t len, void *out)
{
	crypto_seal_nonce(key, nonce0, ad, ad_len, in, len, out);
}

int crypto_open0(const uint8_t key[static KEY_LEN], const void *ad, size_t ad_len, const void *in,
		 size_t len, void *out)
{
	return crypto_open_nonce(key, nonce0, ad, ad_len, in, len, out);
}

void crypto_xseal(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 24], const void *ad,
		  size_t ad_len, const void *in, size_t len, void *out)
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, in, len, ad, ad_len, NULL, nonce,
						   key);
}

int crypto_xopen(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 24], const void *ad,
		 size_t ad_len, const void *in, size_t len, void *out)
{
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len, ad, ad_len, nonce,
						       key) < 0)
		return -EBADMSG;
	return 0;
}

bool crypto_eq(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

uint64_t crypto_siphash(const uint8_t key[static 16], const void *in, size_t len)
{
	uint64_t h;

	crypto_shorthash((unsigned char *)&h, in, len, key);
	return h;
}
