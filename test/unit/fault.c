/*
 * The program's own malloc, calloc, realloc, aligned_alloc and free stand before those of the C
 * library for the whole process, shared libraries included, and pass on to the real ones: glibc's,
 * or the sanitizer's interceptors (which keep strdup and the like for themselves, so that fewer
 * allocations can be failed there).
 */
#include "fault.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
#define REAL(name) __interceptor_##name
#define ALIGNED    __interceptor_aligned_alloc
#else
#define REAL(name) __libc_##name
#define ALIGNED    __libc_memalign
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t size);
void REAL(free)(void *p);
void *ALIGNED(size_t alignment, size_t size);

/* The first allocations come before the thread sanitizer is there. */
#define PLAIN __attribute__((no_sanitize("thread")))

static __thread size_t left; /* allocations until the failing one, that one included; 0: off */
static __thread bool fired, all;
static __thread long live;
static __thread unsigned long count;
static __thread const void *watched;
static __thread size_t watched_len;
static __thread bool watched_zero;
static __thread const void *scan;
static __thread size_t scan_len;
static __thread unsigned scanned;

void fault_after(size_t n)
{
	left = n + 1;
	fired = all = false;
}

void fault_all_after(size_t n)
{
	fault_after(n);
	all = true;
}

bool fault_off(void)
{
	left = 0;
	return fired;
}

long fault_live(void)
{
#ifdef SANITIZED
	return 0;
#else
	return live;
#endif
}

void fault_check_live(size_t n, long before, long after)
{
	if (before == after)
		return;
	fprintf(stderr, "allocation %zu failed: %ld blocks before, %ld after\n", n, before, after);
	abort();
}

void fault_watch(const void *p, size_t n)
{
	watched = p;
	watched_len = n;
	watched_zero = false;
}

bool fault_watched_zero(void)
{
	return watched_zero;
}

void fault_scan(const void *secret, size_t n)
{
	scan = secret;
	scan_len = n;
	scanned = 0;
}

unsigned fault_scanned(void)
{
	return scanned;
}

PLAIN static void look_at_watched(const void *p)
{
	const unsigned char *bytes = p;

	watched = NULL;
	watched_zero = true;
	for (size_t i = 0; i < watched_len; i++)
		watched_zero = watched_zero && bytes[i] == 0;
}

unsigned long fault_count(void)
{
	return count;
}

PLAIN bool fault_now(void)
{
	count++;
	if (left == 0 || --left > 0)
		return false;
	left = all; /* the next one is it again */
	fired = true;
	errno = ENOMEM;
	return true;
}

PLAIN void *malloc(size_t size)
{
	void *p = fault_now() ? NULL : REAL(malloc)(size);

	live += p != NULL;
	return p;
}

PLAIN void *calloc(size_t n, size_t size)
{
	void *p = fault_now() ? NULL : REAL(calloc)(n, size);

	live += p != NULL;
	return p;
}

PLAIN void *aligned_alloc(size_t alignment, size_t size)
{
	void *p = fault_now() ? NULL : ALIGNED(alignment, size);

	live += p != NULL;
	return p;
}

PLAIN void *realloc(void *old, size_t size)
{
	bool had = old != NULL;
	void *p = fault_now() ? NULL : REAL(realloc)(old, size);

	if (!had)
		live += p != NULL;
	else if (size == 0 && !p && !fired)
		live--;
	return p;
}

PLAIN void free(void *p)
{
	live -= p != NULL;
	if (p && p == watched)
		look_at_watched(p);
	if (p && scan && memmem(p, malloc_usable_size(p), scan, scan_len))
		scanned++;
	REAL(free)(p);
}
