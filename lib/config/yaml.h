/*
 * YAML 1.1 as libyaml reads it, less what hides meaning: aliases and anchors, tags, merge keys,
 * duplicate keys, keys that are not strings, NUL, and documents beyond the first are refused.
 * Plain scalars follow the core schema of YAML 1.2 ("no" is a string, not false; 010 is ten);
 * a number beyond 64 bits is refused.
 */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include "base/err.h"
#include "config/value.h"

/* As toml_parse. An empty document is an empty table. */
int yaml_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
	       struct err *e);

#endif
