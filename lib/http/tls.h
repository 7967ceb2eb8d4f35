/*
 * A server's TLS: certificate and key from files, TLS 1.2 and newer. For a server that is called
 * by programs (an API server), thus without session tickets, ALPN and client certificates.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"

static inline void http_tls_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}
MEM_CLEANUP(SSL_CTX, http_tls_free);

/* `cert`: PEM, the server's certificate first, then what leads to its CA. -EINVAL where a file is
 * no such PEM, in part or as a whole, the key has a passphrase, the two do not belong together, or
 * the certificate is of no use yet or any more (the message says which); -errno where it cannot be
 * read. The caller owns *ret. */
int http_tls_load(const char *cert, const char *key, SSL_CTX **ret, struct err *e);

/* The same from memory. `what` begins the messages. */
int http_tls_parse(const char *what, const struct buf *cert, const struct buf *key, SSL_CTX **ret,
		   struct err *e);

/* When the certificate begins; and when it ends: INT64_MAX where it does not (99991231235959Z) or
 * long after us. */
struct wall http_tls_not_before(const SSL_CTX *ctx);
struct wall http_tls_not_after(const SSL_CTX *ctx);

#endif
