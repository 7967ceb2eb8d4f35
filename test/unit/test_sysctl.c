/* lib/netlink/sysctl.c over a folder that stands for /proc/sys. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netlink/sysctl.h"

static char root[] = "/tmp/test_sysctl-XXXXXX";

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *s = full + strlen(root) + 1; (s = strchr(s, '/')); *s++ = '/') {
		*s = '\0';
		mkdir(full, 0700);
	}
	f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static const char *get(const char *path)
{
	static char text[64];
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	f = fopen(full, "r");
	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return text;
}

static void setup(void)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
}

START_TEST(already)
{
	struct sysctl_result res;

	/* No newline: had it been written, one would be there. */
	put(SYSCTL_IPV4_FORWARD, "1");
	ck_assert_int_eq(sysctl_ensure(root, SYSCTL_IPV4_FORWARD, 1, &res, NULL), 0);
	ck_assert_int_eq(res.outcome, SYSCTL_ALREADY);
	ck_assert_str_eq(res.message, "");
	ck_assert_str_eq(get(SYSCTL_IPV4_FORWARD), "1");
}
END_TEST

START_TEST(written)
{
	struct sysctl_result res;

	put(SYSCTL_IPV4_FORWARD, "0\n");
	ck_assert_int_eq(sysctl_ensure(root, SYSCTL_IPV4_FORWARD, 1, &res, NULL), 0);
	ck_assert_int_eq(res.outcome, SYSCTL_WRITTEN);
	ck_assert_int_eq(res.before, 0);
	ck_assert_str_eq(res.message, "net/ipv4/ip_forward: 0 -> 1");
	ck_assert_str_eq(get(SYSCTL_IPV4_FORWARD), "1\n");
}
END_TEST

START_TEST(missing)
{
	struct sysctl_result res = {.before = 77};
	struct err e = {0};

	ck_assert_int_eq(sysctl_ensure(root, SYSCTL_IPV6_FORWARD, 1, &res, &e), -ENOENT);
	ck_assert_int_eq(e.code, -ENOENT);
	ck_assert_str_eq(e.msg, "the kernel has no setting net/ipv6/conf/all/forwarding");
	ck_assert_int_eq(res.before, 77);
}
END_TEST

START_TEST(not_a_number)
{
	static const char *const bad[] = {"",      "\n",  "on\n",
					  "1 2\n", "-\n", "99999999999999999999999999999999999999"};
	struct sysctl_result res;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put("a", bad[i]);
		ck_assert_int_eq(sysctl_ensure(root, "a", 1, &res, NULL), -EBADMSG);
		ck_assert_str_eq(get("a"), bad[i]);
	}
	put("a", "-1\n");
	ck_assert_int_eq(sysctl_ensure(root, "a", -1, &res, NULL), 0);
	ck_assert_int_eq(res.outcome, SYSCTL_ALREADY);
}
END_TEST

START_TEST(refused)
{
	struct sysctl_result res;
	char full[256];

	put(SYSCTL_IPV4_FORWARD, "0\n");
	snprintf(full, sizeof(full), "%s/%s", root, SYSCTL_IPV4_FORWARD);
	ck_assert_int_eq(chmod(full, 0400), 0);
	if (access(full, W_OK) == 0) {
		/* As root: a setting of /proc that nobody may write. */
		ck_assert_int_eq(sysctl_ensure(SYSCTL_ROOT, "kernel/ngroups_max", 1, &res, NULL),
				 0);
		ck_assert_ptr_nonnull(strstr(res.message, "sysctl -w kernel/ngroups_max=1"));
	} else {
		ck_assert_int_eq(sysctl_ensure(root, SYSCTL_IPV4_FORWARD, 1, &res, NULL), 0);
		ck_assert_ptr_nonnull(strstr(res.message, "sysctl -w net/ipv4/ip_forward=1"));
	}
	ck_assert_int_eq(res.outcome, SYSCTL_REFUSED);
}
END_TEST

START_TEST(rp_filter)
{
	static const struct {
		const char *all, *own, *want;
	} cases[] = {
		{"0", "0", "0"},   {"0", "1", "2\n"}, {"0", "2", "2"}, {"1", "0", "2\n"},
		{"1", "1", "2\n"}, {"1", "2", "2"},   {"2", "0", "0"}, {"2", "1", "1"},
	};
	struct sysctl_result res;
	bool strict = false;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put("net/ipv4/conf/all/rp_filter", cases[i].all);
		put("net/ipv4/conf/eth0.7/rp_filter", cases[i].own);
		ck_assert_int_eq(sysctl_rp_filter_is_strict(root, "eth0.7", &strict, NULL), 0);
		ck_assert_int_eq(strict, cases[i].want[1] != '\0');
		ck_assert_int_eq(sysctl_ensure_rp_filter(root, "eth0.7", &res, NULL), 0);
		ck_assert_str_eq(get("net/ipv4/conf/eth0.7/rp_filter"), cases[i].want);
		ck_assert_int_eq(res.outcome, cases[i].want[1] ? SYSCTL_WRITTEN : SYSCTL_ALREADY);
		ck_assert_str_eq(get("net/ipv4/conf/all/rp_filter"), cases[i].all);
	}
	ck_assert_int_eq(sysctl_ensure_rp_filter(root, "../x", &res, NULL), -EINVAL);
	ck_assert_int_eq(sysctl_ensure_rp_filter(root, "gone", &res, NULL), -ENOENT);
	strict = true;
	ck_assert_int_eq(sysctl_rp_filter_is_strict(root, "../x", &strict, NULL), -EINVAL);
	ck_assert_int_eq(sysctl_rp_filter_is_strict(root, "gone", &strict, NULL), -ENOENT);
	ck_assert(strict);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE_IN("sysctl", setup, teardown, already, written, missing, not_a_number,
			     refused, rp_filter);
}

UNIT_MAIN(suite)
