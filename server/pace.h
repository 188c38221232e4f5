/* SPDX-License-Identifier: MIT */
/*
 * Does the thread that holds up the queue block, or does it compute? Ruby runs
 * one thread at a time: beside a handler that waits, another one is a gain;
 * beside one that computes it only makes both wait for each other, at each
 * write to a log and each query. The CPU clocks of the app's threads tell.
 *
 * Belongs to struct app: pace_enter() and pace_retire() are for the app's
 * threads, one at a time; the rest is the I/O thread's.
 */
#ifndef HYPERION_SERVER_PACE_H
#define HYPERION_SERVER_PACE_H

#include <time.h>

#include "server/base.h"

#define PACE_PROBE_NS (100 * NSEC_PER_USEC) /* the first look is that long */
#define PACE_FIRST_MAX_NS (2 * NSEC_PER_MSEC)
#define PACE_LATE_NS (100 * NSEC_PER_USEC) /* then the CPU was somebody else's */
#define PACE_PATIENCE_NS (10 * NSEC_PER_MSEC) /* then Ruby's own time slices have to be fair */

struct pace_mark {
	u64 wall_ns, cpu_ns;
};

struct pace {
	/* NULL: off, and every thread that is long in a handler is taken to block. */
	void (*read)(struct pace *p, struct pace_mark *mark);
	clockid_t *clocks; /* of the threads; written by them */
	u32 nr_clocks, max_clocks, nr_entered;
	u32 crowded; /* one of several running threads had better sleep */

	bool looking;
	u64 claim_ns; /* the claim that is being looked at */
	u64 next_ns, patience_ns; /* the next look, and how long it then was */
	struct pace_mark look;
	u64 first_ns, first_min_ns; /* when a claim is first looked at; later where all compute */
	u32 nr_busy; /* looks in a row that found somebody computing */
};

/* @first_ns: for how long a handler may run before it is looked at. */
int pace_init(struct pace *p, u32 nr_threads, u64 first_ns) __must_check;
void pace_fini(struct pace *p);

/* By the clocks of the threads; for pace.read. */
void pace_read(struct pace *p, struct pace_mark *mark);

/* --- threads of the app --- */

void pace_register(struct pace *p);

/* Before its first job, any number of times. */
static inline void pace_enter(struct pace *p)
{
	static __thread const struct pace *entered;

	if (unlikely(entered != p)) {
		entered = p;
		pace_register(p);
	}
}

/* May the calling thread be spared? True for one thread of each time that was found crowded. */
static inline bool pace_retire(struct pace *p)
{
	/* Relaxed: a hint. */
	return __atomic_load_n(&p->crowded, __ATOMIC_RELAXED) &&
	       __atomic_exchange_n(&p->crowded, 0, __ATOMIC_RELAXED);
}

/* --- the I/O thread --- */

/*
 * Nothing has been claimed for @stalled_ns, since @claim_ns; @nr_running handlers
 * run. True: bring in another thread. False: look again, at pace_next().
 */
bool pace_stalled(struct pace *p, u64 claim_ns, s64 stalled_ns, u32 nr_running, u64 now_ns);

/* A claim that is not older need not be looked at. Any thread, as a hint. */
static inline s64 pace_first(const struct pace *p)
{
	return (s64)__atomic_load_n(&p->first_ns, __ATOMIC_RELAXED);
}

/* Nanoseconds until the next look, after pace_stalled() was false. */
static inline s64 pace_next(const struct pace *p, u64 now_ns)
{
	return max((s64)(p->next_ns - now_ns), (s64)1);
}

#endif
