/*
 * A second process with the few rights that a running device may still need: it opens UDP
 * sockets, marks them, and removes the control socket at the end. The device itself keeps none.
 */
#ifndef HARMONY_WG_BROKER_H
#define HARMONY_WG_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

struct broker {
	int fd; /* -1: not started */
};

/* Forks. Comes before there is a second thread, and before the first key. `sandbox`: gives up all
 * else in the child. */
int broker_start(struct broker *ret, bool sandbox, struct err *e);
void broker_stop(struct broker *b);

struct udp_wish; /* udp.h */

/* A bound socket, with all options of udp.c. */
int broker_open(struct broker *b, const struct udp_wish *wish, int *ret_fd, uint16_t *ret_port,
		struct err *e);
int broker_mark(struct broker *b, int fd, uint32_t mark, struct err *e);
/* The path is absolute and shorter than 108 bytes. */
int broker_unlink(struct broker *b, const char *path);

#endif
