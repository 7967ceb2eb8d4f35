/*
 * Theory of operation. Every node has one entry, named after it, in one ConfigMap that the chart
 * makes. The entry is set by a merge patch (RFC 7386) of that key alone: patches of different
 * keys do not disturb each other, and the only right that is needed is "patch" on that one
 * object by name. docs/kubernetes.md weighs this against the alternatives.
 *
 *   set ──> wanted ──(at most once in MIN_INTERVAL)──PATCH──> written
 *                        ^                              │
 *                        └──── failed: after a delay ───┘
 *
 * What is written is remembered, so that setting the same again sends nothing. The value is
 *   {"generation":"…","keys":{"NETWORK":"PUBLIC KEY",…},"endpoints":{"NETWORK":"HOST:PORT",…},
 *    "error":"…"}
 * the last two where there is any; and holds no times, so that it changes only when something has.
 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

#define MIN_INTERVAL (5 * NS_PER_SEC)
#define MAX_VALUE    16384
#define MAX_ERROR    200

struct kube_publish {
	struct kube_client *client;
	char *path, *node, *what;
	char *wanted;             /* a JSON string's content, or NULL for no entry */
	bool wanted_set, written; /* written: `wanted` is what the API server has */
	bool changed;             /* `wanted` is another one than the request under way carries */
	struct event *timer;
	struct kube_call *call;
	struct mono not_before;
	unsigned attempts;
	char error[ERR_MSG_MAX];
};

static void send_patch(struct kube_publish *p);

static void schedule(struct kube_publish *p)
{
	if (!p->call && p->wanted_set && !p->written)
		kube_timer_in(p->timer, mono_since(p->not_before, mono_now()));
}

static void on_answer(void *arg, const struct kube_status *s, struct json_object *object)
{
	struct kube_publish *p = arg;
	struct mono now = mono_now();

	p->call = NULL;
	if (s->http >= 200 && s->http < 300) {
		p->attempts = 0;
		p->error[0] = '\0';
		p->written = !p->changed;
		p->not_before = mono_add(now, MIN_INTERVAL);
	} else {
		struct err e = {0};

		err_set(&e, -EIO, "%s: %s%s", p->what, s->message,
			s->http == 404   ? "; it must exist (the chart makes it)"
			: s->http == 403 ? "; needed: patch of configmaps with that resourceName"
					 : "");
		memcpy(p->error, e.msg, sizeof(p->error));
		p->not_before = mono_add(now, kube_retry_delay(p->attempts, s->retry_after));
		p->attempts += p->attempts < 16;
	}
	schedule(p);
}

static void send_patch(struct kube_publish *p)
{
	_cleanup_buf_ struct buf body = BUF_INIT(4 * MAX_VALUE);
	struct err e = {.msg = "out of memory"};
	int r;

	buf_adds(&body, "{\"data\":{");
	json_quote(&body, p->node);
	buf_addc(&body, ':');
	if (p->wanted)
		json_quote(&body, p->wanted);
	else
		buf_adds(&body, "null");
	buf_adds(&body, "}}");
	r = buf_error(&body);
	if (r == 0) {
		const struct kube_request req = {
			.method = "PATCH",
			.path = p->path,
			.content_type = "application/merge-patch+json",
			.body = body.data,
			.body_len = body.len,
		};
		p->changed = false;
		r = kube_client_send(p->client, &req, on_answer, p, &p->call, &e);
	}
	if (r < 0) {
		memcpy(p->error, e.msg, sizeof(p->error));
		p->not_before = mono_add(mono_now(), kube_retry_delay(p->attempts++, 0));
		schedule(p);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kube_publish *p = arg;

	if (!p->call && p->wanted_set && !p->written)
		send_patch(p);
}

int kube_publish_new(struct kube_client *c, const char *ns, const char *name, const char *node,
		     struct kube_publish **ret, struct err *e)
{
	if (!ns)
		ns = kube_client_namespace(c);
	if (!kube_is_namespace(ns) || !kube_is_name(name) || !kube_is_name(node))
		return err_set(
			e, -EINVAL,
			"found configmap \"%s/%s\" and node \"%s\", accepted: names of small "
			"letters, digits, '-' and '.'",
			ns, name, node);

	struct kube_publish *p = calloc(1, sizeof(*p));
	if (!p)
		return err_sys(e, -ENOMEM, "publish");
	p->client = c;
	p->node = strdup(node);
	if (asprintf(&p->path, "/api/v1/namespaces/%s/configmaps/%s?fieldManager=harmony-agent", ns,
		     name) < 0)
		p->path = NULL;
	if (asprintf(&p->what, "configmap %s/%s", ns, name) < 0)
		p->what = NULL;
	p->timer = evtimer_new(c->base, on_timer, p);
	if (!p->node || !p->path || !p->what || !p->timer) {
		kube_publish_free(p);
		return err_sys(e, -ENOMEM, "publish");
	}
	*ret = p;
	return 0;
}

void kube_publish_free(struct kube_publish *p)
{
	if (!p)
		return;
	kube_call_cancel(p->call);
	if (p->timer)
		event_free(p->timer);
	free(p->path);
	free(p->node);
	free(p->what);
	free(p->wanted);
	free(p);
}

/* The error's text, cut between characters. */
static void add_error(struct buf *b, const char *error)
{
	char cut[MAX_ERROR + 1];
	size_t n = strlen(error);

	if (n > MAX_ERROR)
		for (n = MAX_ERROR; n > 0 && ((unsigned char)error[n] & 0xC0) == 0x80; n--)
			;
	memcpy(cut, error, n);
	cut[n] = '\0';
	buf_adds(b, ",\"error\":");
	json_quote(b, cut);
}

static void add_endpoints(const struct kube_node_state *s, struct buf *b)
{
	const char *sep = ",\"endpoints\":{";

	for (size_t i = 0; i < s->n_keys; i++) {
		if (!s->keys[i].endpoint)
			continue;
		buf_adds(b, sep);
		json_quote(b, s->keys[i].network);
		buf_addc(b, ':');
		json_quote(b, s->keys[i].endpoint);
		sep = ",";
	}
	if (str_eq(sep, ","))
		buf_addc(b, '}');
}

static void build_value(const struct kube_node_state *s, struct buf *b)
{
	buf_adds(b, "{\"generation\":");
	json_quote(b, s->generation ? s->generation : "");
	buf_adds(b, ",\"keys\":{");
	for (size_t i = 0; i < s->n_keys; i++) {
		if (i > 0)
			buf_addc(b, ',');
		json_quote(b, s->keys[i].network);
		buf_addc(b, ':');
		json_quote(b, s->keys[i].public_key);
	}
	buf_addc(b, '}');
	add_endpoints(s, b);
	if (s->error && s->error[0])
		add_error(b, s->error);
	buf_addc(b, '}');
}

int kube_publish_set(struct kube_publish *p, const struct kube_node_state *state, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(MAX_VALUE);

	if (state)
		build_value(state, &b);
	if (buf_error(&b) == -E2BIG)
		return err_set(e, -E2BIG, "%s: the node's entry is longer than %d bytes", p->what,
			       MAX_VALUE);
	if (buf_error(&b))
		return err_sys(e, buf_error(&b), "%s", p->what);
	if (p->wanted_set && !p->wanted == !b.data && (!b.data || str_eq(p->wanted, b.data)))
		return 0;
	free(p->wanted);
	p->wanted = mem_steal(&b.data);
	p->wanted_set = true;
	p->written = false;
	p->changed = true;
	schedule(p);
	return 0;
}

bool kube_publish_done(const struct kube_publish *p, const char **ret_error)
{
	if (ret_error)
		*ret_error = p->error;
	return !p->wanted_set || p->written;
}
