/*
 * The UDP sockets, one for each family. Both have one port. Their descriptors keep their numbers
 * while what is behind them is replaced, so that the data path needs no lock to use them.
 */
#ifndef HARMONY_WG_UDP_H
#define HARMONY_WG_UDP_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "broker.h"
#include "queues.h"
#include "wg/wg.h"

enum { UDP_V4, UDP_V6, UDP_FAMILIES };

/* data.u32 in the epoll of the threads that work: a queue, and what of it (enum path_source). */
#define UDP_EVENT(queue, source) ((queue) << 8 | (source))

/* Of handshake messages: AF41 (RFC 2474), so they go before data where there is a choice. */
#define UDP_TOS_HANDSHAKE 0x88

/* A train: messages of one length (the last may be shorter) in one send, cut apart again by the
 * kernel. Kernels before 6.9 take 64. */
#define UDP_TRAIN_MESSAGES 64
#define UDP_TRAIN_BYTES    65507 /* of UDP payload in one IPv4 packet */

uint32_t udp_train_segments(uint32_t mtu); /* full packets of the TUN in one train */

struct udp {
	struct broker *broker;
	unsigned queues;
	int fd[QUEUES_MAX][UDP_FAMILIES]; /* placeholders where closed: sends fail with ENOTSOCK */
	_Atomic bool gso[UDP_FAMILIES];
	_Atomic uint32_t generation; /* counts up when something may have become better */
	int none;                    /* what stands where a socket is closed */
	int epoll;                   /* of the threads that work; data.u32: UDP_EVENT */
	bool want_gso, want_gro;
	bool is_open;
	uint16_t port; /* as bound; 0: none */
	uint32_t mark;
};

/* Whether UDP GSO gives what went in: sends a train over loopback, and looks. False only where
 * the bytes differ; where it cannot be tried errors will tell. */
bool udp_gso_selftest(void);

int udp_init(struct udp *u, struct broker *broker, unsigned queues, bool gso, bool gro,
	     struct err *e);
void udp_free(struct udp *u);

/* Opens sockets on the port (0: any) with the mark, and puts them in the place of those that are
 * open. On failure everything is as it was. IPv6 may be missing. */
int udp_bind(struct udp *u, uint16_t port, uint32_t mark, struct err *e);
void udp_unbind(struct udp *u);
int udp_mark(struct udp *u, uint32_t mark, struct err *e);

/* What an outgoing message needs besides its bytes. */
struct udp_head {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to;
	union {
		char b[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
		       CMSG_SPACE(sizeof(uint16_t))];
		size_t align; /* as struct cmsghdr is */
	} control;
};

/* Fills head and the message's name and control. `gso`: length of the pieces, 0 for one piece.
 * `source`: leave from the endpoint's local address. Returns the family's index, -1 where the
 * endpoint has none. */
int udp_address(const struct wg_endpoint *to, uint8_t tos, uint16_t gso, bool source,
		struct udp_head *head, struct msghdr *ret);

/* What came with a received message. */
struct udp_origin {
	struct wg_endpoint from;
	uint32_t piece; /* length of each message in it; 0: it is one */
	uint8_t tos;
};

#define UDP_CONTROL 128 /* bytes that a received message's control needs at most */

void udp_origin(const struct msghdr *m, struct udp_origin *ret);

/* For the broker's process: */
struct udp_wish {
	sa_family_t family;
	uint16_t port; /* 0: any */
	uint32_t mark;
	bool gro;
	bool share; /* with more sockets of ours */
	bool join;  /* is one of these more */
};

int udp_socket(const struct udp_wish *wish, uint16_t *ret_port, struct err *e);
int udp_set_mark(int fd, uint32_t mark, struct err *e);

#endif
