/*
 * Theory of operation. Every replica looks at the configuration, to know whether the API servers
 * have the bundle of the Secret; one of them, the Lease's holder, writes it.
 *
 *     look ── GET ──> the same ──> settled, since it was first seen to be so
 *      ^       │
 *      │       └────> another ──> differs: own_ca.c reads the Secret: still the one that was taken?
 *      │                            │ no: it is taken, another bundle is wanted
 *      └────────────────────────────┤
 *      │                            │ yes
 *      └── answered ── PATCH <── own_hook_write
 *
 * A holder whose watch of the Secret is behind would write back a bundle without the newest CA:
 * thus the Secret is read between the look and the PATCH. What is written to it after that is
 * followed by a write here, by whoever did it, and one of the two finds another resourceVersion
 * than the one that it has looked at.
 *
 * The PATCH is a JSON patch, since a merge patch replaces a list as a whole; it tests that
 * resourceVersion. That the test has failed is answered with 422, as is a configuration that the
 * server does not accept. The next look tells the two apart: where the resourceVersion is still the
 * one that was tested, it was no conflict, and the server's message is told.
 */
#include "own_hook.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"
#include "json/json.h"
#include "kube/kube.h"
#include "log/log.h"
#include "own_told.h"

#define WEBHOOKS_MAX 16

struct own_hook {
	struct kube_client *client;
	const char *name;
	struct own_told *told;
	const struct own_hook_ops *ops;
	void *arg;
	char *path;
	struct kube_call *call; /* the request under way */

	struct buf want; /* base64 */
	bool trusts;     /* it has that, in every webhook */
	struct mono since;

	char version[64]; /* its resourceVersion, as looked at; "" before */
	size_t n;         /* webhooks in it */
	/* The version at which a PATCH was answered with 422, and the message. */
	char refused_at[64], refused[ERR_MSG_MAX];
};

static void on_patched(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct own_hook *h = arg;

	h->call = NULL;
	if (s->http == 422) {
		memcpy(h->refused_at, h->version, sizeof(h->refused_at));
		memcpy(h->refused, s->message, sizeof(h->refused));
	} else if (s->http < 200 || s->http >= 300) {
		own_failed(h->told, OWN_WEBHOOK_WRITE, "the caBundle is not set", s->message);
	} else {
		own_worked(h->told, OWN_WEBHOOK_WRITE);
		log_info("the webhook trusts the bundle", LOG_STR("webhook", h->name));
	}
	h->ops->step(h->arg);
}

void own_hook_write(struct own_hook *h)
{
	_cleanup_buf_ struct buf body = BUF_INIT(0);
	struct err e = {.msg = "out of memory"};
	int r;

	if (h->call || !h->version[0] || !h->want.len)
		return;
	buf_adds(&body, "[{\"op\":\"test\",\"path\":\"/metadata/resourceVersion\",\"value\":");
	json_quote(&body, h->version);
	buf_addc(&body, '}');
	for (size_t i = 0; i < h->n; i++)
		buf_addf(&body,
			 ",{\"op\":\"add\",\"path\":\"/webhooks/%zu/clientConfig/caBundle\","
			 "\"value\":\"%s\"}",
			 i, buf_str(&h->want));
	buf_addc(&body, ']');
	r = buf_error(&body);
	if (r == 0)
		r = kube_client_send(
			h->client,
			&(struct kube_request){.method = "PATCH",
					       .path = h->path,
					       .content_type = "application/json-patch+json",
					       .body = body.data,
					       .body_len = body.len},
			on_patched, h, &h->call, &e);
	if (r < 0)
		own_failed(h->told, OWN_WEBHOOK_WRITE, "the caBundle is not set", e.msg);
}

/* --- looking --- */

static bool has_wanted(const struct own_hook *h, struct json_object *webhooks)
{
	for (size_t i = 0; i < h->n; i++) {
		struct json_object *one = json_object_array_get_idx(webhooks, i);
		const char *have =
			json_get_str(json_get(one, "clientConfig", json_type_object), "caBundle");

		if (!have || !str_eq(have, buf_str(&h->want)))
			return false;
	}
	return true;
}

/* What it has; false where it is none that can be kept. */
static bool see(struct own_hook *h, struct json_object *object, struct json_object **ret_webhooks)
{
	struct json_object *list = json_get(object, "webhooks", json_type_array);
	size_t n = list ? json_object_array_length(list) : 0;
	struct kube_meta meta;
	char why[80];

	if (n < 1 || n > WEBHOOKS_MAX) {
		snprintf(why, sizeof(why), "has %zu webhooks, accepted: 1 to %d", n, WEBHOOKS_MAX);
		own_failed(h->told, OWN_WEBHOOK_READ, h->name, why);
		h->version[0] = '\0';
		return false;
	}
	own_worked(h->told, OWN_WEBHOOK_READ);
	kube_object_meta(object, &meta);
	if (h->refused[0] && str_eq(meta.resource_version, h->refused_at))
		own_failed(h->told, OWN_WEBHOOK_WRITE, "the caBundle is not set", h->refused);
	h->refused[0] = '\0';
	snprintf(h->version, sizeof(h->version), "%s", meta.resource_version);
	h->n = n;
	*ret_webhooks = list;
	return true;
}

static void on_looked(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct own_hook *h = arg;
	struct json_object *webhooks;
	bool trusts = false;

	h->call = NULL;
	if (s->http < 200 || s->http >= 300) {
		own_failed(h->told, OWN_WEBHOOK_READ, NULL, s->message);
		return;
	}
	if (see(h, object, &webhooks) && h->want.len) {
		trusts = has_wanted(h, webhooks);
		if (trusts && !h->trusts)
			h->since = mono_now();
		h->trusts = trusts;
		if (trusts)
			own_worked(h->told, OWN_WEBHOOK_WRITE);
		else
			h->ops->differs(h->arg);
	} else {
		h->trusts = false;
	}
	h->ops->step(h->arg);
}

void own_hook_look(struct own_hook *h)
{
	struct err e = {0};

	if (h->call || !h->want.len)
		return;
	if (kube_client_send(h->client, &(struct kube_request){.method = "GET", .path = h->path},
			     on_looked, h, &h->call, &e) < 0)
		own_failed(h->told, OWN_WEBHOOK_READ, NULL, e.msg);
}

bool own_hook_settled(const struct own_hook *h, int64_t ns)
{
	return h->trusts && mono_since(mono_now(), h->since) >= ns;
}

int own_hook_want(struct own_hook *h, const struct buf *bundle, struct err *e)
{
	_cleanup_buf_ struct buf new = BUF_INIT(0);

	if (buf_reserve(&new, (bundle->len + 2) / 3 * 4 + 1) < 0) {
		h->trusts = false; /* what it trusts is not what is wanted */
		buf_free(&h->want);
		return err_set(e, -ENOMEM, "out of memory");
	}
	new.len = (size_t)EVP_EncodeBlock((unsigned char *)new.data,
					  (const unsigned char *)buf_str(bundle), (int)bundle->len);
	if (str_eq(buf_str(&new), buf_str(&h->want)))
		return 0;
	h->trusts = false;
	buf_free(&h->want);
	h->want = new;
	new = BUF_INIT(0);
	return 0;
}

int own_hook_new(struct kube_client *client, const char *name, struct own_told *told,
		 const struct own_hook_ops *ops, void *arg, struct own_hook **ret, struct err *e)
{
	struct own_hook *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	h->client = client;
	h->name = name;
	h->told = told;
	h->ops = ops;
	h->arg = arg;
	h->want = BUF_INIT(0);
	if (asprintf(&h->path,
		     "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/%s"
		     "?fieldManager=harmony-injector",
		     name) < 0) {
		free(h);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = h;
	return 0;
}

void own_hook_free(struct own_hook *h)
{
	if (!h)
		return;
	kube_call_cancel(h->call);
	buf_free(&h->want);
	free(h->path);
	free(h);
}
