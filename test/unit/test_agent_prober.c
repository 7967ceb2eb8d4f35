/* lib/agent/prober.c: where its packets go, what is told when they cannot, and which sockets it
 * has. TUN links in a network namespace show what is sent; where there is none to be had those
 * cases are skipped. They come last: who has entered the namespace does not leave it. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "agent/prober.h"
#include "base/str.h"
#include "fault.h"
#include "netlink/addr.h"
#include "netlink/link.h"
#include "netlink/route.h"

#define NO_LINK 0x7ffffff0u

#define _cleanup_prober_ _cleanup_(agent_prober_free_p)

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	ck_assert_int_eq(ip_addr_parse(text, strlen(text), &a), 0);
	return a;
}

static int ask(struct agent_prober *p, unsigned ifindex, const char *to)
{
	const struct ip_addr a = addr(to);
	struct err e = {0};
	int r = agent_prober_ask(p, ifindex, &a, &e);

	ck_assert_int_eq(e.code, r);
	ck_assert(r == 0 || strstr(e.msg, to) || strstr(e.msg, "a socket for probes"));
	return r;
}

static bool is_unreachable(int r)
{
	return r == -ENETUNREACH || r == -ENETDOWN || r == -EADDRNOTAVAIL || r == -ENODEV;
}

static bool has_family(int family)
{
	_cleanup_close_ int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0;
}

/* The descriptor that the next one opened will be. */
static int next_fd(void)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Nobody listens, and that it is said changes nothing. */
START_TEST(on_loopback)
{
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	const unsigned lo = if_nametoindex("lo");
	const struct ip_addr to = addr("127.0.0.1");

	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(ask(p, lo, "127.0.0.1"), 0);
	ck_assert_int_eq(agent_prober_ask(p, lo, &to, NULL), 0);
}
END_TEST

START_TEST(no_such_link)
{
	static const char *const rows[] = {"127.0.0.1", "::1"};
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	const struct ip_addr to = addr("127.0.0.1");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (has_family(addr(rows[i]).family))
			ck_assert_int_eq(ask(p, NO_LINK, rows[i]), -ENODEV);
	ck_assert_int_eq(agent_prober_ask(p, NO_LINK, &to, NULL), -ENODEV);
	ck_assert_int_eq(ask(p, if_nametoindex("lo"), "127.0.0.1"), 0); /* goes on */
}
END_TEST

/* One of each family, when it is first needed, and none is left. */
START_TEST(sockets)
{
	const bool v6 = has_family(AF_INET6);
	const int first = next_fd();
	struct agent_prober *p = agent_prober_new();

	ck_assert_int_eq(next_fd(), first);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(ask(p, if_nametoindex("lo"), "127.0.0.1"), 0);
		ck_assert_int_eq(next_fd(), first + 1);
	}
	for (unsigned i = 0; v6 && i < 3; i++) {
		ck_assert_int_eq(ask(p, NO_LINK, "::1"), -ENODEV);
		ck_assert_int_eq(next_fd(), first + 2);
	}
	ck_assert_int_ne(fcntl(first, F_GETFD) & FD_CLOEXEC, 0);
	agent_prober_free(p);
	ck_assert(fcntl(first, F_GETFD) < 0 && fcntl(first + 1, F_GETFD) < 0);
	agent_prober_free(NULL);
	agent_prober_free(agent_prober_new()); /* has never asked */
}
END_TEST

START_TEST(no_descriptor_left)
{
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	const unsigned lo = if_nametoindex("lo");
	struct rlimit was, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = (rlim_t)next_fd();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	int r = ask(p, lo, "127.0.0.1");
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert_int_eq(r, -EMFILE);
	ck_assert_int_eq(ask(p, lo, "127.0.0.1"), 0);
}
END_TEST

START_TEST(without_memory)
{
	struct agent_prober *p;

	fault_after(0);
	p = agent_prober_new();
	ck_assert(fault_off());
	ck_assert_ptr_null(p);
}
END_TEST

/* ---- In a namespace ---- */

struct tunnel {
	int fd; /* what is sent by the link is read from it */
	unsigned ifindex;
};

static bool enter(const char *name)
{
	static bool inside;
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (!inside && fd >= 0)
		inside = unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
	if (!inside)
		unit_skip(name, fd < 0 ? "/dev/net/tun cannot be opened (root)"
				       : "no network namespace (root, or user namespaces)");
	return inside;
}

/* False where it is an IPv6 address and this machine does without. */
static bool put_address(struct nl *nl, const struct tunnel *t, const char *prefix)
{
	/* Even where nobody is asked about an address, it is of use only a moment later. */
	struct nl_addr a = {.ifindex = t->ifindex, .flags = IFA_F_NODAD};
	struct err e = {0};
	int r;

	ck_assert_int_eq(ip_prefix_parse(prefix, strlen(prefix), &a.prefix), 0);
	r = nl_addr_add(nl, &a, &e);
	ck_assert_msg(r == 0 || a.prefix.addr.family == AF_INET6, "%s", e.msg);
	return r == 0;
}

static void put_route(struct nl *nl, const struct tunnel *t, const char *prefix)
{
	struct nl_route route = {.ifindex = t->ifindex, .scope = RT_SCOPE_LINK};
	struct err e = {0};

	ck_assert_int_eq(ip_prefix_parse(prefix, strlen(prefix), &route.dst), 0);
	if (route.dst.addr.family == AF_INET6)
		route.scope = RT_SCOPE_UNIVERSE;
	ck_assert_msg(nl_route_add(nl, &route, NL_ROUTE_EXCL, &e) == 0, "%s", e.msg);
}

static void set_up(struct nl *nl, const struct tunnel *t, bool up)
{
	const struct nl_link_change change = {.set_up = true, .up = up};
	struct err e = {0};

	ck_assert_msg(nl_link_set(nl, t->ifindex, &change, &e) == 0, "%s", e.msg);
}

/* mode: IFF_TUN or IFF_TAP. It goes when its descriptor is closed. */
static struct tunnel open_tunnel(struct nl *nl, const char *name, short mode)
{
	struct tunnel t = {.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)};
	struct ifreq ifr = {.ifr_flags = (short)(mode | IFF_NO_PI)};

	ck_assert_int_eq(str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name), 0);
	ck_assert_int_eq(ioctl(t.fd, TUNSETIFF, &ifr), 0);
	t.ifindex = if_nametoindex(name);
	set_up(nl, &t, true);
	return t;
}

/* Whether `n` bytes are a question: a datagram with data to port 9. */
static bool is_question(const uint8_t *b, size_t n, const struct ip_addr *to)
{
	const bool v4 = n > 0 && b[0] >> 4 == 4;
	const size_t head = v4 ? (size_t)(b[0] & 15) * 4 : 40;

	if (n <= head + 8 || b[v4 ? 9 : 6] != IPPROTO_UDP || (to->family == AF_INET) != v4)
		return false;
	return memcmp(b + (v4 ? 16 : 24), to->b, v4 ? 4 : 16) == 0 && b[head + 2] == 0 &&
	       b[head + 3] == 9;
}

/* Whether a question to that address comes out of the tunnel; the kernel's own packets are passed
 * over. `ms` is how long it may take. */
static bool comes_out(const struct tunnel *t, const char *to, int ms)
{
	const struct ip_addr a = addr(to);
	struct pollfd p = {.fd = t->fd, .events = POLLIN};

	while (poll(&p, 1, ms) > 0) {
		uint8_t packet[2048];
		ssize_t n = read(t->fd, packet, sizeof(packet));

		if (n > 0 && is_question(packet, (size_t)n, &a))
			return true;
	}
	return false;
}

/* The routes say that the addresses are behind `other`. */
START_TEST(through_the_link_that_is_said)
{
	static const char *const to[] = {"10.9.0.2", "fd09::2"};
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	_cleanup_nl_ struct nl *nl = NULL;

	if (!enter("through_the_link_that_is_said"))
		return;
	ck_assert_int_eq(nl_open(NETLINK_ROUTE, &nl, NULL), 0);
	struct tunnel said = open_tunnel(nl, "said", IFF_TUN);
	struct tunnel other = open_tunnel(nl, "other", IFF_TUN);
	put_address(nl, &said, "10.9.0.1/16");
	put_route(nl, &other, "10.9.0.2/32");
	const bool v6 = put_address(nl, &said, "fd09::1/64");
	if (v6)
		put_route(nl, &other, "fd09::2/128");
	for (size_t i = 0; i < (v6 ? 2 : 1); i++) {
		const struct ip_addr a = addr(to[i]);
		struct nl_path path;

		ck_assert_int_eq(nl_route_lookup(nl, &a, 0, 0, &path, NULL), 0);
		ck_assert_uint_eq(path.ifindex, other.ifindex);
		ck_assert_int_eq(ask(p, said.ifindex, to[i]), 0);
		ck_assert(comes_out(&said, to[i], 5000));
		ck_assert(!comes_out(&said, to[i], 0) && !comes_out(&other, to[i], 0));
		ck_assert_int_eq(ask(p, other.ifindex, to[i]), 0);
		ck_assert(comes_out(&other, to[i], 5000));
		ck_assert(!comes_out(&said, to[i], 0));
	}
	close(said.fd);
	close(other.fd);
}
END_TEST

START_TEST(links_that_cannot_send)
{
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	_cleanup_nl_ struct nl *nl = NULL;

	if (!enter("links_that_cannot_send"))
		return;
	ck_assert_int_eq(nl_open(NETLINK_ROUTE, &nl, NULL), 0);
	struct tunnel t = open_tunnel(nl, "said", IFF_TUN);
	struct tunnel other = open_tunnel(nl, "other", IFF_TUN);
	put_address(nl, &t, "10.9.0.1/16");
	put_address(nl, &other, "10.8.0.1/16");
	/* None of its routes leads there; the other's does. */
	if (put_address(nl, &other, "fd08::1/64"))
		ck_assert(is_unreachable(ask(p, t.ifindex, "fd08::2")));
	set_up(nl, &t, false);
	ck_assert(is_unreachable(ask(p, t.ifindex, "10.9.0.2")));
	set_up(nl, &t, true);
	ck_assert_int_eq(ask(p, t.ifindex, "10.9.0.2"), 0);
	ck_assert(comes_out(&t, "10.9.0.2", 5000));
	close(t.fd);
	ck_assert_int_eq(ask(p, t.ifindex, "10.9.0.2"), -ENODEV);
	ck_assert_int_eq(ask(p, other.ifindex, "10.8.0.2"), 0);
	ck_assert(comes_out(&other, "10.8.0.2", 5000));
	close(other.fd);
}
END_TEST

/* What cannot go on waits in the kernel, here for a neighbour that does not answer, until there is
 * no more room; nobody waits for that. */
START_TEST(queue_is_full)
{
	_cleanup_prober_ struct agent_prober *p = agent_prober_new();
	_cleanup_nl_ struct nl *nl = NULL;
	const int least = 1;
	int fd, r = 0;

	if (!enter("queue_is_full"))
		return;
	ck_assert_int_eq(nl_open(NETLINK_ROUTE, &nl, NULL), 0);
	struct tunnel full = open_tunnel(nl, "full", IFF_TAP);
	struct tunnel other = open_tunnel(nl, "other", IFF_TUN);
	put_address(nl, &full, "10.9.0.1/16");
	put_address(nl, &other, "10.8.0.1/16");
	fd = next_fd();
	ck_assert_int_eq(ask(p, full.ifindex, "10.9.0.2"), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	for (unsigned i = 0; i < 1000 && r == 0; i++)
		r = ask(p, full.ifindex, "10.9.0.2");
	ck_assert_int_eq(r, -EAGAIN);
	close(full.fd); /* and what waited is gone */
	ck_assert_int_eq(ask(p, other.ifindex, "10.8.0.2"), 0);
	ck_assert(comes_out(&other, "10.8.0.2", 5000));
	close(other.fd);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("agent_prober", on_loopback, no_such_link, sockets, no_descriptor_left,
			  without_memory, through_the_link_that_is_said, links_that_cannot_send,
			  queue_is_full);
}

UNIT_MAIN(suite)
