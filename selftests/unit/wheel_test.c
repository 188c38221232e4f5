/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "server/wheel.h"

#include <stdlib.h>

#define NR_TIMERS 300

struct model;

/* A timer, and what the model knows of it. */
struct entry {
	struct timer t; /* first: a fire callback gets its address */
	struct model *m;
	bool pending;
	u64 due_ms; /* the first advance at or behind this fires it */
	u64 nr_fired;
};

struct model {
	struct wheel w;
	struct rng rng;
	u64 now_ms; /* where the advance of the moment goes to */
	bool from_callbacks; /* callbacks add and remove others */
	struct entry entries[NR_TIMERS];
};

/* Mostly near, sometimes hours away, sometimes past, sometimes on a boundary of a level. */
static u64 some_time(struct model *m)
{
	u64 now = m->w.now_ms;

	switch (rng_below(&m->rng, 8)) {
	case 0:
		return now - min(now, rng_below(&m->rng, 100));
	case 1:
		return now + rng_below(&m->rng, 3 * WHEEL_MAX_MS);
	case 2:
		return ((now >> 6) + rng_below(&m->rng, 80)) << 6;
	case 3:
		return ((now >> 12) + rng_below(&m->rng, 80)) << 12;
	case 4:
		return ((now >> 18) + rng_below(&m->rng, 80)) << 18;
	case 5:
		return now + rng_below(&m->rng, 5000);
	default:
		return now + rng_below(&m->rng, 200);
	}
}

static void add(struct model *m, struct entry *e, u64 when_ms)
{
	wheel_add(&m->w, &e->t, when_ms);
	e->pending = true;
	e->due_ms = max(when_ms, m->w.now_ms + 1);
}

static void del(struct model *m, struct entry *e)
{
	wheel_del(&m->w, &e->t);
	e->pending = false;
}

static void change_one(struct model *m)
{
	struct entry *e = &m->entries[rng_below(&m->rng, NR_TIMERS)];

	if (rng_below(&m->rng, 3))
		add(m, e, some_time(m));
	else
		del(m, e);
}

static void fired(struct timer *t)
{
	struct entry *e = container_of(t, struct entry, t);
	struct model *m = e->m;

	EXPECT_TRUE(e->pending);
	EXPECT_FALSE(t->pending);
	/* Never before its time, and on its very tick, however far the advance goes. */
	EXPECT_EQ(m->w.now_ms, e->due_ms);
	EXPECT_LE(m->w.now_ms, m->now_ms);
	e->pending = false;
	e->nr_fired++;
	if (m->from_callbacks)
		for (u64 n = rng_below(&m->rng, 3); n; n--)
			change_one(m);
}

static void advance(struct model *m, u64 now_ms)
{
	m->now_ms = now_ms;
	wheel_advance(&m->w, now_ms);
	ASSERT_EQ(m->w.now_ms, now_ms);
}

/* Against the list of all timers: who is due fired, who is not did not, next is not too late. */
static void check(struct model *m)
{
	u64 first = UINT64_MAX;
	s64 next = wheel_next(&m->w);

	for (int i = 0; i < NR_TIMERS; i++) {
		const struct entry *e = &m->entries[i];

		ASSERT_EQ(e->t.pending, e->pending);
		if (!e->pending)
			continue;
		ASSERT_GT(e->due_ms, m->w.now_ms);
		first = min(first, e->due_ms);
	}
	if (first == UINT64_MAX) {
		ASSERT_EQ(next, -1);
		return;
	}
	ASSERT_GT(next, 0);
	ASSERT_LE((u64)next, first - m->w.now_ms);
}

FIXTURE(wheel)
{
	struct model *m;
};

FIXTURE_VARIANT(wheel)
{
	u64 start_ms;
	bool from_callbacks;
};

VARIANT(wheel, from_zero) = { 0, false };
VARIANT(wheel, from_zero_with_callbacks) = { 0, true };
VARIANT(wheel, before_a_wrap) = { (1ull << 24) - 50, false };
VARIANT(wheel, before_a_wrap_with_callbacks) = { (1ull << 24) - 50, true };
VARIANT(wheel, late) = { 0x123456789abull, true };

FIXTURE_SETUP(wheel)
{
	struct model *m = calloc(1, sizeof(*m));

	ASSERT_NOT_NULL(m);
	self->m = m;
	rng_init(&m->rng);
	wheel_init(&m->w, variant->start_ms);
	m->from_callbacks = variant->from_callbacks;
	for (int i = 0; i < NR_TIMERS; i++) {
		timer_init(&m->entries[i].t, fired);
		m->entries[i].m = m;
	}
}

FIXTURE_TEARDOWN(wheel)
{
	free(self->m);
}

TEST_F(wheel, model)
{
	struct model *m = self->m;
	u64 nr_fired = 0;

	for (int step = 0; step < 20000 && !has_failed(); step++) {
		u64 kind = rng_below(&m->rng, 10);

		if (kind < 6)
			change_one(m);
		else if (kind < 8)
			advance(m, m->w.now_ms + rng_below(&m->rng, 300));
		else if (kind < 9)
			advance(m, m->w.now_ms + (u64)max(wheel_next(&m->w), (s64)0));
		else
			advance(m, max(m->w.now_ms, some_time(m)));
		check(m);
	}
	for (int i = 0; i < NR_TIMERS; i++)
		nr_fired += m->entries[i].nr_fired;
	EXPECT_GT(nr_fired, 1000);
}

/* Sleeping exactly as long as wheel_next() says fires each timer on its millisecond. */
TEST_F(wheel, sleeping_by_next)
{
	struct model *m = self->m;
	u64 nr_wakes = 0, nr_fired = 0;

	m->from_callbacks = false;
	for (int i = 0; i < NR_TIMERS; i++)
		add(m, &m->entries[i], some_time(m));
	while (wheel_next(&m->w) >= 0) {
		advance(m, m->w.now_ms + (u64)wheel_next(&m->w));
		nr_wakes++;
		/* A timer far away costs a wake-up for each level that it comes down, and each wrap. */
		ASSERT_LE(nr_wakes, 10 * NR_TIMERS);
	}
	for (int i = 0; i < NR_TIMERS; i++)
		nr_fired += m->entries[i].nr_fired;
	EXPECT_EQ(nr_fired, NR_TIMERS);
}

/* Each delay up to some seconds, alone: fires on the tick, not one before. */
TEST_F(wheel, every_delay)
{
	struct model *m = self->m;
	struct entry *e = &m->entries[0];

	m->from_callbacks = false;
	for (u64 delay = 1; delay < 9000 && !has_failed(); delay++) {
		u64 nr = e->nr_fired;

		add(m, e, m->w.now_ms + delay);
		advance(m, m->w.now_ms + delay - 1);
		ASSERT_EQ(e->nr_fired, nr);
		advance(m, m->w.now_ms + 1);
		ASSERT_EQ(e->nr_fired, nr + 1);
	}
}

TEST_F(wheel, one_big_step_fires_all_in_order)
{
	struct model *m = self->m;
	u64 nr_fired = 0;

	/* The callback checks that each fires on its tick, so in the order of their times. */
	m->from_callbacks = false;
	for (int i = 0; i < NR_TIMERS; i++)
		add(m, &m->entries[i], some_time(m));
	advance(m, m->w.now_ms + 10 * WHEEL_MAX_MS);
	for (int i = 0; i < NR_TIMERS; i++)
		nr_fired += m->entries[i].nr_fired;
	EXPECT_EQ(nr_fired, NR_TIMERS);
	EXPECT_EQ(wheel_next(&m->w), -1);
}

TEST_F(wheel, removing_twice_and_never_added)
{
	struct model *m = self->m;

	del(m, &m->entries[0]);
	add(m, &m->entries[0], m->w.now_ms + 10);
	del(m, &m->entries[0]);
	del(m, &m->entries[0]);
	EXPECT_EQ(wheel_next(&m->w), -1);
	advance(m, m->w.now_ms + 100);
	EXPECT_EQ(m->entries[0].nr_fired, 0);
}

TEST_F(wheel, time_does_not_go_back)
{
	struct model *m = self->m;
	u64 now;

	add(m, &m->entries[0], m->w.now_ms + 10);
	advance(m, m->w.now_ms + 5);
	now = m->w.now_ms;
	wheel_advance(&m->w, now - 3);
	EXPECT_EQ(m->w.now_ms, now);
	EXPECT_EQ(wheel_next(&m->w), 5);
}

/* Two that are due together: the first removes the second, or moves it. */
static struct entry *victim;
static bool move_it;

static void kills(struct timer *t)
{
	struct entry *e = container_of(t, struct entry, t);

	e->pending = false;
	e->nr_fired++;
	if (move_it)
		add(e->m, victim, e->m->w.now_ms + 7);
	else
		del(e->m, victim);
}

TEST_F(wheel, a_callback_changes_one_that_is_due_too)
{
	struct model *m = self->m;
	struct entry *a = &m->entries[0];

	victim = &m->entries[1];
	m->from_callbacks = false;
	a->t.fire = kills;
	for (int i = 0; i < 2; i++) {
		u64 nr = victim->nr_fired;

		move_it = i;
		add(m, a, m->w.now_ms + 100);
		add(m, victim, m->w.now_ms + 100);
		advance(m, m->w.now_ms + 100);
		EXPECT_EQ(a->nr_fired, (u64)i + 1);
		EXPECT_EQ(victim->nr_fired, nr);
		advance(m, m->w.now_ms + 7);
		EXPECT_EQ(victim->nr_fired, nr + move_it);
	}
}

/* A callback that adds itself again at once must not keep the advance for ever. */
static void again(struct timer *t)
{
	struct entry *e = container_of(t, struct entry, t);

	e->nr_fired++;
	wheel_add(&e->m->w, t, 0);
}

TEST_F(wheel, a_callback_adds_itself_for_now)
{
	struct model *m = self->m;
	struct entry *e = &m->entries[0];

	e->t.fire = again;
	wheel_add(&m->w, &e->t, 0);
	advance(m, m->w.now_ms + 10);
	EXPECT_EQ(e->nr_fired, 10);
	wheel_del(&m->w, &e->t);
}
