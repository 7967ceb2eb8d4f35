/* lib/wg: each allocation failing in turn: an error, and nothing in the way of the next try. And
 * none at all for packets. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "fault.h"
#include "wgworld.h"

#define A    "192.0.2.1:1000"
#define MOST 40 /* more than any of the calls allocates */

struct key *__real_secret_new(void);
struct key *__real_secret_copy(const struct key *from);
struct key *__wrap_secret_new(void);
struct key *__wrap_secret_copy(const struct key *from);

struct key *__wrap_secret_new(void)
{
	return fault_now() ? NULL : __real_secret_new();
}

struct key *__wrap_secret_copy(const struct key *from)
{
	return from && fault_now() ? NULL : __real_secret_copy(from);
}

static struct world *w;
static struct wgpeer p;
static uint8_t msg[148], data[64];

static void set_up(void)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32");
}

START_TEST(device)
{
	unsigned failed = 0;

	set_up();
	for (unsigned n = 0; n < MOST; n++) {
		fault_after(n);
		struct wg_device *d = wg_new(w->d->ops, w, &crypto_aead_evp, 1);
		bool fired = fault_off();

		ck_assert(fired == !d);
		failed += fired;
		wg_free(d);
	}
	ck_assert_uint_ge(failed, 3);
	world_free(w);
}
END_TEST

START_TEST(configuration)
{
	static const struct key psk = {{1}};
	struct ip_prefix allowed[3] = {
		{{AF_INET, {10}}, 8}, {{AF_INET, {11}}, 8}, {{AF_INET6, {0xfd}}, 8}};
	struct wgdev_peer_change peers[20];
	struct wgdev_change c = {.peers = peers, .n_peers = 20, .replace_peers = true};
	unsigned failed = 0;

	for (unsigned i = 0; i < 20; i++) {
		allowed[0].addr.b[1] = (uint8_t)i;
		peers[i] = (struct wgdev_peer_change){.public_key = {{(uint8_t)(i + 1)}},
						      .set_preshared = true,
						      .preshared_key = &psk,
						      .allowed = allowed,
						      .n_allowed = 3};
	}
	for (unsigned n = 0; n < MOST; n++) {
		struct wgdev got;

		set_up();
		wgdev_init(&got);
		fault_after(n);
		int e = wg_apply(w->d, &c, w->now);
		bool fired = fault_off();
		ck_assert(e == 0 || (fired && e == -ENOMEM));
		failed += e != 0;
		ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
		fault_after(n);
		e = wg_get(w->d, &got);
		fired = fault_off();
		ck_assert(e == (fired ? -ENOMEM : 0));
		wgdev_clear(&got);
		ck_assert_int_eq(wg_get(w->d, &got), 0);
		ck_assert_uint_eq(got.n_peers, 20);
		wgdev_clear(&got);
		world_free(w);
	}
	ck_assert_uint_ge(failed, 20);
}
END_TEST

START_TEST(as_responder)
{
	unsigned failed = 0;

	for (unsigned n = 0; n < MOST; n++) {
		set_up();
		wgpeer_initiation(&p, 1800000000, 0, msg);
		fault_after(n);
		world_receive(w, msg, 148, A);
		bool fired = fault_off();
		ck_assert(fired || w->outcome == WG_HS_INITIATION);
		failed += w->outcome != WG_HS_INITIATION;
		ck_assert_uint_eq(w->n_out, w->outcome == WG_HS_INITIATION);
		world_advance(w, NS_PER_SEC);
		w->n_out = 0;
		wgpeer_initiation(&p, 1800000001, 0, msg);
		world_receive(w, msg, 148, A);
		ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
		ck_assert(wgpeer_take_response(&p, w->out[0].b));
		/* The AEAD context of the first packet; the packet is lost, the session is not. */
		fault_after(n);
		world_receive(w, data, wgpeer_data(&p, 0, NULL, 0, data), A);
		fired = fault_off();
		ck_assert(w->verdict == WG_RX_KEEPALIVE || (fired && w->verdict == WG_RX_NOMEM));
		failed += w->verdict == WG_RX_NOMEM;
		world_receive(w, data, wgpeer_data(&p, 1, NULL, 0, data), A);
		ck_assert_int_eq(w->verdict, WG_RX_KEEPALIVE);
		world_free(w);
	}
	ck_assert_uint_ge(failed, 2);
}
END_TEST

/* An initiation that cannot be made is made later; a response that cannot be taken is lost. */
START_TEST(as_initiator)
{
	static uint8_t packet[100];
	unsigned failed = 0;

	for (unsigned n = 0; n < MOST; n++) {
		uint8_t response[92];
		struct world_packet first;

		set_up();
		size_t len = world_ip(packet, "10.0.0.1", "10.0.0.2", 20);
		fault_after(n + 1); /* behind the world's own copy of the packet */
		world_send(w, packet, len);
		failed += fault_off() && w->n_out == 0;
		if (w->n_out == 0)
			world_advance(w, 6 * NS_PER_SEC);
		ck_assert_uint_ge(w->n_out, 1);
		first = w->out[0];
		ck_assert_uint_eq(first.len, 148);
		ck_assert(wgpeer_take_initiation(&p, first.b));
		wgpeer_response(&p, response);
		fault_after(n);
		world_receive(w, response, sizeof(response), A);
		bool fired = fault_off();
		ck_assert(w->outcome == WG_HS_RESPONSE || (fired && w->outcome == WG_HS_NOMEM));
		if (w->outcome == WG_HS_NOMEM) { /* it is still waited for */
			failed++;
			world_receive(w, response, sizeof(response), A);
			ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
		}
		world_free(w);
	}
	ck_assert_uint_ge(failed, 5);
}
END_TEST

START_TEST(lane)
{
	set_up();
	fault_after(0);
	ck_assert_ptr_null(wg_lane_new(w->d));
	ck_assert(fault_off());
	ck_assert_ptr_nonnull(wg_lane_new(w->d));
	world_free(w);
}
END_TEST

static void count_out(struct world *to, const struct world_packet *out)
{
	(void)to;
	(void)out;
}

static void count_in(struct world *to, const uint8_t *packet, size_t len)
{
	(void)to;
	(void)packet;
	(void)len;
}

#define BATCH 80 /* more than the engine works off at once */
static uint8_t inner[1500], batch[BATCH][1600];

static void receive_batch(const struct wg_endpoint *from, uint64_t *good)
{
	struct wg_rx rx[BATCH];

	for (unsigned i = 0; i < BATCH; i++) {
		size_t len = world_ip(inner, "10.0.0.2", "10.0.0.1", 16 * i);

		len = wgpeer_data(&p, i == 7 ? 0 : p.counter++, inner, i == 9 ? 0 : len, batch[i]);
		rx[i] = (struct wg_rx){.data = batch[i], .len = (uint32_t)len, .src = from};
		if (i == 5)
			batch[i][20] ^= 1; /* damaged; 7 is a replay, and 9 a keepalive */
	}
	wg_enter(w->lane);
	wg_receive_data(w->lane, rx, BATCH, w->now.mono);
	wg_leave(w->lane);
	for (unsigned i = 0; i < BATCH; i++)
		*good += rx[i].verdict == WG_RX_DATA;
}

static void send_batch(struct wg_peer *peer, uint64_t *good)
{
	struct crypto_aead_job jobs[BATCH];
	struct wg_run run;

	wg_enter(w->lane);
	for (unsigned i = 0; i < BATCH; i++)
		jobs[i] = (struct crypto_aead_job){.buf = batch[i] + WG_HEADER, .len = 16 * i};
	if (wg_tx_begin(w->lane, peer, BATCH, w->now.mono, &run) == 0 &&
	    wg_tx_seal(w->lane, &run, jobs, w->now.mono) == 0)
		*good += BATCH;
	wg_leave(w->lane);
}

/* Packets that wait: the caller's memory, and no other. */
static void stage_some(struct wg_peer *peer, uint64_t *good)
{
	static struct wg_packet some[20];
	struct wg_packet *list;

	for (unsigned i = 0; i < ARRAY_LEN(some); i++)
		some[i].next = i + 1 < ARRAY_LEN(some) ? &some[i + 1] : NULL;
	wg_enter(w->lane);
	wg_tx_stage(w->lane, peer, some, w->now.mono);
	*good += wg_tx_ready(w->lane, &list) == peer && list == some;
	wg_leave(w->lane);
	w->woken &= ~(unsigned)WG_WAKE_TX;
}

/* What is refused, which is all that somebody without a key can send. */
static void refuse_some(const uint8_t stranger[148], const struct wg_endpoint *from, uint64_t *good)
{
	uint8_t reply[WG_COOKIE_REPLY], bad[148];

	*good += wg_admit(w->lane, stranger, 148, from, true, w->now.mono, reply) == WG_ADMIT_REPLY;
	memcpy(bad, stranger, sizeof(bad));
	bad[130] ^= 1;
	*good += wg_admit(w->lane, bad, 148, from, true, w->now.mono, reply) == WG_ADMIT_NO;
	*good +=
		wg_receive_handshake(w->d, stranger, 148, from, false, w->now) == WG_HS_COOKIE_SENT;
	*good += wg_receive_proved(w->d, stranger, 148, from, w->now) == WG_HS_UNKNOWN;
	*good += wg_receive_handshake(w->d, bad, 64, from, false, w->now) == WG_HS_BAD;
}

/* A session is there and each lane has its contexts: then nothing is allocated, whatever comes and
 * goes, timers and keepalives included. */
START_TEST(nothing_for_packets)
{
	uint8_t stranger[148];
	struct wgpeer nobody;
	struct wg_endpoint a = world_endpoint(A);

	ck_assert_int_eq(crypto_init(), 0);
	for (unsigned b = 0; crypto_aead_all[b]; b++) {
		uint64_t received = 0, sent = 0, staged = 0, refused = 0;
		unsigned long before, made;

		if (crypto_aead_all[b]->available && !crypto_aead_all[b]->available())
			continue;
		set_up();
		w->d->aead = crypto_aead_all[b];
		wgpeer_init(&nobody, 9, w->pub.b);
		wgpeer_initiation(&nobody, 1, 0, stranger);
		world_answer(w, &p, A);
		world_peer(w, p.pub, "keepalive 3");
		w->on_out = count_out;
		w->on_in = count_in;
		struct wg_peer *peer = world_find(w, p.pub);
		receive_batch(&a, &received);
		world_pump(w);
		send_batch(peer, &sent);
		before = fault_count();
		for (unsigned round = 0; round < 100; round++) {
			size_t len = world_ip(inner, "10.0.0.1", "10.0.0.2", 11 * round);

			receive_batch(&a, &received);
			send_batch(peer, &sent);
			stage_some(peer, &staged);
			refuse_some(stranger, &a, &refused);
			world_send(w, inner, len);
			world_advance(w, round % 10 == 9 ? 4 * NS_PER_SEC : NS_PER_MSEC);
		}
		made = fault_count() - before;
		ck_assert_msg(made == 0, "%s: %lu", crypto_aead_all[b]->name, made);
		/* And all that was asked for was done. */
		ck_assert_uint_eq(received, 101 * (BATCH - 3));
		ck_assert_uint_eq(sent, 101 * BATCH);
		ck_assert_uint_eq(staged, 100);
		ck_assert_uint_eq(refused, 100 * 5);
		ck_assert_uint_gt(w->n_out, 105); /* keepalives among them */
		world_free(w);
	}
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_memory", device, configuration, as_responder, as_initiator, lane,
			  nothing_for_packets);
}

UNIT_MAIN(suite)
