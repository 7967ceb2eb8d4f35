/*
 * Policy rules: requests, and the reading of RTM_NEWRULE.
 *
 * A rule that selects by anything this module does not show is marked `other`, so that it can't
 * be taken for one of ours that it resembles; attributes of kernels to come count as such.
 */
#include "netlink/rule.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <string.h>

/* Flags that tell the state of a rule, not what it selects. */
#define STATE_FLAGS (FIB_RULE_PERMANENT | FIB_RULE_UNRESOLVED)

static bool selects_otherwise(const struct nlmsghdr *nlh, const struct fib_rule_hdr *h,
			      const struct nlattr *const *tb)
{
	static const uint8_t others[] = {
		FRA_SRC,    FRA_IIFNAME,   FRA_OIFNAME,  FRA_GOTO,        FRA_FLOW,
		FRA_TUN_ID, FRA_UID_RANGE, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE,
	};
	const struct nlattr *a;

	if (h->action != FR_ACT_TO_TBL || h->src_len || h->tos || (h->dst_len && !tb[FRA_DST]) ||
	    h->flags & ~(uint32_t)(STATE_FLAGS | FIB_RULE_INVERT))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (tb[others[i]])
			return true;
	if (tb[FRA_L3MDEV] && mnl_attr_get_u8(tb[FRA_L3MDEV]))
		return true;
	if (tb[FRA_SUPPRESS_IFGROUP] && mnl_attr_get_u32(tb[FRA_SUPPRESS_IFGROUP]) != UINT32_MAX)
		return true;
	mnl_attr_for_each(a, nlh, sizeof(*h)) if (mnl_attr_get_type(a) > FRA_MAX) return true;
	return false;
}

int nl_rule_parse(const struct nlmsghdr *nlh, struct nl_rule *ret, struct err *e)
{
	static const uint8_t min_len[FRA_MAX + 1] = {
		[FRA_PRIORITY] = 4,
		[FRA_FWMARK] = 4,
		[FRA_FWMASK] = 4,
		[FRA_TABLE] = 4,
		[FRA_PROTOCOL] = 1,
		[FRA_L3MDEV] = 1,
		[FRA_SUPPRESS_PREFIXLEN] = 4,
		[FRA_SUPPRESS_IFGROUP] = 4,
	};
	const struct fib_rule_hdr *h = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[FRA_MAX + 1];
	struct nl_rule rule = {.suppress_prefixlen = -1};
	int r;

	if (nlh->nlmsg_type != RTM_NEWRULE && nlh->nlmsg_type != RTM_DELRULE)
		return 0;
	if ((r = nl_attr_table_msg(nlh, sizeof(*h), min_len, FRA_MAX, tb, e)) < 0)
		return r;
	if (ip_bits(h->family) == 0)
		return 0; /* multicast routing */
	rule.family = h->family;
	rule.invert = h->flags & FIB_RULE_INVERT;
	rule.table = tb[FRA_TABLE] ? mnl_attr_get_u32(tb[FRA_TABLE]) : h->table;
	if (tb[FRA_PRIORITY])
		rule.priority = mnl_attr_get_u32(tb[FRA_PRIORITY]);
	if (tb[FRA_FWMARK])
		rule.fwmark = mnl_attr_get_u32(tb[FRA_FWMARK]);
	if (tb[FRA_FWMASK])
		rule.fwmask = mnl_attr_get_u32(tb[FRA_FWMASK]);
	if (tb[FRA_PROTOCOL])
		rule.protocol = mnl_attr_get_u8(tb[FRA_PROTOCOL]);
	if (tb[FRA_SUPPRESS_PREFIXLEN])
		rule.suppress_prefixlen = (int)mnl_attr_get_u32(tb[FRA_SUPPRESS_PREFIXLEN]);
	if (tb[FRA_DST] && h->dst_len > ip_bits(h->family))
		return err_set(e, -EBADMSG, "rule with a destination of length %u", h->dst_len);
	if (tb[FRA_DST] && (r = nl_attr_ip(tb[FRA_DST], h->family, &rule.dst.addr, e)) < 0)
		return r;
	if (tb[FRA_DST])
		rule.dst.len = h->dst_len;
	rule.other = selects_otherwise(nlh, h, tb);
	*ret = rule;
	return 1;
}

struct rule_list {
	struct nl_rule *v;
	size_t n, cap;
	size_t kept; /* of the family before: a restart forgets only what came after */
	sa_family_t family;
	uint8_t protocol;
};

static void rule_list_free(struct rule_list *l)
{
	free(l->v);
}

static void rule_list_restart(void *arg)
{
	struct rule_list *l = arg;

	l->n = l->kept;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct rule_list *l = arg;
	struct nl_rule rule;
	int r = nl_rule_parse(nlh, &rule, e);

	if (r <= 0)
		return r;
	if (rule.family != l->family || (l->protocol && rule.protocol != l->protocol))
		return 0;
	if ((r = mem_grow(&l->v, l->n, &l->cap, sizeof(*l->v))) < 0)
		return err_sys(e, r, "cannot list rules");
	l->v[l->n++] = rule;
	return 0;
}

/* A family without policy routing, or not there at all, has no rules. */
static int dump_family(struct nl *nl, sa_family_t family, struct rule_list *list, struct err *e)
{
	struct nl_answer answer = {on_rule, rule_list_restart, list, false};
	union nl_request req;
	struct fib_rule_hdr *h;
	struct err local;

	nl_request_init(&req, RTM_GETRULE, NLM_F_DUMP, sizeof(*h), &h);
	h->family = (uint8_t)family;
	list->family = family;
	list->kept = list->n;
	int r = nl_request(nl, &req.h, &answer, &local);

	if (r == -EOPNOTSUPP || r == -EAFNOSUPPORT) {
		list->n = list->kept;
		return 0;
	}
	return r < 0 ? err_set(e, r, "cannot list rules: %s", local.msg) : 0;
}

int nl_rule_dump(struct nl *nl, uint8_t protocol, struct nl_rule **ret, size_t *ret_n,
		 struct err *e)
{
	_cleanup_(rule_list_free) struct rule_list list = {.protocol = protocol};
	int r;

	if ((r = dump_family(nl, AF_INET, &list, e)) < 0 ||
	    (r = dump_family(nl, AF_INET6, &list, e)) < 0)
		return r;
	*ret_n = list.n;
	*ret = mem_steal(&list.v);
	return 0;
}

static int rule_request(struct nl *nl, uint16_t type, uint16_t flags, const struct nl_rule *rule,
			const char *what, struct err *e)
{
	union nl_request req;
	struct fib_rule_hdr *h;
	int r;

	nl_request_init(&req, type, flags, sizeof(*h), &h);
	h->family = (uint8_t)rule->family;
	h->action = FR_ACT_TO_TBL;
	h->flags = rule->invert ? FIB_RULE_INVERT : 0;
	if (rule->dst.addr.family) {
		h->dst_len = rule->dst.len;
		nl_attr_put_ip(&req.h, FRA_DST, &rule->dst.addr);
	}
	mnl_attr_put_u32(&req.h, FRA_TABLE, rule->table);
	if (rule->priority)
		mnl_attr_put_u32(&req.h, FRA_PRIORITY, rule->priority);
	if (rule->fwmark || rule->fwmask) {
		mnl_attr_put_u32(&req.h, FRA_FWMARK, rule->fwmark);
		mnl_attr_put_u32(&req.h, FRA_FWMASK, rule->fwmask ? rule->fwmask : UINT32_MAX);
	}
	if (rule->suppress_prefixlen >= 0)
		mnl_attr_put_u32(&req.h, FRA_SUPPRESS_PREFIXLEN,
				 (uint32_t)rule->suppress_prefixlen);
	if (rule->protocol)
		mnl_attr_put_u8(&req.h, FRA_PROTOCOL, rule->protocol);
	if ((r = nl_request(nl, &req.h, NULL, e)) < 0)
		err_prefix(e, "cannot %s IPv%c rule %u, table %u", what,
			   rule->family == AF_INET ? '4' : '6', rule->priority, rule->table);
	return r;
}

int nl_rule_add(struct nl *nl, const struct nl_rule *rule, struct err *e)
{
	return rule_request(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule, "add", e);
}

int nl_rule_del(struct nl *nl, const struct nl_rule *rule, struct err *e)
{
	if (rule->priority == 0)
		return err_set(e, -EINVAL, "cannot delete a rule without its priority");
	return rule_request(nl, RTM_DELRULE, 0, rule, "delete", e);
}
