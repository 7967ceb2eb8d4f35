/*
 * lib/netlink's WireGuard against the kernel's, see nlwg.test.
 *
 *     nlwg              runs the cases
 *     nlwg keep IF N    makes a device with N peers, reads it back, and prints its peers in the
 *                       format of `wg show IF dump`
 */
#include <stdlib.h>

#include "../netns/cases.h"
#include "base/ip.h"
#include "base/secret.h"
#include "base/str.h"
#include "netlink/link.h"
#include "netlink/wg.h"

#define MANY 3000

static struct nl *rt, *gen;

/* Key number i: any bytes are a public key; clamping is for private ones only. */
static struct key numbered(uint32_t i)
{
	struct key k = {.b = {0x40, 1, 2, 3}};

	memcpy(k.b + 8, &i, sizeof(i));
	return k;
}

static struct ip_prefix v4(uint32_t i)
{
	return (struct ip_prefix){{AF_INET, {10, (uint8_t)(i >> 8), (uint8_t)i, 0}}, 24};
}

static struct ip_prefix v6(uint32_t i)
{
	struct ip_prefix p = {{AF_INET6, {0xfd, 0x42}}, 64};

	memcpy(p.addr.b + 2, &i, sizeof(i));
	return p;
}

/* `n` peers with two allowed IPs each; every third has a preshared key. */
struct plan {
	struct wgdev_change change;
	struct wgdev_peer_change *peers;
	struct ip_prefix (*allowed)[2];
	struct key *psk, *private_key;
};

static int plan_init(struct plan *p, uint32_t n)
{
	memset(p, 0, sizeof(*p));
	p->peers = calloc(n, sizeof(*p->peers));
	p->allowed = calloc(n, sizeof(*p->allowed));
	p->psk = secret_new();
	p->private_key = secret_new();
	if (!p->peers || !p->allowed || !p->psk || !p->private_key)
		return -ENOMEM;
	*p->psk = numbered(7777);
	*p->private_key = numbered(8888);
	for (uint32_t i = 0; i < n; i++) {
		struct wgdev_peer_change *c = &p->peers[i];

		p->allowed[i][0] = v4(i);
		p->allowed[i][1] = v6(i);
		c->public_key = numbered(i);
		c->replace_allowed = true;
		c->allowed = p->allowed[i];
		c->n_allowed = 2;
		c->set_preshared = true;
		c->preshared_key = i % 3 ? NULL : p->psk;
		c->set_keepalive = true;
		c->keepalive = (uint16_t)(i % 5 * 10);
		c->set_endpoint = i % 4 != 3;
		ip_endpoint_parse(i % 2 ? "[fd00::1]:51820" : "192.0.2.7:51821", i % 2 ? 15 : 15,
				  &c->endpoint);
	}
	p->change = (struct wgdev_change){
		.set_private_key = true,
		.set_listen_port = true,
		.set_fwmark = true,
		.replace_peers = true,
		.private_key = p->private_key,
		.listen_port = 51820,
		.fwmark = 0xca6c,
		.peers = p->peers,
		.n_peers = n,
	};
	return 0;
}

static void plan_free(struct plan *p)
{
	free(p->peers);
	free(p->allowed);
	secret_free(p->psk);
	secret_free(p->private_key);
}

static bool same_peer(const struct wgdev_peer *got, const struct wgdev_peer_change *c)
{
	bool psk = c->preshared_key
			   ? got->preshared_key && key_eq(got->preshared_key, c->preshared_key)
			   : !got->preshared_key;

	if (got->n_allowed != c->n_allowed || !psk || got->keepalive != c->keepalive)
		return false;
	for (size_t i = 0; i < c->n_allowed; i++)
		if (ip_prefix_cmp(&got->allowed[i], &c->allowed[i]) != 0)
			return false;
	return c->set_endpoint ? ip_endpoint_cmp(&got->endpoint, &c->endpoint) == 0
			       : got->endpoint.addr.family == AF_UNSPEC;
}

static bool same(const struct wgdev *d, const struct plan *p)
{
	if (d->n_peers != p->change.n_peers || d->listen_port != p->change.listen_port ||
	    d->fwmark != p->change.fwmark || !d->private_key || key_is_zero(&d->public_key))
		return false;
	for (size_t i = 0; i < p->change.n_peers; i++) {
		const struct wgdev_peer *got = wgdev_find(d, &p->peers[i].public_key);

		if (!got || !same_peer(got, &p->peers[i]))
			return false;
	}
	return true;
}

static bool open_all(void)
{
	return nl_open(NETLINK_ROUTE, &rt, &err) == 0 && nl_open(NETLINK_GENERIC, &gen, &err) == 0;
}

static void close_all(void)
{
	nl_close(rt);
	nl_close(gen);
	rt = gen = NULL;
}

static bool make_link(const char *name)
{
	return nl_link_add(rt, "wireguard", name, 1420, NULL, &err) == 0;
}

static void device(void)
{
	_cleanup_wgdev_ struct wgdev d = {0};
	_cleanup_(plan_free) struct plan p;
	struct nl_link l;

	MUST(plan_init(&p, 12) == 0);
	MUST(nl_wg_probe(gen, &err) == 0);
	MUST_FAIL(nl_wg_get(gen, "wg0", &d, &err), -ENODEV, "wg0");
	MUST(make_link("wg0"));
	MUST(nl_link_get(rt, "wg0", &l, &err) == 0 && str_eq(l.kind, "wireguard"));
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0);
	MUST(str_eq(d.ifname, "wg0") && d.n_peers == 0 && !d.private_key);
	MUST(nl_wg_set(gen, "wg0", &p.change, &err) == 0);
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0);
	MUST(same(&d, &p) && wall_is_never(d.peers[0].last_handshake));

	/* Clearing. */
	struct wgdev_peer_change clear = {.public_key = numbered(0), .set_preshared = true};
	struct wgdev_change c = {.set_private_key = true, .set_fwmark = true, .n_peers = 1};
	clear.replace_allowed = true;
	clear.set_keepalive = true;
	c.peers = &clear;
	MUST(nl_wg_set(gen, "wg0", &c, &err) == 0);
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0);
	MUST(d.n_peers == 12 && !d.private_key && d.fwmark == 0 && d.listen_port == 51820);
	const struct wgdev_peer *got = wgdev_find(&d, &clear.public_key);
	MUST(got && !got->preshared_key && got->n_allowed == 0 && got->keepalive == 0);
	/* An endpoint that is not named stays. */
	MUST(got->endpoint.port == 51821);

	/* update_only does not create; remove removes; an empty change is allowed. */
	struct wgdev_peer_change few[] = {
		{.public_key = numbered(500), .update_only = true, .set_keepalive = true},
		{.public_key = numbered(1), .remove = true},
	};
	c = (struct wgdev_change){.peers = few, .n_peers = 2};
	MUST(nl_wg_set(gen, "wg0", &c, &err) == 0);
	MUST(nl_wg_set(gen, "wg0", &(struct wgdev_change){0}, &err) == 0);
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0 && d.n_peers == 11);
	MUST(!wgdev_find(&d, &few[0].public_key) && !wgdev_find(&d, &few[1].public_key));
	MUST(nl_wg_set(gen, "wg0", &(struct wgdev_change){.replace_peers = true}, &err) == 0);
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0 && d.n_peers == 0);
	MUST_FAIL(nl_wg_get(gen, "lo", &d, &err), -EPROTOTYPE, "lo is no WireGuard interface");
	MUST_FAIL(nl_wg_set(gen, "lo", &c, &err), -EPROTOTYPE, "lo is no WireGuard interface");
	MUST_FAIL(nl_wg_set(gen, "wg9", &c, &err), -ENODEV, "wg9");
}

static void many_peers(void)
{
	_cleanup_wgdev_ struct wgdev d = {0};
	_cleanup_(plan_free) struct plan p;

	MUST(plan_init(&p, MANY) == 0 && make_link("wg0"));
	struct mono t0 = mono_now();
	MUST(nl_wg_set(gen, "wg0", &p.change, &err) == 0);
	struct mono t1 = mono_now();
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0);
	struct mono t2 = mono_now();
	MUST(same(&d, &p));

	/* One peer more, one changed, one less: three messages' worth in one. */
	struct ip_prefix moved = v4(5);
	struct wgdev_peer_change delta[] = {
		{.public_key = numbered(3), .remove = true},
		{.public_key = numbered(MANY), .allowed = &moved, .n_allowed = 1},
		{.public_key = numbered(9), .set_keepalive = true, .keepalive = 99},
	};
	MUST(nl_wg_set(gen, "wg0", &(struct wgdev_change){.peers = delta, .n_peers = 3}, &err) ==
	     0);
	struct mono t3 = mono_now();
	printf("# set %d peers %.0f ms, get %.0f ms, delta %.1f ms\n", MANY,
	       (double)mono_since(t1, t0) / 1e6, (double)mono_since(t2, t1) / 1e6,
	       (double)mono_since(t3, t2) / 1e6);
	MUST(nl_wg_get(gen, "wg0", &d, &err) == 0 && d.n_peers == MANY);
	const struct wgdev_peer *from = wgdev_find(&d, &p.peers[5].public_key);
	const struct wgdev_peer *to = wgdev_find(&d, &delta[1].public_key);
	const struct wgdev_peer *changed = wgdev_find(&d, &delta[2].public_key);
	MUST(!wgdev_find(&d, &delta[0].public_key));
	MUST(from && from->n_allowed == 1 && to && to->n_allowed == 1);
	MUST(changed && changed->keepalive == 99 && changed->n_allowed == 2);
}

/* One peer larger than a message, in both directions, between two small ones; then replaced. */
static void many_allowed_ips(void)
{
	_cleanup_wgdev_ struct wgdev d = {0};
	_cleanup_free_ struct ip_prefix *ips = calloc(MANY, sizeof(*ips));
	struct ip_prefix one = v6(1), two = v6(2);

	MUST(ips && make_link("wg0"));
	for (uint32_t i = 0; i < MANY; i++)
		ips[i] = v4(i);
	struct wgdev_peer_change peers[] = {
		{.public_key = numbered(1), .allowed = &one, .n_allowed = 1},
		{.public_key = numbered(2), .allowed = ips, .n_allowed = MANY},
		{.public_key = numbered(3), .allowed = &two, .n_allowed = 1},
	};
	struct wgdev_change c = {.peers = peers, .n_peers = 3};
	for (int round = 0; round < 2; round++) {
		peers[1].replace_allowed = true;
		MUST(nl_wg_set(gen, "wg0", &c, &err) == 0);
		MUST(nl_wg_get(gen, "wg0", &d, &err) == 0 && d.n_peers == 3);
		MUST(d.peers[0].n_allowed == 1 && d.peers[2].n_allowed == 1);
		MUST(d.peers[1].n_allowed == peers[1].n_allowed);
		for (size_t i = 0; i < d.peers[1].n_allowed; i++)
			MUST(ip_prefix_cmp(&d.peers[1].allowed[i], &ips[i]) == 0);
		peers[1].n_allowed = MANY / 2;
	}
}

static int keep(const char *ifname, uint32_t n)
{
	_cleanup_wgdev_ struct wgdev d = {0};
	_cleanup_(plan_free) struct plan p;
	char text[KEY_BASE64], ep[IP_ENDPOINT_LEN], ip[IP_PREFIX_LEN];

	if (plan_init(&p, n) < 0 || !open_all() || !make_link(ifname) ||
	    nl_wg_set(gen, ifname, &p.change, &err) < 0 || nl_wg_get(gen, ifname, &d, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	for (size_t i = 0; i < d.n_peers; i++) {
		const struct wgdev_peer *q = &d.peers[i];

		printf("%s\t", key_to_base64(&q->public_key, text));
		printf("%s\t", q->preshared_key ? key_to_base64(q->preshared_key, text) : "(none)");
		printf("%s\t",
		       q->endpoint.addr.family ? ip_endpoint_str(&q->endpoint, ep) : "(none)");
		for (size_t k = 0; k < q->n_allowed; k++)
			printf("%s%s", k ? "," : "", ip_prefix_str(&q->allowed[k], ip));
		printf("\t0\t%llu\t%llu\t", (unsigned long long)q->rx_bytes,
		       (unsigned long long)q->tx_bytes);
		printf(q->keepalive ? "%u\n" : "off\n", q->keepalive);
	}
	close_all();
	return 0;
}

static void with_sockets(const char *name, void (*fn)(void))
{
	/* The sockets belong to the namespace of their case. */
	case_run(name, fn);
	close_all();
}

#define IN_CASE(fn)                                                                                \
	static void case_##fn(void)                                                                \
	{                                                                                          \
		MUST(open_all());                                                                  \
		fn();                                                                              \
	}
IN_CASE(device)
IN_CASE(many_peers)
IN_CASE(many_allowed_ips)

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && str_eq(argv[1], "keep"))
		return keep(argv[2], (uint32_t)atoi(argv[3]));
	with_sockets("device", case_device);
	with_sockets("many_peers", case_many_peers);
	with_sockets("many_allowed_ips", case_many_allowed_ips);
	return cases_failed;
}
