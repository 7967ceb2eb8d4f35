/*
 * An engine in a box, for tests of lib/wg: a fake clock, seeded randomness, one lane, and what it
 * sends and delivers kept in arrays (or handed to a callback).
 */
#ifndef TEST_WGWORLD_H
#define TEST_WGWORLD_H

#include "wg/wg.h"
#include "wg/wg_priv.h"
#include "wgpeer.h"

#define WORLD_KEEP 64

struct world_packet {
	uint8_t b[2048];
	size_t len;
	struct wg_endpoint to; /* of what was sent */
	int64_t at;            /* when, monotonic */
};

struct world {
	struct wg_device *d;
	struct wg_lane *lane;
	struct wg_time now;
	struct mono next; /* what the last tick said */
	struct key pub;
	uint64_t rng;
	const uint8_t *fixed; /* random bytes that come first, n_fixed of them */
	size_t n_fixed;
	unsigned woken, wakes; /* what since the last pump; of control, ever */
	bool refuse;           /* sending fails */
	uint32_t egress;       /* interface by which the machine's routes leave; 0: any */
	unsigned asked;        /* for it */

	struct world_packet out[WORLD_KEEP], in[WORLD_KEEP]; /* sent; delivered */
	unsigned n_out, n_in;                                /* beyond WORLD_KEEP: counted only */
	unsigned dropped;                                    /* staged packets given back */
	enum wg_verdict verdict;                             /* of the last data message */
	enum wg_outcome outcome;                             /* of the last handshake message */

	void (*on_out)(struct world *w, const struct world_packet *p); /* instead of out */
	void (*on_in)(struct world *w, const uint8_t *packet, size_t len);
	void (*on_random)(struct world *w); /* once: what a lane does while control is inside */
	void *user;
};

/* Up, with the private key `seed` repeated, at second 1,000 of its clock. */
struct world *world_new(uint8_t seed);
struct world *world_new_key(const struct key *priv, uint64_t seed);
void world_free(struct world *w);

/* Configuration of one peer, in the words of a small language:
 *     world_peer(w, key, "endpoint 192.0.2.1:1000 allow 10.0.0.2/32 allow fd00::/64 keepalive 25")
 */
void world_peer(struct world *w, const uint8_t key[32], const char *what);
void world_psk(struct world *w, const uint8_t key[32], uint8_t seed);
void world_psk_key(struct world *w, const uint8_t key[32], const struct key *psk);
struct wg_peer *world_find(struct world *w, const uint8_t key[32]);

struct wg_endpoint world_endpoint(const char *text);

/* Does what is due and was asked for by wake, until nothing is. */
void world_pump(struct world *w);
/* Moves the clock, stopping at each deadline. */
void world_advance(struct world *w, int64_t ns);

/* A packet from the TUN. 0, or what wg_tx_begin said (-ENOKEY: it is staged), or -ENETUNREACH. */
int world_send(struct world *w, const void *packet, size_t len);
/* A datagram from outside. */
void world_receive(struct world *w, const void *datagram, size_t len, const char *from);
void world_receive_loaded(struct world *w, const void *datagram, size_t len, const char *from);

/* An IPv4 or IPv6 packet with `len` bytes behind its header; returns the whole length. */
size_t world_ip(uint8_t *out, const char *src, const char *dst, size_t len);

/* Shakes hands with `p`, which is the initiator, and confirms by a packet from src when given. */
void world_answer(struct world *w, struct wgpeer *p, const char *from);

#endif
