/*
 * The data path: what lanes do. See the head of wg.h for what runs at the same time.
 *
 *     0        1                4                8                16
 *     ┌────────┬────────────────┬────────────────┬────────────────┬───────────────┬─────┐
 *     │ 4      │ reserved: 0    │ receiver index │ counter (LE)   │ cipher text … │ tag │
 *     └────────┴────────────────┴────────────────┴────────────────┴───────────────┴─────┘
 *
 * Received packets are worked off in runs under one session: check all, decrypt all, then commit
 * each to the replay window and look inside. Counters, timers and the endpoint are touched once
 * a run.
 */
#include "wg/wg_priv.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define BATCH 64

/* The lane's own AEAD context of a session. No other lane uses the same place. */
static void *context(struct wg_lane *l, struct wg_keypair *kp, bool seal)
{
	void **ctx = &kp->ctx[2 * l->id + seal];

	if (!*ctx)
		*ctx = l->d->aead->new (seal ? kp->send : kp->recv, seal);
	return *ctx;
}

/* ── sending ────────────────────────────────────────────────────────────────────────────── */

struct wg_peer *wg_route(const struct wg_lane *l, const void *packet, size_t len)
{
	const uint8_t *b = packet;

	if (len >= 20 && b[0] >> 4 == 4)
		return wg_route_v4(l->d, b + 16);
	if (len >= 40 && b[0] >> 4 == 6)
		return wg_route_v6(l->d, b + 24);
	return NULL;
}

/* Never beyond the limit, so that the counter cannot wrap whatever n and the number of lanes. */
static bool reserve(struct wg_keypair *kp, unsigned n, uint64_t *ret)
{
	uint64_t at = atomic_load_explicit(&kp->counter, memory_order_relaxed);

	do
		if (at > WG_REJECT_AFTER_MESSAGES - n)
			return false;
	while (!atomic_compare_exchange_weak_explicit(&kp->counter, &at, at + n,
						      memory_order_relaxed, memory_order_relaxed));
	*ret = at;
	return true;
}

int wg_tx_begin(struct wg_lane *l, struct wg_peer *p, unsigned n, struct mono now,
		struct wg_run *ret)
{
	struct wg_run run = {.to = wg_peer_endpoint(p), .peer = p, .n = n};

	if (run.to.remote.addr.family == AF_UNSPEC)
		return -EDESTADDRREQ;
	run.keypair = wg_keypair_sendable(p, now);
	if (run.keypair && reserve(run.keypair, n, &run.counter)) {
		*ret = run;
		return 0;
	}
	wg_peer_want(p, now);
	return -ENOKEY;
}

static void note_sent(struct wg_peer *p, bool data, struct mono now)
{
	int64_t t = wg_stamp(now);

	atomic_store_explicit(&p->traversed, t, memory_order_relaxed);
	if (atomic_load_explicit(&p->unreplied, memory_order_relaxed))
		atomic_store_explicit(&p->unreplied, 0, memory_order_relaxed);
	if (!data || atomic_load_explicit(&p->unanswered, memory_order_relaxed))
		return;
	atomic_store(&p->unanswered, t);
	if (!(atomic_load(&p->armed) >> WG_T_DEAD & 1))
		wg_peer_post(p, WG_E_TIMERS);
}

int wg_tx_seal(struct wg_lane *l, const struct wg_run *run, struct crypto_aead_job *jobs,
	       struct mono now)
{
	struct wg_keypair *kp = run->keypair;
	struct wg_msg_data h = {.type = {WG_KIND_DATA}, .receiver = kp->remote};
	void *ctx = context(l, kp, true);
	uint64_t bytes = 0;
	bool data = false;

	if (!ctx)
		return -ENOMEM;
	for (uint32_t i = 0; i < run->n; i++) {
		jobs[i].counter = run->counter + i;
		h.counter = htole64(jobs[i].counter);
		memcpy(jobs[i].buf - WG_HEADER, &h, sizeof(h));
		bytes += jobs[i].len + WG_OVERHEAD;
		data |= jobs[i].len > 0;
	}
	if (l->d->aead->seal(ctx, jobs, run->n) < 0)
		return -EIO;
	atomic_fetch_add_explicit(&run->peer->tx_bytes, bytes, memory_order_relaxed);
	note_sent(run->peer, data, now);
	if (wg_keypair_is_old(kp, now))
		wg_peer_want(run->peer, now);
	return 0;
}

/* ── receiving ──────────────────────────────────────────────────────────────────────────── */

/* Everything before decryption. */
static enum wg_verdict admit(const struct wg_rx *rx, const struct wg_keypair *kp, uint64_t counter,
			     struct mono now)
{
	if (mono_since(now, kp->birth) >= WG_REJECT_AFTER || counter >= WG_REJECT_AFTER_MESSAGES)
		return WG_RX_EXPIRED;
	if (!wg_replay_check(&kp->replay, counter))
		return WG_RX_REPLAYED;
	return WG_RX_DATA;
}

/* Everything inside: length, ECN, and that the source belongs to the sender. */
static enum wg_verdict look_inside(struct wg_device *d, struct wg_rx *rx, struct wg_peer *p)
{
	struct wg_peer *owner;
	uint32_t len = wg_inner_len(rx->plain, rx->plain_len);

	if (len == 0)
		return WG_RX_MALFORMED;
	owner = rx->plain[0] >> 4 == 4 ? wg_route_v4(d, rx->plain + 12)
				       : wg_route_v6(d, rx->plain + 8);
	if (owner != p)
		return WG_RX_SPOOFED;
	if (!wg_ecn_combine(rx->plain, rx->ecn))
		return WG_RX_ECN;
	rx->plain_len = len;
	return WG_RX_DATA;
}

static void note_received(struct wg_peer *p, bool data, struct mono now)
{
	int64_t t = wg_stamp(now);

	atomic_store_explicit(&p->traversed, t, memory_order_relaxed);
	if (atomic_load_explicit(&p->unanswered, memory_order_relaxed))
		atomic_store_explicit(&p->unanswered, 0, memory_order_relaxed);
	if (!data || atomic_load_explicit(&p->unreplied, memory_order_relaxed))
		return;
	atomic_store(&p->unreplied, t);
	if (!(atomic_load(&p->armed) >> WG_T_KEEPALIVE & 1))
		wg_peer_post(p, WG_E_TIMERS);
}

/* A run of authentic and new packets under one session. */
struct run {
	struct wg_keypair *kp;
	const struct wg_endpoint *src; /* of the last of them; NULL: there was none */
	uint64_t bytes;
	bool data;
};

static void finish_run(const struct run *r, struct mono now)
{
	struct wg_keypair *kp = r->kp;
	struct wg_peer *p = kp->peer;
	struct wg_endpoint at;

	if (!r->src)
		return;
	at = wg_peer_endpoint(p);
	if (!wg_endpoint_eq(&at, r->src) && wg_peer_learn(p, r->src))
		wg_peer_post(p, WG_E_SOURCE);
	if (!atomic_load_explicit(&kp->confirmed, memory_order_relaxed) &&
	    !atomic_exchange(&kp->confirmed, true))
		wg_peer_post(p, WG_E_CONFIRMED);
	atomic_fetch_add_explicit(&p->rx_bytes, r->bytes, memory_order_relaxed);
	note_received(p, r->data, now);
	/* The last chance to renew before data is refused, if nothing is sent meanwhile. */
	if (kp->initiator &&
	    mono_since(now, kp->birth) >=
		    WG_REJECT_AFTER - WG_KEEPALIVE_TIMEOUT - WG_REKEY_TIMEOUT &&
	    kp == atomic_load_explicit(&p->current, memory_order_relaxed) &&
	    !atomic_exchange(&kp->lastminute, true))
		wg_peer_want(p, now);
}

static void open_run(struct wg_lane *l, struct wg_keypair *kp, struct wg_rx *const *rx,
		     struct crypto_aead_job *jobs, size_t n, struct mono now)
{
	struct run run = {.kp = kp};
	void *ctx = context(l, kp, false);

	if (ctx)
		l->d->aead->open(ctx, jobs, n);
	for (size_t i = 0; i < n; i++) {
		struct wg_rx *x = rx[i];

		if (!ctx || !jobs[i].ok) {
			x->verdict = ctx ? WG_RX_UNAUTHENTIC : WG_RX_NOMEM;
			continue;
		}
		if (!wg_replay_commit(&kp->replay, jobs[i].counter)) {
			x->verdict = WG_RX_REPLAYED;
			continue;
		}
		x->plain = jobs[i].buf;
		x->plain_len = jobs[i].len;
		x->peer = kp->peer;
		run.src = x->src;
		run.bytes += x->len;
		run.data |= x->plain_len > 0;
		x->verdict = x->plain_len ? look_inside(l->d, x, kp->peer) : WG_RX_KEEPALIVE;
	}
	finish_run(&run, now);
}

static void count(struct wg_lane *l, const struct wg_rx *rx, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_Atomic uint64_t *c = &l->received[rx[i].verdict];

		atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	}
}

void wg_receive_data(struct wg_lane *l, struct wg_rx *rx, size_t n, struct mono now)
{
	struct crypto_aead_job jobs[BATCH];
	struct wg_rx *of[BATCH];
	struct wg_keypair *kp = NULL;
	uint32_t receiver = 0;
	size_t in_run = 0;

	for (size_t i = 0; i < n; i++) {
		struct wg_rx *x = &rx[i];
		struct wg_msg_data h;

		x->plain = NULL;
		x->plain_len = 0;
		x->peer = NULL;
		x->verdict = WG_RX_BAD;
		if (wg_kind(x->data, x->len) != WG_KIND_DATA)
			continue;
		memcpy(&h, x->data, sizeof(h));
		if (in_run == BATCH || (in_run > 0 && h.receiver != receiver)) {
			open_run(l, kp, of, jobs, in_run, now);
			in_run = 0;
		}
		if (!kp || h.receiver != receiver) {
			kp = wg_index_find_session(l->d, h.receiver);
			receiver = h.receiver;
		}
		x->verdict = kp ? admit(x, kp, le64toh(h.counter), now) : WG_RX_UNKNOWN;
		if (x->verdict != WG_RX_DATA)
			continue;
		of[in_run] = x;
		jobs[in_run++] = (struct crypto_aead_job){
			.buf = x->data + WG_HEADER,
			.len = x->len - WG_OVERHEAD,
			.counter = le64toh(h.counter),
		};
	}
	if (in_run > 0)
		open_run(l, kp, of, jobs, in_run, now);
	count(l, rx, n);
}
