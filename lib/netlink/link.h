/*
 * Network interfaces (rtnetlink RTM_*LINK), over a NETLINK_ROUTE socket.
 */
#ifndef NETLINK_LINK_H
#define NETLINK_LINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "netlink/netlink.h"

#define NL_KIND_LEN  16
#define NL_ALIAS_LEN 256 /* IFALIASZ */

struct nl_link {
	unsigned index;
	char name[IFNAMSIZ];
	char kind[NL_KIND_LEN]; /* "wireguard", "tun", "dummy", …; "" for hardware and loopback */
	char alias[NL_ALIAS_LEN]; /* "": none */
	uint32_t mtu;
	bool up;      /* IFF_UP: administratively */
	bool running; /* IFF_RUNNING: operationally */
};

/* -ENODEV when there is none. A link is also found by an alternative name (ip link property):
 * ret->name is then another than the one asked for. */
int nl_link_get(struct nl *nl, const char *name, struct nl_link *ret, struct err *e);
int nl_link_get_index(struct nl *nl, unsigned index, struct nl_link *ret, struct err *e);

/* All links, in the kernel's order. The array (NULL when empty) is the caller's to free. */
int nl_link_dump(struct nl *nl, struct nl_link **ret, size_t *ret_n, struct err *e);

/* Creates a link that needs no parameters beyond its kind ("wireguard", "dummy"), down, with the
 * given MTU (0: the kernel's default). -EEXIST when the name is taken, -EOPNOTSUPP when the
 * kernel has no such kind. *ret_index may be NULL. The kernel takes no alias at creation:
 * mark the link by nl_link_set right after it. */
int nl_link_add(struct nl *nl, const char *kind, const char *name, uint32_t mtu,
		unsigned *ret_index, struct err *e);

/* What one request changes; the kernel applies MTU, alias, then up or down. */
struct nl_link_change {
	bool set_mtu, set_up, set_alias;
	uint32_t mtu;
	bool up;
	const char *alias; /* "" removes it; shorter than NL_ALIAS_LEN */
};
int nl_link_set(struct nl *nl, unsigned index, const struct nl_link_change *change, struct err *e);

/* -ENODEV when it is gone already. */
int nl_link_del(struct nl *nl, unsigned index, struct err *e);

#endif
