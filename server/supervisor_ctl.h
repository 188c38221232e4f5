/* SPDX-License-Identifier: MIT */
/*
 * What the control socket can ask of the supervisor: supervisor_ctl.c (the
 * commands), supervisor_ctl_guard.c (those of the guard), supervisor_status.c and
 * supervisor_trace.c (backtraces of a worker, which are answered later).
 */
#ifndef HYPERION_SERVER_SUPERVISOR_CTL_H
#define HYPERION_SERVER_SUPERVISOR_CTL_H

#include <poll.h>

#include "server/base.h"
#include "server/control.h"
#include "server/ctl.h"
#include "server/ctl_request.h"

struct slot;
struct supervisor;

#define MAX_TRACES 4u /* under way at a time */

/* A backtrace that was asked for. */
struct trace {
	u32 name; /* never used twice; 0 = a free place */
	u32 client; /* who waits for it */
	struct ctl_request request;
	u32 worker;
	pid_t pid;
	int fd; /* memory that the worker writes into */
	u64 due_ms;
	char *facts; /* heap: what its I/O thread has said; NULL = nothing yet */
};

struct supervisor_ctl {
	struct ctl socket;
	u32 last_trace;
	struct trace traces[MAX_TRACES];
};

/* One request that is being carried out. */
struct ctl_call {
	struct supervisor *s;
	const struct ctl_client *client;
	struct ctl_request request;
	json_t *body; /* of the answer */
	bool kept; /* it is answered later, and the request is not ours any more */
};

/* --- supervisor_ctl.c --- */

/* The answer's message, for people. */
void ctl_say(struct ctl_call *call, const char *fmt, ...) __printf(2, 3);
void ctl_set_number(struct ctl_call *call, const char *key, u64 n);

void supervisor_ctl_init(struct supervisor *s);

/* Where there is a folder for it. What is wrong was said; the server does without. */
void supervisor_ctl_open(struct supervisor *s);
void supervisor_ctl_close(struct supervisor *s);

/* Descriptors to wait for: at most CTL_CLIENTS + 1; how many. */
nfds_t supervisor_ctl_poll(const struct supervisor *s, struct pollfd *fds);
u64 supervisor_ctl_due_ms(const struct supervisor *s);
void supervisor_ctl_turn(struct supervisor *s);

/* --- supervisor_status.c --- */

/* NULL when memory is out. */
json_t *supervisor_status(const struct supervisor *s) __must_check;

/* --- supervisor_ctl_guard.c --- */

void ctl_run_deny(struct ctl_call *call);
void ctl_run_allow(struct ctl_call *call);
void ctl_run_forget(struct ctl_call *call);
void ctl_run_lists(struct ctl_call *call);

/* For `status`: the interfaces, null when nothing is guarded. */
json_t *ctl_guard_status(const struct supervisor *s);

/* --- supervisor_trace.c --- */

/* false: not under way, and the request says why; true: the request is kept. */
bool trace_start(struct supervisor *s, const struct ctl_client *c, struct ctl_request *r,
		 u32 worker, u32 timeout_ms);

/* CONTROL_FACTS or CONTROL_TRACED of the worker in that slot. */
void trace_said(struct supervisor *s, const struct slot *slot, const struct control *c);

/* That process has ended. */
void trace_gone(struct supervisor *s, pid_t pid);

u64 trace_due_ms(const struct supervisor *s);
void trace_expire(struct supervisor *s, u64 now_ms);
void trace_fini(struct supervisor *s);

#endif
