#include "base/time.h"

#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts); /* cannot fail for these clocks with a valid pointer */
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

struct mono mono_now(void)
{
	return (struct mono){read_clock(CLOCK_BOOTTIME)};
}

struct wall wall_now(void)
{
	return (struct wall){read_clock(CLOCK_REALTIME)};
}

char *time_rfc3339(struct wall t, char out[static TIME_RFC3339_LEN])
{
	/* Bounded to four-digit years, so that the text always fits. */
	const int64_t last = INT64_C(253402300799);
	int64_t sec = t.ns / NS_PER_SEC, frac = t.ns % NS_PER_SEC;
	struct tm tm;

	if (frac < 0)
		frac += NS_PER_SEC, sec--;
	if (sec < 0)
		sec = 0;
	if (sec > last)
		sec = last;
	gmtime_r(&(time_t){sec}, &tm);
	snprintf(out, TIME_RFC3339_LEN, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",
		 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100, (unsigned)(frac / 1000) % 1000000);
	return out;
}

char *time_duration(int64_t ns, char out[static TIME_DURATION_LEN])
{
	const char *sign = ns < 0 ? "-" : "";
	uint64_t n = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
	uint64_t ms = n / NS_PER_MSEC, s = n / NS_PER_SEC;

	if (ms < 1000)
		snprintf(out, TIME_DURATION_LEN, "%s%ums", sign, (unsigned)ms);
	else if (s < 10)
		snprintf(out, TIME_DURATION_LEN, "%s%u.%us", sign, (unsigned)s,
			 (unsigned)(ms % 1000 / 100));
	else if (s < 60)
		snprintf(out, TIME_DURATION_LEN, "%s%us", sign, (unsigned)s);
	else if (s < 3600)
		snprintf(out, TIME_DURATION_LEN, "%s%um%us", sign, (unsigned)(s / 60),
			 (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, TIME_DURATION_LEN, "%s%uh%um", sign, (unsigned)(s / 3600),
			 (unsigned)(s % 3600 / 60));
	else
		snprintf(out, TIME_DURATION_LEN, "%s%ud%uh", sign, (unsigned)(s / 86400),
			 (unsigned)(s % 86400 / 3600));
	return out;
}
