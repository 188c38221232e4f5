/* SPDX-License-Identifier: MIT */
#include "tools/sim_base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void *sim_alloc(size_t nr, size_t size)
{
	void *p = calloc(nr ? nr : 1, size);

	if (!p) {
		fprintf(stderr, "steer-sim: no memory for %zu x %zu bytes\n", nr, size);
		exit(1);
	}
	return p;
}

void *sim_grow(void *p, size_t nr, size_t size)
{
	p = reallocarray(p, nr, size);
	if (!p) {
		fprintf(stderr, "steer-sim: no memory for %zu x %zu bytes\n", nr, size);
		exit(1);
	}
	return p;
}

/* --- random numbers: SplitMix64 --- */

uint64_t sim_rng_next(struct sim_rng *r)
{
	uint64_t x = r->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void sim_rng_init(struct sim_rng *r, uint64_t seed, uint64_t stream)
{
	struct sim_rng key = { .state = stream };

	r->state = seed ^ sim_rng_next(&key);
}

uint32_t sim_rng_below(struct sim_rng *r, uint32_t n)
{
	return (uint32_t)((sim_rng_next(r) >> 32) * n >> 32);
}

double sim_rng_share(struct sim_rng *r)
{
	return (double)(sim_rng_next(r) >> 11) * 0x1p-53;
}

uint64_t sim_rng_exp(struct sim_rng *r, double mean_ns)
{
	double ns = -log(1 - sim_rng_share(r)) * mean_ns;

	return ns < 1 ? 1 : (uint64_t)ns;
}

/* --- events: a binary heap --- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->nr < b->nr;
}

void sim_events_add(struct sim_events *e, uint64_t at_ns, uint32_t kind, uint32_t who)
{
	struct sim_event new = { .at_ns = at_ns, .nr = e->next_nr++, .kind = kind, .who = who };
	size_t i = e->nr++;

	if (e->nr > e->room) {
		e->room = e->room ? e->room * 2 : 1024;
		e->heap = sim_grow(e->heap, e->room, sizeof(e->heap[0]));
	}
	for (; i && is_before(&new, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
		e->heap[i] = e->heap[(i - 1) / 2];
	e->heap[i] = new;
}

bool sim_events_take(struct sim_events *e, struct sim_event *out)
{
	struct sim_event last;
	size_t i = 0, child;

	if (!e->nr)
		return false;
	*out = e->heap[0];
	last = e->heap[--e->nr];
	for (; (child = i * 2 + 1) < e->nr; i = child) {
		if (child + 1 < e->nr && is_before(&e->heap[child + 1], &e->heap[child]))
			child++;
		if (!is_before(&e->heap[child], &last))
			break;
		e->heap[i] = e->heap[child];
	}
	e->heap[i] = last;
	return true;
}

void sim_events_fini(struct sim_events *e)
{
	free(e->heap);
	*e = (struct sim_events){ 0 };
}

/* --- queues --- */

void sim_queue_add(struct sim_queue *q, uint32_t *next, uint32_t i)
{
	next[i] = SIM_NONE;
	if (q->nr++)
		next[q->last] = i;
	else
		q->first = i;
	q->last = i;
}

uint32_t sim_queue_take(struct sim_queue *q, uint32_t *next)
{
	uint32_t i = q->first;

	if (!q->nr)
		return SIM_NONE;
	q->first = next[i];
	if (!--q->nr)
		q->last = SIM_NONE;
	return i;
}
