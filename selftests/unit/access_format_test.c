/* SPDX-License-Identifier: MIT */
/* Formats and templates of the access log: every field, what is refused, what hostile bytes become. */
#include "server/access_format.h"

#include <stdio.h>
#include <time.h>

#include "selftests/harness/harness.h"
#include "server/http.h"
#include "server/proto.h"

#define START (5 * NSEC_PER_SEC + 123 * NSEC_PER_MSEC)
#define REALTIME (1700000000 * NSEC_PER_SEC - 5 * NSEC_PER_SEC)

static char line[ACCESS_LINE_MAX];

FIXTURE(format)
{
	struct access_format f;
	struct access_clock clock;
	struct link link;
	struct req req;
};

FIXTURE_SETUP(format)
{
	struct req *r = &self->req;

	self->clock.realtime_ns = REALTIME;
	self->link.peer = (struct peer){ .known = true, .text = "2001:db8::1" };
	*r = (struct req){
		.link = &self->link,
		.method_name = VIEW("POST"),
		.target = VIEW("/a/b?c=d&e"),
		.referer = VIEW("http://a/ b"),
		.user_agent = VIEW("curl/1 (x; \"y\")"),
		.request_id = VIEW("abc-1"),
		.status = 201,
		.bytes_out = 1234,
		.version_minor = 1,
	};
	r->times[REQ_T_START] = START;
	r->times[REQ_T_READY] = START + 2 * NSEC_PER_MSEC;
	r->times[REQ_T_CLAIM] = START + 3 * NSEC_PER_MSEC + 500 * NSEC_PER_USEC;
	r->job.answered_ns = START + 20 * NSEC_PER_MSEC;
	r->times[REQ_T_SENT] = START + 1234 * NSEC_PER_MSEC + 567890;
}

FIXTURE_TEARDOWN(format)
{
	EXPECT_EQ(self->clock.realtime_ns, REALTIME);
}

static struct view render(struct self_format *self, const char *format)
{
	const char *why = "";

	if (access_format_compile(&self->f, format, &why)) {
		snprintf(line, sizeof(line), "refused: %s", why);
		return view_of(line);
	}
	memset(line, '#', sizeof(line));
	return (struct view){ line, access_format_line(&self->f, &self->clock, 7, &self->req, line) };
}

TEST_F(format, each_field)
{
	static const struct {
		const char *format, *line;
	} cases[] = {
		{ "{time}", "2023-11-14T22:13:20.123Z\n" },
		{ "{ncsa_time}", "14/Nov/2023:22:13:20 +0000\n" },
		{ "{method}", "POST\n" },
		{ "{path}", "/a/b?c=d&e\n" },
		{ "{path_only}", "/a/b\n" },
		{ "{query}", "c=d&e\n" },
		{ "{version}", "HTTP/1.1\n" },
		{ "{status}", "201\n" },
		{ "{bytes}", "1234\n" },
		{ "{total_ms}", "1234.568\n" },
		{ "{queue_ms}", "1.500\n" },
		{ "{app_ms}", "16.500\n" },
		{ "{worker}", "7\n" },
		{ "{request_id}", "abc-1\n" },
		{ "{remote_addr}", "2001:db8::1\n" },
		{ "{referer}", "http://a/ b\n" },
		{ "{user_agent}", "curl/1 (x; \\\"y\\\")\n" },
		{ "{sent}", "true\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_VIEW_EQ(render(self, cases[i].format), cases[i].line);
}

TEST_F(format, nothing_to_say)
{
	self->req = (struct req){ .status = 400 };
	EXPECT_VIEW_EQ(render(self,
			      "{method} {path} {path_only} {query} {request_id} {remote_addr} "
			      "{referer} {user_agent}"),
		       "- - - - - - - -\n");
	EXPECT_VIEW_EQ(render(self, "{total_ms} {queue_ms} {app_ms} {version} {sent}"),
		       "0.000 - - HTTP/1.0 false\n");
	EXPECT_VIEW_EQ(render(self, "{{\"q\":{queue_ms},\"id\":\"{request_id}\"}}"),
		       "{\"q\":null,\"id\":\"\"}\n");
	self->req.target = VIEW("/a?");
	EXPECT_VIEW_EQ(render(self, "{path_only} {query}"), "/a -\n");
}

/* Whose link is gone is still known to the job; who never had one has none. */
TEST_F(format, remote_without_a_link)
{
	self->req.link = NULL;
	self->req.job.peer = VIEW("192.0.2.1");
	EXPECT_VIEW_EQ(render(self, "{remote_addr}"), "192.0.2.1\n");
	self->req.times[REQ_T_CLAIM] = 0; /* then the job may never have been filled */
	EXPECT_VIEW_EQ(render(self, "{remote_addr}"), "-\n");
	self->req.link = &self->link;
	self->link.peer.known = false;
	EXPECT_VIEW_EQ(render(self, "{remote_addr}"), "-\n");
}

TEST_F(format, names)
{
	EXPECT_VIEW_EQ(render(self, "common"), "2001:db8::1 - - [14/Nov/2023:22:13:20 +0000] "
					       "\"POST /a/b?c=d&e HTTP/1.1\" 201 1234\n");
	EXPECT_VIEW_EQ(render(self, "combined"), "2001:db8::1 - - [14/Nov/2023:22:13:20 +0000] "
						 "\"POST /a/b?c=d&e HTTP/1.1\" 201 1234 "
						 "\"http://a/ b\" \"curl/1 (x; \\\"y\\\")\"\n");
	EXPECT_VIEW_EQ(render(self, "text"),
		       "time=2023-11-14T22:13:20.123Z method=POST path=\"/a/b?c=d&e\" status=201 "
		       "bytes=1234 total_ms=1234.568 queue_ms=1.500 app_ms=16.500 worker=7 "
		       "id=abc-1 remote=2001:db8::1 sent=true\n");
	EXPECT_VIEW_EQ(render(self, "json"),
		       "{\"time\":\"2023-11-14T22:13:20.123Z\",\"method\":\"POST\","
		       "\"path\":\"/a/b?c=d&e\",\"status\":201,\"bytes\":1234,"
		       "\"total_ms\":1234.568,\"queue_ms\":1.500,\"app_ms\":16.500,\"worker\":7,"
		       "\"request_id\":\"abc-1\",\"remote\":\"2001:db8::1\",\"sent\":true}\n");
}

TEST_F(format, braces_and_text)
{
	EXPECT_VIEW_EQ(render(self, "x{status}y{status}"), "x201y201\n");
	EXPECT_VIEW_EQ(render(self, "{status} {{{method}}}"), "201 {POST}\n");
	EXPECT_VIEW_EQ(render(self, "{{}}"), "{}\n");
	EXPECT_VIEW_EQ(render(self, "\xc3\xa9 {status}"), "\xc3\xa9 201\n");
}

TEST_F(format, refused)
{
	static const char *const bad[] = {
		"",           "xml",        "Text",           "text ",     "{}",
		"{foo}",      "{ status}",  "{status",        "{status}}", "status}{",
		"{stat{us}}", "{status}\n", "\x1b[m{status}", "{statu}",   "{status }",
		"{STATUS}",   "{status}{",
	};
	struct access_format f;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		EXPECT_EQ(access_format_compile(&f, bad[i], &why), -EINVAL);
		EXPECT_NOT_NULL(why);
	}
}

/* Who has mistyped a field is shown all of them. */
TEST_F(format, unknown_field_lists_the_fields)
{
	static const char *const names[] = { "{time}",     "{ncsa_time}",  "{method}",
					     "{path}",     "{path_only}",  "{query}",
					     "{version}",  "{status}",     "{bytes}",
					     "{total_ms}", "{queue_ms}",   "{app_ms}",
					     "{worker}",   "{request_id}", "{remote_addr}",
					     "{referer}",  "{user_agent}", "{sent}" };
	const char *why;

	EXPECT_EQ(access_format_compile(&self->f, "{status} {nope}", &why), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_NOT_NULL(strstr(why, names[i]));
}

TEST_F(format, too_long)
{
	char t[4096];
	const char *why;

	memset(t, 'x', sizeof(t));
	memcpy(t, "{status}", 8);
	t[8 + ACCESS_TEXT_MAX] = '\0';
	EXPECT_OK(access_format_compile(&self->f, t, &why));
	t[8 + ACCESS_TEXT_MAX] = 'x';
	t[9 + ACCESS_TEXT_MAX] = '\0';
	EXPECT_EQ(access_format_compile(&self->f, t, &why), -EINVAL);
	/* Values count as long as they may become. */
	EXPECT_EQ(access_format_compile(&self->f,
					"{referer}{referer}{referer}{user_agent}{user_agent}", &why),
		  -EINVAL);
	for (size_t i = 0; i < 100; i++)
		memcpy(t + 3 * i, "{x}", 4);
	EXPECT_EQ(access_format_compile(&self->f, t, &why), -EINVAL);
	t[0] = '\0';
	for (size_t i = 0; i < ACCESS_STEPS_MAX; i++)
		strcat(t, "{sent}");
	EXPECT_EQ(access_format_compile(&self->f, t, &why), -EINVAL);
}

/* Only what a format needs is kept of requests. */
TEST_F(format, keeps)
{
	static const struct {
		const char *format;
		u32 keep;
	} cases[] = {
		{ "{status}", 0 },
		{ "{path_only}", KEEP_LINE },
		{ "{request_id}", KEEP_ID },
		{ "common", KEEP_LINE | KEEP_PEER },
		{ "combined", KEEP_LINE | KEEP_PEER | KEEP_REFERER | KEEP_AGENT },
		{ "json", KEEP_LINE | KEEP_PEER | KEEP_ID },
	};
	const char *why;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_OK(access_format_compile(&self->f, cases[i].format, &why));
		EXPECT_EQ(self->f.keep, cases[i].keep);
	}
}

/* A JSON string of ASCII without control characters? */
static bool is_json_string(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((u8)p[i] < 0x20 || (u8)p[i] >= 0x7f || p[i] == '"')
			return false;
		if (p[i] != '\\')
			continue;
		i++;
		if (i < len && (p[i] == '"' || p[i] == '\\'))
			continue;
		if (i + 4 >= len || p[i] != 'u')
			return false;
		for (size_t end = i + 4; i < end;)
			if (!strchr("0123456789abcdef", p[++i]))
				return false;
	}
	return true;
}

/* Any bytes of a client's in any of its fields: one line, valid strings. */
TEST_F(format, hostile_bytes)
{
	static const char *const names[] = { "method",     "path",    "path_only", "query",
					     "request_id", "referer", "user_agent" };
	struct rng rng;
	char bytes[700], format[64];

	rng_init(&rng);
	for (int round = 0; round < 3000; round++) {
		const char *name = names[round % (int)ARRAY_SIZE(names)];
		size_t len = rng_below(&rng, sizeof(bytes));
		struct view v = { bytes, len }, text;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char)(rng_below(&rng, 2)
						  ? rng_below(&rng, 256)
						  : (u32) "\"\\\n\x7f?\xff"[rng_below(&rng, 6)]);
		self->req.method_name = self->req.target = self->req.referer = v;
		self->req.user_agent = self->req.request_id = v;
		snprintf(format, sizeof(format), "{{\"x\":\"{%s}\"}}", name);
		text = render(self, format);
		ASSERT_LE(text.len, ACCESS_LINE_MAX);
		ASSERT_MEMEQ(text.p, "{\"x\":\"", 6);
		ASSERT_MEMEQ(text.p + text.len - 3, "\"}\n", 3);
		ASSERT_TRUE(is_json_string(text.p + 6, text.len - 9));
		snprintf(format, sizeof(format), "{%s}", name);
		text = render(self, format);
		for (size_t i = 0; i + 1 < text.len; i++)
			ASSERT_TRUE((u8)text.p[i] >= 0x20 && (u8)text.p[i] < 0x7f);
		ASSERT_EQ(text.p[text.len - 1], '\n');
	}
}

/* All at their longest: nothing is written behind the room for a line. */
TEST_F(format, longest_line)
{
	static char bytes[3000];
	struct view v = { bytes, sizeof(bytes) };
	char *room = guard_alloc(ACCESS_LINE_MAX);
	static const char *const formats[] = {
		"text",
		"json",
		"common",
		"combined",
		"{path}{path_only}{query}{method}{request_id}{referer}{user_agent}{bytes}{time}",
	};

	self->req.method_name = self->req.target = self->req.referer = v;
	self->req.user_agent = self->req.request_id = v;
	self->req.bytes_out = self->req.times[REQ_T_SENT] = UINT64_MAX;
	self->req.job.answered_ns = UINT64_MAX / 2;
	self->req.status = UINT16_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		for (int byte = 0; byte < 3; byte++) {
			const char *why;
			size_t n;

			memset(bytes, "x\"\xff"[byte], sizeof(bytes));
			ASSERT_OK(access_format_compile(&self->f, formats[i], &why));
			n = access_format_line(&self->f, &self->clock, UINT32_MAX, &self->req, room);
			ASSERT_LE(n, ACCESS_LINE_MAX);
			ASSERT_EQ(room[n - 1], '\n');
		}
	}
	guard_free(room, ACCESS_LINE_MAX);
}

/* The second is rendered once, and every one anew. */
TEST_F(format, seconds_go_by)
{
	self->req.times[REQ_T_START] = START;
	EXPECT_VIEW_EQ(render(self, "{time}"), "2023-11-14T22:13:20.123Z\n");
	self->req.times[REQ_T_START] = START + 876 * NSEC_PER_MSEC;
	EXPECT_VIEW_EQ(render(self, "{time}"), "2023-11-14T22:13:20.999Z\n");
	self->req.times[REQ_T_START] = START + 877 * NSEC_PER_MSEC;
	EXPECT_VIEW_EQ(render(self, "{time}"), "2023-11-14T22:13:21.000Z\n");
	/* An older one ends later. */
	self->req.times[REQ_T_START] = START;
	EXPECT_VIEW_EQ(render(self, "{time} {ncsa_time}"),
		       "2023-11-14T22:13:20.123Z 14/Nov/2023:22:13:20 +0000\n");
	self->req.times[REQ_T_START] = (1709251199 - 1700000000 + 5) * NSEC_PER_SEC;
	EXPECT_VIEW_EQ(render(self, "{time} {ncsa_time}"),
		       "2024-02-29T23:59:59.000Z 29/Feb/2024:23:59:59 +0000\n");
}

TEST(clock_sync)
{
	struct access_clock c = { 0 };
	struct access_format f;
	struct req r = { 0 };
	struct timespec mono;
	struct tm tm = { 0 };
	const char *why;
	size_t n;

	access_clock_sync(&c);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	r.times[REQ_T_START] = (u64)mono.tv_sec * NSEC_PER_SEC + (u64)mono.tv_nsec;
	ASSERT_OK(access_format_compile(&f, "{time}", &why));
	n = access_format_line(&f, &c, 0, &r, line);
	line[n] = '\0';
	ASSERT_NOT_NULL(strptime(line, "%Y-%m-%dT%H:%M:%S", &tm));
	EXPECT_LE(time(NULL) - timegm(&tm), 2);
	EXPECT_GE(time(NULL) - timegm(&tm), -1);
}
