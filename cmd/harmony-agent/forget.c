/*
 * harmony-agent forget: takes away what `up` keeps in its state directory, keys and the last good
 * configuration, when the agent is uninstalled. docs/architecture.md, "What a node keeps", has the
 * reasons and the picture.
 *
 * An agent cannot tell its own end for good from that for an upgrade, so it never does this itself;
 * somebody who knows calls this, and it refuses while an agent runs with the directory. Each holds
 * a lock on the directory itself (flock), which counts over containers: the agents a shared one for
 * their life, this an exclusive one for the moment of it. An agent would put its key back, too.
 *
 * Only what an agent has made is taken: `last-good`, `NAME.key` with nothing but a key in it, and
 * what a write that was cut short leaves of the two. All else stays, and is named. The directory
 * itself stays, empty: in a container it is a mount.
 *
 * forget_wait.c waits for the pods that do this on all nodes.
 */
#include "commands.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/str.h"
#include "config/keys.h"
#include "log/log.h"

#define WAIT_DEFAULT 90
#define WAIT_MAX     3600

static const char help[] =
	"usage: harmony-agent forget [OPTION…]\n"
	"\n"
	"Removes the generated keys and the last good configuration from the state directory, for\n"
	"good. Refuses while an agent runs with it. What is not the agent's stays.\n"
	"\n"
	"      --state-dir DIR        (default " STATE_DIR_DEFAULT ")\n"
	"      --check                removes nothing: status 0 where nothing of that is there\n"
	"      --stay                 waits for the agent's end, removes, and stays until it is "
	"ended,\n"
	"                             as the pods of a DaemonSet have to\n"
	"      --daemonset NS/NAME    instead: waits until every pod of that DaemonSet is ready, "
	"and\n"
	"                             deletes it\n"
	"      --wait SECONDS         at most so long (default 90)\n"
	"      --kubeconfig FILE      how to reach the API server (default: in-cluster)\n"
	"      --log-format text|json (default: text on a terminal, else json)\n"
	"\n"
	"Exit status: 0 done; 1 an agent runs, something is there, or not all pods were ready;\n"
	"2 wrong command line; 3 something could not be removed, or asked.\n";

enum {
	OPT_STATE_DIR = 256,
	OPT_CHECK,
	OPT_STAY,
	OPT_DAEMONSET,
	OPT_WAIT,
	OPT_KUBECONFIG,
	OPT_LOG_FORMAT
};

static const struct option options[] = {
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"check", no_argument, NULL, OPT_CHECK},
	{"stay", no_argument, NULL, OPT_STAY},
	{"daemonset", required_argument, NULL, OPT_DAEMONSET},
	{"wait", required_argument, NULL, OPT_WAIT},
	{"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
	{"log-format", required_argument, NULL, OPT_LOG_FORMAT},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct settings {
	const char *dir, *daemonset, *kubeconfig;
	unsigned wait_secs;
	enum log_format format;
	bool check, stay, help;
};

int state_dir_lock(const char *dir, bool alone)
{
	/* An agent makes it as soon as it has something to keep, and is to have its lock by then.
	 */
	if (!alone)
		(void)!mkdir(dir, 0700);

	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return -errno;
	return mem_steal_fd(&fd);
}

/* PREFIX and the six characters of mkstemp(3). */
static bool is_temporary(const char *name, const char *prefix)
{
	return str_starts(name, prefix) && strlen(name) == strlen(prefix) + 6;
}

/* A regular file with one key in it and nothing else, readable by its owner alone. */
static bool holds_key(int dir, const char *name)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_secret_ struct key *k = NULL;
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !(st.st_mode & 077) &&
	       config_key_read(fd, name, &k, NULL) == 0;
}

static bool is_ours(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	return str_eq(name, "last-good") || is_temporary(name, "last-good.") ||
	       is_temporary(name, ".key-") || (str_ends(name, ".key") && holds_key(dir, name));
}

/* Counts what is the agent's, or removes it: then the rest is named in the log. 0 or -errno. */
static int each(const char *path, bool remove, size_t *ret_found)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	size_t found = 0;
	int r = 0;

	if (!d)
		return -errno;
	while ((entry = readdir(d))) {
		const char *name = entry->d_name;

		if (str_eq(name, ".") || str_eq(name, ".."))
			continue;
		if (!is_ours(dirfd(d), name)) {
			if (remove)
				log_info("left: not made by an agent", LOG_STR("file", name));
			continue;
		}
		found++;
		if (!remove)
			continue;
		if (unlinkat(dirfd(d), name, 0) < 0) {
			r = -errno;
			log_error("not removed", LOG_STR("file", name),
				  LOG_STR("error", strerror(-r)));
		} else {
			log_info("removed", LOG_STR("file", name));
		}
	}
	/* What is gone stays gone when the power fails. */
	if (remove && fsync(dirfd(d)) < 0 && r == 0)
		r = -errno;
	closedir(d);
	if (r == 0)
		*ret_found = found;
	return r;
}

static int check(const char *dir)
{
	size_t found = 0;
	int r = each(dir, false, &found);

	if (r < 0 && r != -ENOENT)
		return cmd_fail("forget", EXIT_SYSTEM, "%s: %s", dir, strerror(-r));
	return found ? cmd_fail("forget", EXIT_FAILED, "%s: %zu files of the agent are there", dir,
				found)
		     : EXIT_OK;
}

/* 0; -EWOULDBLOCK while an agent runs; another negative errno. */
static int forget(const char *dir)
{
	_cleanup_close_ int lock = state_dir_lock(dir, true);
	size_t found;

	if (lock == -ENOENT)
		return 0; /* nothing was ever kept */
	return lock < 0 ? lock : each(dir, true, &found);
}

static int forget_once(const char *dir)
{
	int r = forget(dir);

	if (r == -EWOULDBLOCK)
		return cmd_fail("forget", EXIT_FAILED,
				"an agent runs with %s, and would keep its keys: end it first",
				dir);
	return r < 0 ? cmd_fail("forget", EXIT_SYSTEM, "%s: %s", dir, strerror(-r)) : EXIT_OK;
}

/* Once, as soon as it can be, and then nothing more: whoever puts a key there later has to find it
 * again. */
static int forget_and_stay(const char *dir)
{
	const struct timespec second = {.tv_sec = 1};
	sigset_t ends;
	int r, told = 0;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	/* Blocked, they count for the first process of a container, too. */
	sigprocmask(SIG_BLOCK, &ends, NULL);
	while ((r = forget(dir)) < 0) {
		if (r != told)
			log_warn(r == -EWOULDBLOCK ? "waiting for the end of the agent"
						   : "not all could be removed; again each second",
				 LOG_STR("directory", dir), LOG_STR("error", strerror(-r)));
		told = r;
		if (sigtimedwait(&ends, NULL, &second) > 0)
			return EXIT_FAILED;
	}
	log_info("forgotten", LOG_STR("directory", dir));
	while (sigwaitinfo(&ends, NULL) < 0 && errno == EINTR)
		;
	return EXIT_OK;
}

static int take_option(struct settings *s, int c)
{
	uint64_t n;

	switch (c) {
	case 'h': s->help = true; return 0;
	case OPT_STATE_DIR: s->dir = optarg; return 0;
	case OPT_CHECK: s->check = true; return 0;
	case OPT_STAY: s->stay = true; return 0;
	case OPT_DAEMONSET: s->daemonset = optarg; return 0;
	case OPT_KUBECONFIG: s->kubeconfig = optarg; return 0;
	case OPT_WAIT:
		if (str_to_u64(optarg, strlen(optarg), 0, WAIT_MAX, &n) < 0)
			return cmd_fail("forget", EXIT_USAGE,
					"--wait: found '%s', accepted: 0 to 3600 seconds", optarg);
		s->wait_secs = (unsigned)n;
		return 0;
	case OPT_LOG_FORMAT:
		return log_format_parse(optarg, &s->format) == 0
			       ? 0
			       : cmd_fail("forget", EXIT_USAGE,
					  "--log-format: found '%s', accepted: text, json", optarg);
	default:
		return cmd_fail("forget", EXIT_USAGE,
				"'harmony-agent forget --help' lists the options");
	}
}

int cmd_forget(int argc, char **argv)
{
	struct settings s = {
		.dir = STATE_DIR_DEFAULT,
		.wait_secs = WAIT_DEFAULT,
		.format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if ((r = take_option(&s, c)) != 0)
			return r;
	if (s.help) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (optind < argc)
		return cmd_fail("forget", EXIT_USAGE, "found '%s', accepted are only options",
				argv[optind]);
	if (s.check + s.stay + (s.daemonset != NULL) > 1)
		return cmd_fail("forget", EXIT_USAGE,
				"accepted is one of --check, --stay and --daemonset");
	log_setup(s.format, LOG_LEVEL_INFO, STDERR_FILENO);
	if (s.daemonset)
		return forget_wait(s.daemonset, s.kubeconfig, s.wait_secs);
	if (s.check)
		return check(s.dir);
	return s.stay ? forget_and_stay(s.dir) : forget_once(s.dir);
}
