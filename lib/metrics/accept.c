/*
 * Content negotiation (RFC 9110 section 12.5.1) between the two formats.
 *
 *     Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.7
 *
 * A range counts for a format when type and version fit (no version: it fits); the most specific
 * range that fits gives the format's quality. OpenMetrics must be named itself: a browser's or
 * curl's wildcard gets the text that people read.
 */
#include "metrics/metrics.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct range {
	const char *type; /* not terminated */
	size_t type_len;
	const char *version;
	size_t version_len; /* 0: none */
	int quality;        /* thousandths */
};

static bool is_text(const char *s, size_t len, const char *want)
{
	return len == strlen(want) && strncasecmp(s, want, len) == 0;
}

static void trim(const char **s, size_t *len)
{
	while (*len && (**s == ' ' || **s == '\t'))
		(*s)++, (*len)--;
	while (*len && ((*s)[*len - 1] == ' ' || (*s)[*len - 1] == '\t'))
		(*len)--;
}

/* "1", "0.8", "0.333"; anything else counts as 0: what is not understood is not wanted. */
static int parse_quality(const char *s, size_t len)
{
	int q = 0, unit = 1000;

	for (size_t i = 0; i < len; i++) {
		if (i == 1 && s[i] == '.')
			continue;
		if (s[i] < '0' || s[i] > '9' || unit == 0 || (i > 0 && s[1] != '.'))
			return 0;
		q += (s[i] - '0') * unit;
		unit /= 10;
	}
	return q > 1000 ? 0 : q;
}

static void parse_param(const char *s, size_t len, struct range *r)
{
	const char *eq = memchr(s, '=', len);

	if (!eq)
		return;

	size_t name_len = (size_t)(eq - s), value_len = len - name_len - 1;
	const char *value = eq + 1;

	trim(&s, &name_len);
	trim(&value, &value_len);
	if (value_len >= 2 && value[0] == '"' && value[value_len - 1] == '"')
		value++, value_len -= 2;
	if (is_text(s, name_len, "q")) {
		r->quality = parse_quality(value, value_len);
	} else if (is_text(s, name_len, "version")) {
		r->version = value;
		r->version_len = value_len;
	}
}

static struct range parse_range(const char *s, size_t len)
{
	struct range r = {.quality = 1000};
	bool first = true;

	for (;;) {
		const char *end = memchr(s, ';', len), *part = s;
		size_t n = end ? (size_t)(end - s) : len;

		len -= n;
		trim(&part, &n);
		if (first) {
			r.type = part;
			r.type_len = n;
		} else {
			parse_param(part, n, &r);
		}
		if (!end)
			return r;
		first = false;
		s = end + 1;
		len--;
	}
}

/* How specifically the range names text 0.0.4: 0 not at all. */
static int text_match(const struct range *r)
{
	if (is_text(r->type, r->type_len, "*/*"))
		return 1;
	if (is_text(r->type, r->type_len, "text/*"))
		return 2;
	if (!is_text(r->type, r->type_len, "text/plain"))
		return 0;
	if (r->version_len == 0)
		return 3;
	return is_text(r->version, r->version_len, "0.0.4") ? 4 : 0;
}

static int openmetrics_match(const struct range *r)
{
	if (!is_text(r->type, r->type_len, "application/openmetrics-text"))
		return 0;
	if (r->version_len == 0)
		return 1;
	return is_text(r->version, r->version_len, "1.0.0") ? 2 : 0;
}

enum metrics_format metrics_negotiate(const char *accept)
{
	int text = 0, text_q = 0, om = 0, om_q = 0;

	while (accept && *accept) {
		size_t len = strcspn(accept, ",");
		struct range r = parse_range(accept, len);
		int t = text_match(&r), o = openmetrics_match(&r);

		if (t > text)
			text = t, text_q = r.quality;
		if (o > om)
			om = o, om_q = r.quality;
		accept += len;
		accept += *accept == ',';
	}
	return om_q > 0 && om_q >= text_q ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}
