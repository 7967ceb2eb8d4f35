/*
 * The TUN device. Offloads are asked for from the most to the least: TCP and UDP segmentation
 * (UDP since Linux 6.2), TCP alone, checksums alone. What is granted says what super-packets the
 * kernel gives us, and so what it takes.
 *
 * The kernel is told to put no more packets into one super-packet than one UDP send can carry
 * (IFLA_GSO_MAX_SEGS), so that 64 KiB of TCP are one send and not one and a short one. That is a
 * matter of speed only: it is tried once, for the MTU at the start.
 *
 * An interface may be renamed while it is asked for: for some milliseconds it has no name at all
 * then. And it may go to another network namespace, where its number says nothing. Whether it is
 * gone is for the TUN's own descriptor to say, which also says whether it is up (a TUN that is down
 * is not writable). Its MTU nobody tells from there.
 */
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "udp.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* Not if_nametoindex(3), which opens a socket: a running device may not. */
unsigned tun_index_of(const struct tun *t, const char *name)
{
	struct ifreq r = {0};

	if (str_copy(r.ifr_name, sizeof(r.ifr_name), name) < 0 ||
	    ioctl(t->query_fd, SIOCGIFINDEX, &r) < 0)
		return 0;
	return (unsigned)r.ifr_ifindex;
}

#define RENAMES 8 /* while it is asked for, one after the other */

static int query(const struct tun *t, unsigned long what, struct ifreq *r)
{
	memset(r, 0, sizeof(*r));
	memcpy(r->ifr_name, t->name, sizeof(r->ifr_name));
	return ioctl(t->query_fd, what, r) < 0 ? -errno : 0;
}

/* By number, since it may have been renamed. */
static int query_here(struct tun *t, uint32_t *ret_mtu, bool *ret_up)
{
	struct ifreq mtu, flags, name = {.ifr_ifindex = (int)t->ifindex};

	if (ioctl(t->query_fd, SIOCGIFNAME, &name) < 0)
		return -ENODEV;
	memcpy(t->name, name.ifr_name, sizeof(t->name));
	if (query(t, SIOCGIFMTU, &mtu) < 0 || query(t, SIOCGIFFLAGS, &flags) < 0)
		return -EAGAIN;
	*ret_mtu = (uint32_t)mtu.ifr_mtu;
	*ret_up = flags.ifr_flags & IFF_UP;
	return 0;
}

/* This waits for the end of what changes the interface now. */
static int query_itself(struct tun *t, uint32_t *ret_mtu, bool *ret_up)
{
	struct pollfd p = {t->fd[0], POLLOUT, 0};
	struct ifreq r = {0};

	if (ioctl(t->fd[0], TUNGETIFF, &r) < 0)
		return -errno;
	memcpy(t->name, r.ifr_name, sizeof(t->name));
	*ret_mtu = atomic_load(&t->mtu);
	*ret_up = ppoll(&p, 1, &(struct timespec){0}, NULL) == 1 && p.revents & POLLOUT;
	return 0;
}

int tun_query(struct tun *t, uint32_t *ret_mtu, bool *ret_up)
{
	unsigned tries = 0;
	int here, itself = 0;

	while ((here = query_here(t, ret_mtu, ret_up)) < 0) {
		itself = query_itself(t, ret_mtu, ret_up);
		if (itself < 0 || here != -EAGAIN || ++tries == RENAMES)
			break;
	}
	t->away = here < 0;
	return here < 0 ? itself : 0;
}

static void offloads(struct tun *t)
{
	static const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	if (ioctl(t->fd[0], TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0)
		t->tso = t->uso = true;
	else if (ioctl(t->fd[0], TUNSETOFFLOAD, tcp) == 0)
		t->tso = true;
	else
		ioctl(t->fd[0], TUNSETOFFLOAD, TUN_F_CSUM);
}

/* One more queue of interface NAME, or its first, which makes it. */
static int attach(struct tun *t, const char *name, short flags, struct err *e)
{
	struct ifreq r = {.ifr_flags = flags};
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_sys(e, -errno,
			       "cannot open /dev/net/tun (modprobe tun; in a container: "
			       "--device /dev/net/tun)");
	memcpy(r.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &r) < 0) {
		if (errno == EBUSY || errno == EINVAL)
			return err_set(e, -EEXIST, "interface %s exists already", name);
		return err_sys(e, -errno, "cannot make interface %s%s", name,
			       errno == EPERM ? " (CAP_NET_ADMIN is needed)" : "");
	}
	t->fd[t->queues++] = mem_steal_fd(&fd);
	return 0;
}

static int create(struct tun *t, const char *name, unsigned queues, struct err *e)
{
	short flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
	int r = 0;

	/* TUNSETIFF would take over a persistent TUN that nobody holds. */
	if (if_nametoindex(name))
		return err_set(e, -EEXIST, "interface %s exists already", name);
	if (queues > 1)
		flags |= IFF_MULTI_QUEUE;
	while (r == 0 && t->queues < queues)
		r = attach(t, name, flags, e);
	t->ours = t->vnet = true;
	return r;
}

static int adopt(struct tun *t, int fd, struct err *e)
{
	struct ifreq r = {0};
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || ioctl(fd, TUNGETIFF, &r) < 0)
		return err_sys(e, -errno, "WG_TUN_FD: descriptor %d is no TUN", fd);
	if (!(r.ifr_flags & IFF_TUN) || !(r.ifr_flags & IFF_NO_PI))
		return err_set(e, -EINVAL, "WG_TUN_FD: not a TUN with IFF_NO_PI");
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, -errno, "WG_TUN_FD");
	t->vnet = r.ifr_flags & IFF_VNET_HDR;
	t->fd[t->queues++] = fd;
	return 0;
}

static void set_max_segments(const struct tun *t, uint32_t segments)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
		struct nlattr a;
		uint32_t value;
	} m = {
		.h = {.nlmsg_len = sizeof(m),
		      .nlmsg_type = RTM_SETLINK,
		      .nlmsg_flags = NLM_F_REQUEST},
		.i = {.ifi_index = (int)t->ifindex},
		.a = {.nla_len = sizeof(m.a) + 4, .nla_type = IFLA_GSO_MAX_SEGS},
		.value = segments,
	};
	_cleanup_close_ int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (s >= 0)
		(void)!send(s, &m, sizeof(m), 0);
}

/* It is of this length from the start, so it does not matter where it cannot be set. */
static int set_header(const struct tun *t)
{
	const int want = sizeof(struct virtio_net_hdr);
	int size = want;

	if (ioctl(t->fd[0], TUNSETVNETHDRSZ, &size) == 0)
		return 0;
	return ioctl(t->fd[0], TUNGETVNETHDRSZ, &size) == 0 && size == want ? 0 : -EINVAL;
}

static int set_up(struct tun *t, const char *name, bool offload, struct err *e)
{
	struct ifreq r;
	int r2;
	uint32_t mtu = TUN_MTU;
	bool up;

	if (ioctl(t->fd[0], TUNGETIFF, &r) < 0)
		return err_sys(e, -errno, "cannot read back interface %s", name);
	memcpy(t->name, r.ifr_name, sizeof(t->name));
	t->ifindex = if_nametoindex(t->name);
	if (t->vnet && (r2 = set_header(t)) < 0)
		return err_sys(e, r2, "interface %s: virtio-net header", t->name);
	if (t->vnet && offload)
		offloads(t);
	if (t->ours) {
		memset(&r, 0, sizeof(r));
		memcpy(r.ifr_name, t->name, sizeof(r.ifr_name));
		r.ifr_mtu = TUN_MTU;
		if (ioctl(t->query_fd, SIOCSIFMTU, &r) < 0)
			return err_sys(e, -errno, "interface %s: cannot set the MTU", t->name);
	}
	if ((r2 = tun_query(t, &mtu, &up)) < 0)
		return err_sys(e, r2, "interface %s", t->name);
	atomic_store(&t->mtu, mtu);
	if (t->tso)
		set_max_segments(t, udp_train_segments(mtu));
	return 0;
}

int tun_open(struct tun *ret, const char *name, int fd, unsigned queues, bool offload,
	     struct err *e)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	memset(ret->fd, -1, sizeof(ret->fd));
	ret->query_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ret->query_fd < 0)
		return err_sys(e, -errno, "cannot open a socket");
	r = fd >= 0 ? adopt(ret, fd, e) : create(ret, name, queues, e);
	if (r == 0)
		r = set_up(ret, name, offload, e);
	if (r < 0)
		tun_close(ret);
	return r;
}

void tun_close(struct tun *t)
{
	for (unsigned i = 0; i < t->queues; i++)
		mem_close_p(&t->fd[i]);
	mem_close_p(&t->query_fd);
	t->queues = 0;
	t->query_fd = -1;
}
