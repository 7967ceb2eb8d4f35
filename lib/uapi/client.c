/*
 * One exchange: connect, write the request, read the reply, each step with the deadline.
 *
 * Reading goes on while the request is still being written, since a server may refuse a long
 * request at its first bad line. When it then closes, writing fails (EPIPE) but its answer is
 * there to be read; only when there is none has the connection broken.
 */
#include "uapi/client.h"
#include "base/str.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define UAPI_STATS "stats=1\n\n"
#define CHUNK      ((size_t)32 * 1024)

static unsigned ifindex(void *user, const char *name)
{
	return if_nametoindex(name);
}

static const struct uapi_names names = {ifindex, NULL};

struct exchange {
	int fd;
	const char *out; /* what is left to write */
	size_t out_len;
	struct uapi_timeout timeout;
	struct mono start, quiet_end;
	struct uapi_reply *reply; /* NULL: statistics */
};

static int total_ms(const struct exchange *x)
{
	int64_t ms = x->timeout.total_ms;

	if (x->reply && x->timeout.peer_ms)
		ms += (int64_t)x->reply->dev.n_peers * x->timeout.peer_ms;
	return ms > x->timeout.total_ms && ms > UAPI_TOTAL_MAX_MS ? UAPI_TOTAL_MAX_MS : (int)ms;
}

/* Waits for `events`; 0, or -ETIMEDOUT with the message set. */
static int wait_for(struct exchange *x, short events, struct err *e)
{
	for (;;) {
		struct mono now = mono_now();
		struct mono total = mono_add(x->start, total_ms(x) * NS_PER_MSEC);
		struct mono end = mono_before(total, x->quiet_end) ? total : x->quiet_end;
		int64_t ns = mono_since(end, now);
		struct pollfd p = {.fd = x->fd, .events = events};

		if (ns <= 0)
			return err_set(e, -ETIMEDOUT, "no answer within %d ms",
				       mono_before(now, total) ? x->timeout.silence_ms
							       : total_ms(x));
		int n = poll(&p, 1, (int)((ns + NS_PER_MSEC - 1) / NS_PER_MSEC));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, -errno, "poll");
	}
}

static void progress(struct exchange *x)
{
	x->quiet_end = mono_add(mono_now(), x->timeout.silence_ms * NS_PER_MSEC);
}

/* A Unix socket connects at once or finds the server's backlog full (EAGAIN): then a server that
 * hangs has let others pile up before us. */
static int connect_to(struct exchange *x, const char *path, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) < 0)
		return err_set(e, -ENAMETOOLONG, "a socket's path has at most %zu bytes",
			       sizeof(sun.sun_path) - 1);
	x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (x->fd < 0)
		return err_sys(e, -errno, "socket");
	while (connect(x->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, -errno, "connect");
		if (!mono_before(mono_now(), x->quiet_end))
			return err_set(e, -ETIMEDOUT, "no connection within %d ms",
				       x->timeout.silence_ms);
		poll(NULL, 0, 20);
	}
	return 0;
}

/* Writes what the socket takes. A connection closed by the server ends the writing only. */
static int write_some(struct exchange *x, struct err *e)
{
	ssize_t n = send(x->fd, x->out, x->out_len, MSG_NOSIGNAL);

	if (n >= 0) {
		x->out += n;
		x->out_len -= (size_t)n;
		progress(x);
	} else if (errno == EPIPE || errno == ECONNRESET) {
		x->out_len = 0;
	} else if (errno != EAGAIN && errno != EINTR) {
		return err_sys(e, -errno, "write");
	}
	return 0;
}

/* 1 when the reply is complete. */
static int read_some(struct exchange *x, struct err *e)
{
	char data[CHUNK];
	ssize_t n = recv(x->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && errno != ECONNRESET)
		return err_sys(e, -errno, "read");
	if (n <= 0)
		return err_set(e, -ECONNRESET, "the reply broke off after line %u",
			       x->reply->line.number);
	progress(x);
	int r = uapi_reply_feed(x->reply, data, (size_t)n, e);
	mem_wipe(data, (size_t)n);
	return r;
}

static int peer_pid(int fd, pid_t *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret = cred.pid;
	return 0;
}

static int run(struct exchange *x, const char *path, struct err *e)
{
	x->start = mono_now();
	progress(x);
	int r = connect_to(x, path, e);
	while (r == 0) {
		r = wait_for(x, x->out_len ? POLLIN | POLLOUT : POLLIN, e);
		if (r == 0 && x->out_len)
			r = write_some(x, e);
		if (r == 0)
			r = read_some(x, e);
	}
	return r < 0 ? r : 0;
}

int uapi_client_get(const char *path, struct uapi_timeout t, struct wgdev *ret,
		    struct uapi_server *server, struct err *e)
{
	struct uapi_reply reply;
	struct exchange x = {
		.fd = -1,
		.out = UAPI_GET,
		.out_len = sizeof(UAPI_GET) - 1,
		.timeout = t,
		.reply = &reply,
	};
	struct uapi_server who = {0};

	uapi_reply_init(&reply, &names);
	int r = run(&x, path, e);
	if (r == 0) {
		who.boringtun = reply.own_public_key;
		r = peer_pid(x.fd, &who.pid);
		if (r < 0)
			err_sys(e, r, "SO_PEERCRED");
	}
	if (r == 0)
		r = uapi_reply_finish(&reply, wall_now(), ret, e);
	if (r == 0 && server)
		*server = who;
	mem_close_p(&x.fd);
	uapi_reply_clear(&reply);
	if (r < 0)
		err_prefix(e, "%s", path);
	return r;
}

int uapi_client_set(const char *path, struct uapi_timeout t, const struct wgdev_change *c,
		    struct err *e)
{
	struct buf request = BUF_INIT(0);
	struct uapi_reply reply;
	struct wgdev none;

	uapi_reply_init(&reply, &names);
	wgdev_init(&none);
	int r = uapi_format_set(c, &request);
	if (r < 0) {
		err_sys(e, r, "set request");
	} else {
		struct exchange x = {
			.fd = -1,
			.out = request.data,
			.out_len = request.len,
			.timeout = t,
			.reply = &reply,
		};

		r = run(&x, path, e);
		if (r == 0)
			r = uapi_reply_finish(&reply, wall_now(), &none, e);
		mem_close_p(&x.fd);
	}
	wgdev_clear(&none);
	uapi_reply_clear(&reply);
	/* Only what was written: the room was for the worst case, and wiping it costs pages. */
	mem_wipe(request.data, request.len);
	buf_free(&request);
	if (r < 0)
		err_prefix(e, "%s", path);
	return r;
}

/* The answer stands in *ret behind `from`; 1 when its last line, which is empty, has come. */
static int read_stats(struct exchange *x, struct buf *ret, size_t from, struct err *e)
{
	char data[4096];
	ssize_t n = recv(x->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(e, -errno, "read");
	if (n == 0)
		return err_set(e, -ECONNRESET, "the reply broke off");
	progress(x);
	buf_add(ret, data, (size_t)n);
	if (buf_error(ret) < 0)
		return err_sys(e, buf_error(ret), "statistics");
	return ret->len >= from + 2 && memcmp(ret->data + ret->len - 2, "\n\n", 2) == 0;
}

int uapi_client_stats(const char *path, struct uapi_timeout t, struct buf *ret, struct err *e)
{
	struct exchange x = {
		.fd = -1, .out = UAPI_STATS, .out_len = sizeof(UAPI_STATS) - 1, .timeout = t};
	size_t from = ret->len;

	x.start = mono_now();
	progress(&x);
	int r = connect_to(&x, path, e);
	while (r == 0) {
		r = wait_for(&x, x.out_len ? POLLIN | POLLOUT : POLLIN, e);
		if (r == 0 && x.out_len)
			r = write_some(&x, e);
		if (r == 0)
			r = read_stats(&x, ret, from, e);
	}
	mem_close_p(&x.fd);
	if (r > 0 && !str_ends(buf_str(ret) + from, "\nerrno=0\n\n"))
		r = err_set(e, -EPROTO, "no statistics");
	if (r >= 0)
		return 0;
	if (ret->data)
		ret->data[ret->len = from] = '\0';
	err_prefix(e, "%s", path);
	return r;
}
