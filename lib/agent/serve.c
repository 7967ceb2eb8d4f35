/*
 * What the agent answers: probes and metrics over HTTP, status and reload on the control socket.
 *
 *     /livez     200 while the event loop turns; nothing about tunnels, ever
 *     /readyz    200, or 503 with the reasons one a line; ?verbose lists every network
 *     /startupz  200 once a configuration was read and its guards are in place, tunnel or not
 *     /healthz   the whole state as JSON; 503 where /readyz has it, unless ?always
 *     /metrics   Prometheus text or OpenMetrics, by Accept
 *
 * Probes of the kubelet come from the node (hostNetwork: bind to 127.0.0.1), scrapes from the
 * pod's network; there may be several addresses.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "control/control.h"
#include "http/http.h"
#include "json/json.h"
#include "log/log.h"
#include "metrics/metrics.h"

#include <errno.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20)

struct agent_serve {
	struct agent *a;
	struct http_server *http;
	struct control *control;
};

static void on_livez(struct http_request *req, void *arg)
{
	http_reply(req, 200, "text/plain; charset=utf-8", "ok\n");
}

static void on_readyz(struct http_request *req, void *arg)
{
	struct agent_serve *s = arg;
	struct buf body = BUF_INIT(ANSWER_MAX);
	bool ready = agent_write_readiness(s->a, &body);

	if (ready)
		buf_adds(&body, "ok\n");
	if (http_request_query(req, "verbose"))
		agent_write_networks(s->a, &body);
	http_reply_buf(req, ready ? 200 : 503, "text/plain; charset=utf-8", &body);
	buf_free(&body);
}

static void on_startupz(struct http_request *req, void *arg)
{
	struct agent_serve *s = arg;
	struct buf body = BUF_INIT(ANSWER_MAX);
	bool ready = agent_write_startup(s->a, &body);

	if (ready)
		buf_adds(&body, "ok\n");
	http_reply_buf(req, ready ? 200 : 503, "text/plain; charset=utf-8", &body);
	buf_free(&body);
}

static void on_healthz(struct http_request *req, void *arg)
{
	struct agent_serve *s = arg;
	struct buf body = BUF_INIT(ANSWER_MAX);
	bool ok = agent_is_ready(s->a) || http_request_query(req, "always");

	agent_write_health(s->a, &body);
	http_reply_buf(req, ok ? 200 : 503, "application/json", &body);
	buf_free(&body);
}

static void on_metrics(struct http_request *req, void *arg)
{
	struct agent_serve *s = arg;
	struct buf body = BUF_INIT(ANSWER_MAX);
	enum metrics_format format = metrics_negotiate(http_request_header(req, "accept"));

	agent_exporter_write(s->a->exporter, format, &body);
	http_reply_buf(req, 200, metrics_content_type(format), &body);
	buf_free(&body);
}

/* --- control --- */

static int on_status(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	struct agent_serve *s = arg;
	_cleanup_buf_ struct buf text = BUF_INIT(ANSWER_MAX);
	int r = agent_write_status(s->a, network, &text);

	if (r == -ENOENT)
		return err_set(e, r, "no network \"%s\"", network);
	if (r < 0)
		return err_set(e, r, "out of memory");
	return json_parse(buf_str(&text), text.len, (struct json_limits){ANSWER_MAX, 16}, ret, e);
}

static int on_reload(void *arg, const char *network, struct json_object **ret, struct buf *why,
		     struct err *e)
{
	struct agent_serve *s = arg;
	const char *error;

	agent_reload(s->a);
	error = s->a->config_error;
	if (!error)
		return 0;
	buf_add(why, error, strlen(error) - str_ends(error, "\n"));
	return err_set(e, -EINVAL, "%s", error);
}

static const struct control_ops control_ops = {.status = on_status, .reload = on_reload};

static int start_http(struct agent_serve *s, struct err *e)
{
	static const struct {
		const char *path;
		http_handler *fn;
	} routes[] = {
		{"/livez", on_livez},     {"/readyz", on_readyz},   {"/startupz", on_startupz},
		{"/healthz", on_healthz}, {"/metrics", on_metrics},
	};

	if (s->a->opts->n_http == 0)
		return 0;
	s->http = http_server_new(s->a->base, NULL);
	if (!s->http)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (http_server_route(s->http, routes[i].path, HTTP_GET, routes[i].fn, s) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->a->opts->n_http; i++) {
		int r = http_server_bind(s->http, s->a->opts->http[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

int agent_serve_new(struct agent *a, struct agent_serve **ret, struct err *e)
{
	struct agent_serve *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->a = a;
	if (a->opts->control)
		r = control_new(a->base, a->opts->control, &control_ops, s, &s->control, e);
	if (r == 0)
		r = start_http(s, e);
	if (r < 0) {
		agent_serve_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void agent_serve_free(struct agent_serve *s)
{
	if (!s)
		return;
	control_free(s->control);
	http_server_free(s->http);
	free(s);
}
