#include "offloadref.h"

#include <string.h>

uint16_t ref_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 2) {
		sum += (uint32_t)p[i] << 8 | (i + 1 < len ? p[i + 1] : 0);
		while (sum > 0xFFFF)
			sum = (sum & 0xFFFF) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

struct ref_packet ref_new(bool v6, bool tcp, uint32_t payload)
{
	return (struct ref_packet){.v6 = v6,
				   .tcp = tcp,
				   .tos = 0x12,
				   .ttl = 61,
				   .host = 3,
				   .flags = 0x10,
				   .option_byte = 9,
				   .fill = 77,
				   .id = 500,
				   .port = 4000,
				   .window = 512,
				   .flow = 0x1234,
				   .seq = 1,
				   .ack = 99,
				   .payload = payload};
}

static uint32_t ip_header(const struct ref_packet *p, uint8_t *out, uint32_t inner)
{
	if (p->v6) {
		memset(out, 0, 40);
		out[0] = 0x60 | p->tos >> 4;
		out[1] = (uint8_t)(p->tos << 4);
		put16(out + 2, p->flow);
		put16(out + 4, inner);
		out[6] = p->tcp ? 6 : 17;
		out[7] = p->ttl;
		out[8] = out[24] = 0xFD;
		out[23] = 1;
		out[39] = p->host;
		return 40;
	}
	memset(out, 0, 20);
	out[0] = 0x45;
	out[1] = p->tos;
	put16(out + 2, 20 + inner);
	put16(out + 4, p->id);
	out[6] = (uint8_t)(p->df << 6 | p->more_fragments << 5);
	out[8] = p->ttl;
	out[9] = p->tcp ? 6 : 17;
	put32(out + 12, 0x0A000001);
	put32(out + 16, 0x0A000000 + p->host);
	put16(out + 10, (uint16_t)~ref_sum(p->bad_ip_sum, out, 20));
	return 20;
}

static uint32_t transport_header(const struct ref_packet *p, uint8_t *t)
{
	put16(t, p->port);
	put16(t + 2, 80);
	if (!p->tcp) {
		put16(t + 4, 8 + p->payload);
		put16(t + 6, 0);
		return 8;
	}
	put32(t + 4, p->seq);
	put32(t + 8, p->ack);
	t[12] = (uint8_t)((20 + p->options) / 4 << 4 | p->flags >> 8);
	t[13] = (uint8_t)p->flags;
	put16(t + 14, p->window);
	put16(t + 16, 0);
	put16(t + 18, p->urgent);
	memset(t + 20, p->option_byte, p->options);
	return 20 + p->options;
}

static uint32_t pseudo(const struct ref_packet *p, const uint8_t *ip, uint32_t inner)
{
	uint32_t sum = p->v6 ? ref_sum(0, ip + 8, 32) : ref_sum(0, ip + 12, 8);

	return sum + (p->tcp ? 6 : 17) + inner;
}

/* Without the checksum of the transport; *ret_t where that begins. */
static uint32_t build(const struct ref_packet *p, uint8_t *out, uint32_t *ret_t)
{
	uint32_t inner = (p->tcp ? 20 + p->options : 8) + p->payload;
	uint32_t t = ip_header(p, out, inner), at = t + transport_header(p, out + t);

	for (uint32_t i = 0; i < p->payload; i++)
		out[at + i] = (uint8_t)((i + p->offset) * 31 + (i + p->offset) / 256 + p->fill);
	*ret_t = t;
	return at + p->payload;
}

uint32_t ref_bytes(const struct ref_packet *p, uint8_t *out)
{
	uint32_t t, len = build(p, out, &t);
	uint16_t sum = (uint16_t)~ref_sum(pseudo(p, out, len - t), out + t, len - t);

	if (sum == 0)
		sum = 0xFFFF;
	if (!p->no_sum)
		put16(out + t + (p->tcp ? 16 : 6), sum ^ p->bad_sum);
	return len;
}

uint32_t ref_super(const struct ref_packet *p, uint32_t size, struct virtio_net_hdr *h,
		   uint8_t *out)
{
	uint32_t t, len = build(p, out, &t);
	uint8_t type = !p->tcp ? 5 : p->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;

	uint32_t folded = pseudo(p, out, len - t);
	folded = (folded & 0xFFFF) + (folded >> 16);
	put16(out + t + (p->tcp ? 16 : 6), folded);
	*h = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				     .gso_type = size ? type : VIRTIO_NET_HDR_GSO_NONE,
				     .gso_size = (uint16_t)size,
				     .csum_start = (uint16_t)t,
				     .csum_offset = p->tcp ? 16 : 6};
	return len;
}

unsigned ref_cut(const struct ref_packet *p, uint32_t size, struct ref_packet ret[REF_MAX])
{
	unsigned n = 0;

	for (uint32_t at = 0; at < p->payload; at += size, n++) {
		bool last = p->payload - at <= size;

		ret[n] = *p;
		ret[n].offset = at;
		ret[n].payload = last ? p->payload - at : size;
		ret[n].id = (uint16_t)(p->id + n);
		ret[n].seq = p->seq + at;
		if (at > 0)
			ret[n].flags &= (uint16_t)~0x80;
		if (!last)
			ret[n].flags &= (uint16_t)~0x09;
	}
	return n;
}
