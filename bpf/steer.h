/* SPDX-License-Identifier: MIT */
/*
 * Which worker gets a new connection, and which sibling takes over what one
 * worker has too much of: plain C over the rows of the map "steer", for the BPF
 * program, the workers, the unit test and the simulator. Keeps nothing, owns
 * nothing; a row may change while it is read, and any bytes in it are answered.
 *
 *	struct steer_choice c;
 *
 *	steer_begin(&c, now, random);
 *	for (i = 0; i < STEER_LOOKS && i < nr; i++)
 *		steer_weigh(&c, slot, row of (slot = steer_look(&c, i, nr)));
 *	if (c.slot != STEER_NOBODY) ... c.reason, c.avoided
 */
#ifndef HYPERION_BPF_STEER_H
#define HYPERION_BPF_STEER_H

#include <linux/types.h>

#include "bpf/abi.h"

/* So many slots are looked at: all, or of more than that one out of each of so many parts. */
#define STEER_LOOKS 24u

#define STEER_NOBODY (~0u)

/* A connection that was picked, or a job, weighs as much as so many that are only kept open. */
#define STEER_WORK 8u

/* What waits this long without any progress waits for a worker that is stuck. */
#define STEER_UNSETTLED_NS 50000000ull
#define STEER_RUNNING_NS 50000000ull
#define STEER_WAITING_NS 50000000ull

/* Counts beyond this are taken as this, so that a load always fits. */
#define STEER_MAX_COUNT 0xffffffu

/* What a decision needs of one row, read once. */
struct steer_view {
	__u64 pick_ns; /* order among equals */
	__u64 unsettled_ns, running_ns, waiting_ns; /* ages; 0 = nothing there */
	__u32 unsettled, kept, running, waiting, nr_threads;
	__u32 live;
};

struct steer_choice {
	__u64 now, pick_ns;
	__u32 random;
	__u32 slot; /* the answer so far; STEER_NOBODY: leave it to the kernel */
	__u32 reason; /* enum steer_reason */
	__u32 avoided; /* the slot that its load alone would have made the answer, or STEER_NOBODY */
	__u32 load, stalled; /* of the answer */
	__u32 nr_live;
	__u32 least; /* load of c.avoided */
};

/* What another writes at the same time: one load each, whole. */
#define STEER_READ(x) (*(const volatile __typeof__(x) *)&(x))

/* ns from @then until @now; 0 for what is not set or still to come. */
static inline __u64 steer_age(__u64 then, __u64 now)
{
	return then && then < now ? now - then : 0;
}

static inline __u32 steer_count(__u64 n)
{
	return n < STEER_MAX_COUNT ? (__u32)n : STEER_MAX_COUNT;
}

static inline void steer_read(struct steer_view *v, const struct stats_steer *row, __u64 now)
{
	/* In this order: what is settled has been picked before. */
	__u64 settled = STEER_READ(row->settled), settled_ns = STEER_READ(row->settled_ns);
	__u64 ahead = STEER_READ(row->picks) - settled;

	v->pick_ns = STEER_READ(row->pick_ns);
	/* A worker that took over a row may be ahead of its picks for a moment. */
	v->unsettled = ahead >> 63 ? 0 : steer_count(ahead);
	/* Progress with the others counts: a queue that moves is long, not stuck. */
	v->unsettled_ns =
		v->unsettled ? steer_age(v->pick_ns > settled_ns ? v->pick_ns : settled_ns, now) : 0;
	v->kept = steer_count(STEER_READ(row->kept));
	v->running = steer_count(STEER_READ(row->running));
	v->waiting = steer_count(STEER_READ(row->waiting));
	v->running_ns = v->running ? steer_age(STEER_READ(row->running_ns), now) : 0;
	v->waiting_ns = v->waiting ? steer_age(STEER_READ(row->waiting_ns), now) : 0;
	v->nr_threads = STEER_READ(row->nr_threads);
	v->live = STEER_READ(row->state) == STATS_WORKER_SERVING;
}

static inline __u32 steer_load(const struct steer_view *v)
{
	return (v->unsettled + v->running + v->waiting) * STEER_WORK + v->kept;
}

/* Nothing that is sent there now will be served soon. */
static inline __u32 steer_stalled(const struct steer_view *v)
{
	if (v->unsettled_ns > STEER_UNSETTLED_NS)
		return 1;
	/* Threads that are free serve the next one whatever the others do. */
	if (v->running_ns <= STEER_RUNNING_NS)
		return 0;
	return v->running >= v->nr_threads || v->waiting_ns > STEER_WAITING_NS;
}

/* --- the choice --- */

static inline void steer_begin(struct steer_choice *c, __u64 now, __u32 random)
{
	c->now = now;
	c->pick_ns = 0;
	c->random = random;
	c->slot = c->avoided = STEER_NOBODY;
	c->reason = STEER_ONLY;
	c->load = c->stalled = c->least = 0;
	c->nr_live = 0;
}

/* The @i-th slot to look at of @nr; i < STEER_LOOKS, i < nr. No slot is named twice. */
static inline __u32 steer_look(struct steer_choice *c, __u32 i, __u32 nr)
{
	__u32 begin, width;

	if (nr <= STEER_LOOKS)
		return i;
	begin = i * nr / STEER_LOOKS;
	width = (i + 1) * nr / STEER_LOOKS - begin;
	c->random = c->random * 1664525u + 1013904223u;
	return begin + ((c->random >> 16) * width >> 16);
}

/* Takes @row of @slot into account. Equal ones take turns: the one picked longest ago is next. */
static inline void steer_weigh(struct steer_choice *c, __u32 slot, const struct stats_steer *row)
{
	struct steer_view v;
	__u32 load, stalled, less;

	steer_read(&v, row, c->now);
	if (!v.live)
		return;
	load = steer_load(&v);
	stalled = steer_stalled(&v);
	if (stalled && (c->avoided == STEER_NOBODY || load < c->least)) {
		c->avoided = slot;
		c->least = load;
	}
	less = load < c->load || (load == c->load && v.pick_ns < c->pick_ns);
	if (!c->nr_live++ || stalled < c->stalled || (stalled == c->stalled && less)) {
		c->slot = slot;
		c->load = load;
		c->stalled = stalled;
		c->pick_ns = v.pick_ns;
	}
}

/* After the last steer_weigh(): c->reason, c->avoided. */
static inline void steer_end(struct steer_choice *c)
{
	if (c->nr_live > 1)
		c->reason = c->stalled ? STEER_STALLED : STEER_LOAD;
	if (c->stalled || c->least >= c->load)
		c->avoided = STEER_NOBODY;
}

/* --- re-balancing --- */

/*
 * The sibling that should take over what the worker of slot @self gives away: live, not stalled,
 * the least loaded, and its load by more than one connection's work below @load;
 * STEER_NOBODY if there is none.
 */
static inline __u32 steer_sibling(const struct stats_steer *rows, __u32 nr, __u32 self, __u32 load,
				  __u64 now, __u32 random)
{
	struct steer_choice c;

	steer_begin(&c, now, random);
	for (__u32 i = 0; i < STEER_LOOKS && i < nr; i++) {
		__u32 slot = steer_look(&c, i, nr);

		if (slot != self)
			steer_weigh(&c, slot, &rows[slot]);
	}
	steer_end(&c);
	if (c.slot == STEER_NOBODY || c.stalled || c.load + STEER_WORK >= load)
		return STEER_NOBODY;
	return c.slot;
}

#endif
