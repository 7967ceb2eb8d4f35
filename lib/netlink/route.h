/*
 * Routes (rtnetlink RTM_*ROUTE), both families, over a NETLINK_ROUTE socket.
 */
#ifndef NETLINK_ROUTE_H
#define NETLINK_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "netlink/netlink.h"

struct nl_route {
	struct ip_prefix dst;   /* masked */
	unsigned ifindex;       /* 0: none (blackhole …), or several nexthops */
	uint32_t table;         /* RT_TABLE_MAIN is 254; 0 in a request means main */
	uint32_t metric;        /* IPv6: 0 in a request becomes 1024 */
	uint8_t protocol;       /* RTPROT_*: RTPROT_KERNEL for the kernel's own */
	uint8_t scope;          /* RT_SCOPE_*, IPv4 only (always 0 in IPv6). A route without gateway
				 * is usually RT_SCOPE_LINK; it is part of a route's identity */
	uint8_t type;           /* RTN_*; 0 in a request means RTN_UNICAST */
	uint32_t mtu;           /* RTAX_MTU; 0: the link's */
	struct ip_addr prefsrc; /* AF_UNSPEC: none */
	struct ip_addr gateway; /* AF_UNSPEC: on the link. Another family's gateway (RTA_VIA) is
				 * read and not written */
	bool multipath; /* several nexthops (only in dumps): ifindex and gateway are empty */
};

/* Zero: any. */
struct nl_route_filter {
	sa_family_t family;
	unsigned ifindex;
	uint32_t table;
	uint8_t protocol;
};

/* Without cached routes. The kernel filters (strict checking, Linux 4.20), and what an older one
 * lets through is dropped here. The array (NULL when empty) is the caller's to free. */
int nl_route_dump(struct nl *nl, const struct nl_route_filter *filter, struct nl_route **ret,
		  size_t *ret_n, struct err *e);

/* For the kernel a route is the same as another when destination, table and metric are equal
 * (IPv4: and TOS), whatever its device and protocol. So
 *   NL_ROUTE_EXCL     fails with -EEXIST where anybody's route stands there: the safe way;
 *   NL_ROUTE_REPLACE  takes the place of anybody's route, without a gap, or adds it: only over a
 *                     route that was seen in a dump to be ours. */
enum nl_route_mode { NL_ROUTE_EXCL, NL_ROUTE_REPLACE };

/* -ENETDOWN when the link is down, -ENODEV when it is gone. */
int nl_route_add(struct nl *nl, const struct nl_route *route, enum nl_route_mode mode,
		 struct err *e);

/* Deletes the route that equals all fields given (0 and AF_UNSPEC: not looked at, but for table
 * and scope): one from a dump as it stands there, or one of our own as it was added. With
 * protocol set it can't hit another's. -ESRCH when there is none. */
int nl_route_del(struct nl *nl, const struct nl_route *route, struct err *e);

/* How a packet to an address would leave this host. */
struct nl_path {
	unsigned ifindex;
	uint32_t mtu; /* path MTU if one is known, else the route's, else the link's */
	uint8_t type; /* RTN_UNICAST, RTN_LOCAL, … */
	struct ip_addr prefsrc;
	struct ip_addr gateway;
};

/* `oif`: only by this link; needed for link-local addresses, else 0. fwmark: as the socket that
 * will send has it. -ENETUNREACH, -EHOSTUNREACH, -EACCES, -EINVAL (blackhole) as connect(). */
int nl_route_lookup(struct nl *nl, const struct ip_addr *dst, unsigned oif, uint32_t fwmark,
		    struct nl_path *ret, struct err *e);

/* The same of many, in few system calls. paths[i] is that of queries[i]: its ifindex 0 where there
 * is none, its mtu 0 where it is the link's. */
struct nl_path_query {
	struct ip_addr dst;
	unsigned oif;
	uint32_t fwmark;
};
int nl_route_lookup_many(struct nl *nl, const struct nl_path_query *queries, size_t n,
			 struct nl_path *paths, struct err *e);

#endif
