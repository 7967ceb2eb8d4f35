/*
 * Cases of a C program that tests against the real kernel: each in a network namespace of its
 * own, which goes with it, so that there is nothing to take away.
 *
 *     static void links(void) { MUST(nl_link_add(…) == 0); … }
 *     int main(void) { CASE(links); return cases_failed; }
 *
 * Prints "ok NAME" or "not ok NAME: what was not so" (test/run counts them). The first MUST that
 * does not hold ends the case.
 */
#ifndef TEST_CASES_H
#define TEST_CASES_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static int cases_failed;
static bool case_failed;
static const char *case_name;
static struct err err; /* of the call that was made last */

/* The error object is shown, and cleared, so that the next one is not taken for this. */
#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("not ok %s: line %d: %s [%s]\n", case_name, __LINE__, #cond,        \
			       err.msg);                                                           \
			case_failed = true;                                                        \
			return;                                                                    \
		}                                                                                  \
	} while (0)

/* Fails with this code, and with words that hold `text`. */
#define MUST_FAIL(call, wanted, text)                                                              \
	do {                                                                                       \
		err = (struct err){0};                                                             \
		int _r = (call);                                                                   \
		if (_r != (wanted) || err.code != (wanted) || !strstr(err.msg, (text))) {          \
			printf("not ok %s: line %d: %s: %d, wanted %d, message [%s], wanted "      \
			       "[%s]\n",                                                           \
			       case_name, __LINE__, #call, _r, (wanted), err.msg, (text));         \
			case_failed = true;                                                        \
			return;                                                                    \
		}                                                                                  \
		err = (struct err){0};                                                             \
	} while (0)

static inline void case_run(const char *name, void (*fn)(void))
{
	case_name = name;
	case_failed = false;
	err = (struct err){0};
	if (unshare(CLONE_NEWNET) < 0) {
		printf("not ok %s: unshare: %s\n", name, strerror(errno));
		cases_failed = 1;
		return;
	}
	fn();
	if (case_failed)
		cases_failed = 1;
	else
		printf("ok %s\n", name);
	fflush(stdout);
}
#define CASE(fn) case_run(#fn, fn)

#endif
