/*
 * WireGuard's messages, read and written; pure.
 *
 *     nlmsghdr | genlmsghdr | device attributes | WGDEVICE_A_PEERS
 *                                                 `- [0] peer attributes | WGPEER_A_ALLOWEDIPS
 *                                                    [0] …                 `- [0] family, address,
 *                                                    [0] …                        length
 *                                                                             [0] …
 *
 * A device is larger than a message. Reading: the device's own attributes stand in the first
 * message only; a peer whose allowed IPs do not fit is the last of its message and the first of
 * the next, there with its key and further allowed IPs alone. Writing: the same, and what says
 * "replace" is written only the first time, or it would undo the part before.
 */
#include "base/secret.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------- */

/* After the last element of a nest: whether all of it was read. */
static int nest_end(const struct nlattr *nest, const struct nlattr *at, struct err *e)
{
	const char *end = (const char *)mnl_attr_get_payload(nest) + mnl_attr_get_payload_len(nest);

	return (const char *)at < end ? err_set(e, -EBADMSG, "netlink attribute cut off") : 0;
}

/* A key of zeros stands for none. */
static int parse_secret(const struct nlattr *a, struct key **slot, struct err *e)
{
	struct key *k = secret_new();

	if (!k)
		return err_sys(e, -ENOMEM, "no memory for a key");
	memcpy(k->b, mnl_attr_get_payload(a), KEY_LEN);
	if (key_is_zero(k)) {
		secret_free(k);
		k = NULL;
	}
	secret_free(*slot);
	*slot = k;
	return 0;
}

static int parse_allowed_ip(const struct nlattr *nest, struct wgdev_peer *peer, struct err *e)
{
	static const uint8_t min_len[WGALLOWEDIP_A_MAX + 1] = {
		[WGALLOWEDIP_A_FAMILY] = 2,
		[WGALLOWEDIP_A_CIDR_MASK] = 1,
	};
	const struct nlattr *tb[WGALLOWEDIP_A_MAX + 1];
	struct ip_prefix prefix;
	int r = nl_attr_table_nest(nest, min_len, WGALLOWEDIP_A_MAX, tb, e);

	if (r < 0)
		return r;
	if (!tb[WGALLOWEDIP_A_FAMILY] || !tb[WGALLOWEDIP_A_IPADDR] || !tb[WGALLOWEDIP_A_CIDR_MASK])
		return err_set(e, -EBADMSG, "allowed IP without family, address or length");
	r = nl_attr_ip(tb[WGALLOWEDIP_A_IPADDR], mnl_attr_get_u16(tb[WGALLOWEDIP_A_FAMILY]),
		       &prefix.addr, e);
	if (r < 0)
		return r;
	prefix.len = mnl_attr_get_u8(tb[WGALLOWEDIP_A_CIDR_MASK]);
	if (prefix.len > ip_bits(prefix.addr.family))
		return err_set(e, -EBADMSG, "allowed IP with length %u", prefix.len);
	if ((r = wgdev_peer_add_allowed(peer, prefix)) < 0)
		return err_sys(e, r, "cannot list allowed IPs");
	return 0;
}

static int parse_allowed_ips(const struct nlattr *nest, struct wgdev_peer *peer, struct err *e)
{
	const struct nlattr *a;
	int r;

	mnl_attr_for_each_nested(a, nest) if ((r = parse_allowed_ip(a, peer, e)) < 0) return r;
	return nest_end(nest, a, e);
}

/* An endpoint of a family unknown here reads as none. */
static int parse_endpoint(const struct nlattr *a, struct ip_endpoint *ret, struct err *e)
{
	struct sockaddr_storage ss = {0};
	size_t len = mnl_attr_get_payload_len(a);

	if (len > sizeof(ss))
		len = sizeof(ss);
	memcpy(&ss, mnl_attr_get_payload(a), len);
	if (ss.ss_family != AF_INET && ss.ss_family != AF_INET6)
		return 0;
	if (ip_endpoint_from_sockaddr((struct sockaddr *)&ss, (socklen_t)len, ret) < 0)
		return err_set(e, -EBADMSG, "endpoint of %zu bytes in family %u", len,
			       ss.ss_family);
	return 0;
}

/* struct __kernel_timespec: two 64-bit numbers. */
static struct wall parse_time(const struct nlattr *a)
{
	int64_t t[2];

	memcpy(t, mnl_attr_get_payload(a), sizeof(t));
	if (t[0] <= 0 || t[0] > INT64_MAX / NS_PER_SEC - 1 || t[1] < 0 || t[1] >= NS_PER_SEC)
		return (struct wall){0};
	return (struct wall){t[0] * NS_PER_SEC + t[1]};
}

static int parse_peer_fields(const struct nlattr *const *tb, struct wgdev_peer *p, struct err *e)
{
	int r;

	if (tb[WGPEER_A_PRESHARED_KEY] &&
	    (r = parse_secret(tb[WGPEER_A_PRESHARED_KEY], &p->preshared_key, e)) < 0)
		return r;
	if (tb[WGPEER_A_ENDPOINT] &&
	    (r = parse_endpoint(tb[WGPEER_A_ENDPOINT], &p->endpoint, e)) < 0)
		return r;
	if (tb[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL])
		p->keepalive = mnl_attr_get_u16(tb[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]);
	if (tb[WGPEER_A_RX_BYTES])
		p->rx_bytes = mnl_attr_get_u64(tb[WGPEER_A_RX_BYTES]);
	if (tb[WGPEER_A_TX_BYTES])
		p->tx_bytes = mnl_attr_get_u64(tb[WGPEER_A_TX_BYTES]);
	if (tb[WGPEER_A_LAST_HANDSHAKE_TIME])
		p->last_handshake = parse_time(tb[WGPEER_A_LAST_HANDSHAKE_TIME]);
	return 0;
}

static int parse_peer(const struct nlattr *nest, struct wgdev *dev, struct err *e)
{
	static const uint8_t min_len[WGPEER_A_MAX + 1] = {
		[WGPEER_A_PUBLIC_KEY] = KEY_LEN,
		[WGPEER_A_PRESHARED_KEY] = KEY_LEN,
		[WGPEER_A_ENDPOINT] = sizeof(sa_family_t),
		[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL] = 2,
		[WGPEER_A_LAST_HANDSHAKE_TIME] = 16,
		[WGPEER_A_RX_BYTES] = 8,
		[WGPEER_A_TX_BYTES] = 8,
	};
	const struct nlattr *tb[WGPEER_A_MAX + 1];
	struct wgdev_peer *p = dev->n_peers ? &dev->peers[dev->n_peers - 1] : NULL;
	struct key public_key;
	int r = nl_attr_table_nest(nest, min_len, WGPEER_A_MAX, tb, e);

	if (r < 0)
		return r;
	if (!tb[WGPEER_A_PUBLIC_KEY])
		return err_set(e, -EBADMSG, "peer without public key");
	memcpy(public_key.b, mnl_attr_get_payload(tb[WGPEER_A_PUBLIC_KEY]), KEY_LEN);
	if (!p || !key_eq(&p->public_key, &public_key)) {
		if (!(p = wgdev_add_peer(dev, &public_key)))
			return err_sys(e, -ENOMEM, "cannot list peers");
		if ((r = parse_peer_fields(tb, p, e)) < 0)
			return r;
	}
	return tb[WGPEER_A_ALLOWEDIPS] ? parse_allowed_ips(tb[WGPEER_A_ALLOWEDIPS], p, e) : 0;
}

int nl_wg_parse(const struct nlmsghdr *nlh, struct wgdev *dev, struct err *e)
{
	static const uint8_t min_len[WGDEVICE_A_MAX + 1] = {
		[WGDEVICE_A_PRIVATE_KEY] = KEY_LEN,
		[WGDEVICE_A_PUBLIC_KEY] = KEY_LEN,
		[WGDEVICE_A_LISTEN_PORT] = 2,
		[WGDEVICE_A_FWMARK] = 4,
	};
	const struct nlattr *tb[WGDEVICE_A_MAX + 1], *a;
	int r = nl_attr_table_msg(nlh, GENL_HDRLEN, min_len, WGDEVICE_A_MAX, tb, e);

	if (r < 0)
		return r;
	if (tb[WGDEVICE_A_IFNAME])
		nl_attr_text(tb[WGDEVICE_A_IFNAME], dev->ifname, sizeof(dev->ifname));
	if (tb[WGDEVICE_A_PRIVATE_KEY] &&
	    (r = parse_secret(tb[WGDEVICE_A_PRIVATE_KEY], &dev->private_key, e)) < 0)
		return r;
	if (tb[WGDEVICE_A_PUBLIC_KEY])
		memcpy(dev->public_key.b, mnl_attr_get_payload(tb[WGDEVICE_A_PUBLIC_KEY]), KEY_LEN);
	if (tb[WGDEVICE_A_LISTEN_PORT])
		dev->listen_port = mnl_attr_get_u16(tb[WGDEVICE_A_LISTEN_PORT]);
	if (tb[WGDEVICE_A_FWMARK])
		dev->fwmark = mnl_attr_get_u32(tb[WGDEVICE_A_FWMARK]);
	if (!tb[WGDEVICE_A_PEERS])
		return 0;
	mnl_attr_for_each_nested(a, tb[WGDEVICE_A_PEERS]) if ((r = parse_peer(a, dev, e)) <
							      0) return r;
	return nest_end(tb[WGDEVICE_A_PEERS], a, e);
}

int nl_genl_family_parse(const struct nlmsghdr *nlh, uint16_t *ret, struct err *e)
{
	static const uint8_t min_len[CTRL_ATTR_MAX + 1] = {[CTRL_ATTR_FAMILY_ID] = 2};
	const struct nlattr *tb[CTRL_ATTR_MAX + 1];
	int r;

	if (nlh->nlmsg_type != GENL_ID_CTRL)
		return 0;
	if ((r = nl_attr_table_msg(nlh, GENL_HDRLEN, min_len, CTRL_ATTR_MAX, tb, e)) < 0)
		return r;
	if (!tb[CTRL_ATTR_FAMILY_ID])
		return err_set(e, -EBADMSG, "generic netlink family without number");
	*ret = mnl_attr_get_u16(tb[CTRL_ATTR_FAMILY_ID]);
	return 1;
}

/* ---- writing ----------------------------------------------------------------------------- */

static const struct key no_key;

static bool put_key(struct nlmsghdr *nlh, size_t size, uint16_t type, const struct key *k)
{
	return mnl_attr_put_check(nlh, size, type, KEY_LEN, (k ? k : &no_key)->b);
}

static bool put_device(struct nlmsghdr *nlh, size_t size, const struct wgdev_change *c)
{
	return (!c->replace_peers ||
		mnl_attr_put_u32_check(nlh, size, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS)) &&
	       (!c->set_private_key ||
		put_key(nlh, size, WGDEVICE_A_PRIVATE_KEY, c->private_key)) &&
	       (!c->set_listen_port ||
		mnl_attr_put_u16_check(nlh, size, WGDEVICE_A_LISTEN_PORT, c->listen_port)) &&
	       (!c->set_fwmark || mnl_attr_put_u32_check(nlh, size, WGDEVICE_A_FWMARK, c->fwmark));
}

/* The peer's flags. A part after the first must not create the peer anew, should somebody have
 * removed it in between. */
static uint32_t peer_flags(const struct wgdev_peer_change *p, bool first)
{
	if (p->remove)
		return WGPEER_F_REMOVE_ME;
	if (!first)
		return WGPEER_F_UPDATE_ONLY;
	return (p->update_only ? WGPEER_F_UPDATE_ONLY : 0) |
	       (p->replace_allowed ? WGPEER_F_REPLACE_ALLOWEDIPS : 0);
}

static bool put_peer_fields(struct nlmsghdr *nlh, size_t size, const struct wgdev_peer_change *p)
{
	struct sockaddr_storage ss;
	socklen_t len = p->set_endpoint ? ip_endpoint_to_sockaddr(&p->endpoint, &ss) : 0;

	return (!p->set_preshared ||
		put_key(nlh, size, WGPEER_A_PRESHARED_KEY, p->preshared_key)) &&
	       (len == 0 || mnl_attr_put_check(nlh, size, WGPEER_A_ENDPOINT, len, &ss)) &&
	       (!p->set_keepalive ||
		mnl_attr_put_u16_check(nlh, size, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
				       p->keepalive));
}

static bool put_allowed_ip(struct nlmsghdr *nlh, size_t size, const struct ip_prefix *p)
{
	struct nlattr *nest = mnl_attr_nest_start_check(nlh, size, 0);

	if (!nest)
		return false;
	if (!mnl_attr_put_u16_check(nlh, size, WGALLOWEDIP_A_FAMILY, p->addr.family) ||
	    !mnl_attr_put_check(nlh, size, WGALLOWEDIP_A_IPADDR, ip_bytes(p->addr.family),
				p->addr.b) ||
	    !mnl_attr_put_u8_check(nlh, size, WGALLOWEDIP_A_CIDR_MASK, p->len)) {
		mnl_attr_nest_cancel(nlh, nest);
		return false;
	}
	mnl_attr_nest_end(nlh, nest);
	return true;
}

/* Writes the peer at *at, from its allowed IP number *at on, as far as there is room. 1: all of
 * it; 0: a part; -EMSGSIZE: nothing. */
static int put_peer(struct nlmsghdr *nlh, size_t size, const struct wgdev_peer_change *p,
		    size_t *at)
{
	struct nlattr *nest = mnl_attr_nest_start_check(nlh, size, 0), *ips;
	uint32_t flags = peer_flags(p, *at == 0);
	size_t start = *at;

	if (!nest)
		return -EMSGSIZE;
	if (!put_key(nlh, size, WGPEER_A_PUBLIC_KEY, &p->public_key) ||
	    (flags && !mnl_attr_put_u32_check(nlh, size, WGPEER_A_FLAGS, flags)))
		goto no_room;
	if (!p->remove) {
		if (start == 0 && !put_peer_fields(nlh, size, p))
			goto no_room;
		if (p->n_allowed) {
			if (!(ips = mnl_attr_nest_start_check(nlh, size, WGPEER_A_ALLOWEDIPS)))
				goto no_room;
			while (*at < p->n_allowed && put_allowed_ip(nlh, size, &p->allowed[*at]))
				++*at;
			mnl_attr_nest_end(nlh, ips);
			if (*at == start)
				goto no_room;
		}
	}
	mnl_attr_nest_end(nlh, nest);
	return p->remove || *at == p->n_allowed;
no_room:
	mnl_attr_nest_cancel(nlh, nest);
	return -EMSGSIZE;
}

/* Peers from the cursor on. One is cut in two only where it does not fit a message of its own,
 * so that the kernel applies it as a whole. */
static int put_peers(struct nlmsghdr *nlh, size_t size, const struct wgdev_change *change,
		     struct nl_wg_cursor *cursor)
{
	bool first = true;

	while (cursor->peer < change->n_peers) {
		uint32_t before = nlh->nlmsg_len;
		size_t at = cursor->allowed;
		int whole = put_peer(nlh, size, &change->peers[cursor->peer], &at);

		if (whole < 0 && first)
			return -EMSGSIZE;
		if (whole <= 0 && !first) {
			nlh->nlmsg_len = before;
			return 1;
		}
		if (whole == 0) {
			cursor->allowed = at;
			return 1;
		}
		cursor->peer++;
		cursor->allowed = 0;
		first = false;
	}
	return 0;
}

int nl_wg_build(void *buf, size_t size, uint16_t family, const char *ifname,
		const struct wgdev_change *change, struct nl_wg_cursor *cursor)
{
	struct nl_wg_cursor next = *cursor;
	struct genlmsghdr *genl;
	struct nlmsghdr *nlh;
	int more = 0;

	if (size < NL_REQUEST_MAX)
		return -EMSGSIZE;
	nlh = nl_request_init(buf, family, 0, sizeof(*genl), &genl);
	genl->cmd = WG_CMD_SET_DEVICE;
	genl->version = WG_GENL_VERSION;
	if (!mnl_attr_put_strz_check(nlh, size, WGDEVICE_A_IFNAME, ifname) ||
	    (!cursor->begun && !put_device(nlh, size, change)))
		return -EMSGSIZE;
	next.begun = true;
	if (next.peer < change->n_peers) {
		struct nlattr *peers = mnl_attr_nest_start_check(nlh, size, WGDEVICE_A_PEERS);

		if (!peers || (more = put_peers(nlh, size, change, &next)) < 0)
			return -EMSGSIZE;
		mnl_attr_nest_end(nlh, peers);
	}
	*cursor = next;
	return more;
}
