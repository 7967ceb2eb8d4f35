/*
 * By hand and not by lib/netlink's monitor, for which this program would link libmnl: of a
 * notification little is read here, its kind and which interface it is about. That something has
 * changed is all; what it is now is asked elsewhere. So one that is lost, or not understood, stands
 * for all that there are.
 */
#include "notices.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "route.h"

#define BUFFER_BYTES (1 << 20) /* of the socket: some thousand routes that change at once */
#define MESSAGE_MAX  (32 << 10)
#define AT_A_TIME    256

int notices_open(struct err *e)
{
	_cleanup_close_ int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK,
				 .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
					      RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
					      RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE |
					      1U << (RTNLGRP_IPV6_RULE - 1)};
	int size = BUFFER_BYTES;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(e, -errno, "netlink socket for notifications");
	/* Beyond rmem_max with CAP_NET_ADMIN; without it, as much as there is. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return mem_steal_fd(&fd);
}

static void lost(struct notices *n)
{
	*n = (struct notices){true, true, true, true};
}

static void link_changed(const struct ifinfomsg *m, unsigned own, struct notices *n)
{
	/* Another family: what a bridge says about its port. */
	if (m->ifi_family != AF_UNSPEC)
		return;
	n->link |= (unsigned)m->ifi_index == own;
	n->better |= (unsigned)m->ifi_index != own;
}

static void address_changed(const struct ifaddrmsg *m, bool removed, unsigned own,
			    struct notices *n)
{
	n->sources |= removed && m->ifa_index != own;
	n->routes |= m->ifa_index != own;
}

static void route_changed(const struct nlmsghdr *h, unsigned own, struct notices *n)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	bool other = (unsigned)route_interface(h) != own;

	if (m->rtm_flags & RTM_F_CLONED) /* the kernel's cache */
		return;
	n->better |= other;
	n->routes |= other;
}

/* Of a message's body, so that it can be read. */
static size_t least(unsigned type)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_DELLINK: return sizeof(struct ifinfomsg);
	case RTM_NEWADDR:
	case RTM_DELADDR: return sizeof(struct ifaddrmsg);
	case RTM_NEWROUTE:
	case RTM_DELROUTE: return sizeof(struct rtmsg);
	default: return 0;
	}
}

static void note(const struct nlmsghdr *h, unsigned own, struct notices *n)
{
	unsigned type = h->nlmsg_type;

	if (type == NLMSG_OVERRUN || NLMSG_PAYLOAD(h, 0) < least(type))
		lost(n);
	else if (type == RTM_NEWLINK || type == RTM_DELLINK)
		link_changed(NLMSG_DATA(h), own, n);
	else if (type == RTM_NEWADDR || type == RTM_DELADDR)
		address_changed(NLMSG_DATA(h), type == RTM_DELADDR, own, n);
	else if (type == RTM_NEWROUTE || type == RTM_DELROUTE)
		route_changed(h, own, n);
	else if (type == RTM_NEWRULE || type == RTM_DELRULE)
		n->routes = true;
}

int notices_read(int fd, unsigned own, struct notices *n, struct err *e)
{
	_Alignas(struct nlmsghdr) char b[MESSAGE_MAX];

	for (unsigned i = 0; i < AT_A_TIME; i++) {
		struct sockaddr_nl from = {0};
		struct iovec iov = {b, sizeof(b)};
		struct msghdr m = {.msg_name = &from,
				   .msg_namelen = sizeof(from),
				   .msg_iov = &iov,
				   .msg_iovlen = 1};
		ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT);

		if (got < 0 && errno == EAGAIN)
			return 0;
		if (got < 0 && errno != ENOBUFS && errno != EINTR)
			return err_sys(e, -errno, "cannot receive notifications");
		if ((got < 0 && errno == ENOBUFS) || m.msg_flags & MSG_TRUNC)
			lost(n);
		/* A process with CAP_NET_ADMIN could write to us; only the kernel has port 0. */
		if (got <= 0 || from.nl_pid != 0)
			continue;
		size_t left = NLMSG_ALIGN((size_t)got); /* as NLMSG_NEXT counts */
		for (const struct nlmsghdr *h = (void *)b; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left))
			note(h, own, n);
	}
	return 0;
}
