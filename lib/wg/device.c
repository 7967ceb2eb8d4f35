/*
 * The device: making, ending, the tick, statistics. docs/wireguard-device.md draws how the parts
 * work together.
 */
#include "wg/wg_priv.h"

#include <string.h>

struct wg_device *wg_new(const struct wg_ops *ops, void *user, const struct crypto_aead_ops *aead,
			 unsigned lanes)
{
	struct wg_device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->ops = ops;
	d->user = user;
	d->aead = aead;
	d->lanes_max = lanes < WG_LANES_MAX ? lanes : WG_LANES_MAX;
	d->retired_tail = &d->retired;
	list_init(&d->peers);
	atomic_init(&d->epoch, 1);
	d->private_key = secret_new();
	wg_random(d, d->table_key, sizeof(d->table_key));
	if (!d->private_key || wg_cookie_init(d) < 0 || wg_index_init(d) < 0) {
		wg_free(d);
		return NULL;
	}
	wg_noise_set_key(d);
	wg_cookie_set_key(d);
	return d;
}

/* A peer with events, or NULL. They come off the stack together. */
static struct wg_peer *take_event(struct wg_device *d)
{
	struct wg_peer *p = d->taken ? d->taken : atomic_exchange(&d->events, NULL);

	d->taken = p ? p->event_next : NULL;
	return p;
}

void wg_free(struct wg_device *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->n_lanes; i++)
		wg_leave(d->lanes[i]);
	list_for_each_safe (p, &d->peers, struct wg_peer, all)
		wg_peer_remove(p);
	/* Nobody will take from the stacks any more. */
	for (struct wg_peer *p; (p = take_event(d));)
		atomic_store(&p->events, 0);
	for (unsigned i = 0; i <= d->n_lanes; i++) {
		struct wg_peer *p =
			i < d->n_lanes ? d->lanes[i]->ready : atomic_exchange(&d->ready, NULL);

		while (p) {
			struct wg_peer *next = p->ready_next;

			atomic_store(&p->on_ready, false);
			p = next;
		}
	}
	while (wg_reclaim(d))
		;
	for (unsigned i = 0; i < d->n_lanes; i++)
		free(d->lanes[i]);
	wg_index_clear(d);
	wg_cookie_clear(d);
	secret_free(d->private_key);
	free(d->buckets);
	free(d->heap);
	mem_wipe(d, sizeof(*d));
	free(d);
}

/* Some event of a peer: a lane that posts again from here on puts it on the stack anew. */
static void handle(struct wg_peer *p, struct wg_time now)
{
	uint32_t events = atomic_exchange(&p->events, 0);

	if (p->dead)
		return;
	struct wg_keypair *kp = wg_keypair_sendable(p, now.mono);

	if (events & WG_E_CONFIRMED && kp) {
		wg_keypair_rotate(p); /* unless a newer session has done so */
		wg_handshake_complete(p, now);
		wg_peer_ready(p, false);
	}
	if (events & WG_E_SOURCE)
		wg_peer_check_source(p);
	if (events & WG_E_TIMERS)
		wg_timers_begin(p, now.mono);
	if (!(events & WG_E_HANDSHAKE))
		return;
	if (kp)
		wg_peer_ready(p, false);
	if (kp && !wg_keypair_is_old(kp, now.mono) && !atomic_load(&kp->lastminute))
		atomic_store(&p->wanted, false);
	else
		wg_handshake_begin(p, now);
}

struct mono wg_tick(struct wg_device *d, struct wg_time now)
{
	uint64_t most = d->initiations + WG_TICK_INITIATIONS;
	struct wg_peer *p;
	int64_t next = WG_OFF;

	while (d->initiations < most && (p = take_event(d)))
		handle(p, now);
	wg_timers_run(d, now, most);
	if (d->n_heap > 0)
		next = d->heap[0]->earliest;
	if (d->initiations >= most) /* there may be more of either */
		next = now.mono.ns;
	/* A lane that is inside leaves within its batch. */
	if (wg_reclaim(d) && next - now.mono.ns > 50 * NS_PER_MSEC)
		next = now.mono.ns + 50 * NS_PER_MSEC;
	return (struct mono){next};
}

void wg_get_stats(const struct wg_device *d, struct mono now, struct wg_stats *ret)
{
	*ret = d->stats;
	ret->peers = d->n_peers;
	ret->staged_dropped = atomic_load_explicit(&d->staged_dropped, memory_order_relaxed);
	ret->moved = atomic_load_explicit(&d->moved, memory_order_relaxed);
	ret->under_load = wg_cookie_under_load(d, now);
	for (unsigned i = 0; i < d->n_lanes; i++) {
		const struct wg_lane *l = d->lanes[i];

		for (unsigned v = 0; v < WG_RX_VERDICTS; v++)
			ret->received[v] +=
				atomic_load_explicit(&l->received[v], memory_order_relaxed);
		for (unsigned o = 0; o < WG_HS_OUTCOMES; o++)
			ret->handshakes[o] +=
				atomic_load_explicit(&l->handshakes[o], memory_order_relaxed);
		ret->cookies_sent += atomic_load_explicit(&l->handshakes[WG_HS_COOKIE_SENT],
							  memory_order_relaxed);
	}
}

const char *wg_outcome_name(enum wg_outcome o)
{
	static const char *const names[WG_HS_OUTCOMES] = {
		"initiation", "response",    "cookie",  "bad",     "down",
		"mac1",       "cookie_sent", "limited", "unknown", "unauthentic",
		"replayed",   "flood",       "nomem",
	};

	return (unsigned)o < WG_HS_OUTCOMES ? names[o] : "?";
}

const char *wg_verdict_name(enum wg_verdict v)
{
	static const char *const names[WG_RX_VERDICTS] = {
		"data",        "keepalive", "bad",     "unknown", "expired", "replayed",
		"unauthentic", "malformed", "spoofed", "ecn",     "nomem",
	};

	return (unsigned)v < WG_RX_VERDICTS ? names[v] : "?";
}
