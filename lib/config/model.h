/*
 * The network model: what the user wants, as read from one or more documents and validated. Pure
 * data; keys are still references (paths, names) except where keys.h has resolved them.
 *
 * docs/configuration.md describes every key; the table in model.c is the one place that knows
 * their names, and the document is checked against it.
 */
#ifndef CONFIG_MODEL_H
#define CONFIG_MODEL_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/key.h"
#include "base/mem.h"
#include "config/value.h"

enum config_backend {
	CONFIG_BACKEND_AUTO,
	CONFIG_BACKEND_KERNEL,
	CONFIG_BACKEND_USERSPACE, /* start and supervise one of the userspace programs */
	CONFIG_BACKEND_UAPI,      /* use the device that answers on the UAPI socket */
};

enum config_readiness { CONFIG_READY_ALL, CONFIG_READY_ANY, CONFIG_READY_QUORUM };

#define CONFIG_TABLE_AUTO 0u         /* main table; wg-quick's rules for a default route */
#define CONFIG_TABLE_OFF  UINT32_MAX /* no routes */

/* wg-quick's number for the table and the mark of a default route through a tunnel. */
#define CONFIG_DEFAULT_TABLE 51820u

/* Where a secret key comes from: exactly one is set, or none. */
struct config_keyref {
	char *path;   /* file with the base64 key */
	char *env;    /* environment variable */
	char *secret; /* entry of the watched Secret */
	struct cfg_pos pos;
};

/* "host:port" that is not an address yet, or an address. */
struct config_endpoint {
	bool set;
	char *host; /* NULL when `addr` is it */
	struct ip_endpoint addr;
	uint16_t port;
};

enum config_tristate { CONFIG_DEFAULT, CONFIG_NO, CONFIG_YES };

struct config_peer {
	char *name; /* never NULL: its own, or the first 8 characters of the public key's text */
	struct key public_key;
	struct config_keyref preshared;
	struct config_endpoint endpoint;
	struct ip_prefix *allowed; /* sorted, unique, masked */
	size_t n_allowed;
	uint16_t keepalive;            /* seconds; 0: off */
	enum config_tristate required; /* default: keepalive != 0 */
	uint32_t stale_after_secs;     /* 0: the network's */
	struct ip_addr probe;          /* asked when the peer is silent; AF_UNSPEC: none */
	uint32_t probe_secs;           /* 0: the network's */
	struct cfg_pos pos;
};

struct config_network {
	char *name;
	const char *source; /* the document's name; lives as long as the config */
	size_t doc;         /* and its index */
	bool enabled;       /* enable_wireguard; default: it has peers, addresses or a key */
	char interface[IFNAMSIZ];
	struct ip_prefix *addresses; /* host bits kept */
	size_t n_addresses;
	uint32_t mtu; /* 0: path MTU less overhead */
	uint16_t listen_port;
	struct config_endpoint endpoint; /* where others reach this node; told, never set here */
	uint32_t fwmark;
	uint32_t table;  /* CONFIG_TABLE_… or a number */
	uint32_t metric; /* 0: the kernel's default */
	struct config_keyref private_key;
	struct ip_addr *dns;
	size_t n_dns;
	char **dns_search;
	size_t n_dns_search;
	enum config_backend backend;
	bool masquerade, mss_clamp, forward; /* defaults false, true, false */
	bool guard; /* what its tunnel leads to is reached by it or not at all */
	struct ip_prefix *guard_except; /* masked; as they were written */
	size_t n_guard_except;
	enum config_readiness readiness;
	uint32_t quorum;           /* with CONFIG_READY_QUORUM */
	uint32_t stale_after_secs; /* default 180 */
	uint32_t probe_secs;       /* default 10 */
	bool remove_on_delete;     /* on_delete = "remove" */
	struct config_peer *peers; /* sorted by public key */
	size_t n_peers;
	struct ip_prefix *claimed; /* the allowed IPs of all peers, sorted */
	size_t n_claimed;
	struct cfg_pos pos;
	bool flawed; /* of config_read_anyway: what was refused in it is not here */
};

struct config {
	struct config_network *networks; /* sorted by name */
	size_t n_networks;
	char **sources; /* document names */
	size_t n_sources;
	size_t n_values; /* in the documents' trees, for CFG_MAX_VALUES; at least */
	bool clean;      /* read without any finding, and no network has a part for this node */
	bool unread; /* of config_read_anyway: a document is missing, which could not be parsed */
};

/* One finding about a document. */
struct config_diag {
	bool warning;
	char *text; /* "FILE:LINE:COLUMN: network.default.mtu: found 10, accepted: 576 to 65535" */
	size_t doc; /* index of its document */
	struct cfg_pos pos;
};

/* Starts zeroed. After config_read, and config_diags_sort, the items stand in the order of the
 * documents. */
struct config_diags {
	struct config_diag *items;
	size_t n, cap;
	size_t n_errors; /* all that were found, kept or not */
	size_t n_warnings;
	bool truncated; /* more than CONFIG_MAX_DIAGS were found; errors are kept before warnings */
};
#define CONFIG_MAX_DIAGS 100
/* Adds a finding whose whole text is the caller's (copied). -ENOMEM or 0. */
int config_diag_add(struct config_diags *d, const struct config_diag *diag);
/* An error about a whole network, at its place: "FILE:LINE:COLUMN: network.X: …". */
struct config_network;
int config_diag_network(struct config_diags *d, const struct config_network *n, const char *fmt,
			...) __attribute__((format(printf, 3, 4)));
void config_diags_sort(struct config_diags *d);
void config_diags_clear(struct config_diags *d); /* *d is as at its start */
#define _cleanup_config_diags_ _cleanup_(config_diags_clear)

struct buf;
/* One finding a line, "error: …" and "warning: …", and a last line where some were left out. */
void config_diags_write(const struct config_diags *d, struct buf *b);

enum config_format { CONFIG_TOML, CONFIG_YAML, CONFIG_JSON };

/* By the ending .toml, .yaml, .yml or .json; -EINVAL for any other. */
int config_format_of(const char *filename, enum config_format *ret);

struct config_doc {
	const char *name; /* for messages: a path, or "secret NS/NAME key KEY" */
	enum config_format format;
	const char *text;
	size_t len;
	bool gone; /* its source was deleted: networks with on_delete = "remove" are not read */
};

/* Reads documents into one configuration: every network of every document, names unique over
 * all. All errors of all documents are collected, not just the first; any error means failure
 * and *ret unchanged. `node` selects [network.X.nodes."NODE"]; NULL: none. 0, -EINVAL (see
 * diags), -ENOMEM. Does not open key files.
 *
 * Between networks only those with `enabled` are compared (interfaces, ports, routes). */
int config_read(const struct config_doc *docs, size_t n_docs, const char *node, struct config **ret,
		struct config_diags *diags);
/* The same with every network but `only` turned off (NULL: none is), before they are compared; and
 * with -EINVAL *ret is set too, to what could be read: for whoever can look for more that is wrong,
 * so that all is told at once. It is never to be put in force. */
int config_read_anyway(const struct config_doc *docs, size_t n_docs, const char *node,
		       const char *only, struct config **ret, struct config_diags *diags);
void config_free(struct config *c);
MEM_CLEANUP(struct config, config_free);
#define _cleanup_config_ _cleanup_(config_free_p)

/* What config_read can check only with the keys at hand; called by whoever has resolved them
 * (keys.h). `own` is the network's public key. -EINVAL with a diag where it is a peer's too. */
int config_check_own_key(const struct config_network *n, const struct key *own,
			 struct config_diags *diags);

/* Whether the peer counts for readiness: its own `required`, else whether it has a keepalive. */
static inline bool config_peer_required(const struct config_peer *p)
{
	return p->required == CONFIG_DEFAULT ? p->keepalive != 0 : p->required == CONFIG_YES;
}

/* The route to one of the allowed IPs, as it is made: not for CONFIG_TABLE_OFF. */
uint32_t config_route_table(const struct config_network *n, const struct ip_prefix *dst);
uint32_t config_route_metric(const struct config_network *n, const struct ip_prefix *dst);

static inline bool config_keyref_is_set(const struct config_keyref *r)
{
	return r->path || r->env || r->secret;
}

/* Every model key as "network.*.peers[].public_key", NULL-terminated: for docs checks. Built on
 * the first call (not thread-safe). */
const char *const *config_key_names(void);

#endif
