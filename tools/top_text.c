/* SPDX-License-Identifier: MIT */
#include "tools/top_text.h"

#include "tools/top_guard.h"
#include "tools/top_tcp.h"

static const char *const time_names[NR_STATS_TIMES] = STATS_TIME_NAMES;
static const char *const conns_names[NR_STATS_CONNS] = STATS_CONNS_NAMES;
static const char *const reason_names[NR_STEER_REASONS] = STEER_REASON_NAMES;
static const char *const kind_names[] = { "special", "static", "template", "named" };
static const char *const state_names[] = STATS_WORKER_STATE_NAMES;
static const char *const class_names[STATS_CLASSES] = { "cut", "1xx", "2xx", "3xx", "4xx", "5xx" };

/* --- numbers --- */

const char *top_duration(__u64 ns, char out[TOP_NUMBER_LEN])
{
	double us = (double)ns / 1e3;

	if (!ns)
		snprintf(out, TOP_NUMBER_LEN, "-");
	else if (us < 10)
		snprintf(out, TOP_NUMBER_LEN, "%.1fus", us);
	else if (us < 1000)
		snprintf(out, TOP_NUMBER_LEN, "%.0fus", us);
	else if (us < 1e5)
		snprintf(out, TOP_NUMBER_LEN, us < 1e4 ? "%.2fms" : "%.1fms", us / 1e3);
	else if (us < 1e6)
		snprintf(out, TOP_NUMBER_LEN, "%.0fms", us / 1e3);
	else
		snprintf(out, TOP_NUMBER_LEN, us < 1e7 ? "%.2fs" : "%.1fs", us / 1e6);
	return out;
}

const char *top_rate(double per_second, char out[TOP_NUMBER_LEN])
{
	double x = per_second;

	if (x < 0.005)
		snprintf(out, TOP_NUMBER_LEN, "0");
	else if (x < 10)
		snprintf(out, TOP_NUMBER_LEN, "%.2f", x);
	else if (x < 100)
		snprintf(out, TOP_NUMBER_LEN, "%.1f", x);
	else if (x < 1e4)
		snprintf(out, TOP_NUMBER_LEN, "%.0f", x);
	else if (x < 1e6)
		snprintf(out, TOP_NUMBER_LEN, "%.1fk", x / 1e3);
	else
		snprintf(out, TOP_NUMBER_LEN, "%.2fM", x / 1e6);
	return out;
}

const char *top_bytes(double n, char out[TOP_NUMBER_LEN])
{
	static const char units[] = " kMGTP";
	int i = 0;

	while (n >= 1000 && units[i + 1]) {
		n /= 1000;
		i++;
	}
	if (i)
		snprintf(out, TOP_NUMBER_LEN, "%.1f%cB", n, units[i]);
	else
		snprintf(out, TOP_NUMBER_LEN, "%.0fB", n);
	return out;
}

const char *top_age(__u64 ns, char out[TOP_NUMBER_LEN])
{
	unsigned long long s = ns / 1000000000ull;

	if (s < 60)
		snprintf(out, TOP_NUMBER_LEN, "%llus", s);
	else if (s < 3600)
		snprintf(out, TOP_NUMBER_LEN, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, TOP_NUMBER_LEN, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(out, TOP_NUMBER_LEN, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return out;
}

/* --- tables --- */

static void print_head(FILE *f, const struct top_model *m)
{
	const struct stats_header *h = &m->reading->header;
	char a[TOP_NUMBER_LEN], b[TOP_NUMBER_LEN], c[TOP_NUMBER_LEN], d[TOP_NUMBER_LEN];

	fprintf(f, "%s  hyperion-bpf %s  pid %u  up %s  %u workers\n", h->instance, h->server,
		h->pid, top_age(m->uptime_ns, a), m->nr_workers);
	fprintf(f, "requests %llu in %.1fs  %s/s  errors %s/s  p50 %s  p99 %s  ", m->all.requests,
		m->seconds, top_rate(m->rate, a), top_rate(m->error_rate, b),
		top_duration(m->times[STATS_TOTAL].p50_ns, c),
		top_duration(m->times[STATS_TOTAL].p99_ns, d));
	fprintf(f, "p999 %s\n", top_duration(m->times[STATS_TOTAL].p999_ns, a));
	fprintf(f, "connections %u open, %u lingering  threads busy %u of %u  queued %u",
		m->conns[0], m->conns[1], m->threads_busy, m->threads, m->queued);
	fprintf(f, "  log lines dropped %llu\n\n", m->log_dropped);
}

static void print_route(FILE *f, const struct top_route *r)
{
	const struct top_times *t = &r->times[STATS_TOTAL];
	char n[7][TOP_NUMBER_LEN];

	fprintf(f, "%8s %8s %8s %8s %8s %8s %6s  %s %.*s\n", top_rate(r->rate, n[0]),
		top_duration(t->p50_ns, n[1]), top_duration(t->p99_ns, n[2]),
		top_duration(t->p999_ns, n[3]), top_duration(r->times[STATS_QUEUE].p99_ns, n[4]),
		top_duration(r->times[STATS_APP].p99_ns, n[5]), top_rate(r->error_rate, n[6]),
		top_method(r->route), (int)r->route->name_len, r->route->name);
}

static void print_worker(FILE *f, const struct top_worker *w)
{
	char n[3][TOP_NUMBER_LEN];

	fprintf(f, "%6u %8u %-9s %8s %6u %3u/%-3u %6u %5.0f%% %5.0f%% %8s %7.1f %6llu %7llu %7llu %6llu/%llu\n",
		w->slot, w->now->pid, w->now->state < 3 ? state_names[w->now->state] : "?",
		top_rate(w->rate, n[0]), w->now->conns[STATS_CONNS_OPEN], w->now->threads_busy,
		w->now->nr_threads, w->now->queued, w->cpu * 100, w->busy * 100,
		top_bytes((double)w->now->rss_bytes, n[1]), w->batch, w->stalls, w->picks,
		w->avoided, w->moved_out, w->moved_in);
}

void top_print_table(FILE *f, const struct top_model *m)
{
	print_head(f, m);
	fprintf(f, "%8s %8s %8s %8s %8s %8s %6s  %s\n", "REQ/S", "P50", "P99", "P999", "QUEUE99",
		"APP99", "ERR/S", "ROUTE");
	for (__u32 i = 0; i < m->nr_routes; i++)
		print_route(f, &m->routes[i]);
	fprintf(f, "\n%6s %8s %-9s %8s %6s %7s %6s %6s %6s %8s %7s %6s %7s %7s %6s\n", "WORKER",
		"PID", "STATE", "REQ/S", "CONNS", "BUSY", "QUEUED", "CPU", "LOOP", "RSS", "BATCH",
		"STALLS", "PICKS", "AVOIDED", "OUT/IN");
	for (__u32 i = 0; i < m->nr_workers; i++)
		print_worker(f, &m->workers[i]);
	top_guard_table(f, m);
	top_tcp_table(f, m);
}

/* --- JSON --- */

/* Names are printable ASCII; who wrote them is another process all the same. */
static void json_text(FILE *f, const char *p, size_t len)
{
	putc('"', f);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(f, "\\u%04x", c);
		else
			putc(c, f);
	}
	putc('"', f);
}

static void json_string(FILE *f, const char *p, size_t room)
{
	size_t len = 0;

	while (len < room && p[len])
		len++;
	json_text(f, p, len);
}

static void json_times(FILE *f, const struct top_times times[NR_STATS_TIMES])
{
	for (__u32 t = 0; t < NR_STATS_TIMES; t++) {
		const struct top_times *x = &times[t];

		fprintf(f, "%s\"%s\":{\"count\":%llu,\"mean_ms\":%.4f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f}",
			t ? "," : "", time_names[t], x->count, (double)x->mean_ns / 1e6,
			(double)x->p50_ns / 1e6, (double)x->p99_ns / 1e6, (double)x->p999_ns / 1e6);
	}
}

static void json_sum(FILE *f, const struct top_sum *s)
{
	fprintf(f, "\"requests\":%llu,\"errors\":%llu,\"status\":{", s->requests, s->errors);
	for (__u32 i = 0; i < STATS_CLASSES; i++)
		fprintf(f, "%s\"%s\":%llu", i ? "," : "", class_names[i], s->status[i]);
	fprintf(f, "},\"bytes_in\":%llu,\"bytes_out\":%llu", s->bytes_in, s->bytes_out);
}

static void json_route(FILE *f, const struct top_route *r)
{
	fprintf(f, "{\"method\":");
	json_string(f, top_method(r->route), 16);
	fprintf(f, ",\"route\":");
	json_text(f, r->route->name, r->route->name_len);
	fprintf(f, ",\"kind\":\"%s\",\"total\":%llu,\"rate\":%.3f,\"error_rate\":%.3f,",
		r->route->kind < 4 ? kind_names[r->route->kind] : "?", r->total, r->rate,
		r->error_rate);
	json_sum(f, &r->sum);
	fprintf(f, ",\"times\":{");
	json_times(f, r->times);
	fprintf(f, "}}");
}

static void json_worker(FILE *f, const struct top_worker *w)
{
	const struct stats_worker *x = w->now;

	fprintf(f, "{\"worker\":%u,\"pid\":%u,\"state\":\"%s\",\"starts\":%u,\"loop\":\"%s\",\"rate\":%.3f,",
		w->slot, x->pid, x->state < 3 ? state_names[x->state] : "?", x->nr_starts,
		x->uses_uring ? "io_uring" : "epoll", w->rate);
	fprintf(f, "\"requests\":%llu,\"accepted\":%llu,\"connections\":{", w->requests, w->accepted);
	for (__u32 i = 0; i < NR_STATS_CONNS; i++)
		fprintf(f, "%s\"%s\":%u", i ? "," : "", conns_names[i], x->conns[i]);
	fprintf(f, "},\"threads\":%u,\"threads_busy\":%u,\"queued\":%u,\"with_app\":%u,",
		x->nr_threads, x->threads_busy, x->queued, x->with_app);
	fprintf(f, "\"cpu\":%.4f,\"loop_busy\":%.4f,\"rss_bytes\":%llu,\"batch\":%.3f,\"stalls\":%llu,",
		w->cpu, w->busy, x->rss_bytes, w->batch, w->stalls);
	fprintf(f, "\"moved_out\":%llu,\"moved_in\":%llu,\"refused_moves\":%llu,", w->moved_out,
		w->moved_in, w->refused_moves);
	fprintf(f, "\"longest_turn_ms\":%.3f,\"log_dropped\":%llu,\"picks\":%llu,\"avoided\":%llu,\"unsettled\":%llu,\"picked_by\":{",
		(double)x->max_turn_ns / 1e6, x->log_dropped, w->picks, w->avoided, w->unsettled);
	for (__u32 i = 0; i < NR_STEER_REASONS; i++)
		fprintf(f, "%s\"%s\":%llu", i ? "," : "", reason_names[i], w->by_reason[i]);
	fprintf(f, "}}");
}

void top_print_json(FILE *f, const struct top_model *m)
{
	const struct stats_header *h = &m->reading->header;

	fprintf(f, "{\"instance\":");
	json_string(f, h->instance, sizeof(h->instance));
	fprintf(f, ",\"server\":");
	json_string(f, h->server, sizeof(h->server));
	fprintf(f, ",\"pid\":%u,\"uptime_s\":%.3f,\"interval_s\":%.3f,\"rate\":%.3f,\"error_rate\":%.3f,",
		h->pid, (double)m->uptime_ns / 1e9, m->seconds, m->rate, m->error_rate);
	json_sum(f, &m->all);
	fprintf(f, ",\"times\":{");
	json_times(f, m->times);
	fprintf(f, "},\"connections\":{");
	for (__u32 i = 0; i < NR_STATS_CONNS; i++)
		fprintf(f, "%s\"%s\":%u", i ? "," : "", conns_names[i], m->conns[i]);
	fprintf(f, "},\"threads\":%u,\"threads_busy\":%u,\"queued\":%u,\"log_dropped\":%llu,\"routes_overflowed\":%llu,",
		m->threads, m->threads_busy, m->queued, m->log_dropped, m->routes_overflowed);
	fprintf(f, "\"steering\":{\"active\":%u,\"unsteered\":%llu,\"shut\":%llu,\"back\":%llu},",
		h->steering, h->unsteered, h->steer_shut, h->steer_back);
	fprintf(f, "\"routes\":[");
	for (__u32 i = 0; i < m->nr_routes; i++) {
		fputs(i ? "," : "", f);
		json_route(f, &m->routes[i]);
	}
	fprintf(f, "],\"workers\":[");
	for (__u32 i = 0; i < m->nr_workers; i++) {
		fputs(i ? "," : "", f);
		json_worker(f, &m->workers[i]);
	}
	fputs("]", f);
	top_guard_json(f, m);
	top_tcp_json(f, m);
	fprintf(f, "}\n");
}

/* --- CSV (RFC 4180) --- */

static void csv_text(FILE *f, const char *p, size_t len)
{
	putc('"', f);
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '"')
			putc('"', f);
		putc(p[i], f);
	}
	putc('"', f);
}

void top_print_csv(FILE *f, const struct top_model *m, bool header)
{
	if (header) {
		fprintf(f, "uptime_s,method,route,requests,rate");
		for (__u32 i = 0; i < STATS_CLASSES; i++)
			fprintf(f, ",%s", class_names[i]);
		fprintf(f, ",bytes_in,bytes_out");
		for (__u32 t = 0; t < NR_STATS_TIMES; t++)
			fprintf(f, ",%s_p50_ms,%s_p99_ms,%s_p999_ms", time_names[t], time_names[t],
				time_names[t]);
		fprintf(f, "\n");
	}
	for (__u32 i = 0; i < m->nr_routes; i++) {
		const struct top_route *r = &m->routes[i];

		fprintf(f, "%.3f,%s,", (double)m->uptime_ns / 1e9, top_method(r->route));
		csv_text(f, r->route->name, r->route->name_len);
		fprintf(f, ",%llu,%.3f", r->sum.requests, r->rate);
		for (__u32 c = 0; c < STATS_CLASSES; c++)
			fprintf(f, ",%llu", r->sum.status[c]);
		fprintf(f, ",%llu,%llu", r->sum.bytes_in, r->sum.bytes_out);
		for (__u32 t = 0; t < NR_STATS_TIMES; t++)
			fprintf(f, ",%.4f,%.4f,%.4f", (double)r->times[t].p50_ns / 1e6,
				(double)r->times[t].p99_ns / 1e6, (double)r->times[t].p999_ns / 1e6);
		fprintf(f, "\n");
	}
}
