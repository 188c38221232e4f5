/* SPDX-License-Identifier: MIT */
#include "tools/top_draw.h"

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/top_guard.h"
#include "tools/top_tcp.h"
#include "tools/top_text.h"

enum colour { PLAIN, GOOD, WARM, BAD, TITLE };

#define SLOW_NS 500000000ull /* coloured as warm, and bad from twice that on */

static const char *const time_names[NR_STATS_TIMES] = STATS_TIME_NAMES;
static const char *const state_names[] = STATS_WORKER_STATE_NAMES;
static const char *const class_names[STATS_CLASSES] = { "cut", "1xx", "2xx", "3xx", "4xx", "5xx" };

void top_draw_begin(struct top_screen *s)
{
	const char *no_color = getenv("NO_COLOR");

	setlocale(LC_ALL, "");
	s->plain = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	initscr();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	set_escdelay(50);
	if (has_colors() && !(no_color && no_color[0])) {
		start_color();
		use_default_colors();
		init_pair(GOOD, COLOR_GREEN, -1);
		init_pair(WARM, COLOR_YELLOW, -1);
		init_pair(BAD, COLOR_RED, -1);
		init_pair(TITLE, COLOR_CYAN, -1);
	}
}

void top_draw_end(void)
{
	endwin();
}

/* --- pieces --- */

static void paint(enum colour c, bool on)
{
	/* Without colours what is bad is bold all the same. */
	attr_t attr = (has_colors() ? COLOR_PAIR(c) : A_NORMAL) |
		      (c == BAD || c == TITLE ? A_BOLD : A_NORMAL);

	if (on)
		attron(attr);
	else
		attroff(attr);
}

/* From column @x on, cut at the edge of the screen. */
__attribute__((format(printf, 3, 4))) static void put(int y, int x, const char *fmt, ...)
{
	char line[512];
	va_list args;

	if (y < 0 || y >= LINES || x >= COLS)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	mvaddnstr(y, x, line, COLS - x);
}

static void bar_line(int y, const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "%-*.*s", COLS < 500 ? COLS : 500, COLS < 500 ? COLS : 500,
		 text);
	attron(A_REVERSE);
	put(y, 0, "%s", line);
	attroff(A_REVERSE);
}

static enum colour heat(__u64 ns)
{
	return ns >= 2 * SLOW_NS ? BAD : ns >= SLOW_NS ? WARM : PLAIN;
}

/* --- head --- */

static void draw_history(const struct top_screen *s, int y)
{
	static const char *const fine[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const plain[] = { " ", ".", ".", ":", "-", "=", "+", "*", "#" };
	__u32 room = COLS > 22 ? (__u32)(COLS - 22) : 0, nr, from;
	char n[TOP_NUMBER_LEN];
	double most = 0;

	nr = s->nr_history < room ? s->nr_history : room;
	from = s->nr_history - nr;
	for (__u32 i = from; i < s->nr_history; i++)
		most = s->history[i] > most ? s->history[i] : most;
	put(y, 0, "peak %s/s", top_rate(most, n));
	paint(GOOD, true);
	move(y, 18);
	for (__u32 i = from; i < s->nr_history && most > 0; i++) {
		int level = (int)(s->history[i] / most * 8 + 0.5);

		/* What is not nothing is seen. */
		if (!level && s->history[i] > 0)
			level = 1;
		addstr((s->plain ? plain : fine)[level]);
	}
	paint(GOOD, false);
}

/* A line for each interface, instead of the empty one. */
static int draw_guard(const struct top_model *m, int y)
{
	struct top_guard rows[GUARD_IFACES];
	__u32 nr = top_guard_rows(m, false, rows, GUARD_IFACES);
	char n[5][TOP_NUMBER_LEN];

	for (__u32 i = 0; i < nr; i++, y++) {
		const struct top_guard *r = &rows[i];
		bool drops = r->denied + r->over_rate > 0;

		put(y, 0, "guard %s %s  %s pkts/s %s/s  %s syns/s  ", r->iface, r->mode,
		    top_rate(r->packets, n[0]), top_bytes(r->bytes, n[1]), top_rate(r->syns, n[2]));
		paint(drops ? WARM : PLAIN, true);
		printw("%s denied/s  %s over rate/s", top_rate(r->denied, n[3]),
		       top_rate(r->over_rate, n[4]));
		paint(drops ? WARM : PLAIN, false);
	}
	return y;
}

/* A line, where connections are observed. */
static int draw_tcp(const struct top_model *m, int y)
{
	char n[4][TOP_NUMBER_LEN];
	struct top_tcp t;

	if (!top_tcp_read(m, TOP_TCP_ALL, &t))
		return y;
	put(y, 0, "tcp  rtt p50 %s p99 %s  accepted within %s (p99)  ",
	    top_duration(t.rtt_p50_ns, n[0]), top_duration(t.rtt_p99_ns, n[1]),
	    top_duration(t.wait_p99_below_ns, n[2]));
	paint(t.retransmits ? WARM : PLAIN, true);
	printw("%s retransmits/s", top_rate((double)t.retransmits / m->seconds, n[3]));
	paint(t.retransmits ? WARM : PLAIN, false);
	return y + 1;
}

static int draw_head(const struct top_screen *s)
{
	const struct top_model *m = s->model;
	const struct stats_header *h = &m->reading->header;
	const struct top_times *t = &m->times[STATS_TOTAL];
	char n[5][TOP_NUMBER_LEN];

	paint(TITLE, true);
	put(0, 0, "%.63s", h->instance);
	paint(TITLE, false);
	printw("  hyperion-bpf %.31s  pid %u  up %s  %u workers%s", h->server, h->pid,
	       top_age(m->uptime_ns, n[0]), m->nr_workers, s->paused ? "  [paused]" : "");
	put(1, 0, "%s req/s  ", top_rate(m->rate, n[0]));
	paint(m->all.errors ? BAD : PLAIN, true);
	printw("%s errors/s", top_rate(m->error_rate, n[1]));
	paint(m->all.errors ? BAD : PLAIN, false);
	printw("  p50 %s  p99 %s  p999 %s", top_duration(t->p50_ns, n[2]),
	       top_duration(t->p99_ns, n[3]), top_duration(t->p999_ns, n[4]));
	put(2, 0, "conns %u open %u lingering  threads %u/%u busy  queued %u  log drops %llu",
	    m->conns[STATS_CONNS_OPEN], m->conns[STATS_CONNS_LINGER], m->threads_busy, m->threads,
	    m->queued, m->log_dropped);
	draw_history(s, 3);
	return draw_guard(m, draw_tcp(m, 4)) + 1;
}

/* --- tables --- */

static void draw_column(int y, int x, const char *name, bool sorted)
{
	char line[16];

	snprintf(line, sizeof(line), "%8s", name);
	attron(sorted ? A_REVERSE | A_BOLD : A_BOLD);
	put(y, x, "%s", line);
	attroff(A_REVERSE | A_BOLD);
}

static bool wide(void)
{
	return COLS >= 110;
}

static void draw_route_columns(const struct top_screen *s, int y)
{
	static const struct {
		const char *name;
		enum top_sort sort;
	} columns[] = { { "REQ/S", TOP_BY_RATE },    { "P50", TOP_BY_P50 },
			{ "P99", TOP_BY_P99 },       { "P999", TOP_BY_P999 },
			{ "QUEUE99", NR_TOP_SORTS }, { "APP99", NR_TOP_SORTS },
			{ "ERR/S", TOP_BY_ERRORS },  { "BYTES/S", TOP_BY_BYTES },
			{ "2XX/S", NR_TOP_SORTS },   { "4XX/S", NR_TOP_SORTS } };
	int nr = wide() ? 10 : 7, x = 0;

	for (int i = 0; i < nr; i++, x += 8)
		draw_column(y, x, columns[i].name, columns[i].sort == s->model->sort);
	attron(s->model->sort == TOP_BY_NAME ? A_REVERSE | A_BOLD : A_BOLD);
	put(y, x + 1, "ROUTE");
	attroff(A_REVERSE | A_BOLD);
}

static void draw_cell(int y, int *x, const char *text, enum colour c)
{
	paint(c, true);
	put(y, *x, "%8s", text);
	paint(c, false);
	*x += 8;
}

static void draw_route(const struct top_screen *s, int y, const struct top_route *r, bool selected)
{
	const struct top_times *t = r->times;
	char n[TOP_NUMBER_LEN];
	int x = 0;

	if (selected)
		attron(A_REVERSE);
	put(y, 0, "%*s", COLS < 500 ? COLS : 500, "");
	draw_cell(y, &x, top_rate(r->rate, n), PLAIN);
	draw_cell(y, &x, top_duration(t[STATS_TOTAL].p50_ns, n), heat(t[STATS_TOTAL].p50_ns));
	draw_cell(y, &x, top_duration(t[STATS_TOTAL].p99_ns, n), heat(t[STATS_TOTAL].p99_ns));
	draw_cell(y, &x, top_duration(t[STATS_TOTAL].p999_ns, n), heat(t[STATS_TOTAL].p999_ns));
	draw_cell(y, &x, top_duration(t[STATS_QUEUE].p99_ns, n), heat(t[STATS_QUEUE].p99_ns));
	draw_cell(y, &x, top_duration(t[STATS_APP].p99_ns, n), heat(t[STATS_APP].p99_ns));
	draw_cell(y, &x, top_rate(r->error_rate, n), r->sum.errors ? BAD : PLAIN);
	if (wide()) {
		draw_cell(y, &x, top_bytes((double)r->sum.bytes_out / s->model->seconds, n), PLAIN);
		draw_cell(y, &x, top_rate((double)r->sum.status[2] / s->model->seconds, n), PLAIN);
		draw_cell(y, &x, top_rate((double)r->sum.status[4] / s->model->seconds, n), PLAIN);
	}
	put(y, x + 1, "%s %.*s", top_method(r->route), (int)r->route->name_len, r->route->name);
	if (selected)
		attroff(A_REVERSE);
}

static void draw_worker(int y, const struct top_worker *w)
{
	char n[2][TOP_NUMBER_LEN];

	put(y, 0, "%6u %7u %-8s %7s %6u %3u/%-3u %6u %4.0f%% %4.0f%% %7s %6llu", w->slot,
	    w->now->pid, w->now->state < 3 ? state_names[w->now->state] : "?",
	    top_rate(w->rate, n[0]), w->now->conns[STATS_CONNS_OPEN], w->now->threads_busy,
	    w->now->nr_threads, w->now->queued, w->cpu * 100, w->busy * 100,
	    top_bytes((double)w->now->rss_bytes, n[1]), w->stalls);
	if (wide())
		put(y, 80, " %6llu %7llu %6llu/%llu", w->picks, w->avoided, w->moved_out,
		    w->moved_in);
}

static void draw_workers(const struct top_screen *s, int y, int end)
{
	attron(A_BOLD);
	put(y++, 0, "%6s %7s %-8s %7s %6s %7s %6s %5s %5s %7s %6s", "WORKER", "PID", "STATE",
	    "REQ/S", "CONNS", "BUSY", "QUEUED", "CPU", "LOOP", "RSS", "STALLS");
	if (wide())
		put(y - 1, 80, " %6s %7s %6s", "PICKS", "AVOIDED", "OUT/IN");
	attroff(A_BOLD);
	for (__u32 i = 0; i < s->model->nr_workers && y < end; i++)
		draw_worker(y++, &s->model->workers[i]);
}

/* --- selection --- */

const struct top_route *top_draw_selected(const struct top_screen *s)
{
	return s->selected < s->model->nr_routes ? &s->model->routes[s->selected] : NULL;
}

static void remember(struct top_screen *s)
{
	const struct top_route *r = top_draw_selected(s);

	if (!r)
		return;
	s->selected_hash = r->route->hash;
	s->selected_method = r->route->method;
}

/* Rows have moved since: the bar stays with its route, if that is still shown. */
static void follow(struct top_screen *s)
{
	const struct top_model *m = s->model;

	for (__u32 i = 0; i < m->nr_routes; i++)
		if (m->routes[i].route->hash == s->selected_hash &&
		    m->routes[i].route->method == s->selected_method)
			s->selected = i;
	if (s->selected >= m->nr_routes)
		s->selected = m->nr_routes ? m->nr_routes - 1 : 0;
	if (s->selected < s->first)
		s->first = s->selected;
	if (s->page && s->selected >= s->first + s->page)
		s->first = s->selected - s->page + 1;
	remember(s);
}

void top_draw_move(struct top_screen *s, int by)
{
	long to = (long)s->selected + by, last = (long)s->model->nr_routes - 1;

	s->selected = (__u32)(to < 0 || last < 0 ? 0 : to > last ? last : to);
	remember(s);
}

void top_draw_note(struct top_screen *s, double rate)
{
	if (s->nr_history == TOP_HISTORY) {
		memmove(s->history, s->history + 1, (TOP_HISTORY - 1) * sizeof(s->history[0]));
		s->nr_history--;
	}
	s->history[s->nr_history++] = rate;
}

/* --- views --- */

static void draw_main(struct top_screen *s)
{
	int y = draw_head(s), rows = (int)s->model->nr_workers, most = (LINES - y) / 3, end;

	if (rows > most)
		rows = most;
	/* Below the routes: an empty line, the workers' columns and rows, the line of keys. */
	end = LINES - rows - 3;
	draw_route_columns(s, y++);
	s->page = end > y ? (__u32)(end - y) : 0;
	follow(s);
	for (__u32 i = s->first; i < s->model->nr_routes && y < end; i++)
		draw_route(s, y++, &s->model->routes[i], i == s->selected);
	if (!s->model->nr_routes)
		put(y, 2, s->model->filter[0] ? "no route matches" : "no requests yet");
	draw_workers(s, end + 1, LINES - 1);
}

static void draw_times(const struct top_screen *s, int y, const struct top_route *r)
{
	attron(A_BOLD);
	put(y++, 0, "%-8s %10s %9s %9s %9s %9s", "TIME", "COUNT", "MEAN", "P50", "P99", "P999");
	attroff(A_BOLD);
	for (int t = 0; t < NR_STATS_TIMES; t++) {
		const struct top_times *x = &r->times[t];
		char n[4][TOP_NUMBER_LEN];

		if (t == (int)s->time)
			attron(A_REVERSE);
		put(y++, 0, "%-8s %10llu %9s %9s %9s %9s", time_names[t], x->count,
		    top_duration(x->mean_ns, n[0]), top_duration(x->p50_ns, n[1]),
		    top_duration(x->p99_ns, n[2]), top_duration(x->p999_ns, n[3]));
		attroff(A_REVERSE);
	}
}

/* A row for each power of two, from the first that counts to the last. */
static void draw_histogram(const struct top_screen *s, int y, const struct top_route *r)
{
	const __u64 *hist = r->sum.hist[s->time];
	__u64 rows[HIST_HIGH_SHIFT - HIST_LOW_SHIFT + 2] = { 0 }, most = 0;
	int nr = (int)(sizeof(rows) / sizeof(rows[0])), from = nr, to = -1, room = COLS - 34;

	for (__u32 i = 0; i < HIST_BUCKETS; i++) {
		int row = i == 0 ? 0 : (int)((i - 1) / HIST_SUB) + 1;

		rows[row] += hist[i];
		if (!hist[i])
			continue;
		from = row < from ? row : from;
		to = row > to ? row : to;
		most = rows[row] > most ? rows[row] : most;
	}
	if (to < 0)
		put(y, 2, "nothing in this interval");
	for (int i = from; i <= to && y < LINES - 1; i++, y++) {
		__u64 low = i ? 1ull << (HIST_LOW_SHIFT + i - 1) : 0;
		int len = room > 0 ? (int)((double)rows[i] / (double)most * room + 0.5) : 0;
		char n[2][TOP_NUMBER_LEN];

		put(y, 0, "%9s ..%9s %10llu ", i ? top_duration(low, n[0]) : "0",
		    i == nr - 1 ? "" : top_duration(i ? low * 2 : 1ull << HIST_LOW_SHIFT, n[1]),
		    rows[i]);
		paint(GOOD, true);
		for (int k = 0; k < len; k++)
			addstr(s->plain ? "#" : "█");
		paint(GOOD, false);
	}
}

static void draw_one_route(struct top_screen *s)
{
	const struct top_route *r;
	int y = draw_head(s);

	follow(s);
	r = top_draw_selected(s);
	if (!r) {
		put(y, 2, "no route is selected");
		return;
	}
	paint(TITLE, true);
	put(y++, 0, "%s %.*s", top_method(r->route), (int)r->route->name_len, r->route->name);
	paint(TITLE, false);
	move(y++, 0);
	for (__u32 i = 0; i < STATS_CLASSES; i++)
		if (r->sum.status[i])
			printw("%s %llu  ", class_names[i], r->sum.status[i]);
	printw("since the start %llu", r->total);
	draw_times(s, y, r);
	draw_histogram(s, y + 6, r);
}

static void draw_help(void)
{
	static const char *const lines[] = {
		"",
		"  up down pgup pgdn   choose a route",
		"  enter               its times and histogram; t: of which part; enter: back",
		"  s  S                next, previous column to sort by;  r: reversed",
		"  /                   show routes that contain a text; empty: all",
		"  w                   workers",
		"  p or space          pause, go on",
		"  + -                 longer, shorter interval",
		"  q                   quit",
		"",
		"  QUEUE99, APP99: 99 of 100 waited less for a Ruby thread, took less in the app.",
		"  Everything is of the last interval; \"since the start\" says so.",
		"  LOOP: part of the time that a worker's I/O thread did not sleep; STALLS: its",
		"  turns of 2 ms and more. PICKS: connections that were sent to it; AVOIDED: that "
		"it",
		"  did not get though it had least to do, as it stood still; OUT/IN: given to, "
		"taken",
		"  from other workers.",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		put((int)i, 0, "%s", lines[i]);
}

static void draw_keys(const struct top_screen *s)
{
	char line[256];

	if (s->typing)
		snprintf(line, sizeof(line), "show routes that contain: %s_", s->model->filter);
	else if (s->view == TOP_VIEW_MAIN)
		snprintf(line, sizeof(line),
			 "sort %s%s  filter %s  every %.3gs   enter / s r w p ? q",
			 top_sort_name(s->model->sort), s->model->reversed ? " (reversed)" : "",
			 s->model->filter[0] ? s->model->filter : "none", s->interval);
	else if (s->view == TOP_VIEW_ROUTE)
		snprintf(line, sizeof(line), "histogram of %s   t: next   enter: back   q: quit",
			 time_names[s->time]);
	else
		snprintf(line, sizeof(line), "any other key: back   q: quit");
	bar_line(LINES - 1, line);
}

static void draw_problem(const struct top_screen *s)
{
	put(0, 0, "hyperion-top  instance %s", s->instance);
	paint(WARM, true);
	move(2, 0);
	/* It may be longer than a line. */
	addstr(s->problem);
	paint(WARM, false);
	put(LINES > 6 ? 5 : LINES - 2, 0, "looking again every %.3g s", s->interval);
	bar_line(LINES - 1, "q: quit");
}

void top_draw(struct top_screen *s)
{
	erase();
	if (s->problem) {
		draw_problem(s);
	} else {
		if (s->view == TOP_VIEW_MAIN)
			draw_main(s);
		else if (s->view == TOP_VIEW_WORKERS)
			draw_workers(s, draw_head(s), LINES - 1);
		else if (s->view == TOP_VIEW_ROUTE)
			draw_one_route(s);
		else
			draw_help();
		draw_keys(s);
	}
	refresh();
}
