/*
 * Addresses: requests, and the reading of RTM_NEWADDR.
 *
 * A dump asks for each family by itself: a kernel without IPv6 answers the request for it with
 * the addresses of all families, which are told apart here.
 */
#include "netlink/addr.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* What a request may set; the others are the kernel's to tell. */
#define SETTABLE_FLAGS (IFA_F_NOPREFIXROUTE | IFA_F_NODAD)

int nl_addr_parse(const struct nlmsghdr *nlh, struct nl_addr *ret, struct err *e)
{
	static const uint8_t min_len[IFA_MAX + 1] = {[IFA_FLAGS] = 4, [IFA_PROTO] = 1};
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFA_MAX + 1];
	struct nl_addr a = {0};
	int r;

	if (nlh->nlmsg_type != RTM_NEWADDR && nlh->nlmsg_type != RTM_DELADDR)
		return 0;
	if ((r = nl_attr_table_msg(nlh, sizeof(*ifa), min_len, IFA_MAX, tb, e)) < 0)
		return r;
	if (ip_bits(ifa->ifa_family) == 0)
		return 0;
	/* Of a point-to-point address IFA_ADDRESS is the other end's. */
	const struct nlattr *own = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	if (!own || ifa->ifa_prefixlen > ip_bits(ifa->ifa_family))
		return err_set(e, -EBADMSG, "address without bytes, or of length %u",
			       ifa->ifa_prefixlen);
	if ((r = nl_attr_ip(own, ifa->ifa_family, &a.prefix.addr, e)) < 0)
		return r;
	if (tb[IFA_LOCAL] && tb[IFA_ADDRESS] &&
	    (r = nl_attr_ip(tb[IFA_ADDRESS], ifa->ifa_family, &a.peer, e)) < 0)
		return r;
	if (ip_addr_cmp(&a.peer, &a.prefix.addr) == 0)
		a.peer = (struct ip_addr){0};
	a.prefix.len = ifa->ifa_prefixlen;
	a.ifindex = ifa->ifa_index;
	a.scope = ifa->ifa_scope;
	a.flags = tb[IFA_FLAGS] ? mnl_attr_get_u32(tb[IFA_FLAGS]) : ifa->ifa_flags;
	a.protocol = tb[IFA_PROTO] ? mnl_attr_get_u8(tb[IFA_PROTO]) : 0;
	*ret = a;
	return 1;
}

struct addr_list {
	struct nl_addr *v;
	size_t n, cap;
	size_t kept; /* of the family before: a restart forgets only what came after */
	sa_family_t family;
	unsigned ifindex;
};

static void addr_list_free(struct addr_list *l)
{
	free(l->v);
}

static void addr_list_restart(void *arg)
{
	struct addr_list *l = arg;

	l->n = l->kept;
}

static int on_addr(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	struct addr_list *l = arg;
	struct nl_addr a;
	int r = nl_addr_parse(nlh, &a, e);

	if (r <= 0)
		return r;
	if (a.prefix.addr.family != l->family || (l->ifindex && a.ifindex != l->ifindex))
		return 0;
	if ((r = mem_grow(&l->v, l->n, &l->cap, sizeof(*l->v))) < 0)
		return err_sys(e, r, "cannot list addresses");
	l->v[l->n++] = a;
	return 0;
}

static int dump_family(struct nl *nl, sa_family_t family, struct addr_list *list, struct err *e)
{
	struct nl_answer answer = {on_addr, addr_list_restart, list, false};
	union nl_request req;
	struct ifaddrmsg *ifa;
	struct err local;

	nl_request_init(&req, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa), &ifa);
	ifa->ifa_family = list->family = family;
	ifa->ifa_index = list->ifindex;
	list->kept = list->n;
	int r = nl_request(nl, &req.h, &answer, &local);

	if (r == -ENODEV || r == -EOPNOTSUPP || r == -EAFNOSUPPORT) {
		list->n = list->kept;
		return 0;
	}
	return r < 0 ? err_set(e, r, "cannot list addresses: %s", local.msg) : 0;
}

int nl_addr_dump(struct nl *nl, unsigned ifindex, struct nl_addr **ret, size_t *ret_n,
		 struct err *e)
{
	_cleanup_(addr_list_free) struct addr_list list = {.ifindex = ifindex};
	int r;

	if ((r = dump_family(nl, AF_INET, &list, e)) < 0 ||
	    (r = dump_family(nl, AF_INET6, &list, e)) < 0)
		return r;
	*ret_n = list.n;
	*ret = mem_steal(&list.v);
	return 0;
}

/* RTM_NEWADDR and RTM_DELADDR name an address in the same way. */
static int addr_request(struct nl *nl, uint16_t type, uint16_t flags, const struct nl_addr *addr,
			const char *what, struct err *e)
{
	char text[IP_PREFIX_LEN];
	union nl_request req;
	struct ifaddrmsg *ifa;
	int r;

	nl_request_init(&req, type, flags, sizeof(*ifa), &ifa);
	ifa->ifa_family = (uint8_t)addr->prefix.addr.family;
	ifa->ifa_prefixlen = addr->prefix.len;
	ifa->ifa_index = addr->ifindex;
	nl_attr_put_ip(&req.h, IFA_LOCAL, &addr->prefix.addr);
	nl_attr_put_ip(&req.h, IFA_ADDRESS,
		       addr->peer.family == AF_UNSPEC ? &addr->prefix.addr : &addr->peer);
	if (type == RTM_NEWADDR) {
		uint32_t wanted = addr->flags & SETTABLE_FLAGS;

		ifa->ifa_scope = addr->scope;
		ifa->ifa_flags = (uint8_t)wanted;
		mnl_attr_put_u32(&req.h, IFA_FLAGS, wanted);
		if (addr->protocol)
			mnl_attr_put_u8(&req.h, IFA_PROTO, addr->protocol);
	}
	if ((r = nl_request(nl, &req.h, NULL, e)) < 0)
		err_prefix(e, "cannot %s address %s, interface %u", what,
			   ip_prefix_str(&addr->prefix, text), addr->ifindex);
	return r;
}

int nl_addr_add(struct nl *nl, const struct nl_addr *addr, struct err *e)
{
	return addr_request(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, addr, "add", e);
}

int nl_addr_del(struct nl *nl, const struct nl_addr *addr, struct err *e)
{
	return addr_request(nl, RTM_DELADDR, 0, addr, "delete", e);
}
