/*
 * lib/inject: reviews as an API server sends them, the patch applied by a small implementation of
 * RFC 6902's `add`, and the pod that results looked at. Then what is left alone, what is refused,
 * and what is no review at all.
 */
#include "unit.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/str.h"
#include "inject/inject.h"
#include "json/json.h"

static const struct inject_settings settings = {
	.own_namespace = "harmony-system",
	.pull_policy = "IfNotPresent",
	.defaults = {.image = "harmony-agent:1",
		     .log_level = "info",
		     .readiness = "tunnel",
		     .port = INJECT_PORT_DEFAULT,
		     .tun = "true",
		     .cpu_request = "10m",
		     .memory_request = "16Mi",
		     .memory_limit = "128Mi"},
};

#define LIMITS ((struct json_limits){.max_bytes = INJECT_MAX_BYTES, .max_depth = 64})

/* What the last call answered. */
static struct buf answer_text;
static struct inject_outcome outcome;
static struct err error;

/* `namespace`, and the pod's metadata and spec as JSON. */
static int review(const struct inject_settings *s, const char *ns, const char *metadata,
		  const char *spec)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	buf_addf(&b,
		 "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":"
		 "{\"uid\":\"u-1\",\"kind\":{\"group\":\"\",\"version\":\"v1\",\"kind\":\"Pod\"},"
		 "\"operation\":\"CREATE\",\"namespace\":\"%s\",\"oldObject\":null,"
		 "\"object\":{\"kind\":\"Pod\",\"metadata\":%s,\"spec\":%s}}}",
		 ns, metadata, spec);
	buf_reset(&answer_text);
	return inject_review(s, b.data, b.len, &answer_text, &outcome, &error);
}

static struct json_object *parsed(const char *text)
{
	struct json_object *o = NULL;

	ck_assert_msg(json_parse(text, strlen(text), LIMITS, &o, &error) == 0, "%s: %s", error.msg,
		      text);
	return o;
}

/* --- RFC 6902, `add` --- */

/* "a~1b" is a/b (RFC 6901). */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		bool escaped = *s == '~';

		s += escaped;
		*to++ = !escaped ? *s : *s == '1' ? '/' : '~';
	}
	*to = '\0';
}

static void add_at(struct json_object *parent, const char *last, struct json_object *value)
{
	if (json_object_is_type(parent, json_type_object)) {
		json_object_object_add(parent, last, value);
		return;
	}
	ck_assert(json_object_is_type(parent, json_type_array));
	size_t n = json_object_array_length(parent);
	size_t at = str_eq(last, "-") ? n : (size_t)atoi(last);
	ck_assert_uint_le(at, n);
	json_object_array_add(parent, value);
	for (size_t i = n; i > at; i--) {
		struct json_object *below = json_object_array_get_idx(parent, i - 1);

		json_object_array_put_idx(parent, i, json_object_get(below));
		json_object_array_put_idx(parent, i - 1, json_object_get(value));
	}
}

static void apply_op(struct json_object *doc, struct json_object *op)
{
	char path[512], *last = path + 1;
	struct json_object *parent = doc;

	ck_assert_str_eq(json_get_str(op, "op"), "add");
	ck_assert_int_eq(str_copy(path, sizeof(path), json_get_str(op, "path")), 0);
	ck_assert_int_eq(path[0], '/');
	for (char *slash; (slash = strchr(last, '/')); last = slash + 1) {
		*slash = '\0';
		unescape(last);
		ck_assert(json_object_object_get_ex(parent, last, &parent));
	}
	unescape(last);
	add_at(parent, last, json_object_get(json_path(op, "value", NULL)));
}

static struct json_object *apply(struct json_object *pod, struct json_object *patch)
{
	for (size_t i = 0; i < json_object_array_length(patch); i++)
		apply_op(pod, json_object_array_get_idx(patch, i));
	return pod;
}

/* --- looking at answers --- */

static struct json_object *response(struct json_object **ret_root)
{
	*ret_root = parsed(buf_str(&answer_text));
	ck_assert_str_eq(json_get_str(*ret_root, "apiVersion"), "admission.k8s.io/v1");
	ck_assert_str_eq(json_get_str(*ret_root, "kind"), "AdmissionReview");
	struct json_object *r = json_path(*ret_root, "response", NULL);
	ck_assert_str_eq(json_get_str(r, "uid"), "u-1");
	return r;
}

/* The pod as it is stored in the end. */
static struct json_object *injected(const struct inject_settings *s, const char *metadata,
				    const char *spec)
{
	_cleanup_json_ struct json_object *root = NULL, *patch = NULL;
	_cleanup_free_ char *text = NULL;

	int r = review(s, "apps", metadata, spec);
	ck_assert_msg(r == 0, "%s", error.msg);
	ck_assert_msg(outcome.verdict == INJECT_PATCHED, "%s", outcome.reason);
	struct json_object *resp = response(&root);
	ck_assert(json_get_bool(resp, "allowed", false));
	ck_assert_str_eq(json_get_str(resp, "patchType"), "JSONPatch");
	const char *b64 = json_get_str(resp, "patch");
	size_t len = strlen(b64);
	text = calloc(1, len + 1);
	ck_assert_int_gt(
		EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)b64, (int)len), 0);
	patch = parsed(text);

	_cleanup_buf_ struct buf pod = BUF_INIT(0);
	buf_addf(&pod, "{\"kind\":\"Pod\",\"metadata\":%s,\"spec\":%s}", metadata, spec);
	return apply(parsed(pod.data), patch);
}

static struct json_object *init(struct json_object *pod, size_t i)
{
	return json_object_array_get_idx(json_path(pod, "spec", "initContainers", NULL), i);
}

static bool has_text(struct json_object *array, const char *text)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		if (json_object_is_type(o, json_type_string) &&
		    str_eq(json_object_get_string(o), text))
			return true;
	}
	return false;
}

static struct json_object *named(struct json_object *array, const char *name)
{
	for (size_t i = 0; array && i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		if (str_eq(json_get_str(o, "name"), name))
			return o;
	}
	return NULL;
}

static void assert_skipped(const char *ns, const char *metadata, const char *spec,
			   const char *warning)
{
	_cleanup_json_ struct json_object *root = NULL;

	ck_assert_int_eq(review(&settings, ns, metadata, spec), 0);
	ck_assert_msg(outcome.verdict == INJECT_SKIPPED || outcome.verdict == INJECT_ALREADY,
		      "%s %s: verdict %d %s", metadata, spec, outcome.verdict, outcome.reason);
	struct json_object *r = response(&root);
	ck_assert(json_get_bool(r, "allowed", false));
	ck_assert_ptr_null(json_path(r, "patch", NULL));
	ck_assert_ptr_null(json_path(r, "patchType", NULL));
	struct json_object *w = json_path(r, "warnings", NULL);
	ck_assert(!!w == !!warning);
	if (warning)
		ck_assert_ptr_nonnull(
			strstr(json_object_get_string(json_object_array_get_idx(w, 0)), warning));
}

static void assert_refused_with(const struct inject_settings *s, const char *metadata,
				const char *spec, const char *message)
{
	_cleanup_json_ struct json_object *root = NULL;

	ck_assert_int_eq(review(s, "apps", metadata, spec), 0);
	ck_assert_msg(outcome.verdict == INJECT_REFUSED, "%s: verdict %d", metadata,
		      outcome.verdict);
	struct json_object *r = response(&root);
	ck_assert(!json_get_bool(r, "allowed", true));
	ck_assert_ptr_null(json_path(r, "patch", NULL));
	ck_assert_str_eq(json_get_str(json_path(r, "status", NULL), "message"), message);
	ck_assert_str_eq(outcome.reason, message);
}

#define SPEC "{\"containers\":[{\"name\":\"app\",\"image\":\"app:1\"}]}"
#define META "{\"name\":\"web-0\",\"annotations\":{\"harmony-agent/config\":\"vpn\"}}"

static void assert_refused(const char *annotations, const char *message)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	buf_addf(&b, "{\"name\":\"web-0\",\"annotations\":{%s}}", annotations);
	assert_refused_with(&settings, b.data, SPEC, message);
}

/* A probe by `harmony-agent ready`: what it prints is shown. */
static void assert_command(struct json_object *container, const char *probe, const char *option)
{
	struct json_object *p = json_path(container, probe, NULL);
	struct json_object *argv = json_path(p, "exec", "command", NULL);

	ck_assert_ptr_nonnull(argv);
	ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(argv, 0)),
			 "harmony-agent");
	ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(argv, 1)), "ready");
	ck_assert(has_text(argv, "--http=127.0.0.1:9586"));
	ck_assert_int_eq(has_text(argv, "--startup"), str_eq(option, "--startup"));
	ck_assert(has_text(argv, option));
	ck_assert_ptr_null(json_path(p, "httpGet", NULL));
	ck_assert_int_ge(json_get_int(p, "timeoutSeconds", 0), 10);
}

/* --- cases --- */

START_TEST(sidecar)
{
	_cleanup_json_ struct json_object *pod = injected(&settings, META, SPEC);
	struct json_object *c = init(pod, 0), *sec = json_path(c, "securityContext", NULL);

	ck_assert_str_eq(outcome.pod, "apps/web-0");
	ck_assert_str_eq(json_get_str(c, "name"), "harmony-agent");
	ck_assert_str_eq(json_get_str(c, "image"), "harmony-agent:1");
	ck_assert_str_eq(json_get_str(c, "imagePullPolicy"), "IfNotPresent");
	ck_assert_str_eq(json_get_str(c, "restartPolicy"), "Always");
	ck_assert_str_eq(json_object_get_string(json_path(sec, "capabilities", NULL)),
			 "{ \"drop\": [ \"ALL\" ], \"add\": [ \"NET_ADMIN\" ] }");
	ck_assert_int_eq(json_get_int(sec, "runAsUser", -1), 0);
	ck_assert(!json_get_bool(sec, "runAsNonRoot", true));
	ck_assert(!json_get_bool(sec, "privileged", true));
	ck_assert(!json_get_bool(sec, "allowPrivilegeEscalation", true));
	ck_assert(json_get_bool(sec, "readOnlyRootFilesystem", false));
	assert_command(c, "startupProbe", "--wait=8");
	assert_command(c, "readinessProbe", "--hold=8");
	ck_assert_str_eq(json_get_str(json_path(c, "livenessProbe", "httpGet", NULL), "path"),
			 "/livez");
	ck_assert_int_eq(json_get_int(json_path(c, "livenessProbe", "httpGet", NULL), "port", 0),
			 9586);
	ck_assert_str_eq(json_get_str(json_path(c, "resources", "limits", NULL), "memory"),
			 "128Mi");
	ck_assert_ptr_null(json_path(c, "resources", "limits", "cpu", NULL));

	struct json_object *args = json_path(c, "args", NULL);
	ck_assert_str_eq(json_object_get_string(json_object_array_get_idx(args, 0)), "up");
	ck_assert(has_text(args, "--config=/etc/harmony-agent/config"));
	ck_assert(!has_text(args, "--config=/etc/harmony-agent/secret"));
	ck_assert(has_text(args, "--http=*:9586"));
	ck_assert(has_text(args, "--node-name=$(POD_NAME)"));
	ck_assert(has_text(args, "--respawn"));

	struct json_object *volumes = json_path(pod, "spec", "volumes", NULL);
	ck_assert_uint_eq(json_object_array_length(volumes), 4);
	ck_assert_str_eq(
		json_get_str(json_path(named(volumes, "harmony-agent-config"), "configMap", NULL),
			     "name"),
		"vpn");
	ck_assert_str_eq(
		json_get_str(json_path(named(volumes, "harmony-agent-tun"), "hostPath", NULL),
			     "type"),
		"CharDevice");
	struct json_object *mounts = json_path(c, "volumeMounts", NULL);
	for (size_t i = 0; i < json_object_array_length(mounts); i++)
		ck_assert_ptr_nonnull(
			named(volumes, json_get_str(json_object_array_get_idx(mounts, i), "name")));
	ck_assert_str_eq(json_get_str(json_path(pod, "metadata", "annotations", NULL),
				      "harmony-agent/injected"),
			 HARMONY_VERSION);
	ck_assert_str_eq(json_get_str(json_path(pod, "metadata", "annotations", NULL),
				      "harmony-agent/config"),
			 "vpn");
}
END_TEST

START_TEST(beside_what_is_there)
{
	_cleanup_json_ struct json_object *pod =
		injected(&settings, META,
			 "{\"initContainers\":[{\"name\":\"one\"},{\"name\":\"two\"}],"
			 "\"containers\":[{\"name\":\"app\"}],\"volumes\":[{\"name\":\"data\"}]}");

	ck_assert_str_eq(json_get_str(init(pod, 0), "name"), "harmony-agent");
	ck_assert_str_eq(json_get_str(init(pod, 1), "name"), "one");
	ck_assert_str_eq(json_get_str(init(pod, 2), "name"), "two");
	struct json_object *volumes = json_path(pod, "spec", "volumes", NULL);
	ck_assert_uint_eq(json_object_array_length(volumes), 5);
	ck_assert_str_eq(json_get_str(json_object_array_get_idx(volumes, 0), "name"), "data");
	ck_assert_uint_eq(json_object_array_length(json_path(pod, "spec", "containers", NULL)), 1);
}
END_TEST

/* null is what Go writes for a nil slice or map without omitempty. */
START_TEST(null_is_absent)
{
	struct inject_settings s = settings;

	s.defaults.config = "all";
	_cleanup_json_ struct json_object *pod =
		injected(&s, "{\"generateName\":\"web-\",\"annotations\":null}",
			 "{\"initContainers\":null,\"volumes\":null,\"containers\":[]}");

	ck_assert_str_eq(outcome.pod, "apps/web-");
	ck_assert_str_eq(json_get_str(init(pod, 0), "name"), "harmony-agent");
}
END_TEST

START_TEST(called_again)
{
	_cleanup_json_ struct json_object *pod = injected(&settings, META, SPEC);
	_cleanup_free_ char *meta =
		strdup(json_object_to_json_string(json_path(pod, "metadata", NULL)));
	_cleanup_free_ char *spec =
		strdup(json_object_to_json_string(json_path(pod, "spec", NULL)));

	assert_skipped("apps", meta, spec, NULL);
	ck_assert_int_eq(outcome.verdict, INJECT_ALREADY);
	/* By the container, not by what anyone may write into the annotations. */
	json_object_put(injected(&settings,
				 "{\"annotations\":{\"harmony-agent/injected\":\"9\","
				 "\"harmony-agent/config\":\"vpn\"}}",
				 SPEC));
}
END_TEST

START_TEST(every_annotation)
{
	_cleanup_json_ struct json_object *pod =
		injected(&settings,
			 "{\"annotations\":{\"harmony-agent/secret\":\"keys.v1\","
			 "\"harmony-agent/network\":\"default\","
			 "\"harmony-agent/image\":\"localhost:5000/x/agent@sha256:abc\","
			 "\"harmony-agent/log-level\":\"debug\","
			 "\"harmony-agent/readiness\":\"off\",\"harmony-agent/port\":\"1234\","
			 "\"harmony-agent/tun\":\"false\",\"harmony-agent/guard\":\"false\","
			 "\"harmony-agent/inject\":\"true\",\"other/annotation\":\"x\","
			 "\"harmony-agent/cpu-request\":\"0.5\","
			 "\"harmony-agent/cpu-limit\":\"500m\","
			 "\"harmony-agent/memory-request\":\"64Mi\","
			 "\"harmony-agent/memory-limit\":\"1G\"}}",
			 SPEC);
	struct json_object *c = init(pod, 0), *args = json_path(c, "args", NULL);
	struct json_object *volumes = json_path(pod, "spec", "volumes", NULL);

	ck_assert_str_eq(json_get_str(c, "image"), "localhost:5000/x/agent@sha256:abc");
	ck_assert(has_text(args, "--network=default"));
	ck_assert(has_text(args, "--log-level=debug"));
	ck_assert(has_text(args, "--http=*:1234"));
	ck_assert(has_text(args, "--config=/etc/harmony-agent/secret"));
	ck_assert(!has_text(args, "--config=/etc/harmony-agent/config"));
	ck_assert_ptr_null(json_path(c, "readinessProbe", NULL));
	ck_assert_str_eq(json_get_str(json_path(c, "startupProbe", "httpGet", NULL), "path"),
			 "/healthz?always");
	ck_assert_str_eq(json_get_str(json_path(c, "resources", "requests", NULL), "cpu"), "0.5");
	ck_assert_str_eq(json_get_str(json_path(c, "resources", "limits", NULL), "memory"), "1G");
	struct json_object *secret =
		json_path(named(volumes, "harmony-agent-secret"), "secret", NULL);
	ck_assert_str_eq(json_get_str(secret, "secretName"), "keys.v1");
	ck_assert_int_eq(json_get_int(secret, "defaultMode", 0), 0400);
	ck_assert_ptr_null(named(volumes, "harmony-agent-tun"));
	ck_assert_ptr_null(named(volumes, "harmony-agent-config"));
}
END_TEST

START_TEST(ordinary_container)
{
	struct inject_settings s = settings;

	s.mode = INJECT_MODE_CONTAINER;
	s.ipc_lock = true;
	_cleanup_json_ struct json_object *pod = injected(&s, META, SPEC);
	struct json_object *list = json_path(pod, "spec", "containers", NULL);

	ck_assert_ptr_null(json_path(pod, "spec", "initContainers", NULL));
	ck_assert_uint_eq(json_object_array_length(list), 2);
	ck_assert_str_eq(json_get_str(json_object_array_get_idx(list, 0), "name"), "app");
	struct json_object *c = json_object_array_get_idx(list, 1);
	ck_assert_str_eq(json_get_str(c, "name"), "harmony-agent");
	ck_assert_ptr_null(json_path(c, "restartPolicy", NULL));
	ck_assert(
		has_text(json_path(c, "securityContext", "capabilities", "add", NULL), "IPC_LOCK"));
}
END_TEST

#define GUARDED(more)                                                                              \
	"{\"name\":\"web-0\",\"annotations\":{\"harmony-agent/config\":\"vpn\","                   \
	"\"harmony-agent/guard\":\"true\"" more "}}"

/* The application starts behind the guard, whether or not it waits for the tunnel. */
START_TEST(guard)
{
	_cleanup_json_ struct json_object *waits = injected(&settings, GUARDED(""), SPEC);
	_cleanup_json_ struct json_object *starts =
		injected(&settings, GUARDED(",\"harmony-agent/readiness\":\"off\""), SPEC);
	struct inject_settings s = settings;

	ck_assert(has_text(json_path(init(waits, 0), "args", NULL), "--guard"));
	assert_command(init(waits, 0), "startupProbe", "--wait=8");
	ck_assert(has_text(json_path(init(starts, 0), "args", NULL), "--guard"));
	assert_command(init(starts, 0), "startupProbe", "--startup");
	/* An ordinary container starts beside the application, behind which no guard can come. */
	s.mode = INJECT_MODE_CONTAINER;
	ck_assert_int_eq(review(&s, "apps", GUARDED(""), SPEC), 0);
	ck_assert_int_eq(outcome.verdict, INJECT_REFUSED);
	ck_assert_ptr_nonnull(strstr(outcome.reason, "annotation harmony-agent/guard: found "
						     "\"true\", accepted: \"false\", since"));
	/* As a default it is for those pods that do not say otherwise. */
	s.mode = INJECT_MODE_SIDECAR;
	s.defaults.guard = "true";
	_cleanup_json_ struct json_object *by_default = injected(&s, META, SPEC);
	ck_assert(has_text(json_path(init(by_default, 0), "args", NULL), "--guard"));
}
END_TEST

START_TEST(defaults_are_replaced_together)
{
	struct inject_settings s = settings;

	s.defaults.config = "all";
	s.defaults.secret = "keys";
	_cleanup_json_ struct json_object *a = injected(&s, "{\"name\":\"a\"}", SPEC);
	ck_assert_uint_eq(json_object_array_length(json_path(a, "spec", "volumes", NULL)), 5);
	_cleanup_json_ struct json_object *b = injected(&s, META, SPEC);
	ck_assert_ptr_null(named(json_path(b, "spec", "volumes", NULL), "harmony-agent-secret"));
	/* Also where the text is the same as the default's. */
	_cleanup_json_ struct json_object *c =
		injected(&s, "{\"annotations\":{\"harmony-agent/config\":\"all\"}}", SPEC);
	ck_assert_ptr_nonnull(named(json_path(c, "spec", "volumes", NULL), "harmony-agent-config"));
}
END_TEST

START_TEST(left_alone)
{
	assert_skipped("kube-system", META, SPEC, NULL);
	assert_skipped("harmony-system", META, SPEC, NULL);
	assert_skipped("apps", "{\"annotations\":{\"harmony-agent/inject\":\"false\"}}", SPEC,
		       NULL);
	assert_skipped("apps", "{\"labels\":{\"harmony-agent/inject\":\"false\"}}", SPEC, NULL);
	assert_skipped("apps",
		       "{\"annotations\":{\"kubernetes.io/config.mirror\":\"x\","
		       "\"harmony-agent/config\":\"vpn\"}}",
		       SPEC, NULL);
	assert_skipped("apps", META, "{\"hostNetwork\":true,\"containers\":[]}",
		       "the pod uses the node's network");
	assert_skipped("apps", META, "{\"os\":{\"name\":\"windows\"},\"containers\":[]}",
		       "Windows");
	assert_skipped("apps", META, "{\"containers\":[{\"name\":\"harmony-agent\"}]}", NULL);
}
END_TEST

START_TEST(not_a_new_pod)
{
	static const char *const requests[] = {
		"\"kind\":{\"kind\":\"Pod\"},\"operation\":\"UPDATE\",\"object\":{}",
		"\"kind\":{\"kind\":\"Pod\"},\"operation\":\"DELETE\",\"object\":null",
		"\"kind\":{\"kind\":\"Deployment\",\"group\":\"apps\"},\"operation\":\"CREATE\"",
		"\"kind\":{\"kind\":\"Pod\",\"group\":\"x\"},\"operation\":\"CREATE\"",
		"\"kind\":{\"kind\":\"Pod\"},\"operation\":\"CREATE\",\"subResource\":\"exec\"",
		"\"kind\":7,\"operation\":[]",
	};

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT(0);
		_cleanup_json_ struct json_object *root = NULL;

		buf_addf(&b,
			 "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
			 "\"request\":{\"uid\":\"u-1\",%s}}",
			 requests[i]);
		buf_reset(&answer_text);
		ck_assert_int_eq(
			inject_review(&settings, b.data, b.len, &answer_text, &outcome, &error), 0);
		ck_assert_int_eq(outcome.verdict, INJECT_SKIPPED);
		ck_assert(json_get_bool(response(&root), "allowed", false));
	}
}
END_TEST

#define NAMES(key, value) "\"harmony-agent/config\":\"vpn\",\"harmony-agent/" key "\":\"" value "\""

START_TEST(wrong_annotations)
{
	assert_refused(NAMES("log-level", "loud"),
		       "annotation harmony-agent/log-level: found \"loud\", accepted: debug, "
		       "info, warn, error");
	assert_refused(NAMES("readiness", "all"),
		       "annotation harmony-agent/readiness: found \"all\", accepted: tunnel, "
		       "start, off");
	assert_refused(NAMES("guard", "yes"),
		       "annotation harmony-agent/guard: found \"yes\", accepted: true, false");
	assert_refused(NAMES("confg", "x"), "annotation harmony-agent/confg: no such annotation, "
					    "did you mean harmony-agent/config?");
	assert_refused(NAMES("port", "0"),
		       "annotation harmony-agent/port: found \"0\", accepted: 1 to 65535");
	assert_refused(NAMES("inject", "yes"),
		       "annotation harmony-agent/inject: found \"yes\", accepted: true, false");
	assert_refused("\"harmony-agent/log-level\":\"info\"",
		       "annotation harmony-agent/config: found none, accepted: the name of a "
		       "ConfigMap (or by harmony-agent/secret, of a Secret) that says which "
		       "network the pod wants");
	assert_refused("\"harmony-agent/config\":7",
		       "annotation harmony-agent/config: found something that is no text");
	assert_refused_with(
		&settings, "{\"labels\":{\"harmony-agent/inject\":\"TRUE\"},\"annotations\":{}}",
		SPEC, "label harmony-agent/inject: found \"TRUE\", accepted: true, false");
}
END_TEST

/* Whoever has written a request or a limit is told of what they have written. */
START_TEST(request_above_limit)
{
	struct inject_choice c = settings.defaults;

	assert_refused(NAMES("memory-request", "256Mi"),
		       "annotation harmony-agent/memory-request: found \"256Mi\", accepted: at "
		       "most the limit, 128Mi by default");
	assert_refused(NAMES("cpu-limit", "5m"),
		       "annotation harmony-agent/cpu-limit: found \"5m\", accepted: at least the "
		       "request, 10m by default");
	assert_refused(NAMES("cpu-limit", "1") ",\"harmony-agent/cpu-request\":\"1500m\"",
		       "annotation harmony-agent/cpu-request: found \"1500m\", accepted: at most "
		       "harmony-agent/cpu-limit, which is \"1\"");
	/* The pod's own, also where it is the default's text. */
	assert_refused(NAMES("cpu-limit", "5m") ",\"harmony-agent/cpu-request\":\"10m\"",
		       "annotation harmony-agent/cpu-request: found \"10m\", accepted: at most "
		       "harmony-agent/cpu-limit, which is \"5m\"");
	c.memory_request = "1Gi";
	c.memory_limit = "1Mi";
	ck_assert_int_eq(inject_check_defaults(&c, &error), -EINVAL);
	ck_assert_str_eq(error.msg, "--memory-request: found '1Gi', accepted: at most "
				    "--memory-limit, which is '1Mi'");
}
END_TEST

/* Which of the pod's containers have the sidecar's port. */
START_TEST(port_is_free)
{
	static const struct {
		const char *spec;
		bool refused;
	} cases[] = {
		{"{\"containers\":[{\"ports\":[{\"containerPort\":80},{\"containerPort\":9586}]}]}",
		 true},
		{"{\"containers\":[{},{\"ports\":[{\"containerPort\":9586,\"protocol\":\"TCP\"}]}]"
		 "}",
		 true},
		{"{\"containers\":[{\"ports\":[{\"containerPort\":9586,\"protocol\":\"UDP\"}]}]}",
		 false},
		{"{\"containers\":[{\"ports\":[{\"containerPort\":9586,\"protocol\":\"SCTP\"}]}]}",
		 false},
		{"{\"initContainers\":[{\"restartPolicy\":\"Always\","
		 "\"ports\":[{\"containerPort\":9586}]}],\"containers\":[{}]}",
		 true},
		{"{\"initContainers\":[{\"restartPolicy\":\"Always\","
		 "\"ports\":[{\"containerPort\":9586,\"protocol\":\"UDP\"}]}],\"containers\":[{}]}",
		 false},
		{"{\"initContainers\":[{\"ports\":[{\"containerPort\":9586}]}],\"containers\":[{}]"
		 "}",
		 false},
		{"{\"containers\":[7,{\"ports\":[null,{\"containerPort\":\"9586\"}]}]}", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (cases[i].refused)
			assert_refused_with(&settings, META, cases[i].spec,
					    "annotation harmony-agent/port: found 9586, which a "
					    "container of the pod listens at, accepted: a port "
					    "that is free");
		else
			json_object_put(injected(&settings, META, cases[i].spec));
	}
}
END_TEST

START_TEST(wrong_values)
{
	static const struct {
		const char *name, *value;
	} cases[] = {
		{"config", ""},
		{"config", "-a"},
		{"config", "a-"},
		{"config", "a..b"},
		{"config", "a.-b"},
		{"config", "A"},
		{"config", "../x"},
		{"secret", "a/b"},
		{"network", ""},
		{"network", "-x"},
		{"network", "a b"},
		{"network", "$(X)"},
		{"image", ""},
		{"image", "a b"},
		{"image", "-x"},
		{"image", "x:"},
		{"port", "65536"},
		{"port", "080"},
		{"port", ""},
		{"port", "80 "},
		{"tun", "yes"},
		{"cpu-request", "0"},
		{"cpu-request", "-1"},
		{"cpu-request", "10Mi"},
		{"cpu-limit", "1e3"},
		{"cpu-limit", "."},
		{"cpu-limit", "1."},
		{"memory-limit", "128mb"},
		{"memory-limit", "100m"},
		{"memory-request", "Mi"},
		{"memory-request", "1.2.3"},
		{"memory-request", "99999999999999999999"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT(0), want = BUF_INIT(0);

		buf_addf(&b,
			 "{\"annotations\":{\"harmony-agent/secret\":\"s\","
			 "\"harmony-agent/%s\":\"%s\"}}",
			 cases[i].name, cases[i].value);
		if (str_eq(cases[i].name, "secret"))
			buf_reset(&b),
				buf_addf(&b, "{\"annotations\":{\"harmony-agent/secret\":\"%s\"}}",
					 cases[i].value);
		ck_assert_int_eq(review(&settings, "apps", b.data, SPEC), 0);
		buf_addf(&want,
			 "annotation harmony-agent/%s: found \"%s\", accepted: ", cases[i].name,
			 cases[i].value);
		ck_assert_msg(outcome.verdict == INJECT_REFUSED &&
				      str_starts(outcome.reason, want.data),
			      "%s=%s: verdict %d, %s", cases[i].name, cases[i].value,
			      outcome.verdict, outcome.reason);
	}
}
END_TEST

START_TEST(wrong_pods)
{
	assert_refused_with(&settings, META, "7", "pod: accepted is one with metadata and spec");
	assert_refused_with(&settings, META, "{\"volumes\":{},\"containers\":[]}",
			    "pod: spec.volumes: found object, accepted: array");
	assert_refused_with(&settings, META, "{\"initContainers\":\"x\"}",
			    "pod: spec.initContainers: found string, accepted: array");
	assert_refused_with(&settings, "[]", SPEC, "pod: accepted is one with metadata and spec");
	struct inject_settings s = settings;
	s.defaults.config = "all";
	assert_refused_with(&s, "{\"annotations\":[]}", SPEC,
			    "pod: metadata.annotations: found array, accepted: object");
}
END_TEST

START_TEST(no_review)
{
	static const char *const texts[] = {
		"",
		"x",
		"null",
		"[]",
		"{}",
		"{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\","
		"\"request\":{\"uid\":\"u\"}}",
		"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}",
		"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
		"\"request\":{\"uid\":\"\"}}",
		"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
		"\"request\":{\"uid\":7}}",
		"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
		"\"request\":{\"uid\":\"u\"}} trailing",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		buf_reset(&answer_text);
		ck_assert_msg(inject_review(&settings, texts[i], strlen(texts[i]), &answer_text,
					    &outcome, &error) == -EINVAL,
			      "%s", texts[i]);
		ck_assert_uint_eq(answer_text.len, 0);
	}
}
END_TEST

START_TEST(bounds)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	for (int i = 0; i < 70; i++)
		buf_addc(&b, '[');
	ck_assert_int_eq(inject_review(&settings, b.data, b.len, &answer_text, &outcome, &error),
			 -E2BIG);
	buf_reset(&b);
	buf_addc(&b, '[');
	while (b.len < 1 << 20)
		buf_adds(&b, "{},");
	ck_assert_int_eq(inject_review(&settings, b.data, b.len, &answer_text, &outcome, &error),
			 -E2BIG);
	buf_reset(&b);
	ck_assert_int_eq(buf_reserve(&b, INJECT_MAX_BYTES + 1), 0);
	memset(b.data, ' ', INJECT_MAX_BYTES + 1);
	ck_assert_int_eq(inject_review(&settings, b.data, INJECT_MAX_BYTES + 1, &answer_text,
				       &outcome, &error),
			 -E2BIG);
	/* What looks like values within a string is none. */
	buf_reset(&b);
	buf_adds(&b, "{\"annotations\":{\"harmony-agent/config\":\"vpn\",\"x\":\"\\\"");
	while (b.len < 1 << 20)
		buf_adds(&b, "{\\\\},[\\\"");
	buf_adds(&b, "\"}}");
	ck_assert_int_eq(review(&settings, "apps", b.data, SPEC), 0);
	ck_assert_int_eq(outcome.verdict, INJECT_PATCHED);
}
END_TEST

START_TEST(outside_text_is_escaped)
{
	_cleanup_json_ struct json_object *root = NULL;

	ck_assert_int_eq(review(&settings, "apps",
				"{\"name\":\"a\\u0001\\\"b\",\"annotations\":{"
				"\"harmony-agent/log-level\":\"\\\"},\\u0000\"}}",
				SPEC),
			 -EINVAL); /* NUL */
	ck_assert_int_eq(review(&settings, "apps",
				"{\"name\":\"a\",\"annotations\":{"
				"\"harmony-agent/log-level\":\"\\\"},\\u0007\\n\"}}",
				SPEC),
			 0);
	ck_assert_int_eq(outcome.verdict, INJECT_REFUSED);
	ck_assert_ptr_nonnull(strstr(
		json_get_str(json_path(response(&root), "status", NULL), "message"), "\\x07"));
}
END_TEST

START_TEST(default_settings_are_checked)
{
	struct inject_choice c = settings.defaults;

	ck_assert_int_eq(inject_check_defaults(&c, &error), 0);
	c.log_level = "loud";
	ck_assert_int_eq(inject_check_defaults(&c, &error), -EINVAL);
	ck_assert_str_eq(error.msg,
			 "--sidecar-log-level: found 'loud', accepted: debug, info, warn, error");
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("inject", sidecar, beside_what_is_there, null_is_absent, called_again,
			  every_annotation, ordinary_container, guard,
			  defaults_are_replaced_together, left_alone, not_a_new_pod,
			  wrong_annotations, request_above_limit, port_is_free, wrong_values,
			  wrong_pods, no_review, bounds, outside_text_is_escaped,
			  default_settings_are_checked);
}

UNIT_MAIN(suite)
