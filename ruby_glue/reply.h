/* SPDX-License-Identifier: MIT */
/*
 * The answers to one job while they are written: bytes go into the job's room
 * as long as they fit, else into blocks of memory; each answer goes to the I/O
 * thread whole, or is lent to it and filled on. Exactly one of them is the
 * last. Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_REPLY_H
#define HYPERION_RUBY_GLUE_REPLY_H

#include <ruby.h>

#include "server/app.h"
#include "server/job.h"
#include "server/named.h"

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
	bool has_date, has_request_id, close, raw; /* see struct answer */
	bool again; /* the lines have to be written once more, by what is known now */
	bool event_stream; /* content-type: text/event-stream */
	bool has_connection; /* raw: a Connection field is among the lines */
	bool streaming; /* by app_stream_begin() */
	s64 content_length; /* bytes, or LENGTH_UNKNOWN */
	u64 done_ns; /* CLOCK_MONOTONIC */
	struct reply_block *lent; /* ours to fill until it is sealed; NULL = none */
	u32 lent_room; /* bytes of it */
	char *lent_bytes;

	/* Of Ruby; a reply is on the stack or marked by what embeds it. 0 = none. */
	VALUE env, headers;
	VALUE error; /* what the app raised instead of an answer */
	VALUE partial; /* the callable of the header rack.hijack */
	VALUE named; /* the value of X-Sendfile or X-Accel-Redirect: a String */
	enum named_kind named_kind;
	VALUE io; /* the connection, once the app has taken it */
	VALUE stream; /* has taken this reply over: what is left to do is done through its own */
	u64 token; /* see finished.h */
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

/*
 * Sends the head, if it has not gone yet, and lends room for @room bytes of body
 * behind it, into which @len bytes at @p go first. Nothing may be pending. 0 or
 * -ENOMEM. The next answer ends the loan, if the I/O thread did not before.
 */
int reply_lend(struct reply *r, u32 room, const char *p, u32 len) __must_check;

/* @len bytes into what is lent; false: it has no room, is sealed, or there is none. */
bool reply_fill(struct reply *r, const char *p, u32 len);

/* Of what was lent the I/O thread has taken as much as there was. */
bool reply_loan_ended(const struct reply *r);

/* What was lent is the I/O thread's alone. */
void reply_end_loan(struct reply *r);

/* The thread is not at the client's pace any more, if it was. */
void reply_end_streaming(struct reply *r);

/* The lines written as an interim answer. @r is one of its own beside that of the answer. 0 or -ENOMEM. */
int reply_inform(struct reply *r, u16 status) __must_check;

/* Asks for the connection, with the head (if that is written) before. 0 or -ENOMEM. */
int reply_hijack(struct reply *r, struct hijack *h, bool with_head) __must_check;

/* The same for a body that is a file; @fd goes along. */
void reply_send_file(struct reply *r, int fd, u64 len);

/*
 * The same for a file that the I/O thread is to find; @stamp: for NAMED_FILE. 0 or
 * -ENOMEM.
 */
int reply_send_named(struct reply *r, enum named_kind kind, struct view path,
		     const struct stamp *stamp) __must_check;

/* The last answer, for a body that will never be complete. */
void reply_abort(struct reply *r);

#endif
