/*
 * Nanoseconds a packet of each AEAD backend of this machine, sealing and opening, by length and
 * by how many are in a batch; behind each its ratio to "evp". The best of ROUNDS short runs, so
 * that a busy machine disturbs it little.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "crypto/crypto.h"

#define ROUNDS    60
#define RUN_FOR   (NS_PER_MSEC)
#define BATCH_MAX 64
#define LEN_MAX   1420 /* a full packet, which is not padded beyond the MTU */

struct bench {
	void *seal, *open;
	struct crypto_aead_job jobs[BATCH_MAX];
	uint8_t data[BATCH_MAX][LEN_MAX + CRYPTO_TAG];
};

struct cost {
	double seal, open; /* 0: not measured */
};

/* What is sealed is opened again in place. */
static struct cost one_run(const struct crypto_aead_ops *ops, struct bench *b, unsigned batch)
{
	int64_t seal = 0, open = 0;
	uint64_t n = 0;

	while (seal + open < RUN_FOR) {
		struct mono t0 = mono_now();
		if (ops->seal(b->seal, b->jobs, batch) < 0)
			return (struct cost){0};
		struct mono t1 = mono_now();
		ops->open(b->open, b->jobs, batch);
		struct mono t2 = mono_now();

		seal += mono_since(t1, t0);
		open += mono_since(t2, t1);
		n += batch;
		for (unsigned i = 0; i < batch; i++) {
			if (!b->jobs[i].ok)
				return (struct cost){0};
			b->jobs[i].counter += batch;
		}
	}
	return (struct cost){(double)seal / (double)n, (double)open / (double)n};
}

static struct cost measure(const struct crypto_aead_ops *ops, struct bench *b, uint32_t len,
			   unsigned batch)
{
	struct cost best = {0};

	for (unsigned i = 0; i < batch; i++)
		b->jobs[i] = (struct crypto_aead_job){.buf = b->data[i], .len = len, .counter = i};
	for (unsigned r = 0; r < ROUNDS; r++) {
		struct cost c = one_run(ops, b, batch);

		if (best.seal == 0 || c.seal < best.seal)
			best.seal = c.seal;
		if (best.open == 0 || c.open < best.open)
			best.open = c.open;
	}
	return best;
}

static void row(struct bench *b, const struct crypto_aead_ops *ops, uint32_t len, unsigned batch,
		const struct cost *base)
{
	struct cost c = measure(ops, b, len, batch);

	printf("%-10s %6u %6u %9.0f %6.2f %9.0f %6.2f\n", ops->name, len, batch, c.seal,
	       base->seal > 0 ? c.seal / base->seal : 0, c.open,
	       base->open > 0 ? c.open / base->open : 0);
}

int main(void)
{
	static const uint32_t lens[] = {LEN_MAX, 576, 64, 0};
	static const unsigned batches[] = {1, 16, 64};
	static const struct key key = {{1, 2, 3}};
	struct crypto_aead_choice choice;
	struct err e = {0};
	struct bench *b = calloc(1, sizeof(*b));

	if (!b || crypto_init() < 0 || crypto_aead_choose(NULL, &choice, &e) < 0) {
		fprintf(stderr, "aead: %s\n", e.code ? e.msg : "cannot begin");
		return 1;
	}
	printf("%-10s %6s %6s %9s %6s %9s %6s\n", "backend", "bytes", "batch", "seal ns", "/evp",
	       "open ns", "/evp");
	for (unsigned l = 0; l < ARRAY_LEN(lens); l++)
		for (unsigned n = 0; n < ARRAY_LEN(batches); n++) {
			struct cost base;

			b->seal = crypto_aead_evp.new(&key, true);
			b->open = crypto_aead_evp.new(&key, false);
			base = measure(&crypto_aead_evp, b, lens[l], batches[n]);
			crypto_aead_evp.free(b->seal);
			crypto_aead_evp.free(b->open);
			for (unsigned i = 0; crypto_aead_all[i]; i++) {
				const struct crypto_aead_ops *ops = crypto_aead_all[i];

				if (ops->available && !ops->available())
					continue;
				b->seal = ops->new (&key, true);
				b->open = ops->new (&key, false);
				row(b, ops, lens[l], batches[n], &base);
				ops->free(b->seal);
				ops->free(b->open);
			}
		}
	printf("chosen: %s (", choice.ops->name);
	for (unsigned i = 0; crypto_aead_all[i]; i++)
		printf("%s%s %u ns", i ? ", " : "", crypto_aead_all[i]->name, choice.ns[i]);
	printf(")\n");
	free(b);
	return 0;
}
