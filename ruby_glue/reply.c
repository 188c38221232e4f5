/* SPDX-License-Identifier: MIT */
#include "ruby_glue/reply.h"

#include <assert.h>
#include <ruby.h>
#include <ruby/thread.h>
#include <stdlib.h>

#include "ruby_glue/finished.h"
#include "server/clock.h"
#include "server/fail.h"

#define RING_FULL_WAIT_NS NSEC_PER_SEC

struct reply_block {
	struct answer answer;
	u32 refs; /* __atomic: the answer's, and ours while it is lent */
	u32 credit; /* what the answer counts as unsent */
	u32 fill; /* see fill_add() */
	char bytes[];
};

static struct reply_block *block_new(size_t len)
{
	struct reply_block *block = mem_alloc(sizeof(*block) + len);

	if (block)
		block->refs = 1;
	return block;
}

static void block_put(struct reply_block *block)
{
	if (block && __atomic_sub_fetch(&block->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(block);
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
	reply_end_loan(r);
	free(r->block);
	free(r->last);
	r->block = r->last = NULL;
}

void reply_reset(struct reply *r)
{
	reply_end_loan(r);
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
	struct reply_block *block = container_of(a, struct reply_block, answer);

	if (block->credit)
		app_sent(a->job, block->credit);
	block_put(block);
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

	if (last) {
		r->done_ns = r->job->answered_ns = monotonic_ns();
		if (!r->token)
			r->token = glue_finished_token(r);
		r->job->token = r->token;
	}
	while ((err = app_answer(r->app, a)) == -EAGAIN)
		rb_nogvl(wait_answers, r->app, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
	assert(!err || !last);
	r->done |= last;
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
	a->has_request_id = r->has_request_id;
	a->close = r->close;
	a->raw = r->raw;
	a->pieces = 1;
	a->fill = NULL;
	a->hijack = NULL;
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
		r->block->credit = counts(a) ? (u32)a->data.len : 0;
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

/* An answer that is not the last needs one more block, sooner or later. */
static int put_last_by(struct reply *r)
{
	if (!r->last)
		r->last = block_new(0);
	return r->last ? 0 : -ENOMEM;
}

int reply_send(struct reply *r, u32 flags)
{
	struct reply_block *block;
	struct answer *a;
	bool head = !r->head_sent;
	int err;

	if (!(flags & ANSWER_END) && put_last_by(r))
		return -ENOMEM;
	reply_end_loan(r);
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

void reply_end_loan(struct reply *r)
{
	block_put(r->lent);
	r->lent = NULL;
}

void reply_end_streaming(struct reply *r)
{
	if (r->streaming)
		app_stream_end(r->app);
	r->streaming = false;
}

bool reply_loan_ended(const struct reply *r)
{
	return __atomic_load_n(&r->lent->fill, __ATOMIC_RELAXED) & FILL_SEALED;
}

bool reply_fill(struct reply *r, const char *p, u32 len)
{
	struct reply_block *block = r->lent;
	u32 at, used;

	if (!block)
		return false;
	used = __atomic_load_n(&block->fill, __ATOMIC_RELAXED);
	at = fill_len(used);
	if (used & FILL_SEALED || len > r->lent_room - at)
		return false;
	memcpy(r->lent_bytes + at, p, len);
	return fill_add(&block->fill, len);
}

int reply_lend(struct reply *r, u32 room, const char *p, u32 len)
{
	bool head = !r->head_sent;
	size_t head_len = head ? (size_t)(r->head_end - r->start) : 0;
	struct reply_block *block;
	struct answer *a;
	int err;

	assert(room <= FILL_MAX && len <= room && !reply_pending(r));
	if (put_last_by(r))
		return -ENOMEM;
	block = block_new(head_len + room);
	if (!block)
		return -ENOMEM;
	reply_end_loan(r);
	if (head_len)
		memcpy(block->bytes, r->start, head_len);
	free(r->block);
	r->block = block;
	r->start = block->bytes;
	r->head_end = r->p = block->bytes + head_len;
	a = answer_of(r, ANSWER_DATA | (head ? ANSWER_HEAD : 0));
	memcpy(r->p, p, len);
	a->data.len = block->credit = room;
	a->fill = &block->fill;
	block->fill = len ? FILL_PIECE + len : 0;
	block->refs = 2;
	r->lent = block;
	r->lent_room = room;
	r->lent_bytes = r->p;
	taken(r);
	err = hand_over(r, a);
	if (err) {
		r->head_sent = !head;
		r->lent = NULL;
		free(block);
	}
	return err;
}

int reply_inform(struct reply *r, u16 status)
{
	struct reply_block *block = r->block;
	struct answer *a;
	int err;

	assert(block);
	r->status = status;
	a = answer_of(r, ANSWER_INFORM);
	taken(r);
	err = hand_over(r, a);
	if (err)
		free(block);
	return err;
}

int reply_hijack(struct reply *r, struct hijack *h, bool with_head)
{
	struct reply_block *block;
	struct answer *a;
	int err;

	if (put_last_by(r))
		return -ENOMEM;
	if (!with_head)
		reply_reset(r);
	/* A block in any case: what is in the job may be in use by the handler. */
	err = r->block ? 0 : reply_grow(r, 1);
	if (err)
		return err;
	block = r->block;
	a = answer_of(r, ANSWER_HIJACK | (with_head ? ANSWER_HEAD : 0));
	a->hijack = h;
	taken(r);
	err = hand_over(r, a);
	if (err)
		free(block);
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

int reply_send_named(struct reply *r, enum named_kind kind, struct view path,
		     const struct stamp *stamp)
{
	struct named n = { .kind = kind, .len = path.len };
	struct answer *a;

	if (reply_need(r, sizeof(n) + path.len))
		return -ENOMEM;
	if (stamp)
		n.stamp = *stamp;
	memcpy(r->p, &n, sizeof(n));
	memcpy(r->p + sizeof(n), path.p, path.len);
	r->p += sizeof(n) + path.len;
	a = answer_of(r, ANSWER_HEAD | ANSWER_NAMED | ANSWER_END);
	taken(r);
	hand_over(r, a);
	return 0;
}

void reply_abort(struct reply *r)
{
	struct answer *a;

	reply_reset(r);
	a = answer_of(r, ANSWER_ABORT);
	taken(r);
	hand_over(r, a);
}
