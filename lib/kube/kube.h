/*
 * The Kubernetes API, as much of it as a node agent needs: where the API server is and who we are
 * (kube_config), requests (kube_client), one object kept current (kube_watch), Events, and the
 * node's own entry in a ConfigMap (kube_publish). docs/kubernetes.md says which rights each takes.
 *
 * Everything runs on one event_base, in its thread, and never blocks it. Callbacks come from the
 * loop, never from inside the call that caused them, and may call any function here, the one
 * that frees their own object included. All errors are told by callback and retried; nothing
 * here gives up, but for a single Event after some attempts.
 */
#ifndef KUBE_KUBE_H
#define KUBE_KUBE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"

struct event_base;

/* ---- Where the API server is, and who we are (config.c) ---- */

/* PEM text or token: from the configuration itself, or a file that is read again (credential.c).
 * Both NULL: none. */
struct kube_source {
	char *data; /* wiped when freed */
	char *file;
};

struct kube_config {
	char *server; /* "https://10.96.0.1:443", without a trailing '/' */
	char *ns; /* the namespace of the mount or of the context; "default" where none is said */
	char *proxy;    /* proxy-url, or NULL: the environment's */
	char *tls_name; /* tls-server-name, or NULL: the host of `server` */
	bool insecure;  /* insecure-skip-tls-verify */
	struct kube_source ca, cert, key, token;
};

/* Where Kubernetes mounts a pod's token, CA and namespace. */
#define KUBE_IN_CLUSTER_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

/* From KUBERNETES_SERVICE_HOST and _PORT and the files token, ca.crt and namespace in `dir`
 * (NULL: the place above). -ENOENT where this is no pod. */
int kube_config_in_cluster(const char *dir, struct kube_config **ret, struct err *e);

/* One kubeconfig (YAML or JSON, kind Config). `context` NULL: current-context. Relative paths in
 * it count from `dir`, the folder it is in. Users that need a program (exec, auth-provider) and
 * passwords are refused with a message that says what is accepted. */
int kube_config_parse(const char *text, size_t len, const char *dir, const char *context,
		      struct kube_config **ret, struct err *e);
int kube_config_load(const char *path, const char *context, struct kube_config **ret,
		     struct err *e);

/* What a program started by anyone should use: `path` if not NULL; else in-cluster in a pod;
 * else the one file that KUBECONFIG names; else ~/.kube/config. */
int kube_config_find(const char *path, const char *context, struct kube_config **ret,
		     struct err *e);

void kube_config_free(struct kube_config *c);
MEM_CLEANUP(struct kube_config, kube_config_free);
#define _cleanup_kube_config_ _cleanup_(kube_config_free_p)

/* ---- Requests (client.c) ---- */

struct kube_client;

/* Takes over `config`, also on failure. Reads the credentials once (a missing or broken file is
 * an error here, and only here), then every minute and when a mounted folder is swapped. */
int kube_client_new(struct event_base *base, struct kube_config *config, struct kube_client **ret,
		    struct err *e);
/* After everything that was made from it. Requests in flight end without their callback. */
void kube_client_free(struct kube_client *c);
MEM_CLEANUP(struct kube_client, kube_client_free);

const char *kube_client_namespace(const struct kube_client *c);
const char *kube_client_server(const struct kube_client *c);

struct kube_client_stats {
	uint64_t requests, errors;    /* answered or failed; errors: the latter and status >= 400 */
	uint64_t token_reads;         /* the token's content changed */
	uint64_t ca_changes;          /* the CA's or the client certificate's content changed */
	uint64_t credential_failures; /* a file could not be read; the old content is kept */
	uint64_t probe_failures;      /* the API server gave no sign of life (see probe.c) */
};
void kube_client_get_stats(const struct kube_client *c, struct kube_client_stats *ret);

/* Why a request failed, from the Status object in the answer if there is one (API reference,
 * meta/v1 Status). */
struct kube_status {
	int http;                  /* 0: no answer came (net is set) */
	int net;                   /* negative errno: -ECONNREFUSED, -ETIMEDOUT, … */
	unsigned retry_after;      /* seconds, from the header or details.retryAfterSeconds */
	bool rv_too_large;         /* a details.causes[] is ResourceVersionTooLarge */
	char reason[48];           /* "Forbidden", "Expired", … or "" */
	char message[ERR_MSG_MAX]; /* never empty on failure; names verb, object and server */
};

struct kube_request {
	const char *method;       /* "GET", "POST", "PATCH", … */
	const char *path;         /* with the query: "/api/v1/namespaces/…" */
	const char *content_type; /* with a body; NULL: application/json */
	const char *body;         /* copied; NULL: none */
	size_t body_len;
	unsigned timeout_secs; /* for the whole request; 0: 30 */
	bool secret;           /* the answer's bytes are wiped after use */
};

struct kube_call;

/* `object` is the answer (NULL where it is no JSON object) and belongs to the caller of the
 * callback; status->http < 300 is success. */
typedef void (*kube_done_fn)(void *arg, const struct kube_status *status,
			     struct json_object *object);

/* Answers are at most KUBE_MAX_BYTES long (an object in etcd is at most 1.5 MiB). */
#define KUBE_MAX_BYTES ((size_t)8 << 20)

int kube_client_send(struct kube_client *c, const struct kube_request *req, kube_done_fn done,
		     void *arg, struct kube_call **ret, struct err *e);
/* Ends it without its callback. Only before the callback was called; NULL is accepted. */
void kube_call_cancel(struct kube_call *call);

/* ---- One object kept current (watch.c; the rules: reflector.c) ---- */

enum kube_kind { KUBE_SECRET, KUBE_CONFIGMAP };

struct kube_watch_state {
	bool synced; /* a list was answered at least once: `exists` is true to a moment's delay */
	bool connected; /* a watch stream is open and answering */
	bool exists;
	struct mono last_sync; /* the last time the server said anything on the stream, or a list */
	uint64_t lists, relists; /* relists: lists after the first that was answered */
	uint64_t watches;        /* streams opened */
	uint64_t events;         /* objects and bookmarks received */
	uint64_t errors;         /* failed lists and watches, not counting ordinary ends */
	char resource_version[64];
	char error[ERR_MSG_MAX]; /* why it is not connected, "" while it is */
};

struct kube_watch_ops {
	/* The object as it is now: on the first list, and whenever its resourceVersion or uid is
	 * another one than last told. Borrowed; a Secret's values are wiped after the call. */
	void (*changed)(void *arg, struct json_object *object);
	/* It was there and is no more. */
	void (*deleted)(void *arg);
	/* synced, connected, exists or error changed. May be NULL. */
	void (*state)(void *arg, const struct kube_watch_state *state);
};

struct kube_watch;

/* Starts at once. `ns` NULL: the client's. */
int kube_watch_new(struct kube_client *c, enum kube_kind kind, const char *ns, const char *name,
		   const struct kube_watch_ops *ops, void *arg, struct kube_watch **ret,
		   struct err *e);
void kube_watch_free(struct kube_watch *w);
MEM_CLEANUP(struct kube_watch, kube_watch_free);
const struct kube_watch_state *kube_watch_get_state(const struct kube_watch *w);

/* ---- What is in a Secret or ConfigMap (object.c) ---- */

/* Borrowed from the object; "" where it has none. */
struct kube_meta {
	const char *ns, *name, *uid, *resource_version;
};
void kube_object_meta(struct json_object *o, struct kube_meta *ret);

/* One entry of data, binaryData or (decoded) of a Secret's data. The bytes have a NUL behind
 * them, belong to the iteration and are wiped after the call. A negative result ends it. */
typedef int (*kube_entry_fn)(void *arg, const char *key, const char *data, size_t len,
			     struct err *e);

/* In the object's order. Returns 0, the callback's negative result, -EINVAL for a value that is
 * not what the kind says (its key is named, the value is not), -ENOMEM. */
int kube_object_each(enum kube_kind kind, struct json_object *o, kube_entry_fn fn, void *arg,
		     struct err *e);

/* Whether an entry of that name is a configuration document: .toml, .yaml, .yml, .json. */
bool kube_key_is_document(const char *key);

/* ---- Events (events.c; events.k8s.io/v1) ---- */

struct kube_events;

/* What an Event is about. Copied; uid "" is accepted (kubectl describe then does not show it). */
struct kube_ref {
	const char *api_version, *kind; /* "v1", "ConfigMap" */
	const char *ns, *name, *uid; /* ns "": the object has none, and the Event's is "default" */
};

struct kube_events_stats {
	uint64_t sent, repeated, dropped, failed; /* repeated: counted into an Event's series */
	char error[ERR_MSG_MAX];                  /* of the last failure, "" after a success */
};

/* `instance`: reportingInstance, the node's name. */
int kube_events_new(struct kube_client *c, const char *instance, struct kube_events **ret,
		    struct err *e);
void kube_events_free(struct kube_events *ev);
MEM_CLEANUP(struct kube_events, kube_events_free);

/* Queues one; never blocks and never fails: what is too much is dropped and counted. The same
 * reason and note about the same object within ten minutes is counted in the Event's series
 * instead of a new Event. `reason` is CamelCase, `action` says what was being done, `note` is at
 * most 1023 bytes (cut). */
void kube_event(struct kube_events *ev, const struct kube_ref *about, bool warning,
		const char *reason, const char *action, const char *note);
void kube_events_get_stats(const struct kube_events *ev, struct kube_events_stats *ret);

/* ---- A condition of the node's pods that wait for it (gate.c) ---- */

#define KUBE_GATE_LABEL     "harmony-agent/tunnel-gate" /* "true": the pod is one of them */
#define KUBE_GATE_CONDITION "harmony-agent/tunnel-ready"

struct kube_gate;

/* Keeps the condition of all pods on `node` that carry the label. Nothing is written before the
 * first kube_gate_set. */
int kube_gate_new(struct kube_client *c, const char *node, struct kube_gate **ret, struct err *e);
void kube_gate_free(struct kube_gate *g);
MEM_CLEANUP(struct kube_gate, kube_gate_free);
/* What the condition should say from now on; `why` is cut to 200 bytes, and a change of it alone is
 * not written. */
void kube_gate_set(struct kube_gate *g, bool ready, const char *why);
const char *kube_gate_error(const struct kube_gate *g); /* of the last attempt, "" for none */

/* ---- A taint of the node that goes when its tunnels are up (taint.c) ---- */

struct kube_taint;

/* Removes the taints of `node` that have this key, whatever their effect, whenever they are there
 * while it is ready, and changes nothing else of the node. -EINVAL for what is no key, and for keys
 * of kubernetes.io and k8s.io. `removed` tells of each removal. Nothing is asked before the first
 * kube_taint_set(true). */
int kube_taint_new(struct kube_client *c, const char *node, const char *key,
		   void (*removed)(void *arg), void *arg, struct kube_taint **ret, struct err *e);
void kube_taint_free(struct kube_taint *t);
MEM_CLEANUP(struct kube_taint, kube_taint_free);
void kube_taint_set(struct kube_taint *t, bool ready);
const char *kube_taint_error(const struct kube_taint *t); /* of the last attempt, "" for none */

/* ---- Who of several does it (lease.c; coordination.k8s.io/v1) ---- */

struct kube_lease;

/* Takes part in holding Lease ns/name, which must exist (the chart makes it), under the name
 * `identity`. ns NULL: the client's. The rules are client-go's: it is held for two thirds of
 * `duration_secs` after each renewal that was answered, so that the holder knows of its loss before
 * another one takes it; and taken from a holder that has not renewed it for its whole time, by our
 * own clock. `changed` tells when it is held and when no more. */
int kube_lease_new(struct kube_client *c, const char *ns, const char *name, const char *identity,
		   unsigned duration_secs, void (*changed)(void *arg, bool held), void *arg,
		   struct kube_lease **ret, struct err *e);
bool kube_lease_held(const struct kube_lease *l);
const char *kube_lease_error(const struct kube_lease *l); /* of the last attempt, "" for none */
uint64_t kube_lease_failures(const struct kube_lease *l); /* attempts that failed; 409 is none */
/* Gives it back, if it is held, so that the next one need not wait; and takes part no more. */
void kube_lease_release(struct kube_lease *l);
void kube_lease_free(struct kube_lease *l);
MEM_CLEANUP(struct kube_lease, kube_lease_free);

/* ---- The node's entry in the nodes' ConfigMap (publish.c) ---- */

struct kube_node_key {
	const char *network, *public_key; /* base64 */
	const char *endpoint;             /* "HOST:PORT", where others reach it; NULL: unknown */
};

struct kube_node_state {
	const struct kube_node_key *keys;
	size_t n_keys;
	const char *generation; /* what is applied, for instance a resourceVersion or a hash */
	const char *error;      /* of the last attempt; NULL or "": none. Cut to 200 bytes */
};

struct kube_publish;

/* The entry `node` of ConfigMap ns/name, which must exist (the chart makes it). ns NULL: the
 * client's. */
int kube_publish_new(struct kube_client *c, const char *ns, const char *name, const char *node,
		     struct kube_publish **ret, struct err *e);
void kube_publish_free(struct kube_publish *p);
MEM_CLEANUP(struct kube_publish, kube_publish_free);

/* What should stand there from now on; written if it differs from what was set before, soon (at
 * most once in 5 s), and again until it succeeded. NULL: no entry. -ENOMEM, -E2BIG. */
int kube_publish_set(struct kube_publish *p, const struct kube_node_state *state, struct err *e);
/* Whether all that was set is written; *ret_error is why not, "" if so or not tried yet. */
bool kube_publish_done(const struct kube_publish *p, const char **ret_error);

#endif
