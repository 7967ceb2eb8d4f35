/*
 * Configuration: a change is applied field by field and peer by peer, so that what it does not
 * name stays as it is: an unchanged peer keeps its session.
 *
 * The kernel and wireguard-go empty the list for replace_peers, so a peer that is named again is
 * what the change says of it and nothing else: no preshared key, keepalive, endpoint or allowed
 * IP of before. So it is here, where a peer is named first in such a change. But its session
 * is nobody's configuration: it stays unless the preshared key, which it was made with, is another.
 */
#include "wg/wg_priv.h"

#include <errno.h>
#include <string.h>

/* ── the device's key ───────────────────────────────────────────────────────────────────── */

/* Of a persistent keepalive that begins: under the session, or else a handshake, in its turn. */
static void first_keepalive(struct wg_peer *p, struct wg_time now)
{
	if (wg_keypair_sendable(p, now.mono))
		wg_peer_ready(p, true);
	else
		wg_handshake_in_turn(p, now);
}

static void set_private_key(struct wg_device *d, const struct key *k, struct wg_time now)
{
	struct wg_peer *self;

	d->has_key = k && !key_is_zero(k);
	if (d->has_key) {
		*d->private_key = *k;
		crypto_x25519_clamp(d->private_key);
		crypto_x25519_public(d->private_key, &d->public_key);
	} else {
		mem_wipe(d->private_key, sizeof(*d->private_key));
		memset(&d->public_key, 0, sizeof(d->public_key));
	}
	wg_noise_set_key(d);
	wg_cookie_set_key(d);
	list_for_each (p, &d->peers, struct wg_peer, all) {
		secret_free(mem_steal(&p->static_static));
		wg_handshake_stop(p);
		p->sent_any = false;
		wg_keypair_expire(p);
	}
	d->next_turn = (struct mono){0}; /* nobody waits for one any more */
	self = d->has_key ? wg_peer_find(d, &d->public_key) : NULL;
	if (self)
		wg_peer_remove(self);
	list_for_each (p, &d->peers, struct wg_peer, all)
		if (p->persistent)
			first_keepalive(p, now);
}

/* The same key again changes nothing: an unchanged configuration cuts no session. */
static bool key_is_new(const struct wg_device *d, const struct key *k)
{
	struct key clamped = {{0}};
	bool same;

	if (!k || key_is_zero(k))
		return d->has_key;
	clamped = *k;
	crypto_x25519_clamp(&clamped);
	same = d->has_key && key_eq(&clamped, d->private_key);
	mem_wipe(&clamped, sizeof(clamped));
	return !same;
}

/* ── peers ──────────────────────────────────────────────────────────────────────────────── */

static int set_preshared(struct wg_peer *p, const struct key *k)
{
	struct key *slot;

	if (!k || key_is_zero(k)) {
		secret_free(mem_steal(&p->preshared));
		return 0;
	}
	slot = p->preshared ? p->preshared : secret_new();
	if (!slot)
		return -ENOMEM;
	*slot = *k;
	p->preshared = slot;
	return 0;
}

static bool has_preshared(const struct wg_peer *p, const struct key *k)
{
	if (!k || key_is_zero(k))
		return !p->preshared;
	return p->preshared && key_eq(p->preshared, k);
}

static int set_allowed(struct wg_peer *p, const struct wgdev_peer_change *c)
{
	if (c->replace_allowed)
		wg_route_remove_peer(p->d, p);
	for (size_t i = 0; i < c->n_removed; i++)
		wg_route_remove(p->d, p, &c->removed[i]);
	for (size_t i = 0; i < c->n_allowed; i++)
		if (wg_route_add(p->d, p, &c->allowed[i]) < 0)
			return -ENOMEM;
	return 0;
}

static void set_persistent(struct wg_peer *p, uint16_t seconds, struct wg_time now)
{
	uint16_t old = p->persistent;

	p->persistent = seconds;
	if (!atomic_load(&p->d->up))
		return;
	wg_timer_set(p, WG_T_PERSIST, seconds ? now.mono.ns + seconds * NS_PER_SEC : WG_OFF);
	if (seconds && !old)
		first_keepalive(p, now);
}

static bool any(const uint8_t stamp[static 12])
{
	static const uint8_t none[12];

	return memcmp(stamp, none, sizeof(none)) != 0;
}

/* Whether wg_save has something to say of it. */
static bool is_known(const struct wg_peer *p)
{
	return any(p->received_stamp) || any(p->sent_stamp);
}

static void set_endpoint(struct wg_peer *p, const struct ip_endpoint *remote)
{
	struct wg_endpoint e = {.remote = *remote}, at = wg_peer_endpoint(p);

	if (is_known(p) && ip_endpoint_cmp(&at.remote, remote) != 0)
		atomic_fetch_add_explicit(&p->d->moved, 1, memory_order_relaxed);
	wg_peer_set_endpoint(p, &e);
}

static int change_peer(struct wg_peer *p, const struct wgdev_peer_change *c, struct wg_time now)
{
	int r = 0;

	if (c->set_preshared)
		r = set_preshared(p, c->preshared_key);
	if (c->set_endpoint)
		set_endpoint(p, &c->endpoint);
	if (r == 0)
		r = set_allowed(p, c);
	if (c->set_keepalive)
		set_persistent(p, c->keepalive, now);
	return r;
}

/* It is all that the change says of it, and nothing that it was. */
static int begin_anew(struct wg_peer *p, const struct wgdev_peer_change *c, struct wg_time now)
{
	struct wgdev_peer_change all = *c;

	all.replace_allowed = all.set_preshared = all.set_endpoint = all.set_keepalive = true;
	if (!c->set_preshared)
		all.preshared_key = NULL;
	if (!c->set_endpoint)
		all.endpoint = (struct ip_endpoint){0};
	if (!c->set_keepalive)
		all.keepalive = 0;
	if (!has_preshared(p, all.preshared_key)) {
		wg_peer_reset(p);
		p->persistent = 0;
	}
	return change_peer(p, &all, now);
}

static int apply_peer(struct wg_device *d, const struct wgdev_peer_change *c, bool replace,
		      struct wg_time now)
{
	struct wg_peer *p = wg_peer_find(d, &c->public_key);

	if (c->remove) {
		if (p)
			wg_peer_remove(p);
		return 0;
	}
	if (p && replace && !p->named) {
		if (c->update_only) /* of what the list is emptied of */
			return 0;
		p->named = true;
		return begin_anew(p, c, now);
	}
	if (!p) {
		if (c->update_only || (d->has_key && key_eq(&c->public_key, &d->public_key)))
			return 0;
		if (d->n_peers >= WG_PEERS_MAX)
			return -E2BIG;
		p = wg_peer_add(d, &c->public_key);
		if (!p)
			return -ENOMEM;
		p->named = true;
	}
	return change_peer(p, c, now);
}

int wg_apply(struct wg_device *d, const struct wgdev_change *c, struct wg_time now)
{
	int r = 0;

	if (c->set_private_key && key_is_new(d, c->private_key))
		set_private_key(d, c->private_key, now);
	if (c->replace_peers)
		list_for_each (p, &d->peers, struct wg_peer, all)
			p->named = false;
	for (size_t i = 0; r == 0 && i < c->n_peers; i++)
		r = apply_peer(d, &c->peers[i], c->replace_peers, now);
	if (c->replace_peers && r == 0)
		list_for_each_safe (p, &d->peers, struct wg_peer, all)
			if (!p->named)
				wg_peer_remove(p);
	return r;
}

/* Once. */
static void resume(struct wg_peer *p, struct wg_time now)
{
	if (!p->resume || !atomic_load(&p->d->up))
		return;
	p->resume = false;
	if (!p->sent_any)
		wg_handshake_in_turn(p, now);
}

void wg_set_up(struct wg_device *d, bool up, struct wg_time now)
{
	if (atomic_exchange(&d->up, up) == up)
		return;
	d->next_turn = (struct mono){0};
	list_for_each (p, &d->peers, struct wg_peer, all) {
		if (!up) {
			wg_peer_reset(p);
			continue;
		}
		resume(p, now);
		if (p->persistent) {
			wg_timer_set(p, WG_T_PERSIST, now.mono.ns + p->persistent * NS_PER_SEC);
			first_keepalive(p, now);
		}
	}
}

void wg_clear_sources(struct wg_device *d, const struct ip_addr *gone)
{
	list_for_each (p, &d->peers, struct wg_peer, all) {
		struct wg_endpoint e = wg_peer_endpoint(p);

		if (!gone || ip_addr_cmp(&e.local, gone) == 0)
			wg_peer_clear_source(p);
	}
}

void wg_check_sources(struct wg_device *d)
{
	list_for_each (p, &d->peers, struct wg_peer, all)
		wg_peer_check_source(p);
}

/* ── reading back ───────────────────────────────────────────────────────────────────────── */

static int get_peer(struct wgdev *ret, const struct wg_peer *p)
{
	struct wgdev_peer *out = wgdev_add_peer(ret, &p->public_key);

	if (!out)
		return -ENOMEM;
	out->preshared_key = secret_copy(p->preshared);
	if (p->preshared && !out->preshared_key)
		return -ENOMEM;
	out->endpoint = wg_peer_endpoint(p).remote;
	out->keepalive = p->persistent;
	out->rx_bytes = atomic_load_explicit(&p->rx_bytes, memory_order_relaxed);
	out->tx_bytes = atomic_load_explicit(&p->tx_bytes, memory_order_relaxed);
	out->last_handshake = p->last_handshake;
	list_for_each (r, &p->routes, struct wg_route, of_peer)
		if (wgdev_peer_add_allowed(out, wg_route_prefix(r)) < 0)
			return -ENOMEM;
	return 0;
}

int wg_get(struct wg_device *d, struct wgdev *ret)
{
	if (d->has_key) {
		ret->private_key = secret_copy(d->private_key);
		if (!ret->private_key)
			return -ENOMEM;
		ret->public_key = d->public_key;
	}
	list_for_each (p, &d->peers, struct wg_peer, all) {
		int r = get_peer(ret, p);

		if (r < 0)
			return r;
	}
	return wgdev_sort(ret);
}

/* ── across a restart ───────────────────────────────────────────────────────────────────── */

void wg_save(struct wg_device *d, void (*cb)(void *user, const struct wg_peer_state *s), void *user)
{
	list_for_each (p, &d->peers, struct wg_peer, all) {
		struct wg_peer_state s = {.public_key = p->public_key,
					  .endpoint = wg_peer_endpoint(p),
					  .session = p->session};

		memcpy(s.received, p->received_stamp, sizeof(s.received));
		memcpy(s.sent, p->sent_stamp, sizeof(s.sent));
		if (is_known(p))
			cb(user, &s);
	}
}

static void raise(uint8_t stamp[static 12], const uint8_t to[static 12])
{
	if (memcmp(to, stamp, 12) > 0)
		memcpy(stamp, to, 12);
}

int wg_restore(struct wg_device *d, const struct wg_peer_state *s, struct wg_time now)
{
	struct wg_peer *p = wg_peer_find(d, &s->public_key);

	if (!p)
		return -ENOENT;
	raise(p->received_stamp, s->received);
	raise(p->sent_stamp, s->sent);
	if (wg_peer_endpoint(p).remote.addr.family == AF_UNSPEC)
		wg_peer_set_endpoint(p, &s->endpoint);
	/* Of the future when the clock was set back: an initiation too many does no harm. */
	if (p->session.ns < s->session.ns)
		p->session = s->session;
	p->resume = !wall_is_never(s->session) && now.wall.ns - s->session.ns < WG_REJECT_AFTER;
	resume(p, now);
	return 0;
}
