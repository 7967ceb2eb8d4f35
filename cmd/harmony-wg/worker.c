/*
 * The threads of the data path. Each queue has two works, sending and receiving, and there are as
 * many threads as works, which do any: both wait at one epoll, each source in it is armed for one
 * event, and who is woken does the work until its source is dry, then arms it again.
 *
 * Under load that is one thread for each direction. But the next packet after a pause, and the
 * answer to it, find the thread that slept last (epoll wakes in that order), on the processor
 * where its memory is, and nobody else is woken: a request and its response cost what they would
 * with a single thread.
 *
 * A work is done by one thread at a time, since it has buffers and a lane of the engine. But it has
 * two sources (both address families; packets that waited, and the TUN), which may wake two
 * threads, and it goes on for as long as one of them is fed. Who waited for it would be missing in
 * the other direction for as long. So nobody waits; a work is one word:
 *
 *     BUSY          somebody does it
 *     1 << source   this one has something, and is not armed; who does the work serves it
 *
 * Who is woken sets both at once, and where it was busy goes back to the epoll. Who does the work
 * looks after each batch what waits, and gives each a batch in turn. A source that is dry while
 * another is not is first taken out of the word, then armed. Who leaves exchanges the whole word
 * for 0 and arms what he finds in it.
 *
 * So no source is forgotten. It wakes one thread, and is armed no more, until that thread's bit has
 * been dealt with. All changes of the word have one order: the bit comes into a word that was not
 * busy, and who has set it serves it; or before the exchange by which another leaves, who serves
 * it or finds it there. What he arms without having served it wakes somebody at once, since the
 * epoll tells of what is there, not of what has come.
 *
 * A queue is one of the interface and a pair of sockets. There are as many threads as works since a
 * work goes on for as long as it is fed: with fewer, one more would never be done. The packets that
 * waited are the first queue's.
 *
 * A conversation is one packet at a time, in turns of direction, soon after another: a request,
 * its response. What costs there is waking: a multiple of all work on the packet, where the machine
 * is a virtual one and who is woken is on another processor. So a thread that
 * is in a conversation does not sleep, but asks both sources in turn and lets whoever wants its
 * processor run, for PATIENCE after each packet. It leaves when there is more than one packet at a
 * time, when others want the processor for longer, and for a moment after STAY, so that everything
 * else has its turn. A wait in vain makes it pass over the next chances, twice as many each time;
 * so what is not a conversation costs next to nothing, and what is idle nothing.
 *
 * A socket that control replaces meanwhile was added to the epoll armed; to arm it once more, or
 * to fail since it is not there, does no harm.
 */
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#define PATIENCE (NS_PER_MSEC / 5)
#define CROWDED  (NS_PER_MSEC / 10)
#define STAY     NS_PER_MSEC
#define PASS_MAX 255

static int source(const struct workers *w, unsigned queue, enum path_source s)
{
	const struct path *p = w->path;

	switch (s) {
	case PATH_READY: return p->tx_wake;
	case PATH_TUN: return p->tun->fd[queue];
	case PATH_END: return p->end_wake;
	default: return p->udp->fd[queue][s];
	}
}

static int arm(const struct workers *w, unsigned queue, enum path_source s, int op, uint32_t events)
{
	/* The end is for all to see. */
	struct epoll_event ev = {.events = events | (s == PATH_END ? 0 : EPOLLONESHOT),
				 .data.u32 = UDP_EVENT(queue, s)};

	return epoll_ctl(w->path->udp->epoll, op, source(w, queue, s), &ev) < 0 ? -errno : 0;
}

/* What a thread did last, and what came of its waits. */
struct habit {
	struct mono end;
	unsigned queue, family; /* the latter: of what was received last */
	bool sends, single;
	unsigned pass, passed; /* chances to pass over, and how many they were the last time */
};

#define BUSY        (UINT32_C(1) << 31)
#define BIT(source) (UINT32_C(1) << (source))

/* One batch; true where there may be more. */
static bool batch(struct workers_queue *q, enum path_source s, unsigned *n)
{
	switch (s) {
	case PATH_READY: return tx_serve_ready(q->tx);
	case PATH_TUN: return tx_drain(q->tx, n);
	default: return rx_receive(q->rx, s, n);
	}
}

static void arm_again(const struct workers *w, unsigned queue, uint32_t sources)
{
	for (enum path_source s = 0; s < PATH_END; s++)
		if (sources & BIT(s) && (s != PATH_TUN || !atomic_load(&w->path->tun_gone)))
			(void)arm(w, queue, s, EPOLL_CTL_MOD, EPOLLIN);
}

/* Of who does the work: all sources until they are dry. The last of them is left in the word, and
 * not armed yet. How much there was. */
static unsigned serve(struct workers *w, unsigned queue, _Atomic uint32_t *work)
{
	const _Atomic bool *stop = &w->path->stop;
	uint32_t waiting;
	unsigned n = 0;

	while ((waiting = atomic_load(work) & ~BUSY)) {
		for (enum path_source s = 0; s < PATH_END; s++) {
			if (!(waiting & BIT(s)) ||
			    (batch(&w->queue[queue], s, &n) &&
			     !atomic_load_explicit(stop, memory_order_relaxed)))
				continue;
			if (waiting == BIT(s))
				return n;
			atomic_fetch_and(work, ~BIT(s));
			arm_again(w, queue, BIT(s));
		}
	}
	return n;
}

static void leave(const struct workers *w, unsigned queue, _Atomic uint32_t *work)
{
	arm_again(w, queue, atomic_exchange(work, 0) & ~BUSY);
}

/* Whether there is more to do than what a conversation is about. */
static bool wanted(const struct workers_queue *q, unsigned family)
{
	return atomic_load(&q->sending) & ~(BUSY | BIT(PATH_TUN)) ||
	       atomic_load(&q->receiving) & ~(BUSY | BIT(family));
}

/* True where waiting was of use. */
static bool converse(struct workers *w, struct workers_queue *q, unsigned family)
{
	struct mono start = mono_now(), last = start, now = start;

	while (!atomic_load_explicit(&w->path->stop, memory_order_relaxed)) {
		sched_yield();
		if (mono_since(mono_now(), now) > CROWDED)
			break;
		unsigned received = 0, sent = 0;
		(void)rx_receive(q->rx, family, &received);
		(void)tx_drain(q->tx, &sent);
		now = mono_now();
		if (received + sent > 0)
			last = now;
		if (received > 1 || sent > 1 || mono_since(now, start) > STAY || wanted(q, family))
			return last.ns > start.ns;
		if (mono_since(now, last) > PATIENCE)
			break;
	}
	return false;
}

static bool is_conversation(const struct habit *h, unsigned queue, bool sends, struct mono woke)
{
	return h->single && h->queue == queue && h->sends != sends &&
	       mono_since(woke, h->end) < PATIENCE;
}

/* Of who does one work and has found its source dry: he does the other's too, if it is free. */
static void try_converse(struct workers *w, unsigned queue, enum path_source s, struct habit *h)
{
	struct workers_queue *q = &w->queue[queue];
	_Atomic uint32_t *other = s == PATH_TUN ? &q->receiving : &q->sending;
	enum path_source source = s == PATH_TUN ? h->family : PATH_TUN;
	uint32_t free = 0;

	if (h->pass > 0) {
		h->pass--;
		return;
	}
	if (!atomic_compare_exchange_strong(other, &free, BUSY | BIT(source)))
		return;
	counter_add(&w->path->counters[queue].conversations, 1);
	(void)arm(w, queue, source, EPOLL_CTL_MOD, 0);
	h->passed = converse(w, q, h->family) ? 0 : 2 * h->passed + 1;
	h->passed = h->passed > PASS_MAX ? PASS_MAX : h->passed;
	h->pass = h->passed;
	leave(w, queue, other);
}

static void do_work(struct workers *w, unsigned queue, enum path_source s, struct habit *h)
{
	struct workers_queue *q = &w->queue[queue];
	bool sends = s == PATH_READY || s == PATH_TUN;
	_Atomic uint32_t *work = sends ? &q->sending : &q->receiving;
	struct mono woke = mono_now();

	if (atomic_fetch_or(work, BUSY | BIT(s)) & BUSY)
		return;
	unsigned n = serve(w, queue, work);
	if (!sends)
		h->family = s;
	if (n == 1 && s != PATH_READY && atomic_load(work) == (BUSY | BIT(s)) &&
	    is_conversation(h, queue, sends, woke))
		try_converse(w, queue, s, h);
	leave(w, queue, work);
	h->end = mono_now();
	h->queue = queue;
	h->sends = sends;
	h->single = n == 1;
}

static void *worker(void *workers)
{
	struct workers *w = workers;
	struct habit habit = {0};
	char name[16];

	/* By itself: for another thread it is a write to /proc. */
	snprintf(name, sizeof(name), "path/%u", atomic_fetch_add(&w->begun, 1));
	prctl(PR_SET_NAME, name);
	pthread_barrier_wait(&w->started);
	while (!atomic_load(&w->path->stop)) {
		struct epoll_event ev;

		if (epoll_pwait(w->path->udp->epoll, &ev, 1, -1, NULL) == 1 &&
		    ev.data.u32 != PATH_END)
			do_work(w, ev.data.u32 >> 8, ev.data.u32 & 0xff, &habit);
	}
	return NULL;
}

static int arm_all(struct workers *w)
{
	int r = arm(w, 0, PATH_READY, EPOLL_CTL_ADD, EPOLLIN);

	if (r == 0)
		r = arm(w, 0, PATH_END, EPOLL_CTL_ADD, EPOLLIN);
	for (unsigned i = 0; r == 0 && i < w->path->queues; i++) {
		r = arm(w, i, PATH_TUN, EPOLL_CTL_ADD, EPOLLIN);
	}
	return r;
}

int workers_start(struct workers *w, struct path *p, struct err *e)
{
	unsigned n = 2 * p->queues;
	int r;

	w->path = p;
	if ((r = arm_all(w)) < 0)
		return err_sys(e, r, "epoll");
	r = pthread_barrier_init(&w->started, NULL, n + 1);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = pthread_create(&w->thread[i], NULL, worker, w);
	if (r) /* who was started waits for the others: the process ends without them */
		return err_sys(e, -r, "cannot start a thread");
	w->n = n;
	/* A new thread makes calls of its own (rseq, set_robust_list). */
	pthread_barrier_wait(&w->started);
	return 0;
}

void workers_stop(struct workers *w)
{
	for (unsigned i = 0; i < w->n; i++)
		pthread_join(w->thread[i], NULL);
	w->n = 0;
}
