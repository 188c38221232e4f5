/* SPDX-License-Identifier: MIT */
#include "server/pace.h"

#include <pthread.h>
#include <stdlib.h>

#include "server/clock.h"
#include "server/fail.h"

/* Shares of a look's time, in percent. */
#define BLOCKS_BELOW 25 /* our own work between two looks is part of it */
#define PARALLEL_FROM 115 /* more than one computes: not under Ruby's lock */

#define EXTRA_CLOCKS 16 /* threads that come later; more than that are not looked at */
#define CROWDED_LOOKS 4 /* in a row that found the CPU busy */

int pace_init(struct pace *p, u32 nr_threads, u64 first_ns)
{
	*p = (struct pace){ .max_clocks = nr_threads + EXTRA_CLOCKS,
			    .first_ns = first_ns,
			    .first_min_ns = first_ns };
	p->clocks = mem_zalloc(p->max_clocks * sizeof(*p->clocks));
	return p->clocks ? 0 : -ENOMEM;
}

void pace_fini(struct pace *p)
{
	free(p->clocks);
}

/* There are ever new ones, for streams and for those that the app has killed: the oldest place is taken. */
void pace_register(struct pace *p)
{
	u32 at = p->nr_entered++ % p->max_clocks;
	clockid_t id;

	if (pthread_getcpuclockid(pthread_self(), &id))
		return;
	__atomic_store_n(&p->clocks[at], id, __ATOMIC_RELAXED);
	/* Release pairs with the acquire in pace_read(). */
	__atomic_store_n(&p->nr_clocks, min(p->nr_entered, p->max_clocks), __ATOMIC_RELEASE);
}

void pace_read(struct pace *p, struct pace_mark *mark)
{
	u32 nr = __atomic_load_n(&p->nr_clocks, __ATOMIC_ACQUIRE);

	mark->wall_ns = monotonic_ns();
	mark->cpu_ns = 0;
	for (u32 i = 0; i < nr; i++)
		mark->cpu_ns += clock_ns(__atomic_load_n(&p->clocks[i], __ATOMIC_RELAXED));
}

/* A thread that has ended takes its time along: then 0, as if all had blocked. */
static u32 share(const struct pace_mark *from, const struct pace_mark *to)
{
	u64 wall = to->wall_ns - from->wall_ns;

	if (!wall || to->cpu_ns < from->cpu_ns)
		return 0;
	return (u32)min((to->cpu_ns - from->cpu_ns) * 100 / wall, (u64)10000);
}

static void look_again(struct pace *p, u64 now_ns, u64 after_ns)
{
	p->patience_ns = after_ns;
	p->next_ns = now_ns + after_ns;
}

static bool wake(struct pace *p)
{
	p->looking = false;
	p->nr_busy = 0;
	__atomic_store_n(&p->first_ns, p->first_min_ns, __ATOMIC_RELAXED);
	return true;
}

/* As it has been it will be: fewer looks, which cost a wake each. */
static void found_busy(struct pace *p, u32 nr_running)
{
	u64 first_ns = min(p->first_ns + PACE_PROBE_NS, PACE_FIRST_MAX_NS);

	__atomic_store_n(&p->first_ns, first_ns, __ATOMIC_RELAXED);
	if (++p->nr_busy < CROWDED_LOOKS || nr_running < 2)
		return;
	p->nr_busy = 0;
	__atomic_store_n(&p->crowded, 1, __ATOMIC_RELAXED);
}

bool pace_stalled(struct pace *p, u64 claim_ns, s64 stalled_ns, u32 nr_running, u64 now_ns)
{
	s64 late = (s64)(now_ns - p->next_ns);
	struct pace_mark mark;
	u32 percent;

	if (!p->read || stalled_ns >= (s64)PACE_PATIENCE_NS)
		return wake(p);
	if (!p->looking || p->claim_ns != claim_ns) {
		p->looking = true;
		p->claim_ns = claim_ns;
		p->read(p, &p->look);
		look_again(p, now_ns, PACE_PROBE_NS);
		return false;
	}
	if (late < 0)
		return false;
	p->read(p, &mark);
	percent = share(&p->look, &mark);
	p->look = mark;
	/* Had the CPU been idle, we would have been in time: whoever was to compute had to wait as well. */
	if (late < (s64)PACE_LATE_NS && (percent < BLOCKS_BELOW || percent >= PARALLEL_FROM))
		return wake(p);
	found_busy(p, nr_running);
	look_again(p, now_ns, max(2 * p->patience_ns, 3 * PACE_PROBE_NS));
	return false;
}
