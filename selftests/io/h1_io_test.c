/* SPDX-License-Identifier: MIT */
/* Every rule of the shared table again, through connections, loop and TCP, on both backends. */
#include "selftests/harness/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "selftests/h1_rules.h"
#include "selftests/io/probe.h"
#include "selftests/io/site.h"

#define MAX_VARIANTS 1024

FIXTURE(rule)
{
	struct site s;
	struct rng rng;
	char *in;
	size_t len;
};

FIXTURE_VARIANT(rule)
{
	enum loop_kind kind;
	const struct h1_rule *rule;
	char name[80];
};

FIXTURE_SETUP(rule)
{
	site_init(&self->s, variant->kind);
	self->in = h1_rule_input(variant->rule, &self->len);
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(rule)
{
	site_fini(&self->s);
	free(self->in);
}

static struct variant_rule values[MAX_VARIANTS];
static struct harness_variant variants[MAX_VARIANTS];

static size_t add_rules(size_t nr, enum loop_kind kind, const struct h1_rule *rules)
{
	for (const struct h1_rule *r = rules; r->name; r++, nr++) {
		struct variant_rule *v = &values[nr];

		if (nr == MAX_VARIANTS)
			abort();
		v->kind = kind;
		v->rule = r;
		snprintf(v->name, sizeof(v->name), "%s:%s", kind == LOOP_URING ? "uring" : "epoll",
			 r->name);
		variants[nr] = (struct harness_variant){ .name = v->name, .value = v };
		harness_add_variant(&fixture_rule, &variants[nr]);
	}
	return nr;
}

HARNESS_AT_START(all_rules)
{
	size_t nr = 0;

	for (size_t i = 0; i < H1_NR_RULE_TABLES; i++)
		nr = add_rules(nr, LOOP_URING, h1_rule_tables[i]);
	for (size_t i = 0; i < H1_NR_RULE_TABLES; i++)
		nr = add_rules(nr, LOOP_EPOLL, h1_rule_tables[i]);
}

/* The client says it all; what the server has closed meanwhile it need not have taken. */
static void say(struct self_rule *self, enum feeding how, bool reads)
{
	struct site *s = &self->s;
	size_t n, at = 0;
	struct feed f;

	feed_init(&f, how, self->len, &self->rng);
	for (; (n = feed_next(&f)) && !s->out_err; at += n) {
		if (site_write(s, self->in + at, n) < n)
			break;
		site_turn(s, 0);
		site_turn(s, 0);
		if (reads)
			site_read(s);
	}
}

static const char *check(struct site *s, const struct h1_rule *rule)
{
	return h1_rule_check(rule, (struct view){ s->out, s->out_len });
}

/*
 * The answers came whole, then an end of file: a reset would have destroyed
 * them. Only who talks on, and late enough to meet a closed socket, gets one.
 */
static void expect_closed(struct self_rule *self, const struct h1_rule *rule, enum feeding how)
{
	struct site *s = &self->s;

	SITE_UNTIL(s, s->out_eof || s->out_err);
	if (s->out_eof || !rule->talks_on || how == FEED_WHOLE) {
		EXPECT_TRUE(s->out_eof);
		EXPECT_STREQ(check(s, rule), NULL);
	}
	/* Its side closed too, the connection is gone: nothing lingers on. */
	site_close_client(s, false);
	SITE_UNTIL(s, s->conns.nr == 0);
}

static void expect_open(struct self_rule *self, const struct h1_rule *rule)
{
	struct h1_rule next = { .want = { { .status = 200, .body = H1_NEXT_BODY } } };
	struct site *s = &self->s;

	/* Not until it is right, so that what is too much has time to come. */
	SITE_UNTIL(s, check(s, rule) == NULL || s->out_eof || s->out_err);
	site_turn(s, 0);
	site_read(s);
	EXPECT_STREQ(check(s, rule), NULL);
	EXPECT_FALSE(s->out_eof);
	if (rule->unfinished || has_failed())
		return;
	s->out_len = 0;
	ASSERT_EQ(site_write(s, H1_NEXT, sizeof(H1_NEXT) - 1), sizeof(H1_NEXT) - 1);
	SITE_UNTIL(s, check(s, &next) == NULL || s->out_eof || s->out_err);
	EXPECT_EQ(s->conns.nr, 1);
}

static void run(struct self_rule *self, const struct h1_rule *rule, enum feeding how, bool reads)
{
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	say(self, how, reads);
	if (rule->then == THEN_EOF)
		ASSERT_OK(SYS(shutdown(s->client, SHUT_WR)));
	else if (rule->then == THEN_STALL)
		site_pass(s, 31 * MSEC_PER_SEC);
	if (rule->closes) {
		expect_closed(self, rule, how);
		return;
	}
	expect_open(self, rule);
	site_close_client(s, false);
	SITE_UNTIL(s, s->conns.nr == 0);
}

TEST_F(rule, whole)
{
	run(self, variant->rule, FEED_WHOLE, false);
}

TEST_F(rule, byte_by_byte)
{
	run(self, variant->rule, FEED_BYTES, true);
}

TEST_F(rule, random_splits)
{
	for (int i = 0; i < 4 && !has_failed(); i++)
		run(self, variant->rule, FEED_RANDOM, i % 2);
}
