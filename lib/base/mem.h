/*
 * Memory: cleanup on scope exit, hand-over, growth with overflow checks, wiping.
 *
 * Destructors accept NULL and half-built objects. A pointer that leaves its scope is handed over
 * with mem_steal(), which leaves NULL behind for the cleanup.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines NAME_p(T **) for use as _cleanup_(NAME_p). */
#define MEM_CLEANUP(type, name)                                                                    \
	static inline void name##_p(type **p)                                                      \
	{                                                                                          \
		name(*p);                                                                          \
	}                                                                                          \
	struct mem_cleanup_swallow_semicolon

static inline void mem_free_p(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(mem_free_p)

static inline void mem_close_p(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_close_ _cleanup_(mem_close_p)

#define mem_steal(p)                                                                               \
	({                                                                                         \
		__auto_type _steal_ret = *(p);                                                     \
		*(p) = NULL;                                                                       \
		_steal_ret;                                                                        \
	})

static inline int mem_steal_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

/* Makes room for one more element behind `n` in the array at *array (elements of `size` bytes,
 * *cap of them allocated), doubling. Returns 0 or -ENOMEM with everything unchanged. The new
 * element is not initialised. */
int mem_grow(void *array, size_t n, size_t *cap, size_t size);

/* Room for `n` elements in all, for who knows how many come; as mem_grow. */
int mem_reserve(void *array, size_t n, size_t *cap, size_t size);

/* A copy of `len` bytes with a NUL behind them, or NULL. */
char *mem_dup_str(const char *s, size_t len);

/* Zeroes memory in a way that the compiler keeps. NULL is accepted with n = 0. */
void mem_wipe(void *p, size_t n);

#endif
