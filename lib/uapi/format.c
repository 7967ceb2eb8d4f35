/*
 * What is written: the set request of the asking end, the get reply of the serving end.
 *
 * Texts with keys are built in a buffer that was reserved for the longest text they can have:
 * growing would leave copies of keys behind in freed memory.
 */
#include "uapi/uapi_priv.h"
#include "base/str.h"

#include <errno.h>

/* Upper bounds of one request's parts, each key with its longest value and the newline. */
#define DEVICE_MAX  256
#define PEER_MAX    448
#define ALLOWED_MAX (sizeof("allowed_ip=-\n") + IP_PREFIX_LEN)

static void add_key(struct buf *b, const char *name, const struct key *k)
{
	static const struct key zero;
	char hex[KEY_HEX];

	buf_adds(b, name);
	buf_addc(b, '=');
	buf_add(b, key_to_hex(k ? k : &zero, hex), KEY_HEX - 1);
	buf_addc(b, '\n');
	mem_wipe(hex, sizeof(hex));
}

/* A dump has five of them for each peer. */
static void add_number(struct buf *b, const char *name, uint64_t n)
{
	char text[STR_U64_LEN];
	size_t len = (size_t)(str_put_u64(text, n) - text);

	buf_adds(b, name);
	buf_add(b, text, len);
	buf_addc(b, '\n');
}

static void add_allowed(struct buf *b, const char *sign, const struct ip_prefix *p)
{
	char text[IP_PREFIX_LEN];

	buf_adds(b, "allowed_ip=");
	buf_adds(b, sign);
	buf_adds(b, ip_prefix_str(p, text));
	buf_addc(b, '\n');
}

static void add_endpoint(struct buf *b, const struct ip_endpoint *e)
{
	char text[IP_ENDPOINT_LEN];

	buf_adds(b, "endpoint=");
	buf_adds(b, ip_endpoint_str(e, text));
	buf_addc(b, '\n');
}

static void add_peer_change(struct buf *b, const struct wgdev_peer_change *p)
{
	add_key(b, "public_key", &p->public_key);
	if (p->remove) {
		buf_adds(b, "remove=true\n");
		return;
	}
	if (p->update_only)
		buf_adds(b, "update_only=true\n");
	if (p->set_preshared)
		add_key(b, "preshared_key", p->preshared_key);
	if (p->set_endpoint)
		add_endpoint(b, &p->endpoint);
	if (p->set_keepalive)
		buf_addf(b, "persistent_keepalive_interval=%u\n", p->keepalive);
	if (p->replace_allowed)
		buf_adds(b, "replace_allowed_ips=true\n");
	for (size_t i = 0; i < p->n_removed; i++)
		add_allowed(b, "-", &p->removed[i]);
	for (size_t i = 0; i < p->n_allowed; i++)
		add_allowed(b, "", &p->allowed[i]);
}

int uapi_format_set(const struct wgdev_change *c, struct buf *b)
{
	size_t need = DEVICE_MAX + c->n_peers * PEER_MAX;

	for (size_t i = 0; i < c->n_peers; i++) {
		const struct wgdev_peer_change *p = &c->peers[i];

		if (!p->remove && p->set_endpoint && p->endpoint.addr.family == AF_UNSPEC)
			return -EINVAL;
		need += (p->n_allowed + p->n_removed) * ALLOWED_MAX;
	}
	if (buf_reserve(b, need) < 0)
		return buf_error(b);

	buf_adds(b, "set=1\n");
	if (c->set_private_key)
		add_key(b, "private_key", c->private_key);
	if (c->set_listen_port)
		buf_addf(b, "listen_port=%u\n", c->listen_port);
	if (c->set_fwmark)
		buf_addf(b, "fwmark=%u\n", c->fwmark);
	if (c->replace_peers)
		buf_adds(b, "replace_peers=true\n");
	for (size_t i = 0; i < c->n_peers; i++)
		add_peer_change(b, &c->peers[i]);
	buf_addc(b, '\n');
	return buf_error(b);
}

void uapi_format_device(const struct wgdev *d, struct buf *b)
{
	if (d->private_key)
		add_key(b, "private_key", d->private_key);
	if (d->listen_port)
		buf_addf(b, "listen_port=%u\n", d->listen_port);
	if (d->fwmark)
		buf_addf(b, "fwmark=%u\n", d->fwmark);
}

static void add_peer_fields(const struct wgdev_peer *p, struct buf *b)
{
	add_key(b, "public_key", &p->public_key);
	add_key(b, "preshared_key", p->preshared_key);
	buf_adds(b, "protocol_version=1\n");
	if (p->endpoint.addr.family != AF_UNSPEC)
		add_endpoint(b, &p->endpoint);
	add_number(b, "last_handshake_time_sec=", (uint64_t)(p->last_handshake.ns / NS_PER_SEC));
	add_number(b, "last_handshake_time_nsec=", (uint64_t)(p->last_handshake.ns % NS_PER_SEC));
	add_number(b, "tx_bytes=", p->tx_bytes);
	add_number(b, "rx_bytes=", p->rx_bytes);
	add_number(b, "persistent_keepalive_interval=", p->keepalive);
}

void uapi_format_peer(const struct wgdev_peer *p, struct buf *b)
{
	add_peer_fields(p, b);
	for (size_t i = 0; i < p->n_allowed; i++)
		add_allowed(b, "", &p->allowed[i]);
}

void uapi_format_errno(int error, struct buf *b)
{
	buf_addf(b, "errno=%d\n\n", error);
}

/* phase 0: the device; 1: peers, of which `allowed` counts the lines of the current one, with its
 * fields as line 0; 2: done */
int uapi_writer_fill(struct uapi_writer *w, struct buf *b, size_t enough)
{
	if (w->phase == 0) {
		uapi_format_device(w->dev, b);
		w->phase = 1;
	}
	while (w->phase == 1 && b->len < enough && buf_error(b) == 0) {
		if (w->peer == w->dev->n_peers) {
			uapi_format_errno(0, b);
			w->phase = 2;
			break;
		}
		const struct wgdev_peer *p = &w->dev->peers[w->peer];
		if (w->allowed == 0)
			add_peer_fields(p, b);
		else
			add_allowed(b, "", &p->allowed[w->allowed - 1]);
		if (++w->allowed > p->n_allowed) {
			w->allowed = 0;
			w->peer++;
		}
	}
	return buf_error(b) < 0 ? buf_error(b) : w->phase != 2;
}
