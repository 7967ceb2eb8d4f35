/*
 * Handshake messages as they are received. The engine says of each, for a microsecond or two,
 * whether it may wait for control (lib/wg/admit.c). Under load that is what has proved its source;
 * the rest gets a cookie from here, gathered to be sent at once, and after the data that was
 * received with it. So a flood costs control nothing and fills no queue.
 *
 * Data goes first: who is GATE_BEHIND datagrams behind catches up without answering, before the
 * socket's buffer is full and the kernel drops what comes, whatever it is.
 *
 * A cookie that cannot be sent is lost, as any datagram may be: spoofed sources are often ones to
 * which there is no way.
 */
#include "gate.h"

#include <sys/socket.h>

#define GATE_BEHIND 8192 /* about half of what the buffer holds of them */

void gate_init(struct gate *g, struct path *p, unsigned queue, struct wg_lane *lane)
{
	g->path = p;
	g->counters = &p->counters[queue];
	g->queue = queue;
	g->lane = lane;
}

static void send_replies(struct gate *g)
{
	int fd = g->path->udp->fd[g->queue][g->family];

	for (unsigned i = 0; i < g->n;) {
		int sent = sendmmsg(fd, g->m + i, g->n - i, MSG_DONTWAIT);

		if (sent <= 0) {
			counter_add(&g->counters->cookies_unsent, 1);
			sent = 1;
		}
		i += (unsigned)sent;
	}
	g->n = 0;
}

static void put(struct gate *g, const uint8_t *data, uint32_t len, const struct wg_endpoint *from,
		enum handshake_kind kind)
{
	bool wake = false;

	if (handshake_put(g->path->handshakes, data, len, from, kind, &wake))
		counter_add(&g->counters->handshakes_queued, 1);
	else
		counter_add(&g->counters->handshakes_dropped, 1);
	if (wake)
		path_wake(g->path->control_wake);
}

/* The next reply's cookie has been filled. */
static void add_reply(struct gate *g, const struct wg_endpoint *from)
{
	struct gate_reply *r = &g->reply[g->n];
	struct msghdr *m = &g->m[g->n].msg_hdr;

	r->iov = (struct iovec){r->cookie, sizeof(r->cookie)};
	*m = (struct msghdr){.msg_iov = &r->iov, .msg_iovlen = 1};
	/* What is received together is of one socket. */
	g->family = (unsigned)udp_address(from, UDP_TOS_HANDSHAKE, 0, true, &r->head, m);
	if (++g->n == GATE_REPLIES)
		send_replies(g);
}

void gate_flush(struct gate *g, unsigned datagrams, bool more)
{
	if (g->n)
		send_replies(g);
	g->behind = more ? g->behind + datagrams : 0;
}

void gate_take(struct gate *g, const uint8_t *data, uint32_t len, const struct wg_endpoint *from,
	       struct mono now)
{
	bool load = handshake_loaded(g->path->handshakes);
	uint8_t *reply = g->behind < GATE_BEHIND ? g->reply[g->n].cookie : NULL;

	switch (wg_admit(g->lane, data, len, from, load, now, reply)) {
	case WG_ADMIT_NO: break;
	case WG_ADMIT_REPLY: add_reply(g, from); break;
	case WG_ADMIT_YES: put(g, data, len, from, HANDSHAKE_UNPROVED); break;
	case WG_ADMIT_COOKIE: put(g, data, len, from, HANDSHAKE_COOKIE); break;
	case WG_ADMIT_PROVED: put(g, data, len, from, HANDSHAKE_PROVED); break;
	}
}
