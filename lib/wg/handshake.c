/*
 * Handshake messages in and out, and what they do to a peer. The order of checks on what comes
 * in: size and type, then those of admit.c, and only then a Diffie-Hellman.
 *
 * An initiation goes out when a packet wants a session, a session is getting old, or a peer does
 * not answer; it is sent again from the retry timer until a response comes or 90 s have passed.
 * Initiations to one peer are at least five seconds apart. A response that we send counts for
 * nothing there.
 *
 *     idle      no deadline                         begin ──> trying    in turn ──> planned, trying
 *     planned   the retry timer is for the first    due, or begin ──> trying
 *     trying    the retry timer is for the next     complete, give up, or another key ──> idle
 *
 * What begins for many peers in one call (a restart, another key, the device coming up, keepalives
 * set) begins in turn, WG_TURN_GAP apart: a thousand Diffie-Hellmans in a row would hold up all
 * else of control. The first turn is at once.
 */
#include "wg/wg_priv.h"

#include <errno.h>
#include <string.h>

/* ── out ────────────────────────────────────────────────────────────────────────────────── */

/* Handshake messages count as traffic in either direction. */
static void sent(struct wg_peer *p, size_t len, struct mono now)
{
	atomic_fetch_add_explicit(&p->tx_bytes, len, memory_order_relaxed);
	atomic_store(&p->unreplied, 0);
	wg_timers_traversed(p, now);
}

static void received(struct wg_peer *p, size_t len, struct mono now)
{
	atomic_fetch_add_explicit(&p->rx_bytes, len, memory_order_relaxed);
	atomic_store(&p->unanswered, 0);
	wg_timers_traversed(p, now);
}

static void hear(struct wg_peer *p, const struct wg_endpoint *from)
{
	if (wg_peer_learn(p, from))
		wg_peer_check_source(p);
}

/* All that changes the state of the attempt, and its timer with it. */
static void set_attempt(struct wg_peer *p, enum wg_attempt a, int64_t at)
{
	p->attempt = a;
	wg_timer_set(p, WG_T_RETRY, at);
}

static bool may_speak(const struct wg_peer *p)
{
	struct wg_endpoint e = wg_peer_endpoint(p);

	return atomic_load(&p->d->up) && atomic_load(&p->d->has_key) &&
	       e.remote.addr.family != AF_UNSPEC;
}

void wg_handshake_send(struct wg_peer *p, struct wg_time now)
{
	struct wg_device *d = p->d;
	struct wg_endpoint to = wg_peer_endpoint(p);
	struct wg_msg_initiation m;
	int64_t gap = mono_since(now.mono, p->last_initiation_sent);

	if (!may_speak(p)) {
		wg_handshake_give_up(p, now);
		return;
	}
	if (p->sent_any && gap < WG_REKEY_TIMEOUT) {
		set_attempt(p, WG_TRYING,
			    p->last_initiation_sent.ns + WG_REKEY_TIMEOUT + wg_jitter(d));
		return;
	}
	p->last_initiation_sent = now.mono;
	p->sent_any = true;
	set_attempt(p, WG_TRYING, now.mono.ns + WG_REKEY_TIMEOUT + wg_jitter(d));
	d->initiations++;
	if (wg_noise_initiate(p, now.wall, &m) < 0)
		return;
	wg_cookie_sign(p, &m, sizeof(m), now.mono);
	if (d->ops->send(d->user, &to, &m, sizeof(m))) {
		d->stats.initiations_sent++;
		sent(p, sizeof(m), now.mono);
	}
}

void wg_handshake_begin(struct wg_peer *p, struct wg_time now)
{
	if (p->attempt == WG_TRYING)
		return;
	p->attempt_started = now.mono;
	wg_handshake_send(p, now);
}

void wg_handshake_in_turn(struct wg_peer *p, struct wg_time now)
{
	struct wg_device *d = p->d;
	struct mono turn = d->next_turn;

	if (p->attempt != WG_IDLE || !may_speak(p))
		return;
	if (mono_before(turn, now.mono))
		turn = now.mono;
	d->next_turn = mono_add(turn, WG_TURN_GAP);
	if (!mono_before(now.mono, turn)) {
		wg_handshake_begin(p, now);
		return;
	}
	p->attempt_started = turn;
	set_attempt(p, WG_PLANNED, turn.ns);
}

void wg_handshake_stop(struct wg_peer *p)
{
	set_attempt(p, WG_IDLE, WG_OFF);
	wg_handshake_clear(p);
	atomic_store(&p->wanted, false);
}

/* Until the next packet that wants a session. */
void wg_handshake_give_up(struct wg_peer *p, struct wg_time now)
{
	if (p->handshake.waiting)
		p->d->stats.handshakes_given_up++;
	wg_handshake_stop(p);
	wg_peer_drop_staged(p);
	atomic_store(&p->unreplied, 0);
	if (p->due[WG_T_ZERO] == WG_OFF)
		wg_timer_set(p, WG_T_ZERO, now.mono.ns + WG_ZERO_KEYS_AFTER);
}

void wg_handshake_keepalive(struct wg_peer *p, struct wg_time now)
{
	if (wg_keypair_sendable(p, now.mono))
		wg_peer_ready(p, true);
	else if (may_speak(p))
		wg_handshake_begin(p, now);
}

/* The other side is known to have the session. */
void wg_handshake_complete(struct wg_peer *p, struct wg_time now)
{
	set_attempt(p, WG_IDLE, WG_OFF);
	p->last_handshake = now.wall;
	atomic_store(&p->wanted, false);
}

static void derived(struct wg_peer *p, struct wg_keypair *kp, struct wg_time now)
{
	p->d->stats.sessions++;
	p->session = now.wall;
	wg_keypair_install(p, kp);
	wg_timer_set(p, WG_T_ZERO, now.mono.ns + WG_ZERO_KEYS_AFTER);
}

/* ── in ─────────────────────────────────────────────────────────────────────────────────── */

enum wg_kind wg_kind(const void *datagram, size_t len)
{
	const uint8_t *b = datagram;

	if (len < WG_OVERHEAD || b[1] | b[2] | b[3])
		return WG_KIND_BAD;
	switch (b[0]) {
	case WG_KIND_INITIATION:
		return len == sizeof(struct wg_msg_initiation) ? WG_KIND_INITIATION : WG_KIND_BAD;
	case WG_KIND_RESPONSE:
		return len == sizeof(struct wg_msg_response) ? WG_KIND_RESPONSE : WG_KIND_BAD;
	case WG_KIND_COOKIE:
		return len == sizeof(struct wg_msg_cookie) ? WG_KIND_COOKIE : WG_KIND_BAD;
	case WG_KIND_DATA: return WG_KIND_DATA;
	}
	return WG_KIND_BAD;
}

/* A stamp that is not greater is a replay. The time since the last initiation is held against
 * this one only where it has not proved its source (under load it has, and was counted). */
static enum wg_outcome judge(struct wg_peer *p, const struct wg_received *st, bool proved,
			     struct mono now)
{
	if (memcmp(st->stamp, p->received_stamp, sizeof(st->stamp)) <= 0)
		return WG_HS_REPLAYED;
	if (!proved && p->received_any &&
	    mono_since(now, p->last_initiation_received) < WG_INITIATION_GAP)
		return WG_HS_FLOOD;
	memcpy(p->received_stamp, st->stamp, sizeof(st->stamp));
	p->last_initiation_received = now;
	p->received_any = true;
	return WG_HS_INITIATION;
}

static enum wg_outcome respond(struct wg_peer *p, struct wg_received *st,
			       const struct wg_endpoint *from, struct wg_time now)
{
	struct wg_device *d = p->d;
	struct wg_keypair *kp = wg_keypair_new(p, now.mono);
	struct wg_endpoint to;
	struct wg_msg_response m;
	int r = kp ? wg_noise_respond(p, st, kp, &m) : -ENOMEM;

	if (r < 0) {
		wg_keypair_discard(kp);
		return r == -ENOMEM ? WG_HS_NOMEM : WG_HS_UNAUTHENTIC;
	}
	hear(p, from);
	received(p, sizeof(struct wg_msg_initiation), now.mono);
	wg_cookie_sign(p, &m, sizeof(m), now.mono);
	derived(p, kp, now);
	to = wg_peer_endpoint(p);
	if (d->ops->send(d->user, &to, &m, sizeof(m))) {
		d->stats.responses_sent++;
		sent(p, sizeof(m), now.mono);
	}
	return WG_HS_INITIATION;
}

static enum wg_outcome take_initiation(struct wg_device *d, const struct wg_msg_initiation *m,
				       const struct wg_endpoint *from, bool proved,
				       struct wg_time now)
{
	struct wg_received st;
	enum wg_outcome o;
	struct wg_peer *p = wg_noise_read_initiation(d, m, &st, &o);

	if (p)
		o = judge(p, &st, proved, now.mono);
	if (o == WG_HS_INITIATION)
		o = respond(p, &st, from, now);
	mem_wipe(&st, sizeof(st));
	return o;
}

static enum wg_outcome take_response(struct wg_device *d, const struct wg_msg_response *m,
				     const struct wg_endpoint *from, struct wg_time now)
{
	struct wg_index *e = wg_index_find_any(d, m->receiver);
	struct wg_keypair *kp;
	struct wg_peer *p;
	int r;

	if (!e || e->keypair)
		return WG_HS_UNKNOWN;
	p = list_entry(e, struct wg_peer, handshake.index);
	kp = wg_keypair_new(p, now.mono);
	r = kp ? wg_noise_read_response(p, m, kp) : -ENOMEM;
	if (r < 0) {
		wg_keypair_discard(kp);
		return r == -ENOMEM ? WG_HS_NOMEM : WG_HS_UNAUTHENTIC;
	}
	wg_index_replace(d, &p->handshake.index, &kp->index);
	p->handshake.waiting = false; /* the index is the session's now */
	wg_handshake_clear(p);
	hear(p, from);
	received(p, sizeof(*m), now.mono);
	derived(p, kp, now);
	wg_handshake_complete(p, now);
	wg_peer_ready(p, true); /* staged packets, or the keepalive that confirms the session */
	return WG_HS_RESPONSE;
}

/* A cookie answers an initiation or a response of ours, which its index tells. It neither roams
 * nor makes us send at once: the next message carries it. */
static enum wg_outcome take_cookie(struct wg_device *d, const struct wg_msg_cookie *m,
				   struct wg_time now)
{
	struct wg_index *e = wg_index_find_any(d, m->receiver);
	struct wg_peer *p;

	if (!e)
		return WG_HS_UNKNOWN;
	p = e->keypair ? list_entry(e, struct wg_keypair, index)->peer
		       : list_entry(e, struct wg_peer, handshake.index);
	return wg_cookie_take(p, m, now.mono) ? WG_HS_COOKIE : WG_HS_UNAUTHENTIC;
}

/* One that may come in. */
static enum wg_outcome take(struct wg_device *d, const void *datagram, size_t len,
			    const struct wg_endpoint *from, bool proved, struct wg_time now)
{
	union {
		struct wg_msg_initiation initiation;
		struct wg_msg_response response;
		struct wg_msg_cookie cookie;
	} m;

	memcpy(&m, datagram, len);
	switch (wg_kind(datagram, len)) {
	case WG_KIND_INITIATION: return take_initiation(d, &m.initiation, from, proved, now);
	case WG_KIND_RESPONSE: return take_response(d, &m.response, from, now);
	default: return take_cookie(d, &m.cookie, now);
	}
}

static void reply(struct wg_device *d, const void *datagram, size_t len,
		  const struct wg_endpoint *from, const uint8_t cookie[static 16])
{
	struct wg_msg_cookie m;

	wg_random(d, m.nonce, sizeof(m.nonce));
	wg_cookie_reply(d, datagram, len, cookie, &m);
	if (d->ops->send(d->user, from, &m, sizeof(m)))
		d->stats.cookies_sent++;
}

static enum wg_outcome dispatch(struct wg_device *d, const void *datagram, size_t len,
				const struct wg_endpoint *from, bool loaded, bool proved,
				struct wg_time now)
{
	enum wg_kind kind = wg_kind(datagram, len);
	uint8_t cookie[16];
	enum wg_outcome o;

	if (kind == WG_KIND_BAD || kind == WG_KIND_DATA || ip_bytes(from->remote.addr.family) == 0)
		return WG_HS_BAD;
	if (!atomic_load(&d->up) || !atomic_load(&d->has_key))
		return WG_HS_DOWN;
	if (kind == WG_KIND_COOKIE || proved)
		return take(d, datagram, len, from, proved, now);
	o = wg_admit_check(d, datagram, len, from, loaded, now.mono, cookie);
	if (o == WG_HS_COOKIE_SENT)
		reply(d, datagram, len, from, cookie);
	return o == WG_HS_INITIATION ? take(d, datagram, len, from, loaded, now) : o;
}

enum wg_outcome wg_receive_handshake(struct wg_device *d, const void *datagram, size_t len,
				     const struct wg_endpoint *from, bool under_load,
				     struct wg_time now)
{
	bool loaded = wg_cookie_loaded(d, under_load, now.mono);
	enum wg_outcome o = dispatch(d, datagram, len, from, loaded, false, now);

	d->stats.handshakes[o]++;
	return o;
}

enum wg_outcome wg_receive_proved(struct wg_device *d, const void *datagram, size_t len,
				  const struct wg_endpoint *from, struct wg_time now)
{
	enum wg_outcome o = dispatch(d, datagram, len, from, true, true, now);

	d->stats.handshakes[o]++;
	return o;
}
