/* Shared by the files of lib/inject. */
#ifndef INJECT_INJECT_PRIV_H
#define INJECT_INJECT_PRIV_H

#include "inject/inject.h"
#include "json/json.h"

#define INJECT_PREFIX "harmony-agent/"
#define INJECT_KEY    INJECT_PREFIX "inject"   /* label and annotation */
#define INJECT_DONE   INJECT_PREFIX "injected" /* annotation that the patch leaves: the version */

/* --- annotations.c --- */
/* The pod's annotations over the defaults. -EINVAL names annotation, found and accepted. *ret
 * borrows from both. */
int inject_read_annotations(struct json_object *annotations, const struct inject_choice *defaults,
			    struct inject_choice *ret, struct err *e);

/* --- patch.c --- */
/* The patch for a pod whose metadata and spec are objects. -EINVAL where the pod's shape does not
 * admit it; -ENOMEM. The caller owns *ret. */
int inject_make_patch(const struct inject_settings *s, const struct inject_choice *c,
		      struct json_object *pod, struct json_object **ret, struct err *e);

#endif
