/* SPDX-License-Identifier: MIT */
#include "server/metrics.h"

#include <stdio.h>

#include "server/metrics_guard.h"
#include "server/metrics_observe.h"
#include "server/metrics_json.h"
#include "server/metrics_own.h"
#include "server/metrics_page.h"
#include "server/metrics_sum.h"

#define PREFIX METRICS_PREFIX

struct view metrics_type(enum metrics_format format)
{
	static const struct view types[] = {
		[METRICS_PROMETHEUS] = VIEW("text/plain; version=0.0.4; charset=utf-8"),
		[METRICS_OPENMETRICS] =
			VIEW("application/openmetrics-text; version=1.0.0; charset=utf-8"),
		[METRICS_JSON] = VIEW("application/json"),
	};

	return types[format];
}

/* A weight of 0 is a refusal (RFC 9110 12.4.2). @params: what follows a media type. */
static bool refused(struct view params)
{
	const char *end = params.p + params.len;

	for (const char *p = params.p; p + 3 <= end; p++) {
		if (!view_ieq((struct view){ p, 2 }, VIEW("q=")))
			continue;
		for (p += 2; p < end && (*p == '0' || *p == '.'); p++)
			;
		return p == end || *p == ';' || *p == ' ';
	}
	return false;
}

/* Case does not matter in media types (RFC 9110 8.3.1). */
enum metrics_format metrics_accepted(struct view accept)
{
	static const struct view wanted = VIEW("application/openmetrics-text");

	for (size_t i = 0; i + wanted.len <= accept.len; i++) {
		const char *p = accept.p + i + wanted.len, *end = accept.p + accept.len, *comma;

		if (!view_ieq((struct view){ accept.p + i, wanted.len }, wanted))
			continue;
		comma = memchr(p, ',', (size_t)(end - p));
		return refused((struct view){ p, (size_t)((comma ? comma : end) - p) })
			       ? METRICS_PROMETHEUS
			       : METRICS_OPENMETRICS;
	}
	return METRICS_PROMETHEUS;
}

/* --- families --- */

void metrics_begin(const struct metrics_page *pg, enum metrics_type type, const char *name,
		   const char *help)
{
	static const char *const words[] = { "counter", "gauge", "histogram", "unknown" };
	const char *word = type == METRICS_UNKNOWN && !pg->open ? "counter" : words[type];
	const char *suffix = type == METRICS_COUNTER && !pg->open ? "_total" : "";

	text_printf(pg->out, "# HELP %s%s %s\n", name, suffix, help);
	text_printf(pg->out, "# TYPE %s%s %s\n", name, suffix, word);
}

static void name_sample(const struct metrics_page *pg, const char *name, const char *suffix,
			const char *labels)
{
	text_str(pg->out, name);
	text_str(pg->out, suffix);
	text_str(pg->out, labels);
	text_put(pg->out, VIEW(" "));
}

void metrics_sample(const struct metrics_page *pg, const char *name, const char *suffix,
		    const char *labels, u64 n)
{
	name_sample(pg, name, suffix, labels);
	text_u64(pg->out, n);
	text_put(pg->out, VIEW("\n"));
}

void metrics_one(const struct metrics_page *pg, enum metrics_type type, const char *name,
		 const char *help, u64 n)
{
	metrics_begin(pg, type, name, help);
	metrics_sample(pg, name, type == METRICS_COUNTER ? "_total" : "", "", n);
}

static void sample_seconds(const struct metrics_page *pg, const char *name, const char *suffix,
			   const char *labels, u64 ns)
{
	name_sample(pg, name, suffix, labels);
	text_seconds(pg->out, ns);
	text_put(pg->out, VIEW("\n"));
}

/* A label's value: backslash, quote and line feed are escaped in both formats. */
static void put_value(struct text *t, struct view v)
{
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] == '\\' || v.p[i] == '"')
			text_put(t, VIEW("\\"));
		text_put(t, v.p[i] == '\n' ? VIEW("\\n") : (struct view){ v.p + i, 1 });
	}
}

/* --- requests by route and status --- */

static const char *const class_names[STATS_CLASSES] = { "cut", "1xx", "2xx", "3xx", "4xx", "5xx" };
static const u64 bounds_ns[NR_STATS_BOUNDS] = STATS_BOUNDS_NS;

/* {method="GET",path="/users/:id",status="2xx" */
static void put_labels(struct text *t, const struct stats_route *r, u32 class)
{
	text_put(t, VIEW("{method=\""));
	text_str(t, metrics_method(r));
	text_put(t, VIEW("\",path=\""));
	put_value(t, (struct view){ r->name, r->name_len });
	text_put(t, VIEW("\",status=\""));
	text_str(t, class_names[class]);
	text_put(t, VIEW("\""));
}

#define DURATION PREFIX "request_duration_seconds"

static void put_class(const struct metrics_page *pg, struct text *labels,
		      const struct metrics_route *r, u32 class)
{
	struct text *t = pg->out;
	struct view with;
	u64 sum = 0;

	labels->len = 0;
	put_labels(labels, r->route, class);
	with = (struct view){ labels->p, labels->len };
	for (u32 i = 0; i <= NR_STATS_BOUNDS; i++) {
		sum += r->by_bound[class][i];
		text_put(t, VIEW(DURATION "_bucket"));
		text_put(t, with);
		text_put(t, VIEW(",le=\""));
		if (i < NR_STATS_BOUNDS)
			text_seconds(t, bounds_ns[i]);
		else
			text_put(t, VIEW("+Inf"));
		text_put(t, VIEW("\"} "));
		text_u64(t, sum);
		text_put(t, VIEW("\n"));
	}
	text_put(t, VIEW(DURATION "_sum"));
	text_put(t, with);
	text_put(t, VIEW("} "));
	text_seconds(t, r->class_sum_ns[class]);
	text_put(t, VIEW("\n" DURATION "_count"));
	text_put(t, with);
	text_put(t, VIEW("} "));
	text_u64(t, sum);
	text_put(t, VIEW("\n"));
}

static void put_durations(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	struct text labels = { 0 };

	metrics_begin(pg, METRICS_HISTOGRAM, DURATION,
		      "First byte of a request until the last byte of its answer was sent.");
	for (u32 i = 0; i < sum->nr_routes; i++)
		for (u32 class = 0; class < STATS_CLASSES; class ++)
			if (sum->routes[i].status[class])
				put_class(pg, &labels, &sum->routes[i], class);
	pg->out->failed |= labels.failed;
	text_free(&labels);
}

static void put_bytes(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	static const char *const names[] = { PREFIX "request_body_bytes", PREFIX "response_bytes" };
	static const char *const helps[] = { "Bytes of request bodies.", "Bytes of answers." };

	for (int k = 0; k < 2; k++) {
		metrics_begin(pg, METRICS_COUNTER, names[k], helps[k]);
		for (u32 i = 0; i < sum->nr_routes; i++) {
			const struct metrics_route *r = &sum->routes[i];
			struct text *t = pg->out;

			text_str(t, names[k]);
			text_put(t, VIEW("_total{method=\""));
			text_str(t, metrics_method(r->route));
			text_put(t, VIEW("\",path=\""));
			put_value(t, (struct view){ r->route->name, r->route->name_len });
			text_put(t, VIEW("\"} "));
			text_u64(t, k ? r->bytes_out : r->bytes_in);
			text_put(t, VIEW("\n"));
		}
	}
}

/* --- the parts of a request's time, over all routes --- */

#define FIRST_OCTAVE 14u /* 16 us, then four times that, ...: bounds that our buckets have, too */
#define LAST_OCTAVE 34u

static void put_part(const struct metrics_page *pg, const struct metrics_sum *sum,
		     enum stats_time which, const char *name, const char *help)
{
	u64 below = 0;
	u32 bucket = 0;

	metrics_begin(pg, METRICS_HISTOGRAM, name, help);
	for (u32 octave = FIRST_OCTAVE; octave <= LAST_OCTAVE; octave += 2) {
		for (; hist_high(bucket) <= 1ull << octave; bucket++)
			below += sum->hist[which][bucket];
		text_printf(pg->out, "%s_bucket{le=\"", name);
		text_seconds(pg->out, 1ull << octave);
		text_put(pg->out, VIEW("\"} "));
		text_u64(pg->out, below);
		text_put(pg->out, VIEW("\n"));
	}
	for (; bucket < HIST_BUCKETS; bucket++)
		below += sum->hist[which][bucket];
	metrics_sample(pg, name, "_bucket", "{le=\"+Inf\"}", below);
	sample_seconds(pg, name, "_sum", "", sum->sum_ns[which]);
	metrics_sample(pg, name, "_count", "", below);
}

static void put_requests(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const struct stats_worker *w = &sum->workers;
	const char *name = PREFIX "requests";

	metrics_begin(pg, METRICS_COUNTER, name, "Requests that have ended, by who answered them.");
	metrics_sample(pg, name, "_total", "{mode=\"app\"}", sum->app_requests);
	metrics_sample(pg, name, "_total", "{mode=\"static\"}", sum->static_requests);
	metrics_sample(pg, name, "_total", "{mode=\"protocol\"}",
		       sum->requests - sum->app_requests - sum->static_requests);
	put_durations(pg, sum);
	put_part(pg, sum, STATS_QUEUE, PREFIX "request_queue_seconds",
		 "Time that requests waited for a Ruby thread.");
	put_part(pg, sum, STATS_APP, PREFIX "request_app_seconds",
		 "Time that requests were in the app.");
	put_part(pg, sum, STATS_SEND, PREFIX "response_send_seconds",
		 "Time from the end of an answer until its last byte was with the kernel.");
	put_bytes(pg, sum);
	metrics_one(pg, METRICS_COUNTER, PREFIX "refused_requests",
		    "Requests refused by the protocol (4xx, 5xx of its own).", w->refused);
	metrics_one(pg, METRICS_COUNTER, PREFIX "per_conn_rejections",
		    "503: too many requests of one connection.", w->rejected_per_conn);
	metrics_one(pg, METRICS_COUNTER, PREFIX "pending_rejections",
		    "503: too many requests waited for the app.", w->rejected_pending);
	metrics_one(pg, METRICS_COUNTER, PREFIX "overtime_requests",
		    "503 or cut: the app did not answer within max_request_seconds.", w->overtime);
	metrics_one(pg, METRICS_COUNTER, PREFIX "routes_overflowed",
		    "Requests counted under the path other: all 256 route names are taken.",
		    w->routes_overflowed);
}

/* --- connections, streams, threads --- */

static void put_connections(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	static const char *const labels[NR_STATS_CONNS] = { "{state=\"open\"}",
							    "{state=\"lingering\"}",
							    "{state=\"closing\"}" };
	const struct stats_worker *w = &sum->workers;

	metrics_begin(pg, METRICS_GAUGE, PREFIX "connections", "Connections by state.");
	for (u32 i = 0; i < NR_STATS_CONNS; i++)
		metrics_sample(pg, PREFIX "connections", "", labels[i], w->conns[i]);
	metrics_one(pg, METRICS_COUNTER, PREFIX "connections_accepted",
		    "Connections that were accepted.", w->accepted);
	metrics_one(pg, METRICS_COUNTER, PREFIX "accept_errors", "Accepts that failed.",
		    w->accept_errors);
	metrics_one(pg, METRICS_COUNTER, PREFIX "hijacked_connections",
		    "Connections that the app has taken.", w->hijacked);
	metrics_one(pg, METRICS_COUNTER, PREFIX "chunked_responses", "Answers sent chunked.",
		    w->chunked_responses);
	metrics_one(pg, METRICS_UNKNOWN, PREFIX "chunked_total_writes",
		    "Pieces in which their bodies were sent.", w->chunked_writes);
	metrics_one(pg, METRICS_UNKNOWN, PREFIX "chunked_coalesced_writes",
		    "Pieces of the app that went out together.", w->coalesced_writes);
	metrics_one(pg, METRICS_COUNTER, PREFIX "sendfile_responses",
		    "Answers sent from files without a copy.", w->sendfile_responses);
	metrics_one(pg, METRICS_COUNTER, PREFIX "log_dropped_lines",
		    "Lines of the access log that were dropped.", w->log_dropped);
	metrics_one(pg, METRICS_GAUGE, PREFIX "threadpool_queue_depth",
		    "Requests that wait for a Ruby thread.", w->queued);
	metrics_one(pg, METRICS_GAUGE, PREFIX "threadpool_busy_threads",
		    "Ruby threads in a request.", w->threads_busy);
	metrics_one(pg, METRICS_GAUGE, PREFIX "threadpool_threads", "Ruby threads.", w->nr_threads);
	metrics_one(pg, METRICS_GAUGE, PREFIX "io_uring_workers_active",
		    "Workers whose loop is io_uring.", sum->nr_uring);
}

/* --- workers --- */

/* A value of a row, and how it is written. */
struct row_value {
	enum metrics_type type;
	const char *name, *help;
	size_t off; /* of a u64 in struct stats_worker */
	bool ns;
};

#define ROW(type, name, field, ns, help)                                                           \
	{                                                                                          \
		type, PREFIX name, help, offsetof(struct stats_worker, field), ns                  \
	}

static const struct row_value row_values[] = {
	ROW(METRICS_COUNTER, "worker_cpu_seconds", cpu_ns, true, "CPU time of a worker."),
	ROW(METRICS_GAUGE, "worker_resident_memory_bytes", rss_bytes, false,
	    "Resident memory of a worker."),
	ROW(METRICS_COUNTER, "worker_gc_runs", gc_count, false, "Runs of Ruby's garbage collector."),
	ROW(METRICS_COUNTER, "worker_gc_seconds", gc_ns, true, "Time in Ruby's garbage collector."),
	ROW(METRICS_COUNTER, "worker_requests", requests, false,
	    "Request heads that a worker has read."),
	ROW(METRICS_COUNTER, "loop_turns", turns, false, "Turns of a worker's loop."),
	ROW(METRICS_COUNTER, "loop_events", events, false, "Events that its loop has handled."),
	ROW(METRICS_COUNTER, "loop_busy_seconds", busy_ns, true, "Time that its loop did not sleep."),
	ROW(METRICS_COUNTER, "loop_stalls", stalls, false, "Turns of 2 ms and more."),
	ROW(METRICS_GAUGE, "loop_longest_turn_seconds", max_turn_ns, true, "Its longest turn ever."),
	ROW(METRICS_COUNTER, "refused_moves", moves_refused, false,
	    "Connections that it could not give to another worker."),
};

/* Connections between workers: what leaves one comes to another, or lies in its inbox. */
static void put_moves(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const char *name = PREFIX "moved_connections";

	metrics_begin(pg, METRICS_COUNTER, name,
		      "Connections that a worker gave to others, or took from them.");
	for (u32 i = 0; i < sum->nr_slots; i++) {
		const struct stats_worker *w = &sum->rows[i];
		char labels[48];

		if (!w->nr_starts)
			continue;
		snprintf(labels, sizeof(labels), "{worker=\"%u\",direction=\"out\"}", i);
		metrics_sample(pg, name, "_total", labels, w->moved_out);
		snprintf(labels, sizeof(labels), "{worker=\"%u\",direction=\"in\"}", i);
		metrics_sample(pg, name, "_total", labels, w->moved_in);
	}
}

static void put_workers(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	for (size_t k = 0; k < ARRAY_SIZE(row_values); k++) {
		const struct row_value *v = &row_values[k];
		const char *suffix = v->type == METRICS_COUNTER ? "_total" : "";

		metrics_begin(pg, v->type, v->name, v->help);
		for (u32 i = 0; i < sum->nr_slots; i++) {
			char labels[32] = "";
			u64 n;

			if (!sum->rows[i].nr_starts)
				continue;
			memcpy(&n, (const char *)&sum->rows[i] + v->off, sizeof(n));
			snprintf(labels, sizeof(labels), "{worker=\"%u\"}", i);
			if (v->ns)
				sample_seconds(pg, v->name, suffix, labels, n);
			else
				metrics_sample(pg, v->name, suffix, labels, n);
		}
	}
	put_moves(pg, sum);
	metrics_begin(pg, METRICS_COUNTER, PREFIX "worker_starts",
		      "Processes that this worker's place has had.");
	for (u32 i = 0; i < sum->nr_slots; i++)
		if (sum->rows[i].nr_starts)
			text_printf(pg->out, PREFIX "worker_starts_total{worker=\"%u\"} %u\n", i,
				    sum->rows[i].nr_starts);
}

/* What only some Rubies say, and some apps use. */
static void put_ruby(const struct metrics_page *pg, const struct metrics_sum *sum,
		     const struct stats_maps *maps)
{
	bool any = false;
	u64 dropped = 0;

	for (u32 i = 0; i < sum->nr_slots; i++) {
		dropped += __atomic_load_n(&maps->own[i].dropped, __ATOMIC_RELAXED);
		any |= sum->rows[i].has_gvl_wait;
	}
	metrics_one(pg, METRICS_COUNTER, PREFIX "own_metrics_dropped",
		    "Values of the app's own metrics for which there was no room.", dropped);
	if (!any)
		return;
	metrics_begin(pg, METRICS_COUNTER, PREFIX "worker_gvl_wait_seconds",
		      "Time that Ruby threads of a worker waited for Ruby's lock.");
	for (u32 i = 0; i < sum->nr_slots; i++) {
		char labels[32];

		if (!sum->rows[i].has_gvl_wait)
			continue;
		snprintf(labels, sizeof(labels), "{worker=\"%u\"}", i);
		sample_seconds(pg, PREFIX "worker_gvl_wait_seconds", "_total", labels,
			       __atomic_load_n(&sum->rows[i].gvl_wait_ns, __ATOMIC_RELAXED));
	}
}

static void put_process(const struct metrics_page *pg, const struct metrics_sum *sum)
{
	const struct stats_header *h = sum->header;

	metrics_begin(pg, METRICS_GAUGE, PREFIX "build_info", "1; which server this is.");
	text_printf(pg->out, PREFIX "build_info{version=\"%.*s\",instance=\"%.*s\"} 1\n",
		    (int)strnlen(h->server, sizeof(h->server)), h->server,
		    (int)strnlen(h->instance, sizeof(h->instance)), h->instance);
	metrics_begin(pg, METRICS_GAUGE, PREFIX "workers", "Workers by state.");
	metrics_sample(pg, PREFIX "workers", "", "{state=\"serving\"}", sum->nr_serving);
	metrics_sample(pg, PREFIX "workers", "", "{state=\"draining\"}", sum->nr_draining);
	metrics_one(pg, METRICS_GAUGE, "process_start_time_seconds",
		    "Start of the server, seconds since 1970.", h->start_time);
	metrics_begin(pg, METRICS_COUNTER, "process_cpu_seconds", "CPU time of all workers.");
	sample_seconds(pg, "process_cpu_seconds", "_total", "", sum->workers.cpu_ns);
	metrics_one(pg, METRICS_GAUGE, "process_resident_memory_bytes",
		    "Resident memory of all workers.", sum->workers.rss_bytes);
}

void metrics_write(struct text *out, const struct stats_maps *maps, enum metrics_format format)
{
	const struct metrics_page pg = { .out = out, .open = format == METRICS_OPENMETRICS };
	struct metrics_sum *sum = metrics_sum_new(maps);

	if (!sum) {
		out->failed = true;
		return;
	}
	if (format == METRICS_JSON) {
		metrics_json(out, sum);
	} else {
		put_process(&pg, sum);
		put_requests(&pg, sum);
		put_connections(&pg, sum);
		put_workers(&pg, sum);
		metrics_steer(&pg, sum);
		put_ruby(&pg, sum, maps);
		metrics_guard(out, sum->header->instance, pg.open);
		metrics_observe(out, sum, pg.open);
		metrics_own(out, maps, pg.open);
		if (pg.open)
			text_put(out, VIEW("# EOF\n"));
	}
	metrics_sum_free(sum);
}
