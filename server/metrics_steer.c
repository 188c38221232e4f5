/* SPDX-License-Identifier: MIT */
/* Who was sent where, while a BPF program picks the workers. */
#include <stdio.h>

#include "server/metrics_page.h"

static const char *const reasons[NR_STEER_REASONS] = STEER_REASON_NAMES;

static u64 read_u64(const __u64 *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

static void put_selected(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const char *name = METRICS_PREFIX "steering_selected";

	metrics_begin(pg, METRICS_COUNTER, name,
		      "Connections sent to a worker, and why to that one.");
	for (u32 i = 0; i < sum->nr_slots; i++) {
		if (!sum->rows[i].nr_starts)
			continue;
		for (u32 k = 0; k < NR_STEER_REASONS; k++) {
			char labels[64];

			snprintf(labels, sizeof(labels), "{worker=\"%u\",reason=\"%s\"}", i,
				 reasons[k]);
			metrics_sample(pg, name, "_total", labels,
				       read_u64(&sum->steer[i].by_reason[k]));
		}
	}
}

static void put_avoided(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const char *name = METRICS_PREFIX "steering_avoided";

	metrics_begin(
		pg, METRICS_COUNTER,
		name, "Connections sent elsewhere than to this worker, which had least to do but stood still.");
	for (u32 i = 0; i < sum->nr_slots; i++) {
		char labels[32];

		if (!sum->rows[i].nr_starts)
			continue;
		snprintf(labels, sizeof(labels), "{worker=\"%u\"}", i);
		metrics_sample(pg, name, "_total", labels, read_u64(&sum->steer[i].avoided));
	}
}

void metrics_steer(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const struct stats_header *h = sum->header;

	metrics_one(pg, METRICS_GAUGE, METRICS_PREFIX "steering_active",
		    "1: a BPF program picks the worker of a new connection, 0: the kernel's hash.",
		    __atomic_load_n(&h->steering, __ATOMIC_RELAXED));
	put_selected(pg, sum);
	put_avoided(pg, sum);
	metrics_one(pg, METRICS_COUNTER, METRICS_PREFIX "steering_unsteered",
		    "Connections that the program had to leave to the kernel's hash.",
		    read_u64(&h->unsteered));
	metrics_one(pg, METRICS_COUNTER, METRICS_PREFIX "steering_shut",
		    "Times that a worker died or hung and its queue moved to the others.",
		    read_u64(&h->steer_shut));
	metrics_one(pg, METRICS_COUNTER, METRICS_PREFIX "steering_back",
		    "Times that such a worker's place listened again.", read_u64(&h->steer_back));
}
