/*
 * One AdmissionReview: read, judged, answered.
 *
 *     not JSON, no review, no uid ──> error (the caller answers 400)
 *     not a new pod, left alone   ──> allowed
 *     has the sidecar             ──> allowed
 *     wrong annotation or shape   ──> refused, with the reason
 *     else                        ──> allowed, with the patch
 *
 * The review is outside input like any other: whoever reaches the port can send one. It is read
 * by the bounded parser, with a tighter bound on the number of values: one costs up to a kilobyte,
 * and ten megabytes of "{},{},…" would be a gigabyte within the parser's own bound.
 */
#include "inject/inject_priv.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define MAX_DEPTH  64
#define MAX_VALUES ((size_t)1 << 16)
#define MAX_UID    256

struct review {
	const char *uid;
	const char *namespace;
	struct json_object *request, *pod, *metadata, *spec;
};

static bool is_text(struct json_object *o, const char *name, const char *text)
{
	const char *found = json_get_str(o, name);

	return found && str_eq(found, text);
}

static int read_review(struct json_object *root, struct review *ret, struct err *e)
{
	struct review v = {0};

	if (!is_text(root, "apiVersion", "admission.k8s.io/v1") ||
	    !is_text(root, "kind", "AdmissionReview"))
		return err_set(e, -EINVAL, "accepted is an AdmissionReview of admission.k8s.io/v1");
	v.request = json_get(root, "request", json_type_object);
	v.uid = json_get_str(v.request, "uid");
	if (!v.uid || !*v.uid || strlen(v.uid) > MAX_UID)
		return err_set(e, -EINVAL, "request.uid: accepted is a text of 1 to %d bytes",
			       MAX_UID);
	v.namespace = json_get_str(v.request, "namespace");
	v.pod = json_get(v.request, "object", json_type_object);
	v.metadata = json_get(v.pod, "metadata", json_type_object);
	v.spec = json_get(v.pod, "spec", json_type_object);
	*ret = v;
	return 0;
}

static void name_pod(const struct review *v, struct inject_outcome *o)
{
	const char *name = json_get_str(v->metadata, "name");
	char ns[STR_SHOW_LEN], shown[4 * STR_SHOW_LEN];

	if (!name)
		name = json_get_str(v->metadata, "generateName");
	if (!name)
		name = "";
	/* Pod names are up to 253 bytes; the show's own bound would cut them. */
	if (strlen(name) >= sizeof(shown) || !str_is_utf8(name, strlen(name)))
		str_show(name, strlen(name), shown);
	else
		str_copy(shown, sizeof(shown), name);
	str_show(v->namespace ? v->namespace : "", v->namespace ? strlen(v->namespace) : 0, ns);
	snprintf(o->pod, sizeof(o->pod), "%s/%s", ns, shown);
}

static bool is_new_pod(const struct review *v)
{
	struct json_object *kind = json_get(v->request, "kind", json_type_object);
	const char *group = json_get_str(kind, "group"),
		   *sub = json_get_str(v->request, "subResource");

	return is_text(kind, "kind", "Pod") && (!group || !*group) && (!sub || !*sub) &&
	       is_text(v->request, "operation", "CREATE");
}

static bool is_left_alone(const struct inject_settings *s, const char *namespace)
{
	static const char *const always[] = {"kube-system", "kube-public", "kube-node-lease"};

	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		if (str_eq(namespace, always[i]))
			return true;
	return s->own_namespace && str_eq(namespace, s->own_namespace);
}

/* Why a pod is not to be touched. */
struct skip {
	const char *reason; /* NULL: it is to be injected into */
	bool told;          /* its user may have asked for the sidecar, and wonder */
};

static struct skip find_skip(const struct inject_settings *s, const struct review *v)
{
	struct json_object *labels = json_get(v->metadata, "labels", json_type_object);
	struct json_object *annotations = json_get(v->metadata, "annotations", json_type_object);

	if (!is_new_pod(v))
		return (struct skip){"the request does not create a pod", false};
	if (v->namespace && is_left_alone(s, v->namespace))
		return (struct skip){"the namespace is never injected into", false};
	if (json_get(annotations, "kubernetes.io/config.mirror", json_type_string))
		return (struct skip){"it is a mirror pod", false};
	if (is_text(annotations, INJECT_KEY, "false") || is_text(labels, INJECT_KEY, "false"))
		return (struct skip){"it is opted out", false};
	if (json_get_bool(v->spec, "hostNetwork", false))
		return (struct skip){"the pod uses the node's network", true};
	if (is_text(json_get(v->spec, "os", json_type_object), "name", "windows"))
		return (struct skip){"the pod runs on Windows", true};
	return (struct skip){NULL, false};
}

static bool has_sidecar(struct json_object *spec)
{
	static const char *const lists[] = {"initContainers", "containers"};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct json_object *list = json_get(spec, lists[i], json_type_array);

		for (size_t j = 0; list && j < json_object_array_length(list); j++)
			if (is_text(json_object_array_get_idx(list, j), "name", INJECT_CONTAINER))
				return true;
	}
	return false;
}

static int check_switch(struct json_object *o, const char *what, struct err *e)
{
	struct json_object *value = json_path(o, INJECT_KEY, NULL);
	char shown[STR_SHOW_LEN];
	const char *text;

	if (!value)
		return 0;
	text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
	if (str_eq(text, "true") || str_eq(text, "false"))
		return 0;
	return err_set(e, -EINVAL, "%s " INJECT_KEY ": found \"%s\", accepted: true, false", what,
		       str_show(text, strlen(text), shown));
}

/* Where the application does not wait for the agent, its first packets would pass no guard. */
static int check_guard(const struct inject_settings *s, const char *guard, struct err *e)
{
	if (s->mode == INJECT_MODE_SIDECAR || !guard || !str_eq(guard, "true"))
		return 0;
	return err_set(
		e, -EINVAL,
		"annotation " INJECT_PREFIX "guard: found \"true\", accepted: \"false\", "
		"since this server has no native sidecars (Kubernetes 1.29), and an ordinary "
		"one starts beside the application");
}

/* Probes and metrics are TCP's. A port that names no protocol is, too. */
static bool listens_at(struct json_object *container, int64_t port)
{
	struct json_object *ports = json_get(container, "ports", json_type_array);

	for (size_t i = 0; ports && i < json_object_array_length(ports); i++) {
		struct json_object *p = json_object_array_get_idx(ports, i);
		const char *protocol = json_get_str(p, "protocol");

		if (json_get_int(p, "containerPort", -1) == port &&
		    (!protocol || str_eq(protocol, "TCP")))
			return true;
	}
	return false;
}

/* The application's containers share the network with the agent, and so do other sidecars. An init
 * container that ends is not counted: it names its ports for nobody. */
static int check_port(const struct review *v, const char *port, struct err *e)
{
	static const char *const lists[] = {"initContainers", "containers"};
	int64_t wanted = strtol(port, NULL, 10);

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct json_object *list = json_get(v->spec, lists[i], json_type_array);

		for (size_t j = 0; list && j < json_object_array_length(list); j++) {
			struct json_object *c = json_object_array_get_idx(list, j);
			bool stays = i > 0 || is_text(c, "restartPolicy", "Always");

			if (stays && listens_at(c, wanted))
				return err_set(e, -EINVAL,
					       "annotation " INJECT_PREFIX
					       "port: found %s, which a container of the pod "
					       "listens at, accepted: a port that is free",
					       port);
		}
	}
	return 0;
}

static int judge(const struct inject_settings *s, const struct review *v,
		 struct json_object **ret_patch, struct err *e)
{
	struct json_object *labels = json_get(v->metadata, "labels", json_type_object);
	struct json_object *annotations = json_get(v->metadata, "annotations", json_type_object);
	struct inject_choice c;
	int r;

	if (!v->metadata || !v->spec)
		return err_set(e, -EINVAL, "pod: accepted is one with metadata and spec");
	if ((r = check_switch(labels, "label", e)) < 0 ||
	    (r = check_switch(annotations, "annotation", e)) < 0 ||
	    (r = inject_read_annotations(annotations, &s->defaults, &c, e)) < 0 ||
	    (r = check_guard(s, c.guard, e)) < 0 || (r = check_port(v, c.port, e)) < 0)
		return r;
	return inject_make_patch(s, &c, v->pod, ret_patch, e);
}

static int add_base64(struct buf *b, const char *text, size_t len)
{
	size_t size = (len + 2) / 3 * 4 + 1;
	int n;

	if (buf_reserve(b, size) < 0)
		return -ENOMEM;
	n = EVP_EncodeBlock((unsigned char *)b->data + b->len, (const unsigned char *)text,
			    (int)len);
	b->len += (size_t)n;
	return 0;
}

static void begin_answer(struct buf *b, const char *uid, bool allowed)
{
	buf_adds(b, "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
		    "\"response\":{\"uid\":");
	json_quote(b, uid);
	buf_addf(b, ",\"allowed\":%s", allowed ? "true" : "false");
}

static void answer_refused(struct buf *b, const char *uid, const char *reason)
{
	begin_answer(b, uid, false);
	buf_adds(b, ",\"status\":{\"code\":400,\"reason\":\"BadRequest\",\"message\":");
	json_quote(b, reason);
	buf_adds(b, "}}}");
}

static void answer_allowed(struct buf *b, const char *uid, const char *warning)
{
	begin_answer(b, uid, true);
	if (warning) {
		_cleanup_buf_ struct buf text = BUF_INIT(0);

		buf_addf(&text, "harmony-agent is not injected: %s", warning);
		buf_adds(b, ",\"warnings\":[");
		json_quote(b, buf_str(&text));
		buf_addc(b, ']');
	}
	buf_adds(b, "}}");
}

static int answer_patch(struct buf *b, const char *uid, struct json_object *patch)
{
	size_t len;
	const char *text =
		json_object_to_json_string_length(patch, JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	if (!text)
		return -ENOMEM;
	begin_answer(b, uid, true);
	buf_adds(b, ",\"patchType\":\"JSONPatch\",\"patch\":\"");
	if (add_base64(b, text, len) < 0)
		return -ENOMEM;
	buf_adds(b, "\"}}");
	return 0;
}

static int answer(const struct inject_settings *s, const struct review *v, struct buf *b,
		  struct inject_outcome *o, struct err *e)
{
	_cleanup_json_ struct json_object *patch = NULL;
	struct err why = {0};
	struct skip skip = find_skip(s, v);
	int r;

	if (skip.reason || has_sidecar(v->spec)) {
		o->verdict = skip.reason ? INJECT_SKIPPED : INJECT_ALREADY;
		if (skip.reason)
			str_copy(o->reason, sizeof(o->reason), skip.reason);
		answer_allowed(b, v->uid, skip.told ? skip.reason : NULL);
		return 0;
	}
	r = judge(s, v, &patch, &why);
	if (r == -ENOMEM)
		return err_set(e, r, "out of memory");
	if (r < 0) {
		o->verdict = INJECT_REFUSED;
		str_copy(o->reason, sizeof(o->reason), why.msg);
		answer_refused(b, v->uid, why.msg);
		return 0;
	}
	o->verdict = INJECT_PATCHED;
	r = answer_patch(b, v->uid, patch);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

/* Each value but the first stands behind one of "{[,:" outside of a string. */
static bool has_too_many_values(const char *text, size_t len)
{
	bool in_string = false;
	size_t n = 0;

	for (size_t i = 0; i < len && n < MAX_VALUES; i++) {
		char c = text[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '[' || c == ',' || c == ':'))
			n++;
	}
	return n >= MAX_VALUES;
}

int inject_review(const struct inject_settings *s, const char *text, size_t len,
		  struct buf *ret_answer, struct inject_outcome *ret, struct err *e)
{
	_cleanup_json_ struct json_object *root = NULL;
	struct json_limits limits = {.max_bytes = INJECT_MAX_BYTES, .max_depth = MAX_DEPTH};
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct inject_outcome o = {0};
	struct review v = {0};
	int r;

	if (len <= INJECT_MAX_BYTES && has_too_many_values(text, len))
		return err_set(e, -E2BIG, "accepted are up to %zu values", MAX_VALUES);
	if ((r = json_parse(text, len, limits, &root, e)) < 0)
		return r;
	if (!json_object_is_type(root, json_type_object))
		return err_set(e, -EINVAL, "accepted is an AdmissionReview, an object");
	if ((r = read_review(root, &v, e)) < 0)
		return r;
	name_pod(&v, &o);
	if ((r = answer(s, &v, &b, &o, e)) < 0)
		return r;
	if (buf_error(&b) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	buf_add(ret_answer, b.data, b.len);
	*ret = o;
	return 0;
}
