/*
 * The time of lib/kube in a test's hands: both clocks stand still until kubeclock_skip moves them,
 * and a timer of kube_timer_in goes off when its time has come by that, never by itself. So nothing
 * is waited for, and nothing depends on how busy the machine is.
 *
 * Only for tests whose calls are wrapped (mk/kube.mk), and for one object with one timer at a time.
 */
#ifndef KUBECLOCK_H
#define KUBECLOCK_H

#include <stdint.h>

/* Before each case; and after an object was freed, if time is to be skipped once more. */
void kubeclock_start(void);
void kubeclock_skip(int64_t ns);

/* wall_now() at kubeclock_start, in seconds since the epoch and as text without its end. */
#define KUBECLOCK_SECS   INT64_C(1767323040)
#define KUBECLOCK_MINUTE "2026-01-02T03:04:"

#endif
