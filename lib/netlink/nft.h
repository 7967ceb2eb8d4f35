/*
 * The firewall rules of tunnels: table `inet harmony` of nf_tables, over a NETLINK_NETFILTER
 * socket. Nothing else is ever touched.
 *
 * For a tunnel with everything switched on, the table holds (as nft(8) would print it):
 *
 *     table inet harmony {
 *         comment "made by harmony-agent"
 *         chain mss_clamp {
 *             type filter hook forward priority mangle; policy accept;
 *             oifname "wg0" tcp flags syn / syn,rst counter tcp option maxseg size set rt mtu
 *             iifname "wg0" tcp flags syn / syn,rst counter tcp option maxseg size set rt mtu
 *         }
 *         chain forward {
 *             type filter hook forward priority filter; policy accept;
 *             oifname "wg0" counter accept
 *             iifname "wg0" counter accept
 *         }
 *         chain postrouting {
 *             type nat hook postrouting priority srcnat; policy accept;
 *             iifname "wg0" oifname "wg0" counter accept
 *             oifname "wg0" fib saddr . oif type != local counter masquerade
 *         }
 *         chain guard {
 *             type filter hook prerouting priority raw; policy accept;
 *             iifname != "wg0" ip daddr 10.9.0.1 fib saddr type != local counter drop
 *         }
 *         chain mark_save {
 *             type filter hook postrouting priority mangle; policy accept;
 *             meta l4proto udp meta mark 0xca6c counter ct mark set meta mark
 *         }
 *         chain mark_restore {
 *             type filter hook prerouting priority mangle; policy accept;
 *             iifname != "wg0" fib daddr type local ct direction original ct mark 0 counter
 *                 ct mark set 0xca6c
 *             ct mark 0xca6c counter meta mark set ct mark
 *         }
 *         chain answer {
 *             type route hook output priority mangle; policy accept;
 *             ct direction reply ct mark 0xca6c counter meta mark set ct mark
 *         }
 *         chain closed {
 *             type filter hook postrouting priority filter; policy accept;
 *             oifname "lo" counter accept
 *             meta l4proto udp meta mark 0xca6d counter accept
 *             ct direction reply fib saddr . oif type local counter accept
 *             meta l4proto icmpv6 icmpv6 type 133-136 counter accept
 *             ip daddr 10.42.0.53/32 counter accept
 *             oifname "wg0" counter accept
 *             ip daddr 10.42.0.0/16 counter drop
 *         }
 *     }
 *
 * - Masquerade is for whatever leaves by the tunnel under a source address that is not the
 *   tunnel's own: forwarded pods, and programs bound to another address of the node, which the
 *   peer would drop. What is relayed from one peer to another of the same tunnel keeps its source.
 * - The clamp works in both directions: `rt mtu` is the smaller of the routes there and back. Its
 *   chain is our own, at mangle priority, so that no accept in another chain skips it; its
 *   counter tells whether it is reached.
 * - The guard goes with the mark: with a default route through the tunnel, whatever comes for an
 *   address of the tunnel by another interface is somebody on the local network who tries it out
 *   (CVE-2019-14899). One rule for each address.
 * - The mark is for a default route through the tunnel, where unmarked packets are routed into
 *   it: the peer's answers get the mark of what they answer, so that a strict reverse path check
 *   (rp_filter = 1, with src_valid_mark) finds the way by which they came. wg-quick does the same.
 *   The same mark is given to connections that reach this machine by another interface, so that who
 *   comes from afar is answered by the way he came (a kubelet that probes, a load balancer, a
 * client of a published port), and not through the tunnel. A connection that has a mark already is
 *   somebody else's, and left alone.
 * - The chain `closed` is for tunnels whose networks are to be reached by the tunnel or not at all,
 *   whatever becomes of the interface and of its routes: what is for one of these networks is
 *   dropped where it would leave by another interface, this machine's own as well as what it
 *   forwards. Let through are: the machine's own addresses (lo); the device's own packets, known
 *   by their mark; answers to whoever has reached an address of the very interface by which they
 *   leave (a probe; an answer from the tunnel's address by another interface is none); IPv6
 *   neighbour discovery; destinations that are spared by name. Of two tunnels where a network of
 *   one lies within one of the other, the longer prefix says which interface is meant: there the
 *   accepting rule stands before each dropping one, with its prefix, the longest first.
 * - "Accept" ends our own chain only. nf_tables asks every chain of the hook, so a drop in a
 *   foreign one (iptables -P FORWARD DROP, as Docker sets) still drops: the forward rules count
 *   what comes by, they do not override the administrator.
 * - Rules match interfaces by name: they outlive an interface that is deleted and made again.
 * - A chain is there only where a rule is in it, and the table only where a chain is.
 *
 * Each rule has a comment with its tunnel and kind, as "wg0 masquerade". The table's comment is
 * the mark of ownership (kernel 5.10 and newer keep it): a table inet harmony without it is
 * another's, which is an error (-EEXIST) in every call but the pure ones.
 *
 * Errors beside those of netlink.h: -EOPNOTSUPP, the kernel has no nf_tables or lacks a part that
 * the rules need; -EPERM, CAP_NET_ADMIN is missing; -EAGAIN, the ruleset kept changing.
 */
#ifndef NETLINK_NFT_H
#define NETLINK_NFT_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "netlink/netlink.h"

#define NFT_TABLE      "harmony"
#define NFT_TABLE_MARK "made by harmony-agent"

/* A socket for the calls below: nl_open(NETLINK_NETFILTER), with -EOPNOTSUPP and a clear message
 * where the kernel lacks even that. nl_close closes it. */
int nft_open(struct nl **ret, struct err *e);

/* Desired: an array of these, sorted by name (strcmp), each name once. */
struct nft_tunnel {
	char ifname[IFNAMSIZ];
	bool masquerade;
	bool mss_clamp;
	bool forward;
	uint32_t fwmark; /* of the device's own packets, where they need the rules; 0: none */
	const struct ip_prefix *addrs; /* its addresses, for the guard; borrowed */
	size_t n_addrs;
	/* Fail closed: networks that are reached by this tunnel only, and what is spared of them.
	 * Masked, each once; borrowed. */
	const struct ip_prefix *closed, *spared;
	size_t n_closed, n_spared;
	uint32_t own_mark; /* of the device's own packets, which pass; 0: none */
};

/* Of all tunnels together: every packet that leaves by another interface is compared with each. */
#define NFT_CLOSED_MAX 1024

/* What a rule is for, in the order of the table above. */
enum nft_kind {
	NFT_MSS_OUT,
	NFT_MSS_IN,
	NFT_FORWARD_OUT,
	NFT_FORWARD_IN,
	NFT_RELAY,
	NFT_MASQUERADE,
	NFT_MARK_SAVE,
	NFT_ANSWER_SAVE,
	NFT_MARK_RESTORE,
	NFT_ANSWER,
	NFT_GUARD,
	NFT_CLOSED_LOCAL,
	NFT_CLOSED_DEVICE,
	NFT_CLOSED_REPLY,
	NFT_CLOSED_ND,
	NFT_CLOSED_SPARED,
	NFT_CLOSED_PASS,
	NFT_CLOSED_DROP,
	NFT_KINDS
};
const char *nft_kind_name(enum nft_kind kind); /* "mss-out", … "masquerade": for metrics, logs */

struct nft_counter {
	char ifname[IFNAMSIZ];
	enum nft_kind kind;
	uint64_t packets, bytes;
};

/* Observed: the table as the kernel has it now. */
struct nft_state {
	bool present;    /* there is a table, and it is ours */
	struct buf text; /* one line for the table and for each chain and rule, counters left out;
			  * equal texts are equal tables. For comparison, and for a debug log */
	struct nft_counter
		*counters; /* of the rules that carry our comment, in the table's order */
	size_t n_counters, cap_counters;
};
void nft_state_init(struct nft_state *s);
void nft_state_clear(struct nft_state *s); /* frees; *s is as after init */
#define _cleanup_nft_state_ _cleanup_(nft_state_clear)

/* Reads the table into *ret (initialised by the caller; replaced on success only). No table is no
 * error: ret->present is false. One consistent view: all of it from one generation of the
 * ruleset. */
int nft_get(struct nl *nl, struct nft_state *ret, struct err *e);

/* Pure. 1: the state is not what the tunnels want, and *why (which may be NULL) says what is
 * different, one line a difference: "rule \"wg0 masquerade\" is missing", "unexpected rule in
 * chain forward", …; 0: it is; -EINVAL: tunnels not sorted, or not a name; -ENOMEM. */
int nft_compare(const struct nft_state *state, const struct nft_tunnel *tunnels, size_t n,
		struct buf *why, struct err *e);

/* Makes the table what the tunnels want, in one transaction: at no moment is there half a table,
 * or none. Counters go on from what they were. Nothing to want: the table is deleted. Does its
 * work whether or not there is a difference: ask nft_compare first. */
int nft_apply(struct nl *nl, const struct nft_tunnel *tunnels, size_t n, struct err *e);

/* Deletes the table, if it is there and ours. */
int nft_table_delete(struct nl *nl, struct err *e);

/* The counter of one rule, or NULL. */
const struct nft_counter *nft_counter_find(const struct nft_state *s, const char *ifname,
					   enum nft_kind kind);

#endif
