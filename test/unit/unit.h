/*
 * What every unit test binary shares. A test file defines its cases with check's START_TEST and
 * one suite function, and ends with UNIT_MAIN(suite).
 *
 * Output is one line a case ("ok SUITE:case", "not ok …"), which test/run counts. In a fork per
 * case (the default) a crash fails its case alone; under sanitizers and debuggers set
 * CK_FORK=no.
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <stddef.h>

int unit_main(Suite *s);

/* A suite with one test case for each START_TEST, named as it: UNIT_SUITE("base", a, b, c).
 * UNIT_SUITE_IN has `setup` and `teardown` (NULL: none) run around each. */
Suite *unit_suite(const char *name, void (*setup)(void), void (*teardown)(void),
		  const TTest *const *tests, size_t n);
#define UNIT_SUITE_IN(name, setup, teardown, ...)                                                  \
	unit_suite(name, setup, teardown, (const TTest *const[]){__VA_ARGS__},                     \
		   sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(const TTest *))
#define UNIT_SUITE(name, ...) UNIT_SUITE_IN(name, NULL, NULL, __VA_ARGS__)

#define UNIT_MAIN(suite)                                                                           \
	int main(void)                                                                             \
	{                                                                                          \
		return unit_main(suite());                                                         \
	}

/* 1, or `n` under a sanitizer, where a long loop is made shorter by that. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNIT_SHORTER(n) (n)
#else
#define UNIT_SHORTER(n) 1
#endif

/* mkdtemp(3); the directory goes with all that is in it when this process ends in good order. */
char *unit_mkdtemp(char *path);

/* For a case that cannot run here: prints "skip NAME: reason", which test/run reports. */
void unit_skip(const char *name, const char *reason);

#endif
