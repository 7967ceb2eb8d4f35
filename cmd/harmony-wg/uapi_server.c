/*
 * The control socket. Clients are served by the control thread without ever waiting for one: what
 * cannot be read or written now is left for the next event. The data path goes on meanwhile.
 *
 *     READ --request whole--> applied, or a snapshot taken --> WRITE --all sent--> READ
 *
 * A dump is written in portions of PORTION bytes from a snapshot, so that a large device is never
 * in memory as text. At most CLIENTS are connected; one more ends the one that has been idle
 * longest.
 *
 * Beside get and set, "stats=1" answers key=value lines, then errno=0. It is read-only, and
 * ends with an empty line as the others do.
 */
#include "uapi_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "log/log.h"
#include "stats.h"
#include "uapi/uapi.h"

#define CLIENTS 16
#define PORTION (32 << 10)
#define OUT_MAX (PORTION + 4096)
#define STATS   "stats=1\n\n"
#define BACKLOG 32
#define TAKES   10 /* of its name */

struct client {
	int fd;        /* -1: free */
	uint64_t used; /* when, counting events */
	struct uapi_request request;
	size_t stats; /* bytes of STATS that have come, at the start of a request */
	bool writing, close;
	bool only;      /* handed over, connected: there is no other, and its end is ours */
	bool streaming; /* `writer` has more */
	struct wgdev dev;
	struct uapi_writer writer;
	struct buf out;
	size_t sent;
};

struct uapi_server {
	struct control *control;
	struct uapi_names names; /* of interfaces, in endpoints */
	int fd;
	uint64_t clock;
	struct client clients[CLIENTS];
};

/* ── the socket file ────────────────────────────────────────────────────────────────────── */

static bool answers(const struct sockaddr_un *sa)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ||
			   errno == EAGAIN || errno == EINPROGRESS);
}

/*
 * wg(8) removes a socket that refuses it, for one that was left behind. So ours listens before it
 * has its name; and where a wg that has met one that really was left behind removes ours for it, in
 * the moment in which ours takes its place, the name is taken again.
 */
static int publish(const char *made, const struct sockaddr_un *sa, struct err *e)
{
	while (link(made, sa->sun_path) < 0) {
		if (errno != EEXIST)
			return err_sys(e, -errno, "cannot make %s", sa->sun_path);
		if (answers(sa))
			return err_set(e, -EADDRINUSE, "another process serves %s already",
				       sa->sun_path);
		if (unlink(sa->sun_path) < 0 && errno != ENOENT)
			return err_sys(e, -errno, "cannot remove %s, left behind", sa->sun_path);
	}
	return 0;
}

static bool is_there(const char *path, const struct stat *made)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_ino == made->st_ino && st.st_dev == made->st_dev;
}

/* What the watch has seen so far was of others; what it sees from here on is the end of ours. */
static int publish_watched(const char *made, const struct sockaddr_un *sa, int watch, struct err *e)
{
	struct stat st;
	char events[4096];
	int r;

	if (lstat(made, &st) < 0)
		return err_sys(e, -errno, "%s", made);
	for (unsigned i = 0; i < TAKES; i++) {
		if ((r = publish(made, sa, e)) < 0)
			return r;
		while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
			;
		if (is_there(sa->sun_path, &st))
			return 0;
	}
	return err_set(e, -EBUSY, "somebody removes %s as soon as it is there", sa->sun_path);
}

static int listen_at(int fd, const struct sockaddr_un *sa, struct err *e)
{
	mode_t old = umask(077);
	int r = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;

	umask(old);
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	return r < 0 ? err_sys(e, r, "cannot listen on %s", sa->sun_path) : 0;
}

int uapi_server_bind(const char *ifname, int watch, int *ret_fd, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX}, made = sa;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return err_sys(e, -errno, "cannot open the control socket");
	snprintf(sa.sun_path, sizeof(sa.sun_path), UAPI_DIR "/%s.sock", ifname);
	snprintf(made.sun_path, sizeof(made.sun_path), UAPI_DIR "/.%s.%d", ifname, getpid());
	(void)unlink(made.sun_path); /* of somebody killed in this place, long ago */
	r = listen_at(fd, &made, e);
	if (r == 0)
		r = publish_watched(made.sun_path, &sa, watch, e);
	(void)unlink(made.sun_path);
	if (r == 0)
		*ret_fd = mem_steal_fd(&fd);
	return r;
}

/* ── clients ────────────────────────────────────────────────────────────────────────────── */

static void end_dump(struct client *k)
{
	wgdev_clear(&k->dev);
	k->streaming = false;
}

static void drop(struct client *k)
{
	mem_close_p(&k->fd); /* which takes it out of the loop */
	uapi_request_clear(&k->request);
	end_dump(k);
	buf_wipe(&k->out);
	*k = (struct client){.fd = -1};
}

static unsigned ifindex(void *tun, const char *name)
{
	return tun_index_of(tun, name);
}

struct uapi_server *uapi_server_new(struct control *c, int fd)
{
	struct uapi_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->control = c;
	s->names = (struct uapi_names){ifindex, c->path->tun};
	s->fd = fd;
	for (unsigned i = 0; i < CLIENTS; i++)
		s->clients[i].fd = -1;
	return s;
}

void uapi_server_free(struct uapi_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < CLIENTS; i++)
		drop(&s->clients[i]);
	mem_close_p(&s->fd);
	free(s);
}

/* What ends by itself, or by what it says. */
static void lose(struct uapi_server *s, struct client *k)
{
	if (k->only)
		control_end(s->control, "control socket closed", 0);
	drop(k);
}

static struct client *place(struct uapi_server *s)
{
	struct client *idle = &s->clients[0];

	for (unsigned i = 0; i < CLIENTS; i++) {
		if (s->clients[i].fd < 0)
			return &s->clients[i];
		if (s->clients[i].used < idle->used)
			idle = &s->clients[i];
	}
	drop(idle);
	return idle;
}

static int take(struct uapi_server *s, int fd, bool only)
{
	struct client *k = place(s);
	int r;

	k->fd = fd;
	k->only = only;
	k->used = ++s->clock;
	k->out = BUF_INIT(OUT_MAX);
	uapi_request_init(&k->request, &s->names);
	wgdev_init(&k->dev);
	r = buf_reserve(&k->out, OUT_MAX - 1);
	if (r == 0)
		r = control_watch(s->control, fd, CONTROL_CLIENT + (uint32_t)(k - s->clients),
				  EPOLLIN);
	if (r < 0)
		drop(k);
	return r;
}

void uapi_server_accept(struct uapi_server *s)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		(void)take(s, fd, false);
}

int uapi_server_start(struct uapi_server *s, struct err *e)
{
	int listens = 0, r;
	socklen_t len = sizeof(listens);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return err_sys(e, -errno, "control socket");
	if (listens)
		r = control_watch(s->control, s->fd, CONTROL_LISTEN, EPOLLIN);
	else if (fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	else
		r = take(s, mem_steal_fd(&s->fd), true);
	return r < 0 ? err_sys(e, r, "control socket") : 0;
}

/* ── answers ────────────────────────────────────────────────────────────────────────────── */

static void answer_get(struct uapi_server *s, struct client *k)
{
	struct control *c = s->control;
	int r = wg_get(c->device, &k->dev);

	if (r < 0) {
		wgdev_clear(&k->dev);
		uapi_format_errno(r, &k->out);
		return;
	}
	k->dev.listen_port = control_port(c);
	k->dev.fwmark = c->fwmark;
	k->writer = (struct uapi_writer){.dev = &k->dev};
	k->streaming = true;
}

static void answer_request(struct uapi_server *s, struct client *k)
{
	struct err e = {0};
	int r = k->request.err.code;

	if (r == 0 && !k->request.is_set) {
		answer_get(s, k);
	} else {
		if (r == 0)
			r = control_apply(s->control, &k->request.change, &e);
		else
			e = k->request.err;
		if (r < 0)
			log_error("request refused",
				  LOG_STR("interface", s->control->path->tun->name),
				  LOG_STR("error", e.msg));
		uapi_format_errno(r, &k->out);
	}
	k->close = k->request.close;
	uapi_request_clear(&k->request);
}

static void answer_stats(struct uapi_server *s, struct client *k)
{
	stats_format(s->control, &k->out);
	uapi_format_errno(0, &k->out);
}

/* ── reading and writing ────────────────────────────────────────────────────────────────── */

/* Takes bytes up to the end of one request; true where one has ended and is answered. */
static bool feed(struct uapi_server *s, struct client *k, const char *data, size_t len,
		 size_t *ret_used)
{
	size_t at = 0, used;

	/* What begins as "stats=1" does is held back until it differs. */
	if (k->stats < sizeof(STATS)) {
		for (; at < len && data[at] == STATS[k->stats]; at++)
			if (++k->stats == sizeof(STATS) - 1) {
				k->stats = 0;
				*ret_used = at + 1;
				answer_stats(s, k);
				return true;
			}
		*ret_used = at;
		if (at == len)
			return false;
		size_t held = k->stats;
		k->stats = sizeof(STATS); /* not that one, until the request's end */
		if (held && uapi_request_feed(&k->request, STATS, held, &used)) {
			k->stats = 0;
			answer_request(s, k);
			return true;
		}
	}
	bool done = uapi_request_feed(&k->request, data + at, len - at, &used);
	*ret_used = at + used;
	if (done) {
		k->stats = 0;
		answer_request(s, k);
	}
	return done;
}

/* 1: all is written; 0: later; -1: the client is gone. */
static int flush(struct client *k)
{
	for (;;) {
		if (k->sent == k->out.len) {
			mem_wipe(k->out.data, k->out.len);
			buf_reset(&k->out);
			k->sent = 0;
			if (!k->streaming)
				return 1;
			int more = uapi_writer_fill(&k->writer, &k->out, PORTION);
			if (more < 0)
				return -1;
			if (more == 0)
				end_dump(k);
		}
		/* SIGPIPE is ignored. */
		ssize_t n = write(k->fd, k->out.data + k->sent, k->out.len - k->sent);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		k->sent += (size_t)n;
	}
}

static void want(struct uapi_server *s, struct client *k, bool write)
{
	struct epoll_event ev = {.events = write ? EPOLLOUT : EPOLLIN,
				 .data.u32 = CONTROL_CLIENT + (uint32_t)(k - s->clients)};

	if (k->writing != write)
		epoll_ctl(s->control->epoll, EPOLL_CTL_MOD, k->fd, &ev);
	k->writing = write;
}

/* One request at a time: what follows stays in the socket, by peeking first. */
static bool read_some(struct uapi_server *s, struct client *k)
{
	char b[16384];
	struct msghdr peek = {.msg_iov = &(struct iovec){b, sizeof(b)}, .msg_iovlen = 1};
	ssize_t n = recvmsg(k->fd, &peek, MSG_PEEK);
	size_t used = 0;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	feed(s, k, b, (size_t)n, &used);
	mem_wipe(b, (size_t)n);
	while (used > 0) {
		ssize_t taken = read(k->fd, b, used);

		if (taken <= 0)
			return false;
		mem_wipe(b, (size_t)taken);
		used -= (size_t)taken;
	}
	return true;
}

void uapi_server_client(struct uapi_server *s, uint32_t what, uint32_t events)
{
	unsigned i = what - CONTROL_CLIENT;
	struct client *k = &s->clients[i];
	int r;

	/* One event of a client that an earlier event of this round dropped. */
	if (i >= CLIENTS || k->fd < 0)
		return;
	k->used = ++s->clock;
	if (!k->writing && !read_some(s, k)) {
		lose(s, k);
		return;
	}
	r = flush(k);
	if (r < 0 || (r > 0 && k->close))
		lose(s, k);
	else
		want(s, k, r == 0);
}
