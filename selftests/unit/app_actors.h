/* SPDX-License-Identifier: MIT */
/*
 * An app whose threads act one at a time, as the test tells them, and a clock
 * that is a number. The test itself is the I/O thread.
 */
#ifndef HYPERION_SELFTESTS_UNIT_APP_ACTORS_H
#define HYPERION_SELFTESTS_UNIT_APP_ACTORS_H

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

static inline void count_wake(void *arg)
{
	(*(u32 *)arg)++;
}

static inline void *act(void *arg)
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

static inline void start_on(struct actor *actor, void (*fn)(struct actor *self))
{
	actor->fn = fn;
	sem_post(&actor->go);
}

static inline void finish_on(struct actor *actor)
{
	while (sem_wait(&actor->done))
		;
}

static inline void on(struct actor *actor, void (*fn)(struct actor *self))
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

static inline void do_next(struct actor *self)
{
	self->job = app_next(self->app, self->now_ns);
}

static inline void do_idle(struct actor *self)
{
	self->idle = app_idle(self->app);
}

static inline void do_sleep(struct actor *self)
{
	app_sleep(self->app);
}

static inline void answer(struct app *a, struct job *j, u32 flags)
{
	j->first = (struct answer){ .job = j, .flags = flags };
	EXPECT_OK(app_answer(a, &j->first));
}

static inline void do_end(struct actor *self)
{
	answer(self->app, self->job, ANSWER_HEAD | ANSWER_END);
}

/* --- what the test does --- */

static inline u32 submit(struct self_app *self, u32 nr, u64 now_ns)
{
	struct job *jobs[MAX_JOBS + 1];

	for (u32 i = 0; i < nr; i++)
		jobs[i] = &self->jobs[self->nr_made++];
	return app_submit(self->a, jobs, nr, now_ns);
}

static inline struct job *next(struct self_app *self, u32 actor, u64 now_ns)
{
	self->actors[actor].now_ns = now_ns;
	on(&self->actors[actor], do_next);
	return self->actors[actor].job;
}

static inline bool goes_idle(struct self_app *self, u32 actor)
{
	on(&self->actors[actor], do_idle);
	return self->actors[actor].idle;
}

static inline void end(struct self_app *self, u32 actor)
{
	on(&self->actors[actor], do_end);
}

/* All answers away; how many there were. */
static inline u32 reap(struct self_app *self)
{
	u32 nr = 0;

	while (app_reap(self->a))
		nr++;
	return nr;
}

static inline void all_idle(struct self_app *self)
{
	for (u32 i = 0; i < NR_ACTORS; i++)
		ASSERT_TRUE(goes_idle(self, i));
}

#define US(n) ((n)*NSEC_PER_USEC)

/* @actor joins in as a thread does while another leads: woken, since the queue has stalled. */
static inline struct job *next_of_spare(struct self_app *self, u32 actor, u64 now_ns)
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

#endif
