/* SPDX-License-Identifier: MIT */
/*
 * An application behind one HTTP/1.1 link, as a test says its lines: pieces
 * that may be on loan, interim answers, the wish for the connection itself, and
 * what it is told of the end.
 */
#ifndef HYPERION_SELFTESTS_UNIT_H1_STAGE_H
#define HYPERION_SELFTESTS_UNIT_H1_STAGE_H

#include "selftests/h1_owner.h"
#include "selftests/harness/harness.h"
#include "server/req.h"

#include <stdlib.h>
#include <unistd.h>

#define STAGE_REQS 64
#define STAGE_TOLD 64

/* An answer with its bytes; the producer and the link have a share each while it is lent. */
struct piece {
	struct answer a;
	struct stage *stage;
	u32 refs, fill, room, credit;
	char bytes[];
};

struct told {
	u64 token;
	bool sent;
};

struct stage {
	struct owner o;
	struct req *reqs[STAGE_REQS]; /* claimed, as they came; NULL once the last answer is said */
	u32 nr_reqs;
	struct told told[STAGE_TOLD];
	u32 nr_told;
	u32 nr_pieces; /* not yet freed */
	bool any_done; /* memory fails: requests that counted may never have begun */
	u64 unsent; /* bytes of DATA pieces whose hold was not put */
};

static inline void stage_no_touch(struct link *l)
{
	(void)l; /* the owner looks after every step */
}

static inline bool stage_init(struct stage *s)
{
	*s = (struct stage){ 0 };
	if (!owner_init(&s->o))
		return false;
	s->o.copy = COPY_TO_HEAP;
	s->o.http.has_app = true;
	s->o.http.max_waiting = 10000;
	s->o.http.touch = stage_no_touch;
	return true;
}

/* JOB_SENT is heard and answered at once. */
static inline void stage_hear(struct stage *s, struct req *r)
{
	struct job *j = &r->job;

	EXPECT_NULL(r->link);
	EXPECT_NE(j->token, 0);
	EXPECT_FALSE(job_gone(j));
	EXPECT_TRUE(job_claim(j));
	if (s->nr_told < STAGE_TOLD)
		s->told[s->nr_told++] = (struct told){ j->token, j->sent };
	j->first = (struct answer){ .job = j, .flags = ANSWER_END, .fd = -1 };
	answer_drop(&j->first);
	req_returned(r);
}

static inline void stage_take(struct stage *s)
{
	struct http *http = &s->o.http;

	while (!list_empty(&http->submit)) {
		struct req *r = list_first(&http->submit, struct req, submit);

		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		if (r->job.kind == JOB_SENT) {
			stage_hear(s, r);
			continue;
		}
		EXPECT_TRUE(job_claim(&r->job));
		EXPECT_LT(s->nr_reqs, STAGE_REQS);
		s->reqs[s->nr_reqs++] = r;
		s->o.nr_with_app++;
	}
}

static inline void stage_feed(struct stage *s, const char *text)
{
	owner_feed(&s->o, text, strlen(text));
	stage_take(s);
}

static inline void piece_put(struct piece *p)
{
	struct stage *s = p->stage;

	if (--p->refs)
		return;
	s->nr_pieces--;
	free(p);
}

static inline void stage_put(struct hold *h)
{
	struct piece *p = container_of(h, struct piece, a.hold);

	p->stage->unsent -= p->credit;
	p->credit = 0;
	piece_put(p);
}

static inline struct piece *stage_piece(struct stage *s, u32 i, u32 flags, const char *text, u32 room)
{
	u32 len = (u32)strlen(text);
	struct piece *p = calloc(1, sizeof(*p) + max(room, len));

	memcpy(p->bytes, text, len);
	p->stage = s;
	p->refs = 1;
	p->room = room;
	p->a = (struct answer){
		.job = &s->reqs[i]->job,
		.hold.put = stage_put,
		.flags = flags,
		.status = 200,
		.pieces = 1,
		.content_length = LENGTH_UNKNOWN,
		.head = flags & (ANSWER_HEAD | ANSWER_INFORM) ? VIEW("x: y\r\n") : VIEW(""),
		.data = { p->bytes, len },
		.fd = -1,
	};
	if (flags & ANSWER_DATA)
		p->credit = room ? room : len;
	s->unsent += p->credit;
	s->nr_pieces++;
	return p;
}

/* As the worker passes it on. */
static inline void stage_say(struct stage *s, u32 i, struct answer *a)
{
	bool last = a->flags & ANSWER_LAST;
	struct req *r = s->reqs[i];
	struct link *l = r->link;

	if (last) {
		s->o.nr_with_app--;
		s->reqs[i] = NULL;
	}
	if (l) {
		l->proto->answer(l, r, a);
		owner_flush(&s->o);
	} else {
		answer_drop(a);
		if (last)
			req_returned(r);
	}
	stage_take(s);
}

static inline void stage_send(struct stage *s, u32 i, u32 flags, const char *text)
{
	stage_say(s, i, &stage_piece(s, i, flags, text, 0)->a);
}

/* The producer's share is the caller's to put. */
static inline struct piece *stage_lend(struct stage *s, u32 i, u32 flags, const char *text, u32 room)
{
	struct piece *p = stage_piece(s, i, flags | ANSWER_DATA, text, room);

	p->fill = text[0] ? FILL_PIECE + (u32)strlen(text) : 0;
	p->a.fill = &p->fill;
	p->a.data.len = room;
	p->refs = 2;
	stage_say(s, i, &p->a);
	return p;
}

static inline bool piece_add(struct piece *p, const char *text)
{
	u32 len = (u32)strlen(text), at = fill_len(p->fill);

	memcpy(p->bytes + at, text, len);
	return fill_add(&p->fill, len);
}

/* What the loop does between two batches. */
static inline void stage_pass(struct stage *s, u64 ns)
{
	s->o.http.now_ns += ns;
	http_flush_lent(&s->o.http);
	owner_flush(&s->o);
	stage_take(s);
}

/* Everything comes to its end: nothing may be left. */
static inline void stage_fini(struct stage *s)
{
	owner_cut(&s->o);
	stage_take(s);
	for (u32 i = 0; i < s->nr_reqs; i++)
		if (s->reqs[i])
			stage_send(s, i, ANSWER_ABORT, "");
	stage_take(s);
	EXPECT_EQ(s->o.http.reqs.nr_used, 0);
	EXPECT_EQ(s->o.http.nr_submit, 0);
	EXPECT_TRUE(list_empty(&s->o.http.lent));
	EXPECT_EQ(s->nr_pieces, 0);
	EXPECT_EQ(s->unsent, 0);
	if (!s->any_done)
		EXPECT_EQ(s->o.nr_done, s->o.http.stats.requests + s->o.http.stats.refused);
	owner_fini(&s->o);
}

#endif
