/* SPDX-License-Identifier: MIT */
#include "server/metrics_sum.h"

#include <stdlib.h>

#include "server/fail.h"

const char *metrics_method(const struct stats_route *r)
{
	static const char *const methods[NR_STATS_METHODS] = STATS_METHOD_NAMES;

	if (r->kind == STATS_ROUTE_SPECIAL)
		return "-";
	return r->method < NR_STATS_METHODS ? methods[r->method] : "?";
}

/* Their writers are other threads: one load each, torn nowhere. */
#define READ(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

static void add_cell(struct metrics_route *r, const struct stats_cell *c)
{
	r->requests += READ(c->requests);
	r->app_requests += READ(c->app_requests);
	r->bytes_in += READ(c->bytes_in);
	r->bytes_out += READ(c->bytes_out);
	for (u32 i = 0; i < STATS_CLASSES; i++) {
		r->status[i] += READ(c->status[i]);
		r->class_sum_ns[i] += READ(c->class_sum_ns[i]);
		for (u32 b = 0; b <= NR_STATS_BOUNDS; b++)
			r->by_bound[i][b] += READ(c->by_bound[i][b]);
	}
	for (u32 t = 0; t < NR_STATS_TIMES; t++) {
		r->sum_ns[t] += READ(c->sum_ns[t]);
		for (u32 b = 0; b < HIST_BUCKETS; b++)
			r->hist[t][b] += READ(c->hist[t][b]);
	}
}

static bool same_name(const struct stats_route *a, const struct stats_route *b)
{
	return a->hash == b->hash && a->method == b->method && a->name_len == b->name_len &&
	       memcmp(a->name, b->name, a->name_len) == 0;
}

/* A name may stand twice in the table, see stats_routes.c. */
static struct metrics_route *route_of(struct metrics_sum *sum, const struct stats_route *r)
{
	for (u32 i = 0; i < sum->nr_routes; i++)
		if (same_name(sum->routes[i].route, r))
			return &sum->routes[i];
	sum->routes[sum->nr_routes].route = r;
	return &sum->routes[sum->nr_routes++];
}

static void add_route(struct metrics_sum *sum, const struct stats_maps *maps, u32 id)
{
	const struct stats_route *r = &maps->routes[id];
	struct metrics_route *to = NULL;

	/* Acquire pairs with the release of the claim. */
	if (__atomic_load_n(&r->state, __ATOMIC_ACQUIRE) != STATS_ROUTE_READY ||
	    r->name_len > STATS_NAME_MAX)
		return;
	for (u32 w = 0; w < sum->nr_slots; w++) {
		const struct stats_cell *c = &maps->cells[(size_t)w * STATS_ROUTES + id];

		if (!READ(maps->workers[w].nr_starts) || !READ(c->requests))
			continue;
		if (!to)
			to = route_of(sum, r);
		add_cell(to, c);
	}
}

static void add_totals(struct metrics_sum *sum)
{
	for (u32 i = 0; i < sum->nr_routes; i++) {
		const struct metrics_route *r = &sum->routes[i];

		sum->requests += r->requests;
		sum->app_requests += r->app_requests;
		sum->static_requests += r->route->kind == STATS_ROUTE_STATIC ? r->requests : 0;
		for (u32 t = 0; t < NR_STATS_TIMES; t++) {
			sum->sum_ns[t] += r->sum_ns[t];
			for (u32 b = 0; b < HIST_BUCKETS; b++)
				sum->hist[t][b] += r->hist[t][b];
		}
	}
}

static void add_row(struct metrics_sum *sum, const struct stats_worker *w)
{
	struct stats_worker *to = &sum->workers;
	u32 state = READ(w->state);

	to->accepted += READ(w->accepted);
	to->accept_errors += READ(w->accept_errors);
	to->rejected_pending += READ(w->rejected_pending);
	to->rejected_per_conn += READ(w->rejected_per_conn);
	to->refused += READ(w->refused);
	to->hijacked += READ(w->hijacked);
	to->chunked_responses += READ(w->chunked_responses);
	to->chunked_writes += READ(w->chunked_writes);
	to->coalesced_writes += READ(w->coalesced_writes);
	to->sendfile_responses += READ(w->sendfile_responses);
	to->overtime += READ(w->overtime);
	to->log_dropped += READ(w->log_dropped);
	to->cpu_ns += READ(w->cpu_ns);
	to->routes_overflowed += READ(w->routes_overflowed);
	if (state == STATS_WORKER_NONE)
		return;
	sum->nr_serving += state == STATS_WORKER_SERVING;
	sum->nr_draining += state == STATS_WORKER_DRAINING;
	sum->nr_uring += READ(w->uses_uring);
	for (u32 i = 0; i < NR_STATS_CONNS; i++)
		to->conns[i] += READ(w->conns[i]);
	to->threads_busy += READ(w->threads_busy);
	to->nr_threads += READ(w->nr_threads);
	to->queued += READ(w->queued);
	to->with_app += READ(w->with_app);
	to->rss_bytes += READ(w->rss_bytes);
}

struct metrics_sum *metrics_sum_new(const struct stats_maps *maps)
{
	struct metrics_sum *sum = mem_zalloc(sizeof(*sum));

	if (!sum)
		return NULL;
	sum->header = maps->header;
	sum->nr_slots = maps->header->nr_slots;
	sum->rows = maps->workers;
	sum->steer = maps->steer;
	for (u32 i = 0; i < STATS_ROUTES; i++)
		add_route(sum, maps, i);
	add_totals(sum);
	for (u32 w = 0; w < sum->nr_slots; w++)
		if (READ(maps->workers[w].nr_starts))
			add_row(sum, &maps->workers[w]);
	return sum;
}

void metrics_sum_free(struct metrics_sum *sum)
{
	free(sum);
}
