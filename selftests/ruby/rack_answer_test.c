/* SPDX-License-Identifier: MIT */
/* The app's answer as typed answers, byte for byte: heads and bodies of every kind. */
#include "selftests/ruby/rack_bed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLAIN "{ 'content-type' => 'text/plain' }"

/* Bodies that count how often they are closed: GET /closed tells. */
#define BODIES                                                                                     \
	"$closed = 0\n"                                                                            \
	"class Each\n"                                                                             \
	"  def initialize(*pieces) = @pieces = pieces\n"                                           \
	"  def each(&block) = @pieces.each(&block)\n"                                              \
	"  def close = $closed += 1\n"                                                             \
	"end\n"                                                                                    \
	"class Ary < Each\n"                                                                       \
	"  def to_ary\n"                                                                           \
	"    @pieces\n"                                                                            \
	"  ensure\n"                                                                               \
	"    close\n"                                                                              \
	"  end\n"                                                                                  \
	"end\n"                                                                                    \
	"class Path < Each\n"                                                                      \
	"  def to_path = @pieces[0]\n"                                                             \
	"  def each = raise('each of a file')\n"                                                   \
	"end\n"                                                                                    \
	"answers = Hash.new { |h, k| h[k] = -> { [200, {}, [$closed.to_s]] } }\n"
#define RUN "run ->(env) { answers[env['PATH_INFO']].call }\n"
#define RUN_LINT "use Rack::Lint\n" RUN

FIXTURE(answer)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(answer)
{
	u32 nr_threads;
	bool lint, rack_2;
};
VARIANT(answer, inline_bare) = { 0, false, false };
VARIANT(answer, threads_bare) = { 2, false, false };
VARIANT(answer, threads_lint) = { 2, true, false };
VARIANT(answer, threads_rack_2) = { 2, false, true };
static bool is_inline, is_rack_2;
FIXTURE_SETUP(answer)
{
	self->setup.nr_threads = variant->nr_threads;
	self->setup.lint = variant->lint;
	self->setup.rack_2 = variant->rack_2;
	is_inline = !variant->nr_threads;
	is_rack_2 = variant->rack_2;
}
FIXTURE_TEARDOWN(answer)
{
}

static void expect_closed(const char *nr)
{
	EXPECT_STREQ(bed_get("/closed")->body, nr);
}

/* --- heads --- */

static void script_head(void)
{
	const struct got *g = bed_get("/");

	EXPECT_EQ(g->status, 201);
	EXPECT_STREQ(g->head, "content-type: text/plain\r\nx-a: 1\r\nx-list: a\r\nx-list: b\r\n"
			      "x-empty: \r\nX-Case: \xff \r\n");
	EXPECT_STREQ(g->body, "abc");
	EXPECT_EQ(g->content_length, 3);
	EXPECT_FALSE(g->has_date);
	EXPECT_FALSE(g->close);
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_GE(g->answered_ns, g->claimed_ns);
	EXPECT_NE(g->claimed_ns, 0);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, head)
{
	self->setup.lint = false; /* upper case */
	self->setup.app = "run ->(env) { [201, { 'content-type' => 'text/plain', 'x-a' => '1',\n"
			  "'x-list' => ['a', 'b'], 'x-empty' => '', 'x-nil' => nil,\n"
			  "'X-Case' => \"\\xff \" }, ['a', 'bc']] }\n";
	ASSERT_OK(bed_run(&self->setup, script_head));
}

static void script_hop_by_hop(void)
{
	const struct got *g = bed_get("/");

	EXPECT_STREQ(g->head, "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx: y\r\n");
	EXPECT_TRUE(g->has_date);
	EXPECT_TRUE(g->close);
	EXPECT_EQ(g->content_length, 2);
	g = bed_get("/keep");
	EXPECT_STREQ(g->head, "");
	EXPECT_FALSE(g->close);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, hop_by_hop_headers_stay)
{
	self->setup.lint = false;
	self->setup.app =
		"run ->(env) {\n"
		"  next [200, { 'connection' => 'keep-alive, closed' }, []] if env['PATH_INFO'] == "
		"'/keep'\n"
		"  [200, { 'Connection' => 'x , Close', 'KEEP-ALIVE' => 'timeout=5',\n"
		"  'Transfer-Encoding' => 'chunked', 'Content-Length' => '2',\n"
		"  'rack.something' => Object.new, 'date' => 'Thu, 01 Jan 1970 00:00:00 GMT',\n"
		"  'x' => 'y' }, ['ab']] }\n";
	ASSERT_OK(bed_run(&self->setup, script_hop_by_hop));
}

static void script_several_lines(void)
{
	const struct got *g = bed_get("/");

	if (is_rack_2) {
		EXPECT_STREQ(g->head, "set-cookie: a=1\r\nset-cookie: b=2\r\n");
		EXPECT_EQ(g->status, 200);
		return;
	}
	EXPECT_EQ(g->status, 500);
	EXPECT_EQ(bed_count(bed_log(), "set-cookie"), 1);
}
TEST_F(answer, newline_in_a_value_is_of_rack_2)
{
	self->setup.lint = false;
	self->setup.app = "run ->(env) { [200, { 'set-cookie' => \"a=1\\nb=2\" }, []] }\n";
	ASSERT_OK(bed_run(&self->setup, script_several_lines));
}

static void script_headers_like(void)
{
	EXPECT_STREQ(bed_get("/pairs")->head, "a: 1\r\nb: 2\r\n");
	EXPECT_STREQ(bed_get("/odd")->head, "sym: 5\r\n");
	EXPECT_EQ(bed_get("/status")->status, 204);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, what_rack_2_apps_give)
{
	self->setup.lint = false;
	self->setup.app = BODIES "answers['/pairs'] = -> { [200, [['a', '1'], ['b', '2']], []] }\n"
				 "answers['/odd'] = -> { [200, { sym: 5 }, []] }\n"
				 "answers['/status'] = -> { ['204', {}, []] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_headers_like));
}

static void script_large_head(void)
{
	const struct got *g = bed_get("/");

	EXPECT_EQ(strlen(g->head), 100u * (strlen("x-000: \r\n") + 300));
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_STREQ(g->body, "ok");
}
TEST_F(answer, head_larger_than_the_room)
{
	self->setup.app = "run ->(env) { [200, (0..99).to_h { |i| [\"x-%03d\" % i, 'v' * 300] }, "
			  "['ok']] }\n";
	ASSERT_OK(bed_run(&self->setup, script_large_head));
}

/* --- arrays --- */

static void script_room(void)
{
	char target[32];
	u32 n;

	/* Around the end of the room, which holds head and body. */
	for (n = JOB_ROOM_MIN - 60; n < JOB_ROOM_MIN + 8; n++) {
		const struct got *g;

		snprintf(target, sizeof(target), "/?%u", n);
		g = bed_get(target);
		EXPECT_EQ(g->body_len, n);
		EXPECT_EQ(g->content_length, n);
		EXPECT_EQ(strspn(g->body, "x"), n);
		EXPECT_STREQ(g->head, "content-type: text/plain\r\n");
	}
}
TEST_F(answer, body_around_the_size_of_the_room)
{
	self->setup.app = "run ->(env) { n = env['QUERY_STRING'].to_i\n"
			  "[200, " PLAIN ", ['x' * (n / 2), '', 'x' * (n - n / 2)]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_room));
}

static void script_large_array(void)
{
	const struct got *g = bed_get("/");

	EXPECT_EQ(g->body_len, 3u * 1000 * 1000);
	EXPECT_EQ(strspn(g->body, "abc"), 3u * 1000 * 1000);
	EXPECT_MEMEQ(g->body + 2999997, "abc", 3);
	EXPECT_EQ(g->nr_last, 1);
}
TEST_F(answer, large_array)
{
	self->setup.app = "run ->(env) { [200, " PLAIN ", ['abc'] * 1_000_000] }\n";
	self->setup.lint = false; /* takes its time */
	ASSERT_OK(bed_run(&self->setup, script_large_array));
}

/* Above 16 MiB an array goes piece by piece. */
static void script_huge_array(void)
{
	const struct got *g = bed_get("/");

	EXPECT_EQ(g->body_len, 20u << 20);
	EXPECT_EQ(g->content_length, 20 << 20);
	EXPECT_EQ(strspn(g->body, "y"), 20u << 20);
	EXPECT_EQ(strncmp(g->answers, "HEAD|DATA DATA DATA", 19), 0);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, huge_array)
{
	self->setup.app = "run ->(env) { [200, " PLAIN ", ['y' * (10 << 20)] * 2] }\n";
	self->setup.lint = false;
	ASSERT_OK(bed_run(&self->setup, script_huge_array));
}

static void script_wrong_length(void)
{
	const struct got *g = bed_get("/long");

	EXPECT_EQ(g->content_length, 3);
	EXPECT_STREQ(g->body, "abc");
	EXPECT_EQ(bed_count(bed_log(), "content-length of the app is wrong said=9 is=3"), 1);
	EXPECT_EQ(bed_get("/no")->content_length, 3);
	EXPECT_EQ(bed_count(bed_log(), "is no number"), 1);
	EXPECT_EQ(bed_get("/over")->content_length, 3);
	bed_log();
	EXPECT_EQ(bed_get("/right")->content_length, 3);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, length_of_an_array_is_what_it_is)
{
	self->setup.lint = false;
	self->setup.app = BODIES
		"{ long: '9', no: '-3', over: '99999999999999999999', right: '3' }.each { |k, v|\n"
		"answers[\"/#{k}\"] = -> { [200, { 'content-length' => v }, ['abc']] } }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_wrong_length));
}

/* --- no body --- */

static void script_bodiless(void)
{
	static const char *const targets[] = { "/204", "/304", "/103" };
	const struct got *g;

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		g = bed_get(targets[i]);
		EXPECT_EQ(g->status, (u16)atoi(targets[i] + 1));
		EXPECT_EQ(g->content_length, LENGTH_UNKNOWN);
		EXPECT_STREQ(g->answers, "HEAD|END");
		EXPECT_STREQ(g->head, "x: y\r\n");
		EXPECT_EQ(g->close, i == 2);
	}
	expect_closed("3");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, statuses_without_a_body)
{
	self->setup.app = BODIES "[204, 304, 103].each { |s| answers[\"/#{s}\"] = -> {\n"
				 "[s, { 'x' => 'y' }, Each.new('body')] } }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_bodiless));
}

static const struct got *head_of(const char *target)
{
	const struct got *g = bed_ask(&(struct request){ .method = "HEAD", .target = target });

	EXPECT_STREQ(g->answers, "HEAD|END");
	EXPECT_EQ(g->status, 200);
	return g;
}

static void script_head_method(void)
{
	EXPECT_EQ(head_of("/array")->content_length, 3);
	EXPECT_EQ(head_of("/none")->content_length, LENGTH_UNKNOWN);
	EXPECT_EQ(head_of("/said")->content_length, 77);
	EXPECT_EQ(head_of("/each")->content_length, LENGTH_UNKNOWN);
	EXPECT_EQ(head_of("/path")->content_length, 0);
	EXPECT_STREQ(head_of("/each")->head, "content-type: text/plain\r\n");
	expect_closed("3");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, method_head)
{
	self->setup.lint = false; /* hides that a body is an array */
	self->setup.app =
		BODIES "answers['/array'] = -> { [200, " PLAIN ", ['a', 'bc']] }\n"
		       "answers['/none'] = -> { [200, " PLAIN ", []] }\n"
		       "answers['/said'] = -> { [200, { 'content-length' => '77' }, []] }\n"
		       "answers['/each'] = -> { [200, " PLAIN ", Each.new('never')] }\n"
		       "answers['/path'] = -> { [200, " PLAIN
		       ", Path.new('/dev/../dev/../proc/self/status')] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_head_method));
}

/* --- enumerables --- */

static void script_each(void)
{
	const struct got *g = bed_get("/each");

	EXPECT_STREQ(g->body, "onetwothree");
	EXPECT_STREQ(g->head, "content-type: text/plain\r\n");
	if (is_inline) {
		EXPECT_STREQ(g->answers, "HEAD|DATA|END");
		EXPECT_EQ(g->content_length, 11);
	} else {
		/* Small pieces go together. */
		EXPECT_STREQ(g->answers, "HEAD|DATA END");
		EXPECT_EQ(g->pieces, 3);
		EXPECT_EQ(g->content_length, LENGTH_UNKNOWN);
	}
	expect_closed("1");
	g = bed_get("/length");
	EXPECT_STREQ(g->body, "onetwo");
	EXPECT_EQ(g->content_length, 6);
	EXPECT_STREQ(g->answers, is_inline ? "HEAD|DATA|END" : "HEAD|DATA END");
	/* A piece that is all of a known length brings the end along. */
	g = bed_get("/one");
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_STREQ(g->body, "one");
	g = bed_get("/none");
	EXPECT_STREQ(g->answers, "HEAD|END");
	EXPECT_EQ(g->content_length, 0);
	g = bed_get("/empty");
	EXPECT_STREQ(g->answers, "HEAD|END");
	expect_closed("5");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, each)
{
	self->setup.app = BODIES
		"answers['/each'] = -> { [200, " PLAIN ", Each.new('one', 'two', '', 'three')] }\n"
		"answers['/length'] = -> { [200, { 'content-length' => '6' }, Each.new('one', "
		"'two')] }\n"
		"answers['/one'] = -> { [200, { 'content-length' => '3' }, Each.new('one')] }\n"
		"answers['/none'] = -> { [200, {}, Each.new] }\n"
		"answers['/empty'] = -> { [200, {}, Each.new('', '')] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_each));
}

static void script_large_piece(void)
{
	const struct got *g = bed_get("/");

	EXPECT_EQ(g->body_len, 3000000u);
	EXPECT_EQ(strspn(g->body, "z"), 3000000u);
	/* 256 KiB at a time. */
	EXPECT_EQ(bed_count(g->answers, "DATA"), is_inline ? 1 : 12);
}
TEST_F(answer, large_piece_is_cut)
{
	self->setup.app = BODIES "answers['/'] = -> { [200, {}, Each.new('z' * 3_000_000)] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_large_piece));
}

static void script_short_and_long(void)
{
	const struct got *g = bed_get("/long");

	/* Nothing has left yet where pieces are collected. */
	EXPECT_STREQ(g->answers, is_inline ? "HEAD|DATA|END" : "HEAD|DATA ABORT");
	EXPECT_EQ(g->status, is_inline ? 500 : 200);
	EXPECT_EQ(bed_count(bed_log(), "longer than its content-length of 5 method=GET path=/long"),
		  1);
	g = bed_get("/short");
	EXPECT_STREQ(g->answers, is_inline ? "HEAD|DATA|END" : "HEAD|DATA ABORT");
	EXPECT_EQ(bed_count(bed_log(), "has 3 bytes and a content-length of 5"), 1);
	expect_closed("2");
}
TEST_F(answer, each_of_another_length)
{
	self->setup.lint = false;
	self->setup.app = BODIES "answers['/long'] = -> { [200, { 'content-length' => '5' }, "
				 "Each.new('abc', 'def')] }\n"
				 "answers['/short'] = -> { [200, { 'content-length' => '5' }, "
				 "Each.new('abc')] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_short_and_long));
}

static void script_to_ary(void)
{
	const struct got *g = bed_get("/");

	EXPECT_STREQ(g->body, "abc");
	if (!is_rack_2) {
		EXPECT_STREQ(g->answers, "HEAD|DATA|END");
		EXPECT_EQ(g->content_length, 3);
	}
	expect_closed("1");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, to_ary_closes)
{
	self->setup.lint = false; /* closes once more */
	self->setup.app = BODIES "answers['/'] = -> { [200, {}, Ary.new('a', 'bc')] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_to_ary));
}

static void script_not_ary(void)
{
	const struct got *g = bed_get("/");

	EXPECT_STREQ(g->body, "abc");
	expect_closed("1");
	EXPECT_STREQ(bed_log(), "");
}
/* ActionDispatch::Response does so when the controller's body is an Enumerator. */
TEST_F(answer, to_ary_that_gives_no_array)
{
	self->setup.lint = false; /* refuses it */
	self->setup.app = BODIES "class Lazy < Each\n"
				 "  def to_ary = @pieces.each\n"
				 "end\n"
				 "answers['/'] = -> { [200, {}, Lazy.new('a', 'bc')] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_not_ary));
}

static void script_proxy(void)
{
	EXPECT_STREQ(bed_get("/")->body, "abc");
	expect_closed("1");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(answer, body_proxy_closes_once)
{
	self->setup.app =
		BODIES "answers['/'] = -> {\n"
		       "[200, {}, Rack::BodyProxy.new(['a', 'bc']) { $closed += 1 }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_proxy));
}

/* --- files --- */

static char file_path[64];

static void script_file(void)
{
	const struct got *g;
	u32 n;

	g = bed_get("/file");
	EXPECT_STREQ(g->answers, "HEAD|FILE|END");
	EXPECT_EQ(g->content_length, 10);
	EXPECT_STREQ(g->body, "0123456789");
	g = bed_get("/path");
	EXPECT_STREQ(g->answers, "HEAD|FILE|END");
	EXPECT_STREQ(g->body, "0123456789");
	g = bed_get("/pathname");
	EXPECT_STREQ(g->answers, "HEAD|FILE|END");
	EXPECT_STREQ(g->body, "0123456789");
	EXPECT_STREQ(bed_log(), "");
	g = bed_get("/said");
	EXPECT_EQ(g->content_length, 10);
	EXPECT_EQ(bed_count(bed_log(), "said=4 is=10"), 1);
	/* No regular file: its content comes from each. */
	g = bed_get("/null");
	EXPECT_EQ(g->status, 200);
	EXPECT_EQ(bed_count(g->body, "from each"), 1);
	g = bed_get("/gone");
	EXPECT_EQ(bed_count(g->body, "from each"), 1);
	expect_closed("5");
	n = (u32)atoi(bed_get("/fds")->body);
	for (int i = 0; i < 20; i++)
		bed_get("/file");
	EXPECT_EQ((u32)atoi(bed_get("/fds")->body), n);
}
TEST_F(answer, file)
{
	char app[4096];
	int fd;

	strcpy(file_path, "/tmp/rack_answer.XXXXXX");
	fd = mkstemp(file_path);
	ASSERT_EQ(write(fd, "0123456789", 10), 10);
	close(fd);
	snprintf(app, sizeof(app),
		 BODIES
		 "require 'pathname'\n"
		 "file = '%s'\n"
		 "class Also < Path\n"
		 "  def each = yield('from each')\n"
		 "end\n"
		 "answers['/file'] = -> { [200, {}, File.open(file)] }\n"
		 "answers['/path'] = -> { [200, {}, Path.new(file)] }\n"
		 "answers['/pathname'] = -> { [200, {}, Path.new(Pathname.new(file))] }\n"
		 "answers['/said'] = -> { [200, { 'content-length' => '4' }, Path.new(file)] }\n"
		 "answers['/null'] = -> { [200, {}, Also.new('/dev/null')] }\n"
		 "answers['/gone'] = -> { [200, {}, Also.new('/nowhere/at/all')] }\n"
		 "answers['/fds'] = -> { GC.start; [200, {}, "
		 "[Dir.children('/proc/self/fd').size.to_s]] }\n" RUN,
		 file_path);
	self->setup.lint = false;
	self->setup.app = app;
	ASSERT_OK(bed_run(&self->setup, script_file));
	unlink(file_path);
}
