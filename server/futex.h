/* SPDX-License-Identifier: MIT */
/* A word that one side sleeps on and the other wakes: futex(2), within one process. */
#ifndef HYPERION_SERVER_FUTEX_H
#define HYPERION_SERVER_FUTEX_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "server/base.h"

/* 0, -EAGAIN (it is not @val), -EINTR or -ETIMEDOUT. */
static inline int futex_wait(u32 *word, u32 val, u64 timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
			       .tv_nsec = (long)(timeout_ns % NSEC_PER_SEC) };

	return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, &ts, NULL, 0) ? -errno : 0;
}

static inline void futex_wake(u32 *word, int nr)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, nr, NULL, NULL, 0);
}

#endif
