/*
 * lib/wg: lanes and control at the same time. Two engines, each with threads that send and threads
 * that receive, to one peer; the main thread is control for both: it shakes hands again and again,
 * adds and removes peers and prefixes, reads back. For the thread sanitizer above all; without it,
 * that nothing is delivered twice or lost for good. And one initiation that all lanes receive at
 * once, by the device's own queue.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../cmd/harmony-wg/handshake.h"
#include "wg/wg.h"
#include "wg/wg_priv.h"
#include "wgpeer.h"

#define RING   256
#define ROUNDS 300
#define QUEUES 2 /* lanes that send, and lanes that receive, of each side */

struct ring {
	pthread_mutex_t lock;
	unsigned head, tail;
	struct {
		uint8_t b[256];
		size_t len;
	} slot[RING];
};

struct side {
	struct wg_device *d;
	struct ring data, handshake; /* towards this side */
	struct side *other;
	unsigned seed;
	_Atomic unsigned woken;
	_Atomic uint64_t sent, got;
	uint64_t rng;
	uint8_t flood[148]; /* an initiation of nobody's, with a good mac1 */
	_Atomic uint64_t replies;
};

/* A thread with its lane; the first that sends also takes what is ready. It keeps pace with the
 * other that does the same on its side: one that stood still on a busy machine would bring packets
 * that are older than the replay window, which are then refused as they should. */
struct worker {
	struct side *side;
	struct wg_lane *lane;
	struct worker *mate;
	_Atomic unsigned turns;
	bool first;
};
#define TURNS_AHEAD 100

static struct side sides[2];
static _Atomic int64_t clock_ns = 1000 * NS_PER_SEC;
static _Atomic bool done;

static const struct wg_endpoint where = {
	.remote = {.addr = {.family = AF_INET, .b = {192, 0, 2, 1}}, .port = 7},
	.local = {.family = AF_INET, .b = {192, 0, 2, 2}},
	.ifindex = 3};

static struct wg_time now(void)
{
	int64_t t = atomic_load(&clock_ns);

	return (struct wg_time){{t}, {t + 1700000000 * NS_PER_SEC}};
}

static bool ring_put(struct ring *r, const void *b, size_t len)
{
	bool room;

	pthread_mutex_lock(&r->lock);
	room = r->head - r->tail < RING;
	if (room) {
		memcpy(r->slot[r->head % RING].b, b, len);
		r->slot[r->head++ % RING].len = len;
	}
	pthread_mutex_unlock(&r->lock);
	return room;
}

static bool ring_has_room(struct ring *r)
{
	bool room;

	pthread_mutex_lock(&r->lock);
	room = r->head - r->tail < RING - 32;
	pthread_mutex_unlock(&r->lock);
	return room;
}

static size_t ring_get(struct ring *r, uint8_t *b)
{
	size_t len = 0;

	pthread_mutex_lock(&r->lock);
	if (r->head != r->tail) {
		len = r->slot[r->tail % RING].len;
		memcpy(b, r->slot[r->tail++ % RING].b, len);
	}
	pthread_mutex_unlock(&r->lock);
	return len;
}

static void fill(void *user, void *out, size_t len)
{
	struct side *s = user;

	for (size_t i = 0; i < len; i++) {
		s->rng = s->rng * UINT64_C(6364136223846793005) + 1442695040888963407;
		((uint8_t *)out)[i] = (uint8_t)(s->rng >> 56);
	}
}

static bool send_handshake(void *user, const struct wg_endpoint *to, const void *b, size_t len)
{
	struct side *s = user;

	return ring_put(&s->other->handshake, b, len);
}

static void drop(void *user, struct wg_packet *list)
{
	while (list) {
		struct wg_packet *next = list->next;

		free(list);
		list = next;
	}
}

static void wake(void *user, enum wg_wake what)
{
	struct side *s = user;

	atomic_fetch_or(&s->woken, what);
}

/* Right at times. */
static bool source_ok(void *user, const struct wg_endpoint *e)
{
	return now().mono.ns / NS_PER_SEC % 2;
}

static const struct wg_ops ops = {fill, send_handshake, drop, wake, source_ok};

/* 20 bytes of header and a number. */
static const uint8_t plain[32] = {0x45, 0, 0, 32, [8] = 64, 253, [12] = 10, 0, 0, 1, 10, 0, 0, 1};

static int send_batch(const struct worker *w, struct wg_peer *p, unsigned n, size_t len)
{
	struct side *s = w->side;
	uint8_t buf[8][64];
	struct crypto_aead_job jobs[8];
	struct wg_run run;
	struct mono t = now().mono;
	int r = wg_tx_begin(w->lane, p, n, t, &run);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		jobs[i] = (struct crypto_aead_job){.buf = buf[i] + 16, .len = (uint32_t)len};
		memcpy(jobs[i].buf, plain, len);
	}
	r = wg_tx_seal(w->lane, &run, jobs, t);
	for (unsigned i = 0; r == 0 && i < n; i++)
		if (ring_put(&s->other->data, buf[i], len + 32) && len)
			atomic_fetch_add(&s->sent, 1);
	return r;
}

static void keep_pace(struct worker *w)
{
	unsigned turn = atomic_fetch_add(&w->turns, 1) + 1;

	while (!atomic_load(&done) && (int)(turn - atomic_load(&w->mate->turns)) > TURNS_AHEAD)
		sched_yield();
}

static void *tx_thread(void *arg)
{
	struct worker *w = arg;
	struct wg_packet *list;
	struct wg_peer *p;

	while (!atomic_load(&done)) {
		wg_enter(w->lane);
		while (w->first && (p = wg_tx_ready(w->lane, &list))) {
			send_batch(w, p, 1, list ? sizeof(plain) : 0);
			drop(NULL, list);
		}
		p = ring_has_room(&w->side->other->data) ? wg_route(w->lane, plain, sizeof(plain))
							 : NULL;
		if (p && send_batch(w, p, 4, sizeof(plain)) == -ENOKEY)
			wg_tx_stage(w->lane, p, calloc(1, sizeof(struct wg_packet)), now().mono);
		wg_leave(w->lane);
		keep_pace(w);
		sched_yield();
	}
	return NULL;
}

/* Load comes and goes, so that handshakes are made with cookies and without. */
static void door(struct worker *w)
{
	uint8_t reply[WG_COOKIE_REPLY];
	struct mono t = now().mono;
	bool load = t.ns / (50 * NS_PER_SEC) % 2;

	if (wg_admit(w->lane, w->side->flood, sizeof(w->side->flood), &where, load, t, reply) ==
	    WG_ADMIT_REPLY)
		atomic_fetch_add(&w->side->replies, 1);
}

static void *rx_thread(void *arg)
{
	struct worker *w = arg;
	struct side *s = w->side;
	uint8_t b[8][256];

	while (!atomic_load(&done)) {
		struct wg_rx rx[8];
		unsigned n = 0;

		for (size_t len; n < 8 && (len = ring_get(&s->data, b[n])); n++)
			rx[n] = (struct wg_rx){.data = b[n], .len = (uint32_t)len, .src = &where};
		wg_enter(w->lane);
		wg_receive_data(w->lane, rx, n, now().mono);
		for (unsigned i = 0; i < n; i++)
			if (rx[i].verdict == WG_RX_DATA)
				atomic_fetch_add(&s->got, 1);
		wg_leave(w->lane);
		door(w);
		keep_pace(w);
		if (n == 0)
			sched_yield();
	}
	return NULL;
}

static void control(struct side *s)
{
	uint8_t b[256];
	size_t len;

	while ((len = ring_get(&s->handshake, b)))
		wg_receive_handshake(s->d, b, len, &where, false, now());
	atomic_store(&s->woken, 0);
	wg_tick(s->d, now());
}

static void configure(struct side *s, unsigned round)
{
	struct ip_prefix allowed = {.addr = {.family = AF_INET, .b = {10, 0, 1, (uint8_t)round}},
				    .len = 32};
	struct wgdev_peer_change p = {.public_key = {{(uint8_t)(round % 5 + 1)}},
				      .remove = round % 3 == 0,
				      .allowed = &allowed,
				      .n_allowed = round % 250 > 1,
				      .replace_allowed = round % 4 == 0};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};
	struct wgdev d;

	ck_assert_int_eq(wg_apply(s->d, &c, now()), 0);
	wg_check_sources(s->d);
	wg_cookie_set_key(s->d); /* as with a new key, which would end all sessions */
	if (round % 10 == 0) {
		wgdev_init(&d);
		ck_assert_int_eq(wg_get(s->d, &d), 0);
		wgdev_clear(&d);
	}
}

static void open_side(struct side *s, struct side *other, unsigned seed)
{
	struct key priv;
	struct wgdev_change c = {.set_private_key = true, .private_key = &priv};
	struct wgpeer nobody;

	s->seed = seed;
	s->rng = seed;
	s->other = other;
	pthread_mutex_init(&s->data.lock, NULL);
	pthread_mutex_init(&s->handshake.lock, NULL);
	s->d = wg_new(&ops, s, &crypto_aead_evp, 2 * QUEUES);
	ck_assert_ptr_nonnull(s->d);
	memset(priv.b, (int)seed, KEY_LEN);
	ck_assert_int_eq(wg_apply(s->d, &c, now()), 0);
	wg_set_up(s->d, true, now());
	wgpeer_init(&nobody, (uint8_t)(seed + 10), s->d->public_key.b);
	wgpeer_initiation(&nobody, 1, 0, s->flood);
}

static void add_peer(struct side *s)
{
	struct ip_prefix all = {.addr.family = AF_INET, .len = 8};
	struct wgdev_peer_change p = {.public_key = s->other->d->public_key,
				      .set_endpoint = true,
				      .endpoint = where.remote,
				      .allowed = &all,
				      .n_allowed = 1};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};

	all.addr.b[0] = 10;
	ck_assert_int_eq(wg_apply(s->d, &c, now()), 0);
}

START_TEST(lanes_and_control)
{
	struct worker workers[2 * 2 * QUEUES];
	pthread_t threads[ARRAY_LEN(workers)];
	struct wg_stats st;

	ck_assert_int_eq(crypto_init(), 0);
	open_side(&sides[0], &sides[1], 1);
	open_side(&sides[1], &sides[0], 2);
	add_peer(&sides[0]);
	add_peer(&sides[1]);
	for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
		struct side *s = &sides[i % 2];

		workers[i] = (struct worker){.side = s,
					     .lane = wg_lane_new(s->d),
					     .mate = &workers[(i + 4) % ARRAY_LEN(workers)],
					     .first = i < 2};
		ck_assert_ptr_nonnull(workers[i].lane);
	}
	for (unsigned i = 0; i < ARRAY_LEN(workers); i++)
		pthread_create(&threads[i], NULL, i % 4 < 2 ? tx_thread : rx_thread, &workers[i]);
	ck_assert_ptr_null(wg_lane_new(sides[0].d));
	for (unsigned round = 0; round < ROUNDS; round++) {
		atomic_fetch_add(&clock_ns, NS_PER_SEC * (round % 7));
		for (unsigned k = 0; k < 10; k++) {
			for (unsigned i = 0; i < 2; i++)
				control(&sides[i]);
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		}
		configure(&sides[round % 2], round);
	}
	atomic_store(&done, true);
	for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 2; i++) {
		wg_get_stats(sides[i].d, now().mono, &st);
		ck_assert_uint_gt(st.sessions, 5);
		ck_assert_uint_gt(sides[i].got, 100);
		ck_assert_uint_gt(sides[i].replies, 100);
		ck_assert_uint_le(sides[i].got, sides[!i].sent);
		ck_assert_uint_eq(st.received[WG_RX_REPLAYED], 0);
		ck_assert_uint_eq(st.received[WG_RX_UNAUTHENTIC], 0);
		ck_assert_uint_eq(st.received[WG_RX_SPOOFED], 0);
		wg_free(sides[i].d);
	}
}
END_TEST

/* A lane that sends forgets a local address again and again; one that receives learns where the
 * peer is, which must stay. */
static void *forget_source(void *arg)
{
	while (!atomic_load(&done))
		wg_peer_clear_source(arg);
	return NULL;
}

START_TEST(learnt_while_cleared)
{
	struct side s = {.rng = 1};
	struct wg_endpoint e = where;
	struct wg_peer *p;
	pthread_t thread;
	unsigned lost = 0;

	ck_assert_int_eq(crypto_init(), 0);
	s.d = wg_new(&ops, &s, &crypto_aead_evp, 1);
	p = wg_peer_add(s.d, &(struct key){{9}});
	atomic_store(&done, false);
	pthread_create(&thread, NULL, forget_source, p);
	for (unsigned i = 0; i < 1000000 / UNIT_SHORTER(20); i++) {
		e.remote.port = (uint16_t)(i % 60000 + 1);
		wg_peer_learn(p, &e);
		lost += wg_peer_endpoint(p).remote.port != e.remote.port;
	}
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(lost, 0);
	wg_free(s.d);
}
END_TEST

/* ── one initiation, many times at once ─────────────────────────────────────────────────── */

#define LANES     4
#define COPIES    8 /* of a message, by each lane, where its source need not be proved */
#define INITIATED (200 / UNIT_SHORTER(4))

static struct {
	struct wg_device *d;
	struct handshake_queue queue;
	pthread_barrier_t begin, end;
	_Atomic unsigned through, responses;
	uint8_t message[148];
	struct wg_endpoint from;
	bool load, over;
	unsigned queued[LANES];
} once;

static bool count_response(void *user, const struct wg_endpoint *to, const void *b, size_t len)
{
	once.responses += wg_kind(b, len) == WG_KIND_RESPONSE;
	return true;
}

static const struct wg_ops once_ops = {fill, count_response, drop, wake, NULL};

/* As gate.c does: what the engine admits goes to the queue. */
static void *admit_thread(void *arg)
{
	struct wg_lane *lane = arg;

	while (pthread_barrier_wait(&once.begin), !once.over) {
		struct wg_endpoint from = once.from;

		for (unsigned i = 0; i < (once.load ? 1 : COPIES); i++) {
			enum handshake_kind kind =
				once.load ? HANDSHAKE_PROVED : HANDSHAKE_UNPROVED;
			bool to_wake;

			if (!once.load) /* copies may come by other ways */
				from.remote.port++;
			if (wg_admit(lane, once.message, sizeof(once.message), &from, once.load,
				     mono_now(),
				     NULL) == (once.load ? WG_ADMIT_PROVED : WG_ADMIT_YES) &&
			    handshake_put(&once.queue, once.message, sizeof(once.message), &from,
					  kind, &to_wake))
				once.queued[lane->id]++;
		}
		atomic_fetch_add(&once.through, 1);
		pthread_barrier_wait(&once.end);
	}
	return NULL;
}

/* All lanes have it at the same moment, and control works meanwhile. */
static void all_at_once(void)
{
	struct wg_stats before, after;
	struct mono t = mono_now();
	unsigned copies = LANES * (once.load ? 1 : COPIES), queued = 0;

	wg_get_stats(once.d, t, &before);
	memset(once.queued, 0, sizeof(once.queued));
	once.through = once.responses = 0;
	pthread_barrier_wait(&once.begin);
	while (atomic_load(&once.through) < LANES)
		handshake_work(&once.queue, once.d, 2);
	pthread_barrier_wait(&once.end);
	while (handshake_work(&once.queue, once.d, 2))
		;
	for (unsigned i = 0; i < LANES; i++)
		queued += once.queued[i];
	wg_get_stats(once.d, t, &after);
	ck_assert_uint_eq(queued, copies);
	ck_assert_uint_eq(once.responses, 1);
	ck_assert_uint_eq(after.sessions - before.sessions, 1);
	ck_assert_uint_eq(after.handshakes[WG_HS_INITIATION] - before.handshakes[WG_HS_INITIATION],
			  1);
	ck_assert_uint_eq(after.handshakes[WG_HS_REPLAYED] - before.handshakes[WG_HS_REPLAYED],
			  copies - 1);
}

/* The check of its stamp and the taking of it are one: of the copies exactly one is answered. First
 * as they come, then under load, where each has proved its source and no time must have passed. */
START_TEST(one_initiation_at_once)
{
	static struct wgpeer p[INITIATED];
	struct side s = {.rng = 3};
	struct key priv = {{3}};
	struct wgdev_change c = {.set_private_key = true, .private_key = &priv};
	struct wg_time t = {mono_now(), wall_now()};
	struct wg_lane *asking;
	pthread_t threads[LANES];
	uint8_t reply[WG_COOKIE_REPLY];

	ck_assert_int_eq(crypto_init(), 0);
	once.d = wg_new(&once_ops, &s, &crypto_aead_evp, LANES + 1);
	pthread_mutex_init(&once.queue.put, NULL);
	pthread_barrier_init(&once.begin, NULL, LANES + 1);
	pthread_barrier_init(&once.end, NULL, LANES + 1);
	ck_assert_int_eq(wg_apply(once.d, &c, t), 0);
	wg_set_up(once.d, true, t);
	for (unsigned i = 0; i < LANES; i++)
		pthread_create(&threads[i], NULL, admit_thread, wg_lane_new(once.d));
	asking = wg_lane_new(once.d);
	for (uint32_t i = 0; i < INITIATED; i++) {
		wgpeer_init(&p[i], 0, once.d->public_key.b);
		memcpy(p[i].priv + 4, &i, sizeof(i));
		p[i].priv[31] = 64;
		crypto_x25519_public((const struct key *)p[i].priv, (struct key *)p[i].pub);
		wg_peer_add(once.d, (const struct key *)p[i].pub);
		wgpeer_initiation(&p[i], 1700000000, 0, once.message);
		once.from = where;
		once.load = false;
		all_at_once();
	}
	for (uint32_t i = 0; i < INITIATED; i++) {
		memcpy(once.from.remote.addr.b + 1, &i, 2); /* each with its own five at once */
		wgpeer_initiation(&p[i], 1700000001, 0, once.message);
		ck_assert_int_eq(
			wg_admit(asking, once.message, 148, &once.from, true, mono_now(), reply),
			WG_ADMIT_REPLY);
		ck_assert(wgpeer_take_cookie(&p[i], reply));
		wgpeer_initiation(&p[i], 1700000001, 0, once.message);
		once.load = true;
		all_at_once();
	}
	once.over = true;
	pthread_barrier_wait(&once.begin);
	for (unsigned i = 0; i < LANES; i++)
		pthread_join(threads[i], NULL);
	wg_free(once.d);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_threads", lanes_and_control, learnt_while_cleared,
			  one_initiation_at_once);
}

UNIT_MAIN(suite)
