/*
 * From what the user wants to how the machine should be: devices, addresses, routes, rules,
 * sysctls, the nftables table. Deterministic; what it has to know of the machine is asked
 * through the two callbacks.
 */
#ifndef AGENT_DESIRED_H
#define AGENT_DESIRED_H

#include "agent/state.h"
#include "agent/wanted.h"

struct agent_desired_env {
	/* The address to use for a peer's endpoint now. False: none is known (yet). `assert` is
	 * agent_peer_policy's assert_endpoint. */
	bool (*endpoint)(void *arg, const struct config_network *n, const struct config_peer *p,
			 struct ip_endpoint *ret, bool *ret_assert);
	/* The least MTU of the paths that the device's packets take to its peers; 0: unknown. */
	uint32_t (*path_mtu)(void *arg, const struct wgdev *dev);
	void *arg;
	bool nft;   /* false: the table is left alone */
	bool guard; /* every network is guarded, whatever it says of that itself */
};

/* What one machine cannot be made to hold: two default routes that would need the same table, a
 * guard that is too large or not permitted. Each is an error in `diags`. 0 or -ENOMEM. Of `env`
 * only nft and guard are looked at. */
int agent_desired_check(const struct config *c, const struct agent_desired_env *env,
			struct config_diags *diags);

/* Of what agent_desired_check found nothing against. 0 or -ENOMEM. *ret is initialised here and
 * borrows names from `w`. */
int agent_desired(const struct agent_wanted *w, const struct agent_desired_env *env,
		  struct agent_state *ret, struct err *e);

/* Marks in `now` what has become another than in `former`, or was marked there already, without
 * anybody having edited anything: a tunnel's MTU (its path has changed), a peer's endpoint (a name
 * was resolved, another address is tried). What differs on the machine for that is nobody's drift.
 */
void agent_desired_renewed(struct agent_state *now, const struct agent_state *former);
/* The machine was found to have all that was marked. */
void agent_desired_settled(struct agent_tunnel *t);

/* A network's tunnel with these of its peers (sorted; none with a default route or a preshared key)
 * and their routes, but nothing else of the machine, and an MTU that means nothing: for plans
 * about changed peers alone. Two of one network differ in nothing but the peers. */
int agent_desired_part(const struct agent_wanted_network *wn, const struct config_peer *peers,
		       size_t n_peers, const struct agent_desired_env *env,
		       struct agent_state *ret);

/* The mark of a guarded tunnel's own packets, where nothing else has given them one. */
#define AGENT_GUARD_MARK 51821u
/* Before the main table's rule (32766), in this order. */
#define AGENT_RULE_EXCEPT   32763u
#define AGENT_RULE_SUPPRESS 32764u
#define AGENT_RULE_TUNNEL   32765u

#endif
