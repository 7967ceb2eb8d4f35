/* A plain reference for lib/offload: packets as fields, written byte by byte. */
#ifndef TEST_OFFLOADREF_H
#define TEST_OFFLOADREF_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define REF_MAX   64
#define REF_BYTES 9000

struct ref_packet {
	bool v6, tcp, df, more_fragments;
	bool bad_sum, bad_ip_sum, no_sum;
	uint8_t tos, ttl, host, option_byte, fill;
	uint16_t id, port, window, urgent, flow;
	uint16_t flags;                      /* with AE, 0x100 */
	uint32_t seq, ack, payload, options; /* lengths in bytes */
	uint32_t offset;                     /* of the payload's pattern */
};

struct ref_packet ref_new(bool v6, bool tcp, uint32_t payload);
/* The packet with all checksums; its length. At most REF_BYTES. */
uint32_t ref_bytes(const struct ref_packet *p, uint8_t *out);
/* The same as a super-packet of pieces of `size` (0: only its checksum is missing). */
uint32_t ref_super(const struct ref_packet *p, uint32_t size, struct virtio_net_hdr *h,
		   uint8_t *out);
/* What a super-packet is cut into; how many. */
unsigned ref_cut(const struct ref_packet *p, uint32_t size, struct ref_packet ret[REF_MAX]);
/* RFC 1071, two bytes at a time, as a number. */
uint16_t ref_sum(uint32_t sum, const uint8_t *p, uint32_t len);

#endif
