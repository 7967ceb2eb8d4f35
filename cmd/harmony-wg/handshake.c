/*
 * The queue of handshake messages. The receiving thread must not compute Diffie-Hellman, and an
 * attacker's messages must not grow memory: what finds no room is dropped. A queue an eighth full
 * means load, and makes the engine ask for cookies; half of it is kept for messages that have
 * proved their source, so that those which have not never stand in their way.
 *
 * A cookie for us has no MAC that a lane could check, so anybody may send what looks like one. It
 * costs control a look at a table and no more: so cookies make no load, and there are at most
 * HANDSHAKE_COOKIES of them, and none while there is much else to do. Who answers an initiation of
 * ours with a cookie does so again.
 */
#include "handshake.h"

#include <string.h>

uint32_t handshake_depth(const struct handshake_queue *q)
{
	return atomic_load_explicit(&q->tail, memory_order_acquire) -
	       atomic_load_explicit(&q->head, memory_order_acquire);
}

/* What takes time; the two counts are of about one moment, which is good enough. */
static uint32_t load(const struct handshake_queue *q)
{
	uint32_t cookies = atomic_load_explicit(&q->cookies, memory_order_relaxed);
	uint32_t depth = handshake_depth(q);

	return depth > cookies ? depth - cookies : 0;
}

bool handshake_loaded(const struct handshake_queue *q)
{
	return load(q) > HANDSHAKE_LOAD;
}

static bool has_room(const struct handshake_queue *q, enum handshake_kind kind)
{
	switch (kind) {
	case HANDSHAKE_PROVED: return handshake_depth(q) < HANDSHAKE_QUEUE;
	case HANDSHAKE_COOKIE:
		return load(q) <= HANDSHAKE_LOAD / 2 &&
		       atomic_load_explicit(&q->cookies, memory_order_relaxed) < HANDSHAKE_COOKIES;
	default: return handshake_depth(q) < HANDSHAKE_OPEN;
	}
}

static bool put(struct handshake_queue *q, const void *data, uint32_t len,
		const struct wg_endpoint *from, enum handshake_kind kind, bool *ret_wake)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
	struct handshake_message *m = &q->at[tail % HANDSHAKE_QUEUE];

	if (len > HANDSHAKE_MAX || !has_room(q, kind))
		return false;
	if (kind == HANDSHAKE_COOKIE)
		atomic_fetch_add(&q->cookies, 1);
	m->from = *from;
	m->kind = kind;
	m->len = len;
	memcpy(m->data, data, len);
	atomic_store(&q->tail, tail + 1);
	/* In one total order with the taker's head: either it sees the message, or is woken. */
	*ret_wake = atomic_load(&q->head) == tail;
	return true;
}

bool handshake_put(struct handshake_queue *q, const void *data, uint32_t len,
		   const struct wg_endpoint *from, enum handshake_kind kind, bool *ret_wake)
{
	pthread_mutex_lock(&q->put);
	bool ok = put(q, data, len, from, kind, ret_wake);
	pthread_mutex_unlock(&q->put);
	return ok;
}

bool handshake_work(struct handshake_queue *q, struct wg_device *d, unsigned max)
{
	uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	for (; max > 0; max--) {
		const struct handshake_message *m = &q->at[head % HANDSHAKE_QUEUE];
		struct wg_time now = {mono_now(), wall_now()};

		if (atomic_load(&q->tail) == head)
			return false;
		if (m->kind == HANDSHAKE_PROVED)
			wg_receive_proved(d, m->data, m->len, &m->from, now);
		else
			wg_receive_handshake(d, m->data, m->len, &m->from, handshake_loaded(q),
					     now);
		if (m->kind == HANDSHAKE_COOKIE)
			atomic_fetch_sub(&q->cookies, 1);
		atomic_store(&q->head, ++head);
	}
	return handshake_depth(q) > 0;
}
