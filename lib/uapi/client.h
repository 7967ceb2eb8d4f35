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
 * hangs takes and gives none. So there are two bounds. And one that gives a byte now and then is of
 * no more use than one that hangs: what is told of peers lengthens the second, bytes do not. */
struct uapi_timeout {
	int silence_ms; /* no byte in either direction */
	int total_ms; /* the whole request, and for each peer that the answer has told of so far */
	int peer_ms;  /* so much more, UAPI_TOTAL_MAX_MS together */
};
#define UAPI_TOTAL_MAX_MS 30000
#define UAPI_TIMEOUT_GET  ((struct uapi_timeout){.silence_ms = 2000, .total_ms = 2500, .peer_ms = 1})
#define UAPI_TIMEOUT_SET  ((struct uapi_timeout){.silence_ms = 2000, .total_ms = UAPI_TOTAL_MAX_MS})

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
