/* SPDX-License-Identifier: MIT */
/* The rules of RFC 9110 14.1.1, 14.1.2 and 14.2 as a table. */
#include "selftests/harness/harness.h"
#include "server/range.h"

#include <stdio.h>

#define IGNORED 0
#define UNSATISFIABLE (-ERANGE)

struct rule {
	const char *value;
	u64 size;
	int want;
	struct range ranges[4];
};

static const struct rule rules[] = {
	/* int-range */
	{ "bytes=0-499", 10000, 1, { { 0, 500 } } },
	{ "bytes=500-999", 10000, 1, { { 500, 500 } } },
	{ "bytes=0-0", 10000, 1, { { 0, 1 } } },
	{ "bytes=9999-9999", 10000, 1, { { 9999, 1 } } },
	{ "bytes=9500-", 10000, 1, { { 9500, 500 } } },
	{ "bytes=0-", 10000, 1, { { 0, 10000 } } },
	/* last-pos behind the end: the remainder */
	{ "bytes=9500-10000", 10000, 1, { { 9500, 500 } } },
	{ "bytes=5-99999999999999999999999999", 10, 1, { { 5, 5 } } },
	/* suffix-range */
	{ "bytes=-500", 10000, 1, { { 9500, 500 } } },
	{ "bytes=-1", 1, 1, { { 0, 1 } } },
	{ "bytes=-10001", 10000, 1, { { 0, 10000 } } },
	{ "bytes=-18446744073709551616", 10, 1, { { 0, 10 } } },
	/* unsatisfiable */
	{ "bytes=10000-", 10000, UNSATISFIABLE },
	{ "bytes=10000-10001", 10000, UNSATISFIABLE },
	{ "bytes=18446744073709551616-", 10000, UNSATISFIABLE },
	{ "bytes=-0", 10000, UNSATISFIABLE },
	{ "bytes=0-0", 0, UNSATISFIABLE },
	{ "bytes=-0,20-30", 10, UNSATISFIABLE },
	/* satisfiable by definition, but no bytes can be named */
	{ "bytes=-5", 0, IGNORED },
	/* several, in the order of the request */
	{ "bytes=0-0,-1", 10000, 2, { { 0, 1 }, { 9999, 1 } } },
	{ "bytes=500-600,601-999", 10000, 2, { { 500, 101 }, { 601, 399 } } },
	{ "bytes=7-8,1-2,4-4", 10, 3, { { 7, 2 }, { 1, 2 }, { 4, 1 } } },
	/* those behind the end are left out */
	{ "bytes=1-2,50-60,4-5", 10, 2, { { 1, 2 }, { 4, 2 } } },
	{ "bytes=50-,3-", 10, 1, { { 3, 7 } } },
	/* lists as 5.6.1 has a recipient take them */
	{ "bytes=1-2 , 4-5", 10, 2, { { 1, 2 }, { 4, 2 } } },
	{ "bytes=,1-2,,\t4-5,", 10, 2, { { 1, 2 }, { 4, 2 } } },
	{ "bytes= 1-2", 10, 1, { { 1, 2 } } },
	/* names of units know no case */
	{ "Bytes=1-2", 10, 1, { { 1, 2 } } },
	{ "BYTES=1-2", 10, 1, { { 1, 2 } } },
	/* two may overlap, three are an attack or a mistake; so are more bytes than there are */
	{ "bytes=0-3,2-5", 10, 2, { { 0, 4 }, { 2, 4 } } },
	{ "bytes=0-3,2-5,4-6", 100, IGNORED },
	{ "bytes=0-,0-", 10, IGNORED },
	{ "bytes=0-9,5-5", 10, IGNORED },
	{ "bytes=0-4,5-9", 10, 2, { { 0, 5 }, { 5, 5 } } },
	/* malformed: ignored as a whole */
	{ "bytes=", 10, IGNORED },
	{ "bytes=,", 10, IGNORED },
	{ "bytes=-", 10, IGNORED },
	{ "bytes=5-4", 10, IGNORED },
	{ "bytes=1-2,5-4", 10, IGNORED },
	{ "bytes=1", 10, IGNORED },
	{ "bytes=a-b", 10, IGNORED },
	{ "bytes=1-b", 10, IGNORED },
	{ "bytes=1-2x", 10, IGNORED },
	{ "bytes=1-2 3-4", 10, IGNORED },
	{ "bytes=1 -2", 10, IGNORED },
	{ "bytes=1-2;3-4", 10, IGNORED },
	{ "bytes=--1", 10, IGNORED },
	{ "bytes=+1-2", 10, IGNORED },
	{ "bytes =1-2", 10, IGNORED },
	{ "bytes:1-2", 10, IGNORED },
	{ "bytes", 10, IGNORED },
	{ "", 10, IGNORED },
	/* units that we do not have */
	{ "lines=1-2", 10, IGNORED },
	{ "bytesx=1-2", 10, IGNORED },
};

static int parse(const char *value, u64 size, struct range out[MAX_RANGES])
{
	size_t len = strlen(value);
	char *p = guard_copy(value, len);
	int got = range_parse((struct view){ p, len }, size, out);

	guard_free(p, len);
	return got;
}

TEST(rules_of_the_rfc)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		struct range out[MAX_RANGES];
		int got = parse(rules[i].value, rules[i].size, out);

		if (got != rules[i].want)
			NOTE("%s of %llu", rules[i].value, (unsigned long long)rules[i].size);
		EXPECT_EQ(got, rules[i].want);
		for (int k = 0; k < min(got, rules[i].want); k++) {
			EXPECT_EQ(out[k].off, rules[i].ranges[k].off);
			EXPECT_EQ(out[k].len, rules[i].ranges[k].len);
		}
	}
}

/* "bytes=0-0,2-2,4-4,..." */
static int many(int nr, u64 size, struct range out[MAX_RANGES])
{
	char text[4096];
	size_t n = 6;

	memcpy(text, "bytes=", 6);
	for (int i = 0; i < nr; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%d-%d,", i * 2, i * 2);
	return parse(text, size, out);
}

TEST(as_many_as_allowed)
{
	struct range out[MAX_RANGES];

	EXPECT_EQ(many(MAX_RANGES, 1000, out), MAX_RANGES);
	EXPECT_EQ(out[MAX_RANGES - 1].off, (MAX_RANGES - 1) * 2);
	EXPECT_EQ(many(MAX_RANGES + 1, 1000, out), IGNORED);
	/* Those that cannot be satisfied count less, but not nothing. */
	EXPECT_EQ(many(60, 3, out), 2);
	EXPECT_EQ(many(100, 3, out), IGNORED);
}

/* Whatever comes, what comes out lies within. */
TEST(nothing_lies_outside)
{
	static const char alphabet[] = "0123456789--,,  bytes=";
	struct rng rng;

	rng_init(&rng);
	for (int i = 0; i < 200000 && !has_failed(); i++) {
		u64 size = rng_below(&rng, 40);
		struct range out[MAX_RANGES];
		char text[40] = "bytes=";
		size_t len = 6 + rng_below(&rng, 30);
		int nr;

		for (size_t k = 6; k < len; k++)
			text[k] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
		nr = range_parse((struct view){ text, len }, size, out);
		EXPECT_TRUE(nr == -ERANGE || (nr >= 0 && nr <= MAX_RANGES));
		for (int k = 0; k < nr; k++) {
			EXPECT_GT(out[k].len, 0);
			EXPECT_LE(out[k].off + out[k].len, size);
		}
	}
}
