/* Asks the kernel for routes, as one that sends with a mark from an address. */
#ifndef HARMONY_WG_ROUTE_H
#define HARMONY_WG_ROUTE_H

#include <stdbool.h>

#include "base/err.h"
#include "wg/wg.h"

/* A socket for the calls below, blocking for a moment at most; or -errno. */
int route_open(struct err *e);

struct nlmsghdr;

/* Of a whole RTM_NEWROUTE or RTM_DELROUTE; 0 where it has none, or several. */
int route_interface(const struct nlmsghdr *h);

/* Whether what goes to the remote address from the local one leaves by the endpoint's interface.
 * True, too, where it cannot be said: no route at all, no answer, a link-local address. */
bool route_source_ok(int fd, const struct wg_endpoint *to, uint32_t mark);

#endif
