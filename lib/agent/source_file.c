/*
 * Theory of operation. What is watched are directories, never files: an editor that renames a
 * new file into place, and Kubernetes, which swaps the link `..data` beside the visible names,
 * both replace the file that a watch on it would follow. For a path that is a file its directory
 * is watched, for a directory itself; a mounted directory that is replaced as a whole
 * (IN_MOVE_SELF, IN_DELETE_SELF, IN_IGNORED) is watched again.
 *
 * Every notice only starts a timer, and the end of the timer only says "changed": what changed is
 * found by reading. A slow poll by the owner catches what inotify cannot see (a bind mount over
 * the path, a network file system).
 */
#include "agent/source_file.h"
#include "base/buf.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mount's swap and an editor's save are a few events within a millisecond. */
#define SETTLE_MS 50
#define ABSENT_S  1 /* between looks for a directory that is not there */

static int read_file(const char *path, struct agent_docs *docs, struct err *e)
{
	_cleanup_(buf_wipe) struct buf text = BUF_INIT(CFG_MAX_BYTES);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_sys(e, -errno, "%s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s: found something that is no regular file", path);
	if ((size_t)st.st_size > CFG_MAX_BYTES ||
	    buf_reserve(&text, (size_t)st.st_size + 1) < 0) /* at once: see buf.h on secrets */
		return err_set(e, -E2BIG, "%s: found %lld bytes, accepted are up to %zu", path,
			       (long long)st.st_size, CFG_MAX_BYTES);
	for (ssize_t n = 1; n != 0;) {
		if (buf_reserve(&text, 1) < 0) /* it has grown meanwhile */
			return err_set(e, buf_error(&text), "%s: too large", path);
		n = read(fd, text.data + text.len, text.cap - text.len - 1);
		if (n < 0 && errno != EINTR)
			return err_sys(e, -errno, "%s", path);
		text.len += n > 0 ? (size_t)n : 0;
	}
	int r = agent_docs_take(docs, path, &text);
	if (r == -EINVAL)
		return err_set(e, r,
			       "%s: accepted are names that end in .toml, .yaml, .yml or .json",
			       path);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int is_document(const struct dirent *d)
{
	enum config_format format;

	return d->d_name[0] != '.' && config_format_of(d->d_name, &format) == 0;
}

static int read_dir(const char *path, struct agent_docs *docs, struct err *e)
{
	struct dirent **names;
	int n = scandir(path, &names, is_document, alphasort), r = 0;

	if (n < 0)
		return err_sys(e, -errno, "%s", path);
	for (int i = 0; i < n; i++) {
		char file[PATH_MAX];
		int len = snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);

		if (r == 0 && (len < 0 || (size_t)len >= sizeof(file)))
			r = err_set(e, -ENAMETOOLONG, "%s: a name in it is too long", path);
		if (r == 0)
			r = read_file(file, docs, e);
		free(names[i]);
	}
	free(names);
	return r;
}

int agent_files_read(const char *const *paths, size_t n, struct agent_docs *ret, struct err *e)
{
	_cleanup_agent_docs_ struct agent_docs docs = {0};

	for (size_t i = 0; i < n; i++) {
		struct stat st;
		int r;

		if (stat(paths[i], &st) < 0)
			return err_sys(e, -errno, "%s", paths[i]);
		r = S_ISDIR(st.st_mode) ? read_dir(paths[i], &docs, e)
					: read_file(paths[i], &docs, e);
		if (r < 0)
			return r;
	}
	/* A directory with keys only, beside one with documents, is none to complain about. */
	if (docs.n == 0 && n > 0)
		return err_set(e, -ENOENT,
			       "%s: the directory has no document: accepted are names that end in "
			       ".toml, .yaml, .yml or .json",
			       paths[n - 1]);
	agent_docs_sort(&docs);
	*ret = docs;
	docs = (struct agent_docs){0};
	return 0;
}

struct agent_source_file {
	char **dirs;  /* what is watched for each path; owned */
	int *watches; /* inotify watch of each, -1: none now */
	size_t n;
	int fd;
	struct event *readable, *settled;
	bool noticed; /* something, since `changed` was last called */
	void (*changed)(void *arg);
	void *arg;
};

static bool is_watched(const struct agent_source_file *s, int watch)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->watches[i] == watch)
			return true;
	return false;
}

/*
 * Watches are added anew whenever something happened: it is cheap, and heals what was lost. A watch
 * is of a directory and not of its name, so one that was moved away, or that a link no longer leads
 * to, is let go. True where a path leads elsewhere than before.
 */
static bool add_watches(struct agent_source_file *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n; i++) {
		int was = s->watches[i];

		s->watches[i] = inotify_add_watch(
			s->fd, s->dirs[i],
			IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
				IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
		if (s->watches[i] == was)
			continue;
		any = true;
		if (was >= 0 && !is_watched(s, was))
			inotify_rm_watch(s->fd, was);
	}
	return any;
}

/* What is not there tells nothing when it comes. */
static void look_again(struct agent_source_file *s)
{
	if (is_watched(s, -1) && !evtimer_pending(s->settled, NULL))
		evtimer_add(s->settled, &(struct timeval){.tv_sec = ABSENT_S});
}

void agent_source_file_rewatch(struct agent_source_file *s)
{
	add_watches(s);
	look_again(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct agent_source_file *s = arg;
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (read((int)fd, events, sizeof(events)) > 0)
		;
	add_watches(s);
	s->noticed = true;
	evtimer_add(s->settled, &(struct timeval){.tv_usec = SETTLE_MS * 1000});
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct agent_source_file *s = arg;

	bool tell = add_watches(s) || s->noticed;

	s->noticed = false;
	look_again(s);
	if (tell)
		s->changed(s->arg);
}

static char *dir_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return strdup(path);

	_cleanup_free_ char *copy = strdup(path);
	return copy ? strdup(dirname(copy)) : NULL;
}

int agent_source_file_new(struct event_base *base, const char *const *paths, size_t n,
			  void (*changed)(void *arg), void *arg, struct agent_source_file **ret,
			  struct err *e)
{
	_cleanup_(agent_source_file_free_p) struct agent_source_file *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->changed = changed;
	s->arg = arg;
	s->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->fd < 0)
		return err_sys(e, -errno, "inotify");
	s->dirs = calloc(n, sizeof(*s->dirs));
	s->watches = calloc(n, sizeof(*s->watches));
	if (!s->dirs || !s->watches)
		return err_set(e, -ENOMEM, "out of memory");
	for (; s->n < n; s->n++) {
		s->watches[s->n] = -1;
		if (!(s->dirs[s->n] = dir_of(paths[s->n])))
			return err_set(e, -ENOMEM, "out of memory");
	}
	s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
	s->settled = evtimer_new(base, on_settled, s);
	if (!s->readable || !s->settled || event_add(s->readable, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	add_watches(s);
	for (size_t i = 0; i < n; i++)
		if (s->watches[i] < 0)
			return err_sys(e, -errno, "%s cannot be watched", s->dirs[i]);
	*ret = mem_steal(&s);
	return 0;
}

void agent_source_file_free(struct agent_source_file *s)
{
	if (!s)
		return;
	if (s->readable)
		event_free(s->readable);
	if (s->settled)
		event_free(s->settled);
	if (s->fd > 0)
		close(s->fd);
	for (size_t i = 0; s->dirs && i < s->n; i++)
		free(s->dirs[i]);
	free(s->dirs);
	free(s->watches);
	free(s);
}
