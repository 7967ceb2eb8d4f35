/* lib/wg: the replay window, alone and against a plain set of what was seen. */
#include "unit.h"
#include "wgworld.h"

#include <stdlib.h>
#include <string.h>

static struct wg_replay r;

static void clear(void)
{
	memset(&r, 0, sizeof(r));
	atomic_flag_clear(&r.lock);
}

static bool take(uint64_t counter)
{
	bool check = wg_replay_check(&r, counter), commit = wg_replay_commit(&r, counter);

	ck_assert_int_eq(check, commit);
	return commit;
}

#define T WG_REPLAY_WINDOW

START_TEST(edges)
{
	clear();
	ck_assert(take(0));
	ck_assert(!take(0));
	ck_assert(take(1));
	ck_assert(!take(1));
	ck_assert(take(9));
	ck_assert(take(8));
	ck_assert(take(7));
	ck_assert(!take(7));
	ck_assert(take(T));
	ck_assert(take(T - 1));
	ck_assert(!take(T - 1));
	ck_assert(take(T - 2));
	ck_assert(take(2));
	ck_assert(!take(2));
	ck_assert(take(T + 16));
	ck_assert(!take(3)); /* now beyond the window */
	ck_assert(take(T + 15));
	ck_assert(take(17));
	ck_assert(!take(16));
	ck_assert(take(T * 4));
	ck_assert(take(T * 4 - (T - 1)));
	ck_assert(!take(10));
	ck_assert(!take(T * 4 - T));
	ck_assert(take(T * 4 + 1));
	clear();
	/* The first one far out: the window reaches back, not to zero. */
	ck_assert(take(UINT64_C(1) << 40));
	ck_assert(!take(0));
	ck_assert(take((UINT64_C(1) << 40) - T + 1));
	ck_assert(!take((UINT64_C(1) << 40) - T));
}
END_TEST

START_TEST(limits)
{
	clear();
	ck_assert(!take(UINT64_MAX));
	ck_assert(!take(WG_REJECT_AFTER_MESSAGES));
	ck_assert(take(WG_REJECT_AFTER_MESSAGES - 1));
	ck_assert(!take(WG_REJECT_AFTER_MESSAGES - 1));
	ck_assert(take(WG_REJECT_AFTER_MESSAGES - 2));
	clear();
	/* Beyond 32 bits the counter goes on. */
	ck_assert(take(UINT64_C(0xFFFFFFFF)));
	ck_assert(take(UINT64_C(0x100000000)));
	ck_assert(!take(UINT64_C(0x100000000)));
	ck_assert(!take(0));
}
END_TEST

START_TEST(backwards)
{
	clear();
	for (uint64_t i = T; i > 0; i--)
		ck_assert(take(i));
	ck_assert(take(0) == false); /* T + 1 values apart */
	clear();
	for (uint64_t i = T - 1; i > 0; i--)
		ck_assert(take(i));
	ck_assert(take(0));
}
END_TEST

#define SPAN 100000

START_TEST(against_a_set)
{
	static bool seen[SPAN];
	uint64_t max = 0, at = 0;

	srandom(7);
	for (unsigned round = 0; round < 8; round++) {
		clear();
		memset(seen, 0, sizeof(seen));
		max = at = 0;
		bool any = false;
		for (unsigned i = 0; i < 60000; i++) {
			uint64_t c = (uint64_t)random();

			at += c % 5;
			if (c % 1000 == 0)
				at += c / 1000 % 20000;
			c = at + (uint64_t)random() % (round % 2 ? 300 : 20000);
			c = c > 9000 ? c - 9000 : 0;
			if (c >= SPAN)
				break;
			bool want = !any || c > max || (!seen[c] && max - c < T);
			ck_assert_int_eq(take(c), want);
			if (want) {
				seen[c] = true;
				max = c > max ? c : max;
				any = true;
			}
		}
	}
}
END_TEST

/* Seen through the engine: the same packet twice, and twice within one batch. */
START_TEST(in_the_engine)
{
	struct world *w = world_new(1);
	struct wgpeer p;
	uint8_t inner[100], m[3][256];
	struct wg_endpoint a = world_endpoint("192.0.2.1:1000");

	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "allow 10.0.0.2/32");
	world_answer(w, &p, "192.0.2.1:1000");
	size_t n = world_ip(inner, "10.0.0.2", "10.0.0.1", 40);
	size_t len = wgpeer_data(&p, 5, inner, n, m[0]);
	world_receive(w, m[0], len, "192.0.2.1:1000");
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	/* A replay does not roam. */
	world_receive(w, m[0], len, "198.51.100.1:77");
	ck_assert_int_eq(w->verdict, WG_RX_REPLAYED);
	struct wg_endpoint e = wg_peer_endpoint(world_find(w, p.pub));
	ck_assert(wg_endpoint_eq(&e, &a));
	struct wg_rx rx[3];
	for (unsigned i = 0; i < 3; i++) {
		len = wgpeer_data(&p, 6 + i / 2, inner, n, m[i]);
		rx[i] = (struct wg_rx){.data = m[i], .len = (uint32_t)len, .src = &a};
	}
	wg_enter(w->lane);
	wg_receive_data(w->lane, rx, 3, w->now.mono);
	wg_leave(w->lane);
	ck_assert_int_eq(rx[0].verdict, WG_RX_DATA);
	ck_assert_int_eq(rx[1].verdict, WG_RX_REPLAYED);
	ck_assert_int_eq(rx[2].verdict, WG_RX_DATA);
	/* A forged counter does not move the window: it is committed after authentication. */
	len = wgpeer_data(&p, 8, inner, n, m[0]);
	memset(m[0] + 8, 0x7F, 8);
	world_receive(w, m[0], len, "192.0.2.1:1000");
	ck_assert_int_eq(w->verdict, WG_RX_UNAUTHENTIC);
	len = wgpeer_data(&p, 8, inner, n, m[0]);
	world_receive(w, m[0], len, "192.0.2.1:1000");
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	world_free(w);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_replay", edges, limits, backwards, against_a_set, in_the_engine);
}

UNIT_MAIN(suite)
