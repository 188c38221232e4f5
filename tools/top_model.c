/* SPDX-License-Identifier: MIT */
#include "tools/top_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const sort_names[NR_TOP_SORTS] = { "rate",   "p50",   "p99", "p999",
						      "errors", "bytes", "name" };
static const char *const methods[NR_STATS_METHODS] = STATS_METHOD_NAMES;

const char *top_sort_name(enum top_sort sort)
{
	return sort_names[sort];
}

const char *top_method(const struct stats_route *r)
{
	if (r->kind == STATS_ROUTE_SPECIAL)
		return "-";
	return r->method < NR_STATS_METHODS ? methods[r->method] : "?";
}

/* --- sums --- */

/* Buckets are 32 bits wide and wrap: the difference is right all the same. */
static void add_cell(struct top_sum *sum, const struct stats_cell *now,
		     const struct stats_cell *before)
{
	static const struct stats_cell nothing;

	if (!before)
		before = &nothing;
	sum->requests += now->requests - before->requests;
	for (__u32 i = 0; i < STATS_CLASSES; i++)
		sum->status[i] += now->status[i] - before->status[i];
	sum->bytes_in += now->bytes_in - before->bytes_in;
	sum->bytes_out += now->bytes_out - before->bytes_out;
	for (__u32 t = 0; t < NR_STATS_TIMES; t++) {
		sum->sum_ns[t] += now->sum_ns[t] - before->sum_ns[t];
		for (__u32 i = 0; i < HIST_BUCKETS; i++)
			sum->hist[t][i] += now->hist[t][i] - before->hist[t][i];
	}
	sum->errors = sum->status[0] + sum->status[5];
}

static void add_sum(struct top_sum *to, const struct top_sum *from)
{
	to->requests += from->requests;
	to->errors += from->errors;
	for (__u32 i = 0; i < STATS_CLASSES; i++)
		to->status[i] += from->status[i];
	to->bytes_in += from->bytes_in;
	to->bytes_out += from->bytes_out;
	for (__u32 t = 0; t < NR_STATS_TIMES; t++) {
		to->sum_ns[t] += from->sum_ns[t];
		for (__u32 i = 0; i < HIST_BUCKETS; i++)
			to->hist[t][i] += from->hist[t][i];
	}
}

static void find_times(struct top_times times[NR_STATS_TIMES], const struct top_sum *sum)
{
	for (__u32 t = 0; t < NR_STATS_TIMES; t++) {
		const __u64 *hist = sum->hist[t];
		struct top_times *x = &times[t];

		*x = (struct top_times){ 0 };
		for (__u32 i = 0; i < HIST_BUCKETS; i++)
			x->count += hist[i];
		if (!x->count)
			continue;
		x->mean_ns = sum->sum_ns[t] / x->count;
		x->p50_ns = hist_quantile(hist, 50000);
		x->p99_ns = hist_quantile(hist, 99000);
		x->p999_ns = hist_quantile(hist, 99900);
	}
}

/* --- rows --- */

static bool same_server(const struct top_reading *a, const struct top_reading *b)
{
	return a->header.pid == b->header.pid && a->header.start_ns == b->header.start_ns &&
	       a->header.nr_slots == b->header.nr_slots;
}

static bool same_name(const struct stats_route *a, const struct stats_route *b)
{
	return a->hash == b->hash && a->method == b->method && a->name_len == b->name_len &&
	       memcmp(a->name, b->name, a->name_len) == 0;
}

static bool passes(const struct top_model *m, const struct stats_route *r)
{
	char text[STATS_NAME_MAX + 16];

	if (!m->filter[0])
		return true;
	snprintf(text, sizeof(text), "%s %.*s", top_method(r), (int)r->name_len, r->name);
	return strcasestr(text, m->filter);
}

/* The row of that route; a name may stand twice in the table. */
static struct top_route *row_of(struct top_model *m, const struct stats_route *r)
{
	struct top_route *row;

	for (__u32 i = 0; i < m->nr_routes; i++)
		if (same_name(m->routes[i].route, r))
			return &m->routes[i];
	row = &m->routes[m->nr_routes++];
	memset(row, 0, sizeof(*row));
	row->route = r;
	return row;
}

static void fill_routes(struct top_model *m, const struct top_reading *now,
			const struct top_reading *before)
{
	for (__u32 i = 0; i < now->nr_routes; i++) {
		const struct stats_route *r = &now->routes[i];
		struct top_sum sum = { 0 };
		__u64 total = 0;
		struct top_route *row;

		if (r->state != STATS_ROUTE_READY)
			continue;
		for (__u32 w = 0; w < now->header.nr_slots; w++) {
			bool was = before && i < before->nr_routes && before->workers[w].nr_starts;

			if (!now->workers[w].nr_starts)
				continue;
			add_cell(&sum, top_cell(now, w, i), was ? top_cell(before, w, i) : NULL);
			total += top_cell(now, w, i)->requests;
		}
		add_sum(&m->all, &sum);
		if (!total || !passes(m, r))
			continue;
		row = row_of(m, r);
		row->total += total;
		add_sum(&row->sum, &sum);
	}
	for (__u32 i = 0; i < m->nr_routes; i++) {
		struct top_route *row = &m->routes[i];

		find_times(row->times, &row->sum);
		row->rate = (double)row->sum.requests / m->seconds;
		row->error_rate = (double)row->sum.errors / m->seconds;
	}
}

static void fill_worker(struct top_model *m, __u32 slot, const struct stats_worker *now,
			const struct stats_worker *before)
{
	struct top_worker *row = &m->workers[m->nr_workers++];
	__u64 turns = now->turns - before->turns;

	*row = (struct top_worker){ .slot = slot, .now = now };
	row->requests = now->requests - before->requests;
	row->accepted = now->accepted - before->accepted;
	row->stalls = now->stalls - before->stalls;
	row->moved_out = now->moved_out - before->moved_out;
	row->moved_in = now->moved_in - before->moved_in;
	row->refused_moves = now->moves_refused - before->moves_refused;
	row->rate = (double)row->requests / m->seconds;
	row->cpu = (double)(now->cpu_ns - before->cpu_ns) / 1e9 / m->seconds;
	row->busy = (double)(now->busy_ns - before->busy_ns) / 1e9 / m->seconds;
	row->batch = turns ? (double)(now->events - before->events) / (double)turns : 0;
}

static void fill_steered(struct top_worker *row, const struct stats_steer *now,
			 const struct stats_steer *before)
{
	row->picks = now->picks - before->picks;
	row->avoided = now->avoided - before->avoided;
	row->unsettled = now->picks > now->settled ? now->picks - now->settled : 0;
	for (__u32 i = 0; i < NR_STEER_REASONS; i++)
		row->by_reason[i] = now->by_reason[i] - before->by_reason[i];
}

static void fill_workers(struct top_model *m, const struct top_reading *now,
			 const struct top_reading *before)
{
	static const struct stats_worker nothing;
	static const struct stats_steer no_picks;

	for (__u32 w = 0; w < now->header.nr_slots; w++) {
		const struct stats_worker *x = &now->workers[w];

		if (!x->nr_starts)
			continue;
		m->log_dropped += x->log_dropped;
		m->routes_overflowed += x->routes_overflowed;
		if (x->state == STATS_WORKER_NONE && w >= now->header.nr_workers)
			continue;
		fill_worker(m, w, x, before ? &before->workers[w] : &nothing);
		fill_steered(&m->workers[m->nr_workers - 1], &now->steer[w],
			     before ? &before->steer[w] : &no_picks);
		for (__u32 i = 0; i < NR_STATS_CONNS; i++)
			m->conns[i] += x->conns[i];
		m->threads_busy += x->threads_busy;
		m->threads += x->nr_threads;
		m->queued += x->queued;
		m->with_app += x->with_app;
	}
}

/* --- order --- */

static double key_of(const struct top_route *r, enum top_sort sort)
{
	const struct top_times *t = &r->times[STATS_TOTAL];

	switch (sort) {
	case TOP_BY_P50:
		return (double)t->p50_ns;
	case TOP_BY_P99:
		return (double)t->p99_ns;
	case TOP_BY_P999:
		return (double)t->p999_ns;
	case TOP_BY_ERRORS:
		return r->error_rate;
	case TOP_BY_BYTES:
		return (double)r->sum.bytes_out;
	default:
		return r->rate;
	}
}

static int by_name(const struct stats_route *a, const struct stats_route *b)
{
	size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
	int cmp = memcmp(a->name, b->name, len);

	if (!cmp)
		cmp = (int)a->name_len - (int)b->name_len;
	return cmp ? cmp : (int)a->method - (int)b->method;
}

static int compare(const void *pa, const void *pb, void *arg)
{
	const struct top_model *m = arg;
	const struct top_route *a = pa, *b = pb;
	double x = key_of(a, m->sort), y = key_of(b, m->sort);
	int cmp = m->sort == TOP_BY_NAME ? 0 : (x < y) - (x > y);

	if (!cmp && m->sort != TOP_BY_NAME)
		cmp = (a->total < b->total) - (a->total > b->total);
	if (!cmp)
		cmp = by_name(a->route, b->route);
	return m->reversed ? -cmp : cmp;
}

int top_update(struct top_model *m, const struct top_reading *now, const struct top_reading *before)
{
	if (before && (!before->there || !same_server(now, before)))
		before = NULL;
	if (m->room < now->header.nr_slots) {
		free(m->workers);
		m->room = 0;
		m->workers = calloc(now->header.nr_slots, sizeof(*m->workers));
		if (!m->workers)
			return -ENOMEM;
		m->room = now->header.nr_slots;
	}
	m->reading = now;
	m->tcp_before = before && before->observed ? before : NULL;
	m->guard_before = before && before->guard.about.nr_ifaces ? &before->guard : NULL;
	m->uptime_ns = now->when_ns - now->header.start_ns;
	m->seconds = (double)(now->when_ns - (before ? before->when_ns : now->header.start_ns)) / 1e9;
	if (m->seconds < 1e-6)
		m->seconds = 1e-6;
	m->all = (struct top_sum){ 0 };
	memset(m->conns, 0, sizeof(m->conns));
	m->threads_busy = m->threads = m->queued = m->with_app = 0;
	m->log_dropped = m->routes_overflowed = 0;
	m->nr_routes = m->nr_workers = 0;
	fill_routes(m, now, before);
	fill_workers(m, now, before);
	find_times(m->times, &m->all);
	m->rate = (double)m->all.requests / m->seconds;
	m->error_rate = (double)m->all.errors / m->seconds;
	qsort_r(m->routes, m->nr_routes, sizeof(m->routes[0]), compare, m);
	return 0;
}

void top_model_free(struct top_model *m)
{
	free(m->workers);
	memset(m, 0, sizeof(*m));
}
