/*
 * HTTP/1.1 server on libevent for probes, metrics and the control socket: small, bounded in every
 * direction, answering each request from a handler at once.
 *
 * The protocol is our own on bufferevents and not evhttp (2.1.12), which has no limit on
 * connections, measures its timeout from byte to byte (a client that sends one byte now and then
 * holds its connection for ever), answers an oversized header with nothing, and cannot share a
 * listener with another protocol as the control socket must.
 *
 * Limits: each is answered as the RFC says (408, 413, 414, 431, 503) and the connection closed.
 * Over the connection limit the one that has waited longest makes room (conn.c), without a word.
 * The process must ignore SIGPIPE: libevent writes without MSG_NOSIGNAL, and clients go away.
 * Sources: RFC 9110, RFC 9112.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

struct event_base;
struct bufferevent;
struct metrics;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

struct http_limits {
	size_t max_header; /* request line and header fields together, bytes */
	size_t max_target; /* path and query */
	size_t max_body;   /* of a request */
	size_t max_bodies; /* of all bodies above HTTP_SMALL_BODY that are on their way; 0: no limit
			    */
	unsigned max_conns;  /* at the same time; one more takes the place of the oldest */
	unsigned request_ms; /* from a request's first byte to its last */
	unsigned idle_ms;    /* from connection or last answer to the next request's first byte */
	unsigned write_ms;   /* until the client has taken the answer */
	size_t gzip_min; /* answers from this size on are compressed for who accepts it; 0: none */
};
#define HTTP_SMALL_BODY ((size_t)65536)
#define HTTP_LIMITS_DEFAULT                                                                        \
	((struct http_limits){.max_header = 8192,                                                  \
			      .max_target = 2048,                                                  \
			      .max_body = 65536,                                                   \
			      .max_conns = 64,                                                     \
			      .request_ms = 10000,                                                 \
			      .idle_ms = 60000,                                                    \
			      .write_ms = 30000,                                                   \
			      .gzip_min = 1024})

enum {
	HTTP_GET = 1 << 0, /* HEAD is allowed wherever GET is, and done by the server */
	HTTP_HEAD = 1 << 1,
	HTTP_POST = 1 << 2,
	HTTP_PUT = 1 << 3,
	HTTP_DELETE = 1 << 4,
	HTTP_PATCH = 1 << 5,
};

struct http_server;
struct http_request;

/* NULL limits: the default ones. NULL when memory has run out. The base must outlive it. */
struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits);
/* Closes all connections, also in the middle of an answer, and removes its Unix sockets. */
void http_server_free(struct http_server *s);
MEM_CLEANUP(struct http_server, http_server_free);

/* "127.0.0.1:9586", "[::1]:9586", "*:9586" (every address of both families; port 0: any free one)
 * or "unix:PATH"; may be called several times. A taken port's error names the holder where it can
 * be found. A Unix socket is made 0600 in a directory made 0711; a socket there that nobody serves
 * any more is replaced, one that is served is -EADDRINUSE and names the process. */
int http_server_bind(struct http_server *s, const char *where, struct err *e);
unsigned http_server_port(const struct http_server *s, size_t i); /* of the i-th bind; 0: Unix */
unsigned http_server_conns(const struct http_server *s);

/* From now on a new connection begins with TLS (http/tls.h makes a context); called again it
 * changes what later connections are served with. The server holds a reference of its own. A
 * handshake takes at most request_ms; a client that does not speak TLS is cut without an answer. */
void http_server_tls(struct http_server *s, struct ssl_ctx_st *ctx);

/* From now on each answer ends its connection, so that clients go elsewhere: before an end that
 * loses no request. Listeners stay. */
void http_server_drain(struct http_server *s);

/* The handler answers with one http_reply before it returns (or 500 is answered for it). `path`
 * is exact, decoded, and must outlive the server. -ENOMEM. */
typedef void http_handler(struct http_request *req, void *arg);
int http_server_route(struct http_server *s, const char *path, unsigned methods, http_handler *fn,
		      void *arg);

/* A connection whose first byte is `first` speaks something else: it is handed to `fn`, with what
 * it sent still in its input, as fn's own (bufferevent_free closes it). Its callbacks are unset,
 * reading is enabled. It no longer counts here. */
typedef void http_takeover_fn(struct bufferevent *bev, void *arg);
void http_server_takeover(struct http_server *s, char first, http_takeover_fn *fn, void *arg);

/* Serves one connected stream socket, which it owns from here on: for tests and fuzzing. */
int http_server_adopt(struct http_server *s, int fd);

/* --- the request: all borrowed, valid until the handler returns --- */
unsigned http_request_method(const struct http_request *req); /* one of the above */
const char *http_request_path(const struct http_request *req);
const char *http_request_query(const struct http_request *req, const char *name);  /* decoded */
const char *http_request_header(const struct http_request *req, const char *name); /* first one */
const char *http_request_body(const struct http_request *req, size_t *ret_len);
int http_request_cred(const struct http_request *req, struct ucred *ret); /* Unix sockets */

/* --- the answer --- */
/* A field beside those that the server writes itself; before http_reply. */
void http_reply_header(struct http_request *req, const char *name, const char *value);
/* Copies the body; `type` NULL: no body. */
void http_reply(struct http_request *req, int status, const char *type, const char *body);
/* Takes the body over, leaving an empty buffer. A buffer in error is answered with 500. */
void http_reply_buf(struct http_request *req, int status, const char *type, struct buf *body);

/* --- of use to others that listen --- */
/* As for "unix:PATH" above; the caller owns *ret_fd (listening, non-blocking, close-on-exec). */
int http_listen_unix(const char *path, int *ret_fd, struct err *e);

/* process_cpu_seconds_total and its fellows, read from /proc/self at each scrape. */
int http_process_metrics(struct metrics *m, struct err *e);

#endif
