/* The packet inside: its length by its own header, and ECN across the tunnel (RFC 6040). */
#include "wg/wg_priv.h"

#include <endian.h>
#include <string.h>

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t wg_inner_len(const uint8_t *packet, size_t len)
{
	uint32_t total, header;

	if (len >= 20 && packet[0] >> 4 == 4) {
		total = be16(packet + 2);
		header = (uint32_t)(packet[0] & 15) * 4;
		return header >= 20 && total >= header && total <= len ? total : 0;
	}
	if (len >= 40 && packet[0] >> 4 == 6) {
		total = 40 + (uint32_t)be16(packet + 4);
		return total <= len ? total : 0;
	}
	return 0;
}

/* IPv4: the TOS byte. IPv6: the traffic class, across the first two bytes. */
static uint8_t ecn_of(const uint8_t *packet)
{
	return packet[0] >> 4 == 4 ? packet[1] & 3 : packet[1] >> 4 & 3;
}

uint8_t wg_ecn_outer(const void *packet, size_t len)
{
	return len >= 2 ? ecn_of(packet) : 0;
}

static void set_ecn(uint8_t *packet, uint8_t ecn)
{
	if (packet[0] >> 4 == 6) {
		packet[1] = (uint8_t)((packet[1] & ~0x30) | ecn << 4);
		return;
	}
	/* The header checksum follows by RFC 1624, equation 3. */
	uint32_t old = be16(packet), sum;
	packet[1] = (uint8_t)((packet[1] & ~3) | ecn);
	sum = (~(uint32_t)be16(packet + 10) & 0xFFFF) + (~old & 0xFFFF) + be16(packet);
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	packet[10] = (uint8_t)(~sum >> 8);
	packet[11] = (uint8_t)~sum;
}

/* RFC 6040 section 4.2: congestion marked outside goes inside, or drops a packet that cannot
 * carry it; ECT(1) outside goes inside where ECT(0) stood; all else stays. */
bool wg_ecn_combine(uint8_t *packet, uint8_t outer)
{
	uint8_t inner = ecn_of(packet);

	outer &= 3;
	if (outer == 3 && inner == 0)
		return false;
	if ((outer == 3 && inner != 3) || (outer == 1 && inner == 2))
		set_ecn(packet, outer);
	return true;
}
