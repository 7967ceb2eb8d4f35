/*
 * The Internet checksum. Sums are in the machine's own byte order: the one's complement sum of
 * swapped words is the swapped sum (RFC 1071, section 2), so nothing is swapped on the way, and
 * eight bytes are added at a time; from a few cache lines on 32, where the processor has AVX2.
 */
#include "offload/offload_priv.h"

#include <endian.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define VECTORS_FROM 256 /* bytes */

/* Two sums, so that one addition does not wait for the other. */
struct wide {
	unsigned __int128 a, b;
};

static uint32_t narrow(const struct wide *w)
{
	unsigned __int128 s = w->a + w->b;

	s = (uint64_t)s + (s >> 64);
	s = (uint64_t)s + (s >> 64);
	return offload_fold((uint64_t)s);
}

uint16_t offload_fold(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t offload_sum_plain(const void *p, size_t len)
{
	const uint8_t *at = p;
	struct wide w = {0};
	uint64_t x, y;

	for (; len >= 16; len -= 16, at += 16) {
		memcpy(&x, at, 8);
		memcpy(&y, at + 8, 8);
		w.a += x;
		w.b += y;
	}
	for (; len > 0; len -= len < 8 ? len : 8, at += 8) {
		x = 0;
		memcpy(&x, at, len < 8 ? len : 8);
		w.a += x;
	}
	return narrow(&w);
}

uint32_t offload_sum_copy_plain(void *to, const void *from, size_t len)
{
	const uint8_t *at = from;
	uint8_t *out = to;
	struct wide w = {0};
	uint64_t x, y;

	for (; len >= 16; len -= 16, at += 16, out += 16) {
		memcpy(&x, at, 8);
		memcpy(&y, at + 8, 8);
		memcpy(out, &x, 8);
		memcpy(out + 8, &y, 8);
		w.a += x;
		w.b += y;
	}
	memcpy(out, at, len);
	for (; len > 0; len -= len < 8 ? len : 8, at += 8) {
		x = 0;
		memcpy(&x, at, len < 8 ? len : 8);
		w.a += x;
	}
	return narrow(&w);
}

#ifdef __x86_64__
/* Halves of eight bytes, each in eight: they cannot overflow. */
struct halves {
	__m256i low, high;
};

static inline __attribute__((target("avx2"))) void add_halves(struct halves *h, __m256i v)
{
	const __m256i low = _mm256_set1_epi64x(UINT32_MAX);

	h->low = _mm256_add_epi64(h->low, _mm256_and_si256(v, low));
	h->high = _mm256_add_epi64(h->high, _mm256_srli_epi64(v, 32));
}

static inline __attribute__((target("avx2"))) uint32_t fold_halves(const struct halves *h)
{
	uint64_t q[4];

	_mm256_storeu_si256((__m256i *)q, _mm256_add_epi64(h->low, h->high));
	return offload_fold(q[0] + q[1] + q[2] + q[3]);
}

/* `len` is a multiple of 32. */
static __attribute__((target("avx2"))) uint32_t sum_vectors(const uint8_t *p, size_t len)
{
	struct halves h = {_mm256_setzero_si256(), _mm256_setzero_si256()};

	for (; len > 0; len -= 32, p += 32)
		add_halves(&h, _mm256_loadu_si256((const __m256i *)p));
	return fold_halves(&h);
}

static __attribute__((target("avx2"))) uint32_t sum_copy_vectors(uint8_t *to, const uint8_t *p,
								 size_t len)
{
	struct halves h = {_mm256_setzero_si256(), _mm256_setzero_si256()};

	for (; len > 0; len -= 32, p += 32, to += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)p);

		_mm256_storeu_si256((__m256i *)to, v);
		add_halves(&h, v);
	}
	return fold_halves(&h);
}

static bool has_vectors(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
static uint32_t sum_vectors(const uint8_t *p, size_t len)
{
	return offload_sum_plain(p, len);
}

static uint32_t sum_copy_vectors(uint8_t *to, const uint8_t *p, size_t len)
{
	return offload_sum_copy_plain(to, p, len);
}

static bool has_vectors(void)
{
	return false;
}
#endif

/* Of `len` bytes as many as are summed that way. */
static size_t vector_part(size_t len)
{
	return len >= VECTORS_FROM && has_vectors() ? len & ~(size_t)31 : 0;
}

uint32_t offload_sum(const void *p, size_t len)
{
	size_t n = vector_part(len);

	if (n == 0)
		return offload_sum_plain(p, len);
	return offload_fold((uint64_t)sum_vectors(p, n) +
			    offload_sum_plain((const uint8_t *)p + n, len - n));
}

uint32_t offload_sum_copy(void *to, const void *from, size_t len)
{
	size_t n = vector_part(len);

	if (n == 0)
		return offload_sum_copy_plain(to, from, len);
	return offload_fold(
		(uint64_t)sum_copy_vectors(to, from, n) +
		offload_sum_copy_plain((uint8_t *)to + n, (const uint8_t *)from + n, len - n));
}

uint32_t offload_sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len)
{
	uint32_t addrs = v6 ? offload_sum(ip + 8, 32) : offload_sum(ip + 12, 8);

	return addrs + htobe16(protocol) + htobe16((uint16_t)(len >> 16)) + htobe16((uint16_t)len);
}
