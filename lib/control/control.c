/*
 * The server. Listening, connection limits and HTTP are lib/http's; a connection that begins with
 * '{' is taken over from it and served here, line by line. Answers are made when the one before
 * has been taken, and nothing is read meanwhile, so that a client that asks and does not read costs
 * one answer and one read of memory; one that does nothing for a minute is closed.
 *
 * Lines end in LF, a CR before it is white space to JSON. The last one may lack it where the
 * client shuts its side: `printf '{"action":"status"}' | nc -UN …` is answered.
 */
#include "control/control_priv.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/str.h"
#include "http/http.h"

#define IDLE_SECS  60
#define WRITE_SECS 30

struct control {
	const struct control_ops *ops;
	void *arg;
	struct http_server *http;
	struct list conns; /* those that speak JSON */
	unsigned n_conns;
};

struct conn {
	struct list node;
	struct control *owner;
	struct bufferevent *bev;
	bool busy; /* an answer is on its way */
	bool last; /* and after it the connection ends */
};

/* root, and whoever the agent is. */
static bool may_ask(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static void put_denied(uid_t uid, char *out, size_t size)
{
	snprintf(out, size, "user %u may not ask; accepted: root and the agent's own user",
		 (unsigned)uid);
}

/* --- line-delimited JSON --- */

static void conn_free(struct conn *c)
{
	list_del(&c->node);
	c->owner->n_conns--;
	bufferevent_free(c->bev);
	free(c);
}

static void send_answer(struct conn *c, struct buf *answer)
{
	if (buf_error(answer) < 0 || bufferevent_write(c->bev, answer->data, answer->len) < 0)
		c->last = true;
	c->busy = true;
	bufferevent_disable(c->bev, EV_READ);
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}

static void refuse(struct conn *c, const char *type, const char *msg)
{
	_cleanup_buf_ struct buf answer = BUF_INIT(0);

	control_answer_error(&answer, type, msg);
	c->last = true;
	send_answer(c, &answer);
}

/* SO_PEERCRED is of whoever connected; a descriptor handed on keeps it. */
static bool check_peer(struct conn *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char msg[96];

	if (getsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred.uid = (uid_t)-1;
	if (may_ask(cred.uid))
		return true;
	put_denied(cred.uid, msg, sizeof(msg));
	refuse(c, "permission_denied", msg);
	return false;
}

/* The next line, or at the end of the input what is left of it. Blank lines are none. */
static char *next_line(struct conn *c, bool end, size_t *ret_len)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	char *line;

	while ((line = evbuffer_readln(in, ret_len, EVBUFFER_EOL_LF))) {
		if (strspn(line, " \t\r") < *ret_len)
			return line;
		free(line);
	}
	*ret_len = evbuffer_get_length(in);
	if (!end || *ret_len == 0 || !(line = malloc(*ret_len + 1)))
		return NULL;
	evbuffer_remove(in, line, *ret_len);
	line[*ret_len] = '\0';
	return line;
}

/* Answers the next message, if it is there as a whole. */
static void serve(struct conn *c, bool end)
{
	_cleanup_buf_ struct buf answer = BUF_INIT(CONTROL_ANSWER_MAX);
	_cleanup_free_ char *line = NULL;
	size_t len;

	if (c->busy)
		return;
	line = next_line(c, end, &len);
	if (!line && len >= CONTROL_MESSAGE_MAX) {
		refuse(c, "parse_error", "the message is longer than 64 KiB");
		return;
	}
	if (!line || !check_peer(c))
		return;
	control_answer(c->owner->ops, c->owner->arg, line, len, &answer);
	send_answer(c, &answer);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	serve(arg, false);
}

static void on_write(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (c->last) {
		conn_free(c);
		return;
	}
	c->busy = false;
	bufferevent_enable(bev, EV_READ);
	serve(c, false);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	if ((what & BEV_EVENT_EOF) && !c->busy) {
		serve(c, true);
		c->last = true;
		if (c->busy)
			return;
	}
	conn_free(c);
}

static void on_json(struct bufferevent *bev, void *arg)
{
	struct control *ctl = arg;
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		bufferevent_free(bev);
		return;
	}
	c->owner = ctl;
	c->bev = bev;
	list_init(&c->node);
	list_add(&ctl->conns, &c->node);
	ctl->n_conns++;
	bufferevent_setcb(bev, on_read, on_write, on_event, c);
	bufferevent_set_timeouts(bev, &(struct timeval){IDLE_SECS, 0},
				 &(struct timeval){WRITE_SECS, 0});
	if (ctl->n_conns > CONTROL_CONNS_MAX)
		refuse(c, "invalid_state", "too many connections");
	else if (check_peer(c))
		serve(c, false);
}

/* --- HTTP --- */

static void answer_http(struct http_request *req, struct control *ctl, const char *action)
{
	struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
	struct ucred cred = {.uid = (uid_t)-1};
	char msg[96];
	int status = 403;

	if (http_request_cred(req, &cred) < 0 || !may_ask(cred.uid)) {
		put_denied(cred.uid, msg, sizeof(msg));
		control_put_error(&body, "permission_denied", msg);
	} else {
		status = control_answer_http(ctl->ops, ctl->arg, action,
					     http_request_query(req, "network"), &body);
	}
	http_reply_buf(req, status, "application/json", &body);
}

static void on_status(struct http_request *req, void *arg)
{
	answer_http(req, arg, "status");
}

static void on_reload(struct http_request *req, void *arg)
{
	answer_http(req, arg, "reload");
}

/* The socket's second name, relative, so that /var/run and a container's mounts are right too. It
 * stays, as its directory does: that of the next start is the same. */
static void make_link(const char *path)
{
	if (str_eq(path, CONTROL_PATH))
		(void)!symlink("harmony-agent/control.sock", CONTROL_LINK);
}

int control_new(struct event_base *base, const char *path, const struct control_ops *ops, void *arg,
		struct control **ret, struct err *e)
{
	struct http_limits limits = HTTP_LIMITS_DEFAULT;
	_cleanup_(control_free_p) struct control *c = calloc(1, sizeof(*c));
	char where[256];

	limits.max_conns = CONTROL_CONNS_MAX;
	limits.max_body = CONTROL_MESSAGE_MAX;
	if (!c)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	c->ops = ops;
	c->arg = arg;
	list_init(&c->conns);
	c->http = http_server_new(base, &limits);
	if (!c->http || http_server_route(c->http, "/v1/status", HTTP_GET, on_status, c) < 0 ||
	    http_server_route(c->http, "/v1/reload", HTTP_POST, on_reload, c) < 0)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	http_server_takeover(c->http, '{', on_json, c);
	if ((size_t)snprintf(where, sizeof(where), "unix:%s", path) >= sizeof(where))
		return err_set(e, -ENAMETOOLONG, "%s: too long for a socket", path);

	int r = http_server_bind(c->http, where, e);
	if (r < 0)
		return r;
	make_link(path);
	*ret = mem_steal(&c);
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	list_for_each_safe (conn, &c->conns, struct conn, node)
		conn_free(conn);
	http_server_free(c->http);
	free(c);
}
