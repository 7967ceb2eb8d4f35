/*
 * A userspace program behind its UAPI socket: one that we start, or one that runs already.
 *
 * Who serves the socket is known from its peer credentials. They name the process that called
 * listen(); for a wireguard-go that daemonised itself that is one which has ended, so a pid counts
 * only while it lives and bears the name of a known program.
 */
#include "device/device_priv.h"
#include "base/str.h"
#include "uapi/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define START_NS   (5 * NS_PER_SEC)
#define END_NS     (1 * NS_PER_SEC)
#define LAST_NS    (300 * NS_PER_MSEC) /* in which a program notices that its TUN is gone */
#define RETRY_MS   20
#define START_MS   2 /* between looks at a program that is just starting */
#define WORDS_SIZE 200

/* The known program that a process runs, or NULL. */
static const char *program_of(pid_t pid)
{
	char path[64], comm[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, comm, sizeof(comm) - 1);
	if (n <= 0)
		return NULL;
	comm[n - (comm[n - 1] == '\n')] = '\0';
	for (size_t i = 0; device_programs[i]; i++)
		if (str_eq(comm, device_programs[i]))
			return device_programs[i];
	return NULL;
}

static void learn(struct device *d, const struct uapi_server *who)
{
	const char *program;

	if (who->boringtun)
		d->boringtun = true;
	if (d->pid == who->pid && device_alive(d->pid, d->pidfd))
		return;

	mem_close_p(&d->pidfd);
	d->pid = 0;
	d->pidfd = who->pid > 0 ? (int)syscall(SYS_pidfd_open, who->pid, 0) : -1;
	program = device_alive(who->pid, d->pidfd) ? program_of(who->pid) : NULL;
	if (program) {
		d->pid = who->pid;
		d->boringtun = str_eq(program, "boringtun-cli");
	} else {
		mem_close_p(&d->pidfd);
		d->pidfd = -1;
		/* Whom we cannot see in /proc is in another container: the launcher's, if any. */
		program = d->boringtun ? "boringtun-cli"
			  : who->pid == 0 && device_is_launcher(DEVICE_LAUNCHER_PATH) ? "harmony-wg"
										      : "uapi";
	}
	str_copy(d->program, sizeof(d->program), program);
}

static int uapi_get(struct device *d, struct wgdev *ret, struct err *e)
{
	struct uapi_server who;

	int r = uapi_client_get(d->path, UAPI_TIMEOUT_GET, ret, &who, e);
	if (r == 0)
		learn(d, &who);
	if (r == -ENOENT)
		return err_set(e, -ENODEV, "%s: nobody serves it", d->path);
	return r;
}

int device_stats(struct device *d, struct buf *ret, struct err *e)
{
	struct uapi_timeout brief = {.silence_ms = 200, .total_ms = 200};

	if (d->kind != DEVICE_UAPI || !str_eq(d->program, "harmony-wg"))
		return err_set(e, -EOPNOTSUPP, "%s has no statistics of its own", d->ifname);
	return uapi_client_stats(d->path, brief, ret, e);
}

static struct uapi_timeout timeout_for(size_t n_peers)
{
	struct uapi_timeout t = UAPI_TIMEOUT_SET;

	t.total_ms += n_peers < 1000000 ? (int)n_peers : 1000000;
	return t;
}

static int send_change(struct device *d, const struct wgdev_change *c, struct err *e)
{
	int r = uapi_client_set(d->path, timeout_for(c->n_peers), c, e);

	return r == -ENOENT ? err_set(e, -ENODEV, "%s: nobody serves it", d->path) : r;
}

/* boringtun carries a peer's lines over to the next peer of a request, `remove` too: so each has
 * a request of its own, after the device's own fields. */
static int send_singly(struct device *d, const struct wgdev_change *c, struct err *e)
{
	struct wgdev_change part = *c;
	int r = 0;

	part.n_peers = 0;
	if (c->set_private_key || c->set_listen_port || c->set_fwmark || c->replace_peers)
		r = send_change(d, &part, e);
	part = (struct wgdev_change){.n_peers = 1};
	for (size_t i = 0; i < c->n_peers && r == 0; i++) {
		part.peers = &c->peers[i];
		r = send_change(d, &part, e);
	}
	return r;
}

static int set_boringtun(struct device *d, const struct wgdev_change *c, struct err *e)
{
	_cleanup_wgdev_ struct wgdev now = {0};
	struct device_rewrite w;

	int r = uapi_get(d, &now, e);
	if (r == 0)
		r = device_rewrite(&now, c, &w, e);
	if (r < 0)
		return r;
	r = send_singly(d, &w.change, e);
	device_rewrite_clear(&w);
	return r;
}

static int uapi_set(struct device *d, const struct wgdev_change *c, struct err *e)
{
	if (d->boringtun && c->n_peers)
		return set_boringtun(d, c, e);
	return send_change(d, c, e);
}

/* 0 once nobody accepts connections, -ETIMEDOUT if somebody still does. The file is removed when
 * it was left behind. */
static int wait_unserved(struct device *d, int64_t ns)
{
	struct mono end = mono_add(mono_now(), ns);
	struct uapi_timeout brief = {.silence_ms = 200, .total_ms = 200};
	struct wgdev ignored = {0};

	for (;;) {
		int r = uapi_client_get(d->path, brief, &ignored, NULL, NULL);

		wgdev_clear(&ignored);
		if (r == -ECONNREFUSED && unlink(d->path) < 0 && errno != ENOENT)
			return -errno;
		if (r == -ENOENT || r == -ECONNREFUSED)
			return 0;
		if (!mono_before(mono_now(), end))
			return -ETIMEDOUT;
		poll(NULL, 0, RETRY_MS);
	}
}

/* wireguard-go ends when its link goes, boringtun does not: it looks whether its socket is still
 * there, once a second. */
static int uapi_del(struct device *d, struct err *e)
{
	int r = device_del_link(d, "tun", e);

	if (r < 0)
		return r;
	if (d->pid > 0 && d->boringtun)
		device_kill(d->pid, d->pidfd);
	r = wait_unserved(d, END_NS);
	if (d->pid > 0) {
		struct pollfd p = {.fd = d->pidfd, .events = POLLIN};

		poll(&p, 1, END_NS / NS_PER_MSEC);
		device_kill(d->pid, d->pidfd);
	}
	if (r == -ETIMEDOUT) {
		unlink(d->path); /* of a program that we cannot name: by this it is told */
		r = wait_unserved(d, END_NS);
	}
	return r < 0 ? err_sys(e, r, "%s: cannot end what serves it", d->path) : 0;
}

static const struct device_ops ops = {uapi_get, uapi_set, uapi_del};

int device_uapi_open(struct device *d, struct err *e)
{
	_cleanup_wgdev_ struct wgdev ignored = {0};

	d->ops = &ops;
	int r = uapi_get(d, &ignored, e);
	if (r == -ECONNREFUSED)
		return err_set(e, -ENODEV, "%s was left behind, nobody serves it", d->path);
	return r;
}

/* ---- creating ---- */

/* The name's socket must be free; a file that was left behind goes. */
static int claim_socket(struct device *d, struct err *e)
{
	_cleanup_wgdev_ struct wgdev ignored = {0};
	struct err local = {0};

	int r = uapi_client_get(d->path, UAPI_TIMEOUT_GET, &ignored, NULL, &local);
	if (r == -ENOENT)
		return 0;
	if (r == -ECONNREFUSED)
		return unlink(d->path) < 0 && errno != ENOENT
			       ? err_sys(e, -errno, "cannot remove %s, left behind", d->path)
			       : 0;
	if (r == 0) /* ours, whose interface has just been removed by somebody, is about to end */
		return wait_unserved(d, LAST_NS) == 0
			       ? 0
			       : err_set(e, -EEXIST, "%s: a program serves it already", d->path);
	return err_set(e, -EEXIST, "a program holds the socket: %s", local.msg);
}

static int wait_answer(struct device *d, const char *program, const struct device_child *c,
		       struct err *e)
{
	struct uapi_timeout brief = {.silence_ms = 500, .total_ms = 500};
	struct mono end = mono_add(mono_now(), START_NS);
	_cleanup_wgdev_ struct wgdev ignored = {0};
	char words[WORDS_SIZE];
	struct uapi_server who;
	struct err local = {0};
	unsigned looks = 0;

	for (;;) {
		/* Asked in this order, a program that answers is never called dead. */
		bool alive = device_alive(c->pid, c->pidfd);

		if (uapi_client_get(d->path, brief, &ignored, &who, &local) == 0) {
			learn(d, &who);
			return 0;
		}
		if (!alive || !mono_before(mono_now(), end))
			break;
		poll(NULL, 0, looks++ < 50 ? START_MS : RETRY_MS);
	}
	bool ended = !device_alive(c->pid, c->pidfd);
	device_child_words(c, words, sizeof(words));
	return err_set(e, ended ? -EIO : -ETIMEDOUT, "%s %s%s%s%s", program,
		       ended ? "ended at once" : "does not answer: ", ended ? "" : local.msg,
		       *words ? "; its last words: " : "", words);
}

/* By a launcher, or by ourselves. */
static int start(struct device *d, const char *program, struct device_child *ret, struct err *e)
{
	if (device_is_launcher(program))
		return device_launch(program, d->ifname, ret, e);

	const char *slash = strrchr(program, '/');
	const char *args[5] = {program, "-f"};
	size_t n = 2;
	/* Its own way of dropping privileges needs a login user. */
	if (str_eq(slash + 1, "boringtun-cli"))
		args[n++] = "--disable-drop-privileges";
	args[n] = d->ifname;
	return device_spawn(program, (char *const *)args, -1, ret, e);
}

int device_uapi_create(struct device *d, const char *program, struct err *e)
{
	struct device_child child = {.pidfd = -1, .output = -1};

	if (!program || *program != '/')
		return err_set(e, -EINVAL,
			       "no userspace program for %s: an absolute path is needed",
			       d->ifname);
	int r = claim_socket(d, e);
	if (r == 0)
		r = start(d, program, &child, e);
	if (r < 0)
		return r;
	d->ops = &ops;
	r = wait_answer(d, program, &child, e);
	if (r < 0) { /* its TUN goes with it */
		if (device_is_launcher(program))
			device_launch_stop(program, d->ifname);
		else
			device_kill(child.pid, child.pidfd);
		wait_unserved(d, 0);
	}
	device_child_close(&child);
	return r;
}
