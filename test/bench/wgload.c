/*
 * UDP load through a tunnel, for test/bench/wg and for tests:
 *
 *     wgload serve PORT                      the far end of the others
 *     wgload rate ADDRESS PORT BYTES         the greatest rate with at most 1 % lost, in packets a
 *                                            second: doubled until it fails, then bisected
 *     wgload hold ADDRESS PORT BYTES RATE SECONDS    one rate: sent, received
 *     wgload rr ADDRESS PORT SECONDS         one request at a time: p50, p99 in microseconds, count
 *
 * A datagram begins with a kind and the number of the run. The server counts the data of a run,
 * answers a query with the count, and sends a request back.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"

#define BATCH   64
#define BEHIND  256 /* packets that are made up for at most when the sender was not run */
#define STEP    (500 * NS_PER_MSEC)
#define BISECT  6
#define LOSS    0.01
#define SAMPLES (1 << 20)
#define BYTES   2048
/* A server that is not run for a while must not count as loss of what is measured. */
#define RCVBUF  (64 << 20)
#define NAP     50000 /* ns */
#define GIVE_UP 100

enum { DATA = 'D', QUERY = 'Q', REQUEST = 'R' };

struct head {
	uint32_t kind, run;
	uint64_t count;
};

static void die(const char *what)
{
	fprintf(stderr, "wgload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int udp(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = host ? 0 : AI_PASSIVE}, *a;
	int fd = -1, size = RCVBUF;

	if (!host)
		hints.ai_family = AF_INET6; /* both families */
	if (getaddrinfo(host, port, &hints, &a) != 0 ||
	    (fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if ((host ? connect : bind)(fd, a->ai_addr, a->ai_addrlen) < 0)
		die(host ? "connect" : "bind");
	freeaddrinfo(a);
	return fd;
}

static void nap(int64_t ns)
{
	struct timespec t = {ns / NS_PER_SEC, ns % NS_PER_SEC};

	nanosleep(&t, NULL);
}

/* ── the server ─────────────────────────────────────────────────────────────────────────── */

static void serve(const char *port)
{
	static uint8_t b[BATCH][BYTES];
	static struct sockaddr_storage from[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	int fd = udp(NULL, port), n;
	uint64_t count = 0;
	uint32_t run = 0;

	for (;;) {
		for (unsigned i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){b[i], BYTES};
			m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						       .msg_namelen = sizeof(from[i]),
						       .msg_iov = &iov[i],
						       .msg_iovlen = 1};
		}
		n = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			struct head h;

			if (m[i].msg_len < sizeof(h))
				continue;
			memcpy(&h, b[i], sizeof(h));
			if (h.run != run) {
				run = h.run;
				count = 0;
			}
			count += h.kind == DATA;
			if (h.kind == DATA)
				continue;
			h.count = count;
			memcpy(b[i], &h, sizeof(h));
			sendto(fd, b[i], m[i].msg_len, 0, m[i].msg_hdr.msg_name,
			       m[i].msg_hdr.msg_namelen);
		}
	}
}

/* ── the client ─────────────────────────────────────────────────────────────────────────── */

/* One exchange; false: no answer within `ms`. */
static bool ask(int fd, uint32_t kind, uint32_t run, size_t len, int ms, uint64_t *ret)
{
	uint8_t b[BYTES] = {0};
	struct head h = {kind, run, 0};

	memcpy(b, &h, sizeof(h));
	if (send(fd, b, len, 0) < 0)
		return false;
	while (poll(&(struct pollfd){fd, POLLIN, 0}, 1, ms) == 1) {
		if (recv(fd, b, sizeof(b), 0) < (ssize_t)sizeof(h))
			continue;
		memcpy(&h, b, sizeof(h));
		if (h.kind != kind || h.run != run)
			continue;
		*ret = h.count;
		return true;
	}
	return false;
}

static uint64_t count_of(int fd, uint32_t run)
{
	uint64_t n, before = UINT64_MAX;

	/* Until what was under way has arrived. */
	for (unsigned i = 0; i < GIVE_UP; i++) {
		if (!ask(fd, QUERY, run, sizeof(struct head), 200, &n))
			continue;
		if (n == before)
			return n;
		before = n;
		nap(30 * NS_PER_MSEC);
	}
	errno = ETIMEDOUT;
	die("the server does not answer");
	return 0;
}

struct step {
	uint64_t sent, received;
	double seconds;
};

static struct step send_at(int fd, uint32_t run, size_t len, double rate, int64_t ns)
{
	static uint8_t b[BYTES];
	struct iovec iov = {b, len};
	struct mmsghdr m[BATCH] = {0};
	struct head h = {DATA, run, 0};
	struct mono start = mono_now(), origin = start;
	struct step s = {0};
	int64_t t;
	uint64_t paced = 0;

	memcpy(b, &h, sizeof(h));
	for (unsigned i = 0; i < BATCH; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
	while ((t = mono_since(mono_now(), start)) < ns) {
		struct mono now = mono_now();
		double due = rate * (double)mono_since(now, origin) / NS_PER_SEC - (double)paced;

		if (due < 1) {
			nap(NAP);
			continue;
		}
		if (due > BEHIND) {
			origin = now;
			paced = 0;
			due = BEHIND;
		}
		int n = sendmmsg(fd, m, due < BATCH ? (unsigned)due : BATCH, 0);
		if (n > 0) {
			s.sent += (uint64_t)n;
			paced += (uint64_t)n;
		}
	}
	s.seconds = (double)t / NS_PER_SEC;
	s.received = count_of(fd, run);
	return s;
}

/* A rate that fails is tried once more: a busy machine has moments. */
static bool holds(int fd, uint32_t *run, size_t len, double rate, double *best)
{
	for (unsigned i = 0; i < 2; i++) {
		struct step s = send_at(fd, ++*run, len, rate, STEP);

		if (s.sent == 0 || (double)s.received < (1 - LOSS) * (double)s.sent)
			continue;
		if ((double)s.received / s.seconds > *best)
			*best = (double)s.received / s.seconds;
		if ((double)s.sent / s.seconds > 0.9 * rate)
			return true;
	}
	return false;
}

static double search(int fd, uint32_t run, size_t len)
{
	double good = 0, bad = 16000, best = 0;

	while (holds(fd, &run, len, bad, &best)) {
		good = bad;
		bad *= 2;
	}
	for (unsigned i = 0; i < BISECT; i++) {
		double mid = (good + bad) / 2;

		if (holds(fd, &run, len, mid, &best))
			good = mid;
		else
			bad = mid;
	}
	return best;
}

static int cmp(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void request_response(int fd, uint32_t run, int seconds)
{
	uint32_t *ns = calloc(SAMPLES, sizeof(*ns));
	struct mono start = mono_now();
	size_t n = 0, lost = 0;
	uint64_t count;

	if (!ns)
		die("memory");
	while (n < SAMPLES && lost < GIVE_UP &&
	       mono_since(mono_now(), start) < seconds * NS_PER_SEC) {
		struct mono t = mono_now();

		if (ask(fd, REQUEST, ++run, 64, 500, &count))
			ns[n++] = (uint32_t)mono_since(mono_now(), t);
		else
			lost++;
	}
	if (n == 0)
		die("no answer");
	qsort(ns, n, sizeof(*ns), cmp);
	printf("%.1f %.1f %zu\n", ns[n / 2] / 1e3, ns[n * 99 / 100] / 1e3, n);
	free(ns);
}

static int usage(void)
{
	fputs("usage: wgload serve PORT | rate ADDRESS PORT BYTES |\n"
	      "       hold ADDRESS PORT BYTES RATE SECONDS | rr ADDRESS PORT SECONDS\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	uint32_t run = (uint32_t)getpid() << 12; /* others' datagrams are not ours */

	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		serve(argv[2]);
	} else if (argc == 5 && strcmp(argv[1], "rate") == 0) {
		printf("%.0f\n", search(udp(argv[2], argv[3]), run, (size_t)atoi(argv[4])));
	} else if (argc == 7 && strcmp(argv[1], "hold") == 0) {
		struct step s = send_at(udp(argv[2], argv[3]), run, (size_t)atoi(argv[4]),
					atof(argv[5]), (int64_t)(atof(argv[6]) * NS_PER_SEC));

		printf("%llu %llu\n", (unsigned long long)s.sent, (unsigned long long)s.received);
	} else if (argc == 5 && strcmp(argv[1], "rr") == 0) {
		request_response(udp(argv[2], argv[3]), run, atoi(argv[4]));
	} else {
		return usage();
	}
	return 0;
}
