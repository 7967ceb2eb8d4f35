/*
 * Errors that no kernel gives on demand. LD_PRELOAD with INJECT=FILE: the file is mapped, and says
 * at any moment, as seven words that a test writes, how calls on sockets fail:
 *
 *     errno of sendmmsg, errno of sendmsg, errno of recvmmsg, calls of recvmmsg ever (counted
 * here), errno of reading the TUN that was made last, errno of sendmmsg for a message that the
 * kernel is to cut (UDP_SEGMENT), errno of writing a packet to that TUN that it is to cut (GSO)
 *
 * 0: the call is made; 255 for recvmmsg: abort(3). INJECT_IOCTL=REQUEST[,REQUEST]: these ioctls
 * fail with EINVAL always. INJECT_RECV=damage: a bit of the first datagram of more than 2,000 bytes
 * that recv(2) gives is another.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct words {
	_Atomic uint32_t sendmmsg, sendmsg, recvmmsg, received, tun_read, segmented, tun_gso;
};

static struct words none, *words = &none;
static unsigned long refused[4];
static int tun = -1;
static bool damage;

__attribute__((constructor)) static void set_up(void)
{
	const char *file = getenv("INJECT"), *list = getenv("INJECT_IOCTL");
	int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
	void *at = MAP_FAILED;

	if (fd >= 0) {
		at = mmap(NULL, sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (at != MAP_FAILED)
		words = at;
	damage = getenv("INJECT_RECV");
	for (unsigned i = 0; list && *list && i < 4; i++) {
		char *end;

		refused[i] = strtoul(list, &end, 0);
		list = *end ? end + 1 : end;
	}
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

static int failed(uint32_t error)
{
	errno = (int)error;
	return error != 0;
}

static bool is_segmented(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
			return true;
	return false;
}

/* As the kernel does: what is before the one that fails is sent. */
int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	unsigned good = 0;

	while (good < n && !(words->segmented && is_segmented(&m[good].msg_hdr)))
		good++;
	if (failed(words->sendmmsg) || (n && !good && failed(words->segmented)))
		return -1;
	return REAL(sendmmsg)(fd, m, good, flags);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct virtio_net_hdr h;

	if (fd == tun && n > 1 && iov[0].iov_len == sizeof(h)) {
		memcpy(&h, iov[0].iov_base, sizeof(h));
		if (h.gso_type != VIRTIO_NET_HDR_GSO_NONE && failed(words->tun_gso))
			return -1;
	}
	return REAL(writev)(fd, iov, n);
}

ssize_t recv(int fd, void *b, size_t size, int flags)
{
	ssize_t n = REAL(recv)(fd, b, size, flags);

	if (damage && n > 2000) {
		((char *)b)[n / 2] ^= 1;
		damage = false;
	}
	return n;
}

/* Of Internet sockets alone: the broker is spoken to by sendmsg as well. */
ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return m->msg_name && failed(words->sendmsg) ? -1 : REAL(sendmsg)(fd, m, flags);
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
	words->received++;
	if (words->recvmmsg == 255)
		abort();
	return failed(words->recvmmsg) ? -1 : REAL(recvmmsg)(fd, m, n, flags, timeout);
}

ssize_t read(int fd, void *b, size_t n)
{
	return fd == tun && failed(words->tun_read) ? -1 : REAL(read)(fd, b, n);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	for (unsigned i = 0; i < 4; i++)
		if (refused[i] && refused[i] == request) {
			errno = EINVAL;
			return -1;
		}
	if (request == TUNSETIFF)
		tun = fd;
	return REAL(ioctl)(fd, request, arg);
}
