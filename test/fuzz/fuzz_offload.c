/*
 * Inner packets on both edges. Cutting: any header and any packet give pieces within the packet's
 * size, or are refused. Joining: any sequence of packets comes out complete, each flow in its
 * order: what is written, cut again, is what went in.
 *
 * Input: a byte for the mode; then for cutting the virtio-net header and the packet, for joining
 * packets, each behind a byte: 0 to 127 more bytes are taken as they are, else the packet before
 * is repeated with its sequence number, identification and checksums going on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "offload/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKETS 80
#define BYTES   256

static void cut(const uint8_t *data, size_t size)
{
	struct virtio_net_hdr h;
	struct offload_cut c;
	uint8_t *out;

	if (size < sizeof(h))
		return;
	memcpy(&h, data, sizeof(h));
	/* Exactly as long as it is, for the sanitizer. */
	size -= sizeof(h);
	uint8_t *packet = malloc(size ? size : 1);
	memcpy(packet, data + sizeof(h), size);
	if (offload_cut(&h, packet, size, &c) == 0) {
		uint64_t payload = 0;

		for (uint32_t i = 0; i < c.n; i++) {
			uint32_t len = offload_cut_len(&c, i);

			if (len > size || len < c.header)
				abort();
			out = malloc(len);
			offload_cut_write(&c, i, out);
			payload += len - c.header;
			free(out);
		}
		if (payload != size - c.header)
			abort();
	}
	free(packet);
}

static uint8_t in[PACKETS][BYTES], kept[PACKETS][BYTES];
static size_t len[PACKETS];
static unsigned n_in;
static bool came[PACKETS];

/* From `from` on. A TCP checksum of zero comes out as its complement, which is the same sum. */
static bool equal(const uint8_t *a, const uint8_t *b, size_t from, size_t n)
{
	bool v6 = a[0] >> 4 == 6, tcp = a[v6 ? 6 : 9] == 6;
	size_t check = (v6 ? 40 : 20) + 16, after = check + 2;

	if (!tcp || n < after || (b[check] | b[check + 1]) != 0 ||
	    (a[check] & a[check + 1]) != 0xFF)
		return memcmp(a + from, b + from, n - from) == 0;
	return memcmp(a + from, b + from, check - from) == 0 &&
	       memcmp(a + after, b + after, n - after) == 0;
}

/* The packet that came out is one that went in and has not come yet. An identification that was
 * fixed counts up after cutting. */
static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
	return equal(a, b, 0, n) || (a[0] == 0x45 && b[6] & 0x40 && memcmp(a, b, 4) == 0 &&
				     memcmp(a + 6, b + 6, 4) == 0 && equal(a, b, 12, n));
}

static void account(const uint8_t *packet, size_t n)
{
	for (unsigned i = 0; i < n_in; i++) {
		if (!came[i] && len[i] == n && same(packet, kept[i], n)) {
			came[i] = true;
			return;
		}
	}
	abort();
}

static void written(void *user, const struct virtio_net_hdr *h, const struct iovec *iov, unsigned n)
{
	static uint8_t whole[PACKETS * BYTES], one[BYTES];
	struct offload_cut c;
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		memcpy(whole + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		account(whole, at);
		return;
	}
	if (offload_cut(h, whole, at, &c) < 0 || c.n < 2)
		abort();
	for (uint32_t i = 0; i < c.n; i++) {
		offload_cut_write(&c, i, one);
		account(one, offload_cut_len(&c, i));
	}
}

static void add16(uint8_t *p, unsigned n)
{
	unsigned v = (p[0] << 8U | p[1]) + n;

	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void sums(uint8_t *p, size_t n, bool v6, bool tcp, size_t t)
{
	size_t check = t + (tcp ? 16 : 6);
	uint16_t sum;

	if (!v6) {
		memset(p + 10, 0, 2);
		sum = (uint16_t)~offload_sum(p, 20);
		memcpy(p + 10, &sum, 2);
	}
	memset(p + check, 0, 2);
	sum = (uint16_t)~offload_fold(
		(uint64_t)offload_sum_pseudo(p, v6, tcp ? 6 : 17, (uint32_t)(n - t)) +
		offload_sum(p + t, n - t));
	memcpy(p + check, sum ? &sum : &(uint16_t){0xFFFF}, 2);
}

/* The one before, and on; `how` changes one thing, or nothing. */
static void follow(uint8_t *p, size_t n, uint8_t how)
{
	bool v6 = p[0] >> 4 == 6, tcp = (v6 ? p[6] : p[9]) == 6;
	size_t t = v6 ? 40 : 20, header = t + (tcp && n > t + 12 ? (p[t + 12] >> 4) * 4U : 8);

	if (n < t + 20 || header > n)
		return;
	if (!v6)
		add16(p + 4, 1);
	if (tcp) {
		unsigned low = (p[t + 6] << 8U | p[t + 7]) + (unsigned)(n - header);

		add16(p + t + 4, low >> 16);
		p[t + 6] = (uint8_t)(low >> 8);
		p[t + 7] = (uint8_t)low;
	}
	if (how & 64)
		p[how % n] ^= 1;
	if (!(how & 32))
		sums(p, n, v6, tcp, t);
}

static void join(const uint8_t *data, size_t size)
{
	static struct offload_gro g;
	size_t at = 0;

	n_in = 0;
	memset(came, 0, sizeof(came));
	while (at < size && n_in < PACKETS) {
		uint8_t b = data[at++];

		if (b < 128 || n_in == 0) {
			size_t n = b % 128 + 20U;

			if (n > size - at)
				break;
			memcpy(in[n_in], data + at, n);
			at += n;
			len[n_in] = n;
		} else {
			memcpy(in[n_in], in[n_in - 1], len[n_in - 1]);
			len[n_in] = len[n_in - 1];
			follow(in[n_in], len[n_in], b);
		}
		memcpy(kept[n_in], in[n_in], len[n_in]);
		n_in++;
	}
	offload_gro_init(&g, written, NULL);
	g.tcp = g.udp = true;
	for (unsigned i = 0; i < n_in; i++)
		offload_gro_add(&g, in[i], len[i]);
	offload_gro_flush(&g);
	for (unsigned i = 0; i < n_in; i++)
		if (!came[i])
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		cut(data + 1, size - 1);
	else
		join(data + 1, size - 1);
	return 0;
}
