/*
 * What the backends share, and the choice between them.
 */
#include "device/device_priv.h"
#include "base/buf.h"
#include "base/str.h"
#include "netlink/link.h"
#include "netlink/wg.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char *const device_programs[] = {"harmony-wg", "wireguard-go", "boringtun-cli", NULL};

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Only absolute folders of PATH count: the working folder is nobody's to trust. */
static bool find_program(const char *name, char *ret, size_t size)
{
	const char *p = getenv("PATH");

	if (!p || !*p)
		p = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (; *p; p += *p == ':') {
		size_t n = strcspn(p, ":");
		char path[256];
		int len = snprintf(path, sizeof(path), "%.*s/%s", (int)n, p, name);

		if (*p == '/' && len > 0 && (size_t)len < sizeof(path) && is_program(path))
			return str_copy(ret, size, path) == 0;
		p += n;
	}
	return false;
}

static void probe_userspace(struct device_probe *p, struct buf *why)
{
	for (size_t i = 0; device_programs[i] && !*p->userspace; i++)
		find_program(device_programs[i], p->userspace, sizeof(p->userspace));
	if (!*p->userspace) {
		buf_adds(why, ", no userspace program on PATH (");
		for (size_t i = 0; device_programs[i]; i++)
			buf_addf(why, "%s%s", i ? ", " : "", device_programs[i]);
		buf_adds(why, ")");
		return;
	}
	buf_addf(why, ", found %s", p->userspace);
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		buf_addf(why, " but it cannot work: /dev/net/tun: %s", strerror(errno));
		p->userspace[0] = '\0';
	}
}

int device_probe(const char *given, struct device_probe *ret, struct err *e)
{
	_cleanup_buf_ struct buf why = BUF_INIT(0);
	_cleanup_nl_ struct nl *nl = NULL;
	struct device_probe p = {0};
	struct err local;

	int r = nl_open(NETLINK_GENERIC, &nl, e);
	if (r < 0)
		return r;
	r = nl_wg_probe(nl, &local);
	p.kernel = r == 0;
	buf_adds(&why, p.kernel ? "the kernel has WireGuard" : local.msg);
	if (given) {
		r = str_copy(p.userspace, sizeof(p.userspace), given);
		if (r < 0)
			return err_set(e, -ENAMETOOLONG, "%s: the path is too long", given);
		buf_addf(&why, ", userspace devices by %s", given);
	} else {
		probe_userspace(&p, &why);
	}
	if (buf_error(&why) < 0)
		return err_sys(e, buf_error(&why), "probe");
	snprintf(p.why, sizeof(p.why), "%s", buf_str(&why));
	*ret = p;
	return 0;
}

int device_new(const char *ifname, enum device_kind kind, struct device **ret, struct err *e)
{
	_cleanup_device_ struct device *d = NULL;

	if (!str_is_ifname(ifname))
		return err_set(e, -EINVAL,
			       "\"%s\" is no interface name (1 to 15 bytes, no '/', "
			       "no ':', no white space)",
			       ifname);
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_sys(e, -ENOMEM, "device %s", ifname);
	d->kind = kind;
	d->pidfd = -1;
	str_copy(d->ifname, sizeof(d->ifname), ifname);
	snprintf(d->path, sizeof(d->path), "%s/%s.sock", DEVICE_UAPI_DIR, d->ifname);
	int r = nl_open(NETLINK_ROUTE, &d->route, e);
	if (r == 0)
		*ret = mem_steal(&d);
	return r;
}

void device_free(struct device *d)
{
	if (!d)
		return;
	nl_close(d->route);
	nl_close(d->genl);
	mem_close_p(&d->pidfd);
	free(d);
}

int device_open(const char *ifname, enum device_kind kind, struct device **ret, struct err *e)
{
	_cleanup_device_ struct device *d = NULL;

	int r = device_new(ifname, kind, &d, e);
	if (r == 0)
		r = kind == DEVICE_KERNEL ? device_kernel_open(d, e) : device_uapi_open(d, e);
	if (r == 0)
		*ret = mem_steal(&d);
	return r;
}

int device_create(const char *ifname, enum device_kind kind, const char *program,
		  struct device **ret, struct err *e)
{
	_cleanup_device_ struct device *d = NULL;
	struct nl_link link;

	int r = device_new(ifname, kind, &d, e);
	if (r < 0)
		return r;
	r = nl_link_get(d->route, ifname, &link, e);
	if (r == 0)
		return err_set(e, -EEXIST, "%s exists already, a link of kind \"%s\"", ifname,
			       link.kind);
	if (r != -ENODEV)
		return r;
	if (kind == DEVICE_KERNEL)
		r = device_kernel_create(d, e);
	else
		r = device_uapi_create(d, program, e);
	if (r == 0)
		*ret = mem_steal(&d);
	return r;
}

int device_del_link(struct device *d, const char *kind, struct err *e)
{
	struct nl_link link;

	int r = nl_link_get(d->route, d->ifname, &link, e);
	if (r == 0 && str_eq(link.kind, kind) && str_eq(link.name, d->ifname))
		r = nl_link_del(d->route, link.index, e);
	return r == -ENODEV ? 0 : r;
}

int device_delete(struct device *d, struct err *e)
{
	return d->ops->del(d, e);
}

int device_get(struct device *d, struct wgdev *ret, struct err *e)
{
	int r = d->ops->get(d, ret, e);

	if (r == 0)
		memcpy(ret->ifname, d->ifname, sizeof(ret->ifname));
	return r;
}

int device_set(struct device *d, const struct wgdev_change *change, struct err *e)
{
	return d->ops->set(d, change, e);
}

enum device_kind device_kind(const struct device *d)
{
	return d->kind;
}

const char *device_backend_name(const struct device *d)
{
	return d->kind == DEVICE_KERNEL ? "kernel" : d->program;
}

pid_t device_pid(const struct device *d)
{
	return d->pid;
}
