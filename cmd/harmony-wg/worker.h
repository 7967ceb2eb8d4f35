/* The threads of the data path. */
#ifndef HARMONY_WG_WORKER_H
#define HARMONY_WG_WORKER_H

#include <pthread.h>

#include "base/err.h"
#include "path.h"
#include "rx.h"
#include "tx.h"

/* Two works, each done by one thread at a time: who does one, and for which sources. */
struct workers_queue {
	struct tx *tx;
	struct rx *rx;
	_Atomic uint32_t sending, receiving;
};

struct workers {
	struct path *path;
	struct workers_queue queue[QUEUES_MAX]; /* path->queues of them; tx and rx: the caller's */
	pthread_barrier_t started;              /* system calls are filtered after it */
	pthread_t thread[2 * QUEUES_MAX];
	_Atomic unsigned begun; /* threads that have a name */
	unsigned n;             /* threads that were started */
};

/* Starts the threads and returns once they have made the system calls of their beginning. They
 * use the path, and w->queue, until workers_stop(). */
int workers_start(struct workers *w, struct path *p, struct err *e);
/* Waits for their end; nothing where they were not started. */
void workers_stop(struct workers *w);

#endif
