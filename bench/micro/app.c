/* SPDX-License-Identifier: MIT */
/*
 * What it costs to hand a job over to a thread of the app and to have its answer
 * back: microseconds of wall time per job, the best of some rounds, with 1, 10
 * and 100 jobs outstanding, both sides on one CPU or on two. A mutex stands in
 * for the GVL, an eventfd for the loop; the handler does nothing.
 *
 *	build/bench/micro/app [-t threads] [-s (sleep on the descriptor)] [-n (never hold)]
 */
#include "server/app.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define JOBS_PER_ROUND 20000u
#define MAX_OUT 128u
#define MAX_THREADS 64u

struct bench {
	struct app *a;
	int wake_fd;
	int app_cpu; /* -1: where it likes */
	pthread_mutex_t gvl;
	struct job jobs[MAX_OUT];
	struct job *idle[MAX_OUT];
	u32 nr_idle;
	u64 nr_answers;
};

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("micro: cannot pin");
}

static void wake(void *arg)
{
	u64 one = 1;

	if (write(((struct bench *)arg)->wake_fd, &one, sizeof(one)) != sizeof(one))
		perror("micro: wake");
}

static void *run_app(void *arg)
{
	struct bench *b = arg;
	struct job *j;

	pin(b->app_cpu);
	pthread_mutex_lock(&b->gvl);
	for (;;) {
		while ((j = app_next(b->a, now_ns()))) {
			j->first = (struct answer){ .job = j, .flags = ANSWER_HEAD | ANSWER_END };
			if (app_answer(b->a, &j->first))
				abort();
		}
		if (app_stopping(b->a))
			break;
		pthread_mutex_unlock(&b->gvl);
		if (app_idle(b->a))
			app_sleep(b->a);
		pthread_mutex_lock(&b->gvl);
	}
	pthread_mutex_unlock(&b->gvl);
	return NULL;
}

static void wait_for_app(struct bench *b)
{
	s64 timeout_ns = app_before_wait(b->a, now_ns());
	struct timespec ts = { .tv_nsec = timeout_ns };
	struct pollfd p = { .fd = b->wake_fd, .events = POLLIN };
	u64 nr;

	if (timeout_ns && ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL) == 1 &&
	    read(b->wake_fd, &nr, sizeof(nr)) < 0)
		perror("micro: read");
	app_after_wait(b->a);
}

static void run_round(struct bench *b, u32 outstanding)
{
	u64 nr_back = 0, nr_submitted = 0;

	while (nr_back < JOBS_PER_ROUND) {
		struct answer *answer;
		u32 nr = outstanding - (u32)(nr_submitted - nr_back);

		for (u32 i = 0; i < nr; i++)
			b->idle[b->nr_idle - 1 - i]->state = JOB_QUEUED;
		b->nr_idle -= nr;
		app_submit(b->a, &b->idle[b->nr_idle], nr, now_ns());
		nr_submitted += nr;
		wait_for_app(b);
		for (; (answer = app_reap(b->a)); nr_back++)
			b->idle[b->nr_idle++] = answer->job;
	}
	while (b->nr_idle < MAX_OUT) {
		struct answer *answer = app_reap(b->a);

		if (answer)
			b->idle[b->nr_idle++] = answer->job;
		else
			wait_for_app(b);
	}
}

static void measure(struct bench *b, const char *where, u32 outstanding)
{
	struct app before = *b->a;
	double best_us = 0, per_job = 1.0 / (ROUNDS * JOBS_PER_ROUND);

	for (int i = 0; i < ROUNDS; i++) {
		u64 ns = now_ns();
		double us;

		run_round(b, outstanding);
		us = (double)(now_ns() - ns) / JOBS_PER_ROUND / NSEC_PER_USEC;
		if (!i || us < best_us)
			best_us = us;
	}
	printf("%-8s %3u outstanding %7.2f us/job; per job: %.3f wakes there, %.3f back, %.3f "
	       "holds\n",
	       where, outstanding, best_us,
	       (double)(b->a->nr_wakes + b->a->nr_spares - before.nr_wakes - before.nr_spares) *
		       per_job,
	       (double)(b->a->nr_flushes - before.nr_flushes) * per_job,
	       (double)(b->a->nr_holds - before.nr_holds) * per_job);
}

static void run(const char *where, int app_cpu, u32 nr_threads, bool by_fd, bool never_hold)
{
	static struct bench b;
	pthread_t threads[MAX_THREADS];

	b = (struct bench){ .app_cpu = app_cpu, .gvl = PTHREAD_MUTEX_INITIALIZER };
	b.a = aligned_alloc(64, sizeof(*b.a));
	b.wake_fd = eventfd(0, EFD_CLOEXEC);
	if (!b.a || b.wake_fd < 0 || app_init(b.a, nr_threads, MAX_OUT, wake, &b))
		abort();
	b.a->by_fd = by_fd;
	if (never_hold)
		b.a->hold_ns = 0;
	for (u32 i = 0; i < MAX_OUT; i++)
		b.idle[b.nr_idle++] = &b.jobs[i];
	for (u32 i = 0; i < nr_threads; i++)
		if (pthread_create(&threads[i], NULL, run_app, &b))
			abort();
	measure(&b, where, 1);
	measure(&b, where, 10);
	measure(&b, where, 100);
	app_stop(b.a);
	for (u32 i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	app_fini(b.a);
	close(b.wake_fd);
	free(b.a);
}

int main(int argc, char **argv)
{
	u32 nr_threads = 1;
	bool by_fd = false, never_hold = false;
	int opt;

	while ((opt = getopt(argc, argv, "t:sn")) > 0) {
		if (opt == 't')
			nr_threads = (u32)min(max(atoi(optarg), 1), (int)MAX_THREADS);
		else if (opt == 's')
			by_fd = true;
		else if (opt == 'n')
			never_hold = true;
		else
			return 1;
	}
	pin(0);
	run("one CPU", 0, nr_threads, by_fd, never_hold);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		run("two CPUs", 1, nr_threads, by_fd, never_hold);
	return 0;
}
