/* SPDX-License-Identifier: MIT */
/*
 * The hand-over between the I/O thread and the threads that run the app: jobs
 * one way, answers the other, each in a bounded ring. It knows no Ruby: who
 * calls app_next() has to be alone (Ruby's GVL, a mutex in tests), and so has
 * who calls app_answer().
 *
 * Waking: who publishes fences, and wakes only if the other side says that it
 * sleeps; who sleeps announces it, fences, looks once more, sleeps. One wake
 * serves a batch.
 *
 * Threads of the app: one *leader* pops one job after the other. A *spare* is
 * woken only when the head of the queue has not moved for APP_STALL_NS: the
 * leader's handler blocks. Idle threads sleep on one descriptor.
 *
 * The I/O thread: sleeps in its loop (woken through wake()), or *holds*: for at
 * most APP_HOLD_NS it waits for the app alone, so that packets do not preempt
 * the handlers; only while jobs are queued and their head moves.
 */
#ifndef HYPERION_SERVER_APP_H
#define HYPERION_SERVER_APP_H

#include "server/base.h"
#include "server/job.h"
#include "server/ring.h"

#define APP_STALL_NS (300 * NSEC_PER_USEC)
#define APP_HOLD_NS (200 * NSEC_PER_USEC)
#define APP_UNSENT_MAX (256 * KIB) /* of one job; then its producer waits */

/* What the server needs of an application; the Ruby side and a fake implement it. */
struct app_ops {
	/* threads 0: runs them at once, on the calling thread, answers before it returns. */
	void (*run)(void *priv, struct job **jobs, u32 nr);
};

struct app {
	struct ring jobs, answers;
	int idle_fd; /* eventfd, EFD_SEMAPHORE: idle threads of the app sleep on it */
	void (*wake)(void *arg); /* lets the I/O thread's loop return; any thread */
	void *wake_arg;
	const struct app_ops *ops;
	void *priv;
	u32 nr_threads; /* 0 = inline */

	__cacheline_aligned u32 io_state; /* enum io_state in app.c, futex */
	__cacheline_aligned u32 nr_idle; /* threads that announced they sleep */
	u32 nr_running; /* threads between app_next() and the next app_next() */
	__cacheline_aligned u64 claims; /* jobs popped so far */
	bool stopping;

	/* The I/O thread's own: */
	__cacheline_aligned u64 seen_claims, seen_ns; /* when the head last moved */
	u64 nr_wakes, nr_spares, nr_holds; /* counters for tests and statistics */
};

int app_init(struct app *a, u32 nr_threads, u32 max_jobs, void (*wake)(void *arg),
	     void *wake_arg) __must_check;
void app_fini(struct app *a);

/* --- the I/O thread --- */

/* How many were taken; the rest has to be offered again. At most one wake. */
u32 app_submit(struct app *a, struct job **jobs, u32 nr, u64 now_ns);

/* The next answer, NULL when there is none. */
struct answer *app_reap(struct app *a);

/*
 * Before the loop sleeps: looks after a stalled queue (wakes a spare), holds
 * if that pays, announces the sleep. Returns the longest time that the loop
 * may sleep: 0 = answers wait, -1 = for ever, else until the next look here.
 */
s64 app_before_wait(struct app *a, u64 now_ns);

/* After the loop has slept. */
void app_after_wait(struct app *a);

/* Bytes of DATA answers have left (or were dropped): the producer may go on. */
void app_sent(struct job *j, u32 bytes);

/* Wakes every thread; app_next() returns NULL from now on once the queue is empty. */
void app_stop(struct app *a);

/* --- threads of the app, one at a time --- */

/*
 * A claimed job, or NULL: nothing to do, sleep by app_idle(). Jobs that were
 * cancelled are answered with ANSWER_DROPPED on the way.
 */
struct job *app_next(struct app *a, u64 now_ns);

/*
 * Hands an answer over, waiting (without anything held: the caller releases
 * the GVL around it) only when app_answer() says -EAGAIN: the ring is full.
 */
int app_answer(struct app *a, struct answer *answer) __must_check;

/* The thread has answered all that it popped: wakes the I/O thread if it waits. */
void app_flush(struct app *a);

/* --- the same threads, without the GVL --- */

/*
 * Announces that the thread sleeps. false: do not, there are jobs (or the app
 * stops). true: sleep by app_sleep(), or by anything that waits for idle_fd to
 * be readable and then calls app_woken().
 */
bool app_idle(struct app *a);
void app_sleep(struct app *a);
void app_woken(struct app *a);

/* Waits until @j has room for more DATA, or is gone; at most @timeout_ns. false: timed out. */
bool app_wait_room(struct job *j, u64 timeout_ns);

#endif
