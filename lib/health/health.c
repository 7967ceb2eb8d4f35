/* The set of judged peers: kept over changes of the wanted list, walked beside a sorted dump. */
#include "health/health_priv.h"

#include <errno.h>
#include <string.h>

const char *health_state_name(enum health_state s)
{
	static const char *const names[] = {"never", "up", "stalled", "stale"};

	return names[s];
}

struct health *health_new(void)
{
	return calloc(1, sizeof(struct health));
}

static void free_peers(struct health_peer *peers, size_t n)
{
	for (size_t i = 0; peers && i < n; i++)
		free(peers[i].name);
	free(peers);
}

void health_free(struct health *h)
{
	if (!h)
		return;
	free_peers(h->peers, h->n);
	free(h);
}

static int cmp_peer(const void *a, const void *b)
{
	return key_cmp(&((const struct health_peer *)a)->public_key,
		       &((const struct health_peer *)b)->public_key);
}

static struct health_peer *find(const struct health *h, const struct key *k)
{
	struct health_peer probe = {.public_key = *k};

	return h->n ? bsearch(&probe, h->peers, h->n, sizeof(probe), cmp_peer) : NULL;
}

/* What is known of the peer, with the new policy laid over it. */
static int fill_peer(const struct health *h, struct health_peer *p, const struct health_policy *w,
		     struct health_now now)
{
	const struct health_peer *known = find(h, &w->public_key);
	char text[KEY_BASE64];

	if (known)
		*p = *known;
	else
		*p = (struct health_peer){.public_key = w->public_key,
					  .since = now.mono,
					  .since_wall = now.wall,
					  .latency_ns = -1};
	p->name = strdup(w->name && *w->name ? w->name : key_to_base64(&w->public_key, text));
	p->required = w->required;
	p->probe = w->probe;
	p->probe_secs = w->probe_secs;
	p->stale_after_secs = w->stale_after_secs ? w->stale_after_secs : HEALTH_STALE_AFTER_SECS;
	if (!p->present)
		p->keepalive = w->keepalive;
	return p->name ? 0 : -ENOMEM;
}

int health_set_peers(struct health *h, const struct health_policy *wanted, size_t n,
		     struct health_now now, struct err *e)
{
	struct health_peer *peers = calloc(n ? n : 1, sizeof(*peers));
	int r = peers ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++)
		r = fill_peer(h, &peers[i], &wanted[i], now);
	if (r < 0) {
		free_peers(peers, n);
		return err_set(e, r, "out of memory for %zu peers", n);
	}
	qsort(peers, n, sizeof(*peers), cmp_peer);
	for (size_t i = 1; i < n; i++)
		if (cmp_peer(&peers[i - 1], &peers[i]) == 0) {
			r = err_set(e, -EINVAL, "peers %s and %s have the same key",
				    peers[i - 1].name, peers[i].name);
			free_peers(peers, n);
			return r;
		}
	free_peers(h->peers, h->n);
	h->peers = peers;
	h->n = n;
	return 0;
}

int health_put_peer(struct health *h, const struct health_policy *peer, struct health_now now)
{
	struct health_peer *known = find(h, &peer->public_key), p;
	size_t at = h->n;

	if (fill_peer(h, &p, peer, now) < 0)
		return -ENOMEM;
	if (known) {
		free(known->name);
		*known = p;
		return 0;
	}
	struct health_peer *peers = realloc(h->peers, (h->n + 1) * sizeof(*peers));
	if (!peers) {
		free(p.name);
		return -ENOMEM;
	}
	h->peers = peers;
	while (at > 0 && cmp_peer(&peers[at - 1], &p) > 0)
		at--;
	memmove(&peers[at + 1], &peers[at], (h->n - at) * sizeof(*peers));
	peers[at] = p;
	h->n++;
	return 0;
}

void health_drop_peer(struct health *h, const struct key *public_key)
{
	struct health_peer *p = find(h, public_key);

	if (!p)
		return;
	free(p->name);
	h->n--;
	memmove(p, p + 1, (h->n - (size_t)(p - h->peers)) * sizeof(*p));
}

void health_tick(struct health *h, const struct wgdev *dev, struct health_now now,
		 health_event_fn *fn, void *arg)
{
	struct mono before = h->ticked ? h->last : now.mono;
	size_t k = 0;

	for (size_t i = 0; i < h->n; i++) {
		struct health_peer *p = &h->peers[i];
		const struct wgdev_peer *d = NULL;

		while (dev && k < dev->n_peers &&
		       key_cmp(&dev->peers[k].public_key, &p->public_key) < 0)
			k++;
		if (dev && k < dev->n_peers && key_eq(&dev->peers[k].public_key, &p->public_key))
			d = &dev->peers[k];
		health_judge(p, d, now, before, fn, arg);
	}
	h->device = dev != NULL;
	h->ticked = true;
	h->last = now.mono;
}

static struct mono probe_due(const struct health_peer *p)
{
	struct mono last =
		mono_before(p->answered_at, p->probed_at) ? p->probed_at : p->answered_at;

	return mono_add(last, (int64_t)p->probe_secs * NS_PER_SEC);
}

struct mono health_probe(struct health *h, struct mono now, health_ask_fn *ask, void *arg)
{
	struct mono next = {INT64_MAX};

	for (size_t i = 0; i < h->n; i++) {
		struct health_peer *p = &h->peers[i];

		if (p->probe.family == AF_UNSPEC || !p->present)
			continue;
		if (!mono_before(now, probe_due(p))) {
			p->probed_at = now;
			if (ask(p, arg))
				health_asked(p, now, now);
		}
		if (mono_before(probe_due(p), next))
			next = probe_due(p);
	}
	return next;
}

size_t health_count(const struct health *h)
{
	return h->n;
}

const struct health_peer *health_peer(const struct health *h, size_t i)
{
	return &h->peers[i];
}

const struct health_peer *health_find(const struct health *h, const struct key *public_key)
{
	return find(h, public_key);
}

int64_t health_age_ns(const struct health_peer *p, struct mono now)
{
	return wall_is_never(p->last_handshake) ? -1 : mono_since(now, p->handshake);
}
