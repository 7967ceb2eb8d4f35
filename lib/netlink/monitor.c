/*
 * Notifications. The socket holds what waits until it is read; when it is full the kernel drops
 * the rest and says so once (ENOBUFS), which is passed on as NL_EVENT_LOST.
 *
 * Own changes are told by the port id of the socket that made them: the kernel writes it into the
 * notification, and no two sockets of a namespace have the same one at the same time. It is read
 * anew for each datagram, since a socket that was opened again has another.
 */
#include "netlink/monitor.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* A notification is at most some KiB (a link with all its attributes). */
#define EVENT_SIZE (32 * 1024)

/* Datagrams per nl_monitor_read(), so that a storm of them does not hold the loop: the socket
 * stays readable. */
#define EVENTS_PER_READ 256

struct nl_monitor {
	struct mnl_socket *sock;
	int protocol;
	const struct nl *own;
	char *buffer;
};

static const int route_groups[] = {
	RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
	RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,
};
static const int netfilter_groups[] = {NFNLGRP_NFTABLES};

static int join(struct mnl_socket *sock, const int *groups, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return err_sys(e, -errno, "cannot listen to netlink group %d", group);
	}
	return 0;
}

int nl_monitor_open(int protocol, struct nl_monitor **ret, struct err *e)
{
	_cleanup_nl_monitor_ struct nl_monitor *m = calloc(1, sizeof(*m));
	int r;

	if (!m || !(m->buffer = malloc(EVENT_SIZE)))
		return err_sys(e, -ENOMEM, "cannot listen to netlink");
	m->protocol = protocol;
	if ((r = nl_socket_open(protocol, &m->sock, e)) < 0)
		return r;
	if (protocol == NETLINK_ROUTE)
		r = join(m->sock, route_groups, ARRAY_LEN(route_groups), e);
	else if (protocol == NETLINK_NETFILTER)
		r = join(m->sock, netfilter_groups, ARRAY_LEN(netfilter_groups), e);
	else
		r = err_set(e, -EPROTONOSUPPORT, "netlink protocol %d has no monitor", protocol);
	if (r < 0)
		return r;
	*ret = mem_steal(&m);
	return 0;
}

void nl_monitor_close(struct nl_monitor *m)
{
	if (!m)
		return;
	if (m->sock)
		mnl_socket_close(m->sock);
	free(m->buffer);
	free(m);
}

int nl_monitor_fd(const struct nl_monitor *m)
{
	return mnl_socket_get_fd(m->sock);
}

void nl_monitor_skip(struct nl_monitor *m, const struct nl *own)
{
	m->own = own;
}

/* 1: an event; 0: nothing to report; negative: not understood. */
static int parse_link(const struct nlmsghdr *nlh, struct nl_event *ev, char *name)
{
	static const uint8_t min_len[IFLA_IFNAME + 1] = {0};
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_IFNAME + 1];
	int r = nl_attr_table_msg(nlh, sizeof(*ifi), min_len, IFLA_IFNAME, tb, NULL);

	if (r < 0)
		return r;
	if (ifi->ifi_family != AF_UNSPEC)
		return 0; /* what a bridge says about its port */
	nl_attr_text(tb[IFLA_IFNAME], name, IFNAMSIZ);
	ev->kind = NL_EVENT_LINK;
	ev->removed = nlh->nlmsg_type == RTM_DELLINK;
	ev->ifindex = (unsigned)ifi->ifi_index;
	return 1;
}

static int parse_addr(const struct nlmsghdr *nlh, struct nl_event *ev)
{
	struct nl_addr addr;
	int r = nl_addr_parse(nlh, &addr, NULL);

	if (r <= 0)
		return r;
	ev->kind = NL_EVENT_ADDR;
	ev->removed = nlh->nlmsg_type == RTM_DELADDR;
	ev->ifindex = addr.ifindex;
	return 1;
}

static int parse_route(const struct nlmsghdr *nlh, struct nl_event *ev)
{
	struct nl_route route;
	bool cloned;
	int r = nl_route_parse(nlh, &route, &cloned, NULL);

	if (r <= 0 || cloned)
		return r < 0 ? r : 0;
	ev->kind = NL_EVENT_ROUTE;
	ev->removed = nlh->nlmsg_type == RTM_DELROUTE;
	ev->ifindex = route.ifindex;
	ev->table = route.table;
	ev->protocol = route.protocol;
	return 1;
}

static int parse_rule(const struct nlmsghdr *nlh, struct nl_event *ev)
{
	struct nl_rule rule;
	int r = nl_rule_parse(nlh, &rule, NULL);

	if (r <= 0)
		return r;
	ev->kind = NL_EVENT_RULE;
	ev->removed = nlh->nlmsg_type == RTM_DELRULE;
	ev->table = rule.table;
	ev->protocol = rule.protocol;
	return 1;
}

static bool nft_removes(unsigned type)
{
	switch (type) {
	case NFT_MSG_DELTABLE:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_DELRULE:
	case NFT_MSG_DELSET:
	case NFT_MSG_DELSETELEM:
	case NFT_MSG_DELOBJ:
	case NFT_MSG_DELFLOWTABLE: return true;
	default: return false;
	}
}

/* In all of nftables' objects the table's name is attribute 1 (NFTA_TABLE_NAME,
 * NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …); in NFT_MSG_NEWGEN, the end of a transaction, it is the
 * generation's number. */
static int parse_nft(const struct nlmsghdr *nlh, struct nl_event *ev, char *name, size_t size)
{
	static const uint8_t min_len[NFTA_TABLE_NAME + 1] = {0};
	const struct nlattr *tb[NFTA_TABLE_NAME + 1];
	unsigned type = NFNL_MSG_TYPE(nlh->nlmsg_type);
	int r;

	if (NFNL_SUBSYS_ID(nlh->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
		return 0;
	r = nl_attr_table_msg(nlh, sizeof(struct nfgenmsg), min_len, NFTA_TABLE_NAME, tb, NULL);
	if (r < 0)
		return r;
	if (type != NFT_MSG_NEWGEN)
		nl_attr_text(tb[NFTA_TABLE_NAME], name, size);
	ev->kind = NL_EVENT_NFT;
	ev->removed = nft_removes(type);
	return 1;
}

static int parse_rtnl(const struct nlmsghdr *nlh, struct nl_event *ev, char *name)
{
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK: return parse_link(nlh, ev, name);
	case RTM_NEWADDR:
	case RTM_DELADDR: return parse_addr(nlh, ev);
	case RTM_NEWROUTE:
	case RTM_DELROUTE: return parse_route(nlh, ev);
	case RTM_NEWRULE:
	case RTM_DELRULE: return parse_rule(nlh, ev);
	default: return 0;
	}
}

static void report_lost(nl_event_fn fn, void *arg)
{
	fn(&(struct nl_event){.kind = NL_EVENT_LOST, .name = ""}, arg);
}

void nl_monitor_parse(int protocol, const void *data, size_t len, uint32_t own_portid,
		      nl_event_fn fn, void *arg)
{
	const struct nlmsghdr *nlh;

	while ((nlh = nl_message_next(&data, &len))) {
		char name[NFT_NAME_MAXLEN] = "";
		struct nl_event ev = {.name = name};
		int r = 0;

		if (own_portid && nlh->nlmsg_pid == own_portid)
			continue;
		if (nlh->nlmsg_type == NLMSG_OVERRUN)
			r = -ENOBUFS;
		else if (protocol == NETLINK_ROUTE)
			r = parse_rtnl(nlh, &ev, name);
		else if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
			r = parse_nft(nlh, &ev, name, sizeof(name));
		if (r > 0)
			fn(&ev, arg);
		else if (r < 0)
			report_lost(fn, arg);
	}
	if (len > 0)
		report_lost(fn, arg);
}

int nl_monitor_read(struct nl_monitor *m, nl_event_fn fn, void *arg, struct err *e)
{
	for (int i = 0; i < EVENTS_PER_READ; i++) {
		ssize_t n = nl_socket_receive(m->sock, m->buffer, EVENT_SIZE);

		if (n == -EAGAIN)
			return 0;
		if (n == -ENOBUFS || n == -EMSGSIZE)
			report_lost(fn, arg);
		else if (n < 0)
			return err_sys(e, (int)n, "cannot receive netlink notifications");
		else
			nl_monitor_parse(m->protocol, m->buffer, (size_t)n,
					 m->own ? nl_portid(m->own) : 0, fn, arg);
	}
	return 0;
}
