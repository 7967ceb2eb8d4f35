/*
 * One socket for each family, made when it is first needed, on no address and no port: the packet
 * itself carries the interface (IP_PKTINFO, IPV6_PKTINFO), so that neither a socket for each
 * interface nor CAP_NET_RAW (SO_BINDTODEVICE before Linux 5.7) is needed. What comes back to the
 * sockets is not read; their buffers are as small as the kernel makes them.
 */
#include "agent/prober.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PORT_DISCARD 9
#define PAYLOAD      16 /* any: it makes the packet one with data */

struct agent_prober {
	int v4, v6; /* -1: not open */
};

struct agent_prober *agent_prober_new(void)
{
	struct agent_prober *p = malloc(sizeof(*p));

	if (p)
		*p = (struct agent_prober){-1, -1};
	return p;
}

void agent_prober_free(struct agent_prober *p)
{
	if (!p)
		return;
	mem_close_p(&p->v4);
	mem_close_p(&p->v6);
	free(p);
}

static int open_socket(int *fd, int family)
{
	int least = 1;

	if (*fd >= 0)
		return 0;
	*fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	(void)!setsockopt(*fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	return 0;
}

/* The address and the control message that names the interface. */
struct question {
	union {
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct msghdr msg;
};

static void put_interface(struct question *q, int level, int type, const void *info, size_t len)
{
	q->msg.msg_control = q->control;
	q->msg.msg_controllen = CMSG_SPACE(len);

	struct cmsghdr *c = CMSG_FIRSTHDR(&q->msg);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), info, len);
}

static void address(struct question *q, unsigned ifindex, const struct ip_addr *to)
{
	memset(q, 0, sizeof(*q));
	q->msg.msg_name = &q->to;
	if (to->family == AF_INET) {
		struct in_pktinfo info = {.ipi_ifindex = (int)ifindex};

		q->to.v4.sin_family = AF_INET;
		q->to.v4.sin_port = htons(PORT_DISCARD);
		memcpy(&q->to.v4.sin_addr, to->b, sizeof(q->to.v4.sin_addr));
		q->msg.msg_namelen = sizeof(q->to.v4);
		put_interface(q, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_ifindex = ifindex};

		q->to.v6.sin6_family = AF_INET6;
		q->to.v6.sin6_port = htons(PORT_DISCARD);
		memcpy(&q->to.v6.sin6_addr, to->b, sizeof(q->to.v6.sin6_addr));
		q->msg.msg_namelen = sizeof(q->to.v6);
		put_interface(q, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

int agent_prober_ask(struct agent_prober *p, unsigned ifindex, const struct ip_addr *to,
		     struct err *e)
{
	static const char payload[PAYLOAD];
	struct iovec iov = {.iov_base = (char *)payload, .iov_len = sizeof(payload)};
	int *fd = to->family == AF_INET ? &p->v4 : &p->v6;
	int r = open_socket(fd, to->family);
	char text[IP_ADDR_LEN];
	struct question q;

	if (r < 0)
		return err_sys(e, r, "a socket for probes");
	address(&q, ifindex, to);
	q.msg.msg_iov = &iov;
	q.msg.msg_iovlen = 1;
	if (sendmsg(*fd, &q.msg, MSG_NOSIGNAL) < 0)
		return err_sys(e, -errno, "probe of %s", ip_addr_str(to, text));
	return 0;
}
