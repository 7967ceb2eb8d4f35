/*
 * Slots for secret keys: locked against swap, left out of core dumps, not inherited by forked
 * children, guarded by inaccessible pages, wiped when released. Slots come from shared blocks,
 * so that ten thousand preshared keys cost 400 KiB and not ten thousand pages.
 *
 * The functions may be called from any thread; a slot belongs to whoever owns it. A process that
 * has threads forks only to execute another program (the lock may be held at that moment).
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>

#include "base/key.h"
#include "base/mem.h"

/* A zeroed slot, or NULL when memory has run out. The caller owns it. */
struct key *secret_new(void);
/* Wipes and releases. NULL is accepted. */
void secret_free(struct key *k);
/* A new slot that holds a copy; NULL for NULL, and when memory has run out (`from` tells them
 * apart). */
struct key *secret_copy(const struct key *from);

MEM_CLEANUP(struct key, secret_free);
#define _cleanup_secret_ _cleanup_(secret_free_p)

/* False once a block could not be locked (RLIMIT_MEMLOCK, no CAP_IPC_LOCK): the caller warns. */
bool secret_is_locked(void);

#endif
