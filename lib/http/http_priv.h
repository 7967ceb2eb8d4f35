/* Shared by the files of lib/http; parse.c is also what fuzzing and tests look at directly. */
#ifndef HTTP_HTTP_PRIV_H
#define HTTP_HTTP_PRIV_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/ip.h"
#include "base/list.h"
#include "http/http.h"

/* --- parse.c --- */
#define HTTP_FIELDS_MAX 64
#define HTTP_PARAMS_MAX 16

struct http_pair {
	char *name, *value;
};

/* A parsed head; all texts point into the memory that was parsed. */
struct http_head {
	unsigned method; /* 0: a token that is none of ours */
	unsigned minor;  /* of HTTP/1.x: 0 or 1 */
	char *path;      /* decoded */
	struct http_pair params[HTTP_PARAMS_MAX];
	size_t n_params;
	struct http_pair fields[HTTP_FIELDS_MAX];
	size_t n_fields;
	uint64_t body_len;
	bool close;  /* after the answer */
	bool expect; /* 100-continue */
};

/* Looks for the head's end in text[from…len). Returns its length with the empty line, 0 where
 * more is needed, -1 where it cannot become one (a line feed without its carriage return). */
ssize_t http_head_end(const char *text, size_t len, size_t from);

/* Parses a whole head in place: `len` bytes as http_head_end found them, with a NUL behind.
 * Returns 0, or the status to refuse it with. */
int http_parse_head(char *text, size_t len, size_t max_target, struct http_head *ret);
const char *http_head_field(const struct http_head *h, const char *name);
const char *http_method_name(unsigned method);
bool http_accepts_gzip(const char *accept_encoding);

/* --- listen.c --- */
/* `dual`: [::] is for IPv4 too. */
int http_listen_tcp(const struct ip_endpoint *where, bool dual, int *ret_fd, struct err *e);

/* --- server.c and conn.c --- */
struct http_route {
	const char *path;
	unsigned methods;
	http_handler *fn;
	void *arg;
};

struct http_listener {
	struct http_server *server;
	struct evconnlistener *ev;
	unsigned port;
	char *path; /* Unix: to be removed if it is still ours */
	dev_t dev;
	ino_t ino;
};

struct http_server {
	struct event_base *base;
	struct http_limits limits;
	struct http_listener **listeners;
	size_t n_listeners, cap_listeners;
	struct http_route *routes;
	size_t n_routes, cap_routes;
	struct event *resume; /* accepting, after descriptors ran out */
	struct list conns;    /* by the time since when they do what they do */
	unsigned n_conns;
	size_t bodies; /* bytes that have come of large bodies that are on their way */
	struct ssl_ctx_st *tls;
	bool draining;
	char takeover_first;
	http_takeover_fn *takeover;
	void *takeover_arg;
};

struct http_conn;

struct http_request {
	struct http_conn *conn;
	struct http_head head;
	struct buf text; /* of the head */
	struct buf body;
	struct buf extra; /* fields for the answer */
	bool replied;
};

/* Serves `fd`, closing it also on failure. */
int http_conn_new(struct http_server *s, int fd);
void http_conn_free(struct http_conn *c);
/* Makes room for another one; false where there is none to be had. `any`: also at the cost of an
 * answer that is on its way. */
bool http_conn_free_oldest(struct http_server *s, bool any);
void http_conns_free(struct http_server *s);
const struct http_server *http_conn_server(const struct http_conn *c);
int http_conn_fd(const struct http_conn *c);
/* The whole answer goes out; `body` is taken over. */
void http_conn_send(struct http_conn *c, const struct buf *head, struct buf *body);

/* --- reply.c --- */
/* An answer of the server's own, with the status' name as text. */
void http_reply_status(struct http_request *req, int status);

#endif
