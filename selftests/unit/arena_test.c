/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "server/arena.h"

#define NR_PIECES 200

FIXTURE(arena)
{
	struct arena_pool pool;
	struct arena arena;
	struct rng rng;
};

FIXTURE_SETUP(arena)
{
	arena_pool_init(&self->pool);
	arena_init(&self->arena, &self->pool);
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(arena)
{
	arena_reset(&self->arena);
	arena_pool_fini(&self->pool);
}

static bool is_aligned(const void *p)
{
	return (uintptr_t)p % _Alignof(max_align_t) == 0;
}

TEST_F(arena, costs_nothing_at_first)
{
	fail_nth_alloc(0);
	arena_reset(&self->arena);
	EXPECT_EQ(alloc_count(), 0);
	EXPECT_NULL(self->arena.chunks);
}

/* Pieces of all sizes stay what was written to them, whatever comes behind. */
TEST_F(arena, pieces_do_not_overlap)
{
	static const size_t most[] = { 16, 100, 4000, 20000 };

	for (int round = 0; round < 50; round++) {
		struct {
			u8 *p;
			size_t len;
		} pieces[NR_PIECES];
		u32 nr = 1 + (u32)rng_below(&self->rng, NR_PIECES);

		for (u32 i = 0; i < nr; i++) {
			pieces[i].len = rng_below(&self->rng, most[rng_below(&self->rng, 4)] + 1);
			pieces[i].p = arena_alloc(&self->arena, pieces[i].len);
			ASSERT_NOT_NULL(pieces[i].p);
			EXPECT_TRUE(is_aligned(pieces[i].p));
			memset(pieces[i].p, (int)i, pieces[i].len);
		}
		for (u32 i = 0; i < nr; i++)
			for (size_t at = 0; at < pieces[i].len; at++)
				ASSERT_EQ(pieces[i].p[at], (u8)i);
		arena_reset(&self->arena);
	}
}

TEST_F(arena, sizes_around_a_chunk)
{
	for (size_t len = ARENA_CHUNK_LEN - 64; len <= ARENA_CHUNK_LEN + 64; len++) {
		u8 *p = arena_alloc(&self->arena, len), *q;

		ASSERT_NOT_NULL(p);
		memset(p, 0xaa, len);
		q = arena_alloc(&self->arena, 1);
		ASSERT_NOT_NULL(q);
		*q = 0x55;
		EXPECT_EQ(p[0], 0xaa);
		EXPECT_EQ(p[len - 1], 0xaa);
		arena_reset(&self->arena);
	}
}

/* A large piece does not waste the rest of the chunk that small pieces come from. */
TEST_F(arena, large_pieces_stand_aside)
{
	char *a = arena_alloc(&self->arena, 16), *b;

	ASSERT_NOT_NULL(a);
	ASSERT_NOT_NULL(arena_alloc(&self->arena, 10 * ARENA_CHUNK_LEN));
	b = arena_alloc(&self->arena, 16);
	EXPECT_EQ((u64)(uintptr_t)b, (u64)(uintptr_t)a + 16);
}

TEST_F(arena, no_length_is_a_length)
{
	struct view v;

	EXPECT_NOT_NULL(arena_alloc(&self->arena, 0));
	EXPECT_NOT_NULL(arena_alloc(&self->arena, 0));
	EXPECT_OK(arena_copy(&self->arena, (struct view){ NULL, 0 }, &v));
	EXPECT_EQ(v.len, 0);
	EXPECT_NOT_NULL(v.p);
}

TEST_F(arena, lengths_that_overflow)
{
	/* Those that wrap by rounding, and by the chunk's header. */
	for (size_t i = 0; i < 31; i++) {
		EXPECT_NULL(arena_alloc(&self->arena, SIZE_MAX - i));
		ASSERT_NOT_NULL(arena_alloc(&self->arena, 8));
	}
}

TEST_F(arena, copy)
{
	struct view v, from = VIEW("some text");
	char *guarded = guard_copy(from.p, from.len);

	ASSERT_OK(arena_copy(&self->arena, (struct view){ guarded, from.len }, &v));
	guard_free(guarded, from.len);
	EXPECT_VIEW_EQ(v, "some text");
}

TEST_F(arena, warm_chunks_come_from_the_pool)
{
	for (int round = 0; round < 10; round++) {
		if (round == 1)
			fail_nth_alloc(0);
		for (int i = 0; i < 1000; i++)
			ASSERT_NOT_NULL(arena_alloc(&self->arena, 100));
		arena_reset(&self->arena);
	}
	EXPECT_EQ(alloc_count(), 0);
}

TEST_F(arena, pool_is_bounded)
{
	for (u32 i = 0; i < ARENA_POOL_MAX + 10; i++)
		ASSERT_NOT_NULL(arena_alloc(&self->arena, ARENA_CHUNK_LEN / 2));
	ASSERT_NOT_NULL(arena_alloc(&self->arena, 2 * ARENA_CHUNK_LEN));
	arena_reset(&self->arena);
	EXPECT_EQ(self->pool.nr_free, ARENA_POOL_MAX);
}

static void use(void *arg)
{
	struct arena_pool pool;
	struct arena a;
	struct view v;
	int nr_failed = 0;

	(void)arg;
	arena_pool_init(&pool);
	arena_init(&a, &pool);
	nr_failed += !arena_alloc(&a, 100);
	nr_failed += !arena_alloc(&a, 10000);
	nr_failed += !arena_alloc(&a, 4000);
	nr_failed += arena_copy(&a, VIEW("x"), &v) != 0;
	EXPECT_LE(nr_failed, 1);
	arena_reset(&a);
	arena_pool_fini(&pool);
}

TEST(memory_runs_out)
{
	EXPECT_GE(for_each_failing_alloc(use, NULL), 3);
}
