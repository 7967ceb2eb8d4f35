/*
 * A configuration that follows its document: where a new text differs from the one in force in a
 * few peers of one network, those peers are read, and the others stay as they are. The result is
 * the one that config_read would give for the new text, or there is none.
 *
 * It is for the frequent small edit of a large document, and gives up (-EAGAIN: read the whole)
 * on whatever is unusual: another spelling than [[network.NAME.peers]] in TOML or a "- " for each
 * peer on a line of its own in YAML (of ASCII), any finding, errors and warnings alike, anything
 * that touches another peer. So whatever has to be said is
 * said by config_read.
 */
#ifndef CONFIG_AMEND_H
#define CONFIG_AMEND_H

#include "config/model.h"

/* More peers at once are left to config_read. */
#define CONFIG_AMEND_MAX      64
#define CONFIG_AMEND_PREFIXES 1024

struct config_amendment {
	size_t network; /* its index in the configuration */
	/* The peers of the old text that the new one does not have as they were; both lists by
	 * public key, one that was changed stands in both. `gone` is filled by config_amend. */
	struct config_peer *gone, *come; /* owned */
	size_t n_gone, n_come;
	size_t *gone_at; /* indices of `gone` in the network's peers, ascending; owned */
	/* Those that stay as they are, near the change: only their places are others. Owned. */
	struct config_amend_stay {
		size_t at;
		struct cfg_pos pos, preshared_pos;
	} * stay;
	size_t n_stay;
	/* What stands behind the change moves by so many lines and bytes. */
	const char *source;
	unsigned behind; /* old offset */
	int lines, bytes;
	size_t n_values; /* of the configuration then */
};

/* `was` is one of the documents that `c` was read from, with config_read and without a finding;
 * `now` its new text. 0, -EAGAIN, -ENOMEM. *ret need not be initialised. */
int config_amendment_read(const struct config *c, const struct config_doc *was,
			  const struct config_doc *now, struct config_amendment *ret);

/* Changes the configuration; its other peers may move. 0, or -ENOMEM with nothing changed. */
int config_amend(struct config *c, struct config_amendment *a);

void config_amendment_clear(struct config_amendment *a);
#define _cleanup_config_amendment_ _cleanup_(config_amendment_clear)

#endif
