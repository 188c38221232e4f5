/* SPDX-License-Identifier: MIT */
/* Clocks as a number of nanoseconds. */
#ifndef HYPERION_SERVER_CLOCK_H
#define HYPERION_SERVER_CLOCK_H

#include <time.h>

#include "server/base.h"

/* 0 for a clock that is not there (any more), as that of a thread. */
static inline u64 clock_ns(clockid_t id)
{
	struct timespec ts;

	return clock_gettime(id, &ts) ? 0 : (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* What all times within the server are of. */
static inline u64 monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

#endif
