/* SPDX-License-Identifier: MIT */
/* Rows of the guard: what comes in for our ports, and what of it is dropped. */
#ifndef HYPERION_TOOLS_TOP_GUARD_H
#define HYPERION_TOOLS_TOP_GUARD_H

#include <stdio.h>

#include "tools/top_model.h"

/* Per second, in the interval. */
struct top_guard {
	const char *iface, *mode;
	__u16 port; /* 0: all of the interface's */
	double packets, bytes, syns, denied, over_rate;
};

/* Rows of all interfaces and ports, or one per interface; how many, at most @max. */
__u32 top_guard_rows(const struct top_model *m, bool by_port, struct top_guard *rows, __u32 max);

void top_guard_table(FILE *f, const struct top_model *m);

/* ,"guard":[...] with what was counted since the start; nothing without a guard. */
void top_guard_json(FILE *f, const struct top_model *m);

#endif
