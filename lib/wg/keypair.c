/*
 * Sessions and their slots.
 *
 *     as the initiator           current ──> previous     new ──> current
 *       (where there is a next:  next ──> previous         current ──> older)
 *     as the responder           new ──> next             the old next goes
 *     first packet under next    current ──> previous     next ──> current
 *
 * What was previous becomes older, and what was older goes. Where there is a next, there is no
 * previous.
 *
 * An initiator may send at once, for the response proves that the other side has the session. A
 * responder sends under current until the first packet under next has come. That packet is seen
 * by a lane, which sets `confirmed`; from then on lanes prefer next, and control moves the slots
 * when it sees the event, and in any case before it puts another session into a slot. All four
 * slots receive, so reordering across a rekey loses nothing.
 *
 * Where two handshakes cross, each side sends under the session that it has initiated, and keeps
 * the other's in previous: not for what is still under way, but for all that the other side sends.
 * The next handshake takes previous away a round trip before the other side has its new session;
 * so that is the time of older. What is older than WG_REJECT_AFTER receives nothing and is not put
 * there, or goes at the next handshake: where sessions follow each other as they become old, that
 * is each previous that is replaced.
 *
 * And the two would cross again, for both sessions become old at the same moment. So the side with
 * the greater public key is late: it leaves the other the time of a retry to renew its own.
 *
 * A session is found by its index, which the table forgets before the session is retired.
 */
#include "wg/wg_priv.h"

#include <string.h>

static struct wg_keypair *get(const _Atomic(struct wg_keypair *) *slot)
{
	return atomic_load_explicit(slot, memory_order_acquire);
}

static void set(_Atomic(struct wg_keypair *) *slot, struct wg_keypair *kp)
{
	atomic_store_explicit(slot, kp, memory_order_release);
}

struct wg_keypair *wg_keypair_new(struct wg_peer *p, struct mono now)
{
	const struct wg_device *d = p->d;
	size_t size = sizeof(struct wg_keypair) + 2 * d->lanes_max * sizeof(void *);
	struct wg_keypair *kp;

	size = (size + alignof(struct wg_keypair) - 1) & ~(alignof(struct wg_keypair) - 1);
	kp = aligned_alloc(alignof(struct wg_keypair), size);
	if (!kp)
		return NULL;
	memset(kp, 0, size);
	atomic_flag_clear(&kp->replay.lock);
	kp->index.keypair = true;
	kp->peer = p;
	kp->birth = now;
	kp->send = secret_new();
	kp->recv = secret_new();
	if (!kp->send || !kp->recv) {
		wg_keypair_discard(kp);
		return NULL;
	}
	return kp;
}

void wg_keypair_discard(struct wg_keypair *kp)
{
	if (!kp)
		return;
	secret_free(kp->send);
	secret_free(kp->recv);
	free(kp);
}

static bool keypair_free(struct wg_retired *r)
{
	struct wg_keypair *kp = list_entry(r, struct wg_keypair, retired);
	const struct wg_device *d = kp->peer->d;

	for (unsigned i = 0; i < 2 * d->lanes_max; i++)
		d->aead->free(kp->ctx[i]);
	wg_keypair_discard(kp);
	return true;
}

static void put_away(struct wg_keypair *kp)
{
	if (!kp)
		return;
	wg_index_remove(kp->peer->d, &kp->index);
	wg_retire(kp->peer->d, &kp->retired, keypair_free);
}

/* Out of the slots that lanes look at; packets under it may still come. */
static void make_older(struct wg_peer *p, struct wg_keypair *kp, struct mono now)
{
	if (kp) {
		put_away(p->older);
		p->older = kp;
	}
	if (p->older && mono_since(now, p->older->birth) >= WG_REJECT_AFTER)
		put_away(mem_steal(&p->older));
}

bool wg_keypair_rotate(struct wg_peer *p)
{
	struct wg_keypair *next = get(&p->next);

	if (!next || !atomic_load_explicit(&next->confirmed, memory_order_acquire))
		return false;
	set(&p->previous, get(&p->current)); /* which is empty where there is a next */
	set(&p->current, next);
	set(&p->next, NULL);
	return true;
}

void wg_keypair_install(struct wg_peer *p, struct wg_keypair *kp)
{
	wg_keypair_rotate(p);
	struct wg_keypair *previous = get(&p->previous), *current = get(&p->current),
			  *next = get(&p->next);

	if (!kp->initiator) {
		set(&p->next, kp);
		set(&p->previous, NULL);
		put_away(next);
		make_older(p, previous, kp->birth);
		return;
	}
	kp->late = next && key_cmp(&p->d->public_key, &p->public_key) > 0;
	set(&p->previous, next ? next : current);
	set(&p->current, kp);
	set(&p->next, NULL);
	make_older(p, next ? current : previous, kp->birth);
}

void wg_keypair_clear(struct wg_peer *p)
{
	_Atomic(struct wg_keypair *) *slots[] = {&p->previous, &p->current, &p->next};

	for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
		struct wg_keypair *kp = get(slots[i]);

		set(slots[i], NULL);
		put_away(kp);
	}
	put_away(mem_steal(&p->older));
}

void wg_keypair_expire(struct wg_peer *p)
{
	struct wg_keypair *kp[] = {get(&p->current), get(&p->next)};

	for (unsigned i = 0; i < ARRAY_LEN(kp); i++)
		if (kp[i])
			atomic_store(&kp[i]->expired, true);
}

struct wg_keypair *wg_keypair_sendable(const struct wg_peer *p, struct mono now)
{
	struct wg_keypair *kp = get(&p->next);

	if (!kp || !atomic_load_explicit(&kp->confirmed, memory_order_acquire))
		kp = get(&p->current);
	if (!kp || atomic_load_explicit(&kp->expired, memory_order_relaxed) ||
	    mono_since(now, kp->birth) >= WG_REJECT_AFTER ||
	    atomic_load_explicit(&kp->counter, memory_order_relaxed) >= WG_REJECT_AFTER_MESSAGES)
		return NULL;
	return kp;
}

bool wg_keypair_is_old(const struct wg_keypair *kp, struct mono now)
{
	int64_t after = WG_REKEY_AFTER + (kp->late ? WG_REKEY_TIMEOUT : 0);

	return (kp->initiator && mono_since(now, kp->birth) >= after) ||
	       atomic_load_explicit(&kp->counter, memory_order_relaxed) > WG_REKEY_AFTER_MESSAGES;
}
