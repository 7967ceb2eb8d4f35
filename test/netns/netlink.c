/*
 * lib/netlink against the running kernel, see netlink.test.
 *
 * The links are of whatever kind without parameters this kernel has; they need no other end.
 */
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ip.h"
#include "base/str.h"
#include "cases.h"
#include "netlink/netlink_priv.h"
#include "netlink/wg.h"

#define MANY 5000

static const char *kind;

static struct ip_prefix prefix(const char *s)
{
	struct ip_prefix p = {0};

	if (ip_prefix_parse(s, strlen(s), &p) < 0)
		abort();
	return p;
}

static struct ip_addr addr(const char *s)
{
	return prefix(s).addr;
}

static const char *find_kind(void)
{
	static const char *const kinds[] = {"dummy", "ifb", "bridge"};
	const char *found = NULL;
	struct nl *nl;

	if (unshare(CLONE_NEWNET) < 0 || nl_open(NETLINK_ROUTE, &nl, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(kinds) && !found; i++)
		if (nl_link_add(nl, kinds[i], "probe0", 0, NULL, NULL) == 0)
			found = kinds[i];
	nl_close(nl);
	return found;
}

/* A link that is up, without IPv6 address of its own. */
static unsigned link_up(struct nl *nl, const char *name)
{
	struct nl_link_change up = {.set_up = true, .up = true};
	unsigned index;

	if (nl_link_add(nl, kind, name, 1400, &index, &err) < 0 ||
	    nl_link_set(nl, index, &up, &err) < 0)
		return 0;
	return index;
}

static void links(void)
{
	struct nl_link_change up = {.set_up = true, .up = true}, down = {.set_up = true};
	_cleanup_nl_ struct nl *nl = NULL;
	_cleanup_free_ struct nl_link *all = NULL;
	char long_alias[NL_ALIAS_LEN + 1];
	struct nl_link l;
	unsigned index;
	size_t n;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST_FAIL(nl_link_get(nl, "t0", &l, &err), -ENODEV, "t0");
	MUST(nl_link_add(nl, kind, "t0", 1380, &index, &err) == 0);
	MUST(nl_link_get(nl, "t0", &l, &err) == 0);
	MUST(l.index == index && l.mtu == 1380 && !l.up && str_eq(l.kind, kind) && !l.alias[0]);
	MUST_FAIL(nl_link_add(nl, kind, "t0", 0, NULL, &err), -EEXIST, "t0");
	MUST_FAIL(nl_link_add(nl, "nosuchkind", "t1", 0, NULL, &err), -EOPNOTSUPP,
		  "(Unknown device type)");
	MUST_FAIL(nl_link_add(nl, kind, "a/b", 0, NULL, &err), -EINVAL, "a/b");

	struct nl_link_change all_three = {true, true, true, 1300, true, "harmony: net"};
	MUST(nl_link_set(nl, index, &all_three, &err) == 0);
	MUST(nl_link_get_index(nl, index, &l, &err) == 0);
	MUST(l.mtu == 1300 && l.up && str_eq(l.alias, "harmony: net") && str_eq(l.name, "t0"));
	MUST(nl_link_set(nl, index, &down, &err) == 0 && nl_link_set(nl, index, &up, &err) == 0);
	MUST(nl_link_set(nl, index, &(struct nl_link_change){.set_alias = true, .alias = ""},
			 &err) == 0);
	MUST(nl_link_get(nl, "t0", &l, &err) == 0 && !l.alias[0] && l.up);
	memset(long_alias, 'x', sizeof(long_alias));
	long_alias[NL_ALIAS_LEN] = '\0';
	struct nl_link_change alias = {.set_alias = true, .alias = long_alias};
	MUST_FAIL(nl_link_set(nl, index, &alias, &err), -EINVAL, "256 bytes");
	long_alias[NL_ALIAS_LEN - 1] = '\0';
	MUST(nl_link_set(nl, index, &alias, &err) == 0);
	MUST(nl_link_get(nl, "t0", &l, &err) == 0 && str_eq(l.alias, long_alias));

	MUST(nl_link_dump(nl, &all, &n, &err) == 0 && n >= 2 && str_eq(all[0].name, "lo"));
	MUST(nl_link_del(nl, index, &err) == 0);
	MUST_FAIL(nl_link_del(nl, index, &err), -ENODEV, "cannot delete");
	MUST_FAIL(nl_link_set(nl, index, &up, &err), -ENODEV, "cannot change");
	MUST_FAIL(nl_link_get(nl, "a-name-that-is-too-long", &l, &err), -ENODEV, "too long");
}

/* An address of a kernel that has been told its protocol before 5.18 has none. */
static const struct nl_addr *find_addr(const struct nl_addr *v, size_t n, const char *text)
{
	struct ip_prefix p = prefix(text);

	for (size_t i = 0; i < n; i++)
		if (ip_prefix_cmp(&v[i].prefix, &p) == 0)
			return &v[i];
	return NULL;
}

static void addresses(void)
{
	static const char *const texts[] = {"10.9.0.2/24", "fd00:9::2/64", "10.9.1.1/32"};
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned index, other;
	struct nl_addr *v;
	size_t n;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")) && (other = link_up(nl, "t1")));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct nl_addr a = {.ifindex = index,
				    .prefix = prefix(texts[i]),
				    .flags = IFA_F_NODAD,
				    .protocol = NL_PROTO_HARMONY};

		MUST(nl_addr_add(nl, &a, &err) == 0);
		MUST(nl_addr_add(nl, &a, &err) == 0); /* it stands already */
	}
	MUST(nl_addr_dump(nl, index, &v, &n, &err) == 0);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const struct nl_addr *a = find_addr(v, n, texts[i]);

		MUST(a && a->ifindex == index && a->scope == 0);
		MUST(a->protocol == NL_PROTO_HARMONY || a->protocol == 0);
	}
	free(v);
	MUST(nl_addr_dump(nl, other, &v, &n, &err) == 0);
	MUST(!find_addr(v, n, texts[0]));
	free(v);
	MUST(nl_addr_dump(nl, 0, &v, &n, &err) == 0);
	MUST(find_addr(v, n, texts[0]) && find_addr(v, n, texts[1]));
	free(v);
	MUST(nl_addr_dump(nl, 9999, &v, &n, &err) == 0 && n == 0);

	/* Point-to-point: without its other end it is not found. */
	static const char *const ends[][2] = {{"10.9.9.1/32", "10.9.9.2"},
					      {"10.9.9.1/32", "10.9.9.3"},
					      {"10.9.8.1/24", "10.9.8.2"},
					      {"fd00:9:9::1/128", "fd00:9:9::2"}};
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct nl_addr p = {.ifindex = index,
				    .prefix = prefix(ends[i][0]),
				    .peer = addr(ends[i][1]),
				    .flags = IFA_F_NODAD};

		MUST(nl_addr_add(nl, &p, &err) == 0);
	}
	MUST(nl_addr_dump(nl, index, &v, &n, &err) == 0);
	for (size_t i = 0, pairs = 0; i <= n; i++) {
		MUST(i < n || pairs == ARRAY_LEN(ends));
		if (i == n || v[i].peer.family == AF_UNSPEC)
			continue;
		pairs++;
		MUST(nl_addr_del(nl, &v[i], &err) == 0);
		MUST_FAIL(nl_addr_del(nl, &v[i], &err), -EADDRNOTAVAIL, "");
	}
	free(v);

	struct nl_addr a = {.ifindex = index, .prefix = prefix(texts[0])};
	MUST(nl_addr_del(nl, &a, &err) == 0);
	MUST_FAIL(nl_addr_del(nl, &a, &err), -EADDRNOTAVAIL, "10.9.0.2/24");
	a.prefix = prefix(texts[1]);
	MUST(nl_addr_del(nl, &a, &err) == 0);
	MUST_FAIL(nl_addr_del(nl, &a, &err), -EADDRNOTAVAIL, "fd00:9::2/64");
	a.ifindex = 9999;
	MUST_FAIL(nl_addr_add(nl, &a, &err), -ENODEV, "fd00:9::2/64");
	a.prefix = prefix(texts[0]);
	MUST_FAIL(nl_addr_add(nl, &a, &err), -ENODEV, "10.9.0.2/24");
}

/* As in a container whose /proc/sys says so. */
static void ipv6_disabled(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned index;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	/* /proc/sys/net shows the namespace of who opens it. */
	FILE *f = fopen("/proc/sys/net/ipv6/conf/t0/disable_ipv6", "we");
	MUST(f && fputs("1\n", f) >= 0 && fclose(f) == 0);
	struct nl_addr a = {.ifindex = index, .prefix = prefix("fd00:9::2/64")};
	MUST_FAIL(nl_addr_add(nl, &a, &err), -EACCES, "fd00:9::2/64");
}

static size_t count_routes(struct nl *nl, struct nl_route_filter f, struct nl_route *ret)
{
	struct nl_route *v;
	size_t n;

	if (nl_route_dump(nl, &f, &v, &n, &err) < 0)
		return SIZE_MAX;
	if (n && ret)
		*ret = v[0];
	free(v);
	return n;
}

/* The kernel adds the route to an address's prefix, unless told not to. */
static void prefix_routes(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned index;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	struct nl_route_filter v4 = {AF_INET, index, RT_TABLE_MAIN, RTPROT_KERNEL};
	struct nl_addr a = {.ifindex = index, .prefix = prefix("10.9.0.2/24")};
	struct nl_route route;

	MUST(nl_addr_add(nl, &a, &err) == 0);
	MUST(count_routes(nl, v4, &route) == 1);
	struct ip_prefix wanted = prefix("10.9.0.0/24");
	MUST(ip_prefix_cmp(&route.dst, &wanted) == 0 && route.scope == RT_SCOPE_LINK);
	a.prefix = prefix("10.8.0.2/24");
	a.flags = IFA_F_NOPREFIXROUTE;
	MUST(nl_addr_add(nl, &a, &err) == 0);
	MUST(count_routes(nl, v4, &route) == 1);
}

static void routes(void)
{
	static const char *const texts[] = {"10.42.0.0/16", "fd42:1::/48", "0.0.0.0/0", "::/0"};
	struct nl_link_change down = {.set_up = true};
	_cleanup_nl_ struct nl *nl = NULL;
	struct nl_route got;
	unsigned index;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct nl_route r = {.dst = prefix(texts[i]), .ifindex = index, .metric = 77};
		bool v4 = r.dst.addr.family == AF_INET;
		struct nl_route_filter f = {r.dst.addr.family, index, 51820, NL_PROTO_HARMONY};

		r.table = 51820;
		r.mtu = 1234;
		r.protocol = NL_PROTO_HARMONY;
		r.scope = v4 ? RT_SCOPE_LINK : 0;
		MUST(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err) == 0);
		MUST_FAIL(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err), -EEXIST, texts[i]);
		MUST(count_routes(nl, f, &got) == 1);
		MUST(ip_prefix_cmp(&got.dst, &r.dst) == 0 && got.ifindex == index);
		MUST(got.table == 51820 && got.metric == 77 && got.mtu == 1234);
		MUST(got.protocol == NL_PROTO_HARMONY && got.type == RTN_UNICAST);
		MUST(got.scope == r.scope && !got.multipath && !got.gateway.family);
		r.mtu = 1300;
		MUST(nl_route_add(nl, &r, NL_ROUTE_REPLACE, &err) == 0);
		MUST(count_routes(nl, f, &got) == 1 && got.mtu == 1300);
		f.table = 51821;
		MUST(count_routes(nl, f, NULL) == 0);
		f = (struct nl_route_filter){.ifindex = 9999};
		MUST(count_routes(nl, f, NULL) == 0);

		got.protocol = RTPROT_STATIC; /* not this one's */
		MUST_FAIL(nl_route_del(nl, &got, &err), -ESRCH, texts[i]);
		got.protocol = NL_PROTO_HARMONY;
		MUST(nl_route_del(nl, &got, &err) == 0);
		MUST_FAIL(nl_route_del(nl, &got, &err), -ESRCH, texts[i]);
	}
	struct nl_route r = {.dst = {addr("10.0.0.1"), 8}, .ifindex = index};
	MUST_FAIL(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err), -EINVAL,
		  "(Invalid prefix for given prefix length)");
	r.dst = prefix("10.0.0.0/8");
	r.ifindex = 9999;
	MUST_FAIL(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err), -ENODEV, "10.0.0.0/8");
	r.ifindex = index;
	MUST(nl_link_set(nl, index, &down, &err) == 0);
	MUST_FAIL(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err), -ENETDOWN, "10.0.0.0/8");
}

/* Another's route stands where ours should: EXCL says so, REPLACE would take it away. */
static void foreign_route(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned ours, theirs;
	struct nl_route got;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((ours = link_up(nl, "t0")) && (theirs = link_up(nl, "t1")));
	struct nl_route r = {.dst = prefix("10.1.0.0/16"), .ifindex = theirs};
	r.protocol = RTPROT_STATIC;
	r.scope = RT_SCOPE_LINK;
	MUST(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err) == 0);
	r.ifindex = ours;
	r.protocol = NL_PROTO_HARMONY;
	MUST_FAIL(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err), -EEXIST, "10.1.0.0/16");
	MUST(nl_route_add(nl, &r, NL_ROUTE_REPLACE, &err) == 0);
	MUST(count_routes(nl, (struct nl_route_filter){.ifindex = theirs, .family = AF_INET},
			  NULL) == 0);
	MUST(count_routes(nl, (struct nl_route_filter){.protocol = NL_PROTO_HARMONY}, &got) == 1);
	MUST(got.ifindex == ours);
}

static void lookup(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned index, tunnel;
	struct nl_path p;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")) && (tunnel = link_up(nl, "t1")));
	struct nl_addr own = {.ifindex = index, .prefix = prefix("192.0.2.1/24")};
	struct nl_addr own6 = {
		.ifindex = index, .prefix = prefix("2001:db8::1/64"), .flags = IFA_F_NODAD};
	struct ip_addr far6 = addr("2001:db8:1::1");
	struct ip_addr dst = addr("192.0.2.9"), dst6 = addr("2001:db8::9"),
		       far = addr("198.51.100.1");

	MUST_FAIL(nl_route_lookup(nl, &far, 0, 0, &p, &err), -ENETUNREACH, "198.51.100.1");
	MUST_FAIL(nl_route_lookup(nl, &far6, 0, 0, &p, &err), -ENETUNREACH, "2001:db8:1::1");
	MUST(nl_addr_add(nl, &own, &err) == 0 && nl_addr_add(nl, &own6, &err) == 0);
	MUST(nl_route_lookup(nl, &dst, 0, 0, &p, &err) == 0);
	MUST(p.ifindex == index && p.mtu == 1400 && p.type == RTN_UNICAST);
	MUST(ip_addr_cmp(&p.prefsrc, &own.prefix.addr) == 0);
	MUST(nl_route_lookup(nl, &dst6, 0, 0, &p, &err) == 0);
	MUST(p.ifindex == index && p.mtu == 1400);
	MUST(nl_route_lookup(nl, &own.prefix.addr, 0, 0, &p, &err) == 0 && p.type == RTN_LOCAL);

	/* A route with an MTU and a gateway; then all but marked packets into the tunnel. */
	struct nl_route r = {.dst = prefix("198.51.100.0/24"), .ifindex = index, .mtu = 1320};
	r.gateway = dst;
	MUST(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err) == 0);
	MUST(nl_route_lookup(nl, &far, 0, 0, &p, &err) == 0);
	MUST(p.mtu == 1320 && ip_addr_cmp(&p.gateway, &dst) == 0);
	struct nl_route all = {.dst = prefix("0.0.0.0/0"), .ifindex = tunnel, .table = 51820};
	struct nl_rule rule = {AF_INET, 0, true, false, 100, 0xca6c, 0, 51820, -1, {{0}, 0}};
	MUST(nl_route_add(nl, &all, NL_ROUTE_EXCL, &err) == 0);
	MUST(nl_rule_add(nl, &rule, &err) == 0);
	MUST(nl_route_lookup(nl, &far, 0, 0, &p, &err) == 0 && p.ifindex == tunnel);
	MUST(nl_route_lookup(nl, &far, 0, 0xca6c, &p, &err) == 0 && p.ifindex == index);

	/* Many at once, more than one datagram: each has its own answer, also where there is none.
	 */
	struct nl_path_query q[200];
	struct nl_path paths[200];
	for (unsigned i = 0; i < 200; i++)
		q[i] = i % 4 == 0   ? (struct nl_path_query){dst, 0, 0xca6c}
		       : i % 4 == 1 ? (struct nl_path_query){far, 0, 0xca6c}
		       : i % 4 == 2 ? (struct nl_path_query){far, 0, 0}
				    : (struct nl_path_query){far6, 0, 0};
	MUST(nl_route_lookup_many(nl, q, 200, paths, &err) == 0);
	for (unsigned i = 0; i < 200; i += 4) {
		MUST(paths[i].ifindex == index && paths[i].mtu == 0);
		MUST(paths[i + 1].ifindex == index && paths[i + 1].mtu == 1320);
		MUST(paths[i + 2].ifindex == tunnel && paths[i + 3].ifindex == 0);
	}
	MUST(nl_route_lookup(nl, &far, 0, 0, &p, &err) == 0); /* the socket goes on */
}

static void rules_of(sa_family_t family)
{
	_cleanup_nl_ struct nl *nl = NULL;
	struct nl_rule *v;
	size_t n;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	struct nl_rule mark = {family, NL_PROTO_HARMONY, true, false, 5210, 0xca6c, 0, 51820,
			       -1,     {{0}, 0}};
	struct nl_rule suppress = {.family = family, .protocol = NL_PROTO_HARMONY};
	suppress.priority = 5209;
	suppress.table = RT_TABLE_MAIN;
	MUST(nl_rule_add(nl, &mark, &err) == 0 && nl_rule_add(nl, &suppress, &err) == 0);
	MUST_FAIL(nl_rule_add(nl, &mark, &err), -EEXIST, "5210");
	MUST(nl_rule_dump(nl, NL_PROTO_HARMONY, &v, &n, &err) == 0 && n == 2);
	MUST(v[0].priority == 5209 && v[0].suppress_prefixlen == 0 && !v[0].invert &&
	     v[0].table == RT_TABLE_MAIN && !v[0].other && v[0].family == family);
	MUST(v[1].priority == 5210 && v[1].suppress_prefixlen == -1 && v[1].invert &&
	     v[1].fwmark == 0xca6c && v[1].fwmask == 0xffffffff && v[1].table == 51820 &&
	     !v[1].other && v[1].protocol == NL_PROTO_HARMONY);
	MUST_FAIL(nl_rule_del(nl, &(struct nl_rule){.family = family}, &err), -EINVAL, "priority");
	struct nl_rule foreign = v[0];
	foreign.protocol = RTPROT_STATIC;
	MUST_FAIL(nl_rule_del(nl, &foreign, &err), -ENOENT, "5209");
	MUST(nl_rule_del(nl, &v[0], &err) == 0 && nl_rule_del(nl, &v[1], &err) == 0);
	MUST_FAIL(nl_rule_del(nl, &v[1], &err), -ENOENT, "5210");
	free(v);
	/* Two that differ in their destination only. */
	struct nl_rule to = suppress;
	to.suppress_prefixlen = -1;
	to.dst = (struct ip_prefix){.addr = {.family = family, .b = {10, 1}}, .len = 16};
	struct nl_rule other = to;
	other.dst.addr.b[1] = 2;
	MUST(nl_rule_add(nl, &to, &err) == 0 && nl_rule_add(nl, &other, &err) == 0);
	MUST(nl_rule_del(nl, &to, &err) == 0);
	MUST(nl_rule_dump(nl, NL_PROTO_HARMONY, &v, &n, &err) == 0 && n == 1);
	MUST(!v[0].other && ip_prefix_cmp(&v[0].dst, &other.dst) == 0);
	MUST(nl_rule_del(nl, &v[0], &err) == 0);
	free(v);
	MUST(nl_rule_dump(nl, NL_PROTO_HARMONY, &v, &n, &err) == 0 && n == 0);

	/* The kernel's own, and one that selects by what we do not show. */
	MUST(system(family == AF_INET ? "ip rule add from 10.0.0.0/8 table 100 priority 7"
				      : "ip -6 rule add iif lo table 100 priority 7") == 0);
	MUST(nl_rule_dump(nl, 0, &v, &n, &err) == 0 && n >= 3);
	for (size_t i = 0; i < n; i++)
		MUST(v[i].other == (v[i].priority == 7));
	free(v);
}

static void rules_v4(void)
{
	rules_of(AF_INET);
}

static void rules_v6(void)
{
	rules_of(AF_INET6);
}

/* Route number i of a family: 10.x.y.0/24 or fd00:x:y::/48. */
static struct nl_route numbered(sa_family_t family, unsigned i, unsigned index)
{
	struct nl_route r = {.ifindex = index, .protocol = NL_PROTO_HARMONY, .table = 100};
	bool v4 = family == AF_INET;

	r.dst.addr.family = family;
	r.dst.addr.b[0] = v4 ? 10 : 0xfd;
	r.dst.addr.b[v4 ? 1 : 2] = (uint8_t)(i >> 8);
	r.dst.addr.b[v4 ? 2 : 3] = (uint8_t)i;
	r.dst.len = v4 ? 24 : 48;
	r.scope = v4 ? RT_SCOPE_LINK : 0;
	return r;
}

static int add_many(struct nl *nl, sa_family_t family, unsigned n, unsigned index)
{
	for (unsigned i = 0; i < n; i++) {
		struct nl_route r = numbered(family, i, index);
		int e = nl_route_add(nl, &r, NL_ROUTE_EXCL, &err);

		if (e < 0)
			return e;
	}
	return 0;
}

/* Whether the numbers below `n` stand there exactly once each. */
static bool whole(const struct nl_route *v, size_t n_v, unsigned n)
{
	_cleanup_free_ bool *seen = calloc(n, 1);
	unsigned count = 0;

	for (size_t i = 0; i < n_v; i++) {
		bool v4 = v[i].dst.addr.family == AF_INET;
		unsigned at =
			(unsigned)v[i].dst.addr.b[v4 ? 1 : 2] << 8 | v[i].dst.addr.b[v4 ? 2 : 3];

		if (at >= n)
			continue;
		if (seen[at])
			return false;
		seen[at] = true;
		count++;
	}
	return count == n;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Many datagrams; and signals that interrupt every system call. */
static void many_routes(void)
{
	struct itimerval often = {{0, 300}, {0, 300}}, never = {0};
	struct sigaction sa = {.sa_handler = on_alarm};
	_cleanup_nl_ struct nl *nl = NULL;
	struct nl_route *v;
	unsigned index;
	size_t n;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 2; i++) {
		sa_family_t family = i ? AF_INET6 : AF_INET;
		struct nl_route_filter f = {.family = family, .protocol = NL_PROTO_HARMONY};

		MUST(add_many(nl, family, MANY, index) == 0);
		MUST(nl_route_dump(nl, &f, &v, &n, &err) == 0 && n == MANY);
		MUST(whole(v, n, MANY));
		free(v);
	}
	setitimer(ITIMER_REAL, &never, NULL);
}

static int churn(unsigned index)
{
	struct nl_route r = numbered(AF_INET, 0, index);
	struct nl *nl;

	if (nl_open(NETLINK_ROUTE, &nl, NULL) < 0)
		return 1;
	for (unsigned i = 0;; i++) {
		/* At the end and at the beginning of the table, in turn. */
		r.dst.addr.b[0] = i & 1 ? 172 : 9;
		if (nl_route_add(nl, &r, NL_ROUTE_EXCL, NULL) < 0 || nl_route_del(nl, &r, NULL) < 0)
			return 1;
	}
}

static unsigned interrupted; /* in all */
static bool inconsistent;    /* in the answer that is being read */

static int on_any(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR) {
		interrupted++;
		inconsistent = true;
	}
	return 0;
}

static void on_restart(void *arg)
{
	(void)arg;
	inconsistent = false;
}

/* Links are what the kernel watches for consistency; every one of them changes the sequence. */
static int churn_links(void)
{
	unsigned index;
	struct nl *nl;

	if (nl_open(NETLINK_ROUTE, &nl, NULL) < 0)
		return 1;
	for (;;)
		if (nl_link_add(nl, kind, "churn", 0, &index, NULL) < 0 ||
		    nl_link_del(nl, index, NULL) < 0)
			return 1;
}

/* A dump while another process changes what is dumped: never a wrong answer, at worst none. */
static void changing_routes(void)
{
	struct nl_route_filter f = {.family = AF_INET, .protocol = NL_PROTO_HARMONY};
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned index, good = 0;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	MUST(add_many(nl, AF_INET, MANY, index) == 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(churn(index));
	struct mono deadline = mono_add(mono_now(), 10 * NS_PER_SEC);
	for (int i = 0; i < 50 && mono_before(mono_now(), deadline); i++) {
		_cleanup_free_ struct nl_route *v = NULL;
		size_t n = 0;
		int r = nl_route_dump(nl, &f, &v, &n, &err);

		/* Our own 5,000, each once; the other's may be there or not. */
		size_t ours = 0;
		for (size_t k = 0; k < n; k++)
			if (v[k].dst.addr.b[0] == 10)
				v[ours++] = v[k];
		if (r == 0 && whole(v, ours, MANY))
			good++;
		else if (r != -EAGAIN)
			break;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	MUST(good > 0);
}

static void changing_links(void)
{
	struct nl_answer look = {.message = on_any, .restart = on_restart};
	_cleanup_nl_ struct nl *nl = NULL;
	unsigned good = 0, index;
	char name[IFNAMSIZ];

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		MUST(nl_link_add(nl, kind, name, 0, &index, &err) == 0);
	}
	pid_t pid = fork();
	if (pid == 0)
		_exit(churn_links());
	struct mono deadline = mono_add(mono_now(), 10 * NS_PER_SEC);
	while ((!interrupted || good < 20) && mono_before(mono_now(), deadline)) {
		_cleanup_free_ struct nl_link *v = NULL;
		size_t n = 0, ours = 0;
		int r = nl_link_dump(nl, &v, &n, &err);

		for (size_t k = 0; k < n; k++)
			ours += v[k].name[0] == 't';
		if (r == 0 && ours == 150)
			good++;
		else if (r != -EAGAIN)
			break;
		/* The same dump with a look at the flag that the kernel sets. */
		union nl_request req;
		struct ifinfomsg *ifi;
		nl_request_init(&req, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi), &ifi);
		inconsistent = false;
		r = nl_request(nl, &req.h, &look, &err);
		if (r == 0 ? inconsistent : r != -EAGAIN) {
			good = 0;
			break;
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	MUST(good > 0);
	MUST(interrupted > 0); /* or this case has shown nothing */
}

static void timeout(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	union nl_request req;
	struct rtgenmsg *h;
	struct nl_link l;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	nl_set_timeout(nl, 50 * NS_PER_MSEC);
	/* Nobody answers a NOOP that does not ask for an acknowledgement. */
	nl_request_init(&req, NLMSG_NOOP, NLM_F_DUMP, sizeof(*h), &h);
	struct mono before = mono_now();
	MUST_FAIL(nl_request(nl, &req.h, NULL, &err), -ETIMEDOUT, "within 0.1 s");
	int64_t took = mono_since(mono_now(), before);
	MUST(took >= 50 * NS_PER_MSEC && took < NS_PER_SEC);
	MUST(nl_link_get(nl, "lo", &l, &err) == 0 && l.index == 1);
}

static int fail_once(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	(void)nlh;
	(void)arg;
	return err_set(e, -EBADMSG, "not understood");
}

/* A dump that is given up in the middle leaves a socket that still works. */
static void given_up(void)
{
	struct nl_answer answer = {.message = fail_once};
	_cleanup_nl_ struct nl *nl = NULL;
	_cleanup_free_ struct nl_route *v = NULL;
	union nl_request req;
	struct rtmsg *rtm;
	unsigned index;
	size_t n;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	MUST(add_many(nl, AF_INET, 2000, index) == 0);
	nl_request_init(&req, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), &rtm);
	rtm->rtm_family = AF_INET;
	MUST_FAIL(nl_request(nl, &req.h, &answer, &err), -EBADMSG, "not understood");
	MUST(nl_route_dump(nl, &(struct nl_route_filter){.protocol = NL_PROTO_HARMONY}, &v, &n,
			   &err) == 0);
	MUST(n == 2000);
}

static void no_rights(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct nl_monitor *m;
		struct nl *nl;

		if (setresuid(65534, 65534, 65534) < 0 || nl_open(NETLINK_ROUTE, &nl, NULL) < 0 ||
		    nl_link_add(nl, kind, "t0", 0, NULL, NULL) != -EPERM ||
		    nl_monitor_open(NETLINK_NETFILTER, &m, NULL) == 0)
			_exit(1);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void no_wireguard(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	struct wgdev dev;

	wgdev_init(&dev);
	MUST(nl_open(NETLINK_GENERIC, &nl, &err) == 0);
	if (nl_wg_probe(nl, &err) == 0) {
		MUST_FAIL(nl_wg_get(nl, "t0", &dev, &err), -ENODEV, "t0");
		MUST_FAIL(nl_wg_get(nl, "lo", &dev, &err), -EPROTOTYPE, "lo");
		return;
	}
	MUST_FAIL(nl_wg_get(nl, "t0", &dev, &err), -EOPNOTSUPP, "the kernel has no WireGuard");
	MUST_FAIL(nl_wg_set(nl, "t0", &(struct wgdev_change){0}, &err), -EOPNOTSUPP,
		  "the kernel has no WireGuard");
}

/* ---- monitor ----------------------------------------------------------------------------- */

struct seen {
	unsigned n[NL_EVENT_LOST + 1];
	unsigned removed[NL_EVENT_LOST + 1];
	unsigned ifindex; /* counted: only this one's, where the event has one */
	char name[64];
	uint32_t table;
	uint8_t protocol;
};

static void on_event(const struct nl_event *ev, void *arg)
{
	struct seen *s = arg;

	if (ev->ifindex && s->ifindex && ev->ifindex != s->ifindex)
		return;
	/* IPv6 adds and removes its own at any time after a link came up. */
	if (ev->kind == NL_EVENT_ROUTE && ev->protocol == RTPROT_KERNEL)
		return;
	s->n[ev->kind]++;
	s->removed[ev->kind] += ev->removed;
	if (ev->name[0])
		snprintf(s->name, sizeof(s->name), "%s", ev->name);
	if (ev->kind == NL_EVENT_ROUTE || ev->kind == NL_EVENT_RULE) {
		s->table = ev->table;
		s->protocol = ev->protocol;
	}
}

/* All that waits, after a moment in which late ones may come. */
static int drain(struct nl_monitor *m, struct seen *s)
{
	struct pollfd p = {nl_monitor_fd(m), POLLIN, 0};
	unsigned index = s->ifindex;

	memset(s, 0, sizeof(*s));
	s->ifindex = index;
	while (poll(&p, 1, 50) > 0) {
		int r = nl_monitor_read(m, on_event, s, &err);

		if (r < 0)
			return r;
	}
	return 0;
}

static void monitor(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	_cleanup_nl_monitor_ struct nl_monitor *m = NULL;
	struct seen s = {0};

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST(nl_monitor_open(NETLINK_ROUTE, &m, &err) == 0);
	MUST(nl_monitor_read(m, on_event, &s, &err) == 0); /* at once, though nothing waits */
	MUST((s.ifindex = link_up(nl, "t0")));
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_LINK] > 0 && str_eq(s.name, "t0"));
	MUST(!s.removed[NL_EVENT_LINK] && !s.n[NL_EVENT_LOST]);

	struct nl_addr a = {.ifindex = s.ifindex, .prefix = prefix("10.9.0.2/24")};
	MUST(nl_addr_add(nl, &a, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ADDR] >= 1);
	struct nl_route r = numbered(AF_INET6, 1, s.ifindex);
	MUST(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ROUTE] == 1);
	MUST(s.table == 100 && s.protocol == NL_PROTO_HARMONY && !s.removed[NL_EVENT_ROUTE]);
	MUST(nl_route_del(nl, &r, &err) == 0);
	MUST(drain(m, &s) == 0 && s.removed[NL_EVENT_ROUTE] == 1);
	struct nl_rule rule = {AF_INET6, NL_PROTO_HARMONY, true, false, 100, 1, 0, 51820,
			       -1,       {{0}, 0}};
	MUST(nl_rule_add(nl, &rule, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_RULE] == 1 && s.table == 51820);
	MUST(nl_link_del(nl, s.ifindex, &err) == 0);
	MUST(drain(m, &s) == 0 && s.removed[NL_EVENT_LINK] == 1);
}

static void monitor_skips_own(void)
{
	_cleanup_nl_ struct nl *nl = NULL, *other = NULL;
	_cleanup_nl_monitor_ struct nl_monitor *m = NULL;
	struct seen s = {0};
	unsigned index;

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0 && nl_open(NETLINK_ROUTE, &other, &err) == 0);
	MUST((index = link_up(nl, "t0")));
	MUST(nl_monitor_open(NETLINK_ROUTE, &m, &err) == 0);
	nl_monitor_skip(m, nl);
	struct nl_route r = numbered(AF_INET, 1, index), r2 = numbered(AF_INET, 2, index);
	MUST(nl_route_add(nl, &r, NL_ROUTE_EXCL, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ROUTE] == 0);
	MUST(nl_route_add(other, &r2, NL_ROUTE_EXCL, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ROUTE] == 1);
	/* Also when our socket was opened again in between. */
	union nl_request req;
	struct rtgenmsg *h;
	nl_request_init(&req, NLMSG_NOOP, NLM_F_DUMP, sizeof(*h), &h);
	nl_set_timeout(nl, NS_PER_MSEC);
	MUST(nl_request(nl, &req.h, NULL, NULL) == -ETIMEDOUT);
	nl_set_timeout(nl, NL_TIMEOUT);
	MUST(nl_route_del(nl, &r, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ROUTE] == 0);
	nl_monitor_skip(m, NULL);
	MUST(nl_route_del(nl, &r2, &err) == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_ROUTE] == 1);
}

static void monitor_overflow(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	_cleanup_nl_monitor_ struct nl_monitor *m = NULL;
	struct seen s = {0};

	MUST(nl_open(NETLINK_ROUTE, &nl, &err) == 0);
	MUST((s.ifindex = link_up(nl, "t0")));
	MUST(nl_monitor_open(NETLINK_ROUTE, &m, &err) == 0);
	MUST(add_many(nl, AF_INET, 10000, s.ifindex) == 0);
	MUST(drain(m, &s) == 0);
	MUST(s.n[NL_EVENT_LOST] >= 1 && s.n[NL_EVENT_ROUTE] > 0 && s.n[NL_EVENT_ROUTE] < 10000);
	/* It goes on afterwards. */
	struct nl_route r = numbered(AF_INET, 1, s.ifindex);
	MUST(nl_route_del(nl, &r, &err) == 0);
	MUST(drain(m, &s) == 0 && s.removed[NL_EVENT_ROUTE] == 1 && !s.n[NL_EVENT_LOST]);
}

static void monitor_nft(void)
{
	_cleanup_nl_monitor_ struct nl_monitor *m = NULL;
	struct seen s = {0};

	MUST(nl_monitor_open(NETLINK_NETFILTER, &m, &err) == 0);
	MUST(system("nft add table inet harmony") == 0);
	MUST(drain(m, &s) == 0 && s.n[NL_EVENT_NFT] >= 1 && str_eq(s.name, "harmony"));
	MUST(!s.removed[NL_EVENT_NFT]);
	MUST(system("nft 'add chain inet harmony c; delete table inet harmony'") == 0);
	MUST(drain(m, &s) == 0 && s.removed[NL_EVENT_NFT] >= 1);
	MUST_FAIL(nl_monitor_open(NETLINK_GENERIC, &m, &err), -EPROTONOSUPPORT, "16");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!(kind = find_kind())) {
		printf("skip netlink: this kernel has none of dummy, ifb, bridge\n");
		return 0;
	}
	CASE(links);
	CASE(addresses);
	CASE(ipv6_disabled);
	CASE(prefix_routes);
	CASE(routes);
	CASE(foreign_route);
	CASE(lookup);
	CASE(rules_v4);
	CASE(rules_v6);
	CASE(many_routes);
	CASE(changing_routes);
	CASE(changing_links);
	CASE(timeout);
	CASE(given_up);
	CASE(no_rights);
	CASE(no_wireguard);
	CASE(monitor);
	CASE(monitor_skips_own);
	CASE(monitor_overflow);
	CASE(monitor_nft);
	return cases_failed;
}
