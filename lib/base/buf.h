/*
 * A growable byte buffer with one sticky error, so that a writer checks once at the end.
 *
 *     struct buf b = BUF_INIT(1 << 20);
 *     buf_addf(&b, "%s=%d\n", key, value);
 *     …
 *     if ((r = buf_error(&b)) < 0) …
 *     buf_free(&b);
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

#include "base/mem.h"

struct buf {
	char *data;   /* NUL-terminated whenever it is not NULL */
	size_t len;   /* without the NUL */
	size_t cap;   /* bytes allocated */
	size_t limit; /* len never passes it; 0: no limit */
	int error;    /* 0, -ENOMEM, or -E2BIG at the limit; nothing is added once it is set */
};

#define BUF_INIT(max) ((struct buf){.limit = (max)})

void buf_free(struct buf *b);  /* leaves an empty buffer with the same limit */
void buf_wipe(struct buf *b);  /* the same, zeroing what it held: for secrets (see buf_reserve) */
void buf_reset(struct buf *b); /* empties it, keeps the memory, clears the error */
#define _cleanup_buf_ _cleanup_(buf_free)

/* Room for `more` bytes beyond len. A buffer for secrets is reserved once for its whole size:
 * growth may leave a copy behind in freed memory. */
int buf_reserve(struct buf *b, size_t more);

void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Removes the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);

/* The text so far, "" when nothing was added. */
const char *buf_str(const struct buf *b);

static inline int buf_error(const struct buf *b)
{
	return b->error;
}

#endif
