/*
 * Interface addresses (rtnetlink RTM_*ADDR), both families, over a NETLINK_ROUTE socket.
 */
#ifndef NETLINK_ADDR_H
#define NETLINK_ADDR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "netlink/netlink.h"

struct nl_addr {
	unsigned ifindex;
	struct ip_prefix prefix; /* host bits kept: 10.0.0.2/24 */
	uint32_t flags;          /* IFA_F_* of <linux/if_addr.h> */
	uint8_t scope;           /* RT_SCOPE_*; fe80:: addresses have RT_SCOPE_LINK */
	uint8_t protocol;        /* IFA_PROTO: who added it; 0 before Linux 5.18. The kernel's own
				  * link-local addresses carry 3 (IFAPROT_KERNEL_LL) */
	struct ip_addr peer;     /* the other end's, where it is point-to-point (`ip addr add A peer
				  * B/LEN`: the length is that of B's network then); else AF_UNSPEC */
};

/* Both families; ifindex 0: of all links. A link that does not exist has no addresses: that is
 * not an error. The array (NULL when empty) is the caller's to free. */
int nl_addr_dump(struct nl *nl, unsigned ifindex, struct nl_addr **ret, size_t *ret_n,
		 struct err *e);

/* Adds the address, or updates the one that has equal address and length. The kernel adds the
 * route to its prefix, as for wg-quick, unless flags hold IFA_F_NOPREFIXROUTE; of flags only
 * that and IFA_F_NODAD are sent (no duplicate address detection takes place on WireGuard and TUN
 * links, which are NOARP). -ENODEV when the link is gone, -EACCES when IPv6 is disabled on it. */
int nl_addr_add(struct nl *nl, const struct nl_addr *addr, struct err *e);

/* By ifindex, prefix and peer. -EADDRNOTAVAIL when it is gone already, -ENODEV when the link is. */
int nl_addr_del(struct nl *nl, const struct nl_addr *addr, struct err *e);

#endif
