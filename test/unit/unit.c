#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	char path[96];
	pid_t owner; /* a child that ends leaves it alone */
} dirs[64];
static size_t n_dirs;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)remove(path);
	return 0;
}

static void remove_dirs(void)
{
	for (size_t i = 0; i < n_dirs; i++)
		if (dirs[i].owner == getpid())
			nftw(dirs[i].path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *unit_mkdtemp(char *path)
{
	if (n_dirs == sizeof(dirs) / sizeof(dirs[0]) || strlen(path) >= sizeof(dirs[0].path) ||
	    !mkdtemp(path))
		return NULL;
	if (n_dirs == 0)
		atexit(remove_dirs);
	memcpy(dirs[n_dirs].path, path, strlen(path) + 1);
	dirs[n_dirs++].owner = getpid();
	return path;
}

void unit_skip(const char *name, const char *reason)
{
	printf("skip %s: %s\n", name, reason);
	fflush(stdout);
}

Suite *unit_suite(const char *name, void (*setup)(void), void (*teardown)(void),
		  const TTest *const *tests, size_t n)
{
	Suite *s = suite_create(name);

	for (size_t i = 0; i < n; i++) {
		TCase *c = tcase_create(tests[i]->name);

		tcase_add_checked_fixture(c, setup, teardown);
		tcase_add_test(c, tests[i]);
		suite_add_tcase(s, c);
	}
	return s;
}

int unit_main(Suite *s)
{
	SRunner *sr = srunner_create(s);

	setvbuf(stdout, NULL, _IOLBF, 0);
	srunner_run_all(sr, CK_SILENT);

	int n = srunner_ntests_run(sr), failed = srunner_ntests_failed(sr);
	TestResult **results = srunner_results(sr);
	for (int i = 0; i < n; i++) {
		int ok = tr_rtype(results[i]) == CK_PASS;

		printf("%s %s", ok ? "ok" : "not ok", tr_tcname(results[i]));
		if (!ok)
			printf(": %s:%d: %s", tr_lfile(results[i]), tr_lno(results[i]),
			       tr_msg(results[i]));
		printf("\n");
	}
	free(results);
	srunner_free(sr);
	if (n == 0)
		printf("not ok: no case was run\n");
	return n == 0 || failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
