/*
 * Timers (the WireGuard paper, section 6; the kernel's timers.c is the reference in practice).
 *
 *   retry       5 s and jitter after an initiation: again, given up 90 s after data last asked
 *   keepalive   10 s after the first data received with nothing sent since: one empty packet
 *   dead        15 s and jitter after the first data sent with nothing received since: handshake
 *   zero        540 s after the last new session: erase
 *   persist     the interval after the last authenticated packet: one empty packet
 *
 * Each peer has one place in a heap, by its earliest deadline. Keepalive and dead are begun by
 * packets, which lanes handle: a lane writes the time into `unreplied` or `unanswered` if that is
 * 0, and posts only if the timer is not armed. Then control arms both, also where an answer has
 * cleared the time already: else each request with its response would wake control anew. When the
 * timer is due, the time may have been cleared (then it is disarmed), or be of a later packet (then
 * it is put off). `armed` and the times are accessed in one total order, so that a lane that sees
 * the timer armed is seen here. Persist is put off in the same way and is never disarmed.
 */
#include "wg/wg_priv.h"

#include <errno.h>

/* ── heap ───────────────────────────────────────────────────────────────────────────────── */

int wg_timers_reserve(struct wg_device *d, size_t peers)
{
	while (d->cap_heap < peers) {
		int r = mem_grow(&d->heap, d->cap_heap, &d->cap_heap, sizeof(struct wg_peer *));

		if (r < 0)
			return r;
	}
	return 0;
}

static void place(struct wg_device *d, size_t at, struct wg_peer *p)
{
	d->heap[at] = p;
	p->heap_at = at;
}

static void sift(struct wg_device *d, size_t at)
{
	struct wg_peer *p = d->heap[at];

	while (at > 0 && d->heap[(at - 1) / 2]->earliest > p->earliest) {
		place(d, at, d->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = at * 2 + 1;

		if (child + 1 < d->n_heap &&
		    d->heap[child + 1]->earliest < d->heap[child]->earliest)
			child++;
		if (child >= d->n_heap || d->heap[child]->earliest >= p->earliest)
			break;
		place(d, at, d->heap[child]);
		at = child;
	}
	place(d, at, p);
}

static void heap_remove(struct wg_peer *p)
{
	struct wg_device *d = p->d;
	size_t at = p->heap_at;

	p->heap_at = SIZE_MAX;
	if (at == --d->n_heap)
		return;
	place(d, at, d->heap[d->n_heap]);
	sift(d, at);
}

static void reorder(struct wg_peer *p)
{
	struct wg_device *d = p->d;

	p->earliest = WG_OFF;
	for (unsigned i = 0; i < WG_TIMERS; i++)
		if (p->due[i] < p->earliest)
			p->earliest = p->due[i];
	if (p->heap_at == SIZE_MAX) {
		if (p->earliest == WG_OFF)
			return;
		place(d, d->n_heap++, p);
	} else if (p->earliest == WG_OFF) {
		heap_remove(p);
		return;
	}
	sift(d, p->heap_at);
}

void wg_timer_set(struct wg_peer *p, enum wg_timer t, int64_t at)
{
	if (p->due[t] == at)
		return;
	p->due[t] = at;
	reorder(p);
}

void wg_timers_off(struct wg_peer *p)
{
	for (unsigned i = 0; i < WG_TIMERS; i++)
		p->due[i] = WG_OFF;
	reorder(p);
}

int64_t wg_jitter(struct wg_device *d)
{
	uint32_t r;

	wg_random(d, &r, sizeof(r));
	return (int64_t)((uint64_t)r * (uint64_t)(WG_JITTER + 1) >> 32);
}

/* ── the two that packets begin ─────────────────────────────────────────────────────────── */

static int64_t begun(struct wg_peer *p, enum wg_timer t)
{
	return atomic_load(t == WG_T_DEAD ? &p->unanswered : &p->unreplied);
}

static int64_t length(const struct wg_peer *p, enum wg_timer t)
{
	return WG_KEEPALIVE_TIMEOUT + (t == WG_T_DEAD ? WG_REKEY_TIMEOUT + p->jitter : 0);
}

/* False where it was armed. */
static bool set_armed(struct wg_peer *p, enum wg_timer t)
{
	if (atomic_fetch_or(&p->armed, UINT32_C(1) << t) >> t & 1)
		return false;
	if (t == WG_T_DEAD)
		p->jitter = wg_jitter(p->d);
	return true;
}

/* Of the first packet that there is now; WG_OFF where there is none. */
static int64_t deadline(struct wg_peer *p, enum wg_timer t)
{
	int64_t first = begun(p, t);

	if (!first) {
		atomic_fetch_and(&p->armed, ~(UINT32_C(1) << t));
		first = begun(p, t); /* a lane may have seen it armed just before */
	}
	if (!first)
		return WG_OFF;
	set_armed(p, t);
	return first + length(p, t);
}

/* Arms, puts off or disarms. A lane may clear the time at any moment: what is armed here stands in
 * the heap, by the time that was read, and is looked at again then. */
static void rearm(struct wg_peer *p, enum wg_timer t)
{
	wg_timer_set(p, t, deadline(p, t));
}

/* Of one that has come up in the heap: whether it still is. */
static bool is_due(struct wg_peer *p, enum wg_timer t, int64_t now)
{
	rearm(p, t);
	return p->due[t] <= now;
}

void wg_timers_begin(struct wg_peer *p, struct mono now)
{
	static const enum wg_timer both[] = {WG_T_DEAD, WG_T_KEEPALIVE};

	for (unsigned i = 0; i < 2; i++) {
		if (!set_armed(p, both[i]))
			continue;
		int64_t first = begun(p, both[i]);
		wg_timer_set(p, both[i], (first ? first : now.ns) + length(p, both[i]));
	}
}

/* After one has fired: packets may have come meanwhile. */
static void rearm_both(struct wg_peer *p)
{
	rearm(p, WG_T_DEAD);
	rearm(p, WG_T_KEEPALIVE);
}

void wg_timers_traversed(struct wg_peer *p, struct mono now)
{
	atomic_store_explicit(&p->traversed, wg_stamp(now), memory_order_relaxed);
}

/* ── what is done ───────────────────────────────────────────────────────────────────────── */

static void fire_retry(struct wg_peer *p, struct wg_time now)
{
	int64_t wanted = atomic_load_explicit(&p->wanted_at, memory_order_relaxed);
	int64_t since = wanted > p->attempt_started.ns ? wanted : p->attempt_started.ns;

	if (now.mono.ns - since >= WG_REKEY_ATTEMPT) {
		wg_handshake_give_up(p, now);
		return;
	}
	if (p->attempt == WG_TRYING)
		wg_peer_clear_source(p); /* it may be why there was no answer */
	wg_handshake_send(p, now);
}

static void fire_dead(struct wg_peer *p, struct wg_time now)
{
	if (!is_due(p, WG_T_DEAD, now.mono.ns))
		return;
	wg_timer_set(p, WG_T_DEAD, WG_OFF);
	atomic_store(&p->unanswered, 0);
	atomic_fetch_and(&p->armed, ~(UINT32_C(1) << WG_T_DEAD));
	wg_peer_clear_source(p);
	wg_handshake_begin(p, now);
	rearm_both(p);
}

static void fire_keepalive(struct wg_peer *p, struct wg_time now)
{
	if (!is_due(p, WG_T_KEEPALIVE, now.mono.ns))
		return;
	wg_timer_set(p, WG_T_KEEPALIVE, WG_OFF);
	atomic_store(&p->unreplied, 0);
	atomic_fetch_and(&p->armed, ~(UINT32_C(1) << WG_T_KEEPALIVE));
	wg_handshake_keepalive(p, now);
	rearm_both(p);
}

static void fire_persist(struct wg_peer *p, struct wg_time now)
{
	int64_t interval = p->persistent * NS_PER_SEC;
	int64_t at = atomic_load_explicit(&p->traversed, memory_order_relaxed) + interval;

	if (at <= now.mono.ns) {
		wg_handshake_keepalive(p, now);
		at = now.mono.ns + interval;
	}
	wg_timer_set(p, WG_T_PERSIST, at);
}

static void fire_zero(struct wg_peer *p)
{
	wg_timer_set(p, WG_T_ZERO, WG_OFF);
	wg_handshake_clear(p);
	wg_keypair_clear(p);
}

static void fire(struct wg_peer *p, enum wg_timer t, struct wg_time now)
{
	switch (t) {
	case WG_T_RETRY: fire_retry(p, now); break;
	case WG_T_DEAD: fire_dead(p, now); break;
	case WG_T_KEEPALIVE: fire_keepalive(p, now); break;
	case WG_T_PERSIST: fire_persist(p, now); break;
	default: fire_zero(p); break;
	}
}

void wg_timers_run(struct wg_device *d, struct wg_time now, uint64_t initiations)
{
	while (d->n_heap > 0 && d->heap[0]->earliest <= now.mono.ns &&
	       d->initiations < initiations) {
		struct wg_peer *p = d->heap[0];

		for (unsigned t = 0; t < WG_TIMERS; t++)
			if (p->due[t] <= now.mono.ns)
				fire(p, t, now);
	}
}
