/*
 * Capabilities and the switches of prctl(2).
 *
 * A thread has five sets. Permitted is what it may put in force, effective what is in force;
 * inheritable and ambient are what exec(2) passes on; bounding is the limit of what exec may add.
 * The bounding set goes first, while CAP_SETPCAP is still there.
 */
#include <cap-ng.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "sandbox/sandbox.h"

bool sandbox_has_cap(unsigned cap)
{
	return cap <= CAP_LAST_CAP && capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, cap);
}

bool sandbox_raise_cap(unsigned cap)
{
	if (sandbox_has_cap(cap))
		return true;
	return cap <= CAP_LAST_CAP && capng_have_capability(CAPNG_PERMITTED, cap) &&
	       capng_update(CAPNG_ADD, CAPNG_EFFECTIVE, cap) == 0 &&
	       capng_apply(CAPNG_SELECT_CAPS) == 0;
}

void sandbox_lower_cap(unsigned cap)
{
	if (sandbox_has_cap(cap) && capng_update(CAPNG_DROP, CAPNG_EFFECTIVE, cap) == 0)
		(void)!capng_apply(CAPNG_SELECT_CAPS);
}

static const char *cap_name(unsigned cap)
{
	const char *name = capng_capability_to_name(cap);

	return name ? name : "?";
}

/* "CAP_NET_ADMIN is missing". */
static int missing(unsigned cap, struct err *e)
{
	char upper[64];
	size_t i;
	const char *name = cap_name(cap);

	for (i = 0; i < sizeof(upper) - 1 && name[i]; i++)
		upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
	upper[i] = '\0';
	return err_set(e, -EPERM, "capability CAP_%s is missing", upper);
}

static int check_held(uint64_t keep, struct err *e)
{
	for (unsigned c = 0; c < 64; c++) {
		if (!(keep & SANDBOX_CAP(c)))
			continue;
		if (c > CAP_LAST_CAP)
			return err_set(e, -EINVAL, "no capability has the number %u", c);
		if (!capng_have_capability(CAPNG_PERMITTED, c))
			return missing(c, e);
	}
	return 0;
}

/* Numbers beyond what our headers know belong to a newer kernel, and go as well: up to the first
 * that the kernel does not know either. */
static int drop_bounding(uint64_t bounding, struct err *e)
{
	for (unsigned c = 0; c < 64; c++) {
		int have = prctl(PR_CAPBSET_READ, c, 0, 0, 0);

		if (have < 0)
			return 0;
		if (have == 0 || bounding & SANDBOX_CAP(c))
			continue;
		if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return err_sys(e, -errno, "cannot drop capability %s from the bounding set",
				       cap_name(c));
	}
	return 0;
}

int sandbox_drop_caps(uint64_t keep, uint64_t bounding, struct err *e)
{
	int r;

	if (capng_get_caps_process() != 0)
		return err_set(e, -EIO, "cannot read this process's capabilities");
	if ((r = check_held(keep, e)) < 0)
		return r;
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) &&
	    (r = drop_bounding(bounding, e)) < 0)
		return r;
	/* Kernels before 4.3 have no ambient set. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return err_sys(e, -errno, "cannot clear the ambient capabilities");
	capng_clear(CAPNG_SELECT_CAPS);
	for (unsigned c = 0; c <= CAP_LAST_CAP; c++)
		if (keep & SANDBOX_CAP(c))
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, c);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return err_sys(e, errno ? -errno : -EPERM, "cannot drop capabilities");
	return 0;
}

int sandbox_no_new_privs(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, -errno, "cannot set no_new_privs");
	return 0;
}

int sandbox_not_dumpable(struct err *e)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, -errno, "cannot make the process not dumpable");
	/* A core_pattern that is a pipe is asked even so, but for this. */
	if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
		return err_sys(e, -errno, "cannot switch core dumps off");
	return 0;
}

int sandbox_mlock(struct err *e)
{
	struct rlimit limit = {0};

	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
		return 0;
	int r = -errno;
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	return err_sys(e, r,
		       "cannot lock memory: CAP_IPC_LOCK is missing and the limit (RLIMIT_MEMLOCK) "
		       "is %llu KiB",
		       (unsigned long long)limit.rlim_cur / 1024);
}
