/* SPDX-License-Identifier: MIT */
/*
 * The shared statistics of all workers as text: Prometheus' exposition format,
 * OpenMetrics, JSON. Takes its time (some ms for hundreds of routes), so not for
 * the I/O thread.
 */
#ifndef HYPERION_SERVER_METRICS_H
#define HYPERION_SERVER_METRICS_H

#include "server/base.h"
#include "server/stats.h"
#include "server/text.h"

enum metrics_format {
	METRICS_PROMETHEUS, /* text/plain; version=0.0.4 */
	METRICS_OPENMETRICS,
	METRICS_JSON,
};

/* The value of Content-Type for it. */
struct view metrics_type(enum metrics_format format);

/* What the client of a scrape wants by its Accept (empty = none was sent). */
enum metrics_format metrics_accepted(struct view accept);

/* Appends all of it; out->failed when memory was out. */
void metrics_write(struct text *out, const struct stats_maps *maps, enum metrics_format format);

#endif
