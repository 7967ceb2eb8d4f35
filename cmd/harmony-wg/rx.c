/*
 * Receiving. One recvmmsg takes up to DATAGRAMS buffers of 64 KiB, each of which may be
 * many datagrams that the kernel joined (UDP_GRO). They are cut apart, handshake messages go to
 * the gate, data messages are opened in place, and what was inside is joined by flow and
 * written to the TUN from where it lies: nothing is copied here.
 *
 * Memory is the buffers, and only as many of them have pages as traffic has needed.
 */
#include "rx.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gate.h"
#include "offload/offload.h"

#define DATAGRAMS 32
#define BUFFER    (1 << 16) /* the longest that UDP_GRO gives is a byte less */
#define MESSAGES  256       /* for the engine at a time */
#define RETRY_NS  (10 * NS_PER_MSEC)

struct rx {
	struct path *path;
	unsigned queue;
	struct counters *counters;
	struct wg_lane *lane;
	uint8_t *buffers; /* one more than DATAGRAMS: for cutting again */
	struct mmsghdr m[DATAGRAMS];
	struct iovec iov[DATAGRAMS];
	struct sockaddr_in6 names[DATAGRAMS];
	struct udp_origin origins[DATAGRAMS];
	_Alignas(struct cmsghdr) uint8_t control[DATAGRAMS][UDP_CONTROL];
	struct wg_rx messages[MESSAGES];
	unsigned n_messages;
	struct mono now;
	struct offload_gro gro;
	struct gate gate;
};

#define ARENA ((size_t)BUFFER * (DATAGRAMS + 2))

/* ── to the TUN ─────────────────────────────────────────────────────────────────────────── */

/* What the kernel sends of a flow comes out of the queue that its other direction was written to
 * last. One peer's datagrams all come to one socket, so its flows are spread by what is inside;
 * both directions' addresses and ports give the same. */
static uint32_t flow_of(const uint8_t *b, size_t len)
{
	bool v6 = b[0] >> 4 == 6;
	size_t n = v6 ? 16 : 4, at = v6 ? 8 : 12, header = v6 ? 40 : (size_t)(b[0] & 15) * 4;
	uint8_t protocol = b[v6 ? 6 : 9];
	uint32_t sum = 0;

	for (size_t i = 0; i < 2 * n; i += 4) {
		uint32_t word;

		memcpy(&word, b + at + i, 4);
		sum += word;
	}
	/* Fragments beyond the first have no ports. */
	if ((protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && len >= header + 4 &&
	    (v6 || !(b[6] & 0x3f || b[7]))) {
		uint16_t port[2];

		memcpy(port, b + header, 4);
		sum += (uint32_t)port[0] + port[1];
	}
	return sum * UINT32_C(0x9E3779B1) >> 16;
}

static int tun_queue(const struct rx *r, const struct iovec *iov)
{
	const struct tun *t = r->path->tun;

	/* The engine has looked at the fixed header. */
	return t->fd[t->queues == 1 ? 0 : flow_of(iov->iov_base, iov->iov_len) % t->queues];
}

static bool write_tun(struct rx *r, const struct virtio_net_hdr *h, const struct iovec *iov,
		      unsigned n)
{
	struct iovec all[OFFLOAD_JOIN + 1];
	unsigned skip = r->path->tun->vnet ? 0 : 1;

	all[0] = (struct iovec){(void *)h, sizeof(*h)};
	memcpy(all + 1, iov, n * sizeof(*iov));
	counter_add(&r->counters->tun_writes, 1);
	return writev(tun_queue(r, iov), all + skip, (int)(n + 1 - skip)) >= 0;
}

/* The kernel did not take a joined packet: never again, and this one as it came. */
static void write_apart(struct rx *r, const struct virtio_net_hdr *h, const struct iovec *iov,
			unsigned n)
{
	uint8_t *whole = r->buffers + (size_t)BUFFER * DATAGRAMS, *one = whole + BUFFER;
	static const struct virtio_net_hdr none;
	struct offload_cut cut;
	size_t len = 0;

	r->gro.tcp = r->gro.udp = false;
	counter_add(&r->counters->gro_off, 1);
	for (unsigned i = 0; i < n; i++) {
		memcpy(whole + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (offload_cut(h, whole, len, &cut) < 0)
		return;
	for (uint32_t i = 0; i < cut.n; i++) {
		offload_cut_write(&cut, i, one);
		write_tun(r, &none, &(struct iovec){one, offload_cut_len(&cut, i)}, 1);
	}
}

static void deliver(void *user, const struct virtio_net_hdr *h, const struct iovec *iov, unsigned n)
{
	struct rx *r = user;

	if (write_tun(r, h, iov, n))
		return;
	int error = errno;
	if (error == EINVAL && h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		write_apart(r, h, iov, n);
		return;
	}
	counter_add(&r->counters->tun_write_errors, 1);
	if (error == EBADFD || error == ENODEV)
		path_tun_gone(r->path, error);
}

/* ── from UDP ───────────────────────────────────────────────────────────────────────────── */

static void open_messages(struct rx *r)
{
	if (r->n_messages == 0)
		return;
	wg_enter(r->lane);
	wg_receive_data(r->lane, r->messages, r->n_messages, r->now);
	wg_leave(r->lane);
	for (unsigned i = 0; i < r->n_messages; i++) {
		const struct wg_rx *x = &r->messages[i];

		if (x->verdict == WG_RX_DATA)
			offload_gro_add(&r->gro, x->plain, x->plain_len);
	}
	r->n_messages = 0;
}

static void take_message(struct rx *r, uint8_t *data, uint32_t len, const struct udp_origin *o)
{
	counter_add(&r->counters->rx_packets, 1);
	switch (wg_kind(data, len)) {
	case WG_KIND_DATA:
		r->messages[r->n_messages++] = (struct wg_rx){
			.data = data, .len = len, .ecn = o->tos & 3, .src = &o->from};
		if (r->n_messages == MESSAGES)
			open_messages(r);
		break;
	case WG_KIND_INITIATION:
	case WG_KIND_RESPONSE:
	case WG_KIND_COOKIE: gate_take(&r->gate, data, len, &o->from, r->now); break;
	case WG_KIND_BAD: counter_add(&r->counters->rx_not_wireguard, 1); break;
	}
}

static void take_datagram(struct rx *r, unsigned i)
{
	struct udp_origin *o = &r->origins[i];
	uint32_t len = r->m[i].msg_len;
	uint8_t *data = r->iov[i].iov_base;

	counter_add(&r->counters->rx_datagrams, 1);
	counter_add(&r->counters->rx_bytes, len);
	udp_origin(&r->m[i].msg_hdr, o);
	if (r->m[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		counter_add(&r->counters->rx_truncated, 1);
		return;
	}
	if (o->piece == 0)
		o->piece = len;
	for (uint32_t at = 0; at < len; at += o->piece)
		take_message(r, data + at, len - at < o->piece ? len - at : o->piece, o);
}

static void prepare(struct rx *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		r->m[i].msg_hdr = (struct msghdr){
			.msg_name = &r->names[i],
			.msg_namelen = sizeof(r->names[i]),
			.msg_iov = &r->iov[i],
			.msg_iovlen = 1,
			.msg_control = r->control[i],
			.msg_controllen = UDP_CONTROL,
		};
}

/* What cannot be received stays there, and the socket ready: not to be tried without end. No
 * socket is there while it is replaced. */
static void failed(struct rx *r, int n)
{
	if (n == 0 || errno == EAGAIN || errno == EINTR || errno == ENOTSOCK)
		return;
	counter_add(&r->counters->rx_errors, 1);
	ppoll(NULL, 0, &(struct timespec){.tv_nsec = RETRY_NS}, NULL);
}

static bool receive(struct rx *r, unsigned family)
{
	int n = recvmmsg(r->path->udp->fd[r->queue][family], r->m, DATAGRAMS, MSG_DONTWAIT, NULL);

	if (n <= 0) {
		failed(r, n);
		return false;
	}
	r->now = mono_now();
	for (unsigned i = 0; i < (unsigned)n; i++)
		take_datagram(r, i);
	open_messages(r);
	offload_gro_flush(&r->gro);
	gate_flush(&r->gate, (unsigned)n, n == DATAGRAMS);
	atomic_store_explicit(&r->counters->gro_joined, r->gro.joined, memory_order_relaxed);
	atomic_store_explicit(&r->counters->gro_made, r->gro.made, memory_order_relaxed);
	prepare(r, (unsigned)n);
	return n == DATAGRAMS;
}

struct rx *rx_new(struct path *p, unsigned queue, struct wg_device *d)
{
	struct rx *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->path = p;
	r->queue = queue;
	r->counters = &p->counters[queue];
	r->lane = wg_lane_new(d);
	r->buffers = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!r->lane || r->buffers == MAP_FAILED) {
		free(r);
		return NULL;
	}
	for (unsigned i = 0; i < DATAGRAMS; i++)
		r->iov[i] = (struct iovec){r->buffers + (size_t)BUFFER * i, BUFFER};
	prepare(r, DATAGRAMS);
	gate_init(&r->gate, p, queue, r->lane);
	offload_gro_init(&r->gro, deliver, r);
	r->gro.tcp = p->gro && p->tun->tso;
	r->gro.udp = p->gro && p->tun->uso;
	return r;
}

void rx_free(struct rx *r)
{
	if (!r)
		return;
	munmap(r->buffers, ARENA);
	free(r);
}

bool rx_receive(struct rx *r, unsigned family, unsigned *n)
{
	const _Atomic uint64_t *messages = &r->counters->rx_packets;
	uint64_t before = atomic_load_explicit(messages, memory_order_relaxed);
	bool more = receive(r, family);

	*n += (unsigned)(atomic_load_explicit(messages, memory_order_relaxed) - before);
	return more;
}
