/* SPDX-License-Identifier: MIT */
/* What threads of the app wait for beside jobs, and connections that come back from them. */
#include <limits.h>

#include "server/app.h"
#include "server/futex.h"

struct app_return *app_take_returned(struct app *a)
{
	if (likely(!__atomic_load_n(&a->returned, __ATOMIC_RELAXED)))
		return NULL;
	/* Acquire pairs with the release in app_give(). */
	return __atomic_exchange_n(&a->returned, NULL, __ATOMIC_ACQUIRE);
}

void app_give(struct app *a, struct app_return *ret)
{
	ret->next = __atomic_load_n(&a->returned, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&a->returned, &ret->next, ret, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
	a->wake(a->wake_arg);
}

bool app_wait_answers(struct app *a, u64 timeout_ns)
{
	while (ring_count(&a->answers) >= ring_len(&a->answers) / 2) {
		int err;

		/* Acquire and release, pairs with the exchange in app_reap(). */
		__atomic_exchange_n(&a->starved, 1, __ATOMIC_ACQ_REL);
		if (ring_count(&a->answers) < ring_len(&a->answers) / 2)
			return true;
		err = futex_wait(&a->starved, 1, timeout_ns);
		if (err == -EINTR || err == -ETIMEDOUT)
			return false;
	}
	return true;
}

bool app_wait_hijack(struct hijack *h, u64 timeout_ns)
{
	/* Acquire pairs with the release in hijack_done(). */
	if (!__atomic_load_n(&h->done, __ATOMIC_ACQUIRE))
		futex_wait(&h->done, 0, timeout_ns);
	return __atomic_load_n(&h->done, __ATOMIC_ACQUIRE);
}

/* --- credits of one job --- */

/* The bytes only. */
static u32 unsent_bytes(u32 unsent)
{
	return unsent & ~JOB_UNSENT_WAITED;
}

bool app_wait_room(struct job *j, u64 timeout_ns)
{
	bool room;
	int err = 0;

	do {
		/*
		 * Acquire and release, pairs with app_sent() and job_wake_producer():
		 * either they see that we wait, or we see what they have done.
		 */
		u32 unsent = __atomic_or_fetch(&j->unsent, JOB_UNSENT_WAITED, __ATOMIC_ACQ_REL);

		room = unsent_bytes(unsent) < APP_UNSENT_MAX || job_gone(j);
		if (!room)
			err = futex_wait(&j->unsent, unsent, timeout_ns);
	} while (!room && err != -EINTR && err != -ETIMEDOUT);
	/* Relaxed: nobody waits any more, that is all it says. */
	__atomic_fetch_and(&j->unsent, ~JOB_UNSENT_WAITED, __ATOMIC_RELAXED);
	return room;
}

void app_sent(struct job *j, u32 bytes)
{
	u32 unsent = __atomic_load_n(&j->unsent, __ATOMIC_RELAXED);

	if (unsent_bytes(unsent) < bytes)
		return;
	/* Acquire and release, pairs with app_wait_room(). */
	unsent = __atomic_sub_fetch(&j->unsent, bytes, __ATOMIC_ACQ_REL);
	/* At half of the limit: fewer wakes, longer runs. */
	if (unsent & JOB_UNSENT_WAITED && unsent_bytes(unsent) < APP_UNSENT_MAX / 2)
		job_wake_producer(j);
}
