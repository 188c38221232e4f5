/* SPDX-License-Identifier: MIT */
/*
 * A bounded ring of pointers, one producer and one consumer at a time (what
 * makes them one at a time is the caller's: a thread, a lock, Ruby's GVL).
 * It owns its slots, not what they point to. Nobody sleeps here: see app.h.
 */
#ifndef HYPERION_SERVER_RING_H
#define HYPERION_SERVER_RING_H

#include "server/base.h"

struct ring {
	u32 mask;
	void **slots;
	/*
	 * Each on a line of its own: the sides write them all the time. Both run
	 * freely through 2^32; their difference is what the ring holds.
	 */
	__cacheline_aligned u32 head; /* next to pop; the consumer writes it */
	u32 cached_tail; /* the consumer's last sight of tail */
	__cacheline_aligned u32 tail; /* next to push; the producer writes it */
	u32 cached_head; /* the producer's last sight of head */
};

/* @len: a power of two. 0 or -ENOMEM. */
int ring_init(struct ring *r, u32 len) __must_check;
void ring_fini(struct ring *r);

/* Doubles the ring; only while nobody else uses it. 0 or -ENOMEM, then it is as it was. */
int ring_grow(struct ring *r) __must_check;

/* How many of the @nr pointers fitted. All of them become visible at once. */
u32 ring_push(struct ring *r, void *const *items, u32 nr);

/* NULL when it is empty. */
void *ring_pop(struct ring *r);

/*
 * The producer: what lies at place *@at, counted as ring_popped() does; at the oldest if that was
 * popped, which is then *@at. NULL: nothing (yet). It may be popped at any time.
 */
void *ring_look(const struct ring *r, u32 *at);

/* By either side or a third; exact only for who is alone. */
u32 ring_count(const struct ring *r);

/* How many were popped so far, modulo 2^32; by anybody. */
u32 ring_popped(const struct ring *r);

static inline u32 ring_len(const struct ring *r)
{
	return r->mask + 1;
}

#endif
