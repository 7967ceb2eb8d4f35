/* lib/log: what a record looks like in either rendering, whatever its values are; that it is one
 * line, one write and whole; that a full pipe is counted and holds nobody up. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "base/time.h"
#include "json/json.h"
#include "log/log.h"

static int pipes[2];

/* What was written since the last call. */
static const char *written(void)
{
	static char text[65536];
	ssize_t n = read(pipes[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void begin(enum log_format format, enum log_level least)
{
	ck_assert_int_eq(pipe2(pipes, O_NONBLOCK | O_CLOEXEC), 0);
	log_setup(format, least, pipes[1]);
}

static void end(void)
{
	log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO, STDERR_FILENO);
	close(pipes[0]);
	close(pipes[1]);
}

/* One line, and an object by the strict parser, the caller's. */
static struct json_object *object(void)
{
	const char *line = written();
	size_t len = strlen(line);
	struct json_object *o = NULL;
	struct err e = {0};

	ck_assert(len > 0 && line[len - 1] == '\n' && strchr(line, '\n') == line + len - 1);
	ck_assert_msg(json_parse(line, len, (struct json_limits){65536, 2}, &o, &e) == 0, "%s: %s",
		      e.msg, line);
	return o;
}

START_TEST(fields)
{
	begin(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	log_info("interface up", LOG_STR("network", "a"), LOG_STR("none", NULL), LOG_INT("mtu", -7),
		 LOG_BOOL("yes", true), LOG_DOUBLE("d", 0.5), LOG_DOUBLE("nan", NAN));
	_cleanup_json_ struct json_object *o = object();
	ck_assert_str_eq(json_get_str(o, "msg"), "interface up");
	ck_assert_str_eq(json_get_str(o, "level"), "info");
	ck_assert_uint_eq(strlen(json_get_str(o, "ts")), 27);
	ck_assert_str_eq(json_get_str(o, "network"), "a");
	ck_assert_int_eq(json_get_int(o, "mtu", 0), -7);
	ck_assert(json_get_bool(o, "yes", false));
	ck_assert_int_eq(json_object_object_length(o), 8); /* without `none` */
	end();
	begin(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_warn("x", LOG_STR("a", "b c"), LOG_INT("n", 1));
	ck_assert_ptr_nonnull(strstr(written(), " warn  x a=\"b c\" n=1\n"));
	end();
}
END_TEST

/* Every byte and what it may stand beside; broken UTF-8 is replaced, a line stays one. */
START_TEST(any_value)
{
	begin(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	for (unsigned c = 1; c < 256; c++) {
		char value[] = {'a', (char)c, 'b', '"', (char)c, '\0'}, want[16];

		log_info("m", LOG_STR("v", value));
		_cleanup_json_ struct json_object *o = object();
		snprintf(want, sizeof(want),
			 c < 0x80 ? "a%cb\"%c"
				  : "a\xEF\xBF\xBD"
				    "b\"\xEF\xBF\xBD",
			 (int)c, (int)c);
		ck_assert_str_eq(json_get_str(o, "v"), want);
	}
	log_info("m", LOG_STR("v", "\xC3\xA9\xE2\x80\xA6\xF0\x9F\x98\x80"));
	_cleanup_json_ struct json_object *o = object();
	ck_assert_str_eq(json_get_str(o, "v"), "\xC3\xA9\xE2\x80\xA6\xF0\x9F\x98\x80");
	end();
}
END_TEST

/* Values longer than a record are cut, at every length around its end: it is closed, and no escape
 * or character is cut in two. */
START_TEST(long_values)
{
	static const char *const units[] = {"x", "\"", "\x01", "\xC3\xA9", "xy\""};

	begin(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	for (size_t u = 0; u < ARRAY_LEN(units); u++)
		for (size_t shift = 0; shift < 12; shift++) {
			static char value[6000];
			size_t n = shift, unit = strlen(units[u]);

			memset(value, '.', shift);
			for (; n + unit < sizeof(value); n += unit)
				memcpy(value + n, units[u], unit);
			value[n] = '\0';
			log_info("m", LOG_STR("v", value), LOG_STR("w", value));
			_cleanup_json_ struct json_object *o = object();
			const char *v = json_get_str(o, "v");
			ck_assert(v && strlen(v) > 600 && strlen(v) < 4096);
			ck_assert_int_eq(strncmp(v, value, strlen(v)), 0);
		}
	end();
}
END_TEST

START_TEST(levels)
{
	enum log_level level;
	enum log_format format;

	begin(LOG_FORMAT_JSON, LOG_LEVEL_WARN);
	log_debug("no");
	log_info("no");
	log_write(LOG_LEVEL_INFO, "no", (const struct log_field[]){{0}});
	ck_assert_str_eq(written(), "");
	log_error("yes");
	ck_assert_ptr_nonnull(strstr(written(), "yes"));
	end();
	ck_assert(log_level_parse("warn", &level) == 0 && level == LOG_LEVEL_WARN);
	ck_assert_int_eq(log_level_parse("warning", &level), -EINVAL);
	ck_assert(log_format_parse("json", &format) == 0 && format == LOG_FORMAT_JSON);
	ck_assert_int_eq(log_format_parse("xml", &format), -EINVAL);
}
END_TEST

/* What does not fit into the pipe is dropped whole and counted; errno is the caller's. */
START_TEST(full_pipe)
{
	uint64_t before = log_dropped();
	unsigned n = 0, lines = 0;

	begin(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	ck_assert_int_gt(fcntl(pipes[1], F_SETPIPE_SZ, 4096), 0);
	errno = EXDEV;
	for (; log_dropped() == before && n < 10000; n++)
		log_info("a line");
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_uint_eq(log_dropped(), before + 1);
	for (const char *s = written(); *s; lines++) {
		const char *nl = strchr(s, '\n');

		ck_assert(nl && nl[-1] == '}');
		s = nl + 1;
	}
	ck_assert_uint_eq(lines, n - 1);
	end();
}
END_TEST

/* As a program inherits them: writes wait. Nobody reads, then somebody does. */
static void nobody_reads(int from, int to)
{
	static char text[1 << 20];
	uint64_t before;

	log_setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO, to);
	before = log_dropped();
	alarm(3);
	for (unsigned i = 0; i < 20000; i++)
		log_info("a line", LOG_STR("more", "of some length, so that it is soon full"));
	alarm(0);
	ck_assert_uint_gt(log_dropped(), before);

	ssize_t n = read(from, text, sizeof(text));
	ck_assert_int_gt(n, 1024);
	before = log_dropped();
	ck_assert_int_eq(poll(&(struct pollfd){to, POLLOUT, 0}, 1, 1000), 1);
	log_info("again");
	ck_assert_uint_eq(log_dropped(), before);
	log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO, STDERR_FILENO);
	close(from);
	close(to);
}

START_TEST(nobody_reads_the_pipe)
{
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	nobody_reads(pipes[0], pipes[1]);
}
END_TEST

START_TEST(nobody_reads_the_socket)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipes), 0);
	nobody_reads(pipes[0], pipes[1]);
}
END_TEST

/* A terminal takes a part of a record where there is room for no more, and says so before. */
START_TEST(nobody_reads_the_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	ck_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(terminal, 0);
	nobody_reads(master, terminal);
}
END_TEST

/* Elsewhere; and of the pipe before nothing stays open. */
START_TEST(redirected)
{
	int other[2];
	char byte;

	ck_assert_int_eq(pipe2(other, O_CLOEXEC), 0);
	begin(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	ck_assert_int_eq(log_redirect(other[1]), 0);
	close(pipes[1]);
	log_info("a line");
	ck_assert_int_eq(read(pipes[0], &byte, 1), 0);
	ck_assert_int_eq(read(other[0], &byte, 1), 1);
	log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO, STDERR_FILENO);
	close(pipes[0]);
	close(other[0]);
	close(other[1]);
}
END_TEST

struct slow_reader {
	unsigned lines;
	int64_t worst; /* ns from one read to the next */
};

static void *read_slowly(void *arg)
{
	struct slow_reader *r = arg;
	struct mono last = mono_now();
	char text[512];
	ssize_t n;

	while ((n = read(pipes[0], text, sizeof(text))) > 0) {
		struct mono now = mono_now();
		int64_t since = mono_since(now, last);

		r->worst = since > r->worst ? since : r->worst;
		last = now;
		for (ssize_t i = 0; i < n; i++)
			r->lines += text[i] == '\n';
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return NULL;
}

/* How many of 5,000 lines were dropped. */
static uint64_t burst(struct slow_reader *r)
{
	uint64_t before = log_dropped();
	pthread_t thread;

	*r = (struct slow_reader){0};
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	log_setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO, pipes[1]);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_slowly, r), 0);
	for (unsigned i = 0; i < 5000; i++)
		log_info("a line", LOG_INT("n", i));
	log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO, STDERR_FILENO);
	close(pipes[1]);
	pthread_join(thread, NULL);
	close(pipes[0]);
	return log_dropped() - before;
}

/* A burst that the reader is behind is not dropped. (On a busy machine a reader may not be run for
 * as long as is waited for one, and that says nothing.) */
START_TEST(slow_reader)
{
	struct slow_reader r;

	for (unsigned i = 0; i < 5; i++) {
		uint64_t dropped = burst(&r);

		if (r.worst > 50 * NS_PER_MSEC)
			continue;
		ck_assert_uint_eq(dropped, 0);
		ck_assert_uint_eq(r.lines, 5000);
		return;
	}
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("log", fields, any_value, long_values, levels, full_pipe,
			  nobody_reads_the_pipe, nobody_reads_the_socket, nobody_reads_the_terminal,
			  redirected, slow_reader);
}

UNIT_MAIN(suite)
