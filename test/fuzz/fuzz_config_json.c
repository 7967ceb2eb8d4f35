/* cfg_json_parse, and the tree it gives freed again; errors have a message and a place. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cfg_value *v = NULL;
	struct cfg_pos pos = {0};
	struct err e = {0};
	int r = cfg_json_parse((const char *)data, size, &v, &pos, &e);

	if (r < 0 ? v || e.code != r || e.msg[0] == '\0' || pos.line == 0 || pos.column == 0
		  : !v || v->type != CFG_TABLE || e.code != 0)
		abort();
	cfg_value_free(v);
	return 0;
}
