/* json_parse: what is accepted is written by json-c and read again, and gives the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_limits limits = {1 << 20, 32}, again = {1 << 24, 32};
	struct json_object *o = NULL, *o2 = NULL;
	struct err e = {0};

	int r = json_parse((const char *)data, size, limits, &o, &e);
	if (r < 0) {
		if (e.code != r || e.msg[0] == '\0' || o)
			abort();
		return 0;
	}
	/* Doubles may need their 17 digits; a text of "-0" comes back as "0". */
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (json_parse(text, strlen(text), again, &o2, NULL) < 0)
		abort();
	if (strcmp(text, json_object_to_json_string_ext(o2, JSON_C_TO_STRING_PLAIN)) != 0)
		abort();
	json_put_wiped(o);
	json_put_wiped(o2);
	return 0;
}
