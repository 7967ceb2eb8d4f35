/*
 * From wanted tunnels to messages of nf_tables. Pure: bytes in a buffer.
 *
 * An nf_tables rule is a list of expressions that work on registers; a comparison that fails ends
 * the rule. Register 1 is all we need:
 *
 *     meta load oifname => reg 1       cmp eq reg 1 "wg0"       counter      masq
 *
 * What is listed by `nft --debug=netlink` for the rules in nft.h is what stands here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/str.h"
#include "netlink/nft_priv.h"

/* The largest message, a clamp rule, is below 900 bytes. libnftnl does not look. */
#define MESSAGE_MAX 4096

#define TCP_FLAGS_OFFSET 13
#define IPV4_DADDR       16 /* offsetof, in the header of RFC 791, section 3.1 */
#define IPV6_DADDR       24 /* RFC 8200, section 3 */

enum chain {
	CHAIN_MSS,
	CHAIN_FORWARD,
	CHAIN_POSTROUTING,
	CHAIN_MARK_SAVE,
	CHAIN_MARK_RESTORE,
	CHAIN_ANSWER,
	CHAIN_GUARD,
	CHAIN_CLOSED,
	CHAINS
};

static const struct {
	const char *name, *type;
	uint32_t hook;
	int32_t priority;
} chains[CHAINS] = {
	[CHAIN_MSS] = {"mss_clamp", "filter", NF_INET_FORWARD, NF_IP_PRI_MANGLE},
	[CHAIN_FORWARD] = {"forward", "filter", NF_INET_FORWARD, NF_IP_PRI_FILTER},
	[CHAIN_POSTROUTING] = {"postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC},
	[CHAIN_MARK_SAVE] = {"mark_save", "filter", NF_INET_POST_ROUTING, NF_IP_PRI_MANGLE},
	[CHAIN_MARK_RESTORE] = {"mark_restore", "filter", NF_INET_PRE_ROUTING, NF_IP_PRI_MANGLE},
	[CHAIN_ANSWER] = {"answer", "route", NF_INET_LOCAL_OUT, NF_IP_PRI_MANGLE},
	[CHAIN_GUARD] = {"guard", "filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW},
	[CHAIN_CLOSED] = {"closed", "filter", NF_INET_POST_ROUTING, NF_IP_PRI_FILTER},
};

static const struct {
	const char *name;
	enum chain chain;
} kinds[NFT_KINDS] = {
	[NFT_MSS_OUT] = {"mss-out", CHAIN_MSS},
	[NFT_MSS_IN] = {"mss-in", CHAIN_MSS},
	[NFT_FORWARD_OUT] = {"forward-out", CHAIN_FORWARD},
	[NFT_FORWARD_IN] = {"forward-in", CHAIN_FORWARD},
	[NFT_RELAY] = {"relay", CHAIN_POSTROUTING},
	[NFT_MASQUERADE] = {"masquerade", CHAIN_POSTROUTING},
	[NFT_MARK_SAVE] = {"mark-save", CHAIN_MARK_SAVE},
	[NFT_ANSWER_SAVE] = {"answer-save", CHAIN_MARK_RESTORE},
	[NFT_MARK_RESTORE] = {"mark-restore", CHAIN_MARK_RESTORE},
	[NFT_ANSWER] = {"answer", CHAIN_ANSWER},
	[NFT_GUARD] = {"guard", CHAIN_GUARD},
	[NFT_CLOSED_LOCAL] = {"closed-local", CHAIN_CLOSED},
	[NFT_CLOSED_DEVICE] = {"closed-device", CHAIN_CLOSED},
	[NFT_CLOSED_REPLY] = {"closed-reply", CHAIN_CLOSED},
	[NFT_CLOSED_ND] = {"closed-nd", CHAIN_CLOSED},
	[NFT_CLOSED_SPARED] = {"closed-spared", CHAIN_CLOSED},
	[NFT_CLOSED_PASS] = {"closed-pass", CHAIN_CLOSED},
	[NFT_CLOSED_DROP] = {"closed-drop", CHAIN_CLOSED},
};

const char *nft_kind_name(enum nft_kind kind)
{
	return kinds[kind].name;
}

bool nft_comment_parse(const char *comment, char ret_ifname[static IFNAMSIZ],
		       enum nft_kind *ret_kind)
{
	const char *space = strrchr(comment, ' ');
	char name[IFNAMSIZ] = "";

	if (!space || space == comment || (size_t)(space - comment) >= IFNAMSIZ)
		return false;
	memcpy(name, comment, (size_t)(space - comment));
	for (enum nft_kind k = 0; k < NFT_KINDS; k++)
		if (str_eq(kinds[k].name, space + 1)) {
			memcpy(ret_ifname, name, sizeof(name));
			*ret_kind = k;
			return true;
		}
	return false;
}

static bool has_ipv6(const struct nft_tunnel *t)
{
	for (size_t i = 0; i < t->n_closed; i++)
		if (t->closed[i].addr.family == AF_INET6)
			return true;
	return false;
}

/* How many rules of a kind the tunnel has; NFT_CLOSED_PASS: at least. */
static size_t wants(const struct nft_tunnel *t, enum nft_kind kind)
{
	if (kinds[kind].chain == CHAIN_CLOSED && !t->n_closed)
		return 0;
	switch (kind) {
	case NFT_CLOSED_LOCAL:
	case NFT_CLOSED_REPLY:
	case NFT_CLOSED_PASS: return 1;
	case NFT_CLOSED_DEVICE: return t->own_mark != 0;
	case NFT_CLOSED_ND: return has_ipv6(t);
	case NFT_CLOSED_SPARED: return t->n_spared;
	case NFT_CLOSED_DROP: return t->n_closed;
	default: break;
	}
	switch (kinds[kind].chain) {
	case CHAIN_MSS: return t->mss_clamp;
	case CHAIN_FORWARD: return t->forward;
	case CHAIN_MARK_SAVE:
	case CHAIN_MARK_RESTORE:
	case CHAIN_ANSWER: return t->fwmark != 0;
	case CHAIN_GUARD: return t->fwmark ? t->n_addrs : 0;
	default: return t->masquerade;
	}
}

static bool chain_wanted(enum chain chain, const struct nft_tunnel *tunnels, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (enum nft_kind k = 0; k < NFT_KINDS; k++)
			if (kinds[k].chain == chain && wants(&tunnels[i], k))
				return true;
	return false;
}

bool nft_wanted(const struct nft_tunnel *tunnels, size_t n)
{
	for (enum chain c = 0; c < CHAINS; c++)
		if (chain_wanted(c, tunnels, n))
			return true;
	return false;
}

int nft_check_tunnels(const struct nft_tunnel *tunnels, size_t n, struct err *e)
{
	size_t n_closed = 0;

	for (size_t i = 0; i < n; i++) {
		n_closed += tunnels[i].n_closed + tunnels[i].n_spared;
		if (!memchr(tunnels[i].ifname, '\0', IFNAMSIZ) || !str_is_ifname(tunnels[i].ifname))
			return err_set(e, -EINVAL, "tunnel %zu of the rules has no good name", i);
		if (i > 0 && strcmp(tunnels[i - 1].ifname, tunnels[i].ifname) >= 0)
			return err_set(e, -EINVAL, "tunnels of the rules are not sorted at %s",
				       tunnels[i].ifname);
	}
	if (n_closed > NFT_CLOSED_MAX)
		return err_set(e, -EINVAL, "found %zu guarded networks, accepted are %d", n_closed,
			       NFT_CLOSED_MAX);
	return 0;
}

/* ---- expressions ------------------------------------------------------------------------- */

/* A rule being built; `failed` is sticky. */
struct rule {
	struct nftnl_rule *nft;
	bool failed;
};

static struct nftnl_expr *add_expr(struct rule *r, const char *name)
{
	struct nftnl_expr *x = r->failed ? NULL : nftnl_expr_alloc(name);

	if (!x)
		r->failed = true;
	else
		nftnl_rule_add_expr(r->nft, x);
	return x;
}

static void add_meta(struct rule *r, uint32_t key)
{
	struct nftnl_expr *x = add_expr(r, "meta");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void add_cmp(struct rule *r, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *x = add_expr(r, "cmp");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_OP, op);
	if (nftnl_expr_set(x, NFTNL_EXPR_CMP_DATA, data, len) < 0)
		r->failed = true;
}

static void match_ifname(struct rule *r, uint32_t key, uint32_t op, const char *ifname)
{
	char padded[IFNAMSIZ] = "";

	(void)str_copy(padded, sizeof(padded), ifname);
	add_meta(r, key);
	add_cmp(r, op, padded, sizeof(padded));
}

/* reg 1 &= mask */
static void add_mask(struct rule *r, const uint8_t *mask, uint32_t len)
{
	static const uint8_t none[16] = {0};
	struct nftnl_expr *x = add_expr(r, "bitwise");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_LEN, len);
	if (nftnl_expr_set(x, NFTNL_EXPR_BITWISE_MASK, mask, len) < 0 ||
	    nftnl_expr_set(x, NFTNL_EXPR_BITWISE_XOR, none, len) < 0)
		r->failed = true;
}

/* ip daddr PREFIX, or ip6; host bits are zero. */
static void match_destination(struct rule *r, const struct ip_prefix *p)
{
	const struct ip_addr *a = &p->addr;
	bool v4 = a->family == AF_INET;
	uint8_t family = v4 ? NFPROTO_IPV4 : NFPROTO_IPV6, mask[16] = {0};
	uint32_t len = v4 ? 4 : 16;
	struct nftnl_expr *x;

	add_meta(r, NFT_META_NFPROTO);
	add_cmp(r, NFT_CMP_EQ, &family, sizeof(family));
	if (p->len == 0 || !(x = add_expr(r, "payload")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, v4 ? IPV4_DADDR : IPV6_DADDR);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, len);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	for (uint32_t bit = 0; bit < p->len; bit++)
		mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	if (p->len < 8 * len)
		add_mask(r, mask, len);
	add_cmp(r, NFT_CMP_EQ, a->b, len);
}

/* tcp flags syn / syn,rst: the first packet of each side. */
static void match_syn(struct rule *r)
{
	static const uint8_t tcp = IPPROTO_TCP, mask = TH_SYN | TH_RST, syn = TH_SYN;
	struct nftnl_expr *x;

	add_meta(r, NFT_META_L4PROTO);
	add_cmp(r, NFT_CMP_EQ, &tcp, sizeof(tcp));
	if (!(x = add_expr(r, "payload")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, TCP_FLAGS_OFFSET);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, sizeof(mask));
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	add_mask(r, &mask, sizeof(mask));
	add_cmp(r, NFT_CMP_EQ, &syn, sizeof(syn));
}

/* The source (flags: NFTA_FIB_F_SADDR) or destination (NFTA_FIB_F_DADDR) is (NFT_CMP_EQ) or is not
 * an address of this machine (flags: of the interface by which the packet leaves). */
static void match_local(struct rule *r, uint32_t op, uint32_t flags)
{
	static const uint32_t local = RTN_LOCAL;
	struct nftnl_expr *x = add_expr(r, "fib");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_FLAGS, flags);
	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nftnl_expr_set_u32(x, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
	add_cmp(r, op, &local, sizeof(local));
}

/* meta l4proto icmpv6 icmpv6 type 133-136: solicitations and advertisements of routers and
 * neighbours (RFC 4861, section 4). */
static void match_neighbour_discovery(struct rule *r)
{
	static const uint8_t icmpv6 = IPPROTO_ICMPV6, first = 133, last = 136;
	struct nftnl_expr *x;

	add_meta(r, NFT_META_L4PROTO);
	add_cmp(r, NFT_CMP_EQ, &icmpv6, sizeof(icmpv6));
	if (!(x = add_expr(r, "payload")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, 0);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, sizeof(first));
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	add_cmp(r, NFT_CMP_GTE, &first, sizeof(first));
	add_cmp(r, NFT_CMP_LTE, &last, sizeof(last));
}

/* reg 1 = ct KEY, compared */
static void match_ct(struct rule *r, uint32_t key, const void *value, uint32_t len)
{
	struct nftnl_expr *x = add_expr(r, "ct");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	add_cmp(r, NFT_CMP_EQ, value, len);
}

static void match_direction(struct rule *r, uint8_t direction)
{
	match_ct(r, NFT_CT_DIRECTION, &direction, sizeof(direction));
}

/* ct mark set reg 1 */
static void set_ct_mark(struct rule *r)
{
	struct nftnl_expr *x = add_expr(r, "ct");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_KEY, NFT_CT_MARK);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_SREG, NFT_REG_1);
}

static void match_device(struct rule *r, uint32_t mark)
{
	static const uint8_t udp = IPPROTO_UDP;

	add_meta(r, NFT_META_L4PROTO);
	add_cmp(r, NFT_CMP_EQ, &udp, sizeof(udp));
	add_meta(r, NFT_META_MARK);
	add_cmp(r, NFT_CMP_EQ, &mark, sizeof(mark));
}

static void add_counter(struct rule *r, const struct nft_counter *start)
{
	struct nftnl_expr *x = add_expr(r, "counter");

	if (!x)
		return;
	nftnl_expr_set_u64(x, NFTNL_EXPR_CTR_PACKETS, start ? start->packets : 0);
	nftnl_expr_set_u64(x, NFTNL_EXPR_CTR_BYTES, start ? start->bytes : 0);
}

/* meta l4proto udp meta mark MARK ct mark set meta mark: the mark of the device's own packet is
 * the flow's. */
static void save_mark(struct rule *r, uint32_t mark, const struct nft_counter *start)
{
	match_device(r, mark);
	add_counter(r, start);
	set_ct_mark(r);
}

/* What reaches an address of this machine by another interface: the connection gets the mark. */
static void save_answer(struct rule *r, const struct nft_tunnel *t, const struct nft_counter *start)
{
	static const uint32_t none = 0;
	struct nftnl_expr *x;

	match_ifname(r, NFT_META_IIFNAME, NFT_CMP_NEQ, t->ifname);
	match_local(r, NFT_CMP_EQ, NFTA_FIB_F_DADDR);
	match_direction(r, IP_CT_DIR_ORIGINAL);
	match_ct(r, NFT_CT_MARK, &none, sizeof(none));
	add_counter(r, start);
	if (!(x = add_expr(r, "immediate")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	if (nftnl_expr_set(x, NFTNL_EXPR_IMM_DATA, &t->fwmark, sizeof(t->fwmark)) < 0)
		r->failed = true;
	set_ct_mark(r);
}

/* ct mark MARK meta mark set ct mark: packets of such a connection have it too. */
static void restore_mark(struct rule *r, uint32_t mark, const struct nft_counter *start)
{
	struct nftnl_expr *x;

	match_ct(r, NFT_CT_MARK, &mark, sizeof(mark));
	add_counter(r, start);
	if (!(x = add_expr(r, "meta")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_KEY, NFT_META_MARK);
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_SREG, NFT_REG_1);
}

/* tcp option maxseg size set rt mtu: the kernel never makes it larger. */
static void set_maxseg(struct rule *r)
{
	struct nftnl_expr *x = add_expr(r, "rt");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_RT_KEY, NFT_RT_TCPMSS);
	nftnl_expr_set_u32(x, NFTNL_EXPR_RT_DREG, NFT_REG_1);
	if (!(x = add_expr(r, "byteorder")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_BYTEORDER_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BYTEORDER_DREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BYTEORDER_LEN, sizeof(uint16_t));
	nftnl_expr_set_u32(x, NFTNL_EXPR_BYTEORDER_SIZE, sizeof(uint16_t));
	if (!(x = add_expr(r, "exthdr")))
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_EXTHDR_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
	nftnl_expr_set_u8(x, NFTNL_EXPR_EXTHDR_TYPE, TCPOPT_MAXSEG);
	nftnl_expr_set_u32(x, NFTNL_EXPR_EXTHDR_OFFSET, 2);
	nftnl_expr_set_u32(x, NFTNL_EXPR_EXTHDR_LEN, sizeof(uint16_t));
}

static void add_verdict(struct rule *r, uint32_t verdict)
{
	struct nftnl_expr *x = add_expr(r, "immediate");

	if (!x)
		return;
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_VERDICT, verdict);
}

/* What comes by another interface for one of the tunnel's addresses, and not from here. */
static void guard(struct rule *r, const char *ifname, struct ip_prefix addr,
		  const struct nft_counter *start)
{
	addr.len = (uint8_t)ip_bits(addr.addr.family);
	match_ifname(r, NFT_META_IIFNAME, NFT_CMP_NEQ, ifname);
	match_destination(r, &addr);
	match_local(r, NFT_CMP_NEQ, NFTA_FIB_F_SADDR);
	add_counter(r, start);
	add_verdict(r, NF_DROP);
}

/* The rules of traffic that passes through this machine. */
static void pass(struct rule *r, const char *ifname, enum nft_kind kind,
		 const struct nft_counter *start)
{
	if (kind == NFT_RELAY || kind == NFT_MSS_IN || kind == NFT_FORWARD_IN)
		match_ifname(r, NFT_META_IIFNAME, NFT_CMP_EQ, ifname);
	if (kind != NFT_MSS_IN && kind != NFT_FORWARD_IN)
		match_ifname(r, NFT_META_OIFNAME, NFT_CMP_EQ, ifname);
	if (kinds[kind].chain == CHAIN_MSS)
		match_syn(r);
	if (kind == NFT_MASQUERADE)
		match_local(r, NFT_CMP_NEQ, NFTA_FIB_F_SADDR | NFTA_FIB_F_OIF);
	add_counter(r, start);
	if (kinds[kind].chain == CHAIN_MSS)
		set_maxseg(r);
	else if (kind == NFT_MASQUERADE)
		(void)add_expr(r, "masq");
	else
		add_verdict(r, NF_ACCEPT);
}

/* One rule of the chain `closed`; `p`: what it is about, NULL where that is nothing. */
static void closed(struct rule *r, const struct nft_tunnel *t, enum nft_kind kind,
		   const struct ip_prefix *p, const struct nft_counter *start)
{
	switch (kind) {
	case NFT_CLOSED_LOCAL: match_ifname(r, NFT_META_OIFNAME, NFT_CMP_EQ, "lo"); break;
	case NFT_CLOSED_DEVICE: match_device(r, t->own_mark); break;
	case NFT_CLOSED_REPLY:
		match_direction(r, IP_CT_DIR_REPLY);
		match_local(r, NFT_CMP_EQ, NFTA_FIB_F_SADDR | NFTA_FIB_F_OIF);
		break;
	case NFT_CLOSED_ND: match_neighbour_discovery(r); break;
	case NFT_CLOSED_PASS: match_ifname(r, NFT_META_OIFNAME, NFT_CMP_EQ, t->ifname); break;
	default: break;
	}
	if (p)
		match_destination(r, p);
	add_counter(r, start);
	add_verdict(r, kind == NFT_CLOSED_DROP ? NF_DROP : NF_ACCEPT);
}

static void add_body(struct rule *r, const struct nft_tunnel *t, enum nft_kind kind,
		     const struct ip_prefix *p, const struct nft_counter *start)
{
	if (kinds[kind].chain == CHAIN_CLOSED) {
		closed(r, t, kind, p, start);
		return;
	}
	switch (kind) {
	case NFT_MARK_SAVE: save_mark(r, t->fwmark, start); break;
	case NFT_ANSWER_SAVE: save_answer(r, t, start); break;
	case NFT_MARK_RESTORE: restore_mark(r, t->fwmark, start); break;
	case NFT_ANSWER:
		match_direction(r, IP_CT_DIR_REPLY);
		restore_mark(r, t->fwmark, start);
		break;
	case NFT_GUARD: guard(r, t->ifname, *p, start); break;
	default: pass(r, t->ifname, kind, start);
	}
}

/* ---- messages ---------------------------------------------------------------------------- */

/* A comment as user data: type, length, text with its NUL. Returns the length. */
static uint32_t put_comment(uint8_t type, const char *text, uint8_t out[static 64])
{
	size_t len = strlen(text) + 1;

	out[0] = type;
	out[1] = (uint8_t)len;
	memcpy(out + 2, text, len);
	return (uint32_t)len + 2;
}

static int emit(struct buf *out, const struct nlmsghdr *nlh, struct err *e)
{
	buf_add(out, nlh, nlh->nlmsg_len);
	return buf_error(out) ? err_sys(e, buf_error(out), "cannot build firewall rules") : 0;
}

static int no_memory(struct err *e)
{
	return err_sys(e, -ENOMEM, "cannot build firewall rules");
}

static int build_table(struct buf *out, uint16_t type, uint16_t flags, struct err *e)
{
	char msg[MESSAGE_MAX];
	uint8_t mark[64];
	struct nftnl_table *t = nftnl_table_alloc();
	int r = 0;

	if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, NFT_TABLE) < 0 ||
	    (type == NFT_MSG_NEWTABLE &&
	     nftnl_table_set_data(t, NFTNL_TABLE_USERDATA, mark,
				  put_comment(NFTNL_UDATA_TABLE_COMMENT, NFT_TABLE_MARK, mark)) <
		     0)) {
		r = no_memory(e);
	} else {
		nftnl_table_set_u32(t, NFTNL_TABLE_FAMILY, NFPROTO_INET);
		if (type == NFT_MSG_NEWTABLE)
			nftnl_table_set_u32(t, NFTNL_TABLE_FLAGS, 0);
		struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(msg, type, NFPROTO_INET, flags, 0);

		nftnl_table_nlmsg_build_payload(nlh, t);
		r = emit(out, nlh, e);
	}
	if (t)
		nftnl_table_free(t);
	return r;
}

static int build_chain(struct buf *out, enum chain chain, struct err *e)
{
	char msg[MESSAGE_MAX];
	struct nftnl_chain *c = nftnl_chain_alloc();
	int r;

	if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, NFT_TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chains[chain].name) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, chains[chain].type) < 0) {
		r = no_memory(e);
	} else {
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chains[chain].hook);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, chains[chain].priority);
		nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
		struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(msg, NFT_MSG_NEWCHAIN, NFPROTO_INET,
							     NLM_F_CREATE | NLM_F_EXCL, 0);

		nftnl_chain_nlmsg_build_payload(nlh, c);
		r = emit(out, nlh, e);
	}
	if (c)
		nftnl_chain_free(c);
	return r;
}

static const struct nft_counter *counter_nth(const struct nft_state *s, const char *ifname,
					     enum nft_kind kind, size_t nth)
{
	for (size_t i = 0; s && i < s->n_counters; i++)
		if (s->counters[i].kind == kind && str_eq(s->counters[i].ifname, ifname) &&
		    nth-- == 0)
			return &s->counters[i];
	return NULL;
}

/* The nth rule of its kind for the tunnel, about a prefix or (NULL) none. */
static int build_rule(struct buf *out, const struct nft_tunnel *t, enum nft_kind kind, size_t nth,
		      const struct ip_prefix *p, const struct nft_state *old, struct err *e)
{
	char msg[MESSAGE_MAX], comment[IFNAMSIZ + 32];
	uint8_t data[64];
	struct rule rule = {.nft = nftnl_rule_alloc()};
	int r;

	snprintf(comment, sizeof(comment), "%s %s", t->ifname, kinds[kind].name);
	if (!rule.nft || nftnl_rule_set_str(rule.nft, NFTNL_RULE_TABLE, NFT_TABLE) < 0 ||
	    nftnl_rule_set_str(rule.nft, NFTNL_RULE_CHAIN, chains[kinds[kind].chain].name) < 0 ||
	    nftnl_rule_set_data(rule.nft, NFTNL_RULE_USERDATA, data,
				put_comment(NFTNL_UDATA_RULE_COMMENT, comment, data)) < 0)
		rule.failed = true;
	add_body(&rule, t, kind, p, counter_nth(old, t->ifname, kind, nth));
	if (rule.failed) {
		r = no_memory(e);
	} else {
		struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(msg, NFT_MSG_NEWRULE, NFPROTO_INET,
							     NLM_F_CREATE | NLM_F_APPEND, 0);

		nftnl_rule_nlmsg_build_payload(nlh, rule.nft);
		r = emit(out, nlh, e);
	}
	if (rule.nft)
		nftnl_rule_free(rule.nft);
	return r;
}

/* ---- the chain `closed` ------------------------------------------------------------------ */

/* A closed prefix and whose it is. */
struct closed_prefix {
	const struct nft_tunnel *tunnel;
	const struct ip_prefix *prefix;
	bool entangled; /* a network of the tunnel lies within one of another, or around it */
};

/* The longest first; a prefix of two tunnels stands in a row. */
static int cmp_closed(const void *a, const void *b)
{
	const struct closed_prefix *x = a, *y = b;
	int c = (x->prefix->len < y->prefix->len) - (x->prefix->len > y->prefix->len);

	if (!c)
		c = ip_prefix_cmp(x->prefix, y->prefix);
	return c ? c : strcmp(x->tunnel->ifname, y->tunnel->ifname);
}

static bool overlap(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len <= b->len ? ip_prefix_contains(a, &b->addr) : ip_prefix_contains(b, &a->addr);
}

static bool is_entangled(const struct nft_tunnel *t, const struct nft_tunnel *tunnels, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; &tunnels[i] != t && j < tunnels[i].n_closed; j++)
			for (size_t k = 0; k < t->n_closed; k++)
				if (overlap(&tunnels[i].closed[j], &t->closed[k]))
					return true;
	return false;
}

/* The rules that are not about a closed prefix, of all tunnels before the next kind. */
static int build_exceptions(struct buf *out, const struct nft_tunnel *tunnels, size_t n,
			    const struct nft_state *old, struct err *e)
{
	int r = 0;

	for (enum nft_kind k = NFT_CLOSED_LOCAL; k <= NFT_CLOSED_SPARED; k++)
		for (size_t i = 0; i < n; i++)
			for (size_t nth = 0; r == 0 && nth < wants(&tunnels[i], k); nth++)
				r = build_rule(out, &tunnels[i], k, nth,
					       k == NFT_CLOSED_SPARED ? &tunnels[i].spared[nth]
								      : NULL,
					       old, e);
	return r;
}

/* How many of the list's first `n` are the tunnel's. */
static size_t nth_of(const struct closed_prefix *list, size_t n, const struct nft_tunnel *t)
{
	size_t nth = 0;

	for (size_t i = 0; i < n; i++)
		nth += list[i].tunnel == t;
	return nth;
}

static int build_prefixes(struct buf *out, const struct closed_prefix *list, size_t n,
			  const struct nft_state *old, struct err *e)
{
	int r = 0;

	for (size_t i = 0, end; r == 0 && i < n; i = end) {
		for (end = i; end < n && ip_prefix_cmp(list[i].prefix, list[end].prefix) == 0;
		     end++)
			if (r == 0 && list[end].entangled)
				r = build_rule(out, list[end].tunnel, NFT_CLOSED_PASS,
					       nth_of(list, end, list[end].tunnel),
					       list[end].prefix, old, e);
		for (size_t j = i; r == 0 && j < end; j++)
			r = build_rule(out, list[j].tunnel, NFT_CLOSED_DROP,
				       nth_of(list, j, list[j].tunnel), list[j].prefix, old, e);
	}
	return r;
}

static int build_closed(struct buf *out, const struct nft_tunnel *tunnels, size_t n,
			const struct nft_state *old, struct err *e)
{
	_cleanup_free_ struct closed_prefix *list = calloc(NFT_CLOSED_MAX, sizeof(*list));
	size_t n_list = 0;
	int r;

	if (!list)
		return no_memory(e);
	r = build_exceptions(out, tunnels, n, old, e);
	for (size_t i = 0; i < n; i++) {
		bool entangled = is_entangled(&tunnels[i], tunnels, n);

		/* By far the most packets of a guarded tunnel leave by it: they end here. */
		if (r == 0 && tunnels[i].n_closed && !entangled)
			r = build_rule(out, &tunnels[i], NFT_CLOSED_PASS, 0, NULL, old, e);
		for (size_t j = 0; j < tunnels[i].n_closed && n_list < NFT_CLOSED_MAX; j++)
			list[n_list++] = (struct closed_prefix){&tunnels[i], &tunnels[i].closed[j],
								entangled};
	}
	qsort(list, n_list, sizeof(*list), cmp_closed);
	return r < 0 ? r : build_prefixes(out, list, n_list, old, e);
}

int nft_build_table(struct buf *out, const struct nft_tunnel *tunnels, size_t n,
		    const struct nft_state *old, struct err *e)
{
	int r = build_table(out, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, e);

	for (enum chain c = 0; c < CHAINS && r == 0; c++)
		if (chain_wanted(c, tunnels, n))
			r = build_chain(out, c, e);
	/* By chain, as the kernel lists them. */
	for (enum chain c = 0; c < CHAIN_CLOSED; c++)
		for (size_t i = 0; i < n; i++)
			for (enum nft_kind k = 0; k < NFT_KINDS; k++)
				for (size_t nth = 0;
				     kinds[k].chain == c && r == 0 && nth < wants(&tunnels[i], k);
				     nth++)
					r = build_rule(out, &tunnels[i], k, nth,
						       k == NFT_GUARD ? &tunnels[i].addrs[nth]
								      : NULL,
						       old, e);
	if (r == 0 && chain_wanted(CHAIN_CLOSED, tunnels, n))
		r = build_closed(out, tunnels, n, old, e);
	return r;
}

/* The last message is answered also on success. */
static void ask_for_answer(struct buf *out)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)out->data;
	int left = (int)out->len, next_left = left;

	for (struct nlmsghdr *next = mnl_nlmsg_next(nlh, &next_left); mnl_nlmsg_ok(next, next_left);
	     next = mnl_nlmsg_next(nlh, &next_left))
		nlh = next;
	nlh->nlmsg_flags |= NLM_F_ACK;
}

int nft_build_batch(struct buf *out, uint32_t genid, const struct nft_tunnel *tunnels, size_t n,
		    const struct nft_state *old, struct err *e)
{
	char msg[MESSAGE_MAX];
	struct nlmsghdr *nlh = nftnl_batch_begin(msg, 0);
	int r;

	mnl_attr_put_u32(nlh, NFNL_BATCH_GENID, htonl(genid));
	if ((r = emit(out, nlh, e)) < 0)
		return r;
	if (old->present && (r = build_table(out, NFT_MSG_DELTABLE, 0, e)) < 0)
		return r;
	if (nft_wanted(tunnels, n) && (r = nft_build_table(out, tunnels, n, old, e)) < 0)
		return r;
	ask_for_answer(out);
	return emit(out, nftnl_batch_end(msg, 0), e);
}
