/* SPDX-License-Identifier: MIT */
/* Hyperion::Runtime: who is told of a request, what of it, and what it costs when nobody is. */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FIXTURE(runtime)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(runtime)
{
	u32 nr_threads;
};
VARIANT(runtime, inline) = { 0 };
/* One, so that a request begins when the one before is over, observers included. */
VARIANT(runtime, thread) = { 1 };
static bool is_inline;
FIXTURE_SETUP(runtime)
{
	self->setup.nr_threads = variant->nr_threads;
	is_inline = !variant->nr_threads;
}
FIXTURE_TEARDOWN(runtime)
{
}

/* What was noted by observers since the last look; that request itself is not noted. */
#define NOTES                                                                                      \
	"$notes = []\n"                                                                            \
	"RT = Hyperion::Runtime.default\n"                                                         \
	"$note = ->(env, text) { env['PATH_INFO'] == '/notes' || $notes << text }\n"               \
	"NOTED = ->(env) { text = $notes.join(' '); $notes.clear; [200, {}, [text]] }\n"
#define NOTES_OR "  next NOTED.call(env) if env['PATH_INFO'] == '/notes'\n"

static const char *notes(void)
{
	return bed_get("/notes")->body;
}

static void script_order(void)
{
	EXPECT_STREQ(bed_get("/a?x=1")->body, "app true");
	EXPECT_STREQ(notes(), "start1 start2 app each close end1:200 end2:true");
	EXPECT_STREQ(bed_get("/b")->body, "app true");
	EXPECT_STREQ(notes(), "start1 start2 app each close end1:200 end2:true");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(runtime, in_the_order_of_their_registration)
{
	self->setup.app = NOTES
		"RT.on_request_start { |rq, env| env['test.rq'] = rq; $note.(env, 'start1') }\n"
		"RT.on_request_start { |rq, env| $note.(env, 'start2') }\n"
		"RT.on_request_end { |rq, env, resp, err| $note.(env, \"end1:#{resp[0]}\") }\n"
		"RT.on_request_end { |rq, env, resp, err|\n"
		"  $note.(env, \"end2:#{rq.equal?(env['test.rq']) && err.nil?}\") }\n"
		"class Body\n"
		"  def initialize(env) = @env = env\n"
		"  def each = ($note.(@env, 'each'); yield \"app #{@env.key?('test.rq')}\")\n"
		"  def close = $note.(@env, 'close')\n"
		"end\n"
		"run ->(env) {\n" NOTES_OR "  $note.(env, 'app')\n"
		"  [200, {}, Body.new(env)]\n"
		"}\n";
	ASSERT_OK(bed_run(&self->setup, script_order));
}

static void script_errors(void)
{
	EXPECT_EQ(bed_get("/raise")->status, 500);
	EXPECT_STREQ(notes(), "nil/KeyError:gone");
	EXPECT_EQ(bed_get("/body")->status, is_inline ? 500 : 201);
	EXPECT_STREQ(notes(), "201/RuntimeError:torn");
	EXPECT_EQ(bed_get("/close")->status, 200);
	EXPECT_STREQ(notes(), "200/RuntimeError:stuck");
	EXPECT_EQ(bed_get("/odd")->status, 500);
	EXPECT_STREQ(notes(),
		     "nil/Hyperion::ResponseError:the app's answer is not [status, headers, body]");
	EXPECT_EQ(bed_get("/exit")->status, 500);
	EXPECT_STREQ(notes(), "nil/SystemExit:exit");
	EXPECT_EQ(bed_get("/fine")->status, 200);
	EXPECT_STREQ(notes(), "200/nil");
	bed_log();
}
TEST_F(runtime, what_went_wrong)
{
	self->setup.app = NOTES "RT.on_request_end { |rq, env, resp, err|\n"
				"  $note.(env, \"#{resp ? resp[0] : 'nil'}/#{err ? "
				"\"#{err.class}:#{err.message}\" : 'nil'}\") }\n"
				"class Torn\n"
				"  def each = (yield 'x' * 300_000; raise 'torn')\n"
				"end\n"
				"class Stuck\n"
				"  def each = yield('x')\n"
				"  def close = raise('stuck')\n"
				"end\n"
				"run ->(env) {\n" NOTES_OR "  case env['PATH_INFO']\n"
				"  when '/raise' then raise KeyError, 'gone'\n"
				"  when '/body' then [201, {}, Torn.new]\n"
				"  when '/close' then [200, {}, Stuck.new]\n"
				"  when '/odd' then 5\n"
				"  when '/exit' then exit\n"
				"  else [200, {}, []]\n"
				"  end\n"
				"}\n";
	ASSERT_OK(bed_run(&self->setup, script_errors));
}

static void script_raising(void)
{
	const char *log;

	for (int i = 0; i < 3; i++)
		EXPECT_STREQ(bed_get("/a")->body, "fine");
	EXPECT_STREQ(notes(), "good1 good2 good1 good2 good1 good2");
	log = bed_log();
	/* In one second, or on the edge of two. */
	EXPECT_GE(bed_count(log, "error: app: an observer of on_request_start raised "
				 "RuntimeError: bad\\x0a one observer="),
		  1);
	EXPECT_LE(bed_count(log, "an observer of on_request_start raised RuntimeError"), 2);
	EXPECT_GE(bed_count(log, "an observer of on_request_start raised SystemExit: exit"), 1);
	EXPECT_GE(bed_count(log, "an observer of on_request_end raised NotImplementedError: no"), 1);
	EXPECT_GE(bed_count(log, "config.ru:5 at="), 1);
	EXPECT_LE(bed_count(log, "\n"), 6);
}
TEST_F(runtime, observers_that_raise)
{
	self->setup.app = NOTES "RT.on_request_start { raise \"bad\\n one\" }\n"
				"RT.on_request_start { exit }\n"
				"RT.on_request_start { |rq, env| $note.(env, 'good1') }\n"
				"RT.on_request_end { raise NotImplementedError, 'no' }\n"
				"RT.on_request_end { |rq, env, _, _| $note.(env, 'good2') }\n"
				"run ->(env) {\n" NOTES_OR "  [200, {}, ['fine']] }\n";
	ASSERT_OK(bed_run(&self->setup, script_raising));
}

static void script_limited(void)
{
	u32 nr = 0;
	const char *log;

	/* A clock that the app moves: two in one second, the next in another. */
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(bed_get("/a")->status, 200);
	log = bed_log();
	nr = bed_count(log, "raised RuntimeError: again");
	EXPECT_EQ(nr, 2);
	EXPECT_EQ(bed_count(log, " suppressed=2\n"), 1);
}
TEST_F(runtime, one_line_in_a_second)
{
	/* The first three requests are in second 0, the others in second 1. */
	self->setup.app = "$asked = 0\n"
			  "module Slow\n"
			  "  def clock_gettime(id, unit = nil)\n"
			  "    unit == :second ? (($asked += 1) - 1) / 3 : super\n"
			  "  end\n"
			  "end\n"
			  "Process.singleton_class.prepend(Slow)\n"
			  "Hyperion::Runtime.default.on_request_start { raise 'again' }\n"
			  "run ->(env) { [200, {}, []] }\n";
	ASSERT_OK(bed_run(&self->setup, script_limited));
}

static void script_request(void)
{
	struct request rq = {
		.method = "POST",
		.target = "/p%20q?a=1&b",
		.headers = { "Host: example.org", "X-Thing: one", "X-Thing: two",
			     "Content-Type: text/x", "Content-Length: 4" },
		.body = "b\xff\ncd",
		.peer = "192.0.2.7",
	};

	for (int in_file = 0; in_file < 2; in_file++) {
		rq.in_file = in_file;
		EXPECT_STREQ(bed_ask(&rq)->body, "b\xff\ncd");
		EXPECT_STREQ(notes(), "[\"POST\", \"/p%20q\", \"a=1&b\", \"HTTP/1.1\", "
				      "\"192.0.2.7\", \"one, two\", "
				      "\"one, two\", nil, \"text/x\", true, [\"content-length\", "
				      "\"content-type\", "
				      "\"host\", \"x-thing\"], \"b\\xFF\\ncd\"]");
	}
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(runtime, the_request)
{
	self->setup.app =
		NOTES "RT.on_request_start { |rq, env| rq.body; env['test.keep'] = rq }\n"
		      "RT.on_request_end { |rq, env, _, _|\n"
		      "  $note.(env, [rq.method, rq.path, rq.query_string, rq.http_version, "
		      "rq.peer_address,\n"
		      "       rq.header('x-thing'), rq.header('X-Thing'), rq.header('nope'), "
		      "rq.header('content-type'),\n"
		      "       rq.headers.frozen?, rq.headers.keys.sort, rq.body].inspect) }\n"
		      "run ->(env) {\n" NOTES_OR "  env['PATH_INFO'].replace('/changed')\n"
		      "  [200, {}, [env['rack.input'].read]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_request));
}

static void script_cost(void)
{
	char before[32], with[32];

	/* The first ones fill caches. */
	for (int i = 0; i < 4; i++)
		bed_ask(&(struct request){ .conn = 1 });
	snprintf(before, sizeof(before), "%s", bed_ask(&(struct request){ .conn = 1 })->body);
	EXPECT_STREQ(bed_ask(&(struct request){ .conn = 1 })->body, before);
	EXPECT_LE(atoi(before), 10);
	/* With one more is paid, or this would prove nothing; without it, nothing again. */
	EXPECT_EQ(bed_ask(&(struct request){ .target = "/add", .conn = 1 })->status, 200);
	bed_ask(&(struct request){ .conn = 1 });
	snprintf(with, sizeof(with), "%s", bed_ask(&(struct request){ .conn = 1 })->body);
	EXPECT_GT(atoi(with), atoi(before));
	EXPECT_EQ(bed_ask(&(struct request){ .target = "/reset", .conn = 1 })->status, 200);
	bed_ask(&(struct request){ .conn = 1 });
	EXPECT_STREQ(bed_ask(&(struct request){ .conn = 1 })->body, before);
}
TEST_F(runtime, nothing_is_paid_when_nobody_listens)
{
	/* Objects made since the last request was at the same place. */
	self->setup.app = "$last = 0\n"
			  "run ->(env) {\n"
			  "  case env['PATH_INFO']\n"
			  "  when '/add' then Hyperion::Runtime.default.on_request_end { }\n"
			  "  when '/reset' then Hyperion::Runtime.reset_default!\n"
			  "  end\n"
			  "  now = GC.stat(:total_allocated_objects)\n"
			  "  since, $last = now - $last, now\n"
			  "  [200, {}, [since.to_s]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_cost));
}

static void script_others(void)
{
	EXPECT_EQ(bed_get("/a")->status, 200);
	EXPECT_STREQ(notes(), "default");
	EXPECT_EQ(bed_get("/other")->status, 200);
	EXPECT_STREQ(notes(), "default"); /* who saw the start of it */
	EXPECT_EQ(bed_get("/a")->status, 200);
	EXPECT_STREQ(notes(), "other");
	EXPECT_STREQ(bed_get("/fire")->body, "own:x/nil own:x/done");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(runtime, only_the_default_one_is_the_servers)
{
	self->setup.app =
		NOTES "OTHER = Hyperion::Runtime.new\n"
		      "OWN = Hyperion::Runtime.new\n"
		      "RT.on_request_start { |rq, env| $note.(env, 'default') }\n"
		      "OTHER.on_request_start { |rq, env| $note.(env, 'other') }\n"
		      "OWN.on_request_start { |rq, env| $notes << \"own:#{rq}/#{env.inspect}\" }\n"
		      "OWN.on_request_end { |rq, _, resp, _| $notes << \"own:#{rq}/#{resp}\" }\n"
		      "run ->(env) {\n" NOTES_OR "  case env['PATH_INFO']\n"
		      "  when '/other' then Hyperion::Runtime.default = OTHER\n"
		      "  when '/fire'\n"
		      "    $notes.clear\n"
		      "    OWN.fire_request_start('x', nil)\n"
		      "    OWN.fire_request_end('x', nil, 'done', nil)\n"
		      "    return NOTED.call(env)\n"
		      "  end\n"
		      "  [200, {}, []] }\n";
	ASSERT_OK(bed_run(&self->setup, script_others));
}

static void script_log(void)
{
	const char *log;

	EXPECT_STREQ(bed_get("/")->body,
		     "0.1.0 info true false debug info warn error"
		     " {:a=>4, :b=>-1, :t=>{:count=>2, :sum=>5.0, :min=>2, :max=>3.0}}");
	log = bed_log();
	EXPECT_EQ(bed_count(log, "] info: app: plain\\x0asecond\n"), 1);
	EXPECT_EQ(bed_count(log, "] warn: app: started port=1 name=\"a b\" empty=\"\" "
				 "why=\"KeyError: x\"\n"),
		  1);
	EXPECT_EQ(bed_count(log, "] error: app: from a block\n"), 1);
	EXPECT_EQ(bed_count(log, "] error: app: key=[1]\n"), 1);
	EXPECT_EQ(bed_count(log, "\n"), 5);
	EXPECT_EQ(bed_count(log, "xxxxxxxxxx\n"), 1);
}
TEST_F(runtime, log_and_numbers)
{
	self->setup.app = "run ->(env) {\n"
			  "  log = Hyperion.logger\n"
			  "  log.debug { raise 'not called' }\n"
			  "  log.debug('not written')\n"
			  "  log.info(\"plain\\nsecond\")\n"
			  "  log.warn({ port: 1, message: 'started', name: 'a b', empty: '', why: "
			  "KeyError.new('x') })\n"
			  "  log.error { 'from a block' }\n"
			  "  log.error(key: [1])\n"
			  "  log.info('x' * 10_000)\n"
			  "  m = Hyperion.metrics\n"
			  "  m.increment(:a); m.increment(:a, 3); m.decrement(:b)\n"
			  "  m.observe(:t, 2); m.observe(:t, 3.0)\n"
			  "  [200, {}, [[Hyperion::VERSION, log.level, log.info?, log.debug?, "
			  "Hyperion::Logger::LEVELS,\n"
			  "              m.snapshot].join(' ')]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_log));
}

static void script_swapped(void)
{
	EXPECT_STREQ(bed_get("/")->body, "an observer of on_request_start raised RuntimeError: x");
	EXPECT_STREQ(bed_get("/")->body, "7 mine");
	bed_log();
}
TEST_F(runtime, log_numbers_and_clock_of_ones_own)
{
	self->setup.app = "$lines = []\n"
			  "LOG = Object.new\n"
			  "def LOG.error(line) = $lines << line\n"
			  "Hyperion.logger = LOG\n"
			  "Hyperion.metrics = 'mine'\n"
			  "CLOCK = Object.new\n"
			  "def CLOCK.clock_gettime(*) = 7\n"
			  "OWN = Hyperion::Runtime.new(clock: CLOCK, metrics: Hyperion.metrics)\n"
			  "$once = Hyperion::Runtime.default.on_request_start { raise 'x' }\n"
			  "$nr = 0\n"
			  "run ->(env) {\n"
			  "  next [200, {}, [$lines.first[/\\A.*?: x/]]] if ($nr += 1) == 1\n"
			  "  [200, {}, [\"#{OWN.clock.clock_gettime} #{OWN.metrics}\"]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_swapped));
}

static void script_mode(void)
{
	EXPECT_STREQ(bed_get("/")->body, is_inline ? ":inline_h1_no_pool" : ":threadpool_h1");
}
TEST_F(runtime, dispatch_mode)
{
	self->setup.lint = true;
	self->setup.app = "run ->(env) { [200, {}, [env['hyperion.dispatch_mode'].inspect]] }\n";
	ASSERT_OK(bed_run(&self->setup, script_mode));
}

static void script_streaming(void)
{
	const struct got *g = bed_get("/file");

	EXPECT_STREQ(g->answers, "HEAD|FILE|END");
	EXPECT_EQ(bed_count(g->body, "run ->(env)"), 1);
	g = bed_get("/each");
	EXPECT_EQ(bed_count(g->answers, "FILE"), 0);
	EXPECT_STREQ(g->body, "its each");
	g = bed_ask(&(struct request){ .method = "HEAD", .target = "/each" });
	EXPECT_EQ(g->content_length, LENGTH_UNKNOWN);
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(runtime, streaming_goes_before_to_path)
{
	/* The file is this one, opened before it goes. */
	self->setup.app = "FILE = File.open(__FILE__)\n"
			  "class Body\n"
			  "  def to_path = \"/proc/self/fd/#{FILE.fileno}\"\n"
			  "  def each = yield('its each')\n"
			  "end\n"
			  "run ->(env) { env['hyperion.streaming'] = env['PATH_INFO'] == '/each'\n"
			  "  [200, {}, Body.new] }\n";
	ASSERT_OK(bed_run(&self->setup, script_streaming));
}
