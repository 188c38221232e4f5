/* SPDX-License-Identifier: MIT */
/* The file cache: bounds, order, versions, what is held. */
#include "selftests/harness/harness.h"
#include "server/fcache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LATER (1ull << 40) /* a time at which every file has settled */

FIXTURE(files)
{
	char dir[64];
	struct fcache c;
	struct froot *root;
	struct fcache_now now;
};

static struct fcache_limits limits = FCACHE_LIMITS_DEFAULT;

FIXTURE_SETUP(files)
{
	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-fcache-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	ASSERT_OK(froot_new(&self->root, self->dir, false));
	ASSERT_OK(fcache_init(&self->c, &limits));
	self->now = (struct fcache_now){ NSEC_PER_SEC, LATER };
}

FIXTURE_TEARDOWN(files)
{
	char command[96];

	fcache_fini(&self->c);
	froot_put(self->root);
	snprintf(command, sizeof(command), "rm -r %s", self->dir);
	EXPECT_EQ(system(command), 0);
}

static void path_of(const struct self_files *self, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", self->dir, name);
}

/* Like an editor: the file is emptied and written anew. */
static void put(const struct self_files *self, const char *name, const char *text)
{
	char path[128];
	int fd;

	path_of(self, name, path);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Like a deploy: a complete file takes the place of the other. */
static void replace(const struct self_files *self, const char *name, const char *text)
{
	char from[128], to[128];

	put(self, "new", text);
	path_of(self, "new", from);
	path_of(self, name, to);
	ASSERT_EQ(rename(from, to), 0);
}

static void put_large(const struct self_files *self, const char *name)
{
	char path[128];

	put(self, name, "x");
	path_of(self, name, path);
	ASSERT_EQ(truncate(path, FENTRY_SMALL + 1), 0);
}

static struct fnode *find(struct self_files *self, const char *path)
{
	struct fnode *n = NULL;
	int err = fcache_find(&self->c, self->root, view_of(path), self->now, &n);

	return err ? NULL : n;
}

/* The body of a small file; "" when there is none. */
static const char *body(struct self_files *self, const char *path)
{
	static char text[256];
	struct fnode *n = find(self, path);

	if (!n || n->redirect)
		return "";
	snprintf(text, sizeof(text), "%.*s", (int)n->entries[0]->body_len,
		 fentry_body(n->entries[0]));
	return text;
}

static void pass(struct self_files *self, u64 ms)
{
	self->now.ns += ms * NSEC_PER_MSEC;
}

static int nr_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

TEST_F(files, found_once_then_remembered)
{
	put(self, "a", "text");
	EXPECT_STREQ(body(self, "/a"), "text");
	EXPECT_STREQ(body(self, "/a"), "text");
	EXPECT_EQ(self->c.stats.misses, 1);
	EXPECT_EQ(self->c.stats.hits, 1);
	EXPECT_NULL(find(self, "/b"));
	EXPECT_NULL(find(self, "/../a"));
	EXPECT_NULL(find(self, "/.a"));
	EXPECT_EQ(self->c.nr_nodes, 1);
	EXPECT_NOT_NULL(fcache_peek(&self->c, self->root, VIEW("/a")));
	EXPECT_NULL(fcache_peek(&self->c, self->root, VIEW("/b")));
}

TEST_F(files, looked_at_again_after_a_while)
{
	char path[128];

	put(self, "a", "one");
	EXPECT_STREQ(body(self, "/a"), "one");
	replace(self, "a", "two");
	pass(self, 4999);
	EXPECT_STREQ(body(self, "/a"), "one");
	EXPECT_EQ(self->c.stats.rechecks, 0);
	pass(self, 1);
	EXPECT_STREQ(body(self, "/a"), "two");
	EXPECT_EQ(self->c.stats.rechecks, 1);
	pass(self, 5000);
	EXPECT_STREQ(body(self, "/a"), "two");
	EXPECT_EQ(self->c.stats.rechecks, 2);
	EXPECT_EQ(self->c.stats.changed, 1);
	pass(self, 5000);
	path_of(self, "a", path);
	ASSERT_EQ(unlink(path), 0);
	EXPECT_NULL(find(self, "/a"));
	EXPECT_EQ(self->c.nr_nodes, 0);
}

TEST_F(files, immutable_ones_are_not)
{
	struct froot *root;
	struct fnode *n;

	put(self, "a", "one");
	ASSERT_OK(froot_new(&root, self->dir, true));
	ASSERT_OK(fcache_find(&self->c, root, VIEW("/a"), self->now, &n));
	replace(self, "a", "two");
	pass(self, 1000000);
	ASSERT_OK(fcache_find(&self->c, root, VIEW("/a"), self->now, &n));
	EXPECT_EQ(n->entries[0]->body_len, 3);
	EXPECT_MEMEQ(fentry_body(n->entries[0]), "one", 3);
	EXPECT_EQ(self->c.stats.rechecks, 0);
	froot_put(root);
}

/* What is held stays whole and unchanged, whatever becomes of the file and of the cache. */
TEST_F(files, versions_do_not_mix)
{
	struct fentry *held;

	put(self, "a", "one");
	held = fentry_get(find(self, "/a")->entries[0]);
	replace(self, "a", "twotwo");
	pass(self, 5000);
	EXPECT_STREQ(body(self, "/a"), "twotwo");
	EXPECT_FALSE(view_eq(held->etag, find(self, "/a")->entries[0]->etag));
	fcache_clear(&self->c);
	EXPECT_EQ(held->body_len, 3);
	EXPECT_MEMEQ(fentry_body(held), "one", 3);
	fentry_put(held);
}

/* The same time and size, as reproducible builds make them: another tag all the same. */
TEST_F(files, the_tag_is_of_the_bytes)
{
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	char path[128], tag[64];
	struct fentry *e;

	put(self, "a", "one");
	path_of(self, "a", path);
	ASSERT_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
	e = find(self, "/a")->entries[0];
	snprintf(tag, sizeof(tag), "%.*s", (int)e->etag.len, e->etag.p);
	put(self, "b", "two");
	path_of(self, "b", path);
	ASSERT_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
	e = find(self, "/b")->entries[0];
	EXPECT_FALSE(view_eq(e->etag, view_of(tag)));
	put(self, "c", "one");
	e = find(self, "/c")->entries[0];
	EXPECT_TRUE(view_eq(e->etag, view_of(tag)));
}

/* A file that was written just now is read again when its times can be believed. */
TEST_F(files, young_files_are_read_again)
{
	struct stat st;
	char path[128];

	put(self, "a", "one");
	path_of(self, "a", path);
	ASSERT_EQ(stat(path, &st), 0);
	self->now.second = (u64)st.st_mtim.tv_sec;
	EXPECT_STREQ(body(self, "/a"), "one");
	EXPECT_TRUE(find(self, "/a")->young);
	for (int i = 0; i < 3; i++) {
		pass(self, 1000);
		self->now.second++;
		EXPECT_STREQ(body(self, "/a"), "one");
	}
	EXPECT_FALSE(find(self, "/a")->young);
	EXPECT_GE(self->c.stats.misses, 3);
	pass(self, 1000);
	EXPECT_STREQ(body(self, "/a"), "one");
	EXPECT_EQ(self->c.stats.misses, self->c.stats.changed + 1);
}

/* Written in place: the old version until it has settled, or for two seconds. */
TEST_F(files, kept_while_it_is_written)
{
	struct stat st;
	char path[128];

	put(self, "a", "one");
	path_of(self, "a", path);
	EXPECT_STREQ(body(self, "/a"), "one");
	put(self, "a", "tw");
	ASSERT_EQ(stat(path, &st), 0);
	self->now.second = (u64)st.st_mtim.tv_sec;
	pass(self, 5000);
	EXPECT_STREQ(body(self, "/a"), "one");
	pass(self, 500);
	EXPECT_STREQ(body(self, "/a"), "one");
	EXPECT_EQ(self->c.stats.kept, 2);
	self->now.second += 2;
	pass(self, 500);
	EXPECT_STREQ(body(self, "/a"), "tw");
	/* It never settles: then it is read as it is. */
	self->now.second = LATER;
	pass(self, 5000);
	EXPECT_STREQ(body(self, "/a"), "tw");
	put(self, "a", "three");
	self->now.second = (u64)st.st_mtim.tv_sec;
	for (int i = 0; i < 5; i++) {
		pass(self, i ? 500 : 5000);
		EXPECT_STREQ(body(self, "/a"), i < 4 ? "tw" : "three");
	}
}

/* A descriptor has no old bytes: its change is seen at once. */
TEST_F(files, large_files_are_checked_each_time)
{
	struct fentry *held;
	char path[128];

	put_large(self, "a");
	path_of(self, "a", path);
	held = fentry_get(find(self, "/a")->entries[0]);
	EXPECT_GE(held->fd, 0);
	EXPECT_EQ(held->body_len, FENTRY_SMALL + 1);
	ASSERT_EQ(truncate(path, FENTRY_SMALL + 7), 0);
	EXPECT_EQ(find(self, "/a")->entries[0]->body_len, FENTRY_SMALL + 7);
	EXPECT_EQ(held->body_len, FENTRY_SMALL + 1);
	fentry_put(held);
}

TEST_F(files, folders)
{
	char path[128];

	path_of(self, "sub", path);
	ASSERT_EQ(mkdir(path, 0755), 0);
	EXPECT_NULL(find(self, "/sub"));
	EXPECT_NULL(find(self, "/sub/"));
	EXPECT_NULL(find(self, ""));
	put(self, "sub/index.html", "sub");
	put(self, "index.html", "top");
	ASSERT_NOT_NULL(find(self, "/sub"));
	EXPECT_TRUE(find(self, "/sub")->redirect);
	EXPECT_TRUE(find(self, "")->redirect);
	EXPECT_STREQ(body(self, "/sub/"), "sub");
	EXPECT_STREQ(body(self, "/"), "top");
}

TEST_F(files, codings)
{
	struct fnode *n;

	put(self, "a.js", "plain");
	put(self, "a.js.gz", "gz");
	put(self, "a.js.br", "br");
	n = find(self, "/a.js");
	ASSERT_NOT_NULL(n);
	EXPECT_EQ(n->codings, 1u << CODING_IDENTITY | 1u << CODING_GZIP | 1u << CODING_BR);
	EXPECT_EQ(n->entries[CODING_BR]->body_len, 2);
	/* One that comes or goes makes another node. */
	put(self, "a.js.zst", "zst");
	pass(self, 5000);
	EXPECT_EQ(find(self, "/a.js")->codings, 15);
}

/* The longest unused go first. */
TEST_F(files, descriptors_are_bounded)
{
	char name[16];
	int before;

	self->c.limits.max_files = 4;
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_large(self, name);
	}
	before = nr_open();
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "/%d", i);
		ASSERT_NOT_NULL(find(self, name));
		pass(self, 200);
		if (i >= 2)
			ASSERT_NOT_NULL(find(self, "/2"));
		pass(self, 200);
		EXPECT_LE(nr_open() - before, 4);
	}
	EXPECT_EQ(self->c.nr_files, 4);
	EXPECT_EQ(self->c.stats.evicted, 2);
	EXPECT_NOT_NULL(fcache_peek(&self->c, self->root, VIEW("/2")));
	EXPECT_NOT_NULL(fcache_peek(&self->c, self->root, VIEW("/5")));
	EXPECT_NULL(fcache_peek(&self->c, self->root, VIEW("/0")));
	EXPECT_NULL(fcache_peek(&self->c, self->root, VIEW("/1")));
	fcache_clear(&self->c);
	EXPECT_EQ(nr_open(), before);
	EXPECT_EQ(self->c.bytes, 0);
	EXPECT_EQ(self->c.nr_files, 0);
}

/* 100,000 paths, links to a few files: memory stays where it is told to. */
TEST_F(files, bytes_are_bounded)
{
	char name[32], to[128], from[128];
	u64 most = 0;

	time_limit(60);
	self->c.limits.max_bytes = MIB;
	put(self, "a", "a file of some bytes");
	path_of(self, "a", from);
	for (int i = 0; i < 100000; i++) {
		/* A link at a time: a folder with so many would be slow to remove. */
		snprintf(name, sizeof(name), "%d", i);
		path_of(self, name, to);
		ASSERT_EQ(link(from, to), 0);
		snprintf(name, sizeof(name), "/%d", i);
		ASSERT_STREQ(body(self, name), "a file of some bytes");
		ASSERT_EQ(unlink(to), 0);
		most = max(most, self->c.bytes);
	}
	EXPECT_LE(most, MIB);
	EXPECT_GT(most, MIB / 2);
	EXPECT_EQ(self->c.stats.misses, 100000);
	EXPECT_EQ(self->c.nr_nodes + self->c.stats.evicted, 100000);
}

static void visit(void *arg)
{
	static const char *const paths[] = { "/a", "/a", "/big", "/sub", "/none", "/sub/" };
	struct self_files *self = arg;
	struct froot *root;
	struct fcache c;

	if (froot_new(&root, self->dir, false))
		return;
	if (!fcache_init(&c, &limits)) {
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
			struct fnode *n;

			(void)!fcache_find(&c, root, view_of(paths[i]), self->now, &n);
		}
		fcache_fini(&c);
	}
	froot_put(root);
}

TEST_F(files, memory_runs_out)
{
	char path[128];
	int before;

	put(self, "a", "a");
	put(self, "a.gz", "a");
	put_large(self, "big");
	path_of(self, "sub", path);
	ASSERT_EQ(mkdir(path, 0755), 0);
	put(self, "sub/index.html", "sub");
	before = nr_open();
	EXPECT_GT(for_each_failing_alloc(visit, self), 8);
	EXPECT_EQ(nr_open(), before);
}
