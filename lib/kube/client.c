/*
 * The client: what its users share (the loop's transfers, the credentials, the counters), and
 * single requests. A request is a transfer, a bounded buffer for the answer, and a callback.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "http/curl_load.h"
#include "kube/kube_priv.h"

#define DEFAULT_TIMEOUT_SECS 30

struct kube_call {
	struct list node;
	struct kube_client *client;
	struct kube_transfer transfer;
	struct buf answer;
	bool secret;
	char *what; /* "GET /api/…" for messages, without the query */
	kube_done_fn done;
	void *arg;
};

static void call_free(struct kube_call *call)
{
	list_del(&call->node);
	kube_transfer_end(&call->transfer);
	if (call->secret)
		buf_wipe(&call->answer);
	else
		buf_free(&call->answer);
	free(call->what);
	free(call);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct kube_call *call = arg;

	buf_add(&call->answer, data, size * n);
	return buf_error(&call->answer) ? 0 : size * n;
}

static void on_done(void *arg, CURLcode result)
{
	struct kube_call *call = arg;
	struct kube_client *c = call->client;
	struct json_object *object = NULL;
	const struct json_limits limits = {KUBE_MAX_BYTES, KUBE_MAX_DEPTH};
	struct kube_status status;

	if (result == CURLE_OK && call->answer.len)
		json_parse(call->answer.data, call->answer.len, limits, &object, NULL);
	kube_status_of_transfer(&call->transfer, result, object, call->what, &status);
	c->stats.requests++;
	c->stats.errors += status.http < 200 || status.http >= 300;

	kube_done_fn done = call->done;
	void *done_arg = call->arg;
	bool secret = call->secret;
	call_free(call);
	done(done_arg, &status, object); /* may free the client */
	if (secret)
		kube_object_wipe(object);
	json_object_put(object);
}

int kube_client_send(struct kube_client *c, const struct kube_request *req, kube_done_fn done,
		     void *arg, struct kube_call **ret, struct err *e)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call)
		return err_sys(e, -ENOMEM, "HTTP request");
	list_add(&c->calls, &call->node);
	call->client = c;
	call->answer = BUF_INIT(KUBE_MAX_BYTES);
	call->secret = req->secret;
	call->done = done;
	call->arg = arg;

	struct buf what = BUF_INIT(1024);
	buf_addf(&what, "%s %.*s", req->method, (int)strcspn(req->path, "?"), req->path);
	call->what = what.data;
	int r = buf_error(&what);
	if (r == 0 && req->secret)
		r = buf_reserve(&call->answer, 65536); /* one object; growth leaves copies */
	if (r < 0) {
		call_free(call);
		return err_sys(e, r, "HTTP request");
	}

	const struct kube_transfer_opts opts = {
		.method = req->method,
		.path = req->path,
		.content_type = req->content_type,
		.body = req->body,
		.body_len = req->body_len,
		.timeout_secs = req->timeout_secs ? req->timeout_secs : DEFAULT_TIMEOUT_SECS,
		.write = on_data,
		.done = on_done,
		.arg = call,
	};
	r = kube_transfer_start(c, &opts, &call->transfer, e);
	if (r < 0) {
		call_free(call);
		return r;
	}
	if (ret)
		*ret = call;
	return 0;
}

void kube_call_cancel(struct kube_call *call)
{
	if (call)
		call_free(call);
}

static void on_identity_changed(void *arg)
{
	struct kube_client *c = arg;

	list_for_each (u, &c->users, struct kube_user, node)
		u->renew(u);
}

int kube_client_new(struct event_base *base, struct kube_config *config, struct kube_client **ret,
		    struct err *e)
{
	struct kube_client *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c) {
		kube_config_free(config);
		return err_sys(e, -ENOMEM, "Kubernetes client");
	}
	c->base = base;
	c->config = config;
	c->credential.notify_fd = -1;
	list_init(&c->users);
	list_init(&c->calls);
	if (sodium_init() < 0)
		r = err_set(e, -EIO, "Kubernetes client: libsodium does not start");
	if (r == 0)
		r = http_curl_load(e);
	if (r == 0)
		r = http_loop_new(base, &c->loop, e);
	if (r == 0)
		r = kube_credential_init(&c->credential, base, config, &c->stats,
					 on_identity_changed, c, e);
	if (r == 0)
		r = kube_probe_init(c, e);
	if (r < 0) {
		kube_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	kube_probe_done(c);
	list_for_each_safe (call, &c->calls, struct kube_call, node)
		call_free(call);
	kube_credential_done(&c->credential);
	http_loop_free(c->loop);
	kube_config_free(c->config);
	free(c);
}

const char *kube_client_namespace(const struct kube_client *c)
{
	return c->config->ns;
}

const char *kube_client_server(const struct kube_client *c)
{
	return c->config->server;
}

void kube_client_get_stats(const struct kube_client *c, struct kube_client_stats *ret)
{
	*ret = c->stats;
}
