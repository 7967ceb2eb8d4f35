/*
 * Private and preshared keys: from the references of a network (model.h) to slots of
 * base/secret.h. The one part of lib/config that opens files and reads the environment.
 *
 * Whatever is wrong is said about the reference (its document, line and key) and never shows
 * any part of what the file, variable or entry holds.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "base/err.h"
#include "base/key.h"
#include "base/mem.h"
#include "config/model.h"

/* A key file holds one line; more than this is something else. */
#define CONFIG_KEY_FILE_MAX 4096

/* Looks up entry `name` of the watched Secret. The text is borrowed and stays until the next
 * call. 0, -ENOENT where the Secret has no such entry, or another error with its message. */
struct config_secrets {
	int (*get)(void *arg, const char *name, const char **ret_text, size_t *ret_len,
		   struct err *e);
	void *arg;
};

/* Resolves one reference. `secrets` may be NULL: then a reference to an entry is an error. A
 * reference that is not set gives *ret = NULL. The caller owns the slot.
 *
 * A file must be a regular one (symbolic links are followed: Kubernetes mounts consist of them),
 * closed to group and others (mode & 077 = 0), and hold nothing but one key in base64 and white
 * space around it. An all-zero key is refused. -ENOENT (no file, variable, entry), -EPERM (open
 * to others), -EINVAL (content), -ENOMEM, or what the system said. */
int config_resolve_key(const struct config_keyref *ref, const struct config_secrets *secrets,
		       struct key **ret, struct err *e);

/* What a descriptor holds: one key as above, and nothing else. `from` says what it is, "standard
 * input" or the like. -EINVAL, -ENOMEM, or what the system said. */
int config_key_read(int fd, const char *from, struct key **ret, struct err *e);

struct config_keys {
	struct key *private_key; /* slot, owned; NULL where the network names none */
	struct key **preshared;  /* one for each of the network's peers, in their order; owned */
	size_t n_preshared;
};
void config_keys_clear(struct config_keys *k);
#define _cleanup_config_keys_ _cleanup_(config_keys_clear)

/* Resolves all references of a network. All failures are collected in diags, not just the first.
 * 0, -EINVAL (see diags), -ENOMEM. *ret (initialised by the caller) is replaced on success. */
int config_resolve_keys(const struct config_network *n, const struct config_secrets *secrets,
			struct config_keys *ret, struct config_diags *diags);

#endif
