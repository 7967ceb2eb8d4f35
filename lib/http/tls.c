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

int http_tls_load(const char *cert, const char *key, SSL_CTX **ret, struct err *e)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	int r;

	/* OpenSSL tells less about a file that is not there. */
	if (access(cert, R_OK) < 0)
		return err_sys(e, -errno, "%s", cert);
	if (access(key, R_OK) < 0)
		return err_sys(e, -errno, "%s", key);
	ERR_clear_error();
	ctx = new_ctx();
	if (!ctx)
		return fail(e, cert, "TLS cannot be set up");
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail(e, cert, "found no certificate (PEM)");
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(e, key, "found no private key (PEM) of the certificate");
	if ((r = check_time(ctx, cert, e)) < 0)
		return r;
	*ret = mem_steal(&ctx);
	return 0;
}

/* The first certificate of the PEM is the server's, the rest leads to its CA. */
static int use_chain(SSL_CTX *ctx, const struct buf *pem)
{
	BIO *in = BIO_new_mem_buf(buf_str(pem), (int)pem->len);
	X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
	int ok = x && SSL_CTX_use_certificate(ctx, x) == 1;

	X509_free(x);
	while (ok && (x = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		ok = SSL_CTX_add1_chain_cert(ctx, x) == 1;
		X509_free(x);
	}
	BIO_free_all(in);
	if (ok)
		ERR_clear_error(); /* the end of the text */
	return ok;
}

static int use_key(SSL_CTX *ctx, const struct buf *pem)
{
	BIO *in = BIO_new_mem_buf(buf_str(pem), (int)pem->len);
	EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
	int ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	EVP_PKEY_free(key);
	BIO_free_all(in);
	return ok;
}

int http_tls_parse(const char *what, const struct buf *cert, const struct buf *key, SSL_CTX **ret,
		   struct err *e)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	int r;

	ERR_clear_error();
	ctx = new_ctx();
	if (!ctx)
		return fail(e, what, "TLS cannot be set up");
	if (!use_chain(ctx, cert))
		return fail(e, what, "found no certificate (PEM)");
	if (!use_key(ctx, key))
		return fail(e, what, "found no private key (PEM) of the certificate");
	if ((r = check_time(ctx, what, e)) < 0)
		return r;
	*ret = mem_steal(&ctx);
	return 0;
}

struct wall http_tls_not_after(const SSL_CTX *ctx)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)), &tm))
		return (struct wall){0};
	return (struct wall){timegm(&tm) * NS_PER_SEC};
}
