/*
 * Theory of operation. Operations run in the plan's order. Those on the peers of one device that
 * stand in a row are one request, so that ten thousand new peers are a few dozen messages. When
 * such a request fails it is tried again peer by peer: the one that cannot be applied is then
 * known by name, and the others are in place.
 *
 * Each interface has a state while the plan runs: once an operation on it has failed that the
 * later ones build on (it could not be created, its device could not be configured), these are
 * cancelled with that reason. Other interfaces go on. What was done stays: the next plan starts
 * from what is then there, so nothing has to be undone to be right later, except an interface
 * that was created and could not be marked, which nobody would know to be ours.
 *
 * A tunnel that runs does not stop for a listen port that is taken: it keeps the one that it has,
 * or gets it back from a device that has let go of it, and what else is to be done is done.
 */
#include "agent/sys_priv.h"
#include "base/str.h"
#include "netlink/addr.h"
#include "netlink/route.h"
#include "netlink/rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An interface on which nothing more is to be tried in this plan. */
struct failed {
	char ifname[IFNAMSIZ];
	char why[ERR_MSG_MAX];
};

struct run {
	struct agent_sys *s;
	agent_backend_fn backend;
	agent_applied_fn done;
	void *arg;
	size_t not_done;
	struct failed *failed;
	size_t n_failed, cap_failed;
};

static const char *why_failed(const struct run *run, const char *ifname)
{
	for (size_t i = 0; ifname && i < run->n_failed; i++)
		if (str_eq(run->failed[i].ifname, ifname))
			return run->failed[i].why;
	return NULL;
}

static bool is_running(const struct agent_tunnel *have)
{
	return have && have->up && !key_is_zero(&have->wg.public_key);
}

/* Whether what comes later on the same interface builds on what has failed. */
static bool ends_the_rest(const struct agent_op *op, int code)
{
	switch (op->kind) {
	case AGENT_OP_CONFLICT: return op->have->owner != AGENT_OWNER_US;
	case AGENT_OP_LINK_DELETE:
	case AGENT_OP_LINK_CREATE:
	case AGENT_OP_LINK_ADOPT:
	case AGENT_OP_LINK_UP: return true;
	case AGENT_OP_DEVICE_SET: return code != -EADDRINUSE || !is_running(op->have);
	default: return false;
	}
}

static void report(struct run *run, const struct agent_op *op, int code, const struct err *e)
{
	const char *ifname = agent_op_ifname(op);

	if (code < 0) {
		run->not_done++;
		if (code != -ECANCELED && ifname && ends_the_rest(op, code) &&
		    mem_grow(&run->failed, run->n_failed, &run->cap_failed, sizeof(*run->failed)) ==
			    0) {
			struct failed *f = &run->failed[run->n_failed];

			if (str_copy(f->ifname, sizeof(f->ifname), ifname) == 0 &&
			    str_copy(f->why, sizeof(f->why), e->msg) == 0)
				run->n_failed++;
		}
	}
	run->done(run->arg, op, code, code < 0 ? e->msg : "");
}

/* --- the interface --- */

static int link_index(struct agent_sys *s, const char *ifname, unsigned *ret, struct err *e)
{
	struct nl_link link;
	int r = nl_link_get(s->route, ifname, &link, e);

	if (r == 0)
		*ret = link.index;
	return r;
}

static int link_mark(struct agent_sys *s, const char *ifname, const char *mark, struct err *e)
{
	unsigned index = 0;
	int r = link_index(s, ifname, &index, e);

	if (r < 0)
		return r;
	return nl_link_set(s->route, index,
			   &(struct nl_link_change){.set_alias = true, .alias = mark}, e);
}

static int op_create(struct run *run, const struct agent_op *op, struct err *e)
{
	struct agent_backend_choice choice;
	const char *ifname = op->want->ifname;
	struct device *dev;
	unsigned index = 0;
	int r = run->backend(run->arg, op->want->network, &choice, e);

	if (r < 0)
		return r;
	r = device_create(ifname, choice.kind, choice.program, &dev, e);
	if (r < 0)
		return r;
	r = link_mark(run->s, ifname, AGENT_MARK, e);
	if (r == 0)
		r = link_index(run->s, ifname, &index, e);
	if (r < 0) {
		device_delete(dev, NULL);
		device_free(dev);
		return r;
	}
	r = sys_handle_put(run->s, ifname, index, dev);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int op_delete(struct run *run, const struct agent_op *op, struct err *e)
{
	struct device *dev = agent_sys_device(run->s, op->have->ifname);
	int r;

	if (dev)
		r = device_delete(dev, e);
	else
		r = nl_link_del(run->s->route, op->have->ifindex, e);
	sys_handle_drop(run->s, op->have->ifname);
	return r == -ENODEV ? 0 : r;
}

static const char was_mark[] = AGENT_MARK_ADOPTED ", was: ";

static int op_adopt(struct run *run, const struct agent_op *op, struct err *e)
{
	char mark[NL_ALIAS_LEN];

	if (op->have->owner == AGENT_OWNER_BLANK)
		return link_mark(run->s, op->want->ifname, AGENT_MARK, e);
	if (!op->have->alias[0])
		return link_mark(run->s, op->want->ifname, AGENT_MARK_ADOPTED, e);
	/* One that leaves no room is cut. */
	snprintf(mark, sizeof(mark), "%s%.*s", was_mark, (int)(sizeof(mark) - sizeof(was_mark)),
		 op->have->alias);
	return link_mark(run->s, op->want->ifname, mark, e);
}

static int op_release(struct run *run, const struct agent_op *op, struct err *e)
{
	const char *alias = op->have->alias, *was = "";

	if (strncmp(alias, was_mark, sizeof(was_mark) - 1) == 0)
		was = alias + sizeof(was_mark) - 1;
	return link_mark(run->s, op->have->ifname, was, e);
}

/* The device says only that an address is in use. The port is bound when it is set, or when the
 * link goes up. */
static int name_port(const struct run *run, const struct agent_op *op, int r, struct err *e)
{
	char holder[128];

	if (r == -EADDRINUSE && op->want->wg.listen_port) {
		sys_port_holder(run->s, op->want->wg.listen_port, holder, sizeof(holder));
		err_prefix(e, "listen port %u is taken by %s", op->want->wg.listen_port, holder);
	}
	return r;
}

static int op_link(struct run *run, const struct agent_op *op, struct err *e)
{
	struct nl_link_change change = {0};
	unsigned index = 0;
	int r = link_index(run->s, op->want->ifname, &index, e);

	if (r < 0)
		return r;
	if (op->kind == AGENT_OP_LINK_MTU)
		change.set_mtu = true, change.mtu = op->want->mtu;
	else
		change.set_up = true, change.up = true;
	return name_port(run, op, nl_link_set(run->s->route, index, &change, e), e);
}

/* --- the device --- */

static int device_of(struct run *run, const struct agent_op *op, struct device **ret, struct err *e)
{
	struct nl_link link;

	*ret = agent_sys_device(run->s, agent_op_ifname(op));
	if (*ret)
		return 0;
	int r = nl_link_get(run->s->route, agent_op_ifname(op), &link, e);
	return r < 0 ? r : sys_handle_get(run->s, &link, ret, e);
}

/* The rest of a change whose port is taken. wireguard-go and boringtun have closed their sockets by
 * then. */
static int keep_port(struct device *dev, struct wgdev_change *c, uint16_t port, struct err *e)
{
	struct err taken = *e;

	c->set_listen_port = port != 0;
	c->listen_port = port;
	int r = device_set(dev, c, e);
	return r < 0 ? r : err_set(e, -EADDRINUSE, "%s; port %u stays", taken.msg, port);
}

static int op_device(struct run *run, const struct agent_op *op, struct err *e)
{
	const struct wgdev *w = &op->want->wg, *h = op->have ? &op->have->wg : NULL;
	struct wgdev_change c = {
		.set_private_key = agent_key_differs(w, h),
		.private_key = w->private_key,
		.set_listen_port = w->listen_port && (!h || h->listen_port != w->listen_port),
		.listen_port = w->listen_port,
		.set_fwmark = w->fwmark != (h ? h->fwmark : 0),
		.fwmark = w->fwmark,
	};
	struct device *dev;
	int r = device_of(run, op, &dev, e);

	if (r < 0)
		return r;
	r = name_port(run, op, device_set(dev, &c, e), e);
	return r == -EADDRINUSE && is_running(op->have) ? keep_port(dev, &c, h->listen_port, e) : r;
}

static bool is_peer_op(const struct agent_op *op)
{
	return op->kind >= AGENT_OP_PEER_ADD && op->kind <= AGENT_OP_PEER_REMOVE;
}

static void peers_one_by_one(struct run *run, struct device *dev, const struct agent_op *ops,
			     const struct wgdev_peer_change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct wgdev_change c = {.peers = &changes[i], .n_peers = 1};
		struct err e = {0};

		report(run, &ops[i], device_set(dev, &c, &e), &e);
	}
}

/* A row of operations on peers of one device, as one request. */
static void run_peers(struct run *run, const struct agent_op *ops, size_t n)
{
	_cleanup_free_ struct wgdev_peer_change *changes = calloc(n, sizeof(*changes));
	struct device *dev;
	struct err e = {0};
	int r = changes ? device_of(run, ops, &dev, &e) : err_set(&e, -ENOMEM, "out of memory");

	if (r == 0) {
		struct wgdev_change c = {.peers = changes, .n_peers = n};

		for (size_t i = 0; i < n; i++)
			agent_op_peer_change(&ops[i], &changes[i]);
		r = device_set(dev, &c, &e);
		/* A device that does not answer is not asked n times more. */
		if (r < 0 && n > 1 && r != -ETIMEDOUT && r != -ENODEV && r != -ECONNREFUSED) {
			peers_one_by_one(run, dev, ops, changes, n);
			return;
		}
	}
	for (size_t i = 0; i < n; i++)
		report(run, &ops[i], r, &e);
}

/* --- addresses, routes, rules --- */

/* Without asking for each of ten thousand routes. Where the interface was made anew since the
 * last look, the kernel refuses the index, and the next plan has the new one. */
static int known_index(struct agent_sys *s, const char *ifname, unsigned *ret, struct err *e)
{
	*ret = sys_handle_ifindex(s, ifname);
	return *ret ? 0 : link_index(s, ifname, ret, e);
}

static struct nl_route route_of(const struct agent_route *r, unsigned ifindex)
{
	return (struct nl_route){.dst = r->dst,
				 .table = r->table,
				 .metric = r->metric,
				 .protocol = NL_PROTO_HARMONY,
				 .ifindex = ifindex,
				 /* RT_SCOPE_LINK: on link, as the kernel's own without gateway */
				 .scope = r->dst.addr.family == AF_INET ? 253 : 0};
}

/* Whether the kernel may take `other` along when `gone` goes: it keeps IPv4 addresses of one subnet
 * below the first of them (unless promote_secondaries is set), and an IPv6 address once, whatever
 * its length. */
static bool goes_along(const struct ip_prefix *other, const struct ip_prefix *gone)
{
	struct ip_prefix a = ip_prefix_mask(*other), b = ip_prefix_mask(*gone);

	if (other->addr.family != gone->addr.family)
		return false;
	if (gone->addr.family == AF_INET6)
		return ip_addr_cmp(&other->addr, &gone->addr) == 0;
	return other->len == gone->len && ip_addr_cmp(&a.addr, &b.addr) == 0;
}

/* Wanted addresses that went with one that was removed, and with the last IPv4 address the routes.
 * It is done here and not in the plan, which does not know what the kernel takes. */
static int put_back(struct run *run, const struct agent_op *op, unsigned ifindex, struct err *e)
{
	const struct agent_tunnel *want = op->want;
	struct ip_prefix beyond = {.len = op->addr->len};
	bool any = false;
	int r = 0;

	/* The subnet of a point-to-point address is that of its other end. */
	if (op->addr_peer)
		beyond.addr = *op->addr_peer;
	for (size_t i = 0; want && i < want->n_addrs && r == 0; i++) {
		struct nl_addr a = {
			.prefix = want->addrs[i], .ifindex = ifindex, .protocol = NL_PROTO_HARMONY};

		if (goes_along(&want->addrs[i], op->addr) ||
		    (op->addr_peer && goes_along(&want->addrs[i], &beyond))) {
			r = nl_addr_add(run->s->route, &a, e);
			any = true;
		}
	}
	for (size_t i = 0; any && i < want->n_routes && r == 0; i++) {
		struct nl_route route = route_of(&want->routes[i], ifindex);

		if (route.dst.addr.family == AF_INET)
			r = nl_route_add(run->s->route, &route, NL_ROUTE_EXCL, e);
		/* Nobody's route went with a link that is down: it has none, and gets them when it
		 * is up. */
		if (r == -EEXIST || r == -ENETDOWN)
			r = 0;
	}
	return r;
}

static int op_addr(struct run *run, const struct agent_op *op, struct err *e)
{
	struct nl_addr a = {.prefix = *op->addr, .protocol = NL_PROTO_HARMONY};
	int r = known_index(run->s, agent_op_ifname(op), &a.ifindex, e);

	if (r < 0)
		return r;
	if (op->addr_peer)
		a.peer = *op->addr_peer;
	if (op->kind == AGENT_OP_ADDR_ADD)
		return nl_addr_add(run->s->route, &a, e);
	r = nl_addr_del(run->s->route, &a, e);
	if (r == 0)
		return put_back(run, op, a.ifindex, e);
	return r == -EADDRNOTAVAIL ? 0 : r;
}

static int op_route(struct run *run, const struct agent_op *op, struct err *e)
{
	struct nl_route route = route_of(op->route, 0);
	int r = known_index(run->s, agent_op_ifname(op), &route.ifindex, e);

	if (r < 0)
		return r;
	if (op->kind == AGENT_OP_ROUTE_ADD) {
		r = nl_route_add(run->s->route, &route, NL_ROUTE_EXCL, e);
		if (r == -EEXIST)
			err_prefix(e,
				   "another program's route stands in the way, and is left alone");
		return r;
	}
	r = nl_route_del(run->s->route, &route, e);
	return r == -ESRCH ? 0 : r;
}

static int op_rule(struct run *run, const struct agent_op *op, struct err *e)
{
	const struct agent_rule *w = op->rule;
	struct nl_rule rule = {.family = w->family,
			       .protocol = NL_PROTO_HARMONY,
			       .invert = w->invert,
			       .priority = w->priority,
			       .fwmark = w->fwmark,
			       .fwmask = w->fwmark ? UINT32_MAX : 0,
			       .table = w->table,
			       .suppress_prefixlen = w->suppress_prefixlen,
			       .dst = w->dst};
	int r;

	if (op->kind == AGENT_OP_RULE_ADD) {
		r = nl_rule_add(run->s->route, &rule, e);
		return r == -EEXIST ? 0 : r;
	}
	r = nl_rule_del(run->s->route, &rule, e);
	return r == -ENOENT ? 0 : r;
}

static int run_one(struct run *run, const struct agent_op *op, struct err *e)
{
	switch (op->kind) {
	case AGENT_OP_CONFLICT: {
		_cleanup_buf_ struct buf b = BUF_INIT(0);

		agent_op_text(op, &b);
		if (op->have->owner == AGENT_OWNER_US)
			return err_set(e, -EOPNOTSUPP, "%s", buf_str(&b));
		return err_set(e, -EEXIST, "%s; rename or remove it, or choose another interface",
			       buf_str(&b));
	}
	case AGENT_OP_SYSCTL: return sys_apply_sysctl(run->s, op, e);
	case AGENT_OP_NFT: return sys_apply_nft(run->s, op, e);
	case AGENT_OP_LINK_DELETE: return op_delete(run, op, e);
	case AGENT_OP_LINK_RELEASE: return op_release(run, op, e);
	case AGENT_OP_LINK_CREATE: return op_create(run, op, e);
	case AGENT_OP_LINK_ADOPT: return op_adopt(run, op, e);
	case AGENT_OP_LINK_MTU:
	case AGENT_OP_LINK_UP: return op_link(run, op, e);
	case AGENT_OP_DEVICE_SET: return op_device(run, op, e);
	case AGENT_OP_ADDR_ADD:
	case AGENT_OP_ADDR_DEL: return op_addr(run, op, e);
	case AGENT_OP_ROUTE_ADD:
	case AGENT_OP_ROUTE_DEL: return op_route(run, op, e);
	case AGENT_OP_RULE_ADD:
	case AGENT_OP_RULE_DEL: return op_rule(run, op, e);
	default: return err_set(e, -EINVAL, "operation %d is not known", op->kind);
	}
}

size_t agent_apply(struct agent_sys *s, const struct agent_plan *p, agent_backend_fn backend,
		   agent_applied_fn done, void *arg)
{
	struct run run = {.s = s, .backend = backend, .done = done, .arg = arg};

	for (size_t i = 0, n; i < p->n; i += n) {
		const struct agent_op *op = &p->ops[i];
		const char *ifname = agent_op_ifname(op), *why = why_failed(&run, ifname);
		struct err e = {0};

		n = 1;
		if (why) {
			err_set(&e, -ECANCELED, "not tried, since before: %.400s", why);
			report(&run, op, -ECANCELED, &e);
			continue;
		}
		if (!is_peer_op(op)) {
			int r = run_one(&run, op, &e);

			report(&run, op, r, &e);
			continue;
		}
		while (i + n < p->n && is_peer_op(&p->ops[i + n]) &&
		       str_eq(agent_op_ifname(&p->ops[i + n]), ifname))
			n++;
		run_peers(&run, op, n);
	}
	free(run.failed);
	return run.not_done;
}
