/*
 * A list of configuration documents with their text, as a source hands them over.
 */
#ifndef AGENT_DOCS_H
#define AGENT_DOCS_H

#include "base/buf.h"
#include "config/model.h"

struct agent_docs {
	struct config_doc *items; /* name and text owned; texts are wiped */
	size_t n, cap;
};

void agent_docs_clear(struct agent_docs *d);
#define _cleanup_agent_docs_ _cleanup_(agent_docs_clear)

/* Copies name and text. -EINVAL for a name with another ending than a document's, -ENOMEM. */
int agent_docs_add(struct agent_docs *d, const char *name, const char *text, size_t len);
/* The same with the text taken over from a buffer, which is left empty; on failure it stays. */
int agent_docs_take(struct agent_docs *d, const char *name, struct buf *text);
/* By name: the order in which documents are read does not depend on how they were found. */
void agent_docs_sort(struct agent_docs *d);
bool agent_docs_equal(const struct agent_docs *a, const struct agent_docs *b);

#endif
