/* SPDX-License-Identifier: MIT */
#include "ruby_glue/reply.h"

#include <assert.h>
#include <ruby.h>
#include <ruby/thread.h>
#include <stdlib.h>
#include <time.h>

#include "server/fail.h"

#define RING_FULL_WAIT_NS NSEC_PER_SEC

struct reply_block {
	struct answer answer;
	char bytes[];
};

static struct reply_block *block_new(size_t len)
{
	return mem_alloc(sizeof(struct reply_block) + len);
}

void reply_init(struct reply *r, struct app *app, struct job *job)
{
	*r = (struct reply){
		.app = app,
		.job = job,
		.content_length = LENGTH_UNKNOWN,
		.start = job->room,
		.head_end = job->room,
		.p = job->room,
		.end = job->room + job->room_len,
	};
}

void reply_fini(struct reply *r)
{
	free(r->block);
	free(r->last);
	r->block = r->last = NULL;
}

void reply_reset(struct reply *r)
{
	free(r->block);
	r->block = NULL;
	r->start = r->head_end = r->p = r->end = NULL;
	if (!r->head_sent) {
		r->start = r->head_end = r->p = r->job->room;
		r->end = r->start + r->job->room_len;
	}
}

/* What was written moves along: from the room to a block, from a block to a larger one. */
int reply_grow(struct reply *r, size_t len)
{
	size_t used = (size_t)(r->p - r->start), head_len = (size_t)(r->head_end - r->start);
	size_t size = used + max(used, len);
	struct reply_block *block = block_new(size);

	if (!block)
		return -ENOMEM;
	if (used)
		memcpy(block->bytes, r->start, used);
	free(r->block);
	r->block = block;
	r->start = block->bytes;
	r->head_end = r->start + head_len;
	r->p = r->start + used;
	r->end = r->start + size;
	return 0;
}

/* --- sending --- */

static void put_first(struct hold *h)
{
	struct answer *a = container_of(h, struct answer, hold);

	app_sent(a->job, (u32)a->data.len);
}

/* Only pieces that are not the whole answer count as unsent, see app_answer(). */
static bool counts(const struct answer *a)
{
	return a->flags & ANSWER_DATA && !(a->flags & ANSWER_END);
}

static void put_block(struct hold *h)
{
	struct answer *a = container_of(h, struct answer, hold);

	if (counts(a))
		app_sent(a->job, (u32)a->data.len);
	free(container_of(a, struct reply_block, answer));
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void *wait_answers(void *app)
{
	app_wait_answers(app, RING_FULL_WAIT_NS);
	return NULL;
}

/*
 * 0, or -ENOMEM for what is not the last answer. Nothing is raised while it
 * waits: half an answer would be lost.
 */
static int hand_over(struct reply *r, struct answer *a)
{
	bool last = a->flags & ANSWER_LAST;
	int err;

	if (last)
		r->done_ns = r->job->answered_ns = now_ns();
	while ((err = app_answer(r->app, a)) == -EAGAIN)
		rb_nogvl(wait_answers, r->app, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
	assert(!err || !last);
	r->done = last;
	return err;
}

static struct answer *fill(struct reply *r, struct answer *a, u32 flags)
{
	size_t head_len = (size_t)(r->head_end - r->start);

	a->job = r->job;
	a->hold.put = NULL;
	a->flags = flags;
	a->status = r->status;
	a->has_date = r->has_date;
	a->close = r->close;
	a->content_length = r->content_length;
	a->head = (struct view){ r->start, head_len };
	a->data = (struct view){ r->head_end, (size_t)(r->p - r->head_end) };
	a->fd = -1;
	a->off = a->len = 0;
	return a;
}

/* Where the answer itself lives: with its bytes, else what lies ready for that. */
static struct answer *answer_of(struct reply *r, u32 flags)
{
	struct answer *a;

	if (!r->block && r->head_sent) {
		r->block = r->last;
		r->last = NULL;
	}
	if (r->block) {
		a = fill(r, &r->block->answer, flags);
		a->hold.put = put_block;
		return a;
	}
	a = fill(r, &r->job->first, flags);
	if (counts(a))
		a->hold.put = put_first;
	return a;
}

/* The bytes are the answer's now. */
static void taken(struct reply *r)
{
	r->head_sent = true;
	r->block = NULL;
	r->start = r->head_end = r->p = r->end = NULL;
}

int reply_send(struct reply *r, u32 flags)
{
	struct reply_block *block;
	struct answer *a;
	bool head = !r->head_sent;
	int err;

	if (!(flags & ANSWER_END) && !r->last) {
		r->last = block_new(0);
		if (!r->last)
			return -ENOMEM;
	}
	if (head)
		flags |= ANSWER_HEAD;
	if (reply_pending(r))
		flags |= ANSWER_DATA;
	a = answer_of(r, flags);
	block = r->block;
	taken(r);
	err = hand_over(r, a);
	if (err) {
		free(block);
		r->head_sent = !head;
	}
	return err;
}

void reply_send_file(struct reply *r, int fd, u64 len)
{
	struct answer *a = answer_of(r, ANSWER_HEAD | ANSWER_FILE | ANSWER_END);

	a->fd = fd;
	a->len = len;
	taken(r);
	hand_over(r, a);
}

void reply_abort(struct reply *r)
{
	struct answer *a;

	reply_reset(r);
	a = answer_of(r, ANSWER_ABORT);
	taken(r);
	hand_over(r, a);
}
