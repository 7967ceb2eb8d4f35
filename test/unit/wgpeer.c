#include "wgpeer.h"

#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void hash(uint8_t out[32], const void *a, size_t a_len, const void *b, size_t b_len)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	must(EVP_DigestInit(c, EVP_blake2s256()) && EVP_DigestUpdate(c, a, a_len) &&
	     EVP_DigestUpdate(c, b, b_len) && EVP_DigestFinal(c, out, NULL));
	EVP_MD_CTX_free(c);
}

static void mac16(const void *key, size_t key_len, const void *in, size_t len, uint8_t out[16])
{
	static EVP_MAC *mac;
	size_t n = 16;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &n),
			       OSSL_PARAM_construct_end()};

	if (!mac)
		mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	EVP_MAC_CTX *c = EVP_MAC_CTX_new(mac);
	must(EVP_MAC_init(c, key, key_len, params) && EVP_MAC_update(c, in, len) &&
	     EVP_MAC_final(c, out, &n, 16));
	EVP_MAC_CTX_free(c);
}

static void hmac(const uint8_t key[32], const void *in, size_t len, uint8_t out[32])
{
	must(HMAC(EVP_blake2s256(), key, 32, in, len, out, NULL));
}

static void kdf(const uint8_t chain[32], const void *in, size_t len, unsigned n, uint8_t out[][32])
{
	uint8_t prk[32], t[33];

	hmac(chain, in, len, prk);
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			memcpy(t, out[i - 1], 32);
		t[i > 0 ? 32 : 0] = (uint8_t)(i + 1);
		hmac(prk, t, i > 0 ? 33 : 1, out[i]);
	}
}

static void mix_hash(struct wgpeer *p, const void *in, size_t len)
{
	hash(p->hash, p->hash, 32, in, len);
}

static void mix_key1(struct wgpeer *p, const void *in, size_t len)
{
	uint8_t t[1][32];

	kdf(p->chain, in, len, 1, t);
	memcpy(p->chain, t[0], 32);
}

static void mix_key2(struct wgpeer *p, const void *in, size_t len, uint8_t key[32])
{
	uint8_t t[2][32];

	kdf(p->chain, in, len, 2, t);
	memcpy(p->chain, t[0], 32);
	memcpy(key, t[1], 32);
}

/* Both of X25519: with the base point for `pub` it is the public key. Unlike the engine it goes on
 * with a zero product, so that a test can offer one: where the other side's point is of low order,
 * or our own, of which there is no private key. */
static void dh(uint8_t out[32], const uint8_t priv[32], const uint8_t pub[32], bool zero)
{
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, priv, 32);
	EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, pub, 32);
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
	size_t n = 32;

	must(k && other && c && EVP_PKEY_derive_init(c) > 0 &&
	     EVP_PKEY_derive_set_peer(c, other) > 0);
	if (zero || EVP_PKEY_derive(c, out, &n) <= 0)
		memset(out, 0, 32);
	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(other);
	EVP_PKEY_free(k);
}

static void public_of(uint8_t out[32], const uint8_t priv[32])
{
	static const uint8_t base[32] = {9};

	dh(out, priv, base, false);
}

/* What is in a handshake and a cookie: 48 bytes at most, and `ad` is not empty. `out` of open may
 * be anything after a failure. */
static void seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad, int ad_len,
		 const void *in, int len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;

	must(EVP_EncryptInit(c, EVP_chacha20_poly1305(), key, nonce) &&
	     EVP_EncryptUpdate(c, NULL, &n, ad, ad_len) &&
	     (len == 0 || EVP_EncryptUpdate(c, out, &n, in, len)) &&
	     EVP_EncryptFinal(c, out + len, &last) &&
	     EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + len));
	EVP_CIPHER_CTX_free(c);
}

static bool open(const uint8_t key[32], const uint8_t nonce[12], const void *ad, int ad_len,
		 const void *in, int len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t tag[16], end[16];
	int n = 0;

	len -= 16;
	memcpy(tag, (const uint8_t *)in + len, 16);
	must(EVP_DecryptInit(c, EVP_chacha20_poly1305(), key, nonce) &&
	     EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, 16, tag) &&
	     EVP_DecryptUpdate(c, NULL, &n, ad, ad_len) &&
	     (len == 0 || EVP_DecryptUpdate(c, out, &n, in, len)));
	bool ok = EVP_DecryptFinal(c, end, &n) == 1;
	EVP_CIPHER_CTX_free(c);
	return ok;
}

static const uint8_t none[12];

/* XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) is ChaCha20-Poly1305 under another key and nonce.
 * The key is HChaCha20: of the 16 words that a block of ChaCha20 is, the first and last four before
 * the state that it began with was added; so that is taken off again. */
static void extend(const uint8_t key[32], const uint8_t nonce[24], uint8_t ret_key[32],
		   uint8_t ret_nonce[12])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t block[64] = {0}, begin[64] = "expand 32-byte k";
	int n;

	memcpy(begin + 48, nonce, 16);
	must(EVP_EncryptInit(c, EVP_chacha20(), key, nonce) &&
	     EVP_EncryptUpdate(c, block, &n, block, 64));
	EVP_CIPHER_CTX_free(c);
	for (unsigned i = 0; i < 16; i++) {
		uint32_t word, off;

		memcpy(&word, block + 4 * i, 4);
		memcpy(&off, begin + 4 * i, 4);
		word = htole32(le32toh(word) - le32toh(off));
		if (i < 4 || i >= 12)
			memcpy(ret_key + 4 * (i < 4 ? i : i - 8), &word, 4);
	}
	memset(ret_nonce, 0, 4);
	memcpy(ret_nonce + 4, nonce + 16, 8);
}

/* What is in a data message, by libsodium. */
static void data_nonce(uint64_t counter, uint8_t ret[12])
{
	memset(ret, 0, 4);
	for (unsigned i = 0; i < 8; i++)
		ret[4 + i] = (uint8_t)(counter >> 8 * i);
}

void wgpeer_init(struct wgpeer *p, uint8_t seed, const uint8_t remote[32])
{
	must(sodium_init() >= 0);
	memset(p, 0, sizeof(*p));
	memset(p->priv, seed, 32);
	public_of(p->pub, p->priv);
	if (remote)
		memcpy(p->remote, remote, 32);
}

static void ephemeral(struct wgpeer *p, uint8_t pub[32])
{
	randombytes_buf(p->eph, 32);
	public_of(pub, p->eph);
	if (p->point)
		memcpy(pub, p->point, 32);
}

static void start(struct wgpeer *p, const uint8_t responder[32])
{
	static const char name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char id[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

	hash(p->chain, name, strlen(name), NULL, 0);
	hash(p->hash, p->chain, 32, id, strlen(id));
	mix_hash(p, responder, 32);
}

void wgpeer_sign(struct wgpeer *p, uint8_t *message, size_t len)
{
	uint8_t key[32];

	hash(key, "mac1----", 8, p->remote, 32);
	mac16(key, 32, message, len - 32, message + len - 32);
	memcpy(p->mac1, message + len - 32, 16);
	memset(message + len - 16, 0, 16);
	if (p->has_cookie)
		mac16(p->cookie, 16, message, len - 16, message + len - 16);
}

/* With has_cookie the cookie is one that this peer gave out. */
bool wgpeer_macs_ok(const struct wgpeer *p, const uint8_t *message, size_t len)
{
	static const uint8_t zeros[16];
	uint8_t key[32], want[16];

	hash(key, "mac1----", 8, p->pub, 32);
	mac16(key, 32, message, len - 32, want);
	if (memcmp(want, message + len - 32, 16) != 0)
		return false;
	if (!p->has_cookie)
		return memcmp(zeros, message + len - 16, 16) == 0;
	mac16(p->cookie, 16, message, len - 16, want);
	return memcmp(want, message + len - 16, 16) == 0;
}

void wgpeer_initiation(struct wgpeer *p, uint64_t sec, uint32_t ns, uint8_t out[148])
{
	uint8_t product[32], key[32], pub[32];
	uint64_t tai = UINT64_C(0x400000000000000A) + sec;

	memset(out, 0, 148);
	out[0] = 1;
	randombytes_buf(&p->index, 4);
	memcpy(out + 4, &p->index, 4);
	start(p, p->remote);
	ephemeral(p, pub);
	memcpy(out + 8, pub, 32);
	mix_key1(p, pub, 32);
	mix_hash(p, pub, 32);
	dh(product, p->eph, p->remote, p->point);
	mix_key2(p, product, 32, key);
	seal(key, none, p->hash, 32, p->pub, 32, out + 40);
	mix_hash(p, out + 40, 48);
	dh(product, p->priv, p->remote, p->pub_is_point);
	mix_key2(p, product, 32, key);
	for (unsigned i = 0; i < 8; i++)
		p->stamp[i] = (uint8_t)(tai >> (56 - 8 * i));
	for (unsigned i = 0; i < 4; i++)
		p->stamp[8 + i] = (uint8_t)(ns >> (24 - 8 * i));
	seal(key, none, p->hash, 32, p->stamp, 12, out + 88);
	mix_hash(p, out + 88, 28);
	wgpeer_sign(p, out, 148);
}

static void session(struct wgpeer *p, bool initiator)
{
	uint8_t t[2][32];

	kdf(p->chain, NULL, 0, 2, t);
	memcpy(initiator ? p->send : p->recv, t[0], 32);
	memcpy(initiator ? p->recv : p->send, t[1], 32);
	p->counter = 0;
}

static void mix_psk(struct wgpeer *p, uint8_t key[32])
{
	uint8_t t[3][32];

	kdf(p->chain, p->psk, 32, 3, t);
	memcpy(p->chain, t[0], 32);
	mix_hash(p, t[1], 32);
	memcpy(key, t[2], 32);
}

bool wgpeer_take_response(struct wgpeer *p, const uint8_t in[92])
{
	struct wgpeer n = *p;
	uint8_t product[32], key[32], empty[16];

	if (memcmp(in, "\2\0\0\0", 4) != 0 || memcmp(in + 8, &p->index, 4) != 0)
		return false;
	memcpy(&n.remote_index, in + 4, 4);
	mix_key1(&n, in + 12, 32);
	mix_hash(&n, in + 12, 32);
	dh(product, n.eph, in + 12, false);
	mix_key1(&n, product, 32);
	dh(product, n.priv, in + 12, false);
	mix_key1(&n, product, 32);
	mix_psk(&n, key);
	if (!open(key, none, n.hash, 32, in + 44, 16, empty))
		return false;
	session(&n, true);
	*p = n;
	return true;
}

bool wgpeer_take_initiation(struct wgpeer *p, const uint8_t in[148])
{
	struct wgpeer n = *p;
	uint8_t product[32], key[32], pub[32];

	if (memcmp(in, "\1\0\0\0", 4) != 0)
		return false;
	memcpy(&n.remote_index, in + 4, 4);
	memcpy(n.remote_eph, in + 8, 32);
	start(&n, n.pub);
	mix_key1(&n, in + 8, 32);
	mix_hash(&n, in + 8, 32);
	dh(product, n.priv, in + 8, false);
	mix_key2(&n, product, 32, key);
	if (!open(key, none, n.hash, 32, in + 40, 48, pub) || memcmp(pub, n.remote, 32) != 0)
		return false;
	mix_hash(&n, in + 40, 48);
	dh(product, n.priv, n.remote, false);
	mix_key2(&n, product, 32, key);
	if (!open(key, none, n.hash, 32, in + 88, 28, n.stamp))
		return false;
	mix_hash(&n, in + 88, 28);
	*p = n;
	return true;
}

void wgpeer_response(struct wgpeer *p, uint8_t out[92])
{
	uint8_t product[32], key[32], pub[32];

	memset(out, 0, 92);
	out[0] = 2;
	randombytes_buf(&p->index, 4);
	memcpy(out + 4, &p->index, 4);
	memcpy(out + 8, &p->remote_index, 4);
	ephemeral(p, pub);
	memcpy(out + 12, pub, 32);
	mix_key1(p, pub, 32);
	mix_hash(p, pub, 32);
	dh(product, p->eph, p->remote_eph, p->point);
	mix_key1(p, product, 32);
	dh(product, p->eph, p->remote, p->point);
	mix_key1(p, product, 32);
	mix_psk(p, key);
	seal(key, none, p->hash, 32, NULL, 0, out + 44);
	mix_hash(p, out + 44, 16);
	session(p, false);
	wgpeer_sign(p, out, 92);
}

void wgpeer_cookie_reply(struct wgpeer *p, const uint8_t *message, size_t len,
			 const uint8_t cookie[16], uint8_t out[64])
{
	uint8_t key[32], extended[32], nonce[12];

	memset(out, 0, 64);
	out[0] = 3;
	memcpy(out + 4, message + 4, 4);
	randombytes_buf(out + 8, 24);
	hash(key, "cookie--", 8, p->pub, 32);
	extend(key, out + 8, extended, nonce);
	seal(extended, nonce, message + len - 32, 16, cookie, 16, out + 32);
}

bool wgpeer_take_cookie(struct wgpeer *p, const uint8_t in[64])
{
	uint8_t key[32], extended[32], nonce[12], cookie[16];

	hash(key, "cookie--", 8, p->remote, 32);
	extend(key, in + 8, extended, nonce);
	if (memcmp(in, "\3\0\0\0", 4) != 0 || memcmp(in + 4, &p->index, 4) != 0 ||
	    !open(extended, nonce, p->mac1, 16, in + 32, 32, cookie))
		return false;
	memcpy(p->cookie, cookie, 16);
	p->has_cookie = true;
	return true;
}

size_t wgpeer_data(struct wgpeer *p, uint64_t counter, const void *plain, size_t len, uint8_t *out)
{
	uint8_t nonce[12];

	memcpy(out, "\4\0\0\0", 4);
	memcpy(out + 4, &p->remote_index, 4);
	for (unsigned i = 0; i < 8; i++)
		out[8 + i] = (uint8_t)(counter >> 8 * i);
	data_nonce(counter, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out + 16, NULL, plain, len, NULL, 0, NULL, nonce,
						  p->send);
	return len + 32;
}

int wgpeer_open(const struct wgpeer *p, const uint8_t *in, size_t len, uint8_t *out,
		uint64_t *ret_counter)
{
	uint64_t counter = 0;
	uint8_t nonce[12];

	if (len < 32 || memcmp(in, "\4\0\0\0", 4) != 0 || memcmp(in + 4, &p->index, 4) != 0)
		return -1;
	for (unsigned i = 0; i < 8; i++)
		counter |= (uint64_t)in[8 + i] << 8 * i;
	data_nonce(counter, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in + 16, len - 16, NULL, 0,
						      nonce, p->recv) != 0)
		return -1;
	if (ret_counter)
		*ret_counter = counter;
	return (int)len - 32;
}
