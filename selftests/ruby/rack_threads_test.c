/* SPDX-License-Identifier: MIT */
/*
 * Ruby threads and the I/O thread: back-pressure, clients that go away,
 * handlers that block, threads that are killed, the stop, the app's forks.
 */
#include "selftests/ruby/rack_bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ruby_glue/glue.h"

#define START                                                                                      \
	"$pipe = IO.for_fd(ENV['BED_FD'].to_i, autoclose: false)\n"                                \
	"$queue = Queue.new\n"                                                                     \
	"$closed = 0\n"                                                                            \
	"$pieces = 0\n"                                                                            \
	"class Many\n"                                                                             \
	"  def each = 1000.times { $pieces += 1; yield 'x' * 10_000 }\n"                           \
	"  def close = $closed += 1\n"                                                             \
	"end\n"                                                                                    \
	"run ->(env) {\n"                                                                          \
	"  case env['PATH_INFO']\n"
#define END                                                                                        \
	"  when '/many' then [200, {}, Many.new]\n"                                                \
	"  when '/state' then [200, {}, [\"#{$pieces} #{$closed}\"]]\n"                            \
	"  when '/block' then $pipe.syswrite('b'); $queue.pop; [200, {}, ['blocked']]\n"           \
	"  when '/release' then $queue << 1; [200, {}, ['released']]\n"                            \
	"  else [200, {}, ['fine']]\n"                                                             \
	"  end\n"                                                                                  \
	"}\n"

static const struct bed_setup two = { .app = START END, .nr_threads = 2 };
static const struct bed_setup one = { .app = START END, .nr_threads = 1 };

static struct asked *submit(const char *target)
{
	return bed_submit(&(struct request){ .target = target });
}

static void wait_until_it_blocks(void)
{
	char c = 0;

	EXPECT_TRUE(bed_read_byte(&c));
	EXPECT_EQ(c, 'b');
}

/* --- a slow client --- */

static void script_slow_client(void)
{
	struct asked *slow = submit("/many");
	const struct got *g;
	u32 pieces;

	bed_stall(slow);
	EXPECT_TRUE(bed_wait_answers(slow, 27));
	/* 256 KiB and no more wait; the other thread goes on. */
	for (int i = 0; i < 50; i++)
		EXPECT_STREQ(bed_get("/fine")->body, "fine");
	EXPECT_GE(bed_stalled_bytes(slow), APP_UNSENT_MAX);
	EXPECT_LT(bed_stalled_bytes(slow), APP_UNSENT_MAX + 10000);
	pieces = (u32)atoi(bed_get("/state")->body);
	EXPECT_LE(pieces, 28);
	bed_resume(slow);
	g = bed_wait(slow);
	EXPECT_EQ(g->body_len, 10u * 1000 * 1000);
	EXPECT_EQ(g->body[g->body_len - 1], 'x');
	EXPECT_STREQ(bed_get("/state")->body, "1000 1");
}
TEST(a_slow_client_stops_its_producer)
{
	ASSERT_OK(bed_run(&two, script_slow_client));
}

/* --- clients that go away --- */

static void script_gone_waiting(void)
{
	struct asked *slow = submit("/many");
	const struct got *g;

	bed_stall(slow);
	EXPECT_TRUE(bed_wait_answers(slow, 27));
	EXPECT_FALSE(job_cancel(bed_job(slow)));
	job_wake_producer(bed_job(slow));
	g = bed_wait(slow);
	EXPECT_STREQ(g->answers + strlen(g->answers) - 6, " ABORT");
	bed_resume(slow);
	g = bed_get("/state");
	EXPECT_LT(atoi(g->body), 40);
	EXPECT_STREQ(strchr(g->body, ' '), " 1");
	EXPECT_STREQ(bed_log(), "");
}
TEST(client_gone_while_its_producer_waits)
{
	ASSERT_OK(bed_run(&one, script_gone_waiting));
}

static void script_gone_running(void)
{
	struct asked *a = submit("/block_each");
	const struct got *g;

	wait_until_it_blocks();
	EXPECT_FALSE(job_cancel(bed_job(a)));
	EXPECT_STREQ(bed_get("/release")->body, "released");
	g = bed_wait(a);
	EXPECT_STREQ(g->answers, "ABORT");
	EXPECT_STREQ(bed_get("/state")->body, "0 1");
	EXPECT_STREQ(bed_log(), "");
}
TEST(client_gone_while_its_handler_runs)
{
	struct bed_setup setup = two;

	/* The body is not even begun, and closed. */
	setup.app = START "  when '/block_each' then $pipe.syswrite('b'); $queue.pop; [200, {}, "
			  "Many.new]\n" END;
	ASSERT_OK(bed_run(&setup, script_gone_running));
}

static void script_gone_queued(void)
{
	struct asked *blocked = submit("/block"), *queued;

	wait_until_it_blocks();
	queued = submit("/count");
	EXPECT_TRUE(job_cancel(bed_job(queued)));
	/* Released by the app's own thread. */
	EXPECT_STREQ(bed_wait(blocked)->body, "blocked");
	EXPECT_STREQ(bed_wait(queued)->answers, "DROPPED");
	EXPECT_STREQ(bed_get("/count")->body, "1");
}
TEST(client_gone_before_its_job_is_claimed)
{
	struct bed_setup setup = one;

	setup.app = "$count = 0\n" START
		    "  when '/block' then $pipe.syswrite('b'); sleep 0.3; [200, {}, ['blocked']]\n"
		    "  when '/count' then [200, {}, [($count += 1).to_s]]\n" END;
	ASSERT_OK(bed_run(&setup, script_gone_queued));
}

/* --- handlers that block --- */

static void script_blocked(void)
{
	struct asked *blocked = submit("/block");

	wait_until_it_blocks();
	for (int i = 0; i < 100; i++)
		EXPECT_STREQ(bed_get("/fine")->body, "fine");
	EXPECT_STREQ(bed_get("/release")->body, "released");
	EXPECT_STREQ(bed_wait(blocked)->body, "blocked");
}
TEST(others_go_on_while_a_handler_blocks)
{
	ASSERT_OK(bed_run(&two, script_blocked));
}

/*
 * Ten naps of 1 ms beside busy handlers of 1 ms: with Ruby's own quantum of
 * 100 ms that takes 1000 of them, with a yield in between far fewer.
 */
static void script_naps(void)
{
	struct asked *naps = submit("/naps"), *busy[2];
	u32 nr = 0;

	wait_until_it_blocks();
	busy[0] = submit("/busy");
	busy[1] = submit("/busy");
	while (!bed_job(naps)->answered_ns && nr < 2000) {
		bed_wait(busy[nr % 2]);
		busy[nr++ % 2] = submit("/busy");
	}
	bed_wait(busy[0]);
	bed_wait(busy[1]);
	EXPECT_STREQ(bed_wait(naps)->body, "slept");
	EXPECT_LT(nr, 300);
}
TEST(leader_yields_between_jobs)
{
	struct bed_setup setup = two;

	setup.app =
		START "  when '/naps' then $pipe.syswrite('b'); 10.times { sleep 0.001 }; [200, "
		      "{}, ['slept']]\n"
		      "  when '/busy' then t = "
		      "Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) + 0.001\n"
		      "    nil while Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID) < t\n"
		      "    [200, {}, []]\n" END;
	ASSERT_OK(bed_run(&setup, script_naps));
}

/* --- threads that are killed or raised in --- */

static void script_killed(void)
{
	const struct got *g;
	const char *log;

	for (int i = 0; i < 5; i++) {
		g = bed_get("/kill");
		EXPECT_EQ(g->status, 500);
		EXPECT_STREQ(g->answers, "HEAD|DATA|END");
		EXPECT_STREQ(bed_get("/fine")->body, "fine");
		log = bed_log();
		EXPECT_EQ(bed_count(log, "the app has killed its thread method=GET path=/kill"), 1);
		EXPECT_EQ(bed_count(log, "is replaced"), 1);
	}
	g = bed_get("/ensure");
	EXPECT_EQ(g->status, 500);
	EXPECT_STREQ(bed_get("/fine")->body, "fine");
	EXPECT_STREQ(bed_get("/state")->body, "1 1");
}
TEST(a_killed_thread_is_replaced)
{
	struct bed_setup setup = one;

	setup.app = START "  when '/kill' then Thread.current.kill\n"
			  "  when '/ensure' then b = Many.new; def b.each = begin; Thread.exit; "
			  "ensure; $pieces += 1; end\n"
			  "    [200, {}, b]\n" END;
	ASSERT_OK(bed_run(&setup, script_killed));
}

static void script_raised(void)
{
	u32 nr_replaced = 0;

	for (int i = 0; i < 5; i++) {
		EXPECT_STREQ(bed_get("/raise")->body, "1");
		EXPECT_STREQ(bed_get("/fine")->body, "fine");
	}
	EXPECT_STREQ(bed_get("/kill_other")->body, "1");
	for (int i = 0; i < 200 && !nr_replaced; i++) {
		bed_get("/threads");
		nr_replaced += bed_count(bed_log(), "is replaced");
	}
	EXPECT_EQ(nr_replaced, 1);
	/* The new one may not have its name yet. */
	for (int i = 0; i < 200 && strcmp(bed_get("/threads")->body, "2") != 0; i++)
		;
	EXPECT_STREQ(bed_get("/threads")->body, "2");
}
TEST(an_idle_thread_survives_what_is_raised_in_it)
{
	struct bed_setup setup = two;

	setup.app =
		"ours = -> { Thread.list.select { |t| t.name&.start_with?('hyperion') } }\n" START
		"  when '/raise' then o = ours.call - [Thread.current]; o.each { |t| t.raise('x'); "
		"Thread.pass while t.pending_interrupt? }; [200, {}, [o.size.to_s]]\n"
		"  when '/kill_other' then o = ours.call - [Thread.current]; o.each { |t| "
		"t.kill.join }; [200, "
		"{}, [o.size.to_s]]\n"
		"  when '/threads' then sleep 0.01; [200, {}, "
		"[ours.call.count(&:alive?).to_s]]\n" END;
	ASSERT_OK(bed_run(&setup, script_raised));
}

/* --- time-outs of the app --- */

static void script_timeout(void)
{
	struct asked *slow = submit("/timeout");
	const struct got *g;

	bed_stall(slow);
	/* It strikes while the thread waits for the client. */
	g = bed_wait(slow);
	EXPECT_STREQ(g->answers + strlen(g->answers) - 6, " ABORT");
	bed_resume(slow);
	EXPECT_STREQ(strchr(bed_get("/state")->body, ' '), " 1");
	EXPECT_EQ(bed_count(bed_log(), "Timeout::Error: execution expired method=GET"), 1);
}
TEST(timeout_while_the_client_is_waited_for)
{
	struct bed_setup setup = one;

	setup.app =
		"require 'timeout'\n" START
		"  when '/timeout' then b = Many.new; def b.each = Timeout.timeout(0.2) { super }\n"
		"    [200, {}, b]\n" END;
	ASSERT_OK(bed_run(&setup, script_timeout));
}

/* --- the stop --- */

static struct asked *left;

static void script_stop_busy(void)
{
	left = submit("/nap");
	wait_until_it_blocks();
}
TEST(stop_waits_for_handlers)
{
	struct bed_setup setup = two;
	struct glue_stats stats;

	setup.app = START
		"  when '/nap' then $pipe.syswrite('b'); sleep 0.2; [200, {}, ['slept']]\n" END;
	ASSERT_OK(bed_run(&setup, script_stop_busy));
	glue_stats(&stats);
	EXPECT_EQ(stats.requests, 1);
	EXPECT_EQ(stats.errors, 0);
}

static void script_stop_stuck(void)
{
	left = submit("/block");
	wait_until_it_blocks();
}
TEST(stop_gives_up_after_the_grace_period)
{
	struct bed_setup setup = two;

	setup.grace_ms = 100;
	ASSERT_EQ(bed_run(&setup, script_stop_stuck), -1);
}

/* --- the app's own children --- */

static void script_fork(void)
{
	const struct got *g = bed_get("/fork");

	EXPECT_STREQ(g->answers, "HEAD|DATA|END");
	EXPECT_STREQ(g->body, "parent 0 true");
	g = bed_get("/block_fork");
	EXPECT_STREQ(g->body, "7");
	EXPECT_EQ(bed_count(bed_log(), "ruby: "), 0);
}
static const char fork_app[] = START
	"  when '/fork' then pid = fork; next [200, {}, ['child']] unless pid\n"
	"    Process.wait(pid); [200, {}, [\"parent #{$?.exitstatus} #{Process.pid != pid}\"]]\n"
	"  when '/block_fork' then Process.wait(fork { exit 7 }); [200, {}, "
	"[$?.exitstatus.to_s]]\n" END;
TEST(the_apps_child_answers_nothing)
{
	struct bed_setup setup = two;

	setup.app = fork_app;
	ASSERT_OK(bed_run(&setup, script_fork));
}
TEST(the_apps_child_answers_nothing_inline)
{
	struct bed_setup setup = two;

	setup.nr_threads = 0;
	setup.app = fork_app;
	ASSERT_OK(bed_run(&setup, script_fork));
}

/* --- a small ring --- */

static void script_small_ring(void)
{
	struct asked *a[4];

	for (int i = 0; i < 4; i++) {
		a[i] = submit("/many");
		bed_stall(a[i]);
	}
	for (int i = 0; i < 4; i++)
		bed_resume(a[i]);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(bed_wait(a[i])->body_len, 10u * 1000 * 1000);
	EXPECT_STREQ(bed_get("/state")->body, "4000 4");
}
TEST(ring_of_answers_is_full)
{
	struct bed_setup setup = two;

	setup.max_jobs = 4;
	setup.nr_threads = 4;
	ASSERT_OK(bed_run(&setup, script_small_ring));
}
