/*
 * Freeing what lanes may still look at. A lane notes the epoch when it enters and zero when it
 * leaves. Control unlinks an object, stamps it with the epoch and moves the epoch on; a lane that
 * enters afterwards cannot find the object any more. It is freed once each lane is outside or has
 * entered in a later epoch.
 *
 * The fence in wg_enter and the one in wg_retire pair: either the lane sees that the object is
 * unlinked, or control sees that the lane is inside.
 */
#include "wg/wg_priv.h"

#include <errno.h>

/* A fence proper is unknown to the thread sanitizer; it takes an exchange for one. */
static void enter_barrier(struct wg_lane *l, uint64_t epoch)
{
#if defined(__SANITIZE_THREAD__)
	atomic_exchange(&l->active, epoch);
#else
	atomic_store_explicit(&l->active, epoch, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

void wg_enter(struct wg_lane *l)
{
	enter_barrier(l, atomic_load_explicit(&l->d->epoch, memory_order_acquire));
}

void wg_leave(struct wg_lane *l)
{
	atomic_store_explicit(&l->active, 0, memory_order_release);
}

struct wg_lane *wg_lane_new(struct wg_device *d)
{
	if (d->n_lanes == d->lanes_max)
		return NULL;
	struct wg_lane *l = aligned_alloc(alignof(struct wg_lane), sizeof(*l));

	if (!l)
		return NULL;
	atomic_init(&l->active, 0);
	for (unsigned i = 0; i < WG_RX_VERDICTS; i++)
		atomic_init(&l->received[i], 0);
	for (unsigned i = 0; i < WG_HS_OUTCOMES; i++)
		atomic_init(&l->handshakes[i], 0);
	l->d = d;
	l->id = d->n_lanes;
	l->ready = NULL;
	wg_random(d, l->nonce, sizeof(l->nonce));
	l->replies = 0;
	l->replies_until = 0;
	d->lanes[d->n_lanes++] = l;
	return l;
}

static void append(struct wg_device *d, struct wg_retired *r)
{
	r->next = NULL;
	r->epoch = atomic_fetch_add(&d->epoch, 1);
	*d->retired_tail = r;
	d->retired_tail = &r->next;
}

void wg_retire(struct wg_device *d, struct wg_retired *r, bool (*fn)(struct wg_retired *))
{
	r->free = fn;
	append(d, r);
}

/* The oldest epoch that a lane is inside; UINT64_MAX when all are outside. */
static uint64_t oldest(const struct wg_device *d)
{
	uint64_t min = UINT64_MAX;

#if !defined(__SANITIZE_THREAD__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
	for (unsigned i = 0; i < d->n_lanes; i++) {
		uint64_t e = atomic_load(&d->lanes[i]->active);

		if (e != 0 && e < min)
			min = e;
	}
	return min;
}

bool wg_reclaim(struct wg_device *d)
{
	uint64_t min = oldest(d), end = atomic_load(&d->epoch);

	/* What was not free yet comes again at the end, with an epoch not below `end`. */
	while (d->retired && d->retired->epoch < min && d->retired->epoch < end) {
		struct wg_retired *r = d->retired;

		d->retired = r->next;
		if (!d->retired)
			d->retired_tail = &d->retired;
		if (!r->free(r))
			append(d, r);
	}
	return d->retired;
}
