/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "server/outq.h"

#include <stdlib.h>

#define NR_HOLDS 4000
#define NR_MARKS 4000
#define MODEL_LEN (4u << 20)
#define FILE_FD 77 /* never read from: the queue only carries the number */

struct test_hold {
	struct hold h;
	u32 nr_put;
};

struct test_mark {
	struct mark m;
	struct model *model;
	u64 at; /* in bytes of the model */
	u32 nr_done;
	bool sent;
};

/* One queue, and what has to come out of it. A byte of a file is a function of its offset. */
struct model {
	struct outq_pool pool;
	struct outq q;
	struct rng rng;
	u8 *bytes; /* all that was queued */
	u64 queued, sent;
	struct test_hold holds[NR_HOLDS];
	struct test_mark marks[NR_MARKS];
	u32 nr_holds, nr_marks, nr_fired;
	bool dropped;
};

static u8 file_byte(u64 off)
{
	return (u8)(off * 31 + (off >> 8));
}

static void put(struct hold *h)
{
	container_of(h, struct test_hold, h)->nr_put++;
}

static void done(struct mark *m, bool sent)
{
	struct test_mark *t = container_of(m, struct test_mark, m);
	struct model *model = t->model;

	/* In the order in which they were set, each once, as soon as what is before it has left. */
	EXPECT_EQ(t - model->marks, model->nr_fired);
	EXPECT_EQ(t->nr_done, 0);
	EXPECT_EQ(sent, !model->dropped);
	if (sent)
		EXPECT_LE(t->at, model->sent);
	t->nr_done++;
	t->sent = sent;
	model->nr_fired++;
}

FIXTURE(outq)
{
	struct model *m;
};

FIXTURE_SETUP(outq)
{
	struct model *m = calloc(1, sizeof(*m));

	ASSERT_NOT_NULL(m);
	self->m = m;
	m->bytes = malloc(MODEL_LEN);
	ASSERT_NOT_NULL(m->bytes);
	rng_init(&m->rng);
	rng_fill(&m->rng, m->bytes, MODEL_LEN);
	outq_pool_init(&m->pool);
	outq_init(&m->q, &m->pool);
}

FIXTURE_TEARDOWN(outq)
{
	struct model *m = self->m;

	m->dropped = true;
	outq_drop(&m->q);
	for (u32 i = 0; i < m->nr_holds; i++)
		EXPECT_EQ(m->holds[i].nr_put, 1);
	for (u32 i = 0; i < m->nr_marks; i++)
		EXPECT_EQ(m->marks[i].nr_done, 1);
	EXPECT_EQ(m->pool.segs.nr_used, 0);
	outq_pool_fini(&m->pool);
	free(m->bytes);
	free(m);
}

static struct hold *new_hold(struct model *m)
{
	struct test_hold *h = &m->holds[m->nr_holds++];

	h->h.put = put;
	return &h->h;
}

static void add_mark(struct model *m, struct outq *q)
{
	struct test_mark *t = &m->marks[m->nr_marks++];

	t->model = m;
	t->at = m->queued;
	outq_mark(q, &t->m, done);
}

static void add_reserved(struct model *m, struct outq *q, size_t len)
{
	char *p = outq_reserve(q, len);
	size_t used = rng_below(&m->rng, len + 1);

	ASSERT_NOT_NULL(p);
	/* Writing all that was asked for, committing less. */
	memset(p, 0xee, len);
	memcpy(p, m->bytes + m->queued, used);
	outq_commit(q, used);
	m->queued += used;
}

/* Something of any kind to the end of @q. */
static void add(struct model *m, struct outq *q)
{
	size_t len = rng_below(&m->rng, rng_below(&m->rng, 4) ? 300 : 10000);
	u8 *p = m->bytes + m->queued;
	u64 off;

	switch (rng_below(&m->rng, 6)) {
	case 0:
		ASSERT_OK(outq_ref(q, p, len, new_hold(m)));
		break;
	case 1:
		ASSERT_OK(outq_ref(q, p, len, NULL));
		break;
	case 2:
		off = rng_next(&m->rng) >> 20;
		ASSERT_OK(outq_file(q, FILE_FD, off, len, new_hold(m)));
		for (size_t i = 0; i < len; i++)
			p[i] = file_byte(off + i);
		break;
	case 3:
		add_reserved(m, q, 1 + min(len, (size_t)OUTQ_COPY_MAX - 1));
		return;
	case 4:
		add_mark(m, q);
		return;
	default:
		ASSERT_OK(outq_copy(q, p, len));
	}
	m->queued += len;
}

/* Takes up to @max leading bytes as the owner would, compares, and says that they have left. */
static void take(struct model *m, u64 max)
{
	struct iovec iov[5];
	bool more;
	int nr = outq_iov(&m->q, iov, 1 + (int)rng_below(&m->rng, 5), &more);
	u64 n = 0, whole = 0;

	for (int i = 0; i < nr; i++) {
		u64 len = min((u64)iov[i].iov_len, max - n);

		ASSERT_GT(iov[i].iov_len, 0);
		ASSERT_MEMEQ(iov[i].iov_base, m->bytes + m->sent + n, len);
		n += len;
		whole += iov[i].iov_len;
	}
	if (!more)
		ASSERT_EQ(whole, outq_len(&m->q));
	if (nr == 0 && more) {
		const struct seg *s = m->q.head;

		while (s->kind == SEG_CHUNK && s->len == 0)
			s = s->next;
		ASSERT_EQ(s->kind, SEG_FILE);
		ASSERT_EQ(s->fd, FILE_FD);
		n = min(s->len, max);
		for (u64 i = 0; i < n; i++)
			ASSERT_EQ(m->bytes[m->sent + i], file_byte(s->off + i));
	}
	m->sent += n;
	outq_sent(&m->q, n);
	/* A mark that was reached does not wait. */
	if (m->nr_fired < m->nr_marks)
		ASSERT_GT(m->marks[m->nr_fired].at, m->sent);
}

static bool has_room(const struct model *m)
{
	return m->queued < MODEL_LEN - 200000 && m->nr_holds < NR_HOLDS - 100 &&
	       m->nr_marks < NR_MARKS - 100;
}

TEST_F(outq, model)
{
	struct model *m = self->m;

	while (has_room(m) && !has_failed()) {
		for (u64 n = rng_below(&m->rng, 10); n; n--)
			add(m, &m->q);
		ASSERT_EQ(outq_len(&m->q), m->queued - m->sent);
		for (u64 n = rng_below(&m->rng, 10); n; n--)
			take(m, rng_below(&m->rng, 5000));
	}
	while (!outq_empty(&m->q))
		take(m, 1 + rng_below(&m->rng, 5000));
	EXPECT_EQ(m->sent, m->queued);
	EXPECT_EQ(m->nr_fired, m->nr_marks);
	for (u32 i = 0; i < m->nr_holds; i++)
		ASSERT_EQ(m->holds[i].nr_put, 1);
}

/* Queues that wait their turn move behind the one that is sent, some of it having left already. */
TEST_F(outq, model_of_moving)
{
	struct model *m = self->m;
	struct outq from;

	while (has_room(m) && !has_failed()) {
		outq_init(&from, &m->pool);
		for (u64 n = rng_below(&m->rng, 6); n; n--)
			add(m, &from);
		outq_move(&from, &m->q);
		EXPECT_TRUE(outq_empty(&from));
		EXPECT_EQ(outq_len(&from), 0);
		ASSERT_EQ(outq_len(&m->q), m->queued - m->sent);
		for (u64 n = rng_below(&m->rng, 3); n; n--)
			add(m, &m->q);
		for (u64 n = rng_below(&m->rng, 12); n; n--)
			take(m, rng_below(&m->rng, 3000));
	}
	while (!outq_empty(&m->q))
		take(m, 1 + rng_below(&m->rng, 5000));
	EXPECT_EQ(m->sent, m->queued);
	EXPECT_EQ(m->nr_fired, m->nr_marks);
}

TEST_F(outq, dropping_puts_and_fires_once)
{
	struct model *m = self->m;
	u32 nr;

	for (int i = 0; i < 500; i++)
		add(m, &m->q);
	take(m, 3000);
	nr = m->nr_fired;
	m->dropped = true;
	outq_drop(&m->q);
	EXPECT_TRUE(outq_empty(&m->q));
	EXPECT_EQ(m->nr_fired, m->nr_marks);
	for (u32 i = nr; i < m->nr_marks; i++)
		EXPECT_FALSE(m->marks[i].sent);
	/* It can be used again. */
	m->dropped = false;
	m->sent = m->queued;
	ASSERT_OK(outq_copy(&m->q, m->bytes + m->queued, 10));
	m->queued += 10;
	take(m, 10);
	EXPECT_TRUE(outq_empty(&m->q));
}

TEST_F(outq, a_mark_on_nothing_fires_at_the_next_sent)
{
	struct model *m = self->m;

	add_mark(m, &m->q);
	EXPECT_FALSE(outq_empty(&m->q));
	EXPECT_EQ(m->nr_fired, 0);
	outq_sent(&m->q, 0);
	EXPECT_EQ(m->nr_fired, 1);
	EXPECT_TRUE(outq_empty(&m->q));
}

TEST_F(outq, small_pieces_lie_together)
{
	struct model *m = self->m;
	struct iovec iov[4];
	bool more;

	for (int i = 0; i < 30; i++)
		ASSERT_OK(outq_copy(&m->q, "0123456789", 10));
	EXPECT_EQ(outq_iov(&m->q, iov, 4, &more), 1);
	EXPECT_EQ(iov[0].iov_len, 300);
	EXPECT_FALSE(more);
	outq_sent(&m->q, 300);
}

TEST_F(outq, nothing_is_put_at_once)
{
	struct model *m = self->m;

	ASSERT_OK(outq_ref(&m->q, "", 0, new_hold(m)));
	ASSERT_OK(outq_file(&m->q, FILE_FD, 0, 0, new_hold(m)));
	EXPECT_EQ(m->holds[0].nr_put, 1);
	EXPECT_EQ(m->holds[1].nr_put, 1);
	EXPECT_TRUE(outq_empty(&m->q));
}

TEST_F(outq, pool_is_bounded)
{
	struct model *m = self->m;

	for (u32 i = 0; i < OUTQ_POOL_MAX + 50; i++) {
		ASSERT_NOT_NULL(outq_reserve(&m->q, OUTQ_COPY_MAX));
		outq_commit(&m->q, OUTQ_COPY_MAX);
		ASSERT_OK(outq_ref(&m->q, "x", 1, NULL)); /* so that the next needs a new chunk */
	}
	outq_sent(&m->q, outq_len(&m->q));
	EXPECT_EQ(m->pool.nr_free, OUTQ_POOL_MAX);
}

TEST_F(outq, reserving_more_than_a_chunk_is_refused)
{
	EXPECT_NULL(outq_reserve(&self->m->q, OUTQ_CHUNK_LEN));
	EXPECT_TRUE(outq_empty(&self->m->q));
}

static u32 nr_failing_puts;

static void count_put(struct hold *h)
{
	(void)h;
	nr_failing_puts++;
}

static void note_mark(struct mark *m, bool sent)
{
	m->at = sent;
}

static void use(void *arg)
{
	struct hold hold = { count_put };
	struct outq_pool pool;
	struct mark mark;
	struct outq q;

	(void)arg;
	nr_failing_puts = 0;
	outq_pool_init(&pool);
	outq_init(&q, &pool);
	/* Whatever fails, the hold is put once and the mark fires. */
	(void)!outq_copy(&q, "0123456789", 10);
	(void)!outq_ref(&q, "0123456789", 10, &hold);
	(void)!outq_file(&q, FILE_FD, 0, 10, &hold);
	(void)!outq_copy(&q, "0123456789", 10);
	outq_mark(&q, &mark, note_mark);
	mark.at = 99;
	outq_drop(&q);
	EXPECT_EQ(nr_failing_puts, 2);
	EXPECT_EQ(mark.at, 0);
	outq_pool_fini(&pool);
}

TEST(memory_runs_out)
{
	EXPECT_GE(for_each_failing_alloc(use, NULL), 3);
}
