/*
 * A few words that many read and few write, without a lock for who reads: a sequence number is odd
 * while someone writes. Readers try again, writers take turns. For what changes rarely and is
 * read on the data path: a peer's endpoint, the keys of the two MACs.
 */
#include "wg/wg_priv.h"

#include <string.h>

void wg_words_read(const _Atomic uint32_t *seq, const _Atomic uint64_t *words, void *ret,
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
}

void wg_words_write(_Atomic uint32_t *seq, _Atomic uint64_t *words, const void *from, size_t len)
{
	uint32_t before = atomic_load_explicit(seq, memory_order_relaxed);

	do
		before &= ~UINT32_C(1);
	while (!atomic_compare_exchange_weak(seq, &before, before + 1));
	for (size_t i = 0; i < len / 8; i++) {
		uint64_t word;

		memcpy(&word, (const uint8_t *)from + 8 * i, 8);
		atomic_store_explicit(&words[i], word, memory_order_release);
	}
	atomic_store_explicit(seq, before + 2, memory_order_release);
}
