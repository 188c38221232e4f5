/* SPDX-License-Identifier: MIT */
#include "tools/top_tcp.h"

#include <string.h>

#include "tools/top_text.h"

struct counts {
	struct top_tcp t;
	__u64 rtt[HIST_BUCKETS], waits[STATS_ACCEPT_WAITS];
};

static void add(struct counts *c, const struct top_reading *r, __u32 slot, __u64 sign)
{
	const struct observe_row *row = &r->tcp[slot];

	c->t.connections += sign * row->connections;
	c->t.retransmits += sign * row->retransmits;
	c->t.synack_retransmits += sign * row->synack_retransmits;
	for (__u32 i = 0; i < HIST_BUCKETS; i++)
		c->rtt[i] += sign * row->rtt[i];
	for (__u32 i = 0; i < STATS_ACCEPT_WAITS; i++)
		c->waits[i] += sign * r->workers[slot].accept_wait[i];
}

bool top_tcp_read(const struct top_model *m, __u32 slot, struct top_tcp *t)
{
	const struct top_reading *now = m->reading, *before = m->tcp_before;
	struct counts c;
	__u64 below = 0;

	memset(&c, 0, sizeof(c));
	if (!now->observed)
		return false;
	for (__u32 i = 0; i < now->header.nr_slots; i++) {
		if (slot != TOP_TCP_ALL && i != slot)
			continue;
		add(&c, now, i, 1);
		if (before && i < before->header.nr_slots)
			add(&c, before, i, (__u64)-1);
	}
	for (__u32 i = 0; i < HIST_BUCKETS; i++)
		c.t.nr_rtts += c.rtt[i];
	c.t.rtt_p50_ns = hist_quantile(c.rtt, 50000);
	c.t.rtt_p99_ns = hist_quantile(c.rtt, 99000);
	for (__u32 i = 0; i < STATS_ACCEPT_WAITS; i++)
		c.t.nr_waits += c.waits[i];
	for (__u32 i = 0; i < STATS_ACCEPT_WAITS && !c.t.wait_p99_below_ns; i++) {
		below += c.waits[i];
		if (c.t.nr_waits && below * 100 >= c.t.nr_waits * 99)
			c.t.wait_p99_below_ns = 1ull << (STATS_ACCEPT_LOW_SHIFT + i);
	}
	*t = c.t;
	return true;
}

void top_tcp_table(FILE *f, const struct top_model *m)
{
	struct top_tcp t;

	if (!top_tcp_read(m, TOP_TCP_ALL, &t))
		return;
	fprintf(f, "\n%6s %8s %8s %8s %8s %8s %8s\n", "TCP", "CONNS", "RTT50", "RTT99", "RETRANS",
		"SYNACKS", "WAIT99<");
	for (__u32 w = 0; w < m->reading->header.nr_slots; w++) {
		char n[3][TOP_NUMBER_LEN];

		if (!m->reading->workers[w].nr_starts || !top_tcp_read(m, w, &t))
			continue;
		fprintf(f, "%6u %8llu %8s %8s %8llu %8llu %8s\n", w, t.connections,
			top_duration(t.rtt_p50_ns, n[0]), top_duration(t.rtt_p99_ns, n[1]),
			t.retransmits, t.synack_retransmits, top_duration(t.wait_p99_below_ns, n[2]));
	}
}

void top_tcp_json(FILE *f, const struct top_model *m)
{
	struct top_tcp t;
	bool first = true;

	if (!m->reading->observed)
		return;
	fprintf(f, ",\"tcp\":[");
	for (__u32 w = 0; w < m->reading->header.nr_slots; w++) {
		if (!m->reading->workers[w].nr_starts || !top_tcp_read(m, w, &t))
			continue;
		fprintf(f,
			"%s{\"worker\":%u,\"connections\":%llu,\"retransmits\":%llu,"
			"\"synack_retransmits\":%llu,",
			first ? "" : ",", w, t.connections, t.retransmits, t.synack_retransmits);
		fprintf(f, "\"rtt\":{\"count\":%llu,\"p50_ns\":%llu,\"p99_ns\":%llu},", t.nr_rtts,
			t.rtt_p50_ns, t.rtt_p99_ns);
		fprintf(f, "\"accept_wait\":{\"count\":%llu,\"p99_below_ns\":%llu}}", t.nr_waits,
			t.wait_p99_below_ns);
		first = false;
	}
	fprintf(f, "]");
}
