/* SPDX-License-Identifier: MIT */
/* What was observed of connections, in /-/metrics and /-/stats; nothing where none are. */
#ifndef HYPERION_SERVER_METRICS_OBSERVE_H
#define HYPERION_SERVER_METRICS_OBSERVE_H

#include "server/metrics_sum.h"
#include "server/text.h"

/* @open: as OpenMetrics. */
void metrics_observe(struct text *out, const struct metrics_sum *sum, bool open);

/* "tcp":[...], with the comma behind it. */
void metrics_observe_json(struct text *out, const struct metrics_sum *sum);

#endif
