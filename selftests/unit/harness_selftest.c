/* SPDX-License-Identifier: MIT */
/* The harness itself: what harness_sample does wrong must come out as such. */
#include "selftests/harness/harness.h"

#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/fail.h"

#define MAX_OUT (64 * 1024)

FIXTURE(sample)
{
	char out[MAX_OUT];
	int status;
};

FIXTURE_SETUP(sample)
{
	unsetenv("SAMPLE_NEEDS");
}

FIXTURE_TEARDOWN(sample)
{
	/* What the sample said explains a failure. */
	if (has_failed())
		NOTE("%s", self->out);
}

/* Runs the sample with up to two arguments; its output goes to self->out, its status to self->status. */
static void run_sample(struct self_sample *self, const char *one, const char *two)
{
	char path[PATH_MAX], program[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t len = 0;
	int fd[2];
	pid_t pid;

	ASSERT_GT(n, 0);
	path[n] = '\0';
	snprintf(program, sizeof(program), "%s/harness_sample", dirname(path));
	ASSERT_OK(pipe(fd));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		close(fd[0]);
		close(fd[1]);
		execl(program, program, one, two, NULL);
		_exit(127);
	}
	close(fd[1]);
	while ((n = read(fd[0], self->out + len, MAX_OUT - 1 - len)) > 0)
		len += (size_t)n;
	close(fd[0]);
	ASSERT_EQ(waitpid(pid, &self->status, 0), pid);
}

static bool says(struct self_sample *self, const char *text)
{
	return strstr(self->out, text) != NULL;
}

/* Runs one case and expects its line and the exit status of the program. */
static void expect_case(struct self_sample *self, const char *name, const char *line, int status)
{
	run_sample(self, name, NULL);
	EXPECT_TRUE(WIFEXITED(self->status));
	EXPECT_EQ(WEXITSTATUS(self->status), status);
	EXPECT_TRUE(says(self, "TAP version 13\n1..1\n"));
	EXPECT_TRUE(says(self, line));
}

TEST_F(sample, passes)
{
	expect_case(self, "passes", "\nok 1 - passes\n", 0);
}

TEST_F(sample, assert_ends_the_case)
{
	expect_case(self, "assert_ends", "\nnot ok 1 - assert_ends\n", 1);
	EXPECT_TRUE(says(self, "# before\n# no newline"));
	EXPECT_TRUE(says(self, "selftests/unit/harness_sample.c:"));
	EXPECT_TRUE(says(self, "expected 1 + 1 == 3; they are 2 and 3\n"));
	EXPECT_FALSE(says(self, "not reached"));
}

TEST_F(sample, expect_goes_on)
{
	expect_case(self, "expect_goes_on", "\nnot ok 1 - expect_goes_on\n", 1);
	EXPECT_TRUE(says(self, "expected 7 < -7; they are 7 and -7\n"));
	EXPECT_TRUE(says(self, "it is -22 = -EINVAL\n"));
	EXPECT_TRUE(says(self, "#   \"one\"\n#   NULL\n"));
	EXPECT_TRUE(says(self, "differ from byte 5 on\n"));
	EXPECT_TRUE(says(self, "(3 bytes) and \"abcd\" (4 bytes)"));
	EXPECT_TRUE(says(self, "expected true to be false\n"));
	EXPECT_TRUE(says(self, "# reached the end\n"));
}

TEST_F(sample, a_crash_is_a_failure)
{
	expect_case(self, "crashes", "\nnot ok 1 - crashes\n", 1);
	EXPECT_TRUE(says(self, "# killed by signal 9 (Killed)\n"));
}

TEST_F(sample, an_early_exit_is_a_failure)
{
	expect_case(self, "exits", "\nnot ok 1 - exits\n", 1);
	EXPECT_TRUE(says(self, "# exit status 3\n"));
}

TEST_F(sample, skip_names_the_reason)
{
	expect_case(self, "skips", "\nok 1 - skips # SKIP io_uring: refused\n", 0);
}

TEST_F(sample, a_failure_before_a_skip_counts)
{
	expect_case(self, "fails_before_skip", "\nnot ok 1 - fails_before_skip\n", 1);
}

TEST_F(sample, time_limit_kills_the_group)
{
	const char *group;

	expect_case(self, "hangs", "\nnot ok 1 - hangs\n", 1);
	EXPECT_TRUE(says(self, "time limit of"));
	group = strstr(self->out, "# group ");
	ASSERT_NOT_NULL(group);
	/* A killed orphan stays until init reaps it: wait for that, in steps. */
	for (int i = 0; i < 500 && !kill(-atoi(group + 8), 0); i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(kill(-atoi(group + 8), 0), -1);
}

TEST_F(sample, guard_pages_catch_an_overread)
{
	expect_case(self, "overreads", "\nnot ok 1 - overreads\n", 1);
	EXPECT_TRUE(says(self, "# the next read crashes\n"));
	EXPECT_FALSE(says(self, "# read "));
	expect_case(self, "underreads", "\nnot ok 1 - underreads\n", 1);
	EXPECT_TRUE(says(self, "# the next read crashes\n"));
	EXPECT_FALSE(says(self, "# read "));
}

TEST_F(sample, torn_down_after_failure)
{
	expect_case(self, "plain.*", "\nnot ok 1 - plain.torn_down_after_failure\n", 1);
	EXPECT_TRUE(says(self, "# tear-down sees 6\n"));
}

TEST_F(sample, variants_run_each)
{
	run_sample(self, "varied*", NULL);
	EXPECT_EQ(self->status, 0);
	EXPECT_TRUE(says(self, "\n1..2\n"));
	EXPECT_TRUE(says(self, "# torn down 2\nok 1 - varied[one].doubles\n"));
	EXPECT_TRUE(says(self, "ok 2 - varied[two].doubles # SKIP cpus: not in this variant\n"));
	/* A set-up that did not come to its end is not torn down. */
	EXPECT_FALSE(says(self, "# torn down 0\n"));
	expect_case(self, "varied[one].doubles", "\nok 1 - varied[one].doubles\n", 0);
}

TEST_F(sample, whole_program_skip)
{
	setenv("SAMPLE_NEEDS", "bpf: not here", 1);
	run_sample(self, NULL, NULL);
	EXPECT_EQ(WEXITSTATUS(self->status), 4);
	EXPECT_STREQ(self->out, "TAP version 13\n1..0 # SKIP bpf: not here\n");
}

TEST_F(sample, list_and_unknown_names)
{
	run_sample(self, "--list", NULL);
	EXPECT_EQ(self->status, 0);
	EXPECT_TRUE(says(self, "passes\nassert_ends\n"));
	EXPECT_TRUE(says(self, "plain.torn_down_after_failure\nvaried[one].doubles\n"));
	EXPECT_FALSE(says(self, "TAP"));
	run_sample(self, "nothing_like_it", NULL);
	EXPECT_EQ(WEXITSTATUS(self->status), 1);
}

TEST_F(sample, the_rest_goes_on_after_a_crash)
{
	run_sample(self, "crashes", "passes");
	EXPECT_EQ(WEXITSTATUS(self->status), 1);
	EXPECT_TRUE(says(self, "\n1..2\n"));
	/* In the order of the file, not of the arguments. */
	EXPECT_TRUE(says(self, "ok 1 - passes\n"));
	EXPECT_TRUE(says(self, "not ok 2 - crashes\n"));
}

#ifdef __SANITIZE_ADDRESS__
TEST_F(sample, asan_reports_a_leak)
{
	expect_case(self, "leaks", "\nnot ok 1 - leaks\n", 1);
	EXPECT_TRUE(says(self, "detected memory leaks"));
}
#endif

/* --- helpers --- */

static void three_allocs(void *arg)
{
	int *nr_cut_short = arg;
	void *a = mem_alloc(1), *b = NULL, *c = NULL;

	if (a)
		b = mem_zalloc(1);
	if (b)
		c = mem_alloc(1);
	*nr_cut_short += !c;
	free(a);
	free(b);
	free(c);
}

TEST(each_allocation_fails_once)
{
	int nr_cut_short = 0;

	ASSERT_EQ(for_each_failing_alloc(three_allocs, &nr_cut_short), 3);
	EXPECT_EQ(nr_cut_short, 3);
	/* And afterwards none does. */
	three_allocs(&nr_cut_short);
	EXPECT_EQ(nr_cut_short, 3);
}

TEST(allocations_are_counted)
{
	int nr_cut_short = 0;

	fail_nth_alloc(0);
	three_allocs(&nr_cut_short);
	EXPECT_EQ(alloc_count(), 3);
	EXPECT_EQ(nr_cut_short, 0);
	fail_nth_alloc(2);
	three_allocs(&nr_cut_short);
	EXPECT_EQ(alloc_count(), 2);
	EXPECT_EQ(nr_cut_short, 1);
}

TEST(guarded_buffers_of_every_length)
{
	for (size_t len = 0; len < 9000; len += 1 + len / 7) {
		char *p = guard_alloc(len), *q = guard_alloc_before(len);

		memset(p, 1, len);
		memset(q, 2, len);
		EXPECT_EQ(((uintptr_t)p + len) % 4096, 0);
		EXPECT_EQ((uintptr_t)q % 4096, 0);
		guard_free(p, len);
		guard_free_before(q, len);
	}
}

TEST(a_seed_repeats_its_numbers)
{
	struct rng a, b;
	bool differs = false;

	rng_init(&a);
	rng_init(&b);
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(rng_next(&a), rng_next(&b));
	rng_init_seed(&b, a.state + 1);
	for (int i = 0; i < 100; i++)
		differs |= rng_next(&a) != rng_next(&b);
	EXPECT_TRUE(differs);
	for (int i = 0; i < 1000; i++)
		ASSERT_LT(rng_below(&a, 7), 7);
}

TEST(feeding_covers_the_input)
{
	struct rng rng;

	rng_init(&rng);
	for (enum feeding how = FEED_WHOLE; how <= FEED_RANDOM; how++) {
		for (size_t len = 0; len < 300; len++) {
			size_t n, sum = 0, pieces = 0;
			struct feed f;

			feed_init(&f, how, len, &rng);
			while ((n = feed_next(&f))) {
				sum += n;
				pieces++;
			}
			ASSERT_EQ(sum, len);
			if (how != FEED_RANDOM)
				ASSERT_EQ(pieces, how == FEED_WHOLE ? len > 0 : len);
		}
	}
}
