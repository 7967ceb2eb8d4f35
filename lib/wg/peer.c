/*
 * Peers: the table by public key, the endpoint that lanes read and write, the marks by which
 * lanes tell control what they saw, and the packets that wait.
 *
 * The endpoint is words (words.c): roaming is rare, reading is once a batch.
 *
 * A local address is learnt with the endpoint, so that replies leave from where the peer has sent
 * to. But only while they leave by that interface: with another route the next network would drop
 * what has the source of the former one. Control asks its caller for each that is learnt, and
 * for all when routes change. One that is refused is not learnt again, though the peer still sends
 * there until it has heard from elsewhere.
 *
 * A lane posts an event by setting its bit; the first bit puts the peer on the device's stack,
 * the first peer on the stack wakes control. Control takes the whole stack at once.
 *
 * A removed peer can still come to a lane by the ready stack: it stood there, or a lane that had
 * it puts it there. So it is freed after a whole round of epoch.c in which it was not put there,
 * and before and after which it stood on neither stack: whoever is inside at the end of that round
 * entered after its begin, and had nowhere to take it from.
 */
#include "wg/wg_priv.h"

#include <string.h>

/* ── table ──────────────────────────────────────────────────────────────────────────────── */

static struct wg_peer **bucket(const struct wg_device *d, const struct key *public_key)
{
	return &d->buckets[crypto_siphash(d->table_key, public_key->b, KEY_LEN) &
			   (d->n_buckets - 1)];
}

struct wg_peer *wg_peer_find(const struct wg_device *d, const struct key *public_key)
{
	if (!d->n_buckets)
		return NULL;
	for (struct wg_peer *p = *bucket(d, public_key); p; p = p->hash_next)
		if (key_eq(&p->public_key, public_key))
			return p;
	return NULL;
}

static int grow_table(struct wg_device *d)
{
	size_t n = d->n_buckets ? d->n_buckets * 2 : 16;
	struct wg_peer **buckets;

	if (d->n_peers < d->n_buckets)
		return 0;
	buckets = calloc(n, sizeof(*buckets));
	if (!buckets)
		return d->n_buckets ? 0 : -1;
	free(d->buckets);
	d->buckets = buckets;
	d->n_buckets = n;
	list_for_each (p, &d->peers, struct wg_peer, all) {
		struct wg_peer **at = bucket(d, &p->public_key);

		p->hash_next = *at;
		*at = p;
	}
	return 0;
}

struct wg_peer *wg_peer_add(struct wg_device *d, const struct key *public_key)
{
	struct wg_peer *p = calloc(1, sizeof(*p));

	if (!p || grow_table(d) < 0 || wg_timers_reserve(d, d->n_peers + 1) < 0) {
		free(p);
		return NULL;
	}
	p->d = d;
	p->public_key = *public_key;
	atomic_flag_clear(&p->staged_lock);
	p->staged_tail = &p->staged;
	list_init(&p->routes);
	wg_cookie_set_peer(p);
	p->heap_at = SIZE_MAX;
	wg_timers_off(p);

	struct wg_peer **at = bucket(d, public_key);
	p->hash_next = *at;
	*at = p;
	list_add(&d->peers, &p->all);
	d->n_peers++;
	return p;
}

void wg_peer_reset(struct wg_peer *p)
{
	wg_handshake_stop(p);
	wg_keypair_clear(p);
	wg_timers_off(p);
	wg_peer_drop_staged(p);
	p->sent_any = false;
	atomic_store(&p->keepalive, false);
	atomic_store(&p->unanswered, 0);
	atomic_store(&p->unreplied, 0);
	atomic_store(&p->armed, 0);
}

static bool peer_free(struct wg_retired *r)
{
	struct wg_peer *p = list_entry(r, struct wg_peer, retired);

	if (atomic_load(&p->events) || atomic_load(&p->on_ready) ||
	    atomic_exchange(&p->was_ready, false))
		return false;
	wg_peer_drop_staged(p); /* a lane may have staged one while it was removed */
	free(p);
	return true;
}

void wg_peer_remove(struct wg_peer *p)
{
	struct wg_device *d = p->d;
	struct wg_peer **at = bucket(d, &p->public_key);

	while (*at != p)
		at = &(*at)->hash_next;
	*at = p->hash_next;
	list_del(&p->all);
	d->n_peers--;
	wg_route_remove_peer(d, p);
	wg_peer_reset(p);
	p->dead = true;
	secret_free(mem_steal(&p->preshared));
	secret_free(mem_steal(&p->static_static));
	mem_wipe(&p->cookie, sizeof(p->cookie));
	wg_retire(d, &p->retired, peer_free);
}

const struct key *wg_peer_key(const struct wg_peer *p)
{
	return &p->public_key;
}

_Atomic uint32_t *wg_peer_flags(struct wg_peer *p)
{
	return &p->flags;
}

/* ── endpoint ───────────────────────────────────────────────────────────────────────────── */

bool wg_endpoint_eq(const struct wg_endpoint *a, const struct wg_endpoint *b)
{
	return a->ifindex == b->ifindex && ip_endpoint_cmp(&a->remote, &b->remote) == 0 &&
	       ip_addr_cmp(&a->local, &b->local) == 0;
}

struct wg_endpoint wg_peer_endpoint(const struct wg_peer *p)
{
	struct wg_endpoint e;

	wg_words_read(&p->endpoint_seq, p->endpoint, &e, sizeof(e));
	return e;
}

void wg_peer_set_endpoint(struct wg_peer *p, const struct wg_endpoint *e)
{
	wg_words_write(&p->endpoint_seq, p->endpoint, e, sizeof(*e));
}

/* The local address alone: what another lane may learn meanwhile of where the peer is stays. */
void wg_peer_clear_source(struct wg_peer *p)
{
	struct wg_endpoint e;
	uint32_t as_read;

	do {
		as_read = wg_words_read(&p->endpoint_seq, p->endpoint, &e, sizeof(e));
		if (e.local.family == AF_UNSPEC && e.ifindex == 0)
			return;
		e.local = (struct ip_addr){0};
		e.ifindex = 0;
	} while (!wg_words_replace(&p->endpoint_seq, as_read, p->endpoint, &e, sizeof(e)));
}

static uint64_t source_hash(const struct wg_device *d, const struct wg_endpoint *e)
{
	uint8_t b[2 * 16 + 4 + 2] = {0};
	uint64_t h;

	memcpy(b, e->remote.addr.b, 16);
	memcpy(b + 16, e->local.b, 16);
	memcpy(b + 32, &e->ifindex, 4);
	b[36] = e->remote.addr.family == AF_INET6;
	b[37] = e->local.family == AF_INET6;
	h = crypto_siphash(d->table_key, b, sizeof(b));
	return h ? h : 1;
}

bool wg_peer_learn(struct wg_peer *p, const struct wg_endpoint *from)
{
	struct wg_endpoint e = *from, at = wg_peer_endpoint(p);
	uint64_t refused = atomic_load_explicit(&p->refused, memory_order_relaxed);

	if (refused && refused == source_hash(p->d, from)) {
		e.local = (struct ip_addr){0};
		e.ifindex = 0;
	}
	if (wg_endpoint_eq(&at, &e))
		return false;
	wg_peer_set_endpoint(p, &e);
	if (ip_endpoint_cmp(&at.remote, &e.remote) == 0)
		return e.local.family != AF_UNSPEC;
	atomic_fetch_add_explicit(&p->d->moved, 1, memory_order_relaxed);
	return true;
}

void wg_peer_check_source(struct wg_peer *p)
{
	const struct wg_device *d = p->d;
	struct wg_endpoint e = wg_peer_endpoint(p);

	if (!d->ops->source_ok)
		return;
	if (atomic_load(&p->refused) && d->ops->source_ok(d->user, &p->refused_source))
		atomic_store(&p->refused, 0);
	if (e.local.family == AF_UNSPEC || d->ops->source_ok(d->user, &e))
		return;
	p->refused_source = e;
	atomic_store(&p->refused, source_hash(d, &e));
	wg_peer_clear_source(p);
}

/* ── what lanes tell control, and what it gives them ────────────────────────────────────── */

void wg_peer_post(struct wg_peer *p, enum wg_event e)
{
	struct wg_device *d = p->d;
	struct wg_peer *top;

	if (atomic_fetch_or(&p->events, e) != 0)
		return;
	top = atomic_load_explicit(&d->events, memory_order_relaxed);
	do
		p->event_next = top;
	while (!atomic_compare_exchange_weak_explicit(&d->events, &top, p, memory_order_release,
						      memory_order_relaxed));
	if (!top)
		d->ops->wake(d->user, WG_WAKE_CONTROL);
}

void wg_peer_want(struct wg_peer *p, struct mono now)
{
	atomic_store_explicit(&p->wanted_at, wg_stamp(now), memory_order_relaxed);
	if (!atomic_load_explicit(&p->wanted, memory_order_relaxed) &&
	    !atomic_exchange(&p->wanted, true))
		wg_peer_post(p, WG_E_HANDSHAKE);
}

void wg_peer_ready(struct wg_peer *p, bool keepalive)
{
	struct wg_device *d = p->d;
	struct wg_peer *top;

	if (keepalive)
		atomic_store(&p->keepalive, true);
	/* Before it can be taken again: who sees it taken sees this, too. */
	atomic_store(&p->was_ready, true);
	if (atomic_exchange(&p->on_ready, true))
		return;
	top = atomic_load_explicit(&d->ready, memory_order_relaxed);
	do
		p->ready_next = top;
	while (!atomic_compare_exchange_weak_explicit(&d->ready, &top, p, memory_order_release,
						      memory_order_relaxed));
	if (!top)
		d->ops->wake(d->user, WG_WAKE_TX);
}

static struct wg_packet *take_staged(struct wg_peer *p)
{
	struct wg_packet *list;

	while (atomic_flag_test_and_set_explicit(&p->staged_lock, memory_order_acquire))
		;
	list = p->staged;
	p->staged = NULL;
	p->staged_tail = &p->staged;
	atomic_store_explicit(&p->n_staged, 0, memory_order_relaxed);
	atomic_flag_clear_explicit(&p->staged_lock, memory_order_release);
	return list;
}

void wg_peer_drop_staged(struct wg_peer *p)
{
	struct wg_packet *list = take_staged(p);
	struct wg_device *d = p->d;

	for (struct wg_packet *at = list; at; at = at->next)
		atomic_fetch_add_explicit(&d->staged_dropped, 1, memory_order_relaxed);
	if (list)
		d->ops->drop(d->user, list);
}

/* Appends, then takes the oldest off until the bound holds. */
static struct wg_packet *append_staged(struct wg_peer *p, struct wg_packet *list, unsigned *ret_n)
{
	struct wg_packet *dropped = NULL, **end = &dropped;
	unsigned n, cut = 0;

	while (atomic_flag_test_and_set_explicit(&p->staged_lock, memory_order_acquire))
		;
	n = atomic_load_explicit(&p->n_staged, memory_order_relaxed);
	*p->staged_tail = list;
	for (; list; list = list->next, n++)
		p->staged_tail = &list->next;
	for (; n > WG_STAGED_MAX; n--, cut++) {
		*end = p->staged;
		end = &p->staged->next;
		p->staged = p->staged->next;
	}
	*end = NULL;
	atomic_store_explicit(&p->n_staged, n, memory_order_relaxed);
	atomic_flag_clear_explicit(&p->staged_lock, memory_order_release);
	*ret_n = cut;
	return dropped;
}

void wg_tx_stage(struct wg_lane *l, struct wg_peer *p, struct wg_packet *list, struct mono now)
{
	struct wg_device *d = l->d;
	unsigned n;
	struct wg_packet *dropped = append_staged(p, list, &n);

	if (dropped) {
		atomic_fetch_add_explicit(&d->staged_dropped, n, memory_order_relaxed);
		d->ops->drop(d->user, dropped);
	}
	/* The session may have come between the caller's attempt and now. Control makes the peer
	 * ready after each new session: either that finds these packets, or whoever took what was
	 * staged before them has released the lock, and the session is seen here. */
	if (wg_keypair_sendable(p, now))
		wg_peer_ready(p, false);
	else
		wg_peer_want(p, now);
}

struct wg_peer *wg_tx_ready(struct wg_lane *l, struct wg_packet **ret_staged)
{
	for (;;) {
		if (!l->ready)
			l->ready = atomic_exchange(&l->d->ready, NULL);
		struct wg_peer *p = l->ready;

		if (!p)
			return NULL;
		l->ready = p->ready_next;
		/* From here it may be put on the stack again, so nothing is missed. */
		atomic_store(&p->on_ready, false);
		bool keepalive = atomic_exchange(&p->keepalive, false);
		struct wg_packet *staged = take_staged(p);

		if (!staged && !keepalive)
			continue;
		*ret_staged = staged;
		return p;
	}
}
