/*
 * The engine against what another implementation sent: Wireshark's captures of the kernel's
 * WireGuard (hack/fetch-captures), whose keys are published with its own tests of decryption
 * (test/suite_decryption.py of its source). With the same keys and indices the engine sends the
 * same bytes: as the responder its response, and data packets in both directions.
 *
 * As the initiator it would not, for it rounds the time in its stamps more; so up to the stamp its
 * initiation is compared, and the state behind it taken from the captured one.
 */
#include "unit.h"
#include "wgworld.h"
#include "wycheproof.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define A         "10.9.0.1:51820"
#define FRAME_MAX 32

struct frame {
	const uint8_t *b; /* the datagram */
	size_t len;
};

struct capture {
	uint8_t file[8192];
	struct frame frames[FRAME_MAX + 1]; /* counted from 1, as by others */
	unsigned n;
};

static uint32_t le32(const uint8_t *b)
{
	uint32_t v;

	memcpy(&v, b, 4);
	return le32toh(v);
}

/* UDP in IPv4 in Ethernet; all else is not counted on. */
static struct frame datagram(const uint8_t *b, size_t len)
{
	size_t ip = 14, udp;

	ck_assert_uint_ge(len, ip + 20);
	ck_assert(b[12] == 8 && b[13] == 0 && b[ip] >> 4 == 4 && b[ip + 9] == 17);
	udp = ip + 4 * (b[ip] & 15U);
	ck_assert_uint_ge(len, udp + 8);
	size_t n = (size_t)(b[udp + 4] << 8 | b[udp + 5]);
	ck_assert(n >= 8 && n <= len - udp);
	return (struct frame){b + udp + 8, n - 8};
}

/* Classic pcap, little-endian (draft-ietf-opsawg-pcap). False where the file is not there. */
static bool read_capture(const char *name, struct capture *c)
{
	char relative[128], path[512];
	FILE *f;
	size_t len, at = 24;

	snprintf(relative, sizeof(relative), "wireshark-captures/%s", name);
	cache_path(relative, path);
	f = fopen(path, "re");
	if (!f) {
		unit_skip(name, "not fetched: hack/fetch-captures");
		return false;
	}
	len = fread(c->file, 1, sizeof(c->file), f);
	fclose(f);
	ck_assert(len > at && len < sizeof(c->file));
	ck_assert(le32(c->file) == 0xA1B2C3D4 && le32(c->file + 20) == 1); /* Ethernet */
	for (c->n = 0; at < len;) {
		ck_assert(len - at >= 16);
		size_t n = le32(c->file + at + 8);
		ck_assert(n == le32(c->file + at + 12) && n <= len - at - 16); /* not cut */
		ck_assert_uint_lt(c->n, FRAME_MAX);
		c->frames[++c->n] = datagram(c->file + at + 16, n);
		at += 16 + n;
	}
	return true;
}

static struct key base64(const char *s)
{
	struct key k;

	ck_assert_int_eq(key_from_base64(s, &k), 0);
	return k;
}

struct shake {
	unsigned initiation, response; /* frames */
	const char *static_i, *static_r, *ephemeral_i, *ephemeral_r, *psk;
	uint32_t nanoseconds; /* of the stamp, as Wireshark knows it; 0: it does not say */
};

#define STATIC_I "AKeZaHwBxjiKLFnkY2unvEdOTtg4AL+M9dQXfopFVFk="
#define STATIC_R "cFIxTUyBs1Qil414hBwEgvasEax8CKJ5IS5ZougplWs="
#define NO_PSK   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static struct world *one_side(const char *mine, const char *other, const char *psk)
{
	struct key priv = base64(mine), remote = base64(other), pub, shared = base64(psk);
	struct world *w;

	ck_assert_int_eq(crypto_init(), 0);
	crypto_x25519_public(&remote, &pub);
	w = world_new_key(&priv, 1);
	world_peer(w, pub.b, "allow 0.0.0.0/0 allow ::/0");
	world_psk_key(w, pub.b, &shared);
	return w;
}

static struct wg_peer *only_peer(struct world *w)
{
	return list_entry(w->d->peers.next, struct wg_peer, all);
}

/* The next random numbers are an ephemeral key and an index. */
static void fix_random(struct world *w, uint8_t *fixed, const char *ephemeral, uint32_t index)
{
	struct key k = base64(ephemeral);

	memcpy(fixed, k.b, KEY_LEN);
	memcpy(fixed + KEY_LEN, &index, 4);
	w->fixed = fixed;
	w->n_fixed = KEY_LEN + 4;
}

/* The captured initiation is accepted, and answered with the bytes of the captured response. */
static void responds(struct world *r, const struct shake *s, const struct capture *c,
		     struct wg_received *ret_state)
{
	const struct frame *i = &c->frames[s->initiation], *answer = &c->frames[s->response];
	struct wg_msg_initiation m;
	uint8_t fixed[KEY_LEN + 4];
	enum wg_outcome o;
	uint32_t index, be;

	ck_assert_uint_eq(i->len, sizeof(m));
	ck_assert_uint_eq(answer->len, sizeof(struct wg_msg_response));
	memcpy(&m, i->b, sizeof(m));
	ck_assert_ptr_eq(wg_noise_read_initiation(r->d, &m, ret_state, &o), only_peer(r));
	memcpy(&be, ret_state->stamp + 8, 4);
	if (s->nanoseconds)
		ck_assert_uint_eq(be32toh(be), s->nanoseconds);
	memcpy(&index, answer->b + 4, 4);
	fix_random(r, fixed, s->ephemeral_r, index);
	world_receive(r, i->b, i->len, A);
	ck_assert_int_eq(r->outcome, WG_HS_INITIATION);
	ck_assert_uint_eq(r->n_fixed, 0);
	ck_assert_uint_ge(r->n_out, 1);
	ck_assert_uint_eq(r->out[0].len, answer->len);
	ck_assert_mem_eq(r->out[0].b, answer->b, answer->len);
}

/* The initiation is the captured one up to the stamp, and the captured response is accepted. */
static void initiates(struct world *w, const struct shake *s, const struct capture *c,
		      const struct wg_received *state)
{
	const struct frame *f = &c->frames[s->initiation];
	struct wg_peer *p = only_peer(w);
	struct wg_msg_initiation m;
	uint8_t fixed[KEY_LEN + 4];
	uint32_t index;

	memcpy(&index, f->b + 4, 4);
	fix_random(w, fixed, s->ephemeral_i, index);
	ck_assert_int_eq(wg_noise_initiate(p, w->now.wall, &m), 0);
	ck_assert_mem_eq(&m, f->b, offsetof(struct wg_msg_initiation, stamp));
	memcpy(p->handshake.chain->b, state->chain, CRYPTO_HASH);
	memcpy(p->handshake.hash, state->hash, CRYPTO_HASH);
	world_receive(w, c->frames[s->response].b, c->frames[s->response].len, A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
}

static struct wg_keypair *session(struct world *w, const struct frame *of)
{
	uint32_t index;

	memcpy(&index, of->b + 4, 4);
	struct wg_keypair *kp = wg_index_find_session(w->d, index);
	ck_assert_ptr_nonnull(kp);
	return kp;
}

/* `to` decrypts the data message; `from` makes the same bytes of what was inside. */
static void both_ways(struct world *to, struct world *from, struct wg_keypair *sender,
		      const struct frame *f)
{
	uint8_t buf[2048] = {0};
	struct crypto_aead_job job = {.buf = buf + WG_HEADER,
				      .len = (uint32_t)(f->len - WG_OVERHEAD)};
	struct wg_run run = {.keypair = sender, .peer = sender->peer, .n = 1};

	to->n_in = 0;
	world_receive(to, f->b, f->len, A);
	if (f->len == WG_OVERHEAD) {
		ck_assert_int_eq(to->verdict, WG_RX_KEEPALIVE);
	} else {
		ck_assert_int_eq(to->verdict, WG_RX_DATA);
		ck_assert_uint_le(to->in[0].len, job.len);
		memcpy(job.buf, to->in[0].b, to->in[0].len);
	}
	memcpy(&run.counter, f->b + 8, 8);
	run.counter = le64toh(run.counter);
	wg_enter(from->lane);
	ck_assert_int_eq(wg_tx_seal(from->lane, &run, &job, from->now.mono), 0);
	wg_leave(from->lane);
	ck_assert_mem_eq(buf, f->b, f->len);
}

/* Decrypts all data of this session; returns how many, and the packets inside by frame. */
static unsigned replay(const struct shake *s, const struct capture *c, struct world_packet *inner)
{
	struct world *i = one_side(s->static_i, s->static_r, s->psk);
	struct world *r = one_side(s->static_r, s->static_i, s->psk);
	struct wg_received state;
	unsigned n = 0;

	responds(r, s, c, &state);
	initiates(i, s, c, &state);
	for (unsigned k = 1; k <= c->n; k++) {
		const struct frame *f = &c->frames[k];
		bool to_i, to_r;

		if (wg_kind(f->b, f->len) != WG_KIND_DATA)
			continue;
		to_i = memcmp(f->b + 4, c->frames[s->initiation].b + 4, 4) == 0;
		to_r = memcmp(f->b + 4, c->frames[s->response].b + 4, 4) == 0;
		if (to_i)
			both_ways(i, r, session(r, &c->frames[s->response]), f);
		else if (to_r)
			both_ways(r, i, session(i, &c->frames[s->initiation]), f);
		else
			continue;
		inner[k] = to_i ? i->in[0] : r->in[0];
		n++;
	}
	world_free(i);
	world_free(r);
	return n;
}

START_TEST(ping_and_tcp)
{
	static const struct shake shakes[] = {
		{1, 2, STATIC_I, STATIC_R, "sLGLJSOQfyz7JNJ5ZDzFf3Uz1rkiCMMjbWerNYcPFFU=",
		 "QC4/FZKhFf0b/eXEcCecmZNt6V6PXmRa4EWG1PIYTU4=", NO_PSK, 356537872},
		{13, 14, STATIC_I, STATIC_R, "ULv83D+y3vA0t2mgmTmWz++lpVsrP7i4wNaUEK2oX0E=",
		 "sBv1dhsm63cbvWMv/XML+bvynBp9PTdY9Vvptu3HQlg=", NO_PSK, 490514356},
	};
	struct capture c;
	struct world_packet inner[FRAME_MAX + 1] = {0};

	if (!read_capture("wireguard-ping-tcp.pcap", &c))
		return;
	ck_assert_uint_eq(c.n, 22);
	ck_assert_uint_eq(replay(&shakes[0], &c, inner), 11);
	ck_assert_uint_eq(replay(&shakes[1], &c, inner), 7);
	ck_assert_uint_eq(inner[3].b[9], 1); /* ICMP: echo request, reply */
	ck_assert_uint_eq(inner[3].b[20], 8);
	ck_assert_uint_eq(inner[4].b[9], 1);
	ck_assert_uint_eq(inner[4].b[20], 0);
	ck_assert_uint_eq(inner[17].b[9], 6); /* TCP: to port 443 and back */
	ck_assert_uint_eq(inner[17].b[22] << 8 | inner[17].b[23], 443);
	ck_assert_uint_eq(inner[18].b[9], 6);
	ck_assert_uint_eq(inner[18].b[22] << 8 | inner[18].b[23], 49472);
}
END_TEST

/* The second of them begins from the other side. */
START_TEST(preshared)
{
	static const struct shake shakes[] = {
		{1, 2, STATIC_I, STATIC_R, "iCv2VTi/BC/q0egU931KXrrQ4TSwXaezMgrhh7uCbXs=",
		 "8G1N3LnEqYC7+NW/b6mqceVUIGBMAZSm+IpwG1U0j0w=",
		 "//////////////////////////////////////////8=", 0},
		{3, 4, STATIC_R, STATIC_I, "+MHo9sfkjPsjCx7lbVhRLDvMxYvTirOQFDSdzAW6kUQ=",
		 "0G6t5j1B/We65MXVEBIGuRGYadwB2ITdvJovtAuATmc=",
		 "iIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIg=", 0},
	};
	struct capture c;
	struct world_packet inner[FRAME_MAX + 1];

	if (!read_capture("wireguard-psk.pcap", &c))
		return;
	ck_assert_uint_eq(c.n, 4);
	for (unsigned i = 0; i < 2; i++)
		replay(&shakes[i], &c, inner);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("wg_captures", ping_and_tcp, preshared);
}

UNIT_MAIN(suite)
