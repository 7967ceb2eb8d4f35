/*
 * Which WireGuard stands behind a network's interface: by what the configuration names, what the
 * machine has, and what is there already.
 */
#ifndef AGENT_BACKEND_H
#define AGENT_BACKEND_H

#include "agent/state.h"
#include "agent/sys.h"
#include "base/err.h"
#include "config/model.h"
#include "device/device.h"

/* For a new interface. `ret->program` borrows from `p`. -ENODEV, -EOPNOTSUPP, -ENOENT where there
 * is none that will do. */
int agent_backend_find(const struct device_probe *p, enum config_backend wish,
		       struct agent_backend_choice *ret, struct err *e);

/* To be called before each plan: where an interface is there by another backend than the one that
 * is named for it, `problem` says why it stays all the same, or is "". Before the interface goes,
 * for what cannot be had now is no reason to have nothing. */
void agent_backend_settle(struct agent_state *desired, const struct agent_state *observed,
			  const struct device_probe *p);

#endif
