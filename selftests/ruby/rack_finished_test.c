/* SPDX-License-Identifier: MIT */
/* rack.response_finished: who is told what, when, how often. */
#include "selftests/ruby/rack_bed.h"

#include <string.h>
#include <unistd.h>

/*
 * GET /log says what was noted since the last time. A callable notes its name, path, status, the
 * kind of headers, and the error.
 */
#define PARTS                                                                                      \
	"$log = []\n"                                                                              \
	"$go = Queue.new\n"                                                                        \
	"TEXT = { 'content-type' => 'text/plain' }.freeze\n"                                       \
	"class Body\n"                                                                             \
	"  def initialize(wait = false, &block) = (@wait, @block = wait, block)\n"                 \
	"  def close = ($go.pop if @wait; $log << 'close')\n"                                      \
	"end\n"                                                                                    \
	"class Each < Body\n"                                                                      \
	"  def each(&block) = @block.call(block)\n"                                                \
	"end\n"                                                                                    \
	"class Call < Body\n"                                                                      \
	"  def call(stream) = @block.call(stream)\n"                                               \
	"end\n"                                                                                    \
	"def told(name) = ->(env, status, headers, error) {\n"                                     \
	"  $log << [name, env['PATH_INFO'], status.inspect, headers.class, "                       \
	"error.class].join(':') }\n"                                                               \
	"$parts = {\n"                                                                             \
	"  '/log' => ->(e, f) { [200, TEXT.dup, [$log.slice!(0..).join(' ')]] },\n"                \
	"  '/peek' => ->(e, f) { [200, TEXT.dup, [$log.join(' ')]] },\n"                           \
	"  '/go' => ->(e, f) { $go << 1; [200, TEXT.dup, ['gone']] },\n"                           \
	"  '/gc' => ->(e, f) { GC.start; [200, TEXT.dup, ['collected']] },\n"                      \
	"}\n"
#define RUN "run ->(env) { $parts[env['PATH_INFO']].call(env, env['rack.response_finished']) }\n"

FIXTURE(finished)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(finished)
{
	u32 nr_threads;
	bool lint;
};
VARIANT(finished, threads) = { 4, false };
VARIANT(finished, lint) = { 4, true };
VARIANT(finished, inline) = { 0, false };
static bool is_inline;
FIXTURE_SETUP(finished)
{
	self->setup.nr_threads = variant->nr_threads;
	self->setup.lint = variant->lint;
	is_inline = !variant->nr_threads;
}
FIXTURE_TEARDOWN(finished)
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

/* The answer to @target is complete; nobody has heard of it before it has left. */
static struct asked *answered(const char *target)
{
	struct asked *a = submit(target);

	bed_wait(a);
	return a;
}

static void script_sent(void)
{
	EXPECT_TRUE(bed_tell_sent(answered("/array"), true));
	/* The last one first. */
	expect_log(
		"c:/array:201:Hash:NilClass b:/array:201:Hash:NilClass a:/array:201:Hash:NilClass");
	/* Nobody has asked. */
	EXPECT_FALSE(bed_tell_sent(answered("/peek"), true));
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(finished, sent)
{
	self->setup.app =
		PARTS "$parts['/array'] = ->(e, f) { f << told('a') << told('b') << told('c')\n"
		      "  [201, TEXT.dup, ['x']] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_sent));
}

static void script_cut(void)
{
	EXPECT_TRUE(bed_tell_sent(answered("/array"), false));
	expect_log("a:/array:200:Hash:Hyperion::ClientGone");
}
TEST_F(finished, client_gone)
{
	self->setup.app = PARTS
		"$parts['/array'] = ->(e, f) { f << told('a'); [200, TEXT.dup, ['x']] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_cut));
}

static void script_raised(void)
{
	struct asked *a = answered("/raise");

	EXPECT_TRUE(bed_tell_sent(a, true));
	expect_log("a:/raise:500:NilClass:KeyError");
	a = answered("/bad");
	EXPECT_TRUE(bed_tell_sent(a, true));
	expect_log("a:/bad:500:Hash:Hyperion::ResponseError");
	bed_log();
}
TEST_F(finished, the_app_raised)
{
	self->setup.lint = false;
	self->setup.app = PARTS
		"$parts['/raise'] = ->(e, f) { f << told('a'); raise KeyError }\n"
		"$parts['/bad'] = ->(e, f) { f << told('a'); [200, { 'a b' => 'c' }, []] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raised));
}

static void script_callable_raises(void)
{
	EXPECT_TRUE(bed_tell_sent(answered("/array"), true));
	expect_log("c:/array:200:Hash:NilClass a:/array:200:Hash:NilClass");
	EXPECT_TRUE(bed_logs("RuntimeError: boom method=GET path=/array"));
	EXPECT_EQ(bed_get("/peek")->status, 200);
}
TEST_F(finished, one_that_raises_keeps_no_other_from_it)
{
	self->setup.app = PARTS "$parts['/array'] = ->(e, f) { f << told('a') << ->(*) { raise "
				"'boom' } << told('c')\n"
				"  [200, TEXT.dup, ['x']] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_callable_raises));
}

static void script_each(void)
{
	EXPECT_TRUE(bed_tell_sent(answered("/each"), true));
	expect_log("close a:/each:200:Hash:NilClass");
	EXPECT_TRUE(bed_tell_sent(answered("/each_raises"), false));
	expect_log(is_inline ? "close a:/each_raises:500:Hash:KeyError"
			     : "close a:/each_raises:200:Hash:KeyError");
	EXPECT_TRUE(bed_tell_sent(answered("/call"), true));
	expect_log("close a:/call:200:Hash:NilClass");
	EXPECT_TRUE(bed_tell_sent(answered("/call_raises"), false));
	expect_log(is_inline ? "close a:/call_raises:500:Hash:KeyError"
			     : "close a:/call_raises:200:Hash:KeyError");
	bed_log();
}
TEST_F(finished, after_the_close_of_every_body)
{
	self->setup.app = PARTS "$parts['/each'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Each.new { |y| y.('x'); y.('y') }] }\n"
				"$parts['/each_raises'] = ->(e, f) { f << told('a'); [200, "
				"TEXT.dup, Each.new { |y| y.('x'); raise KeyError }] }\n"
				"$parts['/call'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Call.new { |s| s << 'x'; s.close }] }\n"
				"$parts['/call_raises'] = ->(e, f) { f << told('a'); [200, "
				"TEXT.dup, Call.new { |s| s << 'x'; raise KeyError }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_each));
}

static void tell_while_it_closes(const char *target, const char *told)
{
	struct asked *a = answered(target);

	EXPECT_TRUE(bed_tell_sent(a, true));
	expect_log("");
	EXPECT_STREQ(bed_get("/go")->body, "gone");
	EXPECT_TRUE(bed_until("/peek", told));
	bed_get("/log");
}

static void script_close_takes_time(void)
{
	tell_while_it_closes("/each", "close a:/each:200:Hash:NilClass");
	tell_while_it_closes("/call", "close a:/call:200:Hash:NilClass");
	tell_while_it_closes("/later", "close a:/later:200:Hash:NilClass");
}
/* The last byte has left before the body is closed: who asked is told after both. */
TEST_F(finished, not_before_close)
{
	if (is_inline)
		return; /* there the close comes first in any case */
	self->setup.app = PARTS "$parts['/each'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Each.new(true) { |y| y.('x') }] }\n"
				"$parts['/call'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Call.new(true) { |s| s << 'x'; s.close }] }\n"
				"$parts['/later'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Call.new(true) { |s| Thread.new { s << 'x'; s.close } }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_close_takes_time));
}

static void script_close_raises(void)
{
	EXPECT_TRUE(bed_tell_sent(answered("/each"), true));
	EXPECT_TRUE(bed_until("/peek", "a:/each:200:Hash:NilClass"));
	expect_log("a:/each:200:Hash:NilClass");
	EXPECT_TRUE(bed_tell_sent(answered("/call"), true));
	EXPECT_TRUE(bed_until("/peek", "a:/call:200:Hash:NilClass"));
	expect_log("a:/call:200:Hash:NilClass");
	EXPECT_TRUE(bed_logs("path=/call"));
}
TEST_F(finished, close_raises)
{
	self->setup.app = PARTS "class Body; def close = raise(KeyError); end\n"
				"$parts['/each'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Each.new { |y| y.('x') }] }\n"
				"$parts['/call'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Call.new { |s| s << 'x'; s.close }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_close_raises));
}

static void script_hijacked(void)
{
	struct asked *a = submit("/hijack");
	int fd = bed_wait(a)->hijack_fd;

	EXPECT_TRUE(bed_tell_sent(a, true));
	expect_log("close a:/hijack:nil:NilClass:NilClass");
	close(fd);
}
TEST_F(finished, hijacked)
{
	if (is_inline)
		return; /* nothing can be taken there */
	self->setup.app =
		PARTS "$parts['/hijack'] = ->(e, f) { f << told('a'); e['rack.hijack'].call.close; "
		      "[200, TEXT.dup, Each.new { }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_hijacked));
}

static void script_dropped(void)
{
	struct asked *a = submit("/call");

	EXPECT_TRUE(bed_until("/peek", "called"));
	for (int i = 0; i < 500; i++) {
		bed_get("/gc");
		if (bed_log()[0])
			break;
	}
	bed_wait(a);
	/* Nobody can close the body any more: who asked is told all the same, and once. */
	EXPECT_TRUE(bed_tell_sent(a, false));
	expect_log("called a:/call:200:Hash:Hyperion::ClientGone");
}
TEST_F(finished, dropped_without_close)
{
	if (is_inline)
		return; /* a stream that is left open is closed there */
	self->setup.lint = false;
	self->setup.app = PARTS "$parts['/call'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
				"Call.new { |s| s << 'x'; $log << 'called' }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_dropped));
}

static void script_many(void)
{
	for (int i = 0; i < 300 && !has_failed(); i++) {
		struct asked *a = submit("/array"), *b = submit("/array");

		bed_wait(b);
		EXPECT_TRUE(bed_tell_sent(b, i % 2));
		bed_wait(a);
		EXPECT_TRUE(bed_tell_sent(a, i % 3));
	}
	EXPECT_STREQ(bed_get("/count")->body, "600");
}
TEST_F(finished, each_once)
{
	self->setup.app = PARTS "$n = 0\n$lock = Mutex.new\n"
				"$parts['/count'] = ->(e, f) { [200, TEXT.dup, [$n.to_s]] }\n"
				"$parts['/array'] = ->(e, f) { f << ->(*) { $lock.synchronize { $n "
				"+= 1 } }; [200, TEXT.dup, ['x']] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_many));
}

TEST(gc_stress)
{
	struct bed_setup setup = { .nr_threads = 2 };

	setup.app = PARTS "$parts['/each'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
			  "Each.new { |y| y.('x'); y.('y') }] }\n"
			  "$parts['/each_raises'] = ->(e, f) { f << told('a'); [200, "
			  "TEXT.dup, Each.new { |y| y.('x'); raise KeyError }] }\n"
			  "$parts['/call'] = ->(e, f) { f << told('a'); [200, TEXT.dup, "
			  "Call.new { |s| s << 'x'; s.close }] }\n"
			  "$parts['/call_raises'] = ->(e, f) { f << told('a'); [200, "
			  "TEXT.dup, Call.new { |s| s << 'x'; raise KeyError }] }\n"
			  "GC.stress = true\n" RUN;
	time_limit(60);
	ASSERT_OK(bed_run(&setup, script_each));
}
