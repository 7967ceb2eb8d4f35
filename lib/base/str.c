#include "base/str.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

int str_copy(char *dst, size_t size, const char *src)
{
	size_t n = strlen(src);

	if (n >= size)
		return -ENAMETOOLONG;
	memcpy(dst, src, n + 1);
	return 0;
}

int str_to_u64(const char *s, size_t len, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return -ERANGE;
	}
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* Levenshtein distance, rows of a fixed size: names here are short, longer words match none. */
#define NEAREST_MAX 64

static size_t distance(const char *a, size_t la, const char *b, size_t lb)
{
	size_t row[NEAREST_MAX + 1];

	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *str_nearest(const char *word, const char *const *names)
{
	size_t n = strlen(word);
	const char *best = NULL;
	size_t best_distance = (n < 6 ? 2 : n / 3) + 1;

	if (n == 0 || n > NEAREST_MAX)
		return NULL;
	for (; *names; names++) {
		size_t m = strlen(*names);

		if (m > NEAREST_MAX)
			continue;
		size_t d = distance(word, n, *names, m);
		/* "mut" may mean "mtu"; with more than two thirds replaced it is another word. */
		if (d < best_distance && d * 3 <= (n > m ? n : m) * 2) {
			best = *names;
			best_distance = d;
		}
	}
	return best;
}

size_t str_utf8_len(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c, min;
	size_t n;

	if (len == 0)
		return 0;
	c = p[0];
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c <= 0xDF)
		n = 2, min = 0x80, c &= 0x1F;
	else if (c >= 0xE0 && c <= 0xEF)
		n = 3, min = 0x800, c &= 0x0F;
	else if (c >= 0xF0 && c <= 0xF4)
		n = 4, min = 0x10000, c &= 0x07;
	else
		return 0;
	if (len < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3F);
	}
	return c < min || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) ? 0 : n;
}

bool str_is_utf8(const char *s, size_t len)
{
	for (size_t n; len; s += n, len -= n)
		if (!(n = str_utf8_len(s, len)))
			return false;
	return true;
}

size_t str_utf8_put(uint32_t c, char out[static 4])
{
	static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return 0;
	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3F));
	out[0] = (char)(n == 1 ? c : lead[n] | c);
	return n;
}

char *str_show(const char *s, size_t len, char out[static STR_SHOW_LEN])
{
	size_t at = 0;

	while (len) {
		size_t n = str_utf8_len(s, len);
		bool escape = n == 0 || (n == 1 && ((unsigned char)*s < ' ' || *s == 0x7F)) ||
			      (n == 2 && (unsigned char)s[0] == 0xC2 && (unsigned char)s[1] < 0xA0);

		if (n == 0)
			n = 1;
		if (at + (escape ? 4 * n : n) > STR_SHOW_MAX) {
			at += (size_t)sprintf(out + at, "…");
			break;
		}
		for (size_t i = 0; i < n; i++)
			if (escape)
				at += (size_t)sprintf(out + at, "\\x%02X", (unsigned char)s[i]);
			else
				out[at++] = s[i];
		s += n;
		len -= n;
	}
	out[at] = '\0';
	return out;
}

bool str_is_ifname(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= IFNAMSIZ || str_eq(s, ".") || str_eq(s, ".."))
		return false;
	for (; *s; s++)
		if (*s == '/' || *s == ':' || *s == ' ' || (*s >= '\t' && *s <= '\r'))
			return false;
	return true;
}

char *str_put_u64(char *at, uint64_t n)
{
	char digits[STR_U64_LEN], *d = digits + sizeof(digits);
	size_t len;

	*--d = '\0';
	do
		*--d = (char)('0' + n % 10);
	while (n /= 10);
	len = (size_t)(digits + sizeof(digits) - d);
	memcpy(at, d, len);
	return at + len - 1;
}
