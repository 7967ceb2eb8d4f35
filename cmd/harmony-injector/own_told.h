/*
 * What is wrong with the objects of the own CA: told in the log once each time that it becomes
 * another thing, counted each time, and the reason in /readyz. For own_ca.c and own_hook.c.
 */
#ifndef INJECTOR_OWN_TOLD_H
#define INJECTOR_OWN_TOLD_H

#include "base/err.h"

struct metrics_series;

/* What goes wrong, and right again, by itself. */
enum own_part {
	OWN_SECRET_READ, /* its watch */
	OWN_SECRET_CONTENT,
	OWN_SECRET_WRITE,
	OWN_LEASE,
	OWN_WEBHOOK_READ,
	OWN_WEBHOOK_WRITE,
	OWN_PARTS
};

struct own_told {
	struct metrics_series *failures;
	/* All that is wrong: a line each, "" when nothing is. */
	void (*changed)(void *arg, const char *why);
	void *arg;
	char error[OWN_PARTS][ERR_MSG_MAX]; /* told last; "" while it is in order */
};

/* `what` may be NULL: the part's name says it. */
void own_failed(struct own_told *t, enum own_part part, const char *what, const char *why);
void own_worked(struct own_told *t, enum own_part part);
/* It is no more this replica's to do. */
void own_forget(struct own_told *t, enum own_part part);

#endif
