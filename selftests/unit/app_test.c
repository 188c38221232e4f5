/* SPDX-License-Identifier: MIT */
/*
 * The rules of the hand-over, step by step: who is woken when, in which order
 * what comes back. The clock is a number here, threads act one at a time; where
 * they really run beside each other is app_threads_test's.
 */
#include "server/app.h"
#include "selftests/harness/harness.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_JOBS 256u
#define NR_ACTORS 3

/* A thread of the app that does what it is told, while the test waits. */
struct actor {
	pthread_t thread;
	sem_t go, done;
	void (*fn)(struct actor *self);
	struct app *app;
	u64 now_ns;
	struct job *job;
	bool idle;
};

FIXTURE(app)
{
	struct app *a;
	struct job jobs[MAX_JOBS + 1];
	struct actor actors[NR_ACTORS];
	u32 nr_made;
	u32 wakes; /* calls of wake() */
};

FIXTURE_VARIANT(app)
{
	bool by_fd;
};

VARIANT(app, futex) = { .by_fd = false };
VARIANT(app, fd) = { .by_fd = true };

static void count_wake(void *arg)
{
	(*(u32 *)arg)++;
}

static void *act(void *arg)
{
	struct actor *self = arg;

	for (;;) {
		while (sem_wait(&self->go))
			;
		if (!self->fn)
			return NULL;
		self->fn(self);
		sem_post(&self->done);
	}
}

static void start_on(struct actor *actor, void (*fn)(struct actor *self))
{
	actor->fn = fn;
	sem_post(&actor->go);
}

static void finish_on(struct actor *actor)
{
	while (sem_wait(&actor->done))
		;
}

static void on(struct actor *actor, void (*fn)(struct actor *self))
{
	start_on(actor, fn);
	finish_on(actor);
}

FIXTURE_SETUP(app)
{
	struct app *a = aligned_alloc(64, sizeof(*a));

	ASSERT_NOT_NULL(a);
	self->a = a;
	ASSERT_OK(app_init(a, NR_ACTORS, MAX_JOBS, count_wake, &self->wakes));
	a->by_fd = variant->by_fd;
	for (u32 i = 0; i < NR_ACTORS; i++) {
		struct actor *actor = &self->actors[i];

		actor->app = a;
		ASSERT_OK(sem_init(&actor->go, 0, 0));
		ASSERT_OK(sem_init(&actor->done, 0, 0));
		ASSERT_OK(-pthread_create(&actor->thread, NULL, act, actor));
	}
}

FIXTURE_TEARDOWN(app)
{
	(void)variant;
	for (u32 i = 0; i < NR_ACTORS; i++) {
		start_on(&self->actors[i], NULL);
		pthread_join(self->actors[i].thread, NULL);
	}
	app_fini(self->a);
	free(self->a);
}

/* --- what actors do --- */

static void do_next(struct actor *self)
{
	self->job = app_next(self->app, self->now_ns);
}

static void do_idle(struct actor *self)
{
	self->idle = app_idle(self->app);
}

static void do_sleep(struct actor *self)
{
	app_sleep(self->app);
}

static void answer(struct app *a, struct job *j, u32 flags)
{
	j->first = (struct answer){ .job = j, .flags = flags };
	EXPECT_OK(app_answer(a, &j->first));
}

static void do_end(struct actor *self)
{
	answer(self->app, self->job, ANSWER_HEAD | ANSWER_END);
}

/* --- what the test does --- */

static u32 submit(struct self_app *self, u32 nr, u64 now_ns)
{
	struct job *jobs[MAX_JOBS + 1];

	for (u32 i = 0; i < nr; i++)
		jobs[i] = &self->jobs[self->nr_made++];
	return app_submit(self->a, jobs, nr, now_ns);
}

static struct job *next(struct self_app *self, u32 actor, u64 now_ns)
{
	self->actors[actor].now_ns = now_ns;
	on(&self->actors[actor], do_next);
	return self->actors[actor].job;
}

static bool goes_idle(struct self_app *self, u32 actor)
{
	on(&self->actors[actor], do_idle);
	return self->actors[actor].idle;
}

static void end(struct self_app *self, u32 actor)
{
	on(&self->actors[actor], do_end);
}

/* All answers away; how many there were. */
static u32 reap(struct self_app *self)
{
	u32 nr = 0;

	while (app_reap(self->a))
		nr++;
	return nr;
}

static void all_idle(struct self_app *self)
{
	for (u32 i = 0; i < NR_ACTORS; i++)
		ASSERT_TRUE(goes_idle(self, i));
}

#define US(n) ((n)*NSEC_PER_USEC)

/* @actor joins in as a thread does while another leads: woken, since the queue has stalled. */
static struct job *next_of_spare(struct self_app *self, u32 actor, u64 now_ns)
{
	u64 nr = self->a->nr_spares;

	self->a->hold_ns = 1;
	ASSERT_TRUE(goes_idle(self, actor));
	ASSERT_GT(app_before_wait(self->a, now_ns), 0);
	app_after_wait(self->a);
	ASSERT_EQ(self->a->nr_spares, nr + 1);
	on(&self->actors[actor], do_sleep);
	return next(self, actor, now_ns);
}

/* --- jobs and answers --- */

TEST_F(app, keeps_the_order)
{
	(void)variant;
	ASSERT_EQ(submit(self, 3, US(5)), 3);
	for (u32 i = 0; i < 3; i++) {
		struct job *j = next(self, 0, US(7));

		ASSERT_EQ(j, &self->jobs[i]);
		ASSERT_TRUE(job_claimed(j));
		ASSERT_EQ(j->queued_ns, US(5));
		ASSERT_EQ(j->claimed_ns, US(7));
		ASSERT_EQ(self->a->nr_running, 1);
		end(self, 0);
		ASSERT_EQ(self->a->nr_running, 0);
	}
	ASSERT_NULL(next(self, 0, US(7)));
	for (u32 i = 0; i < 3; i++)
		ASSERT_EQ(app_reap(self->a), &self->jobs[i].first);
	ASSERT_NULL(app_reap(self->a));
	ASSERT_EQ(self->a->nr_out, 0);
}

TEST_F(app, takes_no_more_than_max_jobs)
{
	struct job *last = &self->jobs[MAX_JOBS];

	(void)variant;
	ASSERT_EQ(submit(self, MAX_JOBS + 1, 0), MAX_JOBS);
	ASSERT_EQ(app_submit(self->a, &last, 1, 0), 0);
	/* Claimed and answered counts too, until the answer is reaped. */
	ASSERT_NOT_NULL(next(self, 0, 0));
	end(self, 0);
	ASSERT_EQ(app_submit(self->a, &last, 1, 0), 0);
	ASSERT_NOT_NULL(app_reap(self->a));
	ASSERT_EQ(app_submit(self->a, &last, 1, 0), 1);
}

TEST_F(app, drops_what_was_cancelled)
{
	struct answer *dropped;

	(void)variant;
	ASSERT_EQ(submit(self, 3, 0), 3);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[0]);
	ASSERT_FALSE(job_cancel(&self->jobs[0]));
	ASSERT_TRUE(job_cancel(&self->jobs[1]));
	ASSERT_TRUE(job_gone(&self->jobs[0]));
	end(self, 0);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[2]);
	ASSERT_EQ(app_reap(self->a), &self->jobs[0].first);
	dropped = app_reap(self->a);
	ASSERT_EQ(dropped, &self->jobs[1].first);
	ASSERT_EQ(dropped->flags, ANSWER_DROPPED);
	ASSERT_EQ(dropped->job, &self->jobs[1]);
	ASSERT_EQ(self->a->nr_out, 1);
}

/* A queue of nothing but cancelled jobs: the thread goes idle, the answers leave. */
TEST_F(app, flushes_the_dropped)
{
	(void)variant;
	ASSERT_EQ(submit(self, 2, 0), 2);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	ASSERT_TRUE(job_cancel(&self->jobs[0]));
	ASSERT_TRUE(job_cancel(&self->jobs[1]));
	ASSERT_NULL(next(self, 0, 0));
	ASSERT_EQ(self->wakes, 1);
	ASSERT_EQ(self->a->nr_running, 0);
	ASSERT_EQ(reap(self), 2);
}

TEST_F(app, keeps_room_for_last_answers)
{
	static struct answer pieces[2 * MAX_JOBS];
	struct answer more = { .flags = ANSWER_DATA };
	u32 nr = 0;
	int err;

	(void)variant;
	ASSERT_EQ(submit(self, MAX_JOBS, 0), MAX_JOBS);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	more.job = next(self, 0, 0);
	do {
		pieces[nr] = more;
		err = app_answer(self->a, &pieces[nr]);
	} while (!err && ++nr < ARRAY_SIZE(pieces));
	ASSERT_EQ(err, -EAGAIN);
	ASSERT_EQ(nr, MAX_JOBS);
	ASSERT_EQ(self->wakes, 1);
	ASSERT_FALSE(app_wait_answers(self->a, 1));
	/* Each of the jobs can still be ended. */
	for (u32 i = 0; i < MAX_JOBS; i++) {
		end(self, 0);
		(void)next(self, 0, 0);
	}
	ASSERT_EQ(reap(self), 2 * MAX_JOBS);
	ASSERT_EQ(self->a->nr_out, 0);
	ASSERT_TRUE(app_wait_answers(self->a, 1));
}

TEST_F(app, refuses_an_endless_piece)
{
	struct answer whole = { .flags = ANSWER_HEAD | ANSWER_DATA | ANSWER_END };

	(void)variant;
	ASSERT_EQ(submit(self, 1, 0), 1);
	whole.job = next(self, 0, 0);
	whole.data = (struct view){ "", APP_DATA_MAX + 1 };
	ASSERT_EQ(app_answer(self->a, &whole), -EMSGSIZE);
	whole.data.len = APP_DATA_MAX;
	ASSERT_OK(app_answer(self->a, &whole));
	ASSERT_EQ(reap(self), 1);
}

/* --- waking threads of the app --- */

TEST_F(app, wakes_one_per_batch)
{
	(void)variant;
	all_idle(self);
	ASSERT_EQ(submit(self, 10, 0), 10);
	ASSERT_EQ(self->a->nr_wakes, 1);
	/* One is on its way. */
	ASSERT_EQ(submit(self, 10, 0), 10);
	ASSERT_EQ(self->a->nr_wakes, 1);
	ASSERT_EQ(self->a->nr_idle, NR_ACTORS - 1);
	on(&self->actors[1], do_sleep); /* returns: there is a token */
	/* Now it leads. */
	ASSERT_NOT_NULL(next(self, 1, 0));
	ASSERT_EQ(submit(self, 10, 0), 10);
	ASSERT_EQ(self->a->nr_wakes, 1);
	ASSERT_EQ(self->a->nr_spares, 0);
}

TEST_F(app, looks_before_it_sleeps)
{
	(void)variant;
	ASSERT_TRUE(goes_idle(self, 0));
	ASSERT_EQ(submit(self, 1, 0), 1);
	/* Another thread comes before the one that was woken. */
	ASSERT_FALSE(goes_idle(self, 1));
	ASSERT_EQ(next(self, 1, 0), &self->jobs[0]);
	/* That one finds nothing, and can sleep again. */
	on(&self->actors[0], do_sleep);
	ASSERT_NULL(next(self, 0, 0));
	ASSERT_TRUE(goes_idle(self, 0));
}

TEST_F(app, sleeps_again_when_all_is_done)
{
	(void)variant;
	for (u32 i = 0; i < 10; i++) {
		ASSERT_TRUE(goes_idle(self, 0));
		ASSERT_EQ(submit(self, 1, 0), 1);
		ASSERT_EQ(self->a->nr_wakes, i + 1);
		on(&self->actors[0], do_sleep);
		ASSERT_NOT_NULL(next(self, 0, 0));
		end(self, 0);
		ASSERT_NULL(next(self, 0, 0));
		ASSERT_EQ(reap(self), 1);
	}
}

TEST_F(app, can_be_waited_for_elsewhere)
{
	struct pollfd p = { .fd = self->a->idle_fd, .events = POLLIN };

	if (!variant->by_fd)
		return;
	ASSERT_TRUE(app_idle(self->a));
	ASSERT_EQ(poll(&p, 1, 0), 0);
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_EQ(poll(&p, 1, 0), 1);
	app_woken(self->a);
	ASSERT_EQ(poll(&p, 1, 0), 0);
	ASSERT_EQ(app_next(self->a, 0), &self->jobs[0]);
	ASSERT_EQ(self->a->nr_idle, 0);
	/* The descriptor of one that was not meant: awake all the same, nothing taken. */
	ASSERT_TRUE(app_idle(self->a));
	app_woken(self->a);
	ASSERT_EQ(self->a->nr_idle, 0);
}

/* --- leader and spare --- */

TEST_F(app, wakes_a_spare_for_a_stalled_queue)
{
	(void)variant;
	self->a->hold_ns = 1;
	ASSERT_EQ(submit(self, 3, 0), 3);
	ASSERT_EQ(next(self, 0, US(290)), &self->jobs[0]);
	ASSERT_TRUE(goes_idle(self, 1));
	ASSERT_TRUE(goes_idle(self, 2));
	/* It has moved since it was filled: all is well for another while. */
	ASSERT_GT(app_before_wait(self->a, US(400)), 0);
	app_after_wait(self->a);
	ASSERT_EQ(app_before_wait(self->a, US(500)), US(90));
	app_after_wait(self->a);
	ASSERT_EQ(self->a->nr_spares, 0);
	ASSERT_EQ(app_before_wait(self->a, US(600)), US(300));
	ASSERT_EQ(self->a->nr_spares, 1);
	ASSERT_EQ(self->a->nr_idle, 1);
	/* The spare runs what waits; the blocked one is the leader no more. */
	on(&self->actors[1], do_sleep);
	ASSERT_EQ(next(self, 1, US(610)), &self->jobs[1]);
	ASSERT_EQ(self->a->nr_running, 2);
}

TEST_F(app, wakes_no_spare_where_none_is_idle)
{
	(void)variant;
	ASSERT_EQ(submit(self, NR_ACTORS + 1, 0), NR_ACTORS + 1);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[0]);
	for (u32 i = 1; i < NR_ACTORS; i++)
		ASSERT_EQ(next_of_spare(self, i, US(i * 1000)), &self->jobs[i]);
	for (u32 i = NR_ACTORS; i < 9; i++) {
		/* Never 0: the loop would spin. */
		ASSERT_GT(app_before_wait(self->a, US(i * 1000)), 0);
		app_after_wait(self->a);
	}
	ASSERT_EQ(self->a->nr_spares, NR_ACTORS - 1);
	end(self, 0);
	ASSERT_EQ(next(self, 0, US(9000)), &self->jobs[NR_ACTORS]);
}

/* What comes while the leader has been in one handler for long does not wait for the next look. */
TEST_F(app, does_not_wait_for_a_slow_leader)
{
	(void)variant;
	all_idle(self);
	ASSERT_EQ(submit(self, 1, 0), 1);
	on(&self->actors[0], do_sleep);
	ASSERT_EQ(next(self, 0, US(1)), &self->jobs[0]);
	ASSERT_EQ(app_before_wait(self->a, US(2)), -1);
	app_after_wait(self->a);
	ASSERT_EQ(submit(self, 1, US(200)), 1);
	ASSERT_EQ(self->a->nr_spares, 0);
	ASSERT_TRUE(job_cancel(&self->jobs[1]));
	ASSERT_NULL(next(self, 0, US(201)));
	ASSERT_EQ(submit(self, 1, US(1000)), 1);
	ASSERT_EQ(self->a->nr_spares, 1);
	on(&self->actors[1], do_sleep);
	ASSERT_EQ(next(self, 1, US(1001)), &self->jobs[2]);
	end(self, 1);
	/* It gives the lead up; from then on it is woken as if the blocked one were not there. */
	ASSERT_NULL(next(self, 1, US(1002)));
	ASSERT_TRUE(goes_idle(self, 1));
	ASSERT_EQ(reap(self), 2);
	ASSERT_EQ(submit(self, 1, US(1003)), 1);
	ASSERT_EQ(self->a->nr_wakes, 2);
	ASSERT_EQ(self->a->nr_spares, 1);
}

/* The leader drained the queue while this one was blocked: one is enough. */
TEST_F(app, sends_the_overtaken_to_sleep)
{
	u32 nr = 4 * NR_ACTORS;

	(void)variant;
	ASSERT_EQ(submit(self, nr + 3, 0), nr + 3);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[0]);
	ASSERT_NOT_NULL(next_of_spare(self, 1, US(1000)));
	end(self, 1);
	for (u32 i = 1; i < nr; i++) {
		ASSERT_NOT_NULL(next(self, 1, US(1000)));
		end(self, 1);
	}
	end(self, 0);
	ASSERT_NULL(next(self, 0, US(1000)));
	ASSERT_TRUE(goes_idle(self, 0));
	/* The leader goes on. */
	ASSERT_NOT_NULL(next(self, 1, US(1000)));
	ASSERT_EQ(self->a->nr_idle, 1);
	/* When it blocks, the other one comes again, and leads. */
	reap(self);
	ASSERT_GT(app_before_wait(self->a, US(1400)), 0);
	ASSERT_EQ(self->a->nr_spares, 2);
	on(&self->actors[0], do_sleep);
	ASSERT_NOT_NULL(next(self, 0, US(1401)));
}

/* All handlers block: each thread takes the next job when it returns. */
TEST_F(app, keeps_all_busy_where_all_block)
{
	(void)variant;
	ASSERT_EQ(submit(self, 60, 0), 60);
	ASSERT_NOT_NULL(next(self, 0, 0));
	for (u32 i = 1; i < NR_ACTORS; i++)
		ASSERT_NOT_NULL(next_of_spare(self, i, US(i * 1000)));
	for (u32 i = NR_ACTORS; i < 60; i++) {
		end(self, i % NR_ACTORS);
		ASSERT_EQ(next(self, i % NR_ACTORS, US(9000)), &self->jobs[i]);
	}
}

/* --- waking the I/O thread --- */

TEST_F(app, sleeps_for_ever_only_without_a_queue)
{
	(void)variant;
	ASSERT_EQ(app_before_wait(self->a, 0), -1);
	app_after_wait(self->a);
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_EQ(app_before_wait(self->a, 0), APP_STALL_NS);
	app_after_wait(self->a);
	ASSERT_NOT_NULL(next(self, 0, 0));
	/* It runs, nothing is queued: whoever ends flushes. */
	ASSERT_EQ(app_before_wait(self->a, 0), -1);
	end(self, 0);
	ASSERT_EQ(self->wakes, 0);
	ASSERT_NULL(next(self, 0, 0));
	ASSERT_EQ(self->wakes, 1);
	app_after_wait(self->a);
	/* Answers wait: it does not sleep at all. */
	ASSERT_EQ(app_before_wait(self->a, 0), 0);
	ASSERT_EQ(reap(self), 1);
	ASSERT_EQ(app_before_wait(self->a, 0), -1);
}

TEST_F(app, is_woken_once_per_batch)
{
	(void)variant;
	ASSERT_EQ(submit(self, 100, 0), 100);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	for (u32 i = 0; i < 100; i++) {
		ASSERT_NOT_NULL(next(self, 0, US(i % 99)));
		end(self, 0);
	}
	ASSERT_EQ(self->wakes, 0);
	ASSERT_NULL(next(self, 0, US(99)));
	ASSERT_EQ(self->wakes, 1);
	/* Once per sleep, whatever comes. */
	ASSERT_NULL(next(self, 0, US(99)));
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_NOT_NULL(next(self, 0, US(100)));
	end(self, 0);
	ASSERT_NULL(next(self, 0, US(100)));
	ASSERT_EQ(self->wakes, 1);
	ASSERT_EQ(self->a->nr_flushes, 1);
}

/* An answer does not wait for the handlers behind it. */
TEST_F(app, flushes_what_is_old)
{
	(void)variant;
	ASSERT_EQ(submit(self, 4, 0), 4);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	ASSERT_NOT_NULL(next(self, 0, US(10)));
	end(self, 0);
	ASSERT_NOT_NULL(next(self, 0, US(60)));
	end(self, 0);
	ASSERT_EQ(self->wakes, 0);
	/* Job 2 has not begun yet; answers 0 and 1 leave before. */
	ASSERT_NOT_NULL(next(self, 0, US(110)));
	ASSERT_EQ(self->wakes, 1);
	app_after_wait(self->a);
	ASSERT_EQ(reap(self), 2);
}

/* One that was left behind before a slow handler is found at the next look. */
TEST_F(app, looks_for_what_was_left_behind)
{
	(void)variant;
	ASSERT_EQ(submit(self, 2, 0), 2);
	ASSERT_EQ(app_before_wait(self->a, 0), APP_STALL_NS);
	ASSERT_NOT_NULL(next(self, 0, US(10)));
	end(self, 0);
	ASSERT_NOT_NULL(next(self, 0, US(11)));
	ASSERT_EQ(self->wakes, 0);
	app_after_wait(self->a);
	ASSERT_EQ(app_before_wait(self->a, US(300)), 0);
	ASSERT_EQ(reap(self), 1);
}

TEST_F(app, lets_pieces_leave_at_once)
{
	struct answer piece = { .flags = ANSWER_HEAD | ANSWER_DATA, .data = VIEW("tick") };

	(void)variant;
	ASSERT_EQ(submit(self, 2, 0), 2);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	piece.job = next(self, 0, 0);
	ASSERT_OK(app_answer(self->a, &piece));
	ASSERT_EQ(self->wakes, 1);
	app_after_wait(self->a);
	ASSERT_EQ(app_reap(self->a), &piece);
}

TEST_F(app, does_not_gather_without_end)
{
	(void)variant;
	ASSERT_EQ(submit(self, APP_BATCH_MAX + 1, 0), APP_BATCH_MAX + 1);
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	for (u32 i = 0; i < APP_BATCH_MAX; i++) {
		ASSERT_EQ(self->wakes, 0);
		ASSERT_NOT_NULL(next(self, 0, 0));
		end(self, 0);
	}
	ASSERT_EQ(self->wakes, 1);
}

/* --- the hold --- */

TEST_F(app, holds_while_the_head_moves)
{
	(void)variant;
	self->a->hold_ns = 1;
	ASSERT_EQ(submit(self, 3, 0), 3);
	ASSERT_FALSE(app_would_hold(self->a, 0));
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	app_after_wait(self->a);
	ASSERT_EQ(self->a->nr_holds, 0); /* nothing has moved yet */
	ASSERT_NOT_NULL(next(self, 0, 0));
	ASSERT_TRUE(app_would_hold(self->a, 0));
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	app_after_wait(self->a);
	ASSERT_EQ(self->a->nr_holds, 1);
	/* It has not moved since: the handler may block, others must not wait for it. */
	ASSERT_FALSE(app_would_hold(self->a, 0));
	ASSERT_GT(app_before_wait(self->a, 0), 0);
	app_after_wait(self->a);
	ASSERT_EQ(self->a->nr_holds, 1);
	/* Moved, but nothing is queued. */
	ASSERT_NOT_NULL(next(self, 0, 0));
	ASSERT_NOT_NULL(next(self, 0, 0));
	ASSERT_FALSE(app_would_hold(self->a, 0));
	ASSERT_EQ(app_before_wait(self->a, 0), -1);
	ASSERT_EQ(self->a->nr_holds, 1);
	/* Moved, but long ago: the leader is in a slow handler. */
	ASSERT_EQ(submit(self, 1, US(1000)), 1);
	ASSERT_NOT_NULL(next(self, 0, US(1000)));
	ASSERT_EQ(submit(self, 1, US(2000)), 1);
	ASSERT_FALSE(app_would_hold(self->a, US(2000)));
	ASSERT_TRUE(app_would_hold(self->a, US(1200)));
	self->a->hold_ns = 0;
	ASSERT_FALSE(app_would_hold(self->a, US(1200)));
}

static void do_hold(struct actor *self)
{
	self->idle = app_before_wait(self->app, 0) == 0;
}

/* Single answers do not end it, the end of the batch does. Its limit is beyond the test's. */
TEST_F(app, holds_until_the_batch_ends)
{
	struct actor *io = &self->actors[2];

	(void)variant;
	self->a->hold_ns = 3600 * NSEC_PER_SEC;
	ASSERT_EQ(submit(self, 3, 0), 3);
	ASSERT_NOT_NULL(next(self, 0, 0));
	start_on(io, do_hold);
	while (__atomic_load_n(&self->a->io_state, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	end(self, 0);
	ASSERT_NOT_NULL(next(self, 0, 0));
	end(self, 0);
	ASSERT_NOT_NULL(next(self, 0, US(1000)));
	end(self, 0);
	ASSERT_NE(__atomic_load_n(&self->a->io_state, __ATOMIC_ACQUIRE), 0);
	ASSERT_NULL(next(self, 0, US(1000)));
	finish_on(io);
	ASSERT_TRUE(io->idle); /* it returned 0: answers wait */
	ASSERT_EQ(self->wakes, 0);
	ASSERT_EQ(self->a->nr_holds, 1);
	ASSERT_EQ(reap(self), 3);
}

/* --- credits --- */

static struct answer piece_of(struct job *j, u64 len)
{
	return (struct answer){ .job = j, .flags = ANSWER_DATA, .data = { "", len } };
}

TEST_F(app, counts_what_has_not_left)
{
	struct answer some, much;
	struct job *j;

	(void)variant;
	ASSERT_EQ(submit(self, 1, 0), 1);
	j = next(self, 0, 0);
	some = piece_of(j, APP_UNSENT_MAX - 1);
	much = piece_of(j, APP_UNSENT_MAX);
	ASSERT_OK(app_answer(self->a, &some));
	ASSERT_TRUE(app_wait_room(j, 1));
	ASSERT_EQ(j->unsent, APP_UNSENT_MAX - 1);
	ASSERT_OK(app_answer(self->a, &much));
	ASSERT_FALSE(app_wait_room(j, 1));
	app_sent(j, APP_UNSENT_MAX - 1);
	ASSERT_FALSE(app_wait_room(j, 1));
	app_sent(j, 1);
	ASSERT_TRUE(app_wait_room(j, 1));
	app_sent(j, APP_UNSENT_MAX - 1);
	ASSERT_EQ(j->unsent, 0);
	/* What ends the body is not counted. */
	end(self, 0);
	ASSERT_EQ(j->unsent, 0);
}

static void do_wait_room(struct actor *self)
{
	self->idle = app_wait_room(self->job, 3600 * NSEC_PER_SEC);
}

static void wait_until_waiting(const struct job *j)
{
	while (!(__atomic_load_n(&j->unsent, __ATOMIC_ACQUIRE) & JOB_UNSENT_WAITED))
		usleep(100);
	usleep(1000);
}

TEST_F(app, lets_the_producer_go_on)
{
	struct answer much;
	struct job *j;

	(void)variant;
	ASSERT_EQ(submit(self, 1, 0), 1);
	j = next(self, 0, 0);
	much = piece_of(j, APP_UNSENT_MAX + 5);
	ASSERT_OK(app_answer(self->a, &much));
	start_on(&self->actors[0], do_wait_room);
	wait_until_waiting(j);
	app_sent(j, APP_UNSENT_MAX);
	finish_on(&self->actors[0]);
	ASSERT_TRUE(self->actors[0].idle);
	ASSERT_EQ(j->unsent, 5);
	much.data.len = APP_UNSENT_MAX;
	ASSERT_OK(app_answer(self->a, &much));
	start_on(&self->actors[0], do_wait_room);
	wait_until_waiting(j);
	ASSERT_FALSE(job_cancel(j));
	job_wake_producer(j);
	finish_on(&self->actors[0]);
	ASSERT_TRUE(self->actors[0].idle);
	ASSERT_EQ(j->unsent, APP_UNSENT_MAX + 5);
}

/* --- the end --- */

TEST_F(app, stops)
{
	(void)variant;
	for (u32 i = 0; i < 2; i++) {
		ASSERT_TRUE(goes_idle(self, i));
		start_on(&self->actors[i], do_sleep);
	}
	app_stop(self->a);
	finish_on(&self->actors[0]);
	finish_on(&self->actors[1]);
	ASSERT_TRUE(app_stopping(self->a));
	for (u32 i = 0; i < NR_ACTORS; i++) {
		ASSERT_NULL(next(self, i, 0));
		ASSERT_FALSE(goes_idle(self, i));
	}
}

TEST_F(app, finishes_what_is_queued)
{
	(void)variant;
	ASSERT_EQ(submit(self, 2, 0), 2);
	app_stop(self->a);
	ASSERT_FALSE(goes_idle(self, 2));
	for (u32 i = 0; i < 2; i++) {
		ASSERT_EQ(next(self, i, 0), &self->jobs[i]);
		end(self, i);
	}
	ASSERT_NULL(next(self, 2, 0));
	ASSERT_EQ(reap(self), 2);
}

/* --- threads 0 --- */

struct inline_app {
	struct app *a;
	u32 pieces; /* per job, before the last answer */
	u32 nr_runs, nr_failed;
	struct answer answers[64];
};

static void run_now(void *priv, struct job **jobs, u32 nr)
{
	struct inline_app *in = priv;

	in->nr_runs++;
	for (u32 i = 0; i < nr; i++) {
		EXPECT_TRUE(job_claimed(jobs[i]));
		for (u32 k = 0; k < in->pieces; k++) {
			in->answers[k] = piece_of(jobs[i], APP_UNSENT_MAX);
			in->nr_failed += app_answer(in->a, &in->answers[k]) == -ENOMEM;
			/* Nobody could send in the meantime: no wait. */
			EXPECT_TRUE(app_wait_room(jobs[i], 3600 * NSEC_PER_SEC));
		}
		answer(in->a, jobs[i], in->nr_failed ? ANSWER_ABORT : ANSWER_HEAD | ANSWER_END);
	}
}

static const struct app_ops inline_ops = { .run = run_now };

static void start_inline(struct inline_app *in, u32 max_jobs)
{
	in->a = aligned_alloc(64, sizeof(*in->a));
	ASSERT_NOT_NULL(in->a);
	ASSERT_OK(app_init(in->a, 0, max_jobs, count_wake, NULL));
	in->a->ops = &inline_ops;
	in->a->priv = in;
}

static void end_inline(struct inline_app *in)
{
	app_fini(in->a);
	free(in->a);
}

TEST(inline_answers_at_once)
{
	struct job jobs[3] = { { 0 } }, *list[] = { &jobs[0], &jobs[1], &jobs[2] };
	struct inline_app in = { 0 };

	start_inline(&in, 2);
	ASSERT_EQ(app_submit(in.a, list, 3, 7), 2);
	ASSERT_EQ(in.nr_runs, 1);
	ASSERT_EQ(jobs[1].claimed_ns, 7);
	ASSERT_EQ(app_before_wait(in.a, 0), 0);
	ASSERT_EQ(app_reap(in.a), &jobs[0].first);
	ASSERT_EQ(app_reap(in.a), &jobs[1].first);
	ASSERT_NULL(app_reap(in.a));
	ASSERT_EQ(app_submit(in.a, list + 2, 1, 7), 1);
	ASSERT_EQ(app_reap(in.a), &jobs[2].first);
	ASSERT_EQ(app_before_wait(in.a, 0), -1);
	end_inline(&in);
}

TEST(inline_buffers_what_comes)
{
	struct job j = { 0 }, *list = &j;
	struct inline_app in = { .pieces = 64 };

	start_inline(&in, 1);
	ASSERT_EQ(app_submit(in.a, &list, 1, 0), 1);
	ASSERT_EQ(in.nr_failed, 0);
	for (u32 k = 0; k < 64; k++) {
		ASSERT_EQ(app_reap(in.a), &in.answers[k]);
		app_sent(&j, APP_UNSENT_MAX);
		ASSERT_EQ(j.unsent, 0);
	}
	ASSERT_EQ(app_reap(in.a), &j.first);
	end_inline(&in);
}

TEST(inline_without_memory)
{
	struct job j = { 0 }, *list = &j;
	struct inline_app in = { .pieces = 5 };
	struct answer *last = NULL, *next_answer;

	start_inline(&in, 1);
	fail_nth_alloc(2);
	ASSERT_EQ(app_submit(in.a, &list, 1, 0), 1);
	fail_nth_alloc(0);
	ASSERT_EQ(in.nr_failed, 1);
	while ((next_answer = app_reap(in.a)))
		last = next_answer;
	ASSERT_EQ(last, &j.first);
	ASSERT_EQ(last->flags, ANSWER_ABORT);
	end_inline(&in);
}

static void try_init(void *arg)
{
	struct app *a = arg;

	if (!app_init(a, 2, 8, count_wake, NULL))
		app_fini(a);
}

TEST(init_without_memory)
{
	struct app *a = aligned_alloc(64, sizeof(*a));
	int fd = dup(STDOUT_FILENO);

	ASSERT_NOT_NULL(a);
	close(fd);
	ASSERT_EQ(for_each_failing_alloc(try_init, a), 3);
	/* No descriptor has stayed behind. */
	ASSERT_EQ(dup(STDOUT_FILENO), fd);
	free(a);
}
