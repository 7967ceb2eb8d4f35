/*
 * Sending. It drains the TUN, at most BATCH reads at a time, and lays each packet out
 * where it will be sent from:
 *
 *     train = messages for one peer of one length, back to back (the last may be shorter)
 *     ┌────────┬──────────────┬─────┬────────┬──────────────┬─────┬────────┬──────┬─────┐
 *     │ header │ packet, zero │ tag │ header │ packet, zero │ tag │ header │ pack │ tag │
 *     └────────┴──────────────┴─────┴────────┴──────────────┴─────┴────────┴──────┴─────┘
 *
 * A super-packet is cut straight into a train; small packets for one peer gather in its latest
 * train, so that packets of one peer stay in order. When the TUN has no more, or the batch or the
 * trains are full, each train is sealed in place and all are sent by one sendmmsg, each train
 * one UDP_SEGMENT message. There is no timer: nothing waits for what has not been read yet.
 *
 * Memory is the trains and one read buffer. Packets without a session are copied to the heap,
 * bounded by the engine for each peer and by STAGED_BYTES for all.
 *
 * When a send fails: EIO says that the socket's device has no segmentation (off for the socket),
 * EMSGSIZE or EINVAL that the path's MTU is too small for the pieces (off for the peer, until
 * something changes); then messages are sent one by one. With a source address the first remedy is
 * to forget it.
 *
 * A full socket buffer makes it wait, which is better than dropping what TCP would send again. The
 * link behind it may be slow, or stand still, and all peers have one socket: so it waits WAITS
 * times in a row for room, half a second in all. What then finds none is dropped, with a moment's
 * pause each, until something can be sent again. A batch that had to wait ends there: the lane
 * stays entered for as long as the trains at hand need, which puts off the freeing of removed peers
 * and sessions by no more.
 */
#include "tx.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "offload/offload.h"

#define BATCH        64
#define TRAINS       16
#define SLOT         (1 << 16)
#define BATCH_BYTES  (256 << 10) /* sealed and sent while still in the cache */
#define PACKET_MAX   (UDP_TRAIN_BYTES - WG_OVERHEAD)
#define STAGED_BYTES (4 << 20)
#define WAITS        5
#define WAIT         (100 * NS_PER_MSEC)
#define PAUSE        NS_PER_MSEC
#define RETRY_NS     (10 * NS_PER_MSEC)
#define READ_OFFSET  16 /* the packet behind its virtio-net header is aligned */

enum got { GOT_NOTHING, GOT_PACKET, GOT_BAD };

struct staged {
	struct wg_packet link;
	uint32_t len;
	uint8_t data[];
};

static _Atomic size_t staged_bytes;

struct train {
	struct wg_peer *peer;
	struct wg_endpoint to;
	uint32_t n, used, size; /* messages, bytes, length of all but the last */
	uint32_t last;          /* length of the last */
	uint8_t tos;
	bool full;
	bool ready;  /* sealed, to be sent */
	bool source; /* leave from the sticky source */
	bool pieces; /* send the messages one by one */
	uint8_t *slot;
	struct udp_head head;
	struct iovec iov;
};

struct tx {
	struct path *path;
	unsigned queue;
	struct counters *counters;
	struct wg_lane *lane;
	unsigned n_trains;
	uint32_t bytes;               /* in all trains */
	unsigned waits[UDP_FAMILIES]; /* in a row, without anything sent */
	bool waited;                  /* in this batch */
	struct mono now;
	uint8_t *read_buffer;
	struct train trains[TRAINS];
	struct crypto_aead_job jobs[UDP_TRAIN_MESSAGES];
	uint8_t *arena;
};

#define ARENA (SLOT * (TRAINS + 2)) /* the read buffer is the last two */

struct tx *tx_new(struct path *p, unsigned queue, struct wg_device *d)
{
	struct tx *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->path = p;
	t->queue = queue;
	t->counters = &p->counters[queue];
	t->lane = wg_lane_new(d);
	/* Pages that no traffic has needed are not there. */
	t->arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!t->lane || t->arena == MAP_FAILED) {
		free(t);
		return NULL;
	}
	for (unsigned i = 0; i < TRAINS; i++)
		t->trains[i].slot = t->arena + (size_t)SLOT * i;
	t->read_buffer = t->arena + (size_t)SLOT * TRAINS;
	return t;
}

void tx_free(struct tx *t)
{
	if (!t)
		return;
	munmap(t->arena, ARENA);
	free(t);
}

/* ── packets that wait for a session ────────────────────────────────────────────────────── */

void tx_drop(struct wg_packet *list)
{
	while (list) {
		struct staged *s = (struct staged *)list;

		list = list->next;
		atomic_fetch_sub_explicit(&staged_bytes, sizeof(*s) + s->len, memory_order_relaxed);
		free(s);
	}
}

static struct staged *stage_one(const uint8_t *packet, uint32_t len)
{
	size_t bytes = sizeof(struct staged) + len;
	struct staged *s;

	if (atomic_fetch_add_explicit(&staged_bytes, bytes, memory_order_relaxed) + bytes >
		    STAGED_BYTES ||
	    !(s = malloc(bytes))) {
		atomic_fetch_sub_explicit(&staged_bytes, bytes, memory_order_relaxed);
		return NULL;
	}
	s->link.next = NULL;
	s->len = len;
	memcpy(s->data, packet, len);
	return s;
}

static uint32_t message_len(const struct train *tr, uint32_t i)
{
	return i + 1 < tr->n ? tr->size : tr->last;
}

static void stage_train(struct tx *t, const struct train *tr)
{
	struct wg_packet *list = NULL, **end = &list;
	struct counters *c = t->counters;

	for (uint32_t i = 0; i < tr->n; i++) {
		uint32_t len = message_len(tr, i) - WG_OVERHEAD;
		struct staged *s;

		if (len == 0)
			continue; /* a keepalive has no use later */
		s = stage_one(tr->slot + (size_t)i * tr->size + WG_HEADER, len);
		if (!s) {
			counter_add(&c->stage_full, 1);
			continue;
		}
		counter_add(&c->no_session, 1);
		*end = &s->link;
		end = &s->link.next;
	}
	if (list)
		wg_tx_stage(t->lane, tr->peer, list, t->now);
}

/* ── sealing ────────────────────────────────────────────────────────────────────────────── */

static void seal(struct tx *t, struct train *tr)
{
	struct wg_run run;
	int r = wg_tx_begin(t->lane, tr->peer, tr->n, t->now, &run);

	if (r == -ENOKEY) {
		stage_train(t, tr);
		return;
	}
	if (r < 0) {
		counter_add(&t->counters->no_endpoint, tr->n);
		return;
	}
	for (uint32_t i = 0; i < tr->n; i++)
		t->jobs[i] = (struct crypto_aead_job){
			.buf = tr->slot + (size_t)i * tr->size + WG_HEADER,
			.len = message_len(tr, i) - WG_OVERHEAD,
		};
	if (wg_tx_seal(t->lane, &run, t->jobs, t->now) < 0) {
		counter_add(&t->counters->tx_errors, tr->n);
		return;
	}
	tr->to = run.to;
	tr->ready = tr->source = true;
}

/* ── sending ────────────────────────────────────────────────────────────────────────────── */

static unsigned family_of(const struct train *tr)
{
	return tr->to.remote.addr.family == AF_INET6 ? UDP_V6 : UDP_V4;
}

/* Whether the train goes as one message; else the messages go one by one. */
static bool as_one(const struct tx *t, const struct train *tr)
{
	const struct udp *u = t->path->udp;

	if (tr->n == 1)
		return true;
	if (tr->pieces || !atomic_load_explicit(&u->gso[family_of(tr)], memory_order_relaxed))
		return false;
	return atomic_load_explicit(wg_peer_flags(tr->peer), memory_order_relaxed) !=
	       atomic_load_explicit(&u->generation, memory_order_relaxed);
}

static void address(struct train *tr, bool one, struct msghdr *m)
{
	*m = (struct msghdr){.msg_iov = &tr->iov, .msg_iovlen = 1};
	tr->iov = (struct iovec){tr->slot, tr->used};
	udp_address(&tr->to, tr->tos, one && tr->n > 1 ? (uint16_t)tr->size : 0, tr->source,
		    &tr->head, m);
}

/* For room in the socket's buffer; false where that was for too long. */
static bool wait_writable(struct tx *t, unsigned family)
{
	struct pollfd p = {t->path->udp->fd[t->queue][family], POLLOUT, 0};
	bool again = t->waits[family] < WAITS;

	t->waited = true;
	t->waits[family] += again;
	counter_add(&t->counters->tx_waits, 1);
	ppoll(&p, 1, &(struct timespec){.tv_nsec = again ? WAIT : PAUSE}, NULL);
	return again && !atomic_load_explicit(&t->path->stop, memory_order_relaxed);
}

/* After a failed send: true where it shall be tried again. */
static bool remedy(struct tx *t, struct train *tr, bool one, int error)
{
	struct counters *c = t->counters;
	struct udp *u = t->path->udp;

	if (error == EAGAIN)
		return wait_writable(t, family_of(tr));
	if (one && tr->n > 1 && error == EIO) {
		counter_add(&c->gso_off_socket, 1);
		atomic_store(&u->gso[family_of(tr)], false);
		return true;
	}
	if (tr->source && tr->to.local.family != AF_UNSPEC &&
	    (error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH ||
	     error == EHOSTUNREACH)) {
		counter_add(&c->tx_source_cleared, 1);
		tr->source = false;
		wg_peer_clear_source(tr->peer);
		return true;
	}
	if (one && tr->n > 1 && (error == EMSGSIZE || error == EINVAL)) {
		counter_add(&c->gso_off_peer, 1);
		tr->pieces = true;
		atomic_store(wg_peer_flags(tr->peer), atomic_load(&u->generation));
		return true;
	}
	return false;
}

static void count_sent(struct tx *t, uint32_t packets, uint32_t bytes)
{
	counter_add(&t->counters->tx_packets, packets);
	counter_add(&t->counters->tx_bytes, bytes);
	counter_add(&t->counters->tx_sends, 1);
}

static void send_pieces(struct tx *t, struct train *tr)
{
	unsigned family = family_of(tr);
	int fd = t->path->udp->fd[t->queue][family];
	struct mmsghdr m[UDP_TRAIN_MESSAGES];
	struct iovec iov[UDP_TRAIN_MESSAGES];
	uint32_t i = 0;

	while (i < tr->n) {
		for (uint32_t k = i; k < tr->n; k++) {
			address(tr, false, &m[k].msg_hdr);
			iov[k] =
				(struct iovec){tr->slot + (size_t)k * tr->size, message_len(tr, k)};
			m[k].msg_hdr.msg_iov = &iov[k];
		}
		int sent = sendmmsg(fd, m + i, tr->n - i, MSG_DONTWAIT);
		if (sent > 0) {
			t->waits[family] = 0;
			for (; sent > 0; sent--, i++)
				count_sent(t, 1, message_len(tr, i));
		} else if (!remedy(t, tr, false, errno)) {
			counter_add(&t->counters->tx_errors, 1);
			i++;
		}
	}
}

/* Sends trains from `from` on that go as one message to one socket; how many. */
static unsigned send_run(struct tx *t, unsigned from)
{
	struct mmsghdr m[TRAINS];
	unsigned family = family_of(&t->trains[from]), n = 0, i;

	for (i = from; i < t->n_trains && t->trains[i].ready &&
		       family_of(&t->trains[i]) == family && as_one(t, &t->trains[i]);
	     i++)
		address(&t->trains[i], true, &m[n++].msg_hdr);
	int sent = sendmmsg(t->path->udp->fd[t->queue][family], m, n, MSG_DONTWAIT);
	if (sent > 0) {
		t->waits[family] = 0;
		for (i = 0; i < (unsigned)sent; i++)
			count_sent(t, t->trains[from + i].n, t->trains[from + i].used);
		return (unsigned)sent;
	}
	if (remedy(t, &t->trains[from], true, errno))
		return 0;
	counter_add(&t->counters->tx_errors, t->trains[from].n);
	return 1;
}

static void flush(struct tx *t)
{
	for (unsigned i = 0; i < t->n_trains; i++)
		seal(t, &t->trains[i]);
	for (unsigned i = 0; i < t->n_trains;) {
		struct train *tr = &t->trains[i];

		if (!tr->ready) {
			i++;
		} else if (as_one(t, tr)) {
			i += send_run(t, i);
		} else {
			send_pieces(t, tr);
			i++;
		}
	}
	t->n_trains = 0;
	t->bytes = 0;
}

/* ── packets into trains ────────────────────────────────────────────────────────────────── */

static bool takes(const struct train *tr, uint8_t tos, uint32_t len)
{
	return !tr->full && tr->tos == tos && len <= tr->size && tr->n < UDP_TRAIN_MESSAGES &&
	       tr->used + len <= UDP_TRAIN_BYTES;
}

static struct train *latest(struct tx *t, const struct wg_peer *p)
{
	for (unsigned i = t->n_trains; i > 0; i--)
		if (t->trains[i - 1].peer == p)
			return &t->trains[i - 1];
	return NULL;
}

/* Room for one message with `len` bytes of plain text; where to put them. */
static uint8_t *board(struct tx *t, struct wg_peer *p, uint32_t len, uint8_t tos)
{
	uint32_t mtu = atomic_load_explicit(&t->path->tun->mtu, memory_order_relaxed);
	uint32_t padded = (uint32_t)wg_padded(len, mtu), message;
	struct train *tr = latest(t, p);
	uint8_t *at;

	if (padded > PACKET_MAX)
		padded = len;
	message = padded + WG_OVERHEAD;
	if (!tr || !takes(tr, tos, message)) {
		if (t->n_trains == TRAINS || t->bytes >= BATCH_BYTES)
			flush(t);
		tr = &t->trains[t->n_trains++];
		*tr = (struct train){.peer = p, .size = message, .tos = tos, .slot = tr->slot};
	}
	at = tr->slot + tr->used + WG_HEADER;
	memset(at + len, 0, padded - len);
	tr->n++;
	tr->used += message;
	tr->last = message;
	tr->full = message < tr->size;
	t->bytes += message;
	return at;
}

static void take_packet(struct tx *t, const struct virtio_net_hdr *h, const uint8_t *packet,
			size_t len)
{
	struct counters *c = t->counters;
	struct offload_cut cut;
	struct wg_peer *p;
	uint8_t tos;

	counter_add(&c->tun_reads, 1);
	counter_add(&c->tun_read_bytes, len);
	if (offload_cut(h, packet, len, &cut) < 0 || offload_cut_len(&cut, 0) > PACKET_MAX) {
		counter_add(&c->tun_bad, 1);
		return;
	}
	p = wg_route(t->lane, packet, len);
	if (!p) {
		counter_add(&c->no_peer, 1);
		return;
	}
	tos = wg_ecn_outer(packet, len);
	for (uint32_t i = 0; i < cut.n; i++)
		offload_cut_write(&cut, i, board(t, p, offload_cut_len(&cut, i), tos));
}

static void take_staged(struct tx *t, struct wg_peer *p, struct wg_packet *list)
{
	if (!list)
		board(t, p, 0, 0);
	for (struct wg_packet *at = list; at; at = at->next) {
		struct staged *s = (struct staged *)at;

		memcpy(board(t, p, s->len, wg_ecn_outer(s->data, s->len)), s->data, s->len);
	}
	tx_drop(list);
}

/* ── reading ───────────────────────────────────────────────────────────────────────────── */

/* What the kernel cannot give (a super-packet of a kind that has no name) is lost, and the next
 * read may be good. The interface is gone with the two that mean it. */
static enum got failed(struct tx *t, int error)
{
	if (error == EAGAIN || error == EINTR)
		return GOT_NOTHING;
	if (error == EBADFD || error == ENODEV) {
		path_tun_gone(t->path, error);
		return GOT_NOTHING;
	}
	counter_add(&t->counters->tun_bad, 1);
	return GOT_BAD;
}

static enum got read_one(struct tx *t, struct virtio_net_hdr *ret_h, const uint8_t **ret_packet,
			 size_t *ret_len)
{
	size_t before = t->path->tun->vnet ? sizeof(*ret_h) : 0;
	uint8_t *at = t->read_buffer + READ_OFFSET - before;
	ssize_t n = read(t->path->tun->fd[t->queue], at, before + UINT16_MAX + 1);

	if (n < (ssize_t)before)
		return failed(t, n < 0 ? errno : EINVAL);
	memset(ret_h, 0, sizeof(*ret_h));
	memcpy(ret_h, at, before);
	*ret_packet = at + before;
	*ret_len = (size_t)n - before;
	return GOT_PACKET;
}

static void begin(struct tx *t)
{
	t->now = mono_now();
	t->waited = false;
	wg_enter(t->lane);
}

static void end(struct tx *t)
{
	flush(t);
	wg_leave(t->lane);
}

bool tx_drain(struct tx *t, unsigned *n)
{
	struct virtio_net_hdr h;
	const uint8_t *packet;
	unsigned left = BATCH, bad = 0;
	enum got got;
	size_t len;

	begin(t);
	for (; left > 0 && !t->waited && (got = read_one(t, &h, &packet, &len)); left--) {
		if (got == GOT_PACKET)
			take_packet(t, &h, packet, len);
		else
			bad++;
	}
	end(t);
	if (bad == BATCH) /* not to be tried without end */
		ppoll(NULL, 0, &(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	*n += BATCH - left;
	return left == 0 || t->waited;
}

bool tx_serve_ready(struct tx *t)
{
	struct wg_packet *staged;
	struct wg_peer *p;
	unsigned left = BATCH;

	path_drained(t->path->tx_wake);
	begin(t);
	for (; left > 0 && !t->waited && (p = wg_tx_ready(t->lane, &staged)); left--)
		take_staged(t, p, staged);
	end(t);
	return left == 0 || t->waited;
}
