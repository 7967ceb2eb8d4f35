/*
 * lib/agent's file source: what is read from files and directories, and which changes are seen.
 */
#include "unit.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/source_file.h"
#include "base/mem.h"
#include "base/str.h"
#include "fault.h"

static char dir[64];
static struct event_base *base;
static struct agent_source_file *source;
static unsigned changes;

static const char *path(const char *name)
{
	static char out[4][160];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(out[i], sizeof(out[i]), "%s/%s", dir, name);
	return out[i];
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(path(name), "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void setup(void)
{
	strcpy(dir, "/tmp/hm-files-XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	base = event_base_new();
}

static void teardown(void)
{
	char command[128];

	agent_source_file_free(source);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static void on_changed(void *arg)
{
	changes++;
}

static int watch(const char *p, struct err *e)
{
	return agent_source_file_new(base, &p, 1, on_changed, NULL, &source, e);
}

static void run_ms(int ms)
{
	event_base_loopexit(base, &(struct timeval){.tv_usec = ms * 1000});
	event_base_dispatch(base);
}

/* How many notices there have been since the last call. */
static unsigned notices(void)
{
	changes = 0;
	run_ms(150);
	return changes;
}

/* "NAME=TEXT " for each document, names without the directory; or the error. */
static const char *read_all(const char *const *paths, size_t n)
{
	static char out[1024];
	struct agent_docs docs = {0};
	struct err e = {0};

	out[0] = '\0';
	if (agent_files_read(paths, n, &docs, &e) < 0) {
		ck_assert_uint_eq(docs.n, 0);
		snprintf(out, sizeof(out), "%s", e.msg);
		return out;
	}
	for (size_t i = 0; i < docs.n; i++)
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s=%s ",
			 docs.items[i].name + strlen(dir) + 1, docs.items[i].text);
	agent_docs_clear(&docs);
	return out;
}

static const char *read_one(const char *p)
{
	return read_all(&p, 1);
}

/* --- reading --- */

START_TEST(test_file)
{
	put("a.toml", "A");
	ck_assert_str_eq(read_one(path("a.toml")), "a.toml=A ");
	put("a.toml", "");
	ck_assert_str_eq(read_one(path("a.toml")), "a.toml= ");
}
END_TEST

START_TEST(test_directory)
{
	put("b.yaml", "B");
	put("c.yml", "C");
	put("a.toml", "A");
	put("d.json", "D");
	put(".hidden.toml", "H");
	put("private.key", "K");
	put("x.toml.bak", "X");
	mkdir(path("sub"), 0700);
	ck_assert_str_eq(read_one(dir), "a.toml=A b.yaml=B c.yml=C d.json=D ");
}
END_TEST

START_TEST(test_several_paths_in_one_order)
{
	put("b.toml", "B");
	put("a.toml", "A");
	const char *const one[] = {path("a.toml"), path("b.toml")};
	const char *const two[] = {path("b.toml"), path("a.toml")};

	ck_assert_str_eq(read_all(one, 2), "a.toml=A b.toml=B ");
	ck_assert_str_eq(read_all(two, 2), "a.toml=A b.toml=B ");
}
END_TEST

/* A Secret with keys only, mounted beside a ConfigMap with documents. */
START_TEST(test_keys_only_beside_documents)
{
	put("private.key", "K");
	mkdir(path("config"), 0700);
	put("config/a.toml", "A");
	const char *const both[] = {path("config"), dir};
	ck_assert_str_eq(read_all(both, 2), "config/a.toml=A ");
	unlink(path("config/a.toml"));
	ck_assert_ptr_nonnull(strstr(read_all(both, 2), "no document"));
	rmdir(path("config"));
}
END_TEST

START_TEST(test_what_is_refused)
{
	ck_assert_ptr_nonnull(strstr(read_one(path("none.toml")), "none.toml: No such file"));
	ck_assert_ptr_nonnull(strstr(read_one(dir), "no document"));
	put("a.conf", "A");
	ck_assert_ptr_nonnull(strstr(read_one(path("a.conf")), "accepted are names"));
	ck_assert_int_eq(mkfifo(path("f.toml"), 0600), 0);
	ck_assert_ptr_nonnull(strstr(read_one(path("f.toml")), "no regular file"));
	ck_assert_ptr_nonnull(strstr(read_one(dir), "no regular file"));
	unlink(path("f.toml"));
	/* One that cannot be read spoils all: half a configuration is none. */
	put("a.toml", "A");
	ck_assert_int_eq(symlink("nowhere", path("z.toml")), 0);
	ck_assert_ptr_nonnull(strstr(read_one(dir), "z.toml"));
	unlink(path("z.toml"));
	put("big.toml", "");
	ck_assert_int_eq(truncate(path("big.toml"), (off_t)1 << 40), 0);
	ck_assert_ptr_nonnull(strstr(read_one(path("big.toml")), "accepted are up to"));
}
END_TEST

START_TEST(test_unreadable)
{
	put("a.toml", "A");
	chmod(path("a.toml"), 0);
	if (access(path("a.toml"), R_OK) == 0 && geteuid() == 0) {
		/* Root reads all: as nobody, then. */
		chmod(dir, 0755);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	const char *text = read_one(path("a.toml"));
	ck_assert_msg(strstr(text, "a.toml: Permission denied"), "%s", text);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(test_equal)
{
	struct agent_docs a = {0}, b = {0};

	ck_assert(agent_docs_equal(&a, &b));
	agent_docs_add(&a, "a.toml", "A", 1);
	ck_assert(!agent_docs_equal(&a, &b));
	agent_docs_add(&b, "a.toml", "B", 1);
	ck_assert(!agent_docs_equal(&a, &b));
	agent_docs_clear(&b);
	agent_docs_add(&b, "b.toml", "A", 1);
	ck_assert(!agent_docs_equal(&a, &b));
	agent_docs_clear(&b);
	agent_docs_add(&b, "a.toml", "A", 1);
	ck_assert(agent_docs_equal(&a, &b));
	a.items[0].gone = true;
	ck_assert(!agent_docs_equal(&a, &b));
	ck_assert_int_eq(agent_docs_add(&a, "a.txt", "A", 1), -EINVAL);
	agent_docs_clear(&a);
	agent_docs_clear(&b);
}
END_TEST

START_TEST(test_out_of_memory)
{
	const char *p = dir;
	struct agent_docs docs = {0};
	struct err e = {0};
	int r = 0;

	put("a.toml", "A");
	put("b.toml", "B");
	FAULT_LOOP(({
		r = agent_files_read(&p, 1, &docs, &e);
		agent_docs_clear(&docs);
	}))
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(r, 0);
	/* The base keeps its table of descriptors from the first use on. */
	ck_assert_int_eq(watch(dir, &e), 0);
	agent_source_file_free(mem_steal(&source));
	FAULT_LOOP(({
		r = watch(dir, &e);
		agent_source_file_free(mem_steal(&source));
	}))
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(r, 0);
}
END_TEST

/* --- watching --- */

START_TEST(test_written_in_place)
{
	struct err e = {0};

	put("a.toml", "A");
	ck_assert_int_eq(watch(path("a.toml"), &e), 0);
	ck_assert_uint_eq(notices(), 0);
	put("a.toml", "B");
	ck_assert_uint_eq(notices(), 1);
	ck_assert_uint_eq(notices(), 0);
}
END_TEST

START_TEST(test_replaced_by_rename)
{
	struct err e = {0};

	put("a.toml", "A");
	ck_assert_int_eq(watch(path("a.toml"), &e), 0);
	for (int i = 0; i < 3; i++) {
		put(".a.tmp", "B");
		ck_assert_int_eq(rename(path(".a.tmp"), path("a.toml")), 0);
		ck_assert_uint_eq(notices(), 1);
	}
}
END_TEST

START_TEST(test_removed_and_there_again)
{
	struct err e = {0};

	put("a.toml", "A");
	ck_assert_int_eq(watch(path("a.toml"), &e), 0);
	unlink(path("a.toml"));
	ck_assert_uint_eq(notices(), 1);
	put("a.toml", "A");
	ck_assert_uint_eq(notices(), 1);
}
END_TEST

START_TEST(test_not_there_yet)
{
	struct err e = {0};

	ck_assert_int_eq(watch(path("later.toml"), &e), 0);
	put("later.toml", "A");
	ck_assert_uint_eq(notices(), 1);
	agent_source_file_free(mem_steal(&source));
	ck_assert_int_eq(watch(path("none/later.toml"), &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.msg, "/none"));
}
END_TEST

/* As the kubelet does it: ..data is swapped, the visible link stays. */
START_TEST(test_data_swap)
{
	struct err e = {0};

	mkdir(path("..1"), 0700);
	put("..1/a.toml", "A");
	ck_assert_int_eq(symlink("..1", path("..data")), 0);
	ck_assert_int_eq(symlink("..data/a.toml", path("a.toml")), 0);
	ck_assert_int_eq(watch(dir, &e), 0);
	ck_assert_str_eq(read_one(dir), "a.toml=A ");
	mkdir(path("..2"), 0700);
	put("..2/a.toml", "B");
	ck_assert_int_eq(symlink("..2", path("..data_tmp")), 0);
	ck_assert_int_eq(rename(path("..data_tmp"), path("..data")), 0);
	unlink(path("..1/a.toml"));
	rmdir(path("..1"));
	ck_assert_uint_eq(notices(), 1);
	ck_assert_str_eq(read_one(dir), "a.toml=B ");
	/* A file among them: its directory is the same. */
	agent_source_file_free(mem_steal(&source));
	ck_assert_int_eq(watch(path("a.toml"), &e), 0);
	ck_assert_int_eq(symlink("..2", path("..data_tmp")), 0);
	ck_assert_int_eq(rename(path("..data_tmp"), path("..data")), 0);
	ck_assert_uint_eq(notices(), 1);
}
END_TEST

START_TEST(test_many_changes_are_one_notice)
{
	struct err e = {0};

	ck_assert_int_eq(watch(dir, &e), 0);
	for (int i = 0; i < 500; i++)
		put(i % 2 ? "a.toml" : "b.toml", "A");
	ck_assert_uint_eq(notices(), 1);
}
END_TEST

START_TEST(test_directory_replaced)
{
	struct err e = {0};

	mkdir(path("conf"), 0700);
	put("conf/a.toml", "A");
	ck_assert_int_eq(watch(path("conf"), &e), 0);
	ck_assert_int_eq(rename(path("conf"), path("old")), 0);
	mkdir(path("conf"), 0700);
	ck_assert_uint_ge(notices(), 1);
	put("conf/a.toml", "B");
	ck_assert_uint_ge(notices(), 1);
	ck_assert_str_eq(read_one(path("conf")), "conf/a.toml=B ");
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE_IN("agent_files", setup, teardown, test_file, test_directory,
			     test_several_paths_in_one_order, test_keys_only_beside_documents,
			     test_what_is_refused, test_unreadable, test_equal, test_out_of_memory,
			     test_written_in_place, test_replaced_by_rename,
			     test_removed_and_there_again, test_not_there_yet, test_data_swap,
			     test_many_changes_are_one_notice, test_directory_replaced);
}

UNIT_MAIN(suite)
