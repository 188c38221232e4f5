/* SPDX-License-Identifier: MIT */
/* Rows of what was observed of connections, where a server has --observe. */
#ifndef HYPERION_TOOLS_TOP_TCP_H
#define HYPERION_TOOLS_TOP_TCP_H

#include <stdio.h>

#include "tools/top_model.h"

#define TOP_TCP_ALL 0xffffffffu

struct top_tcp {
	__u64 connections, retransmits, synack_retransmits;
	__u64 nr_rtts, rtt_p50_ns, rtt_p99_ns;
	__u64 nr_waits, wait_p99_below_ns; /* for accept; a power of two */
};

/* Of one worker's slot, or of all, in the interval. false: nothing is observed. */
bool top_tcp_read(const struct top_model *m, __u32 slot, struct top_tcp *t);

void top_tcp_table(FILE *f, const struct top_model *m);

/* ,"tcp":[...]; nothing where nothing is observed. */
void top_tcp_json(FILE *f, const struct top_model *m);

#endif
