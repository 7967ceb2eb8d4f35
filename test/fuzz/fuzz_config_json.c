/* cfg_json_parse, and the tree it gives freed again; errors have a message and a place, and at the
 * place of each key and value of a tree stands what begins one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLACES_MAX 1024 /* longer ones are looked through once for each value */

static void check_place(const char *text, size_t size, struct cfg_pos pos, const char *any_of)
{
	struct cfg_pos at = {.line = 1, .column = 1};
	size_t i = 0;

	for (; i < size && (at.line != pos.line || at.column != pos.column ||
			    ((unsigned char)text[i] & 0xC0) == 0x80);
	     i++) {
		if (text[i] == '\n')
			at = (struct cfg_pos){.line = at.line + 1, .column = 1};
		else if (((unsigned char)text[i] & 0xC0) != 0x80)
			at.column++;
	}
	if (i == size || !strchr(any_of, text[i]))
		abort();
}

static void check_places(const char *text, size_t size, const struct cfg_value *v)
{
	static const char *const begins[] = {[CFG_STRING] = "\"",
					     [CFG_INTEGER] = "-0123456789",
					     [CFG_FLOAT] = "-0123456789",
					     [CFG_BOOL] = "tf",
					     [CFG_ARRAY] = "[",
					     [CFG_TABLE] = "{",
					     [CFG_NULL] = "n"};

	check_place(text, size, v->pos, begins[v->type]);
	for (size_t i = 0; v->type == CFG_ARRAY && i < v->n_items; i++)
		check_places(text, size, v->items[i]);
	for (size_t i = 0; v->type == CFG_TABLE && i < v->n_entries; i++) {
		check_place(text, size, v->entries[i].key_pos, "\"");
		check_places(text, size, v->entries[i].value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cfg_value *v = NULL;
	struct cfg_pos pos = {0};
	struct err e = {0};
	int r = cfg_json_parse((const char *)data, size, &v, &pos, &e);

	if (r < 0 ? v || e.code != r || e.msg[0] == '\0' || pos.line == 0 || pos.column == 0
		  : !v || v->type != CFG_TABLE || e.code != 0)
		abort();
	if (r == 0 && size <= PLACES_MAX)
		check_places((const char *)data, size, v);
	cfg_value_free(v);
	return 0;
}
