/* SPDX-License-Identifier: MIT */
/*
 * A bounded ring of pointers, one producer and one consumer at a time (what
 * makes them one at a time is the caller's: a thread, a lock, Ruby's GVL).
 */
#ifndef HYPERION_SERVER_RING_H
#define HYPERION_SERVER_RING_H

#include "server/base.h"

struct ring {
	u32 mask;
	void **slots;
	/* Each on a line of its own: the sides write them all the time. */
	__cacheline_aligned u32 head; /* next to pop; the consumer writes it */
	u32 cached_tail; /* the consumer's last sight of tail */
	__cacheline_aligned u32 tail; /* next to push; the producer writes it */
	u32 cached_head;
};

/* @len: a power of two. 0 or -ENOMEM. */
int ring_init(struct ring *r, u32 len) __must_check;
void ring_fini(struct ring *r);

/* How many of the @nr pointers fitted. */
u32 ring_push(struct ring *r, void *const *items, u32 nr);

/* NULL when it is empty. */
void *ring_pop(struct ring *r);

/* By either side or a third; exact only for who is alone. */
u32 ring_count(const struct ring *r);

#endif
