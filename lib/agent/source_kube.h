/*
 * Configuration from a Secret and a ConfigMap of the Kubernetes API, key material from the
 * Secret, Events about what became of it, and the node's published state.
 */
#ifndef AGENT_SOURCE_KUBE_H
#define AGENT_SOURCE_KUBE_H

#include "agent/docs.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/keys.h"
#include "kube/kube.h"

struct event_base;
struct agent_options;
struct agent_source_kube;

int agent_source_kube_new(struct event_base *base, const struct agent_options *opts,
			  void (*changed)(void *arg), void *arg, struct agent_source_kube **ret,
			  struct err *e);
void agent_source_kube_free(struct agent_source_kube *s);
MEM_CLEANUP(struct agent_source_kube, agent_source_kube_free);

/* True once every watched object was seen or is known not to exist, or a cached copy was taken. */
bool agent_source_kube_synced(const struct agent_source_kube *s);

/* Appends the documents of both objects, those of deleted objects included, which are `gone`.
 * -EINVAL where an object holds what cannot be read, -EAGAIN where objects that do not exist are
 * why there is no document, -ENODATA where there is none in those that do, -ENOMEM. */
int agent_source_kube_docs(const struct agent_source_kube *s, struct agent_docs *ret,
			   struct err *e);

/* Looks up key entries of the Secret; valid as long as the source. */
const struct config_secrets *agent_source_kube_secrets(struct agent_source_kube *s);

/* The documents were taken: they are kept on disk for a start without an API server. */
void agent_source_kube_accepted(struct agent_source_kube *s);

/* Whether a document, by its name, is of an object that is gone. */
bool agent_source_kube_is_gone(const struct agent_source_kube *s, const char *doc);

/* From here on, documents and keys are those on disk (true), or the API server's (false). Returns
 * whether they are the former: there may be nothing on disk. */
bool agent_source_kube_use_kept(struct agent_source_kube *s, bool use);

/* What is not there or not answered for, one a line; false (and nothing) where all is. */
bool agent_source_kube_missing(const struct agent_source_kube *s, struct buf *why);

/* An Event about the ConfigMap or Secret (whichever is watched). What touches readiness (a warning,
 * PeerUp) is told about the agent's pod too, where the environment has POD_NAMESPACE, POD_NAME and
 * POD_UID. */
void agent_source_kube_event(struct agent_source_kube *s, bool warning, const char *reason,
			     const char *note);
void agent_source_kube_publish(struct agent_source_kube *s, const struct kube_node_state *state);

/* Whether the tunnels are up, for the pods and the taint that wait for it (--kube-gate,
 * --kube-taint). */
void agent_source_kube_ready(struct agent_source_kube *s, bool ready, const char *why);

struct agent_kube_status {
	struct kube_watch_state secret, configmap; /* zeroed where not watched */
	bool has_secret, has_configmap, from_cache;
	struct kube_client_stats client;
	struct kube_events_stats events;
};
void agent_source_kube_status(const struct agent_source_kube *s, struct agent_kube_status *ret);

#endif
