/* SPDX-License-Identifier: MIT */
/* The app's own numbers (struct stats_own) of all workers as one set of families. */
#ifndef HYPERION_SERVER_METRICS_OWN_H
#define HYPERION_SERVER_METRICS_OWN_H

#include "server/base.h"
#include "server/stats.h"
#include "server/text.h"

/*
 * Appends them in Prometheus' format, or OpenMetrics with @open: counters and
 * histograms summed, gauges of the workers that run with a label for each. A
 * line that is none, or says of a family what a lower worker says otherwise
 * (two versions of an app), is left out.
 */
void metrics_own(struct text *out, const struct stats_maps *maps, bool open);

#endif
