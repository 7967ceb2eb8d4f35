/*
 * The agent: sources of what is wanted on one side, the machine on the other, and the loop that
 * makes the second match the first. docs/architecture.md tells how the parts work together.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct event_base;
struct agent;

enum agent_on_exit { AGENT_EXIT_KEEP, AGENT_EXIT_REMOVE };

/* Borrowed for the agent's life. */
struct agent_options {
	const char *const *configs; /* files and directories */
	size_t n_configs;
	const char *kube_secret, *kube_configmap; /* "NAMESPACE/NAME" or "NAME"; NULL: none */
	const char *kube_publish;                 /* ConfigMap of the nodes' states; NULL: none */
	bool kube_gate;          /* keep the condition of pods that wait for the node's tunnel */
	const char *kube_taint;  /* taint to remove from the node when it is ready; NULL: none */
	const char *kubeconfig;  /* NULL: in-cluster, or the user's */
	const char *node;        /* NULL: none is known */
	const char *network;     /* the only one; NULL: all of them */
	const char *state_dir;   /* generated keys and the last good configuration */
	const char *const *http; /* "127.0.0.1:9586", "[::1]:9586"; none: off */
	size_t n_http;
	const char *control;   /* path of the control socket; NULL: off */
	const char *userspace; /* device.h, device_probe: program or launcher; NULL: look for one */
	enum agent_on_exit on_exit;
	bool observe_only;  /* report what differs, change nothing */
	bool no_nft;        /* leave nftables alone altogether */
	bool guard;         /* every network is guarded; not with no_nft */
	unsigned poll_secs; /* longest time between two looks at the machine; 0: 5 */
};

/* Opens what it needs and takes the configuration in; the first reconciliation follows when the
 * loop runs. A configuration that cannot be read or is wrong is no failure here: it is reported,
 * and the agent waits for a better one. Failures are what would not mend itself: a missing
 * capability, a second agent on the node, an address that is taken. */
int agent_new(struct event_base *base, const struct agent_options *opts, struct agent **ret,
	      struct err *e);
/* After the loop has ended. Takes the tunnels down with AGENT_EXIT_REMOVE. */
void agent_free(struct agent *a);
MEM_CLEANUP(struct agent, agent_free);

/* Read everything again and reconcile (SIGHUP). */
void agent_reload(struct agent *a);

/* Whether all is applied and the required peers are up. */
bool agent_is_ready(struct agent *a);

#endif
