/*
 * Metrics: families of series, and their exposition as Prometheus text 0.0.4 or OpenMetrics
 * 1.0.0. Pure: values come from the caller, text goes into a buffer.
 *
 * Two kinds of families share one registry:
 *   kept       the registry holds the values (metrics_series, then metrics_inc, metrics_observe)
 *   collected  a callback emits the samples at scrape time, straight into the text: for series
 *              that are many and whose values live elsewhere (one per peer)
 *
 * Names are given whole, as a dashboard queries them ("x_bytes_total", "x_info"); what OpenMetrics
 * wants shorter in its metadata lines is derived. Refused at registration: names outside of the
 * format, a counter without _total, an info without _info, suffixes that belong to other types, a
 * unit that is not the name's suffix, a family without help, a family that stands already.
 *
 * Sources: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0.0 (2020-11).
 */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_INFO };
enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

struct metrics;
struct metrics_family;
struct metrics_series;
struct metrics_writer;

struct metrics *metrics_new(void);    /* NULL when memory has run out */
void metrics_free(struct metrics *m); /* with its families and series */
MEM_CLEANUP(struct metrics, metrics_free);

/* All texts are copied. */
struct metrics_desc {
	enum metrics_type type;
	const char *name;
	const char *help;
	const char *unit;          /* "seconds", "bytes"; NULL: none */
	const char *const *labels; /* names, NULL-terminated; NULL: none */
	const double *buckets;     /* histogram: upper bounds, ascending, finite, at least one */
	size_t n_buckets;
};

#define METRICS_LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define METRICS_BUCKETS(...)                                                                       \
	.buckets = (const double[]){__VA_ARGS__},                                                  \
	.n_buckets = sizeof((const double[]){__VA_ARGS__}) / sizeof(double)
#define METRICS_LABELS_MAX 16

/* -EINVAL or -EEXIST with the reason, -ENOMEM. The registry owns *ret. */
int metrics_add_family(struct metrics *m, const struct metrics_desc *desc,
		       struct metrics_family **ret, struct err *e);

/* --- kept families ----------------------------------------------------------------------------
 * `values` are the label values in the family's order (NULL for a family without labels; bytes
 * that are not UTF-8 are written as U+FFFD). -EEXIST for a series that stands already. Counters
 * and histograms start at 0, gauges too; an info is 1. */
int metrics_add_series(struct metrics_family *f, const char *const *values,
		       struct metrics_series **ret, struct err *e);
void metrics_remove_series(struct metrics_series *s); /* NULL is accepted */

/* For one series of a family without labels: both steps in one. */
int metrics_add_single(struct metrics *m, const struct metrics_desc *desc,
		       struct metrics_series **ret, struct err *e);

/* A NULL series is accepted and does nothing, so that a part can run without metrics. */
void metrics_inc(struct metrics_series *s);               /* counter or gauge, by 1 */
int metrics_add(struct metrics_series *s, double delta);  /* counter: -EINVAL unless finite, >= 0 */
void metrics_set(struct metrics_series *s, double v);     /* gauge */
void metrics_observe(struct metrics_series *s, double v); /* histogram; NaN is left out */
double metrics_value(const struct metrics_series *s);     /* histogram: the count */

/* --- collected families -----------------------------------------------------------------------
 * A callback begins each of its families once a scrape and emits all samples of it before it
 * begins the next: the formats want a family's samples together.
 *
 *     metrics_begin(w, peer_rx);
 *     for (each peer)
 *             metrics_sample_u64(w, (const char *[]){ifname, peer->key_text}, peer->rx_bytes);
 */
typedef void metrics_collect_fn(struct metrics_writer *w, void *arg);
/* `release` (may be NULL) gets `arg` when the registry is freed. -ENOMEM. */
int metrics_add_collector(struct metrics *m, metrics_collect_fn *fn, void *arg,
			  void (*release)(void *arg));

/* -EALREADY (and its samples are dropped) for a family that was written in this scrape. */
int metrics_begin(struct metrics_writer *w, struct metrics_family *f);
/* Counter, gauge or info (whose value is always 1). -EEXIST for a series that this scrape has
 * already, -EINVAL for a counter that is negative or not finite, or a histogram: the sample is
 * left out and counted in metrics_refused. No allocation but the text's own growth. */
int metrics_sample(struct metrics_writer *w, const char *const *values, double v);
int metrics_sample_u64(struct metrics_writer *w, const char *const *values, uint64_t v);

/* Labels rendered beforehand: `{a="x",b="y"}`, for series that are many and stand in scrape after
 * scrape. Any family with the same labels in the same order can use them. What is left out here is
 * the search for doubles: that a family has no two samples with the same labels is for the caller
 * to know. */
void metrics_labels(struct buf *out, const struct metrics_family *f, const char *const *values);
int metrics_rendered(struct metrics_writer *w, const char *labels, size_t len, uint64_t v);
/* The same for a time in seconds, given in nanoseconds, which is written exactly. */
int metrics_rendered_ns(struct metrics_writer *w, const char *labels, size_t len, int64_t ns);

/* --- exposition -------------------------------------------------------------------------------
 * Appends the whole text: kept families in the order of registration, then what the collectors
 * emit in theirs. A family without samples is left out. 0, -ENOMEM, or -E2BIG at out's limit. */
int metrics_write(struct metrics *m, enum metrics_format format, struct buf *out);
uint64_t metrics_refused(const struct metrics *m); /* samples left out so far: a bug if not 0 */

/* By an Accept header (NULL: none): OpenMetrics where it is asked for in a version that we write
 * and not liked less than the text format; else text. */
enum metrics_format metrics_negotiate(const char *accept);
const char *metrics_content_type(enum metrics_format format);

#endif
