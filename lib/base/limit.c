#include "base/limit.h"

#include <errno.h>
#include <sys/resource.h>

int limit_raise_files(struct err *e)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(e, -errno, "cannot read the limit of open files");
	if (files.rlim_cur == files.rlim_max)
		return 0;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(e, -errno, "cannot raise the limit of open files to %llu",
			       (unsigned long long)files.rlim_max);
	return 0;
}
