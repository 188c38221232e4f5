/* SPDX-License-Identifier: MIT */
#include "server/ring.h"

#include <assert.h>
#include <stdlib.h>

#include "server/fail.h"

int ring_init(struct ring *r, u32 len)
{
	assert(len && !(len & (len - 1)));
	*r = (struct ring){ .mask = len - 1, .slots = mem_alloc((size_t)len * sizeof(void *)) };
	return r->slots ? 0 : -ENOMEM;
}

void ring_fini(struct ring *r)
{
	free(r->slots);
	r->slots = NULL;
}

int ring_grow(struct ring *r)
{
	struct ring grown;
	u32 nr = ring_count(r);
	int err = ring_init(&grown, ring_len(r) * 2);

	if (err)
		return err;
	for (u32 i = 0; i < nr; i++)
		grown.slots[i] = r->slots[(r->head + i) & r->mask];
	grown.tail = grown.cached_tail = nr;
	ring_fini(r);
	*r = grown;
	return 0;
}

u32 ring_push(struct ring *r, void *const *items, u32 nr)
{
	u32 tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED); /* our own */

	if (ring_len(r) - (tail - r->cached_head) < nr) {
		/* Acquire pairs with the release in ring_pop(): the slot has been read. */
		r->cached_head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
		nr = min(nr, ring_len(r) - (tail - r->cached_head));
	}
	for (u32 i = 0; i < nr; i++)
		r->slots[(tail + i) & r->mask] = items[i];
	/* Release pairs with the acquire in ring_pop(): slots and what they point to. */
	__atomic_store_n(&r->tail, tail + nr, __ATOMIC_RELEASE);
	return nr;
}

void *ring_pop(struct ring *r)
{
	u32 head = __atomic_load_n(&r->head, __ATOMIC_RELAXED); /* our own */
	void *item;

	if (head == r->cached_tail) {
		/* Acquire pairs with the release in ring_push(). */
		r->cached_tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
		if (head == r->cached_tail)
			return NULL;
	}
	item = r->slots[head & r->mask];
	/* Release pairs with the acquire in ring_push(): the slot may be overwritten. */
	__atomic_store_n(&r->head, head + 1, __ATOMIC_RELEASE);
	return item;
}

void *ring_look(const struct ring *r, u32 *at)
{
	/* Acquire: as in ring_count(). */
	u32 head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);

	if ((s32)(head - *at) > 0)
		*at = head;
	/* The slots are the producer's to write, and it is here. */
	return *at == __atomic_load_n(&r->tail, __ATOMIC_RELAXED) ? NULL : r->slots[*at & r->mask];
}

u32 ring_count(const struct ring *r)
{
	/*
	 * Acquire pairs with the releases above: who sees that something was
	 * popped also sees what the consumer did before. Head first: tail is never
	 * behind it.
	 */
	u32 head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) - head;
}

u32 ring_popped(const struct ring *r)
{
	/* Acquire: as in ring_count(). */
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
}
