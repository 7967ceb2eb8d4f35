/*
 * Landlock (linux/landlock.h): a process gives up files by path, without privileges.
 *
 * Every right that the kernel knows is handled, which denies it everywhere, and a few are given
 * back below the directories named. Rights came with versions of the interface, so what is
 * handled follows from the version; our own numbers, since a distribution's header may be older
 * than its kernel. Descriptors that are open keep what they have.
 */
#include <errno.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "sandbox/sandbox.h"

/* All but the last two are in every version; REFER since 2, TRUNCATE since 3, IOCTL_DEV since 5. */
#define FS_ALL(abi)                                                                                \
	((UINT64_C(1) << ((abi) >= 5 ? 16 : (abi) >= 3 ? 15 : (abi) == 2 ? 14 : 13)) - 1)
#define FS_TRUNCATE (UINT64_C(1) << 14)

/* TCP ports to bind and connect, since 4; abstract sockets and signals to others, since 6. */
#define NET_ALL(abi)    ((abi) >= 4 ? UINT64_C(3) : 0)
#define SCOPED_ALL(abi) ((abi) >= 6 ? UINT64_C(3) : 0)

/* struct landlock_ruleset_attr as of version 6; an older kernel wants zeros where it ends before.
 */
struct ruleset {
	uint64_t fs, net, scoped;
};

static uint64_t rights(enum sandbox_files may, int abi)
{
	uint64_t r = LANDLOCK_ACCESS_FS_REMOVE_FILE;

	if (may == SANDBOX_FILES_REPLACE)
		r |= LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
	return r & FS_ALL(abi);
}

int sandbox_landlock(const struct sandbox_dir *dirs, size_t n, unsigned *ret_version, struct err *e)
{
	int abi =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset all = {FS_ALL(abi), NET_ALL(abi), SCOPED_ALL(abi)};

	if (abi < 1)
		return err_set(e, -EOPNOTSUPP, "the kernel has no Landlock, or it is switched off");
	_cleanup_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (fd < 0)
		return err_sys(e, -errno, "Landlock rules");
	for (size_t i = 0; i < n; i++) {
		struct landlock_path_beneath_attr rule = {
			.allowed_access = rights(dirs[i].may, abi), .parent_fd = dirs[i].fd};

		if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
			return err_sys(e, -errno, "Landlock rule");
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, -errno, "Landlock");
	*ret_version = (unsigned)abi;
	return 0;
}
