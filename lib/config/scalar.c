/*
 * Single values: from a document's value to a member of the model, or a finding that says what
 * stands there and what may. A member whose value is refused keeps its default, so that the
 * checks after it do not find the same slip again.
 */
#include "base/str.h"
#include "config/model_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_MAX_BYTES  128 /* a peer's name; it goes into labels, logs and status */
#define SECRET_NAME_MAX 253 /* entries of a Secret (Kubernetes: IsConfigMapKey) */
#define ADDRESSES_MAX   256

static void *member(void *object, size_t offset)
{
	return (char *)object + offset;
}

/* A string that C's functions see the whole of: TOML can write a NUL. */
static bool is_text(const struct cfg_value *v)
{
	return v->type == CFG_STRING && strlen(v->str) == v->len;
}

static void refuse(struct config_run *run, const struct config_at *at, const struct cfg_value *v,
		   const char *accepted)
{
	char found[CONFIG_FOUND_LEN];

	config_error(run, at, "found %s, accepted: %s", config_found(v, found), accepted);
}

CONFIG_READER(config_read_bool)
{
	if (v->type != CFG_BOOL)
		refuse(run, at, v, "true or false");
	else
		*(bool *)member(object, f->offset) = v->boolean;
}

CONFIG_READER(config_read_tristate)
{
	if (v->type != CFG_BOOL)
		refuse(run, at, v, "true or false");
	else
		*(enum config_tristate *)member(object, f->offset) =
			v->boolean ? CONFIG_YES : CONFIG_NO;
}

static bool in_range(const struct cfg_value *v, uint64_t min, uint64_t max)
{
	return v->type == CFG_INTEGER && v->integer >= 0 && (uint64_t)v->integer >= min &&
	       (uint64_t)v->integer <= max;
}

CONFIG_READER(config_read_number)
{
	char accepted[80];

	if (!in_range(v, f->min, f->max) && !(f->or_zero && in_range(v, 0, 0))) {
		snprintf(accepted, sizeof(accepted), "%s%" PRIu64 " to %" PRIu64,
			 f->or_zero ? "0 or " : "", f->min, f->max);
		refuse(run, at, v, accepted);
	} else if (f->size == sizeof(uint16_t)) {
		*(uint16_t *)member(object, f->offset) = (uint16_t)v->integer;
	} else {
		*(uint32_t *)member(object, f->offset) = (uint32_t)v->integer;
	}
}

/* The word's index, or -1 with a finding. */
static int read_word(struct config_run *run, const struct config_at *at, const struct cfg_value *v,
		     const char *const *words)
{
	char accepted[128] = "";
	size_t n = 0;

	for (int i = 0; words[i]; i++) {
		if (is_text(v) && str_eq(v->str, words[i]))
			return i;
		n += (size_t)snprintf(accepted + n, sizeof(accepted) - n, "%s\"%s\"", i ? ", " : "",
				      words[i]);
	}
	refuse(run, at, v, accepted);
	return -1;
}

CONFIG_READER(config_read_word)
{
	int i = read_word(run, at, v, f->words);

	if (i >= 0)
		*(unsigned *)member(object, f->offset) = (unsigned)i;
}

CONFIG_READER(config_read_on_delete)
{
	static const char *const words[] = {"keep", "remove", NULL};
	int i = read_word(run, at, v, words);

	if (i >= 0)
		*(bool *)member(object, f->offset) = i == 1;
}

CONFIG_READER(config_read_table)
{
	uint32_t *table = member(object, f->offset);

	if (is_text(v) && str_eq(v->str, "auto"))
		*table = CONFIG_TABLE_AUTO;
	else if (is_text(v) && str_eq(v->str, "off"))
		*table = CONFIG_TABLE_OFF;
	else if (in_range(v, 1, CONFIG_TABLE_OFF - 1) && v->integer != 255)
		*table = (uint32_t)v->integer;
	else
		refuse(run, at, v,
		       "\"auto\", \"off\", or 1 to 4294967294 (255 is the kernel's own)");
}

CONFIG_READER(config_read_readiness)
{
	struct config_network *n = object;

	if (is_text(v) && str_eq(v->str, "all")) {
		n->readiness = CONFIG_READY_ALL;
	} else if (is_text(v) && str_eq(v->str, "any")) {
		n->readiness = CONFIG_READY_ANY;
	} else if (in_range(v, 1, UINT32_MAX)) {
		n->readiness = CONFIG_READY_QUORUM;
		n->quorum = (uint32_t)v->integer;
	} else {
		refuse(run, at, v, "\"all\", \"any\", or how many required peers must be up");
	}
}

CONFIG_READER(config_read_interface)
{
	char *interface = member(object, f->offset);
	bool graphic = true;

	if (is_text(v))
		for (const char *s = v->str; *s; s++)
			graphic &= *s > ' ' && *s < 0x7F && *s != '%' && *s != '"' && *s != '\\';
	if (is_text(v) && graphic && str_is_ifname(v->str) && !str_eq(v->str, "lo") &&
	    !str_eq(v->str, "all") && !str_eq(v->str, "default")) {
		str_copy(interface, IFNAMSIZ, v->str);
		return;
	}
	interface[0] = '\0'; /* the default is not what was meant: nothing to compare */
	refuse(run, at, v,
	       "1 to 15 characters without space, '/', ':', '%', '\"' and '\\'; not \"lo\", "
	       "\"all\", \"default\"");
}

static void set_text(struct config_run *run, char **at, const struct cfg_value *v)
{
	char *copy = mem_dup_str(v->str, v->len);

	if (!copy) {
		run->no_memory = true;
		return;
	}
	free(*at);
	*at = copy;
}

/* What ends up in a log line does not begin another one. */
static bool has_control(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7F)
			return true;
	return false;
}

CONFIG_READER(config_read_name)
{
	bool ok =
		is_text(v) && v->len > 0 && v->len <= NAME_MAX_BYTES && str_is_utf8(v->str, v->len);

	for (size_t i = 0; ok && i < v->len; i++)
		ok = (unsigned char)v->str[i] >= ' ' && v->str[i] != 0x7F;
	if (ok)
		set_text(run, member(object, f->offset), v);
	else
		refuse(run, at, v, "1 to 128 bytes without control characters");
}

static bool is_key_text(const struct cfg_value *v)
{
	struct key k;
	bool is = key_from_base64(v->str, &k) == 0 || key_from_hex(v->str, &k) == 0;

	mem_wipe(&k, sizeof(k));
	return is;
}

static bool all_of(const char *s, const char *set)
{
	return s[strspn(s, set)] == '\0';
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

CONFIG_READER(config_read_keyref)
{
	struct config_keyref *ref = member(object, f->keyref);
	char **text = member(object, f->offset);
	const char *accepted;
	bool ok = is_text(v) && v->len > 0;

	if (is_text(v) && is_key_text(v)) {
		config_error(run, at,
			     "found a key itself (not shown), accepted: where to find it; keys do "
			     "not stand in the configuration");
		return;
	}
	if (text == &ref->path) {
		accepted = "an absolute path without control characters";
		ok = ok && v->str[0] == '/' && v->len < 4096 && !has_control(v->str, v->len);
	} else if (text == &ref->env) {
		accepted = "the name of an environment variable";
		ok = ok && all_of(v->str, LETTERS "0123456789_") &&
		     !(v->str[0] >= '0' && v->str[0] <= '9');
	} else {
		accepted = "the name of an entry in the Secret (letters, digits, '-', '_', '.')";
		ok = ok && v->len <= SECRET_NAME_MAX && all_of(v->str, LETTERS "0123456789-_.") &&
		     !str_eq(v->str, ".") && !str_starts(v->str, "..");
	}
	if (!ok) {
		refuse(run, at, v, accepted);
	} else if (config_keyref_is_set(ref)) {
		config_error(run, at,
			     "found a second place for the same key, accepted: one of …_path, "
			     "…_env, …_secret");
	} else {
		set_text(run, text, v);
		ref->pos = at->pos;
	}
}

CONFIG_READER(config_read_public_key)
{
	struct key *key = member(object, f->offset), k;

	/* Whatever stands here is not shown: it may be the private key. */
	if (!is_text(v)) {
		refuse(run, at, v, "a public key: 44 characters of base64");
	} else if (key_from_base64(v->str, &k) < 0) {
		config_error(run, at,
			     "found %zu characters that are not a key (not shown), accepted: a "
			     "public key: 44 characters of base64, the last one '='",
			     v->len);
	} else if (key_is_zero(&k)) {
		config_error(run, at, "found the all-zero key, accepted: a peer's public key");
	} else {
		*key = k;
	}
}

size_t config_list_len(const struct cfg_value *v)
{
	return v->type == CFG_ARRAY ? v->n_items : 1;
}

const struct cfg_value *config_list_item(const struct cfg_value *v, size_t i)
{
	return v->type == CFG_ARRAY ? v->items[i] : v;
}

/* The frame of a list's item: the list's own where one value stands for a list. */
static const struct config_at *item_at(const struct config_at *at, const struct cfg_value *v,
				       size_t i, struct config_at *frame)
{
	if (v->type != CFG_ARRAY)
		return at;
	*frame = (struct config_at){.up = at, .index = i, .pos = v->items[i]->pos};
	return frame;
}

static bool add_prefix(struct config_run *run, struct ip_prefix **list, size_t *n, size_t *cap,
		       struct ip_prefix p)
{
	if (mem_grow(list, *n, cap, sizeof(**list)) < 0) {
		run->no_memory = true;
		return false;
	}
	(*list)[(*n)++] = p;
	return true;
}

static bool is_multicast_or_unspecified(const struct ip_addr *a)
{
	static const struct ip_addr zero;

	if (memcmp(a->b, zero.b, sizeof(a->b)) == 0)
		return true;
	return a->family == AF_INET ? (a->b[0] & 0xF0) == 0xE0 : a->b[0] == 0xFF;
}

static void add_address(struct config_run *run, const struct config_at *at,
			const struct cfg_value *v, struct config_network *n, size_t *cap)
{
	struct ip_prefix p;
	char text[IP_ADDR_LEN];

	if (!is_text(v) || ip_prefix_parse(v->str, v->len, &p) < 0 || p.len == 0 ||
	    is_multicast_or_unspecified(&p.addr)) {
		refuse(run, at, v,
		       "an address of this node with its prefix length, such as "
		       "\"10.100.0.2/24\" or \"fd42::2/64\"");
		return;
	}
	for (size_t i = 0; i < n->n_addresses; i++) {
		if (ip_addr_cmp(&n->addresses[i].addr, &p.addr) == 0) {
			config_error(run, at, "found %s a second time, accepted: each address once",
				     ip_addr_str(&p.addr, text));
			return;
		}
	}
	add_prefix(run, &n->addresses, &n->n_addresses, cap, p);
}

/* Adds to what is there: `address` and `addresses` stand beside each other. */
CONFIG_READER(config_read_addresses)
{
	struct config_network *n = object;
	size_t cap = n->n_addresses; /* exact or too small: mem_grow then makes room */

	for (size_t i = 0; i < config_list_len(v); i++) {
		struct config_at frame;
		const struct config_at *here = item_at(at, v, i, &frame);

		if (n->n_addresses == ADDRESSES_MAX) {
			config_error(run, here,
				     "found more than the %d addresses that are accepted",
				     ADDRESSES_MAX);
			return;
		}
		add_address(run, here, config_list_item(v, i), n, &cap);
	}
}

/* A list of networks, in place of the one that was there. */
static void read_prefixes(struct config_run *run, const struct config_at *at,
			  const struct cfg_value *v, struct ip_prefix **list, size_t *n)
{
	size_t cap = 0;

	free(*list);
	*list = NULL;
	*n = 0;
	for (size_t i = 0; i < config_list_len(v); i++) {
		const struct cfg_value *item = config_list_item(v, i);
		struct config_at frame;
		const struct config_at *here = item_at(at, v, i, &frame);
		struct ip_prefix p, masked;
		char text[IP_PREFIX_LEN];

		if (!is_text(item) || ip_prefix_parse(item->str, item->len, &p) < 0) {
			refuse(run, here, item,
			       "a network such as \"10.42.0.0/16\" or \"fd42:1::/48\"");
			continue;
		}
		masked = ip_prefix_mask(p);
		if (ip_prefix_cmp(&p, &masked) != 0) {
			char found[CONFIG_FOUND_LEN];

			config_error(run, here,
				     "found %s, which has bits set behind its prefix length, "
				     "accepted: \"%s\", if that was meant",
				     config_found(item, found), ip_prefix_str(&masked, text));
			continue;
		}
		if (!add_prefix(run, list, n, &cap, p))
			return;
	}
}

CONFIG_READER(config_read_allowed)
{
	struct config_peer *peer = object;

	read_prefixes(run, at, v, &peer->allowed, &peer->n_allowed);
}

CONFIG_READER(config_read_guard_except)
{
	struct config_network *n = object;

	read_prefixes(run, at, v, &n->guard_except, &n->n_guard_except);
}

CONFIG_READER(config_read_ip)
{
	struct ip_addr *ret = member(object, f->offset);
	struct ip_addr a;

	if (!is_text(v) || ip_addr_parse(v->str, v->len, &a) < 0 || is_multicast_or_unspecified(&a))
		refuse(run, at, v, "an IP address such as \"10.100.0.1\"");
	else
		*ret = a;
}

CONFIG_READER(config_read_dns)
{
	struct config_network *n = object;
	size_t cap = 0;

	free(n->dns);
	n->dns = NULL;
	n->n_dns = 0;
	for (size_t i = 0; i < config_list_len(v); i++) {
		const struct cfg_value *item = config_list_item(v, i);
		struct config_at frame;
		struct ip_addr a;

		if (!is_text(item) || ip_addr_parse(item->str, item->len, &a) < 0 ||
		    is_multicast_or_unspecified(&a)) {
			refuse(run, item_at(at, v, i, &frame), item,
			       "the address of a name server, such as \"10.100.0.2\"; domains go "
			       "to dns_search");
			continue;
		}
		if (mem_grow(&n->dns, n->n_dns, &cap, sizeof(*n->dns)) < 0) {
			run->no_memory = true;
			return;
		}
		n->dns[n->n_dns++] = a;
	}
}

static void clear_texts(char ***list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*n = 0;
}

CONFIG_READER(config_read_dns_search)
{
	struct config_network *n = object;
	size_t cap = 0;

	clear_texts(&n->dns_search, &n->n_dns_search);
	for (size_t i = 0; i < config_list_len(v); i++) {
		const struct cfg_value *item = config_list_item(v, i);
		struct config_at frame;

		if (!is_text(item) || !config_is_host_name(item->str, item->len)) {
			refuse(run, item_at(at, v, i, &frame), item,
			       "a domain such as \"svc.example.com\"");
			continue;
		}
		if (mem_grow(&n->dns_search, n->n_dns_search, &cap, sizeof(*n->dns_search)) < 0) {
			run->no_memory = true;
			return;
		}
		n->dns_search[n->n_dns_search] = NULL;
		set_text(run, &n->dns_search[n->n_dns_search++], item);
	}
}

void config_keyref_clear(struct config_keyref *r)
{
	free(r->path);
	free(r->env);
	free(r->secret);
	*r = (struct config_keyref){0};
}

void config_peer_clear(struct config_peer *p)
{
	free(p->name);
	config_keyref_clear(&p->preshared);
	free(p->endpoint.host);
	free(p->allowed);
	*p = (struct config_peer){0};
}

void config_network_clear(struct config_network *n)
{
	free(n->name);
	free(n->addresses);
	free(n->guard_except);
	free(n->endpoint.host);
	config_keyref_clear(&n->private_key);
	free(n->dns);
	clear_texts(&n->dns_search, &n->n_dns_search);
	for (size_t i = 0; i < n->n_peers; i++)
		config_peer_clear(&n->peers[i]);
	free(n->peers);
	free(n->claimed);
	*n = (struct config_network){0};
}
