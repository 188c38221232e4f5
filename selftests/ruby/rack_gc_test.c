/* SPDX-License-Identifier: MIT */
/* Every path through the glue while the GC runs at each allocation, and moves what it can. */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <string.h>

#define APP                                                                                        \
	"class Each\n"                                                                             \
	"  def initialize(*pieces) = @pieces = pieces\n"                                           \
	"  def each = @pieces.each { |p| yield(p + '') }\n"                                        \
	"  def close = ''.dup\n"                                                                   \
	"end\n"                                                                                    \
	"class Ary < Each\n"                                                                       \
	"  def to_ary = @pieces.map { |p| p + '' }\n"                                              \
	"end\n"                                                                                    \
	"class Pairs\n"                                                                            \
	"  def each = yield(['x-pair'.dup, 'y'.dup])\n"                                            \
	"end\n"                                                                                    \
	"run ->(env) {\n"                                                                          \
	"  case env['PATH_INFO']\n"                                                                \
	"  when '/on' then $on.call; [200, {}, []]\n"                                              \
	"  when '/off' then GC.stress = false; GC.auto_compact = false; [200, {}, []]\n"           \
	"  when '/env' then [200, { 'x-list' => ['a' + 'b', 'c' + 'd'] },\n"                       \
	"    [env.map { |k, v| k.include?('.') ? k : \"#{k}=#{v}\" }.join('|')]]\n"                \
	"  when '/post' then [200, {}, [env['rack.input'].read]]\n"                                \
	"  when '/each' then [200, {}, Each.new('one', 'two' * 1000)]\n"                           \
	"  when '/ary' then [200, { :symbol => 5 }, Ary.new('a', 'b' * 2000)]\n"                   \
	"  when '/pairs' then [200, Pairs.new, []]\n"                                              \
	"  when '/raise' then raise 'bo' + 'om'\n"                                                 \
	"  when '/file' then [200, {}, File.open('/proc/self/exe')]\n"                             \
	"  end\n"                                                                                  \
	"}\n"

static void ask_env(u32 conn, const char *cookie, const char *own)
{
	char h1[64], h2[64];
	const struct got *g;

	snprintf(h1, sizeof(h1), "Cookie: %s", cookie);
	snprintf(h2, sizeof(h2), "%s: 1", own);
	g = bed_ask(&(struct request){ .target = "/env?q",
				       .conn = conn,
				       .headers = { "Host: example.org:81", h1, h2, "Accept: */*",
						    "X-Twice: a", "x-twice: b" } });
	EXPECT_EQ(g->status, 200);
	EXPECT_STREQ(g->head, "x-list: ab\r\nx-list: cd\r\n");
	EXPECT_EQ(bed_count(g->body, "SERVER_NAME=example.org|SERVER_PORT=81"), 1);
	EXPECT_EQ(bed_count(g->body, "HTTP_X_TWICE=a, b"), 1);
	EXPECT_EQ(bed_count(g->body, cookie), 1);
	EXPECT_EQ(bed_count(g->body, "HTTP_ACCEPT=*/*"), 1);
	EXPECT_EQ(bed_count(g->body, "PATH_INFO=/env|QUERY_STRING=q|REQUEST_URI=/env?q"), 1);
}

static void ask_repeatedly(u32 round)
{
	struct request rq = { .target = "/post", .conn = 5, .headers = { "Host: a", "X-Own: 1" } };
	char own[32];
	const struct got *g;

	snprintf(own, sizeof(own), "X-Own-%u", round);
	ask_env(1, "first", "X-Own");
	ask_env(1, "second", own);
	rq.method = "POST";
	rq.body = "the body of a request that is longer than an embedded string";
	for (int i = 0; i < 4; i++) {
		rq.in_file = i == 2;
		EXPECT_STREQ(bed_ask(&rq)->body, rq.body);
	}
	EXPECT_EQ(bed_get("/each")->body_len, 3003);
	g = bed_get("/ary");
	EXPECT_STREQ(g->head, "symbol: 5\r\n");
	EXPECT_EQ(g->body_len, 2001);
	EXPECT_STREQ(bed_get("/pairs")->head, "x-pair: y\r\n");
	EXPECT_EQ(bed_get("/raise")->status, 500);
	EXPECT_EQ(bed_count(bed_log(), "RuntimeError: boom method=GET path=/raise"), 1);
}

static void script(void)
{
	ask_repeatedly(0);
	EXPECT_EQ(bed_get("/on")->status, 200);
	for (u32 i = 0; i < 3; i++)
		ask_repeatedly(i);
	EXPECT_EQ(bed_get("/off")->status, 200);
	ask_repeatedly(1);
}

FIXTURE(gc)
{
	struct bed_setup setup;
};
FIXTURE_VARIANT(gc)
{
	u32 nr_threads;
};
VARIANT(gc, inline) = { 0 };
VARIANT(gc, threads) = { 2 };
FIXTURE_SETUP(gc)
{
	self->setup.nr_threads = variant->nr_threads;
}
FIXTURE_TEARDOWN(gc)
{
}

TEST_F(gc, stress)
{
	self->setup.app = "$on = -> { GC.stress = true }\n" APP;
	ASSERT_OK(bed_run(&self->setup, script));
}

TEST_F(gc, stress_and_compaction)
{
	self->setup.app = "$on = -> { GC.auto_compact = true; GC.stress = true }\n" APP;
	ASSERT_OK(bed_run(&self->setup, script));
}

/* References that nobody has updated crash here. */
TEST_F(gc, verify_compaction_references)
{
	self->setup.app = "$on = -> { GC.verify_compaction_references(double_heap: true, toward: "
			  ":empty) }\n" APP;
	ASSERT_OK(bed_run(&self->setup, script));
}

static void script_compact(void)
{
	for (u32 i = 0; i < 200; i++) {
		if (i % 10 == 0)
			bed_get("/on");
		ask_env(1 + i % 3, "cookie", "X-Own");
	}
}
TEST_F(gc, compact_between_requests)
{
	self->setup.app = "$on = -> { GC.compact }\n" APP;
	ASSERT_OK(bed_run(&self->setup, script_compact));
}
