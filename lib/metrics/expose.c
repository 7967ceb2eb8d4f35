/*
 * Exposition: the registry as text, in one pass.
 *
 *     # HELP wireguard_peer_receive_bytes_total Bytes received.     text 0.0.4
 *     # TYPE wireguard_peer_receive_bytes_total counter
 *     wireguard_peer_receive_bytes_total{device="wg0",public_key="…"} 5123
 *
 *     # TYPE wireguard_peer_receive_bytes counter                   OpenMetrics 1.0.0
 *     # UNIT wireguard_peer_receive_bytes bytes
 *     # HELP wireguard_peer_receive_bytes Bytes received.
 *     wireguard_peer_receive_bytes_total{device="wg0",public_key="…"} 5123
 *     # EOF
 *
 * Sample lines are the same in both but for the bounds of histograms. A collected sample is
 * written straight behind the text; whether the scrape has its series already is asked from a
 * table of hashes that points back into that text, so nothing is copied. Rendered labels end in
 * `"}`, which cannot stand inside of them (quotes are escaped), so no text is the beginning of
 * another and comparing the new one's length decides.
 */
#include "metrics/metrics_priv.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct metrics_writer {
	struct metrics *m;
	struct buf *out;
	enum metrics_format format;
	struct metrics_family *family; /* begun; NULL: samples are refused */
	size_t start;                  /* of the family's samples in out */
	size_t n_seen;
	bool headed;
};

static void put_escaped(struct buf *b, const char *s, bool quotes)
{
	const char *from = s;

	for (;;) {
		unsigned char c = (unsigned char)*s;

		if (c >= ' ' && c < 0x80 && c != '\\' && (c != '"' || !quotes)) {
			s++;
			continue;
		}
		size_t n = str_utf8_len(s, strnlen(s, 4));
		if (n > 0 && c != '\\' && c != '\n' && c != '"') {
			s += n;
			continue;
		}
		buf_add(b, from, (size_t)(s - from));
		if (!c)
			return;
		if (n == 0)
			buf_adds(b, "\xEF\xBF\xBD");
		else
			buf_add(b, (char[]){'\\', c == '\n' ? 'n' : (char)c}, 2);
		from = ++s;
	}
}

void metrics_put_labels(struct buf *b, const struct metrics_family *f, const char *const *values)
{
	for (size_t i = 0; i < f->n_labels; i++) {
		buf_adds(b, f->opens[i]);
		put_escaped(b, values[i] ? values[i] : "", true);
	}
	if (f->n_labels)
		buf_add(b, "\"}", 2);
}

#define U64_LEN 20

/* The digits of a number, ending before `end`; returns the first. */
static char *digits(uint64_t v, char *end)
{
	do
		*--end = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	return end;
}

static void put_u64(struct buf *b, uint64_t v)
{
	char text[U64_LEN], *end = text + sizeof(text), *p = digits(v, end);

	buf_add(b, p, (size_t)(end - p));
}

/* The shortest of two precisions that reads back as the same number. */
static void put_double(struct buf *b, double v)
{
	char text[32];

	if (isnan(v) || isinf(v)) {
		buf_adds(b, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
		return;
	}
	if (v >= 0 && v < 0x1p53 && v == (double)(uint64_t)v) {
		put_u64(b, (uint64_t)v);
		return;
	}
	snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		snprintf(text, sizeof(text), "%.17g", v);
	buf_adds(b, text);
}

static const char *type_name(enum metrics_type t, enum metrics_format format)
{
	switch (t) {
	case METRICS_COUNTER: return "counter";
	case METRICS_GAUGE: return "gauge";
	case METRICS_HISTOGRAM: return "histogram";
	case METRICS_INFO: return format == METRICS_OPENMETRICS ? "info" : "gauge";
	}
	return "untyped";
}

static void put_head(struct buf *b, const struct metrics_family *f, enum metrics_format format)
{
	bool om = format == METRICS_OPENMETRICS;
	const char *name = om ? f->base : f->name;

	if (om) {
		buf_addf(b, "# TYPE %s %s\n", name, type_name(f->type, format));
		if (f->unit)
			buf_addf(b, "# UNIT %s %s\n", name, f->unit);
	}
	buf_addf(b, "# HELP %s ", name);
	put_escaped(b, f->help, om);
	buf_addc(b, '\n');
	if (!om)
		buf_addf(b, "# TYPE %s %s\n", name, type_name(f->type, format));
}

/* --- kept families --- */

/* `{a="x"` is to become `{a="x",le="1"}`. OpenMetrics writes whole bounds with a point. */
static void put_bucket(struct buf *b, const struct metrics_series *s, const double *bound,
		       uint64_t n, enum metrics_format format)
{
	size_t len = strlen(s->labels);

	buf_adds(b, s->family->name);
	buf_adds(b, "_bucket");
	if (len > 0) {
		buf_add(b, s->labels, len - 1);
		buf_addc(b, ',');
	} else {
		buf_addc(b, '{');
	}
	buf_adds(b, "le=\"");
	put_double(b, bound ? *bound : INFINITY);
	if (bound && format == METRICS_OPENMETRICS && fabs(*bound) < 1e15 &&
	    *bound == trunc(*bound))
		buf_adds(b, ".0");
	buf_adds(b, "\"} ");
	put_u64(b, n);
	buf_addc(b, '\n');
}

static void put_histogram(struct buf *b, const struct metrics_series *s, enum metrics_format format)
{
	const struct metrics_family *f = s->family;
	uint64_t n = 0;

	for (size_t i = 0; i <= f->n_buckets; i++) {
		n += s->counts[i];
		put_bucket(b, s, i < f->n_buckets ? &f->buckets[i] : NULL, n, format);
	}
	buf_addf(b, "%s_sum%s ", f->name, s->labels);
	put_double(b, s->value);
	buf_addf(b, "\n%s_count%s ", f->name, s->labels);
	put_u64(b, n);
	buf_addc(b, '\n');
}

static void put_family(struct buf *b, const struct metrics_family *f, enum metrics_format format)
{
	put_head(b, f, format);
	for (size_t i = 0; i < f->n_series; i++) {
		const struct metrics_series *s = f->series[i];

		if (f->type == METRICS_HISTOGRAM) {
			put_histogram(b, s, format);
			continue;
		}
		buf_adds(b, f->name);
		buf_adds(b, s->labels);
		buf_addc(b, ' ');
		put_double(b, f->type == METRICS_INFO ? 1 : s->value);
		buf_addc(b, '\n');
	}
}

/* --- collected families --- */

int metrics_begin(struct metrics_writer *w, struct metrics_family *f)
{
	w->family = NULL;
	if (f->scrape == w->m->scrape) {
		w->m->refused++;
		return -EALREADY;
	}
	f->scrape = w->m->scrape;
	w->family = f;
	w->start = w->out->len;
	w->headed = false;
	if (w->n_seen)
		memset(w->m->seen, 0, w->m->seen_cap * sizeof(*w->m->seen));
	w->n_seen = 0;
	return 0;
}

static uint32_t hash_text(const char *s, size_t len)
{
	uint64_t h = len, word;

	for (; len >= sizeof(word); s += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, s, sizeof(word));
		h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, s, len);
	h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
	h ^= h >> 32;
	return (uint32_t)h ? (uint32_t)h : 1;
}

/* Doubles the table at half its load. */
static int grow_seen(struct metrics_writer *w)
{
	struct metrics *m = w->m;

	if (w->n_seen * 2 < m->seen_cap)
		return 0;

	size_t cap = m->seen_cap ? m->seen_cap * 2 : 64;
	struct metrics_seen *t = calloc(cap, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < m->seen_cap; i++) {
		size_t k = m->seen[i].hash & (cap - 1);

		if (!m->seen[i].hash)
			continue;
		while (t[k].hash)
			k = (k + 1) & (cap - 1);
		t[k] = m->seen[i];
	}
	free(m->seen);
	m->seen = t;
	m->seen_cap = cap;
	return 0;
}

/* Whether the labels just written at `at` stand in this family already; notes them if not. */
static int note_series(struct metrics_writer *w, size_t at)
{
	const struct buf *b = w->out;
	size_t len = b->len - at, off = at - w->start;

	if (off > UINT32_MAX)
		return -E2BIG;
	if (grow_seen(w) < 0)
		return -ENOMEM;

	uint32_t h = hash_text(b->data + at, len);
	size_t mask = w->m->seen_cap - 1, k = h & mask;
	for (; w->m->seen[k].hash; k = (k + 1) & mask) {
		size_t other = w->start + w->m->seen[k].at;

		if (w->m->seen[k].hash == h && other + len <= at &&
		    memcmp(b->data + other, b->data + at, len) == 0)
			return -EEXIST;
	}
	w->m->seen[k] = (struct metrics_seen){h, (uint32_t)off};
	w->n_seen++;
	return 0;
}

/* What a sample of the current family needs before it. */
static int begin_sample(struct metrics_writer *w)
{
	if (!w->family || w->family->type == METRICS_HISTOGRAM) {
		w->m->refused++;
		return -EINVAL;
	}
	if (!w->headed)
		put_head(w->out, w->family, w->format);
	w->headed = true;
	return 0;
}

/* Writes "name{labels} "; on refusal the text is as before. */
static int put_series(struct metrics_writer *w, const char *const *values)
{
	struct metrics_family *f = w->family;

	if (begin_sample(w) < 0)
		return -EINVAL;

	size_t before = w->out->len;
	buf_adds(w->out, f->name);
	size_t at = w->out->len;
	metrics_put_labels(w->out, f, values);
	if (buf_error(w->out) < 0)
		return buf_error(w->out);
	int r = note_series(w, at);
	if (r < 0) {
		w->out->len = before;
		w->out->data[before] = '\0';
		w->m->refused++;
		return r;
	}
	buf_addc(w->out, ' ');
	return 0;
}

int metrics_sample_u64(struct metrics_writer *w, const char *const *values, uint64_t v)
{
	int r = put_series(w, values);

	if (r < 0)
		return r;
	put_u64(w->out, w->family->type == METRICS_INFO ? 1 : v);
	buf_addc(w->out, '\n');
	return buf_error(w->out);
}

int metrics_sample(struct metrics_writer *w, const char *const *values, double v)
{
	if (w->family && w->family->type == METRICS_COUNTER && !(isfinite(v) && v >= 0)) {
		w->m->refused++;
		return -EINVAL;
	}

	int r = put_series(w, values);

	if (r < 0)
		return r;
	put_double(w->out, w->family->type == METRICS_INFO ? 1 : v);
	buf_addc(w->out, '\n');
	return buf_error(w->out);
}

void metrics_labels(struct buf *out, const struct metrics_family *f, const char *const *values)
{
	metrics_put_labels(out, f, values);
}

/* One line, with one look at the room for it: there may be a hundred thousand. */
static int put_rendered(struct metrics_writer *w, const char *labels, size_t len, const char *value,
			size_t value_len)
{
	struct metrics_family *f = w->family;
	char *p;

	if (begin_sample(w) < 0)
		return -EINVAL;
	size_t name_len = strlen(f->name), total = name_len + len + value_len + 2;
	if (buf_reserve(w->out, total) < 0)
		return buf_error(w->out);
	p = w->out->data + w->out->len;
	p = mempcpy(p, f->name, name_len);
	p = mempcpy(p, labels, len);
	*p++ = ' ';
	p = mempcpy(p, value, value_len);
	*p++ = '\n';
	*p = '\0';
	w->out->len += total;
	return 0;
}

int metrics_rendered(struct metrics_writer *w, const char *labels, size_t len, uint64_t v)
{
	bool info = w->family && w->family->type == METRICS_INFO;
	char text[U64_LEN], *end = text + sizeof(text), *p = digits(info ? 1 : v, end);

	return put_rendered(w, labels, len, p, (size_t)(end - p));
}

int metrics_rendered_ns(struct metrics_writer *w, const char *labels, size_t len, int64_t ns)
{
	char text[U64_LEN + 1], *end = text + sizeof(text), *p = end;
	uint64_t fraction = (uint64_t)ns % 1000000000;

	if (ns < 0)
		return metrics_rendered(w, labels, len, 0);
	if (fraction) {
		for (unsigned i = 0; i < 9; i++, fraction /= 10)
			*--p = (char)('0' + fraction % 10);
		*--p = '.';
		while (end[-1] == '0')
			end--;
	}
	p = digits((uint64_t)ns / 1000000000, p);
	return put_rendered(w, labels, len, p, (size_t)(end - p));
}

int metrics_write(struct metrics *m, enum metrics_format format, struct buf *out)
{
	struct metrics_writer w = {.m = m, .out = out, .format = format};

	m->scrape++;
	for (size_t i = 0; i < m->n_families; i++) {
		struct metrics_family *f = m->families[i];

		if (f->n_series == 0)
			continue;
		f->scrape = m->scrape;
		put_family(out, f, format);
	}
	if (m->seen)
		memset(m->seen, 0, m->seen_cap * sizeof(*m->seen));
	for (size_t i = 0; i < m->n_collectors; i++) {
		w.family = NULL;
		m->collectors[i].fn(&w, m->collectors[i].arg);
	}
	if (format == METRICS_OPENMETRICS)
		buf_adds(out, "# EOF\n");
	return buf_error(out);
}

uint64_t metrics_refused(const struct metrics *m)
{
	return m->refused;
}
