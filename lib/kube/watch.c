/*
 * Theory of operation. One kube_watch keeps one named object current. What to do next is decided
 * by the reflector (reflector.c); this file does it: a list is a request (client.c), a watch is
 * a transfer whose bytes go through stream.c, and time is one timer.
 *
 * Everything happens in `turn`, which the event `work` calls: libcurl's callbacks and the
 * client's notices only leave a mark (bytes in `stream`, `flags`) and wake it. So a user's
 * callback never runs inside of libcurl, and may free the watch: kube_watch_free then only marks
 * it, and the turn that called back frees it.
 *
 *   libcurl ── bytes, status line, end ──┐
 *   client ─── renew, lost ──────────────┼──> turn ──> reflector ──> list | watch | wait
 *   timer ─── the reflector's deadline ──┘       └──> changed, deleted, state
 *
 * The order within a turn matters: first the status line, then the lines that have come, then
 * the end of the stream, so that nothing that was received is lost when the stream is cut.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"
#include "kube/reflector.h"
#include "kube/stream.h"
#include "log/log.h"

enum {
	HEADERS_CAME = 1 << 0, /* with `status_code` */
	ENDED = 1 << 1,        /* with `result` */
	PAUSED = 1 << 2,       /* libcurl holds bytes back until lines are taken out */
	TOO_LONG = 1 << 3,     /* a line, or an error's body */
	RENEW = 1 << 4,        /* other credentials */
	LOST = 1 << 5,         /* the server gives no sign of life */
};

struct kube_watch {
	struct kube_user user;
	struct kube_client *client;
	enum kube_kind kind;
	char *ns, *name, *what; /* what: "secret NS/NAME", for messages */
	struct kube_watch_ops ops;
	void *arg;

	struct kube_reflector reflector;
	struct event *work;
	unsigned flags;
	bool busy, dead;

	struct kube_call *list_call;

	struct kube_transfer transfer; /* of the watch */
	struct kube_stream stream;
	long status_code;
	CURLcode result;

	char uid[64], rv[KUBE_RV_MAX]; /* of the object last told */
	struct kube_watch_state state, told;
};

static void wake(struct kube_watch *w, unsigned flags)
{
	w->flags |= flags;
	/* Not as EV_TIMEOUT: setting the timer anew at the end of a turn would take that back. */
	event_active(w->work, EV_READ, 0);
}

/* ---- libcurl's callbacks: leave a mark and wake ---- */

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct kube_watch *w = arg;

	/* The empty line behind the headers; those of a proxy's CONNECT are not ours. */
	if (size * n <= 2 && (data[0] == '\r' || data[0] == '\n')) {
		curl_easy_getinfo(w->transfer.http.easy, CURLINFO_RESPONSE_CODE, &w->status_code);
		if (w->status_code >= 200)
			wake(w, HEADERS_CAME);
	}
	return size * n;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *arg)
{
	struct kube_watch *w = arg;
	int r = kube_stream_add(&w->stream, data, size * n);

	if (r == 0) {
		wake(w, 0);
		return size * n;
	}
	if (w->status_code != 200)
		r = -E2BIG; /* nobody takes lines out of an error's body */
	wake(w, r == -EAGAIN ? PAUSED : TOO_LONG);
	return r == -EAGAIN ? CURL_WRITEFUNC_PAUSE : 0;
}

static void on_end(void *arg, CURLcode result)
{
	struct kube_watch *w = arg;

	w->result = result;
	wake(w, ENDED);
}

static void on_renew(struct kube_user *u)
{
	wake(list_entry(u, struct kube_watch, user), RENEW);
}

static void on_lost(struct kube_user *u)
{
	wake(list_entry(u, struct kube_watch, user), LOST);
}

/* ---- What the user is told ---- */

static void tell_changed(struct kube_watch *w, struct json_object *o)
{
	struct kube_meta m;

	kube_object_meta(o, &m);
	if (w->state.exists && str_eq(m.uid, w->uid) && str_eq(m.resource_version, w->rv))
		return;
	snprintf(w->uid, sizeof(w->uid), "%s", m.uid);
	snprintf(w->rv, sizeof(w->rv), "%s", m.resource_version);
	snprintf(w->state.resource_version, sizeof(w->state.resource_version), "%s", w->rv);
	w->state.exists = true;
	w->ops.changed(w->arg, o);
}

static void tell_deleted(struct kube_watch *w)
{
	if (!w->state.exists)
		return;
	w->state.exists = false;
	w->state.resource_version[0] = '\0';
	w->ops.deleted(w->arg);
}

static void tell_state(struct kube_watch *w)
{
	const struct kube_watch_state *a = &w->state, *b = &w->told;

	if (a->synced == b->synced && a->connected == b->connected && a->exists == b->exists &&
	    str_eq(a->error, b->error))
		return;
	w->told = w->state;
	if (w->ops.state)
		w->ops.state(w->arg, &w->told);
}

static void set_error(struct kube_watch *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void set_error(struct kube_watch *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->state.error, sizeof(w->state.error), fmt, ap);
	va_end(ap);
	w->state.connected = false;
}

/* The server's words say what is refused; what is needed instead is said here. */
static void set_error_from(struct kube_watch *w, const struct kube_status *s)
{
	if (s->http == 403)
		set_error(w,
			  "%s; needed in namespace %s: get, list and watch of %s with resourceName "
			  "%s",
			  s->message, w->ns, kube_kind_resource(w->kind), w->name);
	else
		set_error(w, "%s", s->message);
}

/* ---- Commands of the reflector ---- */

static void on_list(void *arg, const struct kube_status *status, struct json_object *list);

static void end_requests(struct kube_watch *w)
{
	kube_call_cancel(mem_steal(&w->list_call));
	kube_transfer_end(&w->transfer);
	kube_stream_reset(&w->stream);
	w->user.streaming = false;
	w->flags &= (unsigned)RENEW; /* late marks of what is ended */
}

static void add_path(const struct kube_watch *w, struct buf *b)
{
	buf_addf(b, "/api/v1/namespaces/%s/%s?fieldSelector=metadata.name%%3D%s", w->ns,
		 kube_kind_resource(w->kind), w->name);
}

static int start_list(struct kube_watch *w, const char *rv, struct err *e)
{
	_cleanup_buf_ struct buf path = BUF_INIT(4096);

	add_path(w, &path);
	if (rv) {
		buf_adds(&path, "&resourceVersion=");
		kube_add_escaped(&path, rv);
	}
	if (buf_error(&path))
		return err_sys(e, buf_error(&path), "%s", w->what);
	const struct kube_request req = {
		.method = "GET", .path = buf_str(&path), .secret = w->kind == KUBE_SECRET};
	return kube_client_send(w->client, &req, on_list, w, &w->list_call, e);
}

static int start_watch(struct kube_watch *w, const char *rv, unsigned timeout_secs, struct err *e)
{
	_cleanup_buf_ struct buf path = BUF_INIT(4096);

	add_path(w, &path);
	buf_addf(&path, "&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=",
		 timeout_secs);
	kube_add_escaped(&path, rv);
	if (buf_error(&path))
		return err_sys(e, buf_error(&path), "%s", w->what);
	const struct kube_transfer_opts opts = {
		.method = "GET",
		.path = buf_str(&path),
		.own_connection = true,
		.write = on_bytes,
		.header = on_header,
		.done = on_end,
		.arg = w,
	};
	w->status_code = 0;
	return kube_transfer_start(w->client, &opts, &w->transfer, e);
}

/* Gives the reflector an input and does what it says. */
static void step(struct kube_watch *w, const struct kube_reflector_input *in)
{
	enum kube_reflector_state before = w->reflector.state;
	struct kube_reflector_command c = kube_reflector_step(&w->reflector, mono_now(), in);
	struct err e;
	int r = 0;

	w->state.errors = w->reflector.errors;
	w->state.lists = w->reflector.lists;
	if (c.action == KUBE_REFLECTOR_NOTHING)
		return;
	log_debug("kube: watch", LOG_STR("object", w->what),
		  LOG_STR("from", kube_reflector_state_name(before)),
		  LOG_STR("to", kube_reflector_state_name(w->reflector.state)),
		  LOG_STR("version", c.rv), LOG_STR("error", w->state.error));
	end_requests(w);
	if (c.action == KUBE_REFLECTOR_DO_LIST)
		r = start_list(w, c.rv, &e);
	else if (c.action == KUBE_REFLECTOR_DO_WATCH)
		r = start_watch(w, c.rv, c.timeout_secs, &e);
	if (r < 0) {
		/* No memory or no descriptors: as if the network had failed. The reflector
		 * answers this with a delay, so it cannot recur here. */
		const struct kube_reflector_input failed = {.type = KUBE_REFLECTOR_FAILED,
							    .failure = KUBE_FAILURE_NETWORK};
		set_error(w, "%s: %s", w->what, e.msg);
		step(w, &failed);
	}
}

static void step_failed(struct kube_watch *w, const struct kube_status *s)
{
	const struct kube_reflector_input in = {
		.type = KUBE_REFLECTOR_FAILED,
		.failure = s->http ? KUBE_FAILURE_HTTP : KUBE_FAILURE_NETWORK,
		.http = s->http,
		.rv_too_large = s->rv_too_large,
		.retry_after = s->retry_after,
	};

	set_error_from(w, s);
	step(w, &in);
}

static void step_garbage(struct kube_watch *w, const char *why)
{
	const struct kube_reflector_input in = {.type = KUBE_REFLECTOR_FAILED,
						.failure = KUBE_FAILURE_GARBAGE};

	set_error(w, "%s: the API server's answer cannot be read: %s", w->what, why);
	step(w, &in);
}

static void step_network(struct kube_watch *w, const char *why)
{
	const struct kube_reflector_input in = {.type = KUBE_REFLECTOR_FAILED,
						.failure = KUBE_FAILURE_NETWORK};

	set_error(w, "%s: %s: %s", w->what, w->client->config->server, why);
	step(w, &in);
}

/* ---- What has come ---- */

static struct json_object *find_item(const struct kube_watch *w, struct json_object *items)
{
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *o = json_object_array_get_idx(items, i);
		struct kube_meta m;

		kube_object_meta(o, &m);
		if (str_eq(m.name, w->name))
			return o;
	}
	return NULL;
}

static void take_list(struct kube_watch *w, const struct kube_status *s, struct json_object *list)
{
	struct json_object *items = json_get(list, "items", json_type_array);
	const char *rv =
		json_get_str(json_get(list, "metadata", json_type_object), "resourceVersion");

	if (s->http < 200 || s->http >= 300)
		return step_failed(w, s);
	/* An empty list has items: null in some servers. */
	if (!rv || rv[0] == '\0' || (!items && !json_get_str(list, "kind")))
		return step_garbage(w, "it is not a list");

	struct json_object *o = items ? find_item(w, items) : NULL;
	const struct kube_reflector_input in = {.type = KUBE_REFLECTOR_LISTED, .rv = rv};

	w->state.relists += w->state.synced;
	w->state.synced = true;
	w->state.last_sync = mono_now();
	step(w, &in);
	if (o)
		tell_changed(w, o);
	else
		tell_deleted(w);
}

static void take_error_line(struct kube_watch *w, struct json_object *object)
{
	struct kube_status s = {0};
	char said[40];

	if (!kube_status_from_object(object, &s) || s.http == 0)
		return step_garbage(w, "an ERROR event without a Status");
	snprintf(said, sizeof(said), "the watch ended with %d", s.http);
	kube_status_prefix(&s, w->what, said);
	step_failed(w, &s);
}

static void take_object_line(struct kube_watch *w, const struct kube_line *line)
{
	bool bookmark = line->type == KUBE_LINE_BOOKMARK;
	struct kube_meta m;

	kube_object_meta(line->object, &m);
	if (!bookmark && !str_eq(m.name, w->name))
		return step_garbage(w, "a watch event about another object");
	if (m.resource_version[0] == '\0' || strlen(m.resource_version) >= KUBE_RV_MAX)
		return step_garbage(w, "a watch event without a resourceVersion");

	const struct kube_reflector_input in = {
		.type = bookmark ? KUBE_REFLECTOR_BOOKMARK : KUBE_REFLECTOR_OBJECT,
		.rv = m.resource_version,
	};
	w->state.events++;
	w->state.last_sync = mono_now();
	step(w, &in);
	if (line->type == KUBE_LINE_DELETED)
		tell_deleted(w);
	else if (line->type == KUBE_LINE_OBJECT)
		tell_changed(w, line->object);
}

static void take_lines(struct kube_watch *w)
{
	struct kube_line line;
	struct err e;
	int r = 0;

	while (!w->dead && w->reflector.state == KUBE_REFLECTOR_STREAM &&
	       (r = kube_stream_next(&w->stream, &line, &e)) > 0) {
		if (line.type == KUBE_LINE_ERROR)
			take_error_line(w, line.object);
		else
			take_object_line(w, &line);
		if (w->kind == KUBE_SECRET)
			kube_object_wipe(line.object);
		json_object_put(line.event);
	}
	if (r < 0)
		step_garbage(w, e.msg);
}

static void take_headers(struct kube_watch *w)
{
	static const struct kube_reflector_input in = {.type = KUBE_REFLECTOR_OPENED};

	w->flags &= ~(unsigned)HEADERS_CAME;
	if (w->status_code != 200)
		return; /* its body comes, then its end */
	w->state.watches++;
	w->state.connected = true;
	w->state.error[0] = '\0';
	w->state.last_sync = mono_now();
	w->user.streaming = true;
	step(w, &in);
	kube_probe_wanted(w->client);
}

static void take_end(struct kube_watch *w)
{
	static const struct kube_reflector_input ended = {.type = KUBE_REFLECTOR_ENDED};
	const struct json_limits limits = {KUBE_MAX_BYTES, KUBE_MAX_DEPTH};
	_cleanup_json_ struct json_object *body = NULL;
	struct kube_status s;

	w->flags &= ~(unsigned)ENDED;
	if (w->flags & TOO_LONG)
		return step_garbage(w, "a line of it is too long");
	if (w->status_code != 200 && w->stream.in.len)
		json_parse(w->stream.in.data, w->stream.in.len, limits, &body, NULL);
	kube_status_of_transfer(&w->transfer, w->result, body, w->what, &s);
	if (s.http != 200) {
		if (s.message[0] == '\0') /* 201 and the like */
			snprintf(s.message, sizeof(s.message), "%s: answered %d, not 200", w->what,
				 s.http);
		return step_failed(w, &s);
	}
	/* A stream that ends in good order ends behind a line. */
	if (w->stream.in.len)
		return step_network(w, "the watch was cut within a line");
	if (mono_since(mono_now(), w->reflector.opened) < 30 * NS_PER_SEC)
		set_error(w, "%s: %s: the watch was closed early", w->what,
			  w->client->config->server);
	step(w, &ended);
}

static void take_timer(struct kube_watch *w)
{
	static const struct kube_reflector_input in = {.type = KUBE_REFLECTOR_TIMER};
	enum kube_reflector_state s = w->reflector.state;

	if (mono_before(mono_now(), w->reflector.deadline))
		return;
	if (s == KUBE_REFLECTOR_STREAM)
		set_error(w, "%s: %s: the watch has fallen silent", w->what,
			  w->client->config->server);
	else if (s != KUBE_REFLECTOR_LIST_WAIT && s != KUBE_REFLECTOR_WATCH_WAIT)
		set_error(w, "%s: %s: no answer in time", w->what, w->client->config->server);
	step(w, &in);
}

static void take_notices(struct kube_watch *w)
{
	static const struct kube_reflector_input renew = {.type = KUBE_REFLECTOR_RENEW};
	unsigned flags = w->flags;

	w->flags &= ~(unsigned)(RENEW | LOST);
	if (flags & RENEW)
		step(w, &renew);
	else if (flags & LOST && w->reflector.state == KUBE_REFLECTOR_STREAM)
		step_network(w, "no sign of life");
}

static void resume(struct kube_watch *w)
{
	if (!(w->flags & PAUSED) || w->dead || w->reflector.state != KUBE_REFLECTOR_STREAM)
		return;
	w->flags &= ~(unsigned)PAUSED;
	curl_easy_pause(w->transfer.http.easy, CURLPAUSE_CONT);
}

static void watch_destroy(struct kube_watch *w)
{
	if (w->work)
		event_free(w->work);
	kube_stream_reset(&w->stream);
	free(w->ns);
	free(w->name);
	free(w->what);
	free(w);
}

static void turn_begin(struct kube_watch *w)
{
	w->busy = true;
}

static void turn_end(struct kube_watch *w)
{
	if (!w->dead)
		tell_state(w);
	w->busy = false;
	if (w->dead)
		watch_destroy(w);
	else
		kube_timer_in(w->work, mono_since(w->reflector.deadline, mono_now()));
}

static void turn(evutil_socket_t fd, short what, void *arg)
{
	struct kube_watch *w = arg;

	turn_begin(w);
	if (w->flags & HEADERS_CAME)
		take_headers(w);
	take_lines(w);
	resume(w);
	if (!w->dead && w->flags & ENDED)
		take_end(w);
	if (!w->dead)
		take_notices(w);
	if (!w->dead)
		take_timer(w);
	turn_end(w);
}

/* A turn of its own, since `list` is only there for the time of the call. */
static void on_list(void *arg, const struct kube_status *status, struct json_object *list)
{
	struct kube_watch *w = arg;

	turn_begin(w);
	w->list_call = NULL;
	take_list(w, status, list);
	turn_end(w);
}

static int set_names(struct kube_watch *w, const char *ns, const char *name, struct err *e)
{
	const char *kind = w->kind == KUBE_SECRET ? "secret" : "configmap";

	if (!kube_is_namespace(ns))
		return err_set(e, -EINVAL,
			       "found namespace \"%s\", accepted: up to 63 small letters, digits "
			       "and '-'",
			       ns);
	if (!kube_is_name(name))
		return err_set(e, -EINVAL,
			       "found %s name \"%s\", accepted: up to 253 small letters, digits, "
			       "'-' and '.'",
			       kind, name);
	w->ns = strdup(ns);
	w->name = strdup(name);
	if (asprintf(&w->what, "%s %s/%s", kind, ns, name) < 0)
		w->what = NULL;
	return w->ns && w->name && w->what ? 0 : err_sys(e, -ENOMEM, "watch");
}

int kube_watch_new(struct kube_client *c, enum kube_kind kind, const char *ns, const char *name,
		   const struct kube_watch_ops *ops, void *arg, struct kube_watch **ret,
		   struct err *e)
{
	static const struct kube_reflector_input start = {.type = KUBE_REFLECTOR_START};
	struct kube_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return err_sys(e, -ENOMEM, "watch");
	w->client = c;
	w->kind = kind;
	w->ops = *ops;
	w->arg = arg;
	w->user = (struct kube_user){.renew = on_renew, .lost = on_lost};
	kube_stream_init(&w->stream, KUBE_MAX_BYTES);
	kube_reflector_init(&w->reflector, kube_random, NULL);

	int r = set_names(w, ns ? ns : kube_client_namespace(c), name, e);
	if (r == 0) {
		w->work = evtimer_new(c->base, turn, w);
		if (!w->work)
			r = err_sys(e, -ENOMEM, "%s", w->what);
	}
	if (r < 0) {
		watch_destroy(w);
		return r;
	}
	list_add(&c->users, &w->user.node);
	step(w, &start);
	kube_timer_in(w->work, mono_since(w->reflector.deadline, mono_now()));
	*ret = w;
	return 0;
}

void kube_watch_free(struct kube_watch *w)
{
	if (!w)
		return;
	end_requests(w);
	list_del(&w->user.node);
	w->dead = true;
	if (!w->busy)
		watch_destroy(w);
}

const struct kube_watch_state *kube_watch_get_state(const struct kube_watch *w)
{
	return &w->state;
}
