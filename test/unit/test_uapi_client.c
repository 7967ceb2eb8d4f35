/* lib/uapi's client: against servers that answer, and servers that misbehave. */
#include "unit.h"

#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "uapi/client.h"

#define A "0101010101010101010101010101010101010101010101010101010101010101"
/* A pair; the public key is from wg pubkey. */
#define PRIVATE "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ac177fba51db92c2a"
#define PUBLIC  "2953e97dca1229f97c600bec2c17feeaab35ce4bedf66b1d42f16a449dc5c05f"

static struct key key(const char *hex)
{
	struct key k;

	ck_assert_int_eq(key_from_hex(hex, &k), 0);
	return k;
}

static struct key nth_key(size_t n)
{
	struct key k = {{1}};

	memcpy(k.b + 8, &n, sizeof(n));
	return k;
}

/* A server on a thread: takes one connection, reads until an empty line or `read_max` bytes,
 * writes `answer` and closes; or holds the connection open in silence. */
struct server {
	char dir[32], path[64];
	int listen_fd;
	const char *answer;
	size_t read_max;
	bool hang;
	unsigned pause_ms; /* between the bytes of the answer, or: */
	size_t portion;
	int done[2]; /* closed by the test when the server may leave */
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	char in[4096], end[2] = {0};
	size_t got = 0;
	int fd = accept(s->listen_fd, NULL, NULL);

	while (got < s->read_max && !(got >= 2 && end[0] == '\n' && end[1] == '\n')) {
		ssize_t n = read(fd, in, sizeof(in));

		if (n <= 0)
			break;
		got += (size_t)n;
		end[0] = n > 1 ? in[n - 2] : end[1];
		end[1] = in[n - 1];
	}
	for (const char *p = s->answer; *p; p++) {
		size_t n = s->pause_ms ? 1 : strlen(p);

		if (s->portion && s->portion < strlen(p))
			n = s->portion;

		if (send(fd, p, n, MSG_NOSIGNAL) < 0)
			break;
		p += n - 1;
		usleep(s->pause_ms * 1000);
	}
	if (s->hang)
		(void)!read(s->done[0], in, 1);
	close(fd);
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	if (s->read_max == 0)
		s->read_max = SIZE_MAX;
	strcpy(s->dir, "/tmp/uapi-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/wg0.sock", s->dir);
	strcpy(sun.sun_path, s->path);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(s->listen_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(s->listen_fd, 1), 0);
	ck_assert_int_eq(pipe(s->done), 0);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
	close(s->done[1]);
	pthread_join(s->thread, NULL);
	close(s->done[0]);
	close(s->listen_fd);
	unlink(s->path);
	rmdir(s->dir);
}

static const struct uapi_timeout quick = {.silence_ms = 150, .total_ms = 400};

static int get_from(struct server *s, struct wgdev *ret, struct uapi_server *who, struct err *e)
{
	server_start(s);
	int r = uapi_client_get(s->path, quick, ret, who, e);
	server_end(s);
	return r;
}

START_TEST(client_gets)
{
	struct server s = {.answer = "private_key=" PRIVATE "\npublic_key=" A "\nerrno=0\n\n"};
	struct server boring = {.answer = "own_public_key=" PUBLIC "\nerrno=0\n\n"};
	struct server scoped = {.answer = "public_key=" A "\nendpoint=[fe80::1%lo]:5\nerrno=0\n\n"};
	struct uapi_server who;
	struct key pub = key(PUBLIC);
	struct wgdev d = {.ifname = "wg0"};

	ck_assert_int_eq(get_from(&s, &d, &who, NULL), 0);
	ck_assert(key_eq(&d.public_key, &pub));
	ck_assert_uint_eq(d.n_peers, 1);
	ck_assert_str_eq(d.ifname, "wg0");
	ck_assert_int_eq(who.pid, getpid());
	ck_assert(!who.boringtun);
	ck_assert_int_eq(get_from(&boring, &d, &who, NULL), 0);
	ck_assert(who.boringtun && key_eq(&d.public_key, &pub));
	ck_assert_int_eq(get_from(&scoped, &d, NULL, NULL), 0);
	ck_assert_uint_eq(d.peers[0].endpoint.scope, if_nametoindex("lo"));
	wgdev_clear(&d);
}
END_TEST

START_TEST(client_failures)
{
	struct server cases[] = {
		{.answer = "", .hang = true},
		{.answer = "listen_port=1\n", .hang = true},
		{.answer = "#!garbage\n"},
		{.answer = "listen_port=1\nerrno=0\n"},
		{.answer = ""},
		{.answer = "listen_port=12345\nfwmark=12345\nerrno=0\n\n", .pause_ms = 50},
		{.answer = "errno=-1\n\n"},
	};
	static const int want[] = {-ETIMEDOUT,  -ETIMEDOUT, -EPROTO, -ECONNRESET,
				   -ECONNRESET, -ETIMEDOUT, -EPERM};
	struct wgdev d = {.listen_port = 7};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = {0};
		struct mono start = mono_now();
		int r = get_from(&cases[i], &d, NULL, &e);

		ck_assert_msg(r == want[i] && e.code == r, "case %zu: %d %s", i, r, e.msg);
		ck_assert(str_starts(e.msg, cases[i].path));
		/* The server of case 5 sends for another two seconds before it is joined. */
		ck_assert(i == 5 || mono_since(mono_now(), start) < 800 * NS_PER_MSEC);
	}
	ck_assert_uint_eq(d.listen_port, 7);
	ck_assert_int_eq(uapi_client_get("/nonexistent/wg0.sock", quick, &d, NULL, NULL), -ENOENT);
}
END_TEST

/* A peer every ten milliseconds is slow, a byte is not to be waited for. */
START_TEST(client_slow_answers)
{
	enum { N = 60, LEN = sizeof("public_key=" A "\n") - 1 };
	struct uapi_timeout t = {.silence_ms = 150, .total_ms = 200, .peer_ms = 20};
	char answer[N * LEN + sizeof("errno=0\n\n")];
	struct server steady = {.answer = answer, .pause_ms = 10, .portion = LEN};
	struct server same = steady, drips = {.answer = answer, .pause_ms = 50};
	struct wgdev d = {0};
	struct err e;

	for (size_t i = 0; i < N; i++)
		snprintf(answer + i * LEN, LEN + 1, "public_key=%063zx1\n", i);
	strcpy(answer + N * LEN, "errno=0\n\n");
	server_start(&steady);
	ck_assert_msg(uapi_client_get(steady.path, t, &d, NULL, &e) == 0, "%s", e.msg);
	server_end(&steady);
	ck_assert_uint_eq(d.n_peers, N);

	struct mono start = mono_now();
	server_start(&drips);
	ck_assert_int_eq(uapi_client_get(drips.path, t, &d, NULL, &e), -ETIMEDOUT);
	ck_assert(mono_since(mono_now(), start) < 2 * NS_PER_SEC);
	ck_assert_ptr_nonnull(strstr(e.msg, "no answer within 200 ms"));
	server_end(&drips);
	t.peer_ms = 0;
	server_start(&same);
	ck_assert_int_eq(uapi_client_get(same.path, t, &d, NULL, &e), -ETIMEDOUT);
	server_end(&same);
	wgdev_clear(&d);
}
END_TEST

/* A connection that nobody accepts, and a socket file whose server is gone. */
START_TEST(client_nobody_there)
{
	char dir[] = "/tmp/uapi-test-XXXXXX";
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct wgdev d = {0};
	struct err e;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other[4];
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(uapi_client_get(sun.sun_path, quick, &d, NULL, &e), -ETIMEDOUT);
	for (size_t i = 0; i < ARRAY_LEN(other); i++) { /* until the backlog is full */
		other[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(other[i], (struct sockaddr *)&sun, sizeof(sun));
	}
	ck_assert_int_eq(uapi_client_get(sun.sun_path, quick, &d, NULL, &e), -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(e.msg, "connection"));
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		close(other[i]);
	close(fd);
	ck_assert_int_eq(uapi_client_get(sun.sun_path, quick, &d, NULL, &e), -ECONNREFUSED);
	unlink(sun.sun_path);
	rmdir(dir);
}
END_TEST

/* A large request: taken whole, and refused early by a server that then closes. */
START_TEST(client_sets)
{
	enum { N = 5000 };
	struct wgdev_peer_change *peers = calloc(N, sizeof(*peers));
	struct wgdev_change c = {.peers = peers, .n_peers = N};
	struct server good = {.answer = "errno=0\n\n"};
	struct server refuses = {.answer = "errno=22\n\n", .read_max = 100};
	struct server dies = {.answer = "", .read_max = 100};
	struct err e;

	ck_assert_ptr_nonnull(peers);
	for (size_t i = 0; i < N; i++)
		peers[i].public_key = nth_key(i);
	server_start(&good);
	ck_assert_int_eq(uapi_client_set(good.path, quick, &c, &e), 0);
	server_end(&good);
	server_start(&refuses);
	ck_assert_int_eq(uapi_client_set(refuses.path, quick, &c, &e), -EINVAL);
	server_end(&refuses);
	server_start(&dies);
	ck_assert_int_eq(uapi_client_set(dies.path, quick, &c, &e), -ECONNRESET);
	server_end(&dies);
	free(peers);
}
END_TEST

/* What a harmony-wg tells of itself, appended; others' answers, halves and floods are not. */
START_TEST(client_stats)
{
	static const char good[] = "version=1.0\nrx_packets=7\nerrno=0\n\n";
	static char flood[3000];
	struct server once = {.answer = good};
	struct server slow = {.answer = good, .pause_ms = 1};
	struct server bad[] = {
		{.answer = "errno=-71\n\n"},         /* wireguard-go knows no such operation */
		{.answer = "errno=0\n\n"},           /* one that answers anything */
		{.answer = "a=1\nerrno=5\n\n"},      /* statistics that failed */
		{.answer = "a=1\n\nb=2\n\n"},        /* no errno at all */
		{.answer = "a=1\nerrno=0\n\nx\n\n"}, /* more than an answer */
		{.answer = "\n", .hang = true},      /* not the end of what was there before */
		{.answer = "a=1\nerrno=0\n"},
		{.answer = "", .hang = true},
		{.answer = flood},
	};
	static const int want[] = {-EPROTO,    -EPROTO,     -EPROTO,    -EPROTO, -EPROTO,
				   -ETIMEDOUT, -ECONNRESET, -ETIMEDOUT, -E2BIG};
	struct buf text = BUF_INIT(2000);
	struct err e;

	memset(flood, 'x', sizeof(flood) - 1);
	server_start(&once);
	ck_assert_int_eq(uapi_client_stats(once.path, quick, &text, &e), 0);
	server_end(&once);
	ck_assert_str_eq(text.data, good);
	server_start(&slow);
	ck_assert_int_eq(
		uapi_client_stats(slow.path,
				  (struct uapi_timeout){.silence_ms = 5000, .total_ms = 5000},
				  &text, &e),
		0);
	server_end(&slow);
	ck_assert_uint_eq(text.len, 2 * (sizeof(good) - 1));
	ck_assert_str_eq(text.data + sizeof(good) - 1, good);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		server_start(&bad[i]);
		int r = uapi_client_stats(bad[i].path, quick, &text, &e);

		ck_assert_msg(r == want[i] && e.code == r, "case %zu: %d %s", i, r, e.msg);
		ck_assert(str_starts(e.msg, bad[i].path));
		server_end(&bad[i]);
		ck_assert_uint_eq(text.len, 2 * (sizeof(good) - 1));
		ck_assert_uint_eq(strlen(text.data), text.len);
		ck_assert_int_eq(uapi_client_stats("/nonexistent", quick, &text, NULL), -ENOENT);
	}
	buf_free(&text);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("uapi_client", client_gets, client_failures, client_slow_answers,
			  client_nobody_there, client_sets, client_stats);
}

UNIT_MAIN(suite)
