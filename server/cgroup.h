/* SPDX-License-Identifier: MIT */
/* What the process's control group grants (Documentation/admin-guide/cgroup-v2.rst, cpu.max). */
#ifndef HYPERION_SERVER_CGROUP_H
#define HYPERION_SERVER_CGROUP_H

#include "server/base.h"

/* CPUs of the tightest quota on the way up, rounded up; 0 = none or unknown. */
u32 cgroup_cpu_count(void);

#endif
