/*
 * The cross-platform userspace interface (https://www.wireguard.com/xplatform/) as text, for both
 * of its ends: pure parsing and formatting. The connection of the asking end is uapi/client.h.
 *
 *     client                                server
 *     get=1\n \n                  ->
 *                                 <-        KEY=VALUE\n … errno=0\n \n
 *     set=1\n KEY=VALUE\n … \n    ->
 *                                 <-        errno=N\n \n
 *
 * Parsers are fed with chunks of any size, hold one line, and bound what they keep. They wipe
 * their lines, and keys live in slots of base/secret.h only. A message names the place of a bad
 * line and its key, never its value.
 */
#ifndef UAPI_UAPI_H
#define UAPI_UAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "wgdev/wgdev.h"

#define UAPI_LINE_MAX    1024      /* bytes without the newline */
#define UAPI_PEERS_MAX   (1 << 17) /* in one request or reply: twice what fits one /16 */
#define UAPI_ALLOWED_MAX (1 << 20) /* in one request or reply, of all peers together */

/* One line being gathered from chunks; for the parsers below. */
struct uapi_line {
	char text[UAPI_LINE_MAX + 1];
	size_t len;
	bool complete, too_long;
	unsigned number; /* of the line in `text`, from 1 */
};

/* What an endpoint's interface, "[fe80::1%eth0]:51820" as wg(8) writes it, is here and now: its
 * index, or 0 where there is none of that name. Parsers do not ask the system themselves. Where
 * one is given NULL such an endpoint is a bad value. */
struct uapi_names {
	unsigned (*ifindex)(void *user, const char *name);
	void *user;
};

/* ---- the asking end ---- */

#define UAPI_GET "get=1\n\n"

/* Appends a set request. The buffer is reserved once, since it may hold keys: the caller ends it
 * with buf_wipe. -EINVAL for a change that the format cannot say (an endpoint set to none). */
int uapi_format_set(const struct wgdev_change *c, struct buf *b);

/* A reply being parsed. Begun by uapi_reply_init; ended by uapi_reply_clear. */
struct uapi_reply {
	const struct uapi_names *names; /* borrowed, or NULL */
	struct uapi_line line;
	struct wgdev dev;
	size_t n_allowed;
	bool own_public_key; /* see uapi_reply_finish */
	bool got_errno, done;
	int device_errno; /* zero or negative, whatever sign the device wrote */
};

void uapi_reply_init(struct uapi_reply *r, const struct uapi_names *names);
void uapi_reply_clear(struct uapi_reply *r);

/* 1 at the reply's end (what follows it is left alone), 0 when it wants more, -EPROTO for what is
 * not a reply, -E2BIG beyond the limits, -ENOMEM. Unknown keys are ignored. After a failure only
 * uapi_reply_clear may be called. */
int uapi_reply_feed(struct uapi_reply *r, const char *data, size_t len, struct err *e);

/* Of a reply that has ended: the errno which the device answered, or 0 and the state, sorted, in
 * *ret (replaced, but for its ifname). `now` serves devices that answer "own_public_key"
 * (boringtun): they give the *age* of a handshake where the format has its time, and never the
 * private key. */
int uapi_reply_finish(struct uapi_reply *r, struct wall now, struct wgdev *ret, struct err *e);

/* ---- the serving end ---- */

/* A request being parsed, whole and validated before anything of it is seen; what `change`
 * borrows belongs to the request. Meaning and errors are wireguard-go's, so that a request which
 * it takes is taken here. Order within a peer is kept in its meaning: replace_allowed_ips drops
 * allowed IPs that stand before it; of an IP added and removed again the last line wins.
 * `remove` and `update_only` hold for the whole peer, wherever they stand. A peer may be named
 * several times; a peer with the device's own key is the engine's to ignore. */
struct uapi_request {
	bool is_set; /* else a get */
	struct wgdev_change change;
	/* The answer's errno with its reason: code 0 for a valid request. */
	struct err err;
	/* After an unknown operation the next request cannot be found: answer and close. */
	bool close;

	/* For lib/uapi/request.c alone: */
	const struct uapi_names *names; /* borrowed, or NULL */
	struct uapi_line line;
	int state;
	struct key *private_key;
	struct wgdev_peer_change *peers;
	struct uapi_request_peer *extra; /* as many as peers */
	size_t n_peers, cap_peers, cap_extra;
	struct ip_prefix *allowed, *removed;
	size_t n_allowed, cap_allowed, n_removed, cap_removed;
	size_t *cuts; /* one for each of `removed` */
	size_t cap_cuts;
};

void uapi_request_init(struct uapi_request *q, const struct uapi_names *names);
/* Wipes and frees; *q is as after init and takes the next request. */
void uapi_request_clear(struct uapi_request *q);

/* Takes bytes up to the end of one request and says in *ret_used how many. 1: the request has
 * ended, see `err`; 0: wants more. The rest of a faulty request is skipped, so that the
 * connection stays usable. */
int uapi_request_feed(struct uapi_request *q, const char *data, size_t len, size_t *ret_used);

/* Pieces of the reply to a get: the device's own lines, one peer, the end. The buffer may hold
 * keys (buf_wipe; reserve it before). */
void uapi_format_device(const struct wgdev *d, struct buf *b);
void uapi_format_peer(const struct wgdev_peer *p, struct buf *b);
/* `error` is zero or negative, and is written as wireguard-go writes it: "errno=-22". */
void uapi_format_errno(int error, struct buf *b);

/* Writes the reply for a whole device in portions, so that a large one is never in memory as
 * text: adds lines to `b` until it holds at least `enough` bytes (and at most a line more).
 * 1 while there is more to come, 0 after the end, or the buffer's error. */
struct uapi_writer {
	const struct wgdev *dev; /* borrowed */
	size_t peer, allowed;
	int phase;
};
int uapi_writer_fill(struct uapi_writer *w, struct buf *b, size_t enough);

#endif
