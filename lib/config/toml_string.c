/*
 * The four kinds of strings. A string is walked twice: first to check it and to count its bytes,
 * then to copy it into a block of exactly that size, so that no growing buffer leaves parts of a
 * secret in freed memory.
 *
 *     "basic"      escapes, one line          """basic"""     escapes, many lines
 *     'literal'    as it stands, one line     '''literal'''   as it stands, many lines
 *
 * That the text is UTF-8 and free of control characters is known by now (toml.c).
 */
#include <errno.h>
#include <string.h>

#include "config/toml_priv.h"

struct kind {
	char quote;
	bool multiline;
};

static bool starts(const struct toml *t, const char *s, const char *what)
{
	size_t n = strlen(what);

	return (size_t)(t->end - s) >= n && memcmp(s, what, n) == 0;
}

static size_t newline(const struct toml *t, const char *s)
{
	return starts(t, s, "\n") ? 1 : starts(t, s, "\r\n") ? 2 : 0;
}

/* How many quotes stand at s. */
static size_t quotes(const struct toml *t, const char *s, char quote)
{
	size_t n = 0;

	while (s + n < t->end && s[n] == quote)
		n++;
	return n;
}

/* "\" at the end of a line: it and all white space up to the next text are left out. */
static const char *continuation(const struct toml *t, const char *s)
{
	const char *p = s + 1;

	while (p < t->end && (*p == ' ' || *p == '\t'))
		p++;
	if (newline(t, p) == 0)
		return NULL;
	while (p < t->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* \uXXXX or \UXXXXXXXX at s. */
static int read_unicode(struct toml *t, const char *s, char out[static 4], size_t *ret_n,
			const char **ret_next)
{
	size_t digits = s[1] == 'u' ? 4 : 8;
	uint32_t c = 0;

	for (size_t i = 0; i < digits; i++) {
		const char *d = s + 2 + i;

		if (d < t->end && *d >= '0' && *d <= '9')
			c = c << 4 | (uint32_t)(*d - '0');
		else if (d < t->end && (*d | 0x20) >= 'a' && (*d | 0x20) <= 'f')
			c = c << 4 | (uint32_t)((*d | 0x20) - 'a' + 10);
		else
			return toml_fail(t, s, -EINVAL, "\\%c without %zu hexadecimal digits", s[1],
					 digits);
	}
	*ret_n = str_utf8_put(c, out);
	if (*ret_n == 0)
		return toml_fail(t, s, -EINVAL,
				 "found an escape of U+%04X, accepted: U+0000 to U+D7FF and "
				 "U+E000 to U+10FFFF",
				 c);
	*ret_next = s + 2 + digits;
	return 0;
}

/* The escape at s: what it stands for in out[0..*ret_n), and where it ends. */
static int read_escape(struct toml *t, const char *s, struct kind kind, char out[static 4],
		       size_t *ret_n, const char **ret_next)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	const char *hit;

	if (kind.multiline && (*ret_next = continuation(t, s))) {
		*ret_n = 0;
		return 0;
	}
	if (s + 1 < t->end && (s[1] == 'u' || s[1] == 'U'))
		return read_unicode(t, s, out, ret_n, ret_next);
	hit = s + 1 < t->end && s[1] ? strchr(from, s[1]) : NULL;
	if (!hit)
		return toml_fail(t, s, -EINVAL,
				 "unknown escape, accepted: \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX "
				 "\\UXXXXXXXX (or a literal string in single quotes)");
	out[0] = to[hit - from];
	*ret_n = 1;
	*ret_next = s + 2;
	return 0;
}

/* Where the bytes that stand for themselves end. */
static const char *plain_end(const struct toml *t, const char *s, struct kind kind)
{
	while (s < t->end && *s != kind.quote && *s != '\\' && *s != '\n' && *s != '\r')
		s++;
	return s;
}

/* Walks the string whose first byte behind the opening quotes is `s`. Copies to `out` unless it
 * is NULL, counts in *ret_len, and gives the byte behind the closing quotes. */
static int walk(struct toml *t, const char *s, struct kind kind, char *out, size_t *ret_len,
		const char **ret_next)
{
	const char *begin = t->p;
	size_t len = 0;

	for (;;) {
		const char *next = plain_end(t, s, kind);
		size_t n = (size_t)(next - s), q;
		char bytes[4];
		int r;

		if (out)
			memcpy(out + len, s, n);
		len += n;
		s = next++;
		if (s == t->end)
			break;
		if (*s == kind.quote && !kind.multiline) {
			*ret_len = len;
			*ret_next = next;
			return 0;
		}
		/* Of up to five closing quotes, the first two belong to the text. */
		if (*s == kind.quote && (q = quotes(t, s, kind.quote)) >= 3) {
			size_t inside = (q < 5 ? q : 5) - 3;

			if (out)
				memset(out + len, kind.quote, inside);
			*ret_len = len + inside;
			*ret_next = s + inside + 3;
			return 0;
		}
		if (newline(t, s) && !kind.multiline)
			break;
		n = 1;
		bytes[0] = *s;
		if (*s == '\\' && kind.quote == '"') {
			r = read_escape(t, s, kind, bytes, &n, &next);
			if (r < 0)
				return r;
		}
		if (out)
			memcpy(out + len, bytes, n);
		len += n;
		s = next;
	}
	return toml_fail(t, begin, -EINVAL,
			 s < t->end ? "the string that begins here has no end on its line, "
				      "accepted: a closing quote"
				    : "the string that begins here has no end, accepted: closing "
				      "quotes");
}

int toml_string(struct toml *t, bool multiline_too, char **ret, size_t *ret_len)
{
	struct kind kind = {.quote = *t->p};
	const char *s = t->p + 1, *next = s;
	size_t len = 0;
	char *out;
	int r;

	if (quotes(t, t->p, kind.quote) >= 3) {
		if (!multiline_too)
			return toml_fail(t, t->p, -EINVAL,
					 "found a multi-line string, accepted as a key: bare, "
					 "\"basic\" or 'literal' on one line");
		kind.multiline = true;
		s = t->p + 3;
		s += newline(t, s); /* the first line end is not part of the text */
	}
	r = walk(t, s, kind, NULL, &len, &next);
	if (r < 0)
		return r;
	out = malloc(len + 1);
	if (!out)
		return toml_fail_memory(t);
	walk(t, s, kind, out, &len, &next);
	out[len] = '\0';
	t->p = next;
	*ret = out;
	*ret_len = len;
	return 0;
}
