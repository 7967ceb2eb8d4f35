/*
 * The reply to a get (and, with no state in it, to a set): lines into a struct wgdev.
 *
 *     device lines -> public_key -> that peer's lines -> public_key … -> errno -> empty line
 *
 * The device is another program, perhaps of another version, perhaps hostile: unknown keys are
 * passed over, known ones must have sound values and their place. A number that the format
 * repeats (listen_port twice) counts as it stood last.
 */
#include "uapi/uapi_priv.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* An age beyond this (31 years) is a time since the epoch after all. */
#define AGE_MAX (INT64_C(1000000000) * NS_PER_SEC)

#define HANDSHAKE_SEC_MAX ((uint64_t)(INT64_MAX / NS_PER_SEC - 1))

void uapi_reply_init(struct uapi_reply *r, const struct uapi_names *names)
{
	memset(r, 0, sizeof(*r));
	r->names = names;
}

void uapi_reply_clear(struct uapi_reply *r)
{
	wgdev_clear(&r->dev);
	uapi_line_wipe(&r->line);
	uapi_reply_init(r, r->names);
}

static int device_line(struct uapi_reply *r, const struct uapi_pair *v)
{
	struct wgdev *d = &r->dev;
	uint64_t n = 0;
	int ret = 0;

	switch (v->key) {
	case UAPI_PRIVATE_KEY: return uapi_value_secret(v, &d->private_key);
	case UAPI_OWN_PUBLIC_KEY:
		r->own_public_key = true;
		return uapi_value_key(v, &d->public_key);
	case UAPI_LISTEN_PORT:
		ret = uapi_value_u64(v, UINT16_MAX, &n);
		d->listen_port = (uint16_t)n;
		return ret;
	case UAPI_FWMARK:
		ret = uapi_value_u64(v, UINT32_MAX, &n);
		d->fwmark = (uint32_t)n;
		return ret;
	case UAPI_UNKNOWN:
	case UAPI_PROTOCOL_VERSION: return 0;
	default: return -EINVAL; /* a peer's line before any peer */
	}
}

static int new_peer(struct uapi_reply *r, const struct uapi_pair *v)
{
	struct key k;
	int ret = uapi_value_key(v, &k);

	if (ret < 0)
		return ret;
	if (r->dev.n_peers == UAPI_PEERS_MAX)
		return -E2BIG;
	return wgdev_add_peer(&r->dev, &k) ? 0 : -ENOMEM;
}

static int allowed_line(struct uapi_reply *r, struct wgdev_peer *p, const struct uapi_pair *v)
{
	struct ip_prefix prefix;
	int ret = uapi_value_prefix(v->value, v->len, &prefix);

	if (ret < 0)
		return ret;
	if (r->n_allowed++ == UAPI_ALLOWED_MAX)
		return -E2BIG;
	return wgdev_peer_add_allowed(p, prefix);
}

/* Seconds and nanoseconds come as two lines; either may come first. */
static int handshake_line(struct wgdev_peer *p, const struct uapi_pair *v)
{
	int64_t *ns = &p->last_handshake.ns, sec = *ns / NS_PER_SEC, nsec = *ns % NS_PER_SEC;
	uint64_t n = 0, max = v->key == UAPI_HANDSHAKE_SEC ? HANDSHAKE_SEC_MAX : NS_PER_SEC - 1;
	int ret = uapi_value_u64(v, max, &n);

	if (ret < 0)
		return ret;
	if (v->key == UAPI_HANDSHAKE_SEC)
		sec = (int64_t)n;
	else
		nsec = (int64_t)n;
	*ns = sec * NS_PER_SEC + nsec;
	return 0;
}

static int peer_line(struct uapi_reply *r, struct wgdev_peer *p, const struct uapi_pair *v)
{
	uint64_t n = 0;
	int ret;

	switch (v->key) {
	case UAPI_PRESHARED_KEY: return uapi_value_secret(v, &p->preshared_key);
	case UAPI_ENDPOINT: return uapi_value_endpoint(v, r->names, &p->endpoint);
	case UAPI_ALLOWED_IP: return allowed_line(r, p, v);
	case UAPI_HANDSHAKE_SEC:
	case UAPI_HANDSHAKE_NSEC: return handshake_line(p, v);
	case UAPI_RX_BYTES: return uapi_value_u64(v, UINT64_MAX, &p->rx_bytes);
	case UAPI_TX_BYTES: return uapi_value_u64(v, UINT64_MAX, &p->tx_bytes);
	case UAPI_KEEPALIVE:
		ret = uapi_value_u64(v, UINT16_MAX, &n);
		p->keepalive = (uint16_t)n;
		return ret;
	case UAPI_UNKNOWN:
	case UAPI_PROTOCOL_VERSION: return 0;
	default: return -EINVAL; /* a device's line among a peer's */
	}
}

/* wireguard-go writes the number negative, boringtun positive. */
static int errno_line(struct uapi_reply *r, const struct uapi_pair *v)
{
	struct uapi_pair digits = *v;
	uint64_t n;

	if (*digits.value == '-')
		digits.value++, digits.len--;
	if (uapi_value_u64(&digits, 4095, &n) < 0)
		return -EINVAL;
	r->device_errno = -(int)n;
	r->got_errno = true;
	return 0;
}

static int one_line(struct uapi_reply *r, struct err *e)
{
	unsigned at = r->line.number;
	struct uapi_pair v;
	int ret;

	if (r->got_errno || (r->line.len == 0 && !r->line.too_long)) {
		r->done = r->got_errno && r->line.len == 0;
		if (r->done)
			return 1;
		return err_set(e, -EPROTO,
			       r->got_errno ? "line %u: found a line after errno=, accepted is "
					      "the empty one that ends the reply"
					    : "line %u: empty, before any errno=",
			       at);
	}
	if (uapi_line_split(&r->line, &v) < 0)
		return err_set(e, -EPROTO, "line %u: not of the form key=value%s", at,
			       r->line.too_long ? " (too long)" : "");

	if (v.key == UAPI_ERRNO)
		ret = errno_line(r, &v);
	else if (v.key == UAPI_PUBLIC_KEY)
		ret = new_peer(r, &v);
	else if (r->dev.n_peers == 0)
		ret = device_line(r, &v);
	else
		ret = peer_line(r, &r->dev.peers[r->dev.n_peers - 1], &v);

	if (ret == -EINVAL)
		return err_set(e, -EPROTO, "line %u: bad value, or not its place: %s", at, v.name);
	if (ret == -E2BIG)
		return err_set(e, ret, "line %u: more than %d peers or %d allowed IPs", at,
			       UAPI_PEERS_MAX, UAPI_ALLOWED_MAX);
	return ret < 0 ? err_sys(e, ret, "line %u", at) : 0;
}

int uapi_reply_feed(struct uapi_reply *r, const char *data, size_t len, struct err *e)
{
	const char *end = data + len;

	while (!r->done && uapi_line_next(&r->line, &data, end)) {
		int ret = one_line(r, e);

		if (ret < 0)
			return ret;
	}
	return r->done;
}

int uapi_reply_finish(struct uapi_reply *r, struct wall now, struct wgdev *ret, struct err *e)
{
	struct wgdev *d = &r->dev;

	assert(r->done);
	if (r->device_errno < 0)
		return err_sys(e, r->device_errno, "the device refused the request");
	for (size_t i = 0; r->own_public_key && i < d->n_peers; i++) {
		int64_t *ns = &d->peers[i].last_handshake.ns;

		if (*ns > 0 && *ns < AGE_MAX && *ns < now.ns)
			*ns = now.ns - *ns;
	}
	if (d->private_key)
		crypto_x25519_public(d->private_key, &d->public_key);
	int error = wgdev_sort(d);
	if (error < 0)
		return err_sys(e, error, "reply of %zu peers", d->n_peers);
	for (size_t i = 1; i < d->n_peers; i++)
		if (key_cmp(&d->peers[i - 1].public_key, &d->peers[i].public_key) == 0)
			return err_set(e, -EPROTO, "one peer stands twice in the reply");

	memcpy(d->ifname, ret->ifname, sizeof(d->ifname));
	wgdev_clear(ret);
	*ret = *d;
	wgdev_init(d);
	return 0;
}
