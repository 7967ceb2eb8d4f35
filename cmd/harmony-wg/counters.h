/*
 * Counters of the data path. Each has one writing thread; the control thread reads them for the
 * statistics.
 */
#ifndef HARMONY_WG_COUNTERS_H
#define HARMONY_WG_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNTERS(X)                                                                                \
	X(tun_reads) /* packets and super-packets read */                                          \
	X(tun_read_bytes)                                                                          \
	X(tun_bad) /* neither IP nor well-formed offloads, or reading it failed */                 \
	X(no_peer) /* no peer has the destination */                                               \
	X(no_endpoint)                                                                             \
	X(no_session) /* waiting for a handshake: staged */                                        \
	X(stage_full) /* … and dropped, since too many wait */                                   \
	X(tx_packets)                                                                              \
	X(tx_bytes)                                                                                \
	X(tx_sends)  /* trains: what one message of sendmmsg carried */                            \
	X(tx_errors) /* packets the socket refused */                                              \
	X(tx_waits)  /* the socket's buffer was full */                                            \
	X(tx_source_cleared)                                                                       \
	X(gso_off_socket) /* EIO */                                                                \
	X(gso_off_peer)   /* EMSGSIZE, EINVAL */                                                   \
	X(rx_datagrams)   /* as the kernel gave them, before they are cut */                       \
	X(rx_packets)                                                                              \
	X(rx_bytes)                                                                                \
	X(rx_errors) /* of the socket */                                                           \
	X(rx_not_wireguard)                                                                        \
	X(rx_truncated)                                                                            \
	X(handshakes_queued)                                                                       \
	X(handshakes_dropped) /* the queue was full */                                             \
	X(handshakes_unsent)  /* the socket refused them */                                        \
	X(cookies_unsent)     /* or them */                                                        \
	X(tun_writes)                                                                              \
	X(tun_write_errors)                                                                        \
	X(gro_joined)    /* packets that were joined … */                                        \
	X(gro_made)      /* … into so many */                                                    \
	X(gro_off)       /* EINVAL */                                                              \
	X(conversations) /* waits awake for the next packet: worker.c */

struct counters {
#define X(name) _Atomic uint64_t name;
	COUNTERS(X)
#undef X
} __attribute__((aligned(64))); /* one for each queue */

/* One writer: no need for an atomic addition. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif
