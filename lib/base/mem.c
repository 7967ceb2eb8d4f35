#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

int mem_reserve(void *array, size_t n, size_t *cap, size_t size)
{
	void **p = array, *bigger;
	size_t bytes;

	if (n <= *cap)
		return 0;
	if (__builtin_mul_overflow(n, size, &bytes))
		return -ENOMEM;
	bigger = realloc(*p, bytes);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	*cap = n;
	return 0;
}

int mem_grow(void *array, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap : 4;

	if (n < *cap)
		return 0;
	while (want <= n)
		if (__builtin_mul_overflow(want, 2, &want))
			return -ENOMEM;
	return mem_reserve(array, want, cap, size);
}

char *mem_dup_str(const char *s, size_t len)
{
	if (len == SIZE_MAX)
		return NULL;
	char *copy = malloc(len + 1);
	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void mem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}
