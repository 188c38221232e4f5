/* SPDX-License-Identifier: MIT */
#include "ruby_glue/pour.h"

#include <ruby/thread.h>

#include "ruby_glue/head.h"
#include "server/clock.h"

#define PIECE_MAX APP_UNSENT_MAX /* of one answer of several, bytes */
#define WAIT_NS NSEC_PER_SEC
#define OFFER_NS NSEC_PER_MSEC /* a producer lets others have the GVL so often */

void pour_init(struct pour *p, struct reply *r)
{
	*p = (struct pour){ .r = r, .declared = r->content_length, .whole = r->app->nr_threads == 0 };
}

static void *wait_room(void *job)
{
	app_wait_room(job, WAIT_NS);
	return NULL;
}

/* The client's pace is ours; and so is that of the threads beside us, whose GVL it is too. */
static void wait_for_turn(struct pour *p)
{
	struct job *job = p->r->job;
	u64 now;

	while ((__atomic_load_n(&job->unsent, __ATOMIC_ACQUIRE) & ~JOB_UNSENT_WAITED) >=
		       APP_UNSENT_MAX &&
	       !job_gone(job) && !p->stopped)
		rb_nogvl(wait_room, job, RUBY_UBF_IO, NULL, 0);
	if (unlikely(p->stopped))
		rb_raise(rb_eIOError, "closed stream");
	now = monotonic_ns();
	if (now - p->offered_ns < OFFER_NS)
		return;
	if (p->offered_ns && app_has_others(p->r->app))
		rb_thread_schedule();
	p->offered_ns = now;
}

static void append(struct reply *r, const char *from, size_t len)
{
	if (reply_need(r, len))
		rb_memerror();
	memcpy(r->p, from, len);
	r->p += len;
}

static void send_part(struct pour *p)
{
	if (reply_send(p->r, 0))
		rb_memerror();
}

/* Is it all, so that END can go along with the last of it? */
static bool complete(const struct pour *p)
{
	return p->declared >= 0 && p->poured == (u64)p->declared;
}

static void lend(struct pour *p, u32 room, const char *from, u32 len)
{
	if (reply_lend(p->r, room, from, len))
		rb_memerror();
}

/* Room that was full before it was due: there will be more of the kind. */
static u32 next_room(const struct reply *r)
{
	return r->lent && !reply_loan_ended(r) ? POUR_ROOM_FAST : POUR_ROOM;
}

static void pour_small(struct pour *p, VALUE piece)
{
	u32 len = (u32)RSTRING_LEN(piece);
	u32 room;

	if (reply_fill(p->r, RSTRING_PTR(piece), len))
		return;
	room = next_room(p->r);
	wait_for_turn(p);
	/* The app may shorten it while we wait. */
	len = min(len, (u32)RSTRING_LEN(piece));
	lend(p, room, RSTRING_PTR(piece), len);
}

/* Pieces of a size that is worth a send of its own. */
static void pour_large(struct pour *p, VALUE piece, size_t len)
{
	struct reply *r = p->r;
	size_t off = 0, n;

	for (; off < len && off < (size_t)RSTRING_LEN(piece); off += n) {
		if (!p->whole)
			wait_for_turn(p);
		n = min(len, (size_t)RSTRING_LEN(piece));
		if (n <= off)
			break;
		n = min(n - off, PIECE_MAX);
		append(r, RSTRING_PTR(piece) + off, n);
		p->poured += n;
		if (!p->whole && !complete(p))
			send_part(p);
	}
}

static void check(const struct pour *p, VALUE piece, size_t len)
{
	if (p->declared >= 0 && len > (u64)p->declared - p->poured)
		glue_bad_response("body is longer than its content-length of %lld",
				  (long long)p->declared);
	if (p->whole && len > POUR_INLINE_MAX - p->poured)
		glue_bad_response("body is longer than %llu bytes, the most that threads 0 takes",
				  POUR_INLINE_MAX);
}

void pour_head(struct pour *p)
{
	if (!p->whole && !p->r->head_sent)
		lend(p, POUR_ROOM, NULL, 0);
}

void pour_piece(struct pour *p, VALUE piece)
{
	size_t len;

	if (!RB_TYPE_P(piece, T_STRING))
		glue_bad_response("body gives %s instead of String", rb_obj_classname(piece));
	len = (size_t)RSTRING_LEN(piece);
	check(p, piece, len);
	if (!len)
		return;
	if (p->whole || len >= POUR_SMALL || (!p->r->lent && p->poured + len == (u64)p->declared)) {
		pour_large(p, piece, len);
	} else {
		pour_small(p, piece);
		p->poured += len;
	}
	RB_GC_GUARD(piece);
}

void pour_flush(struct pour *p)
{
	struct reply *r = p->r;

	/* Any answer ends the loan. */
	if (!p->whole && (reply_pending(r) || (r->lent && !reply_loan_ended(r))))
		send_part(p);
}

void pour_end(struct pour *p)
{
	struct reply *r = p->r;

	if (job_gone(r->job)) {
		reply_abort(r);
		return;
	}
	if (p->declared >= 0 && p->poured != (u64)p->declared)
		glue_bad_response("body has %llu bytes and a content-length of %lld",
				  (unsigned long long)p->poured, (long long)p->declared);
	if (!r->head_sent && !r->raw)
		r->content_length = (s64)p->poured;
	if (reply_send(r, ANSWER_END))
		rb_memerror();
}
