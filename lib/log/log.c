/*
 * Theory of operation. A record is rendered into a buffer on the stack and written with one
 * write(2), so that lines of several processes on one pipe do not mix. Values longer than the
 * buffer are cut, never the closing of the record. The settings are set once by main before any
 * thread starts, and only read afterwards: the one global of the tree besides base/secret.c.
 *
 * Who reads at the other end (a container runtime, journald) may stop reading. The descriptor
 * cannot be made non-blocking, since it is shared with whoever else has it: a pipe or a terminal is
 * opened once more, to ourselves alone, and whatever it is is asked whether it takes something. A
 * reader that is behind a burst gets PATIENCE; one that does not read within that is not waited for
 * again until it has.
 */
#include "log/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* PIPE_BUF, up to which a write to a pipe is whole. */
#define RECORD_MAX 4096
/* Kept free for what closes a record. */
#define RECORD_TAIL 8

#define PATIENCE_NS (100 * NS_PER_MSEC)

static enum log_format format = LOG_FORMAT_TEXT;
static enum log_level least = LOG_LEVEL_INFO;
static int out_fd = STDERR_FILENO, own_fd = -1;
static uint64_t dropped;
static bool stalled; /* the reader */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* The same pipe or terminal by a description of our own, which does not block; or -1. A file is
 * not opened again: its place is shared, too. */
static int open_again(int fd)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_setup(enum log_format f, enum log_level l, int fd)
{
	format = f;
	least = l;
	mem_close_p(&own_fd);
	own_fd = open_again(fd);
	out_fd = own_fd >= 0 ? own_fd : fd;
}

int log_redirect(int fd)
{
	return own_fd >= 0 && dup3(fd, own_fd, O_CLOEXEC) < 0 ? -errno : 0;
}

bool log_enabled(enum log_level level)
{
	return level >= least;
}

uint64_t log_dropped(void)
{
	return __atomic_load_n(&dropped, __ATOMIC_RELAXED);
}

int log_level_parse(const char *s, enum log_level *ret)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (str_eq(s, level_names[i])) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_format_parse(const char *s, enum log_format *ret)
{
	if (str_eq(s, "text"))
		*ret = LOG_FORMAT_TEXT;
	else if (str_eq(s, "json"))
		*ret = LOG_FORMAT_JSON;
	else
		return -EINVAL;
	return 0;
}

struct record {
	size_t len;
	char text[RECORD_MAX];
};

static void put(struct record *r, const char *s, size_t n)
{
	size_t room = RECORD_MAX - RECORD_TAIL - r->len;

	if (n > room)
		n = room;
	memcpy(r->text + r->len, s, n);
	r->len += n;
}

static void puts_(struct record *r, const char *s)
{
	put(r, s, strlen(s));
}

/* All or nothing, so that an escape sequence is never cut in two. */
static bool put_whole(struct record *r, const char *s, size_t n)
{
	if (n > RECORD_MAX - RECORD_TAIL - 1 - r->len)
		return false;
	put(r, s, n);
	return true;
}

/* How much of the text stands for itself; 0: the first byte does not. */
static size_t plain_len(const char *s)
{
	size_t n = 0;

	while (s[n] >= ' ' && s[n] < 0x7F && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

/* One character, or a run of plain ones as far as there is room; false: no more of the value. */
static bool put_some(struct record *r, const char *s, size_t *ret_n)
{
	size_t room = RECORD_MAX - RECORD_TAIL - 1 - r->len, n = plain_len(s);
	unsigned char c = (unsigned char)*s;
	char esc[8];

	*ret_n = n > 0 ? n : 1;
	if (n > 0)
		return put_whole(r, s, n < room ? n : room) && n <= room;
	if (c == '"' || c == '\\')
		return put_whole(r, (char[]){'\\', (char)c}, 2);
	if (c == '\n')
		return put_whole(r, "\\n", 2);
	if (c < 0x80)
		return put_whole(r, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", c));
	n = str_utf8_len(s, strnlen(s, 4));
	if (n == 0)
		return put_whole(r, "\xEF\xBF\xBD", 3);
	*ret_n = n;
	return put_whole(r, s, n);
}

static void put_quoted(struct record *r, const char *s)
{
	size_t n;

	if (put_whole(r, "\"", 1))
		while (*s && put_some(r, s, &n))
			s += n;
	put(r, "\"", 1);
}

static void put_value(struct record *r, const struct log_field *f)
{
	char num[32];

	switch (f->type) {
	case LOG_FIELD_STR: put_quoted(r, f->s); return;
	case LOG_FIELD_BOOL: puts_(r, f->b ? "true" : "false"); return;
	case LOG_FIELD_INT: snprintf(num, sizeof(num), "%lld", (long long)f->i); break;
	case LOG_FIELD_DOUBLE:
		/* JSON has no NaN and no infinity. */
		if (!isfinite(f->d)) {
			puts_(r, "null");
			return;
		}
		snprintf(num, sizeof(num), "%.9g", f->d);
		break;
	}
	put_whole(r, num, strlen(num));
}

static void put_fields(struct record *r, const struct log_field *f)
{
	for (; f->name; f++) {
		if (f->type == LOG_FIELD_STR && !f->s)
			continue;
		/* A field that does not fit is left out whole. */
		if (RECORD_MAX - r->len < RECORD_TAIL + 48 + strlen(f->name))
			return;
		if (format == LOG_FORMAT_JSON) {
			puts_(r, ",");
			put_quoted(r, f->name);
			puts_(r, ":");
		} else {
			puts_(r, " ");
			puts_(r, f->name);
			puts_(r, "=");
		}
		put_value(r, f);
	}
}

/* Whether a record can be written without waiting for the reader. */
static bool is_writable(void)
{
	bool was_stalled = __atomic_load_n(&stalled, __ATOMIC_RELAXED), is_stalled;
	struct timespec patience = {.tv_nsec = was_stalled ? 0 : PATIENCE_NS};
	struct pollfd p = {.fd = out_fd, .events = POLLOUT};
	int n;

	do {
		n = ppoll(&p, 1, &patience, NULL);
	} while (n < 0 && errno == EINTR);
	is_stalled = n == 0; /* what cannot be asked (-1) can be tried */
	if (is_stalled != was_stalled)
		__atomic_store_n(&stalled, is_stalled, __ATOMIC_RELAXED);
	return !is_stalled;
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
	int saved = errno;
	char ts[TIME_RFC3339_LEN];
	struct record r;

	if (!log_enabled(level))
		return;
	r.len = 0;
	time_rfc3339(wall_now(), ts);
	if (format == LOG_FORMAT_JSON) {
		puts_(&r, "{\"ts\":\"");
		puts_(&r, ts);
		puts_(&r, "\",\"level\":\"");
		puts_(&r, level_names[level]);
		puts_(&r, "\",\"msg\":");
		put_quoted(&r, msg);
		put_fields(&r, fields);
		memcpy(r.text + r.len, "}\n", 2);
		r.len += 2;
	} else {
		puts_(&r, ts);
		puts_(&r, " ");
		puts_(&r, level_names[level]);
		puts_(&r, level == LOG_LEVEL_INFO || level == LOG_LEVEL_WARN ? "  " : " ");
		puts_(&r, msg);
		put_fields(&r, fields);
		r.text[r.len++] = '\n';
	}
	if (!is_writable() || write(out_fd, r.text, r.len) != (ssize_t)r.len)
		__atomic_add_fetch(&dropped, 1, __ATOMIC_RELAXED);
	errno = saved;
}
