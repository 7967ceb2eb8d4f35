/*
 * UDP sockets: options, addressing, rebinding.
 *
 * Rebinding opens both new sockets first, then puts each in its place by dup3: who sends at that
 * moment uses the old one or the new one, never none. The workers' epoll is told of the
 * new ones; a closed socket leaves it by itself. A closed family's number holds an eventfd.
 *
 * With several queues each has its sockets, all on one port (SO_REUSEPORT): the kernel gives what
 * comes from one address and port always to the same of them. The first is bound without that
 * option, so that a port which somebody else has is never shared.
 *
 * Don't-fragment is off: a datagram too large for a link on the way is fragmented and arrives.
 */
#include "udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

#define BUFFER_BYTES (7 << 20) /* of each socket: half a second at 100 Mb/s; as wireguard-go */
#define PORT_TRIES   100

uint32_t udp_train_segments(uint32_t mtu)
{
	uint32_t n = UDP_TRAIN_BYTES / (mtu + WG_OVERHEAD);

	return n < 1 ? 1 : n > UDP_TRAIN_MESSAGES ? UDP_TRAIN_MESSAGES : n;
}

/* ── opening ────────────────────────────────────────────────────────────────────────────── */

static int on(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int udp_set_mark(int fd, uint32_t mark, struct err *e)
{
	int r = setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? -errno : 0;

	return r < 0 ? err_sys(e, r, "fwmark: CAP_NET_ADMIN is needed") : 0;
}

static int options(int fd, sa_family_t family, bool gro)
{
	int r;

	if (family == AF_INET) {
		r = on(fd, IPPROTO_IP, IP_PKTINFO, 1);
		on(fd, IPPROTO_IP, IP_RECVTOS, 1);
		on(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	} else {
		r = on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		if (r == 0)
			r = on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		on(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		on(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
	}
	if (on(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES) < 0)
		on(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
	if (on(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES) < 0)
		on(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
	if (gro)
		on(fd, SOL_UDP, UDP_GRO, 1); /* without it each datagram comes by itself */
	return r;
}

int udp_socket(const struct udp_wish *wish, uint16_t *ret_port, struct err *e)
{
	_cleanup_close_ int fd = socket(wish->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage sa = {.ss_family = wish->family};
	socklen_t len =
		wish->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int r;

	if (fd < 0)
		return err_sys(e, -errno, "cannot open a UDP socket");
	if ((r = options(fd, wish->family, wish->gro)) < 0)
		return err_sys(e, r, "cannot set up a UDP socket");
	if (wish->mark && (r = udp_set_mark(fd, wish->mark, e)) < 0)
		return r;
	if (wish->join && (r = on(fd, SOL_SOCKET, SO_REUSEPORT, 1)) < 0)
		return err_sys(e, r, "cannot share a UDP port");
	/* The port is in the same place for both families. */
	((struct sockaddr_in *)&sa)->sin_port = htons(wish->port);
	if (bind(fd, (struct sockaddr *)&sa, len) < 0)
		return err_sys(e, -errno, "cannot bind UDP port %u", wish->port);
	/* Only now: the first of ours must not join somebody else's. */
	if (wish->share && (r = on(fd, SOL_SOCKET, SO_REUSEPORT, 1)) < 0)
		return err_sys(e, r, "cannot share a UDP port");
	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return err_sys(e, -errno, "UDP port");
	*ret_port = ntohs(((struct sockaddr_in *)&sa)->sin_port);
	return mem_steal_fd(&fd);
}

static bool missing(int r)
{
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL;
}

/* What a set of sockets is while it is opened. -1: none. */
struct set {
	int fd[QUEUES_MAX][UDP_FAMILIES];
	uint16_t port;
};

static void set_close(struct set *s)
{
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		for (unsigned i = 0; i < UDP_FAMILIES; i++) {
			mem_close_p(&s->fd[q][i]);
			s->fd[q][i] = -1;
		}
}

/* All queues of one family on s->port, which the first of them chooses where it is 0. */
static int open_family(struct udp *u, unsigned family, uint32_t mark, struct set *s, struct err *e)
{
	struct udp_wish wish = {.family = family == UDP_V4 ? AF_INET : AF_INET6,
				.mark = mark,
				.gro = u->want_gro,
				.share = u->queues > 1};
	int r = 0;

	for (unsigned q = 0; r == 0 && q < u->queues; q++) {
		wish.port = s->port;
		wish.join = q > 0;
		r = broker_open(u->broker, &wish, &s->fd[q][family], &s->port, e);
	}
	return r;
}

/* Both on one port; a family that the machine does not have is -1. */
static int open_set(struct udp *u, uint16_t port, uint32_t mark, struct set *s, struct err *e)
{
	int r;

	memset(s->fd, -1, sizeof(s->fd));
	s->port = port;
	r = open_family(u, UDP_V4, mark, s, e);
	if (r == 0 || missing(r)) {
		bool v4 = r == 0;

		r = open_family(u, UDP_V6, mark, s, e);
		if (v4 && missing(r))
			r = 0;
	}
	if (r < 0)
		set_close(s);
	return r;
}

static int placeholder(struct udp *u, unsigned queue, unsigned family)
{
	return dup3(u->none, u->fd[queue][family], O_CLOEXEC) < 0 ? -errno : 0;
}

static int install(struct udp *u, unsigned queue, unsigned family, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT,
				 .data.u32 = UDP_EVENT(queue, family)};
	int at = u->fd[queue][family];

	if (fd < 0)
		return placeholder(u, queue, family);
	if (dup3(fd, at, O_CLOEXEC) < 0)
		return -errno;
	return epoll_ctl(u->epoll, EPOLL_CTL_ADD, at, &ev) < 0 ? -errno : 0;
}

int udp_bind(struct udp *u, uint16_t port, uint32_t mark, struct err *e)
{
	int r = -EADDRINUSE;
	struct set s;

	/* With port 0 the one that IPv4 got may be taken in IPv6. */
	for (unsigned i = 0; i < (port ? 1 : PORT_TRIES) && r == -EADDRINUSE; i++)
		r = open_set(u, port, mark, &s, e);
	if (r < 0)
		return r;
	for (unsigned q = 0; q < u->queues; q++)
		for (unsigned i = 0; r == 0 && i < UDP_FAMILIES; i++)
			r = install(u, q, i, s.fd[q][i]);
	set_close(&s);
	if (r < 0)
		return err_sys(e, r, "cannot put the new UDP sockets in their place");
	for (unsigned i = 0; i < UDP_FAMILIES; i++)
		atomic_store(&u->gso[i], u->want_gso);
	u->is_open = true;
	u->port = s.port;
	u->mark = mark;
	atomic_fetch_add(&u->generation, 1);
	return 0;
}

void udp_unbind(struct udp *u)
{
	for (unsigned q = 0; q < u->queues; q++)
		for (unsigned i = 0; i < UDP_FAMILIES; i++)
			(void)placeholder(u, q, i);
	u->is_open = false;
	u->port = 0;
}

int udp_mark(struct udp *u, uint32_t mark, struct err *e)
{
	for (unsigned i = 0; i < u->queues * UDP_FAMILIES; i++) {
		int fd = u->fd[i / UDP_FAMILIES][i % UDP_FAMILIES];
		int r = broker_mark(u->broker, fd, mark, e);

		if (r < 0 && r != -ENOTSOCK)
			return r;
	}
	u->mark = mark;
	return 0;
}

int udp_init(struct udp *u, struct broker *broker, unsigned queues, bool gso, bool gro,
	     struct err *e)
{
	*u = (struct udp){.broker = broker, .queues = queues, .want_gso = gso, .want_gro = gro};
	memset(u->fd, -1, sizeof(u->fd));
	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	u->none = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store(&u->generation, 1);
	if (u->epoll < 0 || u->none < 0)
		return err_sys(e, -errno, "cannot set up UDP");
	for (unsigned i = 0; i < queues * UDP_FAMILIES; i++) {
		int fd = fcntl(u->none, F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return err_sys(e, -errno, "cannot set up UDP");
		u->fd[i / UDP_FAMILIES][i % UDP_FAMILIES] = fd;
	}
	return 0;
}

void udp_free(struct udp *u)
{
	for (unsigned i = 0; i < u->queues * UDP_FAMILIES; i++)
		mem_close_p(&u->fd[i / UDP_FAMILIES][i % UDP_FAMILIES]);
	mem_close_p(&u->none);
	mem_close_p(&u->epoll);
}

/* ── addressing ─────────────────────────────────────────────────────────────────────────── */

static void put(struct msghdr *m, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)m->msg_control + m->msg_controllen);

	memset(c, 0, CMSG_SPACE(len));
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
}

/* The source address alone: the route is looked up with it, so that a link that changes does not
 * hold the tunnel. Only a link-local one needs its interface. */
static void address_v4(const struct wg_endpoint *to, int tos, bool source, struct udp_head *head,
		       struct msghdr *m)
{
	struct in_pktinfo info = {0};

	head->to.v4 =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(to->remote.port)};
	memcpy(&head->to.v4.sin_addr, to->remote.addr.b, 4);
	m->msg_namelen = sizeof(head->to.v4);
	if (source && to->local.family == AF_INET) {
		memcpy(&info.ipi_spec_dst, to->local.b, 4);
		put(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
	if (tos)
		put(m, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
}

static void address_v6(const struct wg_endpoint *to, int tos, bool source, struct udp_head *head,
		       struct msghdr *m)
{
	struct in6_pktinfo info = {0};

	head->to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
					    .sin6_port = htons(to->remote.port),
					    .sin6_scope_id = to->remote.scope};
	memcpy(&head->to.v6.sin6_addr, to->remote.addr.b, 16);
	m->msg_namelen = sizeof(head->to.v6);
	if (source && to->local.family == AF_INET6) {
		memcpy(&info.ipi6_addr, to->local.b, 16);
		if (ip_addr_is_link_local(&to->local))
			info.ipi6_ifindex = to->ifindex;
		put(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
	if (tos)
		put(m, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
}

int udp_address(const struct wg_endpoint *to, uint8_t tos, uint16_t gso, bool source,
		struct udp_head *head, struct msghdr *ret)
{
	bool v6 = to->remote.addr.family == AF_INET6;

	if (to->remote.addr.family == AF_UNSPEC)
		return -1;
	ret->msg_name = &head->to;
	ret->msg_control = head->control.b;
	ret->msg_controllen = 0;
	if (v6)
		address_v6(to, tos, source, head, ret);
	else
		address_v4(to, tos, source, head, ret);
	if (gso)
		put(ret, SOL_UDP, UDP_SEGMENT, &gso, sizeof(gso));
	if (ret->msg_controllen == 0)
		ret->msg_control = NULL;
	return v6 ? UDP_V6 : UDP_V4;
}

static void origin_v4(const struct cmsghdr *c, struct udp_origin *o)
{
	struct in_pktinfo info;

	if (c->cmsg_type == IP_TOS) {
		o->tos = *CMSG_DATA(c);
	} else if (c->cmsg_type == IP_PKTINFO) {
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		o->from.local.family = AF_INET;
		memcpy(o->from.local.b, &info.ipi_spec_dst, 4);
		o->from.ifindex = (uint32_t)info.ipi_ifindex;
	}
}

static void origin_v6(const struct cmsghdr *c, struct udp_origin *o)
{
	struct in6_pktinfo info;
	int tclass;

	if (c->cmsg_type == IPV6_TCLASS) {
		memcpy(&tclass, CMSG_DATA(c), sizeof(tclass));
		o->tos = (uint8_t)tclass;
	} else if (c->cmsg_type == IPV6_PKTINFO) {
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		o->from.local.family = AF_INET6;
		memcpy(o->from.local.b, &info.ipi6_addr, 16);
		o->from.ifindex = info.ipi6_ifindex;
	}
}

void udp_origin(const struct msghdr *m, struct udp_origin *ret)
{
	int piece;

	memset(ret, 0, sizeof(*ret));
	(void)ip_endpoint_from_sockaddr(m->msg_name, m->msg_namelen, &ret->from.remote);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
		if (c->cmsg_level == IPPROTO_IP) {
			origin_v4(c, ret);
		} else if (c->cmsg_level == IPPROTO_IPV6) {
			origin_v6(c, ret);
		} else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			memcpy(&piece, CMSG_DATA(c), sizeof(piece));
			ret->piece = piece > 0 ? (uint32_t)piece : 0;
		}
	}
}

/* ── self-test ──────────────────────────────────────────────────────────────────────────── */

#define TEST_PIECE 1000
#define TEST_LAST  77
#define TEST_BYTES (5 * TEST_PIECE + TEST_LAST)

/* Reads until all bytes of the train are there, or none comes. */
static size_t collect(int fd, uint8_t *got)
{
	size_t n = 0;

	while (n < TEST_BYTES && poll(&(struct pollfd){fd, POLLIN, 0}, 1, 100) == 1) {
		ssize_t len = recv(fd, got + n, TEST_BYTES - n, MSG_DONTWAIT);

		if (len <= 0)
			break;
		n += (size_t)len;
	}
	return n;
}

static bool train_survives(bool gro)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int in = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t sent[TEST_BYTES], got[TEST_BYTES];
	socklen_t len = sizeof(to);

	if (in < 0 || out < 0 || bind(in, (struct sockaddr *)&to, len) < 0 ||
	    getsockname(in, (struct sockaddr *)&to, &len) < 0)
		return true;
	if (gro)
		on(in, SOL_UDP, UDP_GRO, 1);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	if (on(out, SOL_UDP, UDP_SEGMENT, TEST_PIECE) < 0 ||
	    sendto(out, sent, sizeof(sent), 0, (struct sockaddr *)&to, len) < 0)
		return true;
	/* A datagram may be lost; what comes must be right. */
	return collect(in, got) != sizeof(got) || memcmp(sent, got, sizeof(got)) == 0;
}

bool udp_gso_selftest(void)
{
	return train_survives(false) && train_survives(true);
}
