/* SPDX-License-Identifier: MIT */
/* A page of the exposition while it is written: what the files metrics*.c share. */
#ifndef HYPERION_SERVER_METRICS_PAGE_H
#define HYPERION_SERVER_METRICS_PAGE_H

#include "server/base.h"
#include "server/metrics_sum.h"
#include "server/text.h"

#define METRICS_PREFIX "hyperion_"

struct metrics_page {
	struct text *out;
	bool open; /* OpenMetrics */
};

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_UNKNOWN };

/* The two lines before its samples. A counter's name ends with _total in its samples. */
void metrics_begin(const struct metrics_page *pg, enum metrics_type type, const char *name,
		   const char *help);

/* @labels: "" or in braces. */
void metrics_sample(const struct metrics_page *pg, const char *name, const char *suffix,
		    const char *labels, u64 n);

/* A family of one. */
void metrics_one(const struct metrics_page *pg, enum metrics_type type, const char *name,
		 const char *help, u64 n);

/* How connections were steered. */
void metrics_steer(const struct metrics_page *pg, const struct metrics_sum *sum);

#endif
