/* For the files of lib/crypto. */
#ifndef CRYPTO_CRYPTO_PRIV_H
#define CRYPTO_CRYPTO_PRIV_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/key.h"

/* Fetches what the AEAD backend of every machine needs: 0 or -EIO. */
int crypto_aead_init(void);

/* A data packet's nonce (RFC 8439 section 2.3): four zero bytes, the counter little-endian. */
static inline void crypto_nonce(uint64_t counter, uint8_t ret[static 12])
{
	uint64_t le = htole64(counter);

	memset(ret, 0, 4);
	memcpy(ret + 4, &le, sizeof(le));
}

/* What crypto_seal0 and crypto_open0 are with a nonce of zeros; published vectors have others. */
void crypto_seal_nonce(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 12],
		       const void *ad, size_t ad_len, const void *in, size_t len, void *out);
int crypto_open_nonce(const uint8_t key[static KEY_LEN], const uint8_t nonce[static 12],
		      const void *ad, size_t ad_len, const void *in, size_t len, void *out);

#endif
