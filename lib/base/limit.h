/* What the system lets a process have. */
#ifndef BASE_LIMIT_H
#define BASE_LIMIT_H

#include "base/err.h"

/* As many open files as the process may give itself: the soft limit becomes the hard one
 * (RLIMIT_NOFILE, getrlimit(2)). The soft one is 1024 mostly, for the sake of programs that
 * select(2): not for one that does, nor for one that starts such. What is started from here
 * inherits it. */
int limit_raise_files(struct err *e);

#endif
