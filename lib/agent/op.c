/*
 * An operation as text (the audit line, the dry run), as a name, and as a change to a device.
 */
#include "agent/plan.h"
#include "base/str.h"

#include <string.h>

static const char *const names[AGENT_OP_KINDS] = {
	[AGENT_OP_CONFLICT] = "conflict",
	[AGENT_OP_SYSCTL] = "sysctl",
	[AGENT_OP_NFT] = "nft",
	[AGENT_OP_RULE_DEL] = "rule_del",
	[AGENT_OP_ROUTE_DEL] = "route_del",
	[AGENT_OP_LINK_DELETE] = "link_delete",
	[AGENT_OP_LINK_RELEASE] = "link_release",
	[AGENT_OP_LINK_CREATE] = "link_create",
	[AGENT_OP_LINK_ADOPT] = "link_adopt",
	[AGENT_OP_LINK_MTU] = "link_mtu",
	[AGENT_OP_DEVICE_SET] = "device_set",
	[AGENT_OP_PEER_ADD] = "peer_add",
	[AGENT_OP_PEER_CHANGE] = "peer_change",
	[AGENT_OP_PEER_SHRINK] = "peer_shrink",
	[AGENT_OP_PEER_REMOVE] = "peer_remove",
	[AGENT_OP_ADDR_ADD] = "addr_add",
	[AGENT_OP_ADDR_DEL] = "addr_del",
	[AGENT_OP_LINK_UP] = "link_up",
	[AGENT_OP_ROUTE_ADD] = "route_add",
	[AGENT_OP_RULE_ADD] = "rule_add",
};

const char *agent_op_name(enum agent_op_kind kind)
{
	return names[kind];
}

const char *agent_op_ifname(const struct agent_op *op)
{
	return op->want ? op->want->ifname : op->have ? op->have->ifname : NULL;
}

bool agent_op_is_own(const struct agent_op *op)
{
	const struct agent_peer_policy *policy;

	if (op->kind == AGENT_OP_LINK_MTU)
		return op->have && op->want->mtu_new;
	if (op->kind == AGENT_OP_SYSCTL)
		return op->sysctl->first;
	if (op->kind != AGENT_OP_PEER_CHANGE || !op->set_endpoint || op->set_preshared ||
	    op->n_added || op->peer->keepalive != op->peer_was->keepalive || !op->want->policy)
		return false;
	policy = &op->want->policy[op->peer - op->want->wg.peers];
	return policy->assert_endpoint || policy->endpoint_new;
}

static void text_list(struct buf *b, const struct ip_prefix *list, size_t n)
{
	char t[IP_PREFIX_LEN];

	for (size_t i = 0; i < n && i < 8; i++)
		buf_addf(b, "%s%s", i ? ", " : " ", ip_prefix_str(&list[i], t));
	if (n > 8)
		buf_addf(b, " and %zu more", n - 8);
}

static void text_peer_name(struct buf *b, const struct agent_op *op)
{
	char k[KEY_BASE64];
	const struct wgdev_peer *p = op->peer ? op->peer : op->peer_was;

	key_to_base64(&p->public_key, k);
	if (op->peer_name)
		buf_addf(b, "peer %s (%s)", op->peer_name, k);
	else
		buf_addf(b, "peer %s", k);
}

static void text_device(struct buf *b, const struct agent_op *op)
{
	const struct wgdev *w = &op->want->wg, *h = op->have ? &op->have->wg : NULL;
	const char *sep = "";

	if (agent_key_differs(w, h)) {
		char now[KEY_BASE64], was[KEY_BASE64];

		buf_addf(b, "private key of %s", key_to_base64(&w->public_key, now));
		if (h && !key_is_zero(&h->public_key))
			buf_addf(b, " (was of %s)", key_to_base64(&h->public_key, was));
		sep = ", ";
	}
	if (w->listen_port && (!h || h->listen_port != w->listen_port)) {
		buf_addf(b, "%slisten port %u -> %u", sep, h ? h->listen_port : 0, w->listen_port);
		sep = ", ";
	}
	if (w->fwmark != (h ? h->fwmark : 0))
		buf_addf(b, "%sfwmark %u -> %u", sep, h ? h->fwmark : 0, w->fwmark);
}

static void text_peer(struct buf *b, const struct agent_op *op)
{
	const struct wgdev_peer *w = op->peer, *h = op->peer_was;
	char e1[IP_ENDPOINT_LEN], e2[IP_ENDPOINT_LEN];

	text_peer_name(b, op);
	switch (op->kind) {
	case AGENT_OP_PEER_REMOVE: buf_adds(b, " removed"); return;
	case AGENT_OP_PEER_SHRINK:
		buf_addf(b, " loses %zu allowed IPs, keeps", op->n_removed);
		text_list(b, w->allowed, w->n_allowed);
		return;
	case AGENT_OP_PEER_ADD: buf_adds(b, " added:"); break;
	default: buf_adds(b, ":"); break;
	}
	if (op->set_endpoint && h)
		buf_addf(b, " endpoint %s -> %s;", ip_endpoint_str(&h->endpoint, e1),
			 ip_endpoint_str(&w->endpoint, e2));
	else if (op->set_endpoint)
		buf_addf(b, " endpoint %s;", ip_endpoint_str(&w->endpoint, e2));
	if (w->keepalive != (h ? h->keepalive : 0))
		buf_addf(b, " keepalive %us -> %us;", h ? h->keepalive : 0, w->keepalive);
	if (op->set_preshared)
		buf_addf(b, " preshared key %s;",
			 !w->preshared_key       ? "cleared"
			 : h && h->preshared_key ? "changed"
						 : "set");
	if (op->n_added) {
		buf_adds(b, " allowed IPs +");
		text_list(b, op->added, op->n_added);
	}
	if (b->len && (b->data[b->len - 1] == ';' || b->data[b->len - 1] == ':'))
		b->data[--b->len] = '\0';
}

static void text_rule(struct buf *b, const struct agent_op *op)
{
	const struct agent_rule *r = op->rule;

	buf_addf(b, "rule %s%s priority %u",
		 op->kind == AGENT_OP_RULE_ADD ? "added: " : "removed: ",
		 r->family == AF_INET ? "IPv4" : "IPv6", r->priority);
	if (r->dst.addr.family) {
		char text[IP_PREFIX_LEN];

		buf_addf(b, " to %s", ip_prefix_str(&r->dst, text));
	}
	if (r->fwmark)
		buf_addf(b, " %sfwmark 0x%x", r->invert ? "not " : "", r->fwmark);
	buf_addf(b, " table %u", r->table);
	if (r->suppress_prefixlen >= 0)
		buf_addf(b, " suppress_prefixlength %d", r->suppress_prefixlen);
}

static void text_nft(struct buf *b, const struct agent_op *op)
{
	buf_adds(b, "nftables: table inet harmony ");
	if (op->n_nft == 0) {
		buf_adds(b, "removed");
		return;
	}
	buf_adds(b, "replaced:");
	for (size_t i = 0; i < op->n_nft; i++) {
		const struct agent_nft *n = &op->nft[i];

		buf_addf(b, "%s %s%s%s%s%s", i ? ";" : "", n->ifname,
			 n->masquerade ? " masquerade" : "", n->forward ? " forward" : "",
			 n->mss_clamp ? " mss-clamp" : "", n->n_closed ? " guard" : "");
		if (n->fwmark)
			buf_addf(b, " mark 0x%x", n->fwmark);
	}
}

static void text_addr(struct buf *b, const struct agent_op *op)
{
	char t[IP_PREFIX_LEN], peer[IP_ADDR_LEN];

	buf_addf(b, "address %s", ip_prefix_str(op->addr, t));
	if (op->addr_peer)
		buf_addf(b, " peer %s", ip_addr_str(op->addr_peer, peer));
	buf_adds(b, op->kind == AGENT_OP_ADDR_ADD ? " added" : " removed");
}

static void text_route(struct buf *b, const struct agent_op *op)
{
	char t[IP_PREFIX_LEN];

	buf_addf(b, "route %s %s", ip_prefix_str(&op->route->dst, t),
		 op->kind == AGENT_OP_ROUTE_ADD ? "added" : "removed");
	if (op->route->table != 254)
		buf_addf(b, ", table %u", op->route->table);
	if (op->route->metric)
		buf_addf(b, ", metric %u", op->route->metric);
}

static const char *made_name(const struct agent_tunnel *want)
{
	return want->made == AGENT_MADE_KERNEL ? "kernel" : "userspace";
}

static void text_conflict(struct buf *b, const struct agent_op *op)
{
	const struct agent_tunnel *have = op->have;

	if (have->owner != AGENT_OWNER_US)
		buf_addf(b,
			 "name already in use by something else (a %s interface%s%s that carries "
			 "no mark of the agent)",
			 have->link_kind[0] ? have->link_kind : "physical",
			 have->alias[0] ? ", alias " : "", have->alias);
	else if (have->adopted)
		buf_addf(b,
			 "the %s interface that was adopted stays: backend \"%s\" would take the "
			 "place of what another program has made",
			 have->link_kind, made_name(op->want));
	else
		buf_addf(b, "the %s interface stays: %s", have->link_kind, op->want->problem);
}

void agent_op_text(const struct agent_op *op, struct buf *b)
{
	const char *ifname = agent_op_ifname(op);

	if (ifname)
		buf_addf(b, "%s: ", ifname);
	switch (op->kind) {
	case AGENT_OP_CONFLICT: text_conflict(b, op); break;
	case AGENT_OP_SYSCTL:
		buf_addf(b, "sysctl %s: %s -> %s", op->sysctl->key,
			 op->was ? op->was : "unreadable", op->sysctl->value);
		break;
	case AGENT_OP_NFT: text_nft(b, op); break;
	case AGENT_OP_RULE_DEL:
	case AGENT_OP_RULE_ADD: text_rule(b, op); break;
	case AGENT_OP_ROUTE_DEL:
	case AGENT_OP_ROUTE_ADD: text_route(b, op); break;
	case AGENT_OP_LINK_DELETE:
		buf_adds(b, "interface removed");
		if (op->want)
			buf_addf(b, ", a %s one, for backend \"%s\"", op->have->link_kind,
				 made_name(op->want));
		break;
	case AGENT_OP_LINK_RELEASE: buf_adds(b, "adopted interface released"); break;
	case AGENT_OP_LINK_CREATE: buf_adds(b, "interface created"); break;
	case AGENT_OP_LINK_ADOPT: buf_adds(b, "existing interface adopted"); break;
	case AGENT_OP_LINK_MTU:
		buf_addf(b, "mtu %u -> %u", op->have ? op->have->mtu : 0, op->want->mtu);
		break;
	case AGENT_OP_LINK_UP: buf_adds(b, "interface up"); break;
	case AGENT_OP_DEVICE_SET: text_device(b, op); break;
	case AGENT_OP_PEER_ADD:
	case AGENT_OP_PEER_CHANGE:
	case AGENT_OP_PEER_SHRINK:
	case AGENT_OP_PEER_REMOVE: text_peer(b, op); break;
	case AGENT_OP_ADDR_ADD:
	case AGENT_OP_ADDR_DEL: text_addr(b, op); break;
	case AGENT_OP_KINDS: break;
	}
}

void agent_op_peer_change(const struct agent_op *op, struct wgdev_peer_change *ret)
{
	const struct wgdev_peer *w = op->peer, *h = op->peer_was;
	struct wgdev_peer_change c = {.public_key = (w ? w : h)->public_key};

	switch (op->kind) {
	case AGENT_OP_PEER_REMOVE: c.remove = true; break;
	case AGENT_OP_PEER_SHRINK:
		c.update_only = true;
		c.replace_allowed = true;
		c.allowed = w->allowed;
		c.n_allowed = w->n_allowed;
		break;
	default:
		/* A peer that has gone since it was observed is created again whole by the next
		 * plan, not half by this one. */
		c.update_only = h != NULL;
		c.replace_allowed = h == NULL;
		c.set_preshared =
			h ? w->preshared_key || h->preshared_key : w->preshared_key != NULL;
		c.preshared_key = w->preshared_key;
		c.set_endpoint = op->set_endpoint;
		c.endpoint = w->endpoint;
		c.set_keepalive = w->keepalive != (h ? h->keepalive : 0);
		c.keepalive = w->keepalive;
		c.allowed = op->added;
		c.n_allowed = op->n_added;
	}
	*ret = c;
}
