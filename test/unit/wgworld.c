#include "wgworld.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct staged {
	struct wg_packet head;
	size_t len;
	uint8_t b[2048];
};

/* Not check's assertions, which allocate: a test may be failing allocations here, or counting. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

static void fill_random(void *user, void *out, size_t len)
{
	struct world *w = user;
	uint8_t *p = out;
	void (*meanwhile)(struct world *) = w->on_random;

	w->on_random = NULL;
	if (meanwhile)
		meanwhile(w);
	for (; len > 0 && w->n_fixed > 0; len--, w->n_fixed--)
		*p++ = *w->fixed++;
	for (size_t i = 0; i < len; i++) { /* splitmix64 */
		uint64_t z = (w->rng += UINT64_C(0x9E3779B97F4A7C15));

		z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
		p[i] = (uint8_t)(z ^ z >> 31);
	}
}

static void emit(struct world *w, const struct wg_endpoint *to, const void *b, size_t len)
{
	struct world_packet p;

	p.len = len;
	p.to = *to;
	p.at = w->now.mono.ns;
	must(len <= sizeof(p.b));
	memcpy(p.b, b, len);
	if (w->on_out)
		w->on_out(w, &p);
	else if (w->n_out < WORLD_KEEP)
		w->out[w->n_out] = p;
	w->n_out++;
}

static bool send_handshake(void *user, const struct wg_endpoint *to, const void *b, size_t len)
{
	struct world *w = user;

	if (w->refuse)
		return false;
	emit(w, to, b, len);
	return true;
}

static void drop(void *user, struct wg_packet *list)
{
	struct world *w = user;

	while (list) {
		struct wg_packet *next = list->next;

		free(list);
		w->dropped++;
		list = next;
	}
}

static void wake(void *user, enum wg_wake what)
{
	struct world *w = user;

	w->woken |= what;
	w->wakes += what == WG_WAKE_CONTROL;
}

static bool source_ok(void *user, const struct wg_endpoint *e)
{
	struct world *w = user;

	w->asked++;
	return w->egress == 0 || e->ifindex == w->egress;
}

static const struct wg_ops ops = {fill_random, send_handshake, drop, wake, source_ok};

struct world *world_new(uint8_t seed)
{
	struct key priv;

	memset(priv.b, seed, KEY_LEN);
	return world_new_key(&priv, seed);
}

struct world *world_new_key(const struct key *priv, uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));
	struct wgdev_change c = {.set_private_key = true, .private_key = priv};

	ck_assert_int_eq(crypto_init(), 0);
	w->rng = seed;
	w->now.mono.ns = 1000 * NS_PER_SEC;
	w->now.wall.ns = 1700000000 * NS_PER_SEC;
	w->d = wg_new(&ops, w, &crypto_aead_evp, 2);
	ck_assert_ptr_nonnull(w->d);
	w->lane = wg_lane_new(w->d);
	ck_assert_ptr_nonnull(w->lane);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	wg_set_up(w->d, true, w->now);
	crypto_x25519_public(priv, &w->pub);
	return w;
}

void world_free(struct world *w)
{
	wg_free(w->d);
	free(w);
}

struct wg_peer *world_find(struct world *w, const uint8_t key[32])
{
	struct key k;

	memcpy(k.b, key, KEY_LEN);
	return wg_peer_find(w->d, &k);
}

struct wg_endpoint world_endpoint(const char *text)
{
	struct wg_endpoint e = {0};

	must(ip_endpoint_parse(text, strlen(text), &e.remote) == 0);
	return e;
}

void world_peer(struct world *w, const uint8_t key[32], const char *what)
{
	struct ip_prefix allowed[16];
	struct wgdev_peer_change p = {.allowed = allowed};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};
	char copy[512], *save, *word;

	memcpy(p.public_key.b, key, KEY_LEN);
	snprintf(copy, sizeof(copy), "%s", what);
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *arg = strcmp(word, "remove") == 0 || strcmp(word, "replace") == 0
				    ? NULL
				    : strtok_r(NULL, " ", &save);

		if (!arg) {
			p.remove |= strcmp(word, "remove") == 0;
			p.replace_allowed |= strcmp(word, "replace") == 0;
		} else if (strcmp(word, "endpoint") == 0) {
			p.endpoint = world_endpoint(arg).remote;
			p.set_endpoint = true;
		} else if (strcmp(word, "keepalive") == 0) {
			p.keepalive = (uint16_t)atoi(arg);
			p.set_keepalive = true;
		} else {
			ck_assert_int_eq(ip_prefix_parse(arg, strlen(arg), &allowed[p.n_allowed++]),
					 0);
		}
	}
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	world_pump(w);
}

void world_psk(struct world *w, const uint8_t key[32], uint8_t seed)
{
	struct key psk;

	memset(psk.b, seed, KEY_LEN);
	world_psk_key(w, key, &psk);
}

void world_psk_key(struct world *w, const uint8_t key[32], const struct key *psk)
{
	struct wgdev_peer_change p = {.set_preshared = true, .preshared_key = psk};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};

	memcpy(p.public_key.b, key, KEY_LEN);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
}

static int seal_one(struct world *w, struct wg_peer *p, const void *packet, size_t len)
{
	uint8_t buf[2048] = {0};
	struct crypto_aead_job job = {.buf = buf + WG_HEADER,
				      .len = (uint32_t)wg_padded(len, 1420)};
	struct wg_run run;
	int r = wg_tx_begin(w->lane, p, 1, w->now.mono, &run);

	if (r < 0)
		return r;
	memcpy(job.buf, packet, len);
	r = wg_tx_seal(w->lane, &run, &job, w->now.mono);
	if (r < 0)
		return r;
	emit(w, &run.to, buf, job.len + WG_OVERHEAD);
	return 0;
}

static void stage(struct world *w, struct wg_peer *p, const void *packet, size_t len)
{
	struct staged *s = calloc(1, sizeof(*s));

	s->len = len;
	memcpy(s->b, packet, len);
	wg_tx_stage(w->lane, p, &s->head, w->now.mono);
}

static void send_ready(struct world *w)
{
	struct wg_packet *list;
	struct wg_peer *p;

	wg_enter(w->lane);
	while ((p = wg_tx_ready(w->lane, &list))) {
		if (!list)
			seal_one(w, p, "", 0);
		while (list) {
			struct staged *s = list_entry(list, struct staged, head);

			list = list->next;
			if (seal_one(w, p, s->b, s->len) == -ENOKEY)
				stage(w, p, s->b, s->len);
			free(s);
		}
	}
	wg_leave(w->lane);
}

void world_pump(struct world *w)
{
	do {
		unsigned woken = w->woken;

		w->woken = 0;
		if (woken & WG_WAKE_TX)
			send_ready(w);
		w->next = wg_tick(w->d, w->now);
	} while (w->woken);
}

void world_advance(struct world *w, int64_t ns)
{
	int64_t end = w->now.mono.ns + ns;

	for (;;) {
		int64_t at = w->next.ns < end ? w->next.ns : end;

		if (at > w->now.mono.ns) {
			w->now.wall.ns += at - w->now.mono.ns;
			w->now.mono.ns = at;
		}
		world_pump(w);
		if (w->now.mono.ns >= end && w->next.ns > end)
			return;
	}
}

int world_send(struct world *w, const void *packet, size_t len)
{
	struct wg_peer *p;
	int r = -ENETUNREACH;

	wg_enter(w->lane);
	p = wg_route(w->lane, packet, len);
	if (p)
		r = seal_one(w, p, packet, len);
	if (r == -ENOKEY)
		stage(w, p, packet, len);
	wg_leave(w->lane);
	world_pump(w);
	return r;
}

static void receive(struct world *w, const void *datagram, size_t len, const char *from,
		    bool loaded)
{
	struct wg_endpoint src = world_endpoint(from);
	uint8_t buf[4096];

	must(len <= sizeof(buf));
	memcpy(buf, datagram, len);
	if (wg_kind(buf, len) == WG_KIND_DATA) {
		struct wg_rx rx = {.data = buf, .len = (uint32_t)len, .src = &src};

		wg_enter(w->lane);
		wg_receive_data(w->lane, &rx, 1, w->now.mono);
		wg_leave(w->lane);
		w->verdict = rx.verdict;
		if (rx.verdict == WG_RX_DATA) {
			if (w->on_in) {
				w->on_in(w, rx.plain, rx.plain_len);
			} else if (w->n_in < WORLD_KEEP) {
				memcpy(w->in[w->n_in].b, rx.plain, rx.plain_len);
				w->in[w->n_in].len = rx.plain_len;
			}
			w->n_in++;
		}
	} else {
		w->outcome = wg_receive_handshake(w->d, buf, len, &src, loaded, w->now);
	}
	world_pump(w);
}

void world_receive(struct world *w, const void *datagram, size_t len, const char *from)
{
	receive(w, datagram, len, from, false);
}

void world_receive_loaded(struct world *w, const void *datagram, size_t len, const char *from)
{
	receive(w, datagram, len, from, true);
}

size_t world_ip(uint8_t *out, const char *src, const char *dst, size_t len)
{
	struct ip_addr s, d;
	uint32_t sum = 0;

	must(ip_addr_parse(src, strlen(src), &s) == 0);
	must(ip_addr_parse(dst, strlen(dst), &d) == 0);
	if (s.family == AF_INET6) {
		memset(out, 0, 40);
		out[0] = 0x60;
		out[4] = (uint8_t)(len >> 8);
		out[5] = (uint8_t)len;
		out[6] = 59; /* no next header */
		memcpy(out + 8, s.b, 16);
		memcpy(out + 24, d.b, 16);
		memset(out + 40, 0xA5, len);
		return len + 40;
	}
	memset(out, 0, 20);
	out[0] = 0x45;
	out[2] = (uint8_t)((len + 20) >> 8);
	out[3] = (uint8_t)(len + 20);
	out[8] = 64;
	out[9] = 253;
	memcpy(out + 12, s.b, 4);
	memcpy(out + 16, d.b, 4);
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)(out[i] << 8 | out[i + 1]);
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = ~((sum & 0xFFFF) + (sum >> 16));
	out[10] = (uint8_t)(sum >> 8);
	out[11] = (uint8_t)sum;
	memset(out + 20, 0xA5, len);
	return len + 20;
}

void world_answer(struct world *w, struct wgpeer *p, const char *from)
{
	uint8_t m[148];
	unsigned n = w->n_out;

	wgpeer_initiation(p, (uint64_t)(w->now.wall.ns / NS_PER_SEC),
			  (uint32_t)(w->now.wall.ns % NS_PER_SEC), m);
	world_receive(w, m, sizeof(m), from);
	ck_assert_int_eq(w->outcome, WG_HS_INITIATION);
	ck_assert_uint_eq(w->n_out, n + 1);
	ck_assert_uint_eq(w->out[n].len, 92);
	ck_assert(wgpeer_take_response(p, w->out[n].b));
}
