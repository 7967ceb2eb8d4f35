/*
 * A few words that many read and few write, without a lock for who reads: a sequence number is odd
 * while someone writes. Readers try again, writers take turns. For what changes rarely and is
 * read on the data path: a peer's endpoint, the keys of the two MACs.
 *
 * Who writes what it has made of what it read writes only where that still stands.
 */
#include "wg/wg_priv.h"

#include <string.h>

uint32_t wg_words_read(const _Atomic uint32_t *seq, const _Atomic uint64_t *words, void *ret,
		       size_t len)
{
	uint32_t before;

	do {
		before = atomic_load_explicit(seq, memory_order_acquire);
		for (size_t i = 0; i < len / 8; i++) {
			uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);

			memcpy((uint8_t *)ret + 8 * i, &word, 8);
		}
	} while (before & 1 || before != atomic_load_explicit(seq, memory_order_relaxed));
	return before;
}

/* The sequence number was made odd; `before` is what it was. */
static void write_all(_Atomic uint32_t *seq, uint32_t before, _Atomic uint64_t *words,
		      const void *from, size_t len)
{
	for (size_t i = 0; i < len / 8; i++) {
		uint64_t word;

		memcpy(&word, (const uint8_t *)from + 8 * i, 8);
		atomic_store_explicit(&words[i], word, memory_order_release);
	}
	atomic_store_explicit(seq, before + 2, memory_order_release);
}

void wg_words_write(_Atomic uint32_t *seq, _Atomic uint64_t *words, const void *from, size_t len)
{
	uint32_t before = atomic_load_explicit(seq, memory_order_relaxed);

	do
		before &= ~UINT32_C(1);
	while (!atomic_compare_exchange_weak(seq, &before, before + 1));
	write_all(seq, before, words, from, len);
}

bool wg_words_replace(_Atomic uint32_t *seq, uint32_t as_read, _Atomic uint64_t *words,
		      const void *from, size_t len)
{
	if (!atomic_compare_exchange_strong(seq, &as_read, as_read + 1))
		return false;
	write_all(seq, as_read, words, from, len);
	return true;
}
