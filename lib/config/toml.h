/*
 * TOML 1.0 (toml.io/en/v1.0.0).
 */
#ifndef CONFIG_TOML_H
#define CONFIG_TOML_H

#include "base/err.h"
#include "config/value.h"

/* Parses `len` bytes into a table. On failure the message is "LINE:COLUMN: what was found, what
 * is accepted" and ret_pos (may be NULL) is the place. -EINVAL, -E2BIG (bounds), -ENOMEM. */
int toml_parse(const char *text, size_t len, struct cfg_value **ret, struct cfg_pos *ret_pos,
	       struct err *e);

#endif
