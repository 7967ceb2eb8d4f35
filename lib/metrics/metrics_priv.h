/* Shared by the registry (metrics.c) and the exposition (expose.c). */
#ifndef METRICS_METRICS_PRIV_H
#define METRICS_METRICS_PRIV_H

#include <stdbool.h>

#include "metrics/metrics.h"

struct metrics_series {
	struct metrics_family *family;
	char *labels;     /* rendered: {a="x",b="y"}; "" without labels */
	double value;     /* histogram: the sum */
	uint64_t *counts; /* histogram: n_buckets + 1, not cumulative, the last is +Inf */
};

struct metrics_family {
	struct metrics *owner;
	enum metrics_type type;
	char *name; /* as given */
	char *base; /* OpenMetrics' family name: without _total and _info */
	char *help;
	char *unit;   /* or NULL */
	char **opens; /* for each label the text before its value: `{a="`, then `",b="` */
	size_t n_labels;
	double *buckets;
	size_t n_buckets;
	struct metrics_series **series;
	size_t n_series, cap_series;
	uint64_t scrape; /* the last scrape that has this family */
};

struct metrics_collector {
	metrics_collect_fn *fn;
	void *arg;
	void (*release)(void *arg);
};

/* The series of the family at hand, for finding doubles: an open-addressed table of hashes and
 * places in the text. Kept from scrape to scrape. */
struct metrics_seen {
	uint32_t hash; /* 0: free */
	uint32_t at;   /* where the labels' text starts, from the family's start */
};

struct metrics {
	struct metrics_family **families;
	size_t n_families, cap_families;
	struct metrics_collector *collectors;
	size_t n_collectors, cap_collectors;
	struct metrics_seen *seen;
	size_t seen_cap; /* a power of two, or 0 */
	uint64_t scrape, refused;
};

/* Appends the family's labels with these values: `{a="x",b="y"}`, nothing without labels. */
void metrics_put_labels(struct buf *b, const struct metrics_family *f, const char *const *values);

#endif
