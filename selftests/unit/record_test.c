/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "ktls/record.h"

#include <stdlib.h>

struct head_case {
	u8 phase;
	u8 head[RECORD_HEAD_LEN];
	u32 err;
	u8 at; /* the byte of the header that is refused */
};

static const struct head_case heads[] = {
	{ RECORD_PLAIN, { 22, 3, 1, 1, 0 }, 0, 0 },
	{ RECORD_PLAIN, { 22, 3, 0, 1, 0 }, 0, 0 },
	{ RECORD_PLAIN, { 22, 3, 200, 1, 0 }, 0, 0 },
	{ RECORD_PLAIN, { 22, 3, 3, 0x40, 0 }, 0, 0 },
	{ RECORD_PLAIN, { 22, 3, 3, 0x40, 1 }, RECORD_ERR_LENGTH, 5 },
	{ RECORD_PLAIN, { 23, 3, 3, 0, 9 }, RECORD_ERR_TYPE, 1 },
	{ RECORD_PLAIN, { 19, 3, 3, 0, 9 }, RECORD_ERR_TYPE, 1 },
	{ RECORD_PLAIN, { 24, 3, 3, 0, 9 }, RECORD_ERR_TYPE, 1 },
	{ RECORD_PLAIN, { 'G', 'E', 'T', ' ', '/' }, RECORD_ERR_TYPE, 1 },
	{ RECORD_PLAIN, { 0x80, 3, 3, 0, 9 }, RECORD_ERR_TYPE, 1 },
	{ RECORD_PLAIN, { 22, 2, 3, 0, 9 }, RECORD_ERR_VERSION, 2 },
	{ RECORD_PLAIN, { 22, 4, 3, 0, 9 }, RECORD_ERR_VERSION, 2 },
	{ RECORD_PLAIN, { 22, 3, 3, 0, 0 }, RECORD_ERR_EMPTY, 5 },
	{ RECORD_PLAIN, { 20, 3, 3, 0, 1 }, 0, 0 },
	{ RECORD_SEALED_12, { 20, 3, 3, 0, 1 }, RECORD_ERR_TYPE, 1 },
	{ RECORD_SEALED_12, { 23, 3, 3, 0x48, 0 }, 0, 0 },
	{ RECORD_SEALED_12, { 23, 3, 3, 0x48, 1 }, RECORD_ERR_LENGTH, 5 },
	{ RECORD_SEALED_12, { 22, 3, 1, 0, 40 }, RECORD_ERR_VERSION, 3 },
	{ RECORD_SEALED_13, { 20, 3, 3, 0, 1 }, 0, 0 },
	{ RECORD_SEALED_13, { 23, 3, 3, 0x41, 0 }, 0, 0 },
	{ RECORD_SEALED_13, { 23, 3, 3, 0x41, 1 }, RECORD_ERR_LENGTH, 5 },
	{ RECORD_SEALED_13, { 23, 3, 4, 0, 40 }, RECORD_ERR_VERSION, 3 },
	{ RECORD_SEALED_13, { 23, 3, 3, 0, 0 }, RECORD_ERR_EMPTY, 5 },
};

/* Until refused or the header is there; how many bytes of it were looked at. */
static u8 feed_head(struct record_walk *w, const u8 *head, enum feeding how, ssize_t *ret)
{
	struct feed f;
	size_t n;
	bool whole;

	feed_init(&f, how, RECORD_HEAD_LEN, NULL);
	for (*ret = 1; *ret > 0 && (n = feed_next(&f)); head += n) {
		*ret = record_next(w, head, n, &whole);
		if (*ret > 0) {
			EXPECT_EQ(*ret, n);
			EXPECT_FALSE(whole);
		}
	}
	return w->nr_head;
}

TEST(heads_are_judged)
{
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		const struct head_case *h = &heads[i];

		for (int how = FEED_WHOLE; how <= FEED_BYTES; how++) {
			struct record_walk w = { .phase = h->phase };
			ssize_t ret;
			u8 at = feed_head(&w, h->head, (enum feeding)how, &ret);
			bool whole;

			if (!h->err) {
				EXPECT_GT(ret, 0);
				EXPECT_EQ(record_type(&w), h->head[0]);
				EXPECT_EQ(record_need(&w), h->head[3] * 256u + h->head[4]);
			} else {
				EXPECT_EQ(ret < 0 ? record_err_of(ret) : 0, h->err);
				EXPECT_EQ(at, h->at);
				EXPECT_EQ(record_next(&w, h->head, 5, &whole), ret);
			}
			if (has_failed()) {
				NOTE("case %zu, %s", i, feeding_name((enum feeding)how));
				return;
			}
		}
	}
}

TEST(errors_have_alerts)
{
	EXPECT_EQ(record_alert(RECORD_ERR_TYPE), 10);
	EXPECT_EQ(record_alert(RECORD_ERR_VERSION), 70);
	EXPECT_EQ(record_alert(RECORD_ERR_LENGTH), 22);
	EXPECT_EQ(record_alert(RECORD_ERR_EMPTY), 10);
	for (int i = 1; i < NR_RECORD_ERRS; i++)
		EXPECT_NE(strcmp(record_strerror((enum record_err)i), "unknown"), 0);
}

#define NR_RECORDS 40
#define STREAM_LEN (128 * KIB)

struct stream {
	u8 *p;
	size_t len;
	size_t ends[NR_RECORDS];
};

static void make_stream(struct stream *s, struct rng *rng)
{
	s->p = malloc(STREAM_LEN);
	s->len = 0;
	ASSERT_NOT_NULL(s->p);
	rng_fill(rng, s->p, STREAM_LEN);
	for (u32 i = 0; i < NR_RECORDS; i++) {
		u32 n = 1 + (u32)rng_below(rng, rng_below(rng, 4) ? 60 : 3000);
		u8 *head = s->p + s->len;

		head[0] = i < 3 ? RECORD_HANDSHAKE : i == 3 ? RECORD_CCS : RECORD_DATA;
		head[1] = head[2] = 3;
		head[3] = (u8)(n >> 8);
		head[4] = (u8)n;
		s->len += RECORD_HEAD_LEN + n;
		s->ends[i] = s->len;
	}
}

/* Each piece in memory of its own, so that a byte too many is seen. */
static void walk_stream(const struct stream *s, enum feeding how, struct rng *rng)
{
	struct record_walk w = { .phase = RECORD_PLAIN };
	size_t at = 0, n;
	struct feed f;
	u32 nr = 0;

	feed_init(&f, how, s->len, rng);
	while ((n = feed_next(&f))) {
		u8 *piece = guard_copy(s->p + at, n);
		size_t used = 0;

		while (used < n) {
			bool whole;
			ssize_t ret = record_next(&w, piece + used, n - used, &whole);

			ASSERT_GT(ret, 0);
			used += (size_t)ret;
			if (whole)
				ASSERT_EQ(at + used, s->ends[nr++]);
			ASSERT_LE(record_need(&w), nr < NR_RECORDS ? s->ends[nr] - at - used : 0);
		}
		guard_free(piece, n);
		at += n;
	}
	EXPECT_EQ(nr, NR_RECORDS);
	EXPECT_EQ(w.nr, NR_RECORDS);
	EXPECT_EQ(w.phase, RECORD_SEALED_12);
	EXPECT_EQ(record_need(&w), 0);
}

TEST(streams_whole_by_bytes_and_at_random)
{
	struct stream s;
	struct rng rng;

	rng_init(&rng);
	make_stream(&s, &rng);
	walk_stream(&s, FEED_WHOLE, &rng);
	for (int i = 0; i < 30; i++)
		walk_stream(&s, FEED_RANDOM, &rng);
	free(s.p);
}

TEST(byte_by_byte)
{
	static const u8 in[] = { 22, 3, 1, 0, 2, 1, 2, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 9 };
	static const u8 need[] = { 4, 3, 2, 1, 2, 1, 0, 4, 3, 2, 1, 1, 0, 4, 3, 2, 1, 1, 0 };
	struct record_walk w = { .phase = RECORD_PLAIN };

	for (size_t i = 0; i < sizeof(in); i++) {
		bool whole;

		ASSERT_EQ(record_next(&w, in + i, 1, &whole), 1);
		ASSERT_EQ(record_need(&w), need[i]);
		ASSERT_EQ(whole, need[i] == 0);
	}
	EXPECT_EQ(w.nr, 3);
}

/* Reading what record_need() says, a header's length at 0, never enters the next record. */
TEST(need_never_reads_over)
{
	struct record_walk w = { .phase = RECORD_PLAIN };
	struct stream s;
	struct rng rng;
	size_t at = 0;
	u32 nr = 0;

	rng_init(&rng);
	make_stream(&s, &rng);
	while (at < s.len) {
		u32 n = record_need(&w) ?: RECORD_HEAD_LEN;
		bool whole;

		ASSERT_LE(at + n, s.ends[nr]);
		ASSERT_EQ(record_next(&w, s.p + at, n, &whole), n);
		at += n;
		nr += whole;
	}
	EXPECT_EQ(nr, NR_RECORDS);
	free(s.p);
}
