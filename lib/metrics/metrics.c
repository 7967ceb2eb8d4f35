/*
 * The registry: what may be registered, and the values that it keeps.
 *
 * Series of kept families are few (kinds of operations, not peers), so they stand in an array and
 * are found by comparing rendered labels. OpenMetrics names families without their type's suffix
 * and wants these names unique, so that is what is compared: a gauge "x" beside a counter
 * "x_total" is refused.
 */
#include "metrics/metrics_priv.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/str.h"

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

static void free_series(struct metrics_series *s)
{
	if (!s)
		return;
	free(s->labels);
	free(s->counts);
	free(s);
}

static void free_family(struct metrics_family *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n_series; i++)
		free_series(f->series[i]);
	free(f->series);
	for (size_t i = 0; i < f->n_labels; i++)
		free(f->opens[i]);
	free(f->opens);
	free(f->name);
	free(f->base);
	free(f->help);
	free(f->unit);
	free(f->buckets);
	free(f);
}
MEM_CLEANUP(struct metrics_family, free_family);
MEM_CLEANUP(struct metrics_series, free_series);

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_families; i++)
		free_family(m->families[i]);
	free(m->families);
	for (size_t i = 0; i < m->n_collectors; i++)
		if (m->collectors[i].release)
			m->collectors[i].release(m->collectors[i].arg);
	free(m->collectors);
	free(m->seen);
	free(m);
}

/* [a-zA-Z_][a-zA-Z0-9_]*: label names, and metric names but for the colon, which is kept for
 * recording rules. */
static bool is_name(const char *s)
{
	if (!*s || (*s >= '0' && *s <= '9'))
		return false;
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_' ||
		      (*s >= '0' && *s <= '9')))
			return false;
	return true;
}

static int check_suffix(const struct metrics_desc *d, struct err *e)
{
	static const char *const reserved[] = {"_total", "_info",    "_bucket", "_count",
					       "_sum",   "_created", "_gsum",   "_gcount"};
	const char *own = d->type == METRICS_COUNTER ? "_total"
			  : d->type == METRICS_INFO  ? "_info"
						     : NULL;

	if (own) {
		if (!str_ends(d->name, own) || strlen(d->name) == strlen(own))
			return err_set(e, -EINVAL, "metric %s: the name must end in %s", d->name,
				       own);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (str_ends(d->name, reserved[i]))
			return err_set(e, -EINVAL, "metric %s: %s belongs to another type", d->name,
				       reserved[i]);
	return 0;
}

static int check_labels(const struct metrics_desc *d, size_t *ret_n, struct err *e)
{
	size_t n = 0;

	for (; d->labels && d->labels[n]; n++) {
		const char *l = d->labels[n];

		if (!is_name(l) || str_starts(l, "__") || str_eq(l, "le") || str_eq(l, "quantile"))
			return err_set(e, -EINVAL, "metric %s: \"%s\" cannot be a label", d->name,
				       l);
		for (size_t i = 0; i < n; i++)
			if (str_eq(d->labels[i], l))
				return err_set(e, -EINVAL, "metric %s: label %s stands twice",
					       d->name, l);
		if (n == METRICS_LABELS_MAX)
			return err_set(e, -EINVAL, "metric %s: more than %d labels", d->name,
				       METRICS_LABELS_MAX);
	}
	*ret_n = n;
	return 0;
}

static int check_buckets(const struct metrics_desc *d, struct err *e)
{
	if ((d->type == METRICS_HISTOGRAM) != (d->n_buckets > 0))
		return err_set(e, -EINVAL,
			       "metric %s: buckets belong to histograms, to all of them", d->name);
	for (size_t i = 0; i < d->n_buckets; i++)
		if (!isfinite(d->buckets[i]) || (i > 0 && d->buckets[i] <= d->buckets[i - 1]))
			return err_set(e, -EINVAL, "metric %s: buckets must be finite and ascend",
				       d->name);
	return 0;
}

/* The name without the suffix of its type. */
static char *base_name(const struct metrics_desc *d)
{
	size_t len = strlen(d->name);

	if (d->type == METRICS_COUNTER)
		len -= strlen("_total");
	else if (d->type == METRICS_INFO)
		len -= strlen("_info");
	return mem_dup_str(d->name, len);
}

static int check_unit(const struct metrics_desc *d, const char *base, struct err *e)
{
	size_t n = d->unit ? strlen(d->unit) : 0, len = strlen(base);

	if (!d->unit)
		return 0;
	if (d->type == METRICS_INFO)
		return err_set(e, -EINVAL, "metric %s: an info has no unit", d->name);
	if (n == 0 || len <= n || base[len - n - 1] != '_' || !str_ends(base, d->unit))
		return err_set(e, -EINVAL, "metric %s: the name does not end in its unit _%s",
			       d->name, d->unit);
	return 0;
}

static int copy_labels(struct metrics_family *f, const struct metrics_desc *d, size_t n)
{
	if (n == 0)
		return 0;
	f->opens = calloc(n, sizeof(*f->opens));
	if (!f->opens)
		return -ENOMEM;
	f->n_labels = n;
	for (size_t i = 0; i < n; i++) {
		struct buf b = BUF_INIT(0);

		buf_addf(&b, "%s%s=\"", i ? "\"," : "{", d->labels[i]);
		if (buf_error(&b) < 0) {
			buf_free(&b);
			return -ENOMEM;
		}
		f->opens[i] = b.data;
	}
	return 0;
}

static int fill_family(struct metrics_family *f, const struct metrics_desc *d, size_t n_labels)
{
	f->type = d->type;
	f->name = strdup(d->name);
	f->help = strdup(d->help);
	f->unit = d->unit ? strdup(d->unit) : NULL;
	if (!f->name || !f->help || (d->unit && !f->unit))
		return -ENOMEM;
	if (d->n_buckets) {
		f->buckets = calloc(d->n_buckets, sizeof(double));
		if (!f->buckets)
			return -ENOMEM;
		memcpy(f->buckets, d->buckets, d->n_buckets * sizeof(double));
		f->n_buckets = d->n_buckets;
	}
	return copy_labels(f, d, n_labels);
}

int metrics_add_family(struct metrics *m, const struct metrics_desc *d, struct metrics_family **ret,
		       struct err *e)
{
	size_t n_labels = 0;
	int r;

	if (!d->name || !is_name(d->name))
		return err_set(e, -EINVAL, "\"%s\" cannot be a metric's name",
			       d->name ? d->name : "");
	if (!d->help || !*d->help)
		return err_set(e, -EINVAL, "metric %s: no help", d->name);
	if ((r = check_suffix(d, e)) < 0 || (r = check_labels(d, &n_labels, e)) < 0 ||
	    (r = check_buckets(d, e)) < 0)
		return r;

	_cleanup_(free_family_p) struct metrics_family *f = calloc(1, sizeof(*f));
	if (!f || !(f->base = base_name(d)))
		return err_set(e, -ENOMEM, "metric %s: out of memory", d->name);
	if ((r = check_unit(d, f->base, e)) < 0)
		return r;
	for (size_t i = 0; i < m->n_families; i++)
		if (str_eq(m->families[i]->base, f->base))
			return err_set(e, -EEXIST, "metric %s: %s is registered already", d->name,
				       m->families[i]->name);
	if (fill_family(f, d, n_labels) < 0 ||
	    mem_grow(&m->families, m->n_families, &m->cap_families, sizeof(*m->families)) < 0)
		return err_set(e, -ENOMEM, "metric %s: out of memory", d->name);
	f->owner = m;
	m->families[m->n_families++] = f;
	*ret = mem_steal(&f);
	return 0;
}

int metrics_add_series(struct metrics_family *f, const char *const *values,
		       struct metrics_series **ret, struct err *e)
{
	_cleanup_(free_series_p) struct metrics_series *s = calloc(1, sizeof(*s));
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	metrics_put_labels(&b, f, values);
	if (!s || buf_error(&b) < 0)
		return err_set(e, -ENOMEM, "metric %s: out of memory", f->name);
	for (size_t i = 0; i < f->n_series; i++)
		if (str_eq(f->series[i]->labels, buf_str(&b)))
			return err_set(e, -EEXIST, "metric %s%s: the series stands already",
				       f->name, buf_str(&b));
	s->family = f;
	s->labels = strdup(buf_str(&b));
	if (f->type == METRICS_HISTOGRAM)
		s->counts = calloc(f->n_buckets + 1, sizeof(*s->counts));
	if (!s->labels || (f->type == METRICS_HISTOGRAM && !s->counts) ||
	    mem_grow(&f->series, f->n_series, &f->cap_series, sizeof(*f->series)) < 0)
		return err_set(e, -ENOMEM, "metric %s: out of memory", f->name);
	f->series[f->n_series++] = s;
	*ret = mem_steal(&s);
	return 0;
}

void metrics_remove_series(struct metrics_series *s)
{
	if (!s)
		return;

	struct metrics_family *f = s->family;
	size_t i = 0;

	while (f->series[i] != s)
		i++;
	memmove(&f->series[i], &f->series[i + 1], (f->n_series - i - 1) * sizeof(*f->series));
	f->n_series--;
	free_series(s);
}

int metrics_add_single(struct metrics *m, const struct metrics_desc *d, struct metrics_series **ret,
		       struct err *e)
{
	struct metrics_family *f;
	int r = metrics_add_family(m, d, &f, e);

	if (r < 0)
		return r;
	if (f->n_labels)
		return err_set(e, -EINVAL, "metric %s has labels", f->name);
	return metrics_add_series(f, NULL, ret, e);
}

void metrics_inc(struct metrics_series *s)
{
	metrics_add(s, 1);
}

int metrics_add(struct metrics_series *s, double delta)
{
	if (!s)
		return 0;
	if (s->family->type == METRICS_COUNTER ? !(isfinite(delta) && delta >= 0)
					       : s->family->type != METRICS_GAUGE)
		return -EINVAL;
	s->value += delta;
	return 0;
}

void metrics_set(struct metrics_series *s, double v)
{
	if (s && s->family->type == METRICS_GAUGE)
		s->value = v;
}

void metrics_observe(struct metrics_series *s, double v)
{
	size_t i = 0;

	if (!s || s->family->type != METRICS_HISTOGRAM || isnan(v))
		return;
	while (i < s->family->n_buckets && v > s->family->buckets[i])
		i++;
	s->counts[i]++;
	s->value += v;
}

double metrics_value(const struct metrics_series *s)
{
	uint64_t n = 0;

	if (s->family->type != METRICS_HISTOGRAM)
		return s->value;
	for (size_t i = 0; i <= s->family->n_buckets; i++)
		n += s->counts[i];
	return (double)n;
}

int metrics_add_collector(struct metrics *m, metrics_collect_fn *fn, void *arg,
			  void (*release)(void *arg))
{
	if (mem_grow(&m->collectors, m->n_collectors, &m->cap_collectors, sizeof(*m->collectors)) <
	    0)
		return -ENOMEM;
	m->collectors[m->n_collectors++] = (struct metrics_collector){fn, arg, release};
	return 0;
}
