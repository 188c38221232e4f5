/* SPDX-License-Identifier: MIT */
/* One job through the app: env, call, answers, close. Needs the GVL. */
#ifndef HYPERION_RUBY_GLUE_RESPOND_H
#define HYPERION_RUBY_GLUE_RESPOND_H

#include "server/app.h"
#include "server/job.h"

enum respond_end {
	RESPOND_GO_ON,
	RESPOND_KILLED, /* the app has killed this thread (Thread#kill): it has to end */
	RESPOND_SURPLUS, /* for run_jobs(): there are threads enough */
	RESPOND_FORKED, /* this is a child that the app has forked: nothing here is its own */
};

/* Once the app is loaded; raises nothing. 0 or -1, then it was reported. */
int glue_respond_init(void) __must_check;

/*
 * Runs the app on a claimed job and sends its answers, exactly one of them the
 * last; whatever the app raises, throws or exits with is logged and becomes a
 * 500. Raises nothing. @end_ns: when the last answer went (CLOCK_MONOTONIC).
 */
enum respond_end glue_respond(struct app *app, struct job *job, u64 *end_ns);

#endif
