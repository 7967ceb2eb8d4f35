/*
 * Theory of operation. amend_part.c finds the part of the text that differs, in whole peers, and
 * reads it. A peer that stands in the part before and after and is the same (its neighbour was
 * edited) is set aside.
 *
 * What must hold between peers is then asked for those that are new: config_read has compared them
 * with each other; here they are compared with all that stay. Any clash is left to config_read,
 * which has the words for it.
 */
#include "config/amend_priv.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? str_eq(a, b) : a == b;
}

/* But for their places. */
static bool same_peer(const struct config_peer *a, const struct config_peer *b)
{
	if (!key_eq(&a->public_key, &b->public_key) || !str_eq(a->name, b->name) ||
	    !same_text(a->preshared.path, b->preshared.path) ||
	    !same_text(a->preshared.env, b->preshared.env) ||
	    !same_text(a->preshared.secret, b->preshared.secret) ||
	    a->endpoint.set != b->endpoint.set || !same_text(a->endpoint.host, b->endpoint.host) ||
	    a->endpoint.port != b->endpoint.port ||
	    ip_endpoint_cmp(&a->endpoint.addr, &b->endpoint.addr) != 0 ||
	    a->n_allowed != b->n_allowed || a->keepalive != b->keepalive ||
	    a->probe_secs != b->probe_secs || ip_addr_cmp(&a->probe, &b->probe) != 0 ||
	    a->required != b->required || a->stale_after_secs != b->stale_after_secs)
		return false;
	for (size_t i = 0; i < a->n_allowed; i++)
		if (ip_prefix_cmp(&a->allowed[i], &b->allowed[i]) != 0)
			return false;
	return true;
}

/* What is in both lists and the same leaves both. */
static int set_aside(const struct config_network *n, struct config_amendment *a)
{
	size_t gone = 0, come = 0, i = 0, j = 0;

	a->stay = calloc(a->n_gone + 1, sizeof(*a->stay));
	if (!a->stay)
		return -ENOMEM;
	while (i < a->n_gone || j < a->n_come) {
		const struct config_peer *was = i < a->n_gone ? &n->peers[a->gone_at[i]] : NULL;
		struct config_peer *now = j < a->n_come ? &a->come[j] : NULL;
		int c = !was ? 1 : !now ? -1 : key_cmp(&was->public_key, &now->public_key);

		if (c == 0 && same_peer(was, now)) {
			a->stay[a->n_stay++] = (struct config_amend_stay){a->gone_at[i], now->pos,
									  now->preshared.pos};
			config_peer_clear(now);
			i++, j++;
			continue;
		}
		if (c <= 0)
			a->gone_at[gone++] = a->gone_at[i++];
		if (c >= 0)
			a->come[come++] = a->come[j++];
	}
	a->n_gone = gone;
	a->n_come = come;
	return 0;
}

/* --- the new peers against those that stay --- */

static int cmp_peer(const void *a, const void *b)
{
	return key_cmp(&((const struct config_peer *)a)->public_key,
		       &((const struct config_peer *)b)->public_key);
}

static int cmp_prefix(const void *a, const void *b)
{
	return ip_prefix_cmp(a, b);
}

static bool is_claimed(const struct config_network *n, const struct ip_prefix *p)
{
	return n->n_claimed &&
	       bsearch(p, n->claimed, n->n_claimed, sizeof(*n->claimed), cmp_prefix);
}

/* Whether one of the peers that go has it. */
static bool is_given_up(const struct config_network *n, const struct config_amendment *a,
			const struct ip_prefix *p)
{
	for (size_t i = 0; i < a->n_gone; i++) {
		const struct config_peer *g = &n->peers[a->gone_at[i]];

		for (size_t j = 0; j < g->n_allowed; j++)
			if (ip_prefix_cmp(&g->allowed[j], p) == 0)
				return true;
	}
	return false;
}

/* A prefix that another peer of the network has, or a peer of another network, where it may be
 * routed twice. */
static bool prefixes_clash(const struct config *c, const struct config_amendment *a,
			   const struct config_peer *come)
{
	const struct config_network *own = &c->networks[a->network];

	for (size_t i = 0; i < come->n_allowed; i++) {
		for (size_t j = 0; j < c->n_networks; j++) {
			const struct config_network *n = &c->networks[j];

			if (is_claimed(n, &come->allowed[i]) &&
			    (n != own || !is_given_up(own, a, &come->allowed[i])))
				return true;
		}
	}
	return false;
}

/* A name that no peer had which goes is compared with those of all that stay. */
static bool name_clashes(const struct config_network *n, const struct config_amendment *a,
			 const char *name)
{
	for (size_t i = 0; i < a->n_gone; i++)
		if (str_eq(n->peers[a->gone_at[i]].name, name))
			return false;
	for (size_t i = 0; i < n->n_peers; i++)
		if (str_eq(n->peers[i].name, name))
			return true;
	return false;
}

static bool key_clashes(const struct config_network *n, const struct config_amendment *a,
			const struct config_peer *come)
{
	const struct config_peer *same =
		bsearch(come, n->peers, n->n_peers, sizeof(*come), cmp_peer);

	for (size_t i = 0; i < a->n_gone; i++)
		if (&n->peers[a->gone_at[i]] == same)
			return false;
	return same != NULL;
}

static bool lacks_quorum(const struct config_network *n, const struct config_amendment *a)
{
	size_t required = 0;

	if (n->readiness != CONFIG_READY_QUORUM)
		return false;
	for (size_t i = 0; i < n->n_peers; i++)
		required += config_peer_required(&n->peers[i]);
	for (size_t i = 0; i < a->n_gone; i++)
		required -= config_peer_required(&n->peers[a->gone_at[i]]);
	for (size_t i = 0; i < a->n_come; i++)
		required += config_peer_required(&a->come[i]);
	return n->quorum > required;
}

/* A probe that no address of the network can be the source of is a warning. */
static bool lacks_source(const struct config_network *n, const struct config_peer *come)
{
	if (come->probe.family == AF_UNSPEC || n->n_addresses == 0)
		return false;
	for (size_t i = 0; i < n->n_addresses; i++)
		if (n->addresses[i].addr.family == come->probe.family)
			return false;
	return true;
}

static bool fits(const struct config *c, const struct config_amendment *a)
{
	const struct config_network *n = &c->networks[a->network];

	/* Without any peer the network may be off by default. */
	if (n->n_peers - a->n_gone + a->n_come == 0)
		return false;
	for (size_t i = 0; i < a->n_come; i++)
		if (key_clashes(n, a, &a->come[i]) || name_clashes(n, a, a->come[i].name) ||
		    prefixes_clash(c, a, &a->come[i]) || lacks_source(n, &a->come[i]))
			return false;
	return !lacks_quorum(n, a);
}

static const char *source_of(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->n_sources; i++)
		if (str_eq(c->sources[i], name))
			return c->sources[i];
	return NULL;
}

static bool has_bom(const struct config_doc *d)
{
	return d->len >= 3 && memcmp(d->text, "\xEF\xBB\xBF", 3) == 0;
}

static int amendment_read(const struct config *c, const struct config_doc *was,
			  const struct config_doc *now, struct config_amendment *a)
{
	int r;

	a->source = source_of(c, was->name);
	if (!c->clean || !a->source || was->format == CONFIG_JSON || was->format != now->format ||
	    has_bom(was) || has_bom(now) || now->len > CFG_MAX_BYTES)
		return -EAGAIN;
	r = config_amend_part(c, was, now, a);
	if (r == 0)
		r = set_aside(&c->networks[a->network], a);
	return r < 0 ? r : fits(c, a) ? 0 : -EAGAIN;
}

int config_amendment_read(const struct config *c, const struct config_doc *was,
			  const struct config_doc *now, struct config_amendment *ret)
{
	_cleanup_config_amendment_ struct config_amendment a = {0};
	int r = amendment_read(c, was, now, &a);

	if (r < 0)
		return r;
	*ret = a;
	a = (struct config_amendment){0};
	return 0;
}

/* --- carrying it out --- */

static void move_pos(struct cfg_pos *pos, const struct config_amendment *a)
{
	if (pos->line == 0 || pos->offset < a->behind)
		return;
	pos->line = (unsigned)((int)pos->line + a->lines);
	pos->offset = (unsigned)((int)pos->offset + a->bytes);
}

static void move_places(struct config *c, const struct config_amendment *a)
{
	for (size_t i = 0; i < c->n_networks; i++) {
		struct config_network *n = &c->networks[i];

		if (n->source != a->source)
			continue;
		move_pos(&n->pos, a);
		move_pos(&n->private_key.pos, a);
		for (size_t j = 0; j < n->n_peers; j++) {
			move_pos(&n->peers[j].pos, a);
			move_pos(&n->peers[j].preshared.pos, a);
		}
	}
	for (size_t i = 0; i < a->n_stay; i++) {
		struct config_peer *p = &c->networks[a->network].peers[a->stay[i].at];

		p->pos = a->stay[i].pos;
		p->preshared.pos = a->stay[i].preshared_pos;
	}
}

static bool same_keys(const struct config_network *n, const struct config_amendment *a)
{
	if (a->n_come != a->n_gone)
		return false;
	for (size_t i = 0; i < a->n_gone; i++)
		if (!key_eq(&n->peers[a->gone_at[i]].public_key, &a->come[i].public_key))
			return false;
	return true;
}

/* Takes the peers out and closes the gaps. */
static void take_out(struct config_network *n, struct config_amendment *a)
{
	size_t kept = a->n_gone ? a->gone_at[0] : n->n_peers;

	for (size_t i = 0; i < a->n_gone; i++) {
		size_t next = i + 1 < a->n_gone ? a->gone_at[i + 1] : n->n_peers;
		size_t from = a->gone_at[i] + 1;

		a->gone[i] = n->peers[a->gone_at[i]];
		memmove(&n->peers[kept], &n->peers[from], (next - from) * sizeof(*n->peers));
		kept += next - from;
	}
	n->n_peers -= a->n_gone;
}

/* Merges the new peers in, from the end; there is room. */
static void put_in(struct config_network *n, struct config_amendment *a)
{
	size_t left = n->n_peers;

	for (size_t i = a->n_come; i-- > 0;) {
		size_t at = left;

		while (at > 0 && key_cmp(&n->peers[at - 1].public_key, &a->come[i].public_key) > 0)
			at--;
		memmove(&n->peers[at + i + 1], &n->peers[at], (left - at) * sizeof(*n->peers));
		n->peers[at + i] = a->come[i];
		left = at;
	}
	n->n_peers += a->n_come;
}

/* The place of a prefix in the sorted list, or where it belongs. */
static struct ip_prefix *claim_at(const struct config_network *n, const struct ip_prefix *p)
{
	size_t lo = 0, hi = n->n_claimed;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ip_prefix_cmp(&n->claimed[mid], p) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return &n->claimed[lo];
}

static void drop_claims(struct config_network *n, const struct config_peer *p)
{
	for (size_t i = 0; i < p->n_allowed; i++) {
		struct ip_prefix *at = claim_at(n, &p->allowed[i]);

		n->n_claimed--;
		memmove(at, at + 1, (n->n_claimed - (size_t)(at - n->claimed)) * sizeof(*at));
	}
}

static void add_claims(struct config_network *n, const struct config_peer *p)
{
	for (size_t i = 0; i < p->n_allowed; i++) {
		struct ip_prefix *at = claim_at(n, &p->allowed[i]);

		memmove(at + 1, at, (n->n_claimed - (size_t)(at - n->claimed)) * sizeof(*at));
		*at = p->allowed[i];
		n->n_claimed++;
	}
}

/* Room for all that may come; what goes is not counted. */
static int make_room(struct config_network *n, const struct config_amendment *a)
{
	size_t claims = n->n_claimed;
	struct config_peer *peers;
	struct ip_prefix *claimed;

	for (size_t i = 0; i < a->n_come; i++)
		claims += a->come[i].n_allowed;
	peers = realloc(n->peers, (n->n_peers + a->n_come + 1) * sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	n->peers = peers;
	claimed = realloc(n->claimed, (claims + 1) * sizeof(*claimed));
	if (!claimed)
		return -ENOMEM;
	n->claimed = claimed;
	return 0;
}

int config_amend(struct config *c, struct config_amendment *a)
{
	struct config_network *n = &c->networks[a->network];
	int r = make_room(n, a);

	if (r < 0)
		return r;
	move_places(c, a);
	for (size_t i = 0; i < a->n_gone; i++)
		drop_claims(n, &n->peers[a->gone_at[i]]);
	for (size_t i = 0; i < a->n_come; i++)
		add_claims(n, &a->come[i]);
	if (same_keys(n, a)) {
		for (size_t i = 0; i < a->n_gone; i++) {
			a->gone[i] = n->peers[a->gone_at[i]];
			n->peers[a->gone_at[i]] = a->come[i];
		}
	} else {
		take_out(n, a);
		put_in(n, a);
	}
	c->n_values = a->n_values;
	free(mem_steal(&a->come));
	a->n_come = 0;
	return 0;
}

void config_amendment_clear(struct config_amendment *a)
{
	for (size_t i = 0; a->gone && i < a->n_gone; i++)
		config_peer_clear(&a->gone[i]);
	for (size_t i = 0; a->come && i < a->n_come; i++)
		config_peer_clear(&a->come[i]);
	free(a->gone);
	free(a->come);
	free(a->gone_at);
	free(a->stay);
	*a = (struct config_amendment){0};
}
