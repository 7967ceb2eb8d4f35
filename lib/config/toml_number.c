/*
 * Integers and floats.
 *
 *     decimal = [+-]? ( 0 | [1-9] (_? [0-9])* )         other = 0x… | 0o… | 0b…, no sign
 *     float   = decimal ( . digits )? ( [eE] [+-]? digits )?  |  [+-]? ( inf | nan )
 *     digits  = [0-9] (_? [0-9])*
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "config/toml_priv.h"

#define NUMBER_MAX 1024

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* The byte behind `digit (_? digit)*`, or NULL where there is none at s. */
static const char *skip_digits(const char *s, const char *end, int base)
{
	if (s >= end || digit_of(*s) >= base)
		return NULL;
	while (s < end) {
		if (digit_of(*s) < base)
			s++;
		else if (*s == '_' && s + 1 < end && digit_of(s[1]) < base)
			s += 2;
		else
			break;
	}
	return s;
}

static int read_integer(struct toml *t, const char *s, const char *end, int base, bool negative,
			struct cfg_value **ret)
{
	int64_t v = 0;
	int r;

	for (const char *d = s; d < end; d++) {
		if (*d == '_')
			continue;
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, negative ? -digit_of(*d) : digit_of(*d), &v))
			return toml_fail(t, t->p, -EINVAL,
					 "integer out of range, accepted: -9223372036854775808 to "
					 "9223372036854775807");
	}
	r = toml_new_value(t, CFG_INTEGER, toml_pos(t, t->p), ret);
	if (r < 0)
		return r;
	(*ret)->integer = v;
	return 0;
}

static int new_float(struct toml *t, double d, struct cfg_value **ret)
{
	int r = toml_new_value(t, CFG_FLOAT, toml_pos(t, t->p), ret);

	if (r == 0)
		(*ret)->number = d;
	return r;
}

static int read_float(struct toml *t, const char *end, struct cfg_value **ret)
{
	char copy[NUMBER_MAX + 1];
	size_t n = 0;

	for (const char *s = t->p; s < end; s++) {
		if (*s == '_')
			continue;
		if (n == NUMBER_MAX)
			return toml_fail(t, t->p, -E2BIG, "float of more than %d characters",
					 NUMBER_MAX);
		copy[n++] = *s;
	}
	copy[n] = '\0';
	/* The program runs in the "C" locale, where the decimal point is a point. */
	double d = strtod(copy, NULL);
	if (!isfinite(d))
		return toml_fail(t, t->p, -EINVAL,
				 "float out of the range of 64 bits, accepted for infinity: inf");
	return new_float(t, d, ret);
}

/* Behind the digits at s: the end of a well-formed fraction and exponent, or NULL. */
static const char *skip_float_rest(const char *s, const char *end)
{
	if (s < end && *s == '.' && !(s = skip_digits(s + 1, end, 10)))
		return NULL;
	if (s < end && (*s == 'e' || *s == 'E')) {
		s++;
		if (s < end && (*s == '+' || *s == '-'))
			s++;
		s = skip_digits(s, end, 10);
	}
	return s;
}

static int malformed(struct toml *t)
{
	return toml_fail(t, t->p, -EINVAL,
			 "malformed number, accepted: 1, -1, 1_000, 1.5, 1e6, 0xff, 0o17, 0b11, "
			 "inf, nan (no leading zeros, digits on both sides of '.' and '_'; a "
			 "string needs quotes)");
}

int toml_number(struct toml *t, const char *end, struct cfg_value **ret)
{
	bool sign = *t->p == '+' || *t->p == '-', negative = *t->p == '-';
	const char *s = t->p + sign, *rest;
	size_t n = (size_t)(end - s);

	if (n == 3 && memcmp(s, "inf", 3) == 0)
		return new_float(t, negative ? -INFINITY : INFINITY, ret);
	if (n == 3 && memcmp(s, "nan", 3) == 0)
		return new_float(t, NAN, ret);
	if (n > 2 && *s == '0' && strchr("xob", s[1]) && !sign) {
		int base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : 2;

		return skip_digits(s + 2, end, base) == end
			       ? read_integer(t, s + 2, end, base, false, ret)
			       : malformed(t);
	}
	rest = skip_digits(s, end, 10);
	if (!rest || (*s == '0' && rest - s > 1))
		return malformed(t);
	if (rest == end)
		return read_integer(t, s, end, 10, negative, ret);
	return skip_float_rest(rest, end) == end ? read_float(t, end, ret) : malformed(t);
}
