/*
 * The 32-byte WireGuard key as a value, and its texts. This is the one file that turns keys into
 * text and back, in constant time with respect to the key's bytes (no table look-ups, no
 * branches on them).
 *
 * Public keys live in ordinary memory. Private and preshared keys live only in slots of
 * base/secret.h; a text of one is written to a caller's buffer that the caller wipes.
 */
#ifndef BASE_KEY_H
#define BASE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#define KEY_LEN    32
#define KEY_BASE64 45 /* with the NUL */
#define KEY_HEX    65 /* with the NUL */

struct key {
	uint8_t b[KEY_LEN];
};

char *key_to_base64(const struct key *k, char out[static KEY_BASE64]);
char *key_to_hex(const struct key *k, char out[static KEY_HEX]);

/* Exactly the canonical text (44 characters with one '=', or 64 hex digits of either case) and
 * its NUL. 0 or -EINVAL; the output changes only on success. */
int key_from_base64(const char *s, struct key *ret);
int key_from_hex(const char *s, struct key *ret);

/* Whether a text is that of the all-zero key in hexadecimal; constant time. */
bool key_hex_is_zero(const char *s);

bool key_eq(const struct key *a, const struct key *b); /* constant time */
bool key_is_zero(const struct key *k);                 /* constant time */
int key_cmp(const struct key *a, const struct key *b); /* an order, for public keys only */

#endif
