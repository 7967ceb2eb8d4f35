/*
 * Daemonising. The fork comes before anything is opened, so that the process which listens on the
 * control socket is the one that stays. The parent reads one struct err from a pipe: code 0 when
 * the device is ready; an end without one means that the child has died.
 */
#include "background.h"

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

int background_start(struct err *e)
{
	int fds[2];
	pid_t pid;

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
	return fds[1];
}

void background_report(int fd, const struct err *e, bool keep_output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		if (!keep_output) {
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
		}
		close(null);
	}
	(void)!write(fd, e, sizeof(*e));
	close(fd);
}
