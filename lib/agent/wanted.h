/*
 * What the user wants, whole: documents read and validated into a configuration, with every key
 * at hand. Either all of it is good, or none of it is taken and the findings say why.
 */
#ifndef AGENT_WANTED_H
#define AGENT_WANTED_H

#include "base/err.h"
#include "base/key.h"
#include "config/keys.h"
#include "config/model.h"

struct agent_wanted_network {
	const struct config_network *conf; /* borrowed from `config` */
	struct config_keys keys;           /* owned; private_key is set for enabled networks */
	struct key public_key;
	bool preshared; /* a peer has such a key */
	bool generated; /* the key is the agent's own, kept in the state directory */
};

struct agent_wanted {
	struct config *config;                 /* owned */
	struct agent_wanted_network *networks; /* as many as config->n_networks; owned */
};

struct agent_wanted_env {
	const char *node;      /* NULL: no per-node parts */
	const char *only;      /* the one network to be enabled; NULL: all as configured */
	const char *state_dir; /* where generated keys are kept; NULL: a network without a private
				* key is an error */
	const struct config_secrets *secrets; /* NULL: no Secret at hand */
};

/* 0, or -ENOMEM. What is wrong is in diags, and then *ret is not to be put in force, but to be
 * looked at for more (agent_desired_check), so that all is told at once. A missing private key is
 * generated into state_dir (0600, written whole or not at all) unless something is wrong before, or
 * `dry` is set: that leaves the key all zero. */
int agent_wanted_read(const struct config_doc *docs, size_t n_docs,
		      const struct agent_wanted_env *env, bool dry, struct agent_wanted **ret,
		      struct config_diags *diags);

/* An error in `diags` where no network has the name of `only`. 0 or -ENOMEM. */
int agent_wanted_check_only(const struct config *c, const char *only, struct config_diags *diags);

struct config_amendment;

/* Writes back the generated keys in force whose files are gone: another key would lock the node out
 * of all its peers. Whether there was one. Where one cannot be written, reading the configuration
 * fails for the same reason, and says so. */
bool agent_wanted_restore_keys(const struct agent_wanted *w, const struct agent_wanted_env *env);

/* Whether each key is what it was when `w` was read (a key file or an entry of the Secret may
 * change without any document doing so): 1; 0 where one is not, or cannot be read; -ENOMEM. */
int agent_wanted_keys_stand(const struct agent_wanted *w, const struct agent_wanted_env *env);

/* Not where a new or former peer has a preshared key, or a new one is this node itself. */
bool agent_wanted_can_amend(const struct agent_wanted *w, const struct config_amendment *a);
/* Amends the configuration, with the keys that stand beside its peers. -ENOMEM with nothing
 * changed. */
int agent_wanted_amend(struct agent_wanted *w, struct config_amendment *a);

void agent_wanted_free(struct agent_wanted *w);
MEM_CLEANUP(struct agent_wanted, agent_wanted_free);
#define _cleanup_agent_wanted_ _cleanup_(agent_wanted_free_p)

#endif
