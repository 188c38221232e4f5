/* SPDX-License-Identifier: MIT */
/*
 * The hand-over with its threads really running beside each other: nothing is
 * lost, nothing comes twice, nobody sleeps for ever. Where a case says that the
 * clock stands still, no look and no hold ends by time: a wake that is lost
 * there stops the case, and its time limit finds that.
 */
#include "server/app.h"
#include "selftests/harness/harness.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 8
#define MAX_JOBS 128u

struct item {
	struct job job;
	bool out; /* under way */
	bool asked, cancelled; /* job_cancel() was tried; it won */
	u32 nr_run, nr_last, nr_dropped;
	u64 nr; /* in the order of submission */
};

/* An app whose lock is a mutex, and its I/O thread's loop. */
struct world {
	struct app *a;
	int wake_fd;
	bool frozen; /* the clock stands still, the loop sleeps until it is woken */
	void (*handle)(struct world *w, struct item *it);
	pthread_mutex_t gvl;
	pthread_t threads[MAX_THREADS];
	u32 nr_threads;
	struct item items[MAX_JOBS];
	u64 next_run; /* number of the next job, where one thread runs them all */
	u64 nr_run, nr_out_of_order;
	u32 max_running;
};

static void wake_loop(void *arg)
{
	u64 one = 1;

	EXPECT_EQ(write(((struct world *)arg)->wake_fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static u64 now_ns(const struct world *w)
{
	struct timespec ts;

	if (w->frozen)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static struct item *item_of(struct job *j)
{
	return container_of(j, struct item, job);
}

static void answer_whole(struct world *w, struct item *it)
{
	it->job.first = (struct answer){ .job = &it->job, .flags = ANSWER_HEAD | ANSWER_END };
	EXPECT_OK(app_answer(w->a, &it->job.first));
}

static void *run_app(void *arg)
{
	struct world *w = arg;
	struct job *j;

	pthread_mutex_lock(&w->gvl);
	for (;;) {
		while ((j = app_next(w->a, now_ns(w)))) {
			struct item *it = item_of(j);

			it->nr_run++;
			w->nr_run++;
			w->max_running = max(w->max_running, w->a->nr_running);
			w->nr_out_of_order += it->nr < w->next_run;
			w->next_run = it->nr + 1;
			w->handle(w, it);
		}
		if (app_stopping(w->a))
			break;
		pthread_mutex_unlock(&w->gvl);
		if (app_idle(w->a))
			app_sleep(w->a);
		pthread_mutex_lock(&w->gvl);
	}
	pthread_mutex_unlock(&w->gvl);
	return NULL;
}

static void start(struct world *w, u32 nr_threads, bool by_fd)
{
	w->a = aligned_alloc(64, sizeof(*w->a));
	ASSERT_NOT_NULL(w->a);
	w->wake_fd = eventfd(0, EFD_CLOEXEC);
	ASSERT_GE(w->wake_fd, 0);
	ASSERT_OK(app_init(w->a, nr_threads, MAX_JOBS, wake_loop, w));
	w->a->by_fd = by_fd;
	if (!w->handle)
		w->handle = answer_whole;
	ASSERT_OK(-pthread_mutex_init(&w->gvl, NULL));
	w->nr_threads = nr_threads;
	for (u32 i = 0; i < nr_threads; i++)
		ASSERT_OK(-pthread_create(&w->threads[i], NULL, run_app, w));
}

static void end(struct world *w)
{
	app_stop(w->a);
	for (u32 i = 0; i < w->nr_threads; i++)
		ASSERT_OK(-pthread_join(w->threads[i], NULL));
	EXPECT_EQ(w->a->nr_out, 0);
	EXPECT_EQ(w->a->nr_running, 0);
	app_fini(w->a);
	close(w->wake_fd);
	free(w->a);
}

/* As the loop does it. */
static void wait_for_app(struct world *w)
{
	s64 timeout_ns = app_before_wait(w->a, now_ns(w));
	struct timespec ts = { .tv_nsec = timeout_ns };
	struct pollfd p = { .fd = w->wake_fd, .events = POLLIN };
	u64 nr;

	if (timeout_ns) {
		bool for_ever = timeout_ns < 0 || w->frozen;

		if (ppoll(&p, 1, for_ever ? NULL : &ts, NULL) == 1)
			EXPECT_EQ(read(w->wake_fd, &nr, sizeof(nr)), (ssize_t)sizeof(nr));
	}
	app_after_wait(w->a);
}

/* Fills @jobs with up to @max items that are not under way. */
static u32 fill(struct world *w, struct job **jobs, u32 max, u64 from)
{
	u32 nr = 0;

	for (u32 i = 0; i < MAX_JOBS && nr < max; i++) {
		struct item *it = &w->items[i];

		if (it->out)
			continue;
		*it = (struct item){ .nr = from + nr, .out = true };
		jobs[nr++] = &it->job;
	}
	return nr;
}

struct totals {
	u64 nr_back, nr_dropped, nr_cancelled, nr_wrong;
};

static void take_back(struct world *w, struct totals *t)
{
	struct answer *answer;

	while ((answer = app_reap(w->a))) {
		struct item *it = item_of(answer->job);
		bool dropped = answer->flags & ANSWER_DROPPED;

		if (!(answer->flags & ANSWER_LAST))
			continue;
		t->nr_back++;
		t->nr_dropped += dropped;
		/* Once, and either run or dropped, as the cancel said. */
		t->nr_wrong += !it->out || it->nr_run != !dropped || it->cancelled != dropped;
		it->out = false;
	}
}

/* Submits @total jobs in batches of up to @batch, at most @outstanding at a time. */
static struct totals run_jobs(struct world *w, u64 total, u32 batch, u32 outstanding,
			      void (*each_turn)(struct world *w, struct totals *t))
{
	struct totals t = { 0 };
	u64 nr_submitted = 0;

	while (t.nr_back < total) {
		struct job *jobs[MAX_JOBS];
		u64 room = min(outstanding - (nr_submitted - t.nr_back), total - nr_submitted);
		u32 nr = fill(w, jobs, (u32)min(room, (u64)batch), nr_submitted);

		if (app_submit(w->a, jobs, nr, now_ns(w)) != nr)
			t.nr_wrong++;
		nr_submitted += nr;
		if (each_turn)
			each_turn(w, &t);
		wait_for_app(w);
		take_back(w, &t);
	}
	EXPECT_EQ(t.nr_back, total);
	EXPECT_EQ(t.nr_wrong, 0);
	EXPECT_EQ(w->nr_run, total - t.nr_dropped);
	return t;
}

/* --- no wake is lost: the clock stands still --- */

FIXTURE(frozen)
{
	struct world w;
};

FIXTURE_VARIANT(frozen)
{
	u32 nr_threads;
	bool by_fd;
	u64 hold_ns; /* far beyond the case's limit, or none */
	u32 outstanding;
	u64 total;
};

#define HOLDS (3600 * NSEC_PER_SEC)

VARIANT(frozen, holds_1) = { 1, false, HOLDS, 1, 50000 };
VARIANT(frozen, holds_3) = { 5, false, HOLDS, 3, 100000 };
VARIANT(frozen, holds_100) = { 5, false, HOLDS, 100, 200000 };
VARIANT(frozen, sleeps_1) = { 1, false, 0, 1, 50000 };
VARIANT(frozen, sleeps_3) = { 5, false, 0, 3, 100000 };
VARIANT(frozen, sleeps_100) = { 5, false, 0, 100, 200000 };
VARIANT(frozen, on_descriptor) = { 5, true, 0, 3, 30000 };

FIXTURE_SETUP(frozen)
{
	self->w.frozen = true;
	time_limit(30);
	start(&self->w, variant->nr_threads, variant->by_fd);
	self->w.a->hold_ns = variant->hold_ns;
}

FIXTURE_TEARDOWN(frozen)
{
	(void)variant;
	end(&self->w);
}

/*
 * One batch at a time is under way and one being made, so that each side keeps
 * falling asleep while the other publishes: threads and I/O thread, sleep and
 * hold. All that is submitted comes back, in order where one thread runs it.
 */
TEST_F(frozen, loses_no_wake)
{
	struct world *w = &self->w;

	run_jobs(w, variant->total, max(1u, variant->outstanding / 2), variant->outstanding, NULL);
	EXPECT_EQ(w->nr_out_of_order, 0);
	EXPECT_EQ(w->a->nr_spares, 0);
	NOTE("wakes=%llu flushes=%llu holds=%llu", (unsigned long long)w->a->nr_wakes,
	     (unsigned long long)w->a->nr_flushes, (unsigned long long)w->a->nr_holds);
}

/* --- everything comes back, once --- */

FIXTURE(app)
{
	struct world w;
};

FIXTURE_VARIANT(app)
{
	bool by_fd;
};

VARIANT(app, futex) = { .by_fd = false };
VARIANT(app, fd) = { .by_fd = true };

FIXTURE_SETUP(app)
{
	(void)variant;
	(void)self;
	time_limit(60);
}

FIXTURE_TEARDOWN(app)
{
	(void)variant;
	end(&self->w);
}

static void sleep_us(long us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

/* One in 4096 blocks as a handler does that waits for a database. */
static void block_now_and_then(struct world *w, struct item *it)
{
	if (it->nr % 4096 == 0) {
		pthread_mutex_unlock(&w->gvl);
		sleep_us(1000);
		pthread_mutex_lock(&w->gvl);
	} else if (it->nr % 64 == 0) {
		pthread_mutex_unlock(&w->gvl);
		sched_yield();
		pthread_mutex_lock(&w->gvl);
	}
	answer_whole(w, it);
}

TEST_F(app, loses_nothing)
{
	struct world *w = &self->w;

	w->handle = block_now_and_then;
	start(w, 4, variant->by_fd);
	run_jobs(w, variant->by_fd ? 100000 : 500000, 50, MAX_JOBS, NULL);
	EXPECT_GT(w->a->nr_spares, 0);
	NOTE("spares=%llu holds=%llu", (unsigned long long)w->a->nr_spares,
	     (unsigned long long)w->a->nr_holds);
}

/* Asks for some that are under way, wherever they are by now. */
static void cancel_some(struct world *w, struct totals *t)
{
	for (u32 i = (u32)t->nr_back % 7; i < MAX_JOBS; i += 7) {
		struct item *it = &w->items[i];

		if (!it->out || it->asked)
			continue;
		it->asked = true;
		it->cancelled = job_cancel(&it->job);
		t->nr_cancelled += it->cancelled;
	}
}

TEST_F(app, is_either_run_or_dropped)
{
	struct world *w = &self->w;
	struct totals t;

	w->handle = block_now_and_then;
	start(w, 2, variant->by_fd);
	t = run_jobs(w, 300000, 50, MAX_JOBS, cancel_some);
	EXPECT_EQ(t.nr_dropped, t.nr_cancelled);
	EXPECT_GT(t.nr_dropped, 0);
	NOTE("cancelled=%llu", (unsigned long long)t.nr_cancelled);
}

/* As a look for what may go to another worker: the oldest first, while threads take them. */
static void recall_every_other(struct world *w, struct totals *t)
{
	struct job *j = app_oldest(w->a);
	u64 before = j ? item_of(j)->nr : 0;
	u32 at = w->a->oldest, i = 0;

	while ((j = app_unclaimed(w->a, &at))) {
		struct item *it = item_of(j);

		t->nr_wrong += !it->out || it->nr < before;
		before = it->nr;
		if (i++ % 2)
			continue;
		it->cancelled = job_recall(j);
		t->nr_cancelled += it->cancelled;
	}
}

TEST_F(app, is_either_run_or_recalled)
{
	struct world *w = &self->w;
	struct totals t;

	w->handle = block_now_and_then;
	start(w, 2, variant->by_fd);
	t = run_jobs(w, 100000, 50, MAX_JOBS, recall_every_other);
	EXPECT_EQ(t.nr_dropped, t.nr_cancelled);
	EXPECT_GT(t.nr_dropped, 0);
	NOTE("recalled=%llu", (unsigned long long)t.nr_cancelled);
}

/* Blocked leaders: every thread gets its share
, and the queue is not left alone. */
static void block_always(struct world *w, struct item *it)
{
	pthread_mutex_unlock(&w->gvl);
	sleep_us(500);
	pthread_mutex_lock(&w->gvl);
	answer_whole(w, it);
}

TEST_F(app, brings_in_spares)
{
	struct world *w = &self->w;

	w->handle = block_always;
	start(w, 4, variant->by_fd);
	run_jobs(w, 2000, 50, MAX_JOBS, NULL);
	EXPECT_EQ(w->max_running, 4);
}

/* --- streams: a full ring, a slow client --- */

#define PIECE 4096u

static void put_piece(struct hold *h)
{
	struct answer *answer = container_of(h, struct answer, hold);

	app_sent(answer->job, (u32)answer->data.len);
	free(answer);
}

/* Ends with the GVL free and taken again, as a producer's wait does. */
static void wait_off_gvl(struct world *w, struct job *room_of)
{
	bool went_on;

	pthread_mutex_unlock(&w->gvl);
	if (room_of)
		went_on = app_wait_room(room_of, 3600 * NSEC_PER_SEC);
	else
		went_on = app_wait_answers(w->a, 3600 * NSEC_PER_SEC);
	EXPECT_TRUE(went_on);
	pthread_mutex_lock(&w->gvl);
}

/* @nr pieces of @len bytes; stops when the client is gone. */
static void stream(struct world *w, struct item *it, u32 nr, u32 len)
{
	static const char bytes[PIECE];

	for (u32 i = 0; i < nr && !job_gone(&it->job); i++) {
		struct answer *piece = malloc(sizeof(*piece));

		if (!piece)
			abort();
		*piece = (struct answer){ .job = &it->job,
					  .hold = { put_piece },
					  .flags = ANSWER_DATA,
					  .data = { bytes, len } };
		while (app_answer(w->a, piece))
			wait_off_gvl(w, NULL);
		if (__atomic_load_n(&it->job.unsent, __ATOMIC_ACQUIRE) >= APP_UNSENT_MAX)
			wait_off_gvl(w, &it->job);
	}
	answer_whole(w, it);
}

static void stream_many_small(struct world *w, struct item *it)
{
	stream(w, it, 100000, 1);
}

static void stream_many_large(struct world *w, struct item *it)
{
	stream(w, it, 100000, PIECE);
}

/* Reaps until all of @nr_jobs have ended; the pieces leave @lag answers later. */
static u64 take_streams(struct world *w, u32 nr_jobs, u32 lag)
{
	struct answer *kept[1024];
	u64 nr_pieces = 0, nr_put = 0;
	u32 nr_last = 0;

	while (nr_last < nr_jobs) {
		struct answer *answer = app_reap(w->a);

		if (answer && answer->flags & ANSWER_LAST) {
			nr_last++;
		} else if (answer) {
			kept[nr_pieces++ % ARRAY_SIZE(kept)] = answer;
		}
		/* With nothing to reap or to come, the client takes all that it was sent. */
		while (nr_put < nr_pieces &&
		       (!answer || nr_last == nr_jobs || nr_pieces - nr_put > lag)) {
			struct hold *h = &kept[nr_put++ % ARRAY_SIZE(kept)]->hold;

			h->put(h);
		}
		if (!answer && nr_last < nr_jobs)
			wait_for_app(w);
	}
	return nr_pieces;
}

FIXTURE(stream)
{
	struct world w;
};

FIXTURE_VARIANT(stream)
{
	void (*handle)(struct world * w, struct item * it);
	u32 lag;
};

/* More answers than the ring takes; more bytes than one job may have unsent. */
VARIANT(stream, small) = { stream_many_small, 0 };
VARIANT(stream, large) = { stream_many_large, 100 };

FIXTURE_SETUP(stream)
{
	self->w.frozen = true;
	self->w.handle = variant->handle;
	time_limit(30);
	start(&self->w, 2, false);
	self->w.a->hold_ns = 0; /* pieces do not end a hold */
}

FIXTURE_TEARDOWN(stream)
{
	(void)variant;
	end(&self->w);
}

TEST_F(stream, comes_through)
{
	struct job *jobs[1];

	ASSERT_EQ(fill(&self->w, jobs, 1, 0), 1);
	ASSERT_EQ(app_submit(self->w.a, jobs, 1, 1), 1);
	ASSERT_EQ(take_streams(&self->w, 1, variant->lag), 100000);
	ASSERT_EQ(jobs[0]->unsent, 0);
}

/* The client goes while the producer waits, or is just about to. */
TEST_F(stream, ends_when_the_client_goes)
{
	for (u32 round = 0; round < 300; round++) {
		struct job *jobs[1];
		struct answer *answer;
		u32 nr = 0, enough = variant->lag ? APP_UNSENT_MAX / PIECE - round % 3 : round;

		self->w.items[0].out = false;
		ASSERT_EQ(fill(&self->w, jobs, 1, 0), 1);
		ASSERT_EQ(app_submit(self->w.a, jobs, 1, 1), 1);
		for (struct answer *last = NULL; !last;) {
			answer = app_reap(self->w.a);
			if (!answer) {
				wait_for_app(&self->w);
			} else if (answer->flags & ANSWER_LAST) {
				last = answer;
			} else {
				free(answer); /* it never leaves: no app_sent() */
				if (++nr == enough && !job_cancel(jobs[0]))
					job_wake_producer(jobs[0]);
			}
		}
	}
}
