/* SPDX-License-Identifier: MIT */
/* Against the C library's calendar. */
#include "selftests/harness/harness.h"
#include "server/date.h"

#include <stdio.h>
#include <time.h>

static void render(char *buf, size_t size, const char *form, u64 second)
{
	time_t t = (time_t)second;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, size, form, &tm);
}

static u64 parse(const char *s)
{
	char *p = guard_copy(s, strlen(s));
	u64 second = UINT64_MAX;
	int err = date_parse((struct view){ p, strlen(s) }, &second);

	guard_free(p, strlen(s));
	return err ? UINT64_MAX : second;
}

#define FIXDATE "%a, %d %b %Y %H:%M:%S GMT"
#define OLD_DATE "%A, %d-%b-%y %H:%M:%S GMT"
#define ASCTIME "%a %b %e %H:%M:%S %Y"

/* A second of each day from 1970 to 2399: every length of a month, every rule of leap years. */
TEST(every_day_there_and_back)
{
	struct date d = { 0 };
	char text[64];

	time_limit(30);
	for (u64 day = 0; day < 157000 && !has_failed(); day++) {
		u64 second = day * 86400 + day * 7919 % 86400;

		date_set(&d, second);
		render(text, sizeof(text), FIXDATE, second);
		ASSERT_STREQ(d.text, text);
		ASSERT_EQ(parse(d.text), second);
		render(text, sizeof(text), ASCTIME, second);
		ASSERT_EQ(parse(text), second);
	}
}

/* Two digits of the year reach from 1970 to 2069. */
TEST(every_day_in_the_old_form)
{
	char text[64];

	for (u64 day = 0; day < 36524 && !has_failed(); day++) {
		u64 second = day * 86400 + day % 86400;

		render(text, sizeof(text), OLD_DATE, second);
		ASSERT_EQ(parse(text), second);
	}
}

TEST(every_second_of_a_day)
{
	struct date d = { 0 };
	char text[64];

	for (u64 s = 951782400; s < 951782400 + 86400 && !has_failed(); s++) {
		date_set(&d, s);
		render(text, sizeof(text), FIXDATE, s);
		ASSERT_STREQ(d.text, text);
		ASSERT_EQ(parse(d.text), s);
	}
}

TEST(rendered_once_a_second)
{
	struct date d = { 0 };

	date_set(&d, 784111777);
	ASSERT_STREQ(d.text, "Sun, 06 Nov 1994 08:49:37 GMT");
	d.text[0] = '!';
	date_set(&d, 784111777);
	EXPECT_EQ(d.text[0], '!');
	date_set(&d, 784111778);
	EXPECT_STREQ(d.text, "Sun, 06 Nov 1994 08:49:38 GMT");
}

TEST(the_very_first_second)
{
	struct date d = { 0 };

	date_set(&d, 0);
	EXPECT_STREQ(d.text, "Thu, 01 Jan 1970 00:00:00 GMT");
}

TEST(the_three_forms)
{
	EXPECT_EQ(parse("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
	EXPECT_EQ(parse("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
	EXPECT_EQ(parse("Sun Nov  6 08:49:37 1994"), 784111777);
	EXPECT_EQ(parse("Sun Nov 06 08:49:37 1994"), 784111777);
	EXPECT_EQ(parse("Tue, 29 Feb 2000 00:00:00 GMT"), 951782400);
	/* A leap second, and a day that is named wrongly. */
	EXPECT_EQ(parse("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800);
	EXPECT_EQ(parse("Mon, 06 Nov 1994 08:49:37 GMT"), 784111777);
}

static const char *const rubbish[] = {
	"",
	" ",
	"0",
	",",
	"Sun",
	"Sun,",
	"Sun, ",
	"Sunday, ",
	"784111777",
	"Sun, 06 Nov 1994 08:49:37",
	"Sun, 06 Nov 1994 08:49:37 ",
	"Sun, 06 Nov 1994 08:49:37 UTC",
	"Sun, 06 Nov 1994 08:49:37 GMT ",
	"Sun, 06 Nov 1994 08:49:37 GMTx",
	" Sun, 06 Nov 1994 08:49:37 GMT",
	"Sun,06 Nov 1994 08:49:37 GMT",
	"Sun,  06 Nov 1994 08:49:37 GMT",
	"Sun, 6 Nov 1994 08:49:37 GMT",
	"Sun, 06 nov 1994 08:49:37 GMT",
	"Sun, 06 Nov 94 08:49:37 GMT",
	"Sun, 06 Nov 1994 8:49:37 GMT",
	"Sun, 06 Nov 1994 24:00:00 GMT",
	"Sun, 06 Nov 1994 23:60:00 GMT",
	"Sun, 06 Nov 1994 23:59:61 GMT",
	"Sun, 06 Nov 1994 08:49 GMT",
	"Sun, 06 Nov 1994 -8:49:37 GMT",
	"Sun, 06 Foo 1994 08:49:37 GMT",
	"Sun, 00 Nov 1994 08:49:37 GMT",
	"Sun, 31 Nov 1994 08:49:37 GMT",
	"Sun, 32 Jan 1994 08:49:37 GMT",
	"Sun, 29 Feb 1994 08:49:37 GMT",
	"Sun, 29 Feb 2100 08:49:37 GMT",
	"Sun, 30 Feb 2000 08:49:37 GMT",
	"Sun, 06 Nov 1969 08:49:37 GMT",
	"Sun, 06 Nov 0000 08:49:37 GMT",
	"Sun, 06-Nov-94 08:49:37 GMT",
	"Sunday, 06 Nov 1994 08:49:37 GMT",
	"Sunday, 06-Nov-1994 08:49:37 GMT",
	"Sunday, 06-Nov 94 08:49:37 GMT",
	"Sundae, 06-Nov-94 08:49:37 GMT",
	"Xxx, 06 Nov 1994 08:49:37 GMT",
	"whatever stands here, 06 Nov 1994 08:49:37 GMT",
	"Sunday Nov  6 08:49:37 1994",
	"Sun Nov 6 08:49:37 1994",
	"Sun Nov   6 08:49:37 1994",
	"Sun Nov  6 08:49:37 1994 GMT",
	"Sun Nov  6 08:49:37 94",
	"Sun Nov 31 08:49:37 1994",
	"Sun Nov    08:49:37 1994",
};

TEST(rubbish)
{
	for (size_t i = 0; i < ARRAY_SIZE(rubbish); i++)
		if (parse(rubbish[i]) != UINT64_MAX) {
			NOTE("taken: \"%s\"", rubbish[i]);
			EXPECT_TRUE(false);
		}
}

/* Any byte changed, any prefix: refused or a date, never a crash; what is cut off is refused. */
TEST(almost_dates)
{
	static const char *const right[] = { "Sun, 06 Nov 1994 08:49:37 GMT",
					     "Sunday, 06-Nov-94 08:49:37 GMT",
					     "Sun Nov  6 08:49:37 1994" };

	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		for (size_t len = 0; len < strlen(right[i]); len++) {
			char text[64];

			snprintf(text, sizeof(text), "%.*s", (int)len, right[i]);
			EXPECT_EQ(parse(text), UINT64_MAX);
			for (int c = 1; c < 256; c++) {
				strcpy(text, right[i]);
				text[len] = (char)c;
				if (text[len] == right[i][len] || parse(text) == UINT64_MAX)
					continue;
				EXPECT_TRUE((c >= '0' && c <= '9') || (c | 32) >= 'a' || c == ' ');
			}
		}
	}
}
