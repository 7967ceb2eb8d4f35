/*
 * The sidecar as JSON, and the patch (RFC 6902, `add` only) that puts it into a pod.
 *
 * `add` sets a member of an object, and inserts into an array: "/spec/initContainers/0" before the
 * first, "/spec/volumes/-" behind the last. An array or object that is absent (or null) is added
 * whole.
 *
 * The container:
 *   - runs as uid 0 with NET_ADMIN and nothing else: Kubernetes has no ambient capabilities, so
 *     that a capability takes effect for uid 0 only. What the pod says of users for all its
 *     containers (runAsNonRoot, runAsUser, runAsGroup) is overruled for this one.
 *   - waits with the start of what follows: a native sidecar counts as started when its
 *     startupProbe succeeds. Liveness is the agent's own and never the tunnel's.
 *   - has the pod's name for its node name: [network.X.nodes."web-0"] is the entry of the pod
 *     web-0, as it would be a node's under a DaemonSet.
 */
#include "inject/inject_priv.h"

#include <errno.h>
#include <json-c/json_util.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define VOLUME_PREFIX "harmony-agent-"
#define STATE_DIR     "/var/lib/harmony-agent"

/* A writer that remembers the first failed allocation, so that it is asked for once at the end.
 * Every object handed to it is its own from then on, also when it fails. */
struct maker {
	bool failed;
};

static struct json_object *made(struct maker *m, struct json_object *o)
{
	if (!o)
		m->failed = true;
	return o;
}

static void put(struct maker *m, struct json_object *o, const char *name, struct json_object *value)
{
	if (!made(m, value) || !o || json_object_object_add(o, name, value) < 0) {
		json_object_put(value);
		m->failed = true;
	}
}

static void put_str(struct maker *m, struct json_object *o, const char *name, const char *value)
{
	put(m, o, name, json_object_new_string(value));
}

static void put_bool(struct maker *m, struct json_object *o, const char *name, bool value)
{
	put(m, o, name, json_object_new_boolean(value));
}

static void put_int(struct maker *m, struct json_object *o, const char *name, int value)
{
	put(m, o, name, json_object_new_int(value));
}

static void push(struct maker *m, struct json_object *array, struct json_object *value)
{
	if (!made(m, value) || !array || json_object_array_add(array, value) < 0) {
		json_object_put(value);
		m->failed = true;
	}
}

static struct json_object *new_object(struct maker *m)
{
	return made(m, json_object_new_object());
}

static struct json_object *new_array(struct maker *m)
{
	return made(m, json_object_new_array());
}

static void push_str(struct maker *m, struct json_object *array, const char *value)
{
	push(m, array, json_object_new_string(value));
}

__attribute__((format(printf, 3, 4))) static void
push_fmt(struct maker *m, struct json_object *array, const char *fmt, ...)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	if (buf_error(&b) < 0)
		m->failed = true;
	else
		push_str(m, array, buf_str(&b));
}

static bool has_guard(const struct inject_choice *c)
{
	return c->guard && str_eq(c->guard, "true");
}

static struct json_object *args(struct maker *m, const struct inject_choice *c)
{
	struct json_object *a = new_array(m);

	push_str(m, a, "up");
	if (c->config)
		push_str(m, a, "--config=" INJECT_CONFIG_DIR);
	if (c->secret)
		push_str(m, a, "--config=" INJECT_SECRET_DIR);
	if (c->network)
		push_fmt(m, a, "--network=%s", c->network);
	push_str(m, a, "--node-name=$(POD_NAME)");
	push_str(m, a, "--state-dir=" STATE_DIR);
	push_str(m, a, "--on-exit=keep");
	push_str(m, a, "--respawn");
	if (has_guard(c))
		push_str(m, a, "--guard");
	push_fmt(m, a, "--http=*:%s", c->port);
	push_str(m, a, "--log-format=json");
	push_fmt(m, a, "--log-level=%s", c->log_level);
	return a;
}

static struct json_object *env(struct maker *m)
{
	struct json_object *list = new_array(m), *var = new_object(m), *from = new_object(m),
			   *field = new_object(m);

	put_str(m, field, "fieldPath", "metadata.name");
	put(m, from, "fieldRef", field);
	put_str(m, var, "name", "POD_NAME");
	put(m, var, "valueFrom", from);
	push(m, list, var);
	return list;
}

static struct json_object *security(struct maker *m, const struct inject_settings *s)
{
	struct json_object *o = new_object(m), *caps = new_object(m), *drop = new_array(m),
			   *add = new_array(m), *seccomp = new_object(m);

	push_str(m, drop, "ALL");
	push_str(m, add, "NET_ADMIN");
	if (s->ipc_lock)
		push_str(m, add, "IPC_LOCK");
	put(m, caps, "drop", drop);
	put(m, caps, "add", add);
	put_str(m, seccomp, "type", "RuntimeDefault");
	put_int(m, o, "runAsUser", 0);
	put_int(m, o, "runAsGroup", 0);
	put_bool(m, o, "runAsNonRoot", false);
	put_bool(m, o, "privileged", false);
	put_bool(m, o, "allowPrivilegeEscalation", false);
	put_bool(m, o, "readOnlyRootFilesystem", true);
	put(m, o, "capabilities", caps);
	put(m, o, "seccompProfile", seccomp);
	return o;
}

struct probe {
	const char *name, *path;
	int period, timeout, failures;
};

/* Of a failed HTTP probe the kubelet shows the status code alone, of a failed command what it has
 * printed: `kubectl describe pod` is to say why a tunnel is not up. So what may fail for long and
 * is worth the words is asked by `harmony-agent ready`, everything else by HTTP, which costs
 * nothing. */
struct command {
	const char *name, *path;
	const char *option; /* by which one run waits, so that few are needed */
	int period, failures;
};

#define COMMAND_WAITS   8  /* seconds */
#define COMMAND_TIMEOUT 20 /* to start a process on a busy node, and what it waits */

static void put_command(struct maker *m, struct json_object *container, const char *port,
			const struct command *p)
{
	struct json_object *o = new_object(m), *exec = new_object(m), *argv = new_array(m);

	push_str(m, argv, "harmony-agent");
	push_str(m, argv, "ready");
	push_fmt(m, argv, "--http=127.0.0.1:%s", port);
	if (str_eq(p->path, "/startupz"))
		push_str(m, argv, "--startup");
	push_fmt(m, argv, "%s=%d", p->option, COMMAND_WAITS);
	put(m, exec, "command", argv);
	put(m, o, "exec", exec);
	put_int(m, o, "periodSeconds", p->period);
	put_int(m, o, "timeoutSeconds", COMMAND_TIMEOUT);
	put_int(m, o, "failureThreshold", p->failures);
	put(m, container, p->name, o);
}

static void put_probe(struct maker *m, struct json_object *container, const char *port,
		      const struct probe *p)
{
	struct json_object *o = new_object(m), *get = new_object(m);

	put_int(m, get, "port", (int)strtol(port, NULL, 10)); /* see annotations.c */
	put_str(m, get, "path", p->path);
	put(m, o, "httpGet", get);
	put_int(m, o, "periodSeconds", p->period);
	put_int(m, o, "timeoutSeconds", p->timeout);
	put_int(m, o, "failureThreshold", p->failures);
	put(m, container, p->name, o);
}

/* The startup probe's patience is INJECT_STARTUP_TRIES: until then an absent gateway restarts
 * nothing. */
static void put_probes(struct maker *m, struct json_object *o, const struct inject_settings *s,
		       const struct inject_choice *c)
{
	bool waits = !str_eq(c->readiness, "off");

	/* An application with a guard never starts before it, tunnel or not. An ordinary
	 * container's start delays nobody's, so it is started as soon as it runs. */
	if (s->mode == INJECT_MODE_SIDECAR && (waits || has_guard(c)))
		put_command(m, o, c->port,
			    &(struct command){"startupProbe", waits ? "/readyz" : "/startupz",
					      "--wait", 1, INJECT_STARTUP_TRIES});
	else
		put_probe(m, o, c->port,
			  &(struct probe){"startupProbe", "/healthz?always", 1, 3,
					  INJECT_STARTUP_TRIES});
	put_probe(m, o, c->port, &(struct probe){"livenessProbe", "/livez", 10, 5, 6});
	if (str_eq(c->readiness, "tunnel"))
		put_command(m, o, c->port,
			    &(struct command){"readinessProbe", "/readyz", "--hold", 2, 1});
}

static struct json_object *resources(struct maker *m, const struct inject_choice *c)
{
	struct json_object *o = new_object(m), *requests = new_object(m), *limits = new_object(m);

	if (c->cpu_request)
		put_str(m, requests, "cpu", c->cpu_request);
	if (c->memory_request)
		put_str(m, requests, "memory", c->memory_request);
	if (c->cpu_limit)
		put_str(m, limits, "cpu", c->cpu_limit);
	if (c->memory_limit)
		put_str(m, limits, "memory", c->memory_limit);
	put(m, o, "requests", requests);
	put(m, o, "limits", limits);
	return o;
}

static void push_mount(struct maker *m, struct json_object *list, const char *volume,
		       const char *path, bool read_only)
{
	struct json_object *o = new_object(m);

	put_str(m, o, "name", volume);
	put_str(m, o, "mountPath", path);
	if (read_only)
		put_bool(m, o, "readOnly", true);
	push(m, list, o);
}

static struct json_object *mounts(struct maker *m, const struct inject_choice *c)
{
	struct json_object *list = new_array(m);

	push_mount(m, list, VOLUME_PREFIX "run", "/run", false);
	push_mount(m, list, VOLUME_PREFIX "state", STATE_DIR, false);
	if (c->config)
		push_mount(m, list, VOLUME_PREFIX "config", INJECT_CONFIG_DIR, true);
	if (c->secret)
		push_mount(m, list, VOLUME_PREFIX "secret", INJECT_SECRET_DIR, true);
	if (str_eq(c->tun, "true"))
		push_mount(m, list, VOLUME_PREFIX "tun", "/dev/net/tun", false);
	return list;
}

static struct json_object *container(struct maker *m, const struct inject_settings *s,
				     const struct inject_choice *c)
{
	struct json_object *o = new_object(m);

	put_str(m, o, "name", INJECT_CONTAINER);
	put_str(m, o, "image", c->image);
	if (s->pull_policy)
		put_str(m, o, "imagePullPolicy", s->pull_policy);
	put(m, o, "args", args(m, c));
	put(m, o, "env", env(m));
	if (s->mode == INJECT_MODE_SIDECAR)
		put_str(m, o, "restartPolicy", "Always");
	put(m, o, "securityContext", security(m, s));
	put_probes(m, o, s, c);
	put(m, o, "resources", resources(m, c));
	put(m, o, "volumeMounts", mounts(m, c));
	return o;
}

static void push_volume(struct maker *m, struct json_object *list, const char *name,
			const char *type, struct json_object *source)
{
	struct json_object *o = new_object(m);

	put_str(m, o, "name", name);
	put(m, o, type, source);
	push(m, list, o);
}

/* In memory: control socket, generated keys, the last good configuration. They last as long as
 * the pod, over restarts of the container. */
static struct json_object *scratch(struct maker *m)
{
	struct json_object *o = new_object(m);

	put_str(m, o, "medium", "Memory");
	put_str(m, o, "sizeLimit", "16Mi");
	return o;
}

static struct json_object *volumes(struct maker *m, const struct inject_choice *c)
{
	struct json_object *list = new_array(m), *o;

	push_volume(m, list, VOLUME_PREFIX "run", "emptyDir", scratch(m));
	push_volume(m, list, VOLUME_PREFIX "state", "emptyDir", scratch(m));
	if (c->config) {
		o = new_object(m);
		put_str(m, o, "name", c->config);
		push_volume(m, list, VOLUME_PREFIX "config", "configMap", o);
	}
	if (c->secret) {
		o = new_object(m);
		put_str(m, o, "secretName", c->secret);
		put_int(m, o, "defaultMode", 0400);
		push_volume(m, list, VOLUME_PREFIX "secret", "secret", o);
	}
	if (str_eq(c->tun, "true")) {
		o = new_object(m);
		put_str(m, o, "path", "/dev/net/tun");
		put_str(m, o, "type", "CharDevice");
		push_volume(m, list, VOLUME_PREFIX "tun", "hostPath", o);
	}
	return list;
}

static void push_add(struct maker *m, struct json_object *patch, const char *path,
		     struct json_object *value)
{
	struct json_object *op = new_object(m);

	put_str(m, op, "op", "add");
	put_str(m, op, "path", path);
	put(m, op, "value", value);
	push(m, patch, op);
}

/* The member of that type, or NULL where it is absent or null; -EINVAL where it is another. */
static int existing(struct json_object *o, const char *where, const char *name, enum json_type type,
		    struct json_object **ret, struct err *e)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, name, &value);
	if (value && !json_object_is_type(value, type))
		return err_set(e, -EINVAL, "pod: %s.%s: found %s, accepted: %s", where, name,
			       json_type_to_name(json_object_get_type(value)),
			       json_type_to_name(type));
	*ret = value;
	return 0;
}

static int add_annotation(struct maker *m, struct json_object *metadata, struct json_object *patch,
			  struct err *e)
{
	struct json_object *annotations, *o;
	int r = existing(metadata, "metadata", "annotations", json_type_object, &annotations, e);

	if (r < 0)
		return r;
	if (annotations) {
		push_add(m, patch, "/metadata/annotations/harmony-agent~1injected",
			 json_object_new_string(HARMONY_VERSION));
		return 0;
	}
	o = new_object(m);
	put_str(m, o, INJECT_DONE, HARMONY_VERSION);
	push_add(m, patch, "/metadata/annotations", o);
	return 0;
}

static int add_volumes(struct maker *m, const struct inject_choice *c, struct json_object *spec,
		       struct json_object *patch, struct err *e)
{
	struct json_object *have, *list;
	int r = existing(spec, "spec", "volumes", json_type_array, &have, e);

	if (r < 0)
		return r;
	list = volumes(m, c);
	if (!have) {
		push_add(m, patch, "/spec/volumes", list);
		return 0;
	}
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		push_add(m, patch, "/spec/volumes/-",
			 json_object_get(json_object_array_get_idx(list, i)));
	json_object_put(list);
	return 0;
}

static int add_container(struct maker *m, const struct inject_settings *s,
			 const struct inject_choice *c, struct json_object *spec,
			 struct json_object *patch, struct err *e)
{
	bool native = s->mode == INJECT_MODE_SIDECAR;
	const char *list = native ? "initContainers" : "containers";
	struct json_object *have, *whole;
	int r = existing(spec, "spec", list, json_type_array, &have, e);

	if (r < 0)
		return r;
	if (have) {
		push_add(m, patch, native ? "/spec/initContainers/0" : "/spec/containers/-",
			 container(m, s, c));
		return 0;
	}
	whole = new_array(m);
	push(m, whole, container(m, s, c));
	push_add(m, patch, native ? "/spec/initContainers" : "/spec/containers", whole);
	return 0;
}

int inject_make_patch(const struct inject_settings *s, const struct inject_choice *c,
		      struct json_object *pod, struct json_object **ret, struct err *e)
{
	struct json_object *metadata = json_get(pod, "metadata", json_type_object);
	struct json_object *spec = json_get(pod, "spec", json_type_object);
	struct maker m = {0};
	_cleanup_json_ struct json_object *patch = new_array(&m);
	int r;

	if ((r = add_annotation(&m, metadata, patch, e)) < 0 ||
	    (r = add_volumes(&m, c, spec, patch, e)) < 0 ||
	    (r = add_container(&m, s, c, spec, patch, e)) < 0)
		return r;
	if (m.failed)
		return err_set(e, -ENOMEM, "out of memory");
	*ret = mem_steal(&patch);
	return 0;
}
