/*
 * From documents to a configuration: parse each, read every network of each, compare them with
 * each other, sort. The trees stay until the end, since findings take their places from them.
 *
 * What stands beside `network` at the top of a document is another program's and ignored, but
 * for what is a misspelt `network` beyond doubt: ignoring that would take tunnels down.
 */
#include "base/buf.h"
#include "base/str.h"
#include "config/json.h"
#include "config/model_priv.h"
#include "config/toml.h"
#include "config/yaml.h"

#include <errno.h>
#include <stdio.h>

#define NETWORK_NAME_MAX 63

int config_format_of(const char *filename, enum config_format *ret)
{
	static const struct {
		const char *ending;
		enum config_format format;
	} formats[] = {
		{".toml", CONFIG_TOML},
		{".yaml", CONFIG_YAML},
		{".yml", CONFIG_YAML},
		{".json", CONFIG_JSON},
	};

	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (str_ends(filename, formats[i].ending)) {
			*ret = formats[i].format;
			return 0;
		}
	return -EINVAL;
}

static int parse(const struct config_doc *doc, struct cfg_value **ret, struct cfg_pos *ret_pos,
		 struct err *e)
{
	switch (doc->format) {
	case CONFIG_TOML: return toml_parse(doc->text, doc->len, ret, ret_pos, e);
	case CONFIG_YAML: return yaml_parse(doc->text, doc->len, ret, ret_pos, e);
	case CONFIG_JSON: return cfg_json_parse(doc->text, doc->len, ret, ret_pos, e);
	}
	return err_set(e, -EINVAL, "unknown format");
}

/* A parser's message begins with its place, where it knows one. */
static void say_syntax(struct config_run *run, size_t i, struct cfg_pos pos, const struct err *e)
{
	struct buf b = BUF_INIT(0);
	bool placed = e->msg[0] >= '0' && e->msg[0] <= '9';

	buf_addf(&b, "%s:%s%s", run->docs[i].name, placed ? "" : " ", e->msg);

	struct config_diag diag = {.text = (char *)buf_str(&b), .doc = i, .pos = pos};
	if (buf_error(&b) < 0 || config_diag_add(run->diags, &diag) < 0)
		run->no_memory = true;
	buf_free(&b);
}

/* The networks read so far, of all documents. */
struct nets {
	struct config_net_src *items;
	size_t n, cap;
};

/* The name goes into file names, labels and logs. */
static bool is_network_name(const char *s, size_t len)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

	return n > 0 && n <= NETWORK_NAME_MAX && n == len && s[0] != '.' && s[0] != '-';
}

static bool is_network_key(const char *name)
{
	for (const struct config_field *f = config_network_fields; f->name; f++)
		if (str_eq(f->name, name))
			return true;
	return false;
}

/* Slips at the place where a network's name belongs. */
static bool is_named(struct config_run *run, const struct config_at *at, const struct cfg_entry *e)
{
	char found[CONFIG_FOUND_LEN];

	if (str_eq(e->key, "peers"))
		config_error(run, at,
			     "found peers without a network, accepted: [[network.NAME.peers]], "
			     "such as [[network.default.peers]]");
	else if (str_eq(e->key, "nodes"))
		config_error(
			run, at,
			"found nodes without a network, accepted: [network.NAME.nodes.\"NODE\"], "
			"such as [network.default.nodes.\"%s\"]",
			run->node ? run->node : "node-a");
	else if (e->value->type != CFG_TABLE && is_network_key(e->key))
		config_error(run, at,
			     "found a key without a network, accepted: in [network.NAME], such as "
			     "[network.default]");
	else if (e->value->type != CFG_TABLE)
		config_error(run, at, "found %s, accepted: a table, [network.NAME]",
			     config_found(e->value, found));
	else if (!is_network_name(e->key, e->key_len))
		config_error(run, at,
			     "found the name %s, accepted: 1 to %d letters, digits, '-', '_', '.', "
			     "beginning with a letter, a digit or '_'",
			     config_found_text(e->key, e->key_len, found), NETWORK_NAME_MAX);
	else
		return true;
	return false;
}

static void read_networks(struct config_run *run, const struct config_at *root,
			  const struct cfg_entry *networks, struct nets *nets)
{
	struct config_at at = {.up = root, .key = networks->key, .pos = networks->key_pos};
	char found[CONFIG_FOUND_LEN];

	if (networks->value->type != CFG_TABLE) {
		config_error(run, &at, "found %s, accepted: a table of networks, [network.NAME]",
			     config_found(networks->value, found));
		return;
	}
	for (size_t i = 0; i < networks->value->n_entries; i++) {
		const struct cfg_entry *e = &networks->value->entries[i];
		struct config_at here = {.up = &at, .key = e->key, .pos = e->key_pos};

		if (e->value->type == CFG_NULL || !is_named(run, &here, e))
			continue;
		if (mem_grow(&nets->items, nets->n, &nets->cap, sizeof(*nets->items)) < 0) {
			run->no_memory = true;
			return;
		}
		struct config_net_src *src = &nets->items[nets->n++];
		*src = (struct config_net_src){.doc = root->doc};
		config_read_network(run, &here, e->value, src);
	}
}

/* Whether a foreign table is laid out as networks are: NAME with keys that only networks have. */
static bool holds_networks(const struct cfg_value *v)
{
	static const char *const telling[] = {"peers", "private_key_path", "enable_wireguard"};

	for (size_t i = 0; v->type == CFG_TABLE && i < v->n_entries; i++) {
		const struct cfg_value *inner = v->entries[i].value;

		for (size_t k = 0; inner->type == CFG_TABLE && k < ARRAY_LEN(telling); k++)
			if (config_find(inner, config_network_fields, telling[k]))
				return true;
	}
	return false;
}

static void read_document(struct config_run *run, size_t i, const struct cfg_value *tree,
			  struct nets *nets)
{
	static const char *const wanted[] = {"network", NULL};
	struct config_at root = {.doc = &run->docs[i], .pos = tree->pos};
	const struct cfg_entry *networks;
	char found[CONFIG_FOUND_LEN];
	bool misspelt = false;

	if (tree->type != CFG_TABLE) {
		config_error(run, &root, "found %s, accepted: a table that holds `network`",
			     config_found(tree, found));
		return;
	}
	for (size_t k = 0; k < tree->n_entries; k++) {
		const struct cfg_entry *e = &tree->entries[k];
		struct config_at at = {.up = &root, .key = e->key, .pos = e->key_pos};
		char lower[16];

		snprintf(lower, sizeof(lower), "%s", e->key);
		for (char *c = lower; *c; c++)
			*c |= *c >= 'A' && *c <= 'Z' ? 0x20 : 0;
		if (str_eq(e->key, "network") || !str_nearest(lower, wanted) ||
		    !holds_networks(e->value))
			continue;
		config_error(run, &at, "found networks under this name, accepted: [network.NAME]");
		misspelt = true;
	}
	networks = cfg_table_find(tree, "network");
	if (networks && networks->value->type != CFG_NULL)
		read_networks(run, &root, networks, nets);
	else if (!misspelt)
		config_warn(run, &root, "found no `network`: nothing is wanted by this document");
}

static int network_cmp(const void *a, const void *b)
{
	return strcmp(((const struct config_network *)a)->name,
		      ((const struct config_network *)b)->name);
}

static int peer_cmp(const void *a, const void *b)
{
	return key_cmp(&((const struct config_peer *)a)->public_key,
		       &((const struct config_peer *)b)->public_key);
}

static int prefix_cmp(const void *a, const void *b)
{
	return ip_prefix_cmp(a, b);
}

static void sort_peers(struct config_network *n)
{
	if (n->n_peers)
		qsort(n->peers, n->n_peers, sizeof(*n->peers), peer_cmp);
	for (size_t i = 0; i < n->n_peers; i++) {
		struct config_peer *p = &n->peers[i];
		size_t kept = 0;

		if (p->n_allowed)
			qsort(p->allowed, p->n_allowed, sizeof(*p->allowed), prefix_cmp);
		for (size_t j = 0; j < p->n_allowed; j++)
			if (!kept || ip_prefix_cmp(&p->allowed[kept - 1], &p->allowed[j]) != 0)
				p->allowed[kept++] = p->allowed[j];
		p->n_allowed = kept;
	}
}

static int list_claimed(struct config_network *n)
{
	size_t total = 0;

	for (size_t i = 0; i < n->n_peers; i++)
		total += n->peers[i].n_allowed;
	n->claimed = calloc(total + 1, sizeof(*n->claimed));
	if (!n->claimed)
		return -ENOMEM;
	for (size_t i = 0; i < n->n_peers; i++)
		for (size_t j = 0; j < n->peers[i].n_allowed; j++)
			n->claimed[n->n_claimed++] = n->peers[i].allowed[j];
	qsort(n->claimed, n->n_claimed, sizeof(*n->claimed), prefix_cmp);
	return 0;
}

/* Takes the networks out of `nets`. */
static struct config *build(struct nets *nets, const struct config_doc *docs, size_t n_docs)
{
	_cleanup_config_ struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sources = calloc(n_docs + 1, sizeof(*c->sources));
	c->networks = calloc(nets->n + 1, sizeof(*c->networks));
	if (!c->sources || !c->networks)
		return NULL;
	for (; c->n_sources < n_docs; c->n_sources++) {
		const char *name = docs[c->n_sources].name;

		c->sources[c->n_sources] = mem_dup_str(name, strlen(name));
		if (!c->sources[c->n_sources])
			return NULL;
	}
	for (; c->n_networks < nets->n; c->n_networks++) {
		struct config_net_src *src = &nets->items[c->n_networks];
		struct config_network *n = &c->networks[c->n_networks];

		*n = src->net;
		n->flawed = src->n_errors > 0;
		src->net = (struct config_network){0};
		n->doc = (size_t)(src->doc - docs);
		n->source = c->sources[n->doc];
		sort_peers(n);
		if (list_claimed(n) < 0)
			return c->n_networks++, NULL; /* freed as far as it is built */
	}
	if (c->n_networks)
		qsort(c->networks, c->n_networks, sizeof(*c->networks), network_cmp);
	return mem_steal(&c);
}

static bool has_node_part(const struct nets *nets)
{
	for (size_t i = 0; i < nets->n; i++)
		if (nets->items[i].node_table)
			return true;
	return false;
}

static int diag_cmp(const void *a, const void *b)
{
	const struct config_diag *x = a, *y = b;

	if (x->doc != y->doc)
		return x->doc < y->doc ? -1 : 1;
	if (x->pos.line != y->pos.line)
		return x->pos.line < y->pos.line ? -1 : 1;
	if (x->pos.column != y->pos.column)
		return x->pos.column < y->pos.column ? -1 : 1;
	return strcmp(x->text, y->text);
}

static void read_all(struct config_run *run, size_t n_docs, struct cfg_value **trees,
		     struct nets *nets)
{
	for (size_t i = 0; i < n_docs && !run->no_memory; i++) {
		struct cfg_pos pos = {0};
		struct err e = {0};
		int r = parse(&run->docs[i], &trees[i], &pos, &e);

		if (r == -ENOMEM)
			run->no_memory = true;
		else if (r < 0)
			say_syntax(run, i, pos, &e);
		else
			read_document(run, i, trees[i], nets);
	}
}

/* Out of the way of others, too: one of that name may stand in another document by now. */
static void drop_gone(struct nets *nets)
{
	size_t kept = 0;

	for (size_t i = 0; i < nets->n; i++) {
		if (nets->items[i].doc->gone && nets->items[i].net.remove_on_delete)
			config_net_src_clear(&nets->items[i]);
		else
			nets->items[kept++] = nets->items[i];
	}
	nets->n = kept;
}

static void turn_off_others(struct nets *nets, const char *only)
{
	for (size_t i = 0; i < nets->n; i++)
		if (nets->items[i].net.name)
			nets->items[i].net.enabled &= str_eq(nets->items[i].net.name, only);
}

/* The configuration as far as it was read. `clean`: nothing was found. */
static int finish(const struct config_run *run, size_t n_docs, struct cfg_value *const *trees,
		  struct nets *nets, bool clean, struct config **ret)
{
	struct config *c = build(nets, run->docs, n_docs);

	if (!c)
		return -ENOMEM;
	c->clean = clean && !has_node_part(nets);
	for (size_t i = 0; i < n_docs; i++) {
		c->unread |= !trees[i];
		c->n_values += trees[i] ? cfg_value_count(trees[i]) : 0;
	}
	*ret = c;
	return 0;
}

void config_diags_sort(struct config_diags *d)
{
	if (d->n)
		qsort(d->items, d->n, sizeof(*d->items), diag_cmp);
}

int config_read(const struct config_doc *docs, size_t n_docs, const char *node, struct config **ret,
		struct config_diags *diags)
{
	_cleanup_config_ struct config *c = NULL;
	int r = config_read_anyway(docs, n_docs, node, NULL, &c, diags);

	if (r == 0)
		*ret = mem_steal(&c);
	return r;
}

int config_read_anyway(const struct config_doc *docs, size_t n_docs, const char *node,
		       const char *only, struct config **ret, struct config_diags *diags)
{
	struct config_run run = {.diags = diags, .docs = docs, .node = node};
	struct cfg_value **trees = calloc(n_docs + 1, sizeof(*trees));
	size_t errors = diags->n_errors, warnings = diags->n_warnings;
	struct nets nets = {0};
	int r;

	if (!trees)
		return -ENOMEM;
	read_all(&run, n_docs, trees, &nets);
	drop_gone(&nets);
	if (only)
		turn_off_others(&nets, only);
	if (!run.no_memory)
		config_validate(&run, nets.items, nets.n);
	config_diags_sort(diags);
	r = run.no_memory ? -ENOMEM : diags->n_errors > errors ? -EINVAL : 0;
	if (r != -ENOMEM &&
	    finish(&run, n_docs, trees, &nets, r == 0 && diags->n_warnings == warnings, ret) < 0)
		r = -ENOMEM;
	for (size_t i = 0; i < nets.n; i++)
		config_net_src_clear(&nets.items[i]);
	free(nets.items);
	for (size_t i = 0; i < n_docs; i++)
		cfg_value_free(trees[i]);
	free(trees);
	return r;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_networks; i++)
		config_network_clear(&c->networks[i]);
	free(c->networks);
	for (size_t i = 0; i < c->n_sources; i++)
		free(c->sources[i]);
	free(c->sources);
	free(c);
}
