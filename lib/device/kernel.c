/*
 * The kernel's WireGuard.
 */
#include "device/device_priv.h"
#include "base/str.h"
#include "netlink/link.h"
#include "netlink/wg.h"

#include <errno.h>
#include <linux/netlink.h>

static int kernel_get(struct device *d, struct wgdev *ret, struct err *e)
{
	return nl_wg_get(d->genl, d->ifname, ret, e);
}

static int kernel_set(struct device *d, const struct wgdev_change *c, struct err *e)
{
	for (size_t i = 0; i < c->n_peers; i++)
		if (!c->peers[i].remove && c->peers[i].n_removed)
			return err_set(e, -EOPNOTSUPP,
				       "the kernel takes no removal of single allowed IPs, only "
				       "the whole list");
	return nl_wg_set(d->genl, d->ifname, c, e);
}

static int kernel_del(struct device *d, struct err *e)
{
	return device_del_link(d, "wireguard", e);
}

static const struct device_ops ops = {kernel_get, kernel_set, kernel_del};

int device_kernel_open(struct device *d, struct err *e)
{
	struct nl_link link;

	int r = nl_link_get(d->route, d->ifname, &link, e);
	if (r < 0)
		return r;
	if (!str_eq(link.kind, "wireguard"))
		return err_set(e, -EPROTOTYPE, "%s is a link of kind \"%s\", not \"wireguard\"",
			       d->ifname, link.kind);
	d->ops = &ops;
	return nl_open(NETLINK_GENERIC, &d->genl, e);
}

int device_kernel_create(struct device *d, struct err *e)
{
	int r = nl_open(NETLINK_GENERIC, &d->genl, e);

	d->ops = &ops;
	return r < 0 ? r : nl_link_add(d->route, "wireguard", d->ifname, 0, NULL, e);
}
