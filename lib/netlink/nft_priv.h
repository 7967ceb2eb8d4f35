/*
 * For nft.c, nft_build.c, nft_parse.c, their unit test and fuzz target.
 *
 * Building and reading meet in one text: what the kernel has is decoded to lines, what we want is
 * built as messages and decoded by the same code, and the lines are compared. So there is one
 * description of each rule only, the one that builds it.
 */
#ifndef NETLINK_NFT_PRIV_H
#define NETLINK_NFT_PRIV_H

#include <libmnl/libmnl.h>

#include "netlink/nft.h"

/* Bounds of one table as text and as a transaction; far above what any node needs. */
#define NFT_TEXT_MAX  (4U << 20)
#define NFT_BATCH_MAX (4U << 20)

/* Adds the messages that make the table: the table, its chains, their rules in order. Counters
 * start at those of `old` (NULL: at zero). */
int nft_build_table(struct buf *out, const struct nft_tunnel *tunnels, size_t n,
		    const struct nft_state *old, struct err *e);

/* A whole transaction, which the kernel refuses (-ERESTART) unless the ruleset is still of
 * generation `genid`: the old table is deleted where old->present, and the new one made. Where
 * nothing is wanted, it is not. The last message asks for an acknowledgement. */
int nft_build_batch(struct buf *out, uint32_t genid, const struct nft_tunnel *tunnels, size_t n,
		    const struct nft_state *old, struct err *e);

/* Whether the tunnels want any rule at all. */
bool nft_wanted(const struct nft_tunnel *tunnels, size_t n);

/* Sorted, unique, good names: 0 or -EINVAL. */
int nft_check_tunnels(const struct nft_tunnel *tunnels, size_t n, struct err *e);

/* Adds one message of a dump to the state (table, chain or rule; what is not of our table is
 * passed over). -EEXIST for our table without the mark, -EBADMSG, -ENOMEM, -E2BIG. */
int nft_parse(const struct nlmsghdr *nlh, struct nft_state *s, struct err *e);

/* The generation of the ruleset, out of the answer to NFT_MSG_GETGEN. */
int nft_parse_generation(const struct nlmsghdr *nlh, uint32_t *ret, struct err *e);

/* "wg0 masquerade" to a tunnel and a kind; false for any other text. */
bool nft_comment_parse(const char *comment, char ret_ifname[static IFNAMSIZ],
		       enum nft_kind *ret_kind);

#endif
