/* SPDX-License-Identifier: MIT */
/* The statistics as one JSON object, for /-/stats. */
#ifndef HYPERION_SERVER_METRICS_JSON_H
#define HYPERION_SERVER_METRICS_JSON_H

#include "server/metrics_sum.h"
#include "server/text.h"

void metrics_json(struct text *out, const struct metrics_sum *sum);

#endif
