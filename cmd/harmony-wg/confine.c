/*
 * The device's rights once it runs: none. The sockets that may need some later are opened by the
 * broker. What is left are these system calls.
 *
 * Memory is locked as a whole only where there is no limit: with one, an allocation would fail as
 * soon as the sum of all mappings passes it. The keys' slots are locked in any case.
 */
#include "confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

/* One name for each on every machine: arm64 has neither poll nor epoll_wait. Not among them is
 * mremap: where it fails malloc copies; nor what abort(3) sends its signal by, which could send one
 * to any process of this user: it ends by the instruction that stands behind it, with SIGSEGV. */
static const char *const calls[] = {
	/* all threads */
	"read",           /* TUN, event counters, signals, the socket's end */
	"write",          /* event counters, the log, state, answers */
	"close",          /* clients, replaced sockets, the state file */
	"futex",          /* locks: malloc's, the queue's of handshakes; the end of threads */
	"clock_gettime",  /* where the clock is not in the vDSO */
	"getrandom",      /* ephemeral keys, indices, nonces of cookies */
	"exit",           /* of a thread */
	"rt_sigprocmask", /* at the end of a thread */
	"exit_group",     /* of all */
	/* memory: malloc, and slots for keys (base/secret.c) */
	"brk", "mmap", "munmap", "mprotect", "madvise", "mlock",
	/* the data path */
	"epoll_pwait",                    /* also control's loop */
	"ppoll",                          /* a full socket buffer */
	"sched_yield",                    /* a conversation: worker.c */
	"recvmmsg", "sendmmsg", "writev", /* TUN */
	/* control */
	"epoll_ctl", /* clients; works are armed again */
	"accept4",   /* clients */
	"recvmsg",   /* requests, the broker, the kernel's notifications */
	"sendmsg",   /* handshakes, the broker */
	"ioctl",     /* MTU and flags of the interface */
	"dup3",      /* a socket, or what stands for none, in place of another */
	/* state */
	"openat", "fsync", "renameat", NULL};

_Static_assert(ARRAY_LEN(calls) - 1 <= 30, "as few as there can be");

int confine_find_user(const char *name, struct confine_user *ret, struct err *e)
{
	const struct passwd *p;

	*ret = (struct confine_user){0};
	if (!name)
		return 0;
	errno = 0;
	p = getpwnam(name);
	if (!p)
		return err_set(e, -ENOENT, "--user: there is no user \"%.64s\"", name);
	*ret = (struct confine_user){true, p->pw_uid, p->pw_gid};
	return 0;
}

int confine_memory(struct err *e)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY}, now;
	int r = sandbox_not_dumpable(e);

	/* A sanitizer's shadow is terabytes. */
	if (r < 0 || CONFINE_SANITIZED)
		return r;
	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == RLIM_INFINITY)
		(void)sandbox_mlock(NULL);
	return 0;
}

int confine_files(int dir, enum sandbox_files may, unsigned *ret_landlock, struct err *e)
{
	int r = CONFINE_SANITIZED ? -EOPNOTSUPP
				  : sandbox_landlock(&(struct sandbox_dir){dir, may}, dir >= 0,
						     ret_landlock, e);

	return r == -EOPNOTSUPP ? 0 : r;
}

int confine_privileges(const struct confine_user *u, struct err *e)
{
	int r;

	if (u->set && u->uid != geteuid()) {
		/* The bounding set goes first: another user has no right to change it. */
		if ((r = sandbox_drop_caps(SANDBOX_CAP(CAP_SETUID) | SANDBOX_CAP(CAP_SETGID), 0,
					   e)) < 0)
			return r;
		if (setgroups(0, NULL) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
		    setresuid(u->uid, u->uid, u->uid) < 0)
			return err_sys(e, -errno, "cannot become user %u", u->uid);
		/* The kernel undoes it on a change of user. */
		if ((r = sandbox_not_dumpable(e)) < 0)
			return r;
	}
	if ((r = sandbox_drop_caps(0, 0, e)) < 0)
		return r;
	return sandbox_no_new_privs(e);
}

int confine_calls(struct err *e)
{
	static const char *const *const lists[] = {calls, NULL};
	int r = CONFINE_SANITIZED ? 0 : sandbox_seccomp(lists, SANDBOX_DENY_ERROR, e);

	return r == -EOPNOTSUPP ? 0 : r;
}
