/*
 * harmony-wg: a WireGuard device in user space. This file is the boot order; what each part does
 * stands on top of its own file, and docs/wireguard-device.md has the whole.
 *
 *     options, background                 the parent waits for the outcome
 *     not dumpable, memory locked         before the first key
 *     broker                              forked while nothing is open and no thread runs
 *     interface, control socket, watches  what needs privileges
 *     user, capabilities, files           ── privileges end here ──
 *     threads, system calls               ── and most system calls here
 *     report                              the parent ends: the control socket answers
 *     the control loop                    until the end; then all in reverse
 */
#include <errno.h>
#include <malloc.h>
#include <sodium.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "background.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker.h"
#include "confine.h"
#include "control.h"
#include "log/log.h"
#include "options.h"
#include "path.h"
#include "route.h"
#include "rx.h"
#include "state.h"
#include "tun.h"
#include "tx.h"
#include "uapi_server.h"
#include "udp.h"
#include "worker.h"

struct daemon {
	struct options opt;
	struct confine_user user;
	struct broker broker;
	struct tun tun;
	struct udp udp;
	struct counters counters[QUEUES_MAX];
	struct handshake_queue handshakes;
	struct path path;
	struct state state;
	struct control control;
	struct workers workers;
	bool socket_ours;
};

/* ── the engine's callbacks ─────────────────────────────────────────────────────────────── */

static void engine_random(void *user, void *out, size_t len)
{
	randombytes_buf(out, len);
}

static bool engine_send(void *user, const struct wg_endpoint *to, const void *datagram, size_t len)
{
	struct daemon *d = user;
	struct udp_head head;
	struct iovec iov = {(void *)datagram, len};

	for (int source = 1; source >= 0; source--) {
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
		int family = udp_address(to, UDP_TOS_HANDSHAKE, 0, source, &head, &m);

		if (family < 0)
			break;
		if (sendmsg(d->udp.fd[0][family], &m, MSG_DONTWAIT) >= 0)
			return true;
		if (to->local.family == AF_UNSPEC)
			break;
	}
	counter_add(&d->counters[0].handshakes_unsent, 1); /* by control alone */
	return false;
}

static void engine_drop(void *user, struct wg_packet *list)
{
	tx_drop(list);
}

static void engine_wake(void *user, enum wg_wake what)
{
	struct daemon *d = user;

	path_wake(what == WG_WAKE_TX ? d->path.tx_wake : d->path.control_wake);
}

static bool engine_source_ok(void *user, const struct wg_endpoint *e)
{
	struct daemon *d = user;

	return route_source_ok(d->control.routes, e, d->control.fwmark);
}

static const struct wg_ops engine_ops = {engine_random, engine_send, engine_drop, engine_wake,
					 engine_source_ok};

/* ── set-up, in order ───────────────────────────────────────────────────────────────────── */

static int open_path(struct daemon *d, struct err *e)
{
	struct path *p = &d->path;
	int r = udp_init(&d->udp, &d->broker, d->tun.queues, d->opt.gso, d->opt.gro, e);

	if (r < 0)
		return r;
	if (d->opt.gso && !udp_gso_selftest()) {
		log_warn("this kernel corrupts UDP segmentation offload: it is not used");
		d->udp.want_gso = false;
	}
	*p = (struct path){.tun = &d->tun,
			   .udp = &d->udp,
			   .counters = d->counters,
			   .queues = d->tun.queues,
			   .handshakes = &d->handshakes,
			   .control_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			   .tx_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			   .end_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			   .gro = d->opt.gro};
	if (p->control_wake < 0 || p->tx_wake < 0 || p->end_wake < 0)
		return err_sys(e, -errno, "eventfd");
	return 0;
}

static int open_engine(struct daemon *d, struct err *e)
{
	struct crypto_aead_choice *aead = &d->control.aead;
	int r = crypto_aead_choose(d->opt.aead, aead, e);

	if (r < 0)
		return r;
	d->control.device = wg_new(&engine_ops, d, aead->ops, 2 * d->path.queues);
	for (unsigned i = 0; d->control.device && i < d->path.queues; i++) {
		struct workers_queue *q = &d->workers.queue[i];

		q->tx = tx_new(&d->path, i, d->control.device);
		q->rx = rx_new(&d->path, i, d->control.device);
		if (!q->tx || !q->rx)
			return err_sys(e, -ENOMEM, "cannot set up the device");
	}
	return d->control.device ? 0 : err_sys(e, -ENOMEM, "cannot set up the device");
}

static int open_signals(struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* All threads inherit it. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(e, -errno, "signalfd") : fd;
}

/* Its deletion ends us. Where it cannot be watched only that is lost. */
static int watch_socket(struct control *c)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	snprintf(c->socket_name, sizeof(c->socket_name), "%s.sock", c->path->tun->name);
	if (fd >= 0 && inotify_add_watch(fd, UAPI_DIR,
					 IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF |
						 IN_ONLYDIR) < 0)
		mem_close_p(&fd), fd = -1;
	return fd;
}

static int open_socket(struct daemon *d, int *ret_fd, struct err *e)
{
	int r;

	if (d->opt.uapi_fd >= 0) {
		*ret_fd = d->opt.uapi_fd;
		return 0;
	}
	r = uapi_server_bind(d->opt.ifname, d->control.removed, ret_fd, e);
	d->socket_ours = r == 0;
	return r;
}

static int open_control(struct daemon *d, struct err *e)
{
	struct control *c = &d->control;
	int fd, r;

	c->path = &d->path;
	c->state = &d->state;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll < 0)
		return err_sys(e, -errno, "epoll");
	if ((c->signals = open_signals(e)) < 0)
		return c->signals;
	if ((c->routes = route_open(e)) < 0)
		return c->routes;
	if (mkdir(UAPI_DIR, 0755) < 0 && errno != EEXIST)
		return err_sys(e, -errno, "cannot make %s", UAPI_DIR);
	c->removed = watch_socket(c);
	if ((c->notices = notices_open(e)) < 0)
		return c->notices;
	if ((r = open_socket(d, &fd, e)) < 0)
		return r;
	c->uapi = uapi_server_new(c, fd);
	if (!c->uapi)
		return err_sys(e, -ENOMEM, "control socket");
	if ((r = uapi_server_start(c->uapi, e)) < 0)
		return r;
	r = control_watch(c, c->signals, CONTROL_SIGNAL, EPOLLIN);
	if (r == 0)
		r = control_watch(c, d->path.control_wake, CONTROL_WAKE, EPOLLIN);
	if (r == 0)
		r = control_watch(c, c->notices, CONTROL_LINK, EPOLLIN);
	if (r == 0 && c->removed >= 0)
		r = control_watch(c, c->removed, CONTROL_REMOVED, EPOLLIN);
	return r < 0 ? err_sys(e, r, "epoll") : 0;
}

static int open_state(struct daemon *d, struct err *e)
{
	const struct options *o = &d->opt;
	struct err why = {0};
	unsigned uid = d->user.set ? d->user.uid : geteuid();
	unsigned gid = d->user.set ? d->user.gid : getegid();
	int r = state_open_dir(&d->state, o->state_dir, uid, gid, &why);

	if (r == -EPERM) /* what was asked for is a mistake */
		return err_set(e, r, "%s", why.msg);
	if (r == 0)
		r = state_open(&d->state, o->state_dir, o->ifname, uid, gid, &why);
	if (r < 0)
		log_warn("starting without saved state", LOG_STR("error", why.msg));
	return 0;
}

static int boot(struct daemon *d, struct err *e)
{
	int r;

	if ((r = confine_find_user(d->opt.user, &d->user, e)) < 0 || (r = confine_memory(e)) < 0 ||
	    (r = broker_start(&d->broker, d->opt.sandbox, e)) < 0)
		return r;
	if (crypto_init() < 0)
		return err_set(e, -EIO, "libsodium or OpenSSL cannot do their part");
	if ((r = tun_open(&d->tun, d->opt.ifname, d->opt.tun_fd, d->opt.queues, d->opt.tun_offload,
			  e)) < 0 ||
	    (r = open_path(d, e)) < 0 || (r = open_engine(d, e)) < 0 ||
	    (r = open_control(d, e)) < 0)
		return r;
	if (d->opt.tun_offload && !d->tun.tso)
		log_warn("the interface has no segmentation offload: slower, packet by packet",
			 LOG_STR("interface", d->tun.name));
	if ((r = open_state(d, e)) < 0)
		return r;
	if (d->opt.sandbox &&
	    ((r = confine_privileges(&d->user, e)) < 0 ||
	     (r = confine_files(d->state.dir, SANDBOX_FILES_REPLACE, &d->control.landlock, e)) < 0))
		return r;
	if ((r = workers_start(&d->workers, &d->path, e)) < 0)
		return r;
	if (d->opt.sandbox && (r = confine_calls(e)) < 0)
		return r;
	control_link(&d->control);
	return 0;
}

/* ── the end ────────────────────────────────────────────────────────────────────────────── */

static void shut_down(struct daemon *d)
{
	struct control *c = &d->control;
	char path[128];

	if (d->socket_ours) {
		snprintf(path, sizeof(path), UAPI_DIR "/%s.sock", d->opt.ifname);
		broker_unlink(&d->broker, path);
	}
	uapi_server_free(c->uapi);
	atomic_store(&d->path.stop, true);
	path_wake(d->path.end_wake);
	workers_stop(&d->workers);
	wg_free(c->device);
	for (unsigned i = 0; i < QUEUES_MAX; i++) {
		tx_free(d->workers.queue[i].tx);
		rx_free(d->workers.queue[i].rx);
	}
	state_close(&d->state);
	udp_free(&d->udp);
	tun_close(&d->tun);
	broker_stop(&d->broker);
}

static void set_up_log(const struct options *o)
{
	int fd = o->silent ? -1 : STDERR_FILENO;

	log_setup(o->format, o->level, fd);
}

int main(int argc, char **argv)
{
	static struct daemon d = {.broker = {-1}, .state = {.dir = -1, .lock = -1}};
	struct err e = {0};
	struct background background = {-1, -1, -1};
	int r;

	switch (options_parse(argc, argv, &d.opt, &e)) {
	case OPTIONS_HELP: fputs(options_usage, stdout); return 0;
	case OPTIONS_VERSION: puts("harmony-wg " HARMONY_VERSION); return 0;
	case OPTIONS_BAD: fprintf(stderr, "harmony-wg: %s\n", e.msg); return 1;
	case OPTIONS_RUN: break;
	}
	set_up_log(&d.opt);
	/* One heap: it is not on the data path, and the filter of system calls stays small. */
	mallopt(M_ARENA_MAX, 1);
	if (!d.opt.foreground && background_start(&background, d.opt.log_file, &e) < 0) {
		fprintf(stderr, "harmony-wg: %s\n", e.msg);
		return 1;
	}
	options_tell(&d.opt);
	r = boot(&d, &e);
	if (!d.opt.foreground)
		background_report(&background, r < 0 ? &e : &(struct err){0}, d.opt.keep_output);
	else if (r < 0)
		fprintf(stderr, "harmony-wg: %s\n", e.msg);
	if (r == 0)
		control_run(&d.control);
	shut_down(&d);
	return r < 0;
}
