/* SPDX-License-Identifier: MIT */
#include "server/app.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/app_state.h"
#include "server/fail.h"
#include "server/futex.h"

enum io_state { IO_AWAKE, IO_HOLDING, IO_SLEEPING };

#define STALL_NS ((s64)APP_STALL_NS) /* times are compared with their signs */

static u32 round_up_pow2(u32 n)
{
	return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1));
}

int app_init(struct app *a, u32 nr_threads, u32 max_jobs, void (*wake)(void *arg), void *wake_arg)
{
	u32 len = round_up_pow2(max_jobs);
	int err;

	*a = (struct app){
		.wake = wake,
		.wake_arg = wake_arg,
		.nr_threads = nr_threads,
		.max_jobs = max_jobs,
		.hold_ns = APP_HOLD_NS,
		.recent_len = 4 * nr_threads,
	};
	list_init(&a->running);
	a->idle_fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->idle_fd < 0)
		return -errno;
	err = ring_init(&a->jobs, len);
	if (err)
		goto err_fd;
	err = ring_init(&a->answers, 2 * len);
	if (err)
		goto err_jobs;
	if (!nr_threads)
		return 0;
	err = -ENOMEM;
	a->recent = mem_zalloc(a->recent_len * sizeof(*a->recent));
	if (!a->recent)
		goto err_answers;
	err = pace_init(&a->pace, nr_threads, APP_STALL_NS);
	if (!err)
		return 0;
	free(a->recent);
err_answers:
	ring_fini(&a->answers);
err_jobs:
	ring_fini(&a->jobs);
err_fd:
	close(a->idle_fd);
	return err;
}

void app_fini(struct app *a)
{
	pace_fini(&a->pace);
	free(a->recent);
	ring_fini(&a->answers);
	ring_fini(&a->jobs);
	close(a->idle_fd);
}

/* --- the I/O thread --- */

/* For how long nothing has been claimed (or could not have been). Two clocks: may be below 0. */
static s64 stalled_for(const struct app *a, u64 now_ns)
{
	/* Relaxed: a number for a guess, nothing hangs on it. */
	u64 claim_ns = __atomic_load_n(&a->claim_ns, __ATOMIC_RELAXED);

	return (s64)(now_ns - max(a->since_ns, claim_ns));
}

/* Is another thread wanted? */
static bool blocked(struct app *a, u64 now_ns)
{
	s64 stalled = stalled_for(a, now_ns);

	return stalled >= pace_first(&a->pace) &&
	       pace_stalled(&a->pace, __atomic_load_n(&a->claim_ns, __ATOMIC_RELAXED), stalled,
			    __atomic_load_n(&a->nr_running, __ATOMIC_RELAXED), now_ns);
}

/* All are busy, some of them with streams: there may be an extra thread for each of those. */
static void grow(struct app *a)
{
	u32 extra = __atomic_load_n(&a->nr_extra, __ATOMIC_RELAXED);

	void (*more)(void *arg) = __atomic_load_n(&a->grow, __ATOMIC_ACQUIRE);

	if (!more || extra >= APP_EXTRA_MAX ||
	    __atomic_load_n(&a->nr_streaming, __ATOMIC_RELAXED) <= extra)
		return;
	/* Acquire pairs with the release in app_grown(): nr_extra then counts that one. */
	if (__atomic_exchange_n(&a->growing, 1, __ATOMIC_ACQ_REL))
		return;
	a->nr_grown++;
	more(a->grow_arg);
}

/* The leader blocks: another one, if there is, takes the lead. */
static void wake_spare(struct app *a, u64 now_ns)
{
	a->since_ns = now_ns;
	if (!app_take_idle(a)) {
		grow(a);
		return;
	}
	/* Acquire and release: as every write of it; the token says who it is. */
	__atomic_exchange_n(&a->lead, LEAD_WOKEN, __ATOMIC_ACQ_REL);
	a->nr_spares++;
	app_post_token(a, 1);
}

static void run_inline(struct app *a, struct job **jobs, u32 nr, u64 now_ns)
{
	for (u32 i = 0; i < nr; i++) {
		bool claimed = job_claim(jobs[i]);

		assert(claimed);
		(void)claimed;
		jobs[i]->claimed_ns = now_ns;
	}
	a->nr_claims += nr;
	a->ops->run(a->priv, jobs, nr);
}

u32 app_submit(struct app *a, struct job **jobs, u32 nr, u64 now_ns)
{
	bool was_empty, stalled;
	u64 lead;
	u32 pushed;

	nr = min(nr, a->max_jobs - a->nr_out);
	if (!nr)
		return 0;
	for (u32 i = 0; i < nr; i++)
		jobs[i]->queued_ns = now_ns;
	a->nr_out += nr;
	if (!a->nr_threads) {
		run_inline(a, jobs, nr, now_ns);
		return nr;
	}
	was_empty = !ring_count(&a->jobs);
	pushed = ring_push(&a->jobs, (void *const *)jobs, nr);
	assert(pushed == nr); /* the ring holds max_jobs */
	(void)pushed;
	/* Acquire and release, pairs with the writes of lead in app_idle(). */
	lead = __atomic_fetch_or(&a->lead, LEAD_WOKEN, __ATOMIC_ACQ_REL);
	if (lead == LEAD_NONE && app_take_idle(a)) {
		a->nr_wakes++;
		app_post_token(a, 1);
	}
	/* A leader that has been in one handler for so long need not be waited for... */
	stalled = lead != LEAD_NONE && was_empty && stalled_for(a, now_ns) >= STALL_NS;
	if (stalled && blocked(a, now_ns))
		wake_spare(a, now_ns);
	/* ...and if that is not sure yet, app_before_wait() goes on with it. */
	if (was_empty && !(stalled && a->pace.read))
		a->since_ns = now_ns;
	return nr;
}

struct job *app_unclaimed(const struct app *a, u32 *at)
{
	struct job *j;

	/* Only we free jobs: what is in the queue at this look is there yet. */
	while ((j = ring_look(&a->jobs, at))) {
		++*at;
		if (job_queued(j))
			return j;
	}
	return NULL;
}

struct job *app_oldest(struct app *a)
{
	u32 at = a->oldest;
	struct job *j = app_unclaimed(a, &at);

	/* Those before it will not be queued again: the next look begins here. */
	a->oldest = j ? at - 1 : at;
	return j;
}

u64 app_waiting_ns(struct app *a)
{
	const struct job *oldest = app_oldest(a);

	return oldest ? oldest->queued_ns : 0;
}

struct answer *app_reap(struct app *a)
{
	struct answer *answer;

	if (!a->nr_out)
		return NULL;
	answer = ring_pop(&a->answers);
	if (answer) {
		a->nr_out -= !!(answer->flags & ANSWER_LAST);
		return answer;
	}
	/*
	 * Acquire and release, pairs with the exchange in app_wait_answers(): either
	 * we see that a thread waits, or it sees that all was popped.
	 */
	if (__atomic_exchange_n(&a->starved, 0, __ATOMIC_ACQ_REL))
		futex_wake(&a->starved, INT_MAX);
	return NULL;
}

/* Waits until the queue is empty, for hold_ns at most. How long, if it was that long. */
static u64 hold(struct app *a)
{
	int err = 0;

	/*
	 * Acquire and release, pairs with the exchange in app_flush(): either we
	 * see that the queue is empty, or the flush behind its last job sees us.
	 */
	__atomic_exchange_n(&a->io_state, IO_HOLDING, __ATOMIC_ACQ_REL);
	if (ring_count(&a->jobs)) {
		a->nr_holds++;
		err = futex_wait(&a->io_state, IO_HOLDING, a->hold_ns);
	}
	__atomic_exchange_n(&a->io_state, IO_AWAKE, __ATOMIC_ACQ_REL);
	return err == -ETIMEDOUT ? a->hold_ns : 0;
}

bool app_would_hold(const struct app *a, u64 now_ns)
{
	u64 claim_ns = __atomic_load_n(&a->claim_ns, __ATOMIC_RELAXED);

	if (!a->nr_out || ring_count(&a->answers) || !ring_count(&a->jobs) || !a->hold_ns)
		return false;
	/* The head has moved since the last look, and not only long ago: handlers run and end. */
	return ring_popped(&a->jobs) != a->seen_head && (s64)(now_ns - claim_ns) < STALL_NS;
}

s64 app_before_wait(struct app *a, u64 now_ns)
{
	bool queued;
	s64 stalled, first;

	if (!a->nr_out)
		return -1; /* nobody can have anything for us */
	if (ring_count(&a->answers))
		return 0;
	if (app_would_hold(a, now_ns)) {
		a->seen_head = ring_popped(&a->jobs);
		now_ns += hold(a);
		if (ring_count(&a->answers))
			return 0;
	}
	a->seen_head = ring_popped(&a->jobs);
	if (ring_count(&a->jobs) && blocked(a, now_ns))
		wake_spare(a, now_ns);
	/*
	 * Acquire and release, pairs with the exchange in app_flush(): either that
	 * one sees SLEEPING and wakes, or we see what was answered before it.
	 */
	__atomic_exchange_n(&a->io_state, IO_SLEEPING, __ATOMIC_ACQ_REL);
	/*
	 * The queue first: if it is empty now, then all that was answered before
	 * the last pop is seen below, and whatever comes later is flushed, since
	 * its thread finds the queue empty. Otherwise an answer may be left behind
	 * by a thread that goes on with a slow job: there is another look in time.
	 */
	queued = ring_count(&a->jobs);
	if (ring_count(&a->answers)) {
		app_after_wait(a);
		return 0;
	}
	if (!queued)
		return -1;
	stalled = stalled_for(a, now_ns);
	first = pace_first(&a->pace);
	return stalled < first ? first - stalled : pace_next(&a->pace, now_ns);
}

void app_after_wait(struct app *a)
{
	/* A flush may have done it. */
	if (__atomic_load_n(&a->io_state, __ATOMIC_RELAXED) == IO_AWAKE)
		return;
	/*
	 * Acquire and release although it only takes the word back: a plain store
	 * would hide the exchange of a flush from our next one.
	 */
	__atomic_exchange_n(&a->io_state, IO_AWAKE, __ATOMIC_ACQ_REL);
}

/* --- threads of the app --- */

void app_stream_begin(struct app *a)
{
	__atomic_store_n(&a->nr_streaming, a->nr_streaming + 1, __ATOMIC_RELAXED);
}

void app_stream_end(struct app *a)
{
	__atomic_store_n(&a->nr_streaming, a->nr_streaming - 1, __ATOMIC_RELAXED);
}

void app_grown(struct app *a)
{
	__atomic_store_n(&a->nr_extra, a->nr_extra + 1, __ATOMIC_RELAXED);
	/* Release pairs with the exchange in grow(). */
	__atomic_store_n(&a->growing, 0, __ATOMIC_RELEASE);
}

bool app_surplus(struct app *a)
{
	if (likely(a->nr_extra <= a->nr_streaming))
		return false;
	__atomic_store_n(&a->nr_extra, a->nr_extra - 1, __ATOMIC_RELAXED);
	app_leave(a);
	return true;
}

void app_flush(struct app *a)
{
	if (!a->unflushed)
		return;
	a->unflushed = 0;
	/* Acquire and release, pairs with those in app_before_wait() and hold(). */
	switch (__atomic_exchange_n(&a->io_state, IO_AWAKE, __ATOMIC_ACQ_REL)) {
	case IO_SLEEPING:
		a->nr_flushes++;
		a->wake(a->wake_arg);
		break;
	case IO_HOLDING:
		futex_wake(&a->io_state, 1);
		break;
	}
}

/*
 * Wakes a sleeping I/O thread, lets a holding one be: its time is short. Acquire
 * and release, pairs with the exchange in app_before_wait(): the next look there
 * may be far.
 */
static void flush_if_asleep(struct app *a)
{
	if (__atomic_fetch_add(&a->io_state, 0, __ATOMIC_ACQ_REL) == IO_SLEEPING)
		app_flush(a);
}

static void hand_over(struct app *a, struct answer *answer)
{
	u32 pushed = ring_push(&a->answers, (void *const *)&(struct answer *){ answer }, 1);

	assert(pushed); /* see room_for() */
	(void)pushed;
	a->unflushed++;
}

static void drop(struct app *a, struct job *j)
{
	j->first = (struct answer){ .job = j, .flags = ANSWER_DROPPED, .fd = -1 };
	hand_over(a, &j->first);
}

/* None of the last claims was @who's: the others do well without it. */
static bool overtaken(const struct app *a, u64 who)
{
	for (u32 i = 0; i < a->recent_len; i++)
		if (a->recent[i] == who)
			return false;
	return true;
}

static bool dispensable(struct app *a, u64 me, u64 now_ns)
{
	if (overtaken(a, me) && (s64)(now_ns - a->claim_ns) < (s64)APP_ALIVE_NS)
		return true;
	return a->nr_running && pace_retire(&a->pace);
}

/* The oldest of them is the first: claims are in the order of time, more or less. */
static void look_at_oldest(struct app *a)
{
	const struct job *oldest =
		list_empty(&a->running) ? NULL : list_entry(a->running.next, struct job, running);

	__atomic_store_n(&a->running_ns, oldest ? oldest->claimed_ns : 0, __ATOMIC_RELAXED);
}

static void begin_running(struct app *a, struct job *j)
{
	list_add_tail(&j->running, &a->running);
	look_at_oldest(a);
	__atomic_store_n(&a->nr_running, a->nr_running + 1, __ATOMIC_RELAXED);
}

static void end_running(struct app *a, struct job *j)
{
	list_del(&j->running);
	look_at_oldest(a);
	__atomic_store_n(&a->nr_running, a->nr_running - 1, __ATOMIC_RELAXED);
}

struct job *app_next(struct app *a, u64 now_ns)
{
	/* Relaxed: only what this thread itself wrote matters. */
	u64 me = app_self(), lead = __atomic_load_n(&a->lead, __ATOMIC_RELAXED);
	bool leading = app_leads(lead, me);
	struct job *j;

	pace_enter(&a->pace);
	/*
	 * Two that drain the queue in turns would make each other wait for the
	 * GVL. But where all handlers block, each thread has its place among the
	 * last claims, and all go on.
	 */
	if (!leading && lead > LEAD_WOKEN && !app_stopping(a) && dispensable(a, me, now_ns)) {
		app_flush(a);
		return NULL;
	}
	if (!a->unflushed)
		a->batch_ns = now_ns;
	else if (now_ns - a->batch_ns >= APP_FLUSH_NS || pace_first(&a->pace) > STALL_NS)
		flush_if_asleep(a);
	while ((j = ring_pop(&a->jobs))) {
		a->recent[a->nr_claims++ % a->recent_len] = me;
		if (job_claim(j))
			break;
		drop(a, j);
	}
	if (!j) {
		app_flush(a);
		return NULL;
	}
	if (!leading)
		__atomic_exchange_n(&a->lead, me, __ATOMIC_ACQ_REL);
	j->claimed_ns = now_ns;
	__atomic_store_n(&a->claim_ns, now_ns, __ATOMIC_RELAXED);
	begin_running(a, j);
	return j;
}

/*
 * Half of the ring is kept for last answers, of which there can be max_jobs at
 * most. Inline nobody would make room: it grows.
 */
static int room_for(struct app *a)
{
	if (likely(ring_count(&a->answers) < ring_len(&a->answers) / 2))
		return 0;
	if (!a->nr_threads)
		return ring_grow(&a->answers);
	app_flush(a);
	return -EAGAIN;
}

int app_answer(struct app *a, struct answer *answer)
{
	struct job *j = answer->job;
	bool last = answer->flags & ANSWER_LAST;

	if (answer->data.len > APP_DATA_MAX)
		return -EMSGSIZE;
	if (!last) {
		int err = room_for(a);

		if (err)
			return err;
		if (a->nr_threads && answer->flags & ANSWER_DATA)
			/* Release: as every write of it, see app_wait_room(). */
			__atomic_fetch_add(&j->unsent, (u32)answer->data.len, __ATOMIC_ACQ_REL);
	}
	if (last && a->nr_threads)
		end_running(a, j);
	hand_over(a, answer);
	/* From here on answer and job may be gone. */
	if (!a->nr_threads)
		return 0;
	/* When a handler produces its next piece is not known: this one leaves now. */
	if (!last)
		flush_if_asleep(a);
	if (a->unflushed >= APP_BATCH_MAX)
		app_flush(a);
	return 0;
}
