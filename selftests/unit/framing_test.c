/* SPDX-License-Identifier: MIT */
/* What heads say about body and connection, field by field and in every combination. */
#include "selftests/harness/harness.h"
#include "server/framing.h"

#include <stdio.h>

/* One framing, to compare as text: "<length> or chunked, persistent or close, expect". */
static void describe(char *out, size_t size, const char *head)
{
	static struct msg msg;
	size_t len = strlen(head);
	char *p = guard_copy(head, len);
	const char *why = NULL;
	struct framing f;
	int status;

	ASSERT_EQ(h1_parse_head(p, len, 0, &msg), len);
	status = framing_read(&msg, &f, &why);
	if (status) {
		ASSERT_NOT_NULL(why);
		snprintf(out, size, "%d", status);
	} else {
		int n = f.chunked ? snprintf(out, size, "chunked")
				  : snprintf(out, size, "%llu", (unsigned long long)f.length);

		snprintf(out + n, size - (size_t)n, " %s%s", f.persistent ? "persistent" : "close",
			 f.expect ? " expect" : "");
	}
	guard_free(p, len);
}

#define EXPECT_FRAMING(head, want)                                                                 \
	do {                                                                                       \
		char text_[64];                                                                    \
		describe(text_, sizeof(text_), head "\r\n");                                       \
		EXPECT_STREQ(text_, want);                                                         \
	} while (0)

#define POST_1_1 "POST / HTTP/1.1\r\nHost: a\r\n"
#define POST_1_0 "POST / HTTP/1.0\r\nHost: a\r\n"

TEST(what_is_right)
{
	EXPECT_FRAMING(POST_1_1, "0 persistent");
	EXPECT_FRAMING(POST_1_0, "0 close");
	EXPECT_FRAMING(POST_1_1 "Content-Length: 9223372036854775807\r\n",
		       "9223372036854775807 persistent");
	EXPECT_FRAMING(POST_1_1 "Transfer-Encoding: chunked\r\n", "chunked persistent");
	EXPECT_FRAMING(POST_1_1 "Expect: 100-continue\r\n", "0 persistent expect");
	EXPECT_FRAMING(POST_1_1 "Expect: 100-continue\r\nExpect: 100-continue\r\n",
		       "0 persistent expect");
	EXPECT_FRAMING(POST_1_0 "Expect: 100-continue\r\n", "0 close");
	EXPECT_FRAMING("GET http://b/ HTTP/1.1\r\nHost:\r\n", "0 persistent");
	EXPECT_FRAMING("GET / HTTP/1.0\r\n", "0 close");
}

TEST(connection)
{
	EXPECT_FRAMING(POST_1_1 "Connection: close\r\n", "0 close");
	EXPECT_FRAMING(POST_1_1 "Connection: keep-alive\r\nConnection: Close\r\n", "0 close");
	EXPECT_FRAMING(POST_1_1 "Connection:\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "Connection: ,, ,\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_0 "Connection: x, keep-alive\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_0 "Connection: keep-alive\r\nConnection: close\r\n", "0 close");
	EXPECT_FRAMING(POST_1_0 "Connection: keep-aliv\r\n", "0 close");
}

/*
 * Every set of up to six statements about the length, in both versions: only
 * one statement or none, and no coding in 1.0, may come through.
 */
TEST(all_sets_of_statements)
{
	static const struct {
		const char *line, *alone; /* what it means, NULL: wrong even alone */
	} parts[] = {
		{ "Content-Length: 5\r\n", "5" },
		{ "content-length: 5\r\n", "5" },
		{ "Content-Length: 6\r\n", "6" },
		{ "Transfer-Encoding: chunked\r\n", "chunked" },
		{ "Content-Length: x\r\n", NULL },
		{ "Transfer-Encoding: chunked, chunked\r\n", NULL },
	};
	const u32 all = 1u << ARRAY_SIZE(parts);

	for (u32 set = 0; set < all; set++) {
		for (int old = 0; old < 2; old++) {
			const char *alone = "0";
			char head[512], got[64], want[64];
			u32 nr = 0, n;

			n = (u32)snprintf(head, sizeof(head), "%s", old ? POST_1_0 : POST_1_1);
			for (u32 i = 0; i < ARRAY_SIZE(parts); i++) {
				if (!(set & 1u << i))
					continue;
				n += (u32)snprintf(head + n, sizeof(head) - n, "%s", parts[i].line);
				alone = nr++ ? NULL : parts[i].alone;
			}
			snprintf(head + n, sizeof(head) - n, "\r\n");
			describe(got, sizeof(got), head);
			if (!alone || (old && alone[0] == 'c'))
				snprintf(want, sizeof(want), "400");
			else
				snprintf(want, sizeof(want), "%s %s", alone,
					 old ? "close" : "persistent");
			EXPECT_STREQ(got, want);
		}
	}
}

TEST(refusals)
{
	EXPECT_FRAMING("GET / HTTP/1.1\r\n", "400");
	EXPECT_FRAMING(POST_1_1 "Host: a\r\n", "400");
	EXPECT_FRAMING(POST_1_0 "Host: b\r\n", "400");
	EXPECT_FRAMING("GET / HTTP/1.1\r\nHost: a,b\r\n", "400");
	EXPECT_FRAMING("GET * HTTP/1.1\r\nHost: a\r\n", "400");
	EXPECT_FRAMING(POST_1_1 "Transfer-Encoding: gzip\r\n", "501");
	EXPECT_FRAMING(POST_1_1 "Transfer-Encoding: gzip, chunked\r\n", "501");
	EXPECT_FRAMING(POST_1_1 "Transfer-Encoding: chunked, gzip\r\n", "400");
	EXPECT_FRAMING(POST_1_1 "Expect: x\r\n", "417");
	EXPECT_FRAMING(POST_1_1 "Content-Length: 9223372036854775808\r\n", "400");
}

TEST(names_that_only_look_alike)
{
	EXPECT_FRAMING(POST_1_1 "Content_Length: 5\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "Content-Lengt: 5\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "Content-Lengths: 5\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "Transfer_Encoding: chunked\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "XTransfer-Encoding: chunked\r\n", "0 persistent");
	EXPECT_FRAMING(POST_1_1 "Proxy-Connection: close\r\n", "0 persistent");
}
