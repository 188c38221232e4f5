/* SPDX-License-Identifier: MIT */
/* Buckets of durations: their bounds meet, and a quantile is off by an eighth at most. */
#include "bpf/hist.h"

#include <stdlib.h>

#include "selftests/harness/harness.h"

TEST(bounds_meet)
{
	EXPECT_EQ(hist_low(0), 0);
	EXPECT_EQ(hist_high(0), 1024);
	for (u32 i = 0; i < HIST_LAST; i++) {
		ASSERT_EQ(hist_high(i), hist_low(i + 1));
		ASSERT_EQ(hist_index(hist_low(i)), i);
		ASSERT_EQ(hist_index(hist_high(i) - 1), i);
		ASSERT_EQ(hist_index(hist_high(i)), i + 1);
	}
	EXPECT_EQ(hist_index(UINT64_MAX), HIST_LAST);
	/* What DESIGN promises to tell apart. */
	EXPECT_TRUE(hist_low(1) <= 1100);
	EXPECT_TRUE(hist_low(HIST_LAST) >= 60 * NSEC_PER_SEC);
}

TEST(buckets_are_narrow)
{
	for (u32 i = 1; i < HIST_LAST; i++)
		ASSERT_TRUE((hist_high(i) - hist_low(i)) * 8 <= hist_low(i));
}

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

#define NR 5000u

TEST(quantiles_are_within_an_eighth)
{
	static const u32 asked[] = { 1000, 25000, 50000, 90000, 99000, 99900, 100000 };
	struct rng rng;

	rng_init(&rng);
	for (int round = 0; round < 20; round++) {
		__u64 counts[HIST_BUCKETS] = { 0 };
		u64 values[NR];

		for (u32 i = 0; i < NR; i++) {
			/* Spread over the octaves from 1 us to 34 s. */
			u32 shift = 10 + (u32)rng_below(&rng, 25);

			values[i] = (1ull << shift) + rng_below(&rng, 1ull << shift);
			counts[hist_index(values[i])]++;
		}
		qsort(values, NR, sizeof(values[0]), by_size);
		for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
			u64 rank = ((u64)NR * asked[i] + 99999) / 100000;
			u64 true_ns = values[rank - 1], got = hist_quantile(counts, asked[i]);
			u64 off = got > true_ns ? got - true_ns : true_ns - got;

			ASSERT_TRUE(off * 8 <= true_ns);
		}
	}
}

TEST(quantiles_of_nothing_and_of_one)
{
	__u64 counts[HIST_BUCKETS] = { 0 };

	EXPECT_EQ(hist_quantile(counts, 50000), 0);
	counts[17] = 1;
	EXPECT_EQ(hist_quantile(counts, 50000), hist_high(17));
	EXPECT_EQ(hist_quantile(counts, 0), hist_high(17));
}

TEST(quantiles_of_very_many)
{
	__u64 counts[HIST_BUCKETS] = { 0 };

	counts[10] = UINT64_MAX / 4;
	counts[20] = UINT64_MAX / 4;
	EXPECT_EQ(hist_index(hist_quantile(counts, 25000)), 10);
	EXPECT_EQ(hist_index(hist_quantile(counts, 75000)), 20);
}
