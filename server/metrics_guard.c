/* SPDX-License-Identifier: MIT */
#include "server/metrics_guard.h"

#include "bpf/guard_read.h"

#define PREFIX "hyperion_guard_"

static const char *const modes[NR_GUARD_MODES] = GUARD_MODE_NAMES;
static const char *const kinds[NR_GUARD_SEEN] = GUARD_SEEN_NAMES;
static const char *const reasons[NR_GUARD_DROPS] = GUARD_DROP_NAMES;

static const char *mode_of(const struct guard_reading *r, u32 i)
{
	return r->about.ifaces[i].mode < NR_GUARD_MODES ? modes[r->about.ifaces[i].mode] : "?";
}

/* --- Prometheus --- */

static void begin(struct text *t, bool open, const char *name, const char *help)
{
	const char *suffix = open ? "" : "_total";

	text_printf(t, "# HELP " PREFIX "%s%s %s\n", name, suffix, help);
	text_printf(t, "# TYPE " PREFIX "%s%s counter\n", name, suffix);
}

/* A family of one counter for each interface and port. */
static void put_family(struct text *t, bool open, const struct guard_reading *r, const char *name,
		       const char *help, size_t off)
{
	begin(t, open, name, help);
	for (u32 i = 0; i < r->about.nr_ifaces; i++) {
		for (u32 p = 0; p < r->about.nr_ports; p++) {
			u64 n;

			memcpy(&n, (const char *)&r->ports[i][p] + off, sizeof(n));
			text_printf(t, PREFIX "%s_total{interface=\"%s\",port=\"%u\"} ", name,
				    r->about.ifaces[i].name, r->about.ports[p]);
			text_u64(t, n);
			text_put(t, VIEW("\n"));
		}
	}
}

static void put_drops(struct text *t, bool open, const struct guard_reading *r)
{
	begin(t, open, "dropped_packets", "Packets for our ports that were dropped, by reason.");
	for (u32 i = 0; i < r->about.nr_ifaces; i++) {
		for (u32 p = 0; p < r->about.nr_ports; p++) {
			for (u32 k = 0; k < NR_GUARD_DROPS; k++) {
				text_printf(t,
					    PREFIX "dropped_packets_total{interface=\"%s\","
						   "port=\"%u\",reason=\"%s\"} ",
					    r->about.ifaces[i].name, r->about.ports[p], reasons[k]);
				text_u64(t, r->ports[i][p].dropped[k]);
				text_put(t, VIEW("\n"));
			}
		}
	}
}

static void put_seen(struct text *t, bool open, const struct guard_reading *r)
{
	begin(t, open, "seen_packets", "All packets of an interface, by what they are to the guard.");
	for (u32 i = 0; i < r->about.nr_ifaces; i++) {
		for (u32 k = 0; k < NR_GUARD_SEEN; k++) {
			text_printf(t, PREFIX "seen_packets_total{interface=\"%s\",kind=\"%s\"} ",
				    r->about.ifaces[i].name, kinds[k]);
			text_u64(t, r->ifaces[i].seen[k]);
			text_put(t, VIEW("\n"));
		}
	}
}

static void put_info(struct text *t, const struct guard_reading *r)
{
	text_put(t, VIEW("# HELP " PREFIX "attached 1; how an interface is guarded.\n"
			 "# TYPE " PREFIX "attached gauge\n"));
	for (u32 i = 0; i < r->about.nr_ifaces; i++)
		text_printf(t, PREFIX "attached{interface=\"%s\",mode=\"%s\"} 1\n",
			    r->about.ifaces[i].name, mode_of(r, i));
}

void metrics_guard(struct text *out, const char *instance, bool open)
{
	struct guard_reading r;

	if (guard_read(instance, &r))
		return;
	put_info(out, &r);
	put_family(out, open, &r, "packets", "Packets for a port of ours, dropped ones too.",
		   offsetof(struct guard_port, packets));
	put_family(out, open, &r, "bytes", "Bytes of these packets.",
		   offsetof(struct guard_port, bytes));
	put_family(out, open, &r, "syns", "SYNs among them: connections that begin.",
		   offsetof(struct guard_port, syns));
	put_drops(out, open, &r);
	put_family(out, open, &r, "dropped_bytes", "Bytes of packets that were dropped.",
		   offsetof(struct guard_port, dropped_bytes));
	put_seen(out, open, &r);
}

/* --- JSON --- */

static void put_port(struct text *t, u16 port, const struct guard_port *p)
{
	text_printf(t, "{\"port\":%u,\"packets\":%llu,\"bytes\":%llu,\"syns\":%llu,\"dropped\":{",
		    port, (unsigned long long)p->packets, (unsigned long long)p->bytes,
		    (unsigned long long)p->syns);
	for (u32 k = 0; k < NR_GUARD_DROPS; k++)
		text_printf(t, "%s\"%s\":%llu", k ? "," : "", reasons[k],
			    (unsigned long long)p->dropped[k]);
	text_printf(t, "},\"dropped_bytes\":%llu}", (unsigned long long)p->dropped_bytes);
}

void metrics_guard_json(struct text *out, const char *instance)
{
	struct guard_reading r;

	if (guard_read(instance, &r))
		return;
	text_put(out, VIEW("\"guard\":["));
	for (u32 i = 0; i < r.about.nr_ifaces; i++) {
		text_printf(out, "%s{\"interface\":\"%s\",\"mode\":\"%s\",\"seen\":{", i ? "," : "",
			    r.about.ifaces[i].name, mode_of(&r, i));
		for (u32 k = 0; k < NR_GUARD_SEEN; k++)
			text_printf(out, "%s\"%s\":%llu", k ? "," : "", kinds[k],
				    (unsigned long long)r.ifaces[i].seen[k]);
		text_put(out, VIEW("},\"ports\":["));
		for (u32 p = 0; p < r.about.nr_ports; p++) {
			text_put(out, p ? VIEW(",") : VIEW(""));
			put_port(out, r.about.ports[p], &r.ports[i][p]);
		}
		text_put(out, VIEW("]}"));
	}
	text_put(out, VIEW("],"));
}
