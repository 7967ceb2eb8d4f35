/* lib/sandbox: each step in a child of its own, which looks at itself from outside the library. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/sandbox.h"

#define NET_ADMIN SANDBOX_CAP(CAP_NET_ADMIN)

/* The sanitizers make mlockall do nothing. */
#ifdef __SANITIZE_ADDRESS__
#define MLOCK_WORKS false
#else
#define MLOCK_WORKS true
#endif

/* In the child: says what is not as it should be, and ends. */
#define CHILD_CHECK(cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond);                         \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* Runs `body` in a child; its wait status. */
static int child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		body();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static uint64_t own_set(const char *name)
{
	char line[128];
	unsigned long long v = ~0ULL;
	FILE *f = fopen("/proc/self/status", "r");

	CHILD_CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			v = strtoull(line + strlen(name) + 1, NULL, 16);
	fclose(f);
	return v;
}

static bool all_caps(const char *test)
{
	if (sandbox_has_cap(CAP_NET_ADMIN) && sandbox_has_cap(CAP_SETPCAP))
		return true;
	unit_skip(test, "needs CAP_NET_ADMIN and CAP_SETPCAP (root)");
	return false;
}

static void keeps_net_admin(void)
{
	CHILD_CHECK(sandbox_drop_caps(NET_ADMIN, 0, NULL) == 0);
	CHILD_CHECK(own_set("CapEff") == NET_ADMIN);
	CHILD_CHECK(own_set("CapPrm") == NET_ADMIN);
	CHILD_CHECK(own_set("CapInh") == 0);
	CHILD_CHECK(own_set("CapAmb") == 0);
	CHILD_CHECK(own_set("CapBnd") == 0);
	CHILD_CHECK(sandbox_has_cap(CAP_NET_ADMIN) && !sandbox_has_cap(CAP_SYS_ADMIN));
	CHILD_CHECK(mount("none", "/", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	/* A second time: there is no CAP_SETPCAP any more, and nothing left to drop. */
	CHILD_CHECK(sandbox_drop_caps(NET_ADMIN, 0, NULL) == 0);
	CHILD_CHECK(sandbox_drop_caps(0, 0, NULL) == 0);
	CHILD_CHECK(own_set("CapPrm") == 0);
}

START_TEST(drop)
{
	if (all_caps("drop"))
		ck_assert_int_eq(child(keeps_net_admin), 0);
}
END_TEST

static void keeps_for_programs(void)
{
	CHILD_CHECK(sandbox_drop_caps(NET_ADMIN, NET_ADMIN, NULL) == 0);
	CHILD_CHECK(sandbox_no_new_privs(NULL) == 0);
	CHILD_CHECK(own_set("CapBnd") == NET_ADMIN);
	execl("/bin/grep", "grep", "-q", "^CapEff:.0000000000001000$", "/proc/self/status", NULL);
	_exit(2);
}

START_TEST(programs_keep)
{
	if (all_caps("programs_keep") && geteuid() == 0)
		ck_assert_int_eq(child(keeps_for_programs), 0);
}
END_TEST

static void names_missing(void)
{
	struct err e = {0};

	CHILD_CHECK(sandbox_drop_caps(0, 0, NULL) == 0);
	CHILD_CHECK(sandbox_drop_caps(NET_ADMIN, 0, &e) == -EPERM);
	CHILD_CHECK(strcmp(e.msg, "capability CAP_NET_ADMIN is missing") == 0);
	CHILD_CHECK(sandbox_drop_caps(UINT64_C(1) << 63, 0, &e) == -EINVAL);
}

START_TEST(missing)
{
	ck_assert_int_eq(child(names_missing), 0);
}
END_TEST

static void nothing_changes_on_failure(void)
{
	uint64_t bounding = own_set("CapBnd"), permitted;

	CHILD_CHECK(sandbox_drop_caps(SANDBOX_CAP(CAP_SETPCAP), bounding, NULL) == 0);
	permitted = own_set("CapPrm");
	CHILD_CHECK(sandbox_drop_caps(NET_ADMIN, 0, NULL) == -EPERM);
	CHILD_CHECK(own_set("CapPrm") == permitted && own_set("CapBnd") == bounding);
}

START_TEST(failure_changes_nothing)
{
	if (all_caps("failure_changes_nothing"))
		ck_assert_int_eq(child(nothing_changes_on_failure), 0);
}
END_TEST

static void becomes_quiet(void)
{
	struct rlimit core;

	CHILD_CHECK(sandbox_no_new_privs(NULL) == 0);
	CHILD_CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHILD_CHECK(sandbox_not_dumpable(NULL) == 0);
	CHILD_CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHILD_CHECK(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
}

START_TEST(quiet)
{
	ck_assert_int_eq(child(becomes_quiet), 0);
}
END_TEST

static void locks(void)
{
	struct err e = {0};

	if (sandbox_mlock(&e) < 0) {
		CHILD_CHECK(e.code == -EPERM || e.code == -ENOMEM || e.code == -EAGAIN);
		CHILD_CHECK(strstr(e.msg, "CAP_IPC_LOCK") && strstr(e.msg, "RLIMIT_MEMLOCK"));
		return;
	}
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long locked = 0;

	CHILD_CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmLck:", 6) == 0)
			locked = strtol(line + 6, NULL, 10);
	CHILD_CHECK(locked > 0 || !MLOCK_WORKS);
}

static void cannot_lock(void)
{
	struct err e = {0};

	CHILD_CHECK(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0}) == 0);
	CHILD_CHECK(sandbox_drop_caps(0, 0, NULL) == 0);
	CHILD_CHECK(sandbox_mlock(&e) < 0 || !MLOCK_WORKS);
	CHILD_CHECK(strstr(e.msg, "CAP_IPC_LOCK") || !MLOCK_WORKS);
}

START_TEST(mlock_all)
{
	ck_assert_int_eq(child(locks), 0);
	ck_assert_int_eq(child(cannot_lock), 0);
}
END_TEST

static const char *const *const base_only[] = {sandbox_calls_base, NULL};

static void filtered_error(void)
{
	CHILD_CHECK(sandbox_seccomp(base_only, SANDBOX_DENY_ERROR, NULL) == 0);
	CHILD_CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) < 0 && errno == EPERM);
	CHILD_CHECK(access("/", F_OK) < 0 && errno == EPERM);
	CHILD_CHECK(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	void *p = malloc(1 << 20);
	CHILD_CHECK(p);
	free(p);
}

static void filtered_kill(void)
{
	CHILD_CHECK(sandbox_seccomp(base_only, SANDBOX_DENY_KILL, NULL) == 0);
	(void)access("/", F_OK);
}

static void filtered_files(void)
{
	static const char *const *const lists[] = {sandbox_calls_base, sandbox_calls_files,
						   sandbox_calls_processes, NULL};

	CHILD_CHECK(sandbox_seccomp(lists, SANDBOX_DENY_KILL, NULL) == 0);
	CHILD_CHECK(access("/", F_OK) == 0);
	CHILD_CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	execl("/bin/true", "true", NULL);
	_exit(2);
}

START_TEST(seccomp)
{
	static const char *const bad[] = {"read", "no_such_call", NULL};
	static const char *const *const bad_lists[] = {bad, NULL};
	struct err e = {0};
	int status;

	ck_assert_int_eq(sandbox_seccomp(bad_lists, SANDBOX_DENY_KILL, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "no system call is named no_such_call");
	ck_assert_int_eq(child(filtered_error), 0);
	ck_assert_int_eq(child(filtered_files), 0);
	status = child(filtered_kill);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSYS);
}
END_TEST

/* ── Landlock ───────────────────────────────────────────────────────────────────────────── */

static char landlock_dir[] = "/tmp/test-sandbox-XXXXXX";

static bool makes(int dir, const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, "x", 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Only with rename, write, make and unlink below one directory, and unlink below another. */
static void landlocked(void)
{
	int one = open(landlock_dir, O_RDONLY | O_DIRECTORY), two = openat(one, "two", O_PATH);
	struct sandbox_dir dirs[] = {{one, SANDBOX_FILES_REPLACE}, {two, SANDBOX_FILES_REMOVE}};
	int open_before = open("/etc/passwd", O_RDONLY);
	unsigned version = 0;
	struct err e = {0};
	char c;

	CHILD_CHECK(sandbox_no_new_privs(NULL) == 0);
	int r = sandbox_landlock(dirs, 2, &version, &e);
	if (r == -EOPNOTSUPP) {
		/* A kernel without it says so of itself. */
		CHILD_CHECK(syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1);
		return;
	}
	CHILD_CHECK(r == 0 && version >= 1);
	CHILD_CHECK(makes(one, "a.new") && renameat(one, "a.new", one, "a") == 0);
	CHILD_CHECK(makes(one, "a.new") && renameat(one, "a.new", one, "a") == 0);
	CHILD_CHECK(unlinkat(one, "a", 0) == 0);
	CHILD_CHECK(unlinkat(two, "b", 0) == 0);
	CHILD_CHECK(read(open_before, &c, 1) == 1);
	CHILD_CHECK(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	CHILD_CHECK(open("/etc", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	CHILD_CHECK(!makes(AT_FDCWD, "/tmp/test-sandbox-outside") && errno == EACCES);
	CHILD_CHECK(mkdirat(one, "three", 0700) < 0 && errno == EACCES);
	CHILD_CHECK(openat(one, "c", O_RDONLY) < 0 && errno == EACCES);
	execl("/bin/true", "true", NULL);
	CHILD_CHECK(errno == EACCES);
}

START_TEST(landlock)
{
	ck_assert_ptr_nonnull(mkdtemp(landlock_dir));
	int one = open(landlock_dir, O_RDONLY | O_DIRECTORY);
	ck_assert(mkdirat(one, "two", 0700) == 0 && makes(one, "c") && makes(one, "two/b"));
	int status = child(landlocked);
	(void)(unlinkat(one, "c", 0) + unlinkat(one, "a", 0) + unlinkat(one, "two/b", 0));
	(void)(unlinkat(one, "two", AT_REMOVEDIR) + rmdir(landlock_dir));
	close(one);
	ck_assert_int_eq(status, 0);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("sandbox", drop, programs_keep, missing, failure_changes_nothing, quiet,
			  mlock_all, seccomp, landlock);
}

UNIT_MAIN(suite)
