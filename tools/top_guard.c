/* SPDX-License-Identifier: MIT */
#include "tools/top_guard.h"

#include "tools/top_text.h"

#define MAX_ROWS (GUARD_IFACES * GUARD_PORTS)

static const char *const modes[NR_GUARD_MODES] = GUARD_MODE_NAMES;
static const char *const kinds[NR_GUARD_SEEN] = GUARD_SEEN_NAMES;

static const char *mode_of(const struct guard_reading *r, __u32 i)
{
	return r->about.ifaces[i].mode < NR_GUARD_MODES ? modes[r->about.ifaces[i].mode] : "?";
}

static void add(struct top_guard *row, const struct guard_port *now,
		const struct guard_port *before, double seconds)
{
	row->packets += (double)(now->packets - before->packets) / seconds;
	row->bytes += (double)(now->bytes - before->bytes) / seconds;
	row->syns += (double)(now->syns - before->syns) / seconds;
	row->denied +=
		(double)(now->dropped[GUARD_DROP_DENY] - before->dropped[GUARD_DROP_DENY]) / seconds;
	row->over_rate +=
		(double)(now->dropped[GUARD_DROP_SYN_RATE] - before->dropped[GUARD_DROP_SYN_RATE]) /
		seconds;
}

__u32 top_guard_rows(const struct top_model *m, bool by_port, struct top_guard *rows, __u32 max)
{
	const struct guard_reading *now = &m->reading->guard, *before = m->guard_before;
	static const struct guard_port nothing;
	__u32 nr = 0;

	for (__u32 i = 0; i < now->about.nr_ifaces; i++) {
		for (__u32 p = 0; p < now->about.nr_ports; p++) {
			if (p == 0 || by_port) {
				if (nr == max)
					return nr;
				rows[nr++] = (struct top_guard){ .iface = now->about.ifaces[i].name,
								 .mode = mode_of(now, i),
								 .port = by_port ? now->about.ports[p]
										 : 0 };
			}
			add(&rows[nr - 1], &now->ports[i][p],
			    before ? &before->ports[i][p] : &nothing, m->seconds);
		}
	}
	return nr;
}

void top_guard_table(FILE *f, const struct top_model *m)
{
	static struct top_guard rows[MAX_ROWS];
	__u32 nr = top_guard_rows(m, true, rows, MAX_ROWS);

	if (nr)
		fprintf(f, "\n%15s %6s %-8s %8s %9s %8s %8s %8s\n", "GUARD", "PORT", "MODE",
			"PKTS/S", "BYTES/S", "SYNS/S", "DENIED/S", "SYNRATE");
	for (__u32 i = 0; i < nr; i++) {
		const struct top_guard *r = &rows[i];
		char n[5][TOP_NUMBER_LEN];

		fprintf(f, "%15s %6u %-8s %8s %9s %8s %8s %8s\n", r->iface, r->port, r->mode,
			top_rate(r->packets, n[0]), top_bytes(r->bytes, n[1]),
			top_rate(r->syns, n[2]), top_rate(r->denied, n[3]),
			top_rate(r->over_rate, n[4]));
	}
}

void top_guard_json(FILE *f, const struct top_model *m)
{
	const struct guard_reading *r = &m->reading->guard;

	if (!r->about.nr_ifaces)
		return;
	fprintf(f, ",\"guard\":[");
	for (__u32 i = 0; i < r->about.nr_ifaces; i++) {
		fprintf(f, "%s{\"interface\":\"%s\",\"mode\":\"%s\",\"seen\":{", i ? "," : "",
			r->about.ifaces[i].name, mode_of(r, i));
		for (__u32 k = 0; k < NR_GUARD_SEEN; k++)
			fprintf(f, "%s\"%s\":%llu", k ? "," : "", kinds[k], r->ifaces[i].seen[k]);
		fprintf(f, "},\"ports\":[");
		for (__u32 p = 0; p < r->about.nr_ports; p++) {
			const struct guard_port *x = &r->ports[i][p];

			fprintf(f, "%s{\"port\":%u,\"packets\":%llu,\"bytes\":%llu,\"syns\":%llu,",
				p ? "," : "", r->about.ports[p], x->packets, x->bytes, x->syns);
			fprintf(f, "\"dropped\":{\"deny\":%llu,\"syn_rate\":%llu},\"dropped_bytes\":%llu}",
				x->dropped[GUARD_DROP_DENY], x->dropped[GUARD_DROP_SYN_RATE],
				x->dropped_bytes);
		}
		fprintf(f, "]}");
	}
	fprintf(f, "]");
}
