/*
 * lib/agent's cache: a file that is whole or is refused.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cache.h"
#include "base/mem.h"
#include "base/str.h"
#include "fault.h"

static char dir[64], path[128];

static void setup(void)
{
	strcpy(dir, "/tmp/hm-cache-XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sub/last", dir);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static void fill(struct agent_entries parts[2])
{
	ck_assert_int_eq(agent_entries_add(&parts[0], "a.toml", "[network]\n", 10), 0);
	ck_assert_int_eq(agent_entries_add(&parts[0], "node.key", "\0\1\2", 3), 0);
	ck_assert_int_eq(agent_entries_add(&parts[1], "", "", 0), 0);
}

static int write_two(struct agent_entries parts[2], struct err *e)
{
	const struct agent_entries *list[] = {&parts[0], &parts[1]};

	return agent_cache_write(path, list, 2, e);
}

static void write_filled(void)
{
	struct agent_entries parts[2] = {0};
	struct err e = {0};

	fill(parts);
	ck_assert_msg(write_two(parts, &e) == 0, "%s", e.msg);
	agent_entries_clear(&parts[0]);
	agent_entries_clear(&parts[1]);
}

static int read_two(struct agent_entries parts[2])
{
	struct err e = {0};
	int r = agent_cache_read(path, parts, 2, &e);

	ck_assert(r == 0 || e.msg[0]);
	if (r < 0) {
		ck_assert_uint_eq(parts[0].n, 0);
		ck_assert_uint_eq(parts[1].n, 0);
	}
	return r;
}

static bool is_filled(void)
{
	struct agent_entries p[2] = {0};
	bool same = read_two(p) == 0 && p[0].n == 2 && p[1].n == 1 &&
		    str_eq(p[0].items[0].key, "a.toml") &&
		    str_eq(p[0].items[0].data, "[network]\n") && p[0].items[1].len == 3 &&
		    memcmp(p[0].items[1].data, "\0\1\2", 4) == 0 && str_eq(p[1].items[0].key, "");

	agent_entries_clear(&p[0]);
	agent_entries_clear(&p[1]);
	return same;
}

static size_t files_beside(void)
{
	char command[160];
	FILE *f;
	unsigned n = 0;

	snprintf(command, sizeof(command), "ls -A '%s/sub' | grep -vcx last", dir);
	f = popen(command, "r");
	ck_assert_int_eq(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

START_TEST(test_round_trip)
{
	struct stat st;

	write_filled();
	ck_assert(is_filled());
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_uint_eq(files_beside(), 0);
	write_filled();
	ck_assert(is_filled());
}
END_TEST

START_TEST(test_absent)
{
	struct agent_entries p[2] = {0};

	ck_assert_int_eq(read_two(p), -ENOENT);
}
END_TEST

START_TEST(test_every_truncation)
{
	struct agent_entries p[2] = {0};
	struct stat st;

	write_filled();
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t n = st.st_size; n-- > 0;) {
		ck_assert_int_eq(truncate(path, n), 0);
		ck_assert_msg(read_two(p) == -EBADMSG, "%ld bytes", (long)n);
	}
}
END_TEST

START_TEST(test_every_flipped_bit)
{
	struct agent_entries p[2] = {0};
	struct stat st;
	uint8_t b;

	write_filled();
	ck_assert_int_eq(stat(path, &st), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t i = 0; i < st.st_size * 8; i++) {
		ck_assert_int_eq(pread(fd, &b, 1, i / 8), 1);
		b ^= (uint8_t)(1 << i % 8);
		ck_assert_int_eq(pwrite(fd, &b, 1, i / 8), 1);
		ck_assert_msg(read_two(p) == -EBADMSG, "bit %ld", (long)i);
		b ^= (uint8_t)(1 << i % 8);
		ck_assert_int_eq(pwrite(fd, &b, 1, i / 8), 1);
	}
	close(fd);
	ck_assert(is_filled());
}
END_TEST

START_TEST(test_longer_than_it_says)
{
	struct agent_entries p[2] = {0};
	int fd;

	write_filled();
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	ck_assert_int_eq(read_two(p), -EBADMSG);
}
END_TEST

START_TEST(test_other_number_of_parts)
{
	struct agent_entries p[3] = {0};
	struct err e = {0};

	write_filled();
	ck_assert_int_eq(agent_cache_read(path, p, 1, &e), -EBADMSG);
	ck_assert_int_eq(agent_cache_read(path, p, 3, &e), -EBADMSG);
	for (size_t i = 0; i < 3; i++)
		ck_assert_uint_eq(p[i].n, 0);
}
END_TEST

START_TEST(test_open_to_others)
{
	static const mode_t modes[] = {0604, 0640, 0620, 0601, 0666};
	struct agent_entries p[2] = {0};

	write_filled();
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		ck_assert_int_eq(chmod(path, modes[i]), 0);
		ck_assert_int_eq(read_two(p), -EPERM);
	}
}
END_TEST

START_TEST(test_no_regular_file)
{
	struct agent_entries p[2] = {0};
	char other[160];

	write_filled();
	snprintf(other, sizeof(other), "%s/other", dir);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(symlink(other, path), 0);
	ck_assert_int_eq(read_two(p), -ELOOP);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(read_two(p), -EPERM); /* and does not wait for a writer */
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(read_two(p), -EPERM);
}
END_TEST

START_TEST(test_full_disk_keeps_the_old_one)
{
	struct agent_entries parts[2] = {0};
	struct rlimit limit;
	struct err e = {0};
	static char big[4096];

	write_filled();
	ck_assert_int_eq(agent_entries_add(&parts[0], "big", big, sizeof(big)), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = 1024; /* part of it can be written */
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(write_two(parts, &e), -EFBIG);
	ck_assert_ptr_nonnull(strstr(e.msg, path));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert(is_filled());
	ck_assert_uint_eq(files_beside(), 0);
	agent_entries_clear(&parts[0]);
}
END_TEST

START_TEST(test_no_directory)
{
	struct agent_entries parts[2] = {0};
	struct err e = {0};

	snprintf(path, sizeof(path), "%s/a/b/c", dir);
	ck_assert_int_eq(write_two(parts, &e), -ENOENT);
	snprintf(path, sizeof(path), "/proc/nothing/last");
	ck_assert_int_lt(write_two(parts, &e), 0);
}
END_TEST

START_TEST(test_too_large)
{
	struct agent_entries parts[2] = {0};
	struct err e = {0};
	size_t size = (size_t)17 << 20;
	_cleanup_free_ char *big = calloc(1, size);

	ck_assert_int_eq(agent_entries_add(&parts[0], "big", big, size), 0);
	ck_assert_int_lt(write_two(parts, &e), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	agent_entries_clear(&parts[0]);
	write_filled();
	ck_assert_int_eq(truncate(path, (off_t)size), 0);
	ck_assert_int_lt(read_two(parts), 0);
}
END_TEST

START_TEST(test_out_of_memory)
{
	struct agent_entries p[2] = {0};
	struct err e = {0};
	int r = 0;

	FAULT_LOOP(({
		r = agent_entries_add(&p[0], "a", "b", 1);
		agent_entries_clear(&p[0]);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);

	fill(p);
	FAULT_LOOP(r = write_two(p, &e))
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(r, 0);
	agent_entries_clear(&p[0]);
	agent_entries_clear(&p[1]);
	FAULT_LOOP(({
		r = agent_cache_read(path, p, 2, &e);
		agent_entries_clear(&p[0]);
		agent_entries_clear(&p[1]);
	}))
	ck_assert_int_eq(r, -ENOMEM);
	ck_assert_int_eq(r, 0);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE_IN(
		"agent_cache", setup, teardown, test_round_trip, test_absent, test_every_truncation,
		test_every_flipped_bit, test_longer_than_it_says, test_other_number_of_parts,
		test_open_to_others, test_no_regular_file, test_full_disk_keeps_the_old_one,
		test_no_directory, test_too_large, test_out_of_memory);
}

UNIT_MAIN(suite)
