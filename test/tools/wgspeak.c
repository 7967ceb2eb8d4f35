/*
 * A WireGuard peer that pings through the tunnel and tells its keys, so that others can look into
 * what a device sends: test/unit/wgpeer.c (seed 1) on a socket.
 *
 *     wgspeak key
 *     wgspeak initiate PORT ADDRESS DEVICE-PORT KEY FROM TO COUNT KEYLOG [PSK]
 *     wgspeak answer PORT KEY FROM TO COUNT KEYLOG [PSK]      waits for the device's initiation
 *
 * It binds PORT, sends COUNT echo requests from the inner address FROM to TO, each after the answer
 * to the one before, and prints how many were answered. Its keys go to KEYLOG, as Wireshark's
 * wg.keylog_file wants them.
 */
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../unit/wgpeer.h"
#include "base/key.h"
#include "base/time.h"

#define WAIT    7000 /* ms: a device tries again after five seconds */
#define PAYLOAD 200

struct echo {
	struct iphdr ip;
	struct icmphdr icmp;
	uint8_t data[PAYLOAD];
};

static struct wgpeer peer;
static struct sockaddr_in device = {.sin_family = AF_INET};
static int fd;

static void die(const char *what)
{
	fprintf(stderr, "wgspeak: %s\n", what);
	exit(1);
}

static size_t get(uint8_t *b, size_t size)
{
	socklen_t len = sizeof(device);
	ssize_t n;

	if (poll(&(struct pollfd){fd, POLLIN, 0}, 1, WAIT) != 1)
		die("nothing has come");
	n = recvfrom(fd, b, size, 0, (struct sockaddr *)&device, &len);
	return n < 0 ? 0 : (size_t)n;
}

static void put(const uint8_t *b, size_t len)
{
	if (sendto(fd, b, len, 0, (struct sockaddr *)&device, sizeof(device)) < 0)
		die("cannot send");
}

static void log_key(FILE *f, const char *name, const uint8_t k[32])
{
	char text[KEY_BASE64];
	struct key key;

	memcpy(key.b, k, sizeof(key.b));
	fprintf(f, "%s = %s\n", name, key_to_base64(&key, text));
}

static void initiate(void)
{
	struct wall now = wall_now();
	uint8_t b[256];

	wgpeer_initiation(&peer, (uint64_t)(now.ns / NS_PER_SEC), (uint32_t)(now.ns % NS_PER_SEC),
			  b);
	put(b, 148);
	if (get(b, sizeof(b)) != 92 || !wgpeer_take_response(&peer, b))
		die("no good response");
}

static void answer(void)
{
	uint8_t b[256];

	if (get(b, sizeof(b)) != 148 || !wgpeer_take_initiation(&peer, b))
		die("no good initiation");
	wgpeer_response(&peer, b);
	put(b, 92);
	/* The responder waits for what confirms the session: until then the device may not have it.
	 */
	(void)get(b, sizeof(b));
}

static void write_keys(const char *path, bool psk)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die(path);
	log_key(f, "LOCAL_STATIC_PRIVATE_KEY", peer.priv);
	log_key(f, "REMOTE_STATIC_PUBLIC_KEY", peer.remote);
	log_key(f, "LOCAL_EPHEMERAL_PRIVATE_KEY", peer.eph);
	if (psk)
		log_key(f, "PRESHARED_KEY", peer.psk);
	fclose(f);
}

static uint16_t sum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint32_t s = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)(b[i] << 8 | b[i + 1]);
	while (s >> 16)
		s = (s & 0xFFFF) + (s >> 16);
	return htons((uint16_t)~s);
}

static void request(const char *from, const char *to, uint16_t seq)
{
	struct echo e = {
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP},
		.icmp = {.type = ICMP_ECHO},
	};
	uint8_t out[sizeof(e) + 64], padded[sizeof(e) + 16] = {0};

	e.ip.tot_len = htons(sizeof(e));
	e.ip.saddr = inet_addr(from);
	e.ip.daddr = inet_addr(to);
	e.ip.check = sum(&e.ip, sizeof(e.ip));
	e.icmp.un.echo.sequence = htons(seq);
	e.icmp.checksum = sum(&e.icmp, sizeof(e) - sizeof(e.ip));
	memcpy(padded, &e, sizeof(e));
	put(out, wgpeer_data(&peer, peer.counter++, padded, (sizeof(e) + 15) & ~15UL, out));
}

/* What else comes meanwhile (keepalives, neighbours' talk) is passed over. */
static bool answered(uint16_t seq)
{
	uint8_t b[2048], plain[2048];

	for (unsigned i = 0; i < 20; i++) {
		size_t len = get(b, sizeof(b));
		uint64_t counter;
		int n = len >= 32 && b[0] == 4 ? wgpeer_open(&peer, b, len, plain, &counter) : -1;
		struct echo e;

		if (n < (int)sizeof(e))
			continue;
		memcpy(&e, plain, sizeof(e));
		if (e.ip.protocol == IPPROTO_ICMP && e.icmp.type == ICMP_ECHOREPLY &&
		    ntohs(e.icmp.un.echo.sequence) == seq)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const uint8_t nobody[32] = {9};
	bool initiator = argc > 1 && strcmp(argv[1], "initiate") == 0;
	struct sockaddr_in here = {.sin_family = AF_INET};
	unsigned n = 0, at = initiator ? 5 : 3;
	char text[KEY_BASE64];
	struct key k, psk;

	if (argc == 2 && strcmp(argv[1], "key") == 0) {
		wgpeer_init(&peer, 1, nobody);
		memcpy(k.b, peer.pub, sizeof(k.b));
		puts(key_to_base64(&k, text));
		return 0;
	}
	if (argc < (int)at + 5)
		die("see the head of test/tools/wgspeak.c");
	here.sin_port = htons((uint16_t)atoi(argv[2]));
	if (initiator) {
		inet_aton(argv[3], &device.sin_addr);
		device.sin_port = htons((uint16_t)atoi(argv[4]));
	}
	if (key_from_base64(argv[at], &k) < 0)
		die("that is no key");
	wgpeer_init(&peer, 1, k.b);
	if (argc > (int)at + 5) {
		if (key_from_base64(argv[at + 5], &psk) < 0)
			die("that is no preshared key");
		memcpy(peer.psk, psk.b, sizeof(peer.psk));
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		die("cannot bind");
	if (initiator)
		initiate();
	else
		answer();
	write_keys(argv[at + 4], argc > (int)at + 5);
	for (unsigned i = 0; i < (unsigned)atoi(argv[at + 3]); i++) {
		request(argv[at + 1], argv[at + 2], (uint16_t)i);
		n += answered((uint16_t)i);
	}
	printf("%u\n", n);
	return 0;
}
