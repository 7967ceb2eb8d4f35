/*
 * Request heads (RFC 9112 sections 2 to 6), parsed in place and strictly: CRLF line ends only, no
 * folded lines, no space before a colon, one Host, one Content-Length, no transfer coding (411:
 * what we are sent is small and its sender knows how long it is). What a lenient server guesses
 * about is where requests get smuggled.
 *
 *     GET /readyz?verbose HTTP/1.1 CRLF
 *     Host: 127.0.0.1:9586 CRLF
 *     CRLF
 */
#include "http/http_priv.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

static const struct {
	const char *name;
	unsigned method;
} methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
	       {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"PATCH", HTTP_PATCH}};

const char *http_method_name(unsigned method)
{
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (methods[i].method == method)
			return methods[i].name;
	return "?";
}

ssize_t http_head_end(const char *text, size_t len, size_t from)
{
	while (from < len) {
		const char *lf = memchr(text + from, '\n', len - from);

		if (!lf)
			return 0;
		size_t at = (size_t)(lf - text);
		if (at < 1 || text[at - 1] != '\r')
			return -1;
		if (at >= 3 && text[at - 2] == '\n')
			return (ssize_t)at + 1;
		from = at + 1;
	}
	return 0;
}

static bool is_token_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s)
{
	if (!*s)
		return false;
	while (is_token_char((unsigned char)*s))
		s++;
	return !*s;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX in place; `plus` also turns + into a space. False for a broken escape and for %00. */
static bool decode(char *s, bool plus)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '%') {
			int high = hex_digit(s[1]), low = high < 0 ? -1 : hex_digit(s[2]);

			if (low < 0 || high + low == 0)
				return false;
			*to++ = (char)(high << 4 | low);
			s += 2;
		} else {
			*to++ = plus && *s == '+' ? ' ' : *s;
		}
	}
	*to = '\0';
	return true;
}

static int parse_query(char *query, struct http_head *h)
{
	for (char *next; query; query = next) {
		next = strchr(query, '&');
		if (next)
			*next++ = '\0';
		if (!*query)
			continue;
		if (h->n_params == HTTP_PARAMS_MAX)
			return 400;
		char *value = strchr(query, '=');
		if (value)
			*value++ = '\0';
		else
			value = query + strlen(query);
		if (!decode(query, true) || !decode(value, true))
			return 400;
		h->params[h->n_params++] = (struct http_pair){query, value};
	}
	return 0;
}

/* "/path?query", or the same behind "http://host" (which a server must take). */
static int parse_target(char *target, struct http_head *h)
{
	if (strncasecmp(target, "http://", 7) == 0) {
		target = strpbrk(target + 7, "/?");
		if (!target)
			return 400;
	}
	if (*target != '/')
		return 400;
	for (const unsigned char *p = (unsigned char *)target; *p; p++)
		if (*p <= ' ' || *p == '#' || *p >= 0x7F)
			return 400;

	char *query = strchr(target, '?');
	if (query)
		*query++ = '\0';
	if (!decode(target, false))
		return 400;
	h->path = target;
	return query ? parse_query(query, h) : 0;
}

/* "METHOD SP target SP HTTP/1.x" */
static int parse_request_line(char *line, size_t max_target, struct http_head *h)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version)
		return 400;
	*target++ = '\0';
	*version++ = '\0';
	if (!is_token(line))
		return 400;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (str_eq(line, methods[i].name))
			h->method = methods[i].method;
	if (strlen(version) != 8 || !str_starts(version, "HTTP/") || version[6] != '.' ||
	    version[5] < '0' || version[5] > '9' || version[7] < '0' || version[7] > '9')
		return 400;
	if (version[5] != '1')
		return 505;
	h->minor = version[7] == '0' ? 0 : 1;
	if (strlen(target) > max_target)
		return 414;
	return parse_target(target, h);
}

static int parse_field(char *line, struct http_head *h)
{
	char *value = strchr(line, ':');

	if (!value)
		return 400;
	*value++ = '\0';
	if (!is_token(line))
		return 400;
	value += strspn(value, " \t");
	size_t len = strlen(value);
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		value[--len] = '\0';
	for (const char *p = value; *p; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7F)
			return 400;
	if (h->n_fields == HTTP_FIELDS_MAX)
		return 431;
	h->fields[h->n_fields++] = (struct http_pair){line, value};
	return 0;
}

/* Whether a comma-separated list holds the token. */
static bool list_has(const char *list, const char *token)
{
	size_t want = strlen(token);

	while (*list) {
		list += strspn(list, " \t,");
		size_t len = strcspn(list, " \t,;");
		if (len == want && strncasecmp(list, token, len) == 0)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

/* What the fields mean for the connection and the body's length. */
static int apply_fields(struct http_head *h)
{
	size_t hosts = 0, lengths = 0;

	h->close = h->minor == 0;
	for (size_t i = 0; i < h->n_fields; i++) {
		const char *name = h->fields[i].name, *value = h->fields[i].value;

		if (strcasecmp(name, "Host") == 0)
			hosts++;
		else if (strcasecmp(name, "Transfer-Encoding") == 0)
			return 411;
		else if (strcasecmp(name, "Connection") == 0)
			h->close |= list_has(value, "close");
		else if (strcasecmp(name, "Expect") == 0)
			h->expect = strcasecmp(value, "100-continue") == 0 && h->minor > 0;
		else if (strcasecmp(name, "Content-Length") == 0 &&
			 (lengths++ > 0 ||
			  str_to_u64(value, strlen(value), 0, INT64_MAX, &h->body_len) < 0))
			return 400;
	}
	return hosts > 1 || (h->minor > 0 && hosts == 0) ? 400 : 0;
}

int http_parse_head(char *text, size_t len, size_t max_target, struct http_head *ret)
{
	struct http_head h = {0};
	char *end = text + len - 2; /* the empty line */
	bool first = true;
	int status = 0;

	if (memchr(text, '\0', len))
		return 400;
	for (char *line = text, *next; line < end && status == 0; line = next) {
		next = strchr(line, '\n') + 1;
		next[-2] = '\0'; /* http_head_end saw the carriage return */
		if (strchr(line, '\r'))
			return 400;
		status = first ? parse_request_line(line, max_target, &h) : parse_field(line, &h);
		first = false;
	}
	if (status == 0)
		status = first ? 400 : apply_fields(&h);
	if (status == 0)
		*ret = h;
	return status;
}

const char *http_head_field(const struct http_head *h, const char *name)
{
	for (size_t i = 0; i < h->n_fields; i++)
		if (strcasecmp(h->fields[i].name, name) == 0)
			return h->fields[i].value;
	return NULL;
}

/* Whether "gzip" (or "*") stands in the list without a quality of zero (RFC 9110 12.5.3). */
bool http_accepts_gzip(const char *list)
{
	bool any = false;

	while (list && *list) {
		list += strspn(list, " \t,");
		size_t name = strcspn(list, " \t,;"), len = strcspn(list, ",");
		bool gzip = (name == 4 && strncasecmp(list, "gzip", 4) == 0) ||
			    (name == 6 && strncasecmp(list, "x-gzip", 6) == 0);
		const char *q = memmem(list, len, "q=", 2);
		bool zero = q && strspn(q + 2, "0.") == (size_t)(strcspn(q + 2, " \t,;"));

		if (gzip)
			return !zero;
		any |= name == 1 && *list == '*' && !zero;
		list += len;
	}
	return any;
}
