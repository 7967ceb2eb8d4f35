#include "netlink/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

/* The largest text of an integer setting that we take: a sign, 19 digits, a newline. */
#define VALUE_MAX 32

static int open_setting(const char *root, const char *path, int flags, int *ret_fd, struct err *e)
{
	char full[256];
	int n = snprintf(full, sizeof(full), "%s/%s", root, path);

	if (n < 0 || (size_t)n >= sizeof(full) || strlen(path) >= SYSCTL_PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "path of setting %.64s… is too long", path);
	int fd = open(full, flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "the kernel has no setting %s", path);
	if (fd < 0)
		return err_sys(e, -errno, "cannot open setting %s", path);
	*ret_fd = fd;
	return 0;
}

static int parse_value(const char *path, char *text, size_t len, int64_t *ret, struct err *e)
{
	uint64_t v;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	bool negative = len > 0 && text[0] == '-';
	if (str_to_u64(text + negative, len - negative, 0, INT64_MAX, &v) < 0)
		return err_set(e, -EBADMSG, "setting %s is not a number", path);
	*ret = negative ? -(int64_t)v : (int64_t)v;
	return 0;
}

int sysctl_read(const char *root, const char *path, int64_t *ret, struct err *e)
{
	_cleanup_close_ int fd = -1;
	char text[VALUE_MAX];
	ssize_t n;
	int r;

	if ((r = open_setting(root, path, O_RDONLY, &fd, e)) < 0)
		return r;
	do
		n = read(fd, text, sizeof(text));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, -errno, "cannot read setting %s", path);
	return parse_value(path, text, (size_t)n, ret, e);
}

static int write_value(const char *root, const char *path, int64_t value, struct err *e)
{
	_cleanup_close_ int fd = -1;
	char text[VALUE_MAX];
	int len = snprintf(text, sizeof(text), "%" PRId64 "\n", value);
	ssize_t n;
	int r;

	if ((r = open_setting(root, path, O_WRONLY, &fd, e)) < 0)
		return r;
	do
		n = write(fd, text, (size_t)len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, -errno, "cannot write setting %s", path) : 0;
}

int sysctl_ensure(const char *root, const char *path, int64_t value, struct sysctl_result *ret,
		  struct err *e)
{
	struct sysctl_result res = {.outcome = SYSCTL_ALREADY};
	struct err why = {0};
	int r;

	if ((r = sysctl_read(root, path, &res.before, e)) < 0)
		return r;
	if (res.before != value) {
		r = write_value(root, path, value, &why);
		res.outcome = r < 0 ? SYSCTL_REFUSED : SYSCTL_WRITTEN;
		if (r < 0)
			snprintf(res.message, sizeof(res.message),
				 "%s is %" PRId64 ", %" PRId64
				 " is needed, and it may not be written here (%s): set it on the "
				 "node with sysctl -w %s=%" PRId64,
				 path, res.before, value, strerror(-r), path, value);
		else
			snprintf(res.message, sizeof(res.message), "%s: %" PRId64 " -> %" PRId64,
				 path, res.before, value);
	}
	*ret = res;
	return 0;
}

static int read_rp_filter(const char *root, const char *ifname, char path[static SYSCTL_PATH_MAX],
			  int64_t *ret_own, bool *ret_strict, struct err *e)
{
	int64_t all = 0;
	int r;

	if (!str_is_ifname(ifname))
		return err_set(e, -EINVAL, "not an interface name");
	snprintf(path, SYSCTL_PATH_MAX, SYSCTL_RP_FILTER, ifname);
	if ((r = sysctl_read(root, "net/ipv4/conf/all/rp_filter", &all, e)) < 0 ||
	    (r = sysctl_read(root, path, ret_own, e)) < 0)
		return r;
	*ret_strict = (all > *ret_own ? all : *ret_own) == 1;
	return 0;
}

int sysctl_rp_filter_is_strict(const char *root, const char *ifname, bool *ret, struct err *e)
{
	char path[SYSCTL_PATH_MAX];
	int64_t own = 0;
	bool strict = false;
	int r = read_rp_filter(root, ifname, path, &own, &strict, e);

	if (r == 0)
		*ret = strict;
	return r;
}

int sysctl_ensure_rp_filter(const char *root, const char *ifname, struct sysctl_result *ret,
			    struct err *e)
{
	char path[SYSCTL_PATH_MAX];
	int64_t own = 0;
	bool strict = false;
	int r = read_rp_filter(root, ifname, path, &own, &strict, e);

	if (r < 0)
		return r;
	if (strict)
		return sysctl_ensure(root, path, 2, ret, e);
	*ret = (struct sysctl_result){.outcome = SYSCTL_ALREADY, .before = own};
	return 0;
}
