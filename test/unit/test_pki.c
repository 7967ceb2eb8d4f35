/*
 * lib/pki: years go by in a loop, and whoever trusts the bundle trusts the server all the time.
 * Then sets that somebody has changed, policies that cannot be met, and failing allocations.
 */
#include "unit.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/str.h"
#include "pki/pki.h"

#define DAY   INT64_C(86400)
#define START (1800000000 * NS_PER_SEC) /* 2027 */

static const char *const names[] = {"injector.sys.svc", "127.0.0.1", "fd00::1"};
static const struct pki_policy policy = {.ca_name = "harmony-injector",
					 .names = names,
					 .n_names = 3,
					 .ca_secs = 365 * DAY,
					 .cert_secs = 30 * DAY};

static struct wall day(int64_t n)
{
	return (struct wall){START + n * DAY * NS_PER_SEC};
}

static struct pki_change advance(struct pki_set *s, struct wall now, bool settled)
{
	struct pki_change c = {0};
	struct err e = {0};

	ck_assert_msg(pki_advance(s, &policy, now, settled, &c, &e) == 0, "%s", e.msg);
	return c;
}

static X509 *read_cert(const struct buf *pem)
{
	BIO *in = BIO_new_mem_buf(buf_str(pem), (int)pem->len);
	X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);

	BIO_free(in);
	return x;
}

/* As a client does it, who has the bundle and calls the server by a name. */
static bool trusts(const struct buf *bundle, const struct buf *cert, struct wall now,
		   const char *host)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	BIO *in = BIO_new_mem_buf(buf_str(bundle), (int)bundle->len);
	X509 *x = read_cert(cert), *ca;
	bool ok;

	while ((ca = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		X509_STORE_add_cert(store, ca);
		X509_free(ca);
	}
	X509_STORE_CTX_init(ctx, store, x, NULL);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)(now.ns / NS_PER_SEC));
	X509_VERIFY_PARAM_set1_host(param, host, 0);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	ok = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(x);
	BIO_free(in);
	return ok;
}

static void copy(const struct buf *from, struct buf *to)
{
	buf_reset(to);
	buf_add(to, buf_str(from), from->len);
}

static int count(const struct buf *bundle)
{
	int n = 0;

	for (const char *at = buf_str(bundle); (at = strstr(at, "BEGIN CERTIFICATE")); at++)
		n++;
	return n;
}

START_TEST(first)
{
	_cleanup_pki_set_ struct pki_set s = PKI_SET_INIT;
	struct wall ca, cert;
	struct pki_change c = advance(&s, day(0), false);

	ck_assert(c.ca && c.cert && c.bundle);
	ck_assert_str_eq(c.why, "there is no CA");
	ck_assert_int_eq(count(&s.bundle), 1);
	ck_assert(trusts(&s.bundle, &s.cert, day(0), "injector.sys.svc"));
	ck_assert(!trusts(&s.bundle, &s.cert, day(0), "other.sys.svc"));
	pki_ends(&s, &ca, &cert);
	ck_assert_int_eq(ca.ns, day(365).ns);
	ck_assert_int_eq(cert.ns, day(30).ns);
	X509 *x = read_cert(&s.cert);
	ck_assert_int_eq(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
	ck_assert_int_eq(X509_check_ip_asc(x, "fd00::1", 0), 1);
	ck_assert_int_eq(X509_check_ca(x), 0);
	X509_free(x);
	/* And nothing more is due. */
	c = advance(&s, day(0), true);
	ck_assert(!c.ca && !c.cert && !c.bundle);
}
END_TEST

/* Looked at every five days: a client reads the bundle one look late, a server shows its
 * certificate one look late. */
START_TEST(years)
{
	_cleanup_pki_set_ struct pki_set s = PKI_SET_INIT;
	_cleanup_buf_ struct buf read = BUF_INIT(0);
	struct buf shown[2];
	int cas = 0, certs = 0;

	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		shown[i] = BUF_INIT(0);
	for (int64_t d = 0; d < 600; d += 5) {
		bool settled = read.len && str_eq(buf_str(&read), buf_str(&s.bundle));
		struct pki_change c = advance(&s, day(d), settled);

		cas += c.ca;
		certs += c.cert;
		for (size_t i = ARRAY_LEN(shown) - 1; i > 0; i--)
			copy(d ? &shown[i - 1] : &s.cert, &shown[i]);
		copy(&s.cert, &shown[0]);
		if (d == 0)
			copy(&s.bundle, &read);
		for (size_t i = 0; i < ARRAY_LEN(shown); i += ARRAY_LEN(shown) - 1)
			ck_assert_msg(trusts(&read, &shown[i], day(d), names[0]),
				      "day %d, shown %zu looks late", (int)d, i);
		copy(&s.bundle, &read);
		ck_assert_int_le(count(&s.bundle), 2);
	}
	/* Every 243 and every 20 days. */
	ck_assert_int_eq(cas, 3);
	ck_assert_int_ge(certs, 600 / 25);
	ck_assert_int_le(certs, 600 / 20 + 3);
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		buf_free(&shown[i]);
}
END_TEST

/* The new CA stands in the bundle and signs nothing, until the clients have it. */
START_TEST(new_ca_waits)
{
	_cleanup_pki_set_ struct pki_set s = PKI_SET_INIT;
	_cleanup_buf_ struct buf before = BUF_INIT(0);
	struct pki_change c;

	advance(&s, day(0), false);
	c = advance(&s, day(240), true);
	ck_assert(!c.ca && c.cert);
	ck_assert_str_eq(c.why, "the certificate has expired");
	copy(&s.cert, &before);
	c = advance(&s, day(250), true);
	ck_assert(c.ca && c.bundle && !c.cert);
	ck_assert_int_eq(count(&s.bundle), 2);
	for (int64_t d = 250; d < 270; d++) {
		c = advance(&s, day(d), false);
		ck_assert(!c.ca && !c.cert && !c.bundle);
	}
	ck_assert_str_eq(buf_str(&s.cert), buf_str(&before));
	/* It would be of no use: then there is nothing to wait for. */
	_cleanup_pki_set_ struct pki_set late = PKI_SET_INIT;
	copy(&s.bundle, &late.bundle);
	copy(&s.ca_key, &late.ca_key);
	copy(&s.cert, &late.cert);
	copy(&s.key, &late.key);
	c = advance(&late, day(271), false);
	ck_assert(c.cert);
	c = advance(&s, day(251), true);
	ck_assert(c.cert && !c.bundle);
	ck_assert_str_eq(c.why, "the new CA is known");
	ck_assert(trusts(&s.bundle, &before, day(251), names[0]));
	ck_assert(trusts(&s.bundle, &s.cert, day(251), names[0]));
	/* The old one goes when it has ended. */
	c = advance(&s, day(364), true);
	ck_assert_int_eq(count(&s.bundle), 2);
	c = advance(&s, day(366), true);
	ck_assert(c.bundle && !c.ca);
	ck_assert_int_eq(count(&s.bundle), 1);
}
END_TEST

START_TEST(changed_by_others)
{
	_cleanup_pki_set_ struct pki_set s = PKI_SET_INIT, other = PKI_SET_INIT;
	struct pki_change c;

	advance(&s, day(0), false);
	advance(&other, day(0), false);
	/* The certificate's key. */
	copy(&other.key, &s.key);
	c = advance(&s, day(1), false);
	ck_assert(c.cert && !c.ca);
	/* A certificate of a CA that is not in the bundle. */
	copy(&other.cert, &s.cert);
	copy(&other.key, &s.key);
	c = advance(&s, day(1), false);
	ck_assert(c.cert && !c.ca);
	/* The CA's key: that CA is kept for what it has signed. */
	copy(&other.ca_key, &s.ca_key);
	c = advance(&s, day(1), false);
	ck_assert(c.ca && !c.cert);
	ck_assert_str_eq(c.why, "the key of the CA is missing");
	ck_assert_int_eq(count(&s.bundle), 2);
	ck_assert(trusts(&s.bundle, &s.cert, day(1), names[0]));
	/* Nonsense. */
	buf_reset(&s.bundle);
	buf_adds(&s.bundle, "nonsense");
	c = advance(&s, day(1), false);
	ck_assert(c.ca && c.cert);
	ck_assert(trusts(&s.bundle, &s.cert, day(1), names[0]));
	buf_reset(&s.key);
	buf_adds(&s.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	c = advance(&s, day(1), false);
	ck_assert(c.cert && !c.ca);
	/* Another name. */
	static const char *const more[] = {"injector.sys.svc", "injector.sys.svc.cluster.local"};
	struct pki_policy p = policy;
	p.names = more;
	p.n_names = 2;
	ck_assert_int_eq(pki_advance(&s, &p, day(1), false, &c, NULL), 0);
	ck_assert(c.cert && !c.ca);
	ck_assert(trusts(&s.bundle, &s.cert, day(1), more[1]));
}
END_TEST

START_TEST(bad_policy)
{
	_cleanup_pki_set_ struct pki_set s = PKI_SET_INIT;
	static const char *const bad[] = {"a b"};
	struct pki_policy p = policy;
	struct pki_change c;
	struct err e = {0};

	p.names = bad;
	p.n_names = 1;
	ck_assert_int_eq(pki_advance(&s, &p, day(0), false, &c, &e), -EINVAL);
	ck_assert_str_eq(e.msg, "found the name \"a b\", accepted: a DNS name or an IP address");
	ck_assert_uint_eq(s.bundle.len, 0);
}
END_TEST

START_TEST(is_name)
{
	static const char *const good[] = {"a", "a.b-c.svc", "1.2.3.4", "::1", "x--y"};
	static const char *const bad[] = {"",    ".",   "a.",    ".a",   "a..b", "-a",   "A.b",
					  "a b", "a,b", "*.svc", "a\nb", "a:b",  "DNS:a"};
	char label[80];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(pki_is_name(good[i]), "%s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!pki_is_name(bad[i]), "%s", bad[i]);
	memset(label, 'a', 64);
	label[64] = '\0';
	ck_assert(!pki_is_name(label));
	ck_assert(pki_is_name(label + 1));
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("pki", first, years, new_ca_waits, changed_by_others, bad_policy,
			  is_name);
}

UNIT_MAIN(suite)
