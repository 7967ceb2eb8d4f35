/*
 * MTUs of paths, and the links that they leave by, asked of the kernel once for each destination
 * and kept until they are forgotten: with ten thousand peers a question for each costs more than
 * the dump of the device. A table with open addressing, at most half full. Most of these ways leave
 * by one link, and have its MTU: that is asked for once.
 */
#include "agent/sys_priv.h"
#include "netlink/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MIN 64

static size_t hash_of(const struct ip_endpoint *e, uint32_t fwmark)
{
	uint64_t h = fwmark, w[2];

	memcpy(w, e->addr.b, sizeof(w));
	h = (h ^ w[0] ^ e->scope) * UINT64_C(0x9E3779B97F4A7C15);
	h = (h ^ h >> 32 ^ w[1]) * UINT64_C(0x9E3779B97F4A7C15);
	return (size_t)(h ^ h >> 29);
}

static bool same(const struct sys_path *p, const struct ip_endpoint *e, uint32_t fwmark)
{
	return p->fwmark == fwmark && p->scope == e->scope && ip_addr_cmp(&p->dst, &e->addr) == 0;
}

/* Where it stands, or the free place for it. There is one. */
static struct sys_path *find(struct sys_path *paths, size_t cap, const struct ip_endpoint *e,
			     uint32_t fwmark)
{
	size_t i = hash_of(e, fwmark) & (cap - 1);

	while (paths[i].dst.family != AF_UNSPEC && !same(&paths[i], e, fwmark))
		i = (i + 1) & (cap - 1);
	return &paths[i];
}

static int grow(struct agent_sys *s)
{
	size_t cap = s->cap_paths ? s->cap_paths * 2 : PATHS_MIN;
	struct sys_path *paths;

	if (s->n_paths * 2 < s->cap_paths)
		return 0;
	paths = calloc(cap, sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	for (size_t i = 0; i < s->cap_paths; i++) {
		const struct sys_path *p = &s->paths[i];
		struct ip_endpoint e = {.addr = p->dst, .scope = p->scope};

		if (p->dst.family != AF_UNSPEC)
			*find(paths, cap, &e, p->fwmark) = *p;
	}
	free(s->paths);
	s->paths = paths;
	s->cap_paths = cap;
	return 0;
}

static uint32_t link_mtu(struct agent_sys *s, unsigned ifindex)
{
	struct nl_link link;

	if (s->path_link.ifindex != ifindex) {
		if (nl_link_get_index(s->route, ifindex, &link, NULL) < 0)
			return 0;
		s->path_link = (struct sys_link_mtu){ifindex, link.mtu};
	}
	return s->path_link.mtu;
}

static void ask(struct agent_sys *s, const struct ip_endpoint *endpoint, struct sys_path *ret)
{
	struct nl_path path;

	if (nl_route_lookup_bare(s->route, &endpoint->addr, endpoint->scope, ret->fwmark, &path,
				 NULL) < 0)
		return;
	/* A path through one of our own tunnels says nothing: the next look would see it shrunk by
	 * what this one derived from it. */
	if (agent_sys_knows(s, path.ifindex))
		return;
	if (path.mtu == 0)
		path.mtu = link_mtu(s, path.ifindex);
	/* Loopback has 65536, and a tunnel wider than a packet is of no use. */
	ret->mtu = path.mtu > 65535 ? 0 : path.mtu;
	ret->ifindex = path.ifindex;
}

static struct sys_path path_to(struct agent_sys *s, const struct ip_endpoint *e, uint32_t fwmark)
{
	struct sys_path fresh = {.dst = e->addr, .scope = e->scope, .fwmark = fwmark}, *p;

	if (grow(s) < 0) {
		ask(s, e, &fresh);
		return fresh;
	}
	p = find(s->paths, s->cap_paths, e, fwmark);
	if (p->dst.family == AF_UNSPEC) {
		ask(s, e, &fresh);
		*p = fresh;
		s->n_paths++;
	}
	return *p;
}

uint32_t agent_sys_path_mtu(struct agent_sys *s, const struct ip_endpoint *e, uint32_t fwmark)
{
	return path_to(s, e, fwmark).mtu;
}

unsigned sys_path_link(struct agent_sys *s, const struct ip_endpoint *e, uint32_t fwmark)
{
	return path_to(s, e, fwmark).ifindex;
}

void agent_sys_forget_paths(struct agent_sys *s)
{
	free(s->paths);
	s->paths = NULL;
	s->n_paths = s->cap_paths = 0;
	s->path_link = (struct sys_link_mtu){0};
}
