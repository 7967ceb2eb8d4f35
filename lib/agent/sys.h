/*
 * The machine: reading its state and changing it. The only part of the agent that touches the
 * network configuration; all of it through the structures of state.h and plan.h.
 */
#ifndef AGENT_SYS_H
#define AGENT_SYS_H

#include "agent/plan.h"
#include "agent/state.h"
#include "base/err.h"
#include "device/device.h"

/* On every interface that the agent made (the link's alias), and on one that it took over, before
 * the alias that it had, which it gets back. */
#define AGENT_MARK         "harmony-agent"
#define AGENT_MARK_ADOPTED "harmony-agent (adopted)"

struct agent_sys;

/* `no_nft`: nftables is neither read nor changed. */
int agent_sys_open(bool no_nft, struct agent_sys **ret, struct err *e);
void agent_sys_close(struct agent_sys *s); /* everything on the machine stays */
MEM_CLEANUP(struct agent_sys, agent_sys_close);
#define _cleanup_agent_sys_ _cleanup_(agent_sys_close_p)

/* Reads what is there: the interfaces that `desired` names, and all that carry the mark; routes
 * and rules with our protocol number; the sysctls that `desired` names; our nftables table. A
 * tunnel whose device does not answer is marked unknown with its problem; that alone is no
 * failure. *ret is initialised here. */
int agent_observe(struct agent_sys *s, const struct agent_state *desired, struct agent_state *ret,
		  struct err *e);

/* How an operation went. `code` 0: done. 1: left undone, which is no failure and was warned about
 * (a sysctl that may not be written). -ECANCELED: not tried, since what it builds on failed;
 * its message says what that was. */
typedef void (*agent_applied_fn)(void *arg, const struct agent_op *op, int code, const char *msg);

/* Which backend a new interface gets. */
struct agent_backend_choice {
	enum device_kind kind;
	const char *program; /* DEVICE_UAPI */
};
/* By network name. Negative errno with its message where there is none that will do. */
typedef int (*agent_backend_fn)(void *arg, const char *network, struct agent_backend_choice *ret,
				struct err *e);

/* Carries the plan out in its order, telling of each operation. A failure ends what depends on
 * it (the same interface) and nothing else. Returns how many did not succeed. */
size_t agent_apply(struct agent_sys *s, const struct agent_plan *p, agent_backend_fn backend,
		   agent_applied_fn done, void *arg);

/* The least MTU of the paths that the device's packets take to its peers' endpoints; 0: none is
 * known. What the kernel said once is said again until it is forgotten. */
uint32_t agent_sys_path_mtu(struct agent_sys *s, const struct wgdev *dev);

void agent_sys_forget_paths(struct agent_sys *s);

/* Remembers who has a port that is about to be listened at, while the rights to see it are there.
 */
void agent_sys_note_port(struct agent_sys *s, uint16_t port);

/* The open device behind an interface, or NULL: for status. */
struct device *agent_sys_device(struct agent_sys *s, const char *ifname);
/* The socket by which links, addresses, routes and rules are changed: for nl_monitor_skip. */
const struct nl *agent_sys_route(const struct agent_sys *s);
/* Whether the interface with that index has an open device. */
bool agent_sys_knows(const struct agent_sys *s, unsigned ifindex);

#endif
