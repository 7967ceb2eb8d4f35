/* Sending: from the TUN to the UDP sockets. */
#ifndef HARMONY_WG_TX_H
#define HARMONY_WG_TX_H

#include "path.h"
#include "wg/wg.h"

struct tx;

/* NULL: memory has run out. */
struct tx *tx_new(struct path *p, unsigned queue, struct wg_device *d);
void tx_free(struct tx *t);
/* A batch, by one thread at a time; true where there may be more. */
bool tx_drain(struct tx *t, unsigned *n); /* of the TUN; adds how many were read */
bool tx_serve_ready(struct tx *t);        /* packets that waited, keepalives */

/* The engine's drop callback: frees staged packets. Any thread. */
void tx_drop(struct wg_packet *list);

#endif
