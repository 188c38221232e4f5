/* SPDX-License-Identifier: MIT */
/* Lines of the access log: what they say, what they escape, where they are cut and dropped. */
#include "server/access_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "selftests/harness/harness.h"

#define START (5 * NSEC_PER_SEC)
/* 2023-11-14T22:13:20Z was at START. */
#define REALTIME (1700000000 * NSEC_PER_SEC - START)

FIXTURE(access_log)
{
	struct access_log log;
	struct req req;
};
FIXTURE_VARIANT(access_log)
{
	const char *format;
};
VARIANT(access_log, json) = { .format = "json" };
VARIANT(access_log, text) = { .format = "text" };

static bool is_json(const struct variant_access_log *v)
{
	return v->format[0] == 'j';
}

FIXTURE_SETUP(access_log)
{
	ASSERT_OK(access_log_init(&self->log, variant->format, 3));
	self->log.clock.realtime_ns = REALTIME;
	self->req = (struct req){
		.method_name = VIEW("GET"),
		.target = VIEW("/a?b=c"),
		.status = 200,
		.bytes_out = 12345678901,
	};
	self->req.times[REQ_T_START] = START + 123 * NSEC_PER_MSEC;
	self->req.times[REQ_T_SENT] = START + 125 * NSEC_PER_MSEC + 678 * NSEC_PER_USEC;
}

FIXTURE_TEARDOWN(access_log)
{
	access_log_fini(&self->log);
}

static struct view one_line(struct self_access_log *self)
{
	struct view v;

	access_log_add(&self->log, &self->req);
	v = access_log_next(&self->log);
	access_log_written(&self->log, v.len);
	return v;
}

TEST_F(access_log, says_what_happened)
{
	static const char json[] =
		"{\"time\":\"2023-11-14T22:13:20.123Z\",\"method\":\"GET\",\"path\":\"/a?b=c\","
		"\"status\":200,\"bytes\":12345678901,\"total_ms\":2.678,\"queue_ms\":null,"
		"\"app_ms\":null,\"worker\":3,\"request_id\":\"\",\"remote\":\"\",\"sent\":true}\n";
	static const char text[] =
		"time=2023-11-14T22:13:20.123Z method=GET path=\"/a?b=c\" status=200 "
		"bytes=12345678901 total_ms=2.678 queue_ms=- app_ms=- worker=3 id=- remote=- "
		"sent=true\n";

	EXPECT_VIEW_EQ(one_line(self), is_json(variant) ? json : text);
}

TEST_F(access_log, cut_answer_and_refused_request)
{
	self->req.times[REQ_T_SENT] = 0;
	self->req.method_name = self->req.target = VIEW("");
	self->req.status = 400;
	self->req.bytes_out = 0;
	EXPECT_VIEW_EQ(
		one_line(self),
		is_json(variant)
			? "{\"time\":\"2023-11-14T22:13:20.123Z\",\"method\":\"\",\"path\":\"\","
			  "\"status\":400,\"bytes\":0,\"total_ms\":0.000,\"queue_ms\":null,"
			  "\"app_ms\":null,\"worker\":3,\"request_id\":\"\",\"remote\":\"\","
			  "\"sent\":false}\n"
			: "time=2023-11-14T22:13:20.123Z method=- path=\"-\" status=400 bytes=0 "
			  "total_ms=0.000 queue_ms=- app_ms=- worker=3 id=- remote=- "
			  "sent=false\n");
}

/* The bytes between the quotes of the path. */
static struct view path_of(struct view line, bool json)
{
	const char *from = json ? "\"path\":\"" : " path=\"";
	const char *to = json ? "\",\"status\":" : "\" status=";
	char *p = memmem(line.p, line.len, from, strlen(from)), *end;

	ASSERT_NOT_NULL(p);
	p += strlen(from);
	end = memmem(p, (size_t)(line.p + line.len - p), to, strlen(to));
	ASSERT_NOT_NULL(end);
	return (struct view){ p, (size_t)(end - p) };
}

/* Every byte can be told from the line, and none of them can end it or the string. */
TEST_F(access_log, every_byte)
{
	for (int c = 0; c < 256; c++) {
		char target[3] = { '/', (char)c, 'z' }, want[16];
		struct view line, path;

		self->req.target = (struct view){ target, 3 };
		line = one_line(self);
		path = path_of(line, is_json(variant));
		if (c == '"' || c == '\\')
			snprintf(want, sizeof(want), "/\\%cz", c);
		else if (c > 0x20 && c < 0x7f)
			snprintf(want, sizeof(want), "/%cz", c);
		else
			snprintf(want, sizeof(want), is_json(variant) ? "/\\u%04xz" : "/\\x%02xz", c);
		EXPECT_VIEW_EQ(path, want);
		EXPECT_EQ((char *)memchr(line.p, '\n', line.len) - line.p, line.len - 1);
	}
}

/* Too long is cut, never within an escape, and the end of the line is there all the same. */
TEST_F(access_log, targets_of_every_length)
{
	static const char bytes[] = { 'x', '"', '\x01' };
	size_t max_path = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		size_t unit = bytes[i] == 'x' ? 1 : bytes[i] == '"' ? 2 : is_json(variant) ? 6 : 4;

		for (size_t len = 1; len < 3000; len++) {
			char *target = guard_alloc(len);
			struct view line, path;

			memset(target, bytes[i], len);
			self->req.target = (struct view){ target, len };
			line = one_line(self);
			path = path_of(line, is_json(variant));
			ASSERT_LE(line.len, ACCESS_LINE_MAX);
			ASSERT_EQ(line.p[line.len - 1], '\n');
			ASSERT_EQ(path.len % unit, 0);
			if (len * unit < 1500)
				ASSERT_EQ(path.len, len * unit);
			max_path = max(max_path, path.len);
			guard_free(target, len);
		}
	}
	EXPECT_GE(max_path, 1500);
}

TEST_F(access_log, long_methods)
{
	static char method[300];

	memset(method, 'M', sizeof(method));
	self->req.method_name = (struct view){ method, sizeof(method) };
	EXPECT_LE(one_line(self).len, 400);
}

TEST_F(access_log, empty_has_nothing_to_write)
{
	EXPECT_EQ(access_log_next(&self->log).len, 0);
	one_line(self);
	EXPECT_EQ(access_log_next(&self->log).len, 0);
}

/* Nobody reads: what fits is kept, whole and in order; the rest is counted. */
TEST_F(access_log, full)
{
	enum { NR = 5000 };
	struct view first = { NULL, 0 }, second;
	u64 nr_kept = 0;
	char target[32];

	for (int i = 0; i < NR; i++) {
		int n = snprintf(target, sizeof(target), "/%d.", i);

		self->req.target = (struct view){ target, (size_t)n };
		access_log_add(&self->log, &self->req);
		/* It is being written, and stuck. */
		if (i == 10)
			first = access_log_next(&self->log);
	}
	EXPECT_GT(self->log.dropped, 0);
	for (int i = 0; i <= 10; i++) {
		snprintf(target, sizeof(target), "/%d.", i);
		EXPECT_NOT_NULL(memmem(first.p, first.len, target, strlen(target)));
	}
	/* While it is, the same bytes are offered. */
	second = access_log_next(&self->log);
	EXPECT_TRUE(second.p == first.p && second.len == first.len);
	access_log_written(&self->log, first.len);
	second = access_log_next(&self->log);
	EXPECT_GT(second.len, ACCESS_LOG_LEN - ACCESS_LINE_MAX);
	EXPECT_LE(second.len, ACCESS_LOG_LEN);
	EXPECT_EQ(second.p[second.len - 1], '\n');
	for (size_t i = 0; i < first.len + second.len; i++)
		nr_kept += (i < first.len ? first.p[i] : second.p[i - first.len]) == '\n';
	EXPECT_EQ(nr_kept + self->log.dropped, NR);
	EXPECT_NOT_NULL(memmem(second.p, second.len, "/11.", 4));
	access_log_written(&self->log, second.len);
	/* There is room again. */
	self->req.target = VIEW("/again");
	EXPECT_NOT_NULL(memmem(one_line(self).p, 100, "/again", 6));
}

/* Written a few bytes at a time, with new lines in between: what comes out is what went in. */
TEST_F(access_log, written_in_pieces)
{
	char *out = malloc(MIB), *want = malloc(MIB);
	size_t out_len = 0, want_len = 0;
	struct rng rng;

	ASSERT_TRUE(out && want);
	rng_init(&rng);
	for (int i = 0; i < 2000; i++) {
		size_t before = self->log.filled;
		struct view v;
		size_t n;

		access_log_add(&self->log, &self->req);
		n = self->log.filled - before;
		memcpy(want + want_len, self->log.filling + before, n);
		want_len += n;
		v = access_log_next(&self->log);
		n = min(v.len, (size_t)rng_below(&rng, 400));
		memcpy(out + out_len, v.p, n);
		out_len += n;
		access_log_written(&self->log, n);
	}
	EXPECT_EQ(self->log.dropped, 0);
	for (struct view v; (v = access_log_next(&self->log)).len;) {
		memcpy(out + out_len, v.p, v.len);
		out_len += v.len;
		access_log_written(&self->log, v.len);
	}
	EXPECT_EQ(out_len, want_len);
	EXPECT_MEMEQ(out, want, want_len);
	free(out);
	free(want);
}

/* For a pipe: pieces that it takes as a whole, none of which ends within a line. */
TEST_F(access_log, whole_lines_in_small_pieces)
{
	char *out = malloc(ACCESS_LOG_LEN), *want = malloc(ACCESS_LOG_LEN);
	static char target[ACCESS_LINE_MAX];
	size_t len = 0, want_len;
	u32 nr = 0;

	ASSERT_TRUE(out && want);
	memset(target, 'x', sizeof(target));
	self->log.piece_max = 4096;
	for (size_t i = 0; i < 60; i++) {
		self->req.target = (struct view){ target, i * 30 };
		access_log_add(&self->log, &self->req);
	}
	want_len = self->log.filled;
	memcpy(want, self->log.filling, want_len);
	for (struct view v; (v = access_log_next(&self->log)).len; nr++) {
		ASSERT_LE(v.len, 4096);
		ASSERT_EQ(v.p[v.len - 1], '\n');
		memcpy(out + len, v.p, v.len);
		len += v.len;
		access_log_written(&self->log, v.len);
	}
	EXPECT_GE(nr, want_len / 4096 + 1);
	EXPECT_EQ(len, want_len);
	EXPECT_MEMEQ(out, want, want_len);
	free(out);
	free(want);
}

static void make(void *arg)
{
	struct access_log log;

	(void)arg;
	if (access_log_init(&log, "json", 0) == 0)
		access_log_fini(&log);
	else
		EXPECT_NULL(log.filling);
}

TEST(any_allocation_may_fail)
{
	EXPECT_EQ(for_each_failing_alloc(make, NULL), 2);
}

/* A write that failed, and what is left at the end: lines are counted, not bytes. */
TEST_F(access_log, lost_lines_are_counted)
{
	struct view v;

	for (int i = 0; i < 5; i++)
		access_log_add(&self->log, &self->req);
	v = access_log_next(&self->log);
	for (int i = 0; i < 3; i++)
		access_log_add(&self->log, &self->req);
	access_log_lost(&self->log, v.len / 5 * 2);
	EXPECT_EQ(self->log.dropped, 2);
	access_log_written(&self->log, v.len / 5);
	EXPECT_EQ(access_log_next(&self->log).len, v.len / 5 * 2);
	EXPECT_FALSE(access_log_empty(&self->log));
	access_log_give_up(&self->log);
	EXPECT_EQ(self->log.dropped, 2 + 2 + 3);
	EXPECT_TRUE(access_log_empty(&self->log));
	EXPECT_EQ(access_log_next(&self->log).len, 0);
}
