/* SPDX-License-Identifier: MIT */
#include "server/wheel.h"

void wheel_init(struct wheel *w, u64 now_ms)
{
	w->now_ms = now_ms;
	for (int l = 0; l < WHEEL_LEVELS; l++) {
		w->used[l] = 0;
		for (u32 s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slots[l][s]);
	}
}

static void place(struct wheel *w, struct timer *t)
{
	u64 when = max(t->when_ms, w->now_ms + 1);
	u64 diff;
	u8 level = 0;

	/*
	 * The level is that of the highest group of bits in which the time
	 * differs from now: only then does the slot come up again before it.
	 */
	when = min(when, w->now_ms + WHEEL_MAX_MS);
	diff = when ^ w->now_ms;
	while (level < WHEEL_LEVELS - 1 && diff >> (WHEEL_BITS * (level + 1)))
		level++;
	t->level = level;
	t->slot = (when >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
	t->pending = true;
	list_add_tail(&t->node, &w->slots[level][t->slot]);
	w->used[level] |= 1ull << t->slot;
}

void wheel_add(struct wheel *w, struct timer *t, u64 when_ms)
{
	if (t->pending)
		wheel_del(w, t);
	t->when_ms = when_ms;
	place(w, t);
}

void wheel_del(struct wheel *w, struct timer *t)
{
	if (!t->pending)
		return;
	t->pending = false;
	list_del(&t->node);
	if (list_empty(&w->slots[t->level][t->slot]))
		w->used[t->level] &= ~(1ull << t->slot);
}

/* Takes every timer of one slot: those that are due fire, the rest move down. */
static void open_slot(struct wheel *w, int level, u32 slot)
{
	struct list *head = &w->slots[level][slot];
	struct list todo;

	if (!(w->used[level] & (1ull << slot)))
		return;
	w->used[level] &= ~(1ull << slot);
	list_init(&todo);
	list_splice_tail(head, &todo);
	while (!list_empty(&todo)) {
		struct timer *t = list_first(&todo, struct timer, node);

		/* While it waits in todo, a wheel_del() by a callback still unlinks it. */
		list_del(&t->node);
		if (t->when_ms > w->now_ms) {
			place(w, t);
			continue;
		}
		t->pending = false;
		t->fire(t);
	}
}

/* How many ticks until the next slot of any level comes up; 0 = none at all. */
static u64 next_tick(const struct wheel *w)
{
	u64 best = 0;

	for (int l = 0; l < WHEEL_LEVELS; l++) {
		u32 cur = (w->now_ms >> (WHEEL_BITS * l)) & (WHEEL_SLOTS - 1);
		u64 used = w->used[l], ahead, at;

		if (!used)
			continue;
		/* Rotate so that bit 0 is the slot after the current one. */
		ahead = used >> ((cur + 1) & 63) | used << ((64 - (cur + 1)) & 63);
		at = (w->now_ms >> (WHEEL_BITS * l)) + 1 + (u64)__builtin_ctzll(ahead);
		at <<= WHEEL_BITS * l;
		if (!best || at - w->now_ms < best)
			best = at - w->now_ms;
	}
	return best;
}

void wheel_advance(struct wheel *w, u64 now_ms)
{
	while (w->now_ms < now_ms) {
		u64 step = next_tick(w);

		if (!step || w->now_ms + step > now_ms) {
			w->now_ms = now_ms;
			return;
		}
		w->now_ms += step;
		/* Far levels first: what they hold may be due in the near one. */
		for (int l = WHEEL_LEVELS - 1; l >= 0; l--) {
			u64 below = w->now_ms & ((1ull << (WHEEL_BITS * l)) - 1);

			if (below == 0)
				open_slot(w, l, (w->now_ms >> (WHEEL_BITS * l)) & (WHEEL_SLOTS - 1));
		}
	}
}

s64 wheel_next(const struct wheel *w)
{
	u64 step = next_tick(w);

	return step ? (s64)step : -1;
}
