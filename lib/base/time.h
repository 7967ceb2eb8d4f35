/*
 * Typed time: nanoseconds in a structure, so that a monotonic instant, a wall-clock instant and
 * a duration are not mixed up. Protocol cores (lib/wg, lib/health) take instants as parameters
 * and never call the two clocks below.
 */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SEC  INT64_C(1000000000)
#define NS_PER_MSEC INT64_C(1000000)

/* CLOCK_BOOTTIME: never steps, counts suspend (a handshake ages while the machine sleeps). */
struct mono {
	int64_t ns;
};

/* CLOCK_REALTIME since the epoch; may step. {0} stands for "never". */
struct wall {
	int64_t ns;
};

struct mono mono_now(void);
struct wall wall_now(void);

static inline int64_t mono_since(struct mono now, struct mono then)
{
	return now.ns - then.ns;
}

static inline struct mono mono_add(struct mono t, int64_t ns)
{
	return (struct mono){t.ns + ns};
}

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.ns < b.ns;
}

static inline bool wall_is_never(struct wall t)
{
	return t.ns == 0;
}

/* Sizes include the NUL; both write a whole text and return `out`. */
#define TIME_RFC3339_LEN  sizeof("2026-01-02T03:04:05.678901Z")
#define TIME_DURATION_LEN 24

char *time_rfc3339(struct wall t, char out[static TIME_RFC3339_LEN]); /* microseconds, UTC */
char *time_duration(int64_t ns, char out[static TIME_DURATION_LEN]);  /* "4m10s", "1.2s", "35ms" */

#endif
