/*
 * Handshakes with a device as many peers, for test/bench/wg; the peers are test/unit/wgpeer.c.
 *
 *     handshakes peers                                  their sections for `wg setconf`
 *     handshakes run ADDRESS PORT KEY RATE SECONDS      KEY is the device's public key; prints how
 *                                                       many were answered with a good response
 *
 * Initiations are sent at an even rate, one peer after the other, each from a socket of its own, so
 * that each peer is far from its limit of one in 20 ms. A cookie is taken, and the next initiation
 * carries it.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../unit/wgpeer.h"
#include "base/key.h"
#include "base/time.h"

#define PEERS 200

static struct wgpeer peers[PEERS];
static struct pollfd fds[PEERS];

static void print_peers(void)
{
	static const uint8_t nobody[32] = {9};
	char text[KEY_BASE64];
	struct key k;

	for (unsigned i = 0; i < PEERS; i++) {
		wgpeer_init(&peers[i], (uint8_t)(i + 1), nobody);
		memcpy(k.b, peers[i].pub, sizeof(k.b));
		printf("[Peer]\nPublicKey = %s\nAllowedIPs = 10.77.0.%u/32\n",
		       key_to_base64(&k, text), i);
	}
}

/* Whether it was a good response. */
static bool take(struct wgpeer *p, const uint8_t *b, ssize_t len)
{
	if (len == 64 && b[0] == 3)
		wgpeer_take_cookie(p, b);
	return len == 92 && b[0] == 2 && wgpeer_take_response(p, b);
}

static unsigned collect(int wait_ms)
{
	unsigned done = 0;

	poll(fds, PEERS, wait_ms);
	for (unsigned i = 0; i < PEERS; i++) {
		uint8_t b[256];

		if (fds[i].revents & POLLIN)
			done += take(&peers[i], b, recv(fds[i].fd, b, sizeof(b), 0));
	}
	return done;
}

static unsigned run(double rate, double seconds)
{
	struct mono start = mono_now();
	unsigned sent = 0, done = 0;
	double t;

	while ((t = (double)mono_since(mono_now(), start) / NS_PER_SEC) < seconds + 0.2) {
		unsigned i = sent % PEERS;
		struct wall now = wall_now();
		uint8_t b[148];

		if (t < seconds && sent < rate * t) {
			wgpeer_initiation(&peers[i], (uint64_t)(now.ns / NS_PER_SEC),
					  (uint32_t)(now.ns % NS_PER_SEC), b);
			(void)!send(fds[i].fd, b, sizeof(b), 0);
			/* Also where the rate cannot be reached: answers are what it is about. */
			if (++sent % 16 == 0)
				done += collect(0);
		} else {
			done += collect(1);
		}
	}
	return done;
}

static int udp(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		perror("handshakes");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct key k;

	if (sodium_init() < 0)
		return 1;
	if (argc == 2 && strcmp(argv[1], "peers") == 0) {
		print_peers();
		return 0;
	}
	if (argc != 7 || strcmp(argv[1], "run") != 0 || inet_aton(argv[2], &to.sin_addr) == 0 ||
	    key_from_base64(argv[4], &k) < 0) {
		fputs("usage: handshakes peers | run ADDRESS PORT KEY RATE SECONDS\n", stderr);
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	for (unsigned i = 0; i < PEERS; i++) {
		wgpeer_init(&peers[i], (uint8_t)(i + 1), k.b);
		fds[i] = (struct pollfd){udp(&to), POLLIN, 0};
	}
	printf("%u\n", run(atof(argv[5]), atof(argv[6])));
	return 0;
}
