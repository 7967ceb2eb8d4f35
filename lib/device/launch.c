/*
 * A launcher: the process whose children userspace devices are where the agent may not be their
 * parent, since what ends the agent (its container) would end them too.
 *
 *     agent ── "start wg0", a file for the output ──> launcher ──fork, exec──> harmony-wg -f wg0
 *           <── "ok 17", its pidfd ─────────────────     │ adopts and reaps
 *     agent ── UAPI, on the device's own socket ─────────┼─────────────────────> harmony-wg
 *
 * It decides nothing. It keeps no configuration, restarts nothing and knows no keys: the agent
 * sees that a device is gone as it sees any drift, and asks again. So it has nothing to lose, and
 * no reason to end.
 *
 * One request a connection, a SEQPACKET message: "start IFNAME" with a file descriptor, or "stop
 * IFNAME". One answer: "ok PID" with a pidfd, or "error ERRNO TEXT". The pid is a number in the
 * launcher's own pid namespace; the pidfd says to anybody whether the process lives. The socket is
 * 0600, and only the launcher's own user and root are answered. Requests are served one after the
 * other, none for longer than a second.
 */
#include "device/device_priv.h"
#include "base/str.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define DEVICES_MAX 64
#define MESSAGE_MAX 320
#define REQUEST_S   1
#define ANSWER_S    5

/* ---- messages ---- */

struct message {
	char text[MESSAGE_MAX];
	int fd; /* -1: none */
};

/* Room for one descriptor, aligned as CMSG_DATA needs it. */
union control {
	struct cmsghdr head;
	char space[CMSG_SPACE(sizeof(int))];
};

static int send_message(int sock, const char *text, int fd)
{
	union control control = {0};
	struct iovec iov = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* -ECONNRESET at the end without a message; what is longer than a message is cut, and fails. */
static int receive_message(int sock, struct message *ret)
{
	union control control = {0};
	struct iovec iov = {ret->text, sizeof(ret->text) - 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

	ret->fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&ret->fd, CMSG_DATA(c), sizeof(int));
	if (n > 0 && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		ret->text[n] = '\0';
		return 0;
	}
	int r = n < 0 ? -errno : n == 0 ? -ECONNRESET : -EMSGSIZE;

	mem_close_p(&ret->fd);
	ret->fd = -1;
	return r;
}

static void set_timeout(int sock, int seconds)
{
	struct timeval t = {.tv_sec = seconds};

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static int socket_address(const char *path, struct sockaddr_un *ret, struct err *e)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (str_copy(ret->sun_path, sizeof(ret->sun_path), path) < 0)
		return err_set(e, -ENAMETOOLONG, "%s is longer than a socket's path may be", path);
	return 0;
}

static int connect_to(const char *path, int *ret, struct err *e)
{
	struct sockaddr_un a;
	int r = socket_address(path, &a, e);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, -errno, "socket");
	set_timeout(fd, ANSWER_S);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, -errno, "no launcher of devices answers at %s", path);
	*ret = mem_steal_fd(&fd);
	return 0;
}

/* ---- the agent's side ---- */

bool device_is_launcher(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

bool device_launcher_listens(const char *path)
{
	struct err ignored;
	int fd = -1;

	if (connect_to(path, &fd, &ignored) < 0)
		return false;
	close(fd);
	return true;
}

static int request(const char *path, const char *verb, const char *ifname, int fd,
		   struct message *ret, struct err *e)
{
	_cleanup_close_ int sock = -1;
	char text[MESSAGE_MAX];
	int r = connect_to(path, &sock, e);

	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%s %s", verb, ifname);
	r = send_message(sock, text, fd);
	if (r == 0)
		r = receive_message(sock, ret);
	return r < 0 ? err_sys(e, r, "the launcher of devices at %s", path) : 0;
}

/* "ok PID" */
static int read_pid(const char *text, pid_t *ret)
{
	uint64_t pid;

	if (strncmp(text, "ok ", 3) != 0 ||
	    str_to_u64(text + 3, strlen(text + 3), 1, INT32_MAX, &pid) < 0)
		return -EPROTO;
	*ret = (pid_t)pid;
	return 0;
}

/* "error ERRNO TEXT" as an error of ours. */
static int read_error(const char *text, struct err *e)
{
	const char *number = text + strlen("error "), *space;
	uint64_t n;

	if (strncmp(text, "error ", 6) != 0 || !(space = strchr(number, ' ')) ||
	    str_to_u64(number, (size_t)(space - number), 1, 4095, &n) < 0)
		return err_set(e, -EPROTO, "the launcher of devices answers nonsense");
	return err_set(e, -(int)n, "launcher: %s", space + 1);
}

int device_launch(const char *path, const char *ifname, struct device_child *ret, struct err *e)
{
	struct message m = {.fd = -1};
	_cleanup_close_ int output = device_open_output();
	pid_t pid;

	if (output < 0)
		return err_sys(e, output, "memory file");
	int r = request(path, "start", ifname, output, &m, e);
	if (r < 0)
		return r;
	if (read_pid(m.text, &pid) < 0 || m.fd < 0) {
		mem_close_p(&m.fd);
		return read_error(m.text, e);
	}
	*ret = (struct device_child){pid, m.fd, mem_steal_fd(&output)};
	return 0;
}

void device_launch_stop(const char *path, const char *ifname)
{
	struct message m = {.fd = -1};

	(void)request(path, "stop", ifname, -1, &m, NULL);
	mem_close_p(&m.fd);
}

/* ---- the launcher ---- */

struct child {
	char ifname[IFNAMSIZ];
	pid_t pid;
	int pidfd;
};

struct device_launcher {
	const char *program;
	device_launcher_fn tell;
	void *user;
	int listening, signals;
	struct child children[DEVICES_MAX];
	size_t n;
};

static void tell(struct device_launcher *l, const char *ifname, const char *what)
{
	if (l->tell)
		l->tell(l->user, ifname, what);
}

static struct child *find(struct device_launcher *l, const char *ifname)
{
	for (size_t i = 0; i < l->n; i++)
		if (str_eq(l->children[i].ifname, ifname))
			return &l->children[i];
	return NULL;
}

static void forget(struct device_launcher *l, struct child *c)
{
	mem_close_p(&c->pidfd);
	*c = l->children[--l->n];
}

/* All that have ended, also what a device has left: we are the parent of all of it. */
static void reap(struct device_launcher *l)
{
	char what[64];
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < l->n; i++) {
			if (l->children[i].pid != pid)
				continue;
			if (WIFSIGNALED(status))
				snprintf(what, sizeof(what), "ended by signal %d",
					 WTERMSIG(status));
			else
				snprintf(what, sizeof(what), "ended with status %d",
					 WEXITSTATUS(status));
			tell(l, l->children[i].ifname, what);
			forget(l, &l->children[i]);
			break;
		}
}

static int start_device(struct device_launcher *l, const char *ifname, int output, char *ret,
			size_t size, int *ret_fd)
{
	char *argv[] = {(char *)l->program, (char *)"-f", (char *)ifname, NULL};
	struct device_child child = {.pidfd = -1, .output = -1};
	struct err e = {0};
	int r;

	reap(l);
	if (find(l, ifname))
		r = err_set(&e, -EEXIST, "%s runs already", ifname);
	else if (l->n == DEVICES_MAX)
		r = err_set(&e, -ENOSPC, "%d devices run already", DEVICES_MAX);
	else
		r = device_spawn(l->program, argv, output, &child, &e);
	if (r < 0) {
		snprintf(ret, size, "error %d %.256s", -r, e.msg);
		return r;
	}
	struct child *c = &l->children[l->n++];
	*c = (struct child){.pid = child.pid, .pidfd = child.pidfd};
	str_copy(c->ifname, sizeof(c->ifname), ifname);
	mem_close_p(&child.output);
	tell(l, ifname, "started");
	snprintf(ret, size, "ok %d", (int)c->pid);
	*ret_fd = c->pidfd;
	return 0;
}

static void stop_device(struct device_launcher *l, const char *ifname, char *ret, size_t size)
{
	struct child *c = find(l, ifname);

	if (c)
		device_kill(c->pid, c->pidfd);
	reap(l);
	/* device_kill may have reaped it itself. */
	if ((c = find(l, ifname)) && !device_alive(c->pid, c->pidfd))
		forget(l, c);
	snprintf(ret, size, "ok 1");
}

static bool permitted(int sock)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

static void serve_one(struct device_launcher *l)
{
	struct message m = {.fd = -1};
	char answer[MESSAGE_MAX];
	int fd = -1;
	_cleanup_close_ int sock = accept4(l->listening, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0 || !permitted(sock))
		return;
	set_timeout(sock, REQUEST_S);
	if (receive_message(sock, &m) < 0)
		return;
	const char *ifname = strchr(m.text, ' ');
	bool start = strncmp(m.text, "start ", 6) == 0, stop = strncmp(m.text, "stop ", 5) == 0;

	if (!ifname || (!start && !stop) || !str_is_ifname(++ifname))
		snprintf(answer, sizeof(answer), "error %d no such request", EINVAL);
	else if (start)
		(void)start_device(l, ifname, m.fd, answer, sizeof(answer), &fd);
	else
		stop_device(l, ifname, answer, sizeof(answer));
	mem_close_p(&m.fd);
	(void)send_message(sock, answer, fd);
}

/* A file that a former launcher has left is taken over; one that is served is not. */
static int listen_at(const char *path, int *ret, struct err *e)
{
	_cleanup_close_ int served = -1;
	struct sockaddr_un a;
	int r = socket_address(path, &a, e);

	if (r < 0)
		return r;
	if (connect_to(path, &served, NULL) == 0)
		return err_set(e, -EADDRINUSE, "%s: another launcher serves it", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, -errno, "%s", path);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, -errno, "socket");
	mode_t before = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
	umask(before);
	if (r == 0 && listen(fd, DEVICES_MAX) < 0)
		r = -errno;
	if (r < 0)
		return err_sys(e, r, "cannot listen at %s", path);
	*ret = mem_steal_fd(&fd);
	return 0;
}

static int open_signals(int *ret, struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, -errno, "signalfd");
	*ret = fd;
	return 0;
}

/* Whether it is to end. */
static bool take_signals(struct device_launcher *l)
{
	struct signalfd_siginfo info;
	bool end = false;

	while (read(l->signals, &info, sizeof(info)) == sizeof(info))
		end |= info.ssi_signo != SIGCHLD;
	reap(l);
	return end;
}

int device_launcher_run(const char *path, const char *program, device_launcher_fn fn, void *user,
			struct err *e)
{
	struct device_launcher l = {
		.program = program, .tell = fn, .user = user, .listening = -1, .signals = -1};
	int r;

	/* The devices are started by a process in between, which ends. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, -errno, "PR_SET_CHILD_SUBREAPER");
	r = listen_at(path, &l.listening, e);
	if (r == 0)
		r = open_signals(&l.signals, e);
	for (bool end = false; r == 0 && !end;) {
		struct pollfd p[] = {{l.signals, POLLIN, 0}, {l.listening, POLLIN, 0}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			r = err_sys(e, -errno, "poll");
		if (p[0].revents)
			end = take_signals(&l);
		if (p[1].revents)
			serve_one(&l);
	}
	while (l.n > 0) {
		device_kill(l.children[0].pid, l.children[0].pidfd);
		forget(&l, &l.children[0]);
	}
	if (l.listening >= 0)
		unlink(path);
	mem_close_p(&l.listening);
	mem_close_p(&l.signals);
	return r;
}
