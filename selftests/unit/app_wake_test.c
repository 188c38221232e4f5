/* SPDX-License-Identifier: MIT */
/* Who is woken when, told by counters: threads of the app, leader and spare, the I/O thread, the hold. */
#include "selftests/unit/app_actors.h"

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

/* All were awake when the job came, and then there was nothing to do: who comes next is woken. */
TEST_F(app, wakes_after_what_was_cancelled)
{
	(void)variant;
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_TRUE(job_cancel(&self->jobs[0]));
	ASSERT_NULL(next(self, 0, 0));
	ASSERT_TRUE(goes_idle(self, 0));
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_EQ(self->a->nr_wakes, 1);
	on(&self->actors[0], do_sleep);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[1]);
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

/* But not to one that blocks by now: nobody else would notice before the next look. */
TEST_F(app, lets_the_overtaken_go_on_where_the_leader_blocks)
{
	u32 nr = 4 * NR_ACTORS;

	(void)variant;
	ASSERT_EQ(submit(self, nr + 3, 0), nr + 3);
	ASSERT_EQ(next(self, 0, 0), &self->jobs[0]);
	ASSERT_NOT_NULL(next_of_spare(self, 1, US(1000)));
	for (u32 i = 1; i < nr; i++) {
		end(self, 1);
		ASSERT_NOT_NULL(next(self, 1, US(1000)));
	}
	end(self, 0);
	ASSERT_NULL(next(self, 0, US(1000) + APP_ALIVE_NS - 1));
	ASSERT_EQ(next(self, 0, US(1000) + APP_ALIVE_NS), &self->jobs[nr + 1]);
	ASSERT_EQ(self->a->nr_running, 2);
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
