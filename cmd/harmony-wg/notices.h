/* What the kernel says has changed: links, addresses, routes, rules. */
#ifndef HARMONY_WG_NOTICES_H
#define HARMONY_WG_NOTICES_H

#include <stdbool.h>

#include "base/err.h"

/* What is to be looked at again. */
struct notices {
	bool link;    /* the device's own interface */
	bool sources; /* an address of the machine is gone */
	bool better;  /* a link or route is another: what did not work may work now */
	bool routes;  /* an address, route or rule is another */
};

/* A non-blocking socket, readable while there are some; or -errno. */
int notices_open(struct err *e);
/* Adds what waits, but for what is about the interface `own` and no news to it. At most a bounded
 * number at once: the socket stays readable. 0, or -errno when there will be no more. */
int notices_read(int fd, unsigned own, struct notices *n, struct err *e);

#endif
