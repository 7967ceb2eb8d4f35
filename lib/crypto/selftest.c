/*
 * A backend's self-test at start: batches of packets of lengths around every block boundary, around
 * the one above which "split" has another way, and of a full packet at an MTU of 8920, with
 * counters beyond 32 bits, compared with libsodium's implementation, which shares no code with any
 * backend. Then each packet is opened, and once more with a bit changed.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define BATCH 19
#define BYTES 18432 /* for all of a batch with their tags */

struct trial {
	struct crypto_aead_job jobs[BATCH];
	uint8_t got[BYTES], want[BYTES]; /* one packet behind the other */
};

/* Where the packet's result should be. */
static uint8_t *wanted(struct trial *t, unsigned i)
{
	return t->want + (t->jobs[i].buf - t->got);
}

static void fill(struct trial *t, const struct key *key, unsigned round)
{
	static const uint32_t lens[BATCH] = {0,   1,   15,  16,  17,   63,   64,   65,   80,  127,
					     128, 129, 255, 576, 1408, 1500, 2048, 2049, 8928};
	uint8_t *at = t->got;

	for (unsigned i = 0; i < BATCH; i++) {
		struct crypto_aead_job *j = &t->jobs[i];
		uint8_t nonce[12];

		*j = (struct crypto_aead_job){
			.buf = at,
			.len = lens[(i + round) % BATCH],
			.counter = (uint64_t)round << 31 | (uint64_t)i << 60 | i,
		};
		for (unsigned k = 0; k < j->len; k++)
			j->buf[k] = (uint8_t)(k * 7 + i + round);
		crypto_nonce(j->counter, nonce);
		crypto_aead_chacha20poly1305_ietf_encrypt(wanted(t, i), NULL, j->buf, j->len, NULL,
							  0, NULL, nonce, key->b);
		at += j->len + CRYPTO_TAG;
	}
}

static bool one_round(const struct crypto_aead_ops *ops, void *seal, void *open,
		      const struct key *key, unsigned round, struct trial *t)
{
	fill(t, key, round);
	if (ops->seal(seal, t->jobs, BATCH) < 0)
		return false;
	for (unsigned i = 0; i < BATCH; i++)
		if (memcmp(t->jobs[i].buf, wanted(t, i), t->jobs[i].len + CRYPTO_TAG) != 0)
			return false;
	/* Every third one is damaged, in its tag or its text, and must be the only one refused. */
	for (unsigned i = round % 3; i < BATCH; i += 3)
		t->jobs[i].buf[(i * 5 + round) % (t->jobs[i].len + CRYPTO_TAG)] ^= 1;
	ops->open(open, t->jobs, BATCH);
	for (unsigned i = 0; i < BATCH; i++) {
		struct crypto_aead_job *j = &t->jobs[i];

		if (j->ok != (i % 3 != round % 3))
			return false;
		for (unsigned k = 0; j->ok && k < j->len; k++)
			if (j->buf[k] != (uint8_t)(k * 7 + i + round))
				return false;
	}
	return true;
}

int crypto_aead_selftest(const struct crypto_aead_ops *ops)
{
	struct key key;
	struct trial *t;
	void *seal, *open;
	bool ok;

	if (ops->available && !ops->available())
		return -ENOTSUP;
	t = malloc(sizeof(*t));
	for (unsigned i = 0; i < KEY_LEN; i++)
		key.b[i] = (uint8_t)(i * 11 + 3);
	seal = ops->new (&key, true);
	open = ops->new (&key, false);
	ok = t && seal && open;
	for (unsigned round = 0; ok && round < 4; round++)
		ok = one_round(ops, seal, open, &key, round, t);
	ops->free(seal);
	ops->free(open);
	free(t);
	return ok ? 0 : -EIO;
}
