/* Shared by lib/uapi's parsers and formatters: lines, keys, values. */
#ifndef UAPI_PRIV_H
#define UAPI_PRIV_H

#include "uapi/uapi.h"

enum uapi_key {
	UAPI_UNKNOWN,
	UAPI_PRIVATE_KEY,
	UAPI_OWN_PUBLIC_KEY,
	UAPI_LISTEN_PORT,
	UAPI_FWMARK,
	UAPI_REPLACE_PEERS,
	UAPI_PUBLIC_KEY,
	UAPI_REMOVE,
	UAPI_UPDATE_ONLY,
	UAPI_PRESHARED_KEY,
	UAPI_ENDPOINT,
	UAPI_KEEPALIVE,
	UAPI_REPLACE_ALLOWED_IPS,
	UAPI_ALLOWED_IP,
	UAPI_PROTOCOL_VERSION,
	UAPI_HANDSHAKE_SEC,
	UAPI_HANDSHAKE_NSEC,
	UAPI_RX_BYTES,
	UAPI_TX_BYTES,
	UAPI_ERRNO,
};

/* A whole line, taken apart. Both texts are inside the line and NUL-terminated. */
struct uapi_pair {
	enum uapi_key key;
	const char *name, *value;
	size_t len; /* of the value */
};

/* Takes bytes from *p up to `end` or through the end of a line. True when the line is complete;
 * it stays until the next call. */
bool uapi_line_next(struct uapi_line *l, const char **p, const char *end);
void uapi_line_wipe(struct uapi_line *l); /* and starts counting anew */

/* Splits the complete line at its first '='. -EINVAL without one, with a NUL, or too long. */
int uapi_line_split(struct uapi_line *l, struct uapi_pair *ret);

/* Values: 0, -EINVAL or (keys) -ENOMEM, outputs unchanged on failure. */
int uapi_value_u64(const struct uapi_pair *v, uint64_t max, uint64_t *ret);
int uapi_value_key(const struct uapi_pair *v, struct key *ret);
/* Into a new slot that replaces *slot; NULL for the key of zeros, which stands for none. */
int uapi_value_secret(const struct uapi_pair *v, struct key **slot);
int uapi_value_prefix(const char *s, size_t len, struct ip_prefix *ret); /* "ADDR/LEN", masked */
/* As ip_endpoint_parse; a scope may also be an interface's name. */
int uapi_value_endpoint(const struct uapi_pair *v, const struct uapi_names *names,
			struct ip_endpoint *ret);

#endif
