/* SPDX-License-Identifier: MIT */
/*
 * Bodies that are still being written when their answer is taken: lent pieces,
 * interim answers, and what the application hears of the end.
 */
#include "selftests/h1_rules.h"
#include "selftests/unit/h1_stage.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /app" HOST "\r\n"
#define HEAD_AND_DATA (ANSWER_HEAD | ANSWER_DATA)

FIXTURE(stream)
{
	struct stage s;
};

FIXTURE_SETUP(stream)
{
	ASSERT_TRUE(stage_init(&self->s));
}

FIXTURE_TEARDOWN(stream)
{
	stage_fini(&self->s);
}

static const char *out_of(struct stage *s)
{
	static char text[64 * KIB];

	snprintf(text, sizeof(text), "%.*s", (int)s->o.out.len, s->o.out.p ? s->o.out.p : "");
	return text;
}

/* What came behind the first head. */
static const char *body_of(struct stage *s)
{
	const char *end = strstr(out_of(s), "\r\n\r\n");

	return end ? end + 4 : "no head";
}

/* --- loans --- */

TEST_F(stream, a_loan_leaves_when_it_is_due)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, GET);
	EXPECT_EQ(http_lent_due_ns(&s->o.http), 0);
	p = stage_lend(s, 0, ANSWER_HEAD, "one", 100);
	EXPECT_EQ(http_lent_due_ns(&s->o.http), s->o.http.now_ns + HTTP_LENT_NS);
	EXPECT_TRUE(piece_add(p, "two"));
	stage_pass(s, HTTP_LENT_NS - 1);
	EXPECT_EQ(s->o.out.len, 0);
	EXPECT_TRUE(piece_add(p, "three"));
	stage_pass(s, 1);
	EXPECT_STREQ(body_of(s), "b\r\nonetwothree\r\n");
	EXPECT_EQ(http_lent_due_ns(&s->o.http), 0);
	/* Too late for this one. */
	EXPECT_FALSE(piece_add(p, "four"));
	piece_put(p);
	EXPECT_EQ(s->o.http.stats.chunked_responses, 1);
	EXPECT_EQ(s->o.http.stats.chunked_writes, 1);
	EXPECT_EQ(s->o.http.stats.coalesced_writes, 3);
	stage_send(s, 0, ANSWER_END, "");
	EXPECT_STREQ(body_of(s), "b\r\nonetwothree\r\n0\r\n\r\n");
	EXPECT_EQ(s->o.done[0].bytes_out, s->o.out.len);
	EXPECT_TRUE(s->o.done[0].sent);
}

/* An event stream opens: its head goes out before there is anything to say. */
TEST_F(stream, a_loan_of_nothing_is_a_head)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, GET);
	p = stage_lend(s, 0, ANSWER_HEAD, "", 100);
	stage_pass(s, HTTP_LENT_NS);
	piece_put(p);
	EXPECT_STREQ(body_of(s), "");
	EXPECT_NOT_NULL(strstr(out_of(s), "transfer-encoding: chunked\r\n\r\n"));
	EXPECT_EQ(s->o.http.stats.chunked_writes, 0);
	stage_send(s, 0, ANSWER_END, "");
	EXPECT_STREQ(body_of(s), "0\r\n\r\n");
}

TEST_F(stream, the_next_answer_ends_the_loan)
{
	struct stage *s = &self->s;
	struct piece *first, *second;

	stage_feed(s, GET);
	first = stage_lend(s, 0, ANSWER_HEAD, "a", 100);
	EXPECT_TRUE(piece_add(first, "b"));
	second = stage_lend(s, 0, 0, "c", 100);
	EXPECT_STREQ(body_of(s), "2\r\nab\r\n");
	EXPECT_FALSE(piece_add(first, "-"));
	EXPECT_TRUE(piece_add(second, "d"));
	stage_send(s, 0, ANSWER_DATA, "ef");
	EXPECT_STREQ(body_of(s), "2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n");
	EXPECT_FALSE(piece_add(second, "-"));
	piece_put(first);
	piece_put(second);
	first = stage_lend(s, 0, 0, "", 100);
	EXPECT_TRUE(piece_add(first, "g"));
	stage_send(s, 0, ANSWER_END, "");
	piece_put(first);
	EXPECT_STREQ(body_of(s), "2\r\nab\r\n2\r\ncd\r\n2\r\nef\r\n1\r\ng\r\n0\r\n\r\n");
	EXPECT_EQ(s->o.http.stats.coalesced_writes, 4);
}

/* The oldest is due first, whichever link's turn it is. */
TEST_F(stream, loans_are_due_in_their_order)
{
	struct stage *s = &self->s;
	struct piece *late, *early;

	stage_feed(s, GET GET);
	early = stage_lend(s, 1, ANSWER_HEAD, "behind", 100);
	s->o.http.now_ns += HTTP_LENT_NS / 2;
	late = stage_lend(s, 0, ANSWER_HEAD, "first", 100);
	stage_pass(s, HTTP_LENT_NS / 2);
	EXPECT_FALSE(piece_add(early, "-"));
	EXPECT_TRUE(piece_add(late, "-"));
	EXPECT_EQ(s->o.out.len, 0);
	stage_pass(s, HTTP_LENT_NS / 2);
	EXPECT_STREQ(body_of(s), "6\r\nfirst-\r\n");
	piece_put(early);
	/* The second one goes on behind what waits for its turn. */
	early = stage_lend(s, 1, 0, "more", 100);
	stage_send(s, 0, ANSWER_END, "");
	EXPECT_NOT_NULL(strstr(body_of(s), "0\r\n\r\nHTTP/1.1 200 OK\r\n"));
	EXPECT_NOT_NULL(strstr(body_of(s), "6\r\nbehind\r\n"));
	EXPECT_NULL(strstr(body_of(s), "more"));
	stage_pass(s, HTTP_LENT_NS);
	EXPECT_NOT_NULL(strstr(body_of(s), "6\r\nbehind\r\n4\r\nmore\r\n"));
	stage_send(s, 1, ANSWER_END, "");
	piece_put(early);
	piece_put(late);
	EXPECT_EQ(s->o.nr_done, 2);
}

TEST_F(stream, what_was_lent_leaves_before_the_cut)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, GET);
	p = stage_lend(s, 0, ANSWER_HEAD, "said", 100);
	stage_send(s, 0, ANSWER_ABORT, "");
	EXPECT_STREQ(body_of(s), "4\r\nsaid\r\n");
	EXPECT_TRUE(s->o.closed);
	EXPECT_FALSE(piece_add(p, "-"));
	piece_put(p);
}

TEST_F(stream, the_client_leaves_a_loan_behind)
{
	struct stage *s = &self->s;
	struct piece *p;
	struct job *j;

	stage_feed(s, GET);
	j = &s->reqs[0]->job;
	p = stage_lend(s, 0, ANSWER_HEAD, "said", 100);
	owner_cut(&s->o);
	EXPECT_TRUE(job_gone(j));
	EXPECT_FALSE(piece_add(p, "-"));
	EXPECT_EQ(s->unsent, 0);
	piece_put(p);
	/* One that was on its way meanwhile. */
	p = stage_lend(s, 0, 0, "late", 100);
	EXPECT_FALSE(piece_add(p, "-"));
	piece_put(p);
	EXPECT_EQ(s->nr_pieces, 0);
}

TEST_F(stream, head_has_no_body)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, "HEAD /app" HOST "\r\n" GET);
	p = stage_lend(s, 0, ANSWER_HEAD, "nothing", 100);
	stage_pass(s, HTTP_LENT_NS);
	EXPECT_STREQ(body_of(s), "");
	EXPECT_NULL(strstr(out_of(s), "chunked"));
	piece_put(p);
	stage_send(s, 0, ANSWER_DATA | ANSWER_END, "nothing");
	EXPECT_STREQ(body_of(s), "");
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "next");
	EXPECT_NOT_NULL(strstr(body_of(s), "4\r\nnext\r\n0\r\n\r\n"));
}

TEST_F(stream, http_1_0_until_close)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, "GET /app HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	p = stage_lend(s, 0, ANSWER_HEAD, "one", 100);
	stage_pass(s, HTTP_LENT_NS);
	piece_put(p);
	stage_send(s, 0, ANSWER_DATA, "two");
	EXPECT_FALSE(s->o.closed);
	EXPECT_NOT_NULL(strstr(out_of(s), "connection: close\r\n"));
	stage_send(s, 0, ANSWER_END, "");
	EXPECT_STREQ(body_of(s), "onetwo");
	EXPECT_TRUE(s->o.closed);
	EXPECT_EQ(s->o.http.stats.chunked_responses, 0);
	EXPECT_EQ(s->o.http.stats.chunked_writes, 0);
}

/*
 * Pieces too small to be referenced: as long as the client takes nothing they
 * are not sent either, and their producer has to learn that.
 */
TEST_F(stream, small_pieces_are_unsent_until_they_leave)
{
	struct stage *s = &self->s;
	u64 queued = 0;
	char text[601];

	memset(text, 'x', 600);
	text[600] = '\0';
	stage_feed(s, GET);
	s->o.stopped = true;
	stage_send(s, 0, HEAD_AND_DATA, text);
	/* A producer that stops at 256 KiB of credit. */
	for (int i = 0; i < 5000 && s->unsent < 256 * KIB; i++) {
		stage_send(s, 0, ANSWER_DATA, text);
		queued += 600;
	}
	EXPECT_GE(s->unsent, 256 * KIB);
	EXPECT_LE(queued, 512 * KIB);
	s->o.stopped = false;
	owner_flush(&s->o);
	EXPECT_EQ(s->unsent, 0);
	/* With room again, the next small ones go together into one piece of memory. */
	stage_send(s, 0, ANSWER_DATA | ANSWER_END, "end");
	EXPECT_EQ(s->nr_pieces, 0);
}

/* --- interim answers --- */

TEST_F(stream, informs_before_the_head)
{
	struct stage *s = &self->s;
	struct piece *p;

	stage_feed(s, GET);
	p = stage_piece(s, 0, ANSWER_INFORM, "", 0);
	p->a.status = 103;
	stage_say(s, 0, &p->a);
	EXPECT_STREQ(out_of(s), "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n");
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "body");
	EXPECT_EQ(strncmp(body_of(s), "HTTP/1.1 200 OK\r\n", 17), 0);
	EXPECT_EQ(s->o.done[0].status, 200);
	EXPECT_EQ(s->o.done[0].bytes_out, s->o.out.len);
}

TEST_F(stream, informs_nobody_of_1_0_and_not_after_the_head)
{
	struct stage *s = &self->s;

	stage_feed(s, GET "GET /app HTTP/1.0\r\n\r\n");
	stage_send(s, 0, ANSWER_HEAD, "");
	stage_send(s, 0, ANSWER_INFORM, "");
	stage_send(s, 1, ANSWER_INFORM, "");
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "two");
	stage_send(s, 0, ANSWER_END, "");
	EXPECT_NULL(strstr(out_of(s), "HTTP/1.1 103"));
	EXPECT_EQ(s->o.http.stats.status[2], 2);
	EXPECT_TRUE(s->o.closed);
}

TEST_F(stream, informs_in_its_turn)
{
	struct stage *s = &self->s;
	const char *first, *hint;
	struct piece *p;

	stage_feed(s, GET GET);
	p = stage_piece(s, 1, ANSWER_INFORM, "", 0);
	p->a.status = 103;
	stage_say(s, 1, &p->a);
	EXPECT_EQ(s->o.out.len, 0);
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "one");
	first = strstr(out_of(s), "3\r\none\r\n0\r\n\r\n");
	hint = strstr(out_of(s), "HTTP/1.1 103");
	EXPECT_TRUE(first && hint && first < hint);
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "two");
}

/* --- what the app hears of the end --- */

TEST_F(stream, told_when_the_last_byte_has_left)
{
	struct stage *s = &self->s;

	stage_feed(s, GET GET);
	s->o.stopped = true;
	s->reqs[0]->job.token = 7;
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "one");
	EXPECT_EQ(s->nr_told, 0);
	while (s->o.link->out.queued - s->o.link->out.sent > 1)
		owner_send(&s->o, 1);
	stage_take(s);
	EXPECT_EQ(s->nr_told, 0);
	owner_send(&s->o, 1);
	stage_take(s);
	ASSERT_EQ(s->nr_told, 1);
	EXPECT_EQ(s->told[0].token, 7);
	EXPECT_TRUE(s->told[0].sent);
	/* The other one has not asked. */
	s->o.stopped = false;
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "two");
	EXPECT_EQ(s->nr_told, 1);
	EXPECT_EQ(s->o.nr_done, 2);
}

TEST_F(stream, told_when_it_was_cut)
{
	struct stage *s = &self->s;

	stage_feed(s, GET GET GET GET);
	s->o.stopped = true;
	for (u32 i = 0; i < 4; i++)
		s->reqs[i]->job.token = i + 1;
	/* Complete and half out; complete, not its turn; begun; not even that. */
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "one");
	owner_send(&s->o, 20);
	stage_send(s, 2, HEAD_AND_DATA | ANSWER_END, "three");
	stage_send(s, 1, HEAD_AND_DATA, "two");
	owner_cut(&s->o);
	stage_take(s);
	EXPECT_EQ(s->nr_told, 2);
	stage_send(s, 1, ANSWER_DATA | ANSWER_END, "two");
	stage_send(s, 3, ANSWER_ABORT, "");
	ASSERT_EQ(s->nr_told, 4);
	for (u32 i = 0; i < 4; i++)
		EXPECT_FALSE(s->told[i].sent);
	EXPECT_EQ(s->told[0].token + s->told[1].token, 4);
	EXPECT_EQ(s->told[2].token, 2);
	EXPECT_EQ(s->told[3].token, 4);
}

TEST_F(stream, told_of_an_abort)
{
	struct stage *s = &self->s;

	stage_feed(s, GET);
	s->reqs[0]->job.token = 1;
	stage_send(s, 0, HEAD_AND_DATA, "one");
	stage_send(s, 0, ANSWER_ABORT, "");
	ASSERT_EQ(s->nr_told, 1);
	EXPECT_TRUE(s->o.closed);
}

/* A telling that waits for its turn outlives the connection, and nothing is told twice. */
TEST_F(stream, told_once_after_the_client_went)
{
	struct stage *s = &self->s;
	struct req *r;

	stage_feed(s, GET);
	r = s->reqs[0];
	r->job.token = 3;
	s->o.nr_with_app--;
	s->reqs[0] = NULL;
	s->o.link->proto->answer(s->o.link, r,
				 &(struct answer){ .job = &r->job,
						   .flags = ANSWER_HEAD | ANSWER_END,
						   .status = 200,
						   .content_length = 0,
						   .fd = -1 });
	owner_flush(&s->o);
	EXPECT_EQ(s->o.http.nr_submit, 1);
	owner_cut(&s->o);
	EXPECT_EQ(s->o.http.nr_submit, 1);
	stage_take(s);
	ASSERT_EQ(s->nr_told, 1);
	EXPECT_TRUE(s->told[0].sent);
}
