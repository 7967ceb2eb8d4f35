/* Going to the background: the caller's process ends when the device answers, or has failed. */
#ifndef HARMONY_WG_BACKGROUND_H
#define HARMONY_WG_BACKGROUND_H

#include <stdbool.h>

#include "base/err.h"

struct background {
	int report, null, log; /* where the parent listens; /dev/null; the log's file, or -1 */
};

/* Opens `log_file` (NULL: none) and forks. In the child fills *ret; the parent waits for the
 * report, prints an error where it is one, and exits with 0 or 1. */
int background_start(struct background *ret, const char *log_file, struct err *e);
/* Success for an err with code 0. The log goes to its file from now on. `keep_output`: standard
 * output and error stay open, where it has none. */
void background_report(struct background *b, const struct err *e, bool keep_output);

#endif
