/* SPDX-License-Identifier: MIT */
/*
 * The calling thread's turns on the CPU: short ones come soon. For a thread that
 * does little at a time and others wait for.
 */
#ifndef HYPERION_SERVER_SLICE_H
#define HYPERION_SERVER_SLICE_H

#include "server/base.h"

/* Policy and nice value stay. -errno where the kernel does not know it (before Linux 6.12 most ignore it). */
int slice_set(u64 slice_ns);

#endif
