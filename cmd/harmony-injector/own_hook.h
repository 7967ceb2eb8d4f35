/*
 * The webhook configuration's caBundle, kept that of the Secret: see own_hook.c. For own_ca.c.
 */
#ifndef INJECTOR_OWN_HOOK_H
#define INJECTOR_OWN_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct kube_client;
struct own_hook;
struct own_told;

struct own_hook_ops {
	/* It has another bundle than the wanted one. own_hook_write, once that is known to be
	 * the newest there is, and if it is this replica's to do. */
	void (*differs)(void *arg);
	/* It has it (own_hook_settled), or was written. */
	void (*step)(void *arg);
};

/* All are borrowed for its life. */
int own_hook_new(struct kube_client *client, const char *name, struct own_told *told,
		 const struct own_hook_ops *ops, void *arg, struct own_hook **ret, struct err *e);
/* The bundle that it is to have, copied; empty: not known yet. */
int own_hook_want(struct own_hook *h, const struct buf *bundle, struct err *e);
/* Asks for it, unless that is being done. */
void own_hook_look(struct own_hook *h);
void own_hook_write(struct own_hook *h);
/* Whether it has had the wanted bundle in all its webhooks for that long. */
bool own_hook_settled(const struct own_hook *h, int64_t ns);
void own_hook_free(struct own_hook *h);

#endif
