/* SPDX-License-Identifier: MIT */
/* Every precondition of RFC 9110 13.1, and their order of 13.2.2, as tables. */
#include "selftests/harness/harness.h"
#include "server/cond.h"

#include <stdio.h>

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"
#define SECOND 784111777u

struct rule {
	const char *head; /* field lines */
	enum cond_result want;
};

static const struct rule rules[] = {
	{ "", COND_GO },
	/* If-Match 13.1.1: strong comparison; "*" is any */
	{ "If-Match: \"a\"\n", COND_GO },
	{ "If-Match: *\n", COND_GO },
	{ "If-Match: \"b\"\n", COND_FAILED },
	{ "If-Match: \"b\", \"a\"\n", COND_GO },
	{ "If-Match: \"b\" ,\"c\"\n", COND_FAILED },
	{ "If-Match: \"b\"\nIf-Match: \"a\"\n", COND_GO },
	{ "If-Match: W/\"a\"\n", COND_FAILED },
	{ "If-Match: a\n", COND_FAILED },
	{ "If-Match: \n", COND_FAILED },
	{ "If-Match: \"A\"\n", COND_FAILED },
	/* If-None-Match 13.1.2: weak comparison */
	{ "If-None-Match: \"a\"\n", COND_NOT_MODIFIED },
	{ "If-None-Match: W/\"a\"\n", COND_NOT_MODIFIED },
	{ "If-None-Match: *\n", COND_NOT_MODIFIED },
	{ "If-None-Match: \"b\"\n", COND_GO },
	{ "If-None-Match: \"b\", W/\"c\", \"a\"\n", COND_NOT_MODIFIED },
	{ "If-None-Match: ,, \"b\",,\"a\",\n", COND_NOT_MODIFIED },
	{ "If-None-Match: \"b\"\nIf-None-Match: \"a\"\n", COND_NOT_MODIFIED },
	{ "If-None-Match: \"b,\\\"a\"\n", COND_GO }, /* a comma within a tag */
	{ "If-None-Match: \"x,a\", \"a\"\n", COND_NOT_MODIFIED },
	{ "If-None-Match: w/\"a\"\n", COND_GO }, /* W/ has case */
	{ "If-None-Match: a\n", COND_GO },
	{ "If-None-Match: \"a\n", COND_GO },
	{ "If-None-Match: \"\"\n", COND_GO },
	{ "If-None-Match: \n", COND_GO },
	/* If-Modified-Since 13.1.3 */
	{ "If-Modified-Since: " DATE "\n", COND_NOT_MODIFIED },
	{ "If-Modified-Since: " AFTER "\n", COND_NOT_MODIFIED },
	{ "If-Modified-Since: " BEFORE "\n", COND_GO },
	{ "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\n", COND_NOT_MODIFIED },
	{ "If-Modified-Since: Sun Nov  6 08:49:37 1994\n", COND_NOT_MODIFIED },
	{ "If-Modified-Since: yesterday\n", COND_GO },
	{ "If-Modified-Since: \n", COND_GO },
	{ "If-Modified-Since: " DATE "\nIf-Modified-Since: " DATE "\n", COND_GO },
	/* If-Unmodified-Since 13.1.4 */
	{ "If-Unmodified-Since: " DATE "\n", COND_GO },
	{ "If-Unmodified-Since: " AFTER "\n", COND_GO },
	{ "If-Unmodified-Since: " BEFORE "\n", COND_FAILED },
	{ "If-Unmodified-Since: yesterday\n", COND_GO },
	/* 13.2.2: 1. If-Match goes before If-Unmodified-Since (step 2), which is then ignored */
	{ "If-Match: \"a\"\nIf-Unmodified-Since: " BEFORE "\n", COND_GO },
	{ "If-Match: \"b\"\nIf-Unmodified-Since: " AFTER "\n", COND_FAILED },
	/* both of them before If-None-Match (step 3) */
	{ "If-Match: \"b\"\nIf-None-Match: \"a\"\n", COND_FAILED },
	{ "If-Match: \"a\"\nIf-None-Match: \"a\"\n", COND_NOT_MODIFIED },
	{ "If-Unmodified-Since: " BEFORE "\nIf-None-Match: \"a\"\n", COND_FAILED },
	{ "If-Unmodified-Since: " DATE "\nIf-None-Match: \"a\"\n", COND_NOT_MODIFIED },
	/* If-None-Match goes before If-Modified-Since (step 4), which is then ignored */
	{ "If-None-Match: \"b\"\nIf-Modified-Since: " DATE "\n", COND_GO },
	{ "If-None-Match: \"a\"\nIf-Modified-Since: " BEFORE "\n", COND_NOT_MODIFIED },
	/* the two dates together */
	{ "If-Unmodified-Since: " DATE "\nIf-Modified-Since: " DATE "\n", COND_NOT_MODIFIED },
	{ "If-Unmodified-Since: " BEFORE "\nIf-Modified-Since: " DATE "\n", COND_FAILED },
};

static void read_head(const char *head, struct msg *m, struct fields *f)
{
	m->nr_headers = 0;
	while (*head) {
		const char *colon = strchr(head, ':'), *end = strchr(head, '\n');
		struct header *h = &m->headers[m->nr_headers++];

		h->name = (struct view){ head, (size_t)(colon - head) };
		h->value = (struct view){ colon + 2, (size_t)(end - colon - 2) };
		head = end + 1;
	}
	fields_read(f, m);
}

TEST(rules_of_the_rfc)
{
	const struct validator v = { VIEW("\"a\""), SECOND };

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		struct fields f;
		struct msg m;
		enum cond_result got;

		read_head(rules[i].head, &m, &f);
		got = cond_check(&f, &v);
		if (got != rules[i].want)
			NOTE("%s", rules[i].head);
		EXPECT_EQ(got, rules[i].want);
	}
}

/* Our own tag may be weak: then If-Match never holds, but for "*". */
TEST(weak_validator)
{
	static const struct rule weak[] = {
		{ "If-Match: W/\"a\"\n", COND_FAILED },
		{ "If-Match: \"a\"\n", COND_FAILED },
		{ "If-Match: *\n", COND_GO },
		{ "If-None-Match: W/\"a\"\n", COND_NOT_MODIFIED },
		{ "If-None-Match: \"a\"\n", COND_NOT_MODIFIED },
	};
	const struct validator v = { VIEW("W/\"a\""), SECOND };

	for (size_t i = 0; i < ARRAY_SIZE(weak); i++) {
		struct fields f;
		struct msg m;

		read_head(weak[i].head, &m, &f);
		EXPECT_EQ(cond_check(&f, &v), weak[i].want);
	}
}

TEST(if_range)
{
	static const struct {
		const char *head;
		u64 now;
		bool want;
	} cases[] = {
		{ "", SECOND + 5, true },
		{ "If-Range: \"a\"\n", SECOND, true },
		{ "If-Range: \"b\"\n", SECOND + 5, false },
		{ "If-Range: W/\"a\"\n", SECOND + 5, false }, /* strong comparison */
		{ "If-Range: *\n", SECOND + 5, false },
		{ "If-Range: \"a\", \"b\"\n", SECOND + 5, false }, /* one tag, no list */
		{ "If-Range: \n", SECOND + 5, false },
		{ "If-Range: " DATE "\n", SECOND + 5, true },
		{ "If-Range: " DATE "\n", SECOND + 1, true },
		{ "If-Range: " DATE "\n", SECOND, false }, /* not strong yet: 8.8.2.2 */
		{ "If-Range: " AFTER "\n", SECOND + 5, false }, /* exact, not earlier or later */
		{ "If-Range: " BEFORE "\n", SECOND + 5, false },
		{ "If-Range: \"a\"\nIf-Range: \"a\"\n", SECOND + 5, false },
	};
	const struct validator v = { VIEW("\"a\""), SECOND };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fields f;
		struct msg m;
		bool got;

		read_head(cases[i].head, &m, &f);
		got = cond_allows_range(&f, &v, cases[i].now);
		if (got != cases[i].want)
			NOTE("%s", cases[i].head);
		EXPECT_EQ(got, cases[i].want);
	}
}

/* Names without case; more lines than we keep do no harm. */
TEST(fields_are_gathered)
{
	struct fields f;
	struct msg m;

	read_head("range: 1\nRANGE: 2\nAccept: x\nif-match: \"a\"\n", &m, &f);
	EXPECT_EQ(f.seen, 1u << FIELD_RANGE | 1u << FIELD_IF_MATCH);
	EXPECT_EQ(f.of[FIELD_RANGE].nr, 2);
	EXPECT_NULL(field_one(&f, FIELD_RANGE));
	EXPECT_NULL(field_one(&f, FIELD_IF_RANGE));
	ASSERT_NOT_NULL(field_one(&f, FIELD_IF_MATCH));
	read_head("if-match: 1\nif-match: 2\nif-match: 3\nif-match: 4\nif-match: 5\nif-match: 6\n",
		  &m, &f);
	EXPECT_EQ(f.of[FIELD_IF_MATCH].nr, MAX_LINES);
	EXPECT_VIEW_EQ(f.of[FIELD_IF_MATCH].v[MAX_LINES - 1], "4");
}
