/* SPDX-License-Identifier: MIT */
/* The guard's counters in /-/metrics and /-/stats; nothing where there is no guard. */
#ifndef HYPERION_SERVER_METRICS_GUARD_H
#define HYPERION_SERVER_METRICS_GUARD_H

#include "server/base.h"
#include "server/text.h"

/* @open: as OpenMetrics. */
void metrics_guard(struct text *out, const char *instance, bool open);

/* "guard":[...], with the comma behind it. */
void metrics_guard_json(struct text *out, const char *instance);

#endif
