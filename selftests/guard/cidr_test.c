/* SPDX-License-Identifier: MIT */
/* Prefixes as people write them. */
#include "server/cidr.h"

#include "selftests/harness/harness.h"

TEST(what_is_written_is_shown)
{
	static const char *const good[] = { "192.0.2.7",       "192.0.2.0/24", "0.0.0.0/0",
					    "10.0.0.0/8",      "128.0.0.0/1",  "::/0",
					    "2001:db8::/32",   "2001:db8::7",  "fe80::/10",
					    "::ffff:192.0.2.1" };
	char out[CIDR_TEXT_LEN];
	const char *why;
	struct cidr c;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_OK(cidr_parse(good[i], &c, &why));
		EXPECT_STREQ(cidr_show(&c, out), good[i]);
	}
	ASSERT_OK(cidr_parse("192.0.2.7/32", &c, &why));
	EXPECT_STREQ(cidr_show(&c, out), "192.0.2.7");
}

TEST(what_is_none)
{
	static const char *const bad[] = { "",
					   "x",
					   "192.0.2",
					   "192.0.2.0/",
					   "192.0.2.0/33",
					   "192.0.2.7/24",
					   "192.0.2.0/+8",
					   "192.0.2.0/8x",
					   "192.0.2.0/ 8",
					   "::/129",
					   "2001:db8::1/64",
					   "[::]/0",
					   "192.0.2.0/999999999999999999999",
					   "/24",
					   "::1%lo" };
	const char *why;
	struct cidr c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why = NULL;
		EXPECT_EQ(cidr_parse(bad[i], &c, &why), -EINVAL);
		EXPECT_NOT_NULL(why);
	}
}
