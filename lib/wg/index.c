/*
 * Receiver indices: random 32-bit numbers, each unique among all sessions and handshakes of the
 * device. They are random, so they are their own hash: an open-addressed table of pointers, at
 * most half full. Lanes look up without a lock; control stores single pointers. A removed entry
 * leaves a tombstone, and a table that is full of entries and tombstones is copied and replaced.
 *
 * A session takes the place of its handshake under the same index with one store, so that data
 * that comes right behind the response finds it.
 */
#include "wg/wg_priv.h"

#include <errno.h>

#define MIN_SLOTS 64

struct wg_index_slots {
	struct wg_retired retired; /* first */
	size_t mask;
	_Atomic(struct wg_index *) slot[];
};

static const struct wg_index removed; /* its address only */
#define tombstone ((struct wg_index *)&removed)

static struct wg_index_slots *slots_new(size_t n)
{
	struct wg_index_slots *s = calloc(1, sizeof(*s) + n * sizeof(s->slot[0]));

	if (s)
		s->mask = n - 1;
	return s;
}

static bool slots_free(struct wg_retired *r)
{
	free(r);
	return true;
}

static struct wg_index_slots *table(const struct wg_device *d)
{
	return atomic_load_explicit(&d->indices.slots, memory_order_acquire);
}

int wg_index_init(struct wg_device *d)
{
	struct wg_index_slots *s = slots_new(MIN_SLOTS);

	atomic_init(&d->indices.slots, s);
	return s ? 0 : -ENOMEM;
}

void wg_index_clear(struct wg_device *d)
{
	free(table(d));
}

static struct wg_index *find(const struct wg_device *d, uint32_t index, bool sessions_alone)
{
	const struct wg_index_slots *s = table(d);

	for (size_t i = index & s->mask;; i = (i + 1) & s->mask) {
		struct wg_index *e = atomic_load_explicit(&s->slot[i], memory_order_acquire);

		if (!e)
			return NULL;
		if (e == tombstone || (sessions_alone && !e->keypair))
			continue;
		if (e->index == index)
			return e;
	}
}

struct wg_keypair *wg_index_find_session(const struct wg_device *d, uint32_t index)
{
	struct wg_index *e = find(d, index, true);

	return e ? list_entry(e, struct wg_keypair, index) : NULL;
}

struct wg_index *wg_index_find_any(const struct wg_device *d, uint32_t index)
{
	return find(d, index, false);
}

static void put(struct wg_index_slots *s, struct wg_index *e)
{
	for (size_t i = e->index & s->mask;; i = (i + 1) & s->mask) {
		if (!atomic_load_explicit(&s->slot[i], memory_order_relaxed)) {
			atomic_store_explicit(&s->slot[i], e, memory_order_release);
			return;
		}
	}
}

/* Room for one more with the table at most half full. */
static int reserve(struct wg_device *d)
{
	struct wg_index_slots *old = table(d), *s;
	size_t n = MIN_SLOTS;

	if ((d->indices.used + 1) * 2 <= old->mask + 1)
		return 0;
	while (n < (d->indices.live + 1) * 4)
		n *= 2;
	s = slots_new(n);
	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i <= old->mask; i++) {
		struct wg_index *e = atomic_load_explicit(&old->slot[i], memory_order_relaxed);

		if (e && e != tombstone)
			put(s, e);
	}
	atomic_store_explicit(&d->indices.slots, s, memory_order_release);
	d->indices.used = d->indices.live;
	wg_retire(d, &old->retired, slots_free);
	return 0;
}

int wg_index_add(struct wg_device *d, struct wg_index *e)
{
	int r = reserve(d);

	if (r < 0)
		return r;
	do
		wg_random(d, &e->index, sizeof(e->index));
	while (wg_index_find_any(d, e->index));
	put(table(d), e);
	d->indices.live++;
	d->indices.used++;
	return 0;
}

static void store(struct wg_device *d, struct wg_index *e, struct wg_index *instead)
{
	struct wg_index_slots *s = table(d);

	for (size_t i = e->index & s->mask;; i = (i + 1) & s->mask) {
		struct wg_index *at = atomic_load_explicit(&s->slot[i], memory_order_relaxed);

		if (at == e)
			atomic_store_explicit(&s->slot[i], instead, memory_order_release);
		if (at == e || !at)
			return;
	}
}

void wg_index_replace(struct wg_device *d, struct wg_index *from, struct wg_index *to)
{
	to->index = from->index;
	store(d, from, to);
}

void wg_index_remove(struct wg_device *d, struct wg_index *e)
{
	store(d, e, tombstone);
	d->indices.live--;
}
