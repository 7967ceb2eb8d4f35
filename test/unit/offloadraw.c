#include "offloadraw.h"
#include "offloadref.h"

#include <string.h>

#define FIN 0x01U
#define PSH 0x08U
#define ACK 0x10U
#define ECE 0x40U
#define CWR 0x80U
#define AE  0x100U

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)(p[0] * 256 + p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) * 65536 + get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v / 256);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v / 65536);
	put16(p + 2, v);
}

/* ── cutting ────────────────────────────────────────────────────────────────────────────── */

/* Where what is in each packet ends; 0: it cannot be cut. */
static uint32_t headers(const struct virtio_net_hdr *h, const uint8_t *b, uint32_t len)
{
	uint32_t at = h->csum_start;
	bool v6 = b[0] / 16 == 6;

	if (h->gso_size == 0 || !(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	if (v6 ? at < 40 : at < 20 || at != b[0] % 16U * 4)
		return 0;
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (v6 != ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6))
			return 0;
		if (h->csum_offset != 16 || len < at + 20 || b[at + 12] / 16 < 5)
			return 0;
		at += b[at + 12] / 16U * 4;
		break;
	case 5: /* VIRTIO_NET_HDR_GSO_UDP_L4 */
		if (h->csum_offset != 6)
			return 0;
		at += 8;
		break;
	default: return 0;
	}
	return at < len ? at : 0;
}

uint32_t raw_cut(const struct virtio_net_hdr *h, const uint8_t *b, uint32_t len)
{
	uint32_t header;

	if (len < 20 || len > 65535 || (b[0] / 16 != 4 && b[0] / 16 != 6))
		return 0;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
	    (uint32_t)h->csum_start + h->csum_offset + 2 > len)
		return 0;
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return 1;
	header = headers(h, b, len);
	return header == 0 ? 0 : (len - header + h->gso_size - 1) / h->gso_size;
}

/* The checksum's field comes with the sum of the pseudo header, for a transport of `was` bytes; it
 * is summed where it stands. */
static void complete(uint8_t *out, uint32_t len, const struct virtio_net_hdr *h, uint32_t was)
{
	uint8_t *t = out + h->csum_start, *check = t + h->csum_offset;
	uint32_t is = len - h->csum_start;
	uint16_t sum;

	if (is != was) /* one's complement: modulo 65535 */
		put16(check, (get16(check) + is + 2 * 65535 - was) % 65535);
	sum = (uint16_t)~ref_sum(0, t, is);
	put16(check, sum == 0 ? 0xFFFF : sum);
}

uint32_t raw_piece(const struct virtio_net_hdr *h, const uint8_t *b, uint32_t len, uint32_t i,
		   uint8_t *out)
{
	uint32_t n = raw_cut(h, b, len), header, from, payload;
	bool v6 = b[0] / 16 == 6;
	uint8_t *t = out + h->csum_start;

	if (n == 1) {
		memcpy(out, b, len);
		if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			complete(out, len, h, len - h->csum_start);
		return len;
	}
	header = headers(h, b, len);
	from = header + i * h->gso_size;
	payload = i == n - 1 ? len - from : h->gso_size;
	memcpy(out, b, header);
	memcpy(out + header, b + from, payload);
	if (v6) {
		put16(out + 4, header + payload - 40);
	} else {
		put16(out + 2, header + payload);
		put16(out + 4, get16(b + 4) + i);
		put16(out + 10, 0);
		put16(out + 10, ref_sum(0, out, h->csum_start) ^ 0xFFFFU);
	}
	if (h->csum_offset == 6) {
		put16(t + 4, header + payload - h->csum_start);
	} else {
		uint32_t flags = get16(t + 12);

		put32(t + 4, get32(t + 4) + i * h->gso_size);
		if (i != 0)
			flags &= ~CWR;
		if (i != n - 1)
			flags &= ~(FIN | PSH);
		put16(t + 12, flags);
	}
	complete(out, header + payload, h, len - h->csum_start);
	return header + payload;
}

/* ── joining ────────────────────────────────────────────────────────────────────────────── */

static bool is_v6(const struct raw_packet *p)
{
	return p->b[0] / 16 == 6;
}

/* Where ports are: then 6 or 17, else 0. */
static unsigned protocol(const struct raw_packet *p)
{
	const uint8_t *b = p->b;
	unsigned which, at;

	if (is_v6(p)) {
		if (p->len < 40 || get16(b + 4) + 40 != p->len)
			return 0;
		which = b[6];
		at = 40;
	} else {
		if (p->len < 20 || b[0] != 0x45 || get16(b + 2) != p->len)
			return 0;
		if (get16(b + 6) != 0 && get16(b + 6) != 0x4000)
			return 0;
		which = b[9];
		at = 20;
	}
	if (which == 6 && p->len >= at + 20)
		return 6;
	return which == 17 && p->len >= at + 8 ? 17 : 0;
}

static uint32_t transport(const struct raw_packet *p)
{
	return is_v6(p) ? 40 : 20;
}

/* All that comes before the payload. */
static uint32_t header(const struct raw_packet *p)
{
	uint32_t t = transport(p);

	return protocol(p) == 17 ? t + 8 : t + p->b[t + 12] / 16U * 4;
}

static uint32_t payload(const struct raw_packet *p)
{
	return p->len - header(p);
}

static uint32_t tcp_flags(const struct raw_packet *p)
{
	return get16(p->b + transport(p) + 12) & 0xFFF;
}

static bool same_addresses(const struct raw_packet *a, const struct raw_packet *b)
{
	if (is_v6(a) != is_v6(b))
		return false;
	return is_v6(a) ? memcmp(a->b + 8, b->b + 8, 32) == 0
			: memcmp(a->b + 12, b->b + 12, 8) == 0;
}

static bool same_flow(const struct raw_packet *a, const struct raw_packet *b)
{
	return protocol(a) != 0 && protocol(a) == protocol(b) && same_addresses(a, b) &&
	       memcmp(a->b + transport(a), b->b + transport(b), 4) == 0;
}

/* The pseudo header byte by byte (RFC 9293 section 3.1, RFC 8200 section 8.1); returns its sum. */
static uint16_t pseudo_sum(const uint8_t *b, bool v6, unsigned which, uint32_t len)
{
	uint8_t h[40] = {0};

	if (v6) {
		memcpy(h, b + 8, 32);
		put32(h + 32, len);
		h[39] = (uint8_t)which;
		return ref_sum(0, h, 40);
	}
	memcpy(h, b + 12, 8);
	h[9] = (uint8_t)which;
	put16(h + 10, len);
	return ref_sum(0, h, 12);
}

static bool sound(const struct raw_packet *p)
{
	uint32_t t = transport(p), len = p->len - t;
	unsigned which = protocol(p);

	if (which == 0 || (!is_v6(p) && ref_sum(0, p->b, 20) != 0xFFFF))
		return false;
	return ref_sum(pseudo_sum(p->b, is_v6(p), which, len), p->b + t, len) == 0xFFFF;
}

/* Whether it may be part of anything. */
static bool fit(const struct raw_packet *p)
{
	uint32_t t = transport(p);

	if (protocol(p) == 17 && (get16(p->b + t + 4) != p->len - t || get16(p->b + t + 6) == 0))
		return false;
	if (protocol(p) == 6 && (tcp_flags(p) & ~(PSH | ECE | AE)) != ACK)
		return false;
	if (header(p) < t + (protocol(p) == 6 ? 20 : 8) || header(p) >= p->len)
		return false;
	return sound(p);
}

/* All of the headers that is not each packet's own. */
static bool same_headers(const struct raw_packet *first, const struct raw_packet *p)
{
	uint8_t a[128], b[128];
	uint32_t t = transport(first), n = header(first);

	if (header(p) != n)
		return false;
	memcpy(a, first->b, n);
	memcpy(b, p->b, n);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *h = i ? b : a;

		if (is_v6(first)) {
			put16(h + 4, 0);
		} else {
			put16(h + 2, 0);
			put32(h + 4, get32(h + 4) & 0xFFFF);
			put16(h + 10, 0);
		}
		if (protocol(first) == 17) {
			put16(h + t + 4, 0);
			put16(h + t + 6, 0);
		} else {
			put32(h + t + 4, 0);
			put16(h + t + 12, get16(h + t + 12) & ~PSH);
			put16(h + t + 16, 0);
		}
	}
	return memcmp(a, b, n) == 0;
}

static uint32_t id(const struct raw_packet *p)
{
	return get16(p->b + 4);
}

/* IPv4 identifications count up; or are all the same, where the packet may not be fragmented. */
static bool id_follows(const struct raw_packet *p, const struct raw_group *g, unsigned next)
{
	const struct raw_packet *first = &p[g->packet[0]];
	bool up = true, fixed = get16(first->b + 6) == 0x4000;

	if (is_v6(first))
		return true;
	for (unsigned i = 1; i <= g->n; i++) {
		const struct raw_packet *at = &p[i < g->n ? g->packet[i] : next];

		up = up && id(at) == (id(first) + i) % 65536;
		fixed = fixed && id(at) == id(first);
	}
	return up || fixed;
}

static bool follows(const struct raw_packet *p, const struct raw_group *g, unsigned next)
{
	const struct raw_packet *first = &p[g->packet[0]], *last = &p[g->packet[g->n - 1]],
				*q = &p[next];
	uint32_t whole = header(first);

	for (unsigned i = 0; i < g->n; i++)
		whole += payload(&p[g->packet[i]]);
	if (g->n == RAW_JOIN || whole + payload(q) > 65535 || payload(q) > payload(first))
		return false;
	if (protocol(q) == 6 &&
	    get32(q->b + transport(q) + 4) != get32(last->b + transport(last) + 4) + payload(last))
		return false;
	return same_headers(first, q) && id_follows(p, g, next);
}

/* After it nothing may come. */
static bool ends(const struct raw_packet *first, const struct raw_packet *p)
{
	return (protocol(p) == 6 && tcp_flags(p) & PSH) || payload(p) < payload(first);
}

bool raw_in_order(const struct raw_packet *a, const struct raw_packet *b)
{
	if (protocol(a) && protocol(b))
		return same_flow(a, b);
	return same_addresses(a, b);
}

unsigned raw_groups(const struct raw_packet *p, unsigned n, bool tcp, bool udp,
		    struct raw_group ret[RAW_MAX])
{
	bool open[RAW_MAX];
	unsigned n_groups = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct raw_packet *q = &p[i];
		bool on = protocol(q) == 0 || (protocol(q) == 6 ? tcp : udp);
		bool may = protocol(q) && on && fit(q), done = false;

		for (unsigned k = 0; on && k < n_groups; k++) {
			struct raw_group *g = &ret[k];
			const struct raw_packet *first = &p[g->packet[0]];

			if (!open[k] || !raw_in_order(first, q))
				continue;
			/* At most one group of a flow is open, and it ends with what cannot follow.
			 */
			done = may && follows(p, g, i);
			if (done)
				g->packet[g->n++] = i;
			open[k] = done && !ends(first, q);
		}
		if (done)
			continue;
		ret[n_groups] = (struct raw_group){1, {i}};
		open[n_groups++] = may && !(protocol(q) == 6 && tcp_flags(q) & PSH);
	}
	return n_groups;
}

unsigned raw_flows(const struct raw_packet *p, unsigned n)
{
	unsigned flows = 0;

	for (unsigned i = 0; i < n; i++) {
		bool first = protocol(&p[i]) != 0;

		for (unsigned k = 0; first && k < i; k++)
			first = !same_flow(&p[k], &p[i]);
		flows += first;
	}
	return flows;
}

uint32_t raw_whole(const struct raw_packet *p, const struct raw_group *g, struct virtio_net_hdr *h,
		   uint8_t *out)
{
	const struct raw_packet *first = &p[g->packet[0]], *last = &p[g->packet[g->n - 1]];
	uint32_t len = first->len, t = transport(first);
	bool tcp = protocol(first) == 6, v6 = is_v6(first);

	*h = (struct virtio_net_hdr){0};
	memcpy(out, first->b, len);
	if (g->n == 1)
		return len;
	for (unsigned i = 1; i < g->n; i++) {
		const struct raw_packet *q = &p[g->packet[i]];

		memcpy(out + len, q->b + header(q), payload(q));
		len += payload(q);
	}
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->gso_type = !tcp ? 5 : v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	h->hdr_len = (uint16_t)header(first);
	h->gso_size = (uint16_t)payload(first);
	h->csum_start = (uint16_t)t;
	h->csum_offset = tcp ? 16 : 6;
	if (v6) {
		put16(out + 4, len - 40);
	} else {
		put16(out + 2, len);
		put16(out + 10, 0);
		put16(out + 10, ref_sum(0, out, 20) ^ 0xFFFFU);
	}
	if (tcp)
		put16(out + t + 12, get16(out + t + 12) | (tcp_flags(last) & PSH));
	else
		put16(out + t + 4, len - t);
	put16(out + t + h->csum_offset, pseudo_sum(out, v6, tcp ? 6 : 17, len - t));
	return len;
}
