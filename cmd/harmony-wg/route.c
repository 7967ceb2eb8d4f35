/*
 * By hand and not by lib/netlink, which sends by sendto(2): that is none of the thirty system calls
 * (confine.c), and sendmsg(2) is.
 *
 * One RTM_GETROUTE at a time, as rtnetlink(7) has it: destination, source, mark; the answer is a
 * route with its interface (RTA_OIF), or an error: EINVAL says that the source is not this
 * machine's (IPv4; IPv6 answers with the route, and a send from such an address fails).
 */
#include "route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define WAIT_MS 100 /* the kernel answers before the send returns */

int route_open(struct err *e)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval wait = {.tv_usec = WAIT_MS * 1000};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		return err_sys(e, -errno, "netlink socket for routes");
	return mem_steal_fd(&fd);
}

struct request {
	struct nlmsghdr h;
	struct rtmsg r;
	char attributes[3 * RTA_SPACE(16)];
};

static void put(struct request *q, unsigned short type, const void *value, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)q + NLMSG_ALIGN(q->h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), value, len);
	q->h.nlmsg_len = NLMSG_ALIGN(q->h.nlmsg_len) + RTA_SPACE((unsigned)len);
}

int route_interface(const struct nlmsghdr *h)
{
	const struct rtmsg *r = NLMSG_DATA(h);
	int len = (int)RTM_PAYLOAD(h), ifindex = 0;

	for (const struct rtattr *a = RTM_RTA(r); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == sizeof(ifindex))
			memcpy(&ifindex, RTA_DATA(a), sizeof(ifindex));
	return ifindex;
}

/* The interface, 0 where there is no answer, or -errno as the kernel's answer. */
static int answer(const struct nlmsghdr *h, size_t n)
{
	if (!NLMSG_OK(h, n))
		return 0;
	if (h->nlmsg_type == NLMSG_ERROR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)))
		return 0;
	return route_interface(h);
}

static int ask(int fd, struct request *q)
{
	_Alignas(struct nlmsghdr) char b[4096];
	struct iovec out = {q, q->h.nlmsg_len}, in = {b, sizeof(b)};
	struct msghdr m = {.msg_iov = &out, .msg_iovlen = 1},
		      got = {.msg_iov = &in, .msg_iovlen = 1};
	static uint32_t sequence; /* control's thread alone */
	ssize_t n;

	q->h.nlmsg_seq = ++sequence;
	if (sendmsg(fd, &m, 0) < 0)
		return 0;
	do
		n = recvmsg(fd, &got, 0);
	while (n >= (ssize_t)sizeof(struct nlmsghdr) &&
	       ((struct nlmsghdr *)b)->nlmsg_seq != sequence);
	return n < (ssize_t)sizeof(struct nlmsghdr) ? 0 : answer((void *)b, (size_t)n);
}

bool route_source_ok(int fd, const struct wg_endpoint *to, uint32_t mark)
{
	sa_family_t family = to->remote.addr.family;
	size_t n = ip_bytes(family);
	struct request q = {
		.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(q.r)),
		      .nlmsg_type = RTM_GETROUTE,
		      .nlmsg_flags = NLM_F_REQUEST},
		.r = {.rtm_family = (unsigned char)family,
		      .rtm_dst_len = (unsigned char)(8 * n),
		      .rtm_src_len = (unsigned char)(8 * n)},
	};
	int r;

	if (to->local.family != family || to->ifindex == 0 || ip_addr_is_link_local(&to->local))
		return true;
	put(&q, RTA_DST, to->remote.addr.b, n);
	put(&q, RTA_SRC, to->local.b, n);
	if (mark)
		put(&q, RTA_MARK, &mark, sizeof(mark));
	r = ask(fd, &q);
	return r > 0 ? (uint32_t)r == to->ifindex : r != -EINVAL;
}
