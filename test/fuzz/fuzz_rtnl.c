/*
 * What the kernel says by rtnetlink and nfnetlink. The first byte chooses: 0, the answer to a
 * dump, through every parser; else a notification of one protocol or the other. Then follows the
 * datagram.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/netlink_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s, size_t size)
{
	if (!memchr(s, '\0', size))
		abort();
}

static int on_message(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct nl_link link;
	struct nl_addr addr;
	struct nl_route route;
	struct nl_rule rule;
	bool cloned;

	(void)arg;
	if (nl_link_parse(nlh, &link, e) > 0) {
		check_text(link.name, sizeof(link.name));
		check_text(link.kind, sizeof(link.kind));
		check_text(link.alias, sizeof(link.alias));
	}
	if (nl_addr_parse(nlh, &addr, e) > 0 && addr.prefix.len > ip_bits(addr.prefix.addr.family))
		abort();
	if (nl_route_parse(nlh, &route, &cloned, e) > 0 &&
	    route.dst.len > ip_bits(route.dst.addr.family))
		abort();
	if (nl_rule_parse(nlh, &rule, e) > 0 && ip_bits(rule.family) == 0)
		abort();
	return 0;
}

static void on_event(const struct nl_event *ev, void *arg)
{
	(void)arg;
	if (ev->kind > NL_EVENT_LOST || strlen(ev->name) > 255)
		abort();
}

static void answer(const void *datagram, size_t size)
{
	struct nl_exchange x = {.answer = {.message = on_message}, .dump = true};
	struct err e = {0};

	if (size >= sizeof(struct nlmsghdr)) {
		x.seq = ((const struct nlmsghdr *)datagram)->nlmsg_seq;
		x.portid = ((const struct nlmsghdr *)datagram)->nlmsg_pid;
	}
	int r = nl_answer_read(&x, datagram, size, &e);

	if (r > 0 || (r < 0 && (e.code != r || e.msg[0] == '\0')))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 64 * 1024)
		return 0;
	/* Of its exact size, and aligned as a socket's buffer is. */
	void *datagram = malloc(size);
	if (!datagram)
		return 0;
	memcpy(datagram, data + 1, --size);
	if (data[0] == 0)
		answer(datagram, size);
	else
		nl_monitor_parse(data[0] & 1 ? NETLINK_ROUTE : NETLINK_NETFILTER, datagram, size, 0,
				 on_event, NULL);
	free(datagram);
	return 0;
}
