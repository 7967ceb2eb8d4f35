/*
 * The Internet checksum. Sums are in the machine's own byte order: the one's complement sum of
 * swapped words is the swapped sum (RFC 1071, section 2), so nothing is swapped on the way, and
 * eight bytes are added at a time.
 */
#include "offload/offload.h"

#include <endian.h>
#include <string.h>

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

uint32_t offload_sum(const void *p, size_t len)
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

uint32_t offload_sum_copy(void *to, const void *from, size_t len)
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

uint32_t offload_sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len)
{
	uint32_t addrs = v6 ? offload_sum(ip + 8, 32) : offload_sum(ip + 12, 8);

	return addrs + htobe16(protocol) + htobe16((uint16_t)(len >> 16)) + htobe16((uint16_t)len);
}
