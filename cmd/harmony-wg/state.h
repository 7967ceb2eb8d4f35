/* What survives a restart: each peer's endpoint and TAI64N stamps, in a file. */
#ifndef HARMONY_WG_STATE_H
#define HARMONY_WG_STATE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "wg/wg.h"

struct state {
	int dir;  /* -1: nothing is kept */
	int lock; /* held while we live: one process a file */
	char name[IFNAMSIZ + 8], temp[IFNAMSIZ + 12];
	struct wg_peer_state *loaded; /* of peers that are not configured yet; owned */
	size_t n, cap;
	struct mono saved;
	int64_t took;    /* the last save, in nanoseconds */
	unsigned failed; /* saves, in a row */
};

/* Opens the directory, which is made where it is missing (0700, of `uid` and `gid`). One that is
 * there is given to them only where it is ours, 0700, and has nothing in it that this program does
 * not make: else -EPERM. After an error nothing is kept, as with "" as dir. */
int state_open_dir(struct state *ret, const char *dir, unsigned uid, unsigned gid, struct err *e);
/* Then reads the interface's file. One that others may write, or that is damaged, is left alone:
 * -EPERM, -EINVAL; the state is usable then, and empty. -EBUSY: another process keeps that file
 * (one interface name in two network namespaces); then nothing is kept. */
int state_open(struct state *s, const char *dir, const char *ifname, unsigned uid, unsigned gid,
	       struct err *e);
void state_close(struct state *s);

/* Gives the engine what is known of peers that it has now. */
void state_restore(struct state *s, struct wg_device *d, struct wg_time now);
/* Replaces the file atomically. */
int state_save(struct state *s, struct wg_device *d, struct err *e);
/* When it may be saved again: a second after the last time, later where saving is slow or fails. */
struct mono state_next(const struct state *s);

#endif
