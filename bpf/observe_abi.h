/* SPDX-License-Identifier: MIT */
/*
 * What bpf/observe.bpf.c counts: the pinned map "observe", an array of one row for each
 * worker's slot. Programs of all CPUs add to it, atomically.
 */
#ifndef HYPERION_BPF_OBSERVE_ABI_H
#define HYPERION_BPF_OBSERVE_ABI_H

#include <linux/types.h>

#include "bpf/hist.h"

#define OBSERVE_MAP "observe"

/* Connections that came to the slot's listeners, whoever serves them by now. */
struct observe_row {
	__u64 connections; /* made */
	__u64 retransmits; /* segments sent once more */
	__u64 synack_retransmits; /* answers to SYNs sent once more */
	__u64 rtt_sum_ns;
	__u32 rtt[HIST_BUCKETS]; /* smoothed, when the connection ended */
};

/* A listener's storage, which the kernel copies to each of its connections. */
struct observe_conn {
	__u64 syn_ns; /* CLOCK_MONOTONIC; 0: this is the listener, or its end was counted */
	__u32 slot;
	__u32 reserved;
};

#endif
