/*
 * The control socket: how the application and `harmony-agent status` talk to the running agent.
 * One Unix socket (0600) speaks two protocols, told apart by a connection's first byte:
 *
 *     {"id":"1","action":"status","network":"default"}       line-delimited JSON, one answer a line
 *     {"id":"1","success":true,"data":{…}}
 *     {"id":"1","success":false,"error":{"type":"network_not_found","message":"…"}}
 *
 *     GET  /v1/status[?network=NAME]                         HTTP/1.1: the data alone, or
 *     POST /v1/reload[?network=NAME]                         {"error":{"type","message"}}
 *
 * Actions: status, reload. Another one is a parse_error that lists these. Who asks is checked for
 * each request (SO_PEERCRED): root, or the user the agent runs as.
 *
 * Limits: 64 KiB a message in, 16 MiB out, 32 connections of either kind.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <json-c/json_object.h>

#include "base/err.h"
#include "base/mem.h"

struct buf;
struct event_base;
struct control;

#define CONTROL_PATH        "/run/harmony-agent/control.sock"
#define CONTROL_LINK        "/run/harmony-agent.sock" /* leads there, where /run may be written */
#define CONTROL_MESSAGE_MAX 65536
#define CONTROL_ANSWER_MAX  (16 << 20)
#define CONTROL_CONNS_MAX   32

/* What the agent does. `network` is NULL where the message names none. On success *ret is the
 * answer's data, handed over (left NULL: an empty object). The error's code chooses its type:
 *     -ENOENT network_not_found         -EINVAL config_error
 *     -EBUSY, -EALREADY invalid_state   -EPERM, -EACCES permission_denied
 *     -ENODEV, -EOPNOTSUPP platform_error       any other: internal_error
 * The message goes to the client as it is: `why`, where something was added to it, for what is
 * longer than the error's own. Called on the loop; must not block. */
struct control_ops {
	int (*status)(void *arg, const char *network, struct json_object **ret, struct buf *why,
		      struct err *e);
	int (*reload)(void *arg, const char *network, struct json_object **ret, struct buf *why,
		      struct err *e);
};

/* Makes the socket (its directory, 0711, if need be). -EADDRINUSE names the process that serves
 * it; a socket that nobody serves is replaced. CONTROL_PATH gets its second name, CONTROL_LINK,
 * unless something of that name is there; that it cannot be made is no failure. `ops` and the base
 * must outlive it. */
int control_new(struct event_base *base, const char *path, const struct control_ops *ops, void *arg,
		struct control **ret, struct err *e);
void control_free(struct control *c); /* ends its connections, removes the socket */
MEM_CLEANUP(struct control, control_free);

/* The client's side, blocking for `timeout_ms` at most: one action (network may be NULL), its data
 * in *ret (the caller's). An answer that is an error becomes the code of the table above with its
 * message, which is added to `why` (may be NULL) as a whole. -ENOTCONN: nobody serves the socket;
 * -EACCES; -ETIMEDOUT; -EPROTO: not an answer. */
int control_request(const char *path, const char *action, const char *network, int timeout_ms,
		    struct json_object **ret, struct buf *why, struct err *e);

#endif
