/*
 * The bytes of a watch, cut into lines, and a line read: for watch.c and the fuzz target.
 */
#ifndef KUBE_STREAM_H
#define KUBE_STREAM_H

#include <stdbool.h>

#include "base/buf.h"
#include "kube/kube.h"

struct kube_stream {
	struct buf in;
	size_t scanned; /* no newline before this */
	size_t max_line;
};

void kube_stream_init(struct kube_stream *s, size_t max_line);
/* Wiped: it may have held a Secret. Leaves it initialised. */
void kube_stream_reset(struct kube_stream *s);

/* -E2BIG where a line is longer than max_line; -EAGAIN where whole lines must be taken out
 * first, nothing was added; -ENOMEM. */
int kube_stream_add(struct kube_stream *s, const char *data, size_t len);

enum kube_line_type { KUBE_LINE_OBJECT, KUBE_LINE_DELETED, KUBE_LINE_BOOKMARK, KUBE_LINE_ERROR };

struct kube_line {
	enum kube_line_type type;
	struct json_object *event;  /* the whole line; the caller's (json_object_put) */
	struct json_object *object; /* borrowed from it */
};

/* Takes the next whole line. 1: *ret is filled; 0: there is none yet; -EINVAL with the reason
 * for a line that cannot be read (it is taken out all the same). Empty lines are skipped. */
int kube_stream_next(struct kube_stream *s, struct kube_line *ret, struct err *e);

#endif
