/* SPDX-License-Identifier: MIT */
/* What the words of hyperion-ctl become: times, prefixes, requests. */
#include "tools/ctl_words.h"

#include <stdlib.h>
#include <string.h>

#include "selftests/harness/harness.h"
#include "server/base.h"

#define NONE (-1ll) /* no time */

TEST(durations)
{
	static const struct {
		const char *text;
		long long seconds;
	} cases[] = {
		{ "1", 1 },           { "90", 90 },
		{ "90s", 90 },        { "10m", 600 },
		{ "2h", 7200 },       { "1d", 86400 },
		{ "1h30m", 5400 },    { "1d2h3m4s", 93784 },
		{ "366d", 31622400 }, { "", NONE },
		{ "0", NONE },        { "0m", NONE },
		{ "m", NONE },        { "10x", NONE },
		{ "10 m", NONE },     { "-5m", NONE },
		{ "+5m", NONE },      { "1.5h", NONE },
		{ "30m1h", NONE },    { "1m1m", NONE },
		{ "10mm", NONE },     { "367d", NONE },
		{ "366d1s", NONE },   { "99999999999999999999", NONE },
		{ "1h30", NONE },     { "18446744073709551617s", NONE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		long long seconds = NONE;

		if (!ctl_words_duration(cases[i].text, &seconds))
			seconds = NONE;
		if (seconds != cases[i].seconds)
			NOTE("%s", cases[i].text);
		EXPECT_EQ(seconds, cases[i].seconds);
	}
}

TEST(prefixes)
{
	static const char *const right[] = { "192.0.2.7",   "192.0.2.0/24",  "0.0.0.0/0",
					     "10.0.0.1/32", "2001:db8::/48", "::/0",
					     "::1/128",     "fe80::1" };
	static const char *const wrong[] = {
		"",
		"192.0.2",
		"192.0.2.0/33",
		"192.0.2.0/-1",
		"192.0.2.0/+8",
		"192.0.2.0/",
		"192.0.2.0/8x",
		"192.0.2.256",
		"2001:db8::/129",
		"2001:db8::g/48",
		"example.org",
		"/24",
		"::1%eth0",
		" 192.0.2.7",
		"192.0.2.0/24/24",
		"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1"
	};

	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		if (!ctl_words_cidr(right[i]))
			NOTE("%s", right[i]);
		EXPECT_TRUE(ctl_words_cidr(right[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (ctl_words_cidr(wrong[i]))
			NOTE("%s", wrong[i]);
		EXPECT_FALSE(ctl_words_cidr(wrong[i]));
	}
}

/* The request as text, "" when the words are wrong; the caller frees it. */
static char *request(const char *words)
{
	char copy[256], why[CTL_WHY_LEN] = "", *argv[16], *rest = copy, *text;
	json_t *object;
	int n = 0;

	ASSERT_LT(strlen(words), sizeof(copy));
	strcpy(copy, words);
	while (n < 15 && (argv[n] = strsep(&rest, " ")))
		n++;
	object = ctl_words_request(n, argv, why);
	if (!object) {
		EXPECT_TRUE(strlen(why) > 0);
		return strdup("");
	}
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

TEST(requests)
{
	static const char *const cases[][2] = {
		{ "status", "{\"v\":1,\"command\":\"status\"}" },
		{ "workers +1", "{\"v\":1,\"command\":\"workers\",\"by\":1}" },
		{ "workers -2", "{\"v\":1,\"command\":\"workers\",\"by\":-2}" },
		{ "workers 4", "{\"v\":1,\"command\":\"workers\",\"to\":4}" },
		{ "drain 0", "{\"v\":1,\"command\":\"drain\",\"worker\":0}" },
		{ "backtrace 3", "{\"v\":1,\"command\":\"backtrace\",\"worker\":3}" },
		{ "log-level warn", "{\"v\":1,\"command\":\"log-level\",\"level\":\"warn\"}" },
		{ "deny 192.0.2.0/24", "{\"v\":1,\"command\":\"deny\",\"cidr\":\"192.0.2.0/24\"}" },
		{ "allow ::1 for 10m",
		  "{\"v\":1,\"command\":\"allow\",\"cidr\":\"::1\",\"seconds\":600}" },
		{ "forget ::1", "{\"v\":1,\"command\":\"forget\",\"cidr\":\"::1\"}" },
		{ "reopen-logs", "{\"v\":1,\"command\":\"reopen-logs\"}" },
		{ "nonsense", "" },
		{ "status now", "" },
		{ "workers", "" },
		{ "workers 0", "" },
		{ "workers +0", "" },
		{ "workers -0", "" },
		{ "workers +257", "" },
		{ "workers 1 2", "" },
		{ "workers 1x", "" },
		{ "drain", "" },
		{ "drain -1", "" },
		{ "drain 256", "" },
		{ "drain 0 1", "" },
		{ "log-level", "" },
		{ "log-level loud", "" },
		{ "log-level info warn", "" },
		{ "deny", "" },
		{ "deny example.org", "" },
		{ "deny ::1 for", "" },
		{ "deny ::1 during 10m", "" },
		{ "deny ::1 for 10y", "" },
		{ "deny ::1 for 10m please", "" },
		{ "forget ::1 for 10m", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = request(cases[i][0]);

		if (strcmp(text, cases[i][1]) != 0)
			NOTE("%s", cases[i][0]);
		EXPECT_STREQ(text, cases[i][1]);
		free(text);
	}
}
