/*
 * The kernel's WireGuard: requests. Their wire format is in wgmsg.c.
 *
 * Generic netlink gives each family a number when its module is loaded. It is looked up by name
 * once per socket (the kernel loads the module for that) and again when the kernel no longer
 * knows it, which is the case after the module was unloaded and loaded again.
 */
#include "netlink/wg.h"
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <string.h>

/* A message's attributes are counted in 16 bits, so 64 KiB is the end. Half of that is as fast
 * and holds what the kernel allocates for it to an order that is easily had. */
#define CHANGE_SIZE (32 * 1024)

static int on_family(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	int r = nl_genl_family_parse(nlh, arg, e);

	return r < 0 ? r : 0;
}

static int find_family(struct nl *nl, struct err *e)
{
	struct genlmsghdr *genl;
	union nl_request req;
	uint16_t family = 0;
	struct err local;

	if (nl_family(nl))
		return 0;
	nl_request_init(&req, GENL_ID_CTRL, 0, sizeof(*genl), &genl);
	genl->cmd = CTRL_CMD_GETFAMILY;
	genl->version = 1;
	mnl_attr_put_strz(&req.h, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	struct nl_answer answer = {.message = on_family, .arg = &family};
	int r = nl_request(nl, &req.h, &answer, &local);

	if (r == -ENOENT || (r == 0 && family == 0))
		return err_set(e, -EOPNOTSUPP,
			       "the kernel has no WireGuard (generic netlink family \"%s\" not "
			       "found, module not loadable)",
			       WG_GENL_NAME);
	if (r < 0)
		return err_set(e, r, "cannot look up the kernel's WireGuard: %s", local.msg);
	nl_set_family(nl, family);
	return 0;
}

int nl_wg_probe(struct nl *nl, struct err *e)
{
	nl_set_family(nl, 0);
	return find_family(nl, e);
}

/* The kernel's answers in this module's terms. */
static int explain(int r, const char *ifname, const struct err *from, struct err *e)
{
	if (r == -EOPNOTSUPP)
		return err_set(e, -EPROTOTYPE, "interface %s is no WireGuard interface", ifname);
	return err_set(e, r, "interface %s: %s", ifname, from->msg);
}

static void on_restart(void *arg)
{
	wgdev_clear(arg);
}

static int on_device(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	return nl_wg_parse(nlh, arg, e);
}

static int dump_device(struct nl *nl, const char *ifname, struct wgdev *dev, struct err *e)
{
	struct nl_answer answer = {on_device, on_restart, dev, .secret = true};
	struct genlmsghdr *genl;
	union nl_request req;

	nl_request_init(&req, nl_family(nl), NLM_F_DUMP, sizeof(*genl), &genl);
	genl->cmd = WG_CMD_GET_DEVICE;
	genl->version = WG_GENL_VERSION;
	mnl_attr_put_strz(&req.h, WGDEVICE_A_IFNAME, ifname);
	return nl_request(nl, &req.h, &answer, e);
}

int nl_wg_get(struct nl *nl, const char *ifname, struct wgdev *ret, struct err *e)
{
	_cleanup_wgdev_ struct wgdev dev;
	struct err local;
	int r;

	wgdev_init(&dev);
	if (strlen(ifname) >= IFNAMSIZ)
		return err_set(e, -ENODEV, "interface %s: No such device", ifname);
	if ((r = find_family(nl, e)) < 0)
		return r;
	r = dump_device(nl, ifname, &dev, &local);
	if (r == -ENOENT) { /* the family has another number now */
		if ((r = nl_wg_probe(nl, e)) < 0)
			return r;
		wgdev_clear(&dev);
		r = dump_device(nl, ifname, &dev, &local);
	}
	if (r < 0)
		return explain(r, ifname, &local, e);
	if ((r = wgdev_sort(&dev)) < 0)
		return err_sys(e, r, "interface %s", ifname);
	wgdev_clear(ret);
	*ret = dev;
	wgdev_init(&dev);
	return 0;
}

/* Sends the whole change, message by message. *cursor says how far it came. */
static int send_change(struct nl *nl, const char *ifname, const struct wgdev_change *change,
		       char *buffer, struct nl_wg_cursor *cursor, struct err *e)
{
	int more;

	do {
		more = nl_wg_build(buffer, CHANGE_SIZE, nl_family(nl), ifname, change, cursor);
		if (more < 0)
			return err_sys(e, more, "cannot write the request");
		int r = nl_request(nl, (struct nlmsghdr *)(void *)buffer, NULL, e);

		if (r < 0)
			return r;
	} while (more);
	return 0;
}

int nl_wg_set(struct nl *nl, const char *ifname, const struct wgdev_change *change, struct err *e)
{
	struct nl_wg_cursor cursor = {0};
	struct err local;
	int r, gone = 0;

	if (strlen(ifname) >= IFNAMSIZ)
		return err_set(e, -ENODEV, "interface %s: No such device", ifname);
	if ((r = find_family(nl, e)) < 0)
		return r;
	char *buffer = malloc(CHANGE_SIZE);
	if (!buffer)
		return err_sys(e, -ENOMEM, "interface %s", ifname);
	r = send_change(nl, ifname, change, buffer, &cursor, &local);
	if (r == -ENOENT) {
		/* Not one message was taken: a family does not lose its number while a link of
		 * its kind exists. */
		cursor = (struct nl_wg_cursor){0};
		if ((gone = nl_wg_probe(nl, e)) == 0)
			r = send_change(nl, ifname, change, buffer, &cursor, &local);
	}
	mem_wipe(buffer, CHANGE_SIZE);
	free(buffer);
	if (gone < 0)
		return gone;
	return r < 0 ? explain(r, ifname, &local, e) : 0;
}
