/*
 * Netlink sockets for synchronous requests: what link.h, addr.h, route.h, rule.h and wg.h send
 * their messages through. Notifications have a socket of their own: monitor.h.
 *
 * Every request waits for the kernel's answer, bounded by nl_set_timeout. Errors are the
 * kernel's errno; the message holds the kernel's own words (extended ACK) where it gave some:
 * "cannot add route 10.0.0.1/8, interface 3, table 254: Invalid argument (Invalid prefix for given
 * prefix length)".
 *
 * A dump that the kernel marks as inconsistent (something changed meanwhile), or that lost
 * messages, is read again, at most NL_TRIES times; then -EAGAIN. A change is never repeated by
 * itself: -ENOBUFS and -ETIMEDOUT say that its outcome is not known.
 *
 * A socket belongs to the network namespace in which it was opened. After a request was given
 * up half-way the next one opens the socket again, in the namespace of that time.
 *
 * Not thread-safe: one socket, one thread.
 */
#ifndef NETLINK_NETLINK_H
#define NETLINK_NETLINK_H

#include <linux/netlink.h> /* NETLINK_ROUTE … */
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"

/* Marks our routes, rules and addresses (rtm_protocol, FRA_PROTOCOL, IFA_PROTO), so that what is
 * ours is found after a restart, and a delete can't hit another's. 'H'. Values above 4 (static)
 * are free for daemons; this one is in no known list: <linux/rtnetlink.h> ends at 192 and
 * iproute2's rt_protos has 42 (babel), 84 (ovn) and 99 (openr) nearest to it. */
#define NL_PROTO_HARMONY 0x48

#define NL_TIMEOUT (5 * NS_PER_SEC)
#define NL_TRIES   5

struct nl;

/* protocol: NETLINK_ROUTE (link, addr, route, rule), NETLINK_GENERIC (wg), NETLINK_NETFILTER. */
int nl_open(int protocol, struct nl **ret, struct err *e);
void nl_close(struct nl *nl); /* wipes its buffers */

MEM_CLEANUP(struct nl, nl_close);
#define _cleanup_nl_ _cleanup_(nl_close_p)

/* The longest wait for one datagram of an answer; the default is NL_TIMEOUT. */
void nl_set_timeout(struct nl *nl, int64_t ns);

/* The kernel's name for this socket, as it stands in notifications about what we changed. May
 * change after a failed request. */
uint32_t nl_portid(const struct nl *nl);

#endif
