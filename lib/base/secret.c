/*
 * Theory of operation. Blocks of 64 KiB are mapped with one inaccessible page on each side,
 * locked, and excluded from core dumps and forks. A block begins with its header (links, a free
 * count and a bitmap of the slots in use); a slot's block is found by rounding its address down,
 * since a block's usable area is aligned to its size. An empty block is kept if it is the only
 * one, else unmapped. A slot is zero when handed out and zeroed when it comes back.
 *
 * One mutex guards the blocks' headers; what is in a slot is its owner's alone.
 */
#include "base/secret.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK ((size_t)64 * 1024)
#define SLOTS ((BLOCK - 512) / sizeof(struct key))

struct block {
	struct block *next;
	void *map; /* what munmap takes: guards and alignment slack included */
	size_t map_len;
	unsigned used;
	unsigned first; /* no slot is free before this byte of in_use */
	uint8_t in_use[(SLOTS + 7) / 8];
};

_Static_assert(sizeof(struct block) <= 512, "the header fits before the first slot");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static struct block *blocks;
static bool lock_failed;

static struct key *slots(struct block *b)
{
	return (struct key *)((char *)b + 512);
}

static struct block *block_new(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len = 2 * BLOCK + 2 * page;
	char *map = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	char *at = (char *)(((uintptr_t)map + page + BLOCK - 1) & ~(uintptr_t)(BLOCK - 1));
	if (mprotect(at, BLOCK, PROT_READ | PROT_WRITE) < 0) {
		munmap(map, len);
		return NULL;
	}
	if (mlock(at, BLOCK) < 0)
		lock_failed = true;
	madvise(at, BLOCK, MADV_DONTDUMP);
	madvise(at, BLOCK, MADV_WIPEONFORK);

	struct block *b = (struct block *)at;
	b->map = map;
	b->map_len = len;
	b->next = blocks;
	return blocks = b;
}

static struct key *take(struct block *b)
{
	unsigned i;

	while (b->in_use[b->first] == 0xFF)
		b->first++;
	i = b->first * 8;
	while (b->in_use[i / 8] & 1U << i % 8)
		i++;
	assert(i < SLOTS); /* used < SLOTS, and the bits behind the last slot are never set */
	b->in_use[i / 8] |= (uint8_t)(1U << i % 8);
	b->used++;
	return &slots(b)[i];
}

struct key *secret_new(void)
{
	struct key *k = NULL;
	struct block *b;

	pthread_mutex_lock(&mutex);
	b = blocks;
	while (b && b->used == SLOTS)
		b = b->next;
	if (b || (b = block_new()))
		k = take(b);
	pthread_mutex_unlock(&mutex);
	return k;
}

static void unmap(struct block *b)
{
	for (struct block **p = &blocks; *p; p = &(*p)->next) {
		if (*p == b) {
			*p = b->next;
			break;
		}
	}
	munmap(b->map, b->map_len);
}

void secret_free(struct key *k)
{
	if (!k)
		return;

	struct block *b = (struct block *)((uintptr_t)k & ~(uintptr_t)(BLOCK - 1));
	size_t i = (size_t)(k - slots(b));
	mem_wipe(k, sizeof(*k));
	pthread_mutex_lock(&mutex);
	assert(i < SLOTS && b->in_use[i / 8] & 1U << i % 8);
	b->in_use[i / 8] &= (uint8_t) ~(1U << i % 8);
	if (i / 8 < b->first)
		b->first = (unsigned)(i / 8);
	if (--b->used == 0 && (b != blocks || b->next))
		unmap(b);
	pthread_mutex_unlock(&mutex);
}

struct key *secret_copy(const struct key *from)
{
	struct key *k = from ? secret_new() : NULL;

	if (k)
		memcpy(k, from, sizeof(*k));
	return k;
}

bool secret_is_locked(void)
{
	bool locked;

	pthread_mutex_lock(&mutex);
	locked = !lock_failed;
	pthread_mutex_unlock(&mutex);
	return locked;
}
