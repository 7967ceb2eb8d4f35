/*
 * The replay window (RFC 6479's form of RFC 4303's): a ring of 64-bit words, one bit a counter.
 * `next` is one beyond the greatest counter seen, so that counter 0 needs no special case. Moving
 * forward clears the words that come to stand for new counters; the ring has one word more than
 * the window, so clearing never reaches a counter that is still inside.
 *
 * The check before decryption reads without the lock and may be late by what another lane
 * commits at that moment; the commit, under the lock, decides.
 */
#include "wg/wg_priv.h"

static _Atomic uint64_t *word(struct wg_replay *r, uint64_t counter)
{
	return &r->bits[counter / 64 % WG_REPLAY_WORDS];
}

bool wg_replay_check(const struct wg_replay *r, uint64_t counter)
{
	uint64_t next = atomic_load_explicit(&r->next, memory_order_acquire);

	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter >= next)
		return true;
	if (next - counter > WG_REPLAY_WINDOW)
		return false;
	return !(atomic_load_explicit(&r->bits[counter / 64 % WG_REPLAY_WORDS],
				      memory_order_relaxed) >>
			 (counter % 64) &
		 1);
}

static void forward(struct wg_replay *r, uint64_t counter)
{
	uint64_t next = atomic_load_explicit(&r->next, memory_order_relaxed);
	/* The words of next - 1 and before are in use; nothing is while next is 0. */
	uint64_t from = next == 0 ? 0 : (next - 1) / 64 + 1, to = counter / 64;

	if (to - from >= WG_REPLAY_WORDS && to >= from)
		from = to - WG_REPLAY_WORDS + 1;
	for (uint64_t i = from; i <= to; i++)
		atomic_store_explicit(&r->bits[i % WG_REPLAY_WORDS], 0, memory_order_relaxed);
	atomic_store_explicit(&r->next, counter + 1, memory_order_release);
}

bool wg_replay_commit(struct wg_replay *r, uint64_t counter)
{
	bool fresh;

	while (atomic_flag_test_and_set_explicit(&r->lock, memory_order_acquire))
		;
	fresh = wg_replay_check(r, counter);
	if (fresh) {
		if (counter >= atomic_load_explicit(&r->next, memory_order_relaxed))
			forward(r, counter);
		uint64_t bits = atomic_load_explicit(word(r, counter), memory_order_relaxed);
		atomic_store_explicit(word(r, counter), bits | UINT64_C(1) << counter % 64,
				      memory_order_relaxed);
	}
	atomic_flag_clear_explicit(&r->lock, memory_order_release);
	return fresh;
}
