/*
 * Theory of operation. libcurl tells which sockets it wants watched (socket_cb) and when it wants
 * to be woken (timer_cb); each becomes an event, and every wake-up is handed back with
 * curl_multi_socket_action. After each of these, finished transfers are collected: only there are
 * `done` callbacks called. A callback may free the loop, hence `busy` and `dead`: the one that is
 * collecting frees it when it is through.
 */
#include "http/curl_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>

#include "base/mem.h"

struct http_loop {
	CURLM *multi;
	struct event_base *base;
	struct event *timer;
	bool busy, dead;
};

static void loop_destroy(struct http_loop *l)
{
	if (l->multi)
		curl_multi_cleanup(l->multi); /* calls socket_cb for the connections it closes */
	if (l->timer)
		event_free(l->timer);
	free(l);
}

static void collect(struct http_loop *l)
{
	CURLMsg *m;
	int left;

	if (l->busy)
		return;
	l->busy = true;
	while (!l->dead && (m = curl_multi_info_read(l->multi, &left))) {
		struct http_transfer *t;
		CURLcode result = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		http_loop_remove(t); /* m is gone from here on */
		t->done(t->arg, result);
	}
	l->busy = false;
	if (l->dead)
		loop_destroy(l);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct http_loop *l = arg;
	int running, bits = (what & EV_READ ? CURL_CSELECT_IN : 0) |
			    (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(l->multi, fd, bits, &running);
	collect(l);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_loop *l = arg;
	int running;

	curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(l);
}

/* libcurl: how the interest in a socket changes. `assigned` is what curl_multi_assign stored: the
 * event of the socket, if it has one. */
static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	struct http_loop *l = arg;
	struct event *event;

	if (assigned)
		event_free(assigned);
	curl_multi_assign(l->multi, fd, NULL);
	if (what == CURL_POLL_REMOVE)
		return 0;

	short want = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
			     (what & CURL_POLL_OUT ? EV_WRITE : 0));
	event = event_new(l->base, fd, want, on_socket, l);
	if (!event || event_add(event, NULL) < 0) {
		if (event)
			event_free(event);
		return -1;
	}
	curl_multi_assign(l->multi, fd, event);
	return 0;
}

static int timer_cb(CURLM *multi, long ms, void *arg)
{
	struct http_loop *l = arg;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (ms < 0)
		return event_del(l->timer);
	return event_add(l->timer, &tv);
}

int http_loop_new(struct event_base *base, struct http_loop **ret, struct err *e)
{
	struct http_loop *l = calloc(1, sizeof(*l));

	if (!l)
		return err_sys(e, -ENOMEM, "HTTP client");
	l->base = base;
	l->timer = evtimer_new(base, on_timer, l);
	l->multi = l->timer ? curl_multi_init() : NULL;
	if (!l->multi) {
		loop_destroy(l);
		return err_sys(e, -ENOMEM, "HTTP client");
	}
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, 4L);
	*ret = l;
	return 0;
}

void http_loop_free(struct http_loop *l)
{
	if (!l)
		return;
	l->dead = true;
	if (!l->busy)
		loop_destroy(l);
}

int http_loop_add(struct http_loop *l, struct http_transfer *t, struct err *e)
{
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);

	CURLMcode r = curl_multi_add_handle(l->multi, t->easy);
	if (r != CURLM_OK)
		return err_set(e, r == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO, "HTTP client: %s",
			       curl_multi_strerror(r));
	t->loop = l;
	return 0;
}

void http_loop_remove(struct http_transfer *t)
{
	if (!t->loop)
		return;
	curl_multi_remove_handle(t->loop->multi, t->easy);
	t->loop = NULL;
}
