/*
 * Strings: bounded copies, strict numbers, "did you mean".
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Copies with the NUL; returns -ENAMETOOLONG, and leaves dst alone, where it does not fit. */
int str_copy(char *dst, size_t size, const char *src);

/* Decimal digits only: no sign, no space, no empty text, within [min, max]. The whole of the
 * `len` bytes must be the number. Returns 0, -EINVAL or -ERANGE. */
int str_to_u64(const char *s, size_t len, uint64_t min, uint64_t max, uint64_t *ret);

/* Writes n in decimal with a NUL, at most STR_U64_LEN bytes in all; where the NUL is. */
#define STR_U64_LEN 21
char *str_put_u64(char *at, uint64_t n);

/* The name among `names` (NULL-terminated array) nearest to `word` by edit distance, if it is
 * near enough to be meant: at most two edits off, from nine characters on a third of the word's
 * length, and at most two thirds of the longer of the two; else NULL. */
const char *str_nearest(const char *word, const char *const *names);

/* Whether all of s is valid UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool str_is_utf8(const char *s, size_t len);

/* Bytes of the character that s begins with, 1 to 4, or 0 where it is not valid UTF-8. */
size_t str_utf8_len(const char *s, size_t len);

/* A code point as UTF-8, 1 to 4 bytes; 0 where it is not a Unicode scalar value. */
size_t str_utf8_put(uint32_t c, char out[static 4]);

/* Outside text for a message: at most STR_SHOW_MAX bytes of it, control characters and what is
 * not UTF-8 as "\xNN", "…" where it was cut. Writes a whole text and returns `out`. */
#define STR_SHOW_MAX 64
#define STR_SHOW_LEN (STR_SHOW_MAX + sizeof("…"))
char *str_show(const char *s, size_t len, char out[static STR_SHOW_LEN]);

/* Interface names as the kernel takes them (dev_valid_name): 1 to 15 bytes, no '/', no ':', no
 * white space, not "." or "..". */
bool str_is_ifname(const char *s);

#endif
