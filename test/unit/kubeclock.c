#include "kubeclock.h"

#include <event2/event.h>
#include <stddef.h>

#include "base/time.h"

/* What the linker calls so where it wraps; weak, since most test binaries are without. */
void __real_kube_timer_in(struct event *timer, int64_t ns) __attribute__((weak));
struct mono __wrap_mono_now(void);
struct wall __wrap_wall_now(void);
void __wrap_kube_timer_in(struct event *timer, int64_t ns);

static int64_t passed;
static struct event *armed; /* the timer that was armed last */
static int64_t due;

void kubeclock_start(void)
{
	passed = 0;
	armed = NULL;
}

void kubeclock_skip(int64_t ns)
{
	passed += ns;
	if (armed && due <= passed && evtimer_pending(armed, NULL))
		__real_kube_timer_in(armed, 0);
}

struct mono __wrap_mono_now(void)
{
	return (struct mono){1000 * NS_PER_SEC + passed};
}

struct wall __wrap_wall_now(void)
{
	return (struct wall){KUBECLOCK_SECS * NS_PER_SEC + passed};
}

void __wrap_kube_timer_in(struct event *timer, int64_t ns)
{
	armed = timer;
	due = passed + ns;
	__real_kube_timer_in(timer, ns > 0 ? INT64_MAX : 0);
}
