/*
 * Super-packets of a TUN with a virtio-net header, as the kernel's GSO and GRO make and take
 * them: one TCP or UDP packet of up to 64 KiB is cut into packets that fit the MTU, and packets
 * of one flow are joined into one. Pure: buffers in, buffers out.
 *
 * Both directions follow <linux/virtio_net.h>: the checksum of a super-packet covers the pseudo
 * header alone, gso_size is the payload of all but the last. Checksums of what is cut are
 * computed while it is copied; what is joined has been verified, or damage would be hidden.
 */
#ifndef OFFLOAD_OFFLOAD_H
#define OFFLOAD_OFFLOAD_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* Linux 6.2 */
#endif

/* ── cutting ────────────────────────────────────────────────────────────────────────────── */

/* A packet as it was read from the TUN, and how to cut it. */
struct offload_cut {
	const uint8_t *packet; /* borrowed */
	uint32_t len;
	uint32_t n;         /* packets to come out of it; 1 where there is nothing to cut */
	uint32_t header;    /* bytes before the payload */
	uint32_t size;      /* payload of each packet but the last */
	uint32_t transport; /* where the TCP or UDP header begins, and the checksum with it */
	uint32_t check;     /* where in the packet the checksum is */
	bool complete;      /* the checksum is to be computed */
	bool v6, tcp;       /* where n > 1; so the two below: */
	uint32_t ip_sum;    /* of the IPv4 header, without what differs from packet to packet */
	uint32_t sum;       /* the same of the pseudo and the transport's header */
};

/* 0, or -EINVAL where header and packet do not fit together. */
int offload_cut(const struct virtio_net_hdr *h, const uint8_t *packet, size_t len,
		struct offload_cut *ret);

static inline uint32_t offload_cut_len(const struct offload_cut *c, uint32_t i)
{
	return i + 1 < c->n ? c->header + c->size : c->len - i * c->size;
}

/* Writes packet i (offload_cut_len bytes), i < n. */
void offload_cut_write(const struct offload_cut *c, uint32_t i, uint8_t *out);

/* ── joining ────────────────────────────────────────────────────────────────────────────── */

#define OFFLOAD_FLOWS 16 /* open at once; one more flushes one of them, each in its turn */
#define OFFLOAD_JOIN  64 /* packets in one */

/* One packet, or several joined: a header and the bytes in pieces. */
struct offload_flow {
	struct virtio_net_hdr h;
	uint8_t *packet; /* the first; its headers become those of the whole */
	uint64_t hash;
	uint32_t header, transport, size, total, next_seq;
	unsigned n; /* packets; 0: not in use */
	bool v6, tcp, fixed_id, push;
	struct iovec iov[OFFLOAD_JOIN];
};

/* Called with a header and pieces; they may be overwritten after it returns. */
typedef void offload_write_fn(void *user, const struct virtio_net_hdr *h, const struct iovec *iov,
			      unsigned n);

struct offload_gro {
	offload_write_fn *write;
	void *user;
	bool tcp, udp;         /* what is joined */
	uint64_t joined, made; /* packets that were joined, and into how many */
	unsigned oldest;
	struct offload_flow flows[OFFLOAD_FLOWS];
};

void offload_gro_init(struct offload_gro *g, offload_write_fn *write, void *user);

/* Takes one packet (its length is the one that its IP header says; at least that header is
 * there). The memory stays the packet's until it has been written, at the latest by
 * offload_gro_flush, and is changed. Packets of one flow are written in their order. */
void offload_gro_add(struct offload_gro *g, uint8_t *packet, size_t len);
void offload_gro_flush(struct offload_gro *g);

/* ── checksums (RFC 1071) ───────────────────────────────────────────────────────────────── */

/* The sum in the machine's own byte order, folded to 16 bits; all but the last of several pieces
 * have an even length. */
uint32_t offload_sum(const void *p, size_t len);
uint32_t offload_sum_copy(void *to, const void *from, size_t len);
/* Of the addresses, the protocol and the length: what TCP and UDP sum besides themselves. */
uint32_t offload_sum_pseudo(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len);
uint16_t offload_fold(uint64_t sum);

#endif
