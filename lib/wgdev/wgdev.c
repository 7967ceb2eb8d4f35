#include "wgdev/wgdev.h"
#include "base/secret.h"

#include <errno.h>
#include <string.h>

void wgdev_init(struct wgdev *d)
{
	memset(d, 0, sizeof(*d));
}

void wgdev_peer_clear(struct wgdev_peer *p)
{
	secret_free(p->preshared_key);
	free(p->allowed);
	memset(p, 0, sizeof(*p));
}

void wgdev_clear(struct wgdev *d)
{
	for (size_t i = 0; i < d->n_peers; i++)
		wgdev_peer_clear(&d->peers[i]);
	free(d->peers);
	secret_free(d->private_key);
	wgdev_init(d);
}

struct wgdev_peer *wgdev_add_peer(struct wgdev *d, const struct key *public_key)
{
	if (mem_grow(&d->peers, d->n_peers, &d->cap_peers, sizeof(*d->peers)) < 0)
		return NULL;
	struct wgdev_peer *p = &d->peers[d->n_peers++];
	memset(p, 0, sizeof(*p));
	p->public_key = *public_key;
	return p;
}

int wgdev_peer_add_allowed(struct wgdev_peer *p, struct ip_prefix prefix)
{
	int r = mem_grow(&p->allowed, p->n_allowed, &p->cap_allowed, sizeof(*p->allowed));

	if (r < 0)
		return r;
	p->allowed[p->n_allowed++] = ip_prefix_mask(prefix);
	return 0;
}

static int cmp_prefix(const void *a, const void *b)
{
	return ip_prefix_cmp(a, b);
}

static int cmp_peer(const void *a, const void *b)
{
	return key_cmp(&((const struct wgdev_peer *)a)->public_key,
		       &((const struct wgdev_peer *)b)->public_key);
}

static void sort_allowed(struct wgdev_peer *p)
{
	size_t n = 0;

	if (p->n_allowed == 0)
		return;
	qsort(p->allowed, p->n_allowed, sizeof(*p->allowed), cmp_prefix);
	for (size_t i = 0; i < p->n_allowed; i++)
		if (i == 0 || ip_prefix_cmp(&p->allowed[n - 1], &p->allowed[i]) != 0)
			p->allowed[n++] = p->allowed[i];
	p->n_allowed = n;
}

/* Moves the allowed IPs of a repeated peer to the one before it. */
static int merge_peer(struct wgdev_peer *into, struct wgdev_peer *from)
{
	for (size_t i = 0; i < from->n_allowed; i++)
		if (wgdev_peer_add_allowed(into, from->allowed[i]) < 0)
			return -ENOMEM;
	wgdev_peer_clear(from);
	return 0;
}

/* A dump lists a split peer's parts one after another, so they are merged in dump order before
 * qsort, which is not stable, could put the part without the fields first. */
int wgdev_sort(struct wgdev *d)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < d->n_peers; i++) {
		bool again = n > 0 && key_eq(&d->peers[n - 1].public_key, &d->peers[i].public_key);

		/* After a failure the rest only moves up, so that each peer is there once. */
		if (again && r == 0 && (r = merge_peer(&d->peers[n - 1], &d->peers[i])) == 0)
			continue;
		if (n != i)
			d->peers[n] = d->peers[i];
		n++;
	}
	d->n_peers = n;
	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n_peers; i++)
		sort_allowed(&d->peers[i]);
	if (d->n_peers)
		qsort(d->peers, d->n_peers, sizeof(*d->peers), cmp_peer);
	return 0;
}

struct wgdev_peer *wgdev_find(const struct wgdev *d, const struct key *public_key)
{
	struct wgdev_peer probe = {.public_key = *public_key};

	if (d->n_peers == 0)
		return NULL;
	return bsearch(&probe, d->peers, d->n_peers, sizeof(*d->peers), cmp_peer);
}
