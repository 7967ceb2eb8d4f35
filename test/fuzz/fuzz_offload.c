/*
 * Inner packets on both edges, byte for byte against a plain reference (test/unit/offloadraw.c).
 *
 * Cutting: any header and any packet are refused by both, or give the same pieces. Joining: of any
 * sequence of packets those are written as one that the reference joins, with the same bytes and
 * the same header; those of one flow in their order; and what was joined, cut again by the
 * reference, is what went in.
 *
 * Input: a byte for the mode; then for cutting (1) the virtio-net header and the packet, which with
 * LONG goes on as long as two more bytes say. For joining packets, each behind a byte: 0 to 127
 * more bytes than 20 are taken as they are, else an earlier packet (the one before, or up to 31
 * before that) is repeated with its sequence number, identification and checksums going on. Packets
 * that are taken get right lengths and checksums with MEND, and some hundred bytes more with GROW.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "offload/offload.h"
#include "offloadraw.h"
#include "offloadref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CUT    1
#define LONG   2
#define NO_TCP 2 /* where packets are joined */
#define NO_UDP 4
#define GROW   8
#define MEND   16

#define PACKETS 80
#define BYTES   1500

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ── cutting ────────────────────────────────────────────────────────────────────────────── */

static void compare_cut(const struct virtio_net_hdr *h, const uint8_t *packet, size_t size)
{
	static uint8_t want[UINT16_MAX];
	uint32_t n = raw_cut(h, packet, (uint32_t)size);
	struct offload_cut c;

	must((offload_cut(h, packet, size, &c) == 0) == (n > 0));
	must(n == 0 || c.n == n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = raw_piece(h, packet, (uint32_t)size, i, want);
		uint8_t *out = malloc(len); /* exactly as long as it is, for the sanitizer */

		must(offload_cut_len(&c, i) == len);
		offload_cut_write(&c, i, out);
		must(memcmp(out, want, len) == 0);
		free(out);
	}
}

static void cut(const uint8_t *data, size_t size, bool on)
{
	struct virtio_net_hdr h;
	size_t len;

	if (size < sizeof(h) + 2)
		return;
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	len = size;
	if (on) {
		len = (size_t)data[0] << 8 | data[1];
		data += 2;
		size -= 2;
	}
	uint8_t *packet = malloc(len ? len : 1);
	for (size_t i = 0; i < len; i++)
		packet[i] = i < size ? data[i] : (uint8_t)(i * 167 + i / 256);
	/* As many pieces as a kernel makes at most (UDP_MAX_SEGMENTS is 128), or few bytes. */
	if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE || len <= 4096 || h.gso_size > len / 256)
		compare_cut(&h, packet, len);
	free(packet);
}

/* ── joining ────────────────────────────────────────────────────────────────────────────── */

static uint8_t *in[PACKETS], kept[PACKETS][BYTES];
static struct raw_packet packets[PACKETS]; /* as they went in */
static struct raw_group groups[RAW_MAX];
static unsigned n_in, n_groups, n_written;
static unsigned at[PACKETS]; /* the n-th that was written; 0: it has not come yet */

/* Equal but for what is as good: a TCP checksum of zero comes out as its complement, which is the
 * same sum; an identification that was fixed counts up. */
static bool as_good(const uint8_t *a, const uint8_t *b, size_t n, bool fixed)
{
	uint8_t x[BYTES], y[BYTES];
	bool v6 = a[0] >> 4 == 6;
	size_t check = (v6 ? 40 : 20) + 16;

	memcpy(x, a, n);
	memcpy(y, b, n);
	if (x[v6 ? 6 : 9] == 6 && (y[check] | y[check + 1]) == 0)
		memset(y + check, 0xFF, 2);
	if (fixed && !v6) {
		memset(x + 4, 0, 2);
		memset(y + 4, 0, 2);
		memset(x + 10, 0, 2);
		memset(y + 10, 0, 2);
	}
	return memcmp(x, y, n) == 0;
}

/* The reference joins just these, and what it makes of them gives them again. */
static void check_group(const struct raw_group *g, const struct virtio_net_hdr *h,
			const uint8_t *bytes, uint32_t len)
{
	static uint8_t want[PACKETS * BYTES], piece[PACKETS * BYTES];
	struct raw_packet alone[RAW_JOIN];
	static struct raw_group one[RAW_MAX];
	struct virtio_net_hdr h_want;
	bool fixed;
	unsigned k = 0;

	must(raw_whole(packets, g, &h_want, want) == len && memcmp(want, bytes, len) == 0);
	must(memcmp(&h_want, h, sizeof(h_want)) == 0);
	for (unsigned i = 0; i < g->n; i++)
		alone[i] = packets[g->packet[i]];
	must(raw_groups(alone, g->n, true, true, one) == 1);
	must(g->n == 1 || raw_cut(h, bytes, len) == g->n);
	fixed = g->n > 1 && memcmp(alone[0].b + 4, alone[1].b + 4, 2) == 0;
	for (unsigned i = 0; i < g->n && g->n > 1; i++) {
		must(raw_piece(h, bytes, len, i, piece) == alone[i].len);
		must(as_good(piece, alone[i].b, alone[i].len, fixed));
	}
	/* With more flows than are open at once some end sooner. */
	if (raw_flows(packets, n_in) > OFFLOAD_FLOWS)
		return;
	while (k < n_groups && groups[k].packet[0] != g->packet[0])
		k++;
	must(k < n_groups && groups[k].n == g->n &&
	     memcmp(groups[k].packet, g->packet, g->n * sizeof(g->packet[0])) == 0);
}

static unsigned whose(const void *base)
{
	for (unsigned i = 0; i < n_in; i++)
		if ((const uint8_t *)base >= in[i] &&
		    (const uint8_t *)base < in[i] + packets[i].len)
			return i;
	abort();
}

static void written(void *user, const struct virtio_net_hdr *h, const struct iovec *iov, unsigned n)
{
	static uint8_t whole[PACKETS * BYTES];
	struct raw_group g = {.n = n};
	uint32_t len = 0;

	must(n > 0 && n <= RAW_JOIN);
	for (unsigned i = 0; i < n; i++) {
		g.packet[i] = whose(iov[i].iov_base);
		must(at[g.packet[i]] == 0);
		at[g.packet[i]] = ++n_written;
		memcpy(whole + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	check_group(&g, h, whole, len);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void add16(uint8_t *p, unsigned n)
{
	put16(p, (p[0] << 8U | p[1]) + n);
}

static void sums(uint8_t *p, size_t n, bool v6, bool tcp, size_t t)
{
	size_t check = t + (tcp ? 16 : 6);
	uint32_t sum = (tcp ? 6 : 17) + (uint32_t)(n - t);

	if (!v6) {
		put16(p + 10, 0);
		put16(p + 10, ref_sum(0, p, 20) ^ 0xFFFFU);
	}
	put16(p + check, 0);
	sum = ref_sum(sum, p + (v6 ? 8 : 12), v6 ? 32 : 8);
	sum = ref_sum(sum, p + t, (uint32_t)(n - t)) ^ 0xFFFFU;
	put16(p + check, sum ? sum : 0xFFFF);
}

/* The one before, and on; `how` changes one thing, or nothing. */
static void follow(uint8_t *p, size_t n, uint8_t how)
{
	bool v6 = p[0] >> 4 == 6, tcp = (v6 ? p[6] : p[9]) == 6;
	size_t t = v6 ? 40 : 20, header = t + (tcp && n > t + 12 ? (p[t + 12] >> 4) * 4U : 8);

	if (n < t + 20U || header > n)
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

/* One that is taken as it is, and what is made of it. */
static size_t mend(uint8_t *p, size_t n, uint8_t mode)
{
	bool v6 = p[0] >> 4 == 6, tcp = (v6 ? p[6] : p[9]) == 6;
	size_t t = v6 ? 40 : 20;

	if (n < t + 20)
		return n;
	if (mode & GROW)
		for (size_t more = n + 1200; n < more; n++)
			p[n] = (uint8_t)(n * 31);
	put16(p + (v6 ? 4 : 2), (unsigned)(v6 ? n - 40 : n));
	if (!tcp)
		put16(p + t + 4, (unsigned)(n - t));
	sums(p, n, v6, tcp, t);
	return n;
}

/* The packets of an input, to `packets`. */
static void read_packets(const uint8_t *data, size_t size, uint8_t mode)
{
	size_t from = 0;

	for (n_in = 0; from < size && n_in < PACKETS; n_in++) {
		uint8_t b = data[from++], *p = kept[n_in];
		size_t n;

		if (b < 128 || n_in == 0) {
			n = b % 128 + 20U;
			if (n > size - from)
				break;
			memcpy(p, data + from, n);
			from += n;
			if (p[0] >> 4 == 6 && n < 40) /* not even its header: nobody hands it in */
				p[0] = 0x45;
			if (mode & (MEND | GROW))
				n = mend(p, n, mode);
		} else {
			unsigned back = b & 64 ? 0 : b & 31;
			const struct raw_packet *of =
				&packets[back < n_in ? n_in - 1 - back : n_in - 1];

			n = of->len;
			memcpy(p, of->b, n);
			follow(p, n, b);
		}
		packets[n_in] = (struct raw_packet){p, (uint32_t)n};
		in[n_in] = malloc(n); /* exactly as long as it is, for the sanitizer */
		memcpy(in[n_in], p, n);
		at[n_in] = 0;
	}
}

static void join(const uint8_t *data, size_t size, uint8_t mode)
{
	static struct offload_gro g;

	read_packets(data, size, mode);
	n_written = 0;
	n_groups = raw_groups(packets, n_in, !(mode & NO_TCP), !(mode & NO_UDP), groups);
	offload_gro_init(&g, written, NULL);
	g.tcp = !(mode & NO_TCP);
	g.udp = !(mode & NO_UDP);
	for (unsigned i = 0; i < n_in; i++)
		offload_gro_add(&g, in[i], packets[i].len);
	offload_gro_flush(&g);
	must(n_written == n_in);
	for (unsigned i = 0; i < n_in; i++)
		for (unsigned k = 0; k < i; k++)
			must(at[k] < at[i] || !raw_in_order(&packets[k], &packets[i]));
	for (unsigned i = 0; i < n_in; i++)
		free(in[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & CUT)
		cut(data + 1, size - 1, data[0] & LONG);
	else
		join(data + 1, size - 1, data[0]);
	return 0;
}
