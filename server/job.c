/* SPDX-License-Identifier: MIT */
#include "server/job.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void job_wake_producer(struct job *j)
{
	/*
	 * Acquire and release, pairs with app_wait_room(): either we see that it
	 * waits, or it sees what we have done (a store of gone, bytes that left). The
	 * word changes, so that a wait which is just beginning fails.
	 */
	u32 unsent = __atomic_fetch_and(&j->unsent, ~JOB_UNSENT_WAITED, __ATOMIC_ACQ_REL);

	if (unsent & JOB_UNSENT_WAITED)
		syscall(SYS_futex, &j->unsent, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
