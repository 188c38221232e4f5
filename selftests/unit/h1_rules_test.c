/* SPDX-License-Identifier: MIT */
/* Every rule of the shared table through a link: three ways to feed it, two ways to send. */
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"

#include <stdlib.h>

#define NR_RANDOM 20
#define MAX_RULES 512

FIXTURE(rule)
{
	char *in;
	size_t len;
	struct rng rng;
};

FIXTURE_VARIANT(rule)
{
	const struct h1_rule *rule;
};

FIXTURE_SETUP(rule)
{
	self->in = h1_rule_input(variant->rule, &self->len);
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(rule)
{
	free(self->in);
}

static struct variant_rule values[MAX_RULES];
static struct harness_variant variants[MAX_RULES];

HARNESS_AT_START(all_rules)
{
	size_t nr = 0;

	for (size_t i = 0; i < H1_NR_RULE_TABLES; i++) {
		for (const struct h1_rule *r = h1_rule_tables[i]; r->name; r++, nr++) {
			if (nr == MAX_RULES)
				abort();
			values[nr].rule = r;
			variants[nr] =
				(struct harness_variant){ .name = r->name, .value = &values[nr] };
			harness_add_variant(&fixture_rule, &variants[nr]);
		}
	}
}

static void check_done(const struct owner *o, const struct h1_rule *rule)
{
	u32 at = 0;

	if (rule->nr_repeat) {
		ASSERT_EQ(o->nr_done, rule->nr_repeat);
		return;
	}
	for (u32 i = 0; i < H1_MAX_WANTS && rule->want[i].status; i++) {
		if (rule->want[i].status < 200)
			continue;
		ASSERT_LT(at, o->nr_done);
		EXPECT_EQ(o->done[at].status, rule->want[i].status);
		if (rule->want[i].status < 400 || rule->want[i].took)
			EXPECT_EQ(o->done[at].body_len, rule->want[i].took);
		EXPECT_TRUE(o->done[at].sent);
		at++;
	}
}

static void check_end(struct owner *o, const struct h1_rule *rule)
{
	struct h1_rule next = { .want = { { .status = 200, .body = H1_NEXT_BODY } } };

	EXPECT_EQ(o->closed, rule->closes);
	if (rule->closes || rule->unfinished)
		return;
	o->out.len = 0;
	owner_feed(o, H1_NEXT, sizeof(H1_NEXT) - 1);
	EXPECT_STREQ(h1_rule_check(&next, (struct view){ o->out.p, o->out.len }), NULL);
}

/*
 * @late: nothing leaves before all is in, so that the link gets bytes behind
 * its end. @max_out: how much output stops the input, 0 = as by default.
 */
static void run(struct self_rule *self, const struct h1_rule *rule, enum feeding how,
		size_t send_max, bool late, u32 max_out)
{
	struct owner o;
	struct feed feed;
	size_t n, at = 0;

	ASSERT_TRUE(owner_init(&o));
	o.send_max = send_max;
	if (max_out)
		o.limits.max_out_bytes = max_out;
	o.stopped = late;
	feed_init(&feed, how, self->len, &self->rng);
	for (; (n = feed_next(&feed)); at += n)
		owner_feed(&o, self->in + at, n);
	o.stopped = false;
	owner_flush(&o);
	if (rule->then == THEN_EOF)
		owner_eof(&o);
	else if (rule->then == THEN_STALL)
		owner_wait(&o, 60 * MSEC_PER_SEC);
	EXPECT_STREQ(h1_rule_check(rule, (struct view){ o.out.p, o.out.len }), NULL);
	check_done(&o, rule);
	check_end(&o, rule);
	owner_fini(&o);
}

TEST_F(rule, whole)
{
	run(self, variant->rule, FEED_WHOLE, SIZE_MAX, false, 0);
	run(self, variant->rule, FEED_WHOLE, 1, false, 0);
	run(self, variant->rule, FEED_WHOLE, SIZE_MAX, true, 0);
	run(self, variant->rule, FEED_WHOLE, 7, true, 1);
}

TEST_F(rule, byte_by_byte)
{
	run(self, variant->rule, FEED_BYTES, SIZE_MAX, false, 0);
	run(self, variant->rule, FEED_BYTES, SIZE_MAX, true, 0);
}

TEST_F(rule, random_splits)
{
	for (int i = 0; i < NR_RANDOM && !has_failed(); i++)
		run(self, variant->rule, FEED_RANDOM, 1 + rng_below(&self->rng, 100), i % 2,
		    i % 3 ? 0 : 1 + (u32)rng_below(&self->rng, 1000));
}
