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
#define BATCH     256 /* asked for at once */

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

/* Makes room for `more`. */
static int grow(struct agent_sys *s, size_t more)
{
	size_t cap = s->cap_paths ? s->cap_paths : PATHS_MIN;
	struct sys_path *paths;

	while ((s->n_paths + more) * 2 > cap)
		cap *= 2;
	if (cap == s->cap_paths)
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

static void keep(struct agent_sys *s, const struct nl_path_query *q, const struct nl_path *answer)
{
	struct ip_endpoint e = {.addr = q->dst, .scope = q->oif};
	struct sys_path *p = find(s->paths, s->cap_paths, &e, q->fwmark);
	uint32_t mtu = answer->mtu;

	s->n_paths += p->dst.family == AF_UNSPEC;
	*p = (struct sys_path){.dst = q->dst, .scope = q->oif, .fwmark = q->fwmark};
	/* A path through one of our own tunnels says nothing: the next look would see it shrunk by
	 * what this one derived from it. */
	if (answer->ifindex == 0 || agent_sys_knows(s, answer->ifindex))
		return;
	if (mtu == 0)
		mtu = link_mtu(s, answer->ifindex);
	/* Loopback has 65536, and a tunnel wider than a packet is of no use. */
	p->mtu = mtu > 65535 ? 0 : mtu;
	p->ifindex = answer->ifindex;
}

static int ask(struct agent_sys *s, const struct nl_path_query *queries, size_t n)
{
	struct nl_path answers[BATCH];

	if (grow(s, n) < 0 || nl_route_lookup_many(s->route, queries, n, answers, NULL) < 0)
		return -EAGAIN;
	for (size_t i = 0; i < n; i++)
		keep(s, &queries[i], &answers[i]);
	return 0;
}

static const struct sys_path *known(const struct agent_sys *s, const struct ip_endpoint *e,
				    uint32_t fwmark)
{
	const struct sys_path *p = s->cap_paths ? find(s->paths, s->cap_paths, e, fwmark) : NULL;

	return p && p->dst.family != AF_UNSPEC ? p : NULL;
}

/* Asks for all of the device's that are not known. */
static void ask_missing(struct agent_sys *s, const struct wgdev *dev)
{
	struct nl_path_query queries[BATCH];
	size_t n = 0;

	for (size_t i = 0; i < dev->n_peers; i++) {
		const struct ip_endpoint *e = &dev->peers[i].endpoint;

		if (e->addr.family != AF_UNSPEC && !known(s, e, dev->fwmark))
			queries[n++] = (struct nl_path_query){e->addr, e->scope, dev->fwmark};
		if (n == BATCH || (n > 0 && i + 1 == dev->n_peers)) {
			if (ask(s, queries, n) < 0)
				return;
			n = 0;
		}
	}
}

uint32_t agent_sys_path_mtu(struct agent_sys *s, const struct wgdev *dev)
{
	uint32_t least = 0;

	ask_missing(s, dev);
	for (size_t i = 0; i < dev->n_peers; i++) {
		const struct ip_endpoint *e = &dev->peers[i].endpoint;
		const struct sys_path *p =
			e->addr.family != AF_UNSPEC ? known(s, e, dev->fwmark) : NULL;

		if (p && p->mtu && (!least || p->mtu < least))
			least = p->mtu;
	}
	return least;
}

unsigned sys_path_link(struct agent_sys *s, const struct ip_endpoint *e, uint32_t fwmark)
{
	const struct sys_path *p = known(s, e, fwmark);

	if (!p && ask(s, &(struct nl_path_query){e->addr, e->scope, fwmark}, 1) == 0)
		p = known(s, e, fwmark);
	return p ? p->ifindex : 0;
}

void agent_sys_forget_paths(struct agent_sys *s)
{
	free(s->paths);
	s->paths = NULL;
	s->n_paths = s->cap_paths = 0;
	s->path_link = (struct sys_link_mtu){0};
}
