/* Handshake messages on their way from the receiving thread to control: a bounded queue. */
#ifndef HARMONY_WG_HANDSHAKE_H
#define HARMONY_WG_HANDSHAKE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wg/wg.h"

#define HANDSHAKE_QUEUE   1024 /* 0.2 s of work, at 0.2 ms each; 200 KiB */
#define HANDSHAKE_LOAD    (HANDSHAKE_QUEUE / 8)
#define HANDSHAKE_OPEN    (HANDSHAKE_QUEUE / 2) /* beyond, only for those that are proved */
#define HANDSHAKE_COOKIES 32                    /* cookies, of what is open */
#define HANDSHAKE_MAX     148

enum handshake_kind {
	HANDSHAKE_UNPROVED,
	HANDSHAKE_PROVED, /* by wg_admit */
	HANDSHAKE_COOKIE,
};

struct handshake_message {
	struct wg_endpoint from;
	uint32_t len;
	enum handshake_kind kind;
	uint8_t data[HANDSHAKE_MAX];
};

/* One thread takes; who puts holds the lock. */
struct handshake_queue {
	pthread_mutex_t put;
	_Atomic uint32_t head, tail; /* next to take, next to put; free-running */
	_Atomic uint32_t cookies;    /* of those between them */
	struct handshake_message at[HANDSHAKE_QUEUE];
};

/* False where there is no room for it or the message is too long. *ret_wake: it was empty. */
bool handshake_put(struct handshake_queue *q, const void *data, uint32_t len,
		   const struct wg_endpoint *from, enum handshake_kind kind, bool *ret_wake);
uint32_t handshake_depth(const struct handshake_queue *q);
bool handshake_loaded(const struct handshake_queue *q);
/* Gives at most `max` messages to the engine; true where some are left. */
bool handshake_work(struct handshake_queue *q, struct wg_device *d, unsigned max);

#endif
