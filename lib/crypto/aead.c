/*
 * The AEAD backend "evp", which every machine has: the algorithm is fetched once for the process (a
 * fetch per packet costs more than the packet), a context is keyed once, and each packet sets the
 * nonce alone.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>

static EVP_CIPHER *chachapoly; /* set once by crypto_aead_init, then only read */

int crypto_aead_init(void)
{
	if (!chachapoly)
		chachapoly = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	return chachapoly ? 0 : -EIO;
}

static void evp_free(void *ctx)
{
	EVP_CIPHER_CTX_free(ctx); /* wipes the key */
}

static void *evp_new(const struct key *key, bool seal)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (c && EVP_CipherInit_ex2(c, chachapoly, key->b, NULL, seal, NULL) != 1) {
		evp_free(c);
		c = NULL;
	}
	return c;
}

static int evp_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct crypto_aead_job *j = &jobs[i];
		uint8_t iv[12];
		int len;

		crypto_nonce(j->counter, iv);
		if (j->len > INT_MAX || EVP_EncryptInit_ex2(ctx, NULL, NULL, iv, NULL) != 1 ||
		    (j->len > 0 &&
		     EVP_EncryptUpdate(ctx, j->buf, &len, j->buf, (int)j->len) != 1) ||
		    EVP_EncryptFinal_ex(ctx, j->buf + j->len, &len) != 1 ||
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG, j->buf + j->len) !=
			    1)
			return -EIO;
	}
	return 0;
}

static void evp_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct crypto_aead_job *j = &jobs[i];
		uint8_t iv[12], none[CRYPTO_TAG];
		int len;

		crypto_nonce(j->counter, iv);
		j->ok = j->len <= INT_MAX && EVP_DecryptInit_ex2(ctx, NULL, NULL, iv, NULL) == 1 &&
			EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG,
					    j->buf + j->len) == 1 &&
			(j->len == 0 ||
			 EVP_DecryptUpdate(ctx, j->buf, &len, j->buf, (int)j->len) == 1) &&
			EVP_DecryptFinal_ex(ctx, none, &len) == 1;
	}
}

const struct crypto_aead_ops crypto_aead_evp = {
	.name = "evp",
	.new = evp_new,
	.free = evp_free,
	.seal = evp_seal,
	.open = evp_open,
};
