/* What the threads of the data path share with control. */
#ifndef HARMONY_WG_PATH_H
#define HARMONY_WG_PATH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "counters.h"
#include "handshake.h"
#include "tun.h"
#include "udp.h"

/* What wakes a worker, with its queue (UDP_EVENT); the first are the UDP sockets by families. */
enum path_source {
	PATH_READY = UDP_FAMILIES,
	PATH_TUN,
	PATH_END,
};

struct path {
	struct tun *tun;
	struct udp *udp;
	unsigned queues;
	struct counters *counters; /* of each queue */
	struct handshake_queue *handshakes;
	int control_wake; /* eventfd: events of the engine, handshake messages, the end */
	int tx_wake;      /* eventfd: staged packets or keepalives are ready */
	int end_wake;     /* eventfd: the end; nobody empties it */
	_Atomic bool stop;
	_Atomic int tun_gone; /* the errno that said so; 0: it is there */
	bool gro;             /* join packets for the TUN */
};

void path_wake(int eventfd);
void path_drained(int eventfd);
/* From a thread of the data path: the interface is gone. */
void path_tun_gone(struct path *p, int error);

#endif
