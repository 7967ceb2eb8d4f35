/* lib/netlink, pure parts: answers, attributes, links, addresses, routes, rules, notifications.
 * Messages are built by hand; WireGuard's are in test_netlink_wg.c. */
#include "unit.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "netlink/netlink_priv.h"

#define SEQ  7
#define PORT 4711

/* A datagram under construction. */
struct gram {
	_Alignas(8) char bytes[4096];
	size_t len;
};

static struct nlmsghdr *begin(struct gram *g, uint16_t type, size_t header, void *ret_header)
{
	struct nlmsghdr *nlh =
		nl_request_init(g->bytes + g->len, type, NLM_F_MULTI, header, ret_header);

	nlh->nlmsg_seq = SEQ;
	nlh->nlmsg_pid = PORT;
	return nlh;
}

static void end(struct gram *g, const struct nlmsghdr *nlh)
{
	g->len += MNL_ALIGN(nlh->nlmsg_len);
}

static void put_error(struct gram *g, int code, uint16_t flags, const char *text)
{
	struct nlmsgerr *ack;
	struct nlmsghdr *nlh = begin(g, NLMSG_ERROR, sizeof(*ack), &ack);

	nlh->nlmsg_flags = flags;
	ack->error = code;
	ack->msg.nlmsg_len = sizeof(ack->msg) + 8;
	if (!(flags & NLM_F_CAPPED))
		mnl_nlmsg_put_extra_header(nlh, 8); /* the request that it is about */
	if (text)
		mnl_attr_put_strz(nlh, NLMSGERR_ATTR_MSG, text);
	end(g, nlh);
}

static void put_done(struct gram *g, int code)
{
	int *error;

	end(g, begin(g, NLMSG_DONE, sizeof(*error), &error));
	*error = code;
}

static int count(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	++*(int *)arg;
	return nlh->nlmsg_type == 99 ? err_set(e, -EPROTO, "type 99") : 0;
}

static void put_message(struct gram *g, uint16_t type)
{
	struct rtgenmsg *h;

	end(g, begin(g, type, sizeof(*h), &h));
}

static struct nl_exchange exchange(bool dump, int *n)
{
	*n = 0;
	return (struct nl_exchange){
		.answer = {.message = count, .arg = n}, .seq = SEQ, .portid = PORT, .dump = dump};
}

struct events {
	struct nl_event v[16];
	char names[16][32];
	size_t n;
};

static void on_event(const struct nl_event *ev, void *arg)
{
	struct events *s = arg;

	ck_assert_uint_lt(s->n, ARRAY_LEN(s->v));
	s->v[s->n] = *ev;
	snprintf(s->names[s->n++], sizeof(s->names[0]), "%s", ev->name);
}

START_TEST(answer_acknowledged)
{
	struct gram g = {.len = 0};
	int n;
	struct nl_exchange x = exchange(false, &n);

	put_message(&g, 20);
	put_error(&g, 0, NLM_F_CAPPED, NULL);
	ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, NULL), 0);
	ck_assert(x.done && x.seen && n == 1);
}
END_TEST

START_TEST(answer_error_texts)
{
	static const struct {
		int code;
		uint16_t flags;
		const char *text, *message;
	} cases[] = {
		{-EINVAL, NLM_F_CAPPED, NULL, "Invalid argument"},
		{-EINVAL, NLM_F_CAPPED | NLM_F_ACK_TLVS, "why", "Invalid argument (why)"},
		{-EINVAL, NLM_F_ACK_TLVS, "why", "Invalid argument (why)"},
		{-EINVAL, NLM_F_CAPPED, "not announced", "Invalid argument"},
		{-ENODEV, NLM_F_CAPPED | NLM_F_ACK_TLVS, "a\nb\xff", "No such device (a?b?)"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct gram g = {.len = 0};
		struct err e = {0};
		int n;
		struct nl_exchange x = exchange(false, &n);

		put_error(&g, cases[i].code, cases[i].flags, cases[i].text);
		ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, &e), cases[i].code);
		ck_assert_str_eq(e.msg, cases[i].message);
		ck_assert(x.done);
	}
}
END_TEST

START_TEST(answer_error_malformed)
{
	static const int codes[] = {1, -4096, INT32_MIN};
	struct nlmsgerr *ack;
	struct err e = {0};
	int n;
	struct nl_exchange x;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct gram g = {.len = 0};

		x = exchange(false, &n);
		put_error(&g, codes[i], NLM_F_CAPPED, NULL);
		ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, &e), -EBADMSG);
	}
	/* Shorter than an acknowledgement is. */
	struct gram g = {.len = 0};
	x = exchange(false, &n);
	end(&g, begin(&g, NLMSG_ERROR, sizeof(*ack) - 4, &ack));
	ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, &e), -EBADMSG);
	/* One that says that the request was longer than the whole message. */
	struct gram g2 = {.len = 0};
	x = exchange(false, &n);
	put_error(&g2, -EINVAL, NLM_F_ACK_TLVS, "why");
	ack = mnl_nlmsg_get_payload((struct nlmsghdr *)g2.bytes);
	ack->msg.nlmsg_len = 0xfffffff0;
	ck_assert_int_eq(nl_answer_read(&x, g2.bytes, g2.len, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "Invalid argument");
}
END_TEST

START_TEST(dump_over_datagrams)
{
	int n;
	struct nl_exchange x = exchange(true, &n);
	struct gram a = {.len = 0}, b = {.len = 0}, c = {.len = 0};

	put_message(&a, 20);
	put_message(&a, 20);
	put_message(&b, 20);
	put_error(&b, 0, NLM_F_CAPPED, NULL); /* does not end a dump */
	put_done(&c, 0);
	put_message(&c, 20); /* belongs to nothing */
	ck_assert_int_eq(nl_answer_read(&x, a.bytes, a.len, NULL), 0);
	ck_assert(!x.done && n == 2);
	ck_assert_int_eq(nl_answer_read(&x, b.bytes, b.len, NULL), 0);
	ck_assert(!x.done && n == 3);
	ck_assert_int_eq(nl_answer_read(&x, c.bytes, c.len, NULL), 0);
	ck_assert(x.done && n == 3 && !x.interrupted);
}
END_TEST

START_TEST(dump_interrupted_and_failed)
{
	int n;
	struct nl_exchange x = exchange(true, &n);
	struct gram a = {.len = 0}, b = {.len = 0}, c = {.len = 0};
	struct err e = {0};

	put_message(&a, 20);
	((struct nlmsghdr *)a.bytes)->nlmsg_flags |= NLM_F_DUMP_INTR;
	put_done(&a, 0);
	ck_assert_int_eq(nl_answer_read(&x, a.bytes, a.len, NULL), 0);
	ck_assert(x.done && x.interrupted);

	x = exchange(true, &n);
	put_done(&b, -ENODEV);
	struct nlmsghdr *nlh = (struct nlmsghdr *)b.bytes;
	nlh->nlmsg_flags |= NLM_F_ACK_TLVS;
	mnl_attr_put_strz(nlh, NLMSGERR_ATTR_MSG, "gone");
	ck_assert_int_eq(nl_answer_read(&x, b.bytes, nlh->nlmsg_len, &e), -ENODEV);
	ck_assert_str_eq(e.msg, "No such device (gone)");

	x = exchange(true, &n);
	put_message(&c, NLMSG_OVERRUN);
	ck_assert_int_eq(nl_answer_read(&x, c.bytes, c.len, &e), -ENOBUFS);
	ck_assert(!x.done);
}
END_TEST

START_TEST(answers_of_others)
{
	int n;
	struct nl_exchange x = exchange(false, &n);
	struct gram g = {.len = 0};

	put_error(&g, -EINVAL, NLM_F_CAPPED, NULL);
	((struct nlmsghdr *)g.bytes)->nlmsg_seq = SEQ - 1;
	ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, NULL), 0);
	((struct nlmsghdr *)g.bytes)->nlmsg_seq = SEQ;
	((struct nlmsghdr *)g.bytes)->nlmsg_pid = PORT + 1;
	ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, NULL), 0);
	ck_assert(!x.done && !x.seen);
}
END_TEST

START_TEST(answers_cut_off)
{
	struct gram g = {.len = 0};
	struct err e = {0};
	int n;

	put_message(&g, 20);
	put_message(&g, 20);
	for (size_t len = 1; len < g.len; len++) {
		struct nl_exchange x = exchange(true, &n);
		int r = nl_answer_read(&x, g.bytes, len, &e);

		ck_assert_int_eq(r, len == g.len / 2 ? 0 : -EBADMSG);
		ck_assert_int_eq(n, len >= g.len / 2);
	}
	/* Lengths that are no lengths; those beyond 2 GiB look negative. */
	static const uint32_t lengths[] = {0, 15, 0x7fffffff, 0x80000010, 0xffffffff};
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct gram bad = {.len = 0};
		struct nl_exchange y = exchange(true, &n);
		struct events s = {.n = 0};

		put_message(&bad, 20);
		((struct nlmsghdr *)bad.bytes)->nlmsg_len = lengths[i];
		ck_assert_int_eq(nl_answer_read(&y, bad.bytes, bad.len, &e), -EBADMSG);
		nl_monitor_parse(NETLINK_ROUTE, bad.bytes, bad.len, 0, on_event, &s);
		ck_assert(n == 0 && s.n == 1 && s.v[0].kind == NL_EVENT_LOST);
	}
	struct nl_exchange x = exchange(true, &n);
	put_message(&g, 99);
	put_message(&g, 20);
	ck_assert_int_eq(nl_answer_read(&x, g.bytes, g.len, &e), -EPROTO);
	ck_assert_int_eq(n, 3); /* nothing is read behind an error */
}
END_TEST

START_TEST(attributes)
{
	static const uint8_t min_len[4] = {[1] = 4};
	const struct nlattr *tb[4];
	struct gram g = {.len = 0};
	struct rtgenmsg *h;
	struct nlmsghdr *nlh = begin(&g, 20, sizeof(*h), &h);
	size_t header = sizeof(*h);

	mnl_attr_put_u32(nlh, 1, 10);
	mnl_attr_put_u8(nlh, 100, 1); /* unknown */
	mnl_attr_put_strz(nlh, 2 | NLA_F_NESTED, "text");
	mnl_attr_put_u32(nlh, 1, 11); /* the later one counts */
	ck_assert_int_eq(nl_attr_table_msg(nlh, header, min_len, 3, tb, NULL), 0);
	ck_assert(tb[1] && tb[2] && !tb[0] && !tb[3]);
	ck_assert_uint_eq(mnl_attr_get_u32(tb[1]), 11);

	char text[4];
	nl_attr_text(tb[2], text, sizeof(text));
	ck_assert_str_eq(text, "tex");
	nl_attr_text(NULL, text, sizeof(text));
	ck_assert_str_eq(text, "");

	/* One that says it is longer than what is there; a tail; a header without room. */
	uint32_t whole = nlh->nlmsg_len;
	nlh->nlmsg_len = whole - 4;
	ck_assert_int_eq(nl_attr_table_msg(nlh, header, min_len, 3, tb, NULL), -EBADMSG);
	nlh->nlmsg_len = whole + 1;
	ck_assert_int_eq(nl_attr_table_msg(nlh, header, min_len, 3, tb, NULL), -EBADMSG);
	ck_assert_int_eq(nl_attr_table_msg(nlh, whole, min_len, 3, tb, NULL), -EBADMSG);
	nlh->nlmsg_len = whole;
	mnl_attr_put_u16(nlh, 1, 1); /* too short for its type */
	ck_assert_int_eq(nl_attr_table_msg(nlh, header, min_len, 3, tb, NULL), -EBADMSG);
}
END_TEST

START_TEST(link_messages)
{
	struct gram g = {.len = 0};
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = begin(&g, RTM_NEWLINK, sizeof(*ifi), &ifi);
	struct nl_link l = {.index = 1};
	char alias[400];

	memset(alias, 'a', sizeof(alias));
	alias[sizeof(alias) - 1] = '\0';
	ifi->ifi_index = 5;
	ifi->ifi_flags = IFF_UP | IFF_RUNNING;
	ck_assert_int_eq(nl_link_parse(nlh, &l, NULL), -EBADMSG); /* no name */
	ck_assert_uint_eq(l.index, 1);
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "wg0");
	mnl_attr_put_u32(nlh, IFLA_MTU, 1420);
	mnl_attr_put_str(nlh, IFLA_IFALIAS, alias);
	struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_str(nlh, IFLA_INFO_KIND, "wireguard"); /* without NUL */
	mnl_attr_nest_end(nlh, info);
	ck_assert_int_eq(nl_link_parse(nlh, &l, NULL), 1);
	ck_assert(l.index == 5 && l.mtu == 1420 && l.up && l.running);
	ck_assert_str_eq(l.name, "wg0");
	ck_assert_str_eq(l.kind, "wireguard");
	ck_assert_uint_eq(strlen(l.alias), NL_ALIAS_LEN - 1);

	ifi->ifi_family = AF_BRIDGE;
	ck_assert_int_eq(nl_link_parse(nlh, &l, NULL), 0);
	ifi->ifi_family = AF_UNSPEC;
	nlh->nlmsg_type = RTM_DELLINK;
	ck_assert_int_eq(nl_link_parse(nlh, &l, NULL), 0);
}
END_TEST

START_TEST(address_messages)
{
	struct gram g = {.len = 0}, g6 = {.len = 0};
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh = begin(&g, RTM_NEWADDR, sizeof(*ifa), &ifa);
	char text[IP_PREFIX_LEN];
	struct nl_addr a;

	/* Point to point: IFA_ADDRESS is the other end. */
	*ifa = (struct ifaddrmsg){AF_INET, 24, IFA_F_PERMANENT, RT_SCOPE_LINK, 9};
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), -EBADMSG); /* no address */
	mnl_attr_put(nlh, IFA_ADDRESS, 4, "\x0a\x09\x00\x01");
	mnl_attr_put(nlh, IFA_LOCAL, 4, "\x0a\x09\x00\x02");
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), 1);
	ck_assert_str_eq(ip_prefix_str(&a.prefix, text), "10.9.0.2/24");
	ck_assert(a.ifindex == 9 && a.flags == IFA_F_PERMANENT && a.scope == RT_SCOPE_LINK);
	ck_assert(a.peer.family == AF_INET && memcmp(a.peer.b, "\x0a\x09\x00\x01", 4) == 0);
	mnl_attr_put_u32(nlh, IFA_FLAGS, IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT);
	mnl_attr_put_u8(nlh, IFA_PROTO, NL_PROTO_HARMONY);
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), 1);
	ck_assert(a.flags == (IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT));
	ck_assert_uint_eq(a.protocol, NL_PROTO_HARMONY);
	ifa->ifa_prefixlen = 33;
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), -EBADMSG);
	ifa->ifa_family = AF_INET6; /* of 4 bytes */
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), -EBADMSG);
	ifa->ifa_family = AF_DECnet;
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), 0);

	nlh = begin(&g6, RTM_DELADDR, sizeof(*ifa), &ifa);
	*ifa = (struct ifaddrmsg){.ifa_family = AF_INET6, .ifa_prefixlen = 64};
	mnl_attr_put(nlh, IFA_ADDRESS, 16, "\xfd\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x02");
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), 1);
	ck_assert_str_eq(ip_prefix_str(&a.prefix, text), "fd00:9::2/64");
	ck_assert(a.peer.family == AF_UNSPEC);
	/* Both alike, as the kernel tells an IPv4 address that has no other end. */
	mnl_attr_put(nlh, IFA_LOCAL, 16, "\xfd\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x02");
	ck_assert_int_eq(nl_addr_parse(nlh, &a, NULL), 1);
	ck_assert(a.peer.family == AF_UNSPEC);
}
END_TEST

static struct nlmsghdr *begin_route(struct gram *g, sa_family_t family, struct rtmsg **rtm)
{
	struct nlmsghdr *nlh = begin(g, RTM_NEWROUTE, sizeof(**rtm), rtm);

	(*rtm)->rtm_family = (uint8_t)family;
	(*rtm)->rtm_table = RT_TABLE_MAIN;
	(*rtm)->rtm_protocol = RTPROT_KERNEL;
	(*rtm)->rtm_type = RTN_UNICAST;
	return nlh;
}

START_TEST(route_messages)
{
	struct gram g = {.len = 0};
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = begin_route(&g, AF_INET6, &rtm);
	char text[IP_PREFIX_LEN];
	struct nl_route r;
	bool cloned;

	/* No destination: the default route. */
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 1);
	ck_assert_str_eq(ip_prefix_str(&r.dst, text), "::/0");
	ck_assert(r.table == RT_TABLE_MAIN && r.protocol == RTPROT_KERNEL && !cloned);
	ck_assert(r.mtu == 0 && r.metric == 0 && r.ifindex == 0 && !r.prefsrc.family);

	rtm->rtm_dst_len = 48;
	mnl_attr_put(nlh, RTA_DST, 16, "\xfd\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0");
	mnl_attr_put_u32(nlh, RTA_TABLE, 51820);
	mnl_attr_put_u32(nlh, RTA_OIF, 3);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, 1024);
	mnl_attr_put(nlh, RTA_PREFSRC, 16, "\xfd\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x02");
	struct nlattr *metrics = mnl_attr_nest_start(nlh, RTA_METRICS);
	mnl_attr_put_u32(nlh, RTAX_MTU, 1380);
	mnl_attr_put_u32(nlh, RTAX_MAX + 7, 1);
	mnl_attr_nest_end(nlh, metrics);
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 1);
	ck_assert_str_eq(ip_prefix_str(&r.dst, text), "fd00:9::/48");
	ck_assert(r.table == 51820 && r.ifindex == 3 && r.metric == 1024 && r.mtu == 1380);
	ck_assert_int_eq(r.prefsrc.family, AF_INET6);
	rtm->rtm_flags = RTM_F_CLONED;
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 1);
	ck_assert(cloned);
	rtm->rtm_dst_len = 129;
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), -EBADMSG);
	rtm->rtm_dst_len = 24;
	rtm->rtm_family = AF_INET; /* with a destination of 16 bytes */
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), -EBADMSG);
	rtm->rtm_family = AF_MPLS;
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 0);
}
END_TEST

START_TEST(route_gateways)
{
	static const char via[] = "\x0a\0\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
	struct gram g = {.len = 0}, g2 = {.len = 0}, g3 = {.len = 0};
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = begin_route(&g, AF_INET, &rtm);
	char text[IP_ADDR_LEN];
	struct nl_route r;
	bool cloned;

	mnl_attr_put(nlh, RTA_GATEWAY, 4, "\xc0\x00\x02\x01");
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 1);
	ck_assert_str_eq(ip_addr_str(&r.gateway, text), "192.0.2.1");

	nlh = begin_route(&g2, AF_INET, &rtm);
	mnl_attr_put(nlh, RTA_VIA, 18, via);
	mnl_attr_put(nlh, RTA_MULTIPATH, 0, NULL);
	ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), 1);
	ck_assert_str_eq(ip_addr_str(&r.gateway, text), "fe80::1");
	ck_assert(r.multipath);

	for (size_t len = 0; len < 18; len++) {
		g3.len = 0;
		nlh = begin_route(&g3, AF_INET, &rtm);
		mnl_attr_put(nlh, RTA_VIA, len, via);
		ck_assert_int_eq(nl_route_parse(nlh, &r, &cloned, NULL), -EBADMSG);
	}
}
END_TEST

static struct nlmsghdr *begin_rule(struct gram *g, struct fib_rule_hdr **h)
{
	struct nlmsghdr *nlh = begin(g, RTM_NEWRULE, sizeof(**h), h);

	(*h)->family = AF_INET;
	(*h)->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(nlh, FRA_TABLE, 51820);
	mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, UINT32_MAX); /* always there */
	return nlh;
}

START_TEST(rule_messages)
{
	struct gram g = {.len = 0};
	struct fib_rule_hdr *h;
	struct nlmsghdr *nlh = begin_rule(&g, &h);
	struct nl_rule r;

	mnl_attr_put_u32(nlh, FRA_PRIORITY, 5210);
	mnl_attr_put_u32(nlh, FRA_FWMARK, 0xca6c);
	mnl_attr_put_u32(nlh, FRA_FWMASK, UINT32_MAX);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, NL_PROTO_HARMONY);
	mnl_attr_put_u8(nlh, FRA_L3MDEV, 0);
	h->flags = FIB_RULE_INVERT;
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 1);
	ck_assert(r.family == AF_INET && r.priority == 5210 && r.fwmark == 0xca6c);
	ck_assert(r.fwmask == UINT32_MAX && r.table == 51820 && r.invert && !r.other);
	ck_assert(r.suppress_prefixlen == -1 && r.protocol == NL_PROTO_HARMONY);
	mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 1);
	ck_assert_int_eq(r.suppress_prefixlen, 0);
	h->family = RTNL_FAMILY_IPMR;
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 0);
	h->family = AF_INET;
	mnl_attr_put_u8(nlh, FRA_FWMARK, 1);
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), -EBADMSG);
}
END_TEST

/* Whatever this module does not show must not look like a rule of ours. */
START_TEST(rules_of_others)
{
	static const uint16_t selectors[] = {
		FRA_SRC,       FRA_IIFNAME,  FRA_OIFNAME,         FRA_GOTO,        FRA_TUN_ID,
		FRA_UID_RANGE, FRA_IP_PROTO, FRA_SPORT_RANGE,     FRA_DPORT_RANGE, FRA_FLOW,
		FRA_L3MDEV,    FRA_MAX + 1,  FRA_SUPPRESS_IFGROUP};
	struct fib_rule_hdr *h;
	struct nl_rule r;

	for (size_t i = 0; i < ARRAY_LEN(selectors); i++) {
		struct gram g = {.len = 0};
		struct nlmsghdr *nlh = begin_rule(&g, &h);

		mnl_attr_put_u64(nlh, selectors[i], 0x0101010101010101);
		ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 1);
		ck_assert_msg(r.other, "attribute %u", selectors[i]);
	}
	for (int i = 0; i < 5; i++) {
		struct gram g = {.len = 0};
		struct nlmsghdr *nlh = begin_rule(&g, &h);
		uint8_t *fields[] = {&h->action, &h->tos, &h->src_len, &h->dst_len};

		if (i < 4)
			*fields[i] = FR_ACT_BLACKHOLE;
		else
			h->flags = FIB_RULE_FIND_SADDR;
		ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 1);
		ck_assert_msg(r.other, "field %d", i);
	}
}
END_TEST

START_TEST(rules_to_a_destination)
{
	static const uint8_t dst[4] = {10, 96, 0, 0};
	struct fib_rule_hdr *h;
	struct nl_rule r;
	struct gram g = {.len = 0}, broken = {.len = 0};
	struct nlmsghdr *nlh = begin_rule(&g, &h);
	char text[IP_PREFIX_LEN];

	mnl_attr_put(nlh, FRA_DST, sizeof(dst), dst);
	h->dst_len = 16;
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), 1);
	ck_assert(!r.other);
	ck_assert_str_eq(ip_prefix_str(&r.dst, text), "10.96.0.0/16");
	h->dst_len = 33;
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), -EBADMSG);
	nlh = begin_rule(&broken, &h);
	mnl_attr_put(nlh, FRA_DST, 3, dst);
	h->dst_len = 16;
	ck_assert_int_eq(nl_rule_parse(nlh, &r, NULL), -EBADMSG);
}
END_TEST

static void put_link(struct gram *g, uint16_t type, uint8_t family)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = begin(g, type, sizeof(*ifi), &ifi);

	ifi->ifi_index = 5;
	ifi->ifi_family = family;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "wg0");
	end(g, nlh);
}

START_TEST(notifications)
{
	struct gram g = {.len = 0};
	struct events s = {.n = 0};
	struct fib_rule_hdr *h;
	struct ifaddrmsg *ifa;
	struct rtmsg *rtm;
	struct nlmsghdr *nlh;

	put_link(&g, RTM_NEWLINK, AF_UNSPEC);
	put_link(&g, RTM_DELLINK, AF_BRIDGE); /* left a bridge: not removed */
	put_link(&g, RTM_DELLINK, AF_UNSPEC);
	nlh = begin(&g, RTM_DELADDR, sizeof(*ifa), &ifa);
	*ifa = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_index = 6};
	mnl_attr_put(nlh, IFA_LOCAL, 4, "\x0a\x09\x00\x02");
	end(&g, nlh);
	nlh = begin_route(&g, AF_INET, &rtm);
	mnl_attr_put_u32(nlh, RTA_OIF, 7);
	end(&g, nlh);
	nlh = begin_route(&g, AF_INET6, &rtm);
	rtm->rtm_flags = RTM_F_CLONED; /* a cache entry */
	end(&g, nlh);
	end(&g, begin_rule(&g, &h));
	put_message(&g, RTM_NEWNEIGH); /* not asked for */

	nl_monitor_parse(NETLINK_ROUTE, g.bytes, g.len, 0, on_event, &s);
	ck_assert_uint_eq(s.n, 5);
	ck_assert(s.v[0].kind == NL_EVENT_LINK && !s.v[0].removed && s.v[0].ifindex == 5);
	ck_assert_str_eq(s.names[0], "wg0");
	ck_assert(s.v[1].kind == NL_EVENT_LINK && s.v[1].removed);
	ck_assert(s.v[2].kind == NL_EVENT_ADDR && s.v[2].removed && s.v[2].ifindex == 6);
	ck_assert(s.v[3].kind == NL_EVENT_ROUTE && !s.v[3].removed && s.v[3].ifindex == 7);
	ck_assert(s.v[3].table == RT_TABLE_MAIN && s.v[3].protocol == RTPROT_KERNEL);
	ck_assert(s.v[4].kind == NL_EVENT_RULE && s.v[4].table == 51820);

	/* All of these were our own doing. */
	s.n = 0;
	nl_monitor_parse(NETLINK_ROUTE, g.bytes, g.len, PORT, on_event, &s);
	ck_assert_uint_eq(s.n, 0);
	nl_monitor_parse(NETLINK_ROUTE, g.bytes, g.len, PORT + 1, on_event, &s);
	ck_assert_uint_eq(s.n, 5);
}
END_TEST

/* What is not understood is not passed over in silence. */
START_TEST(notifications_malformed)
{
	struct gram g = {.len = 0}, g2 = {.len = 0};
	struct events s = {.n = 0};
	struct rtgenmsg *h;

	put_link(&g, RTM_NEWLINK, AF_UNSPEC);
	nl_monitor_parse(NETLINK_ROUTE, g.bytes, g.len - 4, 0, on_event, &s);
	ck_assert(s.n == 1 && s.v[0].kind == NL_EVENT_LOST);
	s.n = 0;
	end(&g2, begin(&g2, RTM_NEWROUTE, sizeof(*h), &h)); /* shorter than a route is */
	put_message(&g2, NLMSG_OVERRUN);
	put_link(&g2, RTM_NEWLINK, AF_UNSPEC);
	nl_monitor_parse(NETLINK_ROUTE, g2.bytes, g2.len, 0, on_event, &s);
	ck_assert_uint_eq(s.n, 3);
	ck_assert(s.v[0].kind == NL_EVENT_LOST && s.v[1].kind == NL_EVENT_LOST);
	ck_assert(s.v[2].kind == NL_EVENT_LINK);
}
END_TEST

START_TEST(notifications_nft)
{
	static const struct {
		uint16_t type;
		bool removed;
		const char *name;
	} cases[] = {
		{NFT_MSG_NEWTABLE, false, "harmony"}, {NFT_MSG_NEWRULE, false, "harmony"},
		{NFT_MSG_DELRULE, true, "harmony"},   {NFT_MSG_DELTABLE, true, "harmony"},
		{NFT_MSG_NEWGEN, false, ""},
	};
	struct gram g = {.len = 0};
	struct events s = {.n = 0};
	struct nfgenmsg *h;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint16_t type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | cases[i].type);
		struct nlmsghdr *nlh = begin(&g, type, sizeof(*h), &h);

		if (cases[i].type == NFT_MSG_NEWGEN)
			mnl_attr_put_u32(nlh, NFTA_GEN_ID, 0x41424344);
		else
			mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, "harmony");
		end(&g, nlh);
	}
	end(&g, begin(&g, NFNL_SUBSYS_IPSET << 8, sizeof(*h), &h));
	put_done(&g, 0);
	nl_monitor_parse(NETLINK_NETFILTER, g.bytes, g.len, 0, on_event, &s);
	ck_assert_uint_eq(s.n, ARRAY_LEN(cases));
	for (size_t i = 0; i < s.n; i++) {
		ck_assert(s.v[i].kind == NL_EVENT_NFT && s.v[i].removed == cases[i].removed);
		ck_assert_str_eq(s.names[i], cases[i].name);
	}
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("netlink", answer_acknowledged, answer_error_texts,
			  answer_error_malformed, dump_over_datagrams, dump_interrupted_and_failed,
			  answers_of_others, answers_cut_off, attributes, link_messages,
			  address_messages, route_messages, route_gateways, rule_messages,
			  rules_of_others, rules_to_a_destination, notifications,
			  notifications_malformed, notifications_nft);
}

UNIT_MAIN(suite)
