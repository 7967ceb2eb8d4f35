/*
 * Routing policy rules (rtnetlink RTM_*RULE), both families, over a NETLINK_ROUTE socket.
 */
#ifndef NETLINK_RULE_H
#define NETLINK_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/ip.h"
#include "netlink/netlink.h"

/* "[not] [to DST] [fwmark FWMARK/FWMASK] lookup TABLE [suppress_prefixlength N]" */
struct nl_rule {
	sa_family_t family;
	uint8_t protocol; /* FRA_PROTOCOL: who added it; 0 before Linux 4.17 */
	bool invert;      /* FIB_RULE_INVERT */
	bool other;       /* only in dumps: it has selectors or an action that are not
			   * shown here; not one of ours */
	uint32_t priority;
	uint32_t fwmark, fwmask; /* both 0: not looked at. A fwmask of 0 beside a fwmark means
				  * all bits in a request; dumps show it as 0xffffffff */
	uint32_t table;
	int suppress_prefixlen; /* -1: off */
	struct ip_prefix dst;   /* masked; family 0: not looked at */
};

/* Both families; protocol 0: all rules. The array (NULL when empty) is the caller's to free. */
int nl_rule_dump(struct nl *nl, uint8_t protocol, struct nl_rule **ret, size_t *ret_n,
		 struct err *e);

/* -EEXIST where an equal rule stands. Priority 0 leaves the choice to the kernel (one before the
 * first rule after "local", as wg-quick has it). */
int nl_rule_add(struct nl *nl, const struct nl_rule *rule, struct err *e);

/* The kernel compares neither `invert` nor suppress_prefixlen, so priority is needed (-EINVAL
 * for 0): a rule from a dump as it stands there. With protocol set it can't hit another's.
 * -ENOENT when there is none, -EAFNOSUPPORT when the family is not there. */
int nl_rule_del(struct nl *nl, const struct nl_rule *rule, struct err *e);

#endif
