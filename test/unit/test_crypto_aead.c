/*
 * lib/crypto's AEAD backends: each against libsodium's implementation, which shares no code with
 * any, for all lengths and batches; what is tampered with; what is wiped; the choice.
 */
#include "fault.h"
#include "unit.h"
#include "wycheproof.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/crypto_priv.h"

#define LEN_MAX   2200 /* "split" does longer ones than 2048 otherwise */
#define BATCH_MAX 150  /* beyond what any backend works off at once */

/* The backends of this machine: a missing one is told, once a case. */
#define EACH_BACKEND(ops, i)                                                                       \
	for (unsigned i = 0; crypto_aead_all[i]; i++)                                              \
		for (const struct crypto_aead_ops *ops = usable(crypto_aead_all[i]); ops;          \
		     ops = NULL)

static const struct crypto_aead_ops *usable(const struct crypto_aead_ops *ops)
{
	ck_assert_int_eq(crypto_init(), 0);
	if (!ops->available || ops->available())
		return ops;
	unit_skip(ops->name, "this AEAD backend is not on this machine");
	return NULL;
}

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

static void reference(const struct key *key, uint64_t counter, const uint8_t *in, size_t len,
		      uint8_t *out)
{
	uint8_t nonce[12];

	crypto_nonce(counter, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, NULL, 0, NULL, nonce, key->b);
}

struct packet {
	uint8_t plain[LEN_MAX], sealed[LEN_MAX + CRYPTO_TAG];
	uint8_t buf[LEN_MAX + CRYPTO_TAG + 16]; /* with room to see writes beyond */
};

struct pair {
	const struct crypto_aead_ops *ops;
	struct key key;
	void *seal, *open;
	struct packet p[BATCH_MAX];
	struct crypto_aead_job jobs[BATCH_MAX];
};

static struct pair *pair_new(const struct crypto_aead_ops *ops)
{
	struct pair *x = calloc(1, sizeof(*x));

	ck_assert_ptr_nonnull(x);
	x->ops = ops;
	for (unsigned i = 0; i < KEY_LEN; i++)
		x->key.b[i] = (uint8_t)any(256);
	x->seal = ops->new (&x->key, true);
	x->open = ops->new (&x->key, false);
	ck_assert_ptr_nonnull(x->seal);
	ck_assert_ptr_nonnull(x->open);
	return x;
}

static void pair_free(struct pair *x)
{
	x->ops->free(x->seal);
	x->ops->free(x->open);
	free(x);
}

static void prepare(struct pair *x, unsigned i, uint32_t len, unsigned misalign)
{
	struct packet *p = &x->p[i];

	for (uint32_t k = 0; k < len; k++)
		p->plain[k] = (uint8_t)any(256);
	x->jobs[i] = (struct crypto_aead_job){
		.buf = p->buf + misalign,
		.len = len,
		.counter = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX),
	};
	reference(&x->key, x->jobs[i].counter, p->plain, len, p->sealed);
	memset(p->buf, 0xA5, sizeof(p->buf));
	memcpy(x->jobs[i].buf, p->plain, len);
}

static bool all(const uint8_t *b, const uint8_t *end, uint8_t value)
{
	while (b < end && *b == value)
		b++;
	return b == end;
}

static void check_sealed(const struct pair *x, unsigned i)
{
	const struct crypto_aead_job *j = &x->jobs[i];
	const struct packet *p = &x->p[i];

	ck_assert_msg(memcmp(j->buf, p->sealed, j->len + CRYPTO_TAG) == 0, "%s: %u bytes",
		      x->ops->name, j->len);
	ck_assert(all(p->buf, j->buf, 0xA5));
	ck_assert(all(j->buf + j->len + CRYPTO_TAG, p->buf + sizeof(p->buf), 0xA5));
}

static void round_trip(struct pair *x, unsigned n)
{
	ck_assert_int_eq(x->ops->seal(x->seal, x->jobs, n), 0);
	for (unsigned i = 0; i < n; i++)
		check_sealed(x, i);
	x->ops->open(x->open, x->jobs, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_msg(x->jobs[i].ok, "%s: %u bytes", x->ops->name, x->jobs[i].len);
		ck_assert_mem_eq(x->jobs[i].buf, x->p[i].plain, x->jobs[i].len);
	}
}

START_TEST(selftests)
{
	EACH_BACKEND(ops, i)
	ck_assert_msg(crypto_aead_selftest(ops) == 0, "%s", ops->name);
}
END_TEST

static void *broken_new(const struct key *key, bool seal)
{
	return crypto_aead_evp.new(key, seal);
}

/* Uses the low half of the counter only, as another implementation did. */
static int broken_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].counter = (uint32_t)jobs[i].counter;
	return crypto_aead_evp.seal(ctx, jobs, n);
}

/* Wrong only where "split" does what is longer than a buffer of its own. */
static int broken_long_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	int r = crypto_aead_evp.seal(ctx, jobs, n);

	for (size_t i = 0; i < n; i++)
		if (jobs[i].len > 2048)
			jobs[i].buf[jobs[i].len] ^= 1;
	return r;
}

static int failing_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	return -EIO;
}

static void trusting_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	crypto_aead_evp.open(ctx, jobs, n);
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = true;
}

static bool never(void)
{
	return false;
}

START_TEST(selftest_sees)
{
	struct crypto_aead_ops broken = crypto_aead_evp;

	ck_assert_int_eq(crypto_init(), 0);
	broken.new = broken_new;
	broken.seal = broken_seal;
	ck_assert_int_eq(crypto_aead_selftest(&broken), -EIO);
	broken.seal = broken_long_seal;
	ck_assert_int_eq(crypto_aead_selftest(&broken), -EIO);
	broken.seal = failing_seal;
	ck_assert_int_eq(crypto_aead_selftest(&broken), -EIO);
	ck_assert_uint_eq(crypto_aead_measure(&broken), 0);
	broken.seal = crypto_aead_evp.seal;
	broken.open = trusting_open;
	ck_assert_int_eq(crypto_aead_selftest(&broken), -EIO);
	broken.open = crypto_aead_evp.open;
	ck_assert_int_eq(crypto_aead_selftest(&broken), 0);
	ck_assert_uint_gt(crypto_aead_measure(&broken), 0);
	broken.available = never;
	ck_assert_int_eq(crypto_aead_selftest(&broken), -ENOTSUP);
	ck_assert_uint_eq(crypto_aead_measure(&broken), 0);
}
END_TEST

START_TEST(every_length)
{
	EACH_BACKEND(ops, b)
	{
		struct pair *x = pair_new(ops);

		for (uint32_t len = 0; len <= LEN_MAX; len++) {
			prepare(x, 0, len, len % 16);
			round_trip(x, 1);
		}
		pair_free(x);
	}
}
END_TEST

START_TEST(batches)
{
	EACH_BACKEND(ops, b)
	{
		struct pair *x = pair_new(ops);

		round_trip(x, 0);
		for (unsigned n = 1; n <= BATCH_MAX; n += n < 5 ? 1 : 1 + any(30)) {
			for (unsigned i = 0; i < n; i++)
				prepare(x, i, any(LEN_MAX + 1), any(17));
			round_trip(x, n);
		}
		pair_free(x);
	}
}
END_TEST

/* One bit of one packet of a batch, in text or tag; or another counter; or another key. */
START_TEST(tampered)
{
	EACH_BACKEND(ops, b)
	{
		struct pair *x = pair_new(ops);

		for (unsigned round = 0; round < 300; round++) {
			unsigned n = 1 + any(BATCH_MAX / 2), bad = any(n), what = any(4);

			for (unsigned i = 0; i < n; i++)
				prepare(x, i, any(round < 100 ? 40 : LEN_MAX + 1), 0);
			ck_assert_int_eq(ops->seal(x->seal, x->jobs, n), 0);
			if (what == 0)
				x->jobs[bad].counter ^= UINT64_C(1) << any(64);
			else
				x->jobs[bad].buf[any(x->jobs[bad].len + CRYPTO_TAG)] ^=
					(uint8_t)(1 << any(8));
			ops->open(x->open, x->jobs, n);
			for (unsigned i = 0; i < n; i++)
				ck_assert_msg(x->jobs[i].ok == (i != bad), "%s: %u of %u",
					      ops->name, i, n);
		}
		prepare(x, 0, 100, 0);
		ck_assert_int_eq(ops->seal(x->seal, x->jobs, 1), 0);
		x->key.b[31] ^= 1;
		ops->free(x->open);
		x->open = ops->new (&x->key, false);
		ops->open(x->open, x->jobs, 1);
		ck_assert(!x->jobs[0].ok);
		pair_free(x);
	}
}
END_TEST

static unsigned freed_with(const struct crypto_aead_ops *ops, uint32_t len, const void *secret,
			   size_t n)
{
	struct pair *x = pair_new(ops);
	struct key key;

	for (unsigned i = 0; i < KEY_LEN; i++)
		key.b[i] = (uint8_t)(i * 5 + 9);
	for (unsigned dir = 0; dir < 2; dir++) {
		void *ctx = ops->new (&key, dir);

		prepare(x, 0, len, 0);
		x->jobs[0].counter = 7;
		if (dir)
			ck_assert_int_eq(ops->seal(ctx, x->jobs, 1), 0);
		else
			ops->open(ctx, x->jobs, 1);
		fault_scan(secret, n);
		ops->free(ctx);
		if (fault_scanned() > 0) {
			fault_scan(NULL, 0);
			pair_free(x);
			return 1;
		}
	}
	fault_scan(NULL, 0);
	pair_free(x);
	return 0;
}

/* Neither the key nor the last packet's key of Poly1305 stands in anything that is freed. */
START_TEST(wiped)
{
	static const uint8_t zeros[64];
	uint8_t key[KEY_LEN], nonce[12], block[64], *leak = malloc(100);

	for (unsigned i = 0; i < KEY_LEN; i++)
		key[i] = (uint8_t)(i * 5 + 9);
	crypto_nonce(7, nonce);
	crypto_stream_chacha20_ietf_xor_ic(block, zeros, sizeof(zeros), nonce, 0, key);
	memcpy(leak + 50, key, 16);
	fault_scan(key, 16);
	__asm__ volatile("" : : "r"(leak) : "memory"); /* or the copy is left out */
	free(leak);
	ck_assert_uint_eq(fault_scanned(), 1); /* the scan does see it */
	EACH_BACKEND(ops, b)
	for (uint32_t len = 0; len <= LEN_MAX; len += 550) {
		ck_assert_msg(freed_with(ops, len, key, 8) == 0, "%s", ops->name);
		ck_assert_msg(freed_with(ops, len, key + 16, 8) == 0, "%s", ops->name);
		ck_assert_msg(freed_with(ops, len, block + 16, 8) == 0, "%s", ops->name);
	}
}
END_TEST

START_TEST(no_memory)
{
	static const struct key key = {{1, 2, 3}};

	EACH_BACKEND(ops, b)
	{
		void *ctx = NULL;

		/* What libraries keep for ever is made first: also OpenSSL's list of errors. */
		ops->free(ops->new (&key, true));
		ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
		ERR_clear_error();
		FAULT_LOOP(ctx = ops->new (&key, true); ops->free(ctx); ERR_clear_error())
		ck_assert_ptr_null(ctx);
		ck_assert_ptr_nonnull(ctx);
		ops->free(NULL);
	}
}
END_TEST

static void *elsewhere(void *arg)
{
	struct pair *x = arg;

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 70; i++)
			prepare(x, i, i * 20, 0);
		round_trip(x, 70);
	}
	return NULL;
}

/* A context may go to another thread and be freed by a third; two threads work at once. */
START_TEST(threads)
{
	EACH_BACKEND(ops, b)
	{
		struct pair *x[2] = {pair_new(ops), pair_new(ops)};
		pthread_t t[2];

		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_eq(pthread_create(&t[i], NULL, elsewhere, x[i]), 0);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		prepare(x[0], 0, 1000, 0);
		round_trip(x[0], 1);
		pair_free(x[0]);
		pair_free(x[1]);
	}
}
END_TEST

START_TEST(choose)
{
	struct crypto_aead_choice c = {0}, untouched;
	struct err e = {0};

	ck_assert_int_eq(crypto_init(), 0);
	ck_assert_int_eq(crypto_aead_choose(NULL, &c, &e), 0);
	for (unsigned i = 0, best = 0; crypto_aead_all[i]; i++) {
		bool here = !crypto_aead_all[i]->available || crypto_aead_all[i]->available();

		ck_assert_int_eq(c.ns[i] > 0, here);
		if (here && (best == 0 || c.ns[i] < best)) {
			best = c.ns[i];
			ck_assert(c.ops == crypto_aead_all[i] || best >= c.ns[0]);
		}
		if (c.ops == crypto_aead_all[i])
			for (unsigned k = 0; k < CRYPTO_AEAD_BACKENDS; k++)
				ck_assert(c.ns[k] == 0 || c.ns[k] >= c.ns[i]);
	}
	ck_assert_int_eq(crypto_aead_choose("auto", &c, &e), 0);
	ck_assert_ptr_nonnull(c.ops);
	EACH_BACKEND(ops, b)
	{
		ck_assert_int_eq(crypto_aead_choose(ops->name, &c, &e), 0);
		ck_assert(c.ops == ops);
	}
	untouched = c;
	ck_assert_int_eq(crypto_aead_choose("rot13", &c, &e), -EINVAL);
	ck_assert_mem_eq(&c, &untouched, sizeof(c));
	ck_assert_ptr_nonnull(strstr(e.msg, "rot13"));
	for (unsigned i = 0; crypto_aead_all[i]; i++)
		ck_assert_ptr_nonnull(strstr(e.msg, crypto_aead_all[i]->name));
}
END_TEST

static unsigned whole_cases, text_cases;

/* A vector, by each backend, under a nonce of four zeros and the counter. Without associated data
 * it is one of theirs as a whole. With it, the cipher text is as published and the tag as
 * libsodium's, for a tag that is right with the data is none without. */
static void by_each(struct json_object *t, const struct key *key, uint64_t counter)
{
	uint8_t msg[LEN_MAX], want[LEN_MAX], published[LEN_MAX], buf[LEN_MAX];
	bool valid = strcmp(wycheproof_text(t, "result"), "valid") == 0;
	bool whole = *wycheproof_text(t, "aad") == '\0';
	size_t len = unhex(wycheproof_text(t, "msg"), msg);

	unhex(wycheproof_text(t, "ct"), published);
	unhex(wycheproof_text(t, "tag"), published + len);
	memcpy(want, published, len + CRYPTO_TAG);
	if (valid && !whole)
		reference(key, counter, msg, len, want);
	whole_cases += whole && valid;
	text_cases += !whole && valid;
	for (unsigned i = 0; crypto_aead_all[i]; i++) {
		const struct crypto_aead_ops *ops = crypto_aead_all[i];
		struct crypto_aead_job j = {.buf = buf, .len = (uint32_t)len, .counter = counter};

		if (ops->available && !ops->available())
			continue;
		void *seal = ops->new (key, true), *open = ops->new (key, false);
		memcpy(buf, want, len + CRYPTO_TAG);
		ops->open(open, &j, 1);
		ck_assert_msg(j.ok == valid, "%s: tcId %s", ops->name, wycheproof_text(t, "tcId"));
		memcpy(buf, published, len + CRYPTO_TAG);
		ops->open(open, &j, 1);
		ck_assert_msg(j.ok == (valid && whole), "%s: tcId %s", ops->name,
			      wycheproof_text(t, "tcId"));
		memcpy(buf, msg, len);
		ck_assert_int_eq(ops->seal(seal, &j, 1), 0);
		ck_assert_mem_eq(buf, published, len);
		ck_assert_int_eq(memcmp(buf, want, len + CRYPTO_TAG) == 0, valid);
		ops->free(seal);
		ops->free(open);
	}
}

static uint64_t counter_at(const uint8_t *b)
{
	uint64_t counter;

	memcpy(&counter, b, sizeof(counter));
	return le64toh(counter);
}

/* XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key derived from the nonce's first 16 bytes
 * (draft-irtf-cfrg-xchacha-03 section 2.3), with a nonce of four zeros and the remaining eight:
 * the nonce of data packets. */
static void xchacha_case(struct json_object *t)
{
	struct key key, sub;
	uint8_t iv[64];

	if (unhex(wycheproof_text(t, "iv"), iv) != 24)
		return;
	key = hexkey(wycheproof_text(t, "key"));
	crypto_core_hchacha20(sub.b, iv, key.b, NULL);
	by_each(t, &sub, counter_at(iv + 16));
}

/* Those with such a nonce: edges of Poly1305. The others are for what takes any (test_crypto.c). */
static void chacha_case(struct json_object *t)
{
	struct key key = hexkey(wycheproof_text(t, "key"));
	uint8_t iv[64];

	if (unhex(wycheproof_text(t, "iv"), iv) == 12 && memcmp(iv, "\0\0\0\0", 4) == 0)
		by_each(t, &key, counter_at(iv + 4));
}

START_TEST(vectors)
{
	ck_assert_int_eq(crypto_init(), 0);
	if (wycheproof_each("xchacha20_poly1305_test.json", xchacha_case) > 0)
		ck_assert_uint_ge(whole_cases, 45);
	text_cases = 0;
	if (wycheproof_each("chacha20_poly1305_test.json", chacha_case) > 0)
		ck_assert_uint_eq(text_cases, 10);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("crypto_aead", selftests, selftest_sees, every_length, batches, tampered,
			  wiped, no_memory, threads, choose, vectors);
}

UNIT_MAIN(suite)
