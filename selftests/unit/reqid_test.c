/* SPDX-License-Identifier: MIT */
/* Request ids: form, no two alike, and which of a client's are taken. */
#include "server/reqid.h"

#include <stdio.h>
#include <stdlib.h>

#include "selftests/harness/harness.h"

static const u32 key[4] = { 0x03020100, 0x0b0a0908, 0x13121110, 0x1b1a1918 };

/* The test vector of the cipher's authors: 3b726574 7475432d becomes 8c6fa548 454e028b. */
TEST(vector)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char id[REQID_LEN];
	struct reqid g;
	u64 n = 0;

	reqid_seed(&g, 0xfedcba9876543210, key);
	g.next = 0x3b7265747475432d;
	reqid_next(&g, id);
	for (u32 i = REQID_HALF; i < REQID_LEN; i++)
		n = n << 6 | (u64)(strchr(digits, id[i]) - digits);
	EXPECT_EQ(n, 0x8c6fa548454e028b);
	n = 0;
	for (u32 i = 0; i < REQID_HALF; i++)
		n = n << 6 | (u64)(strchr(digits, id[i]) - digits);
	EXPECT_EQ(n, 0xfedcba9876543210);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, REQID_LEN);
}

TEST(no_two_alike)
{
	enum { NR = 100000 };
	char(*ids)[REQID_LEN] = malloc(NR * sizeof(*ids));
	struct reqid g;

	ASSERT_NOT_NULL(ids);
	ASSERT_OK(reqid_init(&g));
	for (int i = 0; i < NR; i++) {
		reqid_next(&g, ids[i]);
		ASSERT_TRUE(reqid_sane((struct view){ ids[i], REQID_LEN }));
		ASSERT_TRUE(ids[i][0] >= 'A' && ids[i][0] <= 'P');
		for (u32 k = 0; k < REQID_LEN; k++)
			ASSERT_NOT_NULL(
				strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_",
				       ids[i][k]));
	}
	qsort(ids, NR, sizeof(*ids), compare);
	for (int i = 1; i < NR; i++)
		ASSERT_NE(memcmp(ids[i - 1], ids[i], REQID_LEN), 0);
	free(ids);
}

/* Two workers, or one and its replacement. */
TEST(starts_differ)
{
	char a[REQID_LEN], b[REQID_LEN];
	struct reqid g, h;

	ASSERT_OK(reqid_init(&g));
	ASSERT_OK(reqid_init(&h));
	reqid_next(&g, a);
	reqid_next(&h, b);
	EXPECT_NE(memcmp(a, b, REQID_HALF), 0);
	EXPECT_NE(memcmp(a + REQID_HALF, b + REQID_HALF, REQID_HALF), 0);
}

TEST(sane)
{
	static char longest[REQID_MAX + 1];
	char c[3] = "x?x";

	memset(longest, 'x', sizeof(longest));
	EXPECT_TRUE(reqid_sane(VIEW("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")));
	EXPECT_TRUE(reqid_sane(VIEW("Root=1-67891233-abcdef012345678912345678;a/b+c:d,e")));
	EXPECT_TRUE(reqid_sane((struct view){ longest, REQID_MAX }));
	EXPECT_FALSE(reqid_sane((struct view){ longest, REQID_MAX + 1 }));
	EXPECT_FALSE(reqid_sane(VIEW("")));
	EXPECT_FALSE(reqid_sane((struct view){ NULL, 0 }));
	for (int i = 0; i < 256; i++) {
		bool visible = i > 0x20 && i < 0x7f && !strchr("\"'`\\", i);

		c[1] = (char)i;
		EXPECT_EQ(reqid_sane((struct view){ c, 3 }), visible);
	}
}
