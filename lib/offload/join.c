/*
 * Joining packets of one flow, by the rules of the kernel's GRO (inet_gro_receive,
 * tcp_gro_receive, udp_gro_receive): the headers are equal but for what counts up, options
 * included; sequence numbers follow on; each payload is as long as the first, a shorter one is
 * the last; PSH is the last. IPv4 identification counts up, or stays the same where the packet
 * may not be fragmented. Headers with IPv4 options, IPv6 extensions, fragments, and TCP with any
 * other flag than ACK, PSH, ECE and AE are never joined. ECE and AE are an acknowledgement's (of
 * congestion, RFC 3168 and 9768), equal in all; CWR is each packet's own.
 *
 * Where no ports are seen (a fragment, IPv4 options, IPv6 extensions) the packet may be of any flow
 * between its addresses: what waits of these is written before it.
 *
 * A packet is verified (IPv4 header, TCP or UDP checksum) before it may open or join a flow. The
 * payloads stay where they are: what is written is a list of pieces.
 */
#include "offload/offload.h"

#include <endian.h>
#include <string.h>

#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_ECE 0x40
#define TCP_AE  0x01 /* in the byte before, with the header's length */

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* A packet looked at. */
struct seen {
	uint8_t *p;
	uint32_t len, transport, header, payload;
	uint64_t hash;
	bool v6, tcp;
	bool flow;     /* TCP or UDP with ports: `hash` is set */
	bool joinable; /* by its form; the checksums have not been looked at */
};

void offload_gro_init(struct offload_gro *g, offload_write_fn *write, void *user)
{
	memset(g, 0, sizeof(*g));
	g->write = write;
	g->user = user;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
	return h ^ h >> 29;
}

/* Only a first look: equal addresses and ports are compared in full. */
static uint64_t hash_of(const struct seen *s)
{
	const uint8_t *a = s->p + (s->v6 ? 8 : 12);
	uint64_t h = s->tcp, v;
	uint32_t ports;

	for (unsigned n = s->v6 ? 32 : 8; n > 0; n -= 8, a += 8) {
		memcpy(&v, a, 8);
		h = mix(h, v);
	}
	memcpy(&ports, s->p + s->transport, 4);
	return mix(h, ports);
}

static void look_tcp(struct seen *s)
{
	const uint8_t *t = s->p + s->transport;

	if (s->len < s->transport + 20)
		return;
	s->flow = true;
	s->header = s->transport + (uint32_t)(t[12] >> 4) * 4;
	if (s->header < s->transport + 20 || s->header >= s->len)
		return;
	s->payload = s->len - s->header;
	s->joinable = (t[12] & 15 & ~TCP_AE) == 0 && (t[13] & ~(TCP_PSH | TCP_ECE)) == TCP_ACK;
}

static void look_udp(struct seen *s)
{
	const uint8_t *t = s->p + s->transport;

	if (s->len < s->transport + 8)
		return;
	s->flow = true;
	s->header = s->transport + 8;
	s->payload = s->len - s->header;
	s->joinable = s->payload > 0 && get16(t + 4) == s->len - s->transport && (t[6] | t[7]) != 0;
}

static struct seen look(uint8_t *p, size_t len)
{
	struct seen s = {.p = p, .len = (uint32_t)len, .v6 = p[0] >> 4 == 6};
	uint8_t protocol;

	if (s.v6) {
		s.transport = 40;
		protocol = len >= 40 && len - 40 == get16(p + 4) ? p[6] : 0;
	} else {
		s.transport = 20;
		/* No options, no fragment, and the length that it says. */
		protocol = len >= 20 && p[0] == 0x45 && (get16(p + 6) & 0xBFFF) == 0 &&
					   get16(p + 2) == len
				   ? p[9]
				   : 0;
	}
	s.tcp = protocol == 6;
	if (s.tcp)
		look_tcp(&s);
	else if (protocol == 17)
		look_udp(&s);
	if (s.flow)
		s.hash = hash_of(&s);
	return s;
}

/* The addresses, which are of the pseudo header, stand right before the transport's. */
static bool verified(const struct seen *s)
{
	uint32_t addrs = s->v6 ? 8 : 12, len = s->len - s->transport;

	if (!s->v6 && offload_sum(s->p, 20) != UINT16_MAX)
		return false;
	return offload_fold((uint64_t)offload_sum(s->p + addrs, s->len - addrs) +
			    htobe16(s->tcp ? 6 : 17) + htobe16((uint16_t)len)) == UINT16_MAX;
}

static bool same_addrs(const struct offload_flow *f, const struct seen *s)
{
	size_t at = s->v6 ? 8 : 12, n = s->v6 ? 32 : 8;

	return f->v6 == s->v6 && memcmp(f->packet + at, s->p + at, n) == 0;
}

static bool same_flow(const struct offload_flow *f, const struct seen *s)
{
	return f->hash == s->hash && f->tcp == s->tcp && same_addrs(f, s) &&
	       memcmp(f->packet + f->transport, s->p + s->transport, 4) == 0;
}

/* TOS, TTL and flags equal, identification in its place. */
static bool same_ip(const struct offload_flow *f, const struct seen *s, bool *ret_fixed)
{
	const uint8_t *a = f->packet, *b = s->p;
	uint32_t id = get16(a + 4), here = get16(b + 4);

	if (s->v6)
		return memcmp(a, b, 4) == 0 && a[7] == b[7];
	if (a[1] != b[1] || a[8] != b[8] || memcmp(a + 6, b + 6, 2) != 0)
		return false;
	*ret_fixed = a[6] & 0x40 && here == id && (f->n == 1 || f->fixed_id);
	return *ret_fixed || (!f->fixed_id && here == ((id + f->n) & 0xFFFF));
}

/* Acknowledgement, header length, flags, window, urgent pointer and options. */
static bool same_tcp(const struct offload_flow *f, const struct seen *s)
{
	const uint8_t *a = f->packet + f->transport, *b = s->p + s->transport;

	return memcmp(a + 8, b + 8, 5) == 0 && ((a[13] ^ b[13]) & ~TCP_PSH) == 0 &&
	       memcmp(a + 14, b + 14, 2) == 0 &&
	       memcmp(a + 18, b + 18, s->header - s->transport - 18) == 0 &&
	       get32(b + 4) == f->next_seq;
}

static bool fits(const struct offload_flow *f, const struct seen *s, bool *ret_fixed)
{
	return s->joinable && !f->push && f->n < OFFLOAD_JOIN && f->header == s->header &&
	       s->payload <= f->size && f->total + s->payload <= UINT16_MAX &&
	       f->total == f->header + f->n * f->size && same_ip(f, s, ret_fixed) &&
	       (!s->tcp || same_tcp(f, s));
}

/* The headers of the first packet become those of the whole. */
static void finish(struct offload_flow *f)
{
	uint8_t *p = f->packet, *t = p + f->transport;
	uint32_t len = f->total - f->transport;
	uint16_t sum;

	if (f->v6) {
		put16(p + 4, f->total - 40);
	} else {
		put16(p + 2, f->total);
		memset(p + 10, 0, 2);
		sum = (uint16_t)~offload_sum(p, 20);
		memcpy(p + 10, &sum, sizeof(sum));
	}
	if (!f->tcp)
		put16(t + 4, len);
	else if (f->push)
		t[13] |= TCP_PSH;
	sum = offload_fold(offload_sum_pseudo(p, f->v6, f->tcp ? 6 : 17, len));
	memcpy(t + (f->tcp ? 16 : 6), &sum, sizeof(sum));
	f->h = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = !f->tcp ? VIRTIO_NET_HDR_GSO_UDP_L4
			    : f->v6 ? VIRTIO_NET_HDR_GSO_TCPV6
				    : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)f->header,
		.gso_size = (uint16_t)f->size,
		.csum_start = (uint16_t)f->transport,
		.csum_offset = f->tcp ? 16 : 6,
	};
}

static void flush(struct offload_gro *g, struct offload_flow *f)
{
	if (f->n > 1) {
		finish(f);
		g->joined += f->n;
		g->made++;
	}
	g->write(g->user, &f->h, f->iov, f->n);
	f->n = 0;
}

static void write_alone(struct offload_gro *g, const struct seen *s)
{
	static const struct virtio_net_hdr none;

	g->write(g->user, &none, &(struct iovec){s->p, s->len}, 1);
}

/* It has no ports: whichever flow it is of, those before it go first. */
static void write_unsorted(struct offload_gro *g, const struct seen *s)
{
	for (unsigned i = 0; i < OFFLOAD_FLOWS; i++)
		if (g->flows[i].n && same_addrs(&g->flows[i], s))
			flush(g, &g->flows[i]);
	write_alone(g, s);
}

static struct offload_flow *find(struct offload_gro *g, const struct seen *s)
{
	for (unsigned i = 0; i < OFFLOAD_FLOWS; i++)
		if (g->flows[i].n && same_flow(&g->flows[i], s))
			return &g->flows[i];
	return NULL;
}

static struct offload_flow *empty(struct offload_gro *g)
{
	struct offload_flow *f;

	for (unsigned i = 0; i < OFFLOAD_FLOWS; i++)
		if (g->flows[i].n == 0)
			return &g->flows[i];
	f = &g->flows[g->oldest++ % OFFLOAD_FLOWS];
	flush(g, f);
	return f;
}

static void open_flow(struct offload_flow *f, const struct seen *s)
{
	f->h = (struct virtio_net_hdr){0};
	f->packet = s->p;
	f->hash = s->hash;
	f->header = s->header;
	f->transport = s->transport;
	f->size = s->payload;
	f->total = s->len;
	f->v6 = s->v6;
	f->tcp = s->tcp;
	f->fixed_id = f->push = false;
	if (s->tcp)
		f->next_seq = get32(s->p + s->transport + 4) + s->payload;
	f->iov[0] = (struct iovec){s->p, s->len};
	f->n = 1;
}

static void append(struct offload_flow *f, const struct seen *s, bool fixed)
{
	f->iov[f->n++] = (struct iovec){s->p + s->header, s->payload};
	f->total += s->payload;
	f->next_seq += s->payload;
	f->fixed_id = fixed;
	f->push = s->tcp && s->p[s->transport + 13] & TCP_PSH;
}

void offload_gro_add(struct offload_gro *g, uint8_t *packet, size_t len)
{
	struct seen s = look(packet, len);
	struct offload_flow *f;
	bool fixed = false, sound;

	if (!s.flow) {
		write_unsorted(g, &s);
		return;
	}
	if (!(s.tcp ? g->tcp : g->udp)) {
		write_alone(g, &s);
		return;
	}
	sound = s.joinable && verified(&s);
	f = find(g, &s);
	if (f && sound && fits(f, &s, &fixed)) {
		append(f, &s, fixed);
		/* Nothing can follow: written now, so that it waits for nothing. */
		if (f->push || s.payload < f->size || f->n == OFFLOAD_JOIN)
			flush(g, f);
		return;
	}
	if (f)
		flush(g, f);
	if (!sound || (s.tcp && s.p[s.transport + 13] & TCP_PSH)) {
		write_alone(g, &s);
		return;
	}
	open_flow(f ? f : empty(g), &s);
}

void offload_gro_flush(struct offload_gro *g)
{
	for (unsigned i = 0; i < OFFLOAD_FLOWS; i++)
		if (g->flows[i].n)
			flush(g, &g->flows[i]);
}
