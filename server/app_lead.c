/* SPDX-License-Identifier: MIT */
/* Which of the app's threads leads, and who sleeps. */
#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "server/app_state.h"
#include "server/futex.h"

#define TOKENS_AT_STOP (1u << 30)

/* A wait without end still has one, so that it ends with -EINTR even under SA_RESTART. */
#define FOR_EVER_NS (3600 * NSEC_PER_SEC)

bool app_take_idle(struct app *a)
{
	u32 nr = __atomic_load_n(&a->nr_idle, __ATOMIC_ACQUIRE);

	while (nr)
		if (__atomic_compare_exchange_n(&a->nr_idle, &nr, nr - 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return true;
	return false;
}

void app_post_token(struct app *a, u32 nr)
{
	if (a->by_fd) {
		u64 add = nr;
		ssize_t written = write(a->idle_fd, &add, sizeof(add));

		assert(written == sizeof(add)); /* the counter is far from full */
		(void)written;
		return;
	}
	/* Release pairs with the acquire in take_token(). */
	__atomic_fetch_add(&a->tokens, nr, __ATOMIC_RELEASE);
	futex_wake(&a->tokens, (int)min(nr, (u32)INT_MAX));
}

/* Whoever takes a token was woken to lead. */
static bool take_token(struct app *a)
{
	if (a->by_fd) {
		u64 one;

		if (read(a->idle_fd, &one, sizeof(one)) != sizeof(one))
			return false;
	} else {
		u32 nr = __atomic_load_n(&a->tokens, __ATOMIC_RELAXED);

		do {
			if (!nr)
				return false;
		} while (!__atomic_compare_exchange_n(&a->tokens, &nr, nr - 1, false,
						      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	}
	__atomic_exchange_n(&a->lead, app_self(), __ATOMIC_ACQ_REL);
	return true;
}

/* 0, or -EINTR. */
static int wait_token(struct app *a)
{
	while (!take_token(a)) {
		struct pollfd p = { .fd = a->idle_fd, .events = POLLIN };
		int err;

		if (a->by_fd)
			err = poll(&p, 1, -1) < 0 ? -errno : 0;
		else
			err = futex_wait(&a->tokens, 0, FOR_EVER_NS);
		if (err == -EINTR)
			return err;
	}
	return 0;
}

/* Idle no more. Who has been counted as woken already has a token coming, and takes it. */
static void withdraw(struct app *a)
{
	if (app_take_idle(a))
		return;
	while (wait_token(a))
		;
}

static bool led_by_other(u64 lead, u64 me)
{
	return lead > LEAD_WOKEN && !app_leads(lead, me);
}

bool app_idle(struct app *a)
{
	u64 lead = __atomic_load_n(&a->lead, __ATOMIC_RELAXED), me = app_self();

	if (app_stopping(a))
		return false;
	/* Before lead: app_submit() finds LEAD_NONE and then somebody to wake. */
	__atomic_fetch_add(&a->nr_idle, 1, __ATOMIC_ACQ_REL);
	/*
	 * Acquire and release, here and below, pairs with the fetch_or in
	 * app_submit(): either that one sees that nobody leads and one is idle, or
	 * we see what it pushed.
	 */
	if (led_by_other(lead, me))
		lead = __atomic_fetch_add(&a->lead, 0, __ATOMIC_ACQ_REL);
	/* That one will look before it sleeps: what is queued is its own to do. */
	if (led_by_other(lead, me))
		return true;
	/* LEAD_WOKEN too: that thread may have been this one. If not, it leads when it comes. */
	__atomic_exchange_n(&a->lead, LEAD_NONE, __ATOMIC_ACQ_REL);
	/* After app_stop() there are tokens enough for who sleeps all the same. */
	if (!ring_count(&a->jobs) && !app_stopping(a))
		return true;
	withdraw(a);
	return false;
}

void app_sleep(struct app *a)
{
	if (wait_token(a))
		withdraw(a);
}

void app_woken(struct app *a)
{
	/* Another may have been faster. */
	if (!take_token(a))
		withdraw(a);
}

void app_stop(struct app *a)
{
	/* Release pairs with the acquire in app_stopping(). */
	__atomic_exchange_n(&a->stopping, 1, __ATOMIC_ACQ_REL);
	/* More than there can be threads: nobody sleeps any more. */
	app_post_token(a, TOKENS_AT_STOP);
}

void app_leave(struct app *a)
{
	if (!app_leads(__atomic_load_n(&a->lead, __ATOMIC_RELAXED), app_self()))
		return;
	/* Acquire and release, pairs with the fetch_or in app_submit(), as in app_idle(). */
	__atomic_exchange_n(&a->lead, LEAD_NONE, __ATOMIC_ACQ_REL);
	if (!ring_count(&a->jobs) || !app_take_idle(a))
		return;
	__atomic_exchange_n(&a->lead, LEAD_WOKEN, __ATOMIC_ACQ_REL);
	app_post_token(a, 1);
}
