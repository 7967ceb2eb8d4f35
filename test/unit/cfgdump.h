/* A tree of lib/config/value.h as one line of text, for comparing; and what every parser that makes
 * one must do. */
#ifndef CFGDUMP_H
#define CFGDUMP_H

#include <stdbool.h>

#include "base/err.h"
#include "config/value.h"

/* {a: 1, b: [true, "x", 1.5, 2020-01-01, null]}; with positions {a@1:1: 1@1:5}. The caller frees
 * the text. */
char *cfg_dump(const struct cfg_value *v, bool positions);

/* toml_parse, yaml_parse, cfg_json_parse */
typedef int (*cfg_parser)(const char *text, size_t len, struct cfg_value **ret,
			  struct cfg_pos *ret_pos, struct err *e);

/* Asserts that both texts are the same document. */
void cfg_same(cfg_parser a, const char *text_a, cfg_parser b, const char *text_b);

/* Asserts that each allocation of parsing `text`, which are more than `least`, may fail. */
void cfg_no_memory(cfg_parser parse, const char *text, size_t least);

#endif
