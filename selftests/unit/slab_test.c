/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "server/slab.h"

#include <stdlib.h>

#define MAX_OBJECTS 500

FIXTURE(slab)
{
	struct slab slab;
	struct rng rng;
};

FIXTURE_VARIANT(slab)
{
	size_t object_len;
	u32 per_chunk;
};

VARIANT(slab, of_bytes) = { 1, 64 };
VARIANT(slab, odd) = { 37, 7 };
VARIANT(slab, lines) = { 192, 32 };
VARIANT(slab, one_per_chunk) = { 4096, 1 };

FIXTURE_SETUP(slab)
{
	slab_init(&self->slab, variant->object_len, variant->per_chunk);
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(slab)
{
	slab_fini(&self->slab);
}

/* Random allocating and freeing against a list of what is there and what is written in it. */
TEST_F(slab, model)
{
	u8 *objects[MAX_OBJECTS], marks[MAX_OBJECTS];
	size_t len = variant->object_len;
	u32 nr = 0;

	for (int step = 0; step < 20000; step++) {
		if (nr < MAX_OBJECTS && rng_below(&self->rng, nr + 60) < 60) {
			objects[nr] = slab_alloc(&self->slab);
			ASSERT_NOT_NULL(objects[nr]);
			ASSERT_EQ((uintptr_t)objects[nr] % 16, 0);
			marks[nr] = (u8)step;
			memset(objects[nr], marks[nr], len);
			nr++;
		} else if (nr) {
			u32 i = (u32)rng_below(&self->rng, nr);

			for (size_t at = 0; at < len; at++)
				ASSERT_EQ(objects[i][at], marks[i]);
			slab_free(&self->slab, objects[i]);
			nr--;
			objects[i] = objects[nr];
			marks[i] = marks[nr];
		}
		ASSERT_EQ(self->slab.nr_used, nr);
	}
}

TEST_F(slab, last_freed_comes_first)
{
	void *a = slab_alloc(&self->slab), *b = slab_alloc(&self->slab);

	ASSERT_NOT_NULL(a);
	ASSERT_NOT_NULL(b);
	slab_free(&self->slab, a);
	slab_free(&self->slab, b);
	EXPECT_EQ((uintptr_t)slab_alloc(&self->slab), (uintptr_t)b);
	EXPECT_EQ((uintptr_t)slab_alloc(&self->slab), (uintptr_t)a);
}

TEST_F(slab, warm_objects_cost_nothing)
{
	void *objects[100];

	for (int round = 0; round < 3; round++) {
		if (round == 1)
			fail_nth_alloc(0);
		for (int i = 0; i < 100; i++)
			objects[i] = slab_alloc(&self->slab);
		for (int i = 0; i < 100; i++)
			slab_free(&self->slab, objects[i]);
	}
	EXPECT_EQ(alloc_count(), 0);
}

TEST_F(slab, memory_runs_out_and_comes_back)
{
	void *p;

	fail_nth_alloc(1);
	EXPECT_NULL(slab_alloc(&self->slab));
	EXPECT_EQ(self->slab.nr_used, 0);
	p = slab_alloc(&self->slab);
	ASSERT_NOT_NULL(p);
	slab_free(&self->slab, p);
}

/* Neighbours do not share bytes: the end of one is not the start of the next. */
TEST(objects_of_a_chunk_are_apart)
{
	struct slab s;
	char *prev = NULL;

	slab_init(&s, 40, 10);
	for (int i = 0; i < 10; i++) {
		char *p = slab_alloc(&s);

		ASSERT_NOT_NULL(p);
		if (prev)
			EXPECT_GE(p - prev, 40);
		prev = p;
	}
	slab_fini(&s);
}
