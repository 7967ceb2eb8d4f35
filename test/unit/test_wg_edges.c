/* lib/wg: what seldom happens. Devices without a key, peers of low order, clocks that step back,
 * packets that are none, a cipher that fails. */
#include "unit.h"
#include "wgworld.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define A "192.0.2.1:1000"

static struct world *w;
static struct wgpeer p;
static uint8_t packet[1500], msg[2048];

static void set_up(const char *peer)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, peer);
}

START_TEST(names)
{
	for (unsigned i = 0; i < WG_HS_OUTCOMES; i++)
		ck_assert_str_ne(wg_outcome_name((enum wg_outcome)i), "?");
	for (unsigned i = 0; i < WG_RX_VERDICTS; i++)
		ck_assert_str_ne(wg_verdict_name((enum wg_verdict)i), "?");
	ck_assert_str_eq(wg_outcome_name(WG_HS_OUTCOMES), "?");
	ck_assert_str_eq(wg_verdict_name(WG_RX_VERDICTS), "?");
}
END_TEST

START_TEST(no_key)
{
	static const struct key zero;
	struct wgdev_change c = {.set_private_key = true, .private_key = &zero};
	struct wgdev got;

	set_up("endpoint " A " allow 10.0.0.2/32 keepalive 25");
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	wgdev_init(&got);
	ck_assert_int_eq(wg_get(w->d, &got), 0);
	ck_assert_ptr_null(got.private_key);
	wgdev_clear(&got);
	w->n_out = 0;
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	wgpeer_initiation(&p, 1800000000, 0, msg);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_DOWN);
	ck_assert_uint_eq(w->n_out, 0);
	world_free(w);
}
END_TEST

/* All products with such a key are zero: never a handshake with it. */
START_TEST(low_order)
{
	static const struct key one = {{1}};

	set_up("allow 10.0.0.2/32");
	world_peer(w, one.b, "endpoint " A " allow 10.0.0.3/32");
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.3", 20);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	world_advance(w, 20 * NS_PER_SEC);
	ck_assert_uint_eq(w->n_out, 0);
	world_free(w);
}
END_TEST

START_TEST(routes)
{
	set_up("allow 10.0.0.2/32 allow fd00::2/128");
	struct wg_peer *peer = world_find(w, p.pub);

	size_t len = world_ip(packet, "fd00::1", "fd00::2", 20);
	ck_assert_ptr_eq(wg_route(w->lane, packet, len), peer);
	ck_assert_ptr_null(wg_route(w->lane, packet, 39));
	ck_assert_int_eq(world_send(w, packet, len), -EDESTADDRREQ); /* no endpoint */
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
	ck_assert_ptr_eq(wg_route(w->lane, packet, 20), peer);
	ck_assert_ptr_null(wg_route(w->lane, packet, 19));
	packet[0] = 0x55;
	ck_assert_ptr_null(wg_route(w->lane, packet, len));
	ck_assert_ptr_null(wg_route(w->lane, packet, 0));
	world_free(w);
}
END_TEST

/* The clock goes back by an hour at the end of a second: the stamps go on, into the next one. */
START_TEST(clock_back)
{
	uint8_t first[12];

	set_up("endpoint " A " allow 10.0.0.2/32");
	w->now.wall.ns += 999 * NS_PER_MSEC;
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert(wgpeer_take_initiation(&p, w->out[0].b));
	memcpy(first, p.stamp, sizeof(first));
	w->now.wall.ns -= 3600 * NS_PER_SEC;
	world_advance(w, 6 * NS_PER_SEC);
	ck_assert_uint_eq(w->n_out, 2);
	ck_assert(wgpeer_take_initiation(&p, w->out[1].b));
	ck_assert_int_gt(memcmp(p.stamp, first, sizeof(first)), 0);
	ck_assert_uint_eq(p.stamp[7], first[7] + 1U); /* seconds */
	ck_assert_mem_eq(p.stamp + 8, "\0\0\0\0", 4);
	world_free(w);
}
END_TEST

static int no_seal(void *ctx, struct crypto_aead_job *jobs, size_t n)
{
	return -EIO;
}

START_TEST(cipher_fails)
{
	struct crypto_aead_ops broken = crypto_aead_evp;
	struct crypto_aead_job job = {.buf = msg + WG_HEADER, .len = 32};
	struct wg_run run;

	broken.seal = no_seal;
	set_up("endpoint " A " allow 10.0.0.2/32");
	world_answer(w, &p, A);
	struct wg_peer *peer = world_find(w, p.pub);
	wgpeer_data(&p, p.counter, NULL, 0, packet);
	world_receive(w, packet, 32, A);
	w->d->aead = &broken;
	wg_enter(w->lane);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 1, w->now.mono, &run), 0);
	uint64_t before = atomic_load(&peer->tx_bytes);
	ck_assert_int_eq(wg_tx_seal(w->lane, &run, &job, w->now.mono), -EIO);
	ck_assert_uint_eq(atomic_load(&peer->tx_bytes), before);
	wg_leave(w->lane);
	w->d->aead = &crypto_aead_evp;
	world_free(w);
}
END_TEST

static void keep(void *user, const struct wg_peer_state *s)
{
	*(struct wg_peer_state *)user = *s;
}

START_TEST(state)
{
	struct wg_peer_state s = {0}, old;
	struct wg_endpoint a = world_endpoint(A), none = {0};

	set_up("allow 10.0.0.2/32");
	wg_save(w->d, keep, &s);
	ck_assert(key_is_zero(&s.public_key)); /* nothing to keep */
	memcpy(s.public_key.b, p.pub, KEY_LEN);
	s.endpoint = none;
	s.sent[0] = s.received[0] = 0x40;
	s.sent[11] = s.received[11] = 9;
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	old = s;
	old.sent[11] = old.received[11] = 8; /* never back */
	old.endpoint = a;
	ck_assert_int_eq(wg_restore(w->d, &old, w->now), 0);
	wg_save(w->d, keep, &old);
	ck_assert_mem_eq(old.sent, s.sent, 12);
	ck_assert_mem_eq(old.received, s.received, 12);
	ck_assert(wg_endpoint_eq(&old.endpoint, &a));
	s.public_key.b[0] ^= 1;
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), -ENOENT);
	world_free(w);
}
END_TEST

/* The state of `n` peers with keys of one byte each, with sessions of the given age. */
static struct wg_peer_state session_of_age(uint8_t key, int64_t age)
{
	struct wg_peer_state s = {.endpoint = world_endpoint(A)};

	memset(s.public_key.b, key, KEY_LEN);
	s.session.ns = w->now.wall.ns - age;
	s.sent[0] = 0x40;
	return s;
}

/* Who had a session before the restart is spoken to as soon as the device is up, and only they. */
START_TEST(resumes)
{
	static const int64_t ages[] = {WG_REJECT_AFTER, WG_REJECT_AFTER - 1, -WG_REJECT_AFTER};
	struct wg_peer_state s;

	w = world_new(1);
	wg_set_up(w->d, false, w->now);
	for (uint8_t i = 0; i < ARRAY_LEN(ages); i++) {
		uint8_t key[KEY_LEN];

		memset(key, 9 + i, KEY_LEN);
		world_peer(w, key, "allow 10.0.0.2/32");
		s = session_of_age(9 + i, ages[i]);
		ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	}
	world_advance(w, NS_PER_SEC);
	ck_assert_uint_eq(w->n_out, 0);
	wg_set_up(w->d, true, w->now);
	int64_t up = w->now.mono.ns;
	world_pump(w);
	world_advance(w, NS_PER_SEC);
	/* The heap's order among equals, and the list's, is nobody's business. */
	ck_assert_uint_eq(w->n_out, 2);
	ck_assert_int_eq(w->out[0].at, up);
	ck_assert_int_eq(w->out[1].at, up + WG_TURN_GAP);
	ck_assert_uint_eq(w->out[0].len, sizeof(struct wg_msg_initiation));
	/* Not answered: again after five seconds, as any. And once is enough. */
	world_advance(w, WG_REKEY_TIMEOUT + WG_JITTER);
	ck_assert_uint_eq(w->n_out, 4);
	wg_set_up(w->d, false, w->now);
	wg_set_up(w->d, true, w->now);
	world_advance(w, NS_PER_SEC);
	ck_assert_uint_eq(w->n_out, 4);
	world_free(w);
}
END_TEST

/* Up already; its own traffic does not wait for its turn; what was made is saved again. */
START_TEST(resumes_when_up)
{
	struct wg_peer_state s, saved = {0};
	uint8_t key[KEY_LEN];
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.12", 40);

	w = world_new(1);
	w->now.wall.ns += 7; /* to be told from 0 */
	for (uint8_t i = 0; i < 4; i++) {
		char what[64];

		memset(key, 9 + i, KEY_LEN);
		snprintf(what, sizeof(what), "allow 10.0.0.%u/32", 9 + i);
		world_peer(w, key, what);
		s = session_of_age(9 + i, 1);
		ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	}
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 2); /* the first, and the last */
	world_advance(w, 10 * WG_TURN_GAP);
	ck_assert_uint_eq(w->n_out, 4);
	wg_save(w->d, keep, &saved);
	ck_assert_int_eq(saved.session.ns, s.session.ns);
	world_free(w);
}
END_TEST

#define MANY 1000

static void count_only(struct world *to, const struct world_packet *out)
{
	(void)to;
	(void)out;
}

/* MANY peers with a keepalive, and `before` initiations sent: no more than one has been made in the
 * call before, and all are after their turns. */
static void in_turn(unsigned before)
{
	ck_assert_uint_eq(w->n_out, before + 1);
	world_advance(w, MANY / 2 * WG_TURN_GAP);
	ck_assert_uint_lt(w->n_out, before + MANY * 3 / 4);
	world_advance(w, MANY / 2 * WG_TURN_GAP);
	ck_assert_uint_eq(w->n_out, before + MANY);
}

/* What begins for many peers does not hold up control, in no call. */
START_TEST(many_begin)
{
	static struct wgdev_peer_change peers[MANY];
	struct wgdev_change c = {.peers = peers, .n_peers = MANY};
	struct wgdev_change rekey = {.set_private_key = true, .private_key = &(struct key){{7}}};

	w = world_new(1);
	w->on_out = count_only;
	for (uint32_t i = 0; i < MANY; i++) {
		struct key k = {{8}};

		memcpy(k.b + 4, &i, sizeof(i));
		k.b[31] = 64;
		crypto_x25519_public(&k, &peers[i].public_key);
		peers[i].set_endpoint = peers[i].set_keepalive = true;
		peers[i].endpoint = world_endpoint(A).remote;
		peers[i].keepalive = 3600;
	}
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	in_turn(0);
	ck_assert_int_eq(wg_apply(w->d, &rekey, w->now), 0);
	in_turn(MANY);
	/* Turns of before are nobody's. */
	w->n_out = 2 * MANY - 1;
	wg_set_up(w->d, false, w->now);
	wg_set_up(w->d, true, w->now);
	ck_assert_uint_eq(w->n_out, 2 * MANY);
	wg_set_up(w->d, false, w->now);
	wg_set_up(w->d, true, w->now);
	ck_assert_uint_eq(w->n_out, 2 * MANY + 1);
	w->n_out = 2 * MANY;
	wg_set_up(w->d, false, w->now);
	world_advance(w, NS_PER_SEC);
	for (uint32_t i = 0; i < MANY; i += 2) {
		struct wg_peer_state s = {.public_key = peers[i].public_key,
					  .session = w->now.wall};

		ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	}
	wg_set_up(w->d, true, w->now);
	in_turn(2 * MANY);
	/* Control was held up: all retries are due in one call, and it makes some of them. */
	w->now.mono.ns += WG_REKEY_TIMEOUT + WG_JITTER + 1;
	ck_assert_int_le(wg_tick(w->d, w->now).ns, w->now.mono.ns);
	ck_assert_uint_eq(w->n_out, 3 * MANY + WG_TICK_INITIATIONS);
	for (unsigned i = 0; i < MANY / WG_TICK_INITIATIONS; i++)
		wg_tick(w->d, w->now);
	ck_assert_uint_eq(w->n_out, 4 * MANY);
	ck_assert_int_gt(wg_tick(w->d, w->now).ns, w->now.mono.ns);
	world_free(w);
}
END_TEST

/* Packets for all of them: each is dealt with, some in each call. */
START_TEST(many_wanted)
{
	struct wg_peer *peers[2 * WG_TICK_INITIATIONS + 1];

	w = world_new(1);
	w->on_out = count_only;
	for (uint8_t i = 0; i < ARRAY_LEN(peers); i++) {
		uint8_t key[KEY_LEN];

		memset(key, i + 9, KEY_LEN);
		key[31] = 64;
		world_peer(w, key, "endpoint " A);
		peers[i] = world_find(w, key);
	}
	for (unsigned i = 0; i < ARRAY_LEN(peers); i++)
		wg_peer_want(peers[i], w->now.mono);
	for (unsigned i = 1; i <= 2; i++) {
		ck_assert_int_eq(wg_tick(w->d, w->now).ns, w->now.mono.ns);
		ck_assert_uint_eq(w->n_out, i * WG_TICK_INITIATIONS);
	}
	/* One of those that are left is removed, and one more comes. */
	ck_assert_ptr_eq(w->d->taken, peers[0]);
	wg_peer_remove(peers[0]);
	wg_peer_want(peers[ARRAY_LEN(peers) - 1], w->now.mono);
	wg_tick(w->d, w->now);
	ck_assert_uint_eq(w->n_out, 2 * WG_TICK_INITIATIONS);
	for (unsigned i = 1; i < ARRAY_LEN(peers); i++)
		wg_peer_post(peers[i], WG_E_HANDSHAKE);
	world_free(w); /* with events that nobody has looked at */
}
END_TEST

/* The monotonic clock may begin at 0, which stands for "never" in the lanes' notes. */
START_TEST(clock_at_zero)
{
	size_t len = world_ip(packet, "10.0.0.2", "10.0.0.1", 20);

	set_up("endpoint " A " allow 10.0.0.2/32");
	w->now.mono.ns = 0;
	world_answer(w, &p, A);
	wgpeer_data(&p, p.counter++, packet, len, msg);
	world_receive(w, msg, len + 32, A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	w->n_out = 0;
	/* Received at 0 and not answered: a keepalive, though the time looks like none. */
	world_advance(w, WG_KEEPALIVE_TIMEOUT + NS_PER_MSEC);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, WG_OVERHEAD);
	world_free(w);

	set_up("endpoint " A " allow 10.0.0.2/32");
	w->now.mono.ns = 0;
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
	ck_assert_int_eq(world_send(w, packet, len), -ENOKEY);
	ck_assert_uint_eq(w->n_out, 1);
	/* Load at 0 is load for a second. */
	world_receive_loaded(w, w->out[0].b, 148, A);
	w->now.mono.ns = WG_LOAD_HYSTERESIS - 1;
	ck_assert(wg_cookie_loaded(w->d, false, w->now.mono));
	w->now.mono.ns += 2;
	ck_assert(!wg_cookie_loaded(w->d, false, w->now.mono));
	world_free(w);
}
END_TEST

/* Two peers at once: each is on the stacks once. And what a batch seldom has. */
START_TEST(several)
{
	static uint8_t other[KEY_LEN] = {77};
	struct wg_endpoint src = world_endpoint(A);
	struct wg_peer *one, *two;
	struct wg_packet *list;
	struct wg_peer_state s;
	struct wg_run run;
	size_t len;

	set_up("endpoint " A " allow 10.0.0.2/32");
	world_peer(w, other, "endpoint " A " allow 10.0.0.3/32");
	one = world_find(w, p.pub);
	two = world_find(w, other);
	wg_enter(w->lane);
	ck_assert_int_eq(wg_tx_begin(w->lane, one, 1, w->now.mono, &run), -ENOKEY);
	ck_assert_int_eq(wg_tx_begin(w->lane, two, 1, w->now.mono, &run), -ENOKEY);
	wg_peer_ready(one, true);
	wg_peer_ready(two, true);
	ck_assert_ptr_eq(wg_tx_ready(w->lane, &list), two);
	ck_assert_ptr_eq(wg_tx_ready(w->lane, &list), one);
	ck_assert_ptr_null(wg_tx_ready(w->lane, &list));
	wg_leave(w->lane);
	world_pump(w);
	ck_assert_uint_eq(w->n_out, 2);
	/* A handshake under way is not planned again; nor is one after it. */
	s = session_of_age(0, 1);
	memcpy(s.public_key.b, other, KEY_LEN);
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	world_answer(w, &p, A);
	memcpy(s.public_key.b, p.pub, KEY_LEN);
	ck_assert_int_eq(wg_restore(w->d, &s, w->now), 0);
	world_pump(w);
	ck_assert_uint_eq(w->n_out, 3); /* with the response */
	/* Inside: no IP; and a mark of congestion that the packet cannot carry. */
	memset(packet, 0x50, 64);
	len = wgpeer_data(&p, p.counter++, packet, 64, msg);
	world_receive(w, msg, len, A);
	ck_assert_int_eq(w->verdict, WG_RX_MALFORMED);
	len = world_ip(packet, "10.0.0.2", "10.0.0.1", 20);
	len = wgpeer_data(&p, p.counter++, packet, len, msg);
	struct wg_rx rx = {.data = msg, .len = (uint32_t)len, .src = &src, .ecn = 3};
	wg_enter(w->lane);
	wg_receive_data(w->lane, &rx, 1, w->now.mono);
	wg_leave(w->lane);
	ck_assert_int_eq(rx.verdict, WG_RX_ECN);
	wg_clear_sources(w->d, NULL);
	world_free(w);
}
END_TEST

/* Control looks at a confirmation only when the session is too old to be sent under. */
START_TEST(confirmed_late)
{
	struct wg_endpoint src = world_endpoint(A);
	uint8_t response[92];
	size_t len = world_ip(packet, "10.0.0.2", "10.0.0.1", 20);

	set_up("endpoint " A " allow 10.0.0.2/32");
	wgpeer_initiation(&p, 1800000000, 0, msg);
	world_receive(w, msg, 148, A);
	memcpy(response, w->out[0].b, sizeof(response));
	ck_assert(wgpeer_take_response(&p, response));
	len = wgpeer_data(&p, p.counter++, packet, len, msg);
	struct wg_rx rx = {.data = msg, .len = (uint32_t)len, .src = &src};
	wg_enter(w->lane);
	wg_receive_data(w->lane, &rx, 1, w->now.mono);
	wg_leave(w->lane);
	ck_assert_int_eq(rx.verdict, WG_RX_DATA);
	w->now.mono.ns += WG_REJECT_AFTER;
	w->now.wall.ns += WG_REJECT_AFTER;
	world_pump(w);
	ck_assert(wall_is_never(world_find(w, p.pub)->last_handshake));
	world_free(w);
}
END_TEST

/* Configuration that changes nothing, or names what is not there. */
START_TEST(no_change)
{
	static const struct key zero;
	struct wgdev_peer_change absent = {
		.public_key = {{42}}, .update_only = true, .set_keepalive = true, .keepalive = 1};
	struct wgdev_peer_change gone = {.public_key = {{43}}, .remove = true};
	struct wgdev_peer_change list[] = {absent, gone};
	struct wgdev_change c = {.peers = list, .n_peers = 2};
	struct wgdev_peer_change mine = {.set_preshared = true};
	struct ip_addr other = {.family = AF_INET, .b = {198, 51, 100, 1}};
	struct wg_stats st;

	set_up("endpoint " A " allow 10.0.0.2/32");
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	wg_get_stats(w->d, w->now.mono, &st);
	ck_assert_uint_eq(st.peers, 1);
	/* No preshared key, said in two ways. */
	memcpy(mine.public_key.b, p.pub, KEY_LEN);
	c = (struct wgdev_change){.peers = &mine, .n_peers = 1};
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	mine.preshared_key = &zero;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_null(world_find(w, p.pub)->preshared);
	wg_set_up(w->d, true, w->now);
	world_answer(w, &p, A);
	ck_assert_uint_eq(w->n_out, 1);
	/* An address that is nobody's source. */
	struct wg_endpoint with = world_endpoint(A);
	with.local = (struct ip_addr){.family = AF_INET, .b = {192, 0, 2, 9}};
	with.ifindex = 3;
	wg_peer_set_endpoint(world_find(w, p.pub), &with);
	wg_clear_sources(w->d, &other);
	ck_assert_uint_eq(wg_peer_endpoint(world_find(w, p.pub)).ifindex, 3);
	wg_clear_sources(w->d, &with.local);
	ck_assert_uint_eq(wg_peer_endpoint(world_find(w, p.pub)).ifindex, 0);
	/* A keepalive that is configured while the device is down begins when it comes up. */
	wg_set_up(w->d, false, w->now);
	w->n_out = 0;
	world_peer(w, p.pub, "keepalive 25");
	ck_assert_uint_eq(w->n_out, 0);
	wg_set_up(w->d, true, w->now);
	world_pump(w);
	ck_assert_uint_eq(w->n_out, 1);
	/* The key is taken away, and that is not new the second time. */
	c = (struct wgdev_change){.set_private_key = true};
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert(!w->d->has_key);
	world_peer(w, (const uint8_t[KEY_LEN]){99}, "allow 10.0.0.9/32");
	world_free(w);
}
END_TEST

/* What cannot be sent is lost, as on the way: no count, and no other harm. */
START_TEST(sends_nothing)
{
	struct wg_endpoint nowhere = {0};
	struct wg_stats st;

	set_up("allow 10.0.0.2/32");
	w->refuse = true;
	wgpeer_initiation(&p, 1800000000, 0, msg);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	world_receive_loaded(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE_SENT);
	wg_get_stats(w->d, w->now.mono, &st);
	ck_assert_uint_eq(st.responses_sent + st.cookies_sent, 0);
	ck_assert(st.under_load);
	wg_get_stats(w->d, mono_add(w->now.mono, WG_LOAD_HYSTERESIS), &st);
	ck_assert(!st.under_load);
	/* From no address at all. */
	ck_assert_int_eq(wg_receive_handshake(w->d, msg, 148, &nowhere, false, w->now), WG_HS_BAD);
	world_free(w);
}
END_TEST

/* Freed while lanes have told what control has not looked at, and the other way round. */
START_TEST(freed_in_between)
{
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
	struct wg_peer *peer;
	struct wg_run run;

	set_up("endpoint " A " allow 10.0.0.2/32");
	peer = world_find(w, p.pub);
	wg_enter(w->lane);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 1, w->now.mono, &run), -ENOKEY);
	wg_leave(w->lane);
	wg_peer_ready(peer, true);
	world_free(w);

	/* Several sessions in one batch, and what is no data message. */
	set_up("endpoint " A " allow 10.0.0.2/32");
	world_answer(w, &p, A);
	len = world_ip(packet, "10.0.0.2", "10.0.0.1", 20);
	static uint8_t batch[80][128];
	struct wg_endpoint src = world_endpoint(A);
	struct wg_rx rx[80];
	for (unsigned i = 0; i < 80; i++) {
		size_t n = wgpeer_data(&p, p.counter++, packet, len, batch[i]);

		rx[i] = (struct wg_rx){.data = batch[i], .len = (uint32_t)n, .src = &src};
	}
	batch[3][0] = 1;
	batch[5][4] ^= 1; /* another's session */
	wg_enter(w->lane);
	wg_receive_data(w->lane, rx, 80, w->now.mono);
	wg_leave(w->lane);
	ck_assert_int_eq(rx[3].verdict, WG_RX_BAD);
	ck_assert_int_eq(rx[5].verdict, WG_RX_UNKNOWN);
	ck_assert_int_eq(rx[79].verdict, WG_RX_DATA);
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_edges", names, no_key, low_order, routes, clock_back, cipher_fails,
			  resumes, resumes_when_up, many_begin, many_wanted, clock_at_zero,
			  no_change, sends_nothing, freed_in_between, several, confirmed_late,
			  state);
}

UNIT_MAIN(suite)
