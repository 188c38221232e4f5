/* SPDX-License-Identifier: MIT */
/* A lent piece while one thread writes and another seals: what was added is there, all of it, once. */
#include "selftests/harness/harness.h"
#include "server/job.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define ROUNDS 4000
#define ROOM 4096u

TEST(counts_bytes_and_pieces)
{
	u32 fill = 0;

	for (u32 i = 0; i < FILL_MAX; i++)
		ASSERT_TRUE(fill_add(&fill, 1));
	EXPECT_EQ(fill_len(fill), FILL_MAX);
	EXPECT_EQ(fill_pieces(fill), FILL_MAX);
	EXPECT_EQ(fill_seal(&fill), FILL_MAX * (FILL_PIECE + 1));
	EXPECT_FALSE(fill_add(&fill, 1));
	/* Sealed twice is sealed. */
	EXPECT_EQ(fill_len(fill_seal(&fill)), FILL_MAX);
	EXPECT_EQ(fill_pieces(fill), FILL_MAX);
}

struct loan {
	u32 fill;
	char bytes[ROOM];
};

struct two {
	struct loan *loan; /* __atomic: lent to the one that seals; NULL = none */
	bool done; /* __atomic */
	u64 nr_added, nr_sealed; /* pieces */
	u64 nr_wrong, nr_by_room; /* bytes; loans that were full */
};

/* Byte @nr of the whole body. */
static char byte_of(u64 nr)
{
	return (char)(nr * 7 + nr / 256);
}

static void lend(struct two *t, struct loan *loan)
{
	while (__atomic_load_n(&t->loan, __ATOMIC_ACQUIRE))
		sched_yield();
	*loan = (struct loan){ 0 };
	__atomic_store_n(&t->loan, loan, __ATOMIC_RELEASE);
}

/* Adds pieces of one to nine bytes until the loan is sealed or full. */
static void produce(struct two *t, struct loan *loan, u64 *at)
{
	for (;;) {
		u32 used = __atomic_load_n(&loan->fill, __ATOMIC_RELAXED);
		u32 from = fill_len(used), len = 1 + (u32)(*at % 9);

		if (used & FILL_SEALED)
			return;
		if (len > ROOM - from) {
			t->nr_by_room++;
			return;
		}
		for (u32 i = 0; i < len; i++)
			loan->bytes[from + i] = byte_of(*at + i);
		if (!fill_add(&loan->fill, len))
			return;
		*at += len;
		t->nr_added++;
	}
}

static void *producer(void *arg)
{
	/* By turns: one is written while the other is looked at. */
	static struct loan loans[2];
	struct two *t = arg;
	u64 at = 0;

	for (u32 i = 0; i < ROUNDS; i++) {
		lend(t, &loans[i % 2]);
		produce(t, &loans[i % 2], &at);
	}
	while (__atomic_load_n(&t->loan, __ATOMIC_ACQUIRE))
		sched_yield();
	__atomic_store_n(&t->done, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST(two_threads)
{
	struct two t = { 0 };
	pthread_t thread;
	struct rng rng;
	u64 at = 0;

	time_limit(60);
	rng_init(&rng);
	ASSERT_OK(-pthread_create(&thread, NULL, producer, &t));
	while (!__atomic_load_n(&t.done, __ATOMIC_ACQUIRE)) {
		struct loan *loan = __atomic_load_n(&t.loan, __ATOMIC_ACQUIRE);
		struct answer a = { 0 };

		if (!loan)
			continue;
		for (u64 n = rng_below(&rng, 3000); n; n--)
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		a.fill = &loan->fill;
		answer_seal(&a);
		for (size_t i = 0; i < a.data.len; i++)
			t.nr_wrong += loan->bytes[i] != byte_of(at++);
		t.nr_sealed += a.pieces;
		__atomic_store_n(&t.loan, NULL, __ATOMIC_RELEASE);
	}
	ASSERT_OK(-pthread_join(thread, NULL));
	EXPECT_EQ(t.nr_wrong, 0);
	EXPECT_EQ(t.nr_sealed, t.nr_added);
	EXPECT_GT(t.nr_added, 0);
}
