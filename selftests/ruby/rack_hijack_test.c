/* SPDX-License-Identifier: MIT */
/* What an app does with the connection itself: takes it, whole or behind a head, and speaks early. */
#include "selftests/ruby/rack_bed.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PARTS                                                                                      \
	"$log = []\n"                                                                              \
	"TEXT = { 'content-type' => 'text/plain' }.freeze\n"                                       \
	"class Body\n"                                                                             \
	"  def each = $log << 'each'\n"                                                            \
	"  def close = $log << 'close'\n"                                                          \
	"end\n"                                                                                    \
	"class Call < Body\n"                                                                      \
	"  undef each\n"                                                                           \
	"  def initialize(&block) = @block = block\n"                                              \
	"  def call(io) = @block.call(io)\n"                                                       \
	"end\n"                                                                                    \
	"$parts = {\n"                                                                             \
	"  '/log' => ->(e) { [200, TEXT.dup, [$log.slice!(0..).join(' ')]] },\n"                   \
	"  '/peek' => ->(e) { [200, TEXT.dup, [$log.join(' ')]] },\n"                              \
	"}\n"
#define RUN "run ->(env) { $parts[env['PATH_INFO']].call(env) }\n"

FIXTURE(hijack)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(hijack)
{
	bool lint;
};
VARIANT(hijack, bare) = { false };
VARIANT(hijack, lint) = { true };
FIXTURE_SETUP(hijack)
{
	self->setup.nr_threads = 3;
	self->setup.lint = variant->lint;
}
FIXTURE_TEARDOWN(hijack)
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

/* What the client of a connection that was taken sees until it ends. */
static const char *seen(const struct got *g)
{
	static char text[4096];
	struct pollfd p = { .fd = g->hijack_fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < sizeof(text) - 1 && poll(&p, 1, 20000) == 1) {
		n = recv(g->hijack_fd, text + len, sizeof(text) - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
	close(g->hijack_fd);
	return text;
}

/* --- whole --- */

static void script_full(void)
{
	const struct got *g = bed_wait(submit("/full"));

	EXPECT_STREQ(g->answers, "HIJACK ABORT");
	EXPECT_STREQ(g->head, "");
	EXPECT_STREQ(seen(g), "words of its own");
	expect_log("true TCPSocket true true rest close");
	EXPECT_STREQ(bed_log(), "");
	g = bed_ask(&(struct request){ .target = "/full", .peer = "", .headers = { "Host: a" } });
	EXPECT_STREQ(seen(g), "words of its own");
	expect_log("true UNIXSocket true true rest close");
}
TEST_F(hijack, whole)
{
	/* Lint has a wrapper of its own around the callable, not around the IO. */
	self->setup.app = PARTS "$parts['/full'] = ->(e) {\n"
				"  $log << e['rack.hijack?']\n"
				"  io = e['rack.hijack'].call\n"
				"  $log << io.class << io.sync << e['rack.hijack_io'].equal?(io) "
				"<< e['hyperion.hijack_buffered']\n"
				"  io.write('words of its own')\n"
				"  io.close\n"
				"  [200, TEXT.dup, Body.new] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_full));
}

static void script_twice(void)
{
	const struct got *g = bed_wait(submit("/twice"));

	EXPECT_STREQ(g->answers, "HIJACK ABORT");
	EXPECT_STREQ(seen(g), "");
	expect_log("true");
}
TEST_F(hijack, twice_is_the_same)
{
	self->setup.lint = false;
	self->setup.app = PARTS "$parts['/twice'] = ->(e) {\n"
				"  io = e['rack.hijack'].call\n"
				"  $log << e['rack.hijack'].call.equal?(io)\n"
				"  io.close\n"
				"  nil }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_twice));
}

static void script_raises(void)
{
	const struct got *g = bed_wait(submit("/raises"));

	/* No 500 into what is not ours. */
	EXPECT_STREQ(g->answers, "HIJACK ABORT");
	EXPECT_STREQ(seen(g), "x");
	EXPECT_TRUE(bed_logs("RuntimeError: boom"));
}
TEST_F(hijack, raises_with_the_connection)
{
	self->setup.app = PARTS "$parts['/raises'] = ->(e) {\n"
				"  io = e['rack.hijack'].call\n"
				"  io.write('x')\n"
				"  io.close\n"
				"  raise 'boom' }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_raises));
}

static void script_elsewhere(void)
{
	EXPECT_STREQ(bed_get("/thread")->answers, "HEAD|DATA|END");
	expect_log("RuntimeError");
	EXPECT_NOT_NULL(strstr(bed_get("/late")->answers, "END"));
	expect_log("IOError");
}
/* By another thread, or when the answer has begun. */
TEST_F(hijack, not_by_everyone)
{
	self->setup.lint = false;
	self->setup.app =
		PARTS "class Late\n"
		      "  def initialize(e) = @e = e\n"
		      "  def each\n"
		      "    yield 'x'\n"
		      "    begin; @e['rack.hijack'].call; rescue => e; $log << e.class; end\n"
		      "  end\n"
		      "end\n"
		      "$parts['/thread'] = ->(e) {\n"
		      "  Thread.new { begin; e['rack.hijack'].call; rescue => x; $log << x.class; "
		      "end }.join\n"
		      "  [200, TEXT.dup, ['answer']] }\n"
		      "$parts['/late'] = ->(e) { [200, TEXT.dup, Late.new(e)] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_elsewhere));
}

static void script_gone(void)
{
	bed_hijack(BED_HIJACK_GONE);
	EXPECT_STREQ(bed_wait(submit("/full"))->answers, "HIJACK ABORT");
	expect_log("IOError close");
	EXPECT_STREQ(bed_wait(submit("/unrescued"))->answers, "HIJACK ABORT");
	EXPECT_TRUE(bed_logs("rack.hijack: the client is gone"));
}
TEST_F(hijack, the_client_is_gone)
{
	self->setup.app =
		PARTS "$parts['/full'] = ->(e) {\n"
		      "  begin; e['rack.hijack'].call; rescue => x; $log << x.class; end\n"
		      "  [200, TEXT.dup, Body.new] }\n"
		      "$parts['/unrescued'] = ->(e) { e['rack.hijack'].call }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_gone));
}

static void script_timeout(void)
{
	struct asked *a;

	bed_hijack(BED_HIJACK_WAIT);
	a = submit("/full");
	/* Others run meanwhile, also after the exception has come. */
	EXPECT_TRUE(bed_until("/peek", "sent"));
	for (int i = 0; i < 20; i++)
		EXPECT_STREQ(bed_get("/peek")->body, "sent");
	bed_give_hijack(a);
	EXPECT_STREQ(bed_wait(a)->answers, "HIJACK ABORT");
	/* The descriptor is not lost: it is closed. */
	EXPECT_STREQ(seen(bed_wait(a)), "");
	expect_log("sent KeyError close");
}
/* An exception from outside while it waits for its turn: raised when the connection is here. */
TEST_F(hijack, raised_in_while_it_waits)
{
	self->setup.app =
		PARTS "$parts['/full'] = ->(e) {\n"
		      "  me = Thread.current\n"
		      "  Thread.new { sleep 0.1; me.raise(KeyError); $log << 'sent' }\n"
		      "  begin; e['rack.hijack'].call; rescue KeyError => x; $log << x.class; end\n"
		      "  [200, TEXT.dup, Body.new] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_timeout));
}

/* --- behind a head --- */

static void script_partial(void)
{
	const struct got *g = bed_wait(submit("/partial"));

	EXPECT_STREQ(g->answers, "HEAD|HIJACK ABORT");
	EXPECT_EQ(g->status, 200);
	EXPECT_STREQ(g->head, "content-type: text/plain\r\nconnection: Upgrade\r\n"
			      "content-length: 5\r\n");
	EXPECT_TRUE(g->raw);
	EXPECT_STREQ(seen(g), "hello");
	expect_log("close");
	g = bed_wait(submit("/bare"));
	EXPECT_STREQ(g->head, "content-type: text/plain\r\nconnection: close\r\n");
	EXPECT_STREQ(seen(g), "hello");
	expect_log("");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(hijack, behind_a_head)
{
	self->setup.lint = false; /* a wrapper around the IO, and no content-length with no body */
	self->setup.app =
		PARTS "$say = ->(io) { io.write('hello'); io.close }\n"
		      "$parts['/partial'] = ->(e) { [200, TEXT.merge('connection' => 'Upgrade', "
		      "'content-length' => '5', 'rack.hijack' => $say), Body.new] }\n"
		      "$parts['/bare'] = ->(e) { [200, { 'rack.hijack' => $say }.merge(TEXT), []] "
		      "}\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_partial));
}

static void script_partial_lint(void)
{
	const struct got *g = bed_wait(submit("/partial"));

	EXPECT_STREQ(g->answers, "HEAD|HIJACK ABORT");
	EXPECT_STREQ(seen(g), "hello");
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(hijack, behind_a_head_as_lint_wants_it)
{
	self->setup.app = PARTS "$parts['/partial'] = ->(e) { [200, TEXT.merge('rack.hijack' => "
				"->(io) { io.write('hello'); io.close }), []] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_partial_lint));
}

static void script_partial_raises(void)
{
	const struct got *g = bed_wait(submit("/raises"));

	EXPECT_STREQ(g->answers, "HEAD|HIJACK ABORT");
	EXPECT_STREQ(seen(g), "x");
	EXPECT_TRUE(bed_logs("boom"));
	expect_log("close");
	bed_hijack(BED_HIJACK_GONE);
	EXPECT_STREQ(bed_wait(submit("/raises"))->answers, "HEAD|HIJACK ABORT");
	EXPECT_TRUE(bed_logs("the client is gone"));
	expect_log("close");
	/* It has no call: nothing has left. */
	g = bed_get("/wrong");
	EXPECT_EQ(g->status, 500);
	EXPECT_FALSE(g->raw);
	EXPECT_EQ(g->content_length, 21);
	expect_log("close");
}
TEST_F(hijack, behind_a_head_and_raises)
{
	self->setup.lint = false;
	self->setup.app =
		PARTS "$parts['/raises'] = ->(e) { [200, { 'rack.hijack' => ->(io) { "
		      "io.write('x'); io.close; raise 'boom' } }, Body.new] }\n"
		      "$parts['/wrong'] = ->(e) { [200, { 'rack.hijack' => 5 }, Body.new] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_partial_raises));
}

static void script_upgrade(void)
{
	const struct got *g = bed_wait(submit("/upgrade"));

	EXPECT_STREQ(g->answers, "HEAD|HIJACK ABORT");
	EXPECT_EQ(g->status, 101);
	EXPECT_STREQ(g->head, "upgrade: echo\r\nconnection: upgrade\r\n");
	EXPECT_STREQ(seen(g), "rest");
	expect_log("close");
	/* A head that cannot be: told as any other failure. */
	g = bed_get("/bad");
	EXPECT_EQ(g->status, 500);
	EXPECT_FALSE(g->raw);
	EXPECT_EQ(g->content_length, 21);
	bed_log();
}
TEST_F(hijack, switching_protocols)
{
	self->setup.lint = false;
	self->setup.app =
		PARTS "$parts['/upgrade'] = ->(e) { [101, { 'upgrade' => 'echo', 'connection' => "
		      "'upgrade' },\n"
		      "  Call.new { |io| io.write(e['hyperion.hijack_buffered']); io.close }] }\n"
		      "$parts['/bad'] = ->(e) { [101, { 'a b' => 'c' }, Call.new { }] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_upgrade));
}

/* --- early hints --- */

static void script_hints(void)
{
	const struct got *g = bed_get("/hints");

	EXPECT_STREQ(g->answers, "INFORM HEAD|DATA|END");
	EXPECT_STREQ(g->informed,
		     "link: </a>; rel=preload\r\nlink: </b>; rel=preload\r\nx-one: 1\r\n");
	EXPECT_STREQ(g->head, "content-type: text/plain\r\n");
	EXPECT_STREQ(g->body, "answer");
	g = bed_ask(&(struct request){ .target = "/hints", .http_1_0 = true });
	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_STREQ(g->body, "answer");
	EXPECT_STREQ(bed_get("/wrong")->body, "Hyperion::ResponseError Hyperion::ResponseError");
	EXPECT_NULL(strstr(bed_get("/wrong")->answers, "INFORM"));
	/* After the head they are nothing. */
	g = bed_get("/late");
	EXPECT_STREQ(g->body, "xy");
	EXPECT_NULL(strstr(g->answers, "INFORM"));
	EXPECT_STREQ(bed_log(), "");
}
TEST_F(hijack, early_hints)
{
	self->setup.lint = false;
	self->setup.app = PARTS
		"class Late\n"
		"  def initialize(e) = @e = e\n"
		"  def each = (yield 'x'; @e['rack.early_hints'].call('x' => 'y'); yield 'y')\n"
		"end\n"
		"$parts['/hints'] = ->(e) {\n"
		"  e['rack.early_hints'].call('link' => ['</a>; rel=preload', '</b>; "
		"rel=preload'], 'x-one' => '1')\n"
		"  [200, TEXT.dup, ['answer']] }\n"
		"$parts['/wrong'] = ->(e) {\n"
		"  [200, TEXT.dup, [[{ 'link' => \"a\\r\\nb: c\" }, { 'a b' => 'c' }].map { |h|\n"
		"    begin; e['rack.early_hints'].call(h); rescue => x; x.class.name; end }.join(' "
		"')]] }\n"
		"$parts['/late'] = ->(e) { [200, TEXT.dup, Late.new(e)] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_hints));
}

static void script_trailer(void)
{
	const struct got *g = bed_get("/trailer");

	EXPECT_EQ(g->status, 500);
	EXPECT_TRUE(bed_logs("trailers are not supported"));
	expect_log("close");
}
TEST_F(hijack, trailers_are_refused)
{
	self->setup.app = PARTS "$parts['/trailer'] = ->(e) { [200, TEXT.merge('trailer' => "
				"'x-sum'), Body.new] }\n" RUN;
	ASSERT_OK(bed_run(&self->setup, script_trailer));
}

/* --- threads 0 --- */

static void script_inline(void)
{
	const struct got *g;

	EXPECT_STREQ(bed_get("/env")->body, "false nil");
	g = bed_get("/upgrade");
	EXPECT_EQ(g->status, 500);
	EXPECT_FALSE(g->raw);
	EXPECT_EQ(g->content_length, 21);
	EXPECT_TRUE(bed_logs("cannot be taken with threads 0"));
	expect_log("close");
	/* What an app does that asks first. */
	EXPECT_STREQ(bed_get("/partial")->body, "plain");
}
TEST(inline_takes_nothing)
{
	struct bed_setup setup = { .app = PARTS
				   "$parts['/env'] = ->(e) { [200, TEXT.dup, "
				   "[\"#{e['rack.hijack?']} #{e['rack.hijack'].inspect}\"]] }\n"
				   "$parts['/upgrade'] = ->(e) { [101, { 'upgrade' => 'echo' }, "
				   "Call.new { $log << 'called' }] }\n"
				   "$parts['/partial'] = ->(e) { [200, TEXT.merge('rack.hijack' => "
				   "->(io) { $log << 'called' }), ['plain']] }\n" RUN };

	ASSERT_OK(bed_run(&setup, script_inline));
}

/* --- the GC --- */

static void script_stress(void)
{
	const struct got *g = bed_wait(submit("/full"));

	EXPECT_STREQ(seen(g), "words");
	g = bed_wait(submit("/partial"));
	EXPECT_STREQ(seen(g), "hello");
	g = bed_get("/hints");
	EXPECT_STREQ(g->informed, "link: ab\r\n");
}
TEST(gc_stress)
{
	struct bed_setup setup = { .nr_threads = 2,
				   .app = PARTS
				   "$parts['/full'] = ->(e) { io = e['rack.hijack'].call; "
				   "io.write('wor' + 'ds'); io.close; [200, TEXT.dup, Body.new] }\n"
				   "$parts['/partial'] = ->(e) { [200, TEXT.merge('rack.hijack' => "
				   "->(io) { io.write('hel' + 'lo'); io.close }), []] }\n"
				   "$parts['/hints'] = ->(e) { e['rack.early_hints'].call('li' + "
				   "'nk' => 'a' + 'b'); [200, TEXT.dup, ['a' + 'b']] }\n"
				   "GC.stress = true\n" RUN };

	ASSERT_OK(bed_run(&setup, script_stress));
}
