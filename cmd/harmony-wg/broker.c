/*
 * The broker. A device that has dropped its privileges cannot set a firewall mark (CAP_NET_ADMIN)
 * nor bind a port below 1024 (CAP_NET_BIND_SERVICE), and wg-quick does the first after the
 * device has come up. So this process keeps these two, and nothing that comes from a network or
 * from a client reaches it: it is asked by the device alone, over a socket pair, one question at
 * a time, and answers with a descriptor or an errno.
 *
 *     struct request  ->     (with a descriptor, to mark)
 *                    <-      struct reply (with a descriptor, where one was opened)
 *
 * It ends when the device does: its end of the pair is closed then. It holds neither TUN nor keys
 * (it is forked before there are any), and its system calls are these few.
 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "confine.h"
#include "uapi_server.h"
#include "udp.h"

enum op { OPEN, MARK, UNLINK };

struct request {
	enum op op;
	struct udp_wish wish; /* OPEN; MARK: its mark */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct reply {
	uint16_t port;
	struct err err; /* code 0: done */
};

/* One message with at most one descriptor. */
static int transmit(int fd, const void *data, size_t len, int pass)
{
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)data, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (pass >= 0) {
		m.msg_control = control.b;
		m.msg_controllen = sizeof(control.b);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass, sizeof(int));
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EPIPE;
}

static int receive(int fd, void *data, size_t len, int *ret_pass)
{
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {data, len};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.b,
			   .msg_controllen = sizeof(control.b)};
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*ret_pass = -1;
	c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_pass, CMSG_DATA(c), sizeof(int));
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EPIPE;
}

/* ── the broker's process ───────────────────────────────────────────────────────────────── */

static void give_up_rights(void)
{
	static const char *const calls[] = {"recvmsg",    "sendmsg",     "socket",     "bind",
					    "setsockopt", "getsockname", "getsockopt", "close",
					    "unlink",     "unlinkat",    "exit_group", NULL};
	static const char *const *const lists[] = {calls, NULL};
	unsigned landlock = 0;
	uint64_t keep = 0;

	if (sandbox_has_cap(CAP_NET_ADMIN))
		keep |= SANDBOX_CAP(CAP_NET_ADMIN);
	if (sandbox_has_cap(CAP_NET_BIND_SERVICE))
		keep |= SANDBOX_CAP(CAP_NET_BIND_SERVICE);
	if (sandbox_drop_caps(keep, 0, NULL) < 0 || sandbox_no_new_privs(NULL) < 0)
		_exit(1);
	/* Where the control socket will be. */
	(void)mkdir(UAPI_DIR, 0755);
	int dir = open(UAPI_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (confine_files(dir, SANDBOX_FILES_REMOVE, &landlock, NULL) < 0)
		_exit(1);
	mem_close_p(&dir);
	int r = CONFINE_SANITIZED ? 0 : sandbox_seccomp(lists, SANDBOX_DENY_ERROR, NULL);
	if (r < 0 && r != -EOPNOTSUPP)
		_exit(1);
}

static void serve(int fd)
{
	struct request q;
	int passed;

	while (receive(fd, &q, sizeof(q), &passed) == 0) {
		struct reply a = {0};
		int opened = -1;

		if (q.op == OPEN)
			opened = udp_socket(&q.wish, &a.port, &a.err);
		else if (q.op == MARK)
			udp_set_mark(passed, q.wish.mark, &a.err);
		else if (unlink(q.path) < 0)
			a.err.code = -errno;
		mem_close_p(&passed);
		int r = transmit(fd, &a, sizeof(a), opened);
		mem_close_p(&opened);
		if (r < 0)
			break;
	}
}

static void __attribute__((noreturn)) child(int fd, bool sandbox)
{
	/* Nothing of the device's stays open here but standard output and error. */
	if (fd != 3) {
		if (dup2(fd, 3) < 0)
			_exit(1);
		fd = 3;
	}
	closefrom(4); /* also before Linux 5.9, which has no close_range */
	prctl(PR_SET_NAME, "harmony-wg-brk", 0, 0, 0);
	/* The terminal's ^C is for the device: the broker ends after it. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	close(0);
	close(1);
	close(2);
	if (sandbox)
		give_up_rights();
	serve(fd);
	_exit(0);
}

/* ── the device's side ──────────────────────────────────────────────────────────────────── */

int broker_start(struct broker *ret, bool sandbox, struct err *e)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, -errno, "broker: socketpair");
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(fds[0]);
		close(fds[1]);
		return err_sys(e, r, "broker: fork");
	}
	if (pid == 0) {
		close(fds[0]);
		child(fds[1], sandbox);
	}
	close(fds[1]);
	ret->fd = fds[0];
	return 0;
}

void broker_stop(struct broker *b)
{
	mem_close_p(&b->fd);
	b->fd = -1;
}

static int ask(struct broker *b, const struct request *q, int pass, struct reply *ret, int *ret_fd,
	       struct err *e)
{
	struct reply a = {0};
	int r = transmit(b->fd, q, sizeof(*q), pass), fd = -1;

	if (r == 0)
		r = receive(b->fd, &a, sizeof(a), &fd);
	if (r < 0) {
		mem_close_p(&fd);
		return err_sys(e, r, "the broker process is gone");
	}
	if (a.err.code < 0) {
		mem_close_p(&fd);
		return err_set(e, a.err.code, "%s", a.err.msg);
	}
	*ret = a;
	*ret_fd = fd;
	return 0;
}

int broker_open(struct broker *b, const struct udp_wish *wish, int *ret_fd, uint16_t *ret_port,
		struct err *e)
{
	struct request q = {.op = OPEN, .wish = *wish};
	struct reply a;
	int fd, r = ask(b, &q, -1, &a, &fd, e);

	if (r < 0)
		return r;
	if (fd < 0)
		return err_set(e, -EPROTO, "the broker opened nothing");
	*ret_fd = fd;
	*ret_port = a.port;
	return 0;
}

int broker_mark(struct broker *b, int fd, uint32_t mark, struct err *e)
{
	struct request q = {.op = MARK, .wish.mark = mark};
	struct reply a;
	int none;

	return ask(b, &q, fd, &a, &none, e);
}

int broker_unlink(struct broker *b, const char *path)
{
	struct request q = {.op = UNLINK};
	struct reply a;
	int none;

	if (strlen(path) >= sizeof(q.path))
		return -ENAMETOOLONG;
	memcpy(q.path, path, strlen(path));
	return ask(b, &q, -1, &a, &none, NULL);
}
