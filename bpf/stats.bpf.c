/* SPDX-License-Identifier: MIT */
/* The maps that abi.h describes; how many entries they have is said when they are loaded. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/abi.h"

#define SHARED_ARRAY(value_type)                                                                   \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct value_type);                                                  \
	}

SHARED_ARRAY(stats_header) header SEC(".maps");
SHARED_ARRAY(stats_route) routes SEC(".maps");
SHARED_ARRAY(stats_worker) workers SEC(".maps");
SHARED_ARRAY(stats_cell) cells SEC(".maps");
SHARED_ARRAY(stats_own) own SEC(".maps");
SHARED_ARRAY(stats_steer) steer SEC(".maps");
