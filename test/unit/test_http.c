/*
 * lib/http: the parser on its own, then the server on loopback with ephemeral ports, driven in
 * one process: the client's sockets do not block, and wait() turns the loop until the answer is
 * complete, the connection ended, or two seconds have passed.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "base/str.h"
#include "base/time.h"
#include "fault.h"
#include "http/http_priv.h"
#include "metrics/metrics.h"

/* --- the parser --- */

static int parse(const char *text, struct http_head *h, struct buf *keep)
{
	buf_reset(keep);
	buf_adds(keep, text);
	ssize_t end = http_head_end(keep->data, keep->len, 0);

	if (end <= 0)
		return end < 0 ? 400 : -1;
	keep->data[end] = '\0';
	return http_parse_head(keep->data, (size_t)end, 100, h);
}

START_TEST(parser_accepts)
{
	_cleanup_buf_ struct buf keep = BUF_INIT(0);
	struct http_head h;

	ck_assert_int_eq(parse("GET /a%20b%2Fc?verbose&x=1+2%2B&&y== HTTP/1.1\r\n"
			       "host: x\r\nX-Empty:\r\nX-Pad: \t v w \t\r\n\r\n",
			       &h, &keep),
			 0);
	ck_assert_uint_eq(h.method, HTTP_GET);
	ck_assert_str_eq(h.path, "/a b/c");
	ck_assert_uint_eq(h.n_params, 3);
	ck_assert_str_eq(h.params[0].name, "verbose");
	ck_assert_str_eq(h.params[0].value, "");
	ck_assert_str_eq(h.params[1].value, "1 2+");
	ck_assert_str_eq(h.params[2].value, "=");
	ck_assert_str_eq(http_head_field(&h, "x-empty"), "");
	ck_assert_str_eq(http_head_field(&h, "X-PAD"), "v w");
	ck_assert_ptr_null(http_head_field(&h, "X"));
	ck_assert(!h.close);
	ck_assert_int_eq(parse("GET / HTTP/1.0\r\n\r\n", &h, &keep), 0);
	ck_assert(h.close);
	ck_assert_int_eq(parse("GET http://h:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n", &h, &keep), 0);
	ck_assert_str_eq(h.path, "/p");
	ck_assert_int_eq(parse("POST / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n"
			       "Content-Length: 12\r\nExpect: 100-continue\r\n\r\n",
			       &h, &keep),
			 0);
	ck_assert(h.close && h.expect && h.body_len == 12 && h.method == HTTP_POST);
	ck_assert_int_eq(parse("BREW /pot HTTP/1.1\r\nHost:\r\n\r\n", &h, &keep), 0);
	ck_assert_uint_eq(h.method, 0);
}
END_TEST

START_TEST(parser_refuses)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{"GET / HTTP/1.1\r\nHost: x\r\n", -1},
		{"GET / HTTP/1.1\nHost: x\n\n", 400},
		{"\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n", 400},
		{"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
		{"GET /\r\nHost: x\r\n\r\n", 400},
		{"GET\r\n\r\n", 400},
		{"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /#f HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /?a=%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
		{"GET / http/1.1\r\nHost: x\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
		 400},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
		{"GET /?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"GET /0123456789012345678901234567890123456789012345678901234567890123456789"
		 "01234567890123456789012345678901234567890 HTTP/1.1\r\nHost: x\r\n\r\n",
		 414},
	};
	_cleanup_buf_ struct buf keep = BUF_INIT(0);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct http_head h = {.minor = 77};
		int status = parse(cases[i].text, &h, &keep);

		ck_assert_msg(status == cases[i].status, "%s: %d", cases[i].text, status);
		ck_assert_uint_eq(h.minor, 77);
	}
	_cleanup_buf_ struct buf many = BUF_INIT(0);
	struct http_head h;
	buf_adds(&many, "GET / HTTP/1.1\r\n");
	for (int i = 0; i <= HTTP_FIELDS_MAX; i++)
		buf_adds(&many, "a: b\r\n");
	buf_adds(&many, "\r\n");
	ck_assert_int_eq(parse(many.data, &h, &keep), 431);
}
END_TEST

START_TEST(gzip_wanted)
{
	ck_assert(http_accepts_gzip("gzip"));
	ck_assert(http_accepts_gzip("deflate, GZIP;q=0.5"));
	ck_assert(http_accepts_gzip("*"));
	ck_assert(!http_accepts_gzip(NULL));
	ck_assert(!http_accepts_gzip("gzip;q=0, *"));
	ck_assert(!http_accepts_gzip("gzip; q=0.000"));
	ck_assert(!http_accepts_gzip("identity, gzipped"));
}
END_TEST

/* --- the server --- */

static struct event_base *base;
static struct http_server *srv;
static bool was_reset; /* the last connection that ended did so by a reset */

#define LARGE 200000

static void on_echo(struct http_request *req, void *arg)
{
	size_t len;
	const char *body = http_request_body(req, &len);
	const char *q = http_request_query(req, "q");
	struct buf b = BUF_INIT(0);

	buf_addf(&b, "%s %s q=%s body=%.*s", http_method_name(http_request_method(req)),
		 http_request_path(req), q ? q : "-", (int)len, body);
	http_reply_header(req, "X-Test", "yes");
	http_reply_header(req, "X-Split", "a\r\nb: c");
	http_reply_buf(req, 200, "text/plain", &b);
	http_reply(req, 500, NULL, NULL); /* the second answer is not one */
}

static void on_large(struct http_request *req, void *arg)
{
	struct buf b = BUF_INIT(0);

	while (b.len < LARGE && buf_error(&b) == 0)
		buf_adds(&b, "ten bytes\n");
	http_reply_buf(req, 200, "text/plain", &b);
}

static void on_silent(struct http_request *req, void *arg)
{
}

static void start(const struct http_limits *limits)
{
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	srv = http_server_new(base, limits);
	ck_assert_ptr_nonnull(srv);
	ck_assert_int_eq(http_server_route(srv, "/echo", HTTP_GET | HTTP_POST, on_echo, NULL), 0);
	ck_assert_int_eq(http_server_route(srv, "/large", HTTP_GET, on_large, NULL), 0);
	ck_assert_int_eq(http_server_route(srv, "/silent", HTTP_GET, on_silent, NULL), 0);
	ck_assert_int_eq(http_server_bind(srv, "127.0.0.1:0", NULL), 0);
}

static void stop(void)
{
	http_server_free(srv);
	event_base_free(base);
}

static int dial(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)http_server_port(srv, 0)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Reads until the connection ends, or until `until` is in what was read. */
static const char *wait_for(int fd, const char *until, bool *ret_ended)
{
	static char got[4 * LARGE];
	struct mono from = mono_now();
	size_t len = 0;
	bool ended = false;

	while (!ended && mono_since(mono_now(), from) < 2 * NS_PER_SEC) {
		turn();
		ssize_t n = recv(fd, got + len, sizeof(got) - 1 - len, 0);
		if (n > 0)
			len += (size_t)n;
		was_reset = n < 0 && errno != EAGAIN;
		ended = n == 0 || was_reset;
		got[len] = '\0';
		if (until && strstr(got, until))
			break;
		if (n < 0)
			usleep(200);
	}
	if (ret_ended)
		*ret_ended = ended;
	return got;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* One request on its own connection, which the server must end. */
static const char *exchange(const char *request)
{
	int fd = dial();
	bool ended;

	say(fd, request);
	const char *got = wait_for(fd, NULL, &ended);
	ck_assert_msg(ended, "%s: not closed: %s", request, got);
	close(fd);
	return got;
}

static void assert_answer(const char *request, const char *status, const char *part)
{
	const char *got = exchange(request);

	ck_assert_msg(str_starts(got, status), "%s: %s", request, got);
	ck_assert_msg(strstr(got, part) != NULL, "%s: no %s in %s", request, part, got);
}

#define CLOSE "Host: x\r\nConnection: close\r\n\r\n"

START_TEST(answers)
{
	start(NULL);
	assert_answer("GET /echo?q=a%20b HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 OK\r\n",
		      "\r\n\r\nGET /echo q=a b body=");
	assert_answer("GET /echo HTTP/1.1\r\n" CLOSE, "HTTP/1.1 200 ", "\r\nX-Test: yes\r\n");
	ck_assert_ptr_null(strstr(exchange("GET /echo HTTP/1.1\r\n" CLOSE), "X-Split"));
	assert_answer("GET /echo HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\r\nConnection: close\r\n");
	assert_answer("\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE "hello",
		      "HTTP/1.1 200 ", "POST /echo q=- body=hello");
	assert_answer("GET /nowhere HTTP/1.1\r\n" CLOSE, "HTTP/1.1 404 Not Found\r\n", "404");
	assert_answer("DELETE /echo HTTP/1.1\r\n" CLOSE, "HTTP/1.1 405 ",
		      "\r\nAllow: GET, HEAD, POST\r\n");
	assert_answer("BREW /large HTTP/1.1\r\n" CLOSE, "HTTP/1.1 405 ",
		      "\r\nAllow: GET, HEAD\r\n");
	assert_answer("GET /silent HTTP/1.1\r\n" CLOSE, "HTTP/1.1 500 ", "");
	assert_answer("GARBAGE\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "Connection: close");
	assert_answer("POST /echo HTTP/1.1\r\nContent-Length: 65537\r\n" CLOSE, "HTTP/1.1 413 ",
		      "");
	turn(); /* the server sees that the last client has closed */
	ck_assert_uint_eq(http_server_conns(srv), 0);
	stop();
}
END_TEST

START_TEST(head_has_no_body)
{
	start(NULL);
	const char *got = exchange("HEAD /echo HTTP/1.1\r\n" CLOSE);
	ck_assert(str_starts(got, "HTTP/1.1 200 "));
	ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Length: 20\r\n"));
	ck_assert(str_ends(got, "\r\n\r\n"));
	stop();
}
END_TEST

/* One request over a pair of sockets, from the connection's begin to its end. What came, as far as
 * it came; *ret_adopted is http_server_adopt's result. */
static const char *on_a_pair(const char *request, int *ret_adopted, bool *ret_ended)
{
	static char got[4 * LARGE];
	struct mono from = mono_now();
	int fds[2];
	size_t len = 0;

	got[0] = '\0';
	*ret_ended = true;
	*ret_adopted = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds);
	if (*ret_adopted < 0)
		return got;
	*ret_adopted = http_server_adopt(srv, fds[0]);
	(void)send(fds[1], request, strlen(request), MSG_NOSIGNAL);
	shutdown(fds[1], SHUT_WR);
	do {
		ssize_t n;

		turn();
		while ((n = recv(fds[1], got + len, sizeof(got) - 1 - len, 0)) > 0)
			len += (size_t)n;
		usleep(100);
	} while (http_server_conns(srv) > 0 && mono_since(mono_now(), from) < 2 * NS_PER_SEC);
	got[len] = '\0';
	*ret_ended = http_server_conns(srv) == 0 && recv(fds[1], got + len, 1, 0) <= 0;
	close(fds[1]);
	turn();
	return got;
}

/* Each allocation of a connection and a request fails, libevent's and zlib's included: the answer
 * is whole, or 500, or none and the connection at its end, at the latest when its time is over
 * (libevent looks at the results of few of its allocations); the server goes on. */
START_TEST(requests_without_memory)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{"POST /echo?q=1 HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE "hello",
		 "POST /echo q=1 body=hello"},
		{"GET /large HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE,
		 "Content-Encoding: gzip"},
		{"GET /nowhere HTTP/1.1\r\n" CLOSE, "404"},
		{"DELETE /echo HTTP/1.1\r\n" CLOSE, "Allow: GET, HEAD, POST"},
		{"GARBAGE\r\n\r\n", "400 Bad Request"},
	};
	struct http_limits limits = HTTP_LIMITS_DEFAULT;

	limits.idle_ms = limits.request_ms = limits.write_ms = 300;
	start(&limits);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *request = cases[i].request, *want = cases[i].answer, *got;
		size_t rounds = 0;
		bool ended;
		int r;

		/* What libevent keeps from its first use on is no leak. */
		got = on_a_pair(request, &r, &ended);
		ck_assert_msg(r == 0 && ended && strstr(got, want), "%s: %d, %s", request, r, got);
		FAULT_LOOP(got = on_a_pair(request, &r, &ended))
		{
			ck_assert_msg(r == 0 || r == -ENOMEM, "%s: %d", request, r);
			ck_assert_msg(ended, "%s: allocation %zu: not closed: %s", request, rounds,
				      got);
			/* Where zlib has no memory, the answer is whole without it. */
			ck_assert_msg(!*got || strstr(got, want) ||
					      str_starts(got, "HTTP/1.1 500 ") ||
					      str_starts(got, "HTTP/1.1 200 "),
				      "%s: allocation %zu: %s", request, rounds, got);
			rounds++;
		}
		ck_assert_msg(r == 0 && ended && strstr(got, want), "%s: %d, %s", request, r, got);
		ck_assert_msg(rounds > 8, "%s: %zu allocations", request, rounds);
	}
	stop();
}
END_TEST

START_TEST(big_header)
{
	struct buf b = BUF_INIT(0);

	start(NULL);
	buf_adds(&b, "GET / HTTP/1.1\r\nX: ");
	while (b.len < 100000)
		buf_addc(&b, 'x');
	ck_assert(str_starts(exchange(b.data), "HTTP/1.1 431 "));
	/* What the server had not read must not turn its end into a reset, which a client that
	 * is still sending would see in place of the answer. */
	ck_assert(!was_reset);
	buf_reset(&b);
	buf_adds(&b, "GET /");
	while (b.len < 100000)
		buf_addc(&b, 'x');
	ck_assert(str_starts(exchange(b.data), "HTTP/1.1 414 "));
	buf_free(&b);
	stop();
}
END_TEST

START_TEST(pipelining_and_keepalive)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct buf b = BUF_INIT(0);
	bool ended;

	l.max_header = 256; /* so that the input is more than the server would hold at once */
	l.max_body = 16;
	start(&l);
	int fd = dial();
	for (int i = 0; i < 50; i++)
		buf_addf(&b, "GET /echo?q=%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
	say(fd, b.data);
	const char *at = wait_for(fd, "q=49 body=", &ended);
	ck_assert(!ended);
	for (int i = 0; i < 50; i++) {
		char want[32];

		snprintf(want, sizeof(want), "q=%d body=", i);
		at = strstr(at, want);
		ck_assert_msg(at != NULL, "no %s in its place", want);
	}
	say(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection is still good */
	ck_assert_ptr_nonnull(strstr(wait_for(fd, "body=", &ended), "200 OK"));
	shutdown(fd, SHUT_WR);
	wait_for(fd, NULL, &ended);
	ck_assert(ended);
	close(fd);
	/* A client that shuts its side at once still gets its answers. */
	fd = dial();
	say(fd, b.data);
	shutdown(fd, SHUT_WR);
	ck_assert_ptr_nonnull(strstr(wait_for(fd, NULL, &ended), "q=49 body="));
	ck_assert(ended);
	close(fd);
	buf_free(&b);
	stop();
}
END_TEST

START_TEST(byte_by_byte_and_continue)
{
	static const char text[] = "\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
				   "Expect: 100-continue\r\n\r\n";

	start(NULL);
	int fd = dial();
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		ck_assert_int_eq(send(fd, text + i, 1, 0), 1);
		turn();
	}
	ck_assert_str_eq(wait_for(fd, "\r\n\r\n", NULL), "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "abc");
	ck_assert_ptr_nonnull(strstr(wait_for(fd, "body=", NULL), "body=abc"));
	close(fd);
	stop();
}
END_TEST

START_TEST(slow_clients_are_cut)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct mono from = mono_now();
	bool ended = false;
	int dripped = 0;

	l.request_ms = 100;
	l.idle_ms = 50;
	start(&l);
	int idle = dial(), slow = dial();
	say(slow, "GET / HTTP/1.1\r\nX: ");
	/* A byte every 5 ms would hold evhttp for ever. */
	char got[512] = "";
	while (!ended && dripped < 400) {
		turn();
		dripped += send(slow, "x", 1, MSG_NOSIGNAL) == 1;
		usleep(5000);
		ssize_t n = recv(slow, got, sizeof(got) - 1, 0);
		ended = n >= 0;
	}
	ck_assert_msg(str_starts(got, "HTTP/1.1 408 "), "%s", got);
	ck_assert_int_lt(mono_since(mono_now(), from), NS_PER_SEC);
	ck_assert_str_eq(wait_for(idle, NULL, &ended), "");
	ck_assert(ended);
	close(idle);
	close(slow);
	/* The same in a body. */
	slow = dial();
	say(slow, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
	ck_assert(str_starts(wait_for(slow, NULL, &ended), "HTTP/1.1 408 "));
	ck_assert(ended);
	close(slow);
	stop();
}
END_TEST

/* A client that does not read its answer. */
START_TEST(slow_reader_is_cut)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct mono from = mono_now();

	l.write_ms = 100;
	start(&l);
	int fd = dial();
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
	struct buf b = BUF_INIT(0);
	for (int i = 0; i < 100; i++)
		buf_adds(&b, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
	say(fd, b.data);
	buf_free(&b);
	do {
		turn();
		usleep(1000);
	} while (http_server_conns(srv) > 0 && mono_since(mono_now(), from) < 2 * NS_PER_SEC);
	ck_assert_uint_eq(http_server_conns(srv), 0);
	close(fd);
	stop();
}
END_TEST

START_TEST(two_hundred_connections_beyond_the_cap)
{
	enum { CAP = 16, EXTRA = 200 };
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	int busy[CAP - 1], more[EXTRA];

	l.max_conns = CAP;
	start(&l);
	/* All idle: the oldest give way, and the newest is served. */
	for (int i = 0; i < EXTRA; i++) {
		more[i] = dial();
		turn();
		ck_assert_uint_le(http_server_conns(srv), CAP);
	}
	say(more[EXTRA - 1], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert(str_starts(wait_for(more[EXTRA - 1], "body=", NULL), "HTTP/1.1 200 "));
	ck_assert_int_eq(recv(more[0], (char[1]){0}, 1, 0), 0);
	for (int i = 0; i < EXTRA; i++)
		close(more[i]);
	/* All in the middle of a request: who has been for longest gives way, and who says a whole
	 * one is served among them, also one that has been there for long. */
	int quiet = dial();
	turn();
	for (int i = 0; i < CAP - 1; i++) {
		busy[i] = dial();
		say(busy[i], "GET /echo");
		turn();
		turn();
	}
	ck_assert_uint_eq(http_server_conns(srv), CAP);
	say(quiet, "GET /echo");
	turn();
	for (int i = 0; i < EXTRA; i++) {
		more[i] = dial();
		say(more[i],
		    i % 2 ? "G" : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
		turn();
		turn();
		ck_assert_uint_le(http_server_conns(srv), CAP);
		if (i == CAP - 2) {
			say(quiet, " HTTP/1.1\r\nHost: x\r\n\r\n");
			ck_assert(str_starts(wait_for(quiet, "body=", NULL), "HTTP/1.1 200 "));
		}
	}
	ck_assert_int_eq(recv(busy[0], (char[1]){0}, 1, 0), 0);
	ck_assert(str_starts(exchange("GET /echo HTTP/1.1\r\n" CLOSE), "HTTP/1.1 200 "));
	close(quiet);
	for (int i = 0; i < CAP - 1; i++)
		close(busy[i]);
	for (int i = 0; i < EXTRA; i++)
		close(more[i]);
	stop();
}
END_TEST

/* No descriptors are left before the connections are too many. */
START_TEST(descriptors_run_out)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct rlimit limit;
	int ready[2];
	char byte;

	start(&l);
	sin.sin_port = htons((uint16_t)http_server_port(srv, 0));
	ck_assert_int_eq(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 50; i++) {
			int fd = socket(AF_INET, SOCK_STREAM, 0);

			if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0)
				_exit(1);
		}
		(void)!write(ready[1], "x", 1);
		pause();
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), last = dup(fd);
	close(last);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	rlim_t was = limit.rlim_cur;
	limit.rlim_cur = (rlim_t)last + 8;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < 100; i++)
		turn();
	ck_assert_uint_le(http_server_conns(srv), 8);
	connect(fd, (struct sockaddr *)&sin, sizeof(sin));
	for (int i = 0; i < 10; i++)
		turn();
	say(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert(str_starts(wait_for(fd, "body=", NULL), "HTTP/1.1 200 "));
	limit.rlim_cur = was;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	close(ready[0]);
	close(ready[1]);
	stop();
}
END_TEST

START_TEST(gzip)
{
	static char out[2 * LARGE];
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	z_stream z = {0};
	size_t len = 0;

	start(&l);
	const char *got = exchange("GET /large HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE);
	const char *field = strstr(got, "\r\nContent-Length: "), *body = strstr(got, "\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Encoding: gzip\r\n"));
	ck_assert_ptr_nonnull(strstr(got, "\r\nVary: Accept-Encoding\r\n"));
	ck_assert_int_eq(sscanf(field, "\r\nContent-Length: %zu", &len), 1);
	ck_assert_uint_lt(len, LARGE / 10);
	inflateInit2(&z, 15 + 16);
	z.next_in = (unsigned char *)(uintptr_t)body + 4;
	z.avail_in = (unsigned)len;
	z.next_out = (unsigned char *)out;
	z.avail_out = sizeof(out);
	ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
	ck_assert_uint_eq(z.total_out, LARGE);
	ck_assert(str_starts(out, "ten bytes\nten bytes\n"));
	inflateEnd(&z);
	got = exchange("GET /large HTTP/1.1\r\n" CLOSE);
	ck_assert_ptr_null(strstr(got, "gzip"));
	ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), LARGE);
	got = exchange("GET /echo HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE);
	ck_assert_ptr_null(strstr(got, "gzip"));
	stop();
}
END_TEST

/* --- listening --- */

START_TEST(bind_errors)
{
	static const char *const bad[] = {
		"", "9586", "localhost:9586", "::1:80", "1.2.3.4:99999", "127.0.0.1:", "unix:"};
	char where[64], want[128];
	struct err e = {0};

	start(NULL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(http_server_bind(srv, bad[i], NULL) < 0, "%s", bad[i]);
	snprintf(where, sizeof(where), "127.0.0.1:%u", http_server_port(srv, 0));
	ck_assert_int_eq(http_server_bind(srv, where, &e), -EADDRINUSE);
	snprintf(want, sizeof(want), "cannot listen at %s: the port is taken by ", where);
	ck_assert_msg(str_starts(e.msg, want), "%s", e.msg);
	snprintf(want, sizeof(want), "(pid %d)", (int)getpid());
	ck_assert_msg(strstr(e.msg, want) != NULL, "%s", e.msg);
	if (http_server_bind(srv, "[::1]:0", NULL) == 0)
		ck_assert_uint_ne(http_server_port(srv, 1), 0);
	stop();
}
END_TEST

/* IPv4 alone is for machines without IPv6, not for those where somebody has the port there. */
START_TEST(everywhere_is_both)
{
	char where[64];
	struct err e = {0};

	start(NULL);
	if (http_server_bind(srv, "[::1]:0", NULL) == 0) {
		snprintf(where, sizeof(where), "*:%u", http_server_port(srv, 1));
		ck_assert_int_eq(http_server_bind(srv, where, &e), -EADDRINUSE);
		ck_assert_msg(strstr(e.msg, "[::]:") != NULL, "%s", e.msg);
	}
	stop();
}
END_TEST

START_TEST(unix_socket)
{
	char dir[] = "/tmp/test_http.XXXXXX", where[128], want[64];
	struct err e = {0};
	struct stat st;
	int fd;

	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(where, sizeof(where), "unix:%s/run/s.sock", dir);
	const char *path = where + 5;
	start(NULL);
	ck_assert_int_eq(http_server_bind(srv, where, NULL), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	/* A second server is told who has it. */
	ck_assert_int_eq(http_server_bind(srv, where, &e), -EADDRINUSE);
	snprintf(want, sizeof(want), "(pid %d)", (int)getpid());
	ck_assert_msg(strstr(e.msg, want) != NULL, "%s", e.msg);
	stop();
	ck_assert_int_lt(stat(path, &st), 0);
	/* A socket that nobody serves is replaced. */
	ck_assert_int_eq(http_listen_unix(path, &fd, NULL), 0);
	close(fd);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(http_listen_unix(path, &fd, &e), 0);
	close(fd);
	unlink(path);
	/* Others cannot open the directory; and where somebody has locked it, that is said. */
	*strrchr(where, '/') = '\0';
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0711);
	int lock = open(path, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(flock(lock, LOCK_EX), 0);
	where[strlen(where)] = '/';
	ck_assert_int_eq(http_listen_unix(path, &fd, &e), -EBUSY);
	ck_assert_msg(strstr(e.msg, "another process has locked") != NULL, "%s", e.msg);
	close(lock);
	/* What is not a socket is not touched. */
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(http_listen_unix(path, &fd, NULL), -EEXIST);
	unlink(path);
	*strrchr(where, '/') = '\0';
	ck_assert_int_eq(stat(path, &st), 0);
	rmdir(path);
	rmdir(dir);
}
END_TEST

START_TEST(process_metrics)
{
	struct metrics *m = metrics_new();
	struct buf b = BUF_INIT(0);
	double start_time = 0, fds = 0;

	ck_assert_int_eq(http_process_metrics(m, NULL), 0);
	ck_assert_int_eq(metrics_write(m, METRICS_TEXT, &b), 0);
	ck_assert_ptr_nonnull(strstr(b.data, "\nprocess_cpu_seconds_total "));
	ck_assert_ptr_nonnull(strstr(b.data, "\nprocess_resident_memory_bytes "));
	ck_assert_ptr_nonnull(strstr(b.data, "\nprocess_virtual_memory_bytes "));
	ck_assert_ptr_nonnull(strstr(b.data, "\nprocess_max_fds "));
	sscanf(strstr(b.data, "\nprocess_start_time_seconds "), "%*s %lf", &start_time);
	sscanf(strstr(b.data, "\nprocess_open_fds "), "%*s %lf", &fds);
	double now = (double)wall_now().ns / NS_PER_SEC;
	ck_assert_msg(start_time > now - 600 && start_time < now + 5, "%f, now %f", start_time,
		      now);
	ck_assert_msg(fds >= 3 && fds < 100, "%f", fds);
	buf_free(&b);
	metrics_free(m);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("http", parser_accepts, parser_refuses, gzip_wanted, answers,
			  head_has_no_body, requests_without_memory, big_header,
			  pipelining_and_keepalive, byte_by_byte_and_continue, slow_clients_are_cut,
			  slow_reader_is_cut, two_hundred_connections_beyond_the_cap,
			  descriptors_run_out, gzip, bind_errors, everywhere_is_both, unix_socket,
			  process_metrics);
}
UNIT_MAIN(suite)
