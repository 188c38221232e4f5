/* SPDX-License-Identifier: MIT */
/* The rows of observe_abi.h, read from the pinned map, by the server's own pages and by tools. */
#ifndef HYPERION_BPF_OBSERVE_READ_H
#define HYPERION_BPF_OBSERVE_READ_H

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "bpf/observe_abi.h"

/* Calls @take for each of the first @nr_slots rows. 0 or -errno; -ENOENT: that instance observes nothing. */
static inline int observe_read(const char *instance, __u32 nr_slots,
			       void (*take)(void *arg, __u32 slot, const struct observe_row *row),
			       void *arg)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	struct bpf_map_info info = { 0 };
	__u32 info_len = sizeof(info);
	struct observe_row row;
	char path[256];
	int fd, err;

	snprintf(path, sizeof(path), "/sys/fs/bpf/hyperion/%.64s/" OBSERVE_MAP, instance);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd < 0)
		return -errno;
	err = bpf_obj_get_info_by_fd(fd, &info, &info_len);
	if (!err && info.value_size != sizeof(row))
		err = -EPROTO;
	for (__u32 i = 0; !err && i < nr_slots && i < info.max_entries; i++) {
		err = bpf_map_lookup_elem(fd, &i, &row);
		if (!err)
			take(arg, i, &row);
	}
	close(fd);
	return err;
}

#endif
