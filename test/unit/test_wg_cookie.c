/* lib/wg: load, cookies, the limit on sources. */
#include "unit.h"
#include "wgworld.h"

#include <stdio.h>
#include <string.h>

#define A   "192.0.2.1:1000"
#define SEC NS_PER_SEC

static struct world *w;
static struct wgpeer p;
static uint8_t packet[1500], msg[148], cookie[64];
static size_t len;
static uint64_t stamp;

static void set_up(void)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32");
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 60);
	stamp = 1700000000;
}

static void initiation(void)
{
	wgpeer_initiation(&p, ++stamp, 0, msg);
}

/* Under load without a cookie: a cookie and nothing else; with it: a session. */
START_TEST(cookie_round)
{
	struct wg_stats s;

	set_up();
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, 64);
	wg_get_stats(w->d, w->now.mono, &s);
	ck_assert_uint_eq(s.sessions, 0);
	ck_assert(s.under_load);
	memcpy(cookie, w->out[0].b, 64);
	cookie[40] ^= 1;
	ck_assert(!wgpeer_take_cookie(&p, cookie));
	cookie[40] ^= 1;
	ck_assert(wgpeer_take_cookie(&p, cookie));
	/* The retry that proves its cookie is let in, though at once. */
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_free(w);
}
END_TEST

/* It covers address and port, and a garbled mac2 is answered with a cookie again. */
START_TEST(cookie_covers_port)
{
	set_up();
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert(wgpeer_take_cookie(&p, w->out[0].b));
	static const char *const others[] = {"192.0.2.1:1001", "192.0.2.2:1000",
					     "[2001:db8::1]:1000"};
	for (unsigned i = 0; i < 3; i++) {
		initiation();
		world_receive_loaded(w, msg, 148, others[i]);
		ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	}
	initiation();
	msg[147] ^= 1;
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	world_free(w);
}
END_TEST

/* A cookie holds from its period's begin for 120 s, and where it is given at the end of one still
 * for the retry that carries it. A period is 114 s. */
static void lives(int64_t at, int64_t life)
{
	set_up();
	world_advance(w, at - w->now.mono.ns);
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert(wgpeer_take_cookie(&p, w->out[w->n_out - 1].b));
	world_advance(w, life - 1);
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_advance(w, 1);
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	world_free(w);
}

START_TEST(cookie_lives_120s)
{
	lives(10 * 114 * SEC, 120 * SEC);
	lives(11 * 114 * SEC - 1, 6 * SEC + 1);
	lives(11 * 114 * SEC + 60 * SEC, 60 * SEC);
}
END_TEST

START_TEST(hysteresis)
{
	set_up();
	initiation();
	world_receive_loaded(w, msg, 148, A);
	world_advance(w, SEC - 1);
	initiation();
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	world_advance(w, 1);
	initiation();
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_free(w);
}
END_TEST

/* mac1 comes first, also under load: no cookie for who does not know our key. */
START_TEST(mac1_first)
{
	set_up();
	initiation();
	msg[117] ^= 4;
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_MAC1);
	ck_assert_uint_eq(w->n_out, 0);
	world_free(w);
}
END_TEST

/* As the one that is asked for a cookie: it is used from the next message on, for 115 s. */
START_TEST(cookie_taken)
{
	static const uint8_t secret[16] = "sixteen bytes ..";
	struct wgpeer other = {0};

	set_up();
	world_send(w, packet, len);
	ck_assert_uint_eq(w->n_out, 1);
	wgpeer_cookie_reply(&p, w->out[0].b, 148, secret, cookie);
	cookie[20] ^= 1;
	world_receive(w, cookie, 64, A);
	ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
	cookie[20] ^= 1;
	world_receive(w, cookie, 64,
		      "198.51.100.9:9"); /* whence does not matter, nor does it roam */
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE);
	struct wg_endpoint e = wg_peer_endpoint(world_find(w, p.pub)), a = world_endpoint(A);
	ck_assert(wg_endpoint_eq(&e, &a));
	ck_assert_uint_eq(w->n_out, 1);  /* no immediate resend */
	world_receive(w, cookie, 64, A); /* one cookie for one message */
	ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
	world_advance(w, 6 * SEC);
	ck_assert_uint_eq(w->n_out, 2);
	p.has_cookie = true;
	memcpy(p.cookie, secret, 16);
	ck_assert(wgpeer_macs_ok(&p, w->out[1].b, 148));
	world_receive(w, cookie, 64, A); /* the index is another now */
	ck_assert_int_eq(w->outcome, WG_HS_UNKNOWN);
	/* Its life: the last retry that carries it is sent before 115 s. */
	for (unsigned i = 0; i < 40; i++) {
		world_send(w, packet, len);
		world_advance(w, 3 * SEC);
	}
	int64_t first = w->out[0].at;
	for (unsigned i = 2; i < w->n_out; i++) {
		p.has_cookie = w->out[i].at - first < 115 * SEC;
		ck_assert_msg(wgpeer_macs_ok(&p, w->out[i].b, 148), "%u", i);
	}
	ck_assert(!p.has_cookie);
	(void)other;
	world_free(w);
}
END_TEST

/* A response, too, can be answered with a cookie. */
START_TEST(cookie_for_response)
{
	static const uint8_t secret[16] = "another secret..";

	set_up();
	world_answer(w, &p, A);
	wgpeer_cookie_reply(&p, w->out[0].b, 92, secret, cookie);
	world_receive(w, cookie, 64, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE);
	world_send(w, packet, len);
	p.has_cookie = true;
	memcpy(p.cookie, secret, 16);
	ck_assert(wgpeer_macs_ok(&p, w->out[1].b, 148));
	world_free(w);
}
END_TEST

/* Responses meet the same checks as initiations. */
START_TEST(load_holds_for_responses)
{
	uint8_t r[92];

	set_up();
	world_send(w, packet, len);
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	struct wgpeer before = p;
	wgpeer_response(&p, r);
	world_receive_loaded(w, r, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	ck_assert(wgpeer_take_cookie(&p, w->out[1].b));
	before.has_cookie = true;
	memcpy(before.cookie, p.cookie, 16);
	p = before;
	wgpeer_response(&p, r);
	world_receive_loaded(w, r, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	world_free(w);
}
END_TEST

static uint8_t answer[WG_COOKIE_REPLY];

static enum wg_admission admitted(const void *m, size_t n, const char *from, bool load)
{
	struct wg_endpoint e = world_endpoint(from);

	return wg_admit(w->lane, m, n, &e, load, w->now.mono, answer);
}

static uint64_t outcomes(enum wg_outcome o)
{
	struct wg_stats s;

	wg_get_stats(w->d, w->now.mono, &s);
	return s.handshakes[o];
}

/* The lane's part: what may wait for control. */
START_TEST(door)
{
	struct wg_endpoint a = world_endpoint(A);
	struct wg_stats s;

	set_up();
	initiation();
	ck_assert_int_eq(admitted(msg, 148, A, false), WG_ADMIT_YES);
	/* Under load a cookie, of which control knows; it stays so for a second. */
	ck_assert_int_eq(admitted(msg, 148, A, true), WG_ADMIT_REPLY);
	ck_assert_int_eq(wg_kind(answer, sizeof(answer)), WG_KIND_COOKIE);
	memcpy(cookie, answer, sizeof(cookie));
	ck_assert_int_eq(admitted(msg, 148, A, false), WG_ADMIT_REPLY);
	ck_assert_int_ne(memcmp(cookie + 8, answer + 8, 24), 0); /* another nonce */
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	/* What is proved is so for control without another look, and the rate is counted once. */
	ck_assert(wgpeer_take_cookie(&p, answer));
	for (unsigned i = 0; i < 5; i++) {
		initiation();
		ck_assert_int_eq(admitted(msg, 148, A, true), WG_ADMIT_PROVED);
		ck_assert_int_eq(wg_receive_proved(w->d, msg, 148, &a, w->now), WG_HS_INITIATION);
	}
	ck_assert_int_eq(admitted(msg, 148, A, true), WG_ADMIT_NO);
	ck_assert_uint_eq(outcomes(WG_HS_LIMITED), 1);
	ck_assert_int_eq(admitted(msg, 148, "192.0.2.1:1001", true), WG_ADMIT_REPLY);
	ck_assert_uint_eq(outcomes(WG_HS_COOKIE_SENT), 4);
	ck_assert_uint_eq(outcomes(WG_HS_INITIATION), 5);
	wg_get_stats(w->d, w->now.mono, &s);
	ck_assert_uint_eq(s.cookies_sent, 4);
	ck_assert(s.under_load);
	/* A cookie's MACs are none, and its index is for control to know. */
	ck_assert_int_eq(admitted(cookie, 64, A, true), WG_ADMIT_COOKIE);
	ck_assert_int_eq(admitted(cookie, 64, A, false), WG_ADMIT_COOKIE);
	world_free(w);
}
END_TEST

START_TEST(door_closed)
{
	struct key none = {0};
	struct wgdev_change c = {.set_private_key = true, .private_key = &none};

	set_up();
	initiation();
	memcpy(cookie, msg, 64);
	ck_assert_int_eq(admitted(msg, 147, A, false), WG_ADMIT_NO);
	memcpy(packet, (uint8_t[]){4, 0, 0, 0}, 4);
	ck_assert_int_eq(admitted(packet, 32, A, false), WG_ADMIT_NO);
	struct wg_endpoint nowhere = {0};
	ck_assert_int_eq(wg_admit(w->lane, msg, 148, &nowhere, false, w->now.mono, answer),
			 WG_ADMIT_NO);
	ck_assert_uint_eq(outcomes(WG_HS_BAD), 3);
	/* Garbage is refused by mac1, load or not. */
	msg[120] ^= 1;
	ck_assert_int_eq(admitted(msg, 148, A, false), WG_ADMIT_NO);
	ck_assert_int_eq(admitted(msg, 148, A, true), WG_ADMIT_NO);
	ck_assert_uint_eq(outcomes(WG_HS_MAC1), 2);
	msg[120] ^= 1;
	wg_set_up(w->d, false, w->now);
	ck_assert_int_eq(admitted(msg, 148, A, false), WG_ADMIT_NO);
	wg_set_up(w->d, true, w->now);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_int_eq(admitted(msg, 148, A, false), WG_ADMIT_NO);
	ck_assert_uint_eq(outcomes(WG_HS_DOWN), 2);
	world_free(w);
}
END_TEST

/* 100,000 a second, and what a full socket holds at once. */
START_TEST(door_paces_replies)
{
	unsigned n = 0;

	set_up();
	initiation();
	for (unsigned i = 0; i < 40000; i++)
		n += admitted(msg, 148, A, true) == WG_ADMIT_REPLY;
	ck_assert_uint_eq(n, 25000);
	ck_assert_uint_eq(outcomes(WG_HS_LIMITED), 15000);
	w->now.mono.ns += 10 * NS_PER_MSEC;
	for (unsigned i = 0; i < 2000; i++)
		n += admitted(msg, 148, A, true) == WG_ADMIT_REPLY;
	ck_assert_uint_eq(n, 26000);
	/* And none where the lane has no time. */
	struct wg_endpoint a = world_endpoint(A);
	ck_assert_int_eq(wg_admit(w->lane, msg, 148, &a, true, w->now.mono, NULL), WG_ADMIT_NO);
	ck_assert_uint_eq(outcomes(WG_HS_LIMITED), 16001);
	world_free(w);
}
END_TEST

static unsigned allowed(const char *from, unsigned tries)
{
	struct wg_endpoint e = world_endpoint(from);
	unsigned n = 0;

	while (tries--)
		n += wg_cookie_allow(w->d, &e.remote, w->now.mono);
	return n;
}

/* 20 a second and five at once, for each IPv4 address and each IPv6 /64. */
START_TEST(limiter)
{
	set_up();
	ck_assert_uint_eq(allowed("192.0.2.7:1", 100), 5);
	ck_assert_uint_eq(allowed("192.0.2.7:2", 100), 0);
	ck_assert_uint_eq(allowed("192.0.2.8:1", 100), 5);
	ck_assert_uint_eq(allowed("[2001:db8:0:1::1]:1", 100), 5);
	ck_assert_uint_eq(allowed("[2001:db8:0:1:ffff::2]:1", 100), 0);
	ck_assert_uint_eq(allowed("[2001:db8:0:2::1]:1", 100), 5);
	world_advance(w, 50 * NS_PER_MSEC);
	ck_assert_uint_eq(allowed("192.0.2.7:1", 100), 1);
	unsigned n = 0;
	for (unsigned i = 0; i < 1000; i++) {
		world_advance(w, 10 * NS_PER_MSEC);
		n += allowed("192.0.2.7:1", 3);
	}
	ck_assert_uint_ge(n, 199);
	ck_assert_uint_le(n, 201);
	world_advance(w, 10 * SEC);
	ck_assert_uint_eq(allowed("192.0.2.7:1", 100), 5);
	world_free(w);
}
END_TEST

/* A hundred thousand sources at once: the table does not grow and a newcomer gets in. */
START_TEST(limiter_flood)
{
	char from[64];
	unsigned n = 0;

	set_up();
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(from, sizeof(from), "10.%u.%u.%u:9", i >> 16, i >> 8 & 255, i & 255);
		ck_assert_uint_ge(allowed(from, 1), 1);
		if (i % 100 == 0) { /* one that sends steadily is let through at its rate */
			w->now.mono.ns += 50 * NS_PER_MSEC;
			n += allowed("192.0.2.1:1", 1);
		}
	}
	ck_assert_uint_eq(n, 1000);
	world_free(w);
}
END_TEST

/* Spoofed initiations under load cost no Diffie-Hellman, and a legitimate peer gets in within its
 * first retry. */
START_TEST(flood)
{
	struct wg_stats s;
	struct wgpeer spoof;
	char from[64];

	set_up();
	wgpeer_init(&spoof, 66, w->pub.b);
	uint8_t m[148];
	wgpeer_initiation(&spoof, 1, 0, m);
	w->on_out = NULL;
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(from, sizeof(from), "10.%u.%u.%u:9", i >> 16, i >> 8 & 255, i & 255);
		world_receive_loaded(w, m, 148, from);
	}
	wg_get_stats(w->d, w->now.mono, &s);
	ck_assert_uint_eq(s.handshakes[WG_HS_COOKIE_SENT], 20000);
	ck_assert_uint_eq(s.handshakes[WG_HS_UNKNOWN], 0);
	w->n_out = 0;
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert(wgpeer_take_cookie(&p, w->out[0].b));
	world_advance(w, 5 * SEC);
	initiation();
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_cookie", cookie_round, cookie_covers_port, cookie_lives_120s,
			  hysteresis, mac1_first, cookie_taken, cookie_for_response,
			  load_holds_for_responses, door, door_closed, door_paces_replies, limiter,
			  limiter_flood, flood);
}

UNIT_MAIN(suite)
