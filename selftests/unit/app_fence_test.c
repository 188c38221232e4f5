/* SPDX-License-Identifier: MIT */
/*
 * One case for each word on which the two sides of the hand-over meet: both step
 * up to it at the same moment, a great many times. A plain store and load in the
 * place of the read-modify-write, or a look forgotten, and in some round the
 * one sleeps while the other believes it awake. Needs two CPUs to bite.
 */
#include "server/app.h"
#include "selftests/harness/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 200000u /* or what a second allows, where the CPUs are busy */
#define MAX_JOBS 8u
#define YIELD 1024u /* as a delay: leave the CPU */
#define FOR_EVER (3600 * NSEC_PER_SEC) /* far beyond the limit of the case */

/* Two threads, in step: the test is the I/O thread, the other the app's. */
FIXTURE(pair)
{
	struct app *a;
	pthread_t thread;
	void (*app_side)(struct self_pair * self);
	u32 arrived; /* __atomic, both write it */
	bool done;
	struct job jobs[2];
	struct answer pieces[2 * MAX_JOBS];
	u32 nr_wakes;
	bool slept; /* the app's side would, or was there first */
	struct rng rng;
	s32 head_start; /* of the app's side, see balance() */
	u32 io_delay, app_delay;
	struct {
		u32 word;
		u8 rest[124];
	} lines[2][12]; /* of each side */
};

/* Returns when both have come; then both leave at once. */
static void meet(struct self_pair *self, u32 *nr)
{
	u32 target = *nr += 2, spins = 0;

	__atomic_fetch_add(&self->arrived, 1, __ATOMIC_ACQ_REL);
	while ((s32)(__atomic_load_n(&self->arrived, __ATOMIC_ACQUIRE) - target) < 0)
		if (++spins > 2000)
			sched_yield();
}

/*
 * A few cycles. At times the other side goes first by far: where one CPU is all
 * there is, only that gives both orders.
 */
static void dither(u32 n)
{
	if (n == YIELD)
		sched_yield();
	for (volatile u32 i = 0; i < n % YIELD; i++)
		;
}

/* Delays for the next round, around the point where either side may be first. */
static void draw_delays(struct self_pair *self)
{
	u32 r = (u32)rng_next(&self->rng);

	self->io_delay = (u32)max(self->head_start, 0) + (r & 15);
	self->app_delay = (u32)max(-self->head_start, 0) + (r >> 8 & 15);
	if (!(r >> 16 & 31))
		self->io_delay = YIELD;
	else if (!(r >> 24 & 31))
		self->app_delay = YIELD;
}

/* Who was first gets less of a start: so they come ever closer to the same moment. */
static void balance(struct self_pair *self, bool io_first)
{
	if (io_first)
		self->head_start = min(self->head_start + 1, (s32)YIELD - 16);
	else
		self->head_start = max(self->head_start - 1, -(s32)YIELD + 16);
}

enum side { IO_SIDE, APP_SIDE };

/*
 * Stores to lines that the other side has taken: they queue up before the CPU's
 * next store, so that a plain one is seen late, long after the loads behind it.
 * An access with a fence waits for them.
 */
static void delay_stores(struct self_pair *self, enum side side)
{
	for (u32 i = 0; i < ARRAY_SIZE(self->lines[side]); i++)
		__atomic_store_n(&self->lines[side][i].word, i, __ATOMIC_RELAXED);
}

/* While the other side rests. */
static void take_lines_of(struct self_pair *self, enum side side)
{
	delay_stores(self, side);
}

static void *run_app_side(void *arg)
{
	struct self_pair *self = arg;
	u32 nr = 0;

	for (;;) {
		meet(self, &nr);
		if (self->done)
			return NULL;
		dither(self->app_delay);
		/* Have it near, so that a load which need not wait does not. */
		(void)__atomic_load_n(&self->a->io_state, __ATOMIC_RELAXED);
		delay_stores(self, APP_SIDE);
		self->app_side(self);
		take_lines_of(self, IO_SIDE);
		meet(self, &nr);
	}
}

static void count_wake(void *arg)
{
	(*(u32 *)arg)++; /* by the app's side, read when it has come to rest */
}

FIXTURE_SETUP(pair)
{
	(void)variant;
	time_limit(30);
	self->a = aligned_alloc(64, sizeof(*self->a));
	ASSERT_NOT_NULL(self->a);
	ASSERT_OK(app_init(self->a, 1, MAX_JOBS, count_wake, &self->nr_wakes));
	self->a->hold_ns = 0;
	rng_init(&self->rng);
	ASSERT_OK(-pthread_create(&self->thread, NULL, run_app_side, self));
}

FIXTURE_TEARDOWN(pair)
{
	u32 nr = __atomic_load_n(&self->arrived, __ATOMIC_ACQUIRE) & ~1u;

	(void)variant;
	self->done = true;
	meet(self, &nr);
	pthread_join(self->thread, NULL);
	app_fini(self->a);
	free(self->a);
}

struct rounds {
	u32 nr, met;
	u64 end_ms;
};

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (u64)ts.tv_sec * MSEC_PER_SEC + (u64)ts.tv_nsec / NSEC_PER_MSEC;
}

static bool next_round(struct self_pair *self, struct rounds *r)
{
	if (!r->end_ms)
		r->end_ms = now_ms() + MSEC_PER_SEC;
	if (r->nr == ROUNDS || now_ms() > r->end_ms || has_failed())
		return false;
	r->nr++;
	draw_delays(self);
	return true;
}

static void step_up(struct self_pair *self, struct rounds *r)
{
	meet(self, &r->met);
	dither(self->io_delay);
	delay_stores(self, IO_SIDE);
}

static void come_to_rest(struct self_pair *self, struct rounds *r)
{
	meet(self, &r->met);
	take_lines_of(self, APP_SIDE);
}

static void submit(struct self_pair *self, u32 nr)
{
	struct job *jobs[2] = { &self->jobs[0], &self->jobs[1] };

	for (u32 i = 0; i < nr; i++)
		self->jobs[i] = (struct job){ 0 };
	ASSERT_EQ(app_submit(self->a, jobs, nr, 0), nr);
}

static void answer_whole(struct self_pair *self, struct job *j)
{
	j->first = (struct answer){ .job = j, .flags = ANSWER_HEAD | ANSWER_END };
	EXPECT_OK(app_answer(self->a, &j->first));
}

static u32 reap(struct self_pair *self)
{
	u32 nr = 0;

	while (app_reap(self->a))
		nr++;
	return nr;
}

/* --- io_state: app_before_wait() and the flush at the end of a batch --- */

static void end_batch(struct self_pair *self)
{
	struct job *j;

	while ((j = app_next(self->a, 0))) {
		delay_stores(self, APP_SIDE); /* the claim was a fence */
		answer_whole(self, j);
	}
}

/* The job has been claimed: what is left is short. */
static void end_claimed(struct self_pair *self)
{
	answer_whole(self, &self->jobs[0]);
	EXPECT_NULL(app_next(self->a, 0));
}

TEST_F(pair, sleep_and_flush)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = end_claimed;
	while (next_round(self, &r)) {
		s64 timeout;

		self->nr_wakes = 0;
		submit(self, 1);
		ASSERT_NOT_NULL(app_next(self->a, 0));
		step_up(self, &r);
		timeout = app_before_wait(self->a, 0);
		come_to_rest(self, &r);
		/* It would sleep: then it has been woken. */
		EXPECT_TRUE(timeout == 0 || self->nr_wakes == 1);
		balance(self, timeout != 0);
		app_after_wait(self->a);
		EXPECT_EQ(reap(self), 1);
	}
}

/* The same with a hold, which nothing but the flush ends. */
TEST_F(pair, hold_and_flush)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = end_batch;
	self->a->hold_ns = FOR_EVER;
	while (next_round(self, &r)) {
		u64 before = self->a->nr_holds;

		submit(self, 1);
		self->a->seen_head--; /* as if it had just moved */
		step_up(self, &r);
		(void)app_before_wait(self->a, 0);
		come_to_rest(self, &r);
		balance(self, self->a->nr_holds != before);
		app_after_wait(self->a);
		EXPECT_EQ(reap(self), 1);
	}
	NOTE("held=%llu of %u", (unsigned long long)self->a->nr_holds, r.nr);
}

/* io_state again: a piece of a stream, after which no flush follows. */
static void send_piece(struct self_pair *self)
{
	self->pieces[0] = (struct answer){ .job = &self->jobs[0], .flags = ANSWER_HEAD };
	EXPECT_OK(app_answer(self->a, &self->pieces[0]));
}

TEST_F(pair, sleep_and_piece)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = send_piece;
	submit(self, 1);
	while (next_round(self, &r)) {
		s64 timeout;

		self->nr_wakes = 0;
		step_up(self, &r);
		timeout = app_before_wait(self->a, 0);
		come_to_rest(self, &r);
		EXPECT_TRUE(timeout == 0 || self->nr_wakes == 1);
		balance(self, timeout != 0);
		app_after_wait(self->a);
		EXPECT_EQ(reap(self), 1);
	}
}

/* --- lead and nr_idle: app_submit() and app_idle() --- */

static void go_idle(struct self_pair *self)
{
	self->slept = app_idle(self->a);
}

static void submit_while_going_idle(struct self_pair *self, struct rounds *r)
{
	u64 before = self->a->nr_wakes;

	self->app_side = go_idle;
	step_up(self, r);
	submit(self, 1);
	come_to_rest(self, r);
	balance(self, !self->slept);
	/* It would sleep: then there is a token for it. */
	EXPECT_TRUE(!self->slept || self->a->nr_wakes == before + 1);
}

/* It will go to sleep as the leader. */
static void wake_up_and_lead(struct self_pair *self)
{
	if (self->slept)
		app_sleep(self->a);
	end_batch(self);
}

TEST_F(pair, idle_and_submit)
{
	struct rounds r = { 0 };

	(void)variant;
	while (next_round(self, &r)) {
		submit_while_going_idle(self, &r);
		self->app_side = wake_up_and_lead;
		step_up(self, &r);
		come_to_rest(self, &r);
		EXPECT_EQ(reap(self), 1);
	}
	EXPECT_EQ(self->a->nr_idle, 0);
}

/* --- starved: app_reap() and app_wait_answers() --- */

static void wait_answers(struct self_pair *self)
{
	self->slept = ring_count(&self->a->answers) == MAX_JOBS;
	EXPECT_TRUE(app_wait_answers(self->a, FOR_EVER));
}

TEST_F(pair, reap_and_wait_answers)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = wait_answers;
	submit(self, 1);
	while (next_round(self, &r)) {
		for (u32 i = 0; i < MAX_JOBS; i++) {
			self->pieces[i] = (struct answer){ .job = &self->jobs[0] };
			EXPECT_OK(app_answer(self->a, &self->pieces[i]));
		}
		step_up(self, &r);
		EXPECT_EQ(reap(self), MAX_JOBS);
		come_to_rest(self, &r);
		balance(self, !self->slept);
	}
}

/* --- unsent: app_wait_room() and who lets the producer go on --- */

static void wait_room(struct self_pair *self)
{
	self->slept = __atomic_load_n(&self->jobs[0].unsent, __ATOMIC_RELAXED) == APP_UNSENT_MAX &&
		      !job_gone(&self->jobs[0]);
	EXPECT_TRUE(app_wait_room(&self->jobs[0], FOR_EVER));
}

static void fill_room(struct self_pair *self)
{
	self->jobs[0] = (struct job){ .unsent = APP_UNSENT_MAX };
}

TEST_F(pair, sent_and_wait_room)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = wait_room;
	while (next_round(self, &r)) {
		fill_room(self);
		step_up(self, &r);
		app_sent(&self->jobs[0], APP_UNSENT_MAX / 2);
		app_sent(&self->jobs[0], APP_UNSENT_MAX / 2);
		come_to_rest(self, &r);
		balance(self, !self->slept);
		EXPECT_EQ(self->jobs[0].unsent, 0);
	}
}

TEST_F(pair, gone_and_wait_room)
{
	struct rounds r = { 0 };

	(void)variant;
	self->app_side = wait_room;
	while (next_round(self, &r)) {
		fill_room(self);
		self->jobs[0].state = JOB_CLAIMED;
		step_up(self, &r);
		EXPECT_FALSE(job_cancel(&self->jobs[0]));
		job_wake_producer(&self->jobs[0]);
		come_to_rest(self, &r);
		balance(self, !self->slept);
		EXPECT_EQ(self->jobs[0].unsent, APP_UNSENT_MAX);
	}
}

/* --- job.state: the claim and the cancel --- */

TEST_F(pair, claim_and_cancel)
{
	struct rounds r = { 0 };
	u64 nr_cancelled = 0;

	(void)variant;
	self->app_side = end_batch;
	while (next_round(self, &r)) {
		struct answer *answer;
		bool cancelled;

		submit(self, 1);
		step_up(self, &r);
		cancelled = job_cancel(&self->jobs[0]);
		come_to_rest(self, &r);
		balance(self, cancelled);
		answer = app_reap(self->a);
		ASSERT_NOT_NULL(answer);
		EXPECT_EQ(answer->flags & ANSWER_DROPPED, cancelled ? ANSWER_DROPPED : 0);
		EXPECT_NULL(app_reap(self->a));
		nr_cancelled += cancelled;
	}
	NOTE("cancelled=%llu of %u", (unsigned long long)nr_cancelled, r.nr);
}
