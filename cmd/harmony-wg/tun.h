/* The network interface: a TUN device with a virtio-net header and offloads where it has them. */
#ifndef HARMONY_WG_TUN_H
#define HARMONY_WG_TUN_H

#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "queues.h"

#define TUN_MTU 1420 /* of a new interface, as the tools that this one replaces have it */

struct tun {
	int fd[QUEUES_MAX]; /* non-blocking; -1 beyond `queues` */
	unsigned queues;
	int query_fd; /* for ioctls about the interface */
	char name[IFNAMSIZ];
	unsigned ifindex;
	bool vnet; /* packets carry a virtio-net header */
	bool tso, uso;
	bool ours;            /* made here, not handed over */
	bool away;            /* in another network namespace, or renamed all the time */
	_Atomic uint32_t mtu; /* now; control writes it */
};

/* Makes an interface NAME, down, with TUN_MTU; or takes fd >= 0 over. -EEXIST where the name is
 * taken. `offload`: ask for offloads. `queues`: how many a new one has, 1 to QUEUES_MAX; one
 * that is handed over has one. */
int tun_open(struct tun *ret, const char *name, int fd, unsigned queues, bool offload,
	     struct err *e);
void tun_close(struct tun *t);

/* Of an interface in the network namespace where the device was started; 0: there is none. */
unsigned tun_index_of(const struct tun *t, const char *name);

/* MTU and whether the interface is up, now; its name is taken over. -errno when it is gone. Where
 * it is `away` the MTU is the last one that was known, and no notification of the kernel tells of
 * a change: it is to be asked for again. */
int tun_query(struct tun *t, uint32_t *ret_mtu, bool *ret_up);

#endif
