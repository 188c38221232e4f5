/* SPDX-License-Identifier: MIT */
#include "server/observe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/observe_abi.h"
#include "gen/bpf/observe.skel.h"
#include "server/clock.h"
#include "server/stats.h"

static int pin(struct observe *o, const char *pins, gid_t group)
{
	int err;

	snprintf(o->pin, sizeof(o->pin), "%s/" OBSERVE_MAP, pins);
	unlink(o->pin);
	err = bpf_map__pin(o->bpf->maps.observe, o->pin);
	if (!err && (chown(o->pin, (uid_t)-1, group) || chmod(o->pin, 0640)))
		err = -errno;
	return err;
}

int observe_open(struct observe *o, const char *pins, gid_t group, u32 nr_slots)
{
	int err;

	o->pin[0] = '\0';
	o->bpf = observe_bpf__open();
	if (!o->bpf)
		return errno ? -errno : -ENOMEM;
	err = bpf_map__set_max_entries(o->bpf->maps.observe, nr_slots);
	if (!err)
		err = observe_bpf__load(o->bpf);
	if (!err && pins[0])
		err = pin(o, pins, group);
	if (!err)
		err = observe_bpf__attach(o->bpf);
	if (err)
		observe_close(o);
	return err;
}

void observe_close(struct observe *o)
{
	if (!o->bpf)
		return;
	if (o->pin[0])
		unlink(o->pin);
	o->pin[0] = '\0';
	observe_bpf__destroy(o->bpf);
	o->bpf = NULL;
}

int observe_listener(const struct observe *o, int fd, u32 slot)
{
	const struct observe_conn conn = { .slot = slot };

	if (!o->bpf)
		return 0;
	return bpf_map_update_elem(bpf_map__fd(o->bpf->maps.conns), &fd, &conn, BPF_ANY);
}

int observe_fd(const struct observe *o)
{
	return o->bpf ? bpf_map__fd(o->bpf->maps.conns) : -1;
}

/* --- in a worker --- */

void observe_accepted(int map_fd, int fd, struct stats_worker *row)
{
	struct observe_conn conn;
	u64 now = monotonic_ns(), ns;
	u32 i;

	/* One that was handed over, or reset meanwhile. */
	if (bpf_map_lookup_elem(map_fd, &fd, &conn) || !conn.syn_ns || conn.syn_ns > now)
		return;
	ns = now - conn.syn_ns;
	i = ns >> STATS_ACCEPT_LOW_SHIFT ? hist_log2(ns) - STATS_ACCEPT_LOW_SHIFT + 1 : 0;
	stats_add(row->accept_wait[min(i, STATS_ACCEPT_WAITS - 1)], 1);
	stats_add(row->accept_wait_ns, ns);
}
