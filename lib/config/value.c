#include "config/value.h"

#include <errno.h>
#include <string.h>

struct cfg_value *cfg_value_new(enum cfg_type type, struct cfg_pos pos)
{
	struct cfg_value *v = calloc(1, sizeof(*v));

	if (v) {
		v->type = type;
		v->pos = pos;
	}
	return v;
}

/* Recursion is bounded by CFG_MAX_DEPTH, as the parsers build nothing deeper. */
void cfg_value_free(struct cfg_value *v)
{
	if (!v)
		return;
	switch (v->type) {
	case CFG_STRING:
	case CFG_DATETIME:
		mem_wipe(v->str, v->str ? v->len : 0);
		free(v->str);
		break;
	case CFG_ARRAY:
		for (size_t i = 0; i < v->n_items; i++)
			cfg_value_free(v->items[i]);
		free(v->items);
		break;
	case CFG_TABLE:
		for (size_t i = 0; i < v->n_entries; i++) {
			free(v->entries[i].key);
			cfg_value_free(v->entries[i].value);
		}
		free(v->entries);
		break;
	default: break;
	}
	/* The length of a secret, or a secret written as a number. */
	mem_wipe(v, sizeof(*v));
	free(v);
}

int cfg_table_add(struct cfg_value *table, char *key, size_t key_len, struct cfg_pos key_pos,
		  struct cfg_value *value)
{
	int r = mem_grow(&table->entries, table->n_entries, &table->cap_entries,
			 sizeof(*table->entries));

	if (r < 0)
		return r;
	table->entries[table->n_entries++] = (struct cfg_entry){key, key_len, key_pos, value};
	return 0;
}

int cfg_array_add(struct cfg_value *array, struct cfg_value *item)
{
	int r = mem_grow(&array->items, array->n_items, &array->cap_items, sizeof(void *));

	if (r < 0)
		return r;
	array->items[array->n_items++] = item;
	return 0;
}

const struct cfg_entry *cfg_table_find(const struct cfg_value *table, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < table->n_entries; i++) {
		const struct cfg_entry *entry = &table->entries[i];

		if (entry->key_len == len && memcmp(entry->key, key, len) == 0)
			return entry;
	}
	return NULL;
}

size_t cfg_value_count(const struct cfg_value *v)
{
	size_t n = 1;

	for (size_t i = 0; v->type == CFG_ARRAY && i < v->n_items; i++)
		n += cfg_value_count(v->items[i]);
	for (size_t i = 0; v->type == CFG_TABLE && i < v->n_entries; i++)
		n += cfg_value_count(v->entries[i].value);
	return n;
}

const char *cfg_type_name(enum cfg_type type)
{
	static const char *const names[] = {
		[CFG_STRING] = "string", [CFG_INTEGER] = "integer",   [CFG_FLOAT] = "float",
		[CFG_BOOL] = "boolean",  [CFG_DATETIME] = "datetime", [CFG_ARRAY] = "array",
		[CFG_TABLE] = "table",   [CFG_NULL] = "null",
	};

	return names[type];
}
