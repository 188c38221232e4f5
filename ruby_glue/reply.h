/* SPDX-License-Identifier: MIT */
/*
 * The answers to one job while they are written: bytes go into the job's room
 * as long as they fit, else into blocks of memory; each answer goes to the I/O
 * thread whole. Exactly one of them is the last. Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_REPLY_H
#define HYPERION_RUBY_GLUE_REPLY_H

#include "server/app.h"
#include "server/job.h"

struct reply_block;

struct reply {
	struct app *app;
	struct job *job; /* not to be touched once done */
	struct reply_block *block; /* what is written goes here; NULL: into the job's room */
	struct reply_block *last; /* put by, so that END and ABORT cannot fail */
	char *start, *head_end, *p, *end;
	bool head_sent;
	bool done; /* the last answer was sent, the job has gone back */
	u16 status;
	bool has_date, close;
	s64 content_length; /* bytes, or LENGTH_UNKNOWN */
	u64 done_ns; /* CLOCK_MONOTONIC */
};

void reply_init(struct reply *r, struct app *app, struct job *job);

/* Frees what was not sent. */
void reply_fini(struct reply *r);

/* Forgets what was written and not sent. */
void reply_reset(struct reply *r);

int reply_grow(struct reply *r, size_t len) __must_check;

/* Room for @len bytes at r->p, which the caller fills and then moves on. 0 or -ENOMEM. */
static inline __must_check int reply_need(struct reply *r, size_t len)
{
	return unlikely(len > (size_t)(r->end - r->p)) ? reply_grow(r, len) : 0;
}

/* What was written up to here is the head. */
static inline void reply_head_done(struct reply *r)
{
	r->head_end = r->p;
}

/* Bytes of body written and not sent. */
static inline size_t reply_pending(const struct reply *r)
{
	return (size_t)(r->p - r->head_end);
}

/*
 * Sends what was written: the head first, if that has not gone yet. @flags:
 * ANSWER_END, or 0 when more will come. 0 or -ENOMEM (never with ANSWER_END, of
 * which at most APP_DATA_MAX bytes may be written).
 */
int reply_send(struct reply *r, u32 flags) __must_check;

/* The same for a body that is a file; @fd goes along. */
void reply_send_file(struct reply *r, int fd, u64 len);

/* The last answer, for a body that will never be complete. */
void reply_abort(struct reply *r);

#endif
