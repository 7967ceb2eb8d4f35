/*
 * A request on the serving end, gathered whole before anything of it is applied.
 *
 *     OPERATION --set=1--> DEVICE --public_key--> PEER --public_key--> PEER …
 *         |                  |                      |
 *       get=1            empty line             empty line
 *         v                  v                      v
 *     GET --empty line--> the end
 *
 * The first fault is kept with its line; the lines after it are read up to the empty one and
 * not looked at, and what was gathered is dropped at once. After an unknown operation there is
 * no telling where the next one starts: the request ends there and asks for the connection to
 * be closed.
 *
 * Allowed IPs of all peers stand in one growing array, each peer with the place where its own
 * begin; so do the removed ones, each with its cut: how many of the peer's allowed IPs stood
 * before it. Pointers are set when the request is complete.
 */
#include "uapi/uapi_priv.h"
#include "base/secret.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

enum { OPERATION, GET, DEVICE, PEER, SKIP };

struct uapi_request_peer {
	struct key *preshared_key; /* owned */
	size_t allowed, removed;   /* where this peer's begin */
};

void uapi_request_init(struct uapi_request *q, const struct uapi_names *names)
{
	memset(q, 0, sizeof(*q));
	q->names = names;
}

static void drop_change(struct uapi_request *q)
{
	for (size_t i = 0; i < q->n_peers; i++)
		secret_free(q->extra[i].preshared_key);
	secret_free(q->private_key);
	free(q->peers);
	free(q->extra);
	free(q->allowed);
	free(q->removed);
	free(q->cuts);
	q->private_key = NULL;
	q->peers = NULL;
	q->extra = NULL;
	q->allowed = q->removed = NULL;
	q->cuts = NULL;
	q->n_peers = q->cap_peers = q->cap_extra = 0;
	q->n_allowed = q->cap_allowed = q->n_removed = q->cap_removed = q->cap_cuts = 0;
	memset(&q->change, 0, sizeof(q->change));
}

void uapi_request_clear(struct uapi_request *q)
{
	drop_change(q);
	uapi_line_wipe(&q->line);
	uapi_request_init(q, q->names);
}

static int true_line(const struct uapi_pair *v, bool *ret)
{
	if (!str_eq(v->value, "true"))
		return -EINVAL;
	*ret = true;
	return 0;
}

static int device_line(struct uapi_request *q, const struct uapi_pair *v)
{
	struct wgdev_change *c = &q->change;
	uint64_t n = 0;
	int r;

	switch (v->key) {
	case UAPI_PRIVATE_KEY:
		c->set_private_key = true;
		r = uapi_value_secret(v, &q->private_key);
		c->private_key = q->private_key;
		return r;
	case UAPI_LISTEN_PORT:
		c->set_listen_port = true;
		r = uapi_value_u64(v, UINT16_MAX, &n);
		c->listen_port = (uint16_t)n;
		return r;
	case UAPI_FWMARK:
		c->set_fwmark = true;
		r = uapi_value_u64(v, UINT32_MAX, &n);
		c->fwmark = (uint32_t)n;
		return r;
	case UAPI_REPLACE_PEERS: return true_line(v, &c->replace_peers);
	default: return -EINVAL;
	}
}

static int public_key_line(struct uapi_request *q, const struct uapi_pair *v)
{
	struct key k;
	int r = uapi_value_key(v, &k);

	if (r < 0)
		return r;
	if (q->n_peers == UAPI_PEERS_MAX)
		return -E2BIG;
	if (mem_grow(&q->peers, q->n_peers, &q->cap_peers, sizeof(*q->peers)) < 0 ||
	    mem_grow(&q->extra, q->n_peers, &q->cap_extra, sizeof(*q->extra)) < 0)
		return -ENOMEM;
	q->peers[q->n_peers] = (struct wgdev_peer_change){.public_key = k};
	q->extra[q->n_peers] = (struct uapi_request_peer){
		.allowed = q->n_allowed,
		.removed = q->n_removed,
	};
	q->n_peers++;
	q->state = PEER;
	return 0;
}

static int allowed_line(struct uapi_request *q, const struct uapi_pair *v)
{
	size_t begin = q->extra[q->n_peers - 1].allowed, minus = *v->value == '-';
	struct ip_prefix p;
	int r = uapi_value_prefix(v->value + minus, v->len - minus, &p);

	if (r < 0)
		return r;
	if (q->n_allowed + q->n_removed == UAPI_ALLOWED_MAX)
		return -E2BIG;
	if (minus) {
		if (mem_grow(&q->removed, q->n_removed, &q->cap_removed, sizeof(p)) < 0 ||
		    mem_grow(&q->cuts, q->n_removed, &q->cap_cuts, sizeof(*q->cuts)) < 0)
			return -ENOMEM;
		q->cuts[q->n_removed] = q->n_allowed - begin;
		q->removed[q->n_removed++] = p;
		return 0;
	}
	if (mem_grow(&q->allowed, q->n_allowed, &q->cap_allowed, sizeof(p)) < 0)
		return -ENOMEM;
	q->allowed[q->n_allowed++] = p;
	return 0;
}

static int replace_line(struct uapi_request *q, struct wgdev_peer_change *p,
			const struct uapi_pair *v)
{
	int r = true_line(v, &p->replace_allowed);

	if (r < 0)
		return r;
	q->n_allowed = q->extra[q->n_peers - 1].allowed;
	q->n_removed = q->extra[q->n_peers - 1].removed;
	return 0;
}

static int peer_line(struct uapi_request *q, const struct uapi_pair *v)
{
	struct wgdev_peer_change *p = &q->peers[q->n_peers - 1];
	struct uapi_request_peer *x = &q->extra[q->n_peers - 1];
	uint64_t n = 0;
	int r;

	switch (v->key) {
	case UAPI_REMOVE: return true_line(v, &p->remove);
	case UAPI_UPDATE_ONLY: return true_line(v, &p->update_only);
	case UAPI_PRESHARED_KEY:
		p->set_preshared = true;
		r = uapi_value_secret(v, &x->preshared_key);
		p->preshared_key = x->preshared_key;
		return r;
	case UAPI_ENDPOINT:
		p->set_endpoint = true;
		return uapi_value_endpoint(v, q->names, &p->endpoint);
	case UAPI_KEEPALIVE:
		p->set_keepalive = true;
		r = uapi_value_u64(v, UINT16_MAX, &n);
		p->keepalive = (uint16_t)n;
		return r;
	case UAPI_REPLACE_ALLOWED_IPS: return replace_line(q, p, v);
	case UAPI_ALLOWED_IP: return allowed_line(q, v);
	case UAPI_PROTOCOL_VERSION: return str_eq(v->value, "1") ? 0 : -EINVAL;
	default: return -EINVAL;
	}
}

/* ---- the end of a request ---- */

struct removal {
	struct ip_prefix prefix;
	size_t cut;
};

static int cmp_removal(const void *a, const void *b)
{
	const struct removal *x = a, *y = b;
	int c = ip_prefix_cmp(&x->prefix, &y->prefix);

	return c ? c : (x->cut < y->cut) - (x->cut > y->cut); /* the last one first */
}

static int cmp_prefix(const void *key, const void *removal)
{
	return ip_prefix_cmp(key, &((const struct removal *)removal)->prefix);
}

/* Drops from a peer's allowed IPs each one that a later line removes. */
static int settle_peer(struct wgdev_peer_change *p, struct ip_prefix *allowed, const size_t *cuts)
{
	_cleanup_free_ struct removal *sorted = NULL;
	size_t kept = 0, unique = 0;

	if (p->n_removed == 0 || p->n_allowed == 0)
		return 0;
	sorted = calloc(p->n_removed, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_removed; i++)
		sorted[i] = (struct removal){p->removed[i], cuts[i]};
	qsort(sorted, p->n_removed, sizeof(*sorted), cmp_removal);
	for (size_t i = 0; i < p->n_removed; i++)
		if (i == 0 || ip_prefix_cmp(&sorted[unique - 1].prefix, &sorted[i].prefix) != 0)
			sorted[unique++] = sorted[i];
	for (size_t i = 0; i < p->n_allowed; i++) {
		const struct removal *later =
			bsearch(&allowed[i], sorted, unique, sizeof(*sorted), cmp_prefix);

		if (!later || later->cut <= i)
			allowed[kept++] = allowed[i];
	}
	p->n_allowed = kept;
	return 0;
}

static int finish_set(struct uapi_request *q)
{
	for (size_t i = 0; i < q->n_peers; i++) {
		const struct uapi_request_peer *x = &q->extra[i];
		struct wgdev_peer_change *p = &q->peers[i];
		bool last = i + 1 == q->n_peers;

		p->n_allowed = (last ? q->n_allowed : x[1].allowed) - x->allowed;
		p->n_removed = (last ? q->n_removed : x[1].removed) - x->removed;
		p->allowed = p->n_allowed ? q->allowed + x->allowed : NULL;
		p->removed = p->n_removed ? q->removed + x->removed : NULL;
		if (p->n_allowed && p->n_removed) {
			int r = settle_peer(p, q->allowed + x->allowed, q->cuts + x->removed);

			if (r < 0)
				return r;
		}
	}
	q->is_set = true;
	q->change.peers = q->peers;
	q->change.n_peers = q->n_peers;
	return 0;
}

static void refuse(struct uapi_request *q, int error, const char *name)
{
	unsigned at = q->line.number;

	if (!name)
		err_set(&q->err, error, "line %u: not of the form key=value%s", at,
			q->line.too_long ? " (too long)" : "");
	else if (error == -EINVAL)
		err_set(&q->err, error, "line %u: bad value, or not its place: %s", at, name);
	else if (error == -E2BIG)
		err_set(&q->err, error, "line %u: more than %d peers or %d allowed IPs", at,
			UAPI_PEERS_MAX, UAPI_ALLOWED_MAX);
	else
		err_sys(&q->err, error, "line %u", at);
	drop_change(q);
	q->state = SKIP;
}

/* 1 when the request has ended with this line. */
static int operation_line(struct uapi_request *q)
{
	const char *op = q->line.too_long ? "" : q->line.text;

	q->state = str_eq(op, "get=1") ? GET : str_eq(op, "set=1") ? DEVICE : SKIP;
	if (q->state != SKIP)
		return 0;
	err_set(&q->err, -EPROTO, "line 1: accepted are get=1 and set=1");
	q->close = true;
	return 1;
}

static int empty_line(struct uapi_request *q)
{
	int r = q->state == DEVICE || q->state == PEER ? finish_set(q) : 0;

	if (r < 0)
		refuse(q, r, "");
	return 1;
}

static int one_line(struct uapi_request *q)
{
	/* Only a known key may stand in a message: what else comes before '=' may be anything. */
	struct uapi_pair v;
	int r;

	if (q->state == OPERATION)
		return operation_line(q);
	if (q->line.len == 0 && !q->line.too_long)
		return empty_line(q);
	if (q->state == SKIP)
		return 0;
	if (uapi_line_split(&q->line, &v) < 0) {
		refuse(q, -EPROTO, NULL);
		return 0;
	}
	if (q->state == GET)
		r = -EINVAL;
	else if (v.key == UAPI_PUBLIC_KEY)
		r = public_key_line(q, &v);
	else
		r = q->state == DEVICE ? device_line(q, &v) : peer_line(q, &v);
	if (r < 0)
		refuse(q, r, v.key == UAPI_UNKNOWN ? "unknown key" : v.name);
	return 0;
}

int uapi_request_feed(struct uapi_request *q, const char *data, size_t len, size_t *ret_used)
{
	const char *p = data, *end = data + len;
	int done = 0;

	while (!done && uapi_line_next(&q->line, &p, end))
		done = one_line(q);
	*ret_used = (size_t)(p - data);
	return done;
}
