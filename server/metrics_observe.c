/* SPDX-License-Identifier: MIT */
#include "server/metrics_observe.h"

#include <stdlib.h>

#include "bpf/observe_read.h"
#include "server/fail.h"

#define PREFIX "hyperion_tcp_"
#define FIRST_OCTAVE                                                                               \
	14u /* bounds are powers of four from 16 us, which buckets of both kinds have */
#define LAST_OCTAVE 34u

#define READ(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

struct rows {
	const struct metrics_sum *sum;
	struct observe_row *rows;
};

/* A histogram with one count for each power of two, of which the last has no end. */
struct octaves {
	u64 counts[HIST_HIGH_SHIFT + 1]; /* [n]: below 2^n ns, not cumulated */
	u64 sum_ns, total;
};

static void take(void *arg, u32 slot, const struct observe_row *row)
{
	struct rows *r = arg;

	r->rows[slot] = *row;
}

/* Rows of workers that there have been; NULL: nothing is observed. */
static struct observe_row *read_rows(const struct metrics_sum *sum)
{
	struct rows r = { .sum = sum, .rows = mem_zalloc(sum->nr_slots * sizeof(*r.rows)) };

	if (!r.rows || !observe_read(sum->header->instance, sum->nr_slots, take, &r))
		return r.rows;
	free(r.rows);
	return NULL;
}

static void rtt_octaves(const struct observe_row *row, struct octaves *o)
{
	*o = (struct octaves){ .sum_ns = row->rtt_sum_ns };
	for (u32 i = 0; i < HIST_BUCKETS; i++) {
		u32 octave = i == 0          ? HIST_LOW_SHIFT
			     : i < HIST_LAST ? HIST_LOW_SHIFT + 1 + (i - 1) / HIST_SUB
					     : HIST_HIGH_SHIFT;

		o->counts[octave] += row->rtt[i];
		o->total += row->rtt[i];
	}
}

static void wait_octaves(const struct stats_worker *w, struct octaves *o)
{
	*o = (struct octaves){ .sum_ns = READ(w->accept_wait_ns) };
	for (u32 i = 0; i < STATS_ACCEPT_WAITS; i++) {
		u64 n = READ(w->accept_wait[i]);

		o->counts[STATS_ACCEPT_LOW_SHIFT + i] += n;
		o->total += n;
	}
}

/* --- Prometheus --- */

static void put_histogram(struct text *t, const char *name, u32 worker, const struct octaves *o)
{
	u64 below = 0;
	u32 next = 0;

	for (u32 octave = FIRST_OCTAVE; octave <= LAST_OCTAVE; octave += 2) {
		/* Of the waits the last has no end. */
		for (; next <= octave && next < STATS_ACCEPT_LOW_SHIFT + STATS_ACCEPT_WAITS - 1;
		     next++)
			below += o->counts[next];
		text_printf(t, PREFIX "%s_bucket{worker=\"%u\",le=\"", name, worker);
		text_seconds(t, 1ull << octave);
		text_printf(t, "\"} %llu\n", (unsigned long long)below);
	}
	text_printf(t,
		    PREFIX "%s_bucket{worker=\"%u\",le=\"+Inf\"} %llu\n" PREFIX
			   "%s_sum{worker=\"%u\"} ",
		    name, worker, (unsigned long long)o->total, name, worker);
	text_seconds(t, o->sum_ns);
	text_printf(t, "\n" PREFIX "%s_count{worker=\"%u\"} %llu\n", name, worker,
		    (unsigned long long)o->total);
}

static void put_histograms(struct text *t, const struct metrics_sum *sum,
			   const struct observe_row *rows, bool waits)
{
	const char *name = waits ? "accept_wait_seconds" : "rtt_seconds";
	struct octaves o;

	text_printf(t, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s histogram\n", name,
		    waits ? "A client's SYN until its connection was accepted."
			  : "Smoothed round-trip time of a connection when it ended.",
		    name);
	for (u32 w = 0; w < sum->nr_slots; w++) {
		if (!READ(sum->rows[w].nr_starts))
			continue;
		if (waits)
			wait_octaves(&sum->rows[w], &o);
		else
			rtt_octaves(&rows[w], &o);
		put_histogram(t, name, w, &o);
	}
}

static void put_counters(struct text *t, const struct metrics_sum *sum,
			 const struct observe_row *rows, bool open)
{
	static const struct {
		const char *name, *help;
		size_t off;
	} families[] = {
		{ "connections", "Connections that were made to a worker's listeners.",
		  offsetof(struct observe_row, connections) },
		{ "retransmits", "Segments that were sent once more.",
		  offsetof(struct observe_row, retransmits) },
		{ "synack_retransmits", "Answers to a SYN that were sent once more.",
		  offsetof(struct observe_row, synack_retransmits) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const char *name = families[i].name, *suffix = open ? "" : "_total";

		text_printf(t, "# HELP " PREFIX "%s%s %s\n# TYPE " PREFIX "%s%s counter\n", name,
			    suffix, families[i].help, name, suffix);
		for (u32 w = 0; w < sum->nr_slots; w++) {
			u64 n;

			if (!READ(sum->rows[w].nr_starts))
				continue;
			memcpy(&n, (const char *)&rows[w] + families[i].off, sizeof(n));
			text_printf(t, PREFIX "%s_total{worker=\"%u\"} %llu\n", name, w,
				    (unsigned long long)n);
		}
	}
}

void metrics_observe(struct text *out, const struct metrics_sum *sum, bool open)
{
	struct observe_row *rows = read_rows(sum);

	if (!rows)
		return;
	put_counters(out, sum, rows, open);
	put_histograms(out, sum, rows, false);
	put_histograms(out, sum, rows, true);
	free(rows);
}

/* --- JSON --- */

/* The bound of the power of two below which 99 % lie. */
static u64 wait_p99_ns(const struct octaves *o)
{
	u64 below = 0;

	for (u32 i = 0; i <= HIST_HIGH_SHIFT; i++) {
		below += o->counts[i];
		if (o->total && below * 100 >= o->total * 99)
			return 1ull << i;
	}
	return 0;
}

static void put_row(struct text *t, const struct observe_row *row, const struct stats_worker *w,
		    u32 worker)
{
	__u64 hist[HIST_BUCKETS];
	struct octaves waits, rtts;

	for (u32 i = 0; i < HIST_BUCKETS; i++)
		hist[i] = row->rtt[i];
	wait_octaves(w, &waits);
	rtt_octaves(row, &rtts);
	text_printf(t,
		    "{\"worker\":%u,\"connections\":%llu,\"retransmits\":%llu,"
		    "\"synack_retransmits\":%llu,",
		    worker, (unsigned long long)row->connections,
		    (unsigned long long)row->retransmits,
		    (unsigned long long)row->synack_retransmits);
	text_printf(t, "\"rtt\":{\"count\":%llu,\"sum_ns\":%llu,\"p50_ns\":%llu,\"p99_ns\":%llu},",
		    (unsigned long long)rtts.total, (unsigned long long)rtts.sum_ns,
		    (unsigned long long)hist_quantile(hist, 50000),
		    (unsigned long long)hist_quantile(hist, 99000));
	text_printf(t, "\"accept_wait\":{\"count\":%llu,\"sum_ns\":%llu,\"p99_below_ns\":%llu}}",
		    (unsigned long long)waits.total, (unsigned long long)waits.sum_ns,
		    (unsigned long long)wait_p99_ns(&waits));
}

void metrics_observe_json(struct text *out, const struct metrics_sum *sum)
{
	struct observe_row *rows = read_rows(sum);
	bool first = true;

	if (!rows)
		return;
	text_put(out, VIEW("\"tcp\":["));
	for (u32 w = 0; w < sum->nr_slots; w++) {
		if (!READ(sum->rows[w].nr_starts))
			continue;
		text_put(out, first ? VIEW("") : VIEW(","));
		put_row(out, &rows[w], &sum->rows[w], w);
		first = false;
	}
	text_put(out, VIEW("],"));
	free(rows);
}
