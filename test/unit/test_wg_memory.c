/* lib/wg: each allocation failing in turn: an error, and nothing in the way of the next try. */
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

static Suite *suite(void)
{
	return UNIT_SUITE("wg_memory", device, configuration, as_responder, as_initiator, lane);
}

UNIT_MAIN(suite)
