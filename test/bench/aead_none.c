/*
 * The engine's choice of an AEAD, without one: nothing is encrypted, tags are zeros and not looked
 * at. Linked in the place of lib/crypto/choose.c it makes build/bench/harmony-wg-plain, whose speed
 * is the ceiling of what the data path around a cipher can reach. It is a program of its own, for
 * benchmarks in namespaces, and is not installed; no option or variable makes harmony-wg do this.
 */
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

static void *none_new(const struct key *key, bool seal)
{
	return malloc(1);
}

static int none_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(jobs[i].buf + jobs[i].len, 0, CRYPTO_TAG);
	return 0;
}

static void none_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = true;
}

static const struct crypto_aead_ops none = {
	.name = "none",
	.new = none_new,
	.free = free,
	.seal = none_seal,
	.open = none_open,
};

const struct crypto_aead_ops *const crypto_aead_all[CRYPTO_AEAD_BACKENDS + 1] = {&none, &none,
										 &none, NULL};

unsigned crypto_aead_measure(const struct crypto_aead_ops *ops)
{
	return 1;
}

int crypto_aead_choose(const char *name, struct crypto_aead_choice *ret, struct err *e)
{
	*ret = (struct crypto_aead_choice){.ops = &none};
	return 0;
}
