/* SPDX-License-Identifier: MIT */
/*
 * Which worker gets a new connection, and which sibling takes over what one
 * worker has too much of: plain C over the rows of the map "steer", for the BPF
 * program, the workers, the unit test and the simulator. Keeps nothing, owns
 * nothing; rows may change while they are read, and any bytes in one are answered.
 *
 *	struct steer_choice c;
 *
 *	steer_begin(&c, now_ns, random);
 *	for (i = 0; i < STEER_LOOKS && i < nr; i++) {
 *		slot = steer_look(&c, i, nr);
 *		steer_weigh(&c, slot, row of slot);
 *	}
 *	steer_end(&c);
 *	if (c.slot != STEER_NOBODY) ... c.reason, c.avoided
 *
 * What the numbers below were chosen by: tools/steer-sim, see ARCHITECTURE.md.
 */
#ifndef HYPERION_BPF_STEER_H
#define HYPERION_BPF_STEER_H

#include <linux/types.h>

#include "bpf/abi.h"

/* So many slots are looked at: all, or of more than that one out of each of so many parts. */
#define STEER_LOOKS 24u

#define STEER_NOBODY (~0u)

/* A job, and a connection not yet accepted, weigh as much as so many that are only kept open. */
#define STEER_WORK 16u

/*
 * A pick that nobody accepts weighs one job more for each of these. It may be a client that is far
 * away, or never finishes its handshake: only after twice that long its worker counts as stalled.
 */
#define STEER_ACCEPT_NS 50000000ull
#define STEER_ACCEPT_STALLED 2u

/*
 * A job is old when it has run this long, and so many times as long as jobs do. That it will run
 * as long again is the best guess, so it weighs as many jobs as would have fitted in its time.
 */
#define STEER_OLD_NS 50000000ull
#define STEER_OLD_JOBS 8u
/* ... and stalls its worker at so many times that age. */
#define STEER_OLD_STALLED 4u
/* It weighs only this where threads are free: they serve the next one, unless it computes. */
#define STEER_OLD_BESIDE 3u
/* That it does is seen by a job that waits this long though threads are free. */
#define STEER_UNCLAIMED_NS 10000000ull

/* Counts beyond this are taken as this: every sum fits. */
#define STEER_MAX_COUNT 0xffffffu

#define STEER_STALLED_BIT (1u << 31)

/* What a decision needs of one row, read once. */
struct steer_view {
	__u64 pick_ns;
	__u64 unsettled_ns, running_ns, waiting_ns; /* ages; 0 = nothing there */
	/* Of the job that holds the others up; a claim is told late, so one that waits may run. */
	__u64 oldest_ns;
	__u64 old_ns; /* the age at which a job is old here */
	__u32 unsettled, kept, running, waiting, nr_threads;
	__u32 is_live;
};

struct steer_choice {
	/* The answer so far. */
	__u32 slot; /* STEER_NOBODY: none is live, leave it to the kernel */
	__u32 reason; /* enum steer_reason */
	__u32 avoided; /* the slot that its load alone would have made the answer; STEER_NOBODY */

	__u32 random;
	__u64 now_ns;
	__u64 pick_ns; /* of the answer, as the next three */
	__u32 load; /* without what is held against it */
	__u32 rank; /* with it */
	__u32 nr_equal;
	__u32 nr_live;
	__u32 least; /* load of c.avoided */
	struct steer_view view; /* of the row that is being weighed */
};

/* What another writes at the same time: one load each, whole. */
#define STEER_READ(x) (*(const volatile __typeof__(x) *)&(x))

/*
 * What was stored is loaded anew. The verifier follows each value along each path; those that come
 * out of a map it does not know, and so a row costs it some hundred steps and not a million.
 */
#define STEER_FORGET() __asm__ volatile("" : : : "memory")

/* ns from @then until @now; 0 for what is not set or still to come. */
static inline __u64 steer_age(__u64 then, __u64 now)
{
	return then && then < now ? now - then : 0;
}

static inline __u32 steer_count(__u64 n)
{
	return n < STEER_MAX_COUNT ? (__u32)n : STEER_MAX_COUNT;
}

static inline void steer_read(struct steer_view *v, const struct stats_steer *row, __u64 now_ns)
{
	/* In this order: what is settled has been picked before. */
	__u64 settled = STEER_READ(row->settled), settled_ns = STEER_READ(row->settled_ns);
	__u64 ahead = STEER_READ(row->picks) - settled;
	__u64 job_us = STEER_READ(row->job_us), running_ns, waiting_ns;

	v->pick_ns = STEER_READ(row->pick_ns);
	/* Whoever takes over a row may have settled more than was picked, for a moment. */
	v->unsettled = ahead >> 63 ? 0 : steer_count(ahead);
	/* Where something was accepted since, the queue is long, not stuck. */
	v->unsettled_ns =
		v->unsettled ? steer_age(v->pick_ns > settled_ns ? v->pick_ns : settled_ns, now_ns)
			     : 0;
	v->kept = steer_count(STEER_READ(row->kept));
	v->running = steer_count(STEER_READ(row->running));
	v->waiting = steer_count(STEER_READ(row->waiting));
	running_ns = v->running ? steer_age(STEER_READ(row->running_ns), now_ns) : 0;
	waiting_ns = v->waiting ? steer_age(STEER_READ(row->waiting_ns), now_ns) : 0;
	v->running_ns = running_ns;
	v->waiting_ns = waiting_ns;
	/* Of values that are loaded: of two fields compilers load one, at a computed offset. */
	v->oldest_ns = v->running ? running_ns : waiting_ns;
	v->nr_threads = STEER_READ(row->nr_threads);
	v->old_ns = job_us * (STEER_OLD_JOBS * 1000ull);
	if (v->old_ns < STEER_OLD_NS)
		v->old_ns = STEER_OLD_NS;
	v->is_live = STEER_READ(row->state) == STATS_WORKER_SERVING;
}

/* --- what is held against a worker --- */

/* How much there is to do, as if all of it went on as usual. */
static inline __u32 steer_load(const struct steer_view *v)
{
	return (v->unsettled + v->running + v->waiting) * STEER_WORK + v->kept;
}

/* Nothing gets past an old job: every thread is taken, or those that are not do not come round. */
static inline __u32 steer_blocked(const struct steer_view *v)
{
	return v->running + v->waiting >= v->nr_threads ||
	       (v->running && v->waiting_ns > STEER_UNCLAIMED_NS);
}

/* What makes it worse than its load says; in the same unit. */
static inline __u32 steer_penalty(const struct steer_view *v)
{
	__u64 jobs = v->unsettled_ns / STEER_ACCEPT_NS;

	if (v->oldest_ns > v->old_ns)
		jobs += steer_blocked(v) ? v->oldest_ns / (v->old_ns / STEER_OLD_JOBS)
					 : STEER_OLD_BESIDE;
	return steer_count(jobs) * STEER_WORK;
}

/* What is sent there now will not be served soon, whatever the others have to do. */
static inline __u32 steer_stalled(const struct steer_view *v)
{
	if (v->unsettled_ns > STEER_ACCEPT_NS * STEER_ACCEPT_STALLED)
		return 1;
	return v->oldest_ns > v->old_ns * STEER_OLD_STALLED && steer_blocked(v);
}

/*
 * What row->job_us becomes when a job took @ns: its mean, in which one that took much longer than
 * the others counts as a few of them. 0 = not known yet.
 */
static inline __u32 steer_job_us(__u32 job_us, __u64 ns)
{
	__u64 us = ns / 1000, most = (__u64)job_us * 4 + 1000;

	us = us < most ? us : most;
	us = ((__u64)job_us * 15 + us + 15) / 16;
	return us < ~0u ? (__u32)us : ~0u;
}

/* --- the choice --- */

static inline void steer_begin(struct steer_choice *c, __u64 now_ns, __u32 random)
{
	c->slot = c->avoided = STEER_NOBODY;
	c->reason = STEER_ONLY;
	c->random = random;
	c->now_ns = now_ns;
	c->pick_ns = 0;
	c->rank = ~0u; /* worse than any */
	c->load = c->nr_equal = c->nr_live = c->least = 0;
}

/* 0 .. n-1; n <= 65536. */
static inline __u32 steer_random(struct steer_choice *c, __u32 n)
{
	c->random = c->random * 1664525u + 1013904223u;
	return (c->random >> 16) * n >> 16;
}

/* The @i-th slot to look at of @nr; i < STEER_LOOKS, i < nr. No slot is named twice. */
static inline __u32 steer_look(struct steer_choice *c, __u32 i, __u32 nr)
{
	__u32 begin = i * nr / STEER_LOOKS;

	if (nr <= STEER_LOOKS)
		return i;
	return begin + steer_random(c, (i + 1) * nr / STEER_LOOKS - begin);
}

/*
 * Is it better than the answer so far? Equal ones take turns: the one whose last pick is longest
 * ago is next; without picks it is drawn by lot.
 */
static inline __u32 steer_better(struct steer_choice *c, __u32 rank, __u64 pick_ns)
{
	if (rank > c->rank || (rank == c->rank && pick_ns > c->pick_ns))
		return 0;
	if (rank == c->rank && pick_ns == c->pick_ns)
		return !steer_random(c, ++c->nr_equal);
	c->nr_equal = 1;
	return 1;
}

/* Takes @row of @slot into account. */
static inline void steer_weigh(struct steer_choice *c, __u32 slot, const struct stats_steer *row)
{
	struct steer_view *v = &c->view;
	__u32 load, rank;

	steer_read(v, row, c->now_ns);
	STEER_FORGET();
	if (!v->is_live)
		return;
	c->nr_live++;
	load = steer_load(v);
	rank = load + steer_penalty(v);
	if (steer_stalled(v)) {
		rank |= STEER_STALLED_BIT;
		if (c->avoided == STEER_NOBODY || load < c->least) {
			c->avoided = slot;
			c->least = load;
		}
	}
	if (!steer_better(c, rank, v->pick_ns))
		return;
	c->slot = slot;
	c->load = load;
	c->rank = rank;
	c->pick_ns = v->pick_ns;
}

/* After the last steer_weigh(). */
static inline void steer_end(struct steer_choice *c)
{
	__u32 stalled = c->rank & STEER_STALLED_BIT;

	if (c->nr_live > 1)
		c->reason = stalled ? STEER_STALLED : STEER_LOAD;
	if (stalled || c->least >= c->load)
		c->avoided = STEER_NOBODY;
}

/* --- re-balancing --- */

/*
 * The sibling that should take over one job or connection of the worker in slot @self: live, not
 * stalled, of those the least loaded, and still better off than @self when it has it.
 * STEER_NOBODY if there is none.
 */
static inline __u32 steer_sibling(const struct stats_steer *rows, __u32 nr, __u32 self,
				  __u64 now_ns, __u32 random)
{
	struct steer_choice c;
	struct steer_view own;

	if (self >= nr)
		return STEER_NOBODY;
	steer_read(&own, &rows[self], now_ns);
	steer_begin(&c, now_ns, random);
	for (__u32 i = 0; i < STEER_LOOKS && i < nr; i++) {
		__u32 slot = steer_look(&c, i, nr);

		if (slot != self)
			steer_weigh(&c, slot, &rows[slot]);
	}
	if (c.slot == STEER_NOBODY || c.rank & STEER_STALLED_BIT)
		return STEER_NOBODY;
	return c.rank + STEER_WORK < steer_load(&own) + steer_penalty(&own) ? c.slot : STEER_NOBODY;
}

#endif
