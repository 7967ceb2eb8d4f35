/* A queue is one of the interface and a pair of UDP sockets, with two threads (worker.c). */
#ifndef HARMONY_WG_QUEUES_H
#define HARMONY_WG_QUEUES_H

#define QUEUES_MAX 16

#endif
