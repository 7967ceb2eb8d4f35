/* lib/wg: the handshake, against a peer that speaks Noise by itself. */
#include "unit.h"
#include "wgworld.h"
#include "wycheproof.h"

#include <errno.h>
#include <string.h>

#define A "192.0.2.1:1000"
#define B "[2001:db8::2]:2000"

static struct world *w;
static struct wgpeer p;
static uint8_t packet[1500], plain[2048], msg[2048];
static size_t len;

static void set_up(void)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32 allow fd00::2/128");
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 60);
}

static void init_message(uint64_t later_sec)
{
	wgpeer_initiation(&p, (uint64_t)(w->now.wall.ns / NS_PER_SEC) + later_sec, 0, msg);
}

START_TEST(as_initiator)
{
	uint8_t m[92];
	uint64_t counter = 9;

	set_up();
	world_psk(w, p.pub, 7);
	memset(p.psk, 7, 32);
	w->now.wall.ns += 500000001;
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, 148);
	ck_assert(wgpeer_macs_ok(&p, w->out[0].b, 148));
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	/* TAI64N of the wall clock, in steps of 2^24 ns */
	ck_assert_mem_eq(p.stamp, "\x40\0\0\0\x65\x53\xF1\x0A\x1D\0\0\0", 12);
	wgpeer_response(&p, m);
	world_receive(w, m, 92, B);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	/* The staged packet goes out at once, to where the response came from, padded to 16. */
	ck_assert_uint_eq(w->n_out, 2);
	ck_assert_uint_eq(w->out[1].len, 80 + 32);
	struct wg_endpoint b = world_endpoint(B);
	ck_assert(wg_endpoint_eq(&w->out[1].to, &b));
	ck_assert_int_eq(wgpeer_open(&p, w->out[1].b, 112, plain, &counter), 80);
	ck_assert_uint_eq(counter, 0);
	ck_assert_mem_eq(plain, packet, len);
	/* And the other way; counter 0 is valid. */
	size_t n = world_ip(packet, "fd00::2", "fd00::1", 100);
	world_receive(w, msg, wgpeer_data(&p, 0, packet, n, msg), B);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_mem_eq(w->in[0].b, packet, n);
	world_free(w);
}
END_TEST

START_TEST(as_responder)
{
	set_up();
	world_psk(w, p.pub, 9);
	memset(p.psk, 9, 32);
	world_answer(w, &p, B);
	ck_assert(wgpeer_macs_ok(&p, w->out[0].b, 92));
	/* Nothing is sent under the new session before its first packet has come: a handshake of
	 * our own begins instead. */
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 2);
	ck_assert_uint_eq(w->out[1].len, 148);
	world_receive(w, msg, wgpeer_data(&p, 0, NULL, 0, msg), B);
	ck_assert_int_eq(w->verdict, WG_RX_KEEPALIVE);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_int_eq(wgpeer_open(&p, w->out[2].b, w->out[2].len, plain, NULL), 80);
	ck_assert_mem_eq(plain, packet, len);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	ck_assert_uint_eq(w->out[2].to.remote.port, 2000);
	world_free(w);
}
END_TEST

/* A keepalive confirms a session for which nothing waits. */
START_TEST(initiator_confirms)
{
	uint8_t m[92];

	set_up();
	world_peer(w, p.pub, "keepalive 25");
	ck_assert_uint_eq(w->n_out, 1); /* at once */
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	wgpeer_response(&p, m);
	world_receive(w, m, 92, A);
	ck_assert_uint_eq(w->n_out, 2);
	ck_assert_uint_eq(w->out[1].len, 32);
	ck_assert_int_eq(wgpeer_open(&p, w->out[1].b, 32, plain, NULL), 0);
	/* The same response again finds no handshake. */
	world_receive(w, m, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_UNKNOWN);
	world_free(w);
}
END_TEST

START_TEST(wrong_preshared)
{
	uint8_t m[92];

	set_up();
	memset(p.psk, 9, 32);
	world_send(w, packet, len);
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	struct wgpeer before = p;
	wgpeer_response(&p, m);
	world_receive(w, m, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
	ck_assert_uint_eq(w->n_out, 1);
	/* The state is still good for a right one. */
	p = before;
	memset(p.psk, 0, 32);
	wgpeer_response(&p, m);
	world_receive(w, m, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	/* A new PSK applies from the next handshake: the session goes on. */
	world_psk(w, p.pub, 9);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	world_free(w);
}
END_TEST

/* Every length from 0 to 2000 of each type, with and without reserved bytes: silence. */
START_TEST(silence_for_garbage)
{
	set_up();
	world_answer(w, &p, A);
	unsigned n_out = w->n_out;
	for (unsigned type = 0; type < 8; type++) {
		for (size_t n = 0; n <= 2000; n++) {
			memset(msg, 0x5A, n);
			memcpy(msg, (uint8_t[]){(uint8_t)type, 0, 0, n % 2 ? 1 : 0}, n < 4 ? n : 4);
			world_receive(w, msg, n, A);
		}
	}
	ck_assert_uint_eq(w->n_out, n_out);
	ck_assert_uint_eq(w->n_in, 0);
	world_free(w);
}
END_TEST

/* One bit changed anywhere in a message: silence, and the true one still works. */
START_TEST(mutated_messages)
{
	uint8_t m[148], r[92], bad[148];

	set_up();
	init_message(1);
	memcpy(m, msg, 148);
	for (unsigned i = 0; i < 148 * 8; i += 5) {
		memcpy(bad, m, 148);
		bad[i / 8] ^= (uint8_t)(1 << i % 8);
		if (i / 8 >= 132)
			break; /* mac2 is not looked at without load */
		world_receive(w, bad, 148, A);
		ck_assert_int_ne(w->outcome, WG_HS_INITIATION);
		if (i / 8 >= 116)
			continue;
		wgpeer_sign(&p, bad, 148); /* with a right mac1 the rest must notice */
		if (i / 8 < 8)
			continue; /* type; the index is not authenticated by Noise */
		world_receive(w, bad, 148, A);
		ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
	}
	ck_assert_uint_eq(w->n_out, 0);
	world_receive(w, m, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);

	world_send(w, packet, len);
	ck_assert(wgpeer_take_initiation(&p, w->out[1].b));
	wgpeer_response(&p, r);
	for (unsigned i = 0; i < 76 * 8; i += 3) {
		memcpy(bad, r, 92);
		bad[i / 8] ^= (uint8_t)(1 << i % 8);
		world_receive(w, bad, 92, A);
		ck_assert_int_ne(w->outcome, WG_HS_RESPONSE);
		if (i / 8 < 8 || i / 8 >= 60)
			continue;
		wgpeer_sign(&p, bad, 92);
		world_receive(w, bad, 92, A);
		ck_assert_int_ne(w->outcome, WG_HS_RESPONSE);
	}
	world_receive(w, r, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	world_free(w);
}
END_TEST

START_TEST(stamps)
{
	uint8_t first[148];

	set_up();
	init_message(10);
	memcpy(first, msg, 148);
	world_receive(w, first, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_advance(w, NS_PER_SEC);
	world_receive(w, first, 148, B); /* replayed: no answer, no roaming */
	ck_assert_int_eq(w->outcome, WG_HS_REPLAYED);
	init_message(9);
	world_receive(w, msg, 148, B);
	ck_assert_int_eq(w->outcome, WG_HS_REPLAYED);
	ck_assert_uint_eq(w->n_out, 1);
	struct wg_endpoint e = wg_peer_endpoint(world_find(w, p.pub)), a = world_endpoint(A);
	ck_assert(wg_endpoint_eq(&e, &a));
	/* At most one each 20 ms. */
	init_message(10);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_advance(w, 19 * NS_PER_MSEC);
	init_message(11);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_FLOOD);
	world_advance(w, NS_PER_MSEC);
	world_receive(w, msg, 148, A); /* and its stamp was not taken */
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_free(w);
}
END_TEST

static void keep(void *user, const struct wg_peer_state *s)
{
	*(struct wg_peer_state *)user = *s;
}

/* Both stamps survive a restart; the clock may have gone back meanwhile. */
START_TEST(stamps_across_restart)
{
	struct wg_peer_state s;
	uint8_t sent_before[12];

	set_up();
	init_message(10);
	world_receive(w, msg, 148, B);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_send(w, packet, len);
	ck_assert(wgpeer_take_initiation(&p, w->out[1].b));
	memcpy(sent_before, p.stamp, 12);
	wg_save(w->d, keep, &s);
	world_free(w);

	w = world_new(1);
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), -ENOENT);
	world_peer(w, p.pub, "allow 10.0.0.2/32");
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	w->now.wall.ns -= 100 * NS_PER_SEC;
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_REPLAYED);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 1); /* the endpoint is there again */
	ck_assert_uint_eq(w->out[0].to.remote.port, 2000);
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	ck_assert_int_gt(memcmp(p.stamp, sent_before, 12), 0);
	world_free(w);
}
END_TEST

/* The seven points of low order, and each once more with the bit that X25519 does not look at. */
static const char *const low_orders[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static struct key low_order_point(unsigned i)
{
	struct key k = hexkey(low_orders[i / 2]);

	k.b[31] |= i % 2 ? 0x80 : 0;
	return k;
}
#define POINTS (2 * ARRAY_LEN(low_orders))

static unsigned sessions(void)
{
	struct wg_stats s;

	wg_get_stats(w->d, w->now.mono, &s);
	return (unsigned)s.sessions;
}

/* As an ephemeral key, in messages that are right in all else: whoever takes the product for a key
 * would read them, and answer. */
START_TEST(low_order_ephemeral)
{
	uint8_t r[92];

	for (unsigned i = 0; i < POINTS; i++) {
		struct key point = low_order_point(i);
		struct wgpeer before;

		set_up();
		p.point = point.b;
		init_message(1);
		world_receive(w, msg, 148, A);
		ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
		ck_assert_uint_eq(w->n_out, 0);
		world_send(w, packet, len);
		ck_assert_uint_eq(w->n_out, 1);
		ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
		before = p;
		wgpeer_response(&p, r);
		world_receive(w, r, 92, A);
		ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
		ck_assert_uint_eq(w->n_out, 1);
		ck_assert_uint_eq(sessions(), 0);
		/* All else was right. */
		p = before;
		p.point = NULL;
		wgpeer_response(&p, r);
		world_receive(w, r, 92, A);
		ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
		world_advance(w, NS_PER_SEC);
		world_answer(w, &p, A);
		world_free(w);
	}
}
END_TEST

/* As a peer's static key: nothing is sent to it, and nothing is taken from it. */
START_TEST(low_order_static)
{
	for (unsigned i = 0; i < POINTS; i++) {
		struct key point = low_order_point(i);

		set_up();
		world_peer(w, point.b, "endpoint " B " allow 10.0.0.3/32 keepalive 1");
		len = world_ip(packet, "10.0.0.1", "10.0.0.3", 20);
		ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
		world_advance(w, 20 * NS_PER_SEC);
		memcpy(p.pub, point.b, KEY_LEN);
		p.pub_is_point = true;
		init_message(1);
		world_receive(w, msg, 148, A);
		ck_assert_int_eq(w->outcome, WG_HS_UNAUTHENTIC);
		ck_assert_uint_eq(w->n_out, 0);
		ck_assert_uint_eq(sessions(), 0);
		world_free(w);
	}
}
END_TEST

/* One with any reserved byte set is none, though its MACs and all else are right: in each place. */
static void not_taken(uint8_t *m, size_t n, enum wg_kind kind)
{
	struct wg_endpoint a = world_endpoint(A);
	uint8_t reply[WG_COOKIE_REPLY];

	ck_assert_int_eq(wg_kind(m, n), kind);
	for (unsigned bit = 8; bit < 32; bit++) {
		m[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (kind == WG_KIND_INITIATION || kind == WG_KIND_RESPONSE)
			wgpeer_sign(&p, m, n);
		ck_assert_int_eq(wg_kind(m, n), WG_KIND_BAD);
		ck_assert_int_eq(wg_admit(w->lane, m, n, &a, false, w->now.mono, reply),
				 WG_ADMIT_NO);
		ck_assert_int_eq(wg_receive_handshake(w->d, m, n, &a, false, w->now), WG_HS_BAD);
		ck_assert_int_eq(wg_receive_proved(w->d, m, n, &a, w->now), WG_HS_BAD);
		m[bit / 8] = 0;
	}
	if (kind == WG_KIND_INITIATION || kind == WG_KIND_RESPONSE)
		wgpeer_sign(&p, m, n);
}

START_TEST(reserved_bytes)
{
	static const uint8_t cookie[16] = {7};
	struct wg_endpoint a = world_endpoint(A);
	uint8_t r[92], c[64];
	size_t n;

	set_up();
	init_message(1);
	not_taken(msg, 148, WG_KIND_INITIATION);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_send(w, packet, len);
	ck_assert_uint_eq(w->n_out, 2);
	wgpeer_cookie_reply(&p, w->out[1].b, 148, cookie, c);
	not_taken(c, sizeof(c), WG_KIND_COOKIE);
	world_receive(w, c, sizeof(c), A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE);
	ck_assert(wgpeer_take_initiation(&p, w->out[1].b));
	wgpeer_response(&p, r);
	not_taken(r, sizeof(r), WG_KIND_RESPONSE);
	world_receive(w, r, sizeof(r), A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	/* Data, which no other call takes. */
	n = world_ip(packet, "10.0.0.2", "10.0.0.1", 60);
	for (unsigned bit = 8; bit <= 32; bit++) {
		struct wg_rx rx = {.data = msg, .src = &a};

		rx.len = (uint32_t)wgpeer_data(&p, 0, packet, n, msg);
		if (bit < 32)
			msg[bit / 8] ^= (uint8_t)(1 << bit % 8);
		wg_enter(w->lane);
		wg_receive_data(w->lane, &rx, 1, w->now.mono);
		wg_leave(w->lane);
		ck_assert_int_eq(rx.verdict, bit < 32 ? WG_RX_BAD : WG_RX_DATA);
	}
	world_free(w);
}
END_TEST

/* Unknown keys are told apart from bad messages only inside. */
START_TEST(unknown_peer)
{
	struct wgpeer stranger;

	set_up();
	wgpeer_init(&stranger, 77, w->pub.b);
	wgpeer_initiation(&stranger, 1800000000, 0, msg);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_UNKNOWN);
	ck_assert_uint_eq(w->n_out, 0);
	/* Made for another: mac1 says so at once. */
	memset(stranger.remote, 9, 32);
	wgpeer_initiation(&stranger, 1800000000, 0, msg);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_MAC1);
	world_free(w);
}
END_TEST

/* Both begin at the same moment: both handshakes complete, and data flows under either. */
START_TEST(crossed)
{
	struct wgpeer other; /* the same peer's other handshake */
	uint8_t r[92];

	set_up();
	world_send(w, packet, len);
	other = p;
	ck_assert(wgpeer_take_initiation(&other, w->out[0].b));
	world_answer(w, &p, A);
	wgpeer_response(&other, r);
	world_receive(w, r, 92, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_int_eq(wgpeer_open(&other, w->out[2].b, w->out[2].len, plain, NULL), 80);
	size_t n = world_ip(packet, "10.0.0.2", "10.0.0.1", 4);
	world_receive(w, msg, wgpeer_data(&p, 0, packet, n, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	world_receive(w, msg, wgpeer_data(&other, 0, packet, n, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	world_free(w);
}
END_TEST

/* A response that we sent does not hold back our own retry. */
START_TEST(crossed_retry)
{
	set_up();
	world_send(w, packet, len);
	world_advance(w, 4900 * NS_PER_MSEC);
	world_answer(w, &p, A);
	world_advance(w, 500 * NS_PER_MSEC);
	ck_assert_uint_eq(w->n_out, 3);
	ck_assert_uint_eq(w->out[2].len, 148);
	world_free(w);
}
END_TEST

START_TEST(own_key_and_new_key)
{
	struct key priv;
	struct wgdev_change c = {.set_private_key = true, .private_key = &priv};
	struct wg_stats s;

	set_up();
	world_peer(w, w->pub.b, "allow 10.0.0.9/32");
	ck_assert_ptr_null(world_find(w, w->pub.b));
	world_answer(w, &p, A);
	world_receive(w, msg, wgpeer_data(&p, 0, NULL, 0, msg), A);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	memset(priv.b, 1, 32); /* the same key: the session stays */
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	memset(priv.b, 3, 32);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	/* The new key makes an initiation with the new identity. */
	struct key pub;
	crypto_x25519_public(&priv, &pub);
	memcpy(p.remote, pub.b, 32);
	ck_assert(wgpeer_take_initiation(&p, w->out[w->n_out - 1].b));
	memset(priv.b, 2, 32); /* the peer's own */
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_null(world_find(w, p.pub));
	wg_get_stats(w->d, w->now.mono, &s);
	ck_assert_uint_eq(s.peers, 0);
	world_free(w);
}
END_TEST

START_TEST(indices_unique)
{
	static bool seen[1 << 16];
	struct wg_index e[4000] = {0};
	unsigned collide = 0;

	set_up();
	for (unsigned i = 0; i < 4000; i++) {
		e[i].keypair = true;
		ck_assert_int_eq(wg_index_add(w->d, &e[i]), 0);
		collide += seen[e[i].index >> 16];
		seen[e[i].index >> 16] = true;
		if (i % 3 == 2)
			wg_index_remove(w->d, &e[i - 1]);
	}
	ck_assert_uint_lt(collide, 250); /* spread over all 32 bits */
	for (unsigned i = 0; i < 4000; i++) {
		struct wg_index *want = i % 3 == 1 && i < 3999 ? NULL : &e[i];
		ck_assert_ptr_eq(wg_index_find_any(w->d, e[i].index), want);
		if (want)
			wg_index_remove(w->d, &e[i]);
	}
	wg_tick(w->d, w->now);
	world_free(w);
}
END_TEST

/* The dice say the same again: another is thrown. */
START_TEST(index_collides)
{
	static const uint8_t dice[16] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8};
	struct wg_index e[2] = {{.keypair = true}};
	struct wgpeer first;
	uint8_t again[32 + 4 + 4] = {9};

	set_up();
	w->fixed = dice;
	w->n_fixed = sizeof(dice);
	ck_assert_int_eq(wg_index_add(w->d, &e[0]), 0);
	ck_assert_int_eq(wg_index_add(w->d, &e[1]), 0);
	ck_assert_uint_eq(w->n_fixed, 0);
	ck_assert_mem_eq(&e[0].index, dice, 4);
	ck_assert_mem_eq(&e[1].index, dice + 12, 4);
	ck_assert_ptr_eq(wg_index_find_any(w->d, e[0].index), &e[0]);
	ck_assert_ptr_eq(wg_index_find_any(w->d, e[1].index), &e[1]);
	wg_index_remove(w->d, &e[0]);
	wg_index_remove(w->d, &e[1]);
	/* So in a handshake, behind its ephemeral key: the session that was there is found. */
	world_answer(w, &p, A);
	first = p;
	memcpy(again + 32, &first.remote_index, 4);
	again[36] = (uint8_t)~again[32];
	w->fixed = again;
	w->n_fixed = sizeof(again);
	world_advance(w, NS_PER_SEC);
	world_answer(w, &p, A);
	ck_assert_uint_eq(w->n_fixed, 0);
	ck_assert_uint_ne(p.remote_index, first.remote_index);
	world_receive(w, msg, wgpeer_data(&p, 0, NULL, 0, msg), A);
	ck_assert_int_eq(w->verdict, WG_RX_KEEPALIVE);
	world_free(w);
}
END_TEST

START_TEST(down_device)
{
	set_up();
	world_answer(w, &p, A);
	world_receive(w, msg, wgpeer_data(&p, 0, NULL, 0, msg), A);
	wg_set_up(w->d, false, w->now);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->dropped, 1);
	init_message(100);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_DOWN);
	wg_set_up(w->d, true, w->now);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 2);
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_handshake", as_initiator, as_responder, initiator_confirms,
			  wrong_preshared, silence_for_garbage, mutated_messages, stamps,
			  stamps_across_restart, low_order_ephemeral, low_order_static,
			  reserved_bytes, unknown_peer, crossed, crossed_retry, own_key_and_new_key,
			  indices_unique, index_collides, down_device);
}

UNIT_MAIN(suite)
