/*
 * The one error contract of the tree.
 *
 * A function that can fail returns zero, or a negative errno, and takes an optional error object
 * as its last parameter. On failure the object holds the same code and a message that says what
 * was found and what is accepted; on success it is untouched. Outputs named ret_… never change
 * on failure. A message never holds key material.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* Longer messages are cut, with "…" at the end. */
#define ERR_MSG_MAX 512

struct err {
	int code; /* negative errno; 0 in an object that was never set */
	char msg[ERR_MSG_MAX];
};

/* Sets *e (which may be NULL) and returns `code`, so that `return err_set(e, -EINVAL, …)` reads
 * as one step. `code` must be negative. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and the text of -code appended: for system calls. */
int err_sys(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "…: " before the message that stands in *e: for the caller who knows which object the
 * failed call was about. Returns e->code, or -EIO for a NULL object. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
