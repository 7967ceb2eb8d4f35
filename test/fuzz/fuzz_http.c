/*
 * The HTTP server over a socket pair. The input's first byte says after how many bytes the rest
 * arrives separately; then the client shuts its side and the server must end the connection.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct event_base *base;
static struct http_server *srv;

static void on_any(struct http_request *req, void *arg)
{
	size_t len;
	const char *body = http_request_body(req, &len);
	const char *q = http_request_query(req, "q");

	http_reply(req, 200, "text/plain", len ? body : q ? q : http_request_path(req));
}

static void set_up(void)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;

	l.gzip_min = 16;
	l.max_header = 1024;
	l.max_body = 512;
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	srv = http_server_new(base, &l);
	if (!srv || http_server_route(srv, "/", HTTP_GET | HTTP_POST, on_any, NULL) < 0 ||
	    http_server_route(srv, "/a b", HTTP_GET, on_any, NULL) < 0)
		abort();
}

static void turn(int fd)
{
	char sink[4096];

	event_base_loop(base, EVLOOP_NONBLOCK);
	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];

	if (!base)
		set_up();
	if (size < 1 || size > 16384 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return 0;
	size_t first = data[0];
	data++, size--;
	if (first > size)
		first = size;
	if (http_server_adopt(srv, fds[0]) < 0)
		abort();
	send(fds[1], data, first, MSG_DONTWAIT | MSG_NOSIGNAL);
	turn(fds[1]);
	send(fds[1], data + first, size - first, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fds[1], SHUT_WR);
	/* A turn answers at most one pipelined request (16 bytes at least). */
	for (size_t i = 0; http_server_conns(srv) > 0; i++) {
		if (i > 16 + size / 8)
			abort();
		turn(fds[1]);
	}
	close(fds[1]);
	return 0;
}
