/*
 * Constant-time base64 and hex for keys. Comparisons are made by arithmetic: (a - b) >> 8 is all
 * ones where a < b, for small non-negative a and b, so ranges select without a branch.
 */
#include "base/key.h"
#include "base/mem.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static char base64_digit(unsigned v)
{
	int c = (int)v + 'A';

	c += ((25 - (int)v) >> 8) & 6;  /* 26…: 'a' */
	c -= ((51 - (int)v) >> 8) & 75; /* 52…: '0' */
	c -= ((61 - (int)v) >> 8) & 15; /* 62: '+' */
	c += ((62 - (int)v) >> 8) & 3;  /* 63: '/' */
	return (char)c;
}

/*
 * Texts are read eight characters at a time, each in a byte of a word. No sum or difference passes
 * from one byte into the next: characters from 0x80 on are refused, and never taken for a class.
 */
#define EVERY(n) ((n)*UINT64_C(0x0101010101010101))

static uint64_t load8(const char *s)
{
	uint64_t w;

	memcpy(&w, s, sizeof(w));
	return le64toh(w);
}

/* 0x80 in each byte that is at least `n`, up to 0x7F. */
static uint64_t at_least(uint64_t w, int n)
{
	return ((w | EVERY(0x80)) - EVERY((uint64_t)n)) & EVERY(0x80);
}

/* 0xFF in each byte from `low` to `high`. */
static uint64_t within(uint64_t w, char low, char high)
{
	uint64_t m = at_least(w, low) & ~at_least(w, high + 1) & ~w;

	return (m << 1) - (m >> 7);
}

/* The values of eight characters, the first in the lowest byte; *bad is not 0 afterwards where one
 * of them has none. */
static uint64_t base64_values(uint64_t w, uint64_t *bad)
{
	uint64_t upper = within(w, 'A', 'Z'), lower = within(w, 'a', 'z');
	uint64_t digit = within(w, '0', '9');
	uint64_t plus = within(w, '+', '+'), slash = within(w, '/', '/');

	*bad |= ~(upper | lower | digit | plus | slash);
	return ((w & upper) - (EVERY('A') & upper)) + ((w & lower) - (EVERY('a' - 26) & lower)) +
	       ((w & digit) + (EVERY(52 - '0') & digit)) + (EVERY(62) & plus) + (EVERY(63) & slash);
}

static uint64_t hex_values(uint64_t w, uint64_t *bad)
{
	uint64_t digit = within(w, '0', '9'), letter = within(w | EVERY(0x20), 'a', 'f');

	*bad |= ~(digit | letter);
	return (w & EVERY(0x0F)) + (EVERY(9) & letter);
}

char *key_to_base64(const struct key *k, char out[static KEY_BASE64])
{
	unsigned i;
	char *p = out;

	for (i = 0; i + 2 < KEY_LEN; i += 3) {
		uint32_t v = (uint32_t)k->b[i] << 16 | (uint32_t)k->b[i + 1] << 8 | k->b[i + 2];

		*p++ = base64_digit(v >> 18);
		*p++ = base64_digit(v >> 12 & 63);
		*p++ = base64_digit(v >> 6 & 63);
		*p++ = base64_digit(v & 63);
	}
	uint32_t v = (uint32_t)k->b[i] << 16 | (uint32_t)k->b[i + 1] << 8;
	*p++ = base64_digit(v >> 18);
	*p++ = base64_digit(v >> 12 & 63);
	*p++ = base64_digit(v >> 6 & 63);
	*p++ = '=';
	*p = '\0';
	return out;
}

/* Four values of 6 bits are three bytes. */
static void put_quantum(uint64_t v, uint8_t *out)
{
	uint32_t q = (uint32_t)((v & 63) << 18 | (v >> 8 & 63) << 12 | (v >> 16 & 63) << 6 |
				(v >> 24 & 63));

	out[0] = (uint8_t)(q >> 16);
	out[1] = (uint8_t)(q >> 8);
	out[2] = (uint8_t)q;
}

int key_from_base64(const char *s, struct key *ret)
{
	uint8_t out[33];
	char last[8] = "AAAAAAAA"; /* zeros */
	uint64_t bad = 0, v;

	if (strnlen(s, KEY_BASE64) != KEY_BASE64 - 1 || s[KEY_BASE64 - 2] != '=')
		return -EINVAL;
	for (unsigned i = 0; i < 5; i++) {
		v = base64_values(load8(s + i * 8), &bad);
		put_quantum(v, out + i * 6);
		put_quantum(v >> 32, out + i * 6 + 3);
	}
	memcpy(last, s + 40, 3);
	v = base64_values(load8(last), &bad);
	put_quantum(v, out + 30);
	/* The spare bits of the last digit are zero in the one canonical text. */
	bad |= out[32];
	if (!bad)
		memcpy(ret->b, out, KEY_LEN);
	mem_wipe(out, sizeof(out));
	mem_wipe(last, sizeof(last));
	mem_wipe(&v, sizeof(v));
	return bad ? -EINVAL : 0;
}

char *key_to_hex(const struct key *k, char out[static KEY_HEX])
{
	for (unsigned i = 0; i < KEY_LEN; i++) {
		int hi = k->b[i] >> 4, lo = k->b[i] & 15;

		out[i * 2] = (char)(hi + '0' + (((9 - hi) >> 8) & ('a' - '0' - 10)));
		out[i * 2 + 1] = (char)(lo + '0' + (((9 - lo) >> 8) & ('a' - '0' - 10)));
	}
	out[KEY_HEX - 1] = '\0';
	return out;
}

int key_from_hex(const char *s, struct key *ret)
{
	struct key k;
	uint64_t bad = 0;

	if (strnlen(s, KEY_HEX) != KEY_HEX - 1)
		return -EINVAL;
	for (unsigned i = 0; i < KEY_LEN / 4; i++) {
		uint64_t v = hex_values(load8(s + i * 8), &bad);
		uint64_t pairs = (v & UINT64_C(0x000F000F000F000F)) << 4 |
				 (v >> 8 & UINT64_C(0x000F000F000F000F));

		for (unsigned j = 0; j < 4; j++)
			k.b[i * 4 + j] = (uint8_t)(pairs >> j * 16);
	}
	if (!bad)
		*ret = k;
	mem_wipe(&k, sizeof(k));
	return bad ? -EINVAL : 0;
}

bool key_hex_is_zero(const char *s)
{
	uint64_t other = 0;

	if (strnlen(s, KEY_HEX) != KEY_HEX - 1)
		return false;
	for (unsigned i = 0; i < KEY_LEN / 4; i++)
		other |= load8(s + i * 8) ^ EVERY('0');
	return other == 0;
}

bool key_eq(const struct key *a, const struct key *b)
{
	uint64_t x[KEY_LEN / 8], y[KEY_LEN / 8], diff = 0;

	memcpy(x, a->b, sizeof(x));
	memcpy(y, b->b, sizeof(y));
	for (unsigned i = 0; i < KEY_LEN / 8; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

bool key_is_zero(const struct key *k)
{
	static const struct key zero;

	return key_eq(k, &zero);
}

int key_cmp(const struct key *a, const struct key *b)
{
	return memcmp(a->b, b->b, KEY_LEN);
}
