/* SPDX-License-Identifier: MIT */
/*
 * The guard's counters, read from its pinned maps and summed over CPUs: for the
 * server's own pages and for tools, which may be another user's processes.
 */
#ifndef HYPERION_BPF_GUARD_READ_H
#define HYPERION_BPF_GUARD_READ_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/guard_abi.h"

#define GUARD_PINS "/sys/fs/bpf/hyperion"

struct guard_reading {
	struct guard_about about; /* nr_ifaces 0: nothing is guarded */
	struct guard_iface ifaces[GUARD_IFACES];
	struct guard_port ports[GUARD_IFACES][GUARD_PORTS];
};

static inline int guard_open_map(const char *instance, enum guard_map_id id)
{
	static const char *const names[NR_GUARD_MAPS] = GUARD_MAP_NAMES;
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	char path[256];

	snprintf(path, sizeof(path), GUARD_PINS "/%.64s/%s", instance, names[id]);
	return bpf_obj_get_opts(path, &opts);
}

/* A value is @nr counters; @room has one of them for each CPU. */
static inline int guard_read_sum(int fd, __u32 key, __u64 *sum, __u32 nr, __u64 *room, __u32 nr_cpus)
{
	if (bpf_map_lookup_elem(fd, &key, room))
		return -errno;
	memset(sum, 0, nr * sizeof(*sum));
	for (__u32 i = 0; i < nr_cpus * nr; i++)
		sum[i % nr] += room[i];
	return 0;
}

static inline int guard_read_counters(int ifaces_fd, int ports_fd, struct guard_reading *r,
				      __u64 *room, __u32 nr_cpus)
{
	int err = 0;

	for (__u32 i = 0; !err && i < r->about.nr_ifaces; i++) {
		err = guard_read_sum(ifaces_fd, i, r->ifaces[i].seen, NR_GUARD_SEEN, room, nr_cpus);
		for (__u32 p = 0; !err && p < r->about.nr_ports; p++)
			err = guard_read_sum(ports_fd, i * GUARD_PORTS + p, (__u64 *)&r->ports[i][p],
					     sizeof(r->ports[i][p]) / sizeof(__u64), room, nr_cpus);
	}
	return err;
}

/* 0 or -errno; -ENOENT: that instance has no guard; -EPROTO: one of another version. */
static inline int guard_read(const char *instance, struct guard_reading *r)
{
	int fds[3] = { -1, -1, -1 }, nr_cpus = libbpf_num_possible_cpus(), err = 0;
	__u64 *room = NULL;
	__u32 zero = 0;

	memset(r, 0, sizeof(*r));
	for (int i = 0; !err && i < 3; i++) {
		fds[i] = guard_open_map(instance, (enum guard_map_id)i);
		err = fds[i] < 0 ? -errno : 0;
	}
	if (!err && bpf_map_lookup_elem(fds[0], &zero, &r->about))
		err = -errno;
	if (!err && (r->about.magic != GUARD_MAGIC || r->about.version != GUARD_VERSION ||
		     r->about.nr_ifaces > GUARD_IFACES || r->about.nr_ports > GUARD_PORTS))
		err = -EPROTO;
	if (!err && nr_cpus > 0)
		room = calloc((size_t)nr_cpus, sizeof(struct guard_iface));
	if (!err)
		err = room ? guard_read_counters(fds[1], fds[2], r, room, (__u32)nr_cpus) : -ENOMEM;
	if (err)
		r->about.nr_ifaces = 0;
	free(room);
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return err;
}

_Static_assert(sizeof(struct guard_port) <= sizeof(struct guard_iface), "one room for both");

#endif
