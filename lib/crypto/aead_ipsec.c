/*
 * The AEAD backend "ipsec-mb": the job interface of Intel's Multi-Buffer Crypto for IPsec, with
 * half the cost a packet of OpenSSL's on processors with AVX-512 (test/bench/aead.c measures).
 *
 * The library is loaded where it is present and never linked, so that a machine without it runs
 * the same program. Its name carries the version of the binary interface (1, whose structures
 * only grow at their ends), and the version that the headers are of is the least accepted.
 *
 * A manager (200 KB) keeps what is in flight. It belongs to a thread: made with its first context
 * and freed as the thread ends. So a context is nothing but the key, in a slot of base/secret.h.
 * A batch is submitted whole before what is left is flushed: the library may work on several
 * packets at once and return them late, in order. Jobs are submitted unchecked, since all their
 * fields are set here; the self-test shows that they are what the library wants.
 *
 * Debian's library is built to clear its own copies of key material (SAFE_DATA); the manager
 * holds pointers to keys, not keys.
 */
#include "crypto/crypto.h"
#include "base/mem.h"
#include "base/secret.h"
#include "crypto/crypto_priv.h"

#include <errno.h>
#include <limits.h>

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>

#define LIBRARY "libIPSec_MB.so.1"
#define BATCH   64 /* what is submitted before a flush; the manager takes IMB_MAX_JOBS, 256 */

_Static_assert(BATCH < IMB_MAX_JOBS, "a batch is in flight at once");

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded; /* this and the next are set once, then only read */
static struct {
	__typeof__(&alloc_mb_mgr) alloc;
	__typeof__(&free_mb_mgr) free;
	__typeof__(&init_mb_mgr_auto) init;
	__typeof__(&imb_get_errno) get_errno;
	__typeof__(&imb_get_version) version;
} lib;
static pthread_key_t at_exit;
static _Thread_local IMB_MGR *manager;

static void thread_ends(void *m)
{
	lib.free(m);
}

/* Writes the symbol's address to a pointer to a function (POSIX dlsym allows it). */
static bool resolve(void *handle, const char *name, void *ret)
{
	void *sym = dlsym(handle, name);

	memcpy(ret, &sym, sizeof(sym));
	return sym != NULL;
}

static void load(void)
{
	void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	loaded = h && resolve(h, "alloc_mb_mgr", &lib.alloc) &&
		 resolve(h, "free_mb_mgr", &lib.free) &&
		 resolve(h, "init_mb_mgr_auto", &lib.init) &&
		 resolve(h, "imb_get_errno", &lib.get_errno) &&
		 resolve(h, "imb_get_version", &lib.version) && lib.version() >= IMB_VERSION_NUM &&
		 pthread_key_create(&at_exit, thread_ends) == 0;
	if (h)
		dlclose(h); /* stays, by RTLD_NODELETE */
}

/* The thread's manager, or NULL. */
static IMB_MGR *get_manager(void)
{
	IMB_MGR *m;

	if (manager || !loaded)
		return manager;
	m = lib.alloc(0);
	if (!m)
		return NULL;
	lib.init(m, NULL);
	if (lib.get_errno(m) != 0 || pthread_setspecific(at_exit, m) != 0) {
		lib.free(m);
		return NULL;
	}
	manager = m;
	return m;
}

static bool ipsec_available(void)
{
	pthread_once(&once, load);
	return get_manager() != NULL;
}

static void ipsec_free(void *ctx)
{
	secret_free(ctx);
}

static void *ipsec_new(const struct key *key, bool seal)
{
	return ipsec_available() ? secret_copy(key) : NULL;
}

static void describe(IMB_JOB *job, const struct key *key, const struct crypto_aead_job *j,
		     const uint8_t *iv, uint8_t *tag)
{
	job->enc_keys = job->dec_keys = key->b;
	job->key_len_in_bytes = KEY_LEN;
	job->src = job->dst = j->buf;
	job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = j->len;
	job->iv = iv;
	job->iv_len_in_bytes = 12;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = CRYPTO_TAG;
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->u.CHACHA20_POLY1305.ctx = NULL;
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
}

static size_t collect(const IMB_JOB *done)
{
	return done && done->status == IMB_STATUS_COMPLETED;
}

/* Works off at most BATCH jobs. The tags go behind the packets, or to `tags` where those that came
 * with the packets stand there to be compared: then the direction is to open. */
static bool run(const struct key *key, struct crypto_aead_job *jobs, size_t n,
		uint8_t (*tags)[CRYPTO_TAG])
{
	IMB_MGR *m = get_manager();
	uint8_t iv[BATCH][12];
	size_t done = 0;
	IMB_JOB *job;

	if (!m)
		return false;
	for (size_t i = 0; i < n; i++) {
		crypto_nonce(jobs[i].counter, iv[i]);
		job = IMB_GET_NEXT_JOB(m);
		describe(job, key, &jobs[i], iv[i], tags ? tags[i] : jobs[i].buf + jobs[i].len);
		job->cipher_direction = tags ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
		job->chain_order = tags ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
		done += collect(IMB_SUBMIT_JOB_NOCHECK(m));
	}
	while ((job = IMB_FLUSH_JOB(m)))
		done += collect(job);
	return done == n;
}

static size_t batch(size_t left)
{
	return left < BATCH ? left : BATCH;
}

static int ipsec_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t at = 0; at < n; at += BATCH)
		if (!run(ctx, jobs + at, batch(n - at), NULL))
			return -EIO;
	return 0;
}

static void ipsec_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	uint8_t tags[BATCH][CRYPTO_TAG];

	for (size_t at = 0; at < n; at += BATCH) {
		bool done = run(ctx, jobs + at, batch(n - at), tags);

		for (size_t i = 0; i < batch(n - at); i++) {
			struct crypto_aead_job *j = &jobs[at + i];

			j->ok = done && crypto_eq(tags[i], j->buf + j->len, CRYPTO_TAG);
		}
	}
	mem_wipe(tags, sizeof(tags)); /* a forger's would be worth having */
}

#else /* Without the header, or on another processor: not available. */

static bool ipsec_available(void)
{
	return false;
}

static void ipsec_free(void *ctx)
{
}

static void *ipsec_new(const struct key *key, bool seal)
{
	return NULL;
}

static int ipsec_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	return -EIO;
}

static void ipsec_open(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = false;
}

#endif

const struct crypto_aead_ops crypto_aead_ipsec = {
	.name = "ipsec-mb",
	.available = ipsec_available,
	.new = ipsec_new,
	.free = ipsec_free,
	.seal = ipsec_seal,
	.open = ipsec_open,
};
