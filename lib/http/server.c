/*
 * Listeners, routes, and who may come in. Accepting stops for a moment when descriptors run out:
 * the listening socket stays readable, and the loop would spin on it.
 */
#include "http/http_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

#define RESUME_MS 200

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;

	for (size_t i = 0; i < s->n_listeners; i++)
		evconnlistener_enable(s->listeners[i]->ev);
}

struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = base;
	s->limits = limits ? *limits : HTTP_LIMITS_DEFAULT;
	list_init(&s->conns);
	s->resume = evtimer_new(base, on_resume, s);
	if (!s->resume) {
		free(s);
		return NULL;
	}
	return s;
}

/* A socket that another process has put in the place of ours since is left alone. */
static void remove_socket(const struct http_listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
}

static void free_listener(struct http_listener *l)
{
	if (!l)
		return;
	remove_socket(l);
	if (l->ev)
		evconnlistener_free(l->ev);
	free(l->path);
	free(l);
}
MEM_CLEANUP(struct http_listener, free_listener);

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_listeners; i++)
		free_listener(s->listeners[i]);
	free(s->listeners);
	http_conns_free(s);
	event_free(s->resume);
	free(s->routes);
	SSL_CTX_free(s->tls);
	free(s);
}

int http_server_adopt(struct http_server *s, int fd)
{
	if (s->n_conns >= s->limits.max_conns)
		http_conn_free_oldest(s, true);
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return http_conn_new(s, fd);
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *sa, int len,
		      void *arg)
{
	struct http_listener *l = arg;

	http_server_adopt(l->server, fd);
}

static void on_accept_error(struct evconnlistener *ev, void *arg)
{
	struct http_listener *l = arg;
	int r = EVUTIL_SOCKET_ERROR();

	/* We have too many descriptors; with ENFILE somebody else may. */
	if (r == EMFILE && http_conn_free_oldest(l->server, false))
		return;
	evconnlistener_disable(ev);
	event_add(l->server->resume, &(struct timeval){0, RESUME_MS * 1000});
}

static unsigned bound_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ip_endpoint where;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
	    ip_endpoint_from_sockaddr((struct sockaddr *)&ss, len, &where) < 0)
		return 0;
	return where.port;
}

/* As ip_endpoint_parse, with port 0 allowed. */
static int parse_where(const char *where, struct ip_endpoint *ret, struct err *e)
{
	_cleanup_free_ char *copy = strdup(where);
	bool any = str_ends(where, ":0");
	struct ip_endpoint ep;

	if (!copy)
		return err_set(e, -ENOMEM, "%s: out of memory", where);
	if (any)
		copy[strlen(copy) - 1] = '1';
	if (ip_endpoint_parse(copy, strlen(copy), &ep) < 0)
		return err_set(e, -EINVAL,
			       "cannot listen at \"%s\": accepted are \"127.0.0.1:9586\", "
			       "\"[::1]:9586\", \"*:9586\" and \"unix:PATH\"",
			       where);
	if (any)
		ep.port = 0;
	*ret = ep;
	return 0;
}

/* "*:PORT": one socket for both families, or for IPv4 where the machine has no IPv6. */
static int listen_everywhere(const char *port, int *ret_fd, struct err *e)
{
	struct ip_endpoint ep = {.addr.family = AF_INET6};
	struct err first = {0};
	uint64_t n;
	int r;

	if (str_to_u64(port, strlen(port), 0, 65535, &n) < 0)
		return err_set(e, -EINVAL, "cannot listen at \"*:%s\": accepted is a port", port);
	ep.port = (uint16_t)n;
	r = http_listen_tcp(&ep, true, ret_fd, &first);
	if (r == 0)
		return 0;
	if (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL)
		return err_set(e, r, "%s", first.msg);
	ep.addr.family = AF_INET;
	return http_listen_tcp(&ep, false, ret_fd, e);
}

static int listen_at(struct http_listener *l, const char *where, int *ret_fd, struct err *e)
{
	struct ip_endpoint ep;
	struct stat st;
	int r;

	if (str_starts(where, "*:"))
		return listen_everywhere(where + strlen("*:"), ret_fd, e);
	if (!str_starts(where, "unix:")) {
		if ((r = parse_where(where, &ep, e)) < 0)
			return r;
		return http_listen_tcp(&ep, false, ret_fd, e);
	}
	r = http_listen_unix(where + strlen("unix:"), ret_fd, e);
	if (r < 0)
		return r;
	l->path = strdup(where + strlen("unix:"));
	if (l->path && lstat(l->path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	return 0;
}

int http_server_bind(struct http_server *s, const char *where, struct err *e)
{
	_cleanup_(free_listener_p) struct http_listener *l = calloc(1, sizeof(*l));
	_cleanup_close_ int fd = -1;
	int r;

	if (!l ||
	    mem_grow(&s->listeners, s->n_listeners, &s->cap_listeners, sizeof(*s->listeners)) < 0)
		return err_set(e, -ENOMEM, "%s: out of memory", where);
	if ((r = listen_at(l, where, &fd, e)) < 0)
		return r;
	l->server = s;
	l->port = bound_port(fd);
	l->ev = evconnlistener_new(s->base, on_accept, l,
				   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!l->ev)
		return err_set(e, -ENOMEM, "%s: out of memory", where);
	mem_steal_fd(&fd);
	evconnlistener_set_error_cb(l->ev, on_accept_error);
	s->listeners[s->n_listeners++] = mem_steal(&l);
	return 0;
}

unsigned http_server_port(const struct http_server *s, size_t i)
{
	return s->listeners[i]->port;
}

void http_server_tls(struct http_server *s, struct ssl_ctx_st *ctx)
{
	SSL_CTX_up_ref(ctx);
	SSL_CTX_free(s->tls);
	s->tls = ctx;
}

void http_server_drain(struct http_server *s)
{
	s->draining = true;
}

unsigned http_server_conns(const struct http_server *s)
{
	return s->n_conns;
}

int http_server_route(struct http_server *s, const char *path, unsigned methods, http_handler *fn,
		      void *arg)
{
	if (mem_grow(&s->routes, s->n_routes, &s->cap_routes, sizeof(*s->routes)) < 0)
		return -ENOMEM;
	s->routes[s->n_routes++] = (struct http_route){path, methods, fn, arg};
	return 0;
}

void http_server_takeover(struct http_server *s, char first, http_takeover_fn *fn, void *arg)
{
	s->takeover_first = first;
	s->takeover = fn;
	s->takeover_arg = arg;
}
