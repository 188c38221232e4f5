/* SPDX-License-Identifier: MIT */
/*
 * The hand-over between the I/O thread and the threads that run the app: jobs
 * one way, answers the other, each in a bounded ring. It knows no Ruby: who
 * calls app_next() has to be alone (Ruby's GVL, a mutex in tests), and so has
 * who calls app_answer().
 *
 * Waking: who publishes, then does a read-modify-write on the word in which the
 * other side announces its sleep, and wakes only if it says so; who sleeps does
 * one on the same word to announce it, looks once more, sleeps. The writes to
 * one word have one order: whoever comes second there sees what the first had
 * published. (It is the full fence of the usual recipe, at the same price, in a
 * form that ThreadSanitizer follows.) One wake serves a batch.
 *
 * Threads of the app: one *leader*, the thread of the last claim, pops one job
 * after the other. A *spare* is woken only when the head of the queue has not
 * moved for APP_STALL_NS and the leader's handler blocks instead of computing
 * (pace.h). It leads from then on; the one that was blocked goes to sleep on its
 * return if it has been overtaken by one that does not block itself, or if those
 * that run keep the CPU busy without it.
 *
 * Streams: a thread that sends a body at its client's pace (or waits for the
 * next event to send) may do so for hours, and is not to be missed among the
 * nr_threads. When the queue stalls and no thread is idle, an extra one is
 * started for each that streams; it ends when there are more of them than streams.
 *
 * The I/O thread: sleeps in its loop (woken through wake()), or *holds*: for at
 * most APP_HOLD_NS it waits for the app alone, so that packets do not preempt
 * the handlers; only while jobs are queued and their head moves.
 */
#ifndef HYPERION_SERVER_APP_H
#define HYPERION_SERVER_APP_H

#include "server/base.h"
#include "server/job.h"
#include "server/pace.h"
#include "server/ring.h"

#define APP_STALL_NS (300 * NSEC_PER_USEC)
#define APP_HOLD_NS (400 * NSEC_PER_USEC)
#define APP_ALIVE_NS (50 * NSEC_PER_USEC) /* a leader that has claimed since then does not block */
#define APP_FLUSH_NS (100 * NSEC_PER_USEC) /* older answers go out before the next job starts */
#define APP_BATCH_MAX 128u /* more answers than this do not wait for a batch's end */
#define APP_UNSENT_MAX (256 * KIB) /* of one job; then its producer waits */
#define APP_EXTRA_MAX 1000u /* threads beyond nr_threads */
#define APP_DATA_MAX (256 * MIB) /* of one answer; longer pieces are the caller's to cut */

struct app;

/* What the server needs of an application; the Ruby side and a fake implement it. */
struct app_ops {
	/* threads 0 only: runs them at once, on the calling thread, answers before it returns. */
	void (*run)(void *priv, struct job **jobs, u32 nr);
	/*
	 * Writes the backtraces of all its threads into @fd (taken over), then calls
	 * app->traced with @name: now or later, on whichever thread. One that has not
	 * begun when the next is asked for is dropped. May be NULL.
	 */
	void (*trace)(struct app *app, int fd, u32 name);
};

/* A connection that was hijacked and comes back to be served: see app_give(). Heap. */
struct app_return {
	struct app_return *next;
	int fd;
	size_t len; /* of what was read of it already */
	char bytes[];
};

/* Aligned to a cache line: embed it in what is allocated so, or use app_new(). */
struct app {
	/* Set before the first job, then constant. */
	void (*wake)(void *arg); /* lets the I/O thread's loop return; any thread */
	void *wake_arg;
	const struct app_ops *ops; /* set by the owner */
	void *priv;
	void (*traced)(void *arg, u32 name); /* see ops->trace */
	void *traced_arg;
	u32 nr_threads; /* 0 = inline */
	u32 max_jobs; /* submitted and not yet back */
	u64 hold_ns; /* APP_HOLD_NS; 0 = never */
	void (*grow)(void *arg); /* one more thread is wanted; the I/O thread calls it. May be NULL */
	void *grow_arg;
	/*
	 * Idle threads sleep on a futex, of which one wake wakes one thread. Set
	 * this before they start if they wait for idle_fd instead: an event loop
	 * can, but a descriptor wakes all that poll it.
	 */
	bool by_fd;
	int idle_fd; /* eventfd, EFD_SEMAPHORE, non-blocking */

	struct pace pace; /* off unless pace.read is set */
	struct ring jobs, answers;

	/* Words on which both sides meet; every write is a read-modify-write. */
	__cacheline_aligned u32 io_state; /* enum io_state in app.c, futex */
	__cacheline_aligned u64 lead; /* the leader, see app_state.h */
	u32 nr_idle; /* threads that announced their sleep, less the tokens on their way */
	u32 tokens; /* futex: each lets one idle thread go on */
	u32 stopping;
	u32 growing; /* an extra thread was asked for and has not come yet */
	struct app_return *returned; /* newest first */
	__cacheline_aligned u32 starved; /* futex: a thread waits for room in answers */

	/* Of the app's threads, under their lock; others may look at nr_running. */
	__cacheline_aligned u32 nr_running; /* jobs claimed, their last answer not yet here */
	struct list running; /* those jobs, as they were claimed */
	u64 running_ns; /* claim time of the first of them, 0 = none; others may look */
	u32 nr_streaming; /* threads that stream */
	u32 nr_extra; /* threads beyond nr_threads */
	u32 unflushed; /* answers since the I/O thread was last looked after */
	u64 batch_ns; /* when the first of them was begun */
	u64 nr_flushes; /* wakes of the I/O thread from its loop */
	u64 nr_claims; /* jobs popped */
	u64 claim_ns; /* when the last one was claimed; the I/O thread reads it */
	u64 *recent; /* the threads of the last recent_len claims */
	u32 recent_len;

	/* The I/O thread's own: */
	__cacheline_aligned u32 nr_out; /* jobs submitted, their last answer not yet reaped */
	u32 seen_head; /* of the queue, at the last look */
	u32 oldest; /* place in it: those before it were claimed or cancelled */
	u64 since_ns; /* when it became non-empty, or a spare was woken for it */
	u64 nr_wakes, nr_spares, nr_holds, nr_grown; /* counters for tests and statistics */
};

/*
 * @max_jobs: how many may be under way at a time. The ring of answers holds at
 * least twice as many: an answer with ANSWER_LAST always fits.
 */
int app_init(struct app *a, u32 nr_threads, u32 max_jobs, void (*wake)(void *arg),
	     void *wake_arg) __must_check;
/* Nobody uses it any more. */
void app_fini(struct app *a);

/* --- the I/O thread --- */

/*
 * How many were taken; the rest has to be offered again once answers have come
 * back. At most one wake. Not after app_stop().
 */
u32 app_submit(struct app *a, struct job **jobs, u32 nr, u64 now_ns);

/* Since when the oldest job waits that no thread has claimed; 0 = none does. */
u64 app_waiting_ns(struct app *a);

/* That job, NULL: there is none. It may be claimed meanwhile. */
struct job *app_oldest(struct app *a);

/* From place *@at of the queue on, which moves behind it; begin with a->oldest after app_oldest(). */
struct job *app_unclaimed(const struct app *a, u32 *at);

/* The next answer, NULL when there is none; to be called until it says so. */
struct answer *app_reap(struct app *a);

/*
 * In each turn of the loop, before it sleeps: looks after a stalled queue (wakes a spare), holds
 * if that pays, announces the sleep. Returns the longest time that the loop
 * may sleep: 0 = answers wait, -1 = for ever, else until the next look here.
 * No answer waits longer than that: either whoever pushed it will flush, or it
 * is found at the next look.
 */
s64 app_before_wait(struct app *a, u64 now_ns);

/* Would it hold now? Then what is to be sent had better leave first. */
bool app_would_hold(const struct app *a, u64 now_ns);

/* After the loop has slept. */
void app_after_wait(struct app *a);

/*
 * Bytes of a DATA answer without END have left (or were dropped): the producer
 * may go on. Inline nothing is counted, and this does nothing.
 */
void app_sent(struct job *j, u32 bytes);

/* Connections that came back, in any order, or NULL; the list is the caller's. */
struct app_return *app_take_returned(struct app *a);

/*
 * Any thread: the connection is served again, as one that was just accepted and
 * had sent @ret->bytes. Takes @ret over.
 */
void app_give(struct app *a, struct app_return *ret);

/*
 * Any thread. Wakes every thread; app_idle() is false from now on, app_next()
 * returns NULL once the queue is empty: then a thread ends.
 */
void app_stop(struct app *a);

static inline bool app_stopping(const struct app *a)
{
	/* Acquire pairs with the release in app_stop(). */
	return __atomic_load_n(&a->stopping, __ATOMIC_ACQUIRE);
}

/* --- threads of the app, one at a time --- */

/*
 * A claimed job, or NULL: nothing to do here, app_idle() is next; everything
 * answered so far has been flushed. Jobs that were cancelled are answered with
 * ANSWER_DROPPED on the way. Sets claimed_ns to @now_ns.
 */
struct job *app_next(struct app *a, u64 now_ns);

/*
 * Hands an answer over; from then on it belongs to the I/O thread, and with
 * ANSWER_LAST so does the job. An answer that is not the last leaves at once,
 * the last one with its batch. 0, or for an answer that is not the last:
 * -EAGAIN: the ring is full; app_wait_answers(), then again. Never inline.
 * -ENOMEM: the same, inline. End the job by ANSWER_ABORT.
 * -EMSGSIZE: more than APP_DATA_MAX bytes; for any answer.
 */
int app_answer(struct app *a, struct answer *answer) __must_check;

/*
 * Wakes the I/O thread if it waits and something was answered since. app_next()
 * does it when it returns NULL; of use only before a wait that it cannot see.
 */
void app_flush(struct app *a);

/* Is another thread awake (in a handler, or about to come here)? Then yield between jobs. */
static inline bool app_has_others(const struct app *a)
{
	return __atomic_load_n(&a->nr_idle, __ATOMIC_RELAXED) + 1 < a->nr_threads + a->nr_extra;
}

/* The calling thread sends a body piece by piece from here on, and ends with that. */
void app_stream_begin(struct app *a);
void app_stream_end(struct app *a);

/* The first act of a thread that grow() has asked for. */
void app_grown(struct app *a);

/* Between two jobs: true: there are threads enough, the caller has to end. */
bool app_surplus(struct app *a);

/* --- the same threads, without the GVL --- */

/*
 * Announces that the thread sleeps. false: do not, there are jobs (or the app
 * stops). true: sleep by app_sleep(), or with by_fd by anything that waits for
 * idle_fd to be readable and then calls app_woken(). After either the thread is
 * awake again in any case (app_sleep() also returns for a signal): app_next().
 */
bool app_idle(struct app *a);
void app_sleep(struct app *a);
void app_woken(struct app *a);

/*
 * Waits until @j has room for more DATA, or is gone. false: a signal came, or
 * nothing left for @timeout_ns.
 */
bool app_wait_room(struct job *j, u64 timeout_ns);

/* Waits for the connection. true: it is there; false: a signal came, or @timeout_ns are over. */
bool app_wait_hijack(struct hijack *h, u64 timeout_ns);

/* Waits for room in the ring of answers. false: as above. */
bool app_wait_answers(struct app *a, u64 timeout_ns);

#endif
