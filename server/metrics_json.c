/* SPDX-License-Identifier: MIT */
#include "server/metrics_json.h"

#include "server/metrics_guard.h"
#include "server/metrics_observe.h"

static const char *const classes[STATS_CLASSES] = { "cut", "1xx", "2xx", "3xx", "4xx", "5xx" };
static const char *const times[NR_STATS_TIMES] = STATS_TIME_NAMES;
static const char *const kinds[] = { "special", "static", "template", "named" };
static const char *const states[] = STATS_WORKER_STATE_NAMES;
static const char *const conns[NR_STATS_CONNS] = STATS_CONNS_NAMES;
static const char *const reasons[NR_STEER_REASONS] = STEER_REASON_NAMES;

static void put_string(struct text *t, struct view v)
{
	text_put(t, VIEW("\""));
	for (size_t i = 0; i < v.len; i++) {
		u8 c = (u8)v.p[i];

		if (c == '"' || c == '\\')
			text_put(t, VIEW("\\"));
		if (c < 0x20 || c >= 0x7f)
			text_printf(t, "\\u%04x", c);
		else
			text_put(t, (struct view){ v.p + i, 1 });
	}
	text_put(t, VIEW("\""));
}

static void put_number(struct text *t, const char *name, u64 n)
{
	text_put(t, VIEW("\""));
	text_str(t, name);
	text_put(t, VIEW("\":"));
	text_u64(t, n);
	text_put(t, VIEW(","));
}

/* Of the last comma of a list. */
static void end(struct text *t, const char *close)
{
	if (t->len && t->p[t->len - 1] == ',')
		t->len--;
	text_str(t, close);
	text_put(t, VIEW(","));
}

static void put_times(struct text *t, const u64 sum_ns[NR_STATS_TIMES],
		      const __u64 hist[NR_STATS_TIMES][HIST_BUCKETS])
{
	static const struct {
		const char *name;
		u32 per_100k;
	} quantiles[] = { { "p50_s", 50000 }, { "p99_s", 99000 }, { "p999_s", 99900 } };

	text_put(t, VIEW("\"times\":{"));
	for (u32 i = 0; i < NR_STATS_TIMES; i++) {
		u64 count = 0;

		for (u32 b = 0; b < HIST_BUCKETS; b++)
			count += hist[i][b];
		text_printf(t, "\"%s\":{\"count\":%llu,\"sum_s\":", times[i],
			    (unsigned long long)count);
		text_seconds(t, sum_ns[i]);
		for (size_t q = 0; q < ARRAY_SIZE(quantiles); q++) {
			text_printf(t, ",\"%s\":", quantiles[q].name);
			text_seconds(t, hist_quantile(hist[i], quantiles[q].per_100k));
		}
		text_put(t, VIEW("},"));
	}
	end(t, "}");
}

static void put_route(struct text *t, const struct metrics_route *r)
{
	text_put(t, VIEW("{\"method\":\""));
	text_str(t, metrics_method(r->route));
	text_put(t, VIEW("\",\"route\":"));
	put_string(t, (struct view){ r->route->name, r->route->name_len });
	text_printf(t, ",\"kind\":\"%s\",",
		    r->route->kind < ARRAY_SIZE(kinds) ? kinds[r->route->kind] : "?");
	put_number(t, "requests", r->requests);
	put_number(t, "bytes_in", r->bytes_in);
	put_number(t, "bytes_out", r->bytes_out);
	text_put(t, VIEW("\"status\":{"));
	for (u32 i = 0; i < STATS_CLASSES; i++)
		if (r->status[i])
			put_number(t, classes[i], r->status[i]);
	end(t, "}");
	put_times(t, r->sum_ns, r->hist);
	end(t, "}");
}

static void put_conns(struct text *t, const struct stats_worker *w)
{
	text_put(t, VIEW("\"connections\":{"));
	for (u32 i = 0; i < NR_STATS_CONNS; i++)
		put_number(t, conns[i], w->conns[i]);
	end(t, "}");
}

static void put_steered(struct text *t, const struct stats_steer *s)
{
	put_number(t, "steering_picks", s->picks);
	put_number(t, "steering_avoided", s->avoided);
	text_put(t, VIEW("\"steering_reasons\":{"));
	for (u32 i = 0; i < NR_STEER_REASONS; i++)
		put_number(t, reasons[i], s->by_reason[i]);
	end(t, "}");
}

static void put_worker(struct text *t, u32 slot, const struct stats_worker *w,
		       const struct stats_steer *s)
{
	text_put(t, VIEW("{"));
	put_number(t, "worker", slot);
	text_printf(t, "\"state\":\"%s\",", w->state < ARRAY_SIZE(states) ? states[w->state] : "?");
	put_number(t, "pid", w->pid);
	put_number(t, "starts", w->nr_starts);
	put_number(t, "requests", w->requests);
	put_number(t, "accepted", w->accepted);
	put_conns(t, w);
	put_number(t, "threads", w->nr_threads);
	put_number(t, "threads_busy", w->threads_busy);
	put_number(t, "queued", w->queued);
	put_number(t, "rss_bytes", w->rss_bytes);
	put_number(t, "cpu_ns", w->cpu_ns);
	put_number(t, "loop_turns", w->turns);
	put_number(t, "loop_events", w->events);
	put_number(t, "loop_busy_ns", w->busy_ns);
	put_number(t, "loop_stalls", w->stalls);
	put_number(t, "loop_longest_turn_ns", w->max_turn_ns);
	put_number(t, "moved_out", w->moved_out);
	put_number(t, "moved_in", w->moved_in);
	put_number(t, "refused_moves", w->moves_refused);
	put_number(t, "log_dropped", w->log_dropped);
	put_number(t, "gc_runs", w->gc_count);
	put_number(t, "gc_ns", w->gc_ns);
	if (w->has_gvl_wait)
		put_number(t, "gvl_wait_ns", w->gvl_wait_ns);
	if (s)
		put_steered(t, s);
	end(t, "}");
}

void metrics_json(struct text *out, const struct metrics_sum *sum)
{
	const struct stats_header *h = sum->header;
	const struct stats_worker *w = &sum->workers;

	text_put(out, VIEW("{\"instance\":"));
	put_string(out, (struct view){ h->instance, strnlen(h->instance, sizeof(h->instance)) });
	text_put(out, VIEW(",\"version\":"));
	put_string(out, (struct view){ h->server, strnlen(h->server, sizeof(h->server)) });
	text_put(out, VIEW(","));
	put_number(out, "pid", h->pid);
	put_number(out, "start_time", h->start_time);
	put_number(out, "requests", sum->requests);
	put_conns(out, w);
	put_number(out, "threads", w->nr_threads);
	put_number(out, "threads_busy", w->threads_busy);
	put_number(out, "queued", w->queued);
	put_number(out, "rejected_pending", w->rejected_pending);
	put_number(out, "rejected_per_conn", w->rejected_per_conn);
	put_number(out, "refused", w->refused);
	put_number(out, "log_dropped", w->log_dropped);
	put_number(out, "routes_overflowed", w->routes_overflowed);
	put_number(out, "steering", h->steering);
	if (h->steering) {
		put_number(out, "steering_unsteered", h->unsteered);
		put_number(out, "steering_shut", h->steer_shut);
		put_number(out, "steering_back", h->steer_back);
	}
	put_times(out, sum->sum_ns, sum->hist);
	metrics_guard_json(out, h->instance);
	metrics_observe_json(out, sum);
	text_put(out, VIEW("\"routes\":["));
	for (u32 i = 0; i < sum->nr_routes; i++)
		put_route(out, &sum->routes[i]);
	end(out, "]");
	text_put(out, VIEW("\"workers\":["));
	for (u32 i = 0; i < sum->nr_slots; i++)
		if (sum->rows[i].nr_starts)
			put_worker(out, i, &sum->rows[i], h->steering ? &sum->steer[i] : NULL);
	end(out, "]");
	out->len -= out->len > 0; /* its comma */
	text_put(out, VIEW("}\n"));
}
