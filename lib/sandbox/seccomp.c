/*
 * An allow-list of system calls, by libseccomp. What is not on it fails, or kills.
 *
 * The lists are by purpose and a little wide on purpose: they name the calls that glibc, OpenSSL,
 * libevent and libcurl make in newer and older versions, so that an update of a library is no
 * outage. What matters is what they leave out: mounts, modules, ptrace, bpf, keyctl, namespaces,
 * io_uring, other processes' memory.
 */
#include <errno.h>
#include <seccomp.h>
#include <string.h>

#include "sandbox/sandbox.h"

const char *const sandbox_calls_base[] = {
	/* memory */
	"brk", "madvise", "mlock", "mlock2", "mmap", "mprotect", "mremap", "munlock", "munmap",
	"membarrier",
	/* time, randomness, identity */
	"clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "gettimeofday",
	"nanosleep", "getegid", "geteuid", "getgid", "getpid", "getppid", "gettid", "getuid",
	"getrlimit", "prlimit64", "getrusage", "uname", "sysinfo", "getcpu",
	/* threads and signals */
	"clone", "clone3", "exit", "exit_group", "futex", "get_robust_list", "set_robust_list",
	"rseq", "set_tid_address", "sched_getaffinity", "sched_yield", "restart_syscall",
	"rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait",
	"sigaltstack", "signalfd4", "tgkill",
	/* descriptors */
	"close", "close_range", "dup", "dup2", "dup3", "fcntl", "fstat", "fsync", "ioctl", "lseek",
	"newfstatat", "pipe2", "pread64", "pwrite64", "read", "readv", "write", "writev",
	/* sockets and the event loop */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
	"listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt",
	"shutdown", "socket", "socketpair", "epoll_create1", "epoll_ctl", "epoll_pwait",
	"epoll_pwait2", "epoll_wait", "eventfd2", "poll", "ppoll", "pselect6", "select",
	"timerfd_create", "timerfd_gettime", "timerfd_settime", NULL};

const char *const sandbox_calls_files[] = {"access",
					   "chdir",
					   "faccessat",
					   "faccessat2",
					   "fchmod",
					   "fchmodat",
					   "fchown",
					   "fchownat",
					   "fdatasync",
					   "flock",
					   "fstatfs",
					   "ftruncate",
					   "getcwd",
					   "getdents64",
					   "link",
					   "linkat",
					   "lstat",
					   "mkdir",
					   "mkdirat",
					   "open",
					   "openat",
					   "openat2",
					   "readlink",
					   "readlinkat",
					   "rename",
					   "renameat",
					   "renameat2",
					   "rmdir",
					   "stat",
					   "statfs",
					   "statx",
					   "symlinkat",
					   "umask",
					   "unlink",
					   "unlinkat",
					   "inotify_add_watch",
					   "inotify_init1",
					   "inotify_rm_watch",
					   NULL};

const char *const sandbox_calls_processes[] = {
	"arch_prctl", "execve",  "execveat", "fork",  "kill",  "pidfd_open", "pidfd_send_signal",
	"prctl",      "setpgid", "setsid",   "vfork", "wait4", "waitid",     NULL};

static int allow(scmp_filter_ctx ctx, const char *name, struct err *e)
{
	int call = seccomp_syscall_resolve_name(name), r;

	if (call == __NR_SCMP_ERROR)
		return err_set(e, -EINVAL, "no system call is named %s", name);
	/* Another machine's, as "open" on arm64. */
	if (call < 0)
		return 0;
	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 0);
	return r < 0 && r != -EEXIST ? err_sys(e, r, "cannot allow system call %s", name) : 0;
}

static int fill(scmp_filter_ctx ctx, const char *const *const *lists, struct err *e)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

	if (r < 0)
		return err_sys(e, r, "cannot filter system calls of all threads");
	for (; *lists; lists++)
		for (const char *const *name = *lists; *name; name++)
			if ((r = allow(ctx, *name, e)) < 0)
				return r;
	return 0;
}

int sandbox_seccomp(const char *const *const *lists, enum sandbox_denied denied, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(denied == SANDBOX_DENY_KILL ? SCMP_ACT_KILL_PROCESS
								       : SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!ctx)
		return err_sys(e, -ENOMEM, "cannot filter system calls");
	r = fill(ctx, lists, e);
	if (r == 0 && (r = seccomp_load(ctx)) < 0) {
		if (r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP)
			r = err_set(e, -EOPNOTSUPP,
				    "the kernel has no seccomp (CONFIG_SECCOMP_FILTER)");
		else
			err_sys(e, r, "cannot filter system calls");
	}
	seccomp_release(ctx);
	return r;
}
