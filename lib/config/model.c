/*
 * The keys of the model, and the walk that reads a network from a document's tree by them.
 *
 * Two tables name every key there is: those of a network (some of which may stand in a node's
 * table too) and those of a peer. Everything else follows from them: reading, the camelCase
 * spellings, the nearest name for an unknown key, and the list that the documentation is checked
 * against.
 *
 * [network.X.nodes."NODE"] is read after its network and over it: a key that stands there
 * replaces the network's value as a whole (lists are not joined), and an entry of its `peers`
 * changes the peer with the same public key, or adds one. The tables of other nodes are read into
 * a network that is thrown away, so that a document is right or wrong for all nodes alike.
 */
#include "base/str.h"
#include "config/model_priv.h"

#include <assert.h>
#include <ctype.h>
#include <linux/rtnetlink.h>
#include <stdio.h>

#define NET(m)            offsetof(struct config_network, m)
#define PEER(m)           offsetof(struct config_peer, m)
#define U16(lo, hi)       .min = (lo), .max = (hi), .size = sizeof(uint16_t), .read = config_read_number
#define U32(lo, hi)       .min = (lo), .max = (hi), .size = sizeof(uint32_t), .read = config_read_number
#define KEYREF(ref, text) .read = config_read_keyref, .keyref = (ref), .offset = (text)
#define STALE_MAX         (7 * 86400)
#define PROBE_MAX         3600

static const char *const backends[] = {"auto", "kernel", "userspace", "uapi", NULL};

const struct config_field config_network_fields[] = {
	{.name = "enable_wireguard", .read = config_read_bool, .offset = NET(enabled)},
	{.name = "interface", .read = config_read_interface, .offset = NET(interface)},
	{.name = "address", .read = config_read_addresses},
	{.name = "addresses", .read = config_read_addresses},
	{.name = "mtu", U32(576, 65535), .or_zero = true, .offset = NET(mtu)},
	{.name = "listen_port", U16(0, 65535), .offset = NET(listen_port)},
	{.name = "endpoint", .read = config_read_endpoint, .offset = NET(endpoint)},
	{.name = "private_key_path", KEYREF(NET(private_key), NET(private_key.path))},
	{.name = "private_key_env", KEYREF(NET(private_key), NET(private_key.env))},
	{.name = "private_key_secret", KEYREF(NET(private_key), NET(private_key.secret))},
	{.name = "fwmark", .other = "fwMark", U32(0, UINT32_MAX), .offset = NET(fwmark)},
	{.name = "table", .read = config_read_table, .offset = NET(table)},
	{.name = "metric", U32(0, UINT32_MAX), .offset = NET(metric)},
	{.name = "dns", .read = config_read_dns},
	{.name = "dns_search", .read = config_read_dns_search},
	{.name = "backend", .read = config_read_word, .offset = NET(backend), .words = backends},
	{.name = "masquerade", .read = config_read_bool, .offset = NET(masquerade)},
	{.name = "mss_clamp", .read = config_read_bool, .offset = NET(mss_clamp)},
	{.name = "forward", .read = config_read_bool, .offset = NET(forward)},
	{.name = "guard", .read = config_read_bool, .offset = NET(guard)},
	{.name = "guard_except", .read = config_read_guard_except},
	{.name = "readiness", .read = config_read_readiness},
	{.name = "stale_after_secs", U32(1, STALE_MAX), .offset = NET(stale_after_secs)},
	{.name = "probe_secs", U32(1, PROBE_MAX), .offset = NET(probe_secs)},
	{.name = "on_delete",
	 .read = config_read_on_delete,
	 .offset = NET(remove_on_delete),
	 .not_in_node = true},
	{.name = "http", .not_in_node = true}, /* the application's own listener: not looked at */
	{.name = "nodes", .not_in_node = true},
	{.name = "peers"},
	{.name = NULL},
};

const struct config_field config_peer_fields[] = {
	{.name = "name", .read = config_read_name, .offset = PEER(name)},
	{.name = "public_key", .read = config_read_public_key, .offset = PEER(public_key)},
	{.name = "preshared_key_path", KEYREF(PEER(preshared), PEER(preshared.path))},
	{.name = "preshared_key_env", KEYREF(PEER(preshared), PEER(preshared.env))},
	{.name = "preshared_key_secret", KEYREF(PEER(preshared), PEER(preshared.secret))},
	{.name = "endpoint", .read = config_read_endpoint, .offset = PEER(endpoint)},
	{.name = "allowed_ips", .other = "allowedIPs", .read = config_read_allowed},
	{.name = "persistent_keepalive_secs",
	 .other = "persistentKeepalive",
	 U16(0, 65535),
	 .offset = PEER(keepalive)},
	{.name = "required", .read = config_read_tristate, .offset = PEER(required)},
	{.name = "stale_after_secs", U32(1, STALE_MAX), .offset = PEER(stale_after_secs)},
	{.name = "probe_address", .read = config_read_ip, .offset = PEER(probe)},
	{.name = "probe_secs", U32(1, PROBE_MAX), .offset = PEER(probe_secs)},
	{.name = NULL},
};

#define N_NETWORK (ARRAY_LEN(config_network_fields) - 1)
#define N_PEER    (ARRAY_LEN(config_peer_fields) - 1)
_Static_assert(N_NETWORK <= 64 && N_PEER <= 64, "read_keys remembers what it saw in 64 bits");

/* "private_key_path" is "privateKeyPath". */
static bool is_camel(const char *s, const char *name)
{
	for (; *name; name++, s++) {
		char c = *name;

		if (c == '_')
			c = (char)toupper((unsigned char)*++name);
		if (*s != c)
			return false;
	}
	return *s == '\0';
}

static bool names(const struct config_field *f, const struct cfg_entry *e)
{
	/* All spellings of a key begin with the same letter. */
	if (e->key[0] != f->name[0])
		return false;
	if (strlen(e->key) != e->key_len) /* TOML can write a NUL */
		return false;
	return str_eq(e->key, f->name) || is_camel(e->key, f->name) ||
	       (f->other && str_eq(e->key, f->other));
}

static const struct config_field *find_field(const struct config_field *fields,
					     const struct cfg_entry *e)
{
	for (; fields->name; fields++)
		if (names(fields, e))
			return fields;
	return NULL;
}

const struct cfg_entry *config_find(const struct cfg_value *table,
				    const struct config_field *fields, const char *name)
{
	while (fields->name && !str_eq(fields->name, name))
		fields++;
	assert(fields->name);
	for (size_t i = 0; table && i < table->n_entries; i++)
		if (table->entries[i].value->type != CFG_NULL && names(fields, &table->entries[i]))
			return &table->entries[i];
	return NULL;
}

static bool has(const struct cfg_value *table, const struct config_field *fields, const char *name)
{
	return config_find(table, fields, name) != NULL;
}

static bool has_any(const struct cfg_value *table, const struct config_field *fields,
		    const char *const *some)
{
	for (; *some; some++)
		if (has(table, fields, *some))
			return true;
	return false;
}

static const char *const address_keys[] = {"address", "addresses", NULL};
static const char *const private_keys[] = {"private_key_path", "private_key_env",
					   "private_key_secret", NULL};
static const char *const preshared_keys[] = {"preshared_key_path", "preshared_key_env",
					     "preshared_key_secret", NULL};

static struct config_at at_entry(const struct config_at *up, const struct cfg_entry *e)
{
	return (struct config_at){.up = up, .key = e->key, .pos = e->key_pos};
}

/* An unknown key: told with the nearest name; a key's own text is refused. */
static void unknown_key(struct config_run *run, const struct config_at *at,
			const struct config_field *fields, bool node)
{
	const char *known[65], *nearest;
	char snake[64];
	size_t n = 0;

	/* "AllowedIps" and "allowedIps" are compared as "allowed_ips". */
	for (const char *s = at->key; *s && n < sizeof(snake) - 2; s++) {
		if (isupper((unsigned char)*s) && n > 0 && snake[n - 1] != '_')
			snake[n++] = '_';
		snake[n++] = (char)(*s == '-' ? '_' : tolower((unsigned char)*s));
	}
	snake[n] = '\0';
	if (str_eq(snake, "private_key") || str_eq(snake, "preshared_key")) {
		config_error(run, at,
			     "found a key in the configuration, accepted: %s_path, %s_env or "
			     "%s_secret, which say where it is",
			     snake, snake, snake);
		return;
	}
	n = 0;
	for (const struct config_field *f = fields; f->name; f++)
		if (!node || !f->not_in_node)
			known[n++] = f->name;
	known[n] = NULL;
	/* Not looked for where it would not be shown: a document may hold a million such keys. */
	nearest = run->diags->truncated ? NULL : str_nearest(snake, known);
	if (nearest)
		config_warn(run, at, "unknown key, ignored; did you mean %s?", nearest);
	else
		config_warn(run, at, "unknown key, ignored");
}

/* Reads every key of a table that has a reader of its own into `object`. */
static void read_keys(struct config_run *run, const struct config_at *at,
		      const struct cfg_value *table, const struct config_field *fields, bool node,
		      void *object)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < table->n_entries; i++) {
		const struct cfg_entry *e = &table->entries[i];
		struct config_at here = at_entry(at, e);
		const struct config_field *f = find_field(fields, e);

		if (!f || (node && f->not_in_node)) {
			unknown_key(run, &here, fields, node);
			continue;
		}
		if (e->value->type == CFG_NULL)
			continue;
		if (seen & UINT64_C(1) << (f - fields)) {
			config_error(run, &here,
				     "found another spelling of %s, which is there already, "
				     "accepted: one of them",
				     f->name);
			continue;
		}
		seen |= UINT64_C(1) << (f - fields);
		if (f->read) {
			if (e->value->pos.line)
				here.pos = e->value->pos;
			f->read(run, &here, e->value, f, object);
		}
	}
}

static bool is_table(struct config_run *run, const struct config_at *at, const struct cfg_value *v,
		     const char *accepted)
{
	char found[CONFIG_FOUND_LEN];

	if (v->type == CFG_TABLE)
		return true;
	config_error(run, at, "found %s, accepted: %s", config_found(v, found), accepted);
	return false;
}

/* The public key of an entry of peers, silently: its reader complains where it is wrong. */
static bool peek_key(const struct cfg_value *table, struct key *ret)
{
	const struct cfg_entry *e = config_find(table, config_peer_fields, "public_key");

	return e && e->value->type == CFG_STRING && key_from_base64(e->value->str, ret) == 0 &&
	       !key_is_zero(ret);
}

static struct config_peer *add_peer(struct config_run *run, struct config_net_src *src,
				    struct config_peer_src entry)
{
	struct config_network *n = &src->net;

	if (mem_grow(&n->peers, n->n_peers, &src->cap_peers, sizeof(*n->peers)) < 0 ||
	    mem_grow(&src->peers, n->n_peers, &src->cap_src, sizeof(*src->peers)) < 0) {
		run->no_memory = true;
		return NULL;
	}
	src->peers[n->n_peers] = entry;
	n->peers[n->n_peers] = (struct config_peer){0};
	return &n->peers[n->n_peers++];
}

/* The network's own, all at once: a growing array is copied as often as it grows. */
static bool expect_peers(struct config_run *run, struct config_net_src *src, size_t n)
{
	if (mem_reserve(&src->net.peers, n, &src->cap_peers, sizeof(*src->net.peers)) < 0 ||
	    mem_reserve(&src->peers, n, &src->cap_src, sizeof(*src->peers)) < 0)
		run->no_memory = true;
	return !run->no_memory;
}

static void read_peer(struct config_run *run, const struct config_at *at,
		      const struct cfg_value *table, struct config_peer *p)
{
	if (p->pos.line == 0)
		p->pos = at->pos;
	if (has_any(table, config_peer_fields, preshared_keys))
		config_keyref_clear(&p->preshared);
	read_keys(run, at, table, config_peer_fields, false, p);
	if (!has(table, config_peer_fields, "public_key"))
		config_error(run, at,
			     "found no public_key, accepted: public_key = \"44 characters of "
			     "base64\" in every peer");
}

/* The peers of the network itself, by public key, for the node's entries to find theirs. */
struct by_key {
	struct key key;
	size_t peer;
};

struct peer_index {
	struct by_key *items;
	size_t n;
};

static int by_key_cmp(const void *a, const void *b)
{
	return key_cmp(&((const struct by_key *)a)->key, &((const struct by_key *)b)->key);
}

static bool index_peers(struct config_run *run, const struct config_net_src *src,
			struct peer_index *ret)
{
	struct peer_index index = {calloc(src->net.n_peers + 1, sizeof(*index.items)), 0};

	if (!index.items) {
		run->no_memory = true;
		return false;
	}
	for (size_t i = 0; i < src->net.n_peers; i++)
		if (src->peers[i].has_key)
			index.items[index.n++] = (struct by_key){src->net.peers[i].public_key, i};
	qsort(index.items, index.n, sizeof(*index.items), by_key_cmp);
	*ret = index;
	return true;
}

/* The peer that an entry is about: the indexed one with its key, where that was not changed
 * before; else a new one. NULL when memory has run out. */
static struct config_peer *peer_for(struct config_run *run, struct config_net_src *src,
				    const struct peer_index *index,
				    const struct config_peer_src *entry)
{
	struct by_key wanted, *found = NULL;
	struct config_peer_src *known;

	if (entry->has_key && index->n) {
		peek_key(entry->node_table, &wanted.key);
		found = bsearch(&wanted, index->items, index->n, sizeof(wanted), by_key_cmp);
	}
	known = found ? &src->peers[found->peer] : NULL;
	if (!known || known->node_table)
		return add_peer(run, src, *entry);
	known->node_table = entry->node_table;
	known->node_index = entry->node_index;
	return &src->net.peers[found->peer];
}

static void read_peers(struct config_run *run, const struct config_at *up,
		       const struct cfg_value *table, bool node, struct config_net_src *src)
{
	const struct cfg_entry *e = config_find(table, config_network_fields, "peers");
	struct peer_index index = {0}; /* stays empty for the network's own peers */
	char found[CONFIG_FOUND_LEN];
	struct key key;

	if (!e)
		return;

	struct config_at at = at_entry(up, e);
	if (e->value->type != CFG_ARRAY) {
		config_error(run, &at,
			     "found %s, accepted: a list of tables, in TOML [[network.%s.peers]] "
			     "with two brackets",
			     config_found(e->value, found), node ? "NAME.nodes.\"NODE\"" : "NAME");
		return;
	}
	if (node && !index_peers(run, src, &index))
		return;
	if (!node && !expect_peers(run, src, e->value->n_items))
		return;
	for (size_t i = 0; i < e->value->n_items; i++) {
		const struct cfg_value *item = e->value->items[i];
		struct config_at here = {.up = &at, .index = i, .pos = item->pos};

		if (!is_table(run, &here, item, "a table with the keys of one peer"))
			continue;

		struct config_peer_src entry = {.has_key = peek_key(item, &key)};
		if (node)
			entry.node_table = item, entry.node_index = i;
		else
			entry.table = item, entry.index = i;
		struct config_peer *p = peer_for(run, src, &index, &entry);
		if (!p)
			break;
		read_peer(run, &here, item, p);
	}
	free(index.items);
}

void config_net_src_clear(struct config_net_src *src)
{
	config_network_clear(&src->net);
	free(src->peers);
	*src = (struct config_net_src){0};
}

static void set_defaults(struct config_network *n)
{
	strcpy(n->interface, "wg0");
	n->mss_clamp = true;
	n->stale_after_secs = 180;
	n->probe_secs = 10;
}

/* One table with a network's keys: the network itself, or a node's over it. */
static void read_over(struct config_run *run, const struct config_at *at,
		      const struct cfg_value *table, bool node, struct config_net_src *src)
{
	struct config_network *n = &src->net;

	if (has_any(table, config_network_fields, private_keys))
		config_keyref_clear(&n->private_key);
	if (has_any(table, config_network_fields, address_keys))
		n->n_addresses = 0;
	read_keys(run, at, table, config_network_fields, node, n);
	read_peers(run, at, table, node, src);
}

static void read_nodes(struct config_run *run, const struct config_at *up,
		       const struct cfg_value *table, struct config_net_src *src)
{
	const struct cfg_entry *nodes = config_find(table, config_network_fields, "nodes");

	if (!nodes)
		return;

	struct config_at at = at_entry(up, nodes);
	if (!is_table(run, &at, nodes->value,
		      "a table of nodes, in TOML [network.NAME.nodes.\"NODE\"]"))
		return;
	for (size_t i = 0; i < nodes->value->n_entries; i++) {
		const struct cfg_entry *e = &nodes->value->entries[i];
		struct config_at here = at_entry(&at, e);

		if (e->value->type == CFG_NULL ||
		    !is_table(run, &here, e->value, "a table with what is different on that node"))
			continue;
		if (run->node && strlen(e->key) == e->key_len && str_eq(e->key, run->node)) {
			src->node_table = e->value;
			src->node = e->key;
			read_over(run, &here, e->value, true, src);
			continue;
		}
		struct config_net_src other = {0};
		read_over(run, &here, e->value, true, &other);
		config_net_src_clear(&other);
	}
}

/* A network that names no peer, address or key is the application's alone, unless it says so. */
static bool enabled_by_default(const struct config_net_src *src)
{
	const struct cfg_value *tables[] = {src->table, src->node_table};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		if (has_any(tables[i], config_network_fields, private_keys) ||
		    has_any(tables[i], config_network_fields, address_keys) ||
		    has(tables[i], config_network_fields, "peers"))
			return true;
	return false;
}

static void name_peers(struct config_run *run, struct config_network *n)
{
	for (size_t i = 0; i < n->n_peers; i++) {
		char text[KEY_BASE64];

		if (n->peers[i].name)
			continue;
		n->peers[i].name = mem_dup_str(key_to_base64(&n->peers[i].public_key, text), 8);
		if (!n->peers[i].name)
			run->no_memory = true;
	}
}

void config_read_network(struct config_run *run, const struct config_at *at,
			 const struct cfg_value *table, struct config_net_src *src)
{
	size_t errors = run->diags->n_errors;
	struct config_network *n = &src->net;

	src->table = table;
	set_defaults(n);
	n->pos = at->pos;
	n->name = mem_dup_str(at->key, strlen(at->key));
	if (!n->name)
		run->no_memory = true;
	read_over(run, at, table, false, src);
	read_nodes(run, at, table, src);
	if (!has(src->table, config_network_fields, "enable_wireguard") &&
	    !has(src->node_table, config_network_fields, "enable_wireguard"))
		n->enabled = enabled_by_default(src);
	name_peers(run, n);
	src->n_errors = run->diags->n_errors - errors;
}

uint32_t config_route_table(const struct config_network *n, const struct ip_prefix *dst)
{
	if (n->table != CONFIG_TABLE_AUTO)
		return n->table;
	if (dst->len > 0)
		return RT_TABLE_MAIN;
	return n->fwmark ? n->fwmark : CONFIG_DEFAULT_TABLE;
}

/* What the kernel makes of 0 for IPv6 (IP6_RT_PRIO_USER), so that it is found again. */
uint32_t config_route_metric(const struct config_network *n, const struct ip_prefix *dst)
{
	return n->metric || dst->addr.family == AF_INET ? n->metric : 1024;
}

#define NAME_LEN 64

const char *const *config_key_names(void)
{
	static char text[2 * (N_NETWORK + N_PEER)][NAME_LEN];
	static const char *list[2 * (N_NETWORK + N_PEER) + 1];
	static const struct {
		const struct config_field *fields;
		bool node;
		const char *prefix;
	} groups[] = {
		{config_network_fields, false, "network.*"},
		{config_peer_fields, false, "network.*.peers[]"},
		{config_network_fields, true, "network.*.nodes.*"},
		{config_peer_fields, true, "network.*.nodes.*.peers[]"},
	};
	size_t n = 0;

	if (list[0])
		return list;
	for (size_t g = 0; g < ARRAY_LEN(groups); g++)
		for (const struct config_field *f = groups[g].fields; f->name; f++) {
			if (groups[g].node && f->not_in_node)
				continue;
			snprintf(text[n], NAME_LEN, "%s.%s", groups[g].prefix, f->name);
			list[n] = text[n];
			n++;
		}
	return list;
}
