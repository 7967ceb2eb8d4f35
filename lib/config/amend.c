/*
 * Theory of operation. The two texts have a beginning and an end in common. The part between is
 * widened to whole peers:
 *
 *     …common…  [[network.X.peers]] ….edit…. [[network.X.peers]] …common…
 *               ^ from: the last header        ^ to: the first header behind the
 *                 before the edit                edit, or the end of the text
 *
 * The parser reads from the beginning to the end and looks nowhere back, so up to `from` it does
 * the same with both texts. There it is at the beginning of a line, about to read one more element
 * of network.X.peers. The part between is then read by itself, by config_read. Since each of its
 * headers is that same one (a line that begins with '[' in another way ends the attempt), it means
 * the same by itself as in its place. It ends at the end of a line, so the parser comes to `to`
 * as it did before: at the beginning of a line, about to begin an element, whatever stood in the
 * elements before. From there on the texts are the same, and so is what is read.
 *
 * A peer that stands in both parts and is the same (its neighbour was edited) is set aside.
 *
 * What must hold between peers is then asked for those that are new: config_read has compared them
 * with each other; here they are compared with all that stay. Any clash is left to config_read,
 * which has the words for it.
 *
 * Where the old text begins and ends its peers is known from the places in the configuration, so
 * it is not parsed again.
 */
#include "base/str.h"
#include "config/amend.h"
#include "config/model_priv.h"

#include <errno.h>
#include <string.h>

struct span {
	const char *text;
	size_t from, to;
};

static size_t common_prefix(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	/* In pieces first: the C library compares many bytes at once. */
	while (n - i >= 4096 && memcmp(a + i, b + i, 4096) == 0)
		i += 4096;
	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* Both pointers are behind the end. */
static size_t common_suffix(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	while (n - i >= 4096 && memcmp(a - i - 4096, b - i - 4096, 4096) == 0)
		i += 4096;
	while (i < n && a[-1 - (ptrdiff_t)i] == b[-1 - (ptrdiff_t)i])
		i++;
	return i;
}

static bool has_bom(const struct config_doc *d)
{
	return d->len >= 3 && memcmp(d->text, "\xEF\xBB\xBF", 3) == 0;
}

static bool begins_line(const char *text, size_t at)
{
	return at == 0 || text[at - 1] == '\n';
}

/* The last peer's header at or before `edit_from`, in whichever network. */
static bool find_from(const struct config *c, const char *source, size_t edit_from,
		      size_t *ret_network, size_t *ret_from)
{
	bool found = false;

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		for (size_t j = 0; n->source == source && j < n->n_peers; j++) {
			size_t at = n->peers[j].pos.offset;

			if (at > edit_from || (found && at < *ret_from))
				continue;
			found = true;
			*ret_from = at;
			*ret_network = i;
		}
	}
	return found;
}

/* The network's first header behind the edit that stays where it is. */
static size_t find_to(const struct config_network *n, size_t from, size_t edit_to, size_t end)
{
	size_t to = end;

	for (size_t j = 0; j < n->n_peers; j++) {
		size_t at = n->peers[j].pos.offset;

		if (at > from && at >= edit_to && at < to)
			to = at;
	}
	return to;
}

/* The part begins with that header, no line of it begins with '[' in another way, and it ends with
 * a line. */
static bool is_all_peers(const struct span *s, const char *header, size_t header_len, bool last)
{
	const char *end = s->text + s->to;

	if (s->from == s->to)
		return true;
	if (s->text[s->from] != '[' || (!last && end[-1] != '\n'))
		return false;
	for (const char *line = s->text + s->from; line && line < end;) {
		const char *p = line, *nl = memchr(line, '\n', (size_t)(end - line));

		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p < end && *p == '[' &&
		    (p != line || (size_t)(end - p) < header_len ||
		     memcmp(p, header, header_len) != 0))
			return false;
		line = nl ? nl + 1 : NULL;
	}
	return true;
}

static int count_lines(const struct span *s)
{
	int n = 0;

	for (size_t i = s->from; i < s->to; i++)
		n += s->text[i] == '\n';
	return n;
}

/* Where the edit stands: a->network, a->behind, and the two parts that differ. */
static bool locate(const struct config *c, const struct config_doc *was,
		   const struct config_doc *now, struct config_amendment *a, struct span *before,
		   struct span *after)
{
	size_t shorter = was->len < now->len ? was->len : now->len;
	size_t head = common_prefix(was->text, now->text, shorter);
	size_t tail = common_suffix(was->text + was->len, now->text + now->len, shorter - head);
	size_t from = 0, to, header_len;
	const char *close;

	if (!find_from(c, a->source, head, &a->network, &from))
		return false;
	to = find_to(&c->networks[a->network], from, was->len - tail, was->len);
	*before = (struct span){was->text, from, to};
	*after = (struct span){now->text, from, now->len - (was->len - to)};
	if (!begins_line(was->text, from) || (to < was->len && !begins_line(was->text, to)))
		return false;
	close = memmem(was->text + from, to - from, "]]", 2);
	if (!close || !str_starts(was->text + from, "[["))
		return false;
	header_len = (size_t)(close + 2 - (was->text + from));
	a->behind = (unsigned)to;
	a->bytes = (int)((long)now->len - (long)was->len);
	a->lines = count_lines(after) - count_lines(before);
	return is_all_peers(before, was->text + from, header_len, to == was->len) &&
	       is_all_peers(after, was->text + from, header_len, to == was->len);
}

static bool is_within(const struct cfg_pos *pos, const struct span *s)
{
	return pos->offset >= s->from && pos->offset < s->to;
}

static int find_gone(const struct config_network *n, const struct span *before,
		     struct config_amendment *a)
{
	a->gone = calloc(CONFIG_AMEND_MAX, sizeof(*a->gone));
	a->gone_at = calloc(CONFIG_AMEND_MAX, sizeof(*a->gone_at));
	if (!a->gone || !a->gone_at)
		return -ENOMEM;
	for (size_t i = 0; i < n->n_peers; i++) {
		if (!is_within(&n->peers[i].pos, before))
			continue;
		if (a->n_gone == CONFIG_AMEND_MAX)
			return -EAGAIN;
		a->gone_at[a->n_gone++] = i;
	}
	return 0;
}

/* The new part by itself. Its places are counted from its own beginning. */
static int read_part(const struct config *whole, const struct config_doc *now,
		     const struct span *after, struct cfg_pos origin, struct config_amendment *a)
{
	const struct config_network *n = &whole->networks[a->network];
	struct config_doc part = {now->name, CONFIG_TOML, after->text + after->from,
				  after->to - after->from};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;
	int r;

	a->n_values = whole->n_values;
	if (part.len == 0)
		return 0;
	r = config_read(&part, 1, NULL, &c, &diags);
	if (r < 0)
		return r == -ENOMEM ? r : -EAGAIN;
	a->n_values = whole->n_values + c->n_values; /* those that go are not taken off */
	if (a->n_values > CFG_MAX_VALUES || diags.n || c->n_networks != 1 ||
	    !str_eq(c->networks[0].name, n->name) || c->networks[0].n_peers > CONFIG_AMEND_MAX ||
	    c->networks[0].n_claimed > CONFIG_AMEND_PREFIXES)
		return -EAGAIN;
	a->come = mem_steal(&c->networks[0].peers);
	a->n_come = c->networks[0].n_peers;
	c->networks[0].n_peers = 0;
	for (size_t i = 0; i < a->n_come; i++) {
		a->come[i].pos.offset += origin.offset;
		a->come[i].pos.line += origin.line - 1;
		if (config_keyref_is_set(&a->come[i].preshared)) {
			a->come[i].preshared.pos.offset += origin.offset;
			a->come[i].preshared.pos.line += origin.line - 1;
		}
	}
	return 0;
}

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

static bool fits(const struct config *c, const struct config_amendment *a)
{
	const struct config_network *n = &c->networks[a->network];

	/* Without any peer the network may be off by default. */
	if (n->n_peers - a->n_gone + a->n_come == 0)
		return false;
	for (size_t i = 0; i < a->n_come; i++)
		if (key_clashes(n, a, &a->come[i]) || name_clashes(n, a, a->come[i].name) ||
		    prefixes_clash(c, a, &a->come[i]))
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

static struct cfg_pos pos_at(const struct config_network *n, size_t offset)
{
	for (size_t i = 0; i < n->n_peers; i++)
		if (n->peers[i].pos.offset == offset)
			return n->peers[i].pos;
	return (struct cfg_pos){0}; /* not reached: find_from has found it */
}

static int amendment_read(const struct config *c, const struct config_doc *was,
			  const struct config_doc *now, struct config_amendment *a)
{
	struct span before, after;
	int r;

	a->source = source_of(c, was->name);
	if (!c->clean || !a->source || was->format != CONFIG_TOML || now->format != CONFIG_TOML ||
	    has_bom(was) || has_bom(now) || now->len > CFG_MAX_BYTES)
		return -EAGAIN;
	if (!locate(c, was, now, a, &before, &after))
		return -EAGAIN;

	const struct config_network *n = &c->networks[a->network];
	r = find_gone(n, &before, a);
	if (r == 0)
		r = read_part(c, now, &after, pos_at(n, before.from), a);
	if (r == 0)
		r = set_aside(n, a);
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
