/*
 * The kernel's WireGuard (<linux/wireguard.h>) over a NETLINK_GENERIC socket.
 *
 * -EOPNOTSUPP: the kernel has no WireGuard, and could not load it. -ENODEV: no link by that name.
 * -EPROTOTYPE: there is one, but it is no WireGuard link.
 */
#ifndef NETLINK_WG_H
#define NETLINK_WG_H

#include "base/err.h"
#include "netlink/netlink.h"
#include "wgdev/wgdev.h"

/* 0 when the kernel has WireGuard (its module is loaded by asking); else -EOPNOTSUPP. */
int nl_wg_probe(struct nl *nl, struct err *e);

/* The whole device into *ret, which the caller has initialised; replaced on success only, sorted.
 * Secrets stand in slots of base/secret.h, and the buffers they passed through are wiped. */
int nl_wg_get(struct nl *nl, const char *ifname, struct wgdev *ret, struct err *e);

/* One message where the change fits (32 KiB: some 250 peers), else several in order, each of
 * which the kernel applies as a whole: after a failure the ones before it stand, and a caller
 * that reads the device again and sends the difference is right in every case. An allowed IP
 * moves to the peer that names it last. */
int nl_wg_set(struct nl *nl, const char *ifname, const struct wgdev_change *change, struct err *e);

#endif
