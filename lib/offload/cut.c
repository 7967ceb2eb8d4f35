/*
 * Cutting a super-packet. Each packet gets a copy of the headers with its own length, IPv4
 * identification (counting up), sequence number and checksums. FIN and PSH go to the last one,
 * CWR stays with the first: what the kernel's tcp_gso_segment and udp_gso_segment do.
 *
 * The checksum's field comes with the sum of the pseudo header, of which the length alone is
 * another in each packet. It is not made anew: with a routing header (IPv4: source route) its
 * destination is the last one, which the fixed header has not.
 *
 * The header's fields come from the kernel but are not trusted beyond what the packet itself
 * says: hdr_len in particular is a hint only.
 */
#include "offload/offload.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xFFFF);
}

static int cut_super(const struct virtio_net_hdr *h, struct offload_cut *c)
{
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	const uint8_t *p = c->packet;

	if (!c->complete || h->gso_size == 0)
		return -EINVAL;
	c->v6 = p[0] >> 4 == 6;
	c->tcp = type != VIRTIO_NET_HDR_GSO_UDP_L4;
	if (c->tcp && type != (c->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4))
		return -EINVAL;
	if (c->v6 ? c->transport < 40 || c->len < 40
		  : c->transport < 20 || c->transport != (uint32_t)(p[0] & 15) * 4)
		return -EINVAL;
	if (c->tcp) {
		if (c->len < c->transport + 20 || c->check != c->transport + 16 ||
		    p[c->transport + 12] >> 4 < 5)
			return -EINVAL;
		c->header = c->transport + (uint32_t)(p[c->transport + 12] >> 4) * 4;
	} else {
		if (c->check != c->transport + 6)
			return -EINVAL;
		c->header = c->transport + 8;
	}
	if (c->header >= c->len)
		return -EINVAL;
	c->size = h->gso_size;
	c->n = (c->len - c->header + c->size - 1) / c->size;
	return 0;
}

/* A word in the machine's order, as it is summed. */
static uint32_t word(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* What each packet has of its own: of IPv4 length and identification; of the transport its length
 * in the pseudo header and, of TCP, sequence number and flags, of UDP the length again. */
static uint32_t own_ip(const uint8_t *ip)
{
	return word(ip + 2) + word(ip + 4);
}

static uint32_t own_transport(const uint8_t *t, bool tcp, uint32_t len)
{
	return htobe16((uint16_t)len) +
	       (tcp ? word(t + 4) + word(t + 6) + word(t + 12) : word(t + 4));
}

/* Once, for all packets. To take something out of a sum its complement is added. */
static void sum_headers(struct offload_cut *c)
{
	const uint8_t *p = c->packet, *t = p + c->transport;

	if (!c->v6)
		c->ip_sum = offload_sum(p, c->transport) + UINT16_MAX -
			    offload_fold(own_ip(p) + word(p + 10));
	c->sum = offload_sum(t, c->header - c->transport) + UINT16_MAX -
		 offload_fold(own_transport(t, c->tcp, c->len - c->transport));
}

int offload_cut(const struct virtio_net_hdr *h, const uint8_t *packet, size_t len,
		struct offload_cut *ret)
{
	struct offload_cut c = {.packet = packet, .len = (uint32_t)len, .n = 1};

	if (len < 20 || len > UINT16_MAX || (packet[0] >> 4 != 4 && packet[0] >> 4 != 6))
		return -EINVAL;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		c.complete = true;
		c.transport = h->csum_start;
		c.check = c.transport + h->csum_offset;
		if (c.check + 2 > c.len || c.check < c.transport)
			return -EINVAL;
	}
	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		int r = cut_super(h, &c);

		if (r < 0)
			return r;
	}
	if (c.n == 1) {
		c.size = 0;
		c.header = c.len;
	} else {
		sum_headers(&c);
	}
	*ret = c;
	return 0;
}

/* Zero would say "no checksum" in UDP, and means the same as its complement in TCP. */
static void put_check(uint8_t *p, uint64_t sum)
{
	uint16_t v = (uint16_t)~offload_fold(sum);

	if (v == 0)
		v = UINT16_MAX;
	memcpy(p, &v, sizeof(v));
}

static void write_whole(const struct offload_cut *c, uint8_t *out)
{
	if (!c->complete) {
		memcpy(out, c->packet, c->len);
		return;
	}
	/* The field holds the pseudo header's sum. */
	memcpy(out, c->packet, c->transport);
	put_check(out + c->check, offload_sum_copy(out + c->transport, c->packet + c->transport,
						   c->len - c->transport));
}

static void ip_header(const struct offload_cut *c, uint32_t i, uint8_t *out, uint32_t len)
{
	uint16_t sum;

	if (c->v6) {
		put16(out + 4, len - 40);
		return;
	}
	put16(out + 2, len);
	put16(out + 4, get16(out + 4) + i);
	sum = (uint16_t)~offload_fold((uint64_t)c->ip_sum + own_ip(out));
	memcpy(out + 10, &sum, sizeof(sum));
}

static void transport_header(const struct offload_cut *c, uint32_t i, uint8_t *t, uint32_t len)
{
	if (!c->tcp) {
		put16(t + 4, len - c->transport);
		return;
	}
	put32(t + 4, get32(t + 4) + i * c->size);
	if (i > 0)
		t[13] &= (uint8_t)~TCP_CWR;
	if (i + 1 < c->n)
		t[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

void offload_cut_write(const struct offload_cut *c, uint32_t i, uint8_t *out)
{
	uint32_t len = offload_cut_len(c, i);
	uint8_t *t = out + c->transport;

	if (c->n == 1) {
		write_whole(c, out);
		return;
	}
	memcpy(out, c->packet, c->header);
	ip_header(c, i, out, len);
	transport_header(c, i, t, len);
	put_check(out + c->check,
		  (uint64_t)c->sum + own_transport(t, c->tcp, len - c->transport) +
			  offload_sum_copy(out + c->header, c->packet + c->header + i * c->size,
					   len - c->header));
}
