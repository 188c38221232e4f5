/* SPDX-License-Identifier: MIT */
/*
 * Whatever an app does wrong becomes a 500 (or cuts the answer), one entry in
 * the log, and a body that is closed once; nothing dangerous leaves.
 */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START                                                                                      \
	"$closed = 0\n"                                                                            \
	"class Each\n"                                                                             \
	"  def initialize(*pieces) = @pieces = pieces\n"                                           \
	"  def each = @pieces.each { |p| p.is_a?(Exception) ? raise(p) : yield(p) }\n"             \
	"  def close = $closed += 1\n"                                                             \
	"end\n"                                                                                    \
	"module Deep; def self.call = call; end\n"                                                 \
	"run ->(env) {\n"                                                                          \
	"  case env['PATH_INFO']\n"
#define END                                                                                        \
	"  when '/closed' then [200, {}, [$closed.to_s]]\n"                                        \
	"  else [200, {}, ['fine']]\n"                                                             \
	"  end\n"                                                                                  \
	"}\n"

FIXTURE(failure)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(failure)
{
	u32 nr_threads;
};
VARIANT(failure, inline) = { 0 };
/* One, so that a request begins when the one before is over, close included. */
VARIANT(failure, thread) = { 1 };
static bool is_inline;
FIXTURE_SETUP(failure)
{
	self->setup.nr_threads = variant->nr_threads;
	is_inline = !variant->nr_threads;
}
FIXTURE_TEARDOWN(failure)
{
}

/* The next request is fine; there is one entry, which has this in its first line. */
static void expect_entry(const char *first_line)
{
	const char *log;
	char *line;

	EXPECT_STREQ(bed_get("/fine")->body, "fine");
	log = bed_log();
	line = strndup(log, strcspn(log, "\n"));
	EXPECT_EQ(bed_count(log, "error: ruby: "), 1);
	EXPECT_EQ(bed_count(line, first_line), 1);
	free(line);
}

static void expect_500(const char *target, const char *first_line)
{
	const struct got *g = bed_get(target);

	EXPECT_EQ(g->status, 500);
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_STREQ(g->head, "content-type: text/plain\r\n");
	EXPECT_STREQ(g->body, "Internal Server Error");
	EXPECT_EQ(g->content_length, 21);
	expect_entry(first_line);
}

/* --- exceptions --- */

static void script_raise(void)
{
	const struct got *g;
	const char *log;

	g = bed_ask(&(struct request){ .method = "POST", .target = "/raise?secret" });
	EXPECT_EQ(g->status, 500);
	log = bed_log();
	EXPECT_EQ(bed_count(log, "error: ruby: RuntimeError: boom method=POST path=/raise\n\t"), 1);
	EXPECT_EQ(bed_count(log, "error"), 1);
	EXPECT_EQ(bed_count(log, "config.ru:10:in `block"), 1);
	EXPECT_EQ(bed_count(log, "secret"), 0);
	g = bed_ask(&(struct request){ .method = "HEAD", .target = "/raise" });
	EXPECT_EQ(g->status, 500);
	EXPECT_STREQ(g->answers, "HEAD|END");
	bed_log();
	expect_500("/script", "NotImplementedError: not here method=GET path=/script");
	expect_500("/memory", "NoMemoryError: failed to allocate method=GET path=/memory");
	expect_500("/stack", "SystemStackError: stack level too deep method=GET path=/stack");
	expect_500("/exit", "SystemExit: exit method=GET path=/exit");
	expect_500("/abort", "SystemExit: given up method=GET path=/abort");
	expect_500("/throw", "UncaughtThrowError: uncaught throw :x method=GET path=/throw");
	expect_500("/interrupt", "Interrupt: stop method=GET path=/interrupt");
	expect_500("/own", "Own:  method=GET path=/own");
}
TEST_F(failure, exceptions)
{
	self->setup.app = START "  when '/raise' then raise 'boom'\n"
				"  when '/script' then raise NotImplementedError, 'not here'\n"
				"  when '/memory' then raise NoMemoryError, 'failed to allocate'\n"
				"  when '/stack' then Deep.call\n"
				"  when '/exit' then exit 3\n"
				"  when '/abort' then $stderr = StringIO.new; begin; abort 'given "
				"up'; ensure; $stderr = STDERR; end\n"
				"  when '/throw' then throw :x\n"
				"  when '/interrupt' then raise Interrupt, 'stop'\n"
				"  when '/own' then raise Own\n" END
				"class Own < Exception; def message = ''; end\n";
	ASSERT_OK(bed_run(&self->setup, script_raise));
}

static void script_odd_errors(void)
{
	const char *log;

	/* Neither the app nor the client makes up lines of the log. */
	EXPECT_EQ(bed_get("/forged\x7f")->status, 500);
	log = bed_log();
	EXPECT_EQ(bed_count(log,
			    "RuntimeError: a\\x0a[1] error: b\\x1b method=GET path=/forged\\x7f\n"),
		  1);
	EXPECT_EQ(bed_get("/message")->status, 500);
	EXPECT_EQ(bed_count(bed_log(), "Bad: (its message cannot be had) method=GET path=/message"),
		  1);
	EXPECT_EQ(bed_get("/cause")->status, 500);
	log = bed_log();
	EXPECT_EQ(bed_count(log, "RuntimeError: second method"), 1);
	EXPECT_EQ(bed_count(log, "\ncaused by KeyError: first\n\t"), 1);
	EXPECT_EQ(bed_get("/long")->status, 500);
	log = bed_log();
	EXPECT_LT(strlen(log), 70u * 1024);
	EXPECT_EQ(log[strlen(log) - 1], '\n');
}
TEST_F(failure, what_exceptions_say)
{
	self->setup.app = START "  when /forged/ then raise \"a\\n[1] error: b\\e\"\n"
				"  when '/message' then raise Bad\n"
				"  when '/cause' then begin; raise KeyError, 'first'; rescue "
				"KeyError; raise 'second'; end\n"
				"  when '/long' then e = RuntimeError.new('m' * 1_000_000); "
				"e.set_backtrace(['l' * 1000] * 10_000); raise e\n" END
				"class Bad < StandardError\n"
				"  def message = raise('no')\n"
				"  def backtrace = raise('no')\n"
				"end\n";
	ASSERT_OK(bed_run(&self->setup, script_odd_errors));
}

/* --- answers that are none --- */

static void script_shapes(void)
{
	expect_500("/nil",
		   "Hyperion::ResponseError: the app's answer is not [status, headers, body]");
	expect_500("/two", "the app's answer is not [status, headers, body]");
	expect_500("/status", "status 42 is not within 100..599");
	expect_500("/status2", "status nil is not within 100..599");
	expect_500("/status3", "is not within 100..599");
	expect_500("/headers", "headers that are NilClass have no each");
	expect_500("/body", "a body that is Integer has neither each nor call");
	expect_500("/piece", "body gives Integer instead of String");
	expect_500("/yield", "body gives Symbol instead of String");
	expect_500("/to_ary", "to_ary of the body gives Integer");
	expect_500("/to_path", "RuntimeError: no path");
}
TEST_F(failure, shapes)
{
	self->setup.app =
		START "  when '/nil' then nil\n"
		      "  when '/two' then [200, {}]\n"
		      "  when '/status' then [42, {}, []]\n"
		      "  when '/status2' then [nil, {}, []]\n"
		      "  when '/status3' then [2**70, {}, []]\n"
		      "  when '/headers' then [200, nil, []]\n"
		      "  when '/body' then [200, {}, 5]\n"
		      "  when '/piece' then [200, {}, ['a', 5]]\n"
		      "  when '/yield' then [200, {}, Each.new(:x)]\n"
		      "  when '/to_ary' then b = Object.new; def b.to_ary = 5; [200, {}, b]\n"
		      "  when '/to_path' then b = Object.new; def b.to_path = raise('no path'); "
		      "[200, {}, b]\n" END;
	ASSERT_OK(bed_run(&self->setup, script_shapes));
}

/* Every byte in a name and in a value: either it leaves as it is, or the answer is a 500. */
static void script_bytes(void)
{
	char target[32], want[32];
	const struct got *g;

	for (u32 c = 0; c < 256; c++) {
		bool bad = c == '\r' || c == '\n' || c == 0;
		bool token = c && strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
					 (int)c);

		snprintf(target, sizeof(target), "/value?%u", c);
		g = bed_get(target);
		EXPECT_EQ(g->status, bad ? 500 : 200);
		snprintf(want, sizeof(want), "x: a%cb\r\n", (int)c);
		EXPECT_STREQ(g->head, bad ? "content-type: text/plain\r\n" : want);
		EXPECT_EQ(bed_count(bed_log(), "header \"x\" has CR, LF or NUL"), bad);
		snprintf(target, sizeof(target), "/name?%u", c);
		g = bed_get(target);
		EXPECT_EQ(g->status, token ? 200 : 500);
		snprintf(want, sizeof(want), "a%cb: v\r\n", (int)c);
		EXPECT_STREQ(g->head, token ? want : "content-type: text/plain\r\n");
		EXPECT_EQ(bed_count(bed_log(), "is not a token"), !token);
	}
}
TEST_F(failure, every_byte_in_a_header)
{
	self->setup.app = START
		"  when '/value' then [200, { 'x' => \"a#{env['QUERY_STRING'].to_i.chr}b\" }, []]\n"
		"  when '/name' then [200, { \"a#{env['QUERY_STRING'].to_i.chr}b\" => 'v' }, "
		"[]]\n" END;
	ASSERT_OK(bed_run(&self->setup, script_bytes));
}

static void script_headers(void)
{
	expect_500("/empty", "header name \"\" is not a token");
	expect_500("/list", "header \"x\" has CR, LF or NUL");
	expect_500("/date", "header \"date\" has CR, LF or NUL");
	/* The lines before the bad one are forgotten. */
	expect_500("/last", "header \"z\" has CR, LF or NUL");
	expect_500("/large", "header \"z\" has CR, LF or NUL");
	/* Nothing of these leaves, so they do no harm. */
	EXPECT_EQ(bed_get("/dropped")->status, 200);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(failure, headers)
{
	self->setup.app = START
		"  when '/empty' then [200, { '' => 'v' }, []]\n"
		"  when '/list' then [200, { 'x' => ['a', \"b\\r\\nset-cookie: c\"] }, []]\n"
		"  when '/date' then [200, { 'date' => \"x\\ny\" }, []]\n"
		"  when '/last' then [201, { 'date' => 'd', 'x' => 'y', 'z' => \"\\0\" }, ['b']]\n"
		"  when '/large' then [201, { 'x' => 'y' * 9999, 'z' => \"\\n\" }, ['b']]\n"
		"  when '/dropped' then [200, { 'connection' => \"\\r\\n\", 'rack.x' => 5 }, "
		"[]]\n" END;
	ASSERT_OK(bed_run(&self->setup, script_headers));
}

/* --- bodies that fail --- */

static void expect_closed(const char *nr)
{
	EXPECT_STREQ(bed_get("/closed")->body, nr);
}

static void script_bodies(void)
{
	const struct got *g;

	expect_500("/first", "RuntimeError: each method=GET path=/first");
	expect_closed("1");
	g = bed_get("/second");
	EXPECT_STREQ(g->answers, is_inline ? "HEAD|DATA|END" : "HEAD|DATA ABORT");
	EXPECT_EQ(g->status, is_inline ? 500 : 200);
	expect_entry("RuntimeError: each method=GET path=/second");
	expect_closed("2");
	/* The answer has gone before close is called. */
	g = bed_get("/close");
	EXPECT_EQ(g->status, 200);
	EXPECT_STREQ(g->body, "body");
	expect_entry("RuntimeError: close method=GET path=/close");
	/* Both fail: each in its own entry. */
	g = bed_get("/both");
	EXPECT_EQ(g->status, 500);
	EXPECT_STREQ(bed_get("/fine")->body, "fine");
	EXPECT_EQ(bed_count(bed_log(), "error: ruby: RuntimeError"), 2);
	expect_500("/header", "header \"x\" has CR, LF or NUL");
	expect_closed("3");
}
TEST_F(failure, bodies)
{
	self->setup.app =
		START "  when '/first' then [200, {}, Each.new(RuntimeError.new('each'))]\n"
		      "  when '/second' then [200, {}, Each.new('a', RuntimeError.new('each'))]\n"
		      "  when '/close' then b = Each.new('body'); def b.close = raise('close'); "
		      "[200, { 'content-length' => '4' }, b]\n"
		      "  when '/both' then b = Each.new(RuntimeError.new('each')); def b.close = "
		      "raise('close'); [200, {}, b]\n"
		      "  when '/header' then [200, { 'x' => \"\\r\" }, Each.new('b')]\n" END;
	ASSERT_OK(bed_run(&self->setup, script_bodies));
}
