/*
 * A plain reference for lib/offload on raw bytes, for packets that nobody has made up: cutting as
 * <linux/virtio_net.h> and the kernel's GSO say, joining as its GRO does. Written apart from the
 * library, slow, each answer from the bytes alone; of the unit tests it takes ref_sum.
 */
#ifndef TEST_OFFLOADRAW_H
#define TEST_OFFLOADRAW_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define RAW_MAX  128 /* packets to be joined */
#define RAW_JOIN 64  /* in one */

struct raw_packet {
	const uint8_t *b;
	uint32_t len;
};

/* How many packets it is cut into; 0: header and packet do not fit together. */
uint32_t raw_cut(const struct virtio_net_hdr *h, const uint8_t *b, uint32_t len);
/* Writes one of them, and returns its length: at most `len`. */
uint32_t raw_piece(const struct virtio_net_hdr *h, const uint8_t *b, uint32_t len, uint32_t i,
		   uint8_t *out);

/* Which packets become one. */
struct raw_group {
	unsigned n, packet[RAW_JOIN];
};

/* Groups of all n packets, which are joined where they are TCP (UDP) and that is on. As many flows
 * as there are may be open. Returns how many groups. */
unsigned raw_groups(const struct raw_packet *p, unsigned n, bool tcp, bool udp,
		    struct raw_group ret[RAW_MAX]);
/* How many different flows there are among them. */
unsigned raw_flows(const struct raw_packet *p, unsigned n);
/* What a group is written as; one alone as it came. Returns its length. */
uint32_t raw_whole(const struct raw_packet *p, const struct raw_group *g, struct virtio_net_hdr *h,
		   uint8_t *out);
/* Whether b, which came later, may not be written before a: they are of one flow, or it cannot be
 * told that they are not. With what is switched off that holds for no other than its own kind. */
bool raw_in_order(const struct raw_packet *a, const struct raw_packet *b);

#endif
