/*
 * Daemonising. The fork comes before anything is opened, so that the process which listens on the
 * control socket is the one that stays. The parent reads one struct err from a pipe: code 0 when
 * the device is ready; an end without one means that the child has died.
 *
 * Then nothing of the caller's may stay open, or a $(harmony-wg wg0) would wait for its end. The
 * filter of system calls and Landlock are in force by that time: /dev/null is opened before, and
 * put in place by dup3, which is permitted.
 */
#include "background.h"
#include "base/mem.h"
#include "log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void __attribute__((noreturn)) wait_for_child(int fd)
{
	struct err e = {.code = -EIO, .msg = "the device ended without a word"};
	ssize_t n;

	do
		n = read(fd, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(e) && e.code == 0)
		_exit(0);
	fprintf(stderr, "harmony-wg: %s\n", e.msg);
	_exit(1);
}

int background_start(struct background *ret, const char *log_file, struct err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int log = -1;
	int fds[2];
	pid_t pid;

	if (null < 0)
		return err_sys(e, -errno, "/dev/null");
	if (log_file) {
		log = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);
		if (log < 0)
			return err_sys(e, -errno, "log file %s", log_file);
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, -errno, "pipe");
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(fds[0]);
		close(fds[1]);
		return err_sys(e, r, "fork");
	}
	if (pid > 0) {
		close(fds[1]);
		wait_for_child(fds[0]);
	}
	close(fds[0]);
	setsid();
	(void)!chdir("/");
	*ret = (struct background){fds[1], mem_steal_fd(&null), mem_steal_fd(&log)};
	return 0;
}

void background_report(struct background *b, const struct err *e, bool keep_output)
{
	int log = b->log >= 0 ? b->log : b->null;

	dup3(b->null, STDIN_FILENO, 0);
	if (!keep_output || b->log >= 0) {
		dup3(b->null, STDOUT_FILENO, 0);
		dup3(log, STDERR_FILENO, 0);
		log_redirect(log);
	}
	(void)!write(b->report, e, sizeof(*e));
	mem_close_p(&b->null);
	mem_close_p(&b->log);
	mem_close_p(&b->report);
}
