/*
 * What must hold between values: within a network, and between the networks of all documents.
 *
 * Everything that is compared with everything else is sorted and compared with its neighbour, so
 * that ten thousand peers cost milliseconds. A finding names both places: it stands at the later
 * one and tells the earlier. Values that were refused when they were read are left out here, so
 * that one slip is one finding.
 */
#include "base/str.h"
#include "config/model_priv.h"

#include <assert.h>
#include <stdio.h>

/* A place that is not at hand any more is built again from what the network came from. */
struct place {
	struct config_at at[9]; /* root, network, NAME, nodes, NODE, peers, [i], key, [j] */
	size_t n;
};

static struct config_at *push(struct place *p, const char *key, size_t index, struct cfg_pos pos)
{
	struct config_at *at = &p->at[p->n];

	assert(p->n < ARRAY_LEN(p->at));
	*at = (struct config_at){
		.up = p->n ? &p->at[p->n - 1] : NULL, .key = key, .index = index, .pos = pos};
	p->n++;
	return at;
}

static const struct config_at *place_table(struct place *p, const struct config_net_src *s,
					   bool node)
{
	p->n = 0;
	push(p, NULL, 0, (struct cfg_pos){0})->doc = s->doc;
	push(p, "network", 0, s->net.pos);
	struct config_at *at = push(p, s->net.name, 0, s->net.pos);
	if (node) {
		push(p, "nodes", 0, s->node_table->pos);
		at = push(p, s->node, 0, s->node_table->pos);
	}
	return at;
}

static struct cfg_pos value_pos(const struct cfg_entry *e)
{
	return e->value->pos.line ? e->value->pos : e->key_pos;
}

/* A key of the network: the node's where it stands there, the network's, or (where the value is
 * a default) the network itself. */
static const struct config_at *place_key(struct place *p, const struct config_net_src *s,
					 const char *key)
{
	const struct cfg_entry *node = config_find(s->node_table, config_network_fields, key);
	const struct cfg_entry *e = node ? node : config_find(s->table, config_network_fields, key);
	const struct config_at *table = place_table(p, s, node != NULL);

	return push(p, e ? e->key : key, 0, e ? value_pos(e) : table->pos);
}

static const struct cfg_entry *peer_entry(const struct config_peer_src *src, const char *key)
{
	const struct cfg_entry *e = config_find(src->node_table, config_peer_fields, key);

	return e ? e : config_find(src->table, config_peer_fields, key);
}

/* A peer, or one of its keys. */
static struct config_at *place_peer(struct place *p, const struct config_net_src *s, size_t i,
				    const char *key)
{
	const struct config_peer_src *src = &s->peers[i];
	const struct cfg_entry *e = key ? peer_entry(src, key) : NULL;
	bool node = !src->table || (key && config_find(src->node_table, config_peer_fields, key));
	const struct cfg_value *table = node ? src->node_table : src->table;

	place_table(p, s, node);
	push(p, "peers", 0, table->pos);
	struct config_at *at = push(p, NULL, node ? src->node_index : src->index, table->pos);
	return e ? push(p, e->key, 0, value_pos(e)) : at;
}

static const char *where(const struct config_net_src *s, const struct config_at *at,
			 char out[static CONFIG_FOUND_LEN])
{
	return config_where(s->doc, at->pos, out);
}

static const char *peer_name(const struct config_net_src *s, size_t i,
			     char out[static CONFIG_FOUND_LEN])
{
	const char *name = s->net.peers[i].name ? s->net.peers[i].name : "";

	return config_found_text(name, strlen(name), out);
}

/* --- within a network --- */

struct ref {
	const struct config_net_src *net;
	size_t peer;
};

static int ref_order(const struct ref *x, const struct ref *y)
{
	return (x->peer > y->peer) - (x->peer < y->peer);
}

static int ref_key_cmp(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;
	int c = key_cmp(&x->net->net.peers[x->peer].public_key,
			&y->net->net.peers[y->peer].public_key);

	return c ? c : ref_order(x, y);
}

static int ref_name_cmp(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;
	int c = strcmp(x->net->net.peers[x->peer].name, y->net->net.peers[y->peer].name);

	return c ? c : ref_order(x, y);
}

static void check_keys(struct config_run *run, const struct config_net_src *s, struct ref *refs)
{
	char name[CONFIG_FOUND_LEN], at[CONFIG_FOUND_LEN];
	struct place here, there;
	size_t n = 0;

	for (size_t i = 0; i < s->net.n_peers; i++)
		if (s->peers[i].has_key)
			refs[n++] = (struct ref){s, i};
	qsort(refs, n, sizeof(*refs), ref_key_cmp);
	for (size_t i = 1; i < n; i++) {
		const struct config_peer *a = &s->net.peers[refs[i - 1].peer];
		const struct config_peer *b = &s->net.peers[refs[i].peer];

		if (!key_eq(&a->public_key, &b->public_key))
			continue;
		config_error(run, place_peer(&here, s, refs[i].peer, "public_key"),
			     "found the public key of peer %s at %s, accepted: each key once in a "
			     "network",
			     peer_name(s, refs[i - 1].peer, name),
			     where(s, place_peer(&there, s, refs[i - 1].peer, "public_key"), at));
	}
}

static void check_names(struct config_run *run, const struct config_net_src *s, struct ref *refs)
{
	char name[CONFIG_FOUND_LEN], at[CONFIG_FOUND_LEN];
	struct place here, there;
	size_t n = 0;

	for (size_t i = 0; i < s->net.n_peers; i++)
		if (peer_entry(&s->peers[i], "name"))
			refs[n++] = (struct ref){s, i};
	qsort(refs, n, sizeof(*refs), ref_name_cmp);
	for (size_t i = 1; i < n; i++)
		if (str_eq(s->net.peers[refs[i - 1].peer].name, s->net.peers[refs[i].peer].name))
			config_warn(run, place_peer(&here, s, refs[i].peer, "name"),
				    "found %s, which is another peer's name too (%s); status and "
				    "logs cannot tell them apart",
				    peer_name(s, refs[i].peer, name),
				    where(s, place_peer(&there, s, refs[i - 1].peer, "name"), at));
}

/* Packets to the endpoint would be routed into the tunnel that they carry. A default route is
 * the exception: policy rules keep the tunnel's own packets out of it. */
static void check_loop(struct config_run *run, const struct config_net_src *s, size_t i)
{
	const struct config_peer *p = &s->net.peers[i];
	char endpoint[IP_ADDR_LEN], prefix[IP_PREFIX_LEN];
	struct place here;

	if (!p->endpoint.set || p->endpoint.host || s->net.table != CONFIG_TABLE_AUTO)
		return;
	for (size_t j = 0; j < p->n_allowed; j++) {
		if (p->allowed[j].len == 0 ||
		    !ip_prefix_contains(&p->allowed[j], &p->endpoint.addr.addr))
			continue;
		config_warn(run, place_peer(&here, s, i, "endpoint"),
			    "found %s, which lies inside the peer's own allowed_ips %s: the "
			    "tunnel's packets would be routed into the tunnel",
			    ip_addr_str(&p->endpoint.addr.addr, endpoint),
			    ip_prefix_str(&p->allowed[j], prefix));
		return;
	}
}

static void check_quorum(struct config_run *run, const struct config_net_src *s)
{
	size_t required = 0;
	struct place here;

	if (s->net.readiness != CONFIG_READY_QUORUM || s->n_errors)
		return;
	for (size_t i = 0; i < s->net.n_peers; i++)
		required += config_peer_required(&s->net.peers[i]);
	if (s->net.quorum > required)
		config_error(run, place_key(&here, s, "readiness"),
			     "found %u, but %zu peers count for readiness, accepted: at most that "
			     "many (a peer counts with required = true, or with a keepalive)",
			     s->net.quorum, required);
}

/* The kernel takes IPv6 off an interface below its smallest MTU (RFC 8200 section 5). */
static void check_mtu(struct config_run *run, const struct config_net_src *s)
{
	struct place here;

	if (s->net.mtu == 0 || s->net.mtu >= 1280)
		return;
	for (size_t i = 0; i < s->net.n_addresses; i++)
		if (s->net.addresses[i].addr.family == AF_INET6) {
			config_error(run, place_key(&here, s, "mtu"),
				     "found %u with an IPv6 address, accepted: 1280 to 65535",
				     s->net.mtu);
			return;
		}
}

/* What is sent there must go to this peer and to no other. */
static void check_probe(struct config_run *run, const struct config_net_src *s, size_t i)
{
	const struct config_peer *p = &s->net.peers[i];
	char probe[IP_ADDR_LEN];
	bool inside = false, source = false;
	struct place here;

	if (p->probe.family == AF_UNSPEC)
		return;
	for (size_t j = 0; j < p->n_allowed; j++)
		inside |= ip_prefix_contains(&p->allowed[j], &p->probe);
	for (size_t j = 0; j < s->net.n_addresses; j++)
		source |= s->net.addresses[j].addr.family == p->probe.family;
	if (!inside)
		config_error(run, place_peer(&here, s, i, "probe_address"),
			     "found %s, accepted: an address inside the peer's allowed_ips",
			     ip_addr_str(&p->probe, probe));
	else if (!source && s->net.n_addresses)
		config_warn(run, place_peer(&here, s, i, "probe_address"),
			    "found %s, but the network has no address of that family: nothing can "
			    "be sent there",
			    ip_addr_str(&p->probe, probe));
}

static void check_network(struct config_run *run, const struct config_net_src *s)
{
	struct ref *refs = calloc(s->net.n_peers + 1, sizeof(*refs));
	struct place here;

	if (!refs) {
		run->no_memory = true;
		return;
	}
	check_keys(run, s, refs);
	check_names(run, s, refs);
	free(refs);
	for (size_t i = 0; i < s->net.n_peers; i++) {
		check_loop(run, s, i);
		check_probe(run, s, i);
		if (!peer_entry(&s->peers[i], "allowed_ips"))
			config_warn(run, place_peer(&here, s, i, NULL),
				    "found no allowed_ips: nothing can be sent to this peer, and "
				    "nothing from it is accepted");
	}
	check_quorum(run, s);
	check_mtu(run, s);
}

/* --- allowed IPs, within and between networks --- */

struct claim {
	struct ip_prefix prefix;
	const struct config_net_src *net;
	uint32_t peer, item;
};

static int claim_order(const struct claim *x, const struct claim *y)
{
	if (x->net != y->net)
		return x->net < y->net ? -1 : 1;
	if (x->peer != y->peer)
		return x->peer < y->peer ? -1 : 1;
	return (x->item > y->item) - (x->item < y->item);
}

static int claim_cmp(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int c = x->net == y->net ? ip_prefix_cmp(&x->prefix, &y->prefix) : 0;

	return c ? c : claim_order(x, y);
}

/* As the routes are made: "auto" and 254 are one table, and a default route's is another. */
static int route_cmp_key(const struct claim *x, const struct claim *y)
{
	const struct config_network *m = &x->net->net, *n = &y->net->net;
	uint32_t table_x = config_route_table(m, &x->prefix);
	uint32_t table_y = config_route_table(n, &y->prefix);
	uint32_t metric_x = config_route_metric(m, &x->prefix);
	uint32_t metric_y = config_route_metric(n, &y->prefix);

	if (table_x != table_y)
		return table_x < table_y ? -1 : 1;
	if (metric_x != metric_y)
		return metric_x < metric_y ? -1 : 1;
	return ip_prefix_cmp(&x->prefix, &y->prefix);
}

static int route_cmp(const void *a, const void *b)
{
	int c = route_cmp_key(a, b);

	return c ? c : claim_order(a, b);
}

static const struct config_at *place_claim(struct place *p, const struct claim *c)
{
	struct config_at *at = place_peer(p, c->net, c->peer, "allowed_ips");
	const struct cfg_value *v = peer_entry(&c->net->peers[c->peer], "allowed_ips")->value;

	return v->type == CFG_ARRAY ? push(p, NULL, c->item, v->items[c->item]->pos) : at;
}

static bool has_host_bits(const struct ip_prefix *p)
{
	struct ip_prefix masked = ip_prefix_mask(*p);

	return ip_prefix_cmp(p, &masked) != 0;
}

/* Read once more from the document, since the place of each counts. Those refused are left out
 * as before. */
static struct claim *collect_claims(const struct config_net_src *nets, size_t n_nets, size_t *ret_n)
{
	struct claim *claims = NULL;
	size_t n = 0, cap = 0;

	for (size_t i = 0; i < n_nets; i++) {
		for (size_t j = 0; j < nets[i].net.n_peers; j++) {
			const struct cfg_entry *e = peer_entry(&nets[i].peers[j], "allowed_ips");

			for (size_t k = 0; e && k < config_list_len(e->value); k++) {
				const struct cfg_value *v = config_list_item(e->value, k);
				struct claim c = {
					.net = &nets[i], .peer = (uint32_t)j, .item = (uint32_t)k};

				if (v->type != CFG_STRING ||
				    ip_prefix_parse(v->str, v->len, &c.prefix) < 0 ||
				    has_host_bits(&c.prefix))
					continue;
				if (mem_grow(&claims, n, &cap, sizeof(*claims)) < 0) {
					free(claims);
					return NULL;
				}
				claims[n++] = c;
			}
		}
	}
	*ret_n = n;
	return claims ? claims : calloc(1, sizeof(*claims));
}

/* In one network a destination belongs to one peer: the device would take it from the first. */
static void check_owners(struct config_run *run, struct claim *claims, size_t n)
{
	char text[IP_PREFIX_LEN], name[CONFIG_FOUND_LEN], at[CONFIG_FOUND_LEN];
	struct place here, there;

	qsort(claims, n, sizeof(*claims), claim_cmp);
	for (size_t i = 1; i < n; i++) {
		const struct claim *a = &claims[i - 1], *b = &claims[i];

		if (a->net != b->net || ip_prefix_cmp(&a->prefix, &b->prefix) != 0)
			continue;
		ip_prefix_str(&b->prefix, text);
		if (a->peer == b->peer)
			config_warn(run, place_claim(&here, b), "found %s a second time", text);
		else
			config_error(run, place_claim(&here, b),
				     "found %s, which peer %s has at %s, accepted: each network "
				     "for one peer",
				     text, peer_name(a->net, a->peer, name),
				     where(a->net, place_claim(&there, a), at));
	}
}

/* One network, or two of one name: that is a finding already. */
static bool same_name(const struct config_net_src *a, const struct config_net_src *b)
{
	return str_eq(a->net.name, b->net.name);
}

/* What would set two equal routes apart. Default routes of "auto" stand in tables by their mark,
 * and need one each, whatever the metric. */
static const char *apart_by(const struct claim *a, const struct claim *b)
{
	return a->prefix.len == 0 && a->net->net.table == CONFIG_TABLE_AUTO &&
			       b->net->net.table == CONFIG_TABLE_AUTO
		       ? "fwmark"
		       : "table or metric";
}

/* Two networks cannot have the same route in one table: the kernel refuses the second. `claims` is
 * in the order of check_owners. */
static void check_routes(struct config_run *run, struct claim *claims, size_t n)
{
	char text[IP_PREFIX_LEN], at[CONFIG_FOUND_LEN];
	struct place here, there;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (claims[i].net->net.enabled && claims[i].net->net.table != CONFIG_TABLE_OFF)
			claims[kept++] = claims[i];
	/* They come network by network, and within one there is nothing to find here. */
	if (kept == 0 || claims[0].net == claims[kept - 1].net)
		return;
	qsort(claims, kept, sizeof(*claims), route_cmp);
	for (size_t i = 1; i < kept; i++) {
		const struct claim *a = &claims[i - 1], *b = &claims[i];

		if (same_name(a->net, b->net) || route_cmp_key(a, b) != 0)
			continue;
		config_error(run, place_claim(&here, b),
			     "found %s, which network %s routes too (%s), accepted: each route "
			     "once; or another %s for one of the networks",
			     ip_prefix_str(&b->prefix, text), a->net->net.name,
			     where(a->net, place_claim(&there, a), at), apart_by(a, b));
	}
}

/* --- between networks --- */

static int interface_cmp(const void *a, const void *b)
{
	const struct config_net_src *x = *(const struct config_net_src *const *)a;
	const struct config_net_src *y = *(const struct config_net_src *const *)b;
	int c = strcmp(x->net.interface, y->net.interface);

	return c ? c : (x > y) - (x < y);
}

static int port_cmp(const void *a, const void *b)
{
	const struct config_net_src *x = *(const struct config_net_src *const *)a;
	const struct config_net_src *y = *(const struct config_net_src *const *)b;
	int c = x->net.listen_port - y->net.listen_port;

	return c ? c : (x > y) - (x < y);
}

static int name_cmp(const void *a, const void *b)
{
	const struct config_net_src *x = *(const struct config_net_src *const *)a;
	const struct config_net_src *y = *(const struct config_net_src *const *)b;
	int c = strcmp(x->net.name, y->net.name);

	return c ? c : (x > y) - (x < y);
}

static void check_pair(struct config_run *run, const struct config_net_src *a,
		       const struct config_net_src *b, const char *key, const char *found,
		       const char *accepted)
{
	bool is_default = !config_find(b->table, config_network_fields, key) &&
			  !config_find(b->node_table, config_network_fields, key);
	char at[CONFIG_FOUND_LEN];
	struct place here, there;

	config_error(run, place_key(&here, b, key),
		     "found %s%s, which network %s has too (%s), accepted: %s", found,
		     is_default ? " (the default)" : "", a->net.name,
		     where(a, place_key(&there, a, key), at), accepted);
}

static void check_between(struct config_run *run, const struct config_net_src *nets, size_t n)
{
	const struct config_net_src **sorted = calloc(n + 1, sizeof(*sorted));
	char found[CONFIG_FOUND_LEN], at[CONFIG_FOUND_LEN];
	struct place here, there;
	size_t m = 0;

	if (!sorted) {
		run->no_memory = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		sorted[i] = &nets[i];
	qsort(sorted, n, sizeof(*sorted), name_cmp);
	for (size_t i = 1; i < n; i++)
		if (same_name(sorted[i - 1], sorted[i]))
			config_error(run, place_table(&here, sorted[i], false),
				     "found a second network of this name (the first at %s), "
				     "accepted: each name once in all documents",
				     where(sorted[i - 1], place_table(&there, sorted[i - 1], false),
					   at));

	for (size_t i = 0; i < n; i++)
		if (nets[i].net.enabled && nets[i].net.interface[0])
			sorted[m++] = &nets[i];
	qsort(sorted, m, sizeof(*sorted), interface_cmp);
	for (size_t i = 1; i < m; i++)
		if (str_eq(sorted[i - 1]->net.interface, sorted[i]->net.interface) &&
		    !same_name(sorted[i - 1], sorted[i]))
			check_pair(run, sorted[i - 1], sorted[i], "interface",
				   config_found_text(sorted[i]->net.interface,
						     strlen(sorted[i]->net.interface), found),
				   "an interface of its own for each network");

	m = 0;
	for (size_t i = 0; i < n; i++)
		if (nets[i].net.enabled && nets[i].net.listen_port)
			sorted[m++] = &nets[i];
	qsort(sorted, m, sizeof(*sorted), port_cmp);
	for (size_t i = 1; i < m; i++)
		if (sorted[i - 1]->net.listen_port == sorted[i]->net.listen_port &&
		    !same_name(sorted[i - 1], sorted[i])) {
			snprintf(found, sizeof(found), "%u", sorted[i]->net.listen_port);
			check_pair(run, sorted[i - 1], sorted[i], "listen_port", found,
				   "a port of its own for each network, or 0");
		}
	free(sorted);
}

void config_validate(struct config_run *run, struct config_net_src *nets, size_t n)
{
	struct claim *claims;
	size_t n_claims = 0;

	for (size_t i = 0; i < n; i++)
		check_network(run, &nets[i]);
	claims = collect_claims(nets, n, &n_claims);
	if (claims) {
		check_owners(run, claims, n_claims);
		check_routes(run, claims, n_claims);
	} else {
		run->no_memory = true;
	}
	free(claims);
	check_between(run, nets, n);
}
