/*
 * lib/wg: secrets are wiped. Each one that the engine has is looked for, once it should be gone, in
 * every block that has been given back to malloc and in the slots of base/secret.h, whose block a
 * slot of the test's own keeps mapped.
 */
#include "fault.h"
#include "unit.h"
#include "wgworld.h"

#include <stdint.h>
#include <string.h>

#define A     "192.0.2.1:1000"
#define SEC   NS_PER_SEC
#define BLOCK 65536 /* of slots; secret.c rounds an address down to it */

static struct world *w;
static struct wgpeer p;
static struct wg_peer *peer;
static struct key *mine;

enum secret {
	PRIVATE, /* of the device */
	COOKIE_SECRET,
	TABLE_KEY,
	PRESHARED, /* of the peer */
	STATIC_STATIC,
	COOKIE,
	EPHEMERAL, /* of a handshake that waits */
	CHAIN,
	HASH,
	SEND, /* of the session that is used */
	RECEIVE,
	NEXT_SEND, /* of one that is not confirmed */
	NEXT_RECEIVE,
	SECRETS,
};

struct found {
	const void *at;
	size_t len;
	bool slot;
};

static struct found find(enum secret s)
{
	const struct wg_keypair *current = atomic_load(&peer->current),
				*next = atomic_load(&peer->next);

	switch (s) {
	case PRIVATE: return (struct found){w->d->private_key, KEY_LEN, true};
	case COOKIE_SECRET: return (struct found){w->d->checker.secret, KEY_LEN, true};
	case TABLE_KEY: return (struct found){w->d->table_key, 16, false};
	case PRESHARED: return (struct found){peer->preshared, KEY_LEN, true};
	case STATIC_STATIC: return (struct found){peer->static_static, KEY_LEN, true};
	case COOKIE: return (struct found){peer->cookie.cookie, 16, false};
	case EPHEMERAL: return (struct found){peer->handshake.ephemeral, KEY_LEN, true};
	case CHAIN: return (struct found){peer->handshake.chain, KEY_LEN, true};
	case HASH: return (struct found){peer->handshake.hash, CRYPTO_HASH, false};
	case SEND: return (struct found){current->send, KEY_LEN, true};
	case RECEIVE: return (struct found){current->recv, KEY_LEN, true};
	case NEXT_SEND: return (struct found){next->send, KEY_LEN, true};
	default: return (struct found){next->recv, KEY_LEN, true};
	}
}

static bool in_slots(const void *secret, size_t len)
{
	const void *block = (const void *)((uintptr_t)mine & ~(uintptr_t)(BLOCK - 1));

	return memmem(block, BLOCK, secret, len);
}

static void data_in(void)
{
	uint8_t inner[100], m[200];
	size_t n = world_ip(inner, "10.0.0.2", "10.0.0.1", 40);

	world_receive(w, m, wgpeer_data(&p, p.counter++, inner, n, m), A);
	ck_assert_int_eq(w->verdict, WG_RX_DATA);
}

/* A peer with a session that has moved data both ways, the next one not yet confirmed, a cookie of
 * its, and a handshake of ours under way. */
static void set_up(const struct crypto_aead_ops *aead)
{
	static const uint8_t cookie[16] = "a cookie as such";
	uint8_t packet[100], m[64];
	struct key priv;
	size_t len = world_ip(packet, "10.0.0.1", "10.0.0.2", 40);

	for (unsigned i = 0; i < KEY_LEN; i++)
		priv.b[i] = (uint8_t)(i * 29 + 11);
	crypto_x25519_clamp(&priv);
	w = world_new_key(&priv, 5);
	w->d->aead = aead;
	wgpeer_init(&p, 2, w->pub.b);
	for (unsigned i = 0; i < KEY_LEN; i++)
		p.psk[i] = (uint8_t)(i * 31 + 5);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32");
	world_psk_key(w, p.pub, (const struct key *)p.psk);
	peer = world_find(w, p.pub);
	world_answer(w, &p, A);
	data_in();
	ck_assert_int_eq(world_send(w, packet, len), 0);
	world_advance(w, SEC);
	world_answer(w, &p, A);
	wgpeer_cookie_reply(&p, w->out[w->n_out - 1].b, 92, cookie, m);
	world_receive(w, m, sizeof(m), A);
	ck_assert_int_eq(w->outcome, WG_HS_COOKIE);
	wg_handshake_begin(peer, w->now);
	ck_assert(peer->handshake.waiting);
}

static void by_free(void)
{
	wg_free(w->d);
	w->d = NULL;
}

static void by_removal(void)
{
	world_peer(w, p.pub, "remove");
	world_pump(w);
	ck_assert_ptr_null(w->d->retired);
}

static void by_time(void)
{
	w->refuse = true;
	world_advance(w, WG_ZERO_KEYS_AFTER + SEC);
}

static void by_going_down(void)
{
	wg_set_up(w->d, false, w->now);
	world_pump(w);
}

static void by_another_key(void)
{
	struct key priv = {{64, 9}};
	struct wgdev_change c = {.set_private_key = true, .private_key = &priv};

	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
}

static void by_no_key(void)
{
	struct wgdev_change c = {.set_private_key = true};

	ck_assert_int_eq(wg_apply(w->d, &c, w->now), 0);
}

static void by_another_preshared(void)
{
	world_psk(w, p.pub, 77);
}

/* The handshake under way completes, and its session follows two others. */
static void by_renewal(void)
{
	uint8_t r[92];

	ck_assert(wgpeer_take_initiation(&p, w->out[w->n_out - 1].b));
	wgpeer_response(&p, r);
	world_receive(w, r, sizeof(r), A);
	ck_assert_int_eq(w->outcome, WG_HS_RESPONSE);
	world_advance(w, WG_REJECT_AFTER);
	for (unsigned i = 0; i < 2; i++) {
		world_advance(w, SEC);
		world_answer(w, &p, A);
		data_in();
	}
}

/* Data asks no more, and nobody answers. */
static void by_giving_up(void)
{
	w->refuse = true;
	world_advance(w, WG_REKEY_ATTEMPT + 10 * SEC);
}

/* A cookie has been used long enough; what comes next has none. */
static void by_next_message(void)
{
	world_advance(w, WG_COOKIE_LIFE + SEC);
	peer->sent_any = false;
	wg_handshake_begin(peer, w->now);
}

#define BIT(x)    (UINT32_C(1) << (x))
#define SESSIONS  (BIT(SEND) | BIT(RECEIVE) | BIT(NEXT_SEND) | BIT(NEXT_RECEIVE))
#define HANDSHAKE (BIT(EPHEMERAL) | BIT(CHAIN) | BIT(HASH))
#define OF_PEER   (BIT(PRESHARED) | BIT(STATIC_STATIC) | BIT(COOKIE) | SESSIONS | HANDSHAKE)

static const struct {
	void (*how)(void);
	uint32_t gone;
} ends[] = {
	{by_free, BIT(SECRETS) - 1},
	{by_removal, OF_PEER},
	{by_time, SESSIONS | HANDSHAKE},
	{by_going_down, SESSIONS | HANDSHAKE},
	{by_another_key, BIT(PRIVATE) | BIT(STATIC_STATIC) | HANDSHAKE},
	{by_no_key, BIT(PRIVATE) | BIT(STATIC_STATIC) | HANDSHAKE},
	{by_another_preshared, BIT(PRESHARED)},
	{by_renewal, SESSIONS | HANDSHAKE},
	{by_giving_up, HANDSHAKE},
	{by_next_message, BIT(COOKIE)},
};

static void look_for(unsigned end, enum secret s, const struct crypto_aead_ops *aead)
{
	uint8_t secret[KEY_LEN];

	set_up(aead);
	struct found f = find(s);
	const uint8_t *at = f.at;
	memcpy(secret, at, f.len);
	ck_assert(f.slot == in_slots(secret, f.len)); /* it is seen while it is there */
	ck_assert(f.slot || w->d);
	fault_scan(secret, f.len);
	ends[end].how();
	ck_assert_msg(fault_scanned() == 0, "secret %d is in what was freed (end %u, %s)", s, end,
		      aead->name);
	fault_scan(NULL, 0);
	ck_assert_msg(!in_slots(secret, f.len), "secret %d is in a slot (end %u, %s)", s, end,
		      aead->name);
	/* What is neither in a slot nor freed. */
	ck_assert_msg(f.slot || !w->d || end == 1 || memcmp(at, secret, f.len) != 0,
		      "secret %d is where it was (end %u, %s)", s, end, aead->name);
	if (w->d)
		wg_free(w->d);
	free(w);
}

START_TEST(wiped)
{
	ck_assert_int_eq(crypto_init(), 0);
	mine = secret_new();
	for (unsigned i = 0; crypto_aead_all[i]; i++) {
		if (crypto_aead_all[i]->available && !crypto_aead_all[i]->available())
			continue;
		for (unsigned end = 0; end < ARRAY_LEN(ends); end++)
			for (unsigned s = 0; s < SECRETS; s++)
				if (ends[end].gone >> s & 1)
					look_for(end, (enum secret)s, crypto_aead_all[i]);
	}
	secret_free(mine);
}
END_TEST

/* What is looked at would be found: a slot that is not wiped, and a block. */
START_TEST(seen)
{
	uint8_t secret[KEY_LEN], *block = malloc(200);
	struct key *k;

	memset(secret, 0x3C, sizeof(secret));
	mine = secret_new();
	k = secret_copy((const struct key *)secret);
	ck_assert(in_slots(secret, sizeof(secret)));
	secret_free(k);
	ck_assert(!in_slots(secret, sizeof(secret)));
	memcpy(block + 77, secret, sizeof(secret));
	fault_scan(secret, sizeof(secret));
	__asm__ volatile("" : : "r"(block) : "memory"); /* or the copy is left out */
	free(block);
	ck_assert_uint_eq(fault_scanned(), 1);
	fault_scan(NULL, 0);
	secret_free(mine);
}
END_TEST

/* A sanitizer has its own way with frames: there the case is not one of the suite. */
#if UNIT_SHORTER(2) == 1
/* What the frames of calls that have returned have left; then it is gone. */
static uint8_t left[32768];
static __attribute__((noinline)) void look_below(void)
{
	volatile uint8_t here[sizeof(left)];

	for (size_t i = 0; i < sizeof(left); i++) {
		left[i] = here[i];
		here[i] = 0;
	}
}

static bool was_left(const uint8_t secret[static KEY_LEN])
{
	return memmem(left, sizeof(left), secret, KEY_LEN);
}

static __attribute__((noinline)) void leave(const uint8_t secret[static KEY_LEN])
{
	uint8_t copy[KEY_LEN];

	memcpy(copy, secret, KEY_LEN);
	__asm__ volatile("" : : "r"(copy) : "memory"); /* or the copy is left out */
}

static uint8_t message[148];
static struct wg_endpoint from;

static __attribute__((noinline)) enum wg_outcome handshake(size_t len)
{
	return wg_receive_handshake(w->d, message, len, &from, false, w->now);
}

/* Products of a handshake and the chain that its keys come from, which both sides compute. The
 * peer's frames are cleared before the engine's turn, and what it needs later is kept elsewhere. */
START_TEST(stack)
{
	static uint8_t product[KEY_LEN], second[KEY_LEN];

	ck_assert_int_eq(crypto_init(), 0);
	w = world_new(1);
	wgpeer_init(&p, 2, w->pub.b);
	world_peer(w, p.pub, "endpoint " A " allow 10.0.0.2/32");
	peer = world_find(w, p.pub);
	from = world_endpoint(A);
	/* As the responder. */
	wgpeer_initiation(&p, 1800000000, 0, message);
	ck_assert_int_eq(crypto_x25519((const struct key *)p.eph, &w->pub, (struct key *)product),
			 0);
	leave(product);
	look_below();
	ck_assert(was_left(product)); /* it is seen */
	ck_assert_int_eq(handshake(148), WG_HS_INITIATION);
	look_below();
	ck_assert(!was_left(product));
	ck_assert(wgpeer_take_response(&p, w->out[0].b));
	ck_assert_int_eq(crypto_x25519((const struct key *)p.eph,
				       (const struct key *)(w->out[0].b + 12),
				       (struct key *)second),
			 0);
	ck_assert(!was_left(second));
	ck_assert(!was_left(p.chain));
	ck_assert(!was_left(p.send) && !was_left(p.recv));
	/* As the initiator. */
	look_below();
	wg_handshake_begin(peer, w->now);
	look_below();
	ck_assert(!was_left(peer->handshake.ephemeral->b));
	ck_assert(!was_left(peer->handshake.chain->b));
	ck_assert(!was_left(peer->static_static->b));
	ck_assert_int_eq(
		crypto_x25519(peer->handshake.ephemeral, &peer->public_key, (struct key *)product),
		0);
	ck_assert(!was_left(product));
	ck_assert(wgpeer_take_initiation(&p, w->out[1].b));
	wgpeer_response(&p, message);
	look_below();
	ck_assert_int_eq(handshake(92), WG_HS_RESPONSE);
	look_below();
	ck_assert_int_eq(crypto_x25519((const struct key *)p.eph, &w->pub, (struct key *)product),
			 0);
	ck_assert(!was_left(product));
	ck_assert(!was_left(p.chain));
	ck_assert(!was_left(p.send) && !was_left(p.recv));
	world_free(w);
}
END_TEST
#define STACK_CASES , stack
#else
#define STACK_CASES
#endif

static Suite *suite(void)
{
	return UNIT_SUITE("wg_secrets", seen, wiped STACK_CASES);
}

UNIT_MAIN(suite)
