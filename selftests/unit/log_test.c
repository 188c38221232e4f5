/* SPDX-License-Identifier: MIT */
/* The error log: whole entries, where they go, and that nobody waits for its reader. */
#include "server/log.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "selftests/harness/harness.h"

static char text[256 * KIB];

FIXTURE(log)
{
	int fds[2];
};

FIXTURE_SETUP(log)
{
	ASSERT_EQ(pipe2(self->fds, O_CLOEXEC), 0);
	/* As the server does: its own description of a pipe that others write to as well. */
	log_use(log_open_copy(self->fds[1]), false);
	ASSERT_GT(log_fd(), STDERR_FILENO);
}

FIXTURE_TEARDOWN(log)
{
	log_use(-1, false);
	close(self->fds[0]);
	close(self->fds[1]);
}

/* All that is in the pipe. */
static size_t drain(int fd)
{
	size_t n = 0;
	ssize_t got;

	ASSERT_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	return n;
}

static u32 lines_with(const char *word)
{
	u32 nr = 0;

	for (const char *p = text; (p = strstr(p, word)); p++)
		nr++;
	return nr;
}

TEST_F(log, line)
{
	char want[64];

	EXPECT_TRUE(log_warn("area: x=%d", 3));
	snprintf(want, sizeof(want), "[%d] warn: area: x=3\n", (int)getpid());
	drain(self->fds[0]);
	EXPECT_STREQ(text, want);
}

TEST_F(log, levels)
{
	log_level = LOG_LEVEL_WARN;
	EXPECT_TRUE(log_info("quiet"));
	EXPECT_TRUE(log_error("loud"));
	log_level = LOG_LEVEL_INFO;
	drain(self->fds[0]);
	EXPECT_EQ(lines_with("quiet"), 0);
	EXPECT_EQ(lines_with("loud"), 1);
}

/* The others' description of the pipe stays as it was. */
TEST_F(log, shared_description_is_left_alone)
{
	log_warn("x");
	EXPECT_EQ(fcntl(self->fds[1], F_GETFL) & O_NONBLOCK, 0);
	EXPECT_NE(fcntl(log_fd(), F_GETFL) & O_NONBLOCK, 0);
	EXPECT_NE(fcntl(log_fd(), F_GETFD) & FD_CLOEXEC, 0);
}

static void fill(u32 *passed, u32 *dropped)
{
	*passed = *dropped = 0;
	for (int i = 0; i < 3000; i++) {
		bool ok = log_warn("flood: %064d", i);

		*passed += ok;
		*dropped += !ok;
	}
}

/* Nobody reads: every call returns, what is lost is counted, and said before the next line. */
TEST_F(log, full_pipe)
{
	u32 passed, dropped;
	char want[80];

	fill(&passed, &dropped);
	ASSERT_GT(passed, 100);
	ASSERT_GT(dropped, 100);
	drain(self->fds[0]);
	EXPECT_EQ(lines_with("flood: "), passed);
	EXPECT_TRUE(log_warn("again"));
	drain(self->fds[0]);
	snprintf(want, sizeof(want), "warn: log: %u entries of the error log dropped", dropped);
	EXPECT_NOT_NULL(strstr(text, want));
	EXPECT_GT(strstr(text, "again"), strstr(text, want));
	EXPECT_TRUE(log_warn("once"));
	drain(self->fds[0]);
	EXPECT_EQ(lines_with("dropped"), 0);
}

/* stderr itself, of which nobody has made a description of our own: asked before it is written to. */
TEST_F(log, full_pipe_with_a_description_of_others)
{
	u32 passed, dropped;

	log_use(fcntl(self->fds[1], F_DUPFD_CLOEXEC, 3), false);
	ASSERT_EQ(fcntl(log_fd(), F_GETFL) & O_NONBLOCK, 0);
	fill(&passed, &dropped);
	EXPECT_GT(dropped, 100);
	drain(self->fds[0]);
	EXPECT_EQ(lines_with("flood: "), passed);
}

/* A backtrace: more than a pipe takes at once, and more than it takes at all. */
TEST_F(log, long_entries)
{
	enum { LEN = 40 * KIB };
	char *entry = malloc(2 * LEN);

	ASSERT_NOT_NULL(entry);
	for (size_t i = 0; i < 2 * LEN; i++)
		entry[i] = i % 100 == 99 ? '\n' : 'x';
	EXPECT_TRUE(log_entry(entry, LEN / 100 * 100));
	ASSERT_EQ(drain(self->fds[0]), LEN / 100 * 100);
	EXPECT_MEMEQ(text, entry, LEN / 100 * 100);
	/* The beginning is worth having, and its last line is whole. */
	EXPECT_FALSE(log_entry(entry, 2 * LEN / 100 * 100));
	drain(self->fds[0]);
	EXPECT_EQ(text[strlen(text) - 1], '\n');
	EXPECT_TRUE(log_warn("next"));
	drain(self->fds[0]);
	EXPECT_NOT_NULL(strstr(text, "log: 1 entries"));
	free(entry);
}

/* Another file under the same number: who was about to write does not hit a stranger's descriptor. */
TEST_F(log, moved_to_a_file)
{
	char path[] = "/tmp/hyperion-log-test-XXXXXX";
	int fd = mkstemp(path), number = log_fd(), want;
	FILE *f;

	ASSERT_GE(fd, 0);
	close(fd);
	want = log_open(path);
	ASSERT_GE(want, 0);
	log_use(want, true);
	EXPECT_EQ(log_fd(), number);
	EXPECT_EQ(fcntl(want, F_GETFD), -1);
	EXPECT_TRUE(log_warn("in the file"));
	EXPECT_EQ(drain(self->fds[0]), 0);
	f = fopen(path, "r");
	ASSERT_NOT_NULL(f);
	ASSERT_NOT_NULL(fgets(text, sizeof(text), f));
	fclose(f);
	unlink(path);
	/* 2026-11-23T05:02:29Z [1] warn: in the file */
	EXPECT_EQ(text[10], 'T');
	EXPECT_MEMEQ(text + 19, "Z [", 3);
	EXPECT_NOT_NULL(strstr(text, "] warn: in the file\n"));
}

TEST(files_that_cannot_be_opened)
{
	char folder[] = "/tmp/hyperion-log-test-XXXXXX", path[64];

	EXPECT_EQ(log_open("/nonexistent/log"), -ENOENT);
	EXPECT_EQ(log_open("/tmp"), -EISDIR);
	ASSERT_NOT_NULL(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/pipe", folder);
	ASSERT_EQ(mkfifo(path, 0600), 0);
	EXPECT_EQ(log_open(path), -ENXIO);
	unlink(path);
	rmdir(folder);
}

TEST(reader_is_gone)
{
	int fds[2];

	ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
	signal(SIGPIPE, SIG_IGN);
	log_use(fds[1], false);
	close(fds[0]);
	EXPECT_FALSE(log_warn("to nobody"));
	log_use(-1, false);
}
