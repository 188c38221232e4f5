/* SPDX-License-Identifier: MIT */
#include "server/slice.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "selftests/harness/harness.h"

/* As in linux/sched/types.h, which some libcs' sched.h cannot stand. */
struct sched_attr_0 {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};

static struct sched_attr_0 attr_now(void)
{
	struct sched_attr_0 attr = { 0 };

	syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0);
	return attr;
}

TEST(keeps_policy_and_nice)
{
	struct sched_attr_0 after;

	ASSERT_EQ(setpriority(PRIO_PROCESS, 0, 7), 0);
	ASSERT_EQ(slice_set(200 * NSEC_PER_USEC), 0);
	after = attr_now();
	ASSERT_EQ(after.policy, SCHED_OTHER);
	ASSERT_EQ(after.nice, 7);
	/* Linux 6.12 and later say the slice. */
	if (after.runtime)
		ASSERT_EQ(after.runtime, 200 * NSEC_PER_USEC);
}

TEST(keeps_batch)
{
	struct sched_param param = { 0 };

	ASSERT_EQ(sched_setscheduler(0, SCHED_BATCH, &param), 0);
	ASSERT_EQ(slice_set(200 * NSEC_PER_USEC), 0);
	ASSERT_EQ(attr_now().policy, SCHED_BATCH);
}

TEST(leaves_other_policies_alone)
{
	struct sched_param param = { 0 };

	ASSERT_EQ(sched_setscheduler(0, SCHED_IDLE, &param), 0);
	ASSERT_EQ(slice_set(200 * NSEC_PER_USEC), -EINVAL);
	ASSERT_EQ(attr_now().policy, SCHED_IDLE);
}
