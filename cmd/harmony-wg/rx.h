/* Receiving: from the UDP sockets to the TUN. */
#ifndef HARMONY_WG_RX_H
#define HARMONY_WG_RX_H

#include "path.h"
#include "wg/wg.h"

struct rx;

/* NULL: memory has run out. */
struct rx *rx_new(struct path *p, unsigned queue, struct wg_device *d);
void rx_free(struct rx *r);
/* A batch of that family's socket, by one thread at a time; true where there may be more. Adds how
 * many messages it had. */
bool rx_receive(struct rx *r, unsigned family, unsigned *n);

#endif
