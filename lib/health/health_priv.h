/* Shared by the set of peers (health.c), the judge (judge.c) and the words (reason.c). */
#ifndef HEALTH_HEALTH_PRIV_H
#define HEALTH_HEALTH_PRIV_H

#include "health/health.h"

struct health {
	struct health_peer *peers; /* sorted by public key */
	size_t n;
	bool device; /* was there at the last tick */
	bool ticked;
	struct mono last; /* tick */
};

/* One peer against its part of a dump (NULL: it has none); `before` is the tick before. */
void health_judge(struct health_peer *p, const struct wgdev_peer *d, struct health_now now,
		  struct mono before, health_event_fn *fn, void *arg);

/* Something that wants an answer was sent, at or after `before`. */
void health_asked(struct health_peer *p, struct mono now, struct mono before);

#endif
