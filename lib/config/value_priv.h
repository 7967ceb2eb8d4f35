/*
 * For the parsers that see keys while the tree grows (toml*.c, yaml.c): which key of which table
 * is there already, so that a document of a hundred thousand keys in one table, or of as many
 * tables, costs n log n whatever its keys are.
 */
#ifndef CONFIG_VALUE_PRIV_H
#define CONFIG_VALUE_PRIV_H

#include "config/value.h"

struct cfg_index {
	void *root;
};

/* NULL where the table has no such key; valid until the table grows. All that the table has was
 * added by cfg_index_add. */
struct cfg_entry *cfg_index_find(const struct cfg_index *index, const struct cfg_value *table,
				 const char *key, size_t key_len);

/* cfg_table_add; after a failure the index is good for cfg_index_free alone. */
int cfg_index_add(struct cfg_index *index, struct cfg_value *table, char *key, size_t key_len,
		  struct cfg_pos key_pos, struct cfg_value *value);

void cfg_index_free(struct cfg_index *index); /* the tree of values stays */

#endif
