/*
 * Messages into an engine with a live session. Two engines shake hands; the input is a script:
 *
 *     0 len bytes    a datagram as it is
 *     1 len bytes    the last message of the other engine, the bytes XORed over it, mac1 made right
 *     2 len bytes    a data message with the bytes inside, sealed by the other engine
 *     3 n            the clock moves on by n^2 * 100 ms
 *     4 len          our engine sends a packet of that length
 *     5              the other engine begins a handshake
 *     6 bits         under load from here on or not; outer ECN
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "wg/wg_priv.h"

struct end {
	struct wg_device *d;
	struct wg_lane *lane;
	struct wg_peer *peer;
	uint8_t last[512]; /* sent */
	size_t last_len;
	uint64_t rng;
};

static struct wg_time now;
static bool loaded;
static uint8_t outer_ecn;

static void fill(void *user, void *out, size_t len)
{
	struct end *e = user;

	for (size_t i = 0; i < len; i++) {
		e->rng = e->rng * UINT64_C(6364136223846793005) + 1442695040888963407;
		((uint8_t *)out)[i] = (uint8_t)(e->rng >> 56);
	}
}

static bool keep(void *user, const struct wg_endpoint *to, const void *b, size_t len)
{
	struct end *e = user;

	assert(len <= sizeof(e->last));
	memcpy(e->last, b, len);
	e->last_len = len;
	return true;
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
}

static const struct wg_ops ops = {fill, keep, drop, wake, NULL};
static const struct wg_endpoint at = {
	.remote = {.addr = {.family = AF_INET, .b = {192, 0, 2, 1}}, .port = 7}};

static void take(struct end *e, uint8_t *b, size_t len)
{
	struct wg_rx rx = {.data = b, .len = (uint32_t)len, .src = &at, .ecn = outer_ecn};

	if (wg_kind(b, len) != WG_KIND_DATA) {
		wg_receive_handshake(e->d, b, len, &at, loaded, now);
	} else {
		wg_enter(e->lane);
		wg_receive_data(e->lane, &rx, 1, now.mono);
		if (rx.verdict == WG_RX_DATA) {
			assert(rx.plain_len > 0 && rx.plain >= b &&
			       rx.plain + rx.plain_len <= b + len);
			assert(rx.peer == e->peer);
		}
		wg_leave(e->lane);
	}
	wg_tick(e->d, now);
}

/* Seals what the lane has to send into e->last. */
static void emit(struct end *e, const uint8_t *plain, size_t len)
{
	uint8_t buf[512] = {0};
	struct crypto_aead_job job = {.buf = buf + WG_HEADER, .len = (uint32_t)len};
	struct wg_run run;

	wg_enter(e->lane);
	if (wg_tx_begin(e->lane, e->peer, 1, now.mono, &run) == 0) {
		memcpy(job.buf, plain, len);
		if (wg_tx_seal(e->lane, &run, &job, now.mono) == 0)
			keep(e, &run.to, buf, len + WG_OVERHEAD);
	} else {
		wg_tx_stage(e->lane, e->peer, calloc(1, sizeof(struct wg_packet)), now.mono);
	}
	wg_leave(e->lane);
	wg_tick(e->d, now);
}

static void ready(struct end *e)
{
	struct wg_packet *list;

	wg_enter(e->lane);
	while (wg_tx_ready(e->lane, &list))
		drop(NULL, list);
	wg_leave(e->lane);
}

static void open_end(struct end *e, uint8_t seed)
{
	struct key priv;
	struct wgdev_change c = {.set_private_key = true, .private_key = &priv};

	memset(priv.b, seed, KEY_LEN);
	e->rng = seed;
	e->d = wg_new(&ops, e, &crypto_aead_evp, 1);
	assert(e->d);
	e->lane = wg_lane_new(e->d);
	assert(wg_apply(e->d, &c, now) == 0);
	wg_set_up(e->d, true, now);
}

static void add_peer(struct end *e, const struct end *other)
{
	struct ip_prefix all[2] = {{.addr.family = AF_INET}, {.addr.family = AF_INET6}};
	struct wgdev_peer_change p = {.public_key = other->d->public_key,
				      .set_endpoint = true,
				      .endpoint = at.remote,
				      .allowed = all,
				      .n_allowed = 2};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};

	assert(wg_apply(e->d, &c, now) == 0);
	e->peer = wg_peer_find(e->d, &other->d->public_key);
}

static void shake(struct end *a, struct end *b)
{
	uint8_t m[512];
	size_t n;

	wg_handshake_begin(b->peer, now);
	n = b->last_len;
	memcpy(m, b->last, n);
	take(a, m, n);
	n = a->last_len;
	memcpy(m, a->last, n);
	take(b, m, n);
	emit(b, m, 0);
	n = b->last_len;
	memcpy(m, b->last, n);
	take(a, m, n);
}

static void mutated(struct end *a, struct end *b, const uint8_t *in, size_t len)
{
	uint8_t m[512];
	size_t n = b->last_len;

	memcpy(m, b->last, n);
	for (size_t i = 0; i < len && i < n; i++)
		m[i] ^= in[i];
	if (n >= 92 && (m[0] == 1 || m[0] == 2))
		wg_cookie_sign(b->peer, m, n, now.mono);
	take(a, m, n);
}

static size_t step(struct end *a, struct end *b, const uint8_t *in, size_t len)
{
	size_t n = len > 1 ? in[1] : 0, used = 2;
	uint8_t m[512] = {0};

	if (in[0] % 7 <= 2) {
		n = n > len - 2 ? len - 2 : n;
		used += n;
		memcpy(m, in + 2, n);
	}
	switch (in[0] % 7) {
	case 0: take(a, m, n); break;
	case 1: mutated(a, b, m, n); break;
	case 2:
		emit(b, m, n);
		memcpy(m, b->last, b->last_len);
		take(a, m, b->last_len);
		break;
	case 3:
		now.mono.ns += (int64_t)(n * n) * 100 * NS_PER_MSEC;
		now.wall.ns += (int64_t)(n * n) * 100 * NS_PER_MSEC;
		wg_tick(b->d, now);
		break;
	case 4: emit(a, m, n); break;
	case 5: wg_handshake_begin(b->peer, now); break;
	default:
		loaded = n & 1;
		outer_ecn = n >> 1 & 3;
		break;
	}
	assert(wg_tick(a->d, now).ns > now.mono.ns);
	ready(a);
	ready(b);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool once;
	struct end a = {0}, b = {0};

	if (!once && crypto_init() == 0)
		once = true;
	now = (struct wg_time){{1000 * NS_PER_SEC}, {1700000000 * NS_PER_SEC}};
	loaded = false;
	outer_ecn = 0;
	open_end(&a, 1);
	open_end(&b, 2);
	add_peer(&a, &b);
	add_peer(&b, &a);
	shake(&a, &b);
	for (unsigned i = 0; i < 100 && size >= 2; i++) {
		size_t n = step(&a, &b, data, size);

		data += n;
		size -= n;
	}
	/* Bounded, whatever was received: three sessions and a handshake. */
	assert(a.d->indices.live <= 4);
	wg_free(a.d);
	wg_free(b.d);
	return 0;
}
