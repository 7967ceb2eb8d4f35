/*
 * lib/agent's plan: properties over random states, and the operations of single cases.
 *
 * The properties need something to apply a plan to: `sim_…` below is the machine as a model, an
 * observed state on which operations act as the kernel's would (an allowed IP added to one peer
 * leaves the other; replacing a list drops the rest).
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "agent/plan.h"
#include "base/secret.h"
#include "base/str.h"

static unsigned long long rng_state;

static unsigned rnd(unsigned n)
{
	rng_state = rng_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(rng_state >> 33) % n;
}

static struct key key_of(unsigned n)
{
	struct key k = {{0}};

	memcpy(k.b, &n, sizeof(n));
	k.b[31] = 1;
	return k;
}

static struct ip_prefix prefix_of(const char *s)
{
	struct ip_prefix p;

	ck_assert_int_eq(ip_prefix_parse(s, strlen(s), &p), 0);
	return p;
}

static struct ip_endpoint endpoint_of(unsigned n)
{
	struct ip_endpoint e = {.addr = {.family = AF_INET, .b = {192, 0, 2, (uint8_t)n}},
				.port = 51820};

	return e;
}

/* --- the machine as a model --- */

static void sim_take_from_others(struct wgdev *d, size_t self, const struct ip_prefix *p)
{
	for (size_t i = 0; i < d->n_peers; i++) {
		struct wgdev_peer *o = &d->peers[i];
		size_t n = 0;

		if (i == self)
			continue;
		for (size_t j = 0; j < o->n_allowed; j++)
			if (ip_prefix_cmp(&o->allowed[j], p) != 0)
				o->allowed[n++] = o->allowed[j];
		o->n_allowed = n;
	}
}

static void sim_peer(struct wgdev *d, const struct wgdev_peer_change *c)
{
	struct wgdev_peer *p = wgdev_find(d, &c->public_key);

	if (c->remove) {
		ck_assert_ptr_nonnull(p);
		size_t i = (size_t)(p - d->peers);
		wgdev_peer_clear(p);
		memmove(p, p + 1, (d->n_peers - i - 1) * sizeof(*p));
		d->n_peers--;
		return;
	}
	if (!p && c->update_only)
		return;
	if (!p) {
		ck_assert_ptr_nonnull(wgdev_add_peer(d, &c->public_key));
		wgdev_sort(d);
		p = wgdev_find(d, &c->public_key);
	}
	if (c->set_endpoint)
		p->endpoint = c->endpoint;
	if (c->set_keepalive)
		p->keepalive = c->keepalive;
	if (c->set_preshared) {
		secret_free(p->preshared_key);
		p->preshared_key = secret_copy(c->preshared_key);
	}
	if (c->replace_allowed)
		p->n_allowed = 0;
	for (size_t i = 0; i < c->n_allowed; i++) {
		sim_take_from_others(d, (size_t)(p - d->peers), &c->allowed[i]);
		wgdev_peer_add_allowed(p, c->allowed[i]);
	}
	wgdev_sort(d);
}

static void remove_addr(struct agent_tunnel *t, const struct ip_prefix *a)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_addrs; i++)
		if (ip_prefix_cmp(&t->addrs[i], a) != 0)
			t->addrs[n++] = t->addrs[i];
	ck_assert_uint_eq(n + 1, t->n_addrs);
	t->n_addrs = n;
}

static void remove_route(struct agent_tunnel *t, const struct agent_route *r)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_routes; i++)
		if (agent_route_cmp(&t->routes[i], r) != 0)
			t->routes[n++] = t->routes[i];
	ck_assert_uint_eq(n + 1, t->n_routes);
	t->n_routes = n;
}

static void sim_device(struct agent_tunnel *t, const struct agent_tunnel *want)
{
	if (want->wg.private_key) {
		secret_free(t->wg.private_key);
		t->wg.private_key = secret_copy(want->wg.private_key);
		t->wg.public_key = want->wg.public_key;
	}
	if (want->wg.listen_port)
		t->wg.listen_port = want->wg.listen_port;
	t->wg.fwmark = want->wg.fwmark;
}

static void sim_op(struct agent_state *s, const struct agent_op *op)
{
	const char *ifname = agent_op_ifname(op);
	struct agent_tunnel *t = ifname ? agent_state_find(s, ifname) : NULL;
	struct wgdev_peer_change c;

	switch (op->kind) {
	case AGENT_OP_LINK_CREATE:
		if (!t) {
			t = agent_state_add_tunnel(s, ifname);
			t->mtu = 1420;
			agent_state_sort(s);
			t = agent_state_find(s, ifname);
		}
		t->owner = AGENT_OWNER_US;
		str_copy(t->link_kind, sizeof(t->link_kind),
			 op->want->made == AGENT_MADE_USERSPACE ? "tun" : "wireguard");
		break;
	case AGENT_OP_LINK_ADOPT: t->owner = AGENT_OWNER_US; break;
	case AGENT_OP_LINK_MTU: t->mtu = op->want->mtu; break;
	case AGENT_OP_LINK_UP:
		/* a new link goes up with all that it needs already there */
		if (!op->have) {
			ck_assert_uint_eq(t->n_addrs, op->want->n_addrs);
			ck_assert_uint_eq(t->wg.n_peers, op->want->wg.n_peers);
		}
		t->up = true;
		break;
	case AGENT_OP_DEVICE_SET: sim_device(t, op->want); break;
	case AGENT_OP_LINK_DELETE:
		wgdev_clear(&t->wg);
		t->owner = AGENT_OWNER_NONE;
		t->n_addrs = t->n_routes = 0;
		t->up = false;
		break;
	case AGENT_OP_PEER_ADD:
	case AGENT_OP_PEER_CHANGE:
	case AGENT_OP_PEER_SHRINK:
	case AGENT_OP_PEER_REMOVE:
		agent_op_peer_change(op, &c);
		sim_peer(&t->wg, &c);
		break;
	case AGENT_OP_ADDR_ADD: agent_tunnel_add_addr(t, *op->addr); break;
	case AGENT_OP_ADDR_DEL: remove_addr(t, op->addr); break;
	case AGENT_OP_ROUTE_ADD:
		ck_assert(t->up);
		agent_tunnel_add_route(t, *op->route);
		break;
	case AGENT_OP_ROUTE_DEL: remove_route(t, op->route); break;
	case AGENT_OP_RULE_ADD: agent_state_add_rule(s, *op->rule); break;
	case AGENT_OP_RULE_DEL: {
		size_t n = 0;

		for (size_t i = 0; i < s->n_rules; i++)
			if (agent_rule_cmp(&s->rules[i], op->rule) != 0)
				s->rules[n++] = s->rules[i];
		s->n_rules = n;
		break;
	}
	case AGENT_OP_NFT:
		s->n_nft = 0;
		s->nft_drifted = false;
		for (size_t i = 0; i < op->n_nft; i++)
			agent_state_add_nft(s, &op->nft[i]);
		break;
	case AGENT_OP_SYSCTL:
	case AGENT_OP_CONFLICT:
	case AGENT_OP_LINK_RELEASE:
	case AGENT_OP_KINDS: break;
	}
	agent_state_sort(s);
}

/* --- random states --- */

#define N_KEYS     6
#define N_PREFIXES 8

static struct ip_prefix nth_prefix(unsigned i)
{
	struct ip_prefix p = {.addr = {.family = AF_INET, .b = {10, (uint8_t)i}}, .len = 16};

	return p;
}

static void random_peers(struct wgdev *d)
{
	int owner[N_PREFIXES];

	for (unsigned i = 0; i < N_PREFIXES; i++)
		owner[i] = (int)rnd(N_KEYS + 2); /* beyond N_KEYS: nobody's */
	for (unsigned k = 0; k < N_KEYS; k++) {
		if (rnd(3) == 0)
			continue;
		struct key pub = key_of(k + 1), psk = key_of(100 + rnd(3));
		struct wgdev_peer *p = wgdev_add_peer(d, &pub);
		p->keepalive = (uint16_t)(rnd(2) * 25);
		if (rnd(2))
			p->endpoint = endpoint_of(rnd(3));
		if (rnd(2))
			p->preshared_key = secret_copy(&psk);
		for (unsigned i = 0; i < N_PREFIXES; i++)
			if (owner[i] == (int)k)
				wgdev_peer_add_allowed(p, nth_prefix(i));
	}
	wgdev_sort(d);
}

static void random_state(struct agent_state *s, bool desired)
{
	static const char *const names[] = {"wg0", "wg1", "wg2"};

	agent_state_init(s);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (rnd(4) == 0)
			continue;
		struct agent_tunnel *t = agent_state_add_tunnel(s, names[i]);
		struct key k = key_of(1000 + rnd(2));
		t->wg.private_key = secret_copy(&k);
		t->wg.public_key = key_of(2000 + k.b[0]);
		t->wg.listen_port = (uint16_t)rnd(3);
		t->wg.fwmark = rnd(2);
		t->mtu = 1280 + rnd(2) * 100;
		t->up = desired || rnd(3);
		t->owner = desired ? AGENT_OWNER_NONE : rnd(5) ? AGENT_OWNER_US : AGENT_OWNER_BLANK;
		t->made = desired ? (enum agent_made)rnd(3) : AGENT_MADE_ANY;
		str_copy(t->link_kind, sizeof(t->link_kind),
			 desired  ? ""
			 : rnd(2) ? "tun"
				  : "wireguard");
		random_peers(&t->wg);
		for (unsigned j = 0; j < 3; j++)
			if (rnd(2))
				agent_tunnel_add_addr(t, nth_prefix(100 + j));
		for (unsigned j = 0; j < 4; j++)
			if (t->up && rnd(2))
				agent_tunnel_add_route(t,
						       (struct agent_route){nth_prefix(j), 254, 0});
		if (rnd(2))
			agent_state_add_nft(s, &(struct agent_nft){.masquerade = rnd(2)});
	}
	for (unsigned j = 0; j < 2; j++)
		if (rnd(2))
			agent_state_add_rule(s, (struct agent_rule){.family = AF_INET,
								    .priority = 100 + j,
								    .fwmark = 51820,
								    .invert = true,
								    .table = 51820,
								    .suppress_prefixlen = -1});
	agent_state_sort(s);
	/* policies: as many as peers; half of them insist on their endpoint */
	for (size_t i = 0; desired && i < s->n_tunnels; i++) {
		struct agent_tunnel *t = &s->tunnels[i];

		t->policy = calloc(t->wg.n_peers + 1, sizeof(*t->policy));
		for (size_t j = 0; j < t->wg.n_peers; j++)
			t->policy[j] =
				(struct agent_peer_policy){.name = "p", .assert_endpoint = rnd(2)};
	}
}

static const struct wgdev_peer *owner_of(const struct wgdev *d, const struct ip_prefix *p)
{
	for (size_t i = 0; i < d->n_peers; i++)
		for (size_t j = 0; j < d->peers[i].n_allowed; j++)
			if (ip_prefix_cmp(&d->peers[i].allowed[j], p) == 0)
				return &d->peers[i];
	return NULL;
}

/* A prefix that somebody owns before and somebody shall own after is owned all the time, but where
 * the whole interface is made again. */
static void check_no_gap(const struct agent_state *desired, const struct agent_state *before,
			 const struct agent_state *now)
{
	for (size_t i = 0; i < desired->n_tunnels; i++) {
		const struct agent_tunnel *w = &desired->tunnels[i];
		const struct agent_tunnel *b = agent_state_find(before, w->ifname);
		const struct agent_tunnel *n = agent_state_find(now, w->ifname);

		if (b && agent_made_differs(w, b))
			continue;
		for (unsigned j = 0; b && n && j < N_PREFIXES; j++) {
			struct ip_prefix p = nth_prefix(j);

			if (owner_of(&w->wg, &p) && owner_of(&b->wg, &p))
				ck_assert_ptr_nonnull(owner_of(&n->wg, &p));
		}
	}
}

START_TEST(plan_converges)
{
	for (unsigned seed = 0; seed < 1500; seed++) {
		_cleanup_agent_state_ struct agent_state d, o, before;
		_cleanup_agent_plan_ struct agent_plan p = {0}, again = {0};

		rng_state = seed;
		random_state(&d, true);
		rng_state = seed * 31 + 7;
		random_state(&o, false);
		rng_state = seed * 31 + 7;
		random_state(&before, false);
		ck_assert_int_eq(agent_plan(&d, &before, &p), 0);
		for (size_t i = 0; i < p.n; i++) {
			sim_op(&o, &p.ops[i]);
			check_no_gap(&d, &before, &o);
		}
		ck_assert_int_eq(agent_plan(&d, &o, &again), 0);
		/* A blank interface is taken first, and then made again by the backend that is
		 * named. */
		if (again.n && again.ops[0].kind == AGENT_OP_LINK_DELETE && again.ops[0].want &&
		    agent_state_find(&before, again.ops[0].want->ifname)->owner ==
			    AGENT_OWNER_BLANK) {
			for (size_t i = 0; i < again.n; i++)
				sim_op(&o, &again.ops[i]);
			agent_plan_clear(&again);
			ck_assert_int_eq(agent_plan(&d, &o, &again), 0);
		}
		if (again.n) {
			_cleanup_buf_ struct buf b = BUF_INIT(0);
			agent_op_text(&again.ops[0], &b);
			ck_abort_msg("seed %u: left: %s", seed, buf_str(&b));
		}
	}
}
END_TEST

static bool same_peer(const struct wgdev_peer *a, const struct wgdev_peer *b)
{
	if (a->n_allowed != b->n_allowed || a->keepalive != b->keepalive ||
	    ip_endpoint_cmp(&a->endpoint, &b->endpoint) || !a->preshared_key != !b->preshared_key ||
	    (a->preshared_key && !key_eq(a->preshared_key, b->preshared_key)))
		return false;
	for (size_t i = 0; i < a->n_allowed; i++)
		if (ip_prefix_cmp(&a->allowed[i], &b->allowed[i]))
			return false;
	return true;
}

START_TEST(plan_leaves_equal_peers_alone)
{
	unsigned equal = 0;

	for (unsigned seed = 0; seed < 1500; seed++) {
		_cleanup_agent_state_ struct agent_state d, o;
		_cleanup_agent_plan_ struct agent_plan p = {0};

		rng_state = seed;
		random_state(&d, true);
		rng_state = seed + 77;
		random_state(&o, false);
		ck_assert_int_eq(agent_plan(&d, &o, &p), 0);
		for (size_t i = 0; i < p.n; i++) {
			if (!p.ops[i].peer || !p.ops[i].peer_was)
				continue;
			ck_assert(!same_peer(p.ops[i].peer, p.ops[i].peer_was));
			equal++;
		}
	}
	ck_assert_uint_gt(equal, 100);
}
END_TEST

/* --- single cases --- */

struct fixture {
	struct agent_state d, o;
	struct agent_tunnel *want, *have;
};

/* One tunnel, alike on both sides, two peers. */
static void both_alike(struct fixture *f)
{
	for (int side = 0; side < 2; side++) {
		struct agent_state *s = side ? &f->o : &f->d;

		agent_state_init(s);
		struct agent_tunnel *t = agent_state_add_tunnel(s, "wg0");
		t->owner = side ? AGENT_OWNER_US : AGENT_OWNER_NONE;
		t->up = true;
		t->mtu = 1420;
		for (unsigned k = 1; k <= 2; k++) {
			struct key pub = key_of(k);
			struct wgdev_peer *p = wgdev_add_peer(&t->wg, &pub);
			p->endpoint = endpoint_of(k);
			p->keepalive = 25;
			wgdev_peer_add_allowed(p, nth_prefix(k));
			wgdev_peer_add_allowed(p, nth_prefix(k + 10));
		}
		wgdev_sort(&t->wg);
		agent_tunnel_add_addr(t, prefix_of("10.100.0.2/24"));
		agent_tunnel_add_route(t, (struct agent_route){nth_prefix(1), 254, 0});
		if (!side)
			t->policy = calloc(2, sizeof(*t->policy));
	}
	f->want = &f->d.tunnels[0];
	f->have = &f->o.tunnels[0];
	f->want->policy[0].name = "a";
	f->want->policy[1].name = "b";
}

/* Joins the plan's lines with "|" and compares. */
static void expect_plan(struct fixture *f, const char *lines)
{
	_cleanup_agent_plan_ struct agent_plan p = {0};
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	ck_assert_int_eq(agent_plan(&f->d, &f->o, &p), 0);
	for (size_t i = 0; i < p.n; i++) {
		if (i)
			buf_adds(&b, "|");
		agent_op_text(&p.ops[i], &b);
	}
	ck_assert_str_eq(buf_str(&b), lines);
	agent_state_clear(&f->d);
	agent_state_clear(&f->o);
}

#define KEY_A "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
#define KEY_B "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="

START_TEST(equal_states_need_nothing)
{
	struct fixture f;

	both_alike(&f);
	expect_plan(&f, "");
}
END_TEST

START_TEST(roamed_endpoint_is_not_drift)
{
	struct fixture f;

	both_alike(&f);
	f.have->wg.peers[0].endpoint = endpoint_of(99);
	expect_plan(&f, "");
	both_alike(&f);
	f.have->wg.peers[0].endpoint = endpoint_of(99);
	f.want->policy[0].assert_endpoint = true;
	expect_plan(&f, "wg0: peer a (" KEY_A "): endpoint 192.0.2.99:51820 -> 192.0.2.1:51820");
	both_alike(&f);
	f.have->wg.peers[0].endpoint = (struct ip_endpoint){0};
	expect_plan(&f, "wg0: peer a (" KEY_A "): endpoint none -> 192.0.2.1:51820");
}
END_TEST

/* How many operations of the plan are nobody's drift, and how many there are. */
static void expect_own(struct fixture *f, size_t own, size_t n)
{
	_cleanup_agent_plan_ struct agent_plan p = {0};
	size_t count = 0;

	ck_assert_int_eq(agent_plan(&f->d, &f->o, &p), 0);
	for (size_t i = 0; i < p.n; i++)
		count += agent_op_is_own(&p.ops[i]);
	ck_assert_uint_eq(p.n, n);
	ck_assert_uint_eq(count, own);
	agent_state_clear(&f->d);
	agent_state_clear(&f->o);
}

START_TEST(own_changes_are_told_from_drift)
{
	struct fixture f;

	/* An MTU that follows its path, and one that somebody has set. */
	for (unsigned own = 0; own < 2; own++) {
		both_alike(&f);
		f.have->mtu = 1300;
		f.want->mtu_new = own;
		expect_own(&f, own, 1);
	}
	/* An endpoint: tried, resolved; or taken away by somebody. */
	for (unsigned why = 0; why < 3; why++) {
		both_alike(&f);
		f.have->wg.peers[0].endpoint = why == 0 ? endpoint_of(99) : (struct ip_endpoint){0};
		f.want->policy[0].assert_endpoint = why == 0;
		f.want->policy[0].endpoint_new = why == 1;
		expect_own(&f, why < 2, 1);
	}
	/* With it, what somebody did to the same peer: each of the three is drift. */
	for (unsigned what = 0; what < 3; what++) {
		struct key psk = key_of(7);

		both_alike(&f);
		f.want->policy[0].assert_endpoint = true;
		f.have->wg.peers[0].endpoint = endpoint_of(99);
		if (what == 0)
			f.have->wg.peers[0].keepalive = 1;
		if (what == 1)
			f.have->wg.peers[0].n_allowed = 1;
		if (what == 2)
			f.have->wg.peers[0].preshared_key = secret_copy(&psk);
		expect_own(&f, 0, 1);
	}
	/* A link's check that is strict for the first time, and one that we had made loose. */
	for (unsigned first = 0; first < 2; first++) {
		both_alike(&f);
		agent_state_add_strict(&f.o, "net/ipv4/conf/eth0/rp_filter", "2", first);
		agent_state_add_strict(&f.o, "net/ipv4/conf/eth0/rp_filter", "2", first);
		expect_own(&f, first, 1);
	}
	both_alike(&f);
	agent_state_add_strict(&f.o, "net/ipv4/conf/eth0/rp_filter", "2", true);
	expect_plan(&f, "sysctl net/ipv4/conf/eth0/rp_filter: 1 -> 2");
	/* What is marked says nothing of the rest, nor of a link that is made anew. */
	both_alike(&f);
	f.want->mtu_new = f.want->policy[0].endpoint_new = true;
	f.have->up = false;
	f.have->wg.peers[1].keepalive = 1;
	expect_own(&f, 0, 2);
	both_alike(&f);
	f.want->mtu_new = true;
	f.o.tunnels[0].owner = AGENT_OWNER_NONE;
	expect_own(&f, 0, 8);
}
END_TEST

START_TEST(moved_prefix_is_one_message)
{
	struct fixture f;

	/* 10.11/16 moves from a to b: b takes it, a needs no message. */
	both_alike(&f);
	f.want->wg.peers[0].n_allowed = 1;
	wgdev_peer_add_allowed(&f.want->wg.peers[1], nth_prefix(11));
	wgdev_sort(&f.want->wg);
	expect_plan(&f, "wg0: peer b (" KEY_B "): allowed IPs + 10.11.0.0/16");
}
END_TEST

START_TEST(lost_prefix_shrinks)
{
	struct fixture f;

	both_alike(&f);
	f.want->wg.peers[0].n_allowed = 1;
	expect_plan(&f, "wg0: peer a (" KEY_A ") loses 1 allowed IPs, keeps 10.1.0.0/16");
}
END_TEST

START_TEST(peer_removed_behind_our_back)
{
	struct fixture f;

	both_alike(&f);
	wgdev_peer_clear(&f.have->wg.peers[1]);
	f.have->wg.n_peers = 1;
	expect_plan(&f, "wg0: peer b (" KEY_B ") added: endpoint 192.0.2.2:51820; keepalive 0s -> "
			"25s; allowed IPs + 10.2.0.0/16, 10.12.0.0/16");
}
END_TEST

START_TEST(foreign_interface_is_a_conflict)
{
	struct fixture f;

	both_alike(&f);
	f.have->owner = AGENT_OWNER_FOREIGN;
	strcpy(f.have->link_kind, "dummy");
	f.want->mtu = 9;
	expect_plan(&f,
		    "wg0: name already in use by something else (a dummy interface that carries "
		    "no mark of the agent)");
	both_alike(&f);
	f.have->owner = AGENT_OWNER_FOREIGN;
	f.want->adopt = true;
	strcpy(f.have->link_kind, "tun");
	expect_plan(&f, "wg0: existing interface adopted");
	/* What can be no WireGuard device is not meant. */
	both_alike(&f);
	f.have->owner = AGENT_OWNER_FOREIGN;
	f.want->adopt = true;
	strcpy(f.have->link_kind, "veth");
	expect_plan(&f, "wg0: name already in use by something else (a veth interface that carries "
			"no mark of the agent)");
}
END_TEST

#define MADE_AGAIN                                                                                 \
	"wg0: interface removed, a tun one, for backend \"kernel\"|wg0: interface created|"        \
	"wg0: mtu 0 -> 1420|"

START_TEST(another_backend_makes_the_interface_again)
{
	struct fixture f;
	_cleanup_agent_plan_ struct agent_plan p = {0};

	/* Its routes, peers and addresses with it; none is taken away by itself. */
	both_alike(&f);
	f.want->made = AGENT_MADE_KERNEL;
	strcpy(f.have->link_kind, "tun");
	ck_assert_int_eq(agent_plan(&f.d, &f.o, &p), 0);
	ck_assert_int_eq(p.ops[0].kind, AGENT_OP_LINK_DELETE);
	ck_assert_int_eq(p.ops[1].kind, AGENT_OP_LINK_CREATE);
	ck_assert_uint_eq(p.n, 9);
	for (size_t i = 1; i < p.n; i++)
		ck_assert_ptr_null(p.ops[i].have);
	expect_plan(&f, MADE_AGAIN "wg0: |"
				   "wg0: peer a (" KEY_A ") added: endpoint 192.0.2.1:51820; "
				   "keepalive 0s -> 25s; allowed IPs + 10.1.0.0/16, 10.11.0.0/16|"
				   "wg0: peer b (" KEY_B ") added: endpoint 192.0.2.2:51820; "
				   "keepalive 0s -> 25s; allowed IPs + 10.2.0.0/16, 10.12.0.0/16|"
				   "wg0: address 10.100.0.2/24 added|wg0: interface up|"
				   "wg0: route 10.1.0.0/16 added");
}
END_TEST

START_TEST(what_cannot_be_made_again_is_kept_up)
{
	struct fixture f;

	both_alike(&f);
	f.want->made = AGENT_MADE_KERNEL;
	strcpy(f.have->link_kind, "tun");
	strcpy(f.want->problem, "the kernel has none");
	f.have->wg.peers[0].keepalive = 1;
	expect_plan(&f, "wg0: the tun interface stays: the kernel has none|"
			"wg0: peer a (" KEY_A "): keepalive 1s -> 25s");
	/* Another program's is not ours to take away. */
	both_alike(&f);
	f.want->made = AGENT_MADE_USERSPACE;
	strcpy(f.have->link_kind, "wireguard");
	f.have->adopted = true;
	expect_plan(&f, "wg0: the wireguard interface that was adopted stays: backend "
			"\"userspace\" would take the place of what another program has made");
	/* One that does not answer is left alone, and so is one of the kind that is named. */
	both_alike(&f);
	f.want->made = AGENT_MADE_USERSPACE;
	strcpy(f.have->link_kind, "wireguard");
	f.have->unknown = true;
	expect_plan(&f, "");
	for (unsigned kernel = 0; kernel < 2; kernel++) {
		both_alike(&f);
		f.want->made = kernel ? AGENT_MADE_KERNEL : AGENT_MADE_USERSPACE;
		strcpy(f.have->link_kind, kernel ? "wireguard" : "tun");
		expect_plan(&f, "");
		both_alike(&f);
		strcpy(f.have->link_kind, kernel ? "wireguard" : "tun");
		expect_plan(&f, "");
	}
}
END_TEST

START_TEST(unwanted_tunnels_go_only_if_ours)
{
	struct fixture f;

	both_alike(&f);
	agent_state_clear(&f.d);
	expect_plan(&f, "wg0: interface removed");
	both_alike(&f);
	agent_state_clear(&f.d);
	f.have->owner = AGENT_OWNER_FOREIGN;
	expect_plan(&f, "");
	both_alike(&f);
	agent_state_clear(&f.d);
	f.have->adopted = true;
	expect_plan(&f, "wg0: route 10.1.0.0/16 removed|wg0: peer " KEY_A
			" removed|wg0: peer " KEY_B " removed|wg0: adopted interface released");
}
END_TEST

START_TEST(addresses_are_added_before_others_go)
{
	struct fixture f;

	both_alike(&f);
	f.want->addrs[0] = prefix_of("10.100.0.3/24");
	expect_plan(&f, "wg0: address 10.100.0.3/24 added|wg0: address 10.100.0.2/24 removed");
	/* what is point-to-point is another's, also where its own side is what is wanted */
	both_alike(&f);
	struct ip_prefix other = prefix_of("10.9.9.2/32");
	agent_tunnel_add_pair(f.have, (struct agent_pair){prefix_of("10.9.9.1/32"), other.addr});
	expect_plan(&f, "wg0: address 10.9.9.1/32 peer 10.9.9.2 removed");
	both_alike(&f);
	f.have->n_addrs = 0;
	agent_tunnel_add_pair(f.have, (struct agent_pair){prefix_of("10.100.0.2/24"), other.addr});
	expect_plan(&f, "wg0: address 10.100.0.2/24 added|"
			"wg0: address 10.100.0.2/24 peer 10.9.9.2 removed");
	/* the kernel's own link-local address is not drift */
	both_alike(&f);
	agent_tunnel_add_addr(f.have, prefix_of("fe80::1/64"));
	expect_plan(&f, "");
}
END_TEST

START_TEST(drifted_table_is_replaced)
{
	struct fixture f;
	struct agent_nft n = {.ifname = "wg0", .masquerade = true, .mss_clamp = true};

	both_alike(&f);
	agent_state_add_nft(&f.d, &n);
	agent_state_add_nft(&f.o, &n);
	f.o.nft_drifted = true;
	expect_plan(&f, "nftables: table inet harmony replaced: wg0 masquerade mss-clamp");
	both_alike(&f);
	agent_state_add_nft(&f.o, &n);
	expect_plan(&f, "nftables: table inet harmony removed");
	both_alike(&f);
	agent_state_add_nft(&f.d, &n);
	f.o.nft_unknown = true;
	expect_plan(&f, "");
}
END_TEST

/* A text of a plan never shows a secret, in any spelling. */
START_TEST(no_key_material_in_texts)
{
	struct key secret;
	char hex[KEY_HEX], b64[KEY_BASE64];
	struct fixture f;
	_cleanup_agent_plan_ struct agent_plan p = {0};
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	memset(&secret, 0xA7, sizeof(secret));
	both_alike(&f);
	f.want->wg.private_key = secret_copy(&secret);
	f.want->wg.public_key = key_of(9);
	f.want->wg.peers[0].preshared_key = secret_copy(&secret);
	ck_assert_int_eq(agent_plan(&f.d, &f.o, &p), 0);
	ck_assert_uint_eq(p.n, 2);
	for (size_t i = 0; i < p.n; i++)
		agent_op_text(&p.ops[i], &b);
	ck_assert_ptr_null(strstr(buf_str(&b), key_to_hex(&secret, hex)));
	ck_assert_ptr_null(strstr(buf_str(&b), key_to_base64(&secret, b64)));
	ck_assert_ptr_nonnull(strstr(buf_str(&b), "preshared key set"));
	agent_state_clear(&f.d);
	agent_state_clear(&f.o);
}
END_TEST

START_TEST(one_of_ten_thousand_is_one_operation)
{
	struct fixture f;

	both_alike(&f);
	for (unsigned k = 100; k < 10100; k++) {
		struct key pub = key_of(k);
		wgdev_add_peer(&f.want->wg, &pub);
		if (k != 5000)
			wgdev_add_peer(&f.have->wg, &pub);
	}
	wgdev_sort(&f.want->wg);
	wgdev_sort(&f.have->wg);
	free(f.want->policy);
	f.want->policy = NULL;
	expect_plan(&f, "wg0: peer iBMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE= added");
}
END_TEST

static Suite *plan_suite(void)
{
	return UNIT_SUITE(
		"plan", plan_converges, plan_leaves_equal_peers_alone, equal_states_need_nothing,
		roamed_endpoint_is_not_drift, own_changes_are_told_from_drift,
		moved_prefix_is_one_message, lost_prefix_shrinks, peer_removed_behind_our_back,
		foreign_interface_is_a_conflict, another_backend_makes_the_interface_again,
		what_cannot_be_made_again_is_kept_up, unwanted_tunnels_go_only_if_ours,
		addresses_are_added_before_others_go, drifted_table_is_replaced,
		no_key_material_in_texts, one_of_ten_thousand_is_one_operation);
}

UNIT_MAIN(plan_suite)
