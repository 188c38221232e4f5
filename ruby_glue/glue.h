/* SPDX-License-Identifier: MIT */
/*
 * Ruby as the server sees it. No VALUE and no ruby.h beyond this header; no
 * exception of Ruby crosses it: every call returns 0 or says what went wrong
 * on stderr (class, message, file and line, backtrace) and returns -1.
 *
 * Only the mold and the workers forked from it call these, on the process's
 * main thread unless a call says otherwise.
 */
#ifndef HYPERION_RUBY_GLUE_GLUE_H
#define HYPERION_RUBY_GLUE_GLUE_H

#include "bpf/abi.h"
#include "server/app.h"
#include "server/base.h"

/* --- the mold: boot.c --- */

/*
 * Starts Ruby in this process: RUBYOPT, RUBYLIB and a Gemfile beside @rackup
 * (or BUNDLE_GEMFILE) are honoured as `ruby` and `bundle exec` would, before
 * any code of the app. After this, C handlers that do nothing replace Ruby's
 * for INT TERM HUP QUIT USR1 USR2 TTIN TTOU (stop comes over the control
 * socket; SIG_IGN would be inherited by children).
 */
int glue_boot(int argc, char **argv, const char *rackup) __must_check;

/* "3.1.2"; needs no Ruby that runs. */
const char *glue_ruby_version(void);

/*
 * Evaluates the config file, once. Each setting that belongs to the server
 * comes out by @set as text ("workers", "4"; "bind", "tcp://..."; seconds and
 * bytes as numbers); @set returns NULL or what is allowed, which becomes an
 * ArgumentError at that line of the file. Hooks stay inside. An unknown key
 * names its nearest known neighbour.
 */
int glue_read_config(const char *file,
		     const char *(*set)(void *arg, const char *key, const char *value),
		     void *arg) __must_check;

/*
 * What Hyperion::Server and Hyperion::Http::PageCache put in front of the app;
 * before any code of the app runs. It outlives Ruby.
 */
struct front;
void glue_set_front(struct front *front);

struct glue_app {
	const char *rackup; /* path of config.ru */
	const char *environment; /* "development" wraps all but Rails in Rack::Lint */
	bool inline_io; /* threads 0 */
	bool multithread; /* what env says: more than one thread per worker */
	bool multiprocess; /* more than one worker */
	bool request_id; /* jobs have one */
	u16 default_port; /* SERVER_PORT where neither Host nor the listener says */
};

/* Loads the app (in the mold with preload, else in each worker). */
int glue_load_app(const struct glue_app *app) __must_check;

/*
 * A Rails app that serves its own public folder has it served in C, and with
 * @preload its assets are read now. Nothing for others.
 */
int glue_serve_assets(bool preload) __must_check;

/* The before_fork hooks, once, before the first fork. */
int glue_before_fork(void) __must_check;

/*
 * Forks by Process.fork through an intermediate that exits at once, so that
 * gems' fork hooks run and the child belongs to the supervisor. 0 in the
 * worker, 1 in the mold, -1.
 */
int glue_fork(void) __must_check;

/*
 * Called in the child whenever code of the app forks from this process, before
 * that code goes on: closes what must not be kept alive there. NULL: nothing.
 */
void glue_set_fork_cleanup(void (*fn)(void *arg), void *arg);

/* Waits without the GVL until @fd is readable; the app's own threads go on. */
void glue_wait_readable(int fd);

/* The same for two; which of them it is, the first if both are. */
int glue_wait_either(int first, int second);

/* --- a worker: threads.c --- */

/*
 * Before glue_worker_boot: where Ruby counts in the shared statistics (mapped for
 * good, both of this worker's place). Not called: it does not.
 */
void glue_set_stats(struct stats_worker *row, struct stats_own *own);

/* on_worker_boot hooks; also restarts what a fork has stopped. */
int glue_worker_boot(u32 index) __must_check;

/*
 * Runs @nr_threads Ruby threads on @app's jobs until @stop_fd is readable,
 * then calls app_stop() and waits for them (at most @grace_ms for handlers
 * that still run). 0 or -1.
 */
int glue_serve(struct app *app, u32 nr_threads, int stop_fd, u32 grace_ms) __must_check;

/*
 * threads 0: calls @io(@arg) without the GVL on this thread; glue_run_jobs,
 * called from within, takes the GVL and runs jobs to their end.
 */
int glue_serve_inline(void (*io)(void *arg), void *arg) __must_check;
void glue_run_jobs(void *priv, struct job **jobs, u32 nr);

/* For app_ops.trace: backtraces of all of Ruby's threads but its main one, see ruby_glue/trace.rb. */
void glue_trace(struct app *app, int fd, u32 name);

/* on_worker_shutdown hooks. */
int glue_worker_shutdown(u32 index) __must_check;

/* at_exit handlers, then the end of this process's Ruby. Returns the exit status. */
int glue_end(int status);

/* --- counters for statistics and tests, any thread --- */
struct glue_stats {
	u64 requests, errors; /* handlers run; exceptions that became a 500 */
};
void glue_stats(struct glue_stats *out);

#endif
