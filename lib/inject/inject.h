/*
 * Sidecar injection: an AdmissionReview (admission.k8s.io/v1) about a new pod goes in, the answer
 * comes out, with the JSONPatch that adds the agent. Pure: no I/O, no clock.
 *
 * Who is meant is chosen by the webhook's selectors in the cluster (label harmony-agent/inject:
 * "true" on the pod or its namespace), since the review does not hold the namespace's labels. The
 * annotation of that name opts out only. A pod that comes here is therefore opted in, unless
 *   - its label or annotation harmony-agent/inject says "false",
 *   - it is in kube-system, kube-public, kube-node-lease or the injector's own namespace,
 *   - it is a mirror pod, uses the node's network, or runs on Windows,
 *   - it has a container named harmony-agent already (the call is repeated, or the user's own).
 *
 * The patch has `add` operations only. docs/kubernetes.md, "Sidecar", has the annotations by which
 * a pod asks for something else than the settings. A wrong one refuses the pod with a message that
 * names the annotation, what was found, and what is accepted.
 */
#ifndef INJECT_INJECT_H
#define INJECT_INJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define INJECT_CONTAINER    "harmony-agent" /* the name that says: has the sidecar */
#define INJECT_MAX_BYTES    ((size_t)10 << 20)
#define INJECT_PORT_DEFAULT "9586"
#define INJECT_CONFIG_DIR   "/etc/harmony-agent/config" /* where the ConfigMap is mounted */
#define INJECT_SECRET_DIR   "/etc/harmony-agent/secret" /* where the Secret is mounted */
/* Of the startup probe, until a restart: a day where it is by HTTP, each second; more than a week
 * where it is a command, of which each waits some seconds. */
#define INJECT_STARTUP_TRIES 86400

enum inject_mode {
	INJECT_MODE_SIDECAR,   /* first of initContainers, restartPolicy Always: Kubernetes 1.29 */
	INJECT_MODE_CONTAINER, /* last of containers, for older servers */
};

/* What a pod may ask for. NULL: nothing said. All are borrowed texts, checked as the annotations
 * of the same name are. */
struct inject_choice {
	const char *config;  /* ConfigMap with documents */
	const char *secret;  /* Secret with documents and keys */
	const char *network; /* the only one of the documents' networks to bring up */
	const char *image;
	const char *log_level;
	const char *readiness; /* "tunnel": the application waits for the tunnel, and the pod is
				* Ready while it is up; "start": it waits only; "off": neither */
	const char *port;      /* of the probes, in the pod's network */
	const char *tun;       /* "true": /dev/net/tun is mounted, for userspace devices */
	const char *guard;     /* "true": what the tunnel leads to is reached by it or not at all */
	const char *cpu_request, *cpu_limit, *memory_request, *memory_limit;
};

struct inject_settings {
	enum inject_mode mode;
	const char *own_namespace;     /* never injected into; NULL: none */
	const char *pull_policy;       /* NULL: the cluster's default */
	bool ipc_lock;                 /* CAP_IPC_LOCK beside CAP_NET_ADMIN */
	struct inject_choice defaults; /* image, log_level, readiness, port and tun are set */
};

enum inject_verdict {
	INJECT_PATCHED,
	INJECT_ALREADY, /* the sidecar is there */
	INJECT_SKIPPED, /* not meant; the reason is told */
	INJECT_REFUSED,
};

/* What was done, for the log. */
struct inject_outcome {
	enum inject_verdict verdict;
	char pod[512];            /* "NAMESPACE/NAME", of a pod without a name its generateName */
	char reason[ERR_MSG_MAX]; /* of INJECT_SKIPPED and INJECT_REFUSED */
};

/* Answers one review. Appends the response's JSON to `ret_answer`. -EINVAL: not an AdmissionReview
 * that could be answered (to be told with 400); -E2BIG; -ENOMEM. On failure the buffer holds what
 * it held. */
int inject_review(const struct inject_settings *s, const char *text, size_t len,
		  struct buf *ret_answer, struct inject_outcome *ret, struct err *e);

/* Whether the settings are ones that a pod may ask for: -EINVAL names the first that is not, as
 * an option ("--sidecar-log-level: found …, accepted: …"). */
int inject_check_defaults(const struct inject_choice *c, struct err *e);

#endif
