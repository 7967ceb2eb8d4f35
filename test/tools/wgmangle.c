/*
 * A link between two UDP sockets that loses, doubles, delays and damages datagrams, and a NAT that
 * forgets. It stands in for both of two WireGuard peers, each of which has it as its endpoint:
 *
 *     A  <──>  LEFT port │ wgmangle │ RIGHT port  <──>  B at TO
 *
 *     wgmangle LEFT-PORT RIGHT-ADDRESS RIGHT-PORT TO-ADDRESS TO-PORT [what=value…]
 *
 * Of a thousand datagrams: loss, double, corrupt (one bit of one byte), late (held for up to
 * `jitter` milliseconds, so that others overtake them). nat=SECONDS: a fresh port towards B after
 * so long without a datagram from A; what B sends in between goes nowhere. seed=N repeats a run.
 * A is whoever sent to the left port last. On SIGTERM it prints what it did.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"

#define HELD     4096
#define DATAGRAM 2048

struct held {
	struct mono due;
	unsigned side; /* to which it goes */
	size_t len;
	uint8_t b[DATAGRAM];
};

static unsigned loss, doubled, corrupt, late, jitter = 20, nat, seed = 1;
static const struct {
	const char *name;
	unsigned *value;
} words[] = {{"loss", &loss},     {"double", &doubled}, {"corrupt", &corrupt}, {"late", &late},
	     {"jitter", &jitter}, {"nat", &nat},        {"seed", &seed}};

static struct {
	unsigned long passed, lost, doubled, corrupted, held, overflow, ports, unknown;
} count;
static struct held held[HELD];
static unsigned n_held;
static int fd[2]; /* towards A, towards B */
static struct sockaddr_in other[2];
static struct mono last_from_a;
static volatile sig_atomic_t end;

static void ended(int sig)
{
	end = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "wgmangle: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bound(const char *address, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 4 << 20;

	if (address)
		inet_aton(address, &sa.sin_addr);
	if (s < 0 || bind(s, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		die("bind");
	if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		die("receive buffer");
	return s;
}

static bool chance(unsigned of_thousand)
{
	return (unsigned)random() % 1000 < of_thousand;
}

static void pass(unsigned side, const uint8_t *b, size_t len)
{
	if (other[side].sin_port == 0)
		count.unknown++;
	else if (sendto(fd[side], b, len, 0, (struct sockaddr *)&other[side],
			sizeof(other[side])) >= 0)
		count.passed++;
}

static void hold(unsigned side, const uint8_t *b, size_t len)
{
	struct held *h = &held[n_held];

	if (n_held == HELD) {
		count.overflow++;
		return;
	}
	h->due = mono_add(mono_now(), (random() % (jitter + 1)) * NS_PER_MSEC);
	h->side = side;
	h->len = len;
	memcpy(h->b, b, len);
	n_held++;
	count.held++;
}

static void mangle(unsigned side, uint8_t *b, size_t len)
{
	if (chance(loss)) {
		count.lost++;
		return;
	}
	if (chance(doubled)) {
		count.doubled++;
		hold(side, b, len);
	}
	if (len > 0 && chance(corrupt)) {
		count.corrupted++;
		b[(unsigned)random() % len] ^= (uint8_t)(1U << random() % 8);
	}
	if (chance(late))
		hold(side, b, len);
	else
		pass(side, b, len);
}

/* The mapping is forgotten: the next one has another port, and the old one is closed. */
static void forget(const char *address)
{
	struct mono now = mono_now();

	if (nat && last_from_a.ns && mono_since(now, last_from_a) > nat * NS_PER_SEC) {
		close(fd[1]);
		fd[1] = bound(address, 0);
		count.ports++;
	}
	last_from_a = now;
}

static void take(unsigned from, const char *right)
{
	struct sockaddr_in sa;
	socklen_t sa_len = sizeof(sa);
	uint8_t b[DATAGRAM];
	ssize_t len =
		recvfrom(fd[from], b, sizeof(b), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);

	if (len < 0)
		return;
	if (from == 0) {
		other[0] = sa;
		forget(right);
	}
	/* The NAT lets in only whom A has spoken to: the one that stands on the command line. */
	mangle(!from, b, (size_t)len);
}

static void release(void)
{
	struct mono now = mono_now();

	for (unsigned i = 0; i < n_held;) {
		if (mono_before(now, held[i].due)) {
			i++;
			continue;
		}
		pass(held[i].side, held[i].b, held[i].len);
		held[i] = held[--n_held];
	}
}

static void option(const char *text)
{
	const char *is = strchr(text, '=');

	for (unsigned i = 0; is && i < ARRAY_LEN(words); i++)
		if (strncmp(text, words[i].name, (size_t)(is - text)) == 0 &&
		    strlen(words[i].name) == (size_t)(is - text)) {
			*words[i].value = (unsigned)atoi(is + 1);
			return;
		}
	fprintf(stderr, "wgmangle: no such option: %s\n", text);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fputs("usage: wgmangle LEFT-PORT RIGHT-ADDRESS RIGHT-PORT TO-ADDRESS TO-PORT "
		      "[WHAT=VALUE...]\n",
		      stderr);
		return 2;
	}
	for (int i = 6; i < argc; i++)
		option(argv[i]);
	srandom(seed);
	signal(SIGTERM, ended);
	fd[0] = bound(NULL, (uint16_t)atoi(argv[1]));
	fd[1] = bound(argv[2], (uint16_t)atoi(argv[3]));
	other[1] = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_port = htons((uint16_t)atoi(argv[5]))};
	inet_aton(argv[4], &other[1].sin_addr);
	while (!end) {
		struct pollfd p[2] = {{fd[0], POLLIN, 0}, {fd[1], POLLIN, 0}};

		if (poll(p, 2, n_held ? 1 : 100) < 0)
			continue;
		for (unsigned i = 0; i < 2; i++)
			if (p[i].revents)
				take(i, argv[2]);
		release();
	}
	printf("passed %lu lost %lu doubled %lu corrupted %lu held %lu overflow %lu ports %lu "
	       "unknown %lu\n",
	       count.passed, count.lost, count.doubled, count.corrupted, count.held, count.overflow,
	       count.ports, count.unknown);
	return 0;
}
