/*
 * The state file DIR/INTERFACE.state, 0600, one line a peer:
 *
 *     harmony-wg 2
 *     PUBLIC-KEY(base64) RECEIVED(hex) SENT(hex) SESSION(unix time, ns) ENDPOINT
 *
 * The stamps are the greatest TAI64N of an initiation received and sent (zeros: none). A device
 * that forgot the first would take an old initiation for a new one; without the second a clock
 * that was set back would lock it out with every peer. When the last session was made tells
 * whether the peer still has it. No secret is in it.
 *
 * What was read is kept until its peer is configured, and written back until then.
 *
 * It is written by the control thread, which waits for the disk (fsync(2)): data goes on meanwhile,
 * handshakes and requests wait. So a save has at most a twentieth of control's time: a disk that
 * takes a second is asked twice a minute. One that fails is tried again, after 2 s and then twice
 * as long each time, up to 64 s.
 */
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#define HEADER    "harmony-wg 2"
#define FIELDS    5
#define LINE_MAX_ 256
#define FILE_MAX  (32 << 20)
#define GAP       NS_PER_SEC
#define PUT_OFF   6 /* failures in a row, each of which doubles the gap */

/* ── text ───────────────────────────────────────────────────────────────────────────────── */

static void add_hex(struct buf *b, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(b, "%02x", p[i]);
	buf_addc(b, ' ');
}

static void add_line(void *user, const struct wg_peer_state *s)
{
	struct buf *b = user;
	char key[KEY_BASE64], endpoint[IP_ENDPOINT_LEN];

	buf_adds(b, key_to_base64(&s->public_key, key));
	buf_addc(b, ' ');
	add_hex(b, s->received, sizeof(s->received));
	add_hex(b, s->sent, sizeof(s->sent));
	buf_addf(b, "%" PRId64 " ", s->session.ns);
	buf_adds(b, ip_endpoint_str(&s->endpoint.remote, endpoint));
	buf_addc(b, '\n');
}

static int unhex(const char *s, uint8_t *out, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(s) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < 2 * n; i++) {
		const char *d = strchr(digits, s[i]);

		if (!d)
			return -EINVAL;
		out[i / 2] = (uint8_t)(out[i / 2] << 4 | (d - digits));
	}
	return 0;
}

static int parse_line(char *line, struct wg_peer_state *ret)
{
	char *at = line, *field[FIELDS];
	struct wg_peer_state s = {0};
	uint64_t ns;

	for (unsigned i = 0; i < FIELDS; i++)
		if (!(field[i] = strsep(&at, " ")))
			return -EINVAL;
	if (at || key_from_base64(field[0], &s.public_key) < 0 ||
	    unhex(field[1], s.received, sizeof(s.received)) < 0 ||
	    unhex(field[2], s.sent, sizeof(s.sent)) < 0 ||
	    str_to_u64(field[3], strlen(field[3]), 0, INT64_MAX, &ns) < 0)
		return -EINVAL;
	s.session.ns = (int64_t)ns;
	if (!str_eq(field[4], "none") &&
	    ip_endpoint_parse(field[4], strlen(field[4]), &s.endpoint.remote) < 0)
		return -EINVAL;
	*ret = s;
	return 0;
}

/* ── reading ────────────────────────────────────────────────────────────────────────────── */

static int read_lines(struct state *s, FILE *f)
{
	char line[LINE_MAX_];

	if (!fgets(line, sizeof(line), f) || !str_eq(line, HEADER "\n"))
		return -EINVAL;
	while (fgets(line, sizeof(line), f)) {
		size_t len = strlen(line);

		if (len == 0 || line[len - 1] != '\n')
			return -EINVAL;
		line[len - 1] = '\0';
		if (mem_grow(&s->loaded, s->n, &s->cap, sizeof(*s->loaded)) < 0)
			return -ENOMEM;
		if (parse_line(line, &s->loaded[s->n]) < 0)
			return -EINVAL;
		s->n++;
	}
	return ferror(f) ? -EIO : 0;
}

static int load(struct state *s, const char *dir, unsigned uid, struct err *e)
{
	_cleanup_close_ int fd = openat(s->dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	FILE *f;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, -errno, "state %s/%s", dir, s->name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_mode & (S_IWGRP | S_IWOTH) ||
	    (st.st_uid != geteuid() && st.st_uid != uid) || st.st_size > FILE_MAX)
		return err_set(e, -EPERM,
			       "state %s/%s: not a file of ours that its owner alone may write; "
			       "not used",
			       dir, s->name);
	if (!(f = fdopen(fd, "r")))
		return err_sys(e, -errno, "state %s/%s", dir, s->name);
	fd = -1;
	r = read_lines(s, f);
	fclose(f);
	if (r < 0) {
		err_set(e, r, "state %s/%s: line %zu is damaged; not used", dir, s->name, s->n + 2);
		s->n = 0;
		return r;
	}
	return 0;
}

static int lock(struct state *s)
{
	char name[sizeof(s->temp)];

	snprintf(name, sizeof(name), "%.*s.lock", (int)strlen(s->name) - 6, s->name);
	s->lock = openat(s->dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0 || flock(s->lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

/* ── the directory ──────────────────────────────────────────────────────────────────────── */

/* Whether it is a file as this program makes it, of one of these two users. */
static bool is_file_of(int dir, const char *name, unsigned uid)
{
	struct stat st;

	return (str_ends(name, ".state") || str_ends(name, ".state.new") ||
		str_ends(name, ".lock")) &&
	       fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       (st.st_uid == geteuid() || st.st_uid == uid);
}

/* What is in it that is not this program's; "" for nothing, or that it cannot be read. */
static void find_foreign(int dir, unsigned uid, char *ret, size_t size)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	snprintf(ret, size, "%s", d ? "" : "?");
	while (d && !*ret && (entry = readdir(d)))
		if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, "..") &&
		    !is_file_of(dir, entry->d_name, uid))
			snprintf(ret, size, "%s", entry->d_name);
	if (d)
		closedir(d);
	else
		mem_close_p(&fd);
}

/* To another user goes only what is there for this alone: /run or a home given away by a slip of
 * the pen would be the end of the machine. */
static int give(int fd, const char *dir, bool made, unsigned uid, unsigned gid, struct err *e)
{
	char foreign[NAME_MAX + 1] = "";
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, "%s", dir);
	if (st.st_uid == uid)
		return 0;
	if (!made && (st.st_uid != geteuid() || st.st_mode & (S_IRWXG | S_IRWXO)))
		return err_set(e, -EPERM,
			       "--user: the state directory %s is not given to another user: it is "
			       "%o of user %u, and only 0700 of user %u is",
			       dir, st.st_mode & 07777, st.st_uid, geteuid());
	if (!made)
		find_foreign(fd, uid, foreign, sizeof(foreign));
	if (*foreign)
		return err_set(e, -EPERM,
			       "--user: the state directory %s is not given to another user: "
			       "\"%.64s\" in it is none of ours",
			       dir, foreign);
	return fchown(fd, uid, gid) < 0 ? err_sys(e, -errno, "%s", dir) : 0;
}

/* Back to root, who will not have the capability to write in another user's. */
static void take_back(int fd, unsigned uid, unsigned gid)
{
	char foreign[NAME_MAX + 1];
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_uid == uid || st.st_mode & (S_IRWXG | S_IRWXO))
		return;
	find_foreign(fd, st.st_uid, foreign, sizeof(foreign));
	if (!*foreign)
		(void)!fchown(fd, uid, gid);
}

int state_open_dir(struct state *ret, const char *dir, unsigned uid, unsigned gid, struct err *e)
{
	_cleanup_close_ int fd = -1;
	bool made;
	int r;

	*ret = (struct state){.dir = -1, .lock = -1};
	if (!*dir)
		return 0;
	made = mkdir(dir, 0700) == 0;
	if (!made && errno != EEXIST)
		return err_sys(e, -errno, "cannot make %s; no state is kept", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, -errno, "cannot open %s; no state is kept", dir);
	if (uid == geteuid())
		take_back(fd, uid, gid);
	else if ((r = give(fd, dir, made, uid, gid, e)) < 0)
		return r;
	ret->dir = mem_steal_fd(&fd);
	return 0;
}

int state_open(struct state *s, const char *dir, const char *ifname, unsigned uid, unsigned gid,
	       struct err *e)
{
	int r;

	if (s->dir < 0)
		return 0;
	snprintf(s->name, sizeof(s->name), "%s.state", ifname);
	snprintf(s->temp, sizeof(s->temp), "%s.state.new", ifname);
	if ((r = lock(s)) < 0) {
		mem_close_p(&s->dir);
		s->dir = -1;
		return err_sys(e, r, "%s/%s is another process's; no state is kept", dir, s->name);
	}
	r = load(s, dir, uid, e);
	if (uid != geteuid())
		(void)!fchownat(s->dir, s->name, uid, gid, AT_SYMLINK_NOFOLLOW);
	return r;
}

void state_close(struct state *s)
{
	mem_close_p(&s->dir);
	mem_close_p(&s->lock);
	free(s->loaded);
	*s = (struct state){.dir = -1, .lock = -1};
}

/* ── giving and saving ──────────────────────────────────────────────────────────────────── */

void state_restore(struct state *s, struct wg_device *d, struct wg_time now)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++)
		if (wg_restore(d, &s->loaded[i], now) < 0)
			s->loaded[kept++] = s->loaded[i];
	s->n = kept;
	if (kept == 0) {
		free(s->loaded);
		s->loaded = NULL;
		s->cap = 0;
	}
}

static int write_all(int fd, const struct buf *b)
{
	for (size_t at = 0; at < b->len;) {
		ssize_t n = write(fd, b->data + at, b->len - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace(struct state *s, const struct buf *b, struct err *e)
{
	_cleanup_close_ int fd = openat(
		s->dir, s->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return err_sys(e, -errno, "cannot write %s", s->temp);
	if ((r = write_all(fd, b)) < 0)
		return err_sys(e, r, "cannot write %s", s->temp);
	if (renameat(s->dir, s->temp, s->dir, s->name) < 0)
		return err_sys(e, -errno, "cannot replace %s", s->name);
	return 0;
}

int state_save(struct state *s, struct wg_device *d, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(FILE_MAX);
	struct mono begin = mono_now();
	int r;

	if (s->dir < 0)
		return 0;
	buf_adds(&b, HEADER "\n");
	wg_save(d, add_line, &b);
	for (size_t i = 0; i < s->n; i++)
		add_line(&b, &s->loaded[i]);
	r = buf_error(&b);
	if (r < 0)
		err_sys(e, r, "state");
	else
		r = replace(s, &b, e);
	s->saved = mono_now();
	s->took = mono_since(s->saved, begin);
	s->failed = r == 0 ? 0 : s->failed < PUT_OFF ? s->failed + 1 : PUT_OFF;
	return r;
}

struct mono state_next(const struct state *s)
{
	return mono_add(s->saved, (GAP << s->failed) + 20 * s->took);
}
