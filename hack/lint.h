/*
 * Put before every source by hack/lint, for the analysers only: they look at one file at a time,
 * and do not know that err_set and err_sys (lib/base/err.c) return the code they are given, which
 * is negative.
 */
#include "base/err.h"

#define LINT_CODE(fn, e, code, ...)                                                                \
	({                                                                                         \
		int lint_code_ = (code);                                                           \
		if (lint_code_ >= 0)                                                               \
			__builtin_unreachable();                                                   \
		(void)(fn)(e, lint_code_, __VA_ARGS__);                                            \
		lint_code_;                                                                        \
	})
#define err_set(e, code, ...) LINT_CODE(err_set, e, code, __VA_ARGS__)
#define err_sys(e, code, ...) LINT_CODE(err_sys, e, code, __VA_ARGS__)
