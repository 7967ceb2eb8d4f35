#include "agent/state.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

void agent_state_init(struct agent_state *s)
{
	memset(s, 0, sizeof(*s));
}

static void tunnel_clear(struct agent_tunnel *t)
{
	wgdev_clear(&t->wg);
	free(t->addrs);
	free(t->pairs);
	free(t->routes);
	free(t->closed);
	free(t->policy);
}

static void sysctls_free(struct agent_sysctl *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].key);
		free(list[i].value);
	}
	free(list);
}

void agent_state_clear(struct agent_state *s)
{
	for (size_t i = 0; i < s->n_tunnels; i++)
		tunnel_clear(&s->tunnels[i]);
	sysctls_free(s->sysctls, s->n_sysctls);
	sysctls_free(s->strict, s->n_strict);
	free(s->tunnels);
	free(s->rules);
	free(s->nft);
	agent_state_init(s);
}

struct agent_tunnel *agent_state_add_tunnel(struct agent_state *s, const char *ifname)
{
	if (mem_grow(&s->tunnels, s->n_tunnels, &s->cap_tunnels, sizeof(*s->tunnels)) < 0)
		return NULL;
	struct agent_tunnel *t = &s->tunnels[s->n_tunnels];
	memset(t, 0, sizeof(*t));
	if (str_copy(t->ifname, sizeof(t->ifname), ifname) < 0)
		return NULL;
	wgdev_init(&t->wg);
	s->n_tunnels++;
	return t;
}

int agent_tunnel_add_addr(struct agent_tunnel *t, struct ip_prefix addr)
{
	if (mem_grow(&t->addrs, t->n_addrs, &t->cap_addrs, sizeof(*t->addrs)) < 0)
		return -ENOMEM;
	t->addrs[t->n_addrs++] = addr;
	return 0;
}

int agent_tunnel_add_pair(struct agent_tunnel *t, struct agent_pair pair)
{
	if (mem_grow(&t->pairs, t->n_pairs, &t->cap_pairs, sizeof(*t->pairs)) < 0)
		return -ENOMEM;
	t->pairs[t->n_pairs++] = pair;
	return 0;
}

int agent_tunnel_add_route(struct agent_tunnel *t, struct agent_route route)
{
	if (mem_grow(&t->routes, t->n_routes, &t->cap_routes, sizeof(*t->routes)) < 0)
		return -ENOMEM;
	t->routes[t->n_routes++] = route;
	return 0;
}

int agent_tunnel_add_closed(struct agent_tunnel *t, struct ip_prefix net)
{
	for (size_t i = 0; i < t->n_closed; i++)
		if (ip_prefix_cmp(&t->closed[i], &net) == 0)
			return 0;
	if (mem_grow(&t->closed, t->n_closed, &t->cap_closed, sizeof(*t->closed)) < 0)
		return -ENOMEM;
	t->closed[t->n_closed++] = net;
	return 0;
}

int agent_state_add_rule(struct agent_state *s, struct agent_rule rule)
{
	if (mem_grow(&s->rules, s->n_rules, &s->cap_rules, sizeof(*s->rules)) < 0)
		return -ENOMEM;
	s->rules[s->n_rules++] = rule;
	return 0;
}

static int add_sysctl(struct agent_sysctl **list, size_t *n, size_t *cap, const char *key,
		      const char *value, bool first)
{
	if (mem_grow(list, *n, cap, sizeof(**list)) < 0)
		return -ENOMEM;

	struct agent_sysctl new = {strdup(key), strdup(value), first};
	if (!new.key || !new.value) {
		free(new.key);
		free(new.value);
		return -ENOMEM;
	}
	(*list)[(*n)++] = new;
	return 0;
}

int agent_state_add_sysctl(struct agent_state *s, const char *key, const char *value)
{
	return add_sysctl(&s->sysctls, &s->n_sysctls, &s->cap_sysctls, key, value, false);
}

int agent_state_add_strict(struct agent_state *s, const char *key, const char *value, bool first)
{
	for (size_t i = 0; i < s->n_strict; i++)
		if (str_eq(s->strict[i].key, key))
			return 0;
	return add_sysctl(&s->strict, &s->n_strict, &s->cap_strict, key, value, first);
}

int agent_state_add_nft(struct agent_state *s, const struct agent_nft *n)
{
	if (mem_grow(&s->nft, s->n_nft, &s->cap_nft, sizeof(*s->nft)) < 0)
		return -ENOMEM;
	s->nft[s->n_nft++] = *n;
	return 0;
}

bool agent_is_tunnel_kind(const char *link_kind)
{
	return str_eq(link_kind, "wireguard") || str_eq(link_kind, "tun");
}

bool agent_made_differs(const struct agent_tunnel *want, const struct agent_tunnel *have)
{
	bool kernel = str_eq(have->link_kind, "wireguard");

	return have->owner == AGENT_OWNER_US && !have->unknown &&
	       (want->made == AGENT_MADE_KERNEL      ? !kernel
		: want->made == AGENT_MADE_USERSPACE ? kernel
						     : false);
}

bool agent_key_differs(const struct wgdev *want, const struct wgdev *have)
{
	return want->private_key && (!have || !key_eq(&want->public_key, &have->public_key));
}

int agent_route_cmp(const struct agent_route *a, const struct agent_route *b)
{
	int c = (a->table > b->table) - (a->table < b->table);

	if (!c)
		c = ip_prefix_cmp(&a->dst, &b->dst);
	return c ? c : (a->metric > b->metric) - (a->metric < b->metric);
}

int agent_rule_cmp(const struct agent_rule *a, const struct agent_rule *b)
{
	int c = (a->family > b->family) - (a->family < b->family);

	if (!c)
		c = (a->priority > b->priority) - (a->priority < b->priority);
	if (!c)
		c = (a->table > b->table) - (a->table < b->table);
	if (!c)
		c = (a->fwmark > b->fwmark) - (a->fwmark < b->fwmark);
	if (!c)
		c = (a->invert > b->invert) - (a->invert < b->invert);
	if (!c)
		c = (a->suppress_prefixlen > b->suppress_prefixlen) -
		    (a->suppress_prefixlen < b->suppress_prefixlen);
	if (!c)
		c = ip_prefix_cmp(&a->dst, &b->dst);
	return c;
}

static int cmp_tunnel(const void *a, const void *b)
{
	return strcmp(((const struct agent_tunnel *)a)->ifname,
		      ((const struct agent_tunnel *)b)->ifname);
}

static int cmp_addr(const void *a, const void *b)
{
	return ip_prefix_cmp(a, b);
}

static int cmp_route(const void *a, const void *b)
{
	return agent_route_cmp(a, b);
}

static int cmp_rule(const void *a, const void *b)
{
	return agent_rule_cmp(a, b);
}

static int cmp_sysctl(const void *a, const void *b)
{
	return strcmp(((const struct agent_sysctl *)a)->key, ((const struct agent_sysctl *)b)->key);
}

static int cmp_nft(const void *a, const void *b)
{
	return strcmp(((const struct agent_nft *)a)->ifname, ((const struct agent_nft *)b)->ifname);
}

/* Sorts n elements and keeps one of each; returns how many are left. */
static size_t sort_unique(void *array, size_t n, size_t size,
			  int (*cmp)(const void *, const void *))
{
	char *base = array;
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(array, n, size, cmp);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && cmp(base + (kept - 1) * size, base + i * size) == 0)
			continue;
		if (kept != i)
			memcpy(base + kept * size, base + i * size, size);
		kept++;
	}
	return kept;
}

void agent_state_sort(struct agent_state *s)
{
	for (size_t i = 0; i < s->n_tunnels; i++) {
		struct agent_tunnel *t = &s->tunnels[i];

		t->n_addrs = sort_unique(t->addrs, t->n_addrs, sizeof(*t->addrs), cmp_addr);
		t->n_routes = sort_unique(t->routes, t->n_routes, sizeof(*t->routes), cmp_route);
	}
	if (s->n_tunnels)
		qsort(s->tunnels, s->n_tunnels, sizeof(*s->tunnels), cmp_tunnel);
	s->n_rules = sort_unique(s->rules, s->n_rules, sizeof(*s->rules), cmp_rule);
	if (s->n_sysctls)
		qsort(s->sysctls, s->n_sysctls, sizeof(*s->sysctls), cmp_sysctl);
	s->n_nft = sort_unique(s->nft, s->n_nft, sizeof(*s->nft), cmp_nft);
}

struct agent_tunnel *agent_state_find(const struct agent_state *s, const char *ifname)
{
	struct agent_tunnel probe = {0};

	if (s->n_tunnels == 0 || str_copy(probe.ifname, sizeof(probe.ifname), ifname) < 0)
		return NULL;
	return bsearch(&probe, s->tunnels, s->n_tunnels, sizeof(*s->tunnels), cmp_tunnel);
}
