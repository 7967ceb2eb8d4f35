#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void buf_free(struct buf *b)
{
	size_t limit = b->limit;

	free(b->data);
	*b = BUF_INIT(limit);
}

void buf_wipe(struct buf *b)
{
	mem_wipe(b->data, b->data ? b->cap : 0);
	buf_free(b);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t more)
{
	size_t need;

	if (b->error)
		return b->error;
	if (__builtin_add_overflow(b->len, more, &need) || need == SIZE_MAX)
		return b->error = -ENOMEM;
	if (b->limit && need > b->limit)
		return b->error = -E2BIG;
	if (need < b->cap)
		return 0;

	size_t cap = b->cap ? b->cap : 64;
	while (cap <= need)
		if (__builtin_mul_overflow(cap, 2, &cap))
			return b->error = -ENOMEM;
	char *data = realloc(b->data, cap);
	if (!data)
		return b->error = -ENOMEM;
	b->data = data;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	if (buf_reserve(b, len) < 0 || len == 0)
		return;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	if (n >= 0 && buf_reserve(b, (size_t)n) == 0) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}
