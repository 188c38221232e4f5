/* SPDX-License-Identifier: MIT */
/* What a worker says of its load, and what its row keeps when the worker is another. */
#include "server/worker_load.h"

#include "selftests/harness/harness.h"

TEST(accepted_ones_settle_picks)
{
	struct stats_steer row = { .picks = 10, .settled = 4 };
	struct worker_load load;
	struct load_numbers n = { .state = STATS_WORKER_SERVING, .accepted = 3, .kept = 2 };

	worker_load_init(&load, &row, 5);
	EXPECT_EQ(row.settled, 4);
	EXPECT_EQ(row.nr_threads, 5);
	worker_load_publish(&load, &n, 100);
	EXPECT_EQ(row.settled, 7);
	EXPECT_EQ(row.settled_ns, 100);
	EXPECT_EQ(row.kept, 2);
	EXPECT_EQ(row.state, STATS_WORKER_SERVING);
	/* Nothing new: the time stands. */
	worker_load_publish(&load, &n, 200);
	EXPECT_EQ(row.settled_ns, 100);
	/* What the supervisor has settled meanwhile is not lost. */
	row.settled += 2;
	n.accepted = 4;
	worker_load_publish(&load, &n, 300);
	EXPECT_EQ(row.settled, 10);
	EXPECT_EQ(row.settled_ns, 300);
	EXPECT_EQ(row.picks, 10);
}

TEST(the_next_worker_has_nothing_yet)
{
	struct stats_steer row = { .settled = 4 };
	struct load_numbers n = { .state = STATS_WORKER_SERVING,
				  .accepted = 3,
				  .kept = 2,
				  .running = 1,
				  .waiting = 7,
				  .running_ns = 11,
				  .waiting_ns = 12 };
	struct worker_load load;

	worker_load_init(&load, &row, 1);
	worker_load_publish(&load, &n, 100);
	EXPECT_EQ(row.running + row.waiting, 8);
	EXPECT_EQ(row.running_ns, 11);
	EXPECT_EQ(row.waiting_ns, 12);
	worker_load_init(&load, &row, 0);
	EXPECT_EQ(row.settled, 7);
	EXPECT_EQ(row.state, STATS_WORKER_NONE);
	EXPECT_EQ(row.kept + row.running + row.waiting, 0);
	EXPECT_EQ(row.running_ns + row.waiting_ns, 0);
	EXPECT_EQ(row.nr_threads, 1);
	n = (struct load_numbers){ .accepted = 1 };
	worker_load_publish(&load, &n, 200);
	EXPECT_EQ(row.settled, 8);
}

TEST(nobody_wants_to_know)
{
	const struct load_numbers n = { .accepted = 1 };
	struct worker_load load;

	worker_load_init(&load, NULL, 1);
	worker_load_publish(&load, &n, 1);
	EXPECT_EQ(load.accepted, 0);
}
