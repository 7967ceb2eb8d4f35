/* lib/wg: sessions: slots across rekeys, limits on counters, what is inside, roaming, reading
 * back, and two engines over a bad link. */
#include "unit.h"
#include "wgworld.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define A   "192.0.2.1:1000"
#define B   "[2001:db8::2]:2000"
#define SEC NS_PER_SEC

static struct world *w;
static struct wgpeer p;
static uint8_t packet[1500], inner[1500], msg[2048];
static size_t len;

static void set_up(void)
{
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub,
		   "endpoint " A " allow 10.0.0.2/32 allow 10.7.0.0/16 allow fd00::2/128");
	len = world_ip(packet, "10.0.0.1", "10.0.0.2", 60);
}

static void in_from(struct wgpeer *from, const char *src, const char *at)
{
	size_t n = world_ip(inner, src, strchr(src, ':') ? "fd00::1" : "10.0.0.1", 44);

	world_receive(w, msg, wgpeer_data(from, from->counter++, inner, n, msg), at);
}

START_TEST(slots)
{
	struct wgpeer old, older;

	set_up();
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	older = p;
	world_advance(w, SEC);
	world_answer(w, &p, A);
	/* Not confirmed: we still send under the old one, and receive under both. */
	ck_assert_int_eq(world_send(w, packet, len), 0);
	ck_assert_int_eq(wgpeer_open(&older, w->out[w->n_out - 1].b, 112, inner, NULL), 80);
	in_from(&older, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	ck_assert_int_eq(wgpeer_open(&p, w->out[w->n_out - 1].b, 112, inner, NULL), 80);
	/* What was reordered across the rekey still comes in. */
	in_from(&older, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	old = p;
	world_advance(w, SEC);
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	in_from(&old, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	in_from(&older, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_uint_eq(w->d->indices.live, 3);
	world_advance(w, SEC);
	world_answer(w, &p, A);
	in_from(&old, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	in_from(&older, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_UNKNOWN);
	ck_assert_uint_eq(w->d->indices.live, 3);
	/* One that nothing can come under any more is not kept. */
	world_advance(w, WG_REJECT_AFTER - 2 * SEC);
	world_answer(w, &p, A);
	ck_assert_uint_eq(w->d->indices.live, 2);
	world_free(w);
}
END_TEST

static struct wg_keypair *current(void)
{
	return atomic_load(&world_find(w, p.pub)->current);
}

START_TEST(message_limits)
{
	struct crypto_aead_job jobs[2];
	struct wg_run run;

	set_up();
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	unsigned n = w->n_out;
	/* A 32-bit counter would begin again here. */
	atomic_store(&current()->counter, UINT64_C(0xFFFFFFFF));
	uint64_t counter;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(world_send(w, packet, len), 0);
		ck_assert_int_eq(wgpeer_open(&p, w->out[n].b, w->out[n].len, inner, &counter), 80);
		ck_assert_uint_eq(counter, UINT64_C(0xFFFFFFFF) + i);
		n++;
	}
	/* Beyond 2^60 the responder, too, asks for a new session, and goes on sending. */
	atomic_store(&current()->counter, WG_REKEY_AFTER_MESSAGES - 1);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	ck_assert_uint_eq(w->n_out, n + 1);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	ck_assert_uint_eq(w->n_out, n + 3);
	ck_assert_uint_eq(w->out[n + 2].len, 148);
	/* The last counters; a run that does not fit reserves nothing. */
	atomic_store(&current()->counter, WG_REJECT_AFTER_MESSAGES - 1);
	struct wg_peer *peer = world_find(w, p.pub);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 65536, w->now.mono, &run), -ENOKEY);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 2, w->now.mono, &run), -ENOKEY);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 1, w->now.mono, &run), 0);
	ck_assert_uint_eq(run.counter, WG_REJECT_AFTER_MESSAGES - 1);
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 1, w->now.mono, &run), -ENOKEY);
	(void)jobs;
	/* The receiver's side of it. */
	p.counter = WG_REJECT_AFTER_MESSAGES;
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_EXPIRED);
	p.counter = WG_REJECT_AFTER_MESSAGES - 1;
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	world_free(w);
}
END_TEST

/* The sender must own the most specific prefix of the source. */
START_TEST(allowed_source)
{
	struct wgpeer q;

	set_up();
	wgpeer_init(&q, 3, w->pub.b);
	world_peer(w, q.pub, "allow 10.7.7.0/24 allow ::/0");
	world_answer(w, &p, A);
	in_from(&p, "10.7.1.1", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	in_from(&p, "10.7.7.1", A); /* ours contains it, the other's is more specific */
	ck_assert_int_eq(w->verdict, WG_RX_SPOOFED);
	in_from(&p, "10.8.0.1", A);
	ck_assert_int_eq(w->verdict, WG_RX_SPOOFED);
	in_from(&p, "fd00::3", A);
	ck_assert_int_eq(w->verdict, WG_RX_SPOOFED);
	in_from(&p, "fd00::2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_uint_eq(w->n_in, 2);
	world_free(w);
}
END_TEST

static enum wg_verdict inside(size_t n)
{
	world_receive(w, msg, wgpeer_data(&p, p.counter++, inner, n, msg), A);
	return w->verdict;
}

START_TEST(inner_packets)
{
	set_up();
	world_answer(w, &p, A);
	size_t n = world_ip(inner, "10.0.0.2", "10.0.0.1", 13);
	memset(inner + n, 0, 100);
	ck_assert_int_eq(inside(n + 15), WG_RX_DATA); /* padded, trimmed again */
	ck_assert_uint_eq(w->in[0].len, 33);
	ck_assert_int_eq(inside(n), WG_RX_DATA);
	ck_assert_int_eq(inside(n - 1), WG_RX_MALFORMED);
	ck_assert_int_eq(inside(19), WG_RX_MALFORMED);
	ck_assert_int_eq(inside(1), WG_RX_MALFORMED);
	inner[0] = 0x44; /* a header shorter than a header */
	ck_assert_int_eq(inside(n), WG_RX_MALFORMED);
	inner[0] = 0x4F; /* longer than the packet */
	ck_assert_int_eq(inside(n), WG_RX_MALFORMED);
	inner[0] = 0x55;
	ck_assert_int_eq(inside(n), WG_RX_MALFORMED);
	n = world_ip(inner, "fd00::2", "fd00::1", 8);
	ck_assert_int_eq(inside(n + 8), WG_RX_DATA);
	ck_assert_int_eq(inside(n - 1), WG_RX_MALFORMED);
	ck_assert_int_eq(inside(39), WG_RX_MALFORMED);
	ck_assert_uint_eq(w->n_in, 3);
	ck_assert_uint_eq(wg_padded(0, 1420), 0);
	ck_assert_uint_eq(wg_padded(1, 1420), 16);
	ck_assert_uint_eq(wg_padded(1408, 1420), 1408);
	ck_assert_uint_eq(wg_padded(1409, 1420), 1420);
	ck_assert_uint_eq(wg_padded(1420, 1420), 1420);
	ck_assert_uint_eq(wg_padded(1500, 1420), 1504); /* the MTU was lowered meanwhile */
	world_free(w);
}
END_TEST

static uint16_t header_sum(const uint8_t *b)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (uint16_t)((sum & 0xFFFF) + (sum >> 16));
}

/* RFC 6040, figure 4. 9: the packet is dropped. */
START_TEST(ecn)
{
	static const uint8_t want[4][4] = {
		/* outer: Not-ECT, ECT(1), ECT(0), CE */
		[0] = {0, 0, 0, 9},
		[1] = {1, 1, 1, 3},
		[2] = {2, 1, 2, 3},
		[3] = {3, 3, 3, 3},
	};

	for (uint8_t in = 0; in < 4; in++) {
		for (uint8_t outer = 0; outer < 4; outer++) {
			uint8_t v4[60], v6[60];

			world_ip(v4, "10.0.0.2", "10.0.0.1", 20);
			world_ip(v6, "fd00::2", "fd00::1", 20);
			v4[1] = (uint8_t)(0xB8 | in);
			v4[10] = v4[11] = 0;
			uint16_t sum = (uint16_t)~header_sum(v4);
			v4[10] = (uint8_t)(sum >> 8);
			v4[11] = (uint8_t)sum;
			v6[0] |= 0xB;
			v6[1] = (uint8_t)(0x8A | in << 4);
			ck_assert_uint_eq(wg_ecn_outer(v4, 40), in);
			ck_assert_uint_eq(wg_ecn_outer(v6, 60), in);
			bool keep = want[in][outer] != 9;
			ck_assert_int_eq(wg_ecn_combine(v4, outer), keep);
			ck_assert_int_eq(wg_ecn_combine(v6, outer), keep);
			ck_assert_uint_eq(header_sum(v4), 0xFFFF);
			if (!keep)
				continue;
			ck_assert_uint_eq(v4[1], 0xB8 | want[in][outer]);
			ck_assert_uint_eq(v6[1], 0x8A | want[in][outer] << 4);
			ck_assert_uint_eq(v6[0], 0x6B);
		}
	}
	ck_assert_uint_eq(wg_ecn_outer("", 0), 0);
}
END_TEST

static const char *at(void)
{
	static char text[IP_ENDPOINT_LEN];
	struct wg_endpoint e = wg_peer_endpoint(world_find(w, p.pub));

	return ip_endpoint_str(&e.remote, text);
}

START_TEST(roaming)
{
	set_up();
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", B);
	ck_assert_str_eq(at(), B);
	/* Not by what is not authentic. */
	wgpeer_data(&p, p.counter, inner, 64, msg);
	msg[50] ^= 1;
	world_receive(w, msg, 96, A);
	ck_assert_int_eq(w->verdict, WG_RX_UNAUTHENTIC);
	ck_assert_str_eq(at(), B);
	/* By a keepalive, and by a packet whose inside is refused (it is authentic). */
	world_receive(w, msg, wgpeer_data(&p, p.counter++, NULL, 0, msg), A);
	ck_assert_str_eq(at(), A);
	in_from(&p, "10.99.0.2", B);
	ck_assert_int_eq(w->verdict, WG_RX_SPOOFED);
	ck_assert_str_eq(at(), B);
	world_free(w);
}
END_TEST

static uint64_t moved(void)
{
	struct wg_stats s;

	wg_get_stats(w->d, w->now.mono, &s);
	return s.moved;
}

/* Whoever saves endpoints is told of each change of one that a restart is to find. */
START_TEST(moves_are_told)
{
	set_up();
	world_peer(w, p.pub, "endpoint " B);
	ck_assert_uint_eq(moved(), 0); /* nothing of it would be saved yet */
	world_answer(w, &p, A);
	ck_assert_uint_eq(moved(), 1);
	in_from(&p, "10.0.0.2", A);
	ck_assert_uint_eq(moved(), 1);
	unsigned wakes = w->wakes;
	in_from(&p, "10.0.0.2", B);
	ck_assert_uint_eq(moved(), 2);
	ck_assert_uint_eq(w->wakes, wakes + 1);
	world_peer(w, p.pub, "endpoint " B);
	ck_assert_uint_eq(moved(), 2);
	world_peer(w, p.pub, "endpoint " A);
	ck_assert_uint_eq(moved(), 3);
	world_free(w);
}
END_TEST

START_TEST(sticky_source)
{
	struct wg_endpoint e = world_endpoint(A), got;
	struct ip_addr gone = world_endpoint("198.51.100.1:1").remote.addr;

	set_up();
	struct wg_peer *peer = world_find(w, p.pub);
	world_answer(w, &p, A);
	e.local = world_endpoint("203.0.113.5:1").remote.addr;
	e.ifindex = 4;
	wgpeer_data(&p, 0, NULL, 0, msg);
	struct wg_rx rx = {.data = msg, .len = 32, .src = &e};
	wg_enter(w->lane);
	wg_receive_data(w->lane, &rx, 1, w->now.mono);
	wg_leave(w->lane);
	world_pump(w);
	world_send(w, packet, len);
	ck_assert(wg_endpoint_eq(&w->out[w->n_out - 1].to, &e));
	wg_clear_sources(w->d, &gone);
	got = wg_peer_endpoint(peer);
	ck_assert(wg_endpoint_eq(&got, &e));
	wg_clear_sources(w->d, &e.local);
	got = wg_peer_endpoint(peer);
	e = world_endpoint(A);
	ck_assert(wg_endpoint_eq(&got, &e));
	/* A retry forgets it, too. */
	e.ifindex = 9;
	wg_peer_set_endpoint(peer, &e);
	world_advance(w, 16 * SEC);
	ck_assert_uint_eq(wg_peer_endpoint(peer).ifindex, 0);
	world_free(w);
}
END_TEST

static void keepalive_from(const struct wg_endpoint *e)
{
	struct wg_rx rx = {.data = msg, .len = 32, .src = e};

	wgpeer_data(&p, p.counter++, NULL, 0, msg);
	wg_enter(w->lane);
	wg_receive_data(w->lane, &rx, 1, w->now.mono);
	wg_leave(w->lane);
	ck_assert_int_eq(rx.verdict, WG_RX_KEEPALIVE);
	world_pump(w);
}

/* A source holds while the route leaves by its interface; refused, it is not learnt again until it
 * does. */
START_TEST(source_follows_route)
{
	struct wg_endpoint one = world_endpoint(A), two, bare = world_endpoint(A), got;
	unsigned asked;

	set_up();
	struct wg_peer *peer = world_find(w, p.pub);
	world_answer(w, &p, A);
	one.local = world_endpoint("203.0.113.5:1").remote.addr;
	one.ifindex = 4;
	two = one;
	two.local.b[3] = 6;
	two.ifindex = 5;
	w->egress = 4;
	keepalive_from(&one);
	got = wg_peer_endpoint(peer);
	ck_assert(wg_endpoint_eq(&got, &one));
	asked = w->asked;
	keepalive_from(&one);
	ck_assert_uint_eq(w->asked, asked);
	/* The route changes: gone, however often it is heard. */
	w->egress = 5;
	wg_check_sources(w->d);
	for (unsigned i = 0; i < 3; i++) {
		got = wg_peer_endpoint(peer);
		ck_assert(wg_endpoint_eq(&got, &bare));
		keepalive_from(&one);
	}
	keepalive_from(&two);
	got = wg_peer_endpoint(peer);
	ck_assert(wg_endpoint_eq(&got, &two));
	/* And back: what was refused is right again. */
	w->egress = 4;
	wg_check_sources(w->d);
	keepalive_from(&one);
	got = wg_peer_endpoint(peer);
	ck_assert(wg_endpoint_eq(&got, &one));
	/* The response to an initiation does not leave from one that is wrong, either. */
	keepalive_from(&two);
	w->egress = 5;
	w->now.mono.ns += NS_PER_SEC;
	wgpeer_initiation(&p, 1800000000, 0, msg);
	ck_assert_int_eq(wg_receive_handshake(w->d, msg, 148, &one, false, w->now),
			 WG_HS_INITIATION);
	ck_assert_uint_eq(w->out[w->n_out - 1].len, 92);
	ck_assert(wg_endpoint_eq(&w->out[w->n_out - 1].to, &bare));
	world_free(w);
}
END_TEST

START_TEST(read_back)
{
	_cleanup_wgdev_ struct wgdev d;
	struct wgdev_peer_change q = {.public_key = {{5}}};
	struct wgdev_change c = {.peers = &q, .n_peers = 1, .replace_peers = true};

	wgdev_init(&d);
	set_up();
	world_psk(w, p.pub, 4);
	memset(p.psk, 4, 32);
	world_peer(w, p.pub, "keepalive 21");
	world_answer(w, &p, B);
	in_from(&p, "10.0.0.2", B);
	ck_assert_int_eq(wg_get(w->d, &d), 0);
	ck_assert_uint_eq(d.n_peers, 1);
	ck_assert(key_eq(&d.public_key, &w->pub));
	ck_assert_uint_eq(d.peers[0].preshared_key->b[31], 4);
	ck_assert_uint_eq(d.peers[0].keepalive, 21);
	ck_assert_uint_eq(d.peers[0].n_allowed, 3);
	ck_assert_uint_eq(d.peers[0].endpoint.port, 2000);
	ck_assert_uint_eq(d.peers[0].rx_bytes, 148 + 64 + 32);
	/* An initiation when the keepalive was set, and the response; all UDP bytes count. */
	ck_assert_uint_eq(d.peers[0].tx_bytes, 148 + 92);
	ck_assert_int_eq(d.peers[0].last_handshake.ns, w->now.wall.ns);
	/* update_only creates nothing; replace_peers removes who is not named. */
	q.update_only = true;
	c.replace_peers = false;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_null(wg_peer_find(w->d, &q.public_key));
	q.update_only = false;
	c.replace_peers = true;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_nonnull(wg_peer_find(w->d, &q.public_key));
	ck_assert_ptr_null(world_find(w, p.pub));
	in_from(&p, "10.0.0.2", B);
	ck_assert_int_eq(w->verdict, WG_RX_UNKNOWN);
	world_free(w);
}
END_TEST

static unsigned n_allowed(void)
{
	unsigned n = 0;

	list_for_each (r, &world_find(w, p.pub)->routes, struct wg_route, of_peer)
		n++;
	return n;
}

/* A peer in a list that is new is what the list says; its session is not the list's. */
START_TEST(replaced)
{
	static const struct key psk = {{4, 4}};
	struct ip_prefix two = {{AF_INET, {10, 0, 0, 2}}, 32};
	struct wgdev_peer_change q[2] = {{.allowed = &two, .n_allowed = 1}};
	struct wgdev_change c = {.peers = q, .n_peers = 1, .replace_peers = true};

	set_up();
	memcpy(q[0].public_key.b, p.pub, KEY_LEN);
	world_peer(w, p.pub, "keepalive 21");
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	struct wg_peer *peer = world_find(w, p.pub);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_eq(world_find(w, p.pub), peer);
	ck_assert_uint_eq(n_allowed(), 1);
	ck_assert_uint_eq(peer->persistent, 0);
	ck_assert_int_eq(peer->due[WG_T_PERSIST], WG_OFF);
	ck_assert_int_eq(world_send(w, packet, len), -EDESTADDRREQ);
	/* The session is there: what it brings tells where the peer is. */
	in_from(&p, "10.0.0.2", B);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	in_from(&p, "10.7.0.1", B);
	ck_assert_int_eq(w->verdict, WG_RX_SPOOFED);
	/* Another preshared key: nothing of that session is left, but the stamps are. */
	q[0].set_preshared = true;
	q[0].preshared_key = &psk;
	q[0].set_endpoint = true;
	q[0].endpoint = world_endpoint(A).remote;
	q[0].set_keepalive = true;
	q[0].keepalive = 25;
	world_advance(w, WG_TURN_GAP); /* since the first keepalive */
	w->n_out = 0;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_UNKNOWN);
	ck_assert_uint_eq(w->n_out, 1);
	ck_assert_uint_eq(w->out[0].len, 148);
	wgpeer_initiation(&p, (uint64_t)(w->now.wall.ns / SEC), 0, msg);
	world_receive(w, msg, 148, A);
	ck_assert_int_eq(w->outcome, WG_HS_REPLAYED);
	/* The same one again keeps the next session, and the keepalive that was set. */
	memcpy(p.psk, psk.b, KEY_LEN);
	world_advance(w, SEC);
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
	ck_assert_int_ne(peer->due[WG_T_PERSIST], WG_OFF);
	ck_assert_int_eq(world_send(w, packet, len), 0);
	/* Cleared by not being said. */
	q[0].set_preshared = false;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_null(peer->preshared);
	in_from(&p, "10.0.0.2", A);
	ck_assert_int_eq(w->verdict, WG_RX_UNKNOWN);
	/* Named twice: the second time is about what the first has made. */
	q[1] = (struct wgdev_peer_change){.public_key = q[0].public_key, .update_only = true};
	c.n_peers = 2;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_uint_eq(n_allowed(), 1);
	ck_assert_uint_eq(peer->persistent, 25);
	/* To update what the list is emptied of makes nothing. */
	c.peers = &q[1];
	c.n_peers = 1;
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
	ck_assert_ptr_null(world_find(w, p.pub));
	world_free(w);
}
END_TEST

/* A lane inside keeps what it was given, whatever control removes meanwhile. */
START_TEST(removed_while_inside)
{
	set_up();
	world_answer(w, &p, A);
	in_from(&p, "10.0.0.2", A);
	wg_enter(w->lane);
	struct wg_peer *peer = wg_route(w->lane, packet, len);
	ck_assert_ptr_nonnull(peer);
	struct wg_run run;
	uint8_t buf[200];
	struct crypto_aead_job job = {.buf = buf + 16, .len = 64};
	ck_assert_int_eq(wg_tx_begin(w->lane, peer, 1, w->now.mono, &run), 0);
	world_peer(w, p.pub, "remove");
	ck_assert_ptr_null(wg_route(w->lane, packet, len));
	ck_assert_int_eq(wg_tx_seal(w->lane, &run, &job, w->now.mono), 0);
	struct wg_packet *staged = calloc(1, 64);
	wg_tx_stage(w->lane, peer, staged, w->now.mono);
	ck_assert_int_le(wg_tick(w->d, w->now).ns, w->now.mono.ns + 50 * NS_PER_MSEC);
	ck_assert_uint_eq(w->dropped, 0);
	wg_leave(w->lane);
	wg_tick(w->d, w->now);
	wg_tick(w->d, w->now);
	ck_assert_uint_eq(w->dropped, 1);
	ck_assert_ptr_null(w->d->retired);
	world_free(w);
}
END_TEST

/* Control removes the peer without a look at what lanes do. */
static void remove_peer(void)
{
	struct wgdev_peer_change q = {.remove = true};
	struct wgdev_change c = {.peers = &q, .n_peers = 1};

	memcpy(q.public_key.b, p.pub, KEY_LEN);
	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
}

/* A lane takes it from the ready stack: as long as it is inside the peer is there. */
static void take_and_use(const struct wg_peer *peer)
{
	struct wg_packet *list;
	struct wg_run run;

	wg_enter(w->lane);
	struct wg_peer *got = wg_tx_ready(w->lane, &list);
	ck_assert_ptr_eq(got, peer);
	for (unsigned i = 0; i < 5; i++)
		wg_tick(w->d, w->now);
	ck_assert_ptr_nonnull(w->d->retired);
	ck_assert_int_eq(wg_tx_begin(w->lane, got, 1, w->now.mono, &run), -ENOKEY);
	w->d->ops->drop(w, list);
	wg_leave(w->lane);
	for (unsigned i = 0; i < 3; i++)
		wg_tick(w->d, w->now);
	ck_assert_ptr_null(w->d->retired);
}

/* It was ready before it was removed, and a lane that enters afterwards takes it. */
START_TEST(removed_while_ready)
{
	set_up();
	struct wg_lane *other = wg_lane_new(w->d);
	wg_enter(other);
	struct wg_peer *peer = wg_route(other, packet, len);
	wg_peer_ready(peer, true);
	remove_peer();
	wg_tx_stage(other, peer, calloc(1, sizeof(struct wg_packet)), w->now.mono);
	wg_leave(other);
	take_and_use(peer);
	world_free(w);
}
END_TEST

/* It is taken, put there again, and taken by the next: whenever control looks it is nowhere. */
START_TEST(removed_and_ready_again)
{
	struct wg_packet *list;

	set_up();
	struct wg_lane *other = wg_lane_new(w->d);
	struct wg_peer *peer = world_find(w, p.pub);
	wg_peer_ready(peer, true);
	remove_peer();
	wg_enter(other);
	ck_assert_ptr_null(wg_tx_ready(other, &list)); /* control has taken the keepalive */
	wg_tick(w->d, w->now);
	wg_peer_ready(peer, true);
	wg_leave(other);
	take_and_use(peer);
	world_free(w);
}
END_TEST

/* ── two engines over a bad link ────────────────────────────────────────────────────────── */

#define IN_FLIGHT 4096

static struct flight {
	struct world_packet p;
	struct world *to;
	int64_t due;
} flights[IN_FLIGHT];
static unsigned n_flights;
static uint64_t sent_seq[2], got[2], lost_link, corrupt;
static uint8_t seen[2][1 << 20];
static struct world *ends[2];

/* Loses 3%, doubles 2%, delays by 5 to 60 ms (so reorders), and damages 1%. */
static void link_out(struct world *from, const struct world_packet *out)
{
	struct world *to = from == ends[0] ? ends[1] : ends[0];
	long dice = random() % 100;

	if (dice < 3 || n_flights + 2 > IN_FLIGHT) {
		lost_link++;
		return;
	}
	for (unsigned copies = dice < 5 ? 2 : 1; copies > 0; copies--) {
		struct flight *f = &flights[n_flights++];

		f->p = *out;
		f->to = to;
		f->due = from->now.mono.ns + (5 + random() % 55) * NS_PER_MSEC;
		if (dice == 99) {
			f->p.b[(size_t)random() % f->p.len] ^= (uint8_t)(1 << random() % 8);
			corrupt++;
		}
	}
}

static void link_in(struct world *to, const uint8_t *b, size_t n)
{
	unsigned me = to == ends[1];
	uint64_t seq;

	ck_assert_uint_eq(n, 20 + 8 + 40);
	memcpy(&seq, b + 20, 8);
	ck_assert_uint_lt(seq, sent_seq[!me]);
	ck_assert_msg(!(seen[me][seq / 8] >> seq % 8 & 1), "delivered twice");
	seen[me][seq / 8] |= (uint8_t)(1 << seq % 8);
	for (unsigned i = 0; i < 40; i++)
		ck_assert_uint_eq(b[28 + i], (uint8_t)(seq + i));
	got[me]++;
}

static void say(unsigned me)
{
	uint8_t b[100];
	size_t n = world_ip(b, me ? "10.0.0.2" : "10.0.0.1", me ? "10.0.0.1" : "10.0.0.2", 48);
	uint64_t seq = sent_seq[me]++;

	memcpy(b + 20, &seq, 8);
	for (unsigned i = 0; i < 40; i++)
		b[28 + i] = (uint8_t)(seq + i);
	world_send(ends[me], b, n);
}

static void open_link(void (*out)(struct world *, const struct world_packet *),
		      void (*in)(struct world *, const uint8_t *, size_t))
{
	n_flights = 0;
	for (unsigned i = 0; i < 2; i++) {
		sent_seq[i] = got[i] = 0;
		ends[i] = world_new((uint8_t)(i + 1));
		ends[i]->on_out = out;
		ends[i]->on_in = in;
	}
	world_peer(ends[0], ends[1]->pub.b, "endpoint 192.0.2.2:2 allow 10.0.0.2/32");
	world_peer(ends[1], ends[0]->pub.b, "endpoint 192.0.2.1:1 allow 10.0.0.1/32");
}

static void link_deliver(int64_t now)
{
	for (unsigned i = 0; i < n_flights;) {
		struct flight f = flights[i];

		if (f.due > now) {
			i++;
			continue;
		}
		flights[i] = flights[--n_flights];
		world_receive(f.to, f.p.b, f.p.len,
			      f.to == ends[0] ? "192.0.2.2:2" : "192.0.2.1:1");
	}
}

/* 24 hours, a packet each way each second, in steps of 40 ms while something is under way. */
#define HOURS (24 / UNIT_SHORTER(6))
START_TEST(a_day_on_a_bad_link)
{
	struct wg_stats s[2];
	int64_t quiet[2] = {0}, worst = 0;
	uint64_t before[2] = {0};

	srandom(11);
	open_link(link_out, link_in);
	for (unsigned step = 0, n; step < HOURS * 3600 * 25; step += n) {
		/* With nothing under way on to the next packet: steps 0 and 24 of 25. */
		n = n_flights ? 1 : step % 25 == 24 ? 1 : 24 - step % 25;
		for (unsigned i = 0; i < 2; i++) {
			world_advance(ends[i], n * 40 * NS_PER_MSEC);
			if ((step + n + i) % 25 == 0)
				say(i);
		}
		if (n_flights)
			link_deliver(ends[1]->now.mono.ns);
		for (unsigned i = 0; i < 2; i++) {
			quiet[i] = got[i] > before[i] ? 0 : quiet[i] + n * 40 * NS_PER_MSEC;
			before[i] = got[i];
			worst = quiet[i] > worst ? quiet[i] : worst;
		}
	}
	for (unsigned i = 0; i < 2; i++)
		wg_get_stats(ends[i]->d, ends[i]->now.mono, &s[i]);
	ck_assert_uint_ge(s[0].sessions, 700 * HOURS / 24);
	ck_assert_uint_ge(s[1].sessions, 700 * HOURS / 24);
	/* No storm: at most a few messages a session. */
	ck_assert_uint_le(s[0].initiations_sent + s[1].initiations_sent, 2200 * HOURS / 24);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_msg(got[i] > sent_seq[!i] * 95 / 100 && got[i] < sent_seq[!i] * 97 / 100,
			      "%lu of %lu", (unsigned long)got[i], (unsigned long)sent_seq[!i]);
	/* No stall. */
	ck_assert_int_lt(worst, 16 * SEC);
	ck_assert_uint_gt(corrupt, 1000 * HOURS / 24);
	/* Sessions are not left over: four slots and a handshake. */
	ck_assert_uint_le(ends[0]->d->indices.live, 5);
	world_free(ends[0]);
	world_free(ends[1]);
}
END_TEST

static void link_slow(struct world *from, const struct world_packet *out)
{
	struct flight *f = &flights[n_flights++ % IN_FLIGHT];

	f->p = *out;
	f->to = from == ends[0] ? ends[1] : ends[0];
	f->due = from->now.mono.ns + 20 * NS_PER_MSEC;
}

/* As link_in, for many: each assertion of check is a system call. */
static void count_in(struct world *to, const uint8_t *b, size_t n)
{
	(void)b;
	(void)n;
	got[to == ends[1]]++;
}

/* Both begin at the same moment, and so cross. Each renewal finds a session that the other side
 * sends under in whatever slot: nothing is lost by it, and the two do not cross again. */
#define MINUTES (10 / UNIT_SHORTER(2))
START_TEST(crossed_and_renewed)
{
	open_link(link_slow, count_in);
	for (unsigned step = 0; step < MINUTES * 60 * 500; step++) {
		say(0);
		say(1);
		for (unsigned i = 0; i < 2; i++)
			world_advance(ends[i], 2 * NS_PER_MSEC);
		link_deliver(ends[1]->now.mono.ns);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct wg_stats s;

		wg_get_stats(ends[i]->d, ends[i]->now.mono, &s);
		ck_assert_uint_eq(s.received[WG_RX_UNKNOWN], 0);
		ck_assert_uint_eq(s.sessions, 2 + (MINUTES - 1) / 2);
		ck_assert_uint_eq(got[i], sent_seq[!i] - 9); /* which are under way */
		/* No more than without crossing, once it is over. */
		ck_assert_uint_eq(ends[i]->d->indices.live, 2);
	}
	world_free(ends[0]);
	world_free(ends[1]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = UNIT_SUITE("wg_session", slots, message_limits, allowed_source, inner_packets,
			      ecn, roaming, moves_are_told, sticky_source, source_follows_route,
			      read_back, replaced, removed_while_inside, removed_while_ready,
			      removed_and_ready_again);
	TCase *day = tcase_create("a_day_on_a_bad_link");
	TCase *renewed = tcase_create("crossed_and_renewed");

	tcase_set_timeout(renewed, 120);
	tcase_add_test(renewed, crossed_and_renewed);
	suite_add_tcase(s, renewed);
	tcase_set_timeout(day, 120);
	tcase_add_test(day, a_day_on_a_bad_link);
	suite_add_tcase(s, day);
	return s;
}

UNIT_MAIN(suite)
