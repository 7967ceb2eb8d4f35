/* lib/crypto: published vectors, and OpenSSL as a second opinion where we do it ourselves. */
#include "unit.h"
#include "wycheproof.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/core_names.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/crypto_priv.h"

/* RFC 7748 sections 5.2 and 6.1. */
START_TEST(x25519_known)
{
	struct key a = hexkey("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
	struct key b = hexkey("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
	struct key A = hexkey("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
	struct key want =
		hexkey("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
	struct key k, B;

	ck_assert_int_eq(crypto_init(), 0);
	crypto_x25519_public(&a, &k);
	ck_assert(key_eq(&k, &A));
	crypto_x25519_public(&b, &B);
	ck_assert_int_eq(crypto_x25519(&a, &B, &k), 0);
	ck_assert(key_eq(&k, &want));
	ck_assert_int_eq(crypto_x25519(&b, &A, &k), 0);
	ck_assert(key_eq(&k, &want));
	a = hexkey("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
	b = hexkey("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
	want = hexkey("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
	ck_assert_int_eq(crypto_x25519(&a, &b, &k), 0);
	ck_assert(key_eq(&k, &want));
	memset(&k, 0xFF, sizeof(k));
	crypto_x25519_clamp(&k);
	ck_assert_uint_eq(k.b[0], 0xF8);
	ck_assert_uint_eq(k.b[31], 0x7F);
	memset(&k, 0, sizeof(k));
	crypto_x25519_clamp(&k);
	ck_assert_uint_eq(k.b[31], 0x40);
}
END_TEST

/* The seven points of low order (and two that are not reduced): the result would be zero. */
START_TEST(x25519_low_order)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct key a = {{8, 1, 2, 3, [31] = 64}}, k = {{9}};

	ck_assert_int_eq(crypto_init(), 0);
	for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
		struct key p = hexkey(points[i]);

		ck_assert_int_eq(crypto_x25519(&a, &p, &k), -EINVAL);
		ck_assert_uint_eq(k.b[0], 9);
	}
}
END_TEST

/* RFC 7693 appendix B, then every length from 0 to 200 against OpenSSL, in uneven pieces. */
START_TEST(blake2s_known)
{
	uint8_t in[200], got[32], want[32], key[32];
	struct crypto_blake2s s;

	unhex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982", want);
	crypto_blake2s_hash("a", 1, "bc", 2, got);
	ck_assert_mem_eq(got, want, 32);
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (unsigned len = 0; len <= sizeof(in); len++) {
		ck_assert_int_eq(EVP_Digest(in, len, want, NULL, EVP_blake2s256(), NULL), 1);
		crypto_blake2s_init(&s, 32, NULL, 0);
		for (unsigned at = 0, n; at < len; at += n) {
			n = at % 67 + 1;
			n = n > len - at ? len - at : n;
			crypto_blake2s_update(&s, in + at, n);
		}
		crypto_blake2s_final(&s, got);
		ck_assert_mem_eq(got, want, 32);
	}
	/* blake2s-kat: keyed with 00…1f, empty input and one byte of 00. */
	unhex("48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49", want);
	crypto_blake2s_init(&s, 32, key, 32);
	crypto_blake2s_final(&s, got);
	ck_assert_mem_eq(got, want, 32);
	unhex("40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1", want);
	crypto_blake2s_init(&s, 32, key, 32);
	crypto_blake2s_update(&s, in, 1);
	crypto_blake2s_final(&s, got);
	ck_assert_mem_eq(got, want, 32);
}
END_TEST

static void evp_mac(const uint8_t *key, size_t key_len, const uint8_t *in, size_t len, size_t out,
		    uint8_t *ret)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	EVP_MAC_CTX *c = EVP_MAC_CTX_new(mac);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &out),
			       OSSL_PARAM_construct_end()};

	ck_assert_int_eq(EVP_MAC_init(c, key, key_len, params), 1);
	ck_assert_int_eq(EVP_MAC_update(c, in, len), 1);
	ck_assert_int_eq(EVP_MAC_final(c, ret, &out, out), 1);
	EVP_MAC_CTX_free(c);
	EVP_MAC_free(mac);
}

START_TEST(mac_hmac_kdf)
{
	uint8_t in[150], got[32], want[32], t[3][32], again[32];
	unsigned n;

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 3);
	for (unsigned len = 0; len <= 132; len += 4) {
		evp_mac(in, 16 + len % 17, in + 9, len, 16, want);
		crypto_mac(in, 16 + len % 17, in + 9, len, got);
		ck_assert_mem_eq(got, want, 16);
		for (size_t key_len = 0; key_len <= 70; key_len += 7) {
			HMAC(EVP_blake2s256(), in, (int)key_len, in + 1, len, want, &n);
			crypto_hmac(in, key_len, in + 1, len, got);
			ck_assert_mem_eq(got, want, 32);
		}
	}
	/* HKDF by its definition, on OpenSSL's HMAC. */
	HMAC(EVP_blake2s256(), in, 32, in + 40, 32, want, &n);
	uint8_t info[33] = {1};
	HMAC(EVP_blake2s256(), want, 32, info, 1, t[0], &n);
	memcpy(info, t[0], 32);
	info[32] = 2;
	HMAC(EVP_blake2s256(), want, 32, info, 33, t[1], &n);
	memcpy(info, t[1], 32);
	info[32] = 3;
	HMAC(EVP_blake2s256(), want, 32, info, 33, t[2], &n);
	uint8_t a[32], b[32], c[32];
	crypto_kdf(in, in + 40, 32, a, b, c);
	ck_assert_mem_eq(a, t[0], 32);
	ck_assert_mem_eq(b, t[1], 32);
	ck_assert_mem_eq(c, t[2], 32);
	memcpy(again, in, 32); /* the first output over the chain, only one wanted */
	crypto_kdf(again, in + 40, 32, again, NULL, NULL);
	ck_assert_mem_eq(again, t[0], 32);
}
END_TEST

/* RFC 8439 section 2.8.2 differs in its nonce; draft-irtf-cfrg-xchacha A.3.1 has the form that
 * cookies use. */
START_TEST(xchacha_known)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	uint8_t key[32], nonce[24], ad[12], want[200], got[200], back[200];
	size_t len = strlen(text);

	ck_assert_int_eq(crypto_init(), 0);
	unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
	unhex("404142434445464748494a4b4c4d4e4f5051525354555657", nonce);
	unhex("50515253c0c1c2c3c4c5c6c7", ad);
	size_t n = unhex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
			 "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
			 "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
			 "21f9664c97637da9768812f615c68b13b52e"
			 "c0875924c1c7987947deafd8780acf49",
			 want);
	ck_assert_uint_eq(n, len + 16);
	crypto_xseal(key, nonce, ad, sizeof(ad), text, len, got);
	ck_assert_mem_eq(got, want, n);
	ck_assert_int_eq(crypto_xopen(key, nonce, ad, sizeof(ad), got, n, back), 0);
	ck_assert_mem_eq(back, text, len);
	ad[0] ^= 1;
	ck_assert_int_eq(crypto_xopen(key, nonce, ad, sizeof(ad), got, n, back), -EBADMSG);
	ck_assert_int_eq(crypto_xopen(key, nonce, ad, sizeof(ad), got, 15, back), -EBADMSG);
	crypto_seal0(key, ad, sizeof(ad), text, len, got);
	ck_assert_int_eq(crypto_open0(key, ad, sizeof(ad), got, n, back), 0);
	ck_assert_mem_eq(back, text, len);
	got[n - 1] ^= 0x80;
	ck_assert_int_eq(crypto_open0(key, ad, sizeof(ad), got, n, back), -EBADMSG);
}
END_TEST

/* With OpenSSL, at counter 0 and with associated data, as handshakes have it: all small lengths. */
START_TEST(seal0_known)
{
	static const uint8_t nonce[12];
	uint8_t key[32], ad[70], text[150], want[150 + 16], got[150 + 16], back[150];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	ck_assert_int_eq(crypto_init(), 0);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + 1);
	memcpy(key, text + 20, sizeof(key));
	memcpy(ad, text + 60, sizeof(ad));
	for (int ad_len = 0; ad_len <= (int)sizeof(ad); ad_len += ad_len < 34 ? 1 : 9) {
		for (int len = 0; len <= (int)sizeof(text); len += len < 68 ? 1 : 13) {
			EVP_EncryptInit_ex(c, EVP_chacha20_poly1305(), NULL, key, nonce);
			EVP_EncryptUpdate(c, NULL, &n, ad, ad_len);
			EVP_EncryptUpdate(c, want, &n, text, len);
			EVP_EncryptFinal_ex(c, want + len, &n);
			EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, want + len);
			size_t a = (size_t)ad_len, t = (size_t)len;
			crypto_seal0(key, ad, a, text, t, got);
			ck_assert(memcmp(got, want, t + 16) == 0);
			ck_assert(crypto_open0(key, ad, a, want, t + 16, back) == 0);
			ck_assert(memcmp(back, text, t) == 0);
			want[(t + a) % (t + 16)] ^= 4;
			ck_assert(crypto_open0(key, ad, a, want, t + 16, back) == -EBADMSG);
			ck_assert(crypto_open0(key, ad, a ? a - 1 : 1, got, t + 16, back) ==
				  -EBADMSG);
		}
	}
	EVP_CIPHER_CTX_free(c);
}
END_TEST

START_TEST(compare_and_siphash)
{
	uint8_t key[16], in[15];
	uint64_t want;

	ck_assert(crypto_eq("abc", "abc", 3));
	ck_assert(!crypto_eq("abc", "abd", 3));
	for (uint8_t i = 0; i < 16; i++)
		key[i] = i;
	for (uint8_t i = 0; i < 15; i++)
		in[i] = i;
	unhex("e545be4961ca29a1", (uint8_t *)&want); /* the SipHash paper, appendix A */
	ck_assert(crypto_siphash(key, in, sizeof(in)) == want);
}
END_TEST

static void x25519_case(struct json_object *t)
{
	struct key pub = hexkey(wycheproof_text(t, "public")), k;
	struct key priv = hexkey(wycheproof_text(t, "private")),
		   want = hexkey(wycheproof_text(t, "shared"));
	int r = crypto_x25519(&priv, &pub, &k);

	ck_assert_int_eq(r, key_is_zero(&want) ? -EINVAL : 0);
	if (r == 0)
		ck_assert_msg(key_eq(&k, &want), "tcId %s", wycheproof_text(t, "tcId"));
}

static void xchacha_case(struct json_object *t)
{
	uint8_t iv[64], msg[2048], ct[2048], aad[2048], got[2048];
	bool valid = strcmp(wycheproof_text(t, "result"), "valid") == 0;

	if (strlen(wycheproof_text(t, "iv")) != 48)
		return;
	unhex(wycheproof_text(t, "iv"), iv);
	size_t len = unhex(wycheproof_text(t, "msg"), msg),
	       aad_len = unhex(wycheproof_text(t, "aad"), aad);
	unhex(wycheproof_text(t, "ct"), ct);
	unhex(wycheproof_text(t, "tag"), ct + len);
	struct key key = hexkey(wycheproof_text(t, "key"));
	int r = crypto_xopen(key.b, iv, aad, aad_len, ct, len + 16, got);
	ck_assert_int_eq(r, valid ? 0 : -EBADMSG);
	if (valid)
		ck_assert_mem_eq(got, msg, len);
}

static unsigned of_that_size;

/* Nonces of other sizes, with which all vectors are invalid, cannot be asked for. */
static void chacha_case(struct json_object *t)
{
	uint8_t iv[64], msg[2048], ct[2048], aad[2048], got[2048];
	bool valid = strcmp(wycheproof_text(t, "result"), "valid") == 0;
	struct key key = hexkey(wycheproof_text(t, "key"));

	if (unhex(wycheproof_text(t, "iv"), iv) != 12) {
		ck_assert(!valid);
		return;
	}
	of_that_size++;
	size_t len = unhex(wycheproof_text(t, "msg"), msg),
	       aad_len = unhex(wycheproof_text(t, "aad"), aad);
	unhex(wycheproof_text(t, "ct"), ct);
	ck_assert_uint_eq(unhex(wycheproof_text(t, "tag"), ct + len), 16);
	crypto_seal_nonce(key.b, iv, aad, aad_len, msg, len, got);
	ck_assert_msg((memcmp(got, ct, len + 16) == 0) == valid, "tcId %s",
		      wycheproof_text(t, "tcId"));
	int r = crypto_open_nonce(key.b, iv, aad, aad_len, ct, len + 16, got);
	ck_assert_msg(r == (valid ? 0 : -EBADMSG), "tcId %s", wycheproof_text(t, "tcId"));
	if (valid)
		ck_assert_mem_eq(got, msg, len);
}

START_TEST(wycheproof_vectors)
{
	ck_assert_int_eq(crypto_init(), 0);
	wycheproof_each("x25519_test.json", x25519_case);
	wycheproof_each("xchacha20_poly1305_test.json", xchacha_case);
	if (wycheproof_each("chacha20_poly1305_test.json", chacha_case) > 0)
		ck_assert_uint_eq(of_that_size, 316);
}
END_TEST

/* A sanitizer has its own way with frames: there the case is not one of the suite. */
#if UNIT_SHORTER(2) == 1
/* What the frames of calls that have returned have left; then it is gone. */
static uint8_t left[16384];
static __attribute__((noinline)) void look_below(void)
{
	volatile uint8_t here[sizeof(left)];

	for (size_t i = 0; i < sizeof(left); i++) {
		left[i] = here[i];
		here[i] = 0;
	}
}

static unsigned found(const uint8_t *secret, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i + len <= sizeof(left); i++)
		n += memcmp(left + i, secret, len) == 0;
	return n;
}

static __attribute__((noinline)) void leave(const uint8_t *secret, size_t len)
{
	uint8_t copy[64];

	memcpy(copy, secret, len);
	__asm__ volatile("" : : "r"(copy) : "memory"); /* or the copy is left out */
}

/* The inner hash of a KDF's last HMAC: with the key's second pad it gives the KDF's output. */
START_TEST(kdf_wipes_its_stack)
{
	uint8_t chain[32], in[32], pad[64] = {0}, one = 1, out[32];
	static uint8_t inner[32];

	memset(chain, 0x31, sizeof(chain));
	memset(in, 0x77, sizeof(in));
	crypto_hmac(chain, sizeof(chain), in, sizeof(in), pad);
	for (unsigned i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	crypto_blake2s_hash(pad, sizeof(pad), &one, 1, inner);
	leave(inner, sizeof(inner));
	look_below();
	ck_assert_uint_gt(found(inner, sizeof(inner)), 0);
	crypto_kdf(chain, in, sizeof(in), out, NULL, NULL);
	look_below();
	ck_assert_uint_eq(found(inner, sizeof(inner)), 0);
}
END_TEST
#define STACK_CASES kdf_wipes_its_stack,
#else
#define STACK_CASES
#endif

static Suite *suite(void)
{
	return UNIT_SUITE("crypto", x25519_known, x25519_low_order, blake2s_known, mac_hmac_kdf,
			  xchacha_known, seal0_known, STACK_CASES compare_and_siphash,
			  wycheproof_vectors);
}

UNIT_MAIN(suite)
