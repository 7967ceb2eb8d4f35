#include "kubeapi.h"

#include <check.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kubeapi_start(struct kubeapi *api)
{
	static const char *const proxies[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
	struct kube_config *config = calloc(1, sizeof(*config));
	struct err e;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(proxies); i++)
		unsetenv(proxies[i]);
	api->base = event_base_new();
	api->server = http_server_new(api->base, NULL);
	ck_assert(config && api->base && api->server);
	ck_assert_int_eq(http_server_bind(api->server, "127.0.0.1:0", &e), 0);
	config->ns = strdup("vpn");
	ck_assert_int_gt(
		asprintf(&config->server, "http://127.0.0.1:%u", http_server_port(api->server, 0)),
		0);
	ck_assert_int_eq(kube_client_new(api->base, config, &api->client, &e), 0);
}

void kubeapi_end(struct kubeapi *api)
{
	kube_client_free(api->client);
	http_server_free(api->server);
	event_base_free(api->base);
}

bool kubeapi_until(struct kubeapi *api, bool (*done)(void *arg), void *arg)
{
	/* Turns are counted and not time, which stands still in some tests (kubeclock.h). */
	for (unsigned turns = 20000 / 5; !done(arg) && turns > 0; turns--)
		kubeapi_for(api, 5);
	return done(arg);
}

void kubeapi_for(struct kubeapi *api, unsigned ms)
{
	struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(api->base, &t);
	event_base_dispatch(api->base);
}

static unsigned ended(const struct kubeapi *api)
{
	struct kube_client_stats stats;

	kube_client_get_stats(api->client, &stats);
	return (unsigned)stats.requests;
}

struct awaited {
	const struct kubeapi *api;
	unsigned n;
};

static bool have_ended(void *arg)
{
	const struct awaited *a = arg;

	return ended(a->api) >= a->n;
}

unsigned kubeapi_requests(struct kubeapi *api, unsigned n)
{
	struct awaited a = {api, n};

	(void)kubeapi_until(api, have_ended, &a);
	kubeapi_for(api, 30);
	return ended(api);
}

static void cut(struct bufferevent *bev, void *arg)
{
	bufferevent_free(bev);
}

void kubeapi_mute(struct kubeapi *api, bool on)
{
	http_server_takeover(api->server, 'P', on ? cut : NULL, NULL);
}

struct json_object *kubeapi_body(struct http_request *req)
{
	struct json_object *o = NULL;
	size_t len = 0;
	const char *body = http_request_body(req, &len);

	ck_assert_int_eq(json_parse(body, len, (struct json_limits){65536, 16}, &o, NULL), 0);
	ck_assert_ptr_nonnull(o);
	return o;
}

void kubeapi_fail(struct http_request *req, int code)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"code\":%d,"
		 "\"message\":\"it will not be\"}",
		 code);
	http_reply(req, code, "application/json", text);
}
