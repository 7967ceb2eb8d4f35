/*
 * Attributes: checked before anything looks at them.
 *
 *     0               2               4
 *     +---------------+---------------+----------- - - -+- - - - - - - -+
 *     | length        | N B type      | payload         | padding to 4  |
 *     +---------------+---------------+----------- - - -+- - - - - - - -+
 *
 * The length counts the header and not the padding. N and B are flags (nested, big endian) that
 * the kernel sets in some attributes and not in others; mnl_attr_get_type drops them.
 */
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <string.h>

int nl_attr_table(const void *data, size_t len, const uint8_t *min_len, size_t max,
		  const struct nlattr **tb, struct err *e)
{
	const char *end = (const char *)data + len;
	const struct nlattr *a = data;

	memset(tb, 0, (max + 1) * sizeof(*tb));
	for (; mnl_attr_ok(a, (int)(end - (const char *)a)); a = mnl_attr_next(a)) {
		unsigned type = mnl_attr_get_type(a);

		if (type > max)
			continue;
		if (mnl_attr_get_payload_len(a) < min_len[type])
			return err_set(e, -EBADMSG, "netlink attribute %u of %u bytes, %u wanted",
				       type, mnl_attr_get_payload_len(a), min_len[type]);
		tb[type] = a;
	}
	if ((const char *)a < end)
		return err_set(e, -EBADMSG, "netlink attribute cut off");
	return 0;
}

int nl_attr_table_msg(const struct nlmsghdr *nlh, size_t header, const uint8_t *min_len, size_t max,
		      const struct nlattr **tb, struct err *e)
{
	size_t len = mnl_nlmsg_get_payload_len(nlh);

	if (len < header)
		return err_set(e, -EBADMSG, "netlink message of %zu bytes, %zu wanted", len,
			       header);
	header = MNL_ALIGN(header);
	return nl_attr_table(mnl_nlmsg_get_payload_offset(nlh, header),
			     len > header ? len - header : 0, min_len, max, tb, e);
}

int nl_attr_table_nest(const struct nlattr *nest, const uint8_t *min_len, size_t max,
		       const struct nlattr **tb, struct err *e)
{
	return nl_attr_table(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), min_len,
			     max, tb, e);
}

void nl_attr_text(const struct nlattr *a, char *dst, size_t size)
{
	size_t len = a ? strnlen(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a)) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(dst, mnl_attr_get_payload(a), len);
	dst[len] = '\0';
}

int nl_attr_ip(const struct nlattr *a, sa_family_t family, struct ip_addr *ret, struct err *e)
{
	size_t len = ip_bytes(family);

	if (len == 0 || mnl_attr_get_payload_len(a) != len)
		return err_set(e, -EBADMSG, "address of %u bytes in family %u",
			       mnl_attr_get_payload_len(a), family);
	*ret = (struct ip_addr){.family = family};
	memcpy(ret->b, mnl_attr_get_payload(a), len);
	return 0;
}

void nl_attr_put_ip(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a)
{
	mnl_attr_put(nlh, type, ip_bytes(a->family), a->b);
}
