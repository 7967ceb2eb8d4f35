/*
 * Starting a userspace program so that it outlives us.
 *
 *     agent --clone--> middle --setsid, clone--> program
 *                        |
 *                   ends at once, is waited for; the program's parent is then process 1
 *
 * Both share the agent's memory until the program runs, as with vfork: fork would make the agent
 * take a fault for every page that it writes to afterwards, which for ten thousand peers cost as
 * much as applying them. So until then the agent's thread stands still, signals are kept away (a
 * handler would run in the child, on the agent's memory), and each child has a stack of its own
 * within the caller's.
 *
 * The programs would daemonise by themselves, each in its own way: wireguard-go starts itself
 * again, and the socket then names a process that is gone (SO_PEERCRED); boringtun writes a log
 * to /tmp. So they are told to stay in the foreground, and are put in the background here.
 *
 * A program's standard output and error are a memory file that cannot grow beyond 16 KiB: its
 * last words are there when it does not come up, a pipe's end would kill it with us (SIGPIPE), and
 * what it writes later for months is lost rather than kept.
 *
 * The agent may have dropped all but CAP_NET_ADMIN, and may not be root: the capability is made
 * ambient in the child, so that it survives execve.
 */
#include "device/device_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define OUTPUT_MAX 16384
#define STACK      ((size_t)64 << 10) /* of each child; a sanitizer's frames are large */

/* What the children report through a pipe: the program's pid, then an errno if execve failed. */
struct report {
	pid_t pid;
	int error;
};

int device_open_output(void)
{
	int fd = memfd_create("device-output", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, OUTPUT_MAX) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int dup_cloexec(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? -errno : copy;
}

/* Where it cannot be done the program says what it lacks. */
static void keep_net_admin(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &h, data) < 0)
		return;
	data[0].inheritable |= data[0].permitted & (1U << CAP_NET_ADMIN);
	if (syscall(SYS_capset, &h, data) == 0)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0);
}

/* A number of decimal digits, or -1. */
static int to_fd(const char *s)
{
	int n = 0;

	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > INT_MAX / 10 - 1)
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n;
}

/* All descriptors from `first` on end with execve. Before Linux 5.11 close_range cannot do that,
 * before 5.9 there is none, and an old list of permitted calls does not know it: then each that
 * /proc names. Nothing here allocates, for the memory is the agent's. */
static int end_with_exec(int first)
{
	char list[1024] __attribute__((aligned(8)));
	long n;

	if (close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return 0;

	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	while ((n = syscall(SYS_getdents64, dir, list, sizeof(list))) > 0) {
		const struct dirent64 *d;

		for (long at = 0; at < n; at += d->d_reclen) {
			d = (const void *)(list + at);
			int fd = to_fd(d->d_name);

			if (fd >= first)
				fcntl(fd, F_SETFD, FD_CLOEXEC);
		}
	}
	return n < 0 ? -errno : 0; /* `dir` ends with execve, too */
}

/* Signals as a fresh process has them, standard files, nothing else open. */
static int prepare(int output)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR), r;

	if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		return -errno;
	r = end_with_exec(3);
	if (r < 0)
		return r;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir("/") < 0)
		return -errno;
	keep_net_admin();
	return 0;
}

/* AddressSanitizer marks what a function's frame has been, and would take the children's marks on
 * shared memory for the caller's. */
#ifdef __SANITIZE_ADDRESS__
#define SHARED 0
#else
#define SHARED (CLONE_VM | CLONE_VFORK)
#endif

struct spawn {
	const char *program;
	char *const *argv;
	int output, report_fd;
	char *stack; /* the second child's, its upper end */
};

/* The second child. */
static int run_program(void *arg)
{
	static char *const env[] = {
		(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		(char *)"LOG_LEVEL=error",
		(char *)"WG_LOG_LEVEL=error",
		(char *)"WG_PROCESS_FOREGROUND=1",
		(char *)"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1",
		NULL,
	};
	const struct spawn *s = arg;
	struct report report = {.pid = getpid()};

	(void)!write(s->report_fd, &report, sizeof(report));
	report.error = prepare(s->output);
	if (report.error == 0) {
		execve(s->program, s->argv, env);
		report.error = -errno;
	}
	(void)!write(s->report_fd, &report, sizeof(report));
	_exit(127);
}

/* The first one. */
static int run_middle(void *arg)
{
	struct spawn *s = arg;

	if (setsid() >= 0)
		clone(run_program, s->stack, SHARED | SIGCHLD, s);
	_exit(0);
}

/* The pid of the first child, or -errno. */
static pid_t start_middle(struct spawn *s)
{
	_Alignas(16) char stacks[2][STACK];
	sigset_t all, before;
	pid_t pid;

	s->stack = stacks[0] + STACK;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(run_middle, stacks[1] + STACK, SHARED | SIGCHLD, s);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int read_report(int fd, struct report *ret)
{
	struct report r;
	ssize_t n;

	/* The pipe ends when execve closes it, or with a second report. */
	for (unsigned i = 0; i < 2; i++) {
		do {
			n = read(fd, &r, sizeof(r));
		} while (n < 0 && errno == EINTR);
		if (n == 0 && i > 0)
			return 0;
		if (n != sizeof(r))
			return n < 0 ? -errno : -ECHILD;
		*ret = r;
	}
	return 0;
}

int device_spawn(const char *program, char *const argv[], int given, struct device_child *ret,
		 struct err *e)
{
	_cleanup_close_ int output = given >= 0 ? dup_cloexec(given) : device_open_output();
	_cleanup_close_ int rd = -1, wr = -1;
	struct report report = {0};
	int fds[2], status;

	if (output < 0)
		return err_sys(e, output, "file for the output");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, -errno, "pipe");
	rd = fds[0];
	wr = fds[1];

	pid_t middle = start_middle(&(struct spawn){
		.program = program, .argv = argv, .output = output, .report_fd = wr});
	if (middle < 0)
		return err_sys(e, middle, "clone");
	while (waitpid(middle, &status, 0) < 0 && errno == EINTR)
		;
	mem_close_p(&wr);
	wr = -1;
	int r = read_report(rd, &report);
	if (r == 0)
		r = report.error;
	if (r < 0)
		return err_sys(e, r, "cannot start %s", program);
	int pidfd = (int)syscall(SYS_pidfd_open, report.pid, 0);
	if (pidfd < 0 && errno != ESRCH) { /* which says that it has ended already */
		r = -errno;
		kill(report.pid, SIGKILL); /* it began a moment ago, so the number is still its */
		return err_sys(e, r, "%s was ended again, for nothing tells whether it lives%s",
			       program, r == -ENOSYS ? " (pidfd_open, Linux 5.3)" : "");
	}
	*ret = (struct device_child){report.pid, pidfd, mem_steal_fd(&output)};
	return 0;
}

void device_child_close(struct device_child *c)
{
	mem_close_p(&c->pidfd);
	mem_close_p(&c->output);
	c->pidfd = c->output = -1;
}

/* A pidfd is readable when its process has ended, also while nobody has waited for it. */
bool device_alive(pid_t pid, int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return pid > 0 && pidfd >= 0 && poll(&p, 1, 0) == 0;
}

void device_kill(pid_t pid, int pidfd)
{
	static const int signals[] = {SIGTERM, SIGKILL};
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	for (size_t i = 0; i < ARRAY_LEN(signals) && device_alive(pid, pidfd); i++) {
		syscall(SYS_pidfd_send_signal, pidfd, signals[i], NULL, 0);
		poll(&p, 1, 1000);
	}
	waitpid(pid, NULL, WNOHANG); /* it is our child only when we are process 1 */
}

void device_child_words(const struct device_child *c, char *ret, size_t size)
{
	char text[OUTPUT_MAX];
	ssize_t n = pread(c->output, text, sizeof(text), 0);
	size_t end = n > 0 ? strnlen(text, (size_t)n) : 0, begin, len;

	while (end > 0 && (unsigned char)text[end - 1] <= ' ')
		end--;
	for (begin = end; begin > 0 && text[begin - 1] != '\n'; begin--)
		;
	len = end - begin < size - 1 ? end - begin : size - 1;
	for (size_t i = 0; i < len; i++)
		ret[i] = (unsigned char)text[begin + i] < ' ' ? '?' : text[begin + i];
	ret[len] = '\0';
}
