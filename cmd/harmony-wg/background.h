/* Going to the background: the caller's process ends when the device answers, or has failed. */
#ifndef HARMONY_WG_BACKGROUND_H
#define HARMONY_WG_BACKGROUND_H

#include <stdbool.h>

#include "base/err.h"

/* Forks. In the child returns a descriptor to report to; the parent waits for the report, prints
 * an error where it is one, and exits with 0 or 1. */
int background_start(struct err *e);
/* Success for an err with code 0. `keep_output`: standard output and error stay open. */
void background_report(int fd, const struct err *e, bool keep_output);

#endif
