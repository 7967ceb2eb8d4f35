/*
 * Kernel settings under /proc/sys: read first, written only where they differ. In a container
 * /proc/sys is read-only as a rule, and the node has often set the right values already; then
 * nothing is written, and nothing fails.
 */
#ifndef NETLINK_SYSCTL_H
#define NETLINK_SYSCTL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SYSCTL_ROOT "/proc/sys"

/* Longest path below the root, with its NUL: "net/ipv6/conf/IFNAMSIZ/…". */
#define SYSCTL_PATH_MAX 96

#define SYSCTL_IPV4_FORWARD   "net/ipv4/ip_forward"
#define SYSCTL_IPV6_FORWARD   "net/ipv6/conf/all/forwarding"
#define SYSCTL_SRC_VALID_MARK "net/ipv4/conf/all/src_valid_mark"
#define SYSCTL_RP_FILTER      "net/ipv4/conf/%s/rp_filter" /* of an interface */

enum sysctl_outcome {
	SYSCTL_ALREADY, /* it was so */
	SYSCTL_WRITTEN,
	SYSCTL_REFUSED, /* it differs and may not be written: a warning, see message */
};

struct sysctl_result {
	enum sysctl_outcome outcome;
	int64_t before;    /* the value found */
	char message[256]; /* WRITTEN: "net/ipv4/ip_forward: 0 -> 1"; REFUSED: what is wrong and
			    * what to do on the node; ALREADY: "" */
};

/* Makes an integer setting `value`. `path` has slashes, as interface names may have dots; root
 * is SYSCTL_ROOT but in tests. 0 with *ret filled; -ENOENT where the kernel has no such setting
 * (IPv6 is off, the interface is gone); -EINVAL, -EBADMSG, or another errno of reading. */
int sysctl_ensure(const char *root, const char *path, int64_t value, struct sysctl_result *ret,
		  struct err *e);

/* Reverse path filtering of an interface that must take packets whose way back is decided by a
 * mark or another table: not strict. The kernel applies the larger one of conf/all and conf/IF,
 * so an interface with 0 under all = 1 is strict, and gets 2 (loose); one that is not strict is
 * left alone. Same results and errors. */
int sysctl_ensure_rp_filter(const char *root, const char *ifname, struct sysctl_result *ret,
			    struct err *e);
/* Whether it is strict. Same errors. */
int sysctl_rp_filter_is_strict(const char *root, const char *ifname, bool *ret, struct err *e);

/* An integer setting as it is. */
int sysctl_read(const char *root, const char *path, int64_t *ret, struct err *e);

#endif
