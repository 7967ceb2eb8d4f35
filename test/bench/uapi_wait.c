/*
 * Tells when a peer appears in a WireGuard device, by asking its UAPI socket every 2 ms:
 *
 *     uapi_wait SOCKET <KEYS >TIMES
 *
 * KEYS are public keys in hexadecimal, one a line, waited for in that order; for each a line
 * "KEY SECONDS.MICROSECONDS" of the wall clock is written when it is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char answer[1 << 20];

static int ask(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t len = 0;
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    write(fd, "get=1\n\n", 7) != 7) {
		close(fd);
		return -1;
	}
	while (len < sizeof(answer) - 1 &&
	       (n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0) {
		len += (size_t)n;
		answer[len] = '\0';
		if (len > 1 && strcmp(answer + len - 2, "\n\n") == 0)
			break;
	}
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	char line[128], want[160];
	struct timespec now;

	if (argc != 2) {
		fprintf(stderr, "usage: uapi_wait SOCKET <KEYS\n");
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(want, sizeof(want), "public_key=%s\n", line);
		while (ask(argv[1]) < 0 || !strstr(answer, want))
			nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
		printf("%s %lld.%06ld\n", line, (long long)now.tv_sec, now.tv_nsec / 1000);
		fflush(stdout);
	}
	return 0;
}
