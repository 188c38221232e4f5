/* SPDX-License-Identifier: MIT */
/* The application wants the connection itself: when it gets it, with what, and who learns of it. */
#include "selftests/h1_rules.h"
#include "selftests/unit/h1_stage.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /app" HOST "\r\n"
#define UPGRADE "GET /app" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n"
#define HEAD_AND_DATA (ANSWER_HEAD | ANSWER_DATA)

FIXTURE(hijack)
{
	struct stage s;
	struct hijack h;
};

FIXTURE_SETUP(hijack)
{
	ASSERT_TRUE(stage_init(&self->s));
	self->h.fd = -7;
}

FIXTURE_TEARDOWN(hijack)
{
	if (self->h.done && self->h.fd >= 0)
		close(self->h.fd);
	free(self->h.rest);
	stage_fini(&self->s);
}

static const char *out_of(struct stage *s)
{
	static char text[64 * KIB];

	snprintf(text, sizeof(text), "%.*s", (int)s->o.out.len, s->o.out.p ? s->o.out.p : "");
	return text;
}

static void want(struct stage *s, u32 i, struct hijack *h, u32 flags)
{
	struct piece *p = stage_piece(s, i, ANSWER_HIJACK | flags, "", 0);

	p->a.hijack = h;
	p->a.raw = flags & ANSWER_HEAD;
	stage_say(s, i, &p->a);
}

TEST_F(hijack, at_once)
{
	struct stage *s = &self->s;

	stage_feed(s, UPGRADE);
	s->reqs[0]->job.token = 5;
	want(s, 0, &self->h, 0);
	ASSERT_TRUE(self->h.done);
	EXPECT_GE(self->h.fd, 0);
	EXPECT_EQ(self->h.rest_len, 0);
	EXPECT_TRUE(s->o.detached);
	EXPECT_EQ(s->o.out.len, 0);
	/* The handler is not through yet. */
	EXPECT_EQ(s->o.nr_done, 0);
	EXPECT_EQ(s->nr_told, 0);
	stage_send(s, 0, ANSWER_ABORT, "");
	EXPECT_EQ(s->o.nr_done, 1);
	EXPECT_EQ(s->o.http.stats.hijacked, 1);
	EXPECT_EQ(s->o.http.stats.status[0], 0);
	ASSERT_EQ(s->nr_told, 1);
	EXPECT_TRUE(s->told[0].sent);
}

TEST_F(hijack, with_what_came_behind_an_upgrade)
{
	struct stage *s = &self->s;

	stage_feed(s, UPGRADE "\x01\x02 not HTTP");
	stage_feed(s, " at all");
	EXPECT_TRUE(s->o.held);
	EXPECT_EQ(s->nr_reqs, 1);
	want(s, 0, &self->h, 0);
	ASSERT_TRUE(self->h.done);
	ASSERT_EQ(self->h.rest_len, 18);
	EXPECT_MEMEQ(self->h.rest, "\x01\x02 not HTTP at all", 18);
}

/* The app knows no upgrade: what was held back is the next request. */
TEST_F(hijack, an_upgrade_answered_as_usual)
{
	struct stage *s = &self->s;

	stage_feed(s, UPGRADE GET);
	EXPECT_EQ(s->nr_reqs, 1);
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "no");
	ASSERT_EQ(s->nr_reqs, 2);
	stage_feed(s, GET);
	/* Only behind an upgrade nothing is read ahead. */
	ASSERT_EQ(s->nr_reqs, 3);
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "no");
	stage_send(s, 2, HEAD_AND_DATA | ANSWER_END, "no");
	EXPECT_EQ(s->o.http.stats.status[2], 3);
	EXPECT_FALSE(s->o.closed);
}

/* The connection ends with the answer by the client's own word; by the app's it does not. */
TEST_F(hijack, with_what_came_behind_a_last_request)
{
	struct stage *s = &self->s;

	stage_feed(s, "GET /app HTTP/1.0\r\n\r\nfirst ");
	stage_feed(s, "words");
	EXPECT_EQ(s->nr_reqs, 1);
	want(s, 0, &self->h, 0);
	ASSERT_TRUE(self->h.done);
	ASSERT_EQ(self->h.rest_len, 11);
	EXPECT_MEMEQ(self->h.rest, "first words", 11);
}

/* ... and when it is answered as usual, they are nothing. */
TEST_F(hijack, words_behind_a_last_request_are_dropped)
{
	struct stage *s = &self->s;

	stage_feed(s, "GET /app HTTP/1.0\r\n\r\nGET /app HTTP/1.0\r\n\r\n");
	EXPECT_EQ(s->nr_reqs, 1);
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "answer");
	EXPECT_EQ(s->nr_reqs, 1);
	EXPECT_TRUE(s->o.closed);
	EXPECT_EQ(s->o.nr_done, 1);
	EXPECT_NOT_NULL(strstr(out_of(s), "\r\n\r\nanswer"));
}

TEST_F(hijack, in_its_turn)
{
	struct stage *s = &self->s;

	stage_feed(s, GET GET UPGRADE);
	ASSERT_EQ(s->nr_reqs, 3);
	want(s, 2, &self->h, 0);
	EXPECT_FALSE(self->h.done);
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "two");
	EXPECT_FALSE(self->h.done);
	s->o.stopped = true;
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "one");
	/* What was answered before has to leave first. */
	EXPECT_FALSE(self->h.done);
	s->o.stopped = false;
	owner_flush(&s->o);
	EXPECT_TRUE(self->h.done);
	EXPECT_GE(self->h.fd, 0);
	EXPECT_NOT_NULL(strstr(out_of(s), "3\r\ntwo\r\n0\r\n\r\n"));
	EXPECT_EQ(s->o.nr_done, 2);
}

TEST_F(hijack, leaves_those_behind_without_answer)
{
	struct stage *s = &self->s;
	struct job *behind;

	stage_feed(s, GET GET GET "POST /app" HOST "Content-Length: 10\r\n\r\nabc");
	ASSERT_EQ(s->nr_reqs, 3);
	behind = &s->reqs[2]->job;
	s->reqs[1]->job.token = 1;
	stage_send(s, 1, HEAD_AND_DATA | ANSWER_END, "never seen");
	want(s, 0, &self->h, 0);
	EXPECT_TRUE(self->h.done);
	EXPECT_EQ(s->o.out.len, 0);
	EXPECT_TRUE(job_gone(behind));
	/* Answered, but never sent. */
	ASSERT_EQ(s->nr_told, 1);
	EXPECT_FALSE(s->told[0].sent);
	stage_send(s, 2, HEAD_AND_DATA | ANSWER_END, "neither");
	stage_send(s, 0, ANSWER_ABORT, "");
	EXPECT_EQ(s->o.nr_done, 4);
	EXPECT_EQ(s->o.http.stats.status[0], 3);
	EXPECT_EQ(s->o.http.stats.hijacked, 1);
}

TEST_F(hijack, two_of_one_connection)
{
	struct hijack second = { .fd = -7 };
	struct stage *s = &self->s;

	stage_feed(s, GET GET);
	want(s, 1, &second, 0);
	want(s, 0, &self->h, 0);
	EXPECT_GE(self->h.fd, 0);
	ASSERT_TRUE(second.done);
	EXPECT_EQ(second.fd, -1);
}

TEST_F(hijack, the_client_is_gone_before)
{
	struct stage *s = &self->s;

	stage_feed(s, GET);
	owner_cut(&s->o);
	want(s, 0, &self->h, 0);
	ASSERT_TRUE(self->h.done);
	EXPECT_EQ(self->h.fd, -1);
}

TEST_F(hijack, the_client_goes_while_it_waits)
{
	struct hijack first = { .fd = -7 };
	struct stage *s = &self->s;

	stage_feed(s, GET GET);
	want(s, 1, &self->h, 0);
	s->o.stopped = true;
	/* The other way of waiting: for what has to leave. */
	want(s, 0, &first, ANSWER_HEAD);
	EXPECT_FALSE(first.done);
	EXPECT_TRUE(self->h.done);
	EXPECT_EQ(self->h.fd, -1);
	owner_cut(&s->o);
	ASSERT_TRUE(first.done);
	EXPECT_EQ(first.fd, -1);
	stage_send(s, 0, ANSWER_ABORT, "");
	stage_send(s, 1, ANSWER_ABORT, "");
	EXPECT_EQ(s->o.nr_done, 2);
}

/* The client has shut its side down: it may still want to read. */
TEST_F(hijack, after_the_end_of_file)
{
	struct stage *s = &self->s;

	stage_feed(s, GET);
	owner_eof(&s->o);
	want(s, 0, &self->h, 0);
	ASSERT_TRUE(self->h.done);
	EXPECT_GE(self->h.fd, 0);
}

/* The app's own words about the connection, none of ours about the body. */
TEST_F(hijack, with_a_head)
{
	struct piece *p;
	struct stage *s = &self->s;

	stage_feed(s, UPGRADE "behind");
	p = stage_piece(s, 0, ANSWER_HIJACK | ANSWER_HEAD, "", 0);
	p->a.hijack = &self->h;
	p->a.raw = true;
	p->a.has_date = true;
	p->a.status = 101;
	p->a.head = VIEW("connection: upgrade\r\nupgrade: echo\r\n");
	s->o.stopped = true;
	stage_say(s, 0, &p->a);
	EXPECT_FALSE(self->h.done);
	/* No deadline but that of sending: this is no idle connection. */
	EXPECT_EQ(s->o.link->deadline_ns, 0);
	s->o.stopped = false;
	owner_flush(&s->o);
	EXPECT_STREQ(out_of(s), "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
				"upgrade: echo\r\n\r\n");
	ASSERT_TRUE(self->h.done);
	EXPECT_GE(self->h.fd, 0);
	ASSERT_EQ(self->h.rest_len, 6);
	EXPECT_MEMEQ(self->h.rest, "behind", 6);
	stage_send(s, 0, ANSWER_ABORT, "");
	EXPECT_EQ(s->o.done[0].status, 101);
	EXPECT_EQ(s->o.done[0].bytes_out, s->o.out.len);
}

/* Behind others, its head waits with it. */
TEST_F(hijack, with_a_head_in_its_turn)
{
	struct stage *s = &self->s;

	stage_feed(s, GET GET);
	want(s, 1, &self->h, ANSWER_HEAD);
	EXPECT_EQ(s->o.out.len, 0);
	stage_send(s, 0, HEAD_AND_DATA | ANSWER_END, "one");
	ASSERT_TRUE(self->h.done);
	EXPECT_NOT_NULL(strstr(out_of(s), "3\r\none\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"));
	EXPECT_NULL(strstr(strstr(out_of(s), "one"), "transfer-encoding"));
	EXPECT_NULL(strstr(strstr(out_of(s), "one"), "content-length"));
	EXPECT_NULL(strstr(strstr(out_of(s), "one"), "connection"));
}

/* --- anything, in any order, and the client goes at any time --- */

#define MAX_HIJACKS 8

struct play {
	struct stage s;
	struct rng rng;
	struct hijack hijacks[MAX_HIJACKS];
	u32 nr_hijacks;
	struct piece *lent[STAGE_REQS];
	bool wants[STAGE_REQS]; /* waits for the connection, or has it */
	bool begun[STAGE_REQS];
	u32 nr_tokens;
};

static void lend_more(struct play *p, u32 i)
{
	struct piece *old = p->lent[i];

	if (old && rng_below(&p->rng, 3) && old->room > fill_len(old->fill) + 5) {
		piece_add(old, "more.");
		return;
	}
	p->lent[i] = stage_lend(&p->s, i, p->begun[i] ? 0 : ANSWER_HEAD, "lent.", 50);
	p->begun[i] = true;
	if (old)
		piece_put(old);
}

static void ask_for_it(struct play *p, u32 i)
{
	if (p->begun[i] || p->nr_hijacks == MAX_HIJACKS)
		return;
	p->wants[i] = p->begun[i] = true;
	p->hijacks[p->nr_hijacks].fd = -7;
	want(&p->s, i, &p->hijacks[p->nr_hijacks++], rng_below(&p->rng, 2) ? ANSWER_HEAD : 0);
}

/* An app that waits for its connection says nothing meanwhile. */
static bool waits(struct play *p, u32 i)
{
	u32 nr_open = 0;

	for (u32 k = 0; k < p->nr_hijacks; k++)
		nr_open += !p->hijacks[k].done;
	return p->wants[i] && nr_open;
}

static void say_something(struct play *p)
{
	struct stage *s = &p->s;
	u32 i = (u32)rng_below(&p->rng, max(s->nr_reqs, 1u));

	if (i >= s->nr_reqs || !s->reqs[i] || waits(p, i))
		return;
	if (p->wants[i]) {
		stage_send(s, i, ANSWER_ABORT, "");
		return;
	}
	switch (rng_below(&p->rng, 8)) {
	case 0:
		ask_for_it(p, i);
		break;
	case 1:
		stage_send(s, i, ANSWER_INFORM, "");
		break;
	case 2:
		if (rng_below(&p->rng, 2)) {
			s->reqs[i]->job.token = ++p->nr_tokens;
			stage_send(s, i, ANSWER_ABORT, "");
		}
		break;
	case 3:
		if (rng_below(&p->rng, 2))
			s->reqs[i]->job.token = ++p->nr_tokens;
		stage_send(s, i, (p->begun[i] ? 0 : ANSWER_HEAD) | ANSWER_DATA | ANSWER_END, "e");
		break;
	case 4:
		stage_send(s, i, (p->begun[i] ? 0 : ANSWER_HEAD) | ANSWER_DATA, "piece");
		p->begun[i] = true;
		break;
	default:
		lend_more(p, i);
	}
}

static void play(struct play *p, u64 seed, u32 steps)
{
	static const char *const requests[] = { GET, UPGRADE, H1_NEXT,
						"POST /app" HOST "Content-Length: 3\r\n\r\nabc",
						"HEAD /app" HOST "\r\n" };
	struct stage *s = &p->s;

	rng_init_seed(&p->rng, seed);
	for (u32 i = 0; i < steps && !s->o.closed; i++) {
		s->o.stopped = rng_below(&p->rng, 3) == 0;
		switch (rng_below(&p->rng, 5)) {
		case 0:
			if (s->nr_reqs < STAGE_REQS - 32)
				stage_feed(s, requests[rng_below(&p->rng, ARRAY_SIZE(requests))]);
			break;
		case 1:
			stage_pass(s, NSEC_PER_MSEC / 2);
			break;
		default:
			say_something(p);
		}
		owner_flush(&s->o);
		stage_take(s);
	}
	if (rng_below(&p->rng, 4) == 0)
		owner_eof(&s->o);
}

/* Every hijack is answered once, every loan ended, every token told once. */
static void end_play(struct play *p)
{
	struct stage *s = &p->s;
	u64 seen = 0;

	owner_cut(&s->o);
	stage_take(s);
	for (u32 k = 0; k < p->nr_hijacks; k++) {
		EXPECT_TRUE(p->hijacks[k].done);
		if (p->hijacks[k].done && p->hijacks[k].fd >= 0)
			close(p->hijacks[k].fd);
		free(p->hijacks[k].rest);
	}
	for (u32 i = 0; i < STAGE_REQS; i++) {
		if (!p->lent[i])
			continue;
		EXPECT_TRUE(p->lent[i]->fill & FILL_SEALED);
		piece_put(p->lent[i]);
	}
	for (u32 i = 0; i < s->nr_reqs; i++)
		if (s->reqs[i])
			stage_send(s, i, ANSWER_ABORT, "");
	EXPECT_EQ(s->nr_told, p->nr_tokens);
	for (u32 i = 0; i < s->nr_told; i++) {
		EXPECT_EQ(seen >> s->told[i].token & 1, 0);
		seen |= 1ull << s->told[i].token;
	}
	stage_fini(s);
}

TEST(in_any_order)
{
	u32 nr_hijacked = 0, nr_told = 0;

	time_limit(30);
	for (u32 i = 0; i < 3000 && !has_failed(); i++) {
		static struct play p;

		p = (struct play){ 0 };
		ASSERT_TRUE(stage_init(&p.s));
		play(&p, rng_run_seed() + i, 1 + i / 20);
		nr_hijacked += p.s.o.detached;
		nr_told += p.nr_tokens;
		end_play(&p);
	}
	EXPECT_GT(nr_hijacked, 50);
	EXPECT_GT(nr_told, 50);
}

static void play_once(void *arg)
{
	struct play *p = arg;
	*p = (struct play){ 0 };
	if (!stage_init(&p->s))
		return;
	/* A head for which there was no memory has counted, and was nothing. */
	p->s.any_done = true;
	play(p, 42, 150);
	end_play(p);
}

/* Whichever allocation fails: nobody is left to wait, nothing is lost. */
TEST(without_memory)
{
	static struct play p;

	time_limit(30);
	EXPECT_GT(for_each_failing_alloc(play_once, &p), 40);
}
