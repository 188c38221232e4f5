/* SPDX-License-Identifier: MIT */
/* The table of route names: one entry for a name whoever claims it, and full when it is full. */
#include "server/stats_routes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "selftests/harness/harness.h"

#define CLAIMABLE (STATS_ROUTES - STATS_ROUTES_BEGIN)

FIXTURE(routes)
{
	struct stats_route *table;
	struct route_index *a, *b;
};

FIXTURE_SETUP(routes)
{
	self->table = calloc(STATS_ROUTES, sizeof(*self->table));
	self->a = malloc(sizeof(*self->a));
	self->b = malloc(sizeof(*self->b));
	ASSERT_TRUE(self->table && self->a && self->b);
	stats_routes_init(self->table);
	route_index_init(self->a, self->table);
	route_index_init(self->b, self->table);
}

FIXTURE_TEARDOWN(routes)
{
	free(self->table);
	free(self->a);
	free(self->b);
}

static u32 find(struct route_index *x, const char *text, bool claim)
{
	struct route_name name = { .kind = STATS_ROUTE_TEMPLATE,
				   .method = STATS_METHOD_GET,
				   .name = view_of(text) };

	return route_index_find(x, &name, claim);
}

static u32 find_nr(struct route_index *x, u32 i, bool claim)
{
	char text[32];

	snprintf(text, sizeof(text), "/route/%u", i);
	return find(x, text, claim);
}

TEST_F(routes, one_entry_for_all)
{
	u32 id = find(self->a, "/users/:id", true);

	EXPECT_GE(id, (u32)STATS_ROUTES_BEGIN);
	EXPECT_EQ(find(self->a, "/users/:id", true), id);
	EXPECT_EQ(find(self->b, "/users/:id", false), id);
	EXPECT_EQ(self->table[id].kind, STATS_ROUTE_TEMPLATE);
	EXPECT_EQ(self->table[id].method, STATS_METHOD_GET);
	EXPECT_VIEW_EQ(((struct view){ self->table[id].name, self->table[id].name_len }),
		       "/users/:id");
}

TEST_F(routes, methods_are_apart)
{
	struct route_name post = { .method = STATS_METHOD_POST, .name = VIEW("/users") };

	EXPECT_NE(find(self->a, "/users", true), route_index_find(self->a, &post, true));
}

TEST_F(routes, without_a_claim_nothing_is_entered)
{
	EXPECT_EQ(find(self->a, "/nothing", false), STATS_OTHER);
	EXPECT_EQ(self->table[STATS_ROUTES_BEGIN].state, STATS_ROUTE_FREE);
	EXPECT_EQ(find(self->b, "/nothing", true), STATS_ROUTES_BEGIN);
	EXPECT_EQ(find(self->a, "/nothing", false), STATS_ROUTES_BEGIN);
}

TEST_F(routes, full)
{
	for (u32 i = 0; i < CLAIMABLE; i++)
		ASSERT_NE(find_nr(self->a, i, true), STATS_OTHER);
	for (u32 i = CLAIMABLE; i < 3 * CLAIMABLE; i++) {
		ASSERT_EQ(find_nr(self->a, i, true), STATS_OTHER);
		ASSERT_EQ(find_nr(self->b, i, true), STATS_OTHER);
	}
	for (u32 i = 0; i < CLAIMABLE; i++)
		ASSERT_EQ(find_nr(self->b, i, true), find_nr(self->a, i, false));
}

TEST_F(routes, longest_name)
{
	char text[STATS_NAME_MAX];
	struct route_name name = { .name = { text, sizeof(text) } };
	u32 id;

	memset(text, 'x', sizeof(text));
	id = route_index_find(self->a, &name, true);
	EXPECT_EQ(self->table[id].name_len, STATS_NAME_MAX);
	EXPECT_EQ(route_index_find(self->b, &name, false), id);
}

/* It died between its claim and the name: the entry is lost, nobody waits, nothing else is. */
TEST_F(routes, claimer_that_died)
{
	u32 id;

	self->table[STATS_ROUTES_BEGIN].state = STATS_ROUTE_CLAIMED;
	id = find(self->a, "/a", true);
	EXPECT_EQ(id, STATS_ROUTES_BEGIN + 1);
	EXPECT_EQ(find(self->b, "/a", true), id);
	for (u32 i = 0; i < CLAIMABLE - 2; i++)
		ASSERT_NE(find_nr(self->a, i, true), STATS_OTHER);
	EXPECT_EQ(find(self->a, "/b", true), STATS_OTHER);
}

#define NR_THREADS 4u
#define NR_NAMES 300u /* more than fit */

struct claimer {
	struct stats_route *table;
	u64 seed;
	u32 ids[NR_NAMES];
};

static void *claim_all(void *arg)
{
	struct claimer *c = arg;
	struct route_index *x = malloc(sizeof(*x));
	struct rng rng;

	rng_init_seed(&rng, c->seed);
	route_index_init(x, c->table);
	for (u32 i = 0; i < 20 * NR_NAMES; i++) {
		u32 nr = (u32)rng_below(&rng, NR_NAMES), id = find_nr(x, nr, true);

		EXPECT_TRUE(!c->ids[nr] || c->ids[nr] == id);
		c->ids[nr] = id;
	}
	for (u32 i = 0; i < NR_NAMES; i++)
		c->ids[i] = find_nr(x, i, false);
	free(x);
	return NULL;
}

/*
 * A claimer that is interrupted between claim and name costs an entry and may leave a name twice: a
 * window of some ns that a few of 6000 claims meet at most.
 */
TEST_F(routes, claimed_once_by_many_threads)
{
	u32 nr_twice = 0;

	for (u32 round = 0; round < 20; round++) {
		struct claimer claimers[NR_THREADS] = { 0 };
		pthread_t threads[NR_THREADS];
		u32 entered = 0;

		memset(self->table, 0, STATS_ROUTES * sizeof(*self->table));
		stats_routes_init(self->table);
		for (u32 i = 0; i < NR_THREADS; i++) {
			claimers[i].table = self->table;
			claimers[i].seed = rng_run_seed() + round * NR_THREADS + i;
			ASSERT_EQ(pthread_create(&threads[i], NULL, claim_all, &claimers[i]), 0);
		}
		for (u32 i = 0; i < NR_THREADS; i++)
			pthread_join(threads[i], NULL);
		for (u32 n = 0; n < NR_NAMES; n++) {
			entered += claimers[0].ids[n] != STATS_OTHER;
			for (u32 i = 1; i < NR_THREADS; i++)
				nr_twice += claimers[i].ids[n] != claimers[0].ids[n];
		}
		ASSERT_GE(entered, CLAIMABLE - NR_THREADS);
	}
	EXPECT_LE(nr_twice, 20);
}
