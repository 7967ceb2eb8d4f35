/*
 * One connection. With TLS a handshake comes first, in a time of its own; all else is the same.
 *
 *     (HANDSHAKE ──done──>)
 *     HEAD ──whole head──> BODY ──whole body──> handler ──> SENDING ──taken──> HEAD
 *       │ refused            │ refused                         │ close
 *       └────────────────────┴─────────────────────────────────┴──> LINGER ──> gone
 *
 * Requests are taken one at a time. Nothing is read while an answer is on its way, so what a
 * pipelining client has sent waits in the socket, and the input never holds more than one request
 * and one read. (A high read watermark would be the usual means; libevent 2.1 calls the reader
 * again and again while the input stands at it, and the loop gets to nothing else.) One timer runs,
 * for the state's own limit; it is not moved by bytes that arrive, so a client that drips them is
 * cut (408) when the time for the request is over.
 *
 * Where there is no room for one more connection, the one that has waited longest without a request
 * gives way, then the one whose request has been incomplete for longest, then the one whose answer
 * has been. An honest request is whole within milliseconds, so that those who hold connections hold
 * them against each other.
 *
 * LINGER: after an answer that ends the connection the client may still be sending. Closing then
 * would reset the connection and lose the answer on its way, so only our side is shut, and what
 * comes is thrown away for a second.
 */
#include "http/http_priv.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"

#define WRITE_MAX (1 << 20)
#define LINGER_MS 1000

enum conn_state { CONN_HANDSHAKE, CONN_HEAD, CONN_BODY, CONN_SENDING, CONN_LINGER };

struct http_conn {
	struct list node;
	struct http_server *server;
	struct bufferevent *bev;
	struct event *timer;
	enum conn_state state;
	bool started;      /* the first byte of a request is there */
	struct mono since; /* then */
	bool fresh;        /* no request yet: may be taken over */
	size_t scanned;    /* of the input, for the head's end */
	size_t counted;    /* in the server's `bodies` */
	struct http_request req;
};

const struct http_server *http_conn_server(const struct http_conn *c)
{
	return c->server;
}

int http_conn_fd(const struct http_conn *c)
{
	return bufferevent_getfd(c->bev);
}

static void release_body(struct http_conn *c)
{
	buf_free(&c->req.body);
	c->server->bodies -= c->counted;
	c->counted = 0;
}

static void clear_request(struct http_conn *c)
{
	buf_free(&c->req.text);
	buf_free(&c->req.extra);
	release_body(c);
	c->req = (struct http_request){.conn = c};
}

void http_conn_free(struct http_conn *c)
{
	if (!c)
		return;
	list_del(&c->node);
	c->server->n_conns--;
	clear_request(c);
	if (c->timer)
		event_free(c->timer);
	if (c->bev)
		bufferevent_free(c->bev);
	free(c);
}

void http_conns_free(struct http_server *s)
{
	list_for_each_safe (c, &s->conns, struct http_conn, node)
		http_conn_free(c);
}

static bool is_idle(const struct http_conn *c)
{
	return c->state == CONN_HEAD ? !c->started
				     : c->state == CONN_LINGER || c->state == CONN_HANDSHAKE;
}

static bool is_incomplete(const struct http_conn *c)
{
	return c->state == CONN_HEAD || c->state == CONN_BODY;
}

static bool is_any(const struct http_conn *c)
{
	return true;
}

bool http_conn_free_oldest(struct http_server *s, bool any)
{
	static bool (*const who[])(const struct http_conn *) = {is_idle, is_incomplete, is_any};

	for (size_t i = 0; i < (any ? 3 : 2); i++) {
		list_for_each (c, &s->conns, struct http_conn, node) {
			if (!who[i](c))
				continue;
			http_conn_free(c);
			return true;
		}
	}
	return false;
}

/* The time of what it does now begins. */
static void move_to_end(struct http_conn *c)
{
	list_del(&c->node);
	list_add(&c->server->conns, &c->node);
}

static void set_timer(struct http_conn *c, unsigned ms)
{
	event_add(c->timer, &(struct timeval){ms / 1000, (ms % 1000) * 1000});
}

/* Ends our side: with TLS by its own word first, so that the client knows the end for the whole. */
static void say_goodbye(struct http_conn *c)
{
	SSL *ssl = bufferevent_openssl_get_ssl(c->bev);

	if (ssl)
		SSL_shutdown(ssl);
	ERR_clear_error();
	shutdown(http_conn_fd(c), SHUT_WR);
}

static void enter(struct http_conn *c, enum conn_state state)
{
	const struct http_limits *l = &c->server->limits;

	c->state = state;
	switch (state) {
	case CONN_HANDSHAKE: set_timer(c, l->request_ms); break;
	case CONN_HEAD:
		clear_request(c);
		c->started = false;
		c->scanned = 0;
		move_to_end(c);
		bufferevent_enable(c->bev, EV_READ);
		set_timer(c, l->idle_ms);
		break;
	case CONN_BODY: break; /* the request's time goes on */
	case CONN_SENDING:
		bufferevent_disable(c->bev, EV_READ);
		set_timer(c, l->write_ms);
		break;
	case CONN_LINGER:
		say_goodbye(c);
		evbuffer_drain(bufferevent_get_input(c->bev), SIZE_MAX);
		bufferevent_enable(c->bev, EV_READ);
		set_timer(c, LINGER_MS);
		break;
	}
}

static void free_body(const void *data, size_t len, void *arg)
{
	free(arg);
}

void http_conn_send(struct http_conn *c, const struct buf *head, struct buf *body)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	enter(c, CONN_SENDING);
	if (buf_error(head) < 0 || evbuffer_add(out, head->data, head->len) < 0)
		goto fail;
	if (body->len > 0) {
		if (evbuffer_add_reference(out, body->data, body->len, free_body, body->data) < 0)
			goto fail;
		body->data = NULL; /* the output's now */
	}
	buf_free(body);
	return;
fail:
	/* Out of memory: nothing sensible can be said, so the connection ends. */
	buf_free(body);
	c->req.head.close = true;
	evbuffer_drain(out, evbuffer_get_length(out));
	bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

static void refuse(struct http_conn *c, int status)
{
	c->req.head.close = true;
	http_reply_status(&c->req, status);
}

static void put_allow(struct http_request *req, unsigned methods)
{
	const char *before = "Allow: ";

	for (unsigned m = HTTP_GET; m <= HTTP_PATCH; m <<= 1) {
		if (!(methods & m))
			continue;
		buf_addf(&req->extra, "%s%s", before, http_method_name(m));
		before = ", ";
	}
	buf_adds(&req->extra, "\r\n");
}

static void handle(struct http_conn *c)
{
	struct http_request *req = &c->req;
	const struct http_server *s = c->server;

	for (size_t i = 0; i < s->n_routes; i++) {
		const struct http_route *r = &s->routes[i];
		unsigned methods = r->methods | (r->methods & HTTP_GET ? HTTP_HEAD : 0);

		if (strcmp(r->path, req->head.path) != 0)
			continue;
		if (!(methods & req->head.method)) {
			put_allow(req, methods);
			http_reply_status(req, 405);
			return;
		}
		r->fn(req, r->arg);
		if (!req->replied)
			http_reply_status(req, 500);
		return;
	}
	http_reply_status(req, 404);
}

static struct http_conn *find_slowest_body(struct http_server *s)
{
	const struct mono now = mono_now();
	struct http_conn *slowest = NULL;
	double least = 0;

	list_for_each (c, &s->conns, struct http_conn, node) {
		double rate = (double)c->counted / (double)(mono_since(now, c->since) + 1);

		if (c->counted && (!slowest || rate < least)) {
			slowest = c;
			least = rate;
		}
	}
	return slowest;
}

/* Large bodies share a limit, or few slow clients would hold much memory. What has come of them is
 * counted, not what is announced, and the one that comes most slowly gives way. Returns false where
 * that is this one. */
static bool count_body(struct http_conn *c, size_t arrived)
{
	struct http_server *s = c->server;

	if (!s->limits.max_bodies || c->req.head.body_len <= HTTP_SMALL_BODY)
		return true;
	s->bodies += arrived - c->counted;
	c->counted = arrived;
	while (s->bodies > s->limits.max_bodies) {
		struct http_conn *slowest = find_slowest_body(s);

		if (slowest == c)
			return false;
		http_conn_free(slowest);
	}
	return true;
}

/* Both steps return whether the state has moved on. */
static bool read_head(struct http_conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const struct http_limits *l = &c->server->limits;
	char *text;
	size_t len;

	/* Empty lines before a request line are skipped (RFC 9112 section 2.2). */
	for (char two[2]; evbuffer_copyout(in, two, 2) == 2 && memcmp(two, "\r\n", 2) == 0;) {
		evbuffer_drain(in, 2);
		c->scanned = 0;
	}
	len = evbuffer_get_length(in);
	if (len == 0)
		return false;
	if (!c->started) {
		c->started = true;
		c->since = mono_now();
		move_to_end(c);
		set_timer(c, l->request_ms);
	}
	if (len > l->max_header)
		len = l->max_header;
	text = (char *)evbuffer_pullup(in, (ssize_t)len);
	if (!text) {
		refuse(c, 500);
		return true;
	}
	ssize_t end = http_head_end(text, len, c->scanned);
	c->scanned = len;
	if (end == 0 && len < l->max_header)
		return false;
	if (end <= 0) {
		refuse(c, end < 0 ? 400 : memchr(text, '\n', len) ? 431 : 414);
		return true;
	}
	buf_add(&c->req.text, text, (size_t)end);
	evbuffer_drain(in, (size_t)end);
	if (buf_error(&c->req.text) < 0) {
		refuse(c, 500);
		return true;
	}
	int status = http_parse_head(c->req.text.data, (size_t)end, l->max_target, &c->req.head);
	if (status == 0 && c->req.head.body_len > l->max_body)
		status = 413;
	if (status)
		refuse(c, status);
	else
		enter(c, CONN_BODY);
	return true;
}

static bool read_body(struct http_conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t len = (size_t)c->req.head.body_len, arrived = evbuffer_get_length(in);

	if (!count_body(c, arrived < len ? arrived : len)) {
		evbuffer_drain(in, SIZE_MAX);
		release_body(c);
		refuse(c, 503);
		return true;
	}
	if (arrived < len) {
		if (c->req.head.expect)
			evbuffer_add_printf(bufferevent_get_output(c->bev),
					    "HTTP/1.1 100 Continue\r\n\r\n");
		c->req.head.expect = false;
		return false;
	}
	if (buf_reserve(&c->req.body, len) < 0) {
		refuse(c, 500);
		return true;
	}
	evbuffer_remove(in, c->req.body.data, len);
	c->req.body.len = len;
	c->req.body.data[len] = '\0';
	handle(c);
	release_body(c);
	return true;
}

/* True where the connection has become another's, and *c is gone. */
static bool taken_over(struct http_conn *c)
{
	struct http_server *s = c->server;
	char first;

	if (!c->fresh || evbuffer_copyout(bufferevent_get_input(c->bev), &first, 1) < 1)
		return false;
	c->fresh = false;
	if (!s->takeover || first != s->takeover_first)
		return false;

	struct bufferevent *bev = c->bev;
	c->bev = NULL;
	http_conn_free(c);
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	s->takeover(bev, s->takeover_arg);
	return true;
}

static void run(struct http_conn *c)
{
	bool moved = true;

	while (moved && (c->state == CONN_HEAD || c->state == CONN_BODY))
		moved = c->state == CONN_HEAD ? read_head(c) : read_body(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct http_conn *c = arg;

	if (c->state == CONN_LINGER)
		evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	else if (!taken_over(c))
		run(c);
}

/* The output has drained. */
static void on_write(struct bufferevent *bev, void *arg)
{
	struct http_conn *c = arg;

	if (c->state != CONN_SENDING)
		return; /* a 100 Continue, or nothing of ours */
	if (c->req.head.close) {
		enter(c, CONN_LINGER);
		return;
	}
	enter(c, CONN_HEAD);
	run(c);
}

/* The handshake is done; or the client has shut its side (seen only when all its requests are
 * answered), or is gone, or its TLS is none. */
static void on_event(struct bufferevent *bev, short what, void *arg)
{
	if (what & BEV_EVENT_CONNECTED)
		enter(arg, CONN_HEAD);
	else
		http_conn_free(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;

	if (c->state == CONN_BODY || (c->state == CONN_HEAD && c->started))
		refuse(c, 408);
	else
		http_conn_free(c);
}

/* Takes the socket over; on failure it is closed. */
static struct bufferevent *new_bev(struct http_server *s, int fd)
{
	struct bufferevent *bev = NULL;
	SSL *ssl = s->tls ? SSL_new(s->tls) : NULL;

	if (ssl)
		bev = bufferevent_openssl_socket_new(s->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
						     BEV_OPT_CLOSE_ON_FREE);
	else if (!s->tls)
		bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		SSL_free(ssl);
		close(fd);
	}
	return bev;
}

int http_conn_new(struct http_server *s, int fd)
{
	struct http_conn *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->server = s;
	c->fresh = true;
	list_init(&c->node);
	list_add(&s->conns, &c->node);
	s->n_conns++;
	c->timer = evtimer_new(s->base, on_timer, c);
	c->bev = new_bev(s, fd);
	if (!c->bev || !c->timer) {
		http_conn_free(c);
		return -ENOMEM;
	}
	/* Else an answer of megabytes goes out in pieces of 16 KiB. */
	bufferevent_set_max_single_write(c->bev, WRITE_MAX);
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	enter(c, s->tls ? CONN_HANDSHAKE : CONN_HEAD);
	bufferevent_enable(c->bev, EV_WRITE | (s->tls ? EV_READ : 0));
	return 0;
}
