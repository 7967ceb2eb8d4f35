/*
 * Routes: requests, and the reading of RTM_NEWROUTE.
 *
 * A dump asks for each family by itself, as in addr.c. What the kernel filters is filtered here
 * again, since kernels before 4.20 read none of the filters and answer with everything.
 */
#include "netlink/route.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define QUERY_MAX 128 /* bytes of one question for a path, padded */

static int parse_mtu(const struct nlattr *metrics, uint32_t *ret, struct err *e)
{
	static const uint8_t min_len[RTAX_MAX + 1] = {[RTAX_MTU] = 4};
	const struct nlattr *tb[RTAX_MAX + 1];
	int r = nl_attr_table_nest(metrics, min_len, RTAX_MAX, tb, e);

	if (r < 0)
		return r;
	if (tb[RTAX_MTU])
		*ret = mnl_attr_get_u32(tb[RTAX_MTU]);
	return 0;
}

/* RTA_VIA: an address behind its family, as IPv4 routes have it with an IPv6 gateway. */
static int parse_via(const struct nlattr *a, struct ip_addr *ret, struct err *e)
{
	const struct rtvia *via = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a) - sizeof(*via);

	if (ip_bytes(via->rtvia_family) != len || len == 0)
		return err_set(e, -EBADMSG, "gateway of %zu bytes in family %u", len,
			       via->rtvia_family);
	*ret = (struct ip_addr){.family = via->rtvia_family};
	memcpy(ret->b, via->rtvia_addr, len);
	return 0;
}

static int parse_addresses(const struct nlattr *const *tb, sa_family_t family,
			   struct nl_route *route, struct err *e)
{
	int r = 0;

	/* No RTA_DST: the default route. */
	route->dst.addr.family = family;
	if (tb[RTA_DST])
		r = nl_attr_ip(tb[RTA_DST], family, &route->dst.addr, e);
	if (r == 0 && tb[RTA_PREFSRC])
		r = nl_attr_ip(tb[RTA_PREFSRC], family, &route->prefsrc, e);
	if (r == 0 && tb[RTA_GATEWAY])
		r = nl_attr_ip(tb[RTA_GATEWAY], family, &route->gateway, e);
	else if (r == 0 && tb[RTA_VIA])
		r = parse_via(tb[RTA_VIA], &route->gateway, e);
	return r;
}

int nl_route_parse(const struct nlmsghdr *nlh, struct nl_route *ret, bool *ret_cloned,
		   struct err *e)
{
	static const uint8_t min_len[RTA_MAX + 1] = {
		[RTA_OIF] = 4,
		[RTA_PRIORITY] = 4,
		[RTA_TABLE] = 4,
		[RTA_VIA] = sizeof(struct rtvia),
	};
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[RTA_MAX + 1];
	struct nl_route route = {0};
	int r;

	if (nlh->nlmsg_type != RTM_NEWROUTE && nlh->nlmsg_type != RTM_DELROUTE)
		return 0;
	if ((r = nl_attr_table_msg(nlh, sizeof(*rtm), min_len, RTA_MAX, tb, e)) < 0)
		return r;
	if (ip_bits(rtm->rtm_family) == 0)
		return 0; /* multicast routing, MPLS */
	if (rtm->rtm_dst_len > ip_bits(rtm->rtm_family))
		return err_set(e, -EBADMSG, "route with length %u", rtm->rtm_dst_len);
	route.dst.len = rtm->rtm_dst_len;
	route.protocol = rtm->rtm_protocol;
	route.scope = rtm->rtm_scope;
	route.type = rtm->rtm_type;
	route.table = tb[RTA_TABLE] ? mnl_attr_get_u32(tb[RTA_TABLE]) : rtm->rtm_table;
	route.ifindex = tb[RTA_OIF] ? mnl_attr_get_u32(tb[RTA_OIF]) : 0;
	route.metric = tb[RTA_PRIORITY] ? mnl_attr_get_u32(tb[RTA_PRIORITY]) : 0;
	route.multipath = tb[RTA_MULTIPATH];
	if ((r = parse_addresses(tb, rtm->rtm_family, &route, e)) < 0)
		return r;
	if (tb[RTA_METRICS] && (r = parse_mtu(tb[RTA_METRICS], &route.mtu, e)) < 0)
		return r;
	*ret_cloned = rtm->rtm_flags & RTM_F_CLONED;
	*ret = route;
	return 1;
}

struct route_list {
	struct nl_route *v;
	size_t n, cap;
	size_t kept; /* of the family before: a restart forgets only what came after */
	struct nl_route_filter filter;
};

static void route_list_free(struct route_list *l)
{
	free(l->v);
}

static void route_list_restart(void *arg)
{
	struct route_list *l = arg;

	l->n = l->kept;
}

static bool matches(const struct nl_route *r, const struct nl_route_filter *f)
{
	return r->dst.addr.family == f->family && (!f->ifindex || r->ifindex == f->ifindex) &&
	       (!f->table || r->table == f->table) && (!f->protocol || r->protocol == f->protocol);
}

static int on_route(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct route_list *l = arg;
	struct nl_route route;
	bool cloned;
	int r = nl_route_parse(nlh, &route, &cloned, e);

	if (r <= 0)
		return r;
	if (cloned || !matches(&route, &l->filter))
		return 0;
	if ((r = mem_grow(&l->v, l->n, &l->cap, sizeof(*l->v))) < 0)
		return err_sys(e, r, "cannot list routes");
	l->v[l->n++] = route;
	return 0;
}

static int dump_family(struct nl *nl, sa_family_t family, struct route_list *list, struct err *e)
{
	struct nl_answer answer = {on_route, route_list_restart, list, false};
	union nl_request req;
	struct rtmsg *rtm;
	struct err local;

	list->filter.family = family;
	list->kept = list->n;
	nl_request_init(&req, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), &rtm);
	rtm->rtm_family = (uint8_t)family;
	if (nl_strict(nl)) {
		rtm->rtm_protocol = list->filter.protocol;
		if (list->filter.table)
			mnl_attr_put_u32(&req.h, RTA_TABLE, list->filter.table);
		if (list->filter.ifindex)
			mnl_attr_put_u32(&req.h, RTA_OIF, list->filter.ifindex);
	}
	int r = nl_request(nl, &req.h, &answer, &local);

	/* A table or a link that does not exist has no routes. */
	if (r == -ENOENT || r == -ENODEV || r == -EOPNOTSUPP || r == -EAFNOSUPPORT) {
		list->n = list->kept;
		return 0;
	}
	return r < 0 ? err_set(e, r, "cannot list routes: %s", local.msg) : 0;
}

int nl_route_dump(struct nl *nl, const struct nl_route_filter *filter, struct nl_route **ret,
		  size_t *ret_n, struct err *e)
{
	_cleanup_(route_list_free) struct route_list list = {.filter = *filter};
	int r;

	if (filter->family != AF_INET6 && (r = dump_family(nl, AF_INET, &list, e)) < 0)
		return r;
	if (filter->family != AF_INET && (r = dump_family(nl, AF_INET6, &list, e)) < 0)
		return r;
	*ret_n = list.n;
	*ret = mem_steal(&list.v);
	return 0;
}

static struct nlmsghdr *build_route(union nl_request *req, uint16_t type, uint16_t flags,
				    const struct nl_route *route)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = nl_request_init(req, type, flags, sizeof(*rtm), &rtm);

	rtm->rtm_family = (uint8_t)route->dst.addr.family;
	rtm->rtm_dst_len = route->dst.len;
	rtm->rtm_protocol = route->protocol;
	rtm->rtm_scope = route->scope;
	rtm->rtm_type = route->type;
	mnl_attr_put_u32(nlh, RTA_TABLE, route->table ? route->table : RT_TABLE_MAIN);
	nl_attr_put_ip(nlh, RTA_DST, &route->dst.addr);
	if (route->ifindex)
		mnl_attr_put_u32(nlh, RTA_OIF, route->ifindex);
	if (route->metric)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, route->metric);
	if (route->prefsrc.family)
		nl_attr_put_ip(nlh, RTA_PREFSRC, &route->prefsrc);
	if (route->gateway.family == route->dst.addr.family)
		nl_attr_put_ip(nlh, RTA_GATEWAY, &route->gateway);
	return nlh;
}

static int explain(int r, const char *what, const struct nl_route *route, struct err *e)
{
	char text[IP_PREFIX_LEN];

	if (r < 0)
		err_prefix(e, "cannot %s route %s, interface %u, table %u", what,
			   ip_prefix_str(&route->dst, text), route->ifindex,
			   route->table ? route->table : RT_TABLE_MAIN);
	return r;
}

int nl_route_add(struct nl *nl, const struct nl_route *route, enum nl_route_mode mode,
		 struct err *e)
{
	uint16_t flags = NLM_F_CREATE | (mode == NL_ROUTE_REPLACE ? NLM_F_REPLACE : NLM_F_EXCL);
	struct nl_route full = *route;
	union nl_request req;

	if (!full.type)
		full.type = RTN_UNICAST;
	struct nlmsghdr *nlh = build_route(&req, RTM_NEWROUTE, flags, &full);
	if (full.mtu) {
		struct nlattr *metrics = mnl_attr_nest_start(nlh, RTA_METRICS);

		mnl_attr_put_u32(nlh, RTAX_MTU, full.mtu);
		mnl_attr_nest_end(nlh, metrics);
	}
	return explain(nl_request(nl, nlh, NULL, e), "add", route, e);
}

int nl_route_del(struct nl *nl, const struct nl_route *route, struct err *e)
{
	union nl_request req;

	return explain(nl_request(nl, build_route(&req, RTM_DELROUTE, 0, route), NULL, e), "delete",
		       route, e);
}

/* In room for QUERY_MAX bytes. */
static struct nlmsghdr *build_lookup(void *at, const struct nl_path_query *q)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = nl_request_init(at, RTM_GETROUTE, 0, sizeof(*rtm), &rtm);

	rtm->rtm_family = (uint8_t)q->dst.family;
	rtm->rtm_dst_len = (uint8_t)ip_bits(q->dst.family);
	nl_attr_put_ip(nlh, RTA_DST, &q->dst);
	if (q->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, q->oif);
	if (q->fwmark)
		mnl_attr_put_u32(nlh, RTA_MARK, q->fwmark);
	return nlh;
}

static int on_lookup(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct nl_path *ret = arg;
	struct nl_route route;
	bool cloned;
	int r = nl_route_parse(nlh, &route, &cloned, e);

	if (r > 0)
		*ret = (struct nl_path){route.ifindex, route.mtu, route.type, route.prefsrc,
					route.gateway};
	return r < 0 ? r : 0;
}

int nl_route_lookup(struct nl *nl, const struct ip_addr *dst, unsigned oif, uint32_t fwmark,
		    struct nl_path *ret, struct err *e)
{
	struct nl_path_query query = {*dst, oif, fwmark};
	struct nl_path path = {0};
	char text[IP_ADDR_LEN];
	union nl_request req;
	struct nl_link link;
	int r;

	build_lookup(&req, &query);
	r = nl_request(nl, &req.h, &(struct nl_answer){.message = on_lookup, .arg = &path}, e);
	if (r == 0 && path.ifindex == 0)
		r = err_sys(e, -ENETUNREACH, "the route has no link");
	if (r < 0) {
		err_prefix(e, "no route to %s", ip_addr_str(dst, text));
		return r;
	}
	if (path.mtu == 0) {
		if ((r = nl_link_get_index(nl, path.ifindex, &link, e)) < 0)
			return r;
		path.mtu = link.mtu;
	}
	*ret = path;
	return 0;
}

static void on_one_of_many(unsigned i, const struct nlmsghdr *nlh, void *arg)
{
	struct nl_path *paths = arg;

	if (nlh->nlmsg_type != NLMSG_ERROR)
		on_lookup(nlh, &paths[i], NULL);
}

int nl_route_lookup_many(struct nl *nl, const struct nl_path_query *queries, size_t n,
			 struct nl_path *paths, struct err *e)
{
	char batch[NL_ASK_MAX * QUERY_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));

	memset(paths, 0, n * sizeof(*paths));
	for (size_t done = 0, some; done < n; done += some) {
		size_t len = 0;

		some = n - done < NL_ASK_MAX ? n - done : NL_ASK_MAX;
		for (size_t i = 0; i < some; i++)
			len += NLMSG_ALIGN(
				build_lookup(batch + len, &queries[done + i])->nlmsg_len);
		int r = nl_ask(nl, batch, len, on_one_of_many, paths + done, e);
		if (r < 0)
			return err_prefix(e, "cannot ask for routes"), r;
	}
	return 0;
}
