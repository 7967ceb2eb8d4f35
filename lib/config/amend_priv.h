/*
 * Shared by amend.c and amend_part.c.
 */
#ifndef CONFIG_AMEND_PRIV_H
#define CONFIG_AMEND_PRIV_H

#include "config/amend.h"
#include "config/model_priv.h"

/* The peers that stood in the part of the old text that the edit touched (a->gone_at), and those of
 * the new one (a->come), each by public key; a->source is set, and sets network, behind, lines,
 * bytes and n_values. 0, -EAGAIN, -ENOMEM. */
int config_amend_part(const struct config *c, const struct config_doc *was,
		      const struct config_doc *now, struct config_amendment *a);

#endif
