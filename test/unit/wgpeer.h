/*
 * A peer that speaks WireGuard by itself, for tests of lib/wg: written from the paper, sharing no
 * line with the engine, so that one mistake does not hide another; and for each primitive on the
 * library that lib/crypto does not use for it. Handshakes and cookies are on OpenSSL (X25519,
 * ChaCha20-Poly1305, and BLAKE2s, which is lib/crypto's own there), data on libsodium. It has no
 * timers and no policy: a test tells it each message.
 */
#ifndef TEST_WGPEER_H
#define TEST_WGPEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wgpeer {
	uint8_t priv[32], pub[32], remote[32], psk[32];
	uint8_t eph[32], chain[32], hash[32]; /* of the handshake under way */
	uint8_t remote_eph[32], stamp[12];    /* of an initiation that was taken */
	uint32_t index, remote_index;         /* as on the wire */
	uint8_t send[32], recv[32];           /* of the session */
	uint64_t counter;
	uint8_t cookie[16], mac1[16];
	bool has_cookie;
	/* A point of low order that is sent in place of the next ephemeral key, or NULL; and
	 * whether pub is one. All products with them are zero, and so it goes on with that. */
	const uint8_t *point;
	bool pub_is_point;
};

/* The private key is `seed` repeated. */
void wgpeer_init(struct wgpeer *p, uint8_t seed, const uint8_t remote[32]);

/* TAI64N from seconds since 1970 and nanoseconds. */
void wgpeer_initiation(struct wgpeer *p, uint64_t sec, uint32_t ns, uint8_t out[148]);
bool wgpeer_take_response(struct wgpeer *p, const uint8_t in[92]); /* also the session's keys */
bool wgpeer_take_initiation(struct wgpeer *p, const uint8_t in[148]);
void wgpeer_response(struct wgpeer *p, uint8_t out[92]); /* also the session's keys */
/* Fills both MACs again, after a test has changed a message. */
void wgpeer_sign(struct wgpeer *p, uint8_t *message, size_t len);
bool wgpeer_macs_ok(const struct wgpeer *p, const uint8_t *message, size_t len);

/* A cookie reply to the message with that mac1, and taking one. */
void wgpeer_cookie_reply(struct wgpeer *p, const uint8_t *message, size_t len,
			 const uint8_t cookie[16], uint8_t out[64]);
bool wgpeer_take_cookie(struct wgpeer *p, const uint8_t in[64]);

/* A data message; returns its length (len + 32). */
size_t wgpeer_data(struct wgpeer *p, uint64_t counter, const void *plain, size_t len, uint8_t *out);
/* The length of the plain text, or -1. */
int wgpeer_open(const struct wgpeer *p, const uint8_t *in, size_t len, uint8_t *out,
		uint64_t *ret_counter);

#endif
