/* lib/uapi: the text format of both ends. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "base/str.h"
#include "fault.h"
#include "uapi/uapi.h"

#define A "0101010101010101010101010101010101010101010101010101010101010101"
#define B "0202020202020202020202020202020202020202020202020202020202020202"
#define Z "0000000000000000000000000000000000000000000000000000000000000000"
/* A pair; the public key is from wg pubkey. */
#define PRIVATE "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ac177fba51db92c2a"
#define PUBLIC  "2953e97dca1229f97c600bec2c17feeaab35ce4bedf66b1d42f16a449dc5c05f"

static struct wall now = {INT64_C(1800000000) * NS_PER_SEC};

static struct key key(const char *hex)
{
	struct key k;

	ck_assert_int_eq(key_from_hex(hex, &k), 0);
	return k;
}

static struct ip_prefix prefix(const char *s)
{
	struct ip_prefix p;

	ck_assert_int_eq(ip_prefix_parse(s, strlen(s), &p), 0);
	return p;
}

static struct ip_endpoint endpoint(const char *s)
{
	struct ip_endpoint e;

	ck_assert_int_eq(ip_endpoint_parse(s, strlen(s), &e), 0);
	return e;
}

/* A fixed sequence, so that a failure repeats. */
static uint32_t seed = 1;
static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

/* ---- comparing ---- */

static void same_secret(const struct key *a, const struct key *b)
{
	ck_assert_int_eq(!a, !b);
	ck_assert(!a || key_eq(a, b));
}

static void same_prefixes(const struct ip_prefix *a, size_t n, const struct ip_prefix *b, size_t m)
{
	ck_assert_uint_eq(n, m);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(ip_prefix_cmp(&a[i], &b[i]), 0);
}

static void same_dev(const struct wgdev *a, const struct wgdev *b)
{
	same_secret(a->private_key, b->private_key);
	ck_assert(key_eq(&a->public_key, &b->public_key));
	ck_assert_uint_eq(a->listen_port, b->listen_port);
	ck_assert_uint_eq(a->fwmark, b->fwmark);
	ck_assert_uint_eq(a->n_peers, b->n_peers);
	for (size_t i = 0; i < a->n_peers; i++) {
		const struct wgdev_peer *p = &a->peers[i], *q = &b->peers[i];

		ck_assert(key_eq(&p->public_key, &q->public_key));
		same_secret(p->preshared_key, q->preshared_key);
		ck_assert_int_eq(ip_endpoint_cmp(&p->endpoint, &q->endpoint), 0);
		ck_assert_uint_eq(p->keepalive, q->keepalive);
		ck_assert_uint_eq(p->rx_bytes, q->rx_bytes);
		ck_assert_uint_eq(p->tx_bytes, q->tx_bytes);
		ck_assert_int_eq(p->last_handshake.ns, q->last_handshake.ns);
		same_prefixes(p->allowed, p->n_allowed, q->allowed, q->n_allowed);
	}
}

/* ---- making ---- */

static struct ip_prefix random_prefix(void)
{
	struct ip_prefix p = {.addr.family = rnd(2) ? AF_INET : AF_INET6};

	for (size_t i = 0; i < ip_bytes(p.addr.family); i++)
		p.addr.b[i] = (uint8_t)rnd(256);
	p.len = (uint8_t)rnd(ip_bits(p.addr.family) + 1);
	return ip_prefix_mask(p);
}

static struct ip_endpoint random_endpoint(void)
{
	static const char *const some[] = {"203.0.113.10:51820", "[2001:db8::1]:1",
					   "[fe80::1%7]:65535", "0.0.0.0:2"};

	return endpoint(some[rnd(ARRAY_LEN(some))]);
}

static struct key random_key(void)
{
	struct key k;

	for (size_t i = 0; i < KEY_LEN; i++)
		k.b[i] = (uint8_t)(1 + rnd(255));
	return k;
}

static void random_dev(struct wgdev *d, size_t n_peers)
{
	struct key k = key(PRIVATE);

	wgdev_init(d);
	if (rnd(4)) {
		d->private_key = secret_copy(&k);
		d->public_key = key(PUBLIC);
	}
	d->listen_port = (uint16_t)rnd(65536);
	d->fwmark = rnd(2) ? rnd(UINT32_MAX) : 0;
	for (size_t i = 0; i < n_peers; i++) {
		struct key pk = random_key(), psk = random_key();
		struct wgdev_peer *p = wgdev_add_peer(d, &pk);

		ck_assert_ptr_nonnull(p);
		if (rnd(2))
			p->preshared_key = secret_copy(&psk);
		if (rnd(2))
			p->endpoint = random_endpoint();
		p->keepalive = (uint16_t)rnd(65536);
		p->rx_bytes = (uint64_t)rnd(UINT32_MAX) << 32 | rnd(UINT32_MAX);
		p->tx_bytes = rnd(3) ? rnd(1000) : UINT64_MAX;
		p->last_handshake.ns = rnd(2) ? now.ns - rnd(1000000000) : 0;
		for (uint32_t n = rnd(5); n; n--)
			ck_assert_int_eq(wgdev_peer_add_allowed(p, random_prefix()), 0);
	}
	ck_assert_int_eq(wgdev_sort(d), 0);
}

static void whole_reply(const struct wgdev *d, struct buf *b)
{
	struct uapi_writer w = {.dev = d};
	int r;

	do {
		r = uapi_writer_fill(&w, b, b->len + 100);
	} while (r > 0);
	ck_assert_int_eq(r, 0);
}

/* The machine of these tests has one interface, number 7. */
static unsigned ifindex(void *user, const char *name)
{
	ck_assert_ptr_eq(user, "machine");
	return strcmp(name, "eth0") == 0 ? 7 : 0;
}
static const struct uapi_names names = {ifindex, "machine"};

/* Feeds the text in pieces of `step` bytes, or of random sizes for 0. */
static int feed_reply(const char *text, size_t len, size_t step, struct wgdev *ret, struct err *e)
{
	struct uapi_reply r;
	int done = 0;

	uapi_reply_init(&r, &names);
	for (size_t at = 0, n; at < len && done == 0; at += n) {
		n = step ? step : 1 + rnd(500);
		if (n > len - at)
			n = len - at;
		done = uapi_reply_feed(&r, text + at, n, e);
	}
	if (done == 1)
		done = uapi_reply_finish(&r, now, ret, e);
	else if (done == 0)
		done = -EAGAIN;
	uapi_reply_clear(&r);
	return done;
}

/* ---- the asking end ---- */

START_TEST(set_request_text)
{
	struct key priv = key(A), psk = key(B);
	struct ip_prefix ips[] = {prefix("10.0.0.0/8"), prefix("fd00::/64")};
	struct wgdev_peer_change peers[] = {
		{.public_key = key(B),
		 .update_only = true,
		 .replace_allowed = true,
		 .set_preshared = true,
		 .preshared_key = &psk,
		 .set_endpoint = true,
		 .endpoint = endpoint("[fd00::1]:51820"),
		 .set_keepalive = true,
		 .keepalive = 25,
		 .allowed = ips,
		 .n_allowed = 2,
		 .removed = ips,
		 .n_removed = 1},
		{.public_key = key(A), .remove = true, .set_keepalive = true},
		{.public_key = key(A), .set_preshared = true},
	};
	struct wgdev_change c = {
		.set_private_key = true,
		.set_listen_port = true,
		.set_fwmark = true,
		.replace_peers = true,
		.private_key = &priv,
		.listen_port = 51820,
		.fwmark = 4294967295u,
		.peers = peers,
		.n_peers = 3,
	};
	struct buf b = BUF_INIT(0);

	ck_assert_int_eq(uapi_format_set(&c, &b), 0);
	ck_assert_str_eq(buf_str(&b),
			 "set=1\nprivate_key=" A "\nlisten_port=51820\nfwmark=4294967295\n"
			 "replace_peers=true\npublic_key=" B "\nupdate_only=true\n"
			 "preshared_key=" B "\nendpoint=[fd00::1]:51820\n"
			 "persistent_keepalive_interval=25\nreplace_allowed_ips=true\n"
			 "allowed_ip=-10.0.0.0/8\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n"
			 "public_key=" A "\nremove=true\npublic_key=" A "\npreshared_key=" Z
			 "\n\n");
	peers[0].endpoint.addr.family = AF_UNSPEC;
	ck_assert_int_eq(uapi_format_set(&c, &b), -EINVAL);
	buf_wipe(&b);
}
END_TEST

/* What is reserved for keys must suffice: growth would leave copies. */
START_TEST(set_request_never_grows)
{
	struct ip_prefix ip = prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
	struct key k = key(A);
	struct wgdev_peer_change p = {
		.public_key = k,
		.update_only = true,
		.replace_allowed = true,
		.set_preshared = true,
		.set_endpoint = true,
		.endpoint = endpoint("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"),
		.set_keepalive = true,
		.keepalive = 65535,
		.allowed = &ip,
		.n_allowed = 1,
		.removed = &ip,
		.n_removed = 1,
	};
	struct wgdev_peer_change many[40];
	struct wgdev_change c = {.set_private_key = true,
				 .set_listen_port = true,
				 .listen_port = 65535,
				 .set_fwmark = true,
				 .fwmark = UINT32_MAX,
				 .replace_peers = true,
				 .peers = many};

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = p;
	for (c.n_peers = 0; c.n_peers <= ARRAY_LEN(many); c.n_peers++) {
		size_t bound = 256 + c.n_peers * (448 + 2 * 64);
		struct buf b = BUF_INIT(bound);

		ck_assert_int_eq(uapi_format_set(&c, &b), 0);
		buf_wipe(&b);
	}
}
END_TEST

START_TEST(reply_split_at_every_byte)
{
	struct wgdev d, got;
	struct buf b = BUF_INIT(0);

	random_dev(&d, 3);
	wgdev_init(&got);
	whole_reply(&d, &b);
	for (size_t cut = 1; cut < b.len; cut++) {
		struct uapi_reply r;

		uapi_reply_init(&r, NULL);
		ck_assert_int_eq(uapi_reply_feed(&r, b.data, cut, NULL), 0);
		ck_assert_int_eq(uapi_reply_feed(&r, b.data + cut, b.len - cut, NULL), 1);
		ck_assert_int_eq(uapi_reply_finish(&r, now, &got, NULL), 0);
		uapi_reply_clear(&r);
		same_dev(&d, &got);
	}
	ck_assert_int_eq(feed_reply(b.data, b.len, 1, &got, NULL), 0);
	same_dev(&d, &got);
	wgdev_clear(&got);
	wgdev_clear(&d);
	buf_wipe(&b);
}
END_TEST

START_TEST(reply_round_trip)
{
	for (unsigned i = 0; i < 300; i++) {
		struct wgdev d, got = {.ifname = "wg7"};
		struct buf b = BUF_INIT(0);

		random_dev(&d, rnd(30));
		whole_reply(&d, &b);
		ck_assert_int_eq(feed_reply(b.data, b.len, 0, &got, NULL), 0);
		same_dev(&d, &got);
		ck_assert_str_eq(got.ifname, "wg7");
		wgdev_clear(&got);
		wgdev_clear(&d);
		buf_wipe(&b);
	}
}
END_TEST

START_TEST(reply_dialects)
{
	static const char boringtun[] = "own_public_key=" PUBLIC "\nlisten_port=7\n"
					"public_key=" A "\nlast_handshake_time_sec=90\n"
					"last_handshake_time_nsec=5\nnovelty=x=y\n"
					"public_key=" B "\nlast_handshake_time_sec=1799999999\n"
					"allowed_ip=10.1.2.3/24\n"
					"errno=0\n\n";
	struct wgdev d;

	wgdev_init(&d);
	ck_assert_int_eq(feed_reply(boringtun, sizeof(boringtun) - 1, 0, &d, NULL), 0);
	ck_assert_ptr_null(d.private_key);
	struct key pub = key(PUBLIC);
	ck_assert(key_eq(&d.public_key, &pub));
	ck_assert_int_eq(d.peers[0].last_handshake.ns, now.ns - 90 * NS_PER_SEC - 5);
	ck_assert_int_eq(d.peers[1].last_handshake.ns, now.ns - NS_PER_SEC);
	struct ip_prefix masked = prefix("10.1.2.0/24");
	same_prefixes(d.peers[1].allowed, d.peers[1].n_allowed, &masked, 1);

	static const char negative[] = "errno=-98\n\n", positive[] = "errno=98\n\n";
	struct err e;
	ck_assert_int_eq(feed_reply(negative, sizeof(negative) - 1, 0, &d, &e), -EADDRINUSE);
	ck_assert_int_eq(feed_reply(positive, sizeof(positive) - 1, 0, &d, &e), -EADDRINUSE);
	ck_assert_uint_eq(d.n_peers, 2); /* untouched */
	wgdev_clear(&d);
}
END_TEST

START_TEST(reply_refused)
{
	static const struct {
		const char *text;
		const char *message;
	} bad[] = {
		{"\n", "line 1"},
		{"HTTP/1.1 400 Bad Request\r\n", "line 1"},
		{"listen_port=1\nnothing\n", "line 2"},
		{"listen_port=65536\n", "line 1"},
		{"listen_port=-1\n", "listen_port"},
		{"private_key=" A "0\n", "private_key"},
		{"private_key=" A "\nprivate_key=xyz\n", "line 2"},
		{"own_public_key=00\n", "line 1"},
		{"endpoint=1.2.3.4:5\n", "line 1"},
		{"public_key=" A "\nendpoint=example.org:5\n", "line 2"},
		{"public_key=" A "\nendpoint=[fe80::1%nosuchif0]:5\n", "line 2"},
		{"public_key=" A "\nallowed_ip=10.0.0.0\n", "line 2"},
		{"public_key=" A "\nallowed_ip=10.0.0.0/33\n", "line 2"},
		{"public_key=" A "\nlast_handshake_time_nsec=1000000000\n", "line 2"},
		{"public_key=" A "\nlast_handshake_time_sec=9223372036\n", "line 2"},
		{"public_key=" A "\nrx_bytes=18446744073709551616\n", "line 2"},
		{"public_key=" A "\nprivate_key=" A "\n", "line 2"},
		{"public_key=" A "\npublic_key=" B "\npublic_key=" A "\nerrno=0\n\n", "twice"},
		{"errno=x\n", "errno"},
		{"errno=4096\n", "errno"},
		{"errno=0\nerrno=0\n\n", "line 2"},
		{"errno=0\nlisten_port=1\n", "line 2"},
	};
	struct wgdev d = {.listen_port = 9};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};
		int r = feed_reply(bad[i].text, strlen(bad[i].text), 0, &d, &e);

		ck_assert_msg(r == -EPROTO && e.code == r, "case %zu: %d %s", i, r, e.msg);
		ck_assert_msg(strstr(e.msg, bad[i].message), "case %zu: %s", i, e.msg);
		ck_assert_msg(!strstr(e.msg, "0101"), "case %zu: %s", i, e.msg);
	}
	ck_assert_uint_eq(d.listen_port, 9);

	char longest[2 * UAPI_LINE_MAX];
	memset(longest, 'a', sizeof(longest));
	longest[1] = '=';
	longest[UAPI_LINE_MAX] = '\n';
	ck_assert_int_eq(feed_reply(longest, UAPI_LINE_MAX + 1, 0, &d, NULL), -EAGAIN);
	longest[UAPI_LINE_MAX] = 'a';
	longest[UAPI_LINE_MAX + 1] = '\n';
	ck_assert_int_eq(feed_reply(longest, UAPI_LINE_MAX + 2, 0, &d, NULL), -EPROTO);
	ck_assert_int_eq(feed_reply("a\0=b\n", 5, 0, &d, NULL), -EPROTO);
}
END_TEST

START_TEST(reply_limits)
{
	static const char line[] = "allowed_ip=10.0.0.0/8\n", peer[] = "public_key=" A "\n";
	struct uapi_reply r;
	struct err e;
	int done = 0;
	unsigned n = 0;

	uapi_reply_init(&r, NULL);
	ck_assert_int_eq(uapi_reply_feed(&r, peer, sizeof(peer) - 1, &e), 0);
	while (done == 0 && n <= UAPI_ALLOWED_MAX)
		done = uapi_reply_feed(&r, line, sizeof(line) - 1, &e), n++;
	ck_assert_int_eq(done, -E2BIG);
	ck_assert_uint_eq(n, UAPI_ALLOWED_MAX + 1);
	uapi_reply_clear(&r);

	for (done = 0, n = 0; done == 0 && n <= UAPI_PEERS_MAX; n++)
		done = uapi_reply_feed(&r, peer, sizeof(peer) - 1, &e);
	ck_assert_int_eq(done, -E2BIG);
	ck_assert_uint_eq(n, UAPI_PEERS_MAX + 1);
	uapi_reply_clear(&r);
}
END_TEST

/* An interface by its name is asked for, by both ends, and of each request anew. */
START_TEST(scope_by_name)
{
	static const char reply[] = "public_key=" A "\nendpoint=[fe80::1%eth0]:5\nerrno=0\n\n",
			  request[] = "set=1\npublic_key=" A "\nendpoint=[fe80::1%eth0]:5\n\n",
			  no_such[] = "set=1\npublic_key=" A "\nendpoint=[fe80::1%wg9]:5\n\n";
	struct ip_endpoint want = endpoint("[fe80::1%7]:5");
	struct uapi_request q;
	struct wgdev d = {0};
	size_t used;

	ck_assert_int_eq(feed_reply(reply, sizeof(reply) - 1, 0, &d, NULL), 0);
	ck_assert_int_eq(ip_endpoint_cmp(&d.peers[0].endpoint, &want), 0);
	wgdev_clear(&d);
	uapi_request_init(&q, &names);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(uapi_request_feed(&q, request, sizeof(request) - 1, &used), 1);
		ck_assert_int_eq(q.err.code, 0);
		ck_assert_int_eq(ip_endpoint_cmp(&q.change.peers[0].endpoint, &want), 0);
		uapi_request_clear(&q);
	}
	ck_assert_int_eq(uapi_request_feed(&q, no_such, sizeof(no_such) - 1, &used), 1);
	ck_assert_int_eq(q.err.code, -EINVAL);
	uapi_request_clear(&q);
	/* Nobody to ask. */
	uapi_request_init(&q, NULL);
	ck_assert_int_eq(uapi_request_feed(&q, request, sizeof(request) - 1, &used), 1);
	ck_assert_int_eq(q.err.code, -EINVAL);
	uapi_request_clear(&q);
}
END_TEST

/* ---- the serving end ---- */

/* Parses one request; `step` as in feed_reply. */
static void feed_request(struct uapi_request *q, const char *text, size_t len, size_t step)
{
	size_t at = 0, used;
	int done = 0;

	while (at < len && done == 0) {
		size_t n = step ? step : 1 + rnd(200);

		if (n > len - at)
			n = len - at;
		done = uapi_request_feed(q, text + at, n, &used);
		ck_assert_uint_le(used, n);
		ck_assert(done || used == n);
		at += used;
	}
	ck_assert_int_eq(done, 1);
	ck_assert_uint_eq(at, len);
}

static void same_change(const struct wgdev_change *a, const struct wgdev_change *b)
{
	ck_assert_int_eq(a->set_private_key, b->set_private_key);
	ck_assert_int_eq(a->set_listen_port, b->set_listen_port);
	ck_assert_int_eq(a->set_fwmark, b->set_fwmark);
	ck_assert_int_eq(a->replace_peers, b->replace_peers);
	same_secret(a->private_key, b->private_key);
	ck_assert_uint_eq(a->listen_port, b->listen_port);
	ck_assert_uint_eq(a->fwmark, b->fwmark);
	ck_assert_uint_eq(a->n_peers, b->n_peers);
	for (size_t i = 0; i < a->n_peers; i++) {
		const struct wgdev_peer_change *p = &a->peers[i], *q = &b->peers[i];

		ck_assert(key_eq(&p->public_key, &q->public_key));
		ck_assert_int_eq(p->remove, q->remove);
		ck_assert_int_eq(p->update_only, q->update_only);
		ck_assert_int_eq(p->replace_allowed, q->replace_allowed);
		ck_assert_int_eq(p->set_preshared, q->set_preshared);
		ck_assert_int_eq(p->set_endpoint, q->set_endpoint);
		ck_assert_int_eq(p->set_keepalive, q->set_keepalive);
		same_secret(p->preshared_key, q->preshared_key);
		ck_assert_int_eq(ip_endpoint_cmp(&p->endpoint, &q->endpoint), 0);
		ck_assert_uint_eq(p->keepalive, q->keepalive);
		same_prefixes(p->allowed, p->n_allowed, q->allowed, q->n_allowed);
		same_prefixes(p->removed, p->n_removed, q->removed, q->n_removed);
	}
}

static void random_peer_change(struct wgdev_peer_change *p, struct key *psk, struct ip_prefix *ips)
{
	memset(p, 0, sizeof(*p));
	p->public_key = random_key();
	p->remove = rnd(5) == 0;
	if (p->remove)
		return;
	p->update_only = rnd(2);
	p->replace_allowed = rnd(2);
	p->set_preshared = rnd(2);
	if (p->set_preshared && rnd(2)) {
		*psk = random_key();
		p->preshared_key = psk;
	}
	p->set_endpoint = rnd(2);
	if (p->set_endpoint)
		p->endpoint = random_endpoint();
	p->set_keepalive = rnd(2);
	p->keepalive = p->set_keepalive ? (uint16_t)rnd(65536) : 0;
	for (unsigned i = 0; i < 4; i++)
		ips[i] = random_prefix();
	p->n_removed = rnd(3);
	p->removed = p->n_removed ? ips : NULL;
	p->n_allowed = rnd(3);
	p->allowed = p->n_allowed ? ips + 2 : NULL;
}

START_TEST(request_round_trip)
{
	struct wgdev_peer_change peers[20];
	struct ip_prefix ips[20][4];
	struct key psks[20], priv = key(PRIVATE);

	for (unsigned i = 0; i < 300; i++) {
		struct wgdev_change c = {
			.set_private_key = rnd(2),
			.set_listen_port = rnd(2),
			.set_fwmark = rnd(2),
			.replace_peers = rnd(2),
			.peers = peers,
			.n_peers = rnd(20),
		};
		struct uapi_request q;
		struct buf b = BUF_INIT(0);

		c.private_key = c.set_private_key && rnd(2) ? &priv : NULL;
		c.listen_port = c.set_listen_port ? (uint16_t)rnd(65536) : 0;
		c.fwmark = c.set_fwmark ? rnd(UINT32_MAX) : 0;
		for (size_t j = 0; j < c.n_peers; j++)
			random_peer_change(&peers[j], &psks[j], ips[j]);
		ck_assert_int_eq(uapi_format_set(&c, &b), 0);
		uapi_request_init(&q, NULL);
		feed_request(&q, b.data, b.len, i == 0);
		ck_assert_int_eq(q.err.code, 0);
		ck_assert(q.is_set);
		same_change(&c, &q.change);
		uapi_request_clear(&q);
		buf_wipe(&b);
	}
}
END_TEST

START_TEST(request_order_has_meaning)
{
	static const char text[] =
		"set=1\npublic_key=" A "\nallowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\n"
		"allowed_ip=10.1.0.0/16\nallowed_ip=10.2.0.0/16\nallowed_ip=-10.1.0.0/16\n"
		"allowed_ip=-10.3.0.0/16\nallowed_ip=10.3.0.0/16\nallowed_ip=-10.1.0.0/16\n"
		"preshared_key=" B "\npreshared_key=" Z "\n"
		"public_key=" B "\nallowed_ip=10.1.0.0/16\nprotocol_version=1\n"
		"public_key=" A "\nremove=true\npublic_key=" A "\n\n";
	struct ip_prefix one[] = {prefix("10.2.0.0/16"), prefix("10.3.0.0/16")},
			 two = prefix("10.1.0.0/16");
	struct uapi_request q;

	uapi_request_init(&q, NULL);
	feed_request(&q, text, sizeof(text) - 1, 0);
	ck_assert_int_eq(q.err.code, 0);
	ck_assert_uint_eq(q.change.n_peers, 4);
	const struct wgdev_peer_change *p = q.change.peers;
	ck_assert(p[0].replace_allowed && p[0].set_preshared);
	ck_assert_ptr_null(p[0].preshared_key);
	same_prefixes(p[0].allowed, p[0].n_allowed, one, 2);
	ck_assert_uint_eq(p[0].n_removed, 3);
	same_prefixes(p[1].allowed, p[1].n_allowed, &two, 1);
	ck_assert(p[2].remove && !p[3].remove);
	ck_assert_uint_eq(p[2].n_allowed + p[3].n_allowed, 0);
	uapi_request_clear(&q);
}
END_TEST

START_TEST(request_refused)
{
	static const struct {
		const char *text;
		int code;
		const char *message;
	} bad[] = {
		{"set=1\nnothing\n\n", -EPROTO, "line 2"},
		{"set=1\njunk=1\n\n", -EINVAL, "line 2"},
		{"set=1\nprivate_key=" A "1\n\n", -EINVAL, "private_key"},
		{"set=1\nlisten_port=65536\n\n", -EINVAL, "line 2"},
		{"set=1\nfwmark=0x1\n\n", -EINVAL, "line 2"},
		{"set=1\nreplace_peers=false\n\n", -EINVAL, "line 2"},
		{"set=1\nendpoint=1.2.3.4:5\n\n", -EINVAL, "line 2"},
		{"set=1\nprotocol_version=1\n\n", -EINVAL, "line 2"},
		{"set=1\npublic_key=" A "\nlisten_port=1\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\nallowed_ip=--10.0.0.0/8\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\nallowed_ip=10.0.0.0\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\nprotocol_version=2\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\nremove=1\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\nrx_bytes=1\n\n", -EINVAL, "line 3"},
		{"set=1\npublic_key=" A "\n" A "=1\n\n", -EINVAL, "line 3"},
		{"set=1\npreshared_key=" A "\npublic_key=" A "\n\n", -EINVAL, "line 2"},
		{"get=1\nx=y\n\n", -EINVAL, "line 2"},
		{"get=2\n", -EPROTO, "get=1"},
		{"\n", -EPROTO, "get=1"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct uapi_request q;

		uapi_request_init(&q, NULL);
		feed_request(&q, bad[i].text, strlen(bad[i].text), 0);
		ck_assert_msg(q.err.code == bad[i].code, "case %zu: %d", i, q.err.code);
		ck_assert_msg(strstr(q.err.msg, bad[i].message), "case %zu: %s", i, q.err.msg);
		ck_assert_msg(!strstr(q.err.msg, "0101"), "case %zu: %s", i, q.err.msg);
		ck_assert_int_eq(q.close, i >= ARRAY_LEN(bad) - 2);
		ck_assert(!q.is_set && q.change.n_peers == 0);
		uapi_request_clear(&q);
	}
}
END_TEST

START_TEST(request_stream)
{
	static const char text[] = "get=1\n\nset=1\nbad\npublic_key=" A "\n\nset=1\n\n";
	static const int want[] = {0, -EPROTO, 0};
	struct uapi_request q;
	size_t at = 0, used;

	uapi_request_init(&q, NULL);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(uapi_request_feed(&q, text + at, sizeof(text) - 1 - at, &used), 1);
		ck_assert_int_eq(q.err.code, want[i]);
		ck_assert_int_eq(q.is_set, i == 2);
		ck_assert(!q.close);
		at += used;
		uapi_request_clear(&q);
	}
	ck_assert_uint_eq(at, sizeof(text) - 1);
}
END_TEST

/* What memory fails is told as -ENOMEM, and what follows on the connection is read all the same. */
START_TEST(request_without_memory)
{
	static const char text[] =
		"set=1\nprivate_key=" PRIVATE "\nreplace_peers=true\npublic_key=" A
		"\npreshared_key=" B "\nallowed_ip=10.0.0.0/8\nallowed_ip=10.1.0.0/16\n"
		"allowed_ip=-10.0.0.0/8\npublic_key=" B "\nallowed_ip=fd00::/64\n\nget=1\n\n";
	const size_t second = sizeof("get=1\n\n") - 1, first = sizeof(text) - 1 - second;
	struct uapi_request q;
	struct err e = {0};
	size_t used, rounds = 0;
	int r;

	uapi_request_init(&q, NULL);
	/* The pool that keys live in. */
	ck_assert_int_eq(uapi_request_feed(&q, text, first, &used), 1);
	uapi_request_clear(&q);
	FAULT_LOOP({
		r = uapi_request_feed(&q, text, sizeof(text) - 1, &used);
		e = q.err;
		if (e.code < 0 && (q.is_set || q.change.n_peers || q.private_key))
			r = -1;
		if (e.code == 0 && (!q.is_set || q.change.n_peers != 2))
			r = -2;
		uapi_request_clear(&q);
	})
	{
		ck_assert_int_eq(r, 1);
		ck_assert_int_eq(e.code, -ENOMEM);
		ck_assert_uint_eq(used, first);
		ck_assert_int_eq(uapi_request_feed(&q, text + used, second, &used), 1);
		ck_assert(q.err.code == 0 && !q.is_set && !q.close);
		uapi_request_clear(&q);
		rounds++;
	}
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(e.code, 0);
	ck_assert_uint_ge(rounds, 6);
}
END_TEST

START_TEST(request_limits)
{
	static const char line[] = "allowed_ip=10.0.0.0/8\n", peer[] = "set=1\npublic_key=" A "\n";
	struct uapi_request q;
	size_t used;

	uapi_request_init(&q, NULL);
	ck_assert_int_eq(uapi_request_feed(&q, peer, sizeof(peer) - 1, &used), 0);
	for (unsigned n = 0; n < UAPI_ALLOWED_MAX + 1; n++)
		ck_assert_int_eq(uapi_request_feed(&q, line, sizeof(line) - 1, &used), 0);
	ck_assert_int_eq(q.err.code, -E2BIG);
	ck_assert_ptr_null(q.allowed);
	ck_assert_int_eq(uapi_request_feed(&q, "\n", 1, &used), 1);
	uapi_request_clear(&q);
}
END_TEST

/* 65,280 peers with two allowed IPs each, in portions of 64 KiB. */
START_TEST(writer_large)
{
	struct wgdev d, got;
	struct uapi_writer w = {.dev = &d};
	struct uapi_reply r;
	struct buf b = BUF_INIT(0);
	size_t total = 0;
	int more;

	wgdev_init(&d);
	wgdev_init(&got);
	for (uint32_t i = 0; i < 65280; i++) {
		struct key k = random_key();
		struct wgdev_peer *p = wgdev_add_peer(&d, &k);

		ck_assert_int_eq(wgdev_peer_add_allowed(p, random_prefix()), 0);
		ck_assert_int_eq(wgdev_peer_add_allowed(p, random_prefix()), 0);
	}
	ck_assert_int_eq(wgdev_sort(&d), 0);
	uapi_reply_init(&r, NULL);
	do {
		buf_reset(&b);
		more = uapi_writer_fill(&w, &b, 65536);
		ck_assert_uint_le(b.len, 65536 + 512);
		total += b.len;
		ck_assert_int_eq(uapi_reply_feed(&r, b.data, b.len, NULL), !more);
	} while (more > 0);
	ck_assert_uint_gt(total, 20000000);
	ck_assert_int_eq(uapi_reply_finish(&r, now, &got, NULL), 0);
	same_dev(&d, &got);
	uapi_reply_clear(&r);
	buf_free(&b);
	wgdev_clear(&d);
	wgdev_clear(&got);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("uapi", set_request_text, set_request_never_grows,
			  reply_split_at_every_byte, reply_round_trip, reply_dialects,
			  reply_refused, reply_limits, scope_by_name, request_round_trip,
			  request_order_has_meaning, request_refused, request_stream,
			  request_without_memory, request_limits, writer_large);
}

UNIT_MAIN(suite)
