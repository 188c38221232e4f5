/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timer wheel: four levels of 64 slots, ticks of 1 ms. Adding
 * and removing are O(1). A timer fires in the first wheel_advance() at or
 * after its time, never before. One thread.
 */
#ifndef HYPERION_SERVER_WHEEL_H
#define HYPERION_SERVER_WHEEL_H

#include "server/base.h"
#include "server/list.h"

#define WHEEL_LEVELS 4
#define WHEEL_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_BITS)
#define WHEEL_MAX_MS ((1ull << (WHEEL_BITS * WHEEL_LEVELS)) - 1) /* 4.6 h; later = then */

struct timer {
	struct list node;
	u64 when_ms;
	u8 level, slot;
	bool pending;
	void (*fire)(struct timer *t);
};

struct wheel {
	u64 now_ms;
	u64 used[WHEEL_LEVELS]; /* bit = slot is not empty */
	struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, u64 now_ms);

static inline void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
	list_init(&t->node);
	t->pending = false;
	t->fire = fire;
}

/* Moves a pending timer. A time that has passed fires at the next advance. */
void wheel_add(struct wheel *w, struct timer *t, u64 when_ms);
void wheel_del(struct wheel *w, struct timer *t);

/* Fires all that is due. A callback may add and remove any timer. */
void wheel_advance(struct wheel *w, u64 now_ms);

/*
 * Milliseconds until the next advance is useful, -1 without timers. A timer
 * far away may ask for an advance or two before it is due.
 */
s64 wheel_next(const struct wheel *w);

#endif
