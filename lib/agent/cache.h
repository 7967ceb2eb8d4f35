/*
 * Named pieces of data (an object's entries), and a file that keeps them: the last good
 * configuration, for a start without the API server.
 */
#ifndef AGENT_CACHE_H
#define AGENT_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct agent_entry {
	char *key;
	char *data; /* with a NUL behind it; wiped when freed: it may be a key */
	size_t len;
	bool asked_for; /* as a key, by its name */
};

struct agent_entries {
	struct agent_entry *items;
	size_t n, cap;
};

void agent_entries_clear(struct agent_entries *s);
int agent_entries_add(struct agent_entries *s, const char *key, const char *data, size_t len);
/* The same entries in the same order. */
bool agent_entries_equal(const struct agent_entries *a, const struct agent_entries *b);

/* Replaces the file whole (0600, synced, renamed into place): after a crash, or on a full disk,
 * the old one is there. */
int agent_cache_write(const char *path, const struct agent_entries *const *parts, size_t n,
		      struct err *e);
/* -ENOENT, -EPERM for a file that others may read, -EBADMSG for one that is not whole. */
int agent_cache_read(const char *path, struct agent_entries *parts, size_t n, struct err *e);

#endif
