/* SPDX-License-Identifier: MIT */
/* What the flow simulator stands on: repeatable random numbers, a queue of events, queues by index. */
#ifndef HYPERION_TOOLS_SIM_BASE_H
#define HYPERION_TOOLS_SIM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_S 1000000000ull
#define SIM_NONE UINT32_MAX

/* Aborts with a line on stderr when there is no memory. */
void *sim_alloc(size_t nr, size_t size);
void *sim_grow(void *p, size_t nr, size_t size);

/* --- random numbers --- */

struct sim_rng {
	uint64_t state;
};

/* A stream of its own for each (seed, stream): policies see the same arrivals and jobs. */
void sim_rng_init(struct sim_rng *r, uint64_t seed, uint64_t stream);
uint64_t sim_rng_next(struct sim_rng *r);
/* 0 .. n-1; n > 0. */
uint32_t sim_rng_below(struct sim_rng *r, uint32_t n);
/* 0 <= x < 1. */
double sim_rng_share(struct sim_rng *r);
/* Exponential; at least 1 ns. */
uint64_t sim_rng_exp(struct sim_rng *r, double mean_ns);

/* --- events --- */

struct sim_event {
	uint64_t at_ns;
	uint64_t nr; /* order among those of one moment */
	uint32_t kind, who;
};

struct sim_events {
	struct sim_event *heap;
	size_t nr, room;
	uint64_t next_nr;
};

void sim_events_add(struct sim_events *e, uint64_t at_ns, uint32_t kind, uint32_t who);
/* The earliest one; false when there is none. */
bool sim_events_take(struct sim_events *e, struct sim_event *out);
void sim_events_fini(struct sim_events *e);

/* --- first in, first out; of indexes, linked through one table --- */

struct sim_queue {
	uint32_t first, last, nr;
};

#define SIM_QUEUE_EMPTY ((struct sim_queue){ .first = SIM_NONE, .last = SIM_NONE })

/* @next[i]: who follows i. An index is in one queue at a time. */
void sim_queue_add(struct sim_queue *q, uint32_t *next, uint32_t i);
/* SIM_NONE when it is empty. */
uint32_t sim_queue_take(struct sim_queue *q, uint32_t *next);

#endif
