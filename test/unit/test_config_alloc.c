/*
 * lib/config when memory runs out: each document is read again and again, with the 1st, 2nd, …
 * allocation failing, once with all after it and once alone. Linked with malloc and the like
 * wrapped (mk/config.mk). Leaks and bad accesses are the sanitizers' to find.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/model.h"

static struct {
	bool armed, alone;
	unsigned long left;   /* allocations until the failure */
	unsigned long failed; /* how many have failed */
} fault;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool fails(void)
{
	if (!fault.armed || (fault.alone && fault.failed))
		return false;
	if (fault.left) {
		fault.left--;
		return false;
	}
	fault.failed++;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* Whether an allocation failed; the result is what it is without a failure, or -ENOMEM. */
static bool read_failing(const struct config_doc *doc, unsigned long at, bool alone, int good)
{
	struct config_diags diags = {0};
	struct config *c = NULL;

	fault.alone = alone;
	fault.left = at;
	fault.failed = 0;
	fault.armed = true;
	int r = config_read(doc, 1, "n", &c, &diags);
	fault.armed = false;
	/* One failure alone may have hit only the text of a finding. */
	ck_assert_msg(r == (fault.failed ? -ENOMEM : good) || (alone && r == good && r < 0),
		      "%s: allocation %lu of it%s: %d", doc->name, at,
		      alone ? " alone" : " and all after", r);
	ck_assert((r == 0) == (c != NULL));
	config_free(c);
	config_diags_clear(&diags);
	return fault.failed > 0;
}

START_TEST(config_out_of_memory)
{
	static const char *const files[] = {"all.toml",   "all.yaml",   "all.json",  "nodes.toml",
					    "slips.toml", "slips.yaml", "slips.json"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char path[96], text[8192];
		FILE *f;

		snprintf(path, sizeof(path), "test/fuzz/corpus/config/%s", files[i]);
		f = fopen(path, "r");
		ck_assert_msg(f != NULL, "%s: run from the top of the tree", path);
		struct config_doc doc = {.name = path, .text = text};
		doc.len = fread(text, 1, sizeof(text), f);
		fclose(f);
		ck_assert_int_eq(config_format_of(path, &doc.format), 0);

		int good = strstr(path, "slips") ? -EINVAL : 0;
		unsigned long n = 0;
		while (read_failing(&doc, n, false, good))
			n++;
		ck_assert_uint_gt(n, 20);
		for (unsigned long k = 0; k < n; k++)
			read_failing(&doc, k, true, good);
	}
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("config_alloc", config_out_of_memory);
}

UNIT_MAIN(suite)
