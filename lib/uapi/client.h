/*
 * The asking end of a UAPI socket: one connection a request, blocking, bounded in time.
 *
 * Errors beside the device's own errno:
 *   -ENOENT, -ECONNREFUSED  nobody serves the path (no file; a file that was left behind)
 *   -ETIMEDOUT              connected, and then silence
 *   -ECONNRESET             the reply broke off
 *   -EPROTO, -E2BIG         it is not one, or it is beyond the limits of uapi.h
 */
#ifndef UAPI_CLIENT_H
#define UAPI_CLIENT_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "uapi/uapi.h"

/* A device at work may take long over ten thousand peers and takes bytes all the while; one that
 * hangs takes and gives none. So there are two bounds. */
struct uapi_timeout {
	int silence_ms; /* no byte in either direction */
	int total_ms;   /* the whole request */
};
#define UAPI_TIMEOUT_DEFAULT ((struct uapi_timeout){.silence_ms = 2000, .total_ms = 30000})

/* What one learns about the other end on the way. */
struct uapi_server {
	pid_t pid;      /* of the process that listens (SO_PEERCRED); 0: in a foreign namespace */
	bool boringtun; /* it answered with its own dialect, see uapi_reply_finish */
};

/* `server` may be NULL. *ret is replaced on success only, and keeps its ifname. */
int uapi_client_get(const char *path, struct uapi_timeout t, struct wgdev *ret,
		    struct uapi_server *server, struct err *e);
int uapi_client_set(const char *path, struct uapi_timeout t, const struct wgdev_change *c,
		    struct err *e);

/* The statistics of a harmony-wg, as it sends them (harmony-wg(8)): lines KEY=VALUE, the last
 * "errno=0", and an empty line, appended to *ret, whose limit bounds them; nothing is appended on
 * failure. -EPROTO: an answer without them, from another program. */
int uapi_client_stats(const char *path, struct uapi_timeout t, struct buf *ret, struct err *e);

#endif
