/*
 * Errors that no kernel gives on demand. LD_PRELOAD with INJECT=FILE: the file is mapped, and says
 * at any moment, as five words that a test writes, how calls on sockets fail:
 *
 *     errno of sendmmsg, errno of sendmsg, errno of recvmmsg, calls of recvmmsg ever (counted
 * here), errno of reading the TUN that was made last
 *
 * 0: the call is made; 255 for recvmmsg: abort(3). INJECT_IOCTL=REQUEST[,REQUEST]: these ioctls
 * fail with EINVAL always.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct words {
	_Atomic uint32_t sendmmsg, sendmsg, recvmmsg, received, tun_read;
};

static struct words none, *words = &none;
static unsigned long refused[4];
static int tun = -1;

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

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	return failed(words->sendmmsg) ? -1 : REAL(sendmmsg)(fd, m, n, flags);
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
