/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a worker share: worker.c (its life and its loop),
 * worker_app.c (jobs and answers), worker_control.c (the supervisor's words) and worker_trace.c
 * (what it is busy with).
 * Nobody else includes it.
 */
#ifndef HYPERION_SERVER_WORKER_STATE_H
#define HYPERION_SERVER_WORKER_STATE_H

#include "server/acceptor.h"
#include "server/admin.h"
#include "server/app.h"
#include "server/conn.h"
#include "server/log_writer.h"
#include "server/loop.h"
#include "server/packer.h"
#include "server/rebalance.h"
#include "server/reqid.h"
#include "server/stats.h"
#include "server/wheel.h"
#include "server/worker.h"
#include "server/worker_load.h"

enum worker_state {
	WORKER_SERVING,
	WORKER_DRAINING, /* no new connections; the others finish */
	WORKER_STOPPING, /* connections are being cut */
};

struct worker {
	u32 id;
	const struct conf *conf;
	enum worker_state state;
	struct loop *loop;
	struct front *front, own_front; /* NULL until it stands */
	struct packer packer;
	struct http http;
	struct wheel wheel;
	struct conns conns;
	struct acceptor acceptor;
	struct io control;
	struct timer drain_timer, title_timer;
	u32 title_conns, title_busy; /* what the title says */
	bool logs; /* requests */
	struct log_writer log;
	struct reqid ids;
	bool has_app;
	u32 nr_with_app; /* jobs that the app has ... */
	struct list with_app; /* ... as they were handed over */
	bool uses_uring;
	struct stats stats;
	struct worker_load load;
	u32 job_us; /* mean time of a job */
	struct admin admin;
	struct rebalance rebalance;
	struct app app;
};

static inline u64 worker_now_ms(const struct worker *w)
{
	return w->http.now_ns / NSEC_PER_MSEC;
}

/* --- worker.c --- */

/* For those who wake the loop from another thread. */
void worker_wake(void *loop);

/* --- worker_app.c --- */

/* Nothing when there is no app. 0 or -errno. */
int worker_init_app(struct worker *w, const struct worker_params *params) __must_check;

/* Jobs out, answers in, until both lie still. Inline, each round runs handlers. */
void worker_exchange(struct worker *w);

/* How loaded we are, for who steers. Behind a look into the app's queue: see worker_load.h. */
void worker_publish_load(struct worker *w);

/* --- worker_trace.c --- */

struct control;

/* What this thread knows goes to the supervisor now, Ruby's backtraces when Ruby gets to it. */
void worker_trace(struct worker *w, const struct control *c);

/* --- worker_control.c --- */

/* Listens to the supervisor from now on. 0 or -errno. */
int worker_init_control(struct worker *w, int fd) __must_check;

#endif
