/*
 * A change as boringtun can take it.
 *
 * boringtun 0.7 panics when a set request names a peer that it has, and refuses update_only. So
 * each peer of a change is worked out here, from its state and the lines about it, and becomes at
 * most two: remove, then the whole peer. That costs the peer its session; a peer that comes out
 * as it was is left out, and keeps it.
 *
 * The change may name a peer several times, so its entries are gathered into one group a peer, in
 * their order. Groups go out in the order of their last entries: where two peers name one
 * allowed IP, the last one has it.
 */
#include "device/device_priv.h"
#include "base/secret.h"

#include <errno.h>
#include <string.h>

struct entry {
	const struct wgdev_peer_change *change;
	size_t at;
};

struct group {
	const struct entry *first;
	size_t n, last_at;
};

static int cmp_entry(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int c = key_cmp(&x->change->public_key, &y->change->public_key);

	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static int cmp_group(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return (x->last_at > y->last_at) - (x->last_at < y->last_at);
}

/* *p has its key alone. */
static int copy_peer(struct wgdev_peer *p, const struct wgdev_peer *from)
{
	p->endpoint = from->endpoint;
	p->keepalive = from->keepalive;
	p->preshared_key = secret_copy(from->preshared_key);
	if (from->preshared_key && !p->preshared_key)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_allowed; i++)
		if (wgdev_peer_add_allowed(p, from->allowed[i]) < 0)
			return -ENOMEM;
	return 0;
}

static void drop_allowed(struct wgdev_peer *p, const struct ip_prefix *which)
{
	struct ip_prefix masked = ip_prefix_mask(*which);
	size_t kept = 0;

	for (size_t i = 0; i < p->n_allowed; i++)
		if (ip_prefix_cmp(&p->allowed[i], &masked) != 0)
			p->allowed[kept++] = p->allowed[i];
	p->n_allowed = kept;
}

static int apply(struct wgdev_peer *p, const struct wgdev_peer_change *c)
{
	if (c->set_preshared) {
		struct key *psk = secret_copy(c->preshared_key);

		if (c->preshared_key && !psk)
			return -ENOMEM;
		secret_free(p->preshared_key);
		p->preshared_key = psk;
	}
	if (c->set_endpoint)
		p->endpoint = c->endpoint;
	if (c->set_keepalive)
		p->keepalive = c->keepalive;
	if (c->replace_allowed)
		p->n_allowed = 0;
	for (size_t i = 0; i < c->n_removed; i++)
		drop_allowed(p, &c->removed[i]);
	for (size_t i = 0; i < c->n_allowed; i++)
		if (wgdev_peer_add_allowed(p, c->allowed[i]) < 0)
			return -ENOMEM;
	return 0;
}

static bool same_secret(const struct key *a, const struct key *b)
{
	return a && b ? key_eq(a, b) : !a && !b;
}

static bool same_peer(const struct wgdev_peer *a, const struct wgdev_peer *b)
{
	if (!same_secret(a->preshared_key, b->preshared_key) || a->keepalive != b->keepalive ||
	    ip_endpoint_cmp(&a->endpoint, &b->endpoint) != 0 || a->n_allowed != b->n_allowed)
		return false;
	for (size_t i = 0; i < a->n_allowed; i++)
		if (ip_prefix_cmp(&a->allowed[i], &b->allowed[i]) != 0)
			return false;
	return true;
}

/* The peer after all its entries, as the first and only one of *scratch, sorted. */
static int work_out(const struct wgdev_peer *was, const struct group *g, struct wgdev *scratch,
		    bool *ret_exists)
{
	const struct key *k = &g->first->change->public_key;
	struct wgdev_peer *p = wgdev_add_peer(scratch, k);
	bool exists = was != NULL;

	if (!p || (was && copy_peer(p, was) < 0))
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++) {
		const struct wgdev_peer_change *c = g->first[i].change;

		if (c->remove) {
			exists = false;
			wgdev_peer_clear(p);
			p->public_key = *k;
		} else if (exists || !c->update_only) {
			exists = true;
			if (apply(p, c) < 0)
				return -ENOMEM;
		}
	}
	*ret_exists = exists;
	return wgdev_sort(scratch);
}

/* Adds what group `g` comes to. Whole peers in the list have no pointers yet: see link_peers. */
static int add_group(struct device_rewrite *w, const struct wgdev_peer *was, const struct group *g)
{
	_cleanup_wgdev_ struct wgdev scratch = {0};
	struct wgdev_peer_change *list = w->list + w->change.n_peers;
	bool exists;

	int r = work_out(was, g, &scratch, &exists);
	if (r < 0)
		return r;
	struct wgdev_peer *p = &scratch.peers[0];
	if (was && exists && same_peer(was, p))
		return 0;
	if (was) {
		*list++ = (struct wgdev_peer_change){.public_key = p->public_key, .remove = true};
		w->change.n_peers++;
	}
	if (!exists)
		return 0;

	struct wgdev_peer *kept = wgdev_add_peer(&w->peers, &p->public_key);
	if (!kept)
		return -ENOMEM;
	*kept = *p;
	memset(p, 0, sizeof(*p)); /* handed over */
	*list = (struct wgdev_peer_change){.public_key = kept->public_key};
	w->change.n_peers++;
	return 0;
}

/* The peers have stopped moving: the list's whole peers, in their order, borrow from them. */
static void link_peers(struct device_rewrite *w)
{
	const struct wgdev_peer *p = w->peers.peers;

	for (size_t i = 0; i < w->change.n_peers; i++) {
		struct wgdev_peer_change *c = &w->list[i];

		if (c->remove)
			continue;
		c->set_preshared = p->preshared_key != NULL;
		c->preshared_key = p->preshared_key;
		c->set_endpoint = p->endpoint.addr.family != AF_UNSPEC;
		c->endpoint = p->endpoint;
		c->set_keepalive = p->keepalive != 0;
		c->keepalive = p->keepalive;
		c->allowed = p->allowed;
		c->n_allowed = p->n_allowed;
		p++;
	}
	w->change.peers = w->list;
}

/* Groups of the change's entries; `entries` and `groups` have room for all of them. */
static size_t group_entries(const struct wgdev_change *c, struct entry *entries,
			    struct group *groups)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_peers; i++)
		entries[i] = (struct entry){&c->peers[i], i};
	qsort(entries, c->n_peers, sizeof(*entries), cmp_entry);
	for (size_t i = 0; i < c->n_peers; i++) {
		if (i == 0 ||
		    !key_eq(&entries[i - 1].change->public_key, &entries[i].change->public_key))
			groups[n++] = (struct group){.first = &entries[i]};
		groups[n - 1].n++;
		groups[n - 1].last_at = entries[i].at;
	}
	qsort(groups, n, sizeof(*groups), cmp_group);
	return n;
}

int device_rewrite(const struct wgdev *now, const struct wgdev_change *c,
		   struct device_rewrite *ret, struct err *e)
{
	struct device_rewrite w = {.change = *c};
	_cleanup_free_ struct entry *entries = calloc(c->n_peers + 1, sizeof(*entries));
	_cleanup_free_ struct group *groups = calloc(c->n_peers + 1, sizeof(*groups));
	int r = 0;

	w.change.n_peers = 0;
	w.list = calloc(2 * c->n_peers + 1, sizeof(*w.list));
	if (!entries || !groups || !w.list)
		r = -ENOMEM;

	size_t n = r < 0 ? 0 : group_entries(c, entries, groups);
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct key *k = &groups[i].first->change->public_key;

		r = add_group(&w, c->replace_peers ? NULL : wgdev_find(now, k), &groups[i]);
	}
	if (r < 0) {
		device_rewrite_clear(&w);
		return err_sys(e, r, "change of %zu peers", c->n_peers);
	}
	/* It would panic. */
	bool has_key = c->set_private_key ? c->private_key != NULL : !key_is_zero(&now->public_key);
	if (w.peers.n_peers && !has_key) {
		device_rewrite_clear(&w);
		return err_set(e, -EINVAL, "boringtun needs a private key before peers");
	}
	link_peers(&w);
	*ret = w;
	return 0;
}

void device_rewrite_clear(struct device_rewrite *w)
{
	wgdev_clear(&w->peers);
	free(w->list);
	memset(w, 0, sizeof(*w));
}
