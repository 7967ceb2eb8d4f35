/*
 * Shared by sys.c (handles), sys_path.c (paths), observe.c and apply.c.
 */
#ifndef AGENT_SYS_PRIV_H
#define AGENT_SYS_PRIV_H

#include "agent/sys.h"
#include "base/list.h"
#include "base/port.h"
#include "netlink/link.h"
#include "netlink/netlink.h"

/* The open device behind one interface. An interface that was made anew has another index, and
 * gets another handle. */
struct sys_handle {
	struct list node;
	char ifname[IFNAMSIZ];
	unsigned ifindex;
	struct device *dev;
};

/* What the kernel said about the way to a destination. */
struct sys_path {
	struct ip_addr dst; /* AF_UNSPEC: a free place of the table */
	uint32_t scope, fwmark;
	uint32_t mtu;
	unsigned ifindex; /* 0: unknown, or one of ours */
};

struct sys_setting {
	char key[96];
	bool refused;
};

/* The MTU of a link that such ways leave by. */
struct sys_link_mtu {
	unsigned ifindex; /* 0: none */
	uint32_t mtu;
};

struct agent_sys {
	struct nl *route;
	struct list handles;
	struct sys_path *paths; /* sys_path.c */
	size_t n_paths, cap_paths;
	struct sys_link_mtu path_link; /* the last one asked for */

	/* Of the listen ports that somebody had when everybody could still be seen. */
	struct port_holder holders[16];
	size_t n_holders;

	struct nl *nft; /* opened when it is first needed */
	bool no_nft;    /* told to leave it alone */
	bool nft_warned;
	bool ra_warned;               /* of default routes that IPv6 forwarding costs */
	struct sys_setting *settings; /* sysctls that were set, or could not be */
	size_t n_settings, cap_settings;
};

/* Opens the device behind a link, or finds it open. -ENODEV where the link is no WireGuard
 * device of either kind. */
int sys_handle_get(struct agent_sys *s, const struct nl_link *link, struct device **ret,
		   struct err *e);
/* Takes over a device that was just created. On failure it is freed. */
int sys_handle_put(struct agent_sys *s, const char *ifname, unsigned ifindex, struct device *dev);
void sys_handle_drop(struct agent_sys *s, const char *ifname);
/* As of the last look or the creation; 0: none is open. */
unsigned sys_handle_ifindex(struct agent_sys *s, const char *ifname);

/* The link by which packets with that mark leave for an endpoint; 0: unknown, or one of ours. */
unsigned sys_path_link(struct agent_sys *s, const struct ip_endpoint *e, uint32_t fwmark);

/* Who has a UDP port, in words. */
void sys_port_holder(const struct agent_sys *s, uint16_t port, char *out, size_t size);

/* sys_extra.c: sysctls and nftables */
int sys_observe_sysctls(struct agent_sys *s, const struct agent_state *desired,
			struct agent_state *ret);
/* What is strict and may not be; after links and table were looked at. */
int sys_observe_strict(struct agent_sys *s, const struct agent_state *desired,
		       struct agent_state *ret);
int sys_observe_nft(struct agent_sys *s, const struct agent_state *desired, struct agent_state *ret,
		    struct err *e);
/* 1 where it may not be written: the user was warned, once. */
int sys_apply_sysctl(struct agent_sys *s, const struct agent_op *op, struct err *e);
int sys_apply_nft(struct agent_sys *s, const struct agent_op *op, struct err *e);

#endif
