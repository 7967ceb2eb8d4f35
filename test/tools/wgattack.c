/*
 * What outsiders send to a device whose public key they know:
 *
 *     wgattack spoof ADDRESS PORT KEY RATE SECONDS   initiations with a good mac1 and nothing else,
 *                                                    each from another source address
 *     wgattack garbage ADDRESS PORT KEY              every length from 0 to 2000 with each message
 *                                                    type, then damaged initiations of a real peer;
 *                                                    prints how many were sent and answered
 *     wgattack cookies ADDRESS PORT KEY SECONDS      what looks like cookies for it, a thousand at
 *                                                    once, 50 times a second
 *     wgattack handshake ADDRESS PORT KEY            one initiation of that peer: "1" where
 * answered
 *     wgattack large ADDRESS PORT KEY FROM TO        as that peer, in a session: the longest
 *                                                    datagrams and trains (UDP_SEGMENT) that there
 *                                                    are, garbage and good ones, with a packet from
 *                                                    the inner address FROM to TO; prints how many
 *                                                    datagrams and trains, and messages in all
 *
 * The peer is test/unit/wgpeer.c's with seed 1; `wgattack key` prints its public key.
 */
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "../unit/wgpeer.h"
#include "base/key.h"
#include "base/mem.h"
#include "base/time.h"

#define BATCH    64
#define MESSAGES 256 /* different ones, made before */
#define LEN_MAX  2000
#define MUTANTS  3000

static struct sockaddr_in to = {.sin_family = AF_INET};
static struct wgpeer peer;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void initiation(uint8_t out[148])
{
	struct wall now = wall_now();

	wgpeer_initiation(&peer, (uint64_t)(now.ns / NS_PER_SEC), (uint32_t)(now.ns % NS_PER_SEC),
			  out);
}

/* ── spoofed sources ────────────────────────────────────────────────────────────────────── */

struct raw {
	struct iphdr ip;
	struct udphdr udp;
	uint8_t message[148];
} __attribute__((packed));

static struct raw packets[MESSAGES];

/* The kernel fills in length and checksum of the IP header; a UDP checksum of 0 is none. */
static void prepare(void)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct raw *r = &packets[i];

		r->ip = (struct iphdr){.version = 4,
				       .ihl = 5,
				       .ttl = 64,
				       .protocol = IPPROTO_UDP,
				       .daddr = to.sin_addr.s_addr};
		r->udp.dest = to.sin_port;
		r->udp.len = htons(sizeof(r->udp) + sizeof(r->message));
		randombytes_buf(r->message, sizeof(r->message));
		memcpy(r->message, "\1\0\0", 4);
		wgpeer_sign(&peer, r->message, sizeof(r->message));
		randombytes_buf(r->message + 132, 16); /* a mac2 of no cookie */
	}
}

static unsigned long spoof(double rate, double seconds)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), size = 4 << 20;
	struct mono start = mono_now();
	struct mmsghdr m[BATCH] = {0};
	struct iovec iov[BATCH];
	unsigned long sent = 0;
	double t;

	if (fd < 0)
		die("raw socket");
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		die("send buffer");
	prepare();
	while ((t = (double)mono_since(mono_now(), start) / NS_PER_SEC) < seconds) {
		unsigned n = 0;

		for (; n < BATCH && (double)(sent + n) < rate * t; n++) {
			struct raw *r = &packets[(sent + n) % MESSAGES];

			/* 10.64.0.0/10, where the device has a route back to nobody */
			r->ip.saddr = htonl(0x0A400000 | (randombytes_random() & 0x3FFFFF));
			r->udp.source = (uint16_t)randombytes_random();
			iov[n] = (struct iovec){r, sizeof(*r)};
			m[n].msg_hdr = (struct msghdr){.msg_name = &to,
						       .msg_namelen = sizeof(to),
						       .msg_iov = &iov[n],
						       .msg_iovlen = 1};
		}
		int done = n ? sendmmsg(fd, m, n, 0) : 0;

		if (done > 0)
			sent += (unsigned long)done;
		if (n < BATCH)
			nanosleep(&(struct timespec){0, 200000}, NULL);
	}
	return sent;
}

/* ── garbage ────────────────────────────────────────────────────────────────────────────── */

static int connected(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("socket");
	return fd;
}

static unsigned answers(int fd, int ms)
{
	uint8_t b[256];
	unsigned n = 0;

	while (poll(&(struct pollfd){fd, POLLIN, 0}, 1, ms) == 1)
		n += recv(fd, b, sizeof(b), 0) >= 0;
	return n;
}

static void garbage(void)
{
	unsigned long sent = 0, answered = 0;
	uint8_t b[LEN_MAX], good[148];
	int fd = connected();

	for (unsigned len = 0; len <= LEN_MAX; len++)
		for (unsigned type = 0; type < 6; type++) {
			randombytes_buf(b, len);
			if (len >= 4)
				memcpy(b, (uint8_t[]){(uint8_t)type, 0, 0, 0}, 4);
			/* One of every size with a mac1 that is right for it. */
			if (len >= 32 && type == 5 && len != 148 && len != 92) {
				b[0] = 1;
				wgpeer_sign(&peer, b, len);
			}
			sent += send(fd, b, len, 0) >= 0;
			if (sent % 64 == 0)
				answered += answers(fd, 0);
		}
	for (unsigned i = 0; i < MUTANTS; i++) {
		unsigned at = randombytes_uniform(116); /* before the MACs, which are made again */

		initiation(good);
		good[at] ^= (uint8_t)(1U << randombytes_uniform(8));
		/* Index and type say nothing about authenticity: the index may be any. */
		if (at >= 4 && at < 8)
			good[40] ^= 1;
		wgpeer_sign(&peer, good, sizeof(good));
		sent += send(fd, good, sizeof(good), 0) >= 0;
		answered += answers(fd, i % 2); /* slowly: load would be answered with cookies */
	}
	answered += answers(fd, 300);
	printf("%lu %lu\n", sent, answered);
}

#define COOKIE  64
#define COOKIES 60 /* in one train */

static void cookies(double seconds)
{
	struct mono start = mono_now();
	uint8_t train[COOKIES * COOKIE];
	int fd = connected(), size = COOKIE;
	unsigned long sent = 0;

	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0)
		die("UDP_SEGMENT");
	while ((double)mono_since(mono_now(), start) / NS_PER_SEC < seconds) {
		for (unsigned i = 0; i < 16; i++) {
			randombytes_buf(train, sizeof(train));
			for (unsigned k = 0; k < COOKIES; k++)
				memcpy(train + (size_t)k * COOKIE, "\3\0\0", 4);
			sent += send(fd, train, sizeof(train), 0) >= 0 ? COOKIES : 0;
		}
		nanosleep(&(struct timespec){0, 20 * NS_PER_MSEC}, NULL);
	}
	printf("%lu\n", sent);
}

static void one_handshake(void)
{
	uint8_t b[256];
	int fd = connected();

	initiation(b);
	(void)!send(fd, b, 148, 0);
	if (poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000) == 1 &&
	    recv(fd, b, sizeof(b), 0) == 92 && wgpeer_take_response(&peer, b))
		puts("1");
	else
		puts("0");
}

/* ── of the greatest length ─────────────────────────────────────────────────────────────── */

#define LONGEST  65507 /* what UDP over IPv4 takes */
#define JOINED   65493 /* with all headers a byte less than what a veth does not cut */
#define TRAIN    64    /* messages: UDP_MAX_SEGMENTS of all kernels */
#define OVERHEAD 32

static unsigned long datagrams, messages;

static void send_all(int fd, const uint8_t *b, size_t len, int piece)
{
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &piece, sizeof(piece)) < 0)
		die("UDP_SEGMENT");
	if (send(fd, b, len, 0) != (ssize_t)len)
		die("send");
	datagrams++;
	messages += piece ? (len + (size_t)piece - 1) / (size_t)piece : 1;
}

static void garbage_of(int fd, uint8_t type, size_t len, int piece)
{
	uint8_t b[LONGEST];

	randombytes_buf(b, len);
	for (size_t at = 0; at + 4 <= len; at += piece ? (size_t)piece : len)
		memcpy(b + at, (uint8_t[]){type, 0, 0, 0}, 4);
	send_all(fd, b, len, piece);
}

/* A packet with no checksums to speak of, which fills the datagram; then the same, damaged. */
static void longest_packet(int fd, const char *from, const char *to_inside)
{
	static uint8_t plain[LONGEST - OVERHEAD], out[LONGEST + 16];
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .ttl = 64,
			   .protocol = IPPROTO_UDP,
			   .tot_len = htons(sizeof(plain)),
			   .saddr = inet_addr(from),
			   .daddr = inet_addr(to_inside)};

	memcpy(plain, &ip, sizeof(ip));
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		size_t len = wgpeer_data(&peer, peer.counter++, plain, sizeof(plain), out);

		out[len / 2] ^= (uint8_t)damaged;
		send_all(fd, out, len, 0);
	}
}

static void keepalives(int fd)
{
	uint8_t train[TRAIN * OVERHEAD];

	for (unsigned i = 0; i < TRAIN; i++)
		wgpeer_data(&peer, peer.counter++, NULL, 0, train + (size_t)i * OVERHEAD);
	send_all(fd, train, sizeof(train), OVERHEAD);
}

static void large(const char *from, const char *to_inside)
{
	uint8_t b[256];
	int fd = connected();

	initiation(b);
	if (send(fd, b, 148, 0) != 148 || poll(&(struct pollfd){fd, POLLIN, 0}, 1, 7000) != 1 ||
	    recv(fd, b, sizeof(b), 0) != 92 || !wgpeer_take_response(&peer, b))
		die("no good response");
	longest_packet(fd, from, to_inside);
	for (uint8_t type = 0; type < 6; type++) {
		garbage_of(fd, type, LONGEST, 0);
		garbage_of(fd, type, TRAIN * 1023, 1023);
		garbage_of(fd, type, JOINED, 1039); /* the last is shorter */
		garbage_of(fd, type, TRAIN * 148, 148);
		garbage_of(fd, type, TRAIN * 4, 4);
	}
	keepalives(fd);
	printf("%lu %lu\n", datagrams + 1, messages + 1);
}

int main(int argc, char **argv)
{
	static const uint8_t nobody[32] = {9};
	char text[KEY_BASE64];
	struct key k;

	if (argc == 2 && strcmp(argv[1], "key") == 0) {
		wgpeer_init(&peer, 1, nobody);
		memcpy(k.b, peer.pub, sizeof(k.b));
		puts(key_to_base64(&k, text));
		return 0;
	}
	if (argc < 5 || !inet_aton(argv[2], &to.sin_addr) || key_from_base64(argv[4], &k) < 0) {
		fputs("usage: wgattack key | spoof ADDRESS PORT KEY RATE SECONDS |\n"
		      "       garbage ADDRESS PORT KEY | handshake ADDRESS PORT KEY |\n"
		      "       cookies ADDRESS PORT KEY SECONDS | large ADDRESS PORT KEY FROM TO\n",
		      stderr);
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	wgpeer_init(&peer, 1, k.b);
	if (strcmp(argv[1], "spoof") == 0 && argc == 7)
		printf("%lu\n", spoof(atof(argv[5]), atof(argv[6])));
	else if (strcmp(argv[1], "cookies") == 0 && argc == 6)
		cookies(atof(argv[5]));
	else if (strcmp(argv[1], "large") == 0 && argc == 7)
		large(argv[5], argv[6]);
	else if (strcmp(argv[1], "garbage") == 0)
		garbage();
	else
		one_handshake();
	return 0;
}
