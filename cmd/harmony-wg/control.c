/*
 * The control thread. All that is not the data path happens here, one thing at a time, so that
 * nothing in it needs a lock; the engine's "control" calls are made from here alone.
 *
 * The UDP sockets are open while the interface is up, as with the kernel's WireGuard and
 * wireguard-go: a listen port is configured at any time and bound when the interface comes up. Port
 * 0 is what it is there: set while the sockets are open it has a new port chosen, each time (a `wg
 * setconf` or `wg syncconf` of a file without ListenPort sets it); and the port that was chosen
 * stays while the interface is down.
 *
 * A removed interface ends the process, and so does a removed socket file: that is how the tools
 * that this one replaces are stopped (wg-quick(8) does the second). An interface that has gone to
 * another network namespace lives on; there it is looked at once a second.
 */
#include "control.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/secret.h"
#include "log/log.h"
#include "uapi_server.h"

#define HANDSHAKES_AT_A_TIME 64
#define EVENTS               16
#define LOOK_NS              NS_PER_SEC

struct wg_time control_now(void)
{
	return (struct wg_time){mono_now(), wall_now()};
}

int control_watch(struct control *c, int fd, uint32_t what, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u32 = what};

	return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* The last that is heard of it, so at the level that is always heard. */
void control_end(struct control *c, const char *why, int error)
{
	if (!c->end)
		log_error("ending", LOG_STR("interface", c->path->tun->name), LOG_STR("why", why),
			  LOG_STR("error", error ? strerror(error) : NULL));
	c->end = true;
}

static void end_by_signal(struct control *c, const char *signal)
{
	if (!c->end)
		log_info("ending", LOG_STR("interface", c->path->tun->name),
			 LOG_STR("why", signal));
	c->end = true;
}

/* ── the interface ──────────────────────────────────────────────────────────────────────── */

/* The sockets are open. */
static void came_up(struct control *c)
{
	c->refused = false;
	c->up = true;
	if (c->listen_port == 0)
		c->chosen = c->path->udp->port;
	wg_set_up(c->device, true, control_now());
	log_info("up", LOG_STR("interface", c->path->tun->name),
		 LOG_INT("port", c->path->udp->port));
}

/* A port that could not be bound is not said to be the device's: who compares what there is with
 * what he wants sees the difference, sets it again, and is answered why it fails. */
static void come_up(struct control *c)
{
	struct udp *u = c->path->udp;
	struct err why = {0};
	int r = -ENOENT;

	if (c->listen_port == 0 && c->chosen)
		r = udp_bind(u, c->chosen, c->fwmark, NULL);
	if (r < 0)
		r = udp_bind(u, c->listen_port, c->fwmark, &why);
	c->refused = r < 0;
	if (r < 0)
		log_error("cannot open the UDP sockets; the next change of port, or of the "
			  "interface, tries again",
			  LOG_STR("interface", c->path->tun->name), LOG_STR("error", why.msg));
	else
		came_up(c);
}

uint16_t control_port(const struct control *c)
{
	if (c->path->udp->port || c->refused)
		return c->path->udp->port;
	return c->listen_port ? c->listen_port : c->chosen;
}

static void go_down(struct control *c)
{
	c->up = false;
	wg_set_up(c->device, false, control_now());
	udp_unbind(c->path->udp);
	log_info("down", LOG_STR("interface", c->path->tun->name));
}

/* False where it is gone. */
static bool look(struct control *c, bool *ret_up)
{
	struct tun *t = c->path->tun;
	bool away = t->away;
	uint32_t mtu;
	int r = tun_query(t, &mtu, ret_up);

	if (r < 0) {
		control_end(c, "interface removed", -r);
		return false;
	}
	atomic_store_explicit(&t->mtu, mtu, memory_order_relaxed);
	if (t->away && !away)
		log_info("not in this network namespace any more", LOG_STR("interface", t->name));
	c->look_at = mono_add(mono_now(), LOOK_NS);
	return true;
}

void control_link(struct control *c)
{
	bool up;

	if (!look(c, &up))
		return;
	if (up) {
		if (!c->up)
			come_up(c);
		return;
	}
	c->refused = false;
	if (c->up)
		go_down(c);
}

static void notifications(struct control *c)
{
	struct notices n = {0};
	struct err e = {0};

	if (notices_read(c->notices, c->path->tun->ifindex, &n, &e) < 0) {
		log_error("notifications of the kernel have ended", LOG_STR("error", e.msg));
		epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->notices, NULL);
		n.link = true;
	}
	if (n.link)
		control_link(c);
	if (n.sources)
		wg_clear_sources(c->device, NULL);
	if (n.better)
		atomic_fetch_add(&c->path->udp->generation, 1);
	c->rerouted |= n.routes || n.better;
}

/* ── configuration ──────────────────────────────────────────────────────────────────────── */

/* Before all else: where they are refused the request has changed nothing. Where the interface is
 * up and its port was refused, another one is taken at once. */
static int apply_sockets(struct control *c, const struct wgdev_change *change, struct err *e)
{
	uint16_t port = change->set_listen_port ? change->listen_port : c->listen_port;
	uint32_t mark = change->set_fwmark ? change->fwmark : c->fwmark;
	struct udp *u = c->path->udp;
	bool up;
	int r = 0;

	/* The same port again rebinds nothing. */
	if (change->set_listen_port && (u->is_open ? port != u->port : look(c, &up) && up))
		r = udp_bind(u, port, mark, e);
	else if (u->is_open && mark != u->mark)
		r = udp_mark(u, mark, e);
	if (r < 0)
		return r;
	c->listen_port = port;
	c->fwmark = mark;
	if (change->set_listen_port)
		c->chosen = port ? 0 : u->port;
	return 0;
}

int control_apply(struct control *c, const struct wgdev_change *change, struct err *e)
{
	int r = apply_sockets(c, change, e);

	if (r < 0)
		return r;
	r = wg_apply(c->device, change, control_now());
	state_restore(c->state, c->device, control_now());
	if (c->path->udp->is_open && !c->up)
		came_up(c);
	return r < 0 ? err_sys(e, r, "configuration") : 0;
}

/* ── the loop ───────────────────────────────────────────────────────────────────────────── */

static void signals(struct control *c)
{
	struct signalfd_siginfo s;

	if (read(c->signals, &s, sizeof(s)) == sizeof(s) && s.ssi_signo != SIGHUP)
		end_by_signal(c, s.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void removed(struct control *c)
{
	_Alignas(struct inotify_event) char b[4096];
	ssize_t n = read(c->removed, b, sizeof(b));

	for (char *at = b; n > 0 && at < b + n;) {
		const struct inotify_event *ev = (const struct inotify_event *)at;

		if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT) ||
		    (ev->len && strcmp(ev->name, c->socket_name) == 0))
			control_end(c, "control socket removed", 0);
		at += sizeof(*ev) + ev->len;
	}
}

static void dispatch(struct control *c, const struct epoll_event *ev)
{
	switch (ev->data.u32) {
	case CONTROL_SIGNAL: signals(c); break;
	case CONTROL_WAKE: path_drained(c->path->control_wake); break;
	case CONTROL_LINK: notifications(c); break;
	case CONTROL_REMOVED: removed(c); break;
	case CONTROL_LISTEN: uapi_server_accept(c->uapi); break;
	default: uapi_server_client(c->uapi, ev->data.u32, ev->events); break;
	}
}

static int timeout(struct mono next, struct mono now)
{
	int64_t ms = (mono_since(next, now) + NS_PER_MSEC - 1) / NS_PER_MSEC;

	if (next.ns == INT64_MAX)
		return -1;
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* Stamps change with handshakes; endpoints also when a peer moves. */
static void save(struct control *c, struct mono *next)
{
	struct wg_stats s;
	struct mono now = mono_now();
	struct err e = {0};

	wg_get_stats(c->device, now, &s);
	uint64_t n = s.handshakes[WG_HS_INITIATION] + s.handshakes[WG_HS_RESPONSE] +
		     s.initiations_sent + s.moved;
	if (n != c->news)
		c->unsaved = true;
	c->news = n;
	if (c->unsaved && (c->end || !mono_before(now, state_next(c->state)))) {
		c->unsaved = state_save(c->state, c->device, &e) < 0;
		if (c->unsaved)
			log_error("state is not saved", LOG_STR("interface", c->path->tun->name),
				  LOG_STR("error", e.msg));
	}
	if (c->unsaved && mono_before(state_next(c->state), *next))
		*next = state_next(c->state);
}

/* No notification tells of an interface that is away. */
static void watch_away(struct control *c, struct mono *next)
{
	const struct tun *t = c->path->tun;
	bool up;

	if (t->away && !mono_before(mono_now(), c->look_at) && look(c, &up) &&
	    up != (c->up || c->refused))
		control_link(c);
	if (t->away && mono_before(c->look_at, *next))
		*next = c->look_at;
}

/* One question to the kernel for each peer: with thousands, a table of routes that never rests may
 * have a tenth of control's time. */
static void check_sources(struct control *c, struct mono *next)
{
	struct mono now = mono_now();

	if (!c->rerouted)
		return;
	if (mono_before(now, c->check_at)) {
		if (mono_before(c->check_at, *next))
			*next = c->check_at;
		return;
	}
	c->rerouted = false;
	wg_check_sources(c->device);
	c->check_at = mono_add(mono_now(), 10 * mono_since(mono_now(), now));
}

/* Any handshake may be the first that needs more of it than the limit allows. */
static void check_locked(struct control *c)
{
	if (c->told_unlocked || secret_is_locked())
		return;
	c->told_unlocked = true;
	log_warn("keys may be swapped out: locked memory is not permitted (RLIMIT_MEMLOCK, "
		 "CAP_IPC_LOCK)",
		 LOG_STR("interface", c->path->tun->name));
}

void control_run(struct control *c)
{
	struct epoll_event ev[EVENTS];

	while (!c->end) {
		bool more = handshake_work(c->path->handshakes, c->device, HANDSHAKES_AT_A_TIME);
		struct mono next = wg_tick(c->device, control_now());

		check_sources(c, &next);
		check_locked(c);
		watch_away(c, &next);
		save(c, &next);
		int n = epoll_pwait(c->epoll, ev, EVENTS, more ? 0 : timeout(next, mono_now()),
				    NULL);
		for (int i = 0; i < n; i++)
			dispatch(c, &ev[i]);
		int gone = atomic_load(&c->path->tun_gone);
		if (gone)
			control_end(c, "interface removed", gone);
	}
	save(c, &(struct mono){0});
}
