/* lib/wg: each timer rule with a fake clock. The scripted peer answers only when told to. */
#include "unit.h"
#include "wgworld.h"

#include <errno.h>
#include <string.h>

#define A   "192.0.2.1:1000"
#define SEC NS_PER_SEC

static struct world *w;
static struct wgpeer p;
static uint8_t packet[1500], msg[2048];
static size_t len;

static void set_up(const char *more)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32");
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 60);
	if (more)
		world_peer(w, p.pub, more);
}

static void send_one(void)
{
	world_send(w, packet, len);
}

static void keepalive_in(void)
{
	world_receive(w, msg, wgpeer_data(&p, p.counter++, NULL, 0, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_KEEPALIVE);
}

static void data_in(void)
{
	uint8_t inner[200];
	size_t n = world_ip(inner, "10.0.0.2", "10.0.0.1", 100);

	world_receive(w, msg, wgpeer_data(&p, p.counter++, inner, n, msg), A);
}

/* The engine as the initiator, with a session at this moment and nothing unanswered. */
static void initiate(void)
{
	uint8_t r[92];

	send_one();
	ck_assert(wgpeer_take_initiation(&p, w->out[w->n_out - 1].b));
	wgpeer_response(&p, r);
	world_receive(w, r, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	keepalive_in();
	w->n_out = 0;
}

static void respond(void)
{
	world_answer(w, &p, A);
	keepalive_in();
	w->n_out = 0;
}

static bool between(int64_t at, int64_t low, int64_t high)
{
	return at >= low && at <= high;
}

START_TEST(retry)
{
	set_up(NULL);
	send_one();
	int64_t start = w->now.mono.ns, last = start;
	world_advance(w, 200 * SEC);
	ck_assert_uint_ge(w->n_out, 17);
	ck_assert_uint_le(w->n_out, 18);
	bool jitter = false;
	for (unsigned i = 1; i < w->n_out; i++) {
		ck_assert_uint_eq(w->out[i].len, 148);
		int64_t gap = w->out[i].at - last;
		ck_assert_msg(between(gap, 5 * SEC, 5 * SEC + 333 * NS_PER_MSEC), "%ld", (long)gap);
		jitter |= gap != 5 * SEC;
		last = w->out[i].at;
	}
	ck_assert(jitter);
	ck_assert_int_lt(last - start, 90 * SEC);
	ck_assert_uint_eq(w->dropped, 1); /* given up: the staged packet too */
	/* The next packet begins anew. */
	unsigned n = w->n_out;
	send_one();
	ck_assert_uint_eq(w->n_out, n + 1);
	world_free(w);
}
END_TEST

/* While packets come the attempt goes on. */
START_TEST(retry_while_wanted)
{
	set_up(NULL);
	for (unsigned i = 0; i < 200; i++) {
		send_one();
		world_advance(w, SEC);
	}
	ck_assert_uint_ge(w->n_out, 37);
	ck_assert_uint_le(w->n_out, 40);
	ck_assert_uint_eq(w->dropped, 200 - 128);
	world_free(w);
}
END_TEST

START_TEST(staged_bound)
{
	uint8_t r[92], tail[1500];

	set_up(NULL);
	for (unsigned i = 0; i < 200; i++) {
		packet[20] = (uint8_t)i;
		send_one();
	}
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->dropped, 72);
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	wgpeer_response(&p, r);
	world_receive(w, r, 92, A);
	ck_assert_uint_eq(w->n_out, 1 + 128);
	ck_assert_int_gt(wgpeer_open(&p, w->out[1].b, w->out[1].len, tail, NULL), 0);
	ck_assert_uint_eq(tail[20], 72); /* the oldest were given up, the order kept */
	ck_assert_int_gt(wgpeer_open(&p, w->out[2].b, w->out[2].len, tail, NULL), 0);
	ck_assert_uint_eq(tail[20], 73);
	world_free(w);
}
END_TEST

/* The initiator renews on the first packet sent after 120 s; the responder does not. */
START_TEST(rekey_by_age)
{
	set_up(NULL);
	initiate();
	world_advance(w, 120 * SEC - 1);
	send_one();
	ck_assert_uint_eq(w->n_out, 1);
	keepalive_in();
	world_advance(w, 1);
	send_one();
	ck_assert_uint_eq(w->n_out, 3); /* the packet under the old key, and an initiation */
	ck_assert_uint_ne(w->out[1].len, 148);
	ck_assert_uint_eq(w->out[2].len, 148);
	send_one();
	ck_assert_uint_eq(w->n_out, 4);
	world_free(w);

	set_up(NULL);
	respond();
	world_advance(w, 150 * SEC);
	send_one();
	keepalive_in();
	ck_assert_uint_eq(w->n_out, 1);
	world_free(w);
}
END_TEST

START_TEST(rekey_on_receive)
{
	set_up(NULL);
	initiate();
	world_advance(w, 165 * SEC - 1);
	keepalive_in();
	ck_assert_uint_eq(w->n_out, 0);
	world_advance(w, 1);
	keepalive_in();
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, 148);
	world_advance(w, SEC); /* once */
	keepalive_in();
	keepalive_in();
	ck_assert_uint_eq(w->n_out, 1);
	world_free(w);

	set_up(NULL);
	respond();
	world_advance(w, 170 * SEC);
	keepalive_in();
	ck_assert_uint_eq(w->n_out, 0);
	world_free(w);
}
END_TEST

START_TEST(reject_by_age)
{
	set_up(NULL);
	respond();
	world_advance(w, 180 * SEC - 1);
	keepalive_in();
	ck_assert_int_eq(world_send(w, packet, len), 0);
	world_advance(w, 1);
	world_receive(w, msg, wgpeer_data(&p, p.counter++, NULL, 0, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_EXPIRED);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	world_free(w);
}
END_TEST

START_TEST(passive_keepalive)
{
	set_up(NULL);
	respond();
	int64_t start = w->now.mono.ns;
	data_in();
	world_advance(w, 4 * SEC);
	data_in(); /* does not put it off */
	world_advance(w, 60 * SEC);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, 32);
	ck_assert_int_eq(w->out[0].at, start + 10 * SEC);
	/* A keepalive does not ask for one. */
	keepalive_in();
	world_advance(w, 60 * SEC);
	ck_assert_uint_eq(w->n_out, 1);
	/* Something sent meanwhile makes it needless. */
	data_in();
	world_advance(w, 9 * SEC);
	send_one();
	keepalive_in();
	world_advance(w, 14 * SEC);
	ck_assert_uint_eq(w->n_out, 2);
	world_free(w);
}
END_TEST

START_TEST(dead_peer)
{
	set_up(NULL);
	respond();
	int64_t start = w->now.mono.ns;
	send_one();
	world_advance(w, 10 * SEC);
	send_one(); /* counts from the first */
	world_advance(w, 6 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_uint_eq(w->out[2].len, 148);
	ck_assert(between(w->out[2].at - start, 15 * SEC, 15 * SEC + 333 * NS_PER_MSEC));
	world_free(w);

	set_up(NULL);
	respond();
	send_one();
	world_advance(w, 14 * SEC);
	keepalive_in(); /* any authenticated packet is an answer */
	world_advance(w, 60 * SEC);
	ck_assert_uint_eq(w->n_out, 1);
	send_one(); /* and the next counts from itself */
	start = w->now.mono.ns;
	world_advance(w, 16 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert(between(w->out[2].at - start, 15 * SEC, 15 * SEC + 333 * NS_PER_MSEC));
	world_free(w);
}
END_TEST

/* A request and its response wake nobody: 20 seconds of them, control a few times. */
START_TEST(conversation)
{
	set_up(NULL);
	respond();
	unsigned before = w->wakes;
	for (unsigned i = 0; i < 2000; i++) {
		data_in();
		send_one();
		world_advance(w, 10 * NS_PER_MSEC);
	}
	ck_assert_uint_le(w->wakes - before, 6);
	ck_assert_uint_eq(w->n_out, 2000);
	world_free(w);
}
END_TEST

static void answer(struct world *world)
{
	struct wg_endpoint from = world_endpoint(A);
	struct wg_rx rx = {.data = msg, .src = &from};

	rx.len = (uint32_t)wgpeer_data(&p, p.counter++, NULL, 0, msg);
	wg_enter(world->lane);
	wg_receive_data(world->lane, &rx, 1, world->now.mono);
	wg_leave(world->lane);
	ck_assert_int_eq(rx.verdict, WG_RX_KEEPALIVE);
}

/* The answer comes while control is arming the timer: the next question must have one again. */
START_TEST(answered_while_armed)
{
	set_up(NULL);
	respond();
	w->on_random = answer;
	send_one();
	ck_assert_ptr_null(w->on_random);
	world_advance(w, 60 * SEC);
	ck_assert_uint_eq(w->n_out, 1);
	int64_t start = w->now.mono.ns;
	send_one();
	world_advance(w, 16 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_uint_eq(w->out[2].len, 148);
	ck_assert(between(w->out[2].at - start, 15 * SEC, 15 * SEC + 333 * NS_PER_MSEC));
	/* And where the next question comes before the timer is looked at. */
	world_free(w);
	set_up(NULL);
	respond();
	w->on_random = answer;
	send_one();
	world_advance(w, SEC);
	start = w->now.mono.ns;
	send_one();
	world_advance(w, 16 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert(between(w->out[2].at - start, 15 * SEC, 15 * SEC + 333 * NS_PER_MSEC));
	world_free(w);
}
END_TEST

START_TEST(persistent_keepalive)
{
	set_up(NULL);
	respond();
	world_peer(w, p.pub, "keepalive 25");
	ck_assert_uint_eq(w->n_out, 1); /* at once, when it is turned on */
	int64_t start = w->now.mono.ns;
	world_advance(w, 50 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_int_eq(w->out[1].at, start + 25 * SEC);
	ck_assert_int_eq(w->out[2].at, start + 50 * SEC);
	world_advance(w, 20 * SEC);
	keepalive_in(); /* any authenticated packet puts it off */
	world_advance(w, 24 * SEC);
	ck_assert_uint_eq(w->n_out, 3);
	world_advance(w, SEC);
	ck_assert_uint_eq(w->n_out, 4);
	/* Noise from elsewhere does not. */
	world_advance(w, 20 * SEC);
	memset(msg + 20, 1, 5);
	world_receive(w, msg, 32, A);
	world_advance(w, 5 * SEC);
	ck_assert_uint_eq(w->n_out, 5);
	world_peer(w, p.pub, "keepalive 0");
	world_advance(w, 50 * SEC);
	ck_assert_uint_eq(w->n_out, 5);
	world_free(w);
}
END_TEST

/* What is sent puts it off as well as what is received; data, keepalives, messages of a handshake.
 */
START_TEST(persistent_put_off)
{
	for (unsigned how = 0; how < 4; how++) {
		unsigned n = how == 2 ? 0 : 1; /* one is sent by what is done */

		set_up(NULL);
		respond();
		world_peer(w, p.pub, "keepalive 25");
		ck_assert_uint_eq(w->n_out, 1);
		world_advance(w, 20 * SEC);
		w->n_out = 0;
		switch (how) {
		case 0: send_one(); break; /* unanswered, which is somebody else's in 15 s */
		case 1:                    /* a keepalive that somebody else has asked for */
			wg_peer_ready(world_find(w, p.pub), true);
			w->woken |= WG_WAKE_TX;
			world_pump(w);
			break;
		case 2: /* an initiation received, and the response not sent */
			w->refuse = true;
			wgpeer_initiation(&p, (uint64_t)(w->now.wall.ns / SEC), 0, msg);
			world_receive(w, msg, 148, A);
			ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
			w->refuse = false;
			break;
		default: /* an initiation sent, while there still is a session */
			wg_handshake_begin(world_find(w, p.pub), w->now);
			break;
		}
		ck_assert_uint_eq(w->n_out, n);
		w->n_out = 0;
		/* It was due 25 s after the first: then it is put off, by 20 s from now. */
		world_advance(w, 5 * SEC);
		ck_assert_uint_eq(w->n_out, 0);
		ck_assert_int_eq(world_find(w, p.pub)->due[WG_T_PERSIST],
				 w->now.mono.ns + 20 * SEC);
		world_free(w);
	}
}
END_TEST

/* With a keepalive a peer that went away is tried for as long as it takes. */
START_TEST(persistent_never_gives_up)
{
	set_up("keepalive 25");
	world_advance(w, 3600 * SEC);
	ck_assert_uint_gt(w->n_out, 400);
	ck_assert_int_gt(w->next.ns, w->now.mono.ns);
	ck_assert_int_lt(w->next.ns, w->now.mono.ns + 26 * SEC);
	world_free(w);
}
END_TEST

START_TEST(erased_keys)
{
	set_up(NULL);
	initiate();
	struct wg_peer *peer = world_find(w, p.pub);
	world_advance(w, 540 * SEC - 1);
	ck_assert_ptr_nonnull(atomic_load(&peer->current));
	world_advance(w, 1);
	ck_assert_ptr_null(atomic_load(&peer->current));
	ck_assert_ptr_null(atomic_load(&peer->previous));
	world_receive(w, msg, wgpeer_data(&p, p.counter++, NULL, 0, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_UNKNOWN);
	/* Nothing is due any more. */
	ck_assert_int_eq(w->next.ns, INT64_MAX);
	ck_assert_uint_eq(w->d->indices.live, 0);
	world_free(w);
}
END_TEST

/* Initiations to one peer are five seconds apart, also where a session came in between. */
START_TEST(five_seconds_apart)
{
	set_up(NULL);
	initiate();
	struct wg_peer *peer = world_find(w, p.pub);
	wg_keypair_expire(peer);
	send_one();
	ck_assert_uint_eq(w->n_out, 0);
	world_advance(w, 5 * SEC - 1);
	ck_assert_uint_eq(w->n_out, 0);
	world_advance(w, SEC);
	ck_assert_uint_eq(w->n_out, 1);
	world_free(w);
}
END_TEST

START_TEST(refused_send)
{
	set_up(NULL);
	w->refuse = true;
	send_one();
	world_advance(w, 12 * SEC);
	w->refuse = false;
	world_advance(w, 5 * SEC);
	ck_assert_uint_eq(w->n_out, 1);
	world_free(w);
}
END_TEST

START_TEST(no_endpoint)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "allow 10.0.0.2/32 keepalive 5");
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 60);
	ck_assert_int_eq(world_send(w, packet, len), -EDESTADDRREQ);
	world_advance(w, 100 * SEC);
	ck_assert_uint_eq(w->n_out, 0);
	respond();
	ck_assert_int_eq(world_send(w, packet, len), 0);
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_timers", retry, retry_while_wanted, staged_bound, rekey_by_age,
			  rekey_on_receive, reject_by_age, passive_keepalive, dead_peer,
			  conversation, answered_while_armed, persistent_keepalive,
			  persistent_put_off, persistent_never_gives_up, erased_keys,
			  five_seconds_apart, refused_send, no_endpoint);
}

UNIT_MAIN(suite)
