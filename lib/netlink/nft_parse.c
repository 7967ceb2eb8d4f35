/*
 * From messages of nf_tables to a state: its text and its counters. Pure, bounded.
 *
 * One line an object, "HEAD = BODY". The head names the object for people; the body is all that
 * makes it what it is, in a form that does not depend on who wrote the message: numbers that are
 * zero stand for attributes that are not there, an expression's attributes stand in the order of
 * their numbers (those of <linux/netfilter/nf_tables.h>), counters have no numbers, handles and
 * use counts are left out.
 *
 *     table inet harmony = "made by harmony-agent"
 *     chain postrouting = nat hook 4 priority 100 policy 1
 *     rule "wg0 masquerade" in chain postrouting = meta(1=1,2=7) cmp(1=1,3=77673000…) … masq()
 *
 * An expression that is not in the table below is written by its name alone with a question mark:
 * none of ours is so, thus it is a difference.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/str.h"
#include "netlink/netlink_priv.h"
#include "netlink/nft_priv.h"

/* The attributes 1, 2, … of each expression: n, a number in network order; d, a value or a
 * verdict. */
static const struct expression {
	const char *name, *attrs;
} expressions[] = {
	{"bitwise", "nnnddnd"}, {"byteorder", "nnnnn"},  {"cmp", "nnd"},
	{"counter", ""},        {"ct", "nnnn"},          {"exthdr", "nnnnnnn"},
	{"fib", "nnn"},         {"immediate", "nd"},     {"masq", "nnn"},
	{"meta", "nnn"},        {"payload", "nnnnnnnn"}, {"rt", "nn"},
};
#define EXPR_ATTRS 8

static const uint8_t no_min[32] = {0};

void nft_state_init(struct nft_state *s)
{
	*s = (struct nft_state){.text = BUF_INIT(NFT_TEXT_MAX)};
}

void nft_state_clear(struct nft_state *s)
{
	buf_free(&s->text);
	free(s->counters);
	nft_state_init(s);
}

const struct nft_counter *nft_counter_find(const struct nft_state *s, const char *ifname,
					   enum nft_kind kind)
{
	for (size_t i = 0; i < s->n_counters; i++)
		if (s->counters[i].kind == kind && str_eq(s->counters[i].ifname, ifname))
			return &s->counters[i];
	return NULL;
}

/* ---- values ------------------------------------------------------------------------------ */

/* 1, 2, 4 or 8 bytes in network order; anything else, or nothing, is 0. */
static uint64_t number(const struct nlattr *a)
{
	uint64_t v = 0;
	size_t len = a ? mnl_attr_get_payload_len(a) : 0;

	if (len > sizeof(v))
		return 0;
	for (size_t i = 0; i < len; i++)
		v = v << 8 | ((const uint8_t *)mnl_attr_get_payload(a))[i];
	return v;
}

/* A text of the kernel's into a line: no quote, no line end, nothing that is not printable. */
static void add_text(struct buf *out, const char *s)
{
	for (; *s; s++)
		buf_addc(out, *s < ' ' || *s > '~' || *s == '"' ? '?' : *s);
}

/* The comment in user data (type, length, value …), "" when there is none. */
static void read_comment(const struct nlattr *a, uint8_t type, char *ret, size_t size)
{
	const uint8_t *p = a ? mnl_attr_get_payload(a) : NULL;
	size_t left = a ? mnl_attr_get_payload_len(a) : 0;

	ret[0] = '\0';
	while (left >= 2 && (size_t)p[1] + 2 <= left) {
		if (p[0] == type) {
			size_t len = strnlen((const char *)p + 2, p[1]);

			if (len >= size)
				len = size - 1;
			memcpy(ret, p + 2, len);
			ret[len] = '\0';
			return;
		}
		left -= (size_t)p[1] + 2;
		p += (size_t)p[1] + 2;
	}
}

static int add_verdict(struct buf *out, const struct nlattr *verdict, struct err *e)
{
	const struct nlattr *tb[NFTA_VERDICT_MAX + 1];
	char chain[NFT_CHAIN_MAXNAMELEN];
	int r = nl_attr_table_nest(verdict, no_min, NFTA_VERDICT_MAX, tb, e);

	if (r < 0)
		return r;
	nl_attr_text(tb[NFTA_VERDICT_CHAIN], chain, sizeof(chain));
	buf_addf(out, "verdict %d ", (int)(int32_t)number(tb[NFTA_VERDICT_CODE]));
	add_text(out, chain);
	return 0;
}

static int add_data(struct buf *out, const struct nlattr *data, struct err *e)
{
	const struct nlattr *tb[NFTA_DATA_MAX + 1];
	int r = nl_attr_table_nest(data, no_min, NFTA_DATA_MAX, tb, e);

	if (r < 0)
		return r;
	if (tb[NFTA_DATA_VERDICT])
		return add_verdict(out, tb[NFTA_DATA_VERDICT], e);
	if (tb[NFTA_DATA_VALUE])
		for (size_t i = 0; i < mnl_attr_get_payload_len(tb[NFTA_DATA_VALUE]); i++)
			buf_addf(out, "%02x",
				 ((const uint8_t *)mnl_attr_get_payload(tb[NFTA_DATA_VALUE]))[i]);
	return 0;
}

/* ---- expressions ------------------------------------------------------------------------- */

static int read_counter(const struct nlattr *data, struct nft_counter *counter, struct err *e)
{
	const struct nlattr *tb[NFTA_COUNTER_MAX + 1];
	int r = nl_attr_table_nest(data, no_min, NFTA_COUNTER_MAX, tb, e);

	if (r < 0)
		return r;
	counter->packets = number(tb[NFTA_COUNTER_PACKETS]);
	counter->bytes = number(tb[NFTA_COUNTER_BYTES]);
	return 0;
}

static int add_attrs(struct buf *out, const struct expression *x, const struct nlattr *data,
		     struct err *e)
{
	const struct nlattr *tb[EXPR_ATTRS + 1];
	const char *comma = "";
	int r = nl_attr_table_nest(data, no_min, EXPR_ATTRS, tb, e);

	for (size_t i = 0; r == 0 && x->attrs[i]; i++) {
		const struct nlattr *a = tb[i + 1];

		if (!a || (x->attrs[i] == 'n' && number(a) == 0))
			continue;
		buf_addf(out, "%s%zu=", comma, i + 1);
		comma = ",";
		if (x->attrs[i] == 'n')
			buf_addf(out, "%llu", (unsigned long long)number(a));
		else
			r = add_data(out, a, e);
	}
	return r;
}

static int add_expression(struct buf *out, const struct nlattr *elem, struct nft_counter *counter,
			  struct err *e)
{
	const struct nlattr *tb[NFTA_EXPR_MAX + 1];
	const struct expression *x = NULL;
	char name[32];
	int r = nl_attr_table_nest(elem, no_min, NFTA_EXPR_MAX, tb, e);

	if (r < 0)
		return r;
	nl_attr_text(tb[NFTA_EXPR_NAME], name, sizeof(name));
	for (size_t i = 0; i < ARRAY_LEN(expressions); i++)
		if (str_eq(expressions[i].name, name))
			x = &expressions[i];
	buf_addc(out, ' ');
	add_text(out, name);
	if (!x) {
		buf_addc(out, '?');
		return 0;
	}
	buf_addc(out, '(');
	if (tb[NFTA_EXPR_DATA]) {
		if (str_eq(name, "counter") &&
		    (r = read_counter(tb[NFTA_EXPR_DATA], counter, e)) < 0)
			return r;
		if ((r = add_attrs(out, x, tb[NFTA_EXPR_DATA], e)) < 0)
			return r;
	}
	buf_addc(out, ')');
	return 0;
}

static int add_expressions(struct buf *out, const struct nlattr *list, struct nft_counter *counter,
			   struct err *e)
{
	const struct nlattr *elem;
	int r = 0;

	if (!list)
		return 0;
	mnl_attr_for_each_nested(elem, list)
	{
		r = add_expression(out, elem, counter, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- objects ----------------------------------------------------------------------------- */

static bool is_ours(const struct nlattr *table)
{
	char name[sizeof(NFT_TABLE) + 1];

	nl_attr_text(table, name, sizeof(name));
	return str_eq(name, NFT_TABLE);
}

static int finish_line(struct nft_state *s, struct err *e)
{
	buf_addc(&s->text, '\n');
	return buf_error(&s->text)
		       ? err_sys(e, buf_error(&s->text), "cannot read table inet %s", NFT_TABLE)
		       : 0;
}

static int parse_table(const struct nlmsghdr *nlh, struct nft_state *s, struct err *e)
{
	const struct nlattr *tb[NFTA_TABLE_MAX + 1];
	char comment[NFTNL_UDATA_COMMENT_MAXLEN + 1];
	int r = nl_attr_table_msg(nlh, sizeof(struct nfgenmsg), no_min, NFTA_TABLE_MAX, tb, e);

	if (r < 0 || !is_ours(tb[NFTA_TABLE_NAME]))
		return r;
	read_comment(tb[NFTA_TABLE_USERDATA], NFTNL_UDATA_TABLE_COMMENT, comment, sizeof(comment));
	if (!str_eq(comment, NFT_TABLE_MARK))
		return err_set(
			e, -EEXIST,
			"table inet %s is there and is not ours (its comment is not \"%s\"): "
			"rename or delete it (nft delete table inet %s), or switch the "
			"firewall rules off",
			NFT_TABLE, NFT_TABLE_MARK, NFT_TABLE);
	s->present = true;
	buf_addf(&s->text, "table inet %s = \"%s\"", NFT_TABLE, comment);
	if (number(tb[NFTA_TABLE_FLAGS]))
		buf_addf(&s->text, " flags %u", (unsigned)number(tb[NFTA_TABLE_FLAGS]));
	return finish_line(s, e);
}

static int parse_chain(const struct nlmsghdr *nlh, struct nft_state *s, struct err *e)
{
	const struct nlattr *tb[NFTA_CHAIN_MAX + 1], *hook[NFTA_HOOK_MAX + 1];
	char text[NFT_CHAIN_MAXNAMELEN];
	int r = nl_attr_table_msg(nlh, sizeof(struct nfgenmsg), no_min, NFTA_CHAIN_MAX, tb, e);

	if (r < 0 || !is_ours(tb[NFTA_CHAIN_TABLE]))
		return r;
	nl_attr_text(tb[NFTA_CHAIN_NAME], text, sizeof(text));
	buf_adds(&s->text, "chain ");
	add_text(&s->text, text);
	buf_adds(&s->text, " =");
	if (tb[NFTA_CHAIN_HOOK]) {
		r = nl_attr_table_nest(tb[NFTA_CHAIN_HOOK], no_min, NFTA_HOOK_MAX, hook, e);
		if (r < 0)
			return r;
		nl_attr_text(tb[NFTA_CHAIN_TYPE], text, sizeof(text));
		buf_addc(&s->text, ' ');
		add_text(&s->text, text);
		buf_addf(&s->text, " hook %u priority %d policy %u",
			 (unsigned)number(hook[NFTA_HOOK_HOOKNUM]),
			 (int)(int32_t)number(hook[NFTA_HOOK_PRIORITY]),
			 (unsigned)number(tb[NFTA_CHAIN_POLICY]));
	}
	return finish_line(s, e);
}

static int add_counter(struct nft_state *s, const char *comment, struct nft_counter counter,
		       struct err *e)
{
	if (!nft_comment_parse(comment, counter.ifname, &counter.kind))
		return 0;
	if (mem_grow(&s->counters, s->n_counters, &s->cap_counters, sizeof(counter)) < 0)
		return err_sys(e, -ENOMEM, "cannot read table inet %s", NFT_TABLE);
	s->counters[s->n_counters++] = counter;
	return 0;
}

static int parse_rule(const struct nlmsghdr *nlh, struct nft_state *s, struct err *e)
{
	const struct nlattr *tb[NFTA_RULE_MAX + 1];
	char chain[NFT_CHAIN_MAXNAMELEN], comment[NFTNL_UDATA_COMMENT_MAXLEN + 1];
	struct nft_counter counter = {0};
	int r = nl_attr_table_msg(nlh, sizeof(struct nfgenmsg), no_min, NFTA_RULE_MAX, tb, e);

	if (r < 0 || !is_ours(tb[NFTA_RULE_TABLE]))
		return r;
	nl_attr_text(tb[NFTA_RULE_CHAIN], chain, sizeof(chain));
	read_comment(tb[NFTA_RULE_USERDATA], NFTNL_UDATA_RULE_COMMENT, comment, sizeof(comment));
	buf_adds(&s->text, "rule ");
	if (comment[0]) {
		buf_addc(&s->text, '"');
		add_text(&s->text, comment);
		buf_adds(&s->text, "\" ");
	}
	buf_adds(&s->text, "in chain ");
	add_text(&s->text, chain);
	buf_adds(&s->text, " =");
	if ((r = add_expressions(&s->text, tb[NFTA_RULE_EXPRESSIONS], &counter, e)) < 0 ||
	    (r = add_counter(s, comment, counter, e)) < 0)
		return r;
	return finish_line(s, e);
}

int nft_parse(const struct nlmsghdr *nlh, struct nft_state *s, struct err *e)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*header))
		return err_set(e, -EBADMSG, "nf_tables message cut off");
	if (header->nfgen_family != NFPROTO_INET)
		return 0;
	switch (nlh->nlmsg_type) {
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE: return parse_table(nlh, s, e);
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN: return parse_chain(nlh, s, e);
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE: return parse_rule(nlh, s, e);
	default: return 0;
	}
}

int nft_parse_generation(const struct nlmsghdr *nlh, uint32_t *ret, struct err *e)
{
	const struct nlattr *tb[NFTA_GEN_MAX + 1];
	int r = nl_attr_table_msg(nlh, sizeof(struct nfgenmsg), no_min, NFTA_GEN_MAX, tb, e);

	if (r < 0)
		return r;
	if (!tb[NFTA_GEN_ID])
		return err_set(e, -EBADMSG, "nf_tables generation without its number");
	*ret = (uint32_t)number(tb[NFTA_GEN_ID]);
	return 0;
}
