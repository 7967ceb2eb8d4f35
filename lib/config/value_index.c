/*
 * A table of a few keys is looked through; one of more has its keys in one search tree for the
 * whole document, balanced (tsearch). Ten thousand peers are ten thousand small tables, and a tree
 * over all of their keys would be most of what reading them costs.
 */
#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <string.h>

#include "config/value_priv.h"

#define FEW 16

/* Of a table with more than FEW entries: entry `at`. */
struct slot {
	const struct cfg_value *table;
	const char *key; /* the entry's own bytes */
	size_t key_len, at;
};

static int compare(const void *va, const void *vb)
{
	const struct slot *a = va, *b = vb;

	if (a->table != b->table)
		return (uintptr_t)a->table < (uintptr_t)b->table ? -1 : 1;
	if (a->key_len != b->key_len)
		return a->key_len < b->key_len ? -1 : 1;
	return memcmp(a->key, b->key, a->key_len);
}

struct cfg_entry *cfg_index_find(const struct cfg_index *index, const struct cfg_value *table,
				 const char *key, size_t key_len)
{
	if (table->n_entries > FEW) {
		struct slot wanted = {.table = table, .key = key, .key_len = key_len};
		struct slot *const *hit = tfind(&wanted, &index->root, compare);

		return hit ? &table->entries[(*hit)->at] : NULL;
	}
	for (size_t i = 0; i < table->n_entries; i++) {
		struct cfg_entry *e = &table->entries[i];

		if (e->key_len == key_len && memcmp(e->key, key, key_len) == 0)
			return e;
	}
	return NULL;
}

static int put(struct cfg_index *index, const struct cfg_value *table, size_t at)
{
	const struct cfg_entry *e = &table->entries[at];
	struct slot *slot = malloc(sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	*slot = (struct slot){table, e->key, e->key_len, at};
	if (!tsearch(slot, &index->root, compare)) {
		free(slot);
		return -ENOMEM;
	}
	return 0;
}

/* Once a table has more than a few entries, all of them are in the tree. What was put there
 * before memory ran out is named by nothing else: the document is given up then. */
int cfg_index_add(struct cfg_index *index, struct cfg_value *table, char *key, size_t key_len,
		  struct cfg_pos key_pos, struct cfg_value *value)
{
	int r = cfg_table_add(table, key, key_len, key_pos, value);

	if (r < 0 || table->n_entries <= FEW)
		return r;
	for (size_t i = table->n_entries == FEW + 1 ? 0 : table->n_entries - 1;
	     r == 0 && i < table->n_entries; i++)
		r = put(index, table, i);
	if (r < 0)
		table->n_entries--; /* the caller's again */
	return r;
}

void cfg_index_free(struct cfg_index *index)
{
	tdestroy(index->root, free);
	index->root = NULL;
}
