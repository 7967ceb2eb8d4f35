/*
 * Handles: the rtnetlink socket, and one open device for each interface, kept between
 * reconciliations.
 */
#include "agent/sys_priv.h"
#include "base/str.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>

int agent_sys_open(bool no_nft, struct agent_sys **ret, struct err *e)
{
	_cleanup_agent_sys_ struct agent_sys *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	list_init(&s->handles);
	s->no_nft = no_nft;
	int r = nl_open(NETLINK_ROUTE, &s->route, e);
	if (r < 0)
		return r;
	*ret = mem_steal(&s);
	return 0;
}

static void handle_free(struct sys_handle *h)
{
	list_del(&h->node);
	device_free(h->dev);
	free(h);
}

void agent_sys_close(struct agent_sys *s)
{
	if (!s)
		return;
	list_for_each_safe (h, &s->handles, struct sys_handle, node)
		handle_free(h);
	agent_sys_forget_paths(s);
	free(s->settings);
	nl_close(s->route);
	nl_close(s->nft);
	free(s);
}

static struct sys_handle *find(struct agent_sys *s, const char *ifname)
{
	list_for_each (h, &s->handles, struct sys_handle, node)
		if (str_eq(h->ifname, ifname))
			return h;
	return NULL;
}

void sys_handle_drop(struct agent_sys *s, const char *ifname)
{
	struct sys_handle *h = find(s, ifname);

	if (h)
		handle_free(h);
}

int sys_handle_put(struct agent_sys *s, const char *ifname, unsigned ifindex, struct device *dev)
{
	struct sys_handle *h = calloc(1, sizeof(*h));

	sys_handle_drop(s, ifname);
	if (!h || str_copy(h->ifname, sizeof(h->ifname), ifname) < 0) {
		device_free(dev);
		free(h);
		return -ENOMEM;
	}
	h->ifindex = ifindex;
	h->dev = dev;
	list_add(&s->handles, &h->node);
	return 0;
}

int sys_handle_get(struct agent_sys *s, const struct nl_link *link, struct device **ret,
		   struct err *e)
{
	struct sys_handle *h = find(s, link->name);
	struct device *dev;

	if (h && h->ifindex == link->index) {
		*ret = h->dev;
		return 0;
	}
	int r = device_open(link->name,
			    str_eq(link->kind, "wireguard") ? DEVICE_KERNEL : DEVICE_UAPI, &dev, e);
	if (r < 0)
		return r;
	if (sys_handle_put(s, link->name, link->index, dev) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*ret = dev;
	return 0;
}

unsigned sys_handle_ifindex(struct agent_sys *s, const char *ifname)
{
	struct sys_handle *h = find(s, ifname);

	return h ? h->ifindex : 0;
}

struct device *agent_sys_device(struct agent_sys *s, const char *ifname)
{
	struct sys_handle *h = find(s, ifname);

	return h ? h->dev : NULL;
}

void agent_sys_note_port(struct agent_sys *s, uint16_t port)
{
	struct port_holder h;

	if (s->n_holders < ARRAY_LEN(s->holders) && port_holder(PORT_UDP, port, &h) && h.name[0])
		s->holders[s->n_holders++] = h;
}

void sys_port_holder(const struct agent_sys *s, uint16_t port, char *out, size_t size)
{
	struct port_holder h;

	snprintf(out, size, "another program");
	if (!port_holder(PORT_UDP, port, &h))
		return;
	for (size_t i = 0; !h.name[0] && i < s->n_holders; i++)
		if (s->holders[i].inode == h.inode)
			h = s->holders[i];
	if (h.name[0])
		snprintf(out, size, "%s", h.name);
	else
		snprintf(out, size, "a program of user %u, which cannot be seen from here", h.uid);
}

const struct nl *agent_sys_route(const struct agent_sys *s)
{
	return s->route;
}

bool agent_sys_knows(const struct agent_sys *s, unsigned ifindex)
{
	list_for_each (h, &s->handles, struct sys_handle, node)
		if (h->ifindex == ifindex)
			return true;
	return false;
}
