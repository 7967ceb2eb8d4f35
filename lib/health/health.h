/*
 * The truth about the tunnels of one network: per peer whether it answers, since when, and why
 * not, from what the device says (handshake time and byte counters) and nothing else. Pure: the
 * caller hands in a dump and both clocks every tick (1 to 5 s is meant; any interval is right).
 *
 *                   handshake
 *         NEVER ──────────────> UP <───────────────┐ handshake, or (stalled) any answer
 *           ^                   │ │                │
 *           │                   │ └> STALLED ──────┤ asked for long, nothing came back
 *           │                   │       │          │
 *           │                   │       v age      │
 *           │                   └───> STALE ───────┘ handshake older than the threshold
 *           └── from any: the peer left the device, or the device was made anew
 *
 * How each is judged stands on top of judge.c.
 */
#ifndef HEALTH_HEALTH_H
#define HEALTH_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/key.h"
#include "base/mem.h"
#include "base/time.h"
#include "wgdev/wgdev.h"

#define HEALTH_STALE_AFTER_SECS 180 /* REJECT_AFTER_TIME: the session's keys are dead by then */

enum health_state { HEALTH_NEVER, HEALTH_UP, HEALTH_STALLED, HEALTH_STALE };
const char *health_state_name(enum health_state s); /* "never" … "stale" */

struct health_now {
	struct mono mono;
	struct wall wall;
};

/* What is wanted of one peer. */
struct health_policy {
	struct key public_key;
	const char *name;          /* NULL or "": the public key serves; copied */
	bool required;             /* counts for readiness */
	uint32_t stale_after_secs; /* 0: HEALTH_STALE_AFTER_SECS */
	uint16_t keepalive;        /* seconds; what the device says counts once it is seen */
	struct ip_addr probe;      /* asked when the peer is silent; AF_UNSPEC: none */
	uint32_t probe_secs;       /* how long it is silent until then */
};

struct health_peer {
	struct key public_key;
	char *name; /* never NULL */
	bool required;
	uint32_t stale_after_secs; /* never 0 */
	struct ip_addr probe;
	uint32_t probe_secs;

	enum health_state state;
	struct mono since; /* of the state; at first: when the peer was configured */
	struct wall since_wall;
	bool present; /* in the last dump; all below is 0 while it is not */

	struct ip_endpoint endpoint; /* AF_UNSPEC: none known */
	struct ip_endpoint
		answered_from; /* where the last answer came from, AF_UNSPEC: nothing yet */
	uint16_t keepalive;
	uint64_t rx_bytes, tx_bytes; /* the device's counters */
	struct wall last_handshake;  /* as the device gives it, {0}: never */
	struct mono handshake;       /* the same instant on the clock that does not step */

	uint64_t reconnections; /* times it was up again after it had been up */
	int64_t latency_ns;     /* of the last measured handshake, -1: none; see health_event */

	/* The judge's memory. */
	bool was_up;
	bool asked; /* something was sent that wants an answer, none came since */
	struct mono asked_at;
	bool attempting; /* the same for the latency: since the first unanswered sending */
	struct mono attempt_at;
	struct mono answered_at; /* {0}: not yet */
	struct mono probed_at;   /* the last question of health_probe, {0}: none yet */
	bool grace_used;         /* since the last answer */
	struct mono grace_until;
};

/* A change of state, or a handshake whose duration could be measured (from == to == UP). */
struct health_event {
	const struct health_peer *peer; /* already in the new state */
	enum health_state from, to;     /* "up" is to == UP, "down" is from == UP */
	struct health_now at;
	int64_t lasted_ns;  /* how long `from` had stood */
	int64_t latency_ns; /* first attempt (or change of endpoint, or the last look at the device
			     * without the peer) to handshake, -1: not measured; as fine as the
			     * ticks, never too small by more than that */
};
typedef void health_event_fn(const struct health_event *ev, void *arg);

struct health;
struct health *health_new(void); /* NULL when memory has run out */
void health_free(struct health *h);
MEM_CLEANUP(struct health, health_free);

/* The peers that are to be judged, in any order; one that was there keeps all that is known of
 * it. -EINVAL for a key that stands twice, -ENOMEM; then nothing has changed. Peers of the device
 * that are not in the list are not looked at. */
int health_set_peers(struct health *h, const struct health_policy *peers, size_t n,
		     struct health_now now, struct err *e);

/* One peer of them: put in, or given another policy, keeping all that is known of it; -ENOMEM with
 * nothing changed. Taken out; nothing happens where it is not there. */
int health_put_peer(struct health *h, const struct health_policy *peer, struct health_now now);
void health_drop_peer(struct health *h, const struct key *public_key);

/* Judges all peers by a dump (sorted, as wgdev_sort leaves it); NULL: the device is not there.
 * Linear in the peers, no allocation. `fn` may be NULL. */
void health_tick(struct health *h, const struct wgdev *dev, struct health_now now,
		 health_event_fn *fn, void *arg);

/* Nothing that an idle tunnel sends wants an answer, so that silence says nothing. Calls `ask` for
 * each peer with a probe that was silent for its probe_secs, and as often again; where that
 * returns true a packet with data was sent to the peer, which WireGuard promises to answer, and
 * the answer is waited for from now on. Returns when the next peer
 * is due, INT64_MAX for never. */
typedef bool health_ask_fn(const struct health_peer *p, void *arg);
struct mono health_probe(struct health *h, struct mono now, health_ask_fn *ask, void *arg);

/* Sorted by public key. Pointers stay until the set of peers changes. */
size_t health_count(const struct health *h);
const struct health_peer *health_peer(const struct health *h, size_t i);
const struct health_peer *health_find(const struct health *h, const struct key *public_key);

/* Handshake age, -1 for never. */
int64_t health_age_ns(const struct health_peer *p, struct mono now);

/* Appends why the peer is not up, one sentence without an end; nothing for one that is:
 *     peer runbeam-core: no handshake for 4m10s, last answer from 203.0.113.10:51820
 *     peer x: never a handshake (endpoint 203.0.113.10:51820, 12s since configured) */
void health_reason(const struct health *h, const struct health_peer *p, struct mono now,
		   struct buf *out);

/* --- readiness --------------------------------------------------------------------------------
 * Over the required peers; without any the answer is yes. */
struct health_readiness {
	enum { HEALTH_ALL, HEALTH_ANY, HEALTH_QUORUM } policy;
	unsigned quorum; /* how many must be up, where the policy is HEALTH_QUORUM */
};

struct health_verdict {
	bool ready;
	size_t required, up; /* up: of the required */
};

/* Where the answer is no and `reasons` is not NULL, the reasons are appended, one a line, at most
 * HEALTH_REASONS_MAX and then a line that counts the rest. */
#define HEALTH_REASONS_MAX 16
struct health_verdict health_ready(const struct health *h, struct health_readiness wanted,
				   struct mono now, struct buf *reasons);

#endif
