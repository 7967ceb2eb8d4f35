/*
 * lib/device/launch.c: a launcher as a process of its own and the agent's side against it; the
 * launcher against requests that are none; the agent's side against answers that are none. The
 * devices are a script, which needs no rights.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/str.h"
#include "base/time.h"
#include "device/device_priv.h"

/* bad0 ends at once, deaf0 hears no SIGTERM; the others run until they are ended. */
static const char script[] = "#!/bin/sh\n"
			     "[ \"$1\" = -f ] || exit 9\n"
			     "echo \"this is $2\"\n"
			     "case $2 in\n"
			     "bad0) echo 'no such luck' >&2; exit 3 ;;\n"
			     "deaf0) trap '' TERM ;;\n"
			     "esac\n"
			     "echo ready\n"
			     "while :; do sleep 60; done\n";

struct world {
	char dir[32], path[48], program[48];
	pid_t pid;
	int told; /* what the launcher tells, a line each */
};

static void tell(void *user, const char *ifname, const char *what)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s\n", ifname, what);

	(void)!write(*(int *)user, line, (size_t)n);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(str_copy(a.sun_path, sizeof(a.sun_path), path), 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void launcher_start(struct world *w)
{
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	w->pid = fork();
	ck_assert_int_ge(w->pid, 0);
	if (w->pid == 0) {
		close(pipes[0]);
		prctl(PR_SET_PDEATHSIG, SIGTERM); /* also where a case fails */
		_exit(device_launcher_run(w->path, w->program, tell, &pipes[1], NULL) < 0);
	}
	close(pipes[1]);
	w->told = pipes[0];
	for (int fd = -1; fd < 0; close(fd)) {
		ck_assert_int_eq(waitpid(w->pid, NULL, WNOHANG), 0);
		fd = connect_to(w->path);
		usleep(fd < 0 ? 5000 : 0);
	}
}

static void write_program(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	ck_assert_int_eq(fchmod(fileno(f), 0755), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void world_start(struct world *w)
{
	strcpy(w->dir, "/tmp/launch-test-XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/launcher", w->dir);
	snprintf(w->program, sizeof(w->program), "%s/device", w->dir);
	write_program(w->program, script);
	launcher_start(w);
}

/* Its exit status. */
static int launcher_end(struct world *w)
{
	int status = 0;

	kill(w->pid, SIGTERM);
	ck_assert_int_eq(waitpid(w->pid, &status, 0), w->pid);
	close(w->told);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool ends(const struct device_child *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

	return poll(&p, 1, 20000) == 1;
}

static void wait_for_words(const struct device_child *c, const char *words)
{
	char last[64] = "";

	for (int i = 0; i < 4000 && !str_eq(last, words); i++) {
		usleep(5000);
		device_child_words(c, last, sizeof(last));
	}
	ck_assert_str_eq(last, words);
}

/* The next line that the launcher tells. */
static void told(const struct world *w, const char *wanted)
{
	char line[128] = "";

	for (size_t n = 0; n < sizeof(line) - 1; n++) {
		ck_assert_int_eq(read(w->told, line + n, 1), 1);
		if (line[n] == '\n') {
			line[n] = '\0';
			break;
		}
	}
	ck_assert_str_eq(line, wanted);
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

START_TEST(starts_and_stops)
{
	struct device_child a = {0}, again = {.pid = 7, .pidfd = -7, .output = -7}, b = {0};
	struct world w;
	struct err e = {0};
	struct stat st;
	unsigned files;

	world_start(&w);
	files = open_files();
	ck_assert(device_is_launcher(w.path) && !device_is_launcher(w.program) &&
		  !device_is_launcher(w.dir) && !device_is_launcher("/nonexistent"));
	ck_assert_int_eq(stat(w.path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);

	ck_assert_int_eq(device_launch(w.path, "wg0", &a, &e), 0);
	told(&w, "wg0 started");
	wait_for_words(&a, "ready");
	ck_assert(device_alive(a.pid, a.pidfd));
	/* A second of the name is refused, and leaves what was there. */
	ck_assert_int_eq(device_launch(w.path, "wg0", &again, &e), -EEXIST);
	ck_assert_str_eq(e.msg, "launcher: wg0 runs already");
	ck_assert(again.pid == 7 && again.pidfd == -7 && again.output == -7);
	ck_assert_int_eq(device_launch(w.path, "wg1", &b, &e), 0);
	told(&w, "wg1 started");
	ck_assert_int_ne(a.pid, b.pid);

	device_launch_stop(w.path, "wg0");
	ck_assert(!device_alive(a.pid, a.pidfd) && device_alive(b.pid, b.pidfd));
	ck_assert_int_eq(kill(a.pid, 0), -1); /* waited for, too */
	device_launch_stop(w.path, "wg0");    /* harmless */
	device_child_close(&a);
	ck_assert_int_eq(device_launch(w.path, "wg0", &a, &e), 0);

	/* Its end is theirs. */
	ck_assert_int_eq(launcher_end(&w), 0);
	ck_assert(ends(&a) && ends(&b));
	ck_assert_int_eq(access(w.path, F_OK), -1);
	device_child_close(&a);
	device_child_close(&b);
	ck_assert_uint_eq(open_files(), files - 1); /* told */
	ck_assert_int_eq(device_launch(w.path, "wg0", &a, &e), -ENOENT);
	device_launch_stop(w.path, "wg0");
}
END_TEST

/* One that ends by itself is reaped, told of, and may be started again; its words are ours. */
START_TEST(device_ends_by_itself)
{
	struct device_child c = {0};
	struct world w;
	struct err e;

	world_start(&w);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(device_launch(w.path, "bad0", &c, &e), 0);
		ck_assert(ends(&c));
		told(&w, "bad0 started");
		told(&w, "bad0 ended with status 3");
		wait_for_words(&c, "no such luck");
		device_child_close(&c);
	}
	ck_assert_int_eq(device_launch(w.path, "wg0", &c, &e), 0);
	told(&w, "wg0 started");
	kill(c.pid, SIGKILL);
	told(&w, "wg0 ended by signal 9");
	device_child_close(&c);
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

START_TEST(deaf_device_is_killed)
{
	struct device_child c = {0};
	struct world w;

	world_start(&w);
	ck_assert_int_eq(device_launch(w.path, "deaf0", &c, NULL), 0);
	wait_for_words(&c, "ready");
	device_launch_stop(w.path, "deaf0");
	ck_assert(ends(&c));
	device_child_close(&c);
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

START_TEST(program_that_is_not_there)
{
	struct device_child c = {0};
	struct world w;
	struct err e = {0};

	world_start(&w);
	ck_assert_int_eq(unlink(w.program), 0);
	ck_assert_int_eq(device_launch(w.path, "wg0", &c, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, w.program));
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

/* This process's system call answers `error`, for good; false: it could not be arranged. */
static bool refuse(int call, uint32_t error)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = ctx && seccomp_rule_add(ctx, SCMP_ACT_ERRNO(error), call, 0) == 0 &&
		  seccomp_load(ctx) == 0;

	seccomp_release(ctx);
	return ok;
}

/* 0, or the number of what was not as it should be. */
static int spawn_without_close_range(char *path, uint32_t error)
{
	char *argv[] = {path, (char *)"-f", (char *)"wg0", NULL};
	struct device_child c;

	if (!refuse(SCMP_SYS(close_range), error) || dup2(1, 77) != 77)
		return 1;
	if (device_spawn(path, argv, -1, &c, NULL) != 0)
		return 2;
	if (!ends(&c))
		return 3;
	char words[16];
	device_child_words(&c, words, sizeof(words));
	device_child_close(&c);
	return str_eq(words, "shut") ? 0 : 4;
}

/* The program is ended, and the error says what is missing. */
static int spawn_without_pidfd(char *path, uint32_t error)
{
	char *argv[] = {path, (char *)"-f", (char *)"deaf0", NULL};
	struct device_child c;
	struct err e = {0};
	int status;

	/* What is left without a parent becomes ours. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || !refuse(SCMP_SYS(pidfd_open), error))
		return 1;
	if (device_spawn(path, argv, -1, &c, &e) != -(int)error)
		return 2;
	if (!strstr(e.msg, path) || (error == ENOSYS) != !!strstr(e.msg, "Linux 5.3"))
		return 3;
	if (waitpid(-1, &status, 0) < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return 4;
	return 0;
}

/* In a process of its own, which the filter ends with. */
static int apart(int (*fn)(char *path, uint32_t error), char *path, uint32_t error)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(fn(path, error));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(older_kernels)
{
	static const char text[] = "#!/bin/sh\n[ -e /proc/self/fd/77 ] && echo open || echo shut\n";
	char dir[] = "/tmp/device-XXXXXX", path[64];

	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/program", dir);
	write_program(path, text);
	ck_assert_int_eq(apart(spawn_without_close_range, path, ENOSYS), 0);
	ck_assert_int_eq(apart(spawn_without_close_range, path, EINVAL), 0);
	ck_assert_int_eq(apart(spawn_without_close_range, path, EPERM), 0);
	write_program(path, script);
	ck_assert_int_eq(apart(spawn_without_pidfd, path, ENOSYS), 0);
	ck_assert_int_eq(apart(spawn_without_pidfd, path, EMFILE), 0);
}
END_TEST

/* What answers to one raw message, with up to `n` descriptors; "" where the connection ends. */
static void ask_raw(const struct world *w, const void *text, size_t len, char ret[512])
{
	int fd = connect_to(w->path);
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
	n = recv(fd, ret, 511, 0);
	ret[n > 0 ? n : 0] = '\0';
	close(fd);
}

START_TEST(requests_that_are_none)
{
	static const char *const cases[] = {
		"start",      "start ",      "start ../x", "start a/b", "begin wg0",
		"starts wg0", "start wg0 x", "stop",       "stop ..",   "START wg0",
		" ",          "x",           "stop .",     "start lo:", "start sixteen-letters0",
	};
	char answer[512], nul[] = "start wg0\0x", longest[1024];
	struct device_child c = {0};
	struct world w;

	world_start(&w);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ask_raw(&w, cases[i], strlen(cases[i]), answer);
		ck_assert_msg(str_eq(answer, "error 22 no such request"), "'%s': '%s'", cases[i],
			      answer);
	}
	memset(longest, 'a', sizeof(longest));
	ask_raw(&w, longest, sizeof(longest), answer);
	ck_assert_str_eq(answer, "");
	/* Nobody's request holds up the next one for more than a second, however many are silent.
	 */
	int silent = connect_to(w.path), gone = connect_to(w.path);
	close(gone);
	ask_raw(&w, "stop wg9", 8, answer);
	ck_assert_str_eq(answer, "ok 1");
	close(silent);
	/* Without a file for its output a device has one of its own. */
	ask_raw(&w, nul, sizeof("start wg0") - 1, answer);
	ck_assert(str_starts(answer, "ok "));
	told(&w, "wg0 started");
	ck_assert_int_eq(device_launch(w.path, "wg1", &c, NULL), 0);
	device_child_close(&c);
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

START_TEST(one_launcher_a_path)
{
	struct device_child c = {0};
	struct world w;
	struct err e = {0};
	int status;

	world_start(&w);
	pid_t second = fork();
	if (second == 0)
		_exit(device_launcher_run(w.path, w.program, NULL, NULL, &e) == -EADDRINUSE ? 5
											    : 6);
	ck_assert_int_eq(waitpid(second, &status, 0), second);
	ck_assert_int_eq(WEXITSTATUS(status), 5);
	ck_assert_int_eq(device_launch(w.path, "wg0", &c, &e), 0); /* the first still serves */
	kill(c.pid, SIGKILL);
	device_child_close(&c);
	/* A file that was left behind is taken over. */
	kill(w.pid, SIGKILL);
	ck_assert_int_eq(waitpid(w.pid, NULL, 0), w.pid);
	close(w.told);
	ck_assert(device_is_launcher(w.path));
	ck_assert_int_eq(device_launch(w.path, "wg0", &c, &e), -ECONNREFUSED);
	launcher_start(&w);
	ck_assert_int_eq(device_launch(w.path, "wg0", &c, &e), 0);
	device_child_close(&c);
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

/* Somebody else, even where the socket lets him connect. */
START_TEST(only_our_own_user)
{
	struct world w;
	int status;

	if (geteuid() != 0)
		return; /* there is nobody else to be */
	world_start(&w);
	ck_assert_int_eq(chmod(w.path, 0666), 0);
	ck_assert_int_eq(chmod(w.dir, 0755), 0);
	pid_t other = fork();
	if (other == 0) {
		char answer[64];

		if (setresuid(65534, 65534, 65534) < 0)
			_exit(3);
		int fd = connect_to(w.path);
		(void)!send(fd, "start wg0", 9, MSG_NOSIGNAL);
		_exit(fd >= 0 && recv(fd, answer, sizeof(answer), 0) <= 0 ? 0 : 4);
	}
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(launcher_end(&w), 0);
}
END_TEST

/* ---- the agent's side, against whoever sits at the socket ---- */

struct liar {
	int listening;
	const char *answer;
	bool with_file;
	pthread_t thread;
};

static void *lie(void *arg)
{
	struct liar *l = arg;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char request[512];
	int fd = accept(l->listening, NULL, NULL);
	struct iovec iov = {(void *)l->answer, strlen(l->answer)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	(void)!recv(fd, request, sizeof(request), 0);
	if (l->with_file) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &(int){1}, sizeof(int));
	}
	if (iov.iov_len)
		sendmsg(fd, &m, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

START_TEST(answers_that_are_none)
{
	static const struct {
		const char *answer;
		bool with_file;
		int want;
		const char *says;
	} cases[] = {
		{"ok 17", false, -EPROTO, "nonsense"},
		{"ok 0", true, -EPROTO, "nonsense"},
		{"ok -1", true, -EPROTO, "nonsense"},
		{"ok 99999999999", true, -EPROTO, "nonsense"},
		{"ok 17 ", true, -EPROTO, "nonsense"},
		{"okay", true, -EPROTO, "nonsense"},
		{"error 0 x", true, -EPROTO, "nonsense"},
		{"error 4096 x", false, -EPROTO, "nonsense"},
		{"error 17", false, -EPROTO, "nonsense"},
		{"error seventeen x", false, -EPROTO, "nonsense"},
		{"error 17 it is there", true, -EEXIST, "launcher: it is there"},
		{"", false, -ECONNRESET, "launcher of devices"},
	};
	char dir[] = "/tmp/launch-test-XXXXXX", path[48];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct liar l = {.listening = socket(AF_UNIX, SOCK_SEQPACKET, 0)};

	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	strcpy(a.sun_path, path);
	ck_assert_int_eq(bind(l.listening, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(l.listening, 4), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct device_child c = {.pid = 7, .pidfd = -7, .output = -7};
		unsigned files = open_files();
		struct err e = {0};

		l.answer = cases[i].answer;
		l.with_file = cases[i].with_file;
		ck_assert_int_eq(pthread_create(&l.thread, NULL, lie, &l), 0);
		int r = device_launch(path, "wg0", &c, &e);
		ck_assert_msg(r == cases[i].want && e.code == r, "case %zu: %d %s", i, r, e.msg);
		ck_assert_msg(strstr(e.msg, cases[i].says), "case %zu: %s", i, e.msg);
		ck_assert(c.pid == 7 && c.pidfd == -7 && c.output == -7);
		pthread_join(l.thread, NULL);
		ck_assert_uint_eq(open_files(), files);
	}
	close(l.listening);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("device_launch", starts_and_stops, device_ends_by_itself,
			  deaf_device_is_killed, program_that_is_not_there, older_kernels,
			  requests_that_are_none, one_launcher_a_path, only_our_own_user,
			  answers_that_are_none);
}

UNIT_MAIN(suite)
