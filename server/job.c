/* SPDX-License-Identifier: MIT */
#include "server/job.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/fail.h"

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

void answer_drop(struct answer *a)
{
	if (a->fill)
		answer_seal(a);
	if (a->flags & ANSWER_HIJACK)
		hijack_done(a->hijack, -1, NULL, 0);
	if (a->flags & ANSWER_FILE)
		close(a->fd);
	if (a->hold.put)
		a->hold.put(&a->hold);
}

void hijack_done(struct hijack *h, int fd, const char *rest, size_t len)
{
	h->fd = fd;
	h->rest = NULL;
	h->rest_len = 0;
	if (fd >= 0 && len) {
		h->rest = mem_alloc(len);
		if (h->rest) {
			memcpy(h->rest, rest, len);
			h->rest_len = len;
		} else {
			close(fd);
			h->fd = -1;
		}
	}
	/* Release pairs with the acquire in app_wait_hijack(). It may be gone right after. */
	__atomic_store_n(&h->done, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &h->done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
