#include "http/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The last thing that OpenSSL has to say, and nothing left in its queue, where a connection would
 * take it for its own. */
static int fail(struct err *e, const char *file, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return err_set(e, -EINVAL, "%s: %s%s%s", file, what, reason ? ": " : "",
		       reason ? reason : "");
}

static int check_time(const SSL_CTX *ctx, const char *file, struct err *e)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);

	if (X509_cmp_current_time(X509_get0_notBefore(cert)) >= 0)
		return err_set(e, -EINVAL, "%s: the certificate is not valid yet", file);
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
		return err_set(e, -EINVAL, "%s: the certificate has expired", file);
	return 0;
}

static SSL_CTX *new_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* A connection that waits keeps no buffers (34 KiB each otherwise). */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
	    !SSL_CTX_set_num_tickets(ctx, 0)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

/* Instead of OpenSSL's own, which asks on the terminal; `asked` is a bool, or NULL. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	if (asked)
		*(bool *)asked = true;
	return -1;
}

/* What PEM_read_bio_* leaves behind where the text has no more. */
static bool is_at_end(void)
{
	unsigned long code = ERR_peek_last_error();

	return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* The first certificate of the PEM is the server's, the rest leads to its CA. */
static int use_chain(SSL_CTX *ctx, BIO *in, const char *file, struct err *e)
{
	char what[64];

	for (unsigned n = 1;; n++) {
		X509 *x = in ? PEM_read_bio_X509(in, NULL, no_passphrase, NULL) : NULL;

		if (!x && n > 1 && is_at_end())
			break;
		bool ok = x && (n == 1 ? SSL_CTX_use_certificate(ctx, x)
				       : SSL_CTX_add1_chain_cert(ctx, x)) == 1;
		X509_free(x);
		if (ok)
			continue;
		snprintf(what, sizeof(what), "certificate %u of the chain cannot be used", n);
		return fail(e, file, n == 1 ? "found no certificate (PEM)" : what);
	}
	ERR_clear_error();
	return 0;
}

static int use_key(SSL_CTX *ctx, BIO *in, const char *file, struct err *e)
{
	bool asked = false;
	EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &asked) : NULL;
	int ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	EVP_PKEY_free(key);
	if (ok)
		return 0;
	if (!asked)
		return fail(e, file, "found no private key (PEM) of the certificate");
	ERR_clear_error();
	return err_set(e, -EINVAL, "%s: the key has a passphrase, accepted: one without", file);
}

/* `cert_file` and `key_file` begin the messages. */
static int load(BIO *cert, const char *cert_file, BIO *key, const char *key_file, SSL_CTX **ret,
		struct err *e)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = new_ctx();
	int r;

	if (!ctx)
		return fail(e, cert_file, "TLS cannot be set up");
	if ((r = use_chain(ctx, cert, cert_file, e)) < 0 ||
	    (r = use_key(ctx, key, key_file, e)) < 0 || (r = check_time(ctx, cert_file, e)) < 0)
		return r;
	*ret = mem_steal(&ctx);
	return 0;
}

int http_tls_load(const char *cert, const char *key, SSL_CTX **ret, struct err *e)
{
	BIO *cert_in, *key_in;
	int r;

	/* OpenSSL tells less about a file that is not there. */
	if (access(cert, R_OK) < 0)
		return err_sys(e, -errno, "%s", cert);
	if (access(key, R_OK) < 0)
		return err_sys(e, -errno, "%s", key);
	ERR_clear_error();
	cert_in = BIO_new_file(cert, "r");
	key_in = BIO_new_file(key, "r");
	r = load(cert_in, cert, key_in, key, ret, e);
	BIO_free_all(cert_in);
	BIO_free_all(key_in);
	return r;
}

int http_tls_parse(const char *what, const struct buf *cert, const struct buf *key, SSL_CTX **ret,
		   struct err *e)
{
	BIO *cert_in, *key_in;
	int r;

	ERR_clear_error();
	cert_in = BIO_new_mem_buf(buf_str(cert), (int)cert->len);
	key_in = BIO_new_mem_buf(buf_str(key), (int)key->len);
	r = load(cert_in, what, key_in, what, ret, e);
	BIO_free_all(cert_in);
	BIO_free_all(key_in);
	return r;
}

/* RFC 5280 writes "no end" as the year 9999, which is more than a wall has room for; what began
 * before 1970 began long ago. */
static struct wall to_wall(const ASN1_TIME *t)
{
	int64_t secs;
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm))
		return (struct wall){0};
	secs = timegm(&tm);
	return (struct wall){secs <= 0                       ? 1
			     : secs > INT64_MAX / NS_PER_SEC ? INT64_MAX
							     : secs * NS_PER_SEC};
}

struct wall http_tls_not_before(const SSL_CTX *ctx)
{
	return to_wall(X509_get0_notBefore(SSL_CTX_get0_certificate(ctx)));
}

struct wall http_tls_not_after(const SSL_CTX *ctx)
{
	return to_wall(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)));
}
