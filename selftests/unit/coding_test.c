/* SPDX-License-Identifier: MIT */
/* Accept-Encoding (RFC 9110 12.5.3) as a table. */
#include "selftests/harness/harness.h"
#include "server/coding.h"

#define ALL (1u << CODING_IDENTITY | 1u << CODING_GZIP | 1u << CODING_ZSTD | 1u << CODING_BR)
#define PLAIN (1u << CODING_IDENTITY)
#define GZ (PLAIN | 1u << CODING_GZIP)

static const struct {
	const char *value; /* NULL: no such field */
	u32 available;
	int want;
} rules[] = {
	/* 1. without the field any coding is acceptable; we send none */
	{ NULL, ALL, CODING_IDENTITY },
	/* 2. identity is acceptable unless it is excluded */
	{ "", ALL, CODING_IDENTITY },
	{ "gzip", PLAIN, CODING_IDENTITY },
	{ "compress", ALL, CODING_IDENTITY },
	{ "identity;q=0", PLAIN, -ENOENT },
	{ "identity;q=0", ALL, -ENOENT },
	{ "*;q=0", ALL, -ENOENT },
	{ "*;q=0, gzip", PLAIN, -ENOENT },
	{ "*;q=0, gzip", ALL, CODING_GZIP },
	{ "*;q=0, identity", ALL, CODING_IDENTITY },
	{ "*;q=0, identity;q=0.1", ALL, CODING_IDENTITY },
	{ "identity;q=0, gzip;q=0.1", ALL, CODING_GZIP },
	/* 3. listed with a weight other than 0 */
	{ "gzip", ALL, CODING_GZIP },
	{ "gzip;q=0", ALL, CODING_IDENTITY },
	{ "gzip;q=0.000", ALL, CODING_IDENTITY },
	{ "gzip;q=0.001", ALL, CODING_GZIP },
	{ "br;q=0, gzip", ALL, CODING_GZIP },
	/* the highest weight */
	{ "gzip, br", GZ, CODING_GZIP },
	{ "gzip;q=0.5, br;q=0.4", ALL, CODING_GZIP },
	{ "gzip;q=0.5, br;q=0.501", ALL, CODING_BR },
	{ "gzip;q=0.5, identity;q=0.6", ALL, CODING_IDENTITY },
	{ "gzip;q=0.5, identity;q=0.5", ALL, CODING_GZIP },
	{ "gzip;q=0.5, identity", ALL, CODING_IDENTITY },
	/* equal weights: what we think is best */
	{ "gzip, deflate, br, zstd", ALL, CODING_BR },
	{ "gzip, deflate, zstd", ALL, CODING_ZSTD },
	{ "br, gzip", ALL, CODING_BR },
	/* "*" is what is not named */
	{ "*", ALL, CODING_BR },
	{ "*;q=0.5, gzip;q=0.6", ALL, CODING_GZIP },
	{ "*;q=0.5, gzip", ALL, CODING_GZIP },
	{ "br;q=0, *", ALL, CODING_ZSTD },
	{ "*", PLAIN, CODING_IDENTITY },
	/* how it may be written */
	{ "GZip", ALL, CODING_GZIP },
	{ "x-gzip", ALL, CODING_GZIP },
	{ " gzip ; q=0.5 ,\tbr ; Q=0.4", ALL, CODING_GZIP },
	{ ",,gzip,,", ALL, CODING_GZIP },
	{ "gzip;q=1.000", ALL, CODING_GZIP },
	{ "gzip;level=9;q=0", ALL, CODING_IDENTITY },
	/* what is malformed does not shut anybody out */
	{ "gzip;q=", ALL, CODING_GZIP },
	{ "gzip;q=x", ALL, CODING_GZIP },
	{ "gzip;q=1.5", ALL, CODING_GZIP },
	{ "gzip;q=0.0000", ALL, CODING_GZIP },
	{ "gzipped", ALL, CODING_IDENTITY },
	{ "gzip br", ALL, CODING_IDENTITY },
	{ ";q=0", ALL, CODING_IDENTITY },
};

static int choose(const char *value, u32 available)
{
	struct lines lines = { .nr = 1 };
	size_t len = value ? strlen(value) : 0;
	char *p = guard_copy(value ? value : "", len);
	int got;

	lines.v[0] = (struct view){ p, len };
	got = coding_choose(value ? &lines : NULL, available);
	guard_free(p, len);
	return got;
}

TEST(rules_of_the_rfc)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		int got = choose(rules[i].value, rules[i].available);

		if (got != rules[i].want)
			NOTE("%s", rules[i].value);
		EXPECT_EQ(got, rules[i].want);
	}
}

TEST(several_lines_are_one_list)
{
	struct lines lines = { 2, { VIEW("gzip;q=0.5"), VIEW("br;q=0.2, identity;q=0.1") } };

	EXPECT_EQ(coding_choose(&lines, ALL), CODING_GZIP);
	lines.v[0] = VIEW("deflate");
	EXPECT_EQ(coding_choose(&lines, ALL), CODING_BR);
}
