/*
 * Fails one allocation of the calling thread, wherever it is made: in the code under test or in a
 * library that it calls. Every unit test binary has it; nothing happens until it is armed.
 *
 *     int r;
 *     FAULT_LOOP(r = parse(…)) {
 *             ck_assert_int_eq(r, -ENOMEM);   // the n-th allocation failed
 *     }
 *     ck_assert_int_eq(r, 0);                 // the last round failed none
 *
 * The body runs after each round in which an allocation failed; the loop ends with the first
 * round that needed fewer. A round must free what it got. It checks that itself: fault_live()
 * must be the same before and after a round, or the process is aborted with a message.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* The next `n` allocations succeed, the one behind them fails, once. */
void fault_after(size_t n);

/* The same, and all further ones fail too. */
void fault_all_after(size_t n);

/* Disarms; whether the failure has happened. */
bool fault_off(void);

/* Counts one allocation; whether it is the one to fail. For a test's stand-ins of functions that
 * get memory elsewhere. */
bool fault_now(void);

/* malloc, calloc, realloc, aligned_alloc less free of this thread so far. Always 0 under a
 * sanitizer, whose own leak check is the better one. Blocks of posix_memalign and the like are not
 * counted when they are made and counted when they are freed. */
long fault_live(void);

/* Calls of the four that this thread has made so far, also under a sanitizer: for what must
 * allocate nothing at all. */
unsigned long fault_count(void);

/* Looks at the block at `p` when this thread frees it; then whether its first `n` bytes were all
 * zero: for what must be wiped. False too when it was not freed. */
void fault_watch(const void *p, size_t n);
bool fault_watched_zero(void);

/* Until NULL: looks for the `n` bytes at `secret` in each block that this thread frees. */
void fault_scan(const void *secret, size_t n);
/* In how many it was since then. */
unsigned fault_scanned(void);

void fault_check_live(size_t n, long before, long after);

#define FAULT_LOOP(round)                                                                          \
	for (size_t _fault_n = 0;; _fault_n++)                                                     \
		if (({                                                                             \
			    long _live = fault_live();                                             \
			    fault_after(_fault_n);                                                 \
			    round;                                                                 \
			    bool _fired = fault_off();                                             \
			    fault_check_live(_fault_n, _live, fault_live());                       \
			    !_fired;                                                               \
		    }))                                                                            \
			break;                                                                     \
		else

#endif
