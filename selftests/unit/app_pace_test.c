/* SPDX-License-Identifier: MIT */
/* Leader and spare where the CPU clocks of the threads are known: who computes is left alone. */
#include "selftests/unit/app_actors.h"

/* What the threads have computed so far, and what the clock on the wall says. */
static struct pace_mark now;

static void read_mark(struct pace *p, struct pace_mark *mark)
{
	(void)p;
	*mark = now;
}

/* @us on the wall go by, of which the threads compute @percent. Looks, as the loop would. */
static s64 pass(struct app *a, u64 us, u32 percent)
{
	s64 wait;

	now.wall_ns += us * NSEC_PER_USEC;
	now.cpu_ns += us * NSEC_PER_USEC * percent / 100;
	wait = app_before_wait(a, now.wall_ns);
	app_after_wait(a);
	return wait;
}

/* The first thread leads and is in a handler, the others sleep, jobs wait. */
static void begin(struct self_app *self)
{
	now = (struct pace_mark){ .wall_ns = NSEC_PER_SEC };
	self->a->hold_ns = 0;
	self->a->pace.read = read_mark;
	ASSERT_EQ(submit(self, 5, now.wall_ns), 5);
	ASSERT_EQ(next(self, 0, now.wall_ns), &self->jobs[0]);
	ASSERT_TRUE(goes_idle(self, 1));
	ASSERT_TRUE(goes_idle(self, 2));
	ASSERT_EQ(self->a->nr_spares, 0);
}

TEST_F(app, a_leader_that_blocks_gets_a_spare_at_the_second_look)
{
	(void)variant;
	begin(self);
	ASSERT_EQ(pass(self->a, 100, 0), US(200));
	ASSERT_EQ(pass(self->a, 200, 0), (s64)PACE_PROBE_NS);
	ASSERT_EQ(self->a->nr_spares, 0);
	ASSERT_EQ(pass(self->a, 100, 0), US(300));
	ASSERT_EQ(self->a->nr_spares, 1);
}

TEST_F(app, a_leader_that_computes_is_left_alone)
{
	s64 wait;
	u32 looks = 0;
	u64 us = 0;

	(void)variant;
	begin(self);
	wait = pass(self->a, 300, 100);
	while (us + (u64)wait / NSEC_PER_USEC < 9000) {
		us += (u64)wait / NSEC_PER_USEC;
		wait = pass(self->a, (u64)wait / NSEC_PER_USEC, 100);
		looks++;
		ASSERT_EQ(self->a->nr_spares, 0);
	}
	/* Ever more rarely. */
	ASSERT_LE(looks, 7);
	/* But not for ever. */
	pass(self->a, 2000 + (u64)wait / NSEC_PER_USEC, 100);
	ASSERT_EQ(self->a->nr_spares, 1);
}

/* Not under Ruby's lock then: others can run beside it. */
TEST_F(app, what_computes_in_parallel_gets_a_spare)
{
	(void)variant;
	begin(self);
	pass(self->a, 300, 200);
	pass(self->a, 100, 200);
	ASSERT_EQ(self->a->nr_spares, 1);
}

/* It computed at first, then waits. */
TEST_F(app, a_leader_that_blocks_later_gets_a_spare)
{
	(void)variant;
	begin(self);
	pass(self->a, 300, 100);
	ASSERT_EQ(pass(self->a, 100, 100), US(300));
	ASSERT_EQ(self->a->nr_spares, 0);
	/* Packets come in between. */
	ASSERT_EQ(pass(self->a, 200, 10), US(100));
	pass(self->a, 100, 10);
	ASSERT_EQ(self->a->nr_spares, 1);
}

/* Somebody else had the CPU: the leader as well may have waited for it. */
TEST_F(app, a_look_that_comes_late_says_nothing)
{
	(void)variant;
	begin(self);
	pass(self->a, 300, 100);
	pass(self->a, 500, 0);
	ASSERT_EQ(self->a->nr_spares, 0);
	pass(self->a, 300, 0);
	ASSERT_EQ(self->a->nr_spares, 1);
}

TEST_F(app, of_two_that_only_compete_one_goes_to_sleep)
{
	(void)variant;
	begin(self);
	pass(self->a, 300, 0);
	pass(self->a, 100, 0);
	ASSERT_EQ(self->a->nr_spares, 1);
	on(&self->actors[1], do_sleep);
	ASSERT_EQ(next(self, 1, now.wall_ns), &self->jobs[1]);
	ASSERT_EQ(self->a->nr_running, 2);
	for (u32 us = 0; us < 8000; us += 500)
		pass(self->a, 500, 100);
	/* The leader goes on, for it has to look after the queue; the other one does not. */
	end(self, 0);
	ASSERT_NULL(next(self, 0, now.wall_ns));
	ASSERT_TRUE(goes_idle(self, 0));
	end(self, 1);
	ASSERT_EQ(next(self, 1, now.wall_ns), &self->jobs[2]);
	ASSERT_EQ(self->a->nr_running, 1);
}

/* The clocks themselves: the work of a thread shows, its sleep does not. */
static void compute(struct actor *self)
{
	struct timespec ts = { 0 };

	pace_enter(&self->app->pace);
	while (!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) && ts.tv_nsec < 20000000L)
		;
}

TEST_F(app, clocks_of_the_threads)
{
	struct pace_mark first, second, third;

	(void)variant;
	pace_read(&self->a->pace, &first);
	ASSERT_EQ(first.cpu_ns, 0);
	on(&self->actors[0], compute);
	pace_read(&self->a->pace, &second);
	ASSERT_GE(second.cpu_ns, 20 * NSEC_PER_MSEC);
	ASSERT_GT(second.wall_ns, first.wall_ns);
	on(&self->actors[1], compute);
	usleep(20000);
	pace_read(&self->a->pace, &third);
	ASSERT_GE(third.cpu_ns, second.cpu_ns + 20 * NSEC_PER_MSEC);
	ASSERT_LT(third.cpu_ns, second.cpu_ns + 40 * NSEC_PER_MSEC);
}
