/*
 * Theory of operation. Replicas share one Secret (CA bundle, the newest CA's key, certificate and
 * key), which each of them watches and serves from. One of them, who holds the Lease, sees to what
 * is due in it (pki.h says what), and that the webhook configuration's caBundle is the Secret's
 * (own_hook.c).
 *
 *     Secret ──watch──> set ──> certificate in use (every replica)
 *        ^               │
 *        │ PATCH         v
 *        └──────── pki_advance <── settled ── caBundle == bundle for SETTLE ── GET (every replica)
 *          (the Lease's holder)                   ^                             │
 *                                                 └──── PATCH (holder) <── differs
 *
 * Safe without the Lease too: the Secret is patched at the resourceVersion that was read, so of two
 * who take themselves for the holder one gets 409, and looks again; the caBundle is made that of
 * the newest Secret only. The Lease spares the others the work.
 *
 * No admission fails at a rotation: the new CA is trusted before anything is signed by it, and the
 * old one as long as a replica may still show one of its certificates. API servers learn of a
 * caBundle by their watches; SETTLE is what they are given for it.
 *
 * What was made counts once the API server has it. Until then it is made anew at each attempt: 1 s
 * after the first failure, then twice as long each time, up to BACKOFF_MAX.
 */
#include "own_ca.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "http/tls.h"
#include "json/json.h"
#include "kube/kube.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "own_hook.h"
#include "own_told.h"
#include "pki/pki.h"

#define LEASE_SECS  15
#define LOOK_MAX    10 /* seconds between two looks at the webhook */
#define SETTLE_MAX  30 /* seconds */
#define BACKOFF_MAX 60 /* seconds between two attempts to write the Secret */

struct own_ca {
	struct event_base *base;
	const struct own_ca_options *opts;
	const struct own_ca_ops *ops;
	void *arg;
	struct pki_policy policy;
	char ns[64], name[254];
	char *secret_path;

	struct kube_client *client;
	struct kube_watch *watch;
	struct kube_lease *lease;
	struct own_hook *hook;
	struct event *tick;
	struct kube_call *write, *check; /* the Secret's requests under way */

	struct pki_set set;                  /* as the Secret was last seen */
	char version[64];                    /* its resourceVersion, "" before the first */
	char written_on[64], checked_on[64]; /* what that was when the requests were sent */
	struct pki_change writing;
	unsigned backoff_secs; /* 0: the last attempt did not fail */
	struct mono retry_at;
	bool told_trusted;
	struct own_told told;
	uint64_t lease_failures; /* told of */

	struct metrics_series *ca_not_after, *holder, *rotations[2];
};

static void step(struct own_ca *c);

/* --- times: in proportion to the certificate's, so that a test's short ones work --- */

static int64_t settle_ns(const struct own_ca *c)
{
	int64_t secs = c->opts->cert_secs / 20;

	return (secs < 1 ? 1 : secs > SETTLE_MAX ? SETTLE_MAX : secs) * NS_PER_SEC;
}

static void tick_in(struct own_ca *c)
{
	int64_t ms = c->opts->cert_secs * 1000 / 60;

	ms = ms < 200 ? 200 : ms > LOOK_MAX * 1000 ? LOOK_MAX * 1000 : ms;
	if (!own_hook_settled(c->hook, 0) && ms > 500)
		ms = 500;
	if (c->backoff_secs) {
		int64_t left = mono_since(c->retry_at, mono_now()) / NS_PER_MSEC + 1;

		if (left > 0 && left < ms)
			ms = left;
	}
	event_add(c->tick, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}

/* --- the Secret --- */

/* One entry into the set that is read. */
static int on_entry(void *arg, const char *key, const char *data, size_t len, struct err *e)
{
	struct pki_set *s = arg;
	const struct {
		const char *key;
		struct buf *b;
	} entries[] = {{"ca.crt", &s->bundle},
		       {"ca.key", &s->ca_key},
		       {"tls.crt", &s->cert},
		       {"tls.key", &s->key}};

	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		if (!str_eq(entries[i].key, key))
			continue;
		if (buf_reserve(entries[i].b, len + 1) < 0)
			return err_set(e, -ENOMEM, "out of memory");
		buf_add(entries[i].b, data, len);
		if (buf_error(entries[i].b))
			return err_set(e, buf_error(entries[i].b), "%s is too long", key);
	}
	return 0;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void serve(struct own_ca *c)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	struct wall ca, cert;
	struct err e;

	if (http_tls_parse(c->name, &c->set.cert, &c->set.key, &ctx, &e) < 0) {
		own_failed(&c->told, OWN_SECRET_CONTENT,
			   "certificate not usable, the old one stays", e.msg);
		return;
	}
	own_worked(&c->told, OWN_SECRET_CONTENT);
	pki_ends(&c->set, &ca, &cert);
	metrics_set(c->ca_not_after, (double)ca.ns / NS_PER_SEC);
	log_info("certificate in use", LOG_STR("secret", c->name),
		 LOG_INT("seconds_left", (cert.ns - wall_now().ns) / NS_PER_SEC));
	c->ops->cert(c->arg, ctx);
}

/* The Secret as it is now. */
static void take(struct own_ca *c, struct json_object *object)
{
	struct pki_set new = PKI_SET_INIT, old = c->set;
	struct kube_meta meta;
	struct err e = {0};

	kube_object_meta(object, &meta);
	if (str_eq(meta.resource_version, c->version))
		return;
	if (kube_object_each(KUBE_SECRET, object, on_entry, &new, &e) < 0) {
		/* Not readable is as good as empty: the holder makes it anew. */
		own_failed(&c->told, OWN_SECRET_CONTENT, NULL, e.msg);
		pki_set_clear(&new);
	}
	snprintf(c->version, sizeof(c->version), "%s", meta.resource_version);
	c->set = new;
	if (own_hook_want(c->hook, &new.bundle, &e) < 0) {
		own_failed(&c->told, OWN_SECRET_CONTENT, NULL, e.msg);
		c->version[0] = '\0'; /* taken again when it is next seen */
	}
	if (!same(&old.bundle, &new.bundle))
		tick_in(c);
	if (new.cert.len && (!same(&old.cert, &new.cert) || !same(&old.key, &new.key)))
		serve(c);
	pki_set_clear(&old);
	step(c);
}

/* The same from an answer to a request: what the watch has told since may be newer. */
static void take_answer(struct own_ca *c, const char *asked_on, struct json_object *object)
{
	if (str_eq(c->version, asked_on))
		take(c, object);
}

static void on_secret(void *arg, struct json_object *object)
{
	take(arg, object);
}

static void on_secret_gone(void *arg)
{
	struct own_ca *c = arg;

	own_failed(&c->told, OWN_SECRET_READ, c->name,
		   "was deleted; it must exist (the chart makes it)");
	c->version[0] = '\0';
}

static void on_watch_state(void *arg, const struct kube_watch_state *s)
{
	struct own_ca *c = arg;

	if (s->synced && !s->exists)
		own_failed(&c->told, OWN_SECRET_READ, c->name,
			   "there is no such Secret; it must exist (the chart makes it)");
	else if (s->error[0])
		own_failed(&c->told, OWN_SECRET_READ, NULL, s->error);
	else
		own_worked(&c->told, OWN_SECRET_READ);
}

/* --- what is due in it --- */

static void back_off(struct own_ca *c)
{
	c->backoff_secs = c->backoff_secs ? 2 * c->backoff_secs : 1;
	if (c->backoff_secs > BACKOFF_MAX)
		c->backoff_secs = BACKOFF_MAX;
	c->retry_at = mono_add(mono_now(), c->backoff_secs * NS_PER_SEC);
	tick_in(c);
}

static void not_written(struct own_ca *c, const char *why)
{
	own_failed(&c->told, OWN_SECRET_WRITE, "nothing is renewed", why);
	back_off(c);
}

static void on_written(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct own_ca *c = arg;
	const struct pki_change *made = &c->writing;

	c->write = NULL;
	if (s->http == 409) { /* somebody else has written it, and the watch tells */
		back_off(c);
		return;
	}
	if (s->http < 200 || s->http >= 300) {
		not_written(c, s->message);
		return;
	}
	own_worked(&c->told, OWN_SECRET_WRITE);
	c->backoff_secs = 0;
	if (made->ca || made->cert)
		log_info(made->ca ? "made a CA" : "made a certificate",
			 LOG_STR("because", made->why));
	if (made->ca)
		metrics_inc(c->rotations[0]);
	if (made->cert)
		metrics_inc(c->rotations[1]);
	take_answer(c, c->written_on, object);
}

static void add_entry(struct buf *b, const char *key, const struct buf *pem)
{
	buf_addf(b, "\"%s\":", key);
	json_quote(b, buf_str(pem));
}

/* stringData: the server encodes it. The buffer is reserved once, since it holds keys. */
static void write_secret(struct own_ca *c, const struct pki_set *new)
{
	struct buf body = BUF_INIT(0);
	struct err e = {.msg = "out of memory"};
	int r = buf_reserve(&body,
			    2 * (new->bundle.len + new->ca_key.len + new->cert.len + new->key.len) +
				    512);

	if (r == 0) {
		buf_adds(&body, "{\"metadata\":{\"resourceVersion\":");
		json_quote(&body, c->version);
		buf_adds(&body, "},\"stringData\":{");
		add_entry(&body, "ca.crt", &new->bundle);
		buf_addc(&body, ',');
		add_entry(&body, "ca.key", &new->ca_key);
		buf_addc(&body, ',');
		add_entry(&body, "tls.crt", &new->cert);
		buf_addc(&body, ',');
		add_entry(&body, "tls.key", &new->key);
		buf_adds(&body, "}}");
		r = buf_error(&body);
	}
	if (r == 0)
		r = kube_client_send(
			c->client,
			&(struct kube_request){.method = "PATCH",
					       .path = c->secret_path,
					       .content_type = "application/merge-patch+json",
					       .body = body.data,
					       .body_len = body.len,
					       .secret = true},
			on_written, c, &c->write, &e);
	buf_wipe(&body);
	memcpy(c->written_on, c->version, sizeof(c->written_on));
	if (r < 0)
		not_written(c, e.msg);
}

static int copy_set(const struct pki_set *from, struct pki_set *to)
{
	const struct buf *const src[] = {&from->bundle, &from->ca_key, &from->cert, &from->key};
	struct buf *const dst[] = {&to->bundle, &to->ca_key, &to->cert, &to->key};

	for (size_t i = 0; i < ARRAY_LEN(src); i++) {
		if (buf_reserve(dst[i], src[i]->len + 1) < 0)
			return -ENOMEM;
		buf_add(dst[i], buf_str(src[i]), src[i]->len);
	}
	return 0;
}

/* Does what is due. */
static void advance(struct own_ca *c)
{
	_cleanup_pki_set_ struct pki_set new = PKI_SET_INIT;
	struct pki_change change;
	struct err e = {.msg = "out of memory"};

	if (c->write || !c->version[0] || (c->backoff_secs && mono_before(mono_now(), c->retry_at)))
		return;
	if (copy_set(&c->set, &new) < 0 ||
	    pki_advance(&new, &c->policy, wall_now(), own_hook_settled(c->hook, settle_ns(c)),
			&change, &e) < 0) {
		not_written(c, e.msg);
		return;
	}
	if (!change.bundle && !change.cert) {
		own_worked(&c->told, OWN_SECRET_WRITE);
		c->backoff_secs = 0;
		return;
	}
	c->writing = change;
	write_secret(c, &new);
}

/* --- the webhook configuration --- */

static void on_checked(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct own_ca *c = arg;
	struct kube_meta meta;

	c->check = NULL;
	if (s->http < 200 || s->http >= 300) {
		own_failed(&c->told, OWN_WEBHOOK_WRITE, "the Secret cannot be read", s->message);
		return;
	}
	kube_object_meta(object, &meta);
	if (!str_eq(meta.resource_version, c->version))
		take_answer(c, c->checked_on, object);
	else if (kube_lease_held(c->lease))
		own_hook_write(c->hook);
}

/* Before it is written: whether the Secret is still the one that was taken. */
static void on_hook_differs(void *arg)
{
	struct own_ca *c = arg;
	struct err e = {0};

	if (c->check || !kube_lease_held(c->lease))
		return;
	memcpy(c->checked_on, c->version, sizeof(c->checked_on));
	if (kube_client_send(
		    c->client,
		    &(struct kube_request){.method = "GET", .path = c->secret_path, .secret = true},
		    on_checked, c, &c->check, &e) < 0)
		own_failed(&c->told, OWN_WEBHOOK_WRITE, "the Secret cannot be read", e.msg);
}

static void on_hook_step(void *arg)
{
	struct own_ca *c = arg;

	if (!c->told_trusted && own_hook_settled(c->hook, 0)) {
		c->told_trusted = true;
		c->ops->trusted(c->arg);
	}
	step(c);
}

/* --- the loop --- */

/* After anything that may make something due. */
static void step(struct own_ca *c)
{
	if (kube_lease_held(c->lease)) {
		advance(c);
		return;
	}
	own_forget(&c->told, OWN_SECRET_WRITE);
	own_forget(&c->told, OWN_WEBHOOK_WRITE);
	c->backoff_secs = 0;
}

/* What it has met since the last look. */
static void look_at_lease(struct own_ca *c)
{
	uint64_t failures = kube_lease_failures(c->lease);
	const char *error = kube_lease_error(c->lease);

	if (!error[0]) {
		own_worked(&c->told, OWN_LEASE);
	} else if (failures != c->lease_failures) {
		own_failed(&c->told, OWN_LEASE, NULL, error);
		c->lease_failures++; /* the one that was counted just now */
	}
	metrics_add(c->told.failures, (double)(failures - c->lease_failures));
	c->lease_failures = failures;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct own_ca *c = arg;

	tick_in(c);
	look_at_lease(c);
	if (!c->check)
		own_hook_look(c->hook);
	step(c);
}

static void on_lease(void *arg, bool held)
{
	struct own_ca *c = arg;

	log_info(held ? "this replica sees to the certificates"
		      : "this replica no longer sees to the certificates");
	metrics_set(c->holder, held);
	step(c);
}

static int add_metrics(struct own_ca *c, struct metrics *m, struct err *e)
{
	const struct metrics_desc ca = {.type = METRICS_GAUGE,
					.name = "harmony_injector_ca_not_after_timestamp_seconds",
					.help = "When the newest CA of the injector's own ends.",
					.unit = "seconds"};
	const struct metrics_desc holder = {
		.type = METRICS_GAUGE,
		.name = "harmony_injector_lease_held",
		.help = "1 for the replica that sees to CA and certificate, else 0."};
	const struct metrics_desc failures = {
		.type = METRICS_COUNTER,
		.name = "harmony_injector_ca_failures_total",
		.help = "What could not be read or written for the injector's own CA."};
	const struct metrics_desc rotations = {
		.type = METRICS_COUNTER,
		.name = "harmony_injector_rotations_total",
		.help = "CAs and certificates that this replica has made.",
		.labels = METRICS_LABELS("what")};
	struct metrics_family *f;
	int r;

	if ((r = metrics_add_single(m, &ca, &c->ca_not_after, e)) < 0 ||
	    (r = metrics_add_single(m, &holder, &c->holder, e)) < 0 ||
	    (r = metrics_add_single(m, &failures, &c->told.failures, e)) < 0 ||
	    (r = metrics_add_family(m, &rotations, &f, e)) < 0 ||
	    (r = metrics_add_series(f, METRICS_LABELS("ca"), &c->rotations[0], e)) < 0)
		return r;
	return metrics_add_series(f, METRICS_LABELS("certificate"), &c->rotations[1], e);
}

/* "NAMESPACE/NAME", or "NAME" in the client's namespace. */
static int name_objects(struct own_ca *c, struct err *e)
{
	const char *slash = strchr(c->opts->secret, '/');
	const char *ns = kube_client_namespace(c->client),
		   *name = slash ? slash + 1 : c->opts->secret;
	size_t len = slash ? (size_t)(slash - c->opts->secret) : strlen(ns);

	if (len >= sizeof(c->ns) || str_copy(c->name, sizeof(c->name), name) < 0)
		return err_set(e, -EINVAL, "--own-ca: found '%.300s', accepted: NAMESPACE/NAME",
			       c->opts->secret);
	memcpy(c->ns, slash ? c->opts->secret : ns, len);
	if (asprintf(&c->secret_path,
		     "/api/v1/namespaces/%s/secrets/%s?fieldManager=harmony-injector", c->ns,
		     c->name) < 0)
		c->secret_path = NULL;
	return c->secret_path ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* The pod's name, and something that no other process has. */
static int join_lease(struct own_ca *c, struct err *e)
{
	char host[65] = "", identity[128];

	gethostname(host, sizeof(host) - 1);
	snprintf(identity, sizeof(identity), "%s_%08x", host,
		 (unsigned)mono_now().ns ^ (unsigned)getpid() << 16);
	return kube_lease_new(c->client, c->ns, c->opts->lease ? c->opts->lease : c->name, identity,
			      LEASE_SECS, on_lease, c, &c->lease, e);
}

static int open_all(struct own_ca *c, struct metrics *m, struct err *e)
{
	static const struct kube_watch_ops watch_ops = {
		.changed = on_secret, .deleted = on_secret_gone, .state = on_watch_state};
	static const struct own_hook_ops hook_ops = {.differs = on_hook_differs,
						     .step = on_hook_step};
	struct kube_config *config = NULL;
	int r;

	if ((r = add_metrics(c, m, e)) < 0 ||
	    (r = kube_config_find(c->opts->kubeconfig, NULL, &config, e)) < 0 ||
	    (r = kube_client_new(c->base, config, &c->client, e)) < 0 ||
	    (r = name_objects(c, e)) < 0 ||
	    (r = own_hook_new(c->client, c->opts->webhook, &c->told, &hook_ops, c, &c->hook, e)) <
		    0)
		return r;
	c->tick = evtimer_new(c->base, on_tick, c);
	if (!c->tick)
		return err_set(e, -ENOMEM, "out of memory");
	if ((r = join_lease(c, e)) < 0)
		return r;
	tick_in(c);
	return kube_watch_new(c->client, KUBE_SECRET, c->ns, c->name, &watch_ops, c, &c->watch, e);
}

int own_ca_new(struct event_base *base, const struct own_ca_options *opts,
	       const struct own_ca_ops *ops, void *arg, struct metrics *m, struct own_ca **ret,
	       struct err *e)
{
	struct own_ca *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->base = base;
	c->opts = opts;
	c->ops = ops;
	c->arg = arg;
	c->told = (struct own_told){.changed = ops->why, .arg = arg};
	c->set = PKI_SET_INIT;
	c->policy = (struct pki_policy){.ca_name = "harmony-injector",
					.names = opts->names,
					.n_names = opts->n_names,
					.ca_secs = opts->ca_secs,
					.cert_secs = opts->cert_secs};
	r = open_all(c, m, e);
	if (r < 0) {
		own_ca_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void own_ca_release(struct own_ca *c)
{
	kube_lease_release(c->lease);
}

void own_ca_free(struct own_ca *c)
{
	if (!c)
		return;
	kube_call_cancel(c->write);
	kube_call_cancel(c->check);
	own_hook_free(c->hook);
	kube_watch_free(c->watch);
	kube_lease_free(c->lease);
	kube_client_free(c->client);
	if (c->tick)
		event_free(c->tick);
	pki_set_clear(&c->set);
	free(c->secret_path);
	free(c);
}
