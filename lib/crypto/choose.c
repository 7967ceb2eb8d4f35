/*
 * Which implementation of ChaCha20-Poly1305 is the fastest depends on the processor and on the
 * versions of libraries, so it is measured at the start, after each has given known answers.
 *
 * A round seals a batch and opens it again. The best round counts, not the mean, so that being
 * interrupted (other programs, a busy host) does not decide.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "base/time.h"

#include <errno.h>
#include <string.h>

#define MEASURE_FOR (2 * NS_PER_MSEC)
#define ROUNDS_MIN  3
#define BATCH       16
#define LONG        1420 /* a full packet of a tunnel with an MTU of 1420, which is not padded */
#define SHORT       64   /* an acknowledgement */

const struct crypto_aead_ops *const crypto_aead_all[CRYPTO_AEAD_BACKENDS + 1] = {
	&crypto_aead_ipsec,
	&crypto_aead_split,
	&crypto_aead_evp,
};

struct bench {
	struct crypto_aead_job jobs[BATCH];
	uint8_t data[BATCH][LONG + CRYPTO_TAG];
};

/* Nanoseconds of one round; 0 where it fails. */
static int64_t one_round(const struct crypto_aead_ops *ops, void *seal, void *open, struct bench *b)
{
	struct mono start = mono_now();
	int64_t took;
	bool ok = ops->seal(seal, b->jobs, BATCH) == 0;

	ops->open(open, b->jobs, BATCH);
	took = mono_since(mono_now(), start);
	for (unsigned i = 0; i < BATCH; i++) {
		ok = ok && b->jobs[i].ok;
		b->jobs[i].counter += BATCH;
	}
	return !ok ? 0 : took > 0 ? took : 1;
}

static int64_t best_round(const struct crypto_aead_ops *ops, void *seal, void *open)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct mono start = mono_now();
	int64_t best = 0;

	for (unsigned i = 0; b && i < BATCH; i++) {
		b->jobs[i].buf = b->data[i];
		b->jobs[i].len = i % 2 ? SHORT : LONG;
		b->jobs[i].counter = i;
	}
	for (unsigned i = 0; b && (i < ROUNDS_MIN || mono_since(mono_now(), start) < MEASURE_FOR);
	     i++) {
		int64_t t = one_round(ops, seal, open, b);

		if (t == 0) {
			best = 0;
			break;
		}
		if (best == 0 || t < best)
			best = t;
	}
	free(b);
	return best;
}

unsigned crypto_aead_measure(const struct crypto_aead_ops *ops)
{
	static const struct key key = {{1}};
	int64_t best = 0;
	void *seal, *open;

	if (ops->available && !ops->available())
		return 0;
	seal = ops->new (&key, true);
	open = ops->new (&key, false);
	if (seal && open)
		best = best_round(ops, seal, open);
	ops->free(seal);
	ops->free(open);
	return (unsigned)((best + 2 * BATCH - 1) / (2 * BATCH));
}

static int by_name(const char *name, const struct crypto_aead_ops **ret, struct err *e)
{
	for (unsigned i = 0; crypto_aead_all[i]; i++) {
		int r;

		if (strcmp(crypto_aead_all[i]->name, name) != 0)
			continue;
		r = crypto_aead_selftest(crypto_aead_all[i]);
		if (r == -ENOTSUP)
			return err_set(e, r, "AEAD backend \"%s\" is not on this machine", name);
		if (r < 0)
			return err_set(e, r, "AEAD backend \"%s\" fails its self-test", name);
		*ret = crypto_aead_all[i];
		return 0;
	}
	return err_set(e, -EINVAL,
		       "AEAD backend \"%.32s\" is unknown: auto, ipsec-mb, split or evp", name);
}

int crypto_aead_choose(const char *name, struct crypto_aead_choice *ret, struct err *e)
{
	struct crypto_aead_choice c = {0};
	unsigned best = 0;

	if (name && strcmp(name, "auto") != 0) {
		int r = by_name(name, &c.ops, e);

		if (r == 0)
			*ret = c;
		return r;
	}
	for (unsigned i = 0; crypto_aead_all[i]; i++) {
		if (crypto_aead_selftest(crypto_aead_all[i]) < 0)
			continue;
		c.ns[i] = crypto_aead_measure(crypto_aead_all[i]);
		if (c.ns[i] > 0 && (best == 0 || c.ns[i] < best)) {
			best = c.ns[i];
			c.ops = crypto_aead_all[i];
		}
	}
	if (!c.ops)
		return err_set(e, -EIO,
			       "no implementation of ChaCha20-Poly1305 passes its self-test");
	*ret = c;
	return 0;
}
