/* SPDX-License-Identifier: MIT */
/*
 * A worker's half of its row for steering (struct stats_steer): how loaded it
 * is. Written behind the look into the app's queue that precedes each sleep:
 * while somebody waits there the next look is soon, and when the queue moves
 * without us this is corrected.
 */
#ifndef HYPERION_SERVER_WORKER_LOAD_H
#define HYPERION_SERVER_WORKER_LOAD_H

#include "bpf/abi.h"
#include "server/base.h"

struct worker_load {
	struct stats_steer *row; /* NULL: nobody wants to know */
	u64 accepted; /* as many are in row->settled */
};

/* As it is now. */
struct load_numbers {
	enum stats_worker_state state;
	u64 accepted; /* since the start, from listeners that are steered to */
	u32 kept, running, waiting, job_us;
	u64 running_ns, waiting_ns;
};

/* What the row's last worker had is no more; its counters stay. */
void worker_load_init(struct worker_load *l, struct stats_steer *row, u32 nr_threads);

/* Writes only what has changed: other CPUs read that line for each new connection. */
void worker_load_publish(struct worker_load *l, const struct load_numbers *n, u64 now_ns);

#endif
