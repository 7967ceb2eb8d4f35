/* What the receiving thread does with handshake messages: it queues them for control, or refuses
 * them, or answers them with a cookie. */
#ifndef HARMONY_WG_GATE_H
#define HARMONY_WG_GATE_H

#include "path.h"

#define GATE_REPLIES 32

struct gate_reply {
	struct udp_head head;
	struct iovec iov;
	uint8_t cookie[WG_COOKIE_REPLY];
};

struct gate {
	struct path *path;
	struct counters *counters;
	struct wg_lane *lane;
	unsigned queue, family; /* of what the replies go out by */
	unsigned behind;        /* datagrams received since the socket was empty last */
	unsigned n;
	struct gate_reply reply[GATE_REPLIES];
	struct mmsghdr m[GATE_REPLIES];
};

/* `lane`: the caller's, and so is the gate. */
void gate_init(struct gate *g, struct path *p, unsigned queue, struct wg_lane *lane);
void gate_take(struct gate *g, const uint8_t *data, uint32_t len, const struct wg_endpoint *from,
	       struct mono now);
/* After a batch of so many datagrams and their data: sends the cookies that are ready. */
void gate_flush(struct gate *g, unsigned datagrams, bool more);

#endif
