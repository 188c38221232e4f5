/* SPDX-License-Identifier: MIT */
/* Threads beyond nr_threads, for those that stream: when one is asked for, when one goes. And give. */
#include "selftests/unit/app_actors.h"

static void count_grow(void *arg)
{
	(*(u32 *)arg)++;
}

/* Every actor has a job, and the first @nr stream. */
static void all_busy(struct self_app *self, u32 nr, u32 *asked)
{
	self->a->hold_ns = 0;
	self->a->grow = count_grow;
	self->a->grow_arg = asked;
	ASSERT_EQ(submit(self, NR_ACTORS, 0), NR_ACTORS);
	for (u32 i = 0; i < NR_ACTORS; i++)
		ASSERT_NOT_NULL(next(self, i, US(100 * i)));
	for (u32 i = 0; i < nr; i++)
		app_stream_begin(self->a);
}

/* The I/O thread looks, @us after the last claim. */
static void look(struct self_app *self, u64 us)
{
	(void)app_before_wait(self->a, US(us));
	app_after_wait(self->a);
}

TEST_F(app, asks_for_a_thread_when_all_stream)
{
	u32 asked = 0;

	(void)variant;
	all_busy(self, 2, &asked);
	ASSERT_EQ(submit(self, 2, US(1000)), 2);
	ASSERT_EQ(asked, 1); /* nothing was claimed for long: at once */
	/* One at a time: it has not come yet. */
	look(self, 2000);
	look(self, 3000);
	ASSERT_EQ(asked, 1);
	app_grown(self->a);
	ASSERT_FALSE(app_surplus(self->a));
	look(self, 4000);
	ASSERT_EQ(asked, 2);
	app_grown(self->a);
	/* As many as there are streams, not more: the third has a handler that just takes long. */
	look(self, 5000);
	look(self, 6000);
	ASSERT_EQ(asked, 2);
	ASSERT_EQ(self->a->nr_grown, 2);
}

TEST_F(app, asks_for_none_without_streams)
{
	u32 asked = 0;

	(void)variant;
	all_busy(self, 0, &asked);
	ASSERT_EQ(submit(self, 2, US(1000)), 2);
	for (u64 us = 1000; us < 10000; us += 300)
		look(self, us);
	ASSERT_EQ(asked, 0);
}

TEST_F(app, asks_for_none_while_one_is_idle)
{
	u32 asked = 0;

	(void)variant;
	all_busy(self, 2, &asked);
	end(self, 2);
	ASSERT_TRUE(goes_idle(self, 2));
	ASSERT_EQ(submit(self, 2, US(1000)), 2);
	look(self, 2000);
	ASSERT_EQ(asked, 0);
	ASSERT_EQ(self->a->nr_idle, 0);
	on(&self->actors[2], do_sleep);
	ASSERT_NOT_NULL(next(self, 2, US(2000)));
}

TEST_F(app, has_too_many_when_streams_end)
{
	u32 asked = 0;

	(void)variant;
	all_busy(self, 2, &asked);
	app_grown(self->a);
	app_grown(self->a);
	ASSERT_FALSE(app_surplus(self->a));
	app_stream_end(self->a);
	ASSERT_TRUE(app_surplus(self->a));
	ASSERT_FALSE(app_surplus(self->a));
	app_stream_end(self->a);
	ASSERT_TRUE(app_surplus(self->a));
	ASSERT_FALSE(app_surplus(self->a));
	ASSERT_EQ(self->a->nr_extra, 0);
}

static void do_surplus(struct actor *self)
{
	self->idle = app_surplus(self->app);
}

/* The one that ends has led: what comes next finds nobody who would look. */
TEST_F(app, leaves_the_lead_when_it_ends)
{
	(void)variant;
	ASSERT_TRUE(goes_idle(self, 1));
	ASSERT_EQ(submit(self, 1, 0), 1);
	ASSERT_EQ(self->a->nr_wakes, 1);
	on(&self->actors[1], do_sleep);
	ASSERT_NOT_NULL(next(self, 1, 0));
	ASSERT_TRUE(goes_idle(self, 2));
	end(self, 1);
	app_grown(self->a);
	on(&self->actors[1], do_surplus);
	ASSERT_TRUE(self->actors[1].idle);
	ASSERT_EQ(submit(self, 1, US(1)), 1);
	ASSERT_EQ(self->a->nr_wakes, 2);
	on(&self->actors[2], do_sleep);
	ASSERT_EQ(next(self, 2, US(1)), &self->jobs[1]);
}

/* ... and what is queued already wakes another at once. */
TEST_F(app, leaves_what_is_queued_to_another)
{
	(void)variant;
	ASSERT_TRUE(goes_idle(self, 1));
	ASSERT_EQ(submit(self, 1, 0), 1);
	on(&self->actors[1], do_sleep);
	ASSERT_NOT_NULL(next(self, 1, 0));
	ASSERT_TRUE(goes_idle(self, 2));
	ASSERT_EQ(submit(self, 1, US(1)), 1);
	ASSERT_EQ(self->a->nr_idle, 1);
	end(self, 1);
	app_grown(self->a);
	on(&self->actors[1], do_surplus);
	ASSERT_TRUE(self->actors[1].idle);
	ASSERT_EQ(self->a->nr_idle, 0);
	on(&self->actors[2], do_sleep);
	ASSERT_EQ(next(self, 2, US(1)), &self->jobs[1]);
}

/* --- connections that come back --- */

#define NR_GIVEN 1000

static struct app_return *new_return(int fd)
{
	struct app_return *ret = calloc(1, sizeof(*ret) + 1);

	ret->fd = fd;
	ret->len = 1;
	return ret;
}

static void *give_many(void *arg)
{
	struct app *a = arg;

	for (int i = 0; i < NR_GIVEN; i++)
		app_give(a, new_return(i));
	return NULL;
}

static void no_wake(void *arg)
{
	(void)arg;
}

TEST_F(app, gives_connections_back)
{
	(void)variant;
	ASSERT_NULL(app_take_returned(self->a));
	app_give(self->a, new_return(1));
	app_give(self->a, new_return(2));
	ASSERT_EQ(self->wakes, 2);
	for (struct app_return *r = app_take_returned(self->a), *n; r; r = n) {
		n = r->next;
		ASSERT_TRUE(r->fd == 1 || r->fd == 2);
		free(r);
	}
	ASSERT_NULL(app_take_returned(self->a));
}

/* Several give while one takes: each comes once. */
TEST_F(app, gives_from_several_threads)
{
	u32 seen[NR_GIVEN] = { 0 }, nr = 0;
	pthread_t threads[3];

	(void)variant;
	self->a->wake = no_wake;
	for (int i = 0; i < 3; i++)
		ASSERT_OK(-pthread_create(&threads[i], NULL, give_many, self->a));
	while (nr < 3 * NR_GIVEN) {
		for (struct app_return *r = app_take_returned(self->a), *n; r; r = n) {
			n = r->next;
			seen[r->fd]++;
			nr++;
			free(r);
		}
	}
	for (int i = 0; i < 3; i++)
		ASSERT_OK(-pthread_join(threads[i], NULL));
	ASSERT_NULL(app_take_returned(self->a));
	for (int i = 0; i < NR_GIVEN; i++)
		ASSERT_EQ(seen[i], 3);
}
