/* SPDX-License-Identifier: MIT */
/* The ring of pointers: bounds, order, wrap of its counters, and one thread on each side. */
#include "server/ring.h"
#include "selftests/harness/harness.h"

#include <pthread.h>
#include <sched.h>

/* Items are numbers in disguise; 0 would look like an empty ring. */
static void *item(u64 n)
{
	return (void *)(uintptr_t)(n + 1);
}

static u64 number(void *p)
{
	return (u64)(uintptr_t)p - 1;
}

FIXTURE(ring)
{
	struct ring *r; /* a line of its own */
	struct ring ring;
};

/* Where the counters start: they run on through 2^32. */
FIXTURE_VARIANT(ring)
{
	u32 start;
};

VARIANT(ring, fresh) = { .start = 0 };
VARIANT(ring, wraps) = { .start = UINT32_MAX - 2 };

FIXTURE_SETUP(ring)
{
	struct ring *r = &self->ring;

	ASSERT_OK(ring_init(r, 8));
	r->head = r->tail = r->cached_head = r->cached_tail = variant->start;
	self->r = r;
}

FIXTURE_TEARDOWN(ring)
{
	ring_fini(self->r);
}

TEST_F(ring, empty)
{
	(void)variant;
	ASSERT_EQ(ring_len(self->r), 8);
	ASSERT_EQ(ring_count(self->r), 0);
	ASSERT_NULL(ring_pop(self->r));
	ASSERT_EQ(ring_push(self->r, NULL, 0), 0);
	ASSERT_NULL(ring_pop(self->r));
}

TEST_F(ring, takes_what_fits)
{
	void *items[10];

	for (u64 i = 0; i < 10; i++)
		items[i] = item(i);
	ASSERT_EQ(ring_push(self->r, items, 10), 8);
	ASSERT_EQ(ring_push(self->r, items + 8, 2), 0);
	ASSERT_EQ(ring_count(self->r), 8);
	ASSERT_EQ(number(ring_pop(self->r)), 0);
	ASSERT_EQ(ring_push(self->r, items + 8, 2), 1);
	for (u64 i = 1; i < 9; i++)
		ASSERT_EQ(number(ring_pop(self->r)), i);
	ASSERT_NULL(ring_pop(self->r));
	ASSERT_EQ(ring_popped(self->r), variant->start + 9);
}

TEST_F(ring, shows_what_lies_in_it)
{
	void *items[] = { item(3), item(4), item(5) };
	u32 at = ring_popped(self->r);

	EXPECT_EQ(at, variant->start);
	ASSERT_EQ(ring_push(self->r, items, 2), 2);
	ASSERT_EQ(number(ring_look(self->r, &at)), 3);
	at++;
	ASSERT_EQ(number(ring_look(self->r, &at)), 4);
	at++;
	ASSERT_NULL(ring_look(self->r, &at));
	ASSERT_EQ(number(ring_pop(self->r)), 3);
	ASSERT_EQ(number(ring_pop(self->r)), 4);
	ASSERT_NULL(ring_look(self->r, &at));
	ASSERT_EQ(ring_push(self->r, items + 2, 1), 1);
	ASSERT_EQ(number(ring_look(self->r, &at)), 5);
	/* A place that was popped: the oldest stands for it. */
	at = variant->start;
	ASSERT_EQ(number(ring_look(self->r, &at)), 5);
	EXPECT_EQ(at, variant->start + 2);
	ASSERT_EQ(number(ring_pop(self->r)), 5);
	ASSERT_NULL(ring_look(self->r, &at));
}

TEST_F(ring, keeps_the_order)
{
	u64 pushed = 0, popped = 0;
	struct rng rng;

	(void)variant;
	rng_init(&rng);
	while (popped < 10000) {
		void *items[8];
		u32 nr = (u32)rng_below(&rng, 9), want = min(nr, 8 - ring_count(self->r));

		for (u32 i = 0; i < nr; i++)
			items[i] = item(pushed + i);
		ASSERT_EQ(ring_push(self->r, items, nr), want);
		pushed += want;
		ASSERT_EQ(ring_count(self->r), pushed - popped);
		for (u64 i = rng_below(&rng, 9); i && popped < pushed; i--)
			ASSERT_EQ(number(ring_pop(self->r)), popped++);
	}
}

TEST_F(ring, grows)
{
	u64 pushed = 0;

	(void)variant;
	for (u64 i = 0; i < 11; i++) {
		ASSERT_EQ(ring_push(self->r, &(void *){ item(i) }, 1), 1);
		if (i < 3)
			ASSERT_EQ(number(ring_pop(self->r)), i);
	}
	ASSERT_OK(ring_grow(self->r));
	ASSERT_EQ(ring_len(self->r), 16);
	ASSERT_EQ(ring_count(self->r), 8);
	for (u64 i = 11; ring_push(self->r, &(void *){ item(i) }, 1); i++)
		pushed++;
	ASSERT_EQ(pushed, 8);
	for (u64 i = 3; i < 19; i++)
		ASSERT_EQ(number(ring_pop(self->r)), i);
	ASSERT_NULL(ring_pop(self->r));
}

TEST(without_memory)
{
	struct ring r;

	fail_nth_alloc(1);
	ASSERT_EQ(ring_init(&r, 8), -ENOMEM);
	fail_nth_alloc(0);
	ASSERT_OK(ring_init(&r, 2));
	ASSERT_EQ(ring_push(&r, &(void *){ item(7) }, 1), 1);
	fail_nth_alloc(1);
	ASSERT_EQ(ring_grow(&r), -ENOMEM);
	fail_nth_alloc(0);
	ASSERT_EQ(ring_len(&r), 2);
	ASSERT_EQ(number(ring_pop(&r)), 7);
	ring_fini(&r);
}

/*
 * The releases and acquires: what an item points to, written before the push,
 * is read after the pop, and written again after the slot came back. TSan sees
 * a plain store in their place; so does a machine with weaker order.
 */
#define STRESS_ITEMS 400000u
#define STRESS_LEN 64u

struct stress {
	struct ring there, back;
	u64 cells[STRESS_LEN];
	u64 wrong_there, wrong_back; /* each written by one thread */
};

static void *consume(void *arg)
{
	struct stress *s = arg;

	for (u64 i = 0; i < STRESS_ITEMS;) {
		u64 *cell = ring_pop(&s->there);

		if (!cell) {
			sched_yield();
			continue;
		}
		s->wrong_there += *cell != i++;
		*cell = 0;
		s->wrong_there += ring_push(&s->back, &(void *){ cell }, 1) != 1;
	}
	return NULL;
}

TEST(two_threads)
{
	static struct stress s;
	pthread_t consumer;
	struct rng rng;

	rng_init(&rng);
	ASSERT_OK(ring_init(&s.there, STRESS_LEN / 2));
	ASSERT_OK(ring_init(&s.back, STRESS_LEN));
	for (u32 i = 0; i < STRESS_LEN; i++)
		ASSERT_EQ(ring_push(&s.back, &(void *){ &s.cells[i] }, 1), 1);
	ASSERT_OK(-pthread_create(&consumer, NULL, consume, &s));
	for (u64 i = 0; i < STRESS_ITEMS;) {
		void *cells[8];
		u32 nr = 0, want = 1 + (u32)rng_below(&rng, 8), pushed = 0;
		u64 *cell;

		while (nr < want && i < STRESS_ITEMS && (cell = ring_pop(&s.back))) {
			s.wrong_back += *cell != 0;
			*cell = i++;
			cells[nr++] = cell;
		}
		while (pushed < nr) {
			pushed += ring_push(&s.there, cells + pushed, nr - pushed);
			if (pushed < nr)
				sched_yield();
		}
		if (!nr)
			sched_yield();
	}
	ASSERT_OK(-pthread_join(consumer, NULL));
	EXPECT_EQ(s.wrong_there, 0);
	EXPECT_EQ(s.wrong_back, 0);
	EXPECT_EQ(ring_count(&s.there), 0);
	EXPECT_EQ(ring_count(&s.back), STRESS_LEN);
	ring_fini(&s.there);
	ring_fini(&s.back);
}
