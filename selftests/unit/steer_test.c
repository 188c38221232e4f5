/* SPDX-License-Identifier: MIT */
/* The policy of steering: what a row weighs, when it stalls, and who is picked of many. */
#include "bpf/steer.h"

#include "selftests/harness/harness.h"

#define NOW (100 * NSEC_PER_SEC)
#define MS NSEC_PER_MSEC

static struct stats_steer idle_row(void)
{
	return (struct stats_steer){ .state = STATS_WORKER_SERVING, .nr_threads = 1 };
}

static struct steer_view row_view(const struct stats_steer *row)
{
	struct steer_view v;

	steer_read(&v, row, NOW);
	return v;
}

static u32 load_of(const struct stats_steer *row)
{
	struct steer_view v = row_view(row);

	return steer_load(&v);
}

static u32 penalty_of(const struct stats_steer *row)
{
	struct steer_view v = row_view(row);

	return steer_penalty(&v);
}

static bool stalls(const struct stats_steer *row)
{
	struct steer_view v = row_view(row);

	return steer_stalled(&v);
}

static struct steer_choice choose(const struct stats_steer *rows, u32 nr, u32 random)
{
	struct steer_choice c;

	steer_begin(&c, NOW, random);
	for (u32 i = 0; i < STEER_LOOKS && i < nr; i++) {
		u32 slot = steer_look(&c, i, nr);

		steer_weigh(&c, slot, &rows[slot]);
	}
	steer_end(&c);
	return c;
}

/* --- one row --- */

TEST(load_counts_work_and_what_is_kept)
{
	struct stats_steer row = idle_row();

	EXPECT_EQ(load_of(&row), 0);
	row.kept = 5;
	EXPECT_EQ(load_of(&row), 5);
	row.picks = 7;
	row.settled = 4;
	EXPECT_EQ(load_of(&row), 3 * STEER_WORK + 5);
	row.running = 2;
	row.waiting = 1;
	EXPECT_EQ(load_of(&row), 6 * STEER_WORK + 5);
}

TEST(counters_beyond_32_bits_and_around_the_end)
{
	struct stats_steer row = idle_row();

	row.settled = 0xfffffffff0ull;
	row.picks = row.settled + 3;
	EXPECT_EQ(load_of(&row), 3 * STEER_WORK);
	row.settled = UINT64_MAX - 1;
	row.picks = 2;
	EXPECT_EQ(load_of(&row), 4 * STEER_WORK);
	/* Settled more than was picked. */
	row.picks = 10;
	row.settled = 12;
	EXPECT_EQ(load_of(&row), 0);
	EXPECT_FALSE(stalls(&row));
}

TEST(any_bytes_have_a_rank)
{
	struct stats_steer row;
	struct steer_choice c;
	struct rng rng;

	rng_init(&rng);
	for (int i = 0; i < 20000; i++) {
		rng_fill(&rng, &row, sizeof(row));
		if (i % 4 == 0)
			memset(&row.settled, 0xff,
			       sizeof(row) - offsetof(struct stats_steer, settled));
		row.state = STATS_WORKER_SERVING;
		ASSERT_TRUE(load_of(&row) < STEER_STALLED_BIT - penalty_of(&row));
		c = choose(&row, 1, (u32)i);
		ASSERT_EQ(c.slot, 0);
	}
}

TEST(ages_of_what_is_not_there_and_of_the_future)
{
	struct stats_steer row = idle_row();
	struct steer_view v;

	EXPECT_EQ(steer_age(0, NOW), 0);
	EXPECT_EQ(steer_age(NOW, NOW), 0);
	EXPECT_EQ(steer_age(NOW + 1, NOW), 0);
	EXPECT_EQ(steer_age(NOW - 1, NOW), 1);
	/* Times without their count are left over from before. */
	row.pick_ns = row.running_ns = row.waiting_ns = NOW - 60 * NSEC_PER_SEC;
	v = row_view(&row);
	EXPECT_EQ(v.unsettled_ns + v.running_ns + v.waiting_ns + v.oldest_ns, 0);
	EXPECT_EQ(penalty_of(&row), 0);
	row.picks = row.running = row.waiting = 1;
	row.pick_ns = row.running_ns = row.waiting_ns = NOW + 5;
	EXPECT_EQ(penalty_of(&row), 0);
	EXPECT_FALSE(stalls(&row));
}

TEST(what_is_not_accepted_weighs_by_its_age)
{
	struct stats_steer row = idle_row();

	row.picks = 1;
	row.pick_ns = NOW - STEER_ACCEPT_NS + 1;
	EXPECT_EQ(penalty_of(&row), 0);
	row.pick_ns = NOW - STEER_ACCEPT_NS;
	EXPECT_EQ(penalty_of(&row), STEER_WORK);
	row.pick_ns = NOW - 2 * STEER_ACCEPT_NS;
	EXPECT_EQ(penalty_of(&row), 2 * STEER_WORK);
	EXPECT_FALSE(stalls(&row));
	row.pick_ns--;
	EXPECT_TRUE(stalls(&row));
	/* Accepted others a moment ago. */
	row.settled_ns = NOW - STEER_ACCEPT_NS / 2;
	EXPECT_FALSE(stalls(&row));
	EXPECT_EQ(penalty_of(&row), 0);
	row.settled_ns = 0;
	row.settled = 1;
	EXPECT_FALSE(stalls(&row));
}

TEST(an_old_job_where_all_threads_are_taken)
{
	struct stats_steer row = idle_row();
	u64 unit = STEER_OLD_NS / STEER_OLD_JOBS;

	row.running = 1;
	row.running_ns = NOW - STEER_OLD_NS;
	EXPECT_EQ(penalty_of(&row), 0);
	row.running_ns--;
	EXPECT_EQ(penalty_of(&row), STEER_OLD_JOBS * STEER_WORK);
	row.running_ns = NOW - 20 * unit - 1;
	EXPECT_EQ(penalty_of(&row), 20 * STEER_WORK);
	row.running_ns = NOW - STEER_OLD_NS * STEER_OLD_STALLED;
	EXPECT_FALSE(stalls(&row));
	row.running_ns--;
	EXPECT_TRUE(stalls(&row));
	/* Free threads beside it. */
	row.nr_threads = 2;
	EXPECT_FALSE(stalls(&row));
	EXPECT_EQ(penalty_of(&row), STEER_OLD_BESIDE * STEER_WORK);
	/* ... that do not come round: it computes. */
	row.nr_threads = 5;
	row.waiting = 1;
	row.waiting_ns = NOW - STEER_UNCLAIMED_NS;
	EXPECT_FALSE(stalls(&row));
	row.waiting_ns--;
	EXPECT_TRUE(stalls(&row));
}

TEST(a_claim_that_is_not_told_yet)
{
	struct stats_steer row = idle_row();

	row.waiting = 1;
	row.waiting_ns = NOW - STEER_OLD_NS * STEER_OLD_STALLED - 1;
	EXPECT_TRUE(stalls(&row));
	row.nr_threads = 3;
	EXPECT_FALSE(stalls(&row));
	EXPECT_EQ(penalty_of(&row), STEER_OLD_BESIDE * STEER_WORK);
}

TEST(old_is_relative_to_what_jobs_take)
{
	struct stats_steer row = idle_row();

	row.running = 1;
	row.job_us = 200000;
	row.running_ns = NOW - 200 * MS * STEER_OLD_JOBS;
	EXPECT_EQ(penalty_of(&row), 0);
	row.running_ns--;
	EXPECT_EQ(penalty_of(&row), STEER_OLD_JOBS * STEER_WORK);
	row.running_ns = NOW - 200 * MS * STEER_OLD_JOBS * STEER_OLD_STALLED - 1;
	EXPECT_TRUE(stalls(&row));
	row.job_us = UINT32_MAX;
	EXPECT_FALSE(stalls(&row));
}

TEST(mean_time_of_a_job)
{
	u32 us = 0;

	for (int i = 0; i < 200; i++)
		us = steer_job_us(us, 200 * MS);
	EXPECT_TRUE(us > 199000 && us <= 200000);
	/* One that is stuck moves it by less than a fifth, a hundred short ones bring it down. */
	us = steer_job_us(us, 3600 * NSEC_PER_SEC);
	EXPECT_TRUE(us < 240000);
	for (int i = 0; i < 200; i++)
		us = steer_job_us(us, MS);
	EXPECT_TRUE(us >= 1000 && us < 1100);
	EXPECT_EQ(steer_job_us(0, 0), 0);
	EXPECT_EQ(steer_job_us(UINT32_MAX, UINT64_MAX), UINT32_MAX);
}

/* --- the choice --- */

TEST(nobody_and_only_one)
{
	struct stats_steer rows[5] = { 0 };
	struct steer_choice c = choose(rows, 5, 1);

	EXPECT_EQ(c.slot, STEER_NOBODY);
	EXPECT_EQ(c.avoided, STEER_NOBODY);
	EXPECT_EQ(choose(rows, 0, 1).slot, STEER_NOBODY);
	for (u32 i = 0; i < 5; i++)
		rows[i] = (struct stats_steer){ .state = STATS_WORKER_DRAINING };
	EXPECT_EQ(choose(rows, 5, 1).slot, STEER_NOBODY);
	rows[3] = idle_row();
	rows[3].picks = 1000;
	rows[3].pick_ns = 1;
	c = choose(rows, 5, 1);
	EXPECT_EQ(c.slot, 3);
	EXPECT_EQ(c.reason, STEER_ONLY);
	EXPECT_EQ(c.avoided, STEER_NOBODY);
}

TEST(the_least_loaded_wherever_it_is)
{
	for (u32 nr = 2; nr <= STEER_LOOKS; nr++) {
		for (u32 least = 0; least < nr; least++) {
			struct stats_steer rows[STEER_LOOKS];
			struct steer_choice c;

			for (u32 i = 0; i < nr; i++) {
				rows[i] = idle_row();
				rows[i].kept = i == least ? 1 : 2;
			}
			c = choose(rows, nr, nr * 77 + least);
			ASSERT_EQ(c.slot, least);
			ASSERT_EQ(c.reason, STEER_LOAD);
		}
	}
}

TEST(a_stalled_one_is_avoided_and_named)
{
	struct stats_steer rows[3] = { idle_row(), idle_row(), idle_row() };
	struct steer_choice c;

	rows[0].kept = 100;
	rows[2].kept = 90;
	rows[1].picks = 1;
	rows[1].pick_ns = NOW - NSEC_PER_SEC;
	c = choose(rows, 3, 1);
	EXPECT_EQ(c.slot, 2);
	EXPECT_EQ(c.reason, STEER_LOAD);
	EXPECT_EQ(c.avoided, 1);
	/* However much the others have to do. */
	rows[0].waiting = rows[2].waiting = rows[0].running = rows[2].running = 100000;
	EXPECT_EQ(choose(rows, 3, 1).slot, 2);
	/* Its load would not have made it the answer. */
	rows[1].kept = 0xffffff;
	c = choose(rows, 3, 1);
	EXPECT_EQ(c.slot, 2);
	EXPECT_EQ(c.avoided, STEER_NOBODY);
}

TEST(all_stalled_the_least_bad)
{
	struct stats_steer rows[3];
	struct steer_choice c;

	for (u32 i = 0; i < 3; i++) {
		rows[i] = idle_row();
		rows[i].picks = 1;
		rows[i].pick_ns = NOW - (3 - i) * NSEC_PER_SEC;
	}
	c = choose(rows, 3, 1);
	EXPECT_EQ(c.slot, 2);
	EXPECT_EQ(c.reason, STEER_STALLED);
	EXPECT_EQ(c.avoided, STEER_NOBODY);
}

/* Each pick is settled before the next: loads stay equal. */
TEST(equal_ones_take_turns)
{
	struct stats_steer rows[4] = { idle_row(), idle_row(), idle_row(), idle_row() };
	u32 nr_picks[4] = { 0 };

	for (u32 i = 0; i < 400; i++) {
		u32 slot = choose(rows, 4, i * 2654435761u).slot;

		rows[slot].pick_ns = 1 + i;
		nr_picks[slot]++;
		for (u32 w = 0; i % 4 == 3 && w < 4; w++)
			ASSERT_EQ(nr_picks[w], i / 4 + 1);
	}
}

TEST(without_picks_equal_ones_are_drawn_by_lot)
{
	struct stats_steer rows[6] = { idle_row(), idle_row(), idle_row(),
				       idle_row(), idle_row(), idle_row() };
	u32 nr_picks[6] = { 0 };
	struct rng rng;

	rng_init_seed(&rng, 7);
	rows[0].kept = 1;
	rows[4].state = STATS_WORKER_NONE;
	for (u32 i = 0; i < 40000; i++)
		nr_picks[choose(rows, 6, (u32)rng_next(&rng)).slot]++;
	EXPECT_EQ(nr_picks[0] + nr_picks[4], 0);
	for (u32 w = 1; w < 6; w++)
		EXPECT_TRUE(w == 4 || (nr_picks[w] > 9500 && nr_picks[w] < 10500));
}

/* Rows of kept connections do not change for a while: picks alone keep them from one place. */
TEST(stale_rows_do_not_draw_a_herd)
{
	struct stats_steer rows[4] = { idle_row(), idle_row(), idle_row(), idle_row() };

	rows[2].kept = 0;
	rows[0].kept = rows[1].kept = rows[3].kept = STEER_WORK;
	for (u32 i = 0; i < 401; i++) {
		u32 slot = choose(rows, 4, i).slot;

		if (rows[slot].picks++ == 0)
			rows[slot].pick_ns = NOW;
	}
	EXPECT_EQ(rows[2].picks, 101);
	EXPECT_EQ(rows[0].picks, 100);
}

/* --- many slots --- */

TEST(looks_differ_and_reach_every_slot)
{
	static const u32 sizes[] = { 1, 2, 23, 24, 25, 47, 48, 100, 264, 100000 };

	for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
		static u32 seen[100000];
		u32 nr = sizes[n], reached = 0;
		struct steer_choice c;

		memset(seen, 0, sizeof(seen));
		for (u32 round = 1; round <= 3000; round++) {
			u32 last = 0;

			steer_begin(&c, NOW, round * 2654435761u);
			for (u32 i = 0; i < STEER_LOOKS && i < nr; i++) {
				u32 slot = steer_look(&c, i, nr);

				ASSERT_LT(slot, nr);
				ASSERT_TRUE(i == 0 || slot > last);
				last = slot;
				reached += !seen[slot]++;
			}
		}
		ASSERT_TRUE(reached == nr || nr > 264);
	}
}

TEST(of_many_the_stalled_ones_are_avoided)
{
	static struct stats_steer rows[264];
	struct steer_choice c;

	for (u32 i = 0; i < 264; i++) {
		rows[i] = idle_row();
		rows[i].picks = i % 2;
		rows[i].pick_ns = NOW - NSEC_PER_SEC;
	}
	for (u32 i = 0; i < 1000; i++) {
		c = choose(rows, 264, i * 2654435761u);
		ASSERT_EQ(c.nr_live, STEER_LOOKS);
		ASSERT_TRUE(c.slot % 2 == 0 || c.reason == STEER_STALLED);
	}
}

/* --- re-balancing --- */

TEST(a_sibling_is_never_oneself_nor_stalled_nor_as_loaded)
{
	struct stats_steer rows[4] = { idle_row(), idle_row(), idle_row(), idle_row() };

	/* Nothing to give away. */
	EXPECT_EQ(steer_sibling(rows, 4, 1, NOW, 1), STEER_NOBODY);
	/* It would only be the other's turn to give it back. */
	rows[1].running = 1;
	EXPECT_EQ(steer_sibling(rows, 4, 1, NOW, 1), STEER_NOBODY);
	rows[1].waiting = 1;
	rows[0].kept = rows[3].kept = 9;
	EXPECT_EQ(steer_sibling(rows, 4, 1, NOW, 1), 2);
	rows[2].state = STATS_WORKER_DRAINING;
	EXPECT_NE(steer_sibling(rows, 4, 1, NOW, 1), 2);
	rows[0].picks = 1;
	rows[0].pick_ns = NOW - NSEC_PER_SEC;
	EXPECT_EQ(steer_sibling(rows, 4, 1, NOW, 1), 3);
	rows[3].state = STATS_WORKER_NONE;
	EXPECT_EQ(steer_sibling(rows, 4, 1, NOW, 1), STEER_NOBODY);
	EXPECT_EQ(steer_sibling(rows, 4, 4, NOW, 1), STEER_NOBODY);
	EXPECT_EQ(steer_sibling(rows, 1, 0, NOW, 1), STEER_NOBODY);
}

TEST(a_stuck_worker_gives_to_busier_ones)
{
	struct stats_steer rows[2] = { idle_row(), idle_row() };

	rows[0].running = 1;
	rows[0].running_ns = NOW - NSEC_PER_SEC;
	rows[1].running = 1;
	rows[1].running_ns = NOW - MS;
	rows[1].waiting = 10;
	rows[1].waiting_ns = NOW - MS;
	EXPECT_EQ(steer_sibling(rows, 2, 0, NOW, 1), 1);
	EXPECT_EQ(steer_sibling(rows, 2, 1, NOW, 1), STEER_NOBODY);
}
