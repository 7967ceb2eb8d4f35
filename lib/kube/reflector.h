/*
 * The list/watch state machine, without any I/O: for watch.c, the unit tests and the fuzz
 * target. It is told what happened and what time it is, and answers what is to be done next.
 * The states and the rules are drawn in reflector.c.
 */
#ifndef KUBE_REFLECTOR_H
#define KUBE_REFLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

/* A resourceVersion is opaque and short (a decimal uint64 in every server there is). */
#define KUBE_RV_MAX 64

enum kube_reflector_state {
	KUBE_REFLECTOR_IDLE,
	KUBE_REFLECTOR_LIST,       /* a list is under way */
	KUBE_REFLECTOR_LIST_WAIT,  /* until `deadline`, then list */
	KUBE_REFLECTOR_WATCH,      /* a watch is asked for, not answered */
	KUBE_REFLECTOR_STREAM,     /* the watch is open */
	KUBE_REFLECTOR_WATCH_WAIT, /* until `deadline`, then watch */
	KUBE_REFLECTOR_N_STATES
};

enum kube_reflector_input_type {
	KUBE_REFLECTOR_START,
	KUBE_REFLECTOR_LISTED,   /* a list was answered; `rv` is the list's */
	KUBE_REFLECTOR_OPENED,   /* a watch was answered with 200 */
	KUBE_REFLECTOR_OBJECT,   /* ADDED, MODIFIED, DELETED; `rv` is the object's */
	KUBE_REFLECTOR_BOOKMARK, /* `rv` */
	KUBE_REFLECTOR_FAILED,   /* the list, the watch or the open stream; `failure` */
	KUBE_REFLECTOR_ENDED,    /* the server closed the stream in good order */
	KUBE_REFLECTOR_TIMER,    /* `deadline` has passed */
	KUBE_REFLECTOR_RENEW,    /* credentials have changed: use a new connection */
	KUBE_REFLECTOR_N_INPUTS
};

enum kube_reflector_failure {
	KUBE_FAILURE_NETWORK, /* refused, reset, cut, timed out, TLS */
	KUBE_FAILURE_HTTP,    /* an HTTP status, or an ERROR event's code */
	KUBE_FAILURE_GARBAGE, /* what came cannot be read */
};

struct kube_reflector_input {
	enum kube_reflector_input_type type;
	const char *rv;
	enum kube_reflector_failure failure;
	int http;
	bool rv_too_large;    /* cause ResourceVersionTooLarge */
	unsigned retry_after; /* seconds; 0: not said */
};

enum kube_reflector_action {
	KUBE_REFLECTOR_NOTHING,
	/* Each of these ends whatever request is under way first. */
	KUBE_REFLECTOR_DO_LIST,
	KUBE_REFLECTOR_DO_WATCH,
	KUBE_REFLECTOR_DO_WAIT,
};

struct kube_reflector_command {
	enum kube_reflector_action action;
	const char *rv;        /* list and watch: the version to ask for; NULL: none (quorum) */
	unsigned timeout_secs; /* watch: timeoutSeconds */
};

struct kube_reflector {
	enum kube_reflector_state state;
	struct mono deadline; /* when KUBE_REFLECTOR_TIMER is due; KUBE_REFLECTOR_NEVER */
	char rv[KUBE_RV_MAX]; /* last seen; "" before the first list */
	bool listed;          /* a list was answered at least once */
	bool rv_unusable;     /* the server refuses `rv`: list without one */
	bool bookmarks;       /* this stream has brought a bookmark */
	unsigned failures;    /* in a row: the exponent of the backoff */
	unsigned timeout_secs;
	struct mono asked, opened, heard; /* of this watch */
	struct mono hasty;                /* when a request was last repeated without a delay */
	uint64_t lists, watches, errors;
	uint32_t (*random)(void *arg);
	void *random_arg;
};

#define KUBE_REFLECTOR_NEVER ((struct mono){INT64_MAX})

void kube_reflector_init(struct kube_reflector *r, uint32_t (*random)(void *arg), void *arg);

/* The one transition function. The command's `rv` points into *r until the next step. */
struct kube_reflector_command kube_reflector_step(struct kube_reflector *r, struct mono now,
						  const struct kube_reflector_input *in);

const char *kube_reflector_state_name(enum kube_reflector_state s);

#endif
