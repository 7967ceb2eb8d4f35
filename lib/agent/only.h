/*
 * One agent for a network namespace: two that have each their own wishes would undo each other's
 * work for ever.
 */
#ifndef AGENT_ONLY_H
#define AGENT_ONLY_H

#include "base/err.h"
#include "base/mem.h"

struct event_base;
struct agent_only;

/* Waits for a few seconds for one that is just ending. -EADDRINUSE, naming what was found. NULL in
 * *ret, and a warning in the log, where somebody who is no agent has the name. */
int agent_only_new(struct event_base *base, struct agent_only **ret, struct err *e);
void agent_only_free(struct agent_only *o); /* NULL is accepted */

#endif
