/*
 * Notifications of the kernel: that something changed, not what it is now. Whoever listens reads
 * the state again; so a lost notification costs a delay and never a wrong state.
 */
#ifndef NETLINK_MONITOR_H
#define NETLINK_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "netlink/netlink.h"

enum nl_event_kind {
	NL_EVENT_LINK,
	NL_EVENT_ADDR,
	NL_EVENT_ROUTE,
	NL_EVENT_RULE,
	NL_EVENT_NFT,
	NL_EVENT_LOST, /* the socket overflowed, or a message was not understood: read everything */
};

struct nl_event {
	enum nl_event_kind kind;
	bool removed;     /* RTM_DEL…, NFT_MSG_DEL… */
	unsigned ifindex; /* LINK, ADDR, ROUTE (0: none or several) */
	uint32_t table;   /* ROUTE, RULE */
	uint8_t protocol; /* ROUTE, RULE: RTPROT_* */
	const char *name; /* LINK: its name. NFT: the table's; "" where the message has none (the
			   * end of a transaction). Else "". Valid during the call */
};

typedef void (*nl_event_fn)(const struct nl_event *event, void *arg);

struct nl_monitor;

/* NETLINK_ROUTE: links, addresses, routes, rules of both families. NETLINK_NETFILTER: nftables
 * (-EPERM without CAP_NET_ADMIN). One monitor, one file descriptor. */
int nl_monitor_open(int protocol, struct nl_monitor **ret, struct err *e);
void nl_monitor_close(struct nl_monitor *m);

MEM_CLEANUP(struct nl_monitor, nl_monitor_close);
#define _cleanup_nl_monitor_ _cleanup_(nl_monitor_close_p)

/* Readable while notifications wait (level-triggered). */
int nl_monitor_fd(const struct nl_monitor *m);

/* Leaves out what requests on `own` caused (same protocol, same namespace; NULL: nothing is left
 * out). The kernel does not name the cause of every notification (it does not for IPv6 addresses,
 * nor for links before Linux 6.2, nor for what follows from a request, as routes that go with a
 * link), so some of one's own still come. `own` must outlive the monitor, or be taken back. */
void nl_monitor_skip(struct nl_monitor *m, const struct nl *own);

/* Reports what waits, at most a bounded number of messages, and returns at once. 0, or the
 * socket's error: open another monitor then. */
int nl_monitor_read(struct nl_monitor *m, nl_event_fn fn, void *arg, struct err *e);

#endif
