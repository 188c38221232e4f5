/* SPDX-License-Identifier: MIT */
/* Bodies that are produced while they are sent: enumerated piece by piece, or written by `call`. */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <string.h>

/*
 * An app of named parts. GET /log says what they have noted since the last time; /go lets one go on
 * that waits in $go.pop; each body notes its close.
 */
#define PARTS                                                                                      \
	"$log = []\n"                                                                              \
	"$go = Queue.new\n"                                                                        \
	"TEXT = { 'content-type' => 'text/plain' }.freeze\n"                                       \
	"class Body\n"                                                                             \
	"  def initialize(&block) = @block = block\n"                                              \
	"  def close = $log << 'close'\n"                                                          \
	"end\n"                                                                                    \
	"class Each < Body\n"                                                                      \
	"  def each(&block) = @block.call(block)\n"                                                \
	"end\n"                                                                                    \
	"class Call < Body\n"                                                                      \
	"  def call(stream) = @block.call(stream)\n"                                               \
	"end\n"                                                                                    \
	"module Kernel\n"                                                                          \
	"  def note(error) = $log << error.class.name\n"                                           \
	"end\n"                                                                                    \
	"$n = 0\n"                                                                                 \
	"$parts = {\n"                                                                             \
	"  '/log' => -> { [200, TEXT.dup, [$log.slice!(0..).join(' ')]] },\n"                      \
	"  '/peek' => -> { [200, TEXT.dup, [$log.join(' ')]] },\n"                                 \
	"  '/go' => -> { $go << 1; [200, TEXT.dup, ['gone']] },\n"                                 \
	"  '/gc' => -> { GC.start; [200, TEXT.dup, ['collected']] },\n"                            \
	"  '/each' => -> { [200, TEXT.dup, Each.new { |y| each(y) }] },\n"                         \
	"  '/sized' => -> { [200, TEXT.merge('content-length' => $length.to_s),\n"                 \
	"                    Each.new { |y| each(y) }] },\n"                                       \
	"  '/events' => -> { [200, { 'content-type' => 'text/event-stream' },\n"                   \
	"                     Each.new { |y| each(y) }] },\n"                                      \
	"  '/call' => -> { [200, TEXT.dup, Call.new { |s| body(s) }] },\n"                         \
	"}\n"
#define RUN                                                                                        \
	"run ->(env) { $env = env if env['PATH_INFO'] == '/call'; $parts[env['PATH_INFO']].call "  \
	"}\n"

FIXTURE(stream)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(stream)
{
	u32 nr_threads;
	bool lint;
};
VARIANT(stream, bare) = { 3, false };
VARIANT(stream, lint) = { 3, true };
FIXTURE_SETUP(stream)
{
	self->setup.nr_threads = variant->nr_threads;
	self->setup.lint = variant->lint;
}
FIXTURE_TEARDOWN(stream)
{
}

static struct asked *submit(const char *target)
{
	return bed_submit(&(struct request){ .target = target, .headers = { "Host: example.org" } });
}

/* What the app notes in the end; a body is closed when its answer has gone. */
static void expect_log(const char *text)
{
	EXPECT_TRUE(bed_until("/peek", text));
	EXPECT_STREQ(bed_get("/log")->body, text);
}

/* --- enumerated --- */

static void script_coalesce(void)
{
	const struct got *g = bed_get("/each");

	EXPECT_EQ(g->body_len, 50000);
	for (size_t i = 0; i < g->body_len && !has_failed(); i++)
		EXPECT_EQ(g->body[i], 'a' + (int)(i / 50 % 26));
	EXPECT_EQ(g->pieces, 1000);
	EXPECT_EQ(g->content_length, LENGTH_UNKNOWN);
	EXPECT_LE(bed_count(g->answers, "DATA"), 40);
	expect_log("close");
}
TEST_F(stream, a_thousand_small_pieces)
{
	self->setup.app =
		PARTS "def each(y) = 1000.times { |i| y.call((97 + i % 26).chr * 50) }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_coalesce));
}

static void script_sizes(void)
{
	const struct got *g = bed_get("/each");
	size_t at = 0;

	for (int i = 0; i < 300; i++) {
		size_t len = (size_t)(i * i * 7 % 1500);

		for (size_t k = 0; k < len && !has_failed() && at < g->body_len; k++)
			EXPECT_EQ(g->body[at++], 'a' + i % 26);
	}
	EXPECT_EQ(at, g->body_len);
	expect_log("close");
}
/* Small ones, large ones, empty ones, in the order in which they came. */
TEST_F(stream, pieces_of_every_size)
{
	self->setup.app = PARTS "def each(y) = 300.times { |i| y.call((97 + i % 26).chr * (i * i * "
				"7 % 1500)) }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_sizes));
}

static void script_flush(void)
{
	bool seen = false;

	/* It may be due before the flush: then that has nothing to do. */
	for (int i = 0; i < 50 && !seen; i++) {
		const struct got *g = bed_get("/each");

		EXPECT_STREQ(g->body, "abcd");
		EXPECT_EQ(g->pieces, 4);
		/* An answer without anything. */
		seen = strstr(g->answers, "HEAD|DATA  DATA") != NULL;
	}
	EXPECT_TRUE(seen);
}
TEST_F(stream, flush)
{
	self->setup.lint = false; /* a symbol among the pieces */
	self->setup.app =
		PARTS "def each(y) = ['a', 'b', :__hyperion_flush__, 'c', 'd'].each(&y)\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_flush));
}

/* The client has all that was declared, whatever the body does then. */
static void script_flush_of_the_last(void)
{
	struct asked *a = submit("/sized");
	const struct got *g;

	EXPECT_TRUE(bed_wait_answers(a, 1));
	EXPECT_STREQ(bed_get("/go")->body, "gone");
	g = bed_wait(a);
	EXPECT_STREQ(g->body, "abc");
	EXPECT_EQ(bed_count(g->answers, "HEAD|DATA"), 1);
	EXPECT_EQ(g->content_length, 3);
}
TEST_F(stream, flush_of_all_that_was_declared)
{
	self->setup.lint = false;
	self->setup.app =
		PARTS "$length = 3\n"
		      "def each(y) = (y.call('abc'); y.call(:__hyperion_flush__); $go.pop)\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_flush_of_the_last));
}

static void script_event_stream(void)
{
	struct asked *a = submit("/events");
	const struct got *g;

	EXPECT_TRUE(bed_wait_answers(a, 1));
	EXPECT_STREQ(bed_get("/peek")->body, "");
	EXPECT_STREQ(bed_get("/go")->body, "gone");
	g = bed_wait(a);
	EXPECT_STREQ(g->body, "data: 1\n\ndata: 2\n\n");
	EXPECT_EQ(bed_count(g->answers, "HEAD"), 1);
	expect_log("event close");
}
TEST_F(stream, event_stream_is_open_before_its_first_event)
{
	self->setup.app = PARTS "def each(y) = ($go.pop; $log << 'event'; y.call(\"data: "
				"1\\n\\n\"); y.call(\"data: 2\\n\\n\"))\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_event_stream));
}

static void script_wrong_length(void)
{
	struct asked *a = submit("/sized");

	EXPECT_NOT_NULL(strstr(bed_wait(a)->answers, "ABORT"));
	EXPECT_TRUE(bed_logs("content-length of 10"));
	expect_log("close");
}
TEST_F(stream, longer_than_declared)
{
	self->setup.lint = false;
	self->setup.app = PARTS "$length = 10\ndef each(y) = 100.times { y.call('abc') }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_wrong_length));
}

static void script_each_gone(void)
{
	struct asked *a = submit("/each");

	bed_stall(a);
	EXPECT_TRUE(bed_until("/peek", "full"));
	bed_leave(a);
	bed_resume(a);
	EXPECT_NOT_NULL(strstr(bed_wait(a)->answers, "ABORT"));
	expect_log("full close");
}
/* A client that takes nothing stops the producer; when it goes, the body is closed. */
TEST_F(stream, stops_for_a_client_that_takes_nothing)
{
	self->setup.app =
		PARTS "def each(y)\n"
		      "  Thread.new(Thread.current) { |t| n = 0; loop { sleep 0.05; break if "
		      "t.status == 'sleep' && $n == n && n > 0; n = $n }; $log << 'full' }\n"
		      "  loop { y.call('x' * 10000); $n += 1; break if $n > 100000 }\n"
		      "end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_each_gone));
}

/* --- written --- */

static void script_call(void)
{
	const struct got *g = bed_ask(&(struct request){ .target = "/call",
							 .method = "POST",
							 .headers = { "Host: example.org" },
							 .body = "the request" });

	EXPECT_STREQ(g->body, "abc5the request");
	expect_log("false true close");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(stream, all_that_a_stream_can)
{
	self->setup.app = PARTS "def body(s)\n"
				"  s.write('ab')\n"
				"  s << 'c' << '5'\n"
				"  s.flush\n"
				"  s.write(s.read)\n"
				"  $log << s.closed?\n"
				"  s.close_read\n"
				"  begin; s.read; rescue IOError; $log << 'true'; end\n"
				"  s.close\n"
				"  s.close\n"
				"  raise 'open' unless s.closed?\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_call));
}

static void script_call_later(void)
{
	struct asked *a = submit("/call");
	const struct got *g;

	EXPECT_TRUE(bed_until("/peek", "called"));
	EXPECT_TRUE(bed_wait_answers(a, 1));
	EXPECT_STREQ(bed_get("/go")->body, "gone");
	g = bed_wait(a);
	EXPECT_STREQ(g->body, "firstlate");
	EXPECT_EQ(bed_count(g->answers, "END"), 1);
	EXPECT_TRUE(bed_until("/peek", "called close"));
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(stream, closed_later_by_another_thread)
{
	self->setup.app = PARTS "def body(s)\n"
				"  s << 'first'\n"
				"  Thread.new { $go.pop; s << 'late'; s.close }\n"
				"  $log << 'called'\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_call_later));
}

static void script_never_closed(void)
{
	struct asked *a = submit("/call");
	const struct got *g;

	EXPECT_TRUE(bed_until("/peek", "called"));
	/* The stacks of threads are searched, too: until nothing on them looks like it. */
	for (int i = 0; i < 500 && !bed_wait_answers(a, 1); i++)
		bed_get("/gc");
	for (int i = 0; i < 500; i++) {
		bed_get("/gc");
		if (bed_log()[0])
			break;
	}
	g = bed_wait(a);
	EXPECT_NOT_NULL(strstr(g->answers, "ABORT"));
	EXPECT_STREQ(g->body, "words");
}
TEST_F(stream, never_closed_and_collected)
{
	self->setup.lint = false;
	self->setup.app = PARTS "def body(s)\n"
				"  s << 'words'\n"
				"  $log << 'called'\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_never_closed));
}

static void script_raise(void)
{
	const struct got *g = bed_wait(submit("/call"));

	EXPECT_NOT_NULL(strstr(g->answers, "ABORT"));
	EXPECT_EQ(bed_count(g->answers, "HEAD"), 1);
	EXPECT_TRUE(bed_logs("boom"));
	expect_log("close");
}
TEST_F(stream, raises_before_the_first_write)
{
	self->setup.app = PARTS "def body(s) = raise('boom')\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raise));
}
TEST_F(stream, raises_after_a_write)
{
	self->setup.app = PARTS "def body(s) = (s << 'a'; raise('boom'))\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raise));
}
TEST_F(stream, raises_after_a_flush_and_more)
{
	self->setup.app = PARTS
		"def body(s) = (s << 'a'; s.flush; s << 'b' * 5000; s << 'c'; raise('boom'))\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raise));
}

static void script_raise_after_close(void)
{
	const struct got *g = bed_wait(submit("/call"));

	EXPECT_STREQ(g->body, "a");
	EXPECT_NOT_NULL(strstr(g->answers, "END"));
	EXPECT_NULL(strstr(g->answers, "ABORT"));
	EXPECT_TRUE(bed_until("/peek", "close"));
	EXPECT_TRUE(bed_logs("boom"));
}
TEST_F(stream, raises_after_close)
{
	self->setup.app = PARTS "def body(s) = (s << 'a'; s.close; raise('boom'))\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raise_after_close));
}

static void script_after_close(void)
{
	EXPECT_STREQ(bed_get("/call")->body, "a");
	EXPECT_TRUE(bed_until("/peek", "IOError close IOError IOError"));
	EXPECT_STREQ(bed_log(), "");
}
/* Also from within the close of the body, where the stream's lock is held. */
TEST_F(stream, is_not_written_after_close)
{
	self->setup.app = PARTS "class Body\n"
				"  def close\n"
				"    begin; $s << 'x'; rescue => e; note(e); end\n"
				"    $log << 'close'\n"
				"  end\n"
				"end\n"
				"def body(s)\n"
				"  $s = s\n"
				"  s << 'a'\n"
				"  s.close\n"
				"  begin; s.write('x'); rescue => e; note(e); end\n"
				"  begin; s.flush; rescue => e; note(e); end\n"
				"  $env['rack.early_hints'].call('x' => 'y')\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_after_close));
}

static void script_call_gone(void)
{
	struct asked *a = submit("/call");

	bed_stall(a);
	EXPECT_TRUE(bed_wait_answers(a, 3));
	bed_leave(a);
	bed_resume(a);
	EXPECT_NOT_NULL(strstr(bed_wait(a)->answers, "ABORT"));
	EXPECT_TRUE(bed_until("/peek", "Errno::EPIPE true close"));
}
TEST_F(stream, tells_of_a_client_that_is_gone)
{
	self->setup.app = PARTS "def body(s)\n"
				"  100000.times { s << 'x' * 10000 }\n"
				"rescue => e\n"
				"  note(e)\n"
				"  $log << s.closed?\n"
				"  s.close\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_call_gone));
}

static void script_several(void)
{
	const struct got *g = bed_get("/call");
	char word[32];

	EXPECT_EQ(g->pieces, 1600);
	for (int t = 0; t < 8; t++) {
		const char *at = g->body;

		/* Each whole, and each thread's in its order. */
		for (int i = 0; i < 200 && at && !has_failed(); i++) {
			snprintf(word, sizeof(word), "<%d:%d>", t, i);
			at = strstr(at, word);
			EXPECT_NOT_NULL(at);
		}
	}
	EXPECT_TRUE(bed_until("/peek", "close"));
}
TEST_F(stream, several_threads_write)
{
	self->setup.app = PARTS "def body(s)\n"
				"  8.times.map { |t| Thread.new { 200.times { |i| s << "
				"\"<#{t}:#{i}>\"; Thread.pass if i % 7 == t } } }.each(&:join)\n"
				"  s.close\n"
				"end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_several));
}

static void script_raise_beside(void)
{
	struct asked *a = submit("/call");

	bed_stall(a);
	EXPECT_TRUE(bed_wait_answers(a, UINT32_MAX));
	bed_resume(a);
	EXPECT_TRUE(bed_until("/peek", "close IOError"));
	/* It checks that nothing came behind. */
	EXPECT_NOT_NULL(strstr(bed_wait(a)->answers, "ABORT"));
}
/* Another thread waits for room in the same stream: it must not send behind the abort. */
TEST_F(stream, raises_while_another_thread_writes)
{
	self->setup.app =
		PARTS "def body(s)\n"
		      "  t = Thread.new { begin; loop { s << 'x' * 10000; $n = $n.to_i + 1 }; "
		      "rescue IOError => e; Thread.pass until $log.any?; note(e); end }\n"
		      "  n = nil\n"
		      "  loop { sleep 0.05; break if n && n > 0 && $n == n; n = $n }\n"
		      "  raise 'boom'\n"
		      "end\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raise_beside));
}

static void script_close_raises(void)
{
	EXPECT_STREQ(bed_get("/call")->body, "a");
	EXPECT_TRUE(bed_until("/peek", "close RuntimeError"));
	EXPECT_STREQ(bed_get("/call")->body, "a");
}
TEST_F(stream, close_of_the_body_raises)
{
	self->setup.app =
		PARTS "class Body\n  def close = ($log << 'close'; raise 'boom')\nend\n"
		      "def body(s)\n  s << 'a'\n  s.close\nrescue => e\n  note(e)\nend\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_close_raises));
}

/* --- threads 0 --- */

static void script_inline(void)
{
	const struct got *g = bed_get("/call");

	EXPECT_STREQ(g->body, "done");
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_EQ(g->content_length, 4);
	expect_log("close");
	EXPECT_STREQ(bed_log(), "");
}
TEST(inline_closed_within_the_call)
{
	struct bed_setup setup = { .app = PARTS
				   "def body(s) = (s << 'do'; s.flush; s << 'ne'; s.close)\n" RUN };

	ASSERT_OK(bed_run(&setup, script_inline));
}

static void script_inline_open(void)
{
	EXPECT_STREQ(bed_get("/call")->body, "done");
	EXPECT_EQ(bed_count(bed_log(), "threads 0 needs a stream that is closed when call returns"),
		  1);
	expect_log("close");
}
TEST(inline_left_open)
{
	struct bed_setup setup = { .app = PARTS "def body(s) = s << 'done'\n" RUN };

	ASSERT_OK(bed_run(&setup, script_inline_open));
}

static void script_inline_raises(void)
{
	/* Nothing has left: the client may still hear of it. */
	EXPECT_EQ(bed_get("/call")->status, 500);
	expect_log("close");
}
TEST(inline_raises)
{
	struct bed_setup setup = { .app = PARTS "def body(s) = (s << 'a'; raise 'boom')\n" RUN };

	ASSERT_OK(bed_run(&setup, script_inline_raises));
}

/* --- the GC --- */

static void script_stress(void)
{
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(bed_get("/each")->body_len, 5 * 60);
		EXPECT_EQ(bed_get("/call")->body_len, 5 * 60 + 2000);
		EXPECT_TRUE(bed_until("/log", i ? "close close" : "close close"));
	}
}
TEST(gc_stress)
{
	struct bed_setup setup = { .nr_threads = 2,
				   .app = PARTS
				   "def each(y) = 5.times { |i| y.call(i.to_s * 60) }\n"
				   "def body(s)\n"
				   "  each(s.method(:write))\n"
				   "  t = Thread.new { s << 'y' * 2000; s.close }\n"
				   "  t.join\n"
				   "end\n"
				   "GC.stress = true\n" RUN };

	ASSERT_OK(bed_run(&setup, script_stress));
}
