/*
 * The control thread: one loop over signals, timers of the engine, handshake messages, the control
 * socket, notifications of the kernel.
 */
#ifndef HARMONY_WG_CONTROL_H
#define HARMONY_WG_CONTROL_H

#include <stdbool.h>

#include "base/err.h"
#include "notices.h"
#include "path.h"
#include "state.h"
#include "wg/wg.h"

struct uapi_server;

struct control {
	struct path *path;
	struct wg_device *device;
	struct state *state;
	struct uapi_server *uapi;
	int epoll, signals, removed; /* removed: inotify of the control socket's directory; or -1 */
	int notices, routes;         /* of notices.c, route.c */
	bool rerouted;               /* the sources of peers are to be checked, at… */
	struct mono check_at;        /* the soonest */
	struct mono look_at;         /* when an interface that is away is asked for again */
	struct crypto_aead_choice aead;
	uint16_t listen_port; /* as configured; 0: any */
	uint16_t chosen;      /* by the kernel, where it is 0; also while the interface is down */
	uint32_t fwmark;
	unsigned landlock; /* version; 0: not in force */
	bool up;           /* the interface is */
	bool refused;      /* it is, but listen_port could not be bound */
	bool end;
	bool unsaved;
	bool told_unlocked; /* keys in memory that could not be locked were told of */
	uint64_t news;      /* as counted at the last look, to see what is unsaved */
	char socket_name[32];
};

/* What a file descriptor of the loop stands for. Clients are the server's own numbers. */
enum {
	CONTROL_SIGNAL,
	CONTROL_WAKE,
	CONTROL_LINK,
	CONTROL_REMOVED,
	CONTROL_LISTEN,
	CONTROL_CLIENT
};

int control_watch(struct control *c, int fd, uint32_t what, uint32_t events);

/* Ends the loop, not asked for by a signal. `error`: what said so, or 0. */
void control_end(struct control *c, const char *why, int error);
/* Looks at the interface: MTU, and up or down with all that follows. Where the UDP sockets could
 * not be opened that was logged. */
void control_link(struct control *c);
/* The port that it has, or will have when the interface comes up; 0: none, or not known. */
uint16_t control_port(const struct control *c);
/* Applies a request that was found valid. 0, or -errno with nothing changed, but for what wg_apply
 * has done before there was no memory. */
int control_apply(struct control *c, const struct wgdev_change *change, struct err *e);
/* Until a signal, or the end of the interface or of the socket file. */
void control_run(struct control *c);

struct wg_time control_now(void);

#endif
