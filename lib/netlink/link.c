/*
 * Links: requests, and the reading of RTM_NEWLINK.
 */
#include "netlink/link.h"
#include "base/str.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* Since Linux 5.17; before, ignored. A link's message is 1.3 KiB with statistics. */
#ifndef RTEXT_FILTER_SKIP_STATS
#define RTEXT_FILTER_SKIP_STATS (1 << 3)
#endif

static int parse_kind(const struct nlattr *linkinfo, char kind[static NL_KIND_LEN], struct err *e)
{
	static const uint8_t min_len[IFLA_INFO_MAX + 1] = {0};
	const struct nlattr *tb[IFLA_INFO_MAX + 1];
	int r = nl_attr_table_nest(linkinfo, min_len, IFLA_INFO_MAX, tb, e);

	if (r < 0)
		return r;
	nl_attr_text(tb[IFLA_INFO_KIND], kind, NL_KIND_LEN);
	return 0;
}

int nl_link_parse(const struct nlmsghdr *nlh, struct nl_link *ret, struct err *e)
{
	static const uint8_t min_len[IFLA_MAX + 1] = {[IFLA_IFNAME] = 2, [IFLA_MTU] = 4};
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_MAX + 1];
	struct nl_link l = {0};
	int r;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return 0;
	if ((r = nl_attr_table_msg(nlh, sizeof(*ifi), min_len, IFLA_MAX, tb, e)) < 0)
		return r;
	if (ifi->ifi_family != AF_UNSPEC)
		return 0; /* what a bridge says about its port */
	if (!tb[IFLA_IFNAME] || ifi->ifi_index <= 0)
		return err_set(e, -EBADMSG, "link without name or index");
	l.index = (unsigned)ifi->ifi_index;
	l.up = ifi->ifi_flags & IFF_UP;
	l.running = ifi->ifi_flags & IFF_RUNNING;
	nl_attr_text(tb[IFLA_IFNAME], l.name, sizeof(l.name));
	nl_attr_text(tb[IFLA_IFALIAS], l.alias, sizeof(l.alias));
	if (tb[IFLA_MTU])
		l.mtu = mnl_attr_get_u32(tb[IFLA_MTU]);
	if (tb[IFLA_LINKINFO] && (r = parse_kind(tb[IFLA_LINKINFO], l.kind, e)) < 0)
		return r;
	*ret = l;
	return 1;
}

struct link_list {
	struct nl_link *v;
	size_t n, cap;
};

static void link_list_free(struct link_list *l)
{
	free(l->v);
}

static void link_list_restart(void *arg)
{
	((struct link_list *)arg)->n = 0;
}

static int on_link(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct link_list *l = arg;
	int r = mem_grow(&l->v, l->n, &l->cap, sizeof(*l->v));

	if (r < 0)
		return err_sys(e, r, "cannot list links");
	r = nl_link_parse(nlh, &l->v[l->n], e);
	if (r > 0)
		l->n++;
	return r < 0 ? r : 0;
}

/* Sends a request for one link or for all. */
static int get_links(struct nl *nl, struct nlmsghdr *request, struct link_list *list, struct err *e)
{
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return nl_request(nl, request, &(struct nl_answer){on_link, link_list_restart, list, false},
			  e);
}

int nl_link_get(struct nl *nl, const char *name, struct nl_link *ret, struct err *e)
{
	_cleanup_(link_list_free) struct link_list list = {0};
	union nl_request req;
	struct ifinfomsg *ifi;

	if (strlen(name) >= IFNAMSIZ)
		return err_set(e, -ENODEV, "interface %s: No such device (the name is too long)",
			       name);
	nl_request_init(&req, RTM_GETLINK, 0, sizeof(*ifi), &ifi);
	mnl_attr_put_strz(&req.h, IFLA_IFNAME, name);
	int r = get_links(nl, &req.h, &list, e);

	if (r == 0 && list.n == 0)
		r = err_sys(e, -ENODEV, "no link in the answer");
	if (r < 0) {
		err_prefix(e, "interface %s", name);
		return r;
	}
	*ret = list.v[0];
	return 0;
}

int nl_link_get_index(struct nl *nl, unsigned index, struct nl_link *ret, struct err *e)
{
	_cleanup_(link_list_free) struct link_list list = {0};
	union nl_request req;
	struct ifinfomsg *ifi;

	nl_request_init(&req, RTM_GETLINK, 0, sizeof(*ifi), &ifi);
	ifi->ifi_index = (int)index;
	int r = get_links(nl, &req.h, &list, e);

	if (r == 0 && list.n == 0)
		r = err_sys(e, -ENODEV, "no link in the answer");
	if (r < 0) {
		err_prefix(e, "interface %u", index);
		return r;
	}
	*ret = list.v[0];
	return 0;
}

int nl_link_dump(struct nl *nl, struct nl_link **ret, size_t *ret_n, struct err *e)
{
	_cleanup_(link_list_free) struct link_list list = {0};
	union nl_request req;
	struct ifinfomsg *ifi;

	nl_request_init(&req, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi), &ifi);
	int r = get_links(nl, &req.h, &list, e);

	if (r < 0) {
		err_prefix(e, "cannot list links");
		return r;
	}
	*ret_n = list.n;
	*ret = mem_steal(&list.v);
	return 0;
}

int nl_link_add(struct nl *nl, const char *kind, const char *name, uint32_t mtu,
		unsigned *ret_index, struct err *e)
{
	union nl_request req;
	struct ifinfomsg *ifi;
	struct nl_link link;

	if (!str_is_ifname(name))
		return err_set(e, -EINVAL,
			       "interface name \"%s\": 1 to 15 bytes without '/', ':' and spaces",
			       name);
	if (strlen(kind) >= NL_KIND_LEN)
		return err_set(e, -EOPNOTSUPP, "link kind \"%s\": name too long", kind);
	nl_request_init(&req, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*ifi), &ifi);
	mnl_attr_put_strz(&req.h, IFLA_IFNAME, name);
	if (mtu)
		mnl_attr_put_u32(&req.h, IFLA_MTU, mtu);
	struct nlattr *info = mnl_attr_nest_start(&req.h, IFLA_LINKINFO);
	mnl_attr_put_str(&req.h, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(&req.h, info);

	int r = nl_request(nl, &req.h, NULL, e);
	if (r < 0) {
		err_prefix(e, "cannot create %s link %s", kind, name);
		return r;
	}
	if (!ret_index)
		return 0;
	if ((r = nl_link_get(nl, name, &link, e)) < 0)
		return r;
	*ret_index = link.index;
	return 0;
}

int nl_link_set(struct nl *nl, unsigned index, const struct nl_link_change *change, struct err *e)
{
	union nl_request req;
	struct ifinfomsg *ifi;

	nl_request_init(&req, RTM_SETLINK, 0, sizeof(*ifi), &ifi);
	ifi->ifi_index = (int)index;
	if (change->set_up) {
		ifi->ifi_change = IFF_UP;
		ifi->ifi_flags = change->up ? IFF_UP : 0;
	}
	if (change->set_mtu)
		mnl_attr_put_u32(&req.h, IFLA_MTU, change->mtu);
	if (change->set_alias) {
		if (strlen(change->alias) >= NL_ALIAS_LEN)
			return err_set(e, -EINVAL, "alias of %zu bytes, at most %d",
				       strlen(change->alias), NL_ALIAS_LEN - 1);
		/* Without NUL: the kernel takes an empty attribute for "none". */
		mnl_attr_put_str(&req.h, IFLA_IFALIAS, change->alias);
	}
	int r = nl_request(nl, &req.h, NULL, e);

	if (r < 0)
		err_prefix(e, "cannot change interface %u", index);
	return r;
}

int nl_link_del(struct nl *nl, unsigned index, struct err *e)
{
	union nl_request req;
	struct ifinfomsg *ifi;

	/* Index 0 would be "by attributes", of which there are none. */
	if (index == 0)
		return err_set(e, -ENODEV, "interface 0: No such device");
	nl_request_init(&req, RTM_DELLINK, 0, sizeof(*ifi), &ifi);
	ifi->ifi_index = (int)index;
	int r = nl_request(nl, &req.h, NULL, e);

	if (r < 0)
		err_prefix(e, "cannot delete interface %u", index);
	return r;
}
