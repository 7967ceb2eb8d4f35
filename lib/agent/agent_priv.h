/*
 * Shared by the files that make up the running agent: agent.c (life, sources), amend.c (small
 * changes), reconcile.c (the loop), audit.c (what a run has done), status.c (status, readiness and
 * health texts), exporter.c (metrics), serve.c (HTTP and control socket).
 */
#ifndef AGENT_AGENT_PRIV_H
#define AGENT_AGENT_PRIV_H

#include "agent/agent.h"
#include "agent/backend.h"
#include "agent/desired.h"
#include "agent/docs.h"
#include "agent/endpoints.h"
#include "agent/only.h"
#include "agent/plan.h"
#include "agent/prober.h"
#include "agent/resolve.h"
#include "agent/source_file.h"
#include "agent/source_kube.h"
#include "agent/state.h"
#include "agent/sys.h"
#include "agent/wanted.h"
#include "device/device.h"
#include "health/health.h"
#include "metrics/metrics.h"
#include "netlink/monitor.h"

struct agent_exporter;
struct agent_serve;
struct event;

/* What runs beside the configuration for one network. */
struct agent_net {
	char *name; /* owned */
	char ifname[IFNAMSIZ];
	enum config_backend wish;
	struct health *health;
	char backend[64];            /* "kernel", "wireguard-go", …; "" before it was created */
	char backend_why[192];       /* why this one; "" before it was created */
	char error[ERR_MSG_MAX];     /* of the last reconciliation, "" for none */
	uint64_t applied_generation; /* in which it was last found as it should be; 0: not yet */
	uint64_t rx_bytes, tx_bytes; /* sums over the peers at the last look */

	/* The device as we made it, if we did: see "a device that ends" in reconcile.c. */
	struct mono made;       /* 0: not by us, or it has ended */
	unsigned short_lives;   /* in a row */
	struct mono not_before; /* is it made again */
};

/* Numbers that status and metrics tell. */
struct agent_counts {
	uint64_t reconciles, reconcile_errors;
	uint64_t ops[AGENT_OP_KINDS], ops_failed;
	uint64_t drift[AGENT_OP_KINDS];
	uint64_t config_accepted, config_rejected;
};

struct agent {
	struct event_base *base;
	const struct agent_options *opts;
	struct agent_only *only; /* NULL with observe_only */
	struct agent_sys *sys;
	struct device_probe probe;

	struct agent_source_file *files;
	struct agent_source_kube *kube;
	struct mono last_read; /* of the sources */

	/* The last good configuration with the documents that it was read from, its place in time,
	 * and what is wrong with the newest. */
	struct agent_wanted *wanted; /* NULL: none yet */
	struct agent_docs docs;
	uint64_t generation, applied_generation;
	uint64_t told_generation; /* all of which the machine has acknowledged, or was found to have
				   */
	struct mono in_force_at;  /* since when `generation` is wanted */
	struct wall loaded_at, applied_at;
	char *config_error; /* NULL: the newest is the one in force; owned */
	bool loaded_from_cache;

	struct agent_net *nets; /* one for each enabled network, sorted by name */
	size_t n_nets;
	uint64_t peers_version; /* another whenever the peers of a network's health may be */
	struct agent_endpoints *endpoints;
	struct agent_resolver *resolver;
	struct agent_prober *prober;

	/* What the machine should be; kept while nothing that it follows from has changed. */
	struct agent_state desired;
	bool desired_known;
	uint64_t desired_endpoints; /* agent_endpoints_version */
	bool paths_known; /* no path may have changed since the MTUs were asked for, at: */
	struct mono paths_at;

	/* The loop. */
	struct nl_monitor *route_monitor, *nft_monitor;
	struct event *route_event, *nft_event, *wake, *tick;
	struct mono started; /* the loop */
	struct mono last_run, next_attempt;
	struct mono next_probe;     /* when a silent peer is asked next */
	struct mono wake_at;        /* while `wake` is pending */
	int64_t run_cost_ns;        /* of the last look */
	unsigned failures;          /* in a row */
	bool nft_in_place;          /* the last look found the table as it should be */
	bool hung;                  /* the last look was slow, for a device that did not answer */
	uint64_t looked_generation; /* of the last look */
	uint64_t failed_ops;        /* digest of those that failed last, 0 for none */
	bool host_failed;           /* one of them belonged to no network */
	uint64_t done_ops;          /* digest of those that succeeded last, 0 for none */
	unsigned done_again;        /* how often in a row it was these */
	uint64_t told_ops;          /* the same of those told last (observe only) */
	bool dirty;              /* the wanted state has changed since it was last applied whole */
	char error[ERR_MSG_MAX]; /* why the last reconciliation did not succeed, "" if it did */
	size_t pending;          /* operations that the last plan left undone */
	char differs[256];       /* the first of them in words (observe only) */

	struct agent_counts counts;
	struct agent_exporter *exporter;
	struct agent_serve *serve;
};

/* --- agent.c --- */
struct agent_net *agent_net_by_ifname(struct agent *a, const char *ifname);
struct agent_net *agent_net_by_name(struct agent *a, const char *name);
/* Tells the node's keys and state where the operator can read them. */
void agent_publish(struct agent *a);
/* How health is to judge a peer. */
struct health_policy agent_health_policy(const struct config_network *n,
					 const struct config_peer *p);
/* What the documents say is in force from now on; takes them over. */
void agent_in_force(struct agent *a, struct agent_docs *docs);
/* What is in force stands in the sources again, after an error in them. */
void agent_stands_again(struct agent *a);
/* Reads the sources; takes what they say if it is good and other than what is in force, in its
 * documents or its keys (or `force`). */
void agent_load(struct agent *a, bool force);

/* --- amend.c --- */
/* Takes documents that say the same as those in force, or differ from them in a few peers. False:
 * they have to be read as a whole. */
bool agent_amend(struct agent *a, const struct agent_wanted_env *env, struct agent_docs *docs);

/* --- audit.c --- */
/* What came of one plan. */
struct agent_run {
	struct agent *a;
	uint64_t done_ops, failed_ops; /* digests */
	size_t n_done;
	char first_done[256];     /* in words */
	char first_repaired[256]; /* the same of what was somebody else's doing */
	bool host_failed;         /* one of them belonged to no network */
	bool waits;               /* for the launcher */
	char first_error[ERR_MSG_MAX];
};
/* An agent_applied_fn; `arg` is a struct agent_run. */
void agent_audit_applied(void *arg, const struct agent_op *op, int code, const char *msg);
/* What is wrong with an interface (NULL: none). */
void agent_audit_error(struct agent_run *run, const char *ifname, const char *msg);
/* Counts what of a plan is drift. Where the agent only observes, an Event tells of it. */
void agent_audit_drift(struct agent *a, const struct agent_plan *p);
/* An Event about drift that a plan has repaired; after agent_audit_undone. */
void agent_audit_repaired(struct agent_run *run);
/* A line for each operation that is not carried out, since the agent only observes. */
void agent_audit_differs(struct agent *a, const struct agent_plan *p);
/* To be called after each plan that was carried out: what is done again and again does not stay,
 * and that is a failure, too. */
void agent_audit_undone(struct agent_run *run, const struct agent_plan *p);
/* Of its operations: a sum, so that their order does not count; 0 stands for none. */
uint64_t agent_audit_digest(const struct agent_plan *p);

/* --- reconcile.c --- */
struct agent_desired_env agent_desired_env_of(struct agent *a);
/* Carries out what lies between two parts of desired states, the first of which the machine has. */
void agent_apply_part(struct agent *a, const struct agent_state *want,
		      const struct agent_state *had);
int agent_loop_start(struct agent *a, struct err *e);
void agent_loop_stop(struct agent *a);
void agent_wake(struct agent *a); /* soon, once, however often it is called */
/* The tunnels go, their guards stay. */
void agent_teardown(struct agent *a);
void agent_forget_desired(struct agent *a); /* before `wanted` goes, from which it borrows */

/* --- status.c --- */
enum agent_phase { AGENT_STARTING, AGENT_ACTIVE, AGENT_ERROR };
const char *agent_phase_name(enum agent_phase p);
enum agent_phase agent_net_phase(const struct agent *a, const struct agent_net *n);
/* JSON of everything (healthz), of one network or all (status: network NULL). */
void agent_write_health(struct agent *a, struct buf *out);
int agent_write_status(struct agent *a, const char *network, struct buf *out);
/* Reasons, one a line, nothing when ready. */
bool agent_write_readiness(struct agent *a, struct buf *reasons);
/* Whether what depends on the network may start, though no tunnel be up: the configuration was
 * read, and the guards that it asks for are in place. Why not, one line. */
bool agent_write_startup(struct agent *a, struct buf *reasons);
/* One line a network, for people. */
void agent_write_networks(struct agent *a, struct buf *out);

/* --- exporter.c --- */
int agent_exporter_new(struct agent *a, struct agent_exporter **ret, struct err *e);
void agent_exporter_free(struct agent_exporter *x);
void agent_exporter_reconciled(struct agent_exporter *x, double seconds);
void agent_exporter_handshake(struct agent_exporter *x, double seconds);
void agent_exporter_write(struct agent_exporter *x, enum metrics_format format, struct buf *out);

/* --- exporter_wg.c --- */
struct metrics;
/* Adds the families of harmony-wg's own statistics. */
int agent_exporter_wg(struct agent *a, struct metrics *m, struct err *e);

/* --- serve.c --- */
int agent_serve_new(struct agent *a, struct agent_serve **ret, struct err *e);
void agent_serve_free(struct agent_serve *s);

#endif
