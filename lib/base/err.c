#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Cuts on a UTF-8 boundary and marks the cut, so that a message is always printable. */
static void mark_cut(char *msg, int wanted)
{
	static const char dots[] = "…";

	if (wanted < ERR_MSG_MAX)
		return;
	size_t at = ERR_MSG_MAX - sizeof(dots);
	while (at > 0 && ((unsigned char)msg[at] & 0xC0) == 0x80)
		at--;
	memcpy(msg + at, dots, sizeof(dots));
}

__attribute__((format(printf, 3, 0))) static void set_message(struct err *e, int code,
							      const char *fmt, va_list ap)
{
	e->code = code;
	mark_cut(e->msg, vsnprintf(e->msg, sizeof(e->msg), fmt, ap));
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (e) {
		va_list ap;

		va_start(ap, fmt);
		set_message(e, code, fmt, ap);
		va_end(ap);
	}
	return code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
	assert(code < 0);
	if (e) {
		char what[ERR_MSG_MAX];
		va_list ap;

		va_start(ap, fmt);
		set_message(e, code, fmt, ap);
		va_end(ap);
		memcpy(what, e->msg, sizeof(what));
		mark_cut(e->msg, snprintf(e->msg, sizeof(e->msg), "%s: %s", what, strerror(-code)));
	}
	return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	if (!e)
		return -EIO;

	char rest[ERR_MSG_MAX], head[ERR_MSG_MAX];
	va_list ap;

	memcpy(rest, e->msg, sizeof(rest));
	va_start(ap, fmt);
	vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);
	mark_cut(e->msg, snprintf(e->msg, sizeof(e->msg), "%s: %s", head, rest));
	return e->code;
}
