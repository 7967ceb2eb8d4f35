/*
 * Dates and times of RFC 3339, whole or in part:
 *
 *     1979-05-27T07:32:00.5+09:00   offset date-time   ('T', 't' or one space; 'Z' or 'z' for UTC)
 *     1979-05-27T07:32:00.5         local date-time
 *     1979-05-27                    local date
 *     07:32:00.5                    local time
 *
 * The value is the text as it stands; it is only checked (RFC 3339 section 5.7: days of the
 * month, second 60).
 */
#include <errno.h>
#include <string.h>

#include "config/toml_priv.h"

static bool is_digit(const struct toml *t, const char *s)
{
	return s < t->end && *s >= '0' && *s <= '9';
}

static bool is_char(const struct toml *t, const char *s, const char *accepted)
{
	return s < t->end && *s && strchr(accepted, *s);
}

/* `n` digits at *s; moves behind them. -1 where there are fewer. */
static int digits(const struct toml *t, const char **s, int n)
{
	int v = 0;

	for (; n > 0; n--, ++*s) {
		if (!is_digit(t, *s))
			return -1;
		v = v * 10 + (**s - '0');
	}
	return v;
}

static int days_of(int year, int month)
{
	static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* The byte behind the date at s, or NULL. */
static const char *skip_date(const struct toml *t, const char *s)
{
	int year = digits(t, &s, 4), month, day;

	if (year < 0 || !is_char(t, s++, "-"))
		return NULL;
	month = digits(t, &s, 2);
	if (month < 1 || month > 12 || !is_char(t, s++, "-"))
		return NULL;
	day = digits(t, &s, 2);
	return day >= 1 && day <= days_of(year, month) ? s : NULL;
}

static const char *skip_hour_minute(const struct toml *t, const char *s)
{
	int hour = digits(t, &s, 2), minute;

	if (hour < 0 || hour > 23 || !is_char(t, s++, ":"))
		return NULL;
	minute = digits(t, &s, 2);
	return minute >= 0 && minute <= 59 ? s : NULL;
}

static const char *skip_time(const struct toml *t, const char *s)
{
	s = skip_hour_minute(t, s);
	if (!s || !is_char(t, s++, ":"))
		return NULL;
	int second = digits(t, &s, 2);
	if (second < 0 || second > 60)
		return NULL;
	if (is_char(t, s, ".")) {
		s++;
		if (!is_digit(t, s))
			return NULL;
		while (is_digit(t, s))
			s++;
	}
	return s;
}

static const char *skip_offset(const struct toml *t, const char *s)
{
	return is_char(t, s, "Zz") ? s + 1 : skip_hour_minute(t, s + 1);
}

bool toml_is_datetime(const struct toml *t)
{
	const char *s = t->p;

	for (int n = 0; is_digit(t, s); s++, n++)
		if (n == 4)
			return false;
	return (s - t->p == 4 && is_char(t, s, "-")) || (s - t->p == 2 && is_char(t, s, ":"));
}

/* The byte behind the date or time at the cursor, or NULL; which type it is. */
static const char *skip_datetime(const struct toml *t, int *ret_type)
{
	const char *s;

	if (is_char(t, t->p + 2, ":")) {
		*ret_type = CFG_LOCAL_TIME;
		return skip_time(t, t->p);
	}
	*ret_type = CFG_LOCAL_DATE;
	s = skip_date(t, t->p);
	/* A space is part of it only before a time: `1979-05-27 # comment` is a date. */
	if (!s || !(is_char(t, s, "Tt") || (is_char(t, s, " ") && is_digit(t, s + 1))))
		return s;
	*ret_type = CFG_LOCAL_DATETIME;
	s = skip_time(t, s + 1);
	if (!s || !is_char(t, s, "Zz+-"))
		return s;
	*ret_type = CFG_OFFSET_DATETIME;
	return skip_offset(t, s);
}

int toml_datetime(struct toml *t, struct cfg_value **ret)
{
	_cleanup_cfg_value_ struct cfg_value *v = NULL;
	const char *end;
	int type, r;

	end = skip_datetime(t, &type);
	if (!end)
		return toml_fail(t, t->p, -EINVAL,
				 "malformed date or time, accepted: 1979-05-27, 07:32:00, "
				 "1979-05-27T07:32:00 and 1979-05-27T07:32:00Z, with a fraction "
				 "of seconds and an offset such as +09:00");
	r = toml_new_value(t, CFG_DATETIME, toml_pos(t, t->p), &v);
	if (r < 0)
		return r;
	v->datetime = type;
	v->len = (size_t)(end - t->p);
	v->str = mem_dup_str(t->p, v->len);
	if (!v->str)
		return toml_fail_memory(t);
	t->p = end;
	*ret = mem_steal(&v);
	return 0;
}
