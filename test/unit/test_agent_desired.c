/*
 * lib/agent's desired state, as text: what a configuration makes of the machine.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/desired.h"
#include "agent/plan.h"
#include "config/amend.h"
#include "base/buf.h"
#include "base/str.h"
#include "crypto/crypto.h"
#include "fault.h"

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
#define KEY_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="

static uint32_t mtu_of_path;
static bool known = true;

static struct agent_wanted *wanted_of(const char *text)
{
	struct config_doc doc = {"t.toml", CONFIG_TOML, text, strlen(text), false};
	struct agent_wanted_env env = {.state_dir = "/nonexistent/state"};
	struct config_diags diags = {0};
	struct agent_wanted *w = NULL;
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	crypto_init();
	int r = agent_wanted_read(&doc, 1, &env, true, &w, &diags);
	config_diags_write(&diags, &b);
	ck_assert_msg(r == 0 && !diags.n_errors, "%s", buf_str(&b));
	config_diags_clear(&diags);
	return w;
}

static bool all_guarded; /* --guard */

static bool endpoint(void *arg, const struct config_network *n, const struct config_peer *p,
		     struct ip_endpoint *ret, bool *ret_assert)
{
	*ret = p->endpoint.addr;
	*ret_assert = false;
	return known && !p->endpoint.host;
}

/* The second octet of an endpoint stands for its path's MTU, in hundreds. */
static uint32_t path_mtu(void *arg, const struct wgdev *dev)
{
	uint32_t least = 0;

	for (size_t i = 0; i < dev->n_peers; i++) {
		const struct ip_endpoint *e = &dev->peers[i].endpoint;
		uint32_t mtu = e->addr.b[1] ? e->addr.b[1] * 100 : mtu_of_path;

		if (e->addr.family != AF_UNSPEC && mtu && (!least || mtu < least))
			least = mtu;
	}
	return least;
}

static int desired_of(const struct agent_wanted *w, bool nft, struct agent_state *ret,
		      struct err *e)
{
	struct agent_desired_env env = {
		.endpoint = endpoint, .path_mtu = path_mtu, .nft = nft, .guard = all_guarded};

	return agent_desired(w, &env, ret, e);
}

static void check_refused(const struct agent_wanted *w, bool nft, const char *text)
{
	struct agent_desired_env env = {.nft = nft, .guard = all_guarded};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	ck_assert_int_eq(agent_desired_check(w->config, &env, &diags), 0);
	config_diags_write(&diags, &b);
	ck_assert_str_eq(buf_str(&b), text);
}

/* All of a state but for its peers, one thing a line. */
static void write_state(const struct agent_state *s, struct buf *b)
{
	char t[IP_PREFIX_LEN];

	for (size_t i = 0; i < s->n_tunnels; i++) {
		const struct agent_tunnel *u = &s->tunnels[i];

		buf_addf(b, "%s mtu %u mark %u port %u\n", u->ifname, u->mtu, u->wg.fwmark,
			 u->wg.listen_port);
		for (size_t j = 0; j < u->n_addrs; j++)
			buf_addf(b, "addr %s\n", ip_prefix_str(&u->addrs[j], t));
		for (size_t j = 0; j < u->n_routes; j++)
			buf_addf(b, "route %s table %u metric %u\n",
				 ip_prefix_str(&u->routes[j].dst, t), u->routes[j].table,
				 u->routes[j].metric);
	}
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct ip_prefix *dst = &s->rules[i].dst;
		char to[IP_PREFIX_LEN];

		buf_addf(b, "rule %s %u%s mark %u table %u suppress %d%s%s\n",
			 s->rules[i].family == AF_INET ? "4" : "6", s->rules[i].priority,
			 s->rules[i].invert ? " not" : "", s->rules[i].fwmark, s->rules[i].table,
			 s->rules[i].suppress_prefixlen, dst->addr.family ? " to " : "",
			 dst->addr.family ? ip_prefix_str(dst, to) : "");
	}
	for (size_t i = 0; i < s->n_sysctls; i++)
		buf_addf(b, "sysctl %s %s\n", s->sysctls[i].key, s->sysctls[i].value);
	for (size_t i = 0; i < s->n_nft; i++)
		buf_addf(b, "nft %s mark %u%s%s%s\n", s->nft[i].ifname, s->nft[i].fwmark,
			 s->nft[i].masquerade ? " masquerade" : "",
			 s->nft[i].mss_clamp ? " clamp" : "", s->nft[i].forward ? " forward" : "");
	for (size_t i = 0; i < s->n_nft; i++) {
		for (size_t j = 0; j < s->nft[i].n_closed; j++)
			buf_addf(b, "closed %s mark %u\n", ip_prefix_str(&s->nft[i].closed[j], t),
				 s->nft[i].own_mark);
		for (size_t j = 0; j < s->nft[i].n_spared; j++)
			buf_addf(b, "spared %s\n", ip_prefix_str(&s->nft[i].spared[j], t));
	}
}

static void check_text(const char *text, bool nft, const char *want)
{
	struct agent_wanted *w = wanted_of(text);
	_cleanup_agent_state_ struct agent_state s;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = {0};

	agent_state_init(&s);
	ck_assert_msg(desired_of(w, nft, &s, &e) == 0, "%s", e.msg);
	write_state(&s, &b);
	ck_assert_str_eq(buf_str(&b), want);
	agent_wanted_free(w);
}

#define NET(extra, allowed)                                                                        \
	"[network.n]\n"                                                                            \
	"addresses = ['10.0.0.1/24', 'fd00::1/64']\n"                                              \
	"mss_clamp = false\n" extra "\n"                                                           \
	"[[network.n.peers]]\n"                                                                    \
	"public_key = '" KEY_A "'\n"                                                               \
	"endpoint = '192.0.2.1:51820'\n"                                                           \
	"allowed_ips = [" allowed "]\n"

#define ADDRS "addr 10.0.0.1/24\naddr fd00::1/64\n"

START_TEST(test_routes)
{
	check_text(NET("", "'10.1.0.0/16', 'fd01::/64', '10.0.0.7/32'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 10.0.0.7/32 table 254 metric 0\n"
		   "route 10.1.0.0/16 table 254 metric 0\n"
		   "route fd01::/64 table 254 metric 1024\n");
}
END_TEST

START_TEST(test_on_link_prefix_has_no_route)
{
	check_text(NET("", "'10.0.0.0/24', 'fd00::/64', '10.0.0.0/25'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 10.0.0.0/25 table 254 metric 0\n");
	/* In another table nobody else puts it. */
	check_text(NET("table = 77", "'10.0.0.0/24'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 10.0.0.0/24 table 77 metric 0\n");
}
END_TEST

START_TEST(test_metric)
{
	check_text(NET("metric = 50", "'10.1.0.0/16', 'fd01::/64'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 10.1.0.0/16 table 254 metric 50\n"
		   "route fd01::/64 table 254 metric 50\n");
}
END_TEST

START_TEST(test_no_routes)
{
	check_text(NET("table = 'off'", "'0.0.0.0/0', '10.1.0.0/16'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS);
}
END_TEST

START_TEST(test_default_route)
{
	check_text(NET("", "'0.0.0.0/0', '10.1.0.0/16'"), true,
		   "wg0 mtu 1420 mark 51820 port 0\n" ADDRS "route 10.1.0.0/16 table 254 metric 0\n"
		   "route 0.0.0.0/0 table 51820 metric 0\n"
		   "rule 4 32764 mark 0 table 254 suppress 0\n"
		   "rule 4 32765 not mark 51820 table 51820 suppress -1\n"
		   "sysctl net/ipv4/conf/all/src_valid_mark 1\n"
		   "nft wg0 mark 51820\n");
	check_text(NET("", "'::/0'"), true,
		   "wg0 mtu 1420 mark 51820 port 0\n" ADDRS "route ::/0 table 51820 metric 1024\n"
		   "rule 6 32764 mark 0 table 254 suppress 0\n"
		   "rule 6 32765 not mark 51820 table 51820 suppress -1\n"
		   "nft wg0 mark 51820\n");
	check_text(NET("fwmark = 7", "'0.0.0.0/0'"), true,
		   "wg0 mtu 1420 mark 7 port 0\n" ADDRS "route 0.0.0.0/0 table 7 metric 0\n"
		   "rule 4 32764 mark 0 table 254 suppress 0\n"
		   "rule 4 32765 not mark 7 table 7 suppress -1\n"
		   "sysctl net/ipv4/conf/all/src_valid_mark 1\n"
		   "nft wg0 mark 7\n");
}
END_TEST

/* Whose reverse path check may not be strict: the tunnel's own, its uplinks'. */
START_TEST(test_reverse_path)
{
	static const struct {
		const char *text;
		bool loose, marked;
	} rows[] = {
		{NET("", "'10.1.0.0/16'"), false, false},
		{NET("", "'0.0.0.0/0'"), false, true},
		{NET("", "'::/0', '10.1.0.0/16'"), false, false},
		{NET("table = 77", "'0.0.0.0/0'"), true, false},
		{NET("table = 77", "'10.1.0.0/16'"), true, false},
		{NET("table = 77", "'fd01::/64'"), false, false},
		{NET("table = 254", "'10.1.0.0/16'"), false, false},
		{NET("table = 253", "'10.1.0.0/16'"), false, false},
		{NET("table = 'off'", "'0.0.0.0/0'"), false, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct agent_wanted *w = wanted_of(rows[i].text);
		struct agent_state s;
		struct err e = {0};

		ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
		ck_assert_msg(s.tunnels[0].loose == rows[i].loose &&
				      s.tunnels[0].marked == rows[i].marked,
			      "row %zu", i);
		agent_state_clear(&s);
		agent_wanted_free(w);
	}
}
END_TEST

START_TEST(test_default_route_in_a_table_of_the_users)
{
	check_text(NET("table = 77", "'0.0.0.0/0'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 0.0.0.0/0 table 77 metric 0\n");
}
END_TEST

#define SECOND(extra)                                                                              \
	"[network.o]\n"                                                                            \
	"interface = 'wg1'\n"                                                                      \
	"address = '10.2.0.1/24'\n" extra "\n"                                                     \
	"[[network.o.peers]]\n"                                                                    \
	"public_key = '" KEY_B "'\n"                                                               \
	"allowed_ips = ['0.0.0.0/0']\n"

START_TEST(test_two_default_routes)
{
	struct agent_wanted *w = wanted_of(NET("fwmark = 5", "'::/0'") SECOND("fwmark = 5"));
	struct agent_state s;
	struct err e = {0};

	check_refused(w, true,
		      "error: t.toml:9:10: network.o: found the default route with the mark and "
		      "table 5, which network.n takes too, accepted: a fwmark of its own\n");
	agent_wanted_free(w);

	w = wanted_of(NET("fwmark = 5", "'::/0'") SECOND("fwmark = 6"));
	ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
	ck_assert_uint_eq(s.n_rules, 4);
	agent_state_clear(&s);
	agent_wanted_free(w);
	/* One that is off has none. */
	w = wanted_of(NET("fwmark = 5", "'::/0'") SECOND("fwmark = 5\nenable_wireguard = false"));
	ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
	ck_assert_uint_eq(s.n_tunnels, 1);
	agent_state_clear(&s);
	agent_wanted_free(w);
}
END_TEST

static uint32_t mtu_with(const char *text)
{
	struct agent_wanted *w = wanted_of(text);
	struct agent_state s;
	struct err e = {0};

	ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
	uint32_t mtu = s.tunnels[0].mtu;
	agent_state_clear(&s);
	agent_wanted_free(w);
	return mtu;
}

START_TEST(test_mtu)
{
	static const struct {
		uint32_t path, want;
	} rows[] = {{0, 1420},    {1500, 1420}, {9000, 8920}, {1360, 1280},
		    {1359, 1280}, {576, 1280},  {1, 1280}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		mtu_of_path = rows[i].path;
		ck_assert_uint_eq(mtu_with("[network.n]\naddress = '10.0.0.1/24'\n"
					   "[[network.n.peers]]\npublic_key = '" KEY_A "'\n"
					   "endpoint = '10.0.2.1:1'\n"
					   "allowed_ips = ['10.1.0.0/24']\n"),
				  rows[i].want);
	}
	/* The smallest of all paths; what is configured stands above it. */
	ck_assert_uint_eq(mtu_with("[network.n]\naddress = '10.0.0.1/24'\n"
				   "[[network.n.peers]]\npublic_key = '" KEY_A "'\n"
				   "endpoint = '10.90.0.1:1'\nallowed_ips = ['10.1.0.0/24']\n"
				   "[[network.n.peers]]\npublic_key = '" KEY_B "'\n"
				   "endpoint = '10.14.0.1:1'\nallowed_ips = ['10.2.0.0/24']\n"),
			  1320);
	ck_assert_uint_eq(mtu_with("[network.n]\naddress = '10.0.0.1/24'\nmtu = 1300\n"
				   "[[network.n.peers]]\npublic_key = '" KEY_A "'\n"
				   "endpoint = '10.90.0.1:1'\nallowed_ips = ['10.1.0.0/24']\n"),
			  1300);
	/* Without any known endpoint. */
	known = false;
	mtu_of_path = 9000;
	ck_assert_uint_eq(mtu_with(NET("", "'10.1.0.0/24'")), 1420);
	known = true;
	mtu_of_path = 0; /* cases may share one process */
}
END_TEST

/* What of the first network's peers and MTU is marked: "mtu 0 endpoints 01". */
static const char *marks(const struct agent_state *s)
{
	static char out[64];
	const struct agent_tunnel *t = &s->tunnels[0];
	int n = snprintf(out, sizeof(out), "mtu %d endpoints ", t->mtu_new);

	for (size_t i = 0; i < t->wg.n_peers; i++)
		out[n++] = t->policy[i].endpoint_new ? '1' : '0';
	out[n] = '\0';
	ck_assert_int_eq(t->any_new, strchr(out, '1') != NULL);
	return out;
}

static void desire(const char *endpoint_a, bool with_b, struct agent_state *ret)
{
	char text[1024];
	struct err e = {0};
	int n = snprintf(text, sizeof(text),
			 "[network.n]\naddress = '10.0.0.1/24'\n"
			 "[[network.n.peers]]\npublic_key = '" KEY_A "'\n"
			 "endpoint = '%s'\nallowed_ips = ['10.1.0.0/24']\n",
			 endpoint_a);

	if (with_b)
		snprintf(text + n, sizeof(text) - (size_t)n,
			 "[[network.n.peers]]\npublic_key = '" KEY_B "'\n"
			 "endpoint = '10.90.0.2:1'\nallowed_ips = ['10.2.0.0/24']\n");
	struct agent_wanted *w = wanted_of(text);
	ck_assert_int_eq(desired_of(w, true, ret, &e), 0);
	agent_wanted_free(w); /* what is compared is not borrowed */
}

START_TEST(test_what_became_another_is_marked)
{
	static const struct {
		const char *endpoint;
		bool with_b, settle;
		const char *want;
	} rows[] = {
		{"10.15.0.1:1", true, false, "mtu 0 endpoints 00"}, /* the first of all */
		{"10.15.0.1:1", true, false, "mtu 0 endpoints 00"},
		{"10.14.0.1:1", true, false, "mtu 1 endpoints 10"}, /* 1420 -> 1320 */
		{"10.14.0.1:1", true, true, "mtu 1 endpoints 10"},  /* not yet done */
		{"10.14.0.1:1", true, false, "mtu 0 endpoints 00"},
		{"10.14.0.2:1", true, true, "mtu 0 endpoints 10"},
		{"vpn.example:1", true, true, "mtu 1 endpoints 10"}, /* the path was its alone */
		{"10.90.0.1:1", true, true, "mtu 0 endpoints 10"},   /* resolved */
		{"10.90.0.1:1", false, false, "mtu 0 endpoints 0"},
		{"10.90.0.1:1", true, false, "mtu 0 endpoints 00"}, /* a new one is none */
	};
	_cleanup_agent_state_ struct agent_state former;

	agent_state_init(&former);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct agent_state now;

		desire(rows[i].endpoint, rows[i].with_b, &now);
		agent_desired_renewed(&now, &former);
		ck_assert_msg(str_eq(marks(&now), rows[i].want), "row %zu: %s", i, marks(&now));
		if (rows[i].settle)
			agent_desired_settled(&now.tunnels[0]);
		agent_state_clear(&former);
		former = now;
	}
}
END_TEST

START_TEST(test_forwarding)
{
	check_text(NET("masquerade = true", "'10.1.0.0/16'"), true,
		   "wg0 mtu 1420 mark 0 port 0\n" ADDRS "route 10.1.0.0/16 table 254 metric 0\n"
		   "sysctl net/ipv4/ip_forward 1\n"
		   "sysctl net/ipv6/conf/all/forwarding 1\n"
		   "nft wg0 mark 0 masquerade\n");
	check_text("[network.n]\naddress = '10.0.0.1/24'\nforward = true\n", true,
		   "wg0 mtu 1420 mark 0 port 0\naddr 10.0.0.1/24\n"
		   "sysctl net/ipv4/ip_forward 1\n"
		   "nft wg0 mark 0 clamp forward\n");
	/* --no-nft */
	check_text("[network.n]\naddress = '10.0.0.1/24'\nforward = true\n", false,
		   "wg0 mtu 1420 mark 0 port 0\naddr 10.0.0.1/24\n"
		   "sysctl net/ipv4/ip_forward 1\n");
	check_text("[network.n]\naddress = '10.0.0.1/24'\nmss_clamp = false\n", true,
		   "wg0 mtu 1420 mark 0 port 0\naddr 10.0.0.1/24\n");
}
END_TEST

START_TEST(test_default_routes_clash)
{
#define DEFAULT(name, more)                                                                        \
	"[network." name "]\ninterface = '" name "'\naddress = '10.0.0.1/24'\n" more               \
	"[[network." name ".peers]]\npublic_key = '" KEY_A "'\nallowed_ips = ['0.0.0.0/0']\n"
	struct agent_wanted *w;

	/* Also where another one stands between them. */
	w = wanted_of(DEFAULT("a", "metric = 1\n") DEFAULT("b", "fwmark = 7\nmetric = 2\n")
			      DEFAULT("c", "metric = 3\n"));
	check_refused(w, true,
		      "error: t.toml:16:10: network.c: found the default route with the mark and "
		      "table 51820, which network.a takes too, accepted: a fwmark of its own\n");
	agent_wanted_free(w);
}
END_TEST

/* --- parts: the plan of the changed peers alone is the plan of the whole --- */

static unsigned seed;

static unsigned below(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

#define PEERS 12

struct peer {
	unsigned id, allowed, endpoint, keepalive;
};

static void write_peers(struct buf *b, const struct peer *peers, unsigned n)
{
	buf_adds(b, "[network.n]\naddress = '10.0.0.1/24'\nforward = true\n");
	for (unsigned i = 0; i < n; i++) {
		struct key k = {{(uint8_t)peers[i].id, 7}};
		char text[KEY_BASE64];

		buf_addf(b, "[[network.n.peers]]\nname = 'p%u'\npublic_key = '%s'\n", peers[i].id,
			 key_to_base64(&k, text));
		buf_addf(b, "allowed_ips = ['10.1.%u.0/24', 'fd01:%x::/64']\n", peers[i].allowed,
			 peers[i].allowed);
		if (peers[i].endpoint)
			buf_addf(b, "endpoint = '192.0.2.%u:5'\n", peers[i].endpoint);
		buf_addf(b, "persistent_keepalive_secs = %u\n", peers[i].keepalive);
	}
}

static void edit_peers(struct peer *p, unsigned *n, unsigned *next)
{
	unsigned i = below(*n), j = below(*n), t = p[i].allowed;

	switch (below(5)) {
	case 0: /* prefixes move */
		p[i].allowed = p[j].allowed;
		p[j].allowed = t;
		break;
	case 1: p[i].endpoint = below(200); break;
	case 2: p[i].keepalive = below(3); break;
	case 3: p[i] = p[--*n]; break;
	default: p[*n] = (struct peer){*next, *next, below(200), below(3)}; ++*n, ++*next;
	}
}

static void plan_text(const struct agent_state *want, struct agent_state *had, struct buf *b)
{
	_cleanup_agent_plan_ struct agent_plan plan = {0};

	for (size_t i = 0; i < had->n_tunnels; i++)
		had->tunnels[i].owner = AGENT_OWNER_US;
	ck_assert_int_eq(agent_plan(want, had, &plan), 0);
	for (size_t i = 0; i < plan.n; i++) {
		agent_op_text(&plan.ops[i], b);
		buf_adds(b, "\n");
	}
}

/* 1: compared; 0: the edit is not one that is amended. */
static int compare_plans(const char *was, const char *now)
{
	struct agent_desired_env env = {.endpoint = endpoint};
	struct config_doc docs[] = {{"t.toml", CONFIG_TOML, was, strlen(was), false},
				    {"t.toml", CONFIG_TOML, now, strlen(now), false}};
	struct agent_wanted *w = wanted_of(was), *v = wanted_of(now);
	struct config_peer gone[CONFIG_AMEND_MAX];
	struct config_amendment a;
	struct agent_state s[4];
	struct buf x = BUF_INIT(0), y = BUF_INIT(0);
	struct err e;

	if (config_amendment_read(w->config, &docs[0], &docs[1], &a) < 0) {
		agent_wanted_free(w);
		agent_wanted_free(v);
		return 0;
	}
	for (size_t i = 0; i < a.n_gone; i++)
		gone[i] = w->config->networks[0].peers[a.gone_at[i]];
	ck_assert_int_eq(agent_desired(w, &env, &s[0], &e), 0);
	ck_assert_int_eq(agent_desired(v, &env, &s[1], &e), 0);
	ck_assert_int_eq(agent_desired_part(&w->networks[0], gone, a.n_gone, &env, &s[2]), 0);
	ck_assert_int_eq(agent_desired_part(&w->networks[0], a.come, a.n_come, &env, &s[3]), 0);
	plan_text(&s[1], &s[0], &x);
	plan_text(&s[3], &s[2], &y);
	ck_assert_str_eq(buf_str(&x), buf_str(&y));
	for (size_t i = 0; i < ARRAY_LEN(s); i++)
		agent_state_clear(&s[i]);
	buf_free(&x);
	buf_free(&y);
	config_amendment_clear(&a);
	agent_wanted_free(w);
	agent_wanted_free(v);
	return 1;
}

START_TEST(test_parts)
{
	int compared = 0, n = 500;

	for (int i = 0; i < n; i++) {
		struct peer peers[PEERS + 3];
		unsigned n_peers = 0, next = 1, edits;
		_cleanup_buf_ struct buf was = BUF_INIT(0), now = BUF_INIT(0);

		for (seed = (unsigned)i; n_peers < PEERS; next++)
			peers[n_peers++] = (struct peer){next, next, below(200), below(3)};
		write_peers(&was, peers, n_peers);
		for (edits = 1 + below(3); edits > 0; edits--)
			edit_peers(peers, &n_peers, &next);
		write_peers(&now, peers, n_peers);
		compared += compare_plans(buf_str(&was), buf_str(&now));
	}
	ck_assert_msg(compared > n * 3 / 4, "%d", compared);
}
END_TEST

START_TEST(test_guard)
{
	/* Allowed IPs, and the prefixes of the addresses, each once; a mark of its own. */
	check_text(
		NET("guard = true\nguard_except = ['10.1.0.53/32']", "'10.1.0.0/16', 'fd00::/64'"),
		true,
		"wg0 mtu 1420 mark 51821 port 0\n" ADDRS "route 10.1.0.0/16 table 254 metric 0\n"
		"nft wg0 mark 0\n"
		"closed 10.1.0.0/16 mark 51821\nclosed fd00::/64 mark 51821\n"
		"closed 10.0.0.0/24 mark 51821\nspared 10.1.0.53/32\n");
	/* The default route's mark is its own, and so is one that is configured. */
	check_text(NET("guard = true", "'0.0.0.0/0'"), true,
		   "wg0 mtu 1420 mark 51820 port 0\n" ADDRS "route 0.0.0.0/0 table 51820 metric 0\n"
		   "rule 4 32764 mark 0 table 254 suppress 0\n"
		   "rule 4 32765 not mark 51820 table 51820 suppress -1\n"
		   "sysctl net/ipv4/conf/all/src_valid_mark 1\n"
		   "nft wg0 mark 51820\n"
		   "closed 0.0.0.0/0 mark 51820\nclosed 10.0.0.0/24 mark 51820\n"
		   "closed fd00::/64 mark 51820\n");
	/* What is spared of a default route has the main table's way, with or without a guard. */
	check_text(NET("guard_except = ['10.1.0.53/32', 'fd00:1::/64']", "'0.0.0.0/0'"), true,
		   "wg0 mtu 1420 mark 51820 port 0\n" ADDRS "route 0.0.0.0/0 table 51820 metric 0\n"
		   "rule 4 32763 mark 0 table 254 suppress -1 to 10.1.0.53/32\n"
		   "rule 4 32764 mark 0 table 254 suppress 0\n"
		   "rule 4 32765 not mark 51820 table 51820 suppress -1\n"
		   "sysctl net/ipv4/conf/all/src_valid_mark 1\n"
		   "nft wg0 mark 51820\n");
	check_text(NET("guard = true\nfwmark = 7", "'10.1.0.0/16'"), true,
		   "wg0 mtu 1420 mark 7 port 0\n" ADDRS "route 10.1.0.0/16 table 254 metric 0\n"
		   "nft wg0 mark 0\nclosed 10.1.0.0/16 mark 7\nclosed 10.0.0.0/24 mark 7\n"
		   "closed fd00::/64 mark 7\n");
	all_guarded = true;
	check_text("[network.n]\naddress = '10.0.0.1/24'\nmss_clamp = false\n", true,
		   "wg0 mtu 1420 mark 51821 port 0\naddr 10.0.0.1/24\nnft wg0 mark 0\n"
		   "closed 10.0.0.0/24 mark 51821\n");
	all_guarded = false;
}
END_TEST

START_TEST(test_guard_that_cannot_be)
{
	struct agent_wanted *w = wanted_of(NET("guard = true", "'10.1.0.0/16'"));
	_cleanup_buf_ struct buf many = BUF_INIT(0);

	check_refused(w, true, "");
	check_refused(
		w, false,
		"error: t.toml:1:10: network.n: found a guard, which --no-nft leaves no place "
		"for\n");
	agent_wanted_free(w);
	for (int i = 0; i < 1023; i++)
		buf_addf(&many, "'10.%d.%d.0/24',", 1 + i / 256, i % 256);
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	buf_addf(&text, NET("guard = true", "%s"), buf_str(&many));
	w = wanted_of(buf_str(&text));
	check_refused(w, true,
		      "error: t.toml:1:10: network.n: found a guard of 1025 prefixes with those "
		      "before it (allowed_ips, addresses, guard_except), accepted: 1024 at most\n");
	agent_wanted_free(w);
}
END_TEST

START_TEST(test_peers)
{
	struct agent_wanted *w = wanted_of(
		"[network.n]\naddress = '10.0.0.1/24'\nstale_after_secs = 100\nlisten_port = 9\n"
		"[[network.n.peers]]\nname = 'second'\npublic_key = '" KEY_B "'\n"
		"allowed_ips = ['10.2.0.0/24']\npersistent_keepalive_secs = 25\n"
		"[[network.n.peers]]\nname = 'first'\npublic_key = '" KEY_A "'\n"
		"endpoint = 'vpn.example:1'\nstale_after_secs = 60\n"
		"allowed_ips = ['10.1.0.0/24']\n");
	struct agent_state s;
	struct err e = {0};

	ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
	const struct agent_tunnel *t = &s.tunnels[0];
	ck_assert_uint_eq(t->wg.n_peers, 2);
	ck_assert_uint_eq(t->wg.listen_port, 9);
	ck_assert_str_eq(t->policy[0].name, "first");
	ck_assert_uint_eq(t->policy[0].stale_after_secs, 60);
	ck_assert(!t->policy[0].required);
	ck_assert_int_eq(t->wg.peers[0].endpoint.addr.family, AF_UNSPEC);
	ck_assert_str_eq(t->policy[1].name, "second");
	ck_assert_uint_eq(t->policy[1].stale_after_secs, 100);
	ck_assert(t->policy[1].required);
	ck_assert_uint_eq(t->wg.peers[1].keepalive, 25);
	agent_state_clear(&s);
	agent_wanted_free(w);
}
END_TEST

/* The whole way from a configuration to a plan, with each allocation failing in turn. */
START_TEST(test_out_of_memory)
{
	struct agent_wanted *w =
		wanted_of(NET("masquerade = true\nguard = true\nguard_except = ['10.1.1.1/32']",
			      "'::/0', '10.1.0.0/16'") SECOND("fwmark = 6"));
	struct agent_wanted *before = wanted_of(NET("", "'10.9.0.0/24'"));
	struct agent_state s, o;
	struct agent_plan p = {0};
	struct err e = {0};
	int r = 0;

	FAULT_LOOP(({
		r = desired_of(w, true, &s, &e);
		if (r == 0)
			agent_state_clear(&s);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);

	ck_assert_int_eq(desired_of(w, true, &s, &e), 0);
	ck_assert_int_eq(desired_of(before, true, &o, &e), 0);
	for (size_t i = 0; i < o.n_tunnels; i++)
		o.tunnels[i].owner = AGENT_OWNER_US;
	FAULT_LOOP(({
		r = agent_plan(&s, &o, &p);
		agent_plan_clear(&p);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);
	/* The text of an operation is bounded by its buffer, not by memory. */
	ck_assert_int_eq(agent_plan(&s, &o, &p), 0);
	ck_assert_uint_gt(p.n, 10);
	FAULT_LOOP(({
		struct buf b = BUF_INIT(0);

		for (size_t i = 0; i < p.n; i++)
			agent_op_text(&p.ops[i], &b);
		r = buf_error(&b);
		buf_free(&b);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);
	agent_plan_clear(&p);
	agent_state_clear(&s);
	agent_state_clear(&o);
	agent_wanted_free(w);
	agent_wanted_free(before);
}
END_TEST

/* --- routes: a document is refused exactly where two networks' routes are one --- */

static const char *const route_tables[] = {"",
					   "table = 254\n",
					   "table = 7\n",
					   "table = 51820\n",
					   "table = 'off'\n",
					   "table = 'auto'\n"};
static const char *const route_marks[] = {"", "fwmark = 7\n", "fwmark = 254\n", "fwmark = 8\n"};
static const char *const route_metrics[] = {"", "metric = 1024\n", "metric = 3\n"};
static const char *const route_prefixes[] = {"0.0.0.0/0", "::/0", "10.9.0.0/16", "fd09::/64"};

static void random_network(struct buf *b, char name)
{
	buf_addf(b,
		 "[network.%c]\ninterface = '%c'\n%s%s%s[[network.%c.peers]]\n"
		 "public_key = '" KEY_A "'\nallowed_ips = ['%s', '%s']\n",
		 name, name, route_tables[below(ARRAY_LEN(route_tables))],
		 route_marks[below(ARRAY_LEN(route_marks))],
		 route_metrics[below(ARRAY_LEN(route_metrics))], name, route_prefixes[below(2)],
		 route_prefixes[2 + below(2)]);
}

static bool have_equal_routes(const struct agent_tunnel *a, const struct agent_tunnel *b)
{
	for (size_t i = 0; i < a->n_routes; i++)
		for (size_t j = 0; j < b->n_routes; j++)
			if (agent_route_cmp(&a->routes[i], &b->routes[j]) == 0)
				return true;
	return false;
}

static bool is_accepted(const char *text)
{
	struct config_doc doc = {"t.toml", CONFIG_TOML, text, strlen(text), false};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;

	return config_read(&doc, 1, NULL, &c, &diags) == 0;
}

START_TEST(test_equal_routes)
{
	int refused = 0, n = 4000;

	for (int i = 0; i < n; i++) {
		_cleanup_buf_ struct buf a = BUF_INIT(0), b = BUF_INIT(0), both = BUF_INIT(0);
		_cleanup_agent_state_ struct agent_state s, t;

		seed = (unsigned)i;
		random_network(&a, 'a');
		random_network(&b, 'b');
		buf_addf(&both, "%s%s", a.data, b.data);
		struct agent_wanted *v = wanted_of(a.data), *w = wanted_of(b.data);
		ck_assert_int_eq(desired_of(v, true, &s, NULL), 0);
		ck_assert_int_eq(desired_of(w, true, &t, NULL), 0);
		bool equal = have_equal_routes(&s.tunnels[0], &t.tunnels[0]);
		ck_assert_msg(is_accepted(both.data) == !equal, "%s", both.data);
		refused += equal;
		agent_wanted_free(v);
		agent_wanted_free(w);
	}
	ck_assert_int_gt(refused, n / 50);
	ck_assert_int_lt(refused, n / 2);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("agent_desired", test_routes, test_on_link_prefix_has_no_route,
			  test_metric, test_no_routes, test_default_route,
			  test_default_route_in_a_table_of_the_users, test_reverse_path,
			  test_two_default_routes, test_mtu, test_what_became_another_is_marked,
			  test_forwarding, test_default_routes_clash, test_parts, test_guard,
			  test_guard_that_cannot_be, test_peers, test_equal_routes,
			  test_out_of_memory);
}

UNIT_MAIN(suite)
