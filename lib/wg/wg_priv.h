/*
 * For the files of lib/wg and its unit tests. What control owns and what lanes may touch is said
 * at each field: "L" for lanes too (atomic, or constant once published), nothing for control
 * alone.
 */
#ifndef WG_WG_PRIV_H
#define WG_WG_PRIV_H

#include <stdalign.h>

#include "base/list.h"
#include "base/secret.h"
#include "wg/wg.h"

#define WG_LANES_MAX 64
#define WG_PEERS_MAX (1U << 20)
#define WG_OFF       INT64_MAX /* a deadline that is not set */

/* ── wire formats (the WireGuard paper, section 5.4) ────────────────────────────────────── */

struct wg_macs {
	uint8_t mac1[16], mac2[16];
};

struct wg_msg_initiation {
	uint8_t type[4]; /* 1, and three reserved zeros */
	uint32_t sender; /* an opaque number of the sender's, in whatever order */
	uint8_t ephemeral[KEY_LEN];
	uint8_t public_key[KEY_LEN + CRYPTO_TAG];
	uint8_t stamp[12 + CRYPTO_TAG];
	struct wg_macs macs;
};

struct wg_msg_response {
	uint8_t type[4];
	uint32_t sender, receiver;
	uint8_t ephemeral[KEY_LEN];
	uint8_t empty[CRYPTO_TAG];
	struct wg_macs macs;
};

struct wg_msg_cookie {
	uint8_t type[4];
	uint32_t receiver;
	uint8_t nonce[24];
	uint8_t cookie[16 + CRYPTO_TAG];
};

struct wg_msg_data {
	uint8_t type[4];
	uint32_t receiver;
	uint64_t counter; /* little-endian */
};

_Static_assert(sizeof(struct wg_msg_initiation) == 148, "as on the wire");
_Static_assert(sizeof(struct wg_msg_response) == 92, "as on the wire");
_Static_assert(sizeof(struct wg_msg_cookie) == 64, "as on the wire");
_Static_assert(sizeof(struct wg_msg_data) == WG_HEADER, "as on the wire");

/* ── epoch.c: freeing what lanes may still look at ──────────────────────────────────────── */

struct wg_retired {
	struct wg_retired *next;
	uint64_t epoch;
	bool (*free)(struct wg_retired *r); /* false: not yet, try again later */
};

struct wg_lane {
	alignas(64) _Atomic uint64_t active; /* L: the epoch it entered in; 0: outside */
	struct wg_device *d;
	unsigned id;
	struct wg_peer *ready;                       /* L: taken, not yet handed out */
	_Atomic uint64_t received[WG_RX_VERDICTS];   /* L: written by its thread alone */
	_Atomic uint64_t handshakes[WG_HS_OUTCOMES]; /* L: refused by it; so written, too */
	uint8_t nonce[16];                           /* L: of its cookies; with their number */
	uint64_t replies;                            /* L */
	int64_t replies_until;                       /* L: when it would be empty of its replies */
};

/* The object has been unlinked; frees it once no lane can have it. */
void wg_retire(struct wg_device *d, struct wg_retired *r, bool (*fn)(struct wg_retired *));
/* Frees what can be freed; true where something is left. */
bool wg_reclaim(struct wg_device *d);

/* ── words.c: whole words that lanes read while another writes ──────────────────────────── */

/* L: `len` bytes, a multiple of 8, consistent; returns as what they were read. */
uint32_t wg_words_read(const _Atomic uint32_t *seq, const _Atomic uint64_t *words, void *ret,
		       size_t len);
void wg_words_write(_Atomic uint32_t *seq, _Atomic uint64_t *words, const void *from, size_t len);
/* L: false with nothing written where somebody has written since they were read as `as_read`. */
bool wg_words_replace(_Atomic uint32_t *seq, uint32_t as_read, _Atomic uint64_t *words,
		      const void *from, size_t len);

/* ── index.c: receiver indices ──────────────────────────────────────────────────────────── */

struct wg_index {
	bool keypair;   /* L: constant; else of a handshake, which only control looks at */
	uint32_t index; /* L: constant while published; as on the wire */
};

struct wg_index_slots;
struct wg_keypair;

struct wg_index_table {
	_Atomic(struct wg_index_slots *) slots; /* L */
	size_t live, used;                      /* used: with those that were removed */
};

/* Gives *e a random index that no other entry has, and publishes it: 0 or -ENOMEM. */
int wg_index_add(struct wg_device *d, struct wg_index *e);
/* Puts `to`, with the index of `from`, in its place. */
void wg_index_replace(struct wg_device *d, struct wg_index *from, struct wg_index *to);
void wg_index_remove(struct wg_device *d, struct wg_index *e);
/* L */
struct wg_keypair *wg_index_find_session(const struct wg_device *d, uint32_t index);
/* Of a session or a handshake. */
struct wg_index *wg_index_find_any(const struct wg_device *d, uint32_t index);
int wg_index_init(struct wg_device *d);
void wg_index_clear(struct wg_device *d);

/* ── replay.c ───────────────────────────────────────────────────────────────────────────── */

/* One word more than the window, so that the oldest of the window still has all its bits. */
#define WG_REPLAY_WORDS (WG_REPLAY_WINDOW / 64 + 1)

struct wg_replay {
	atomic_flag lock;
	_Atomic uint64_t next; /* L: one beyond the greatest counter seen */
	_Atomic uint64_t bits[WG_REPLAY_WORDS];
};

/* L: whether the counter may be new, before decryption; advisory while others commit. */
bool wg_replay_check(const struct wg_replay *r, uint64_t counter);
/* L: marks it; false when it was not new after all. */
bool wg_replay_commit(struct wg_replay *r, uint64_t counter);

/* ── keypair.c: sessions and their slots ────────────────────────────────────────────────── */

struct wg_keypair {
	struct wg_index index; /* L: ours; first */
	uint32_t remote;       /* L: the other side's index, as on the wire */
	bool initiator;        /* L */
	bool late;             /* L: constant once in a slot: the other side renews first */
	struct mono birth;     /* L */
	struct wg_peer *peer;  /* L */
	struct wg_retired retired;
	struct key *send, *recv;              /* L: slots */
	_Atomic bool expired;                 /* L: nothing more is sent under it */
	_Atomic bool confirmed;               /* L: the other side has it, we may send */
	_Atomic bool lastminute;              /* L: a rekey was asked for on receive */
	alignas(64) _Atomic uint64_t counter; /* L: the next to send */
	struct wg_replay replay;              /* L */
	void *ctx[];                          /* L: per lane two AEAD contexts, send and receive */
};

/* An empty session of the peer's: keys, remote and index are for noise.c to fill, the index last,
 * for then lanes can find it. NULL: memory has run out. */
struct wg_keypair *wg_keypair_new(struct wg_peer *p, struct mono now);
void wg_keypair_discard(struct wg_keypair *kp); /* never published */
/* Puts one that is filled into its slot, as the theory in keypair.c says. */
void wg_keypair_install(struct wg_peer *p, struct wg_keypair *kp);
/* Moves a confirmed next to current; false where there is none. */
bool wg_keypair_rotate(struct wg_peer *p);
void wg_keypair_clear(struct wg_peer *p);
void wg_keypair_expire(struct wg_peer *p);
/* L: what may be sent under now, or NULL. */
struct wg_keypair *wg_keypair_sendable(const struct wg_peer *p, struct mono now);
/* L: whether its sender should ask for the next. */
bool wg_keypair_is_old(const struct wg_keypair *kp, struct mono now);

/* ── allowedips.c ───────────────────────────────────────────────────────────────────────── */

struct wg_route {
	_Atomic(struct wg_route *) child[2]; /* L */
	_Atomic(struct wg_peer *) peer;      /* L: NULL for a mere branch */
	uint64_t hi, lo;                     /* L: the prefix, left-aligned, host order */
	union {
		struct list of_peer; /* while it has a peer */
		struct wg_retired retired;
	};
	uint8_t len; /* L */
	bool v6;
};

struct wg_routes {
	_Atomic(struct wg_route *) v4, v6; /* L */
};

int wg_route_add(struct wg_device *d, struct wg_peer *p, const struct ip_prefix *prefix);
/* That prefix and no other, if it is this peer's. */
void wg_route_remove(struct wg_device *d, const struct wg_peer *p, const struct ip_prefix *prefix);
void wg_route_remove_peer(struct wg_device *d, struct wg_peer *p);
struct ip_prefix wg_route_prefix(const struct wg_route *r);
/* L: by an address in network order. */
struct wg_peer *wg_route_v4(const struct wg_device *d, const uint8_t addr[static 4]);
struct wg_peer *wg_route_v6(const struct wg_device *d, const uint8_t addr[static 16]);

/* ── noise.c ────────────────────────────────────────────────────────────────────────────── */

/* The state of an initiation that waits for its response. */
struct wg_handshake {
	struct wg_index index;         /* first */
	bool waiting;                  /* the fields below, and the index, are in use */
	struct key *ephemeral, *chain; /* slots */
	uint8_t hash[CRYPTO_HASH];
};

/* What a responder knows of an initiation: on the stack, wiped. */
struct wg_received {
	uint8_t chain[CRYPTO_HASH], hash[CRYPTO_HASH], stamp[12];
	struct key ephemeral, public_key;
	uint32_t sender;
};

/* The device's name and key, hashed once: where each handshake with it as responder begins. */
void wg_noise_set_key(struct wg_device *d);
/* 0, -ENOMEM, or -EINVAL for a peer key of low order. */
int wg_noise_initiate(struct wg_peer *p, struct wall now, struct wg_msg_initiation *ret);
/* Decrypts; the peer, or NULL with its outcome. *st is for wg_noise_respond and the caller wipes
 * it in any case. */
struct wg_peer *wg_noise_read_initiation(struct wg_device *d, const struct wg_msg_initiation *m,
					 struct wg_received *st, enum wg_outcome *ret_outcome);
/* The answer and the session's keys: 0 or -errno with nothing kept. */
int wg_noise_respond(struct wg_peer *p, struct wg_received *st, struct wg_keypair *kp,
		     struct wg_msg_response *ret);
int wg_noise_read_response(struct wg_peer *p, const struct wg_msg_response *m,
			   struct wg_keypair *kp);
void wg_handshake_clear(struct wg_peer *p);

/* ── cookie.c ───────────────────────────────────────────────────────────────────────────── */

struct wg_bucket {
	uint64_t tag; /* a keyed hash of the source; 0: free */
	int64_t full; /* when it would be empty of what it took */
};

#define WG_BUCKET_WAYS 4
#define WG_BUCKET_SETS 1024

/* Of who is spoken to; they follow from its public key. */
struct wg_mac_keys {
	uint8_t mac1[KEY_LEN], cookie[KEY_LEN];
};

/* As the one that is spoken to. L: all of it. */
struct wg_checker {
	_Atomic uint32_t keys_seq;
	_Atomic uint64_t keys[sizeof(struct wg_mac_keys) / 8];
	struct key *secret;        /* slot; constant */
	_Atomic int64_t loaded_at; /* when there was load last; 0: never */
	uint8_t table_key[16];     /* constant */
	atomic_flag buckets_lock;  /* for a dozen instructions */
	struct wg_bucket *buckets;
};

/* As the one that speaks to a peer. */
struct wg_cookie {
	struct wg_mac_keys keys;
	uint8_t cookie[16], mac1[16];
	struct mono birth;
	bool valid, sent; /* sent: mac1 is of a message that no cookie has answered */
};

int wg_cookie_init(struct wg_device *d);
void wg_cookie_clear(struct wg_device *d);
void wg_cookie_set_key(struct wg_device *d); /* the device's key is new */
void wg_cookie_set_peer(struct wg_peer *p);  /* the peer is new */
/* Fills both MACs of a message of `len` bytes with them. */
void wg_cookie_sign(struct wg_peer *p, void *message, size_t len, struct mono now);
/* L, down to wg_cookie_reply: */
bool wg_cookie_mac1_ok(const struct wg_device *d, const void *message, size_t len);
bool wg_cookie_mac2_ok(const struct wg_device *d, const void *message, size_t len,
		       const struct ip_endpoint *from, struct mono now,
		       uint8_t ret_cookie[static 16]); /* what it should have, in any case */
bool wg_cookie_loaded(struct wg_device *d, bool now_loaded, struct mono now);
bool wg_cookie_under_load(const struct wg_device *d, struct mono now);
bool wg_cookie_allow(struct wg_device *d, const struct ip_endpoint *from, struct mono now);
/* Fills all of *ret, an answer to the message, but the nonce, which the caller has put there. */
void wg_cookie_reply(const struct wg_device *d, const void *message, size_t len,
		     const uint8_t cookie[static 16], struct wg_msg_cookie *ret);
bool wg_cookie_take(struct wg_peer *p, const struct wg_msg_cookie *m, struct mono now);

/* ── admit.c ────────────────────────────────────────────────────────────────────────────── */

/* L: an initiation or a response. WG_HS_INITIATION: go on; WG_HS_COOKIE_SENT: send
 * the cookie that was filled in; or why not. */
enum wg_outcome wg_admit_check(struct wg_device *d, const void *message, size_t len,
			       const struct wg_endpoint *from, bool loaded, struct mono now,
			       uint8_t cookie[static 16]);

/* ── peer.c ─────────────────────────────────────────────────────────────────────────────── */

enum wg_timer {
	WG_T_RETRY,     /* the initiation was not answered */
	WG_T_KEEPALIVE, /* data was received and nothing sent */
	WG_T_DEAD,      /* data was sent and nothing received */
	WG_T_ZERO,      /* erase the keys */
	WG_T_PERSIST,   /* persistent keepalive */
	WG_TIMERS,
};

enum wg_event {
	WG_E_HANDSHAKE = 1, /* a session is wanted */
	WG_E_TIMERS = 2,    /* the first data sent or received: look at unanswered, unreplied */
	WG_E_CONFIRMED = 4, /* next was confirmed */
	WG_E_SOURCE = 8,    /* an endpoint was learnt */
};

/* Of making a session as the initiator; the diagram is in handshake.c. */
enum wg_attempt {
	WG_IDLE,
	WG_PLANNED,
	WG_TRYING,
};

#define WG_ENDPOINT_WORDS (sizeof(struct wg_endpoint) / 8)
_Static_assert(sizeof(struct wg_endpoint) == 48, "whole words");

struct wg_peer {
	struct wg_handshake handshake;                        /* first: found by its index */
	struct wg_device *d;                                  /* L */
	struct key public_key;                                /* L */
	_Atomic(struct wg_keypair *) previous, current, next; /* L */
	struct wg_keypair *older;                             /* found by its index alone */

	/* L: the times are of the monotonic clock, 0 for none. */
	_Atomic int64_t traversed;  /* last authenticated packet in either direction */
	_Atomic int64_t unanswered; /* first data sent since something was received */
	_Atomic int64_t unreplied;  /* first data received since something was sent */
	_Atomic int64_t wanted_at;  /* last packet that wanted a session */
	_Atomic uint32_t armed;     /* 1 << WG_T_KEEPALIVE, 1 << WG_T_DEAD */
	_Atomic bool wanted;        /* WG_E_HANDSHAKE was posted and is not yet dealt with */
	_Atomic uint64_t rx_bytes, tx_bytes;
	_Atomic uint32_t flags; /* the caller's */

	_Atomic uint32_t endpoint_seq; /* L: odd while it is written */
	_Atomic uint64_t endpoint[WG_ENDPOINT_WORDS];
	_Atomic uint64_t refused; /* L: a hash of the source not to be learnt again; 0: none */
	struct wg_endpoint refused_source; /* the same */

	_Atomic uint32_t events; /* L: set of wg_event; not 0: on the device's event stack */
	struct wg_peer *event_next;
	_Atomic bool on_ready;  /* L: on the ready stack, or in a lane's part of it */
	_Atomic bool was_ready; /* L: was put there since peer_free looked last */
	struct wg_peer *ready_next;
	_Atomic bool keepalive; /* L: one is to be sent */

	atomic_flag staged_lock; /* L: for the three below */
	struct wg_packet *staged, **staged_tail;
	_Atomic unsigned n_staged;

	struct wg_retired retired;
	struct wg_peer *hash_next;
	struct list all, routes;
	bool dead, named;            /* named: by the change that is being applied */
	bool resume;                 /* had a session before a restart: initiate when up */
	bool received_any, sent_any; /* whether last_initiation_received, and _sent, are set */
	uint8_t attempt;             /* enum wg_attempt */
	uint16_t persistent;         /* seconds */
	struct key *preshared, *static_static; /* slots, or NULL */
	struct wg_cookie cookie;
	uint8_t received_stamp[12], sent_stamp[12];
	struct mono last_initiation_received, last_initiation_sent, attempt_started;
	struct wall last_handshake, session; /* session: made last, also before a restart */
	int64_t due[WG_TIMERS], earliest;
	int64_t jitter; /* of WG_T_DEAD */
	size_t heap_at;
};

struct wg_peer *wg_peer_find(const struct wg_device *d, const struct key *public_key);
struct wg_peer *wg_peer_add(struct wg_device *d, const struct key *public_key);
void wg_peer_remove(struct wg_peer *p);
/* Sessions, handshake, staged packets and timers: as new, but for configuration and stamps. */
void wg_peer_reset(struct wg_peer *p);
void wg_peer_drop_staged(struct wg_peer *p);

/* L */
struct wg_endpoint wg_peer_endpoint(const struct wg_peer *p);
void wg_peer_set_endpoint(struct wg_peer *p, const struct wg_endpoint *e);
/* L: the peer was heard from there. True where that has told something new: then control is to look
 * at it, by wg_peer_check_source and because it may be saved. */
bool wg_peer_learn(struct wg_peer *p, const struct wg_endpoint *from);
void wg_peer_check_source(struct wg_peer *p);
bool wg_endpoint_eq(const struct wg_endpoint *a, const struct wg_endpoint *b);
void wg_peer_post(struct wg_peer *p, enum wg_event e);
void wg_peer_want(struct wg_peer *p, struct mono now);
/* Gives the peer to the lanes that send, for its staged packets or a keepalive. */
void wg_peer_ready(struct wg_peer *p, bool keepalive);

/* L: 0 stands for "none" in the times above. */
static inline int64_t wg_stamp(struct mono t)
{
	return t.ns ? t.ns : 1;
}

/* ── timers.c ───────────────────────────────────────────────────────────────────────────── */

int wg_timers_reserve(struct wg_device *d, size_t peers);
void wg_timer_set(struct wg_peer *p, enum wg_timer t, int64_t at);
void wg_timers_off(struct wg_peer *p);
void wg_timers_begin(struct wg_peer *p, struct mono now); /* after WG_E_TIMERS */
void wg_timers_traversed(struct wg_peer *p, struct mono now);
/* Until nothing is due, or d->initiations has come to that number. */
void wg_timers_run(struct wg_device *d, struct wg_time now, uint64_t initiations);
int64_t wg_jitter(struct wg_device *d);

/* ── handshake.c ────────────────────────────────────────────────────────────────────────── */

/* A session is wanted: begins a handshake unless there is one under way. */
void wg_handshake_begin(struct wg_peer *p, struct wg_time now);
/* Sends an initiation if the last is long enough ago. */
void wg_handshake_send(struct wg_peer *p, struct wg_time now);
void wg_handshake_give_up(struct wg_peer *p, struct wg_time now);
void wg_handshake_complete(struct wg_peer *p, struct wg_time now);
/* Initiates when it is this peer's turn, unless something else makes it sooner. Nothing where a
 * handshake is under way or planned, or cannot be. */
void wg_handshake_in_turn(struct wg_peer *p, struct wg_time now);
/* What is under way or planned has no answer and no retry any more. */
void wg_handshake_stop(struct wg_peer *p);
/* A keepalive under the session, or else a handshake. */
void wg_handshake_keepalive(struct wg_peer *p, struct wg_time now);

/* ── inner.c: the packet inside ─────────────────────────────────────────────────────────── */

/* L: length by its own header, 0 where it is no IP packet of at most `len` bytes. */
uint32_t wg_inner_len(const uint8_t *packet, size_t len);
/* L: combines outer ECN into it; false: to be dropped. */
bool wg_ecn_combine(uint8_t *packet, uint8_t outer);

/* ── device.c ───────────────────────────────────────────────────────────────────────────── */

struct wg_device {
	const struct wg_ops *ops;           /* L */
	void *user;                         /* L */
	const struct crypto_aead_ops *aead; /* L */
	struct wg_index_table indices;
	struct wg_routes routes;
	_Atomic(struct wg_peer *) events; /* L: stack */
	_Atomic(struct wg_peer *) ready;  /* L: stack */
	_Atomic uint64_t epoch;           /* L */
	_Atomic uint64_t staged_dropped;  /* L */
	_Atomic uint64_t moved;           /* L: struct wg_stats */
	_Atomic bool up;                  /* L */

	unsigned lanes_max, n_lanes;
	struct wg_lane *lanes[WG_LANES_MAX];
	struct wg_retired *retired, **retired_tail;

	_Atomic bool has_key;    /* L */
	struct key *private_key; /* slot */
	struct key public_key;
	uint8_t hash[CRYPTO_HASH]; /* of the protocol's name and our key */
	struct wg_checker checker;

	struct list peers;
	size_t n_peers, n_buckets;
	struct wg_peer **buckets;
	uint8_t table_key[16];
	struct mono next_turn; /* of wg_handshake_in_turn */
	uint64_t initiations;  /* made, ever; sent or not */
	struct wg_peer *taken; /* from the event stack, and not yet handled */
	struct wg_peer **heap;
	size_t n_heap, cap_heap;
	struct wg_stats stats;
};

static inline void wg_random(const struct wg_device *d, void *out, size_t len)
{
	d->ops->random(d->user, out, len);
}

#endif
