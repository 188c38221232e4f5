/* SPDX-License-Identifier: MIT */
/*
 * The rules of the hand-over, step by step: order, bounds, credits, the end, threads 0.
 * Who is woken when is app_wake_test's; where threads really run beside each other,
 * app_threads_test's.
 */
#include "selftests/unit/app_actors.h"

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

/* What steering wants to know. */
TEST_F(app, knows_the_oldest)
{
	(void)variant;
	ASSERT_EQ(app_waiting_ns(self->a), 0);
	ASSERT_EQ(submit(self, 1, US(5)), 1);
	ASSERT_EQ(submit(self, 2, US(6)), 2);
	ASSERT_EQ(app_waiting_ns(self->a), US(5));
	ASSERT_EQ(self->a->running_ns, 0);
	ASSERT_NOT_NULL(next(self, 0, US(7)));
	ASSERT_NOT_NULL(next_of_spare(self, 1, US(800)));
	ASSERT_EQ(app_waiting_ns(self->a), US(6));
	ASSERT_EQ(self->a->running_ns, US(7));
	end(self, 0);
	ASSERT_EQ(self->a->running_ns, US(800));
	ASSERT_NOT_NULL(next(self, 0, US(900)));
	ASSERT_EQ(self->a->running_ns, US(800));
	ASSERT_EQ(app_waiting_ns(self->a), 0);
	end(self, 1);
	ASSERT_EQ(self->a->running_ns, US(900));
	end(self, 0);
	ASSERT_EQ(self->a->running_ns, 0);
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
	ASSERT_EQ(for_each_failing_alloc(try_init, a), 4);
	/* No descriptor has stayed behind. */
	ASSERT_EQ(dup(STDOUT_FILENO), fd);
	free(a);
}
