/* Giving up rights, in two steps: before the threads start, and when all is open. */
#ifndef HARMONY_WG_CONFINE_H
#define HARMONY_WG_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "sandbox/sandbox.h"

/* Sanitizers make calls of their own: their builds filter none. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_SANITIZED 1
#else
#define CONFINE_SANITIZED 0
#endif

struct confine_user {
	bool set;
	uid_t uid;
	gid_t gid;
};

int confine_find_user(const char *name, struct confine_user *ret, struct err *e);
/* No core dumps, memory locked where it may be. Comes first. */
int confine_memory(struct err *e);
/* User, capabilities, no_new_privs: of this thread and those that it starts. */
int confine_privileges(const struct confine_user *u, struct err *e);
/* Files: none but below `dir` (-1: none at all). *ret_landlock stays as it is where the kernel has
 * no Landlock. Of this thread and those that it starts. */
int confine_files(int dir, enum sandbox_files may, unsigned *ret_landlock, struct err *e);
/* The system calls that a running device makes, for all threads. */
int confine_calls(struct err *e);

#endif
