/*
 * The queue of handshake messages. The receiving thread must not compute Diffie-Hellman, and an
 * attacker's messages must not grow memory: what finds no room is dropped. A queue an eighth full
 * means load, and makes the engine ask for cookies; half of it is kept for messages that have
 * proved their source, so that those which have not never stand in their way.
 */
#include "handshake.h"

#include <string.h>

uint32_t handshake_depth(const struct handshake_queue *q)
{
	return atomic_load_explicit(&q->tail, memory_order_acquire) -
	       atomic_load_explicit(&q->head, memory_order_acquire);
}

static bool put(struct handshake_queue *q, const void *data, uint32_t len,
		const struct wg_endpoint *from, bool proved, bool *ret_wake)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
	struct handshake_message *m = &q->at[tail % HANDSHAKE_QUEUE];

	if (len > HANDSHAKE_MAX ||
	    handshake_depth(q) >= (proved ? HANDSHAKE_QUEUE : HANDSHAKE_OPEN))
		return false;
	m->from = *from;
	m->proved = proved;
	m->len = len;
	memcpy(m->data, data, len);
	atomic_store(&q->tail, tail + 1);
	/* In one total order with the taker's head: either it sees the message, or is woken. */
	*ret_wake = atomic_load(&q->head) == tail;
	return true;
}

bool handshake_put(struct handshake_queue *q, const void *data, uint32_t len,
		   const struct wg_endpoint *from, bool proved, bool *ret_wake)
{
	pthread_mutex_lock(&q->put);
	bool ok = put(q, data, len, from, proved, ret_wake);
	pthread_mutex_unlock(&q->put);
	return ok;
}

bool handshake_work(struct handshake_queue *q, struct wg_device *d, unsigned max)
{
	uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	for (; max > 0; max--) {
		const struct handshake_message *m = &q->at[head % HANDSHAKE_QUEUE];
		struct wg_time now = {mono_now(), wall_now()};
		uint32_t depth = atomic_load(&q->tail) - head;

		if (depth == 0)
			return false;
		if (m->proved)
			wg_receive_proved(d, m->data, m->len, &m->from, now);
		else
			wg_receive_handshake(d, m->data, m->len, &m->from, depth > HANDSHAKE_LOAD,
					     now);
		atomic_store(&q->head, ++head);
	}
	return handshake_depth(q) > 0;
}
