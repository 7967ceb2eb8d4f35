/*
 * Configuration from files and directories, and the notice when they change.
 */
#ifndef AGENT_SOURCE_FILE_H
#define AGENT_SOURCE_FILE_H

#include "agent/docs.h"
#include "base/err.h"

struct event_base;
struct agent_source_file;

/* Reads every path into *ret (sorted by name): a file, or a directory of which every *.toml,
 * *.yaml, *.yml and *.json is a document (names that begin with '.' are left out: Kubernetes'
 * `..data`, editors' swap files). -ENOENT and so on name the path; directories
 * that have no document between them are an error that says so. Also for `check` and `plan`, which
 * watch nothing. */
int agent_files_read(const char *const *paths, size_t n, struct agent_docs *ret, struct err *e);

/* Watches the paths, and calls `changed` from the loop, a short moment after the last of a row
 * of changes. The paths need not exist yet, only their directories. */
int agent_source_file_new(struct event_base *base, const char *const *paths, size_t n,
			  void (*changed)(void *arg), void *arg, struct agent_source_file **ret,
			  struct err *e);
/* For who reads the paths by himself now and then: finds what no notice told of, such as a link on
 * the way to a directory that leads elsewhere. */
void agent_source_file_rewatch(struct agent_source_file *s);
void agent_source_file_free(struct agent_source_file *s);
MEM_CLEANUP(struct agent_source_file, agent_source_file_free);

#endif
