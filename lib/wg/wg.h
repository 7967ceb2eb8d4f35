/*
 * The WireGuard protocol as an engine: no socket, no clock, no thread, no global state. Time,
 * randomness and output are handed in, so that a test runs an hour of protocol in a millisecond
 * and a daemon gives it a TUN, sockets and threads. The protocol is that of the WireGuard paper;
 * docs/wireguard-device.md tells how the parts work together.
 *
 * Who may call what at the same time
 *
 *   control  device, peers, handshakes, timers: every call but the ones below. One at a time: the
 *            caller holds a lock of its own, or keeps them to one thread. A handshake computes
 *            for 0.2 ms or so inside, while the data path goes on undisturbed.
 *   lane     wg_enter to wg_leave and all calls that take a wg_lane: the data path. Each lane
 *            belongs to one thread; lanes run at the same time as each other and as control,
 *            without a lock (but for a dozen instructions). A thread that both sends and
 *            receives needs but one lane.
 *
 * Between wg_enter and wg_leave a lane may use the peers it was given; control frees what it has
 * unlinked only after every lane has left once (wg_tick does it). So a batch is short, and no
 * lane sleeps inside. The callbacks say where they are called from.
 *
 * What control hands to lanes is published with release stores; what lanes tell control (first
 * data, first packet under a new key, a key too old) is a bit in the peer, and the wake callback
 * for the first of them: then control calls wg_tick.
 */
#ifndef WG_WG_H
#define WG_WG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/key.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "wgdev/wgdev.h"

/* Constants of the protocol (the WireGuard paper, section 6.1; the kernel's messages.h). */
#define WG_REKEY_AFTER_MESSAGES  (UINT64_C(1) << 60)
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))
#define WG_REKEY_AFTER           (120 * NS_PER_SEC)
#define WG_REJECT_AFTER          (180 * NS_PER_SEC)
#define WG_REKEY_TIMEOUT         (5 * NS_PER_SEC)
#define WG_REKEY_ATTEMPT         (90 * NS_PER_SEC)
#define WG_KEEPALIVE_TIMEOUT     (10 * NS_PER_SEC)
#define WG_ZERO_KEYS_AFTER       (3 * WG_REJECT_AFTER)
#define WG_JITTER                (333 * NS_PER_MSEC)
#define WG_COOKIE_SECRET_LIFE    (120 * NS_PER_SEC)
#define WG_COOKIE_LIFE           (115 * NS_PER_SEC)
#define WG_INITIATION_GAP        (20 * NS_PER_MSEC)
#define WG_LOAD_HYSTERESIS       NS_PER_SEC
#define WG_REPLAY_WINDOW         8192
#define WG_STAGED_MAX            128 /* packets of one peer that wait for a session */

/* Ours: between the initiations that are begun for many peers at once. It leaves half of control's
 * time to others. And how many are made in one wg_tick at most, whatever they are for. */
#define WG_TURN_GAP         (NS_PER_MSEC / 2)
#define WG_TICK_INITIATIONS 64

#define WG_HEADER   16 /* of a data message: type, reserved zeros, receiver, counter */
#define WG_OVERHEAD (WG_HEADER + CRYPTO_TAG)

struct wg_device;
struct wg_peer;
struct wg_lane;

/* Both clocks at one moment: the monotonic one for all timers, the wall clock for the TAI64N
 * stamp of initiations and for "last handshake". */
struct wg_time {
	struct mono mono;
	struct wall wall;
};

/* Where a datagram came from or goes to. The local address and interface are those that the
 * peer addressed, so that replies leave from there ("sticky source"). */
struct wg_endpoint {
	struct ip_endpoint remote; /* AF_UNSPEC: none */
	struct ip_addr local;      /* AF_UNSPEC: the system chooses */
	uint32_t ifindex;          /* 0: the system chooses */
};

/* A packet that waits for a session: the head of a buffer of the caller's. */
struct wg_packet {
	struct wg_packet *next;
};

enum wg_wake {
	WG_WAKE_CONTROL = 1, /* call wg_tick soon */
	WG_WAKE_TX = 2,      /* a lane that sends calls wg_tx_ready soon */
};

struct wg_ops {
	/* Fills with random bytes; cannot fail. Control only. */
	void (*random)(void *user, void *out, size_t len);
	/* Sends one handshake message (DSCP AF41, ECN 0). Control only. False: not sent, which
	 * the protocol treats as lost. */
	bool (*send)(void *user, const struct wg_endpoint *to, const void *datagram, size_t len);
	/* Takes back packets that will not be sent (a list). From control and from lanes. */
	void (*drop)(void *user, struct wg_packet *list);
	/* From control and from lanes, also at the same time: neither waits nor calls back. */
	void (*wake)(void *user, enum wg_wake what);
	/* Whether what is sent to e->remote from e->local leaves by e->ifindex, where the peer's
	 * packets come in. Control only. NULL: it always does. */
	bool (*source_ok)(void *user, const struct wg_endpoint *e);
};

/* ── device and peers: control ──────────────────────────────────────────────────────────── */

/* `ops` and `aead` outlive the device; lanes: at most this many, 1 to 64. The device is down and
 * has neither key nor peers. crypto_init() comes first. NULL: memory has run out. */
struct wg_device *wg_new(const struct wg_ops *ops, void *user, const struct crypto_aead_ops *aead,
			 unsigned lanes);
/* All lanes have left for good (they are freed with the device). Wipes. NULL is accepted. */
void wg_free(struct wg_device *d);

/* Down, no handshake is begun or answered, sessions are erased and staged packets dropped. Up, a
 * peer with a persistent keepalive gets a packet at once: with many of them one after the other,
 * WG_TURN_GAP apart. So it is with what wg_apply begins; wg_tick comes after either. */
void wg_set_up(struct wg_device *d, bool up, struct wg_time now);

/* Key and peers of a change (listen_port and fwmark are the caller's). The change is taken as
 * valid; prefixes are masked here; a prefix that another peer has moves. A peer whose key is the
 * device's own is passed over, and removed when the device's key becomes its. A new private key
 * expires all sessions. With replace_peers a peer that is there and named keeps nothing that the
 * change does not say, but its session and counters; with another preshared key not these sessions
 * either. 0, or -ENOMEM with the change done in part, -E2BIG at 2^20 peers. */
int wg_apply(struct wg_device *d, const struct wgdev_change *c, struct wg_time now);

/* Fills keys and peers of *ret (initialised), sorted; secrets are copied to slots of its own.
 * 0 or -ENOMEM with *ret to be cleared by the caller. */
int wg_get(struct wg_device *d, struct wgdev *ret);

/* Does what is due: events from lanes, retries, keepalives, erasure, freeing. Returns when it
 * wants to be called next (INT64_MAX: on wake only): at once where it has made as many initiations
 * as it makes in one call, so that the caller comes to other things. */
struct mono wg_tick(struct wg_device *d, struct wg_time now);

/* Forgets local addresses of endpoints: those that equal `gone`, or all for NULL. */
void wg_clear_sources(struct wg_device *d, const struct ip_addr *gone);
/* After a change of routes: asks source_ok for each peer's local address, and forgets those that
 * are not, also as they come again, until they are. Each new one is asked for when it is learnt. */
void wg_check_sources(struct wg_device *d);

/* What survives a restart of the process: per peer its endpoint, the two TAI64N stamps (greatest
 * received, greatest sent; zero: none) and when its last session was made. wg_save calls back for
 * each peer that has a stamp; wg_restore takes one for a peer that is configured (-ENOENT when it
 * is not) and never lets a stamp go back. It does not replace an endpoint that is configured.
 *
 * A peer whose last session would still be good (WG_REJECT_AFTER) has one with us that we know no
 * more, and sends under it in vain until it notices, which takes 15 s. So the engine initiates:
 * at once when it is up, else when it comes up; one peer after the other, WG_TURN_GAP apart. */
struct wg_peer_state {
	struct key public_key;
	struct wg_endpoint endpoint;
	uint8_t received[12], sent[12];
	struct wall session; /* 0: never */
};

void wg_save(struct wg_device *d, void (*cb)(void *user, const struct wg_peer_state *s),
	     void *user);
int wg_restore(struct wg_device *d, const struct wg_peer_state *s, struct wg_time now);

/* ── handshake messages: control ────────────────────────────────────────────────────────── */

enum wg_kind {
	WG_KIND_BAD, /* drop it silently */
	WG_KIND_INITIATION,
	WG_KIND_RESPONSE,
	WG_KIND_COOKIE,
	WG_KIND_DATA,
};

/* By type, reserved bytes and size alone. Any thread. */
enum wg_kind wg_kind(const void *datagram, size_t len);

/* What became of a handshake message, which is also the index of its counter. */
enum wg_outcome {
	WG_HS_INITIATION,  /* accepted; a response was sent */
	WG_HS_RESPONSE,    /* accepted; there is a new session */
	WG_HS_COOKIE,      /* a cookie was taken */
	WG_HS_BAD,         /* malformed, or no handshake message */
	WG_HS_DOWN,        /* device down or without a key */
	WG_HS_MAC1,        /* not made for our key */
	WG_HS_COOKIE_SENT, /* under load: answered with a cookie */
	WG_HS_LIMITED,     /* under load: this source, or all together, send too many */
	WG_HS_UNKNOWN,     /* no such peer, or no such handshake of ours */
	WG_HS_UNAUTHENTIC, /* does not decrypt, or a point of low order */
	WG_HS_REPLAYED,    /* a stamp that is not new */
	WG_HS_FLOOD,       /* less than 20 ms after the last */
	WG_HS_NOMEM,
	WG_HS_OUTCOMES,
};

const char *wg_outcome_name(enum wg_outcome o); /* "initiation", …, for statistics */

/* Handles one handshake message. `under_load`: the caller's queue of them is long; the engine
 * stays in that state for a second after the last time. */
enum wg_outcome wg_receive_handshake(struct wg_device *d, const void *datagram, size_t len,
				     const struct wg_endpoint *from, bool under_load,
				     struct wg_time now);
/* One that wg_admit has found proved: its MACs, and its source's rate, are not looked at again. */
enum wg_outcome wg_receive_proved(struct wg_device *d, const void *datagram, size_t len,
				  const struct wg_endpoint *from, struct wg_time now);

/* ── lanes ──────────────────────────────────────────────────────────────────────────────── */

/* Control. NULL: memory has run out, or there are as many as wg_new was told. */
struct wg_lane *wg_lane_new(struct wg_device *d);

void wg_enter(struct wg_lane *l);
void wg_leave(struct wg_lane *l);

/* Stable while the peer may be used. */
const struct key *wg_peer_key(const struct wg_peer *p);
/* A word for the caller's own flags (offload switched off for this peer …), 0 at first. */
_Atomic uint32_t *wg_peer_flags(struct wg_peer *p);
/* The local address did not work: forget it. */
void wg_peer_clear_source(struct wg_peer *p);

/* ── handshake messages: lanes ──────────────────────────────────────────────────────────── */

enum wg_admission {
	WG_ADMIT_NO,     /* drop it */
	WG_ADMIT_REPLY,  /* drop it, and send *ret_reply back to where it came from */
	WG_ADMIT_YES,    /* give it to wg_receive_handshake */
	WG_ADMIT_COOKIE, /* the same; nothing was checked, as it has no MAC, but it costs little */
	WG_ADMIT_PROVED, /* give it to wg_receive_proved, even if there is no room for others */
};

#define WG_COOKIE_REPLY 64

/* What may wait for control: the checks before any Diffie-Hellman, for 1 to 3 us. Those that
 * are refused are counted by outcome here, the others when control has handled them. Inside or
 * outside of wg_enter. `under_load` as for wg_receive_handshake; ret_reply takes WG_COOKIE_REPLY
 * bytes, or is NULL where the caller has no time to answer. */
enum wg_admission wg_admit(struct wg_lane *l, const void *datagram, size_t len,
			   const struct wg_endpoint *from, bool under_load, struct mono now,
			   uint8_t *ret_reply);

/* ── sending: lanes ─────────────────────────────────────────────────────────────────────── */

/* The peer that owns the most specific prefix of the packet's destination; NULL: none, or no IP
 * packet (at least its fixed header must be there). */
struct wg_peer *wg_route(const struct wg_lane *l, const void *packet, size_t len);

/* A run of packets for one peer under one key. */
struct wg_run {
	struct wg_endpoint to;
	struct wg_peer *peer;
	struct wg_keypair *keypair; /* the engine's */
	uint64_t counter;           /* of the first packet */
	uint32_t n;
};

/* Reserves n counters (1 to 65,536). 0; -ENOKEY: there is no session to send under, a handshake
 * has been asked for, stage the packets; -EDESTADDRREQ: the peer's endpoint is not known. */
int wg_tx_begin(struct wg_lane *l, struct wg_peer *p, unsigned n, struct mono now,
		struct wg_run *ret);

/* Seals the run's packets (n of them, in order): `len` bytes of padded plain text at job.buf,
 * where the caller left WG_HEADER bytes before and CRYPTO_TAG behind; the message is then at
 * job.buf - WG_HEADER with len + WG_OVERHEAD bytes. Counts, and notes for the timers that they
 * are sent. 0, -ENOMEM or -EIO: drop them all. */
int wg_tx_seal(struct wg_lane *l, const struct wg_run *run, struct crypto_aead_job *jobs,
	       struct mono now);

/* Puts packets (a list, oldest first) behind those that wait for a session. Beyond
 * WG_STAGED_MAX the oldest go to the drop callback. */
void wg_tx_stage(struct wg_lane *l, struct wg_peer *p, struct wg_packet *list, struct mono now);

/* After WG_WAKE_TX, until NULL: a peer for which there is something to send now: its staged
 * packets (a list, oldest first, the caller's again) or, where *ret_staged is NULL, one keepalive:
 * a packet of length 0. */
struct wg_peer *wg_tx_ready(struct wg_lane *l, struct wg_packet **ret_staged);

/* Length after padding: zeros up to a multiple of 16, not beyond the TUN's MTU. */
static inline size_t wg_padded(size_t len, size_t mtu)
{
	size_t padded = (len + 15) & ~(size_t)15;

	return padded > mtu && mtu >= len ? mtu : padded;
}

/* ── receiving: lanes ───────────────────────────────────────────────────────────────────── */

enum wg_verdict {
	WG_RX_DATA,        /* deliver `plain` */
	WG_RX_KEEPALIVE,   /* authentic and empty */
	WG_RX_BAD,         /* not a data message */
	WG_RX_UNKNOWN,     /* no such session */
	WG_RX_EXPIRED,     /* the session's keys are too old or used up */
	WG_RX_REPLAYED,    /* counter seen, or older than the window */
	WG_RX_UNAUTHENTIC, /* does not decrypt */
	WG_RX_MALFORMED,   /* no IP packet inside, or one longer than what came */
	WG_RX_SPOOFED,     /* the inner source is not the sender's */
	WG_RX_ECN,         /* congestion marked outside, and the inner packet cannot carry it */
	WG_RX_NOMEM,
	WG_RX_VERDICTS,
};

const char *wg_verdict_name(enum wg_verdict v);

/* One data message; it is decrypted in place. */
struct wg_rx {
	uint8_t *data;
	uint32_t len;
	uint8_t ecn;                   /* of the outer header: its two low bits of TOS */
	const struct wg_endpoint *src; /* shared by all segments of one receive */
	/* Set by the engine: */
	enum wg_verdict verdict;
	uint32_t plain_len;   /* without padding */
	uint8_t *plain;       /* inside data */
	struct wg_peer *peer; /* where the verdict is DATA or KEEPALIVE */
};

/* Everything from the session index to the allowed-IP check, for a batch of any size. */
void wg_receive_data(struct wg_lane *l, struct wg_rx *rx, size_t n, struct mono now);

/* ECN of the outer header for an inner packet (RFC 6040, normal mode: copied). */
uint8_t wg_ecn_outer(const void *packet, size_t len);

/* ── statistics: control ────────────────────────────────────────────────────────────────── */

struct wg_stats {
	uint64_t handshakes[WG_HS_OUTCOMES]; /* messages received, by outcome */
	uint64_t received[WG_RX_VERDICTS];   /* data messages, by verdict */
	uint64_t initiations_sent, responses_sent, handshakes_given_up;
	uint64_t cookies_sent;   /* those of lanes: handed out to be sent */
	uint64_t sessions;       /* derived, ever */
	uint64_t staged_dropped; /* by the bound, or given up */
	uint64_t moved;          /* endpoints that were learnt, or set for a peer with a stamp */
	uint64_t peers;          /* now */
	bool under_load;         /* now */
};

void wg_get_stats(const struct wg_device *d, struct mono now, struct wg_stats *ret);

#endif
