/* SPDX-License-Identifier: MIT */
#include "server/worker_load.h"

#define set_if_new(field, value)                                                                   \
	do {                                                                                       \
		if ((field) != (value))                                                            \
			__atomic_store_n(&(field), (value), __ATOMIC_RELAXED);                     \
	} while (0)

void worker_load_init(struct worker_load *l, struct stats_steer *row, u32 nr_threads)
{
	const struct load_numbers nothing = { .state = STATS_WORKER_NONE };

	*l = (struct worker_load){ .row = row };
	worker_load_publish(l, &nothing, 0);
	if (row)
		set_if_new(row->nr_threads, max(nr_threads, 1u));
}

void worker_load_publish(struct worker_load *l, const struct load_numbers *n, u64 now_ns)
{
	struct stats_steer *row = l->row;

	if (!row)
		return;
	set_if_new(row->kept, n->kept);
	set_if_new(row->running, n->running);
	set_if_new(row->waiting, n->waiting);
	set_if_new(row->job_us, n->job_us);
	set_if_new(row->running_ns, n->running_ns);
	set_if_new(row->waiting_ns, n->waiting_ns);
	set_if_new(row->state, (u32)n->state);
	if (l->accepted == n->accepted)
		return;
	/* An add: the supervisor adds what has gone elsewhere. */
	__atomic_fetch_add(&row->settled, n->accepted - l->accepted, __ATOMIC_RELAXED);
	__atomic_store_n(&row->settled_ns, now_ns, __ATOMIC_RELAXED);
	l->accepted = n->accepted;
}
