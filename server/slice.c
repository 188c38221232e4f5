/* SPDX-License-Identifier: MIT */
#include "server/slice.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in linux/sched/types.h, which some libcs' sched.h cannot stand. */
struct sched_attr_0 {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};

int slice_set(u64 slice_ns)
{
	struct sched_attr_0 attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0))
		return -errno;
	/* Of another policy, sched_runtime would be a promise. */
	if (attr.policy != SCHED_OTHER && attr.policy != SCHED_BATCH)
		return -EINVAL;
	attr.flags = 0;
	attr.runtime = slice_ns;
	return syscall(SYS_sched_setattr, 0, &attr, 0) ? -errno : 0;
}
