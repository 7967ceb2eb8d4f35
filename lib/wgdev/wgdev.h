/*
 * A WireGuard device as data: its state (what a dump says) and a change to it (what a set
 * request carries). Shared by everything that speaks to or about devices: netlink, uapi, device,
 * agent, health. No I/O.
 *
 * The shapes follow the kernel's <linux/wireguard.h> and the cross-platform interface
 * (wireguard.com/xplatform); both can express all of it.
 */
#ifndef WGDEV_WGDEV_H
#define WGDEV_WGDEV_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/key.h"
#include "base/mem.h"
#include "base/time.h"

struct wgdev_peer {
	struct key public_key;
	struct key *preshared_key;   /* slot of base/secret.h, owned; NULL: none */
	struct ip_endpoint endpoint; /* AF_UNSPEC: none */
	uint16_t keepalive;          /* seconds; 0: off */
	struct ip_prefix *allowed;   /* owned, sorted by ip_prefix_cmp, masked, unique */
	size_t n_allowed, cap_allowed;

	/* Only in a state that was read from a device: */
	uint64_t rx_bytes, tx_bytes;
	struct wall last_handshake; /* {0}: never */
};

struct wgdev {
	char ifname[IFNAMSIZ];
	struct key *private_key; /* slot, owned; NULL: none set */
	struct key public_key;   /* zero where the private key is not set */
	uint16_t listen_port;    /* 0: not bound, or chosen by the device */
	uint32_t fwmark;
	struct wgdev_peer *peers; /* owned, sorted by public key, unique */
	size_t n_peers, cap_peers;
};

void wgdev_init(struct wgdev *d);
void wgdev_clear(struct wgdev *d); /* frees and wipes what it owns; *d is as after init */
#define _cleanup_wgdev_ _cleanup_(wgdev_clear)

void wgdev_peer_clear(struct wgdev_peer *p);

/* Appends without sorting; a dump calls wgdev_sort once at its end. The new peer (zeroed but for
 * its key) belongs to the device and stays at its address only until the next append. NULL when
 * memory has run out. */
struct wgdev_peer *wgdev_add_peer(struct wgdev *d, const struct key *public_key);
int wgdev_peer_add_allowed(struct wgdev_peer *p, struct ip_prefix prefix); /* masked here */

/* Sorts peers and allowed IPs. A peer that stands twice in a row (a dump split over several
 * messages repeats the peer's key in each) is merged: the first one's fields, both lists. 0, or
 * -ENOMEM with the state unfit for use but for wgdev_clear. */
int wgdev_sort(struct wgdev *d);

/* In a sorted device, by bisection; NULL when there is none. */
struct wgdev_peer *wgdev_find(const struct wgdev *d, const struct key *public_key);

/* What one set request does to one peer. */
struct wgdev_peer_change {
	struct key public_key;
	bool remove;          /* nothing else is looked at */
	bool update_only;     /* do not create the peer if it is gone */
	bool replace_allowed; /* `allowed` is the whole list; else it is added to what is there */
	bool set_preshared;   /* to preshared_key; NULL clears it */
	bool set_endpoint;
	bool set_keepalive;
	const struct key *preshared_key; /* borrowed */
	struct ip_endpoint endpoint;
	uint16_t keepalive;
	const struct ip_prefix *allowed; /* borrowed */
	size_t n_allowed;
	/* Borrowed: taken from this peer before `allowed` is added. Userspace devices know it
	 * ("allowed_ip=-…"), as do kernels from 6.16; for others use replace_allowed. */
	const struct ip_prefix *removed;
	size_t n_removed;
};

/* A change as one request: device fields first, then the peers in order. Backends split it over
 * as many messages as their format needs. */
struct wgdev_change {
	bool set_private_key;
	bool set_listen_port;
	bool set_fwmark;
	bool replace_peers;            /* peers that the change does not name are removed */
	const struct key *private_key; /* borrowed */
	uint16_t listen_port;
	uint32_t fwmark;
	const struct wgdev_peer_change *peers; /* borrowed */
	size_t n_peers;
};

#endif
