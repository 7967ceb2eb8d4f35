/*
 * Reading, comparing and replacing table inet harmony.
 *
 * The kernel numbers the generations of the whole ruleset; every committed transaction, of
 * anybody, is a new one. Reading asks for the number before and after, and reads again when it
 * has changed in between: table, chains and rules come by three requests and have to fit
 * together. A replacement carries the number of the reading on which it is based, and the kernel
 * refuses it when that is no longer the latest: so the table that is deleted is the one that was
 * seen to be ours, and the counters that are carried over are those of that table.
 */
#include "netlink/nft.h"

#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/str.h"
#include "netlink/netlink_priv.h"
#include "netlink/nft_priv.h"

/* On a node whose kube-proxy is rewriting its rules, readings collide with its transactions. */
#define TRIES 20

int nft_open(struct nl **ret, struct err *e)
{
	struct err why = {0};
	int r = nl_open(NETLINK_NETFILTER, ret, &why);

	if (r == -EPROTONOSUPPORT)
		return err_set(
			e, -EOPNOTSUPP,
			"the kernel has no netfilter netlink (modprobe nfnetlink nf_tables)");
	return r < 0 ? err_set(e, r, "%s", why.msg) : 0;
}

/* Says what the kernel's errno means here. */
static int explain(struct err *e, int r, const struct err *why, const char *doing)
{
	if (r == -EPERM)
		return err_set(e, r, "cannot %s table inet %s: CAP_NET_ADMIN is missing", doing,
			       NFT_TABLE);
	if (r == -ENOENT || r == -EOPNOTSUPP)
		return err_set(e, -EOPNOTSUPP,
			       "cannot %s table inet %s: the kernel lacks a part of nf_tables that "
			       "the rules need (modules nft_masq, nft_fib_inet, nft_chain_nat, "
			       "nft_ct): %s",
			       doing, NFT_TABLE, why->msg);
	return err_set(e, r, "cannot %s table inet %s: %s", doing, NFT_TABLE, why->msg);
}

/* ---- reading ----------------------------------------------------------------------------- */

static int on_generation(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	return nft_parse_generation(nlh, arg, e);
}

static int on_object(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	return nft_parse(nlh, arg, e);
}

static int generation(struct nl *nl, uint32_t *ret, struct err *e)
{
	union nl_request req;
	struct err why = {0};
	struct nlmsghdr *nlh =
		nftnl_nlmsg_build_hdr(req.bytes, NFT_MSG_GETGEN, NFPROTO_UNSPEC, 0, 0);
	int r = nl_request(nl, nlh, &(struct nl_answer){.message = on_generation, .arg = ret},
			   &why);

	/* nfnetlink's answer for a subsystem that is not there, and can't be loaded. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(
			e, -EOPNOTSUPP,
			"the kernel has no nf_tables (CONFIG_NF_TABLES; modprobe nf_tables)");
	return r < 0 ? explain(e, r, &why, "read") : 0;
}

static int request_objects(struct nl *nl, uint16_t type, uint16_t flags, uint16_t name_attr,
			   struct nft_state *s, struct err *e)
{
	union nl_request req;
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(req.bytes, type, NFPROTO_INET, flags, 0);

	if (name_attr)
		mnl_attr_put_strz(nlh, name_attr, NFT_TABLE);
	return nl_request(nl, nlh, &(struct nl_answer){.message = on_object, .arg = s}, e);
}

/* One reading; what it holds is one generation only if the number is the same afterwards. */
static int read_objects(struct nl *nl, struct nft_state *s, struct err *e)
{
	struct err why = {0};
	int r = request_objects(nl, NFT_MSG_GETTABLE, 0, NFTA_TABLE_NAME, s, &why);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && s->present)
		r = request_objects(nl, NFT_MSG_GETCHAIN, NLM_F_DUMP, 0, s, &why);
	if (r == 0 && s->present)
		r = request_objects(nl, NFT_MSG_GETRULE, NLM_F_DUMP, NFTA_RULE_TABLE, s, &why);
	if (r == -EEXIST)
		return err_set(e, r, "%s", why.msg);
	return r < 0 ? explain(e, r, &why, "read") : 0;
}

static int read_state(struct nl *nl, struct nft_state *ret, uint32_t *ret_genid, struct err *e)
{
	for (int i = 0; i < TRIES; i++) {
		_cleanup_nft_state_ struct nft_state s;
		uint32_t before = 0, after = 0;
		struct err why = {0};
		int r, r2;

		nft_state_init(&s);
		if ((r = generation(nl, &before, e)) < 0)
			return r;
		r = read_objects(nl, &s, &why);
		if ((r2 = generation(nl, &after, e)) < 0)
			return r2;
		if (before != after)
			continue;
		/* Dumps of one generation that did not come out whole would be the kernel's bug. */
		if (r < 0)
			return err_set(e, r, "%s", why.msg);
		nft_state_clear(ret);
		*ret = s;
		nft_state_init(&s);
		*ret_genid = before;
		return 0;
	}
	return err_set(e, -EAGAIN,
		       "cannot read table inet %s: the ruleset changed %d times meanwhile",
		       NFT_TABLE, TRIES);
}

int nft_get(struct nl *nl, struct nft_state *ret, struct err *e)
{
	uint32_t genid;

	return read_state(nl, ret, &genid, e);
}

/* ---- changing ---------------------------------------------------------------------------- */

/* One try: -ERESTART when somebody's transaction came in between. */
static int replace(struct nl *nl, const struct nft_tunnel *tunnels, size_t n, struct err *e)
{
	_cleanup_nft_state_ struct nft_state old;
	_cleanup_buf_ struct buf batch = BUF_INIT(NFT_BATCH_MAX);
	const char *doing = nft_wanted(tunnels, n) ? "replace" : "delete";
	struct err why = {0};
	uint32_t genid = 0;
	int r;

	nft_state_init(&old);
	if ((r = read_state(nl, &old, &genid, e)) < 0)
		return r;
	if (!old.present && !nft_wanted(tunnels, n))
		return 0;
	if ((r = nft_build_batch(&batch, genid, tunnels, n, &old, e)) < 0)
		return r;
	r = nl_transaction(nl, batch.data, batch.len, &why);
	if (r == -ERESTART)
		return r;
	return r < 0 ? explain(e, r, &why, doing) : 0;
}

int nft_apply(struct nl *nl, const struct nft_tunnel *tunnels, size_t n, struct err *e)
{
	int r = nft_check_tunnels(tunnels, n, e);

	if (r < 0)
		return r;
	for (int i = 0; i < TRIES; i++)
		if ((r = replace(nl, tunnels, n, e)) != -ERESTART)
			return r;
	return err_set(e, -EAGAIN,
		       "cannot replace table inet %s: the ruleset changed %d times meanwhile",
		       NFT_TABLE, TRIES);
}

int nft_table_delete(struct nl *nl, struct err *e)
{
	return nft_apply(nl, NULL, 0, e);
}

/* ---- comparing --------------------------------------------------------------------------- */

struct line {
	const char *s;
	size_t len, head; /* the head is what stands before " =" */
};

/* The next line at *at, or false. */
static bool next_line(const char **at, struct line *ret)
{
	const char *end = strchr(*at, '\n');

	if (!end)
		return false;
	*ret = (struct line){.s = *at, .len = (size_t)(end - *at), .head = (size_t)(end - *at)};
	for (size_t i = 0; i + 1 < ret->len && ret->head == ret->len; i++)
		if (ret->s[i] == ' ' && ret->s[i + 1] == '=')
			ret->head = i;
	*at = end + 1;
	return true;
}

enum found { FOUND_NOTHING, FOUND_HEAD, FOUND_LINE };

static enum found find_line(const char *text, const struct line *line)
{
	enum found found = FOUND_NOTHING;
	struct line other;

	while (next_line(&text, &other)) {
		if (other.len == line->len && memcmp(other.s, line->s, line->len) == 0)
			return FOUND_LINE;
		if (other.head == line->head && memcmp(other.s, line->s, line->head) == 0)
			found = FOUND_HEAD;
	}
	return found;
}

static void explain_difference(const char *have, const char *want, struct buf *why)
{
	const char *at = want;
	size_t len = why->len;
	struct line line;

	while (next_line(&at, &line)) {
		enum found found = find_line(have, &line);

		if (found != FOUND_LINE)
			buf_addf(why, "%.*s is %s\n", (int)line.head, line.s,
				 found == FOUND_HEAD ? "changed" : "missing");
	}
	at = have;
	while (next_line(&at, &line))
		if (find_line(want, &line) == FOUND_NOTHING)
			buf_addf(why, "unexpected %.*s\n", (int)line.head, line.s);
	if (why->len == len)
		buf_addf(why, "rules of table inet %s are out of order, or twice there\n",
			 NFT_TABLE);
}

/* The text that the table would have. */
static int wanted_text(const struct nft_tunnel *tunnels, size_t n, struct nft_state *ret,
		       struct err *e)
{
	_cleanup_buf_ struct buf messages = BUF_INIT(NFT_BATCH_MAX);
	int r = 0;

	if (!nft_wanted(tunnels, n))
		return 0;
	if ((r = nft_build_table(&messages, tunnels, n, NULL, e)) < 0)
		return r;
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)messages.data;
	int left = (int)messages.len;

	for (; r == 0 && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		r = nft_parse(nlh, ret, e);
	return r;
}

int nft_compare(const struct nft_state *state, const struct nft_tunnel *tunnels, size_t n,
		struct buf *why, struct err *e)
{
	_cleanup_nft_state_ struct nft_state want;
	int r = nft_check_tunnels(tunnels, n, e);

	nft_state_init(&want);
	if (r < 0 || (r = wanted_text(tunnels, n, &want, e)) < 0)
		return r;
	if (str_eq(buf_str(&state->text), buf_str(&want.text)))
		return 0;
	if (why) {
		explain_difference(buf_str(&state->text), buf_str(&want.text), why);
		if (buf_error(why))
			return err_sys(e, buf_error(why),
				       "cannot say what differs in table inet %s", NFT_TABLE);
	}
	return 1;
}
