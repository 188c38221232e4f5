/* SPDX-License-Identifier: MIT */
/* Lines of the control socket: what is taken, what is refused, what comes back. */
#include "server/ctl_request.h"

#include <stdlib.h>

#include "selftests/harness/harness.h"

/* The answer to @line by a command that takes a number "n" from 1 to 9 and a text "t" of 3 bytes. */
static char *answer_to(const char *line, size_t line_len)
{
	struct ctl_request r;
	json_t *body = NULL;
	char text[4] = "", *out;
	size_t len = 0;
	s64 n = 0;

	ctl_request_parse(&r, line, line_len);
	if (!r.failed) {
		n = ctl_request_number(&r, "n", 1, 9);
		if (ctl_request_has(&r, "t"))
			ctl_request_text(&r, "t", text, sizeof(text));
	}
	if (!r.failed && ctl_request_complete(&r))
		body = json_pack("{s:I,s:s}", "n", (json_int_t)n, "t", text);
	out = ctl_answer_line(&r, body, &len);
	ctl_request_release(&r);
	ASSERT_NOT_NULL(out);
	ASSERT_GT(len, 0);
	EXPECT_EQ(out[len - 1], '\n');
	out[len - 1] = '\0';
	EXPECT_NULL(strchr(out, '\n'));
	return out;
}

static void expect(const char *line, const char *part)
{
	char *out = answer_to(line, strlen(line));

	if (!strstr(out, part)) {
		NOTE("%s", line);
		EXPECT_STREQ(out, part);
	}
	free(out);
}

TEST(right_ones)
{
	expect("{\"v\":1,\"command\":\"x\",\"n\":1}", "{\"v\":1,\"ok\":true,\"n\":1,\"t\":\"\"}");
	expect(" { \"n\" : 9, \"t\":\"abc\", \"command\":\"x\", \"v\":1 }\r",
	       "{\"v\":1,\"ok\":true,\"n\":9,\"t\":\"abc\"}");
	expect("{\"v\":1,\"command\":\"x\",\"n\":2,\"id\":\"a b\"}",
	       "{\"v\":1,\"id\":\"a b\",\"ok\":true,\"n\":2");
	expect("{\"v\":1,\"command\":\"x\",\"n\":2,\"id\":77}", "{\"v\":1,\"id\":77,\"ok\":true");
}

TEST(wrong_ones)
{
	static const char *const malformed[] = { "",
						 "{",
						 "[]",
						 "1",
						 "null",
						 "{}x",
						 "{\"v\":1}",
						 "{\"v\":1,\"command\":7}",
						 "{\"v\":1,\"v\":1,\"command\":\"x\",\"n\":1}",
						 "{\"v\":1,\"command\":\"x\",\"n\":1}{}",
						 "{\"v\":1,\"command\":\"\xff\",\"n\":1}" };

	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		expect(malformed[i], "\"code\":\"malformed\"");
	expect("{\"command\":\"x\",\"n\":1}", "\"code\":\"version\"");
	expect("{\"v\":2,\"command\":\"x\",\"n\":1}", "\"code\":\"version\"");
	expect("{\"v\":\"1\",\"command\":\"x\",\"n\":1}", "\"code\":\"version\"");
	expect("{\"v\":1,\"command\":\"x\"}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":0}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":10}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":1.5}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":\"1\"}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":1,\"t\":\"abcd\"}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":1,\"t\":\"\"}", "\"code\":\"bad_argument\"");
	expect("{\"v\":1,\"command\":\"x\",\"n\":1,\"m\":1}", "x takes no \\\"m\\\"");
	expect("{\"v\":1,\"id\":[],\"command\":\"x\",\"n\":1}", "\"code\":\"bad_argument\"");
	/* The mark comes back with a refusal, too. */
	expect("{\"v\":1,\"id\":5,\"command\":\"x\",\"n\":0}", "{\"v\":1,\"id\":5,\"ok\":false");
	expect("{\"v\":3,\"id\":5,\"command\":\"x\",\"n\":0}", "{\"v\":1,\"id\":5,\"ok\":false");
}

TEST(nul_and_depth)
{
	static const char nul[] = "{\"v\":1,\0\"command\":\"x\",\"n\":1}";
	static char deep[4096];
	char *out = answer_to(nul, sizeof(nul) - 1);

	EXPECT_NOT_NULL(strstr(out, "malformed"));
	free(out);
	memset(deep, '[', sizeof(deep));
	out = answer_to(deep, sizeof(deep));
	EXPECT_NOT_NULL(strstr(out, "malformed"));
	free(out);
	/* An escaped NUL would make a text shorter than what was sent. */
	expect("{\"v\":1,\"command\":\"x\\u0000y\",\"n\":1}", "\"ok\":false");
}

TEST(long_answers)
{
	struct ctl_request r;
	const char line[] = "{\"v\":1,\"command\":\"x\"}";
	char *much = malloc(CTL_ANSWER_MAX + 1), *out;
	size_t len = 0;

	ASSERT_NOT_NULL(much);
	memset(much, 'x', CTL_ANSWER_MAX);
	ctl_request_parse(&r, line, strlen(line));
	out = ctl_answer_line(&r, json_pack("{s:o}", "t", ctl_string(much, CTL_ANSWER_MAX)), &len);
	ASSERT_NOT_NULL(out);
	EXPECT_LT(len, 200);
	EXPECT_TRUE(memmem(out, len, "too_long", 8) != NULL);
	free(out);
	free(much);
	ctl_request_release(&r);
}

TEST(strings_of_any_bytes)
{
	json_t *s = ctl_string("a\0\xff\x1b[2J~", 8);

	ASSERT_NOT_NULL(s);
	EXPECT_STREQ(json_string_value(s), "a???[2J~");
	json_decref(s);
}
