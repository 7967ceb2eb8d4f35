/* lib/control: messages, the socket with both protocols, who may ask, the client. */
#include "unit.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "base/time.h"
#include "control/control_priv.h"
#include "json/json.h"

static int reloads;

/* Many findings, as of a configuration that is refused: 4 KiB, with what JSON escapes. */
static const char *long_text(void)
{
	static char text[4097];

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 64 == 63 ? '\n' : i % 64 == 7 ? '"' : (char)('a' + i / 64 % 26);
	return text;
}

static int on_status(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	if (network && str_eq(network, "huge")) {
		*ret = json_object_new_array();
		for (int i = 0; i < 200; i++) {
			static char text[100000];

			memset(text, 'x', sizeof(text) - 1);
			json_object_array_add(*ret, json_object_new_string(text));
		}
		return 0;
	}
	if (network && !str_eq(network, "default"))
		return err_set(e, -ENOENT, "no network \"%s\"", network);
	*ret = json_object_new_object();
	json_object_object_add(*ret, "network", json_object_new_string("default"));
	json_object_object_add(*ret, "state", json_object_new_string("active/up"));
	return 0;
}

static int on_reload(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	reloads++;
	if (network && str_eq(network, "long")) {
		buf_adds(why, long_text());
		return err_set(e, -EINVAL, "%s", long_text());
	}
	return network ? err_set(e, atoi(network), "as told") : 0;
}

static const struct control_ops ops = {.status = on_status, .reload = on_reload};

/* --- messages --- */

#define OK(id, data) "{\"id\":" id ",\"success\":true,\"data\":" data "}\n"
#define FAIL(id, type, prefix)                                                                     \
	"{\"id\":" id ",\"success\":false,\"error\":{\"type\":\"" type "\",\"message\":\"" prefix
#define STATUS_DATA "{\"network\":\"default\",\"state\":\"active/up\"}"

START_TEST(messages)
{
	static const struct {
		const char *text, *want; /* the beginning */
	} cases[] = {
		{"{\"id\":\"7\",\"action\":\"status\"}", OK("\"7\"", STATUS_DATA)},
		{"{\"action\":\"status\"}", OK("null", STATUS_DATA)},
		{"{\"id\":null,\"action\":\"status\",\"network\":null,\"config\":null}\r",
		 OK("null", STATUS_DATA)},
		{"{\"id\":12,\"action\":\"reload\",\"interface\":\"wg0\"}", OK("12", "{}")},
		{"{\"id\":\"a\\\"b\",\"action\":\"status\",\"network\":\"x\"}",
		 FAIL("\"a\\\"b\"", "network_not_found", "no network \\\"x\\\"\"}}\n")},
		{"{\"id\":\"7\",\"action\":\"connect\"}",
		 FAIL("\"7\"", "parse_error",
		      "unknown action \\\"connect\\\"; accepted: status, reload\"}}\n")},
		{"{\"id\":\"7\"}", FAIL("\"7\"", "parse_error", "\\\"action\\\" must be")},
		{"{\"id\":\"7\",\"action\":1}", FAIL("\"7\"", "parse_error", "\\\"action\\\"")},
		{"{\"id\":[],\"action\":\"status\"}", FAIL("null", "parse_error", "\\\"id\\\"")},
		{"{\"id\":\"7\",\"action\":\"status\",\"network\":[]}",
		 FAIL("\"7\"", "parse_error", "\\\"network\\\" must be a string")},
		{"[]", FAIL("null", "parse_error", "a message is a JSON object")},
		{"{\"id\":\"7\",", FAIL("null", "parse_error", "")},
		{"{\"action\":\"status\",\"action\":\"reload\"}", FAIL("null", "parse_error", "")},
		{"{\"action\":\"status\"} x", FAIL("null", "parse_error", "")},
		{"", FAIL("null", "parse_error", "")},
		{"{\"action\":\"reload\",\"network\":\"-22\"}",
		 FAIL("null", "config_error", "as told")},
		{"{\"action\":\"reload\",\"network\":\"-16\"}", FAIL("null", "invalid_state", "")},
		{"{\"action\":\"reload\",\"network\":\"-114\"}", FAIL("null", "invalid_state", "")},
		{"{\"action\":\"reload\",\"network\":\"-13\"}",
		 FAIL("null", "permission_denied", "")},
		{"{\"action\":\"reload\",\"network\":\"-19\"}", FAIL("null", "platform_error", "")},
		{"{\"action\":\"reload\",\"network\":\"-99\"}", FAIL("null", "internal_error", "")},
		{"{\"id\":\"7\",\"action\":\"status\",\"network\":\"huge\"}",
		 FAIL("\"7\"", "serialization_error", "")},
	};
	struct buf b = BUF_INIT(CONTROL_ANSWER_MAX);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_reset(&b);
		control_answer(&ops, NULL, cases[i].text, strlen(cases[i].text), &b);
		ck_assert_msg(str_starts(buf_str(&b), cases[i].want), "%s: %s", cases[i].text,
			      buf_str(&b));
		ck_assert_int_eq(b.data[b.len - 1], '\n');
	}
	buf_free(&b);
	ck_assert_int_eq(control_error_code("network_not_found"), -ENOENT);
	ck_assert_int_eq(control_error_code("authentication_failed"), -EIO);
}
END_TEST

/* --- the socket --- */

static struct event_base *base;
static struct control *ctl;
static char dir[32], path[64];

static void start(void)
{
	str_copy(dir, sizeof(dir), "/tmp/test_control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/control.sock", dir);
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	ck_assert_int_eq(control_new(base, path, &ops, NULL, &ctl, NULL), 0);
	reloads = 0;
}

static void stop(void)
{
	struct stat st;

	control_free(ctl);
	event_base_free(base);
	ck_assert_int_lt(stat(path, &st), 0);
	*strrchr(path, '/') = '\0';
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

static int dial(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	str_copy(sun.sun_path, sizeof(sun.sun_path), path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Reads until `lines` line feeds were seen, the connection ended, or two seconds have passed. */
static const char *read_lines(int fd, int lines, bool *ret_ended)
{
	static char got[1 << 20];
	struct mono from = mono_now();
	size_t len = 0;

	*ret_ended = false;
	while (lines > 0 && !*ret_ended && mono_since(mono_now(), from) < 2 * NS_PER_SEC) {
		char c;

		event_base_loop(base, EVLOOP_NONBLOCK);
		ssize_t n = 0;
		while (lines > 0 && (n = recv(fd, &c, 1, 0)) == 1) {
			if (len < sizeof(got) - 1)
				got[len++] = c;
			lines -= c == '\n';
		}
		*ret_ended = n == 0;
		if (n < 0 && errno == EAGAIN)
			usleep(100);
		else if (n < 0)
			*ret_ended = true;
	}
	got[len] = '\0';
	return got;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

START_TEST(json_lines)
{
	static const char status[] = "{\"id\":\"1\",\"action\":\"status\"}";
	static const char want[] = OK("\"1\"", STATUS_DATA);
	bool ended;

	start();
	int fd = dial();
	/* In pieces, several at once, blank lines between, the connection kept. */
	say(fd, "{\"id\":\"1\",");
	event_base_loop(base, EVLOOP_NONBLOCK);
	say(fd, "\"action\":\"status\"}\n");
	ck_assert_str_eq(read_lines(fd, 1, &ended), want);
	for (int i = 0; i < 3000; i++) {
		say(fd, status);
		say(fd, "\r\n\n");
		if (i % 50 == 49) {
			read_lines(fd, 50, &ended);
			ck_assert(!ended);
		}
	}
	/* The last message may lack its line feed. */
	say(fd, status);
	shutdown(fd, SHUT_WR);
	ck_assert_str_eq(read_lines(fd, 9, &ended), want);
	ck_assert(ended);
	close(fd);
	stop();
}
END_TEST

START_TEST(many_at_once)
{
	struct buf b = BUF_INIT(0);
	bool ended;

	start();
	int fd = dial();
	for (int i = 0; i < 500; i++)
		buf_addf(&b, "{\"id\":%d,\"action\":\"status\"}\n", i);
	say(fd, b.data);
	shutdown(fd, SHUT_WR);
	const char *at = read_lines(fd, 501, &ended);
	for (int i = 0; i < 500; i++, at++) {
		char want[32];

		snprintf(want, sizeof(want), "{\"id\":%d,\"success\":true,", i);
		ck_assert_msg(str_starts(at, want), "%d: %.60s", i, at);
		at = strchr(at, '\n');
	}
	ck_assert(ended);
	close(fd);
	buf_free(&b);
	stop();
}
END_TEST

START_TEST(too_long)
{
	static char text[CONTROL_MESSAGE_MAX + 20000];
	bool ended;

	start();
	int fd = dial();
	memset(text, 'x', sizeof(text) - 1);
	text[0] = '{';
	for (size_t at = 0; at < sizeof(text) - 1;) {
		ssize_t n = send(fd, text + at, sizeof(text) - 1 - at, MSG_NOSIGNAL);

		event_base_loop(base, EVLOOP_NONBLOCK);
		if (n < 0 && errno != EAGAIN)
			break; /* the server has had enough */
		at += n > 0 ? (size_t)n : 0;
	}
	const char *got = read_lines(fd, 2, &ended);
	ck_assert_msg(str_starts(got, FAIL("null", "parse_error", "the message is longer than")),
		      "%.100s", got);
	ck_assert(ended);
	close(fd);
	stop();
}
END_TEST

static void assert_http(const char *request, const char *status, const char *body)
{
	bool ended;
	int fd = dial();

	say(fd, request);
	const char *got = read_lines(fd, 1000, &ended);
	ck_assert(ended);
	ck_assert_msg(str_starts(got, status) && str_ends(got, body), "%s: %s", request, got);
	close(fd);
}

START_TEST(over_http)
{
#define REST " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	start();
	assert_http("GET /v1/status" REST, "HTTP/1.1 200 ", "\r\n\r\n" STATUS_DATA);
	assert_http("GET /v1/status?network=x" REST, "HTTP/1.1 404 ",
		    "{\"error\":{\"type\":\"network_not_found\",\"message\":\"no network "
		    "\\\"x\\\"\"}}");
	assert_http("POST /v1/reload" REST, "HTTP/1.1 200 ", "\r\n\r\n{}");
	assert_http("POST /v1/reload?network=-16" REST, "HTTP/1.1 409 ", "}}");
	assert_http("POST /v1/reload?network=-22" REST, "HTTP/1.1 422 ", "}}");
	ck_assert_int_eq(reloads, 3);
	_cleanup_buf_ struct buf error = BUF_INIT(0);
	control_put_error(&error, "config_error", long_text());
	assert_http("POST /v1/reload?network=long" REST, "HTTP/1.1 422 ", buf_str(&error));
	assert_http("GET /v1/reload" REST, "HTTP/1.1 405 ", "\n");
	ck_assert_int_eq(reloads, 4);
	stop();
}
END_TEST

/* Another user, let in by the file's mode, is refused in both protocols. */
START_TEST(others_are_refused)
{
	struct stat st;

	if (getuid() != 0) {
		unit_skip("others_are_refused", "not root");
		return;
	}
	start();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	chmod(path, 0666);
	chmod(dir, 0755);
	for (int http = 0; http < 2; http++) {
		bool ended;
		pid_t pid = fork();

		if (pid == 0) {
			struct sockaddr_un sun = {.sun_family = AF_UNIX};
			const char *text =
				http ? "GET /v1/status" REST : "{\"action\":\"reload\"}\n";
			char got[512] = "";
			int fd = socket(AF_UNIX, SOCK_STREAM, 0);

			str_copy(sun.sun_path, sizeof(sun.sun_path), path);
			if (setuid(65534) < 0 ||
			    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
				_exit(2);
			send(fd, text, strlen(text), MSG_NOSIGNAL);
			for (size_t len = 0; len < sizeof(got) - 1;) {
				ssize_t n = recv(fd, got + len, sizeof(got) - 1 - len, 0);
				if (n <= 0)
					break;
				len += (size_t)n;
			}
			_exit(strstr(got, "permission_denied") && strstr(got, "user 65534") ? 0
											    : 3);
		}
		int status = -1;
		struct mono from = mono_now();
		ended = false;
		while (!ended && mono_since(mono_now(), from) < 3 * NS_PER_SEC) {
			event_base_loop(base, EVLOOP_NONBLOCK);
			ended = waitpid(pid, &status, WNOHANG) == pid;
			usleep(500);
		}
		ck_assert_msg(ended && status == 0, "http %d: status %x", http, status);
	}
	ck_assert_int_eq(reloads, 0);
	stop();
}
END_TEST

START_TEST(second_agent)
{
	struct control *other = NULL;
	struct err e = {0};
	char want[64];

	start();
	ck_assert_int_eq(control_new(base, path, &ops, NULL, &other, &e), -EADDRINUSE);
	snprintf(want, sizeof(want), "(pid %d)", (int)getpid());
	ck_assert_msg(strstr(e.msg, path) && strstr(e.msg, want), "%s", e.msg);
	ck_assert_ptr_null(other);
	stop();
}
END_TEST

/* --- the client: the server runs in a child --- */

static pid_t serve_in_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		event_reinit(base);
		event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
		_exit(0);
	}
	return pid;
}

START_TEST(client)
{
	_cleanup_buf_ struct buf why = BUF_INIT(0);
	struct json_object *data = NULL;
	struct err e = {0};
	int fd;

	ck_assert_int_eq(control_request("/nonexistent/s", "status", NULL, 100, &data, NULL, &e),
			 -ENOTCONN);
	ck_assert_msg(strstr(e.msg, "is harmony-agent running?") != NULL, "%s", e.msg);
	start();
	/* Nobody turns the loop yet. */
	ck_assert_int_eq(control_request(path, "status", NULL, 30, &data, NULL, &e), -ETIMEDOUT);
	pid_t pid = serve_in_child();
	ck_assert_int_eq(control_request(path, "status", NULL, 3000, &data, NULL, NULL), 0);
	ck_assert_str_eq(json_get_str(data, "state"), "active/up");
	json_object_put(data);
	data = NULL;
	ck_assert_int_eq(control_request(path, "status", "x\"y", 3000, &data, NULL, &e), -ENOENT);
	ck_assert_str_eq(e.msg, "no network \"x\"y\"");
	ck_assert_int_eq(control_request(path, "connect", NULL, 3000, &data, NULL, &e), -EBADMSG);
	ck_assert_ptr_null(data);
	/* What the error has no room for. */
	ck_assert_int_eq(control_request(path, "reload", "long", 3000, &data, &why, &e), -EINVAL);
	ck_assert_str_eq(buf_str(&why), long_text());
	ck_assert(str_ends(e.msg, "…"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	stop();
	/* A server that says something else. */
	char *s = strdup("/tmp/test_control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s));
	snprintf(path, sizeof(path), "%s/s", s);
	for (int i = 0; i < 3; i++) {
		static const char *const answers[] = {"{\"success\":true}\n", "hello\n", ""};
		struct sockaddr_un sun = {.sun_family = AF_UNIX};

		str_copy(sun.sun_path, sizeof(sun.sun_path), path);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		ck_assert_int_eq(listen(fd, 1), 0);
		pid = fork();
		if (pid == 0) {
			int one = accept(fd, NULL, NULL);
			char sink[256];

			if (recv(one, sink, sizeof(sink), 0) <= 0 ||
			    send(one, answers[i], strlen(answers[i]), 0) < 0)
				_exit(1);
			_exit(0);
		}
		close(fd);
		ck_assert_int_lt(control_request(path, "status", NULL, 3000, &data, NULL, &e), 0);
		ck_assert_msg(i == 1 ? e.code == -EINVAL : e.code == -EPROTO, "%d %s", i, e.msg);
		ck_assert_ptr_null(data);
		waitpid(pid, NULL, 0);
		unlink(path);
	}
	rmdir(s);
	free(s);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("control", messages, json_lines, many_at_once, too_long, over_http,
			  others_are_refused, second_agent, client);
}
UNIT_MAIN(suite)
