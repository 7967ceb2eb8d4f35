/* lib/netlink/wgmsg.c: WireGuard's messages, read and written. */
#include "unit.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>
#include <string.h>

#include "base/secret.h"
#include "fault.h"
#include "netlink/netlink_priv.h"

#define FAMILY 30

struct message {
	_Alignas(8) char bytes[32 * 1024];
};

static struct nlmsghdr *begin(struct message *m)
{
	struct genlmsghdr *genl;
	struct nlmsghdr *nlh = nl_request_init(m->bytes, FAMILY, NLM_F_MULTI, sizeof(*genl), &genl);

	genl->cmd = WG_CMD_GET_DEVICE;
	return nlh;
}

static struct key numbered(uint8_t i)
{
	return (struct key){.b = {i, i, i}};
}

static void put_key(struct nlmsghdr *nlh, uint16_t type, uint8_t i)
{
	struct key k = numbered(i);

	mnl_attr_put(nlh, type, KEY_LEN, k.b);
}

static void put_allowed(struct nlmsghdr *nlh, uint16_t family, const void *ip, size_t len,
			uint8_t cidr)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, 0);

	mnl_attr_put_u16(nlh, WGALLOWEDIP_A_FAMILY, family);
	mnl_attr_put(nlh, WGALLOWEDIP_A_IPADDR, len, ip);
	mnl_attr_put_u8(nlh, WGALLOWEDIP_A_CIDR_MASK, cidr);
	mnl_attr_nest_end(nlh, nest);
}

/* A peer with its key, and allowed IPs 10.FROM.0.0/16 to 10.TO-1.0.0/16. */
static void put_peer(struct nlmsghdr *nlh, uint8_t key, uint8_t from, uint8_t to)
{
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);

	put_key(nlh, WGPEER_A_PUBLIC_KEY, key);
	struct nlattr *ips = mnl_attr_nest_start(nlh, WGPEER_A_ALLOWEDIPS);
	for (uint8_t i = from; i < to; i++)
		put_allowed(nlh, AF_INET, (uint8_t[]){10, i, 0, 0}, 4, 16);
	mnl_attr_nest_end(nlh, ips);
	mnl_attr_nest_end(nlh, peer);
}

START_TEST(device_in_full)
{
	static struct message m;
	_cleanup_wgdev_ struct wgdev d = {0};
	struct nlmsghdr *nlh = begin(&m);
	int64_t time[2] = {1700000000, 500};
	struct key private_key = numbered(1), psk = numbered(4);
	struct sockaddr_storage ss;
	struct ip_endpoint ep;
	char text[IP_ENDPOINT_LEN];

	ck_assert_int_eq(ip_endpoint_parse("[fd00::1]:51820", 15, &ep), 0);
	mnl_attr_put_u32(nlh, WGDEVICE_A_IFINDEX, 3);
	mnl_attr_put_strz(nlh, WGDEVICE_A_IFNAME, "wg0");
	put_key(nlh, WGDEVICE_A_PRIVATE_KEY, 1);
	put_key(nlh, WGDEVICE_A_PUBLIC_KEY, 2);
	mnl_attr_put_u16(nlh, WGDEVICE_A_LISTEN_PORT, 51820);
	mnl_attr_put_u32(nlh, WGDEVICE_A_FWMARK, 0xca6c);
	mnl_attr_put_u32(nlh, WGDEVICE_A_MAX + 5, 1); /* of a kernel to come */
	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);
	put_key(nlh, WGPEER_A_PUBLIC_KEY, 3);
	put_key(nlh, WGPEER_A_PRESHARED_KEY, 4);
	mnl_attr_put(nlh, WGPEER_A_ENDPOINT, ip_endpoint_to_sockaddr(&ep, &ss), &ss);
	mnl_attr_put_u16(nlh, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 25);
	mnl_attr_put(nlh, WGPEER_A_LAST_HANDSHAKE_TIME, sizeof(time), time);
	mnl_attr_put_u64(nlh, WGPEER_A_RX_BYTES, UINT64_MAX);
	mnl_attr_put_u64(nlh, WGPEER_A_TX_BYTES, 7);
	mnl_attr_put_u32(nlh, WGPEER_A_MAX + 5, 1);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);

	ck_assert_int_eq(nl_wg_parse(nlh, &d, NULL), 0);
	ck_assert_str_eq(d.ifname, "wg0");
	ck_assert(d.private_key && key_eq(d.private_key, &private_key));
	ck_assert(d.listen_port == 51820 && d.fwmark == 0xca6c && d.n_peers == 1);
	const struct wgdev_peer *p = &d.peers[0];
	ck_assert(p->preshared_key && key_eq(p->preshared_key, &psk));
	ck_assert_str_eq(ip_endpoint_str(&p->endpoint, text), "[fd00::1]:51820");
	ck_assert(p->keepalive == 25 && p->rx_bytes == UINT64_MAX && p->tx_bytes == 7);
	ck_assert(p->last_handshake.ns == time[0] * NS_PER_SEC + 500);
}
END_TEST

/* The kernel's device attributes stand in the first message only; a peer goes on in the next. */
START_TEST(device_over_messages)
{
	static struct message m;
	_cleanup_wgdev_ struct wgdev d = {0};
	static const struct {
		uint8_t key, from, to;
	} parts[][2] = {{{9, 0, 1}, {5, 0, 3}}, {{5, 3, 6}}, {{5, 6, 7}, {1, 7, 9}}};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct nlmsghdr *nlh = begin(&m);

		if (i == 0)
			mnl_attr_put_u16(nlh, WGDEVICE_A_LISTEN_PORT, 51820);
		struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
		for (size_t k = 0; k < 2 && parts[i][k].key; k++)
			put_peer(nlh, parts[i][k].key, parts[i][k].from, parts[i][k].to);
		mnl_attr_nest_end(nlh, peers);
		ck_assert_int_eq(nl_wg_parse(nlh, &d, NULL), 0);
	}
	ck_assert_uint_eq(d.n_peers, 3);
	ck_assert_uint_eq(d.listen_port, 51820);
	ck_assert_int_eq(wgdev_sort(&d), 0);
	ck_assert_uint_eq(d.n_peers, 3);
	ck_assert(d.peers[0].n_allowed == 2 && d.peers[1].n_allowed == 7);
	ck_assert_uint_eq(d.peers[2].n_allowed, 1);
	ck_assert_uint_eq(d.peers[1].allowed[6].addr.b[1], 6);
}
END_TEST

/* Zeros are no preshared key; a family that is not known is no endpoint; nor is a time before
 * the epoch one. */
START_TEST(peer_without)
{
	static struct message m;
	_cleanup_wgdev_ struct wgdev d = {0};
	struct nlmsghdr *nlh = begin(&m);
	int64_t time[2] = {-1, 0};
	struct sockaddr unknown = {.sa_family = AF_PACKET};

	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);
	put_key(nlh, WGPEER_A_PUBLIC_KEY, 3);
	put_key(nlh, WGPEER_A_PRESHARED_KEY, 0);
	mnl_attr_put(nlh, WGPEER_A_ENDPOINT, sizeof(unknown), &unknown);
	mnl_attr_put(nlh, WGPEER_A_LAST_HANDSHAKE_TIME, sizeof(time), time);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);
	ck_assert_int_eq(nl_wg_parse(nlh, &d, NULL), 0);
	ck_assert_uint_eq(d.n_peers, 1);
	ck_assert(!d.peers[0].preshared_key && d.peers[0].endpoint.addr.family == AF_UNSPEC);
	ck_assert(wall_is_never(d.peers[0].last_handshake));
}
END_TEST

static int parse_peer_attr(uint16_t type, size_t len, const void *data)
{
	static struct message m;
	_cleanup_wgdev_ struct wgdev d = {0};
	struct nlmsghdr *nlh = begin(&m);
	struct err e = {0};

	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);
	if (type != WGPEER_A_PUBLIC_KEY)
		put_key(nlh, WGPEER_A_PUBLIC_KEY, 3);
	if (data)
		mnl_attr_put(nlh, type, len, data);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);
	int r = nl_wg_parse(nlh, &d, &e);
	ck_assert_int_eq(e.code, r);
	return r;
}

START_TEST(wrong_sizes)
{
	static const uint8_t bytes[64] = {AF_INET6};
	static const struct {
		uint16_t type;
		size_t len;
	} cases[] = {
		{WGPEER_A_PUBLIC_KEY, 31},
		{WGPEER_A_PRESHARED_KEY, 31},
		{WGPEER_A_ENDPOINT, 1},
		{WGPEER_A_ENDPOINT, sizeof(struct sockaddr_in)},
		{WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 1},
		{WGPEER_A_LAST_HANDSHAKE_TIME, 8},
		{WGPEER_A_RX_BYTES, 4},
		{WGPEER_A_TX_BYTES, 4},
		{WGPEER_A_ALLOWEDIPS, 3},
		{WGPEER_A_ALLOWEDIPS, 10},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_msg(parse_peer_attr(cases[i].type, cases[i].len, bytes) == -EBADMSG,
			      "attribute %u of %zu bytes", cases[i].type, cases[i].len);
	ck_assert_int_eq(parse_peer_attr(WGPEER_A_PUBLIC_KEY, 0, NULL), -EBADMSG);
	ck_assert_int_eq(parse_peer_attr(WGPEER_A_MAX + 1, 3, bytes), 0);
}
END_TEST

START_TEST(wrong_allowed_ips)
{
	static const struct {
		uint16_t family;
		size_t len;
		uint8_t cidr;
		int wanted;
	} cases[] = {
		{AF_INET, 4, 32, 0},          {AF_INET, 4, 33, -EBADMSG},
		{AF_INET6, 16, 128, 0},       {AF_INET6, 16, 129, -EBADMSG},
		{AF_INET, 16, 32, -EBADMSG},  {AF_INET6, 4, 32, -EBADMSG},
		{AF_PACKET, 4, 32, -EBADMSG}, {AF_UNSPEC, 0, 0, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		static struct message m;
		_cleanup_wgdev_ struct wgdev d = {0};
		struct nlmsghdr *nlh = begin(&m);
		uint8_t ip[16] = {10};

		struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
		struct nlattr *peer = mnl_attr_nest_start(nlh, 0);
		put_key(nlh, WGPEER_A_PUBLIC_KEY, 3);
		struct nlattr *ips = mnl_attr_nest_start(nlh, WGPEER_A_ALLOWEDIPS);
		put_allowed(nlh, cases[i].family, ip, cases[i].len, cases[i].cidr);
		mnl_attr_nest_end(nlh, ips);
		mnl_attr_nest_end(nlh, peer);
		mnl_attr_nest_end(nlh, peers);
		ck_assert_int_eq(nl_wg_parse(nlh, &d, NULL), cases[i].wanted);
	}
}
END_TEST

/* Cut anywhere: an error, and nothing read behind the end. */
START_TEST(cut_anywhere)
{
	static struct message m;
	struct nlmsghdr *nlh = begin(&m);

	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	put_peer(nlh, 1, 0, 3);
	mnl_attr_nest_end(nlh, peers);
	for (uint32_t len = nlh->nlmsg_len - 1; len > MNL_NLMSG_HDRLEN + GENL_HDRLEN; len--) {
		_cleanup_wgdev_ struct wgdev d = {0};
		_cleanup_free_ struct nlmsghdr *cut = malloc(len);

		memcpy(cut, nlh, len);
		cut->nlmsg_len = len;
		ck_assert_int_eq(nl_wg_parse(cut, &d, NULL), -EBADMSG);
	}
}
END_TEST

START_TEST(family_messages)
{
	static struct message m;
	struct nlmsghdr *nlh = begin(&m);
	uint16_t family = 0;

	ck_assert_int_eq(nl_genl_family_parse(nlh, &family, NULL), 0);
	nlh->nlmsg_type = GENL_ID_CTRL;
	ck_assert_int_eq(nl_genl_family_parse(nlh, &family, NULL), -EBADMSG);
	mnl_attr_put_u16(nlh, CTRL_ATTR_FAMILY_ID, 31);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, "wireguard");
	ck_assert_int_eq(nl_genl_family_parse(nlh, &family, NULL), 1);
	ck_assert_uint_eq(family, 31);
}
END_TEST

/* ---- writing ----------------------------------------------------------------------------- */

static const uint8_t any_size[32] = {0};

static const struct nlattr *device_attr(const struct message *m, uint16_t type)
{
	static const struct nlattr *tb[WGDEVICE_A_MAX + 1];

	ck_assert_int_eq(nl_attr_table_msg((const struct nlmsghdr *)m->bytes, GENL_HDRLEN, any_size,
					   WGDEVICE_A_MAX, tb, NULL),
			 0);
	return tb[type];
}

/* Attribute `type` of the i-th peer of a message; the peer itself for type 0; NULL: none. */
static const struct nlattr *peer_attr(const struct message *m, unsigned i, uint16_t type)
{
	static const struct nlattr *tb[WGPEER_A_MAX + 1];
	const struct nlattr *peers = device_attr(m, WGDEVICE_A_PEERS), *a;

	if (!peers)
		return NULL;
	mnl_attr_for_each_nested(a, peers)
	{
		if (i--)
			continue;
		ck_assert_int_eq(nl_attr_table_nest(a, any_size, WGPEER_A_MAX, tb, NULL), 0);
		return type ? tb[type] : a;
	}
	return NULL;
}

static uint32_t peer_flags(const struct message *m, unsigned i)
{
	const struct nlattr *a = peer_attr(m, i, WGPEER_A_FLAGS);

	return a ? mnl_attr_get_u32(a) : 0;
}

static bool is_key(const struct nlattr *a, uint8_t i)
{
	struct key k = numbered(i);

	return a && mnl_attr_get_payload_len(a) == KEY_LEN &&
	       memcmp(mnl_attr_get_payload(a), k.b, KEY_LEN) == 0;
}

START_TEST(change_in_full)
{
	static struct message m;
	struct key private_key = numbered(1), psk = numbered(2);
	struct ip_prefix ip = {{AF_INET6, {0xfd}}, 8};
	struct nl_wg_cursor cursor = {0};
	struct wgdev_peer_change peers[] = {
		{.public_key = numbered(3), .remove = true, .replace_allowed = true},
		{.public_key = numbered(4), .set_preshared = true, .preshared_key = &psk},
		{.public_key = numbered(5), .set_preshared = true, .update_only = true},
		{.public_key = numbered(6)},
	};
	struct wgdev_change c = {.set_private_key = true, .private_key = &private_key};

	c.replace_peers = c.set_listen_port = c.set_fwmark = true;
	c.listen_port = 51820;
	peers[1].replace_allowed = true;
	peers[1].allowed = &ip;
	peers[1].n_allowed = 1;
	peers[1].set_keepalive = true;
	peers[1].set_endpoint = true;
	ck_assert_int_eq(ip_endpoint_parse("192.0.2.1:9", 11, &peers[1].endpoint), 0);
	c.peers = peers;
	c.n_peers = ARRAY_LEN(peers);
	ck_assert_int_eq(nl_wg_build(m.bytes, sizeof(m.bytes), FAMILY, "wg0", &c, &cursor), 0);

	const struct genlmsghdr *genl = mnl_nlmsg_get_payload((struct nlmsghdr *)m.bytes);
	ck_assert(genl->cmd == WG_CMD_SET_DEVICE && genl->version == WG_GENL_VERSION);
	ck_assert_str_eq(mnl_attr_get_str(device_attr(&m, WGDEVICE_A_IFNAME)), "wg0");
	ck_assert(is_key(device_attr(&m, WGDEVICE_A_PRIVATE_KEY), 1));
	ck_assert_uint_eq(mnl_attr_get_u16(device_attr(&m, WGDEVICE_A_LISTEN_PORT)), 51820);
	ck_assert_uint_eq(mnl_attr_get_u32(device_attr(&m, WGDEVICE_A_FWMARK)), 0);
	ck_assert_uint_eq(mnl_attr_get_u32(device_attr(&m, WGDEVICE_A_FLAGS)),
			  WGDEVICE_F_REPLACE_PEERS);
	ck_assert(is_key(peer_attr(&m, 0, WGPEER_A_PUBLIC_KEY), 3));
	ck_assert_uint_eq(peer_flags(&m, 0), WGPEER_F_REMOVE_ME);
	ck_assert(!peer_attr(&m, 0, WGPEER_A_ALLOWEDIPS));
	ck_assert_uint_eq(peer_flags(&m, 1), WGPEER_F_REPLACE_ALLOWEDIPS);
	ck_assert(is_key(peer_attr(&m, 1, WGPEER_A_PRESHARED_KEY), 2));
	ck_assert(peer_attr(&m, 1, WGPEER_A_ALLOWEDIPS) && peer_attr(&m, 1, WGPEER_A_ENDPOINT));
	ck_assert(peer_attr(&m, 1, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL));
	ck_assert_uint_eq(peer_flags(&m, 2), WGPEER_F_UPDATE_ONLY);
	ck_assert(is_key(peer_attr(&m, 2, WGPEER_A_PRESHARED_KEY), 0)); /* zeros: removed */
	ck_assert(is_key(peer_attr(&m, 3, WGPEER_A_PUBLIC_KEY), 6));
	/* What is not set is not named. */
	ck_assert(!peer_attr(&m, 3, WGPEER_A_FLAGS) && !peer_attr(&m, 3, WGPEER_A_ENDPOINT));
	ck_assert(!peer_attr(&m, 3, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL));
	ck_assert(!peer_attr(&m, 3, WGPEER_A_PRESHARED_KEY));
	ck_assert(!peer_attr(&m, 4, 0));

	/* Nothing to say: one message, that the device is there. */
	cursor = (struct nl_wg_cursor){0};
	c = (struct wgdev_change){.set_private_key = true};
	ck_assert_int_eq(nl_wg_build(m.bytes, sizeof(m.bytes), FAMILY, "wg0", &c, &cursor), 0);
	ck_assert(is_key(device_attr(&m, WGDEVICE_A_PRIVATE_KEY), 0));
	ck_assert(!device_attr(&m, WGDEVICE_A_PEERS) && !device_attr(&m, WGDEVICE_A_FLAGS));
	cursor = (struct nl_wg_cursor){0};
	ck_assert_int_eq(nl_wg_build(m.bytes, NL_REQUEST_MAX - 1, FAMILY, "wg0", &c, &cursor),
			 -EMSGSIZE);
}
END_TEST

/* Peers that fit a message are not cut in two; what says "replace" is said once. */
START_TEST(change_over_messages)
{
	static struct message m;
	struct ip_prefix ips[200];
	struct wgdev_peer_change peers[6];
	struct wgdev_change c = {.replace_peers = true, .peers = peers, .n_peers = 6};
	struct nl_wg_cursor cursor = {0};
	size_t messages = 0, parts[6] = {0}, sum = 0;
	int more;

	for (size_t i = 0; i < ARRAY_LEN(ips); i++)
		ips[i] = (struct ip_prefix){{AF_INET, {10, (uint8_t)i}}, 16};
	for (uint8_t i = 0; i < 6; i++)
		peers[i] = (struct wgdev_peer_change){.public_key = numbered(i + 1),
						      .replace_allowed = true,
						      .set_keepalive = true,
						      .allowed = ips,
						      .n_allowed = i == 3 ? 200 : 7};
	do {
		more = nl_wg_build(m.bytes, NL_REQUEST_MAX, FAMILY, "wg0", &c, &cursor);
		ck_assert_int_ge(more, 0);
		ck_assert_uint_le(((struct nlmsghdr *)m.bytes)->nlmsg_len, NL_REQUEST_MAX);
		ck_assert_int_eq(device_attr(&m, WGDEVICE_A_FLAGS) != NULL, messages == 0);
		messages++;
		for (unsigned i = 0; peer_attr(&m, i, 0); i++) {
			const struct nlattr *key = peer_attr(&m, i, WGPEER_A_PUBLIC_KEY), *a;
			unsigned at = *(uint8_t *)mnl_attr_get_payload(key) - 1u;

			ck_assert_uint_eq(peer_flags(&m, i), parts[at]
								     ? WGPEER_F_UPDATE_ONLY
								     : WGPEER_F_REPLACE_ALLOWEDIPS);
			ck_assert_int_eq(peer_attr(&m, i, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) !=
						 NULL,
					 parts[at] == 0);
			parts[at]++;
			mnl_attr_for_each_nested(a, peer_attr(&m, i, WGPEER_A_ALLOWEDIPS)) sum++;
		}
	} while (more);
	for (size_t i = 0; i < 6; i++)
		ck_assert_msg(i == 3 ? parts[i] > 3 : parts[i] == 1, "peer %zu: %zu parts", i,
			      parts[i]);
	ck_assert_uint_eq(sum, 5 * 7 + 200);
	ck_assert_uint_ge(messages, 8);
}
END_TEST

static int parse_whole(const struct message *m, struct wgdev *d)
{
	wgdev_clear(d);
	int r = nl_wg_parse((const struct nlmsghdr *)m->bytes, d, NULL);

	return r < 0 ? r : wgdev_sort(d);
}

START_TEST(out_of_memory)
{
	static struct message m;
	_cleanup_wgdev_ struct wgdev d = {0};
	struct key psk = numbered(2);
	struct ip_prefix ip = {{AF_INET, {10}}, 8};
	struct wgdev_peer_change peers[3] = {
		{.public_key = numbered(3), .set_preshared = true, .preshared_key = &psk},
		{.public_key = numbered(4), .allowed = &ip, .n_allowed = 1},
	};
	struct wgdev_change c = {.set_private_key = true, .private_key = &psk, .peers = peers};
	struct nl_wg_cursor cursor = {0};
	int r;

	c.n_peers = 3;
	peers[2].public_key = numbered(5);
	ck_assert_int_eq(nl_wg_build(m.bytes, sizeof(m.bytes), FAMILY, "wg0", &c, &cursor), 0);
	FAULT_LOOP({
		r = parse_whole(&m, &d);
		wgdev_clear(&d);
	})
	{
		ck_assert_int_eq(r, -ENOMEM);
	}
	ck_assert_int_eq(r, 0);
}
END_TEST

/* Two peers in two parts each: that the second merge succeeds does not hide that the first failed.
 */
static int merge_and_sort(struct wgdev *d)
{
	static const uint8_t keys[] = {5, 5, 1, 1};
	int r = 0;

	for (unsigned i = 0; r == 0 && i < ARRAY_LEN(keys); i++) {
		struct wgdev_peer *p = wgdev_add_peer(d, &(struct key){{keys[i]}});

		if (!p)
			return -ENOMEM;
		for (unsigned k = 0; r == 0 && k < 4; k++)
			r = wgdev_peer_add_allowed(
				p, (struct ip_prefix){{AF_INET, {10, (uint8_t)(4 * i + k)}}, 16});
	}
	return r < 0 ? r : wgdev_sort(d);
}

START_TEST(merge_without_memory)
{
	struct wgdev d = {0};
	size_t n = 0;
	int r;

	FAULT_LOOP({
		r = merge_and_sort(&d);
		if (r == 0)
			n = d.peers[0].n_allowed + d.peers[d.n_peers - 1].n_allowed;
		wgdev_clear(&d);
	})
	{
		ck_assert_int_eq(r, -ENOMEM);
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(n, 16);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("netlink_wg", device_in_full, device_over_messages, peer_without,
			  wrong_sizes, wrong_allowed_ips, cut_anywhere, family_messages,
			  change_in_full, change_over_messages, out_of_memory,
			  merge_without_memory);
}

UNIT_MAIN(suite)
