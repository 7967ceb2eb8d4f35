/*
 * lib/offload against plain references: packets are built, cut and joined byte by byte, with
 * checksums of two bytes at a time, and must come out the same. One reference knows packets as
 * fields (offloadref.h), the other, which the fuzz target has too, as bytes (offloadraw.h); where
 * both can be asked they must agree.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "offload/offload_priv.h"
#include "offloadraw.h"
#include "offloadref.h"
#include "unit.h"

typedef uint32_t sum_copy_fn(void *to, const void *from, size_t len);

static void check_copy(sum_copy_fn *fn, const uint8_t *from, unsigned len, uint16_t want)
{
	uint8_t to[700] = {0};

	ck_assert_uint_eq(be16toh((uint16_t)fn(to + 1, from, len)), want);
	ck_assert_mem_eq(to + 1, from, len);
	ck_assert(to[0] == 0 && to[1 + len] == 0);
}

/* What this processor takes for long pieces, and plain C, which others take. */
START_TEST(sums)
{
	uint8_t b[600];

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 151 + 7);
	memset(b + 100, 0xFF, 64);
	for (unsigned len = 0; len < sizeof(b) - 8; len++) {
		for (unsigned at = 0; at < 8; at++) {
			uint16_t want = ref_sum(0, b + at, len);

			ck_assert_uint_eq(be16toh((uint16_t)offload_sum(b + at, len)), want);
			ck_assert_uint_eq(be16toh((uint16_t)offload_sum_plain(b + at, len)), want);
			check_copy(offload_sum_copy, b + at, len, want);
			check_copy(offload_sum_copy_plain, b + at, len, want);
		}
	}
	/* All ones: the most that there is to carry. */
	static uint8_t ones[65535];
	memset(ones, 0xFF, sizeof(ones));
	for (unsigned len = 65000; len <= sizeof(ones); len += 107) {
		ck_assert_uint_eq(be16toh((uint16_t)offload_sum(ones, len)), ref_sum(0, ones, len));
		ck_assert_uint_eq(be16toh((uint16_t)offload_sum_plain(ones, len)),
				  ref_sum(0, ones, len));
	}
}
END_TEST

/* Cuts `p` by the library and by the reference. */
static void compare_cut(const struct ref_packet *p, uint32_t size)
{
	static struct ref_packet want[REF_MAX];
	static uint8_t super[65536], out[65536];
	struct virtio_net_hdr h;
	struct offload_cut c;
	uint32_t len = ref_super(p, size, &h, super);
	unsigned n = ref_cut(p, size, want);

	ck_assert_int_eq(offload_cut(&h, super, len, &c), 0);
	ck_assert_uint_eq(c.n, n);
	ck_assert_uint_eq(raw_cut(&h, super, len), n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t bytes[REF_BYTES];
		uint32_t want_len = ref_bytes(&want[i], bytes);

		ck_assert_uint_eq(raw_piece(&h, super, len, i, out), want_len);
		ck_assert_mem_eq(out, bytes, want_len);

		ck_assert_uint_eq(offload_cut_len(&c, i), want_len);
		memset(out, 0xAA, want_len + 1);
		offload_cut_write(&c, i, out);
		ck_assert_mem_eq(out, bytes, want_len);
		ck_assert_uint_eq(out[want_len], 0xAA);
	}
}

START_TEST(cut_all_kinds)
{
	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned options = 0; options <= 12; options += 12)
			for (uint32_t payload = 1; payload < 5000; payload += 613)
				for (uint32_t size = 500; size < 1500; size += 333) {
					struct ref_packet p = ref_new(kind & 1, kind & 2, payload);

					p.options = p.tcp ? options : 0;
					compare_cut(&p, size);
				}
}
END_TEST

START_TEST(cut_flags)
{
	struct ref_packet p = ref_new(false, true, 3000);

	p.flags = 0x99; /* CWR, ACK, PSH, FIN */
	p.id = 0xFFFE;
	p.seq = 0xFFFFFF00;
	compare_cut(&p, 1000);
}
END_TEST

START_TEST(cut_only_a_checksum)
{
	struct ref_packet p = ref_new(true, false, 777);
	uint8_t b[REF_BYTES], want[REF_BYTES], out[REF_BYTES];
	struct virtio_net_hdr h;
	uint32_t len = ref_super(&p, 0, &h, b);
	struct offload_cut c;

	ck_assert_int_eq(offload_cut(&h, b, len, &c), 0);
	ck_assert_uint_eq(c.n, 1);
	ck_assert_uint_eq(offload_cut_len(&c, 0), len);
	offload_cut_write(&c, 0, out);
	ref_bytes(&p, want);
	ck_assert_mem_eq(out, want, len);
	/* Nothing to do: as it is. */
	h = (struct virtio_net_hdr){0};
	ck_assert_int_eq(offload_cut(&h, b, len, &c), 0);
	offload_cut_write(&c, 0, out);
	ck_assert_mem_eq(out, b, len);
}
END_TEST

/* Behind a segment routing header (RFC 8754) with one segment left the pseudo header has the last
 * destination, which the fixed header has not: after the last hop the checksum is right. */
START_TEST(cut_behind_a_route)
{
	static const uint8_t routing[40] = {6, 4, 4, 1, 1, [8] = 0xFD, [23] = 9, [24] = 0xFD};
	struct ref_packet p = ref_new(true, true, 2500);
	uint8_t plain[REF_BYTES], b[REF_BYTES], out[REF_BYTES];
	struct virtio_net_hdr h;
	struct offload_cut c;
	uint32_t len;

	p.host = 9;
	len = ref_super(&p, 1000, &h, plain);
	memcpy(b, plain, 40);
	b[4] = (uint8_t)((len + sizeof(routing) - 40) >> 8);
	b[5] = (uint8_t)(len + sizeof(routing) - 40);
	b[6] = 43;
	b[39] = 0;
	memcpy(b + 40, routing, sizeof(routing));
	memcpy(b + 80, plain + 40, len - 40);
	h.csum_start += sizeof(routing);
	ck_assert_int_eq(offload_cut(&h, b, len + sizeof(routing), &c), 0);
	ck_assert_uint_eq(c.n, 3);
	for (unsigned i = 0; i < c.n; i++) {
		struct ref_packet want[REF_MAX];

		len = offload_cut_len(&c, i);
		offload_cut_write(&c, i, out);
		ck_assert_uint_eq((unsigned)(out[4] << 8 | out[5]), len - 40);
		ck_assert_mem_eq(out + 40, routing, sizeof(routing));
		ref_cut(&p, 1000, want);
		ck_assert_uint_eq(ref_bytes(&want[i], plain), len - sizeof(routing));
		ck_assert_mem_eq(out + 80, plain + 40, len - 80);
	}
}
END_TEST

START_TEST(cut_refuses)
{
	struct ref_packet p = ref_new(false, true, 3000);
	uint8_t b[REF_BYTES];
	struct virtio_net_hdr good, h;
	uint32_t len = ref_super(&p, 1000, &good, b);
	struct offload_cut c = {.n = 99};

#define REFUSE(change, n)                                                                          \
	do {                                                                                       \
		h = good;                                                                          \
		change;                                                                            \
		ck_assert_int_lt(offload_cut(&h, b, n, &c), 0);                                    \
	} while (0)
	REFUSE(h.gso_size = 0, len);
	REFUSE(h.flags = 0, len);
	REFUSE(h.gso_type = VIRTIO_NET_HDR_GSO_TCPV6, len);
	REFUSE(h.gso_type = VIRTIO_NET_HDR_GSO_UDP, len);
	REFUSE(h.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, len);
	/* What no kernel has said yet, and a mark of congestion on nothing. */
	REFUSE(h.gso_type = 2, len);
	REFUSE(h.gso_type = 6, len);
	REFUSE(h.gso_type = VIRTIO_NET_HDR_GSO_ECN, len);
	REFUSE(h.csum_start = 24, len);
	REFUSE(h.csum_start = 0xFFFF, len);
	REFUSE(h.csum_offset = 0xFFFF, len);
	REFUSE(h.csum_offset = 6, len);
	REFUSE((void)0, 39);
	REFUSE((void)0, 40);
	REFUSE((void)0, 19);
	b[32] = 0x40;
	REFUSE((void)0, len);
	b[0] = 0x15;
	REFUSE((void)0, len);
	ck_assert_uint_eq(c.n, 99);
}
END_TEST

/* ── joining ────────────────────────────────────────────────────────────────────────────── */

/* What was written, one piece of memory each. */
struct sink {
	unsigned n, joined;
	struct virtio_net_hdr h[64];
	uint8_t data[64][65536];
	uint32_t len[64];
};
static struct sink sink;

static void collect(void *user, const struct virtio_net_hdr *h, const struct iovec *iov, unsigned n)
{
	struct sink *s = user;

	ck_assert_uint_lt(s->n, 64);
	s->h[s->n] = *h;
	s->len[s->n] = 0;
	for (unsigned i = 0; i < n; i++) {
		memcpy(s->data[s->n] + s->len[s->n], iov[i].iov_base, iov[i].iov_len);
		s->len[s->n] += (uint32_t)iov[i].iov_len;
	}
	s->joined += h->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	s->n++;
}

static struct offload_gro gro;
static uint8_t memory[64][REF_BYTES], original[64][REF_BYTES];
static uint32_t lengths[64];

/* Each of the reference's groups was written, with its bytes and its header; and nothing else. */
static void compare_groups(unsigned n)
{
	static uint8_t want[65536];
	static struct raw_group groups[RAW_MAX];
	struct raw_packet p[64];

	for (unsigned i = 0; i < n; i++)
		p[i] = (struct raw_packet){original[i], lengths[i]};
	unsigned n_groups = raw_groups(p, n, true, true, groups), found = 0;
	ck_assert_uint_eq(n_groups, sink.n);
	for (unsigned k = 0; k < n_groups; k++) {
		struct virtio_net_hdr h;
		uint32_t len = raw_whole(p, &groups[k], &h, want);
		unsigned i = 0;

		while (i < sink.n && (sink.len[i] != len || memcmp(sink.data[i], want, len) != 0 ||
				      memcmp(&sink.h[i], &h, sizeof(h)) != 0))
			i++;
		ck_assert_uint_lt(i, sink.n);
		sink.len[i] |= 0x80000000; /* taken */
		found++;
	}
	for (unsigned i = 0; i < sink.n; i++)
		sink.len[i] &= 0x7FFFFFFF;
	ck_assert_uint_eq(found, sink.n);
}

/* Packets go in; what comes out, cut again, is the same packets: as many writes as `writes`. */
static void join(const struct ref_packet *p, unsigned n, unsigned writes)
{
	unsigned at = 0;

	memset(&sink, 0, sizeof(sink));
	offload_gro_init(&gro, collect, &sink);
	gro.tcp = gro.udp = true;
	for (unsigned i = 0; i < n; i++) {
		lengths[i] = ref_bytes(&p[i], memory[i]);
		memcpy(original[i], memory[i], lengths[i]);
		offload_gro_add(&gro, memory[i], lengths[i]);
	}
	offload_gro_flush(&gro);
	ck_assert_uint_eq(sink.n, writes);
	compare_groups(n);
	for (unsigned i = 0; i < sink.n; i++) {
		struct offload_cut c;
		uint8_t out[REF_BYTES];

		ck_assert_int_eq(offload_cut(&sink.h[i], sink.data[i], sink.len[i], &c), 0);
		for (unsigned k = 0; k < c.n; k++, at++) {
			ck_assert_uint_lt(at, n);
			ck_assert_uint_eq(offload_cut_len(&c, k), lengths[at]);
			offload_cut_write(&c, k, out);
			ck_assert_mem_eq(out, original[at], lengths[at]);
		}
	}
	ck_assert_uint_eq(at, n);
}

static void series(struct ref_packet *p, unsigned n, bool v6, bool tcp, uint32_t payload)
{
	for (unsigned i = 0; i < n; i++) {
		p[i] = ref_new(v6, tcp, payload);
		p[i].options = tcp ? 12 : 0;
		p[i].id = (uint16_t)(0xFFFD + i);
		p[i].seq = 0xFFFFF000 + i * payload;
		p[i].fill = (uint8_t)i;
	}
}

START_TEST(join_series)
{
	struct ref_packet p[40];

	for (unsigned kind = 0; kind < 4; kind++) {
		series(p, 40, kind & 1, kind & 2, 1368);
		join(p, 40, 1);
		p[39].payload = 5;
		join(p, 40, 1);
		/* A short one ends it. */
		p[20].payload = 1000;
		if (kind & 2)
			for (unsigned i = 21; i < 40; i++)
				p[i].seq -= 368;
		join(p, 40, 2);
	}
}
END_TEST

/* Acknowledgements of congestion stand in all packets for a round trip, or for good (AccECN). */
START_TEST(join_ecn)
{
	static const uint16_t flags[] = {0x050, 0x110, 0x150};
	struct ref_packet p[40];

	for (unsigned kind = 0; kind < 6; kind++) {
		series(p, 40, kind & 1, true, 1368);
		for (unsigned i = 0; i < 40; i++)
			p[i].flags = flags[kind / 2];
		join(p, 40, 1);
		p[39].flags |= 8;
		join(p, 40, 1);
		for (unsigned i = 0; i < 20; i++)
			p[i].flags = 0x10;
		join(p, 40, 2);
		for (unsigned i = 0; i < 40; i++)
			p[i].flags = flags[kind / 2] | 0x80;
		join(p, 40, 40);
	}
}
END_TEST

START_TEST(join_bounds)
{
	struct ref_packet p[60];

	/* 65,535 bytes. */
	series(p, 60, false, true, 1400);
	join(p, 60, 2);
	series(p, 60, true, false, 1400);
	join(p, 60, 2);
}
END_TEST

START_TEST(push_ends_it)
{
	struct ref_packet p[4];

	series(p, 4, false, true, 1000);
	p[1].flags |= 8;
	join(p, 4, 2);
	ck_assert_uint_eq(sink.joined, 2);
	series(p, 4, false, true, 1000);
	p[0].flags |= 8;
	join(p, 4, 2);
}
END_TEST

/* What nothing can follow is written as it comes, and does not wait for the end of the batch. */
START_TEST(ended_at_once)
{
	struct ref_packet p[3];

	for (unsigned how = 0; how < 2; how++) {
		series(p, 3, false, true, 1000);
		if (how)
			p[2].flags |= 8;
		else
			p[2].payload = 999;
		memset(&sink, 0, sizeof(sink));
		offload_gro_init(&gro, collect, &sink);
		gro.tcp = true;
		for (unsigned i = 0; i < 3; i++) {
			ck_assert_uint_eq(sink.n, 0);
			offload_gro_add(&gro, memory[i], ref_bytes(&p[i], memory[i]));
		}
		ck_assert_uint_eq(sink.n, 1);
		offload_gro_flush(&gro);
		ck_assert_uint_eq(sink.n, 1);
	}
}
END_TEST

/* Every difference in the headers keeps packets apart. */
START_TEST(not_joined)
{
	struct ref_packet p[2];

#define APART(v6, tcp, change)                                                                     \
	do {                                                                                       \
		series(p, 2, v6, tcp, 1000);                                                       \
		change;                                                                            \
		join(p, 2, 2);                                                                     \
		ck_assert_uint_eq(sink.joined, 0);                                                 \
	} while (0)
	for (unsigned v6 = 0; v6 < 2; v6++) {
		APART(v6, true, p[1].seq++);
		APART(v6, true, p[1].ack++);
		APART(v6, true, p[1].window++);
		APART(v6, true, p[1].urgent++);
		APART(v6, true, p[1].option_byte++);
		APART(v6, true, p[1].options = 16);
		APART(v6, true, p[1].port++);
		APART(v6, true, p[1].payload++);
		APART(v6, true, p[1].payload = 0);
		APART(v6, true, p[1].tos ^= 1);
		APART(v6, true, p[1].ttl--);
		APART(v6, true, p[1].host++);
		for (unsigned flag = 1; flag < 4096; flag *= 2)
			if (flag != 8)
				APART(v6, true, p[1].flags ^= (uint16_t)flag);
		APART(v6, true, p[1].bad_sum = true);
		APART(v6, true, p[0].bad_sum = true);
		APART(v6, false, p[1].bad_sum = true);
		APART(v6, false, p[1].payload++);
		APART(v6, false, p[1].port++);
		APART(v6, false, p[1].tcp = true);
	}
	APART(true, true, p[1].flow++);
	APART(false, true, p[1].id++);
	APART(false, true, p[1].df = !p[1].df);
	/* Without ports there is no telling whose order it would be in. */
	APART(false, true, p[0].more_fragments = true);
	APART(false, true, p[1].bad_ip_sum = true);
	APART(false, false, p[1].no_sum = true);
}
END_TEST

/* An identification that stays the same, where fragments are forbidden. */
START_TEST(fixed_id)
{
	struct ref_packet p[3];

	series(p, 3, false, false, 900);
	for (unsigned i = 0; i < 3; i++) {
		p[i].id = 0;
		p[i].df = true;
		lengths[i] = ref_bytes(&p[i], memory[i]);
		memcpy(original[i], memory[i], lengths[i]);
	}
	memset(&sink, 0, sizeof(sink));
	offload_gro_init(&gro, collect, &sink);
	gro.udp = true;
	for (unsigned i = 0; i < 3; i++)
		offload_gro_add(&gro, memory[i], lengths[i]);
	offload_gro_flush(&gro);
	ck_assert_uint_eq(sink.n, 1);
	compare_groups(3);
	for (unsigned i = 0; i < 3; i++) {
		p[i].df = false;
		lengths[i] = ref_bytes(&p[i], memory[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		offload_gro_add(&gro, memory[i], lengths[i]);
	offload_gro_flush(&gro);
	ck_assert_uint_eq(sink.n, 4);
}
END_TEST

/* Flows in turn: each is joined, and none is out of its own order. */
START_TEST(many_flows)
{
	unsigned next[20] = {0}, total = 0;

	memset(&sink, 0, sizeof(sink));
	offload_gro_init(&gro, collect, &sink);
	gro.tcp = gro.udp = true;
	for (unsigned i = 0; i < 60; i++) {
		struct ref_packet p = ref_new(i & 1, true, 100);

		p.port = (uint16_t)(1000 + i % 20);
		p.id = (uint16_t)(i / 20);
		p.seq = i / 20 * 100;
		lengths[i] = ref_bytes(&p, memory[i]);
		offload_gro_add(&gro, memory[i], lengths[i]);
	}
	offload_gro_flush(&gro);
	for (unsigned i = 0; i < sink.n; i++) {
		uint8_t *t = sink.data[i] + (sink.data[i][0] >> 4 == 4 ? 20 : 40);
		unsigned flow = (unsigned)(t[0] << 8 | t[1]) - 1000, seq = t[6] << 8U | t[7];
		uint32_t payload = sink.len[i] - (uint32_t)(t - sink.data[i]) - 20;

		ck_assert_uint_lt(flow, 20);
		ck_assert_uint_eq(seq, next[flow]);
		next[flow] += payload;
		total += payload;
	}
	ck_assert_uint_eq(total, 6000);
}
END_TEST

/* Fragments of datagrams between others of the same ports: all in their order, what waits of
 * other addresses goes on waiting. */
START_TEST(order_with_fragments)
{
	static const unsigned order[] = {1, 2, 3, 0, 4};

	for (unsigned options = 0; options < 2; options++) {
		memset(&sink, 0, sizeof(sink));
		offload_gro_init(&gro, collect, &sink);
		gro.tcp = gro.udp = true;
		for (unsigned i = 0; i < 5; i++) {
			struct ref_packet p = ref_new(false, false, 100 + i);

			p.host = i == 0 ? 4 : 3;
			p.id = (uint16_t)i;
			p.more_fragments = i == 3 && !options;
			lengths[i] = ref_bytes(&p, memory[i]);
			if (i == 3 && options)
				memory[i][0] = 0x46;
			offload_gro_add(&gro, memory[i], lengths[i]);
		}
		offload_gro_flush(&gro);
		ck_assert_uint_eq(sink.n, 5);
		for (unsigned i = 0; i < 5; i++)
			ck_assert_uint_eq(sink.data[i][5], order[i]);
	}
}
END_TEST

START_TEST(switched_off)
{
	struct ref_packet p[2];

	series(p, 2, false, true, 100);
	memset(&sink, 0, sizeof(sink));
	offload_gro_init(&gro, collect, &sink);
	gro.udp = true;
	for (unsigned i = 0; i < 2; i++)
		offload_gro_add(&gro, memory[i], ref_bytes(&p[i], memory[i]));
	ck_assert_uint_eq(sink.n, 2);
}
END_TEST

static void count_written(void *user, const struct virtio_net_hdr *h, const struct iovec *iov,
			  unsigned n)
{
	*(unsigned *)user += n;
}

/* Of what a device does with packets the offload code is a part: nothing of it allocates. */
START_TEST(allocates_nothing)
{
	static uint8_t super[65536], out[REF_BYTES];
	struct ref_packet big = ref_new(false, true, 60000), p[40];
	struct virtio_net_hdr h;
	uint32_t len = ref_super(&big, 1448, &h, super);
	unsigned done = 0, want = 0;

	offload_gro_init(&gro, count_written, &done);
	gro.tcp = gro.udp = true;
	unsigned long before = fault_count();
	void *one = malloc(len);
	__asm__ volatile("" : : "r"(one) : "memory"); /* or it is left out */
	free(one);
	ck_assert_uint_eq(fault_count(), before + 1); /* it does count */
	before = fault_count();
	for (unsigned round = 0; round < 20; round++) {
		struct offload_cut c;

		if (offload_cut(&h, super, len, &c) == 0)
			for (uint32_t i = 0; i < c.n; i++)
				offload_cut_write(&c, i, out);
		series(p, 40, round & 1, round & 2, 1000);
		for (unsigned i = 0; i < 40; i++, want++) {
			p[i].port += (uint16_t)(i % (round + 1)); /* up to 20 flows */
			offload_gro_add(&gro, memory[i], ref_bytes(&p[i], memory[i]));
		}
		offload_gro_flush(&gro);
	}
	before = fault_count() - before;
	ck_assert_uint_eq(before, 0);
	ck_assert_uint_eq(done, want);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("offload", sums, cut_all_kinds, cut_flags, cut_only_a_checksum,
			  cut_behind_a_route, cut_refuses, join_series, join_ecn, join_bounds,
			  push_ends_it, ended_at_once, not_joined, fixed_id, many_flows,
			  order_with_fragments, switched_off, allocates_nothing);
}

UNIT_MAIN(suite)
