/*
 * Judging a peer from two dumps.
 *
 * What WireGuard's own timers promise (whitepaper section 6) is what silence is measured by:
 *
 *  - A data packet is answered within KEEPALIVE_TIMEOUT (10 s): by data, or by an empty packet.
 *    Where nothing came for that and REKEY_TIMEOUT (5 s) more, the sender starts a handshake, and
 *    repeats it every 5 s; a living peer answers the first that arrives.
 *  - An empty packet (keepalive, 32 bytes) asks for nothing: a tunnel with keepalives on one side
 *    only is silent in the other direction, and well, until the keys are renewed.
 *  - The initiator renews the keys with the first packet it sends after REKEY_AFTER_TIME (120 s),
 *    keepalives included. Keys die after REJECT_AFTER_TIME (180 s).
 *
 * So the sender's growth of tx_bytes beyond what keepalives explain is a *question* (data or an
 * initiation), and growth of rx_bytes (authenticated packets only) or a new handshake is an
 * *answer*. A question open for STALL_AFTER = 25 s has outlived the passive keepalive, the first
 * initiation (15 s) and its repetition (20 s): two lost packets in a row are survived, a dead peer
 * is not. This tells a dead gateway
 *
 *     under traffic, or when traffic starts     25 s after it died
 *     idle, keepalive 25 s, we had initiated    at a handshake age of 145 to 170 s
 *     idle, no keepalive                        when the handshake is as old as the threshold
 *     idle, with a probe every N s              25 s and at most N after it died
 *
 * and never a living one, unless three packets in a row are lost. A user's threshold below 25 s
 * shortens the patience to itself.
 *
 * Stale is the handshake's age against the threshold. A threshold below the keys' life (180 s)
 * cannot mean that: a healthy pair shakes hands every two minutes at most, and is silent for as
 * long when idle. It shortens the patience with unanswered questions, no more. And there is one
 * allowance. Where the peer was the initiator and both ends are idle but for our keepalive, the
 * keys die at 180 s and our next keepalive renews them: up to one keepalive interval later, with
 * nothing wrong. A peer with keepalive whose threshold is not below the keys' life therefore stays
 * up past it until the renewal was due (threshold + keepalive) and RENEWAL_TIME for its answer (two
 * initiations).
 *
 * A probe (health_probe) is a packet with data into the tunnel, so a question, for which the
 * passive keepalive is an answer even where nothing behind the peer replies to it. A patience
 * below the keepalive's 10 s needs something that replies by itself.
 *
 * An endpoint that changes (the next address of a name, a configuration) makes the judgement
 * wait GRACE = 15 s and the open question start anew, once per answer: an agent that tries
 * address after address at a dead peer does not keep it up by that. A peer that is down stays
 * down until it answers.
 *
 * Clocks: the device gives a handshake's time on the wall clock, which steps. That clock is used
 * only to see *that* there was a new handshake, and how long ago it was when first seen, bounded
 * by the time since the last tick; from there on its age runs on the monotonic clock. A time in
 * the future counts as now. Some devices (boringtun) tell an age, from which a time is computed
 * that is a little different in each dump and steps with the clock: a time that makes the handshake
 * as old as it is known to be, within SAME_HANDSHAKE, is not a new one. Counters that shrink, or a
 * handshake time that is gone, mean that the device was made anew: counting starts at zero.
 */
#include "health/health_priv.h"

#include <string.h>

#define SEC(n)            ((n)*NS_PER_SEC)
#define KEEPALIVE_BYTES   32 /* 16 header, 16 tag */
#define STALL_AFTER       SEC(25)
#define GRACE             SEC(15)
#define SAME_HANDSHAKE    SEC(1)
#define RENEWAL_TIME      SEC(10)
#define REJECT_AFTER_SECS 180

struct sighting {
	bool answered;  /* rx grew, or a new handshake */
	bool handshake; /* a new one */
	int64_t latency_ns;
};

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
	return v < low ? low : v > high ? high : v;
}

/* When the handshake was, on the monotonic clock: at most `window` ago. */
static struct mono handshake_instant(struct wall handshake, struct health_now now, int64_t window)
{
	return mono_add(now.mono, -clamp(now.wall.ns - handshake.ns, 0, window));
}

/* The first dump with this peer: its counters are the baseline, its handshake, however old, is
 * taken at its word. */
static void see_first(struct health_peer *p, const struct wgdev_peer *d, struct health_now now)
{
	p->present = true;
	if (!wall_is_never(d->last_handshake)) {
		p->handshake = handshake_instant(d->last_handshake, now, INT64_MAX);
		p->answered_from = d->endpoint;
	} else if (d->tx_bytes > 0) {
		p->attempting = true;
		p->attempt_at = now.mono;
	}
}

/* The peer was put into the device since the last look, and has shaken hands: within that time. */
static int64_t first_latency(const struct health_peer *p, const struct wgdev_peer *d,
			     struct mono before)
{
	struct mono from = mono_before(before, p->since) ? p->since : before;

	return wall_is_never(d->last_handshake) || !mono_before(from, p->handshake)
		       ? -1
		       : mono_since(p->handshake, from);
}

/* Not by the time being another: see the theory on devices that tell ages. */
static bool is_new_handshake(const struct health_peer *p, const struct wgdev_peer *d,
			     struct health_now now)
{
	if (wall_is_never(d->last_handshake) || d->last_handshake.ns == p->last_handshake.ns)
		return false;
	if (wall_is_never(p->last_handshake))
		return true;

	int64_t age = now.wall.ns - d->last_handshake.ns;
	int64_t off = age - mono_since(now.mono, p->handshake);
	return off < -SAME_HANDSHAKE || off > SAME_HANDSHAKE;
}

static void see_endpoint(struct health_peer *p, const struct wgdev_peer *d, bool answered,
			 struct health_now now)
{
	if (ip_endpoint_cmp(&p->endpoint, &d->endpoint) == 0 || answered)
		return; /* with an answer it has roamed: nothing to wait for */
	if (p->state != HEALTH_UP) {
		p->attempting = true;
		p->attempt_at = now.mono;
	} else if (!p->grace_used) {
		p->grace_used = true;
		p->grace_until = mono_add(now.mono, GRACE);
		p->asked = p->attempting = false;
	}
}

/* Whether so much in so long is more than keepalives: one may stand at each end of the time. */
static bool is_question(uint64_t grown, int64_t elapsed, uint16_t keepalive)
{
	uint64_t keepalives = 1;

	if (keepalive)
		keepalives += (uint64_t)(clamp(elapsed, 0, INT64_MAX) / SEC(keepalive));
	return grown > keepalives * KEEPALIVE_BYTES;
}

void health_asked(struct health_peer *p, struct mono now, struct mono before)
{
	if (!p->asked) {
		p->asked = true;
		p->asked_at = now;
	}
	if (!p->attempting) {
		p->attempting = true;
		p->attempt_at = before;
	}
}

static void see_answer(struct health_peer *p, const struct wgdev_peer *d, struct sighting *s,
		       struct mono now, struct mono before)
{
	p->answered_at = now;
	if (s->handshake && (p->attempting || p->state != HEALTH_UP)) {
		struct mono from = p->attempting ? p->attempt_at : before;

		s->latency_ns = clamp(mono_since(p->handshake, from), 0, INT64_MAX);
		p->latency_ns = s->latency_ns;
	}
	p->answered_from = d->endpoint;
	p->asked = p->attempting = p->grace_used = false;
	p->grace_until = (struct mono){0};
}

static struct sighting see(struct health_peer *p, const struct wgdev_peer *d, struct health_now now,
			   struct mono before)
{
	struct sighting s = {.latency_ns = -1};
	int64_t elapsed = mono_since(now.mono, before);

	if (!p->present) {
		see_first(p, d, now);
		s.latency_ns = first_latency(p, d, before);
		if (s.latency_ns >= 0)
			p->latency_ns = s.latency_ns;
	} else {
		bool anew = d->rx_bytes < p->rx_bytes || d->tx_bytes < p->tx_bytes;
		uint64_t rx = anew ? d->rx_bytes : d->rx_bytes - p->rx_bytes;
		uint64_t tx = anew ? d->tx_bytes : d->tx_bytes - p->tx_bytes;

		s.handshake = is_new_handshake(p, d, now);
		s.answered = s.handshake || rx > 0;
		if (anew)
			p->asked = p->attempting = false;
		if (s.handshake)
			p->handshake = handshake_instant(d->last_handshake, now, elapsed);
		see_endpoint(p, d, s.answered, now);
		if (s.answered)
			see_answer(p, d, &s, now.mono, before);
		else if (is_question(tx, elapsed, d->keepalive))
			health_asked(p, now.mono, before);
	}
	p->endpoint = d->endpoint;
	p->keepalive = d->keepalive;
	p->rx_bytes = d->rx_bytes;
	p->tx_bytes = d->tx_bytes;
	p->last_handshake = d->last_handshake;
	return s;
}

/* The allowance of the theory above. */
static bool renewal_pending(const struct health_peer *p, int64_t age, int64_t limit,
			    struct mono now)
{
	if (p->state != HEALTH_UP || !p->keepalive)
		return false;
	if (age >= limit + SEC(p->keepalive) + RENEWAL_TIME)
		return false;
	return !p->asked || mono_since(now, p->asked_at) < RENEWAL_TIME;
}

static enum health_state decide(const struct health_peer *p, struct mono now)
{
	int64_t wish = SEC((int64_t)p->stale_after_secs), age = mono_since(now, p->handshake);
	int64_t limit = wish > SEC(REJECT_AFTER_SECS) ? wish : SEC(REJECT_AFTER_SECS);
	int64_t patience = wish < STALL_AFTER ? wish : STALL_AFTER;

	if (!p->present || wall_is_never(p->last_handshake))
		return HEALTH_NEVER;
	if (p->state == HEALTH_UP && mono_before(now, p->grace_until))
		return HEALTH_UP;
	if (age >= limit && !renewal_pending(p, age, limit, now))
		return HEALTH_STALE;
	if (p->asked && mono_since(now, p->asked_at) >= patience)
		return HEALTH_STALLED;
	return HEALTH_UP;
}

/* The peer is not in the dump: what its device said is of the past. */
static void forget(struct health_peer *p)
{
	p->present = false;
	p->endpoint = p->answered_from = (struct ip_endpoint){0};
	p->rx_bytes = p->tx_bytes = 0;
	p->last_handshake = (struct wall){0};
	p->handshake = (struct mono){0};
	p->asked = p->attempting = p->grace_used = false;
	p->grace_until = p->answered_at = p->probed_at = (struct mono){0};
}

void health_judge(struct health_peer *p, const struct wgdev_peer *d, struct health_now now,
		  struct mono before, health_event_fn *fn, void *arg)
{
	struct sighting s = {.latency_ns = -1};

	if (d)
		s = see(p, d, now, before);
	else if (p->present)
		forget(p);

	enum health_state to = decide(p, now.mono);
	if (to == p->state && s.latency_ns < 0)
		return;

	struct health_event ev = {.peer = p,
				  .from = p->state,
				  .to = to,
				  .at = now,
				  .lasted_ns = mono_since(now.mono, p->since),
				  .latency_ns = s.latency_ns};
	if (to != p->state) {
		if (to == HEALTH_UP) {
			p->reconnections += p->was_up;
			p->was_up = true;
		}
		p->state = to;
		p->since = now.mono;
		p->since_wall = now.wall;
	}
	if (fn)
		fn(&ev, arg);
}
