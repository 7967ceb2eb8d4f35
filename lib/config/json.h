/*
 * JSON (RFC 8259) through lib/json's bounded parser: duplicate keys, NUL in strings, depth and
 * size beyond value.h's bounds are refused. camelCase names of the control messages are mapped
 * to the model's names where the model is read (model.c), not here.
 */
#ifndef CONFIG_JSON_H
#define CONFIG_JSON_H

#include "base/err.h"
#include "config/value.h"

/* As toml_parse. An integer beyond int64 is a float. */
int cfg_json_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
		   struct err *e);

#endif
