/*
 * Theory of operation. Nothing is remembered between calls: what the set holds is read, and
 * compared with what the policy wants of it at that time.
 *
 *     bundle:  newest CA ─── usable? its key belongs to it, more than a third of its time is left
 *              older CAs ─── valid? else dropped
 *     cert:    usable? valid, its key belongs to it, of a CA in the bundle, for all the names
 *              due?    less than a third of its time is left, or not of the newest CA
 *
 * A new certificate is made where it is not usable; and where it is due, once the clients are known
 * to trust the newest CA, the only one whose key there is. Its time ends no later than the CA's.
 */
#include "pki/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "base/ip.h"
#include "base/str.h"

#define CAS_MAX       8   /* in a bundle; more are dropped, the oldest first */
#define BACKDATE_SECS 300 /* clocks of clients differ */
#define SERIAL_BYTES  16

MEM_CLEANUP(X509, X509_free);
MEM_CLEANUP(EVP_PKEY, EVP_PKEY_free);
MEM_CLEANUP(BIO, BIO_free_all);
#define _cleanup_x509_ _cleanup_(X509_free_p)
#define _cleanup_pkey_ _cleanup_(EVP_PKEY_free_p)
#define _cleanup_bio_  _cleanup_(BIO_free_all_p)

/* A set as objects. */
struct objects {
	X509 *cas[CAS_MAX];
	size_t n_cas;
	EVP_PKEY *ca_key, *key;
	X509 *cert;
};

static void objects_clear(struct objects *o)
{
	for (size_t i = 0; i < o->n_cas; i++)
		X509_free(o->cas[i]);
	EVP_PKEY_free(o->ca_key);
	EVP_PKEY_free(o->key);
	X509_free(o->cert);
}

void pki_set_clear(struct pki_set *s)
{
	buf_free(&s->bundle);
	buf_wipe(&s->ca_key);
	buf_free(&s->cert);
	buf_wipe(&s->key);
}

/* What OpenSSL has to say, and nothing left in its queue. */
static int fail(struct err *e, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return err_set(e, -EIO, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

/* --- reading --- */

static EVP_PKEY *read_key(const struct buf *pem)
{
	_cleanup_bio_ BIO *in = pem->len ? BIO_new_mem_buf(pem->data, (int)pem->len) : NULL;

	return in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
}

/* As much of it as can be read. */
static void read_set(const struct pki_set *s, struct objects *ret)
{
	_cleanup_bio_ BIO *bundle = BIO_new_mem_buf(buf_str(&s->bundle), (int)s->bundle.len);
	_cleanup_bio_ BIO *cert = BIO_new_mem_buf(buf_str(&s->cert), (int)s->cert.len);

	*ret = (struct objects){0};
	while (bundle && ret->n_cas < CAS_MAX &&
	       (ret->cas[ret->n_cas] = PEM_read_bio_X509(bundle, NULL, NULL, NULL)))
		ret->n_cas++;
	if (cert)
		ret->cert = PEM_read_bio_X509(cert, NULL, NULL, NULL);
	ret->ca_key = read_key(&s->ca_key);
	ret->key = read_key(&s->key);
	ERR_clear_error();
}

static int64_t to_secs(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : 0;
}

static int64_t ends(const X509 *x)
{
	return x ? to_secs(X509_get0_notAfter(x)) : 0;
}

static bool is_valid(const X509 *x, int64_t now)
{
	return x && to_secs(X509_get0_notBefore(x)) <= now && now < ends(x);
}

static bool belongs(const X509 *x, EVP_PKEY *key)
{
	return x && key && X509_check_private_key((X509 *)x, key) == 1;
}

static bool signed_by(X509 *cert, X509 *ca)
{
	return X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(ca)) == 0 &&
	       X509_verify(cert, X509_get0_pubkey(ca)) == 1;
}

static bool is_for(X509 *cert, const char *name)
{
	struct ip_addr addr;

	if (ip_addr_parse(name, strlen(name), &addr) == 0)
		return X509_check_ip(cert, addr.b, ip_bytes(addr.family), 0) == 1;
	return X509_check_host(cert, name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

static bool is_usable(const struct objects *o, const struct pki_policy *p, int64_t now)
{
	bool known = false;

	if (!is_valid(o->cert, now) || !belongs(o->cert, o->key))
		return false;
	for (size_t i = 0; i < o->n_cas; i++)
		known = known || signed_by(o->cert, o->cas[i]);
	for (size_t i = 0; i < p->n_names; i++)
		known = known && is_for(o->cert, p->names[i]);
	ERR_clear_error();
	return known;
}

/* --- making --- */

static int set_serial(X509 *x)
{
	unsigned char bytes[SERIAL_BYTES];
	BIGNUM *n;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -1;
	bytes[0] = (bytes[0] & 0x7F) | 0x40; /* positive, and of full length */
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
	BN_free(n);
	return ok ? 0 : -1;
}

static int add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	return ok ? 0 : -1;
}

static int set_subject(X509 *x, const char *name)
{
	char cn[64 + 1]; /* ub-common-name, RFC 5280, appendix A */

	snprintf(cn, sizeof(cn), "%s", name);
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
					  (const unsigned char *)cn, -1, -1, 0)
		       ? 0
		       : -1;
}

/* All that both have, but for the signature. */
static X509 *new_cert(EVP_PKEY *key, const char *subject, int64_t now, int64_t not_after)
{
	_cleanup_x509_ X509 *x = X509_new();

	if (!x || !X509_set_version(x, X509_VERSION_3) || set_serial(x) < 0 ||
	    !ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now - BACKDATE_SECS)) ||
	    !ASN1_TIME_set(X509_getm_notAfter(x), (time_t)not_after) || !X509_set_pubkey(x, key) ||
	    set_subject(x, subject) < 0)
		return NULL;
	return mem_steal(&x);
}

static int make_ca(struct objects *o, const struct pki_policy *p, int64_t now, struct err *e)
{
	_cleanup_pkey_ EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_x509_ X509 *x = NULL;
	unsigned char tag[4];
	char name[64];

	/* Each has a name of its own, so that a client never takes one for another. */
	if (!key || RAND_bytes(tag, sizeof(tag)) != 1)
		return fail(e, "a key for the CA cannot be made");
	snprintf(name, sizeof(name), "%.48s %02x%02x%02x%02x", p->ca_name, tag[0], tag[1], tag[2],
		 tag[3]);
	x = new_cert(key, name, now, now + p->ca_secs);
	if (!x || !X509_set_issuer_name(x, X509_get_subject_name(x)) ||
	    add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") < 0 ||
	    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") < 0 ||
	    add_extension(x, x, NID_subject_key_identifier, "hash") < 0 ||
	    X509_sign(x, key, EVP_sha256()) <= 0)
		return fail(e, "a CA cannot be made");
	if (o->n_cas == CAS_MAX)
		X509_free(o->cas[--o->n_cas]);
	memmove(o->cas + 1, o->cas, o->n_cas * sizeof(*o->cas));
	o->cas[0] = mem_steal(&x);
	o->n_cas++;
	EVP_PKEY_free(o->ca_key);
	o->ca_key = mem_steal(&key);
	return 0;
}

static int add_names(X509 *x, X509 *ca, const struct pki_policy *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct ip_addr addr;

	for (size_t i = 0; i < p->n_names; i++) {
		const char *name = p->names[i];
		bool ip = ip_addr_parse(name, strlen(name), &addr) == 0;

		buf_addf(&b, "%s%s:%s", i ? "," : "", ip ? "IP" : "DNS", name);
	}
	return buf_error(&b) ? -1 : add_extension(x, ca, NID_subject_alt_name, buf_str(&b));
}

static int make_cert(struct objects *o, const struct pki_policy *p, int64_t now, struct err *e)
{
	_cleanup_pkey_ EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_x509_ X509 *x = NULL;
	X509 *ca = o->cas[0];
	int64_t not_after = now + p->cert_secs;

	if (!key)
		return fail(e, "a key for the certificate cannot be made");
	if (not_after > ends(ca))
		not_after = ends(ca);
	x = new_cert(key, p->names[0], now, not_after);
	if (!x || !X509_set_issuer_name(x, X509_get_subject_name(ca)) ||
	    add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
	    add_extension(x, ca, NID_key_usage, "critical,digitalSignature") < 0 ||
	    add_extension(x, ca, NID_ext_key_usage, "serverAuth") < 0 ||
	    add_extension(x, ca, NID_authority_key_identifier, "keyid") < 0 ||
	    add_names(x, ca, p) < 0 || X509_sign(x, o->ca_key, EVP_sha256()) <= 0)
		return fail(e, "a certificate cannot be made");
	X509_free(o->cert);
	EVP_PKEY_free(o->key);
	o->cert = mem_steal(&x);
	o->key = mem_steal(&key);
	return 0;
}

/* --- writing --- */

static int take_text(BIO *out, struct buf *b)
{
	char *text;
	long len = BIO_get_mem_data(out, &text);

	if (len <= 0 || buf_reserve(b, (size_t)len) < 0)
		return -ENOMEM;
	buf_add(b, text, (size_t)len);
	OPENSSL_cleanse(text, (size_t)len);
	return buf_error(b);
}

static int write_key(EVP_PKEY *key, struct buf *b)
{
	_cleanup_bio_ BIO *out = BIO_new(BIO_s_secmem());

	return out && PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL)
		       ? take_text(out, b)
		       : -ENOMEM;
}

static int write_certs(X509 *const *list, size_t n, struct buf *b)
{
	_cleanup_bio_ BIO *out = BIO_new(BIO_s_mem());

	for (size_t i = 0; out && i < n; i++)
		if (!PEM_write_bio_X509(out, list[i]))
			return -ENOMEM;
	return out ? take_text(out, b) : -ENOMEM;
}

static int write_set(const struct objects *o, struct pki_set *s, struct err *e)
{
	struct pki_set new = PKI_SET_INIT;

	if (write_certs(o->cas, o->n_cas, &new.bundle) < 0 ||
	    write_key(o->ca_key, &new.ca_key) < 0 || write_certs(&o->cert, 1, &new.cert) < 0 ||
	    write_key(o->key, &new.key) < 0) {
		pki_set_clear(&new);
		ERR_clear_error();
		return err_set(e, -ENOMEM, "out of memory");
	}
	pki_set_clear(s);
	*s = new;
	return 0;
}

/* --- what is due --- */

static void say_left(struct pki_change *c, const char *what, const X509 *x, int64_t now)
{
	char left[TIME_DURATION_LEN];

	if (!x)
		snprintf(c->why, sizeof(c->why), "there is no %s", what);
	else if (ends(x) <= now)
		snprintf(c->why, sizeof(c->why), "the %s has expired", what);
	else
		snprintf(c->why, sizeof(c->why), "the %s ends in %s", what,
			 time_duration((ends(x) - now) * NS_PER_SEC, left));
}

/* Expired CAs go; true when any did. */
static bool drop_expired(struct objects *o, int64_t now)
{
	size_t kept = 0, n = o->n_cas;

	for (size_t i = 0; i < n; i++) {
		if (ends(o->cas[i]) > now)
			o->cas[kept++] = o->cas[i];
		else
			X509_free(o->cas[i]);
	}
	o->n_cas = kept;
	return kept < n;
}

static int advance_ca(struct objects *o, const struct pki_policy *p, int64_t now,
		      struct pki_change *c, struct err *e)
{
	X509 *newest = o->n_cas ? o->cas[0] : NULL;

	if (is_valid(newest, now) && !belongs(newest, o->ca_key)) {
		snprintf(c->why, sizeof(c->why), "the key of the CA is missing");
	} else {
		if (is_valid(newest, now) && (ends(newest) - now) * 3 >= p->ca_secs)
			return 0;
		say_left(c, "CA", newest, now);
	}
	c->ca = c->bundle = true;
	return make_ca(o, p, now, e);
}

static int advance_cert(struct objects *o, const struct pki_policy *p, int64_t now, bool settled,
			struct pki_change *c, struct err *e)
{
	bool usable = is_usable(o, p, now), of_newest = usable && signed_by(o->cert, o->cas[0]);
	/* What ends with its CA is renewed with it. */
	bool due = ends(o->cert) < ends(o->cas[0]) && (ends(o->cert) - now) * 3 < p->cert_secs;

	ERR_clear_error();
	if (usable && (!settled || (of_newest && !due)))
		return 0;
	if (!c->ca) { /* else that is why */
		if (usable && !of_newest)
			snprintf(c->why, sizeof(c->why), "the new CA is known");
		else if (!usable && is_valid(o->cert, now))
			snprintf(c->why, sizeof(c->why),
				 "the certificate is for other names, of "
				 "another CA, or without its key");
		else
			say_left(c, "certificate", o->cert, now);
	}
	c->cert = true;
	return make_cert(o, p, now, e);
}

int pki_advance(struct pki_set *s, const struct pki_policy *p, struct wall now, bool settled,
		struct pki_change *ret, struct err *e)
{
	_cleanup_(objects_clear) struct objects o = {0};
	int64_t secs = now.ns / NS_PER_SEC;
	struct pki_change c = {0};
	int r;

	for (size_t i = 0; i < p->n_names; i++)
		if (!pki_is_name(p->names[i]))
			return err_set(e, -EINVAL,
				       "found the name \"%s\", accepted: a DNS name or an IP "
				       "address",
				       p->names[i]);
	ERR_clear_error();
	read_set(s, &o);
	c.bundle = drop_expired(&o, secs);
	if ((r = advance_ca(&o, p, secs, &c, e)) < 0)
		return r;
	/* A new CA has settled nowhere. */
	if ((r = advance_cert(&o, p, secs, settled && !c.bundle, &c, e)) < 0)
		return r;
	if ((c.bundle || c.cert) && (r = write_set(&o, s, e)) < 0)
		return r;
	*ret = c;
	return 0;
}

void pki_ends(const struct pki_set *s, struct wall *ret_ca, struct wall *ret_cert)
{
	_cleanup_(objects_clear) struct objects o = {0};

	read_set(s, &o);
	ret_ca->ns = (o.n_cas ? ends(o.cas[0]) : 0) * NS_PER_SEC;
	ret_cert->ns = ends(o.cert) * NS_PER_SEC;
}

bool pki_is_name(const char *s)
{
	struct ip_addr addr;
	size_t n = strlen(s), label = 0;

	if (ip_addr_parse(s, n, &addr) == 0)
		return true;
	if (n == 0 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');

		if (s[i] == '.' && label == 0)
			return false;
		if (!alnum && s[i] != '.' && (s[i] != '-' || label == 0))
			return false;
		label = s[i] == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return label > 0;
}
