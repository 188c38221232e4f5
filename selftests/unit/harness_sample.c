/* SPDX-License-Identifier: MIT */
/* Cases that go wrong in every way the harness must notice; run and judged by harness_selftest. */
#include "selftests/harness/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *needs(void)
{
	return getenv("SAMPLE_NEEDS");
}

PROGRAM_NEEDS(needs)

TEST(passes)
{
	int i = 0;

	/* Compared as numbers, whatever the types; each side evaluated once. */
	ASSERT_EQ(++i, (u8)1);
	ASSERT_LT(-1, (size_t)0);
	ASSERT_GE((u64)-1, 5);
	ASSERT_NE("a", NULL);
	ASSERT_STREQ("abc", "abc");
	ASSERT_MEMEQ("a\0b", "a\0b", 3);
	ASSERT_VIEW_EQ(((struct view){ "abcd", 3 }), "abc");
	ASSERT_TRUE(i == 1);
	ASSERT_OK(0);
}

TEST(assert_ends)
{
	printf("before\nno newline");
	ASSERT_EQ(1 + 1, 3);
	printf("not reached\n");
}

TEST(expect_goes_on)
{
	EXPECT_LT(7, -7);
	EXPECT_OK(-EINVAL);
	EXPECT_STREQ("one", NULL);
	EXPECT_MEMEQ("0123456789", "01234X6789", 10);
	EXPECT_VIEW_EQ(VIEW("abc"), "abcd");
	EXPECT_FALSE(true);
	NOTE("reached the end");
}

TEST(crashes)
{
	raise(SIGKILL);
}

TEST(exits)
{
	_exit(3);
}

TEST(skips)
{
	SKIP("io_uring: %s", "refused");
	raise(SIGKILL);
}

TEST(fails_before_skip)
{
	EXPECT_EQ(1, 2);
	SKIP("io_uring: no");
}

/* The grandchild must go with the case, though it does not hear SIGTERM and holds the pipe. */
TEST(hangs)
{
	time_limit(1);
	if (fork() == 0) {
		signal(SIGTERM, SIG_IGN);
		pause();
		_exit(0);
	}
	printf("group %d\n", getpgrp());
	pause();
}

TEST(overreads)
{
	volatile const char *p = guard_copy("abc", 3);

	ASSERT_EQ(p[2], 'c');
	NOTE("the next read crashes");
	NOTE("read %d", p[3]);
}

TEST(underreads)
{
	volatile const char *p = guard_alloc_before(3);

	ASSERT_EQ(p[0], 0);
	NOTE("the next read crashes");
	NOTE("read %d", p[-1]);
}

FIXTURE(plain)
{
	int n;
};

FIXTURE_SETUP(plain)
{
	ASSERT_EQ(self->n, 0);
	self->n = 5;
}

FIXTURE_TEARDOWN(plain)
{
	NOTE("tear-down sees %d", self->n);
}

TEST_F(plain, torn_down_after_failure)
{
	ASSERT_EQ(self->n, 5);
	self->n = 6;
	ASSERT_TRUE(false);
}

FIXTURE(varied)
{
	int doubled;
};

FIXTURE_VARIANT(varied)
{
	int n;
};

VARIANT(varied, one) = { .n = 1 };
VARIANT(varied, two) = { .n = 2 };

FIXTURE_SETUP(varied)
{
	if (variant->n == 2)
		SKIP("cpus: not in this variant");
	self->doubled = variant->n * 2;
}

FIXTURE_TEARDOWN(varied)
{
	NOTE("torn down %d", self->doubled);
}

TEST_F(varied, doubles)
{
	ASSERT_EQ(self->doubled, 2);
}

/* So that one test can see whether a leak is noticed, where the build can notice it. */
TEST(leaks)
{
	char *volatile p = malloc(100);

	ASSERT_NOT_NULL(p);
	p = NULL;
}
