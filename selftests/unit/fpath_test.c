/* SPDX-License-Identifier: MIT */
/* Paths of requests as names below a folder, and no others. */
#include "selftests/harness/harness.h"
#include "server/fpath.h"
#include "server/mime.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *raw;
	const char *want; /* NULL: no path */
} decodings[] = {
	{ "", "" },
	{ "/", "/" },
	{ "/a.txt", "/a.txt" },
	{ "/%61.txt", "/a.txt" },
	{ "/%C3%A4%c3%bc", "/\xc3\xa4\xc3\xbc" },
	{ "/a%20b+c", "/a b+c" },
	{ "/%2561", "/%61" }, /* once */
	{ "/%252e%252e", "/%2e%2e" },
	{ "/%5c", "/\\" },
	{ "/%2e%2e/x", "/../x" }, /* for fpath_allowed() to judge */
	{ "/a%2fb", NULL },
	{ "/a%2Fb", NULL },
	{ "/a%00", NULL },
	{ "/%", NULL },
	{ "/%4", NULL },
	{ "/%4g", NULL },
	{ "/%g4", NULL },
	{ "/%%41", NULL },
};

TEST(escapes_are_decoded_once)
{
	for (size_t i = 0; i < ARRAY_SIZE(decodings); i++) {
		size_t len = strlen(decodings[i].raw);
		char *p = guard_copy(decodings[i].raw, len), room[FPATH_MAX];
		struct view out;
		int err = fpath_decode((struct view){ p, len }, room, &out);

		if (!decodings[i].want)
			EXPECT_EQ(err, -ENOENT);
		else if (ASSERT_OK(err), true)
			EXPECT_VIEW_EQ(out, decodings[i].want);
		guard_free(p, len);
	}
}

TEST(as_long_as_allowed)
{
	char raw[FPATH_MAX * 3 + 9], room[FPATH_MAX];
	struct view out;

	memset(raw, 'a', sizeof(raw));
	EXPECT_OK(fpath_decode((struct view){ raw, FPATH_MAX - 1 }, room, &out));
	EXPECT_EQ(fpath_decode((struct view){ raw, FPATH_MAX }, room, &out), -ENOENT);
	EXPECT_EQ(fpath_decode((struct view){ raw, sizeof(raw) }, room, &out), -ENOENT);
	for (size_t i = 0; i + 3 <= sizeof(raw); i += 3)
		memcpy(raw + i, "%41", 3);
	EXPECT_OK(fpath_decode((struct view){ raw, (FPATH_MAX - 1) * 3 }, room, &out));
	EXPECT_EQ(out.len, FPATH_MAX - 1);
	EXPECT_EQ(fpath_decode((struct view){ raw, FPATH_MAX * 3 }, room, &out), -ENOENT);
}

static const struct {
	const char *path;
	bool want;
} allowed[] = {
	{ "", true },
	{ "/", true },
	{ "/a", true },
	{ "/a/", true },
	{ "/a/b.c", true },
	{ "/a..b/c..", true },
	{ "/a\\..\\b", true }, /* a strange name, no way up */
	{ "/.well-known", true },
	{ "/.well-known/acme", true },
	{ "a", false },
	{ "//", false },
	{ "//a", false },
	{ "/a//b", false },
	{ "/a//", false },
	{ "/.", false },
	{ "/./a", false },
	{ "/..", false },
	{ "/../a", false },
	{ "/a/..", false },
	{ "/a/../b", false },
	{ "/...", false },
	{ "/.a", false },
	{ "/a/.b/c", false },
	{ "/a/.well-known", false },
	{ "/.well-known/.a", false },
	{ "/.well-knownx", false },
};

TEST(hidden_and_empty_segments)
{
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		if (fpath_allowed(view_of(allowed[i].path)) != allowed[i].want)
			NOTE("%s", allowed[i].path);
		EXPECT_EQ(fpath_allowed(view_of(allowed[i].path)), allowed[i].want);
	}
	EXPECT_FALSE(fpath_allowed((struct view){ "/a\0b", 4 }));
}

/* --- with real files --- */

FIXTURE(tree)
{
	char dir[64];
	int root;
};

FIXTURE_VARIANT(tree)
{
	int (*open)(int root, const char *path);
	bool links; /* follows those that stay within */
};

VARIANT(tree, openat2) = { fpath_open, true };
VARIANT(tree, portable) = { fpath_open_portable, false };

static void put(struct self_tree *self, const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void make_link(struct self_tree *self, const char *to, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	ASSERT_EQ(symlink(to, path), 0);
}

FIXTURE_SETUP(tree)
{
	char path[128];

	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-fpath-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/root%s", self->dir, i ? "/sub" : "");
		ASSERT_EQ(mkdir(path, 0755), 0);
	}
	put(self, "secret", "secret");
	put(self, "root/a", "a");
	put(self, "root/sub/b", "b");
	make_link(self, "sub/b", "root/link-in");
	make_link(self, "sub", "root/dir-in");
	make_link(self, "../secret", "root/link-out");
	make_link(self, "..", "root/dir-out");
	make_link(self, "/etc/passwd", "root/link-abs");
	make_link(self, "loop", "root/loop");
	snprintf(path, sizeof(path), "%s/root/fifo", self->dir);
	ASSERT_EQ(mkfifo(path, 0644), 0);
	snprintf(path, sizeof(path), "%s/root", self->dir);
	self->root = fpath_open_root(path);
	ASSERT_GE(self->root, 0);
}

FIXTURE_TEARDOWN(tree)
{
	char command[128];

	close(self->root);
	snprintf(command, sizeof(command), "rm -r %s", self->dir);
	EXPECT_EQ(system(command), 0);
}

/* The first byte of a file, '/' for a folder, 0 for nothing. */
static char look(const struct variant_tree *variant, int root, const char *path)
{
	int fd = variant->open(root, path);
	struct stat st;
	char c = 0;

	if (fd < 0)
		return 0;
	EXPECT_OK(fstat(fd, &st));
	EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	if (S_ISDIR(st.st_mode))
		c = '/';
	else if (!S_ISREG(st.st_mode) || read(fd, &c, 1) != 1)
		c = '?';
	close(fd);
	return c;
}

TEST_F(tree, opens_what_is_below)
{
	EXPECT_EQ(look(variant, self->root, "a"), 'a');
	EXPECT_EQ(look(variant, self->root, "sub/b"), 'b');
	EXPECT_EQ(look(variant, self->root, "sub"), '/');
	EXPECT_EQ(look(variant, self->root, "."), '/');
	EXPECT_EQ(look(variant, self->root, "link-in"), variant->links ? 'b' : 0);
	EXPECT_EQ(look(variant, self->root, "dir-in/b"), variant->links ? 'b' : 0);
}

/* Even if fpath_allowed() had not been asked. */
TEST_F(tree, and_nothing_else)
{
	static const char *const outside[] = { "link-out", "link-abs",   "dir-out/secret",
					       "loop",     "none",       "a/b",
					       "sub/none", "/etc/passwd" };

	for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
		EXPECT_EQ(look(variant, self->root, outside[i]), 0);
	if (variant->links) {
		EXPECT_EQ(look(variant, self->root, "../secret"), 0);
		EXPECT_EQ(look(variant, self->root, "sub/../../secret"), 0);
		EXPECT_EQ(look(variant, self->root, "fifo"), 0);
	}
}

TEST(types)
{
	static const char *const cases[][2] = {
		{ "a.html", "text/html; charset=utf-8" },
		{ "/x/a.CSS", "text/css; charset=utf-8" },
		{ "a.min.js", "text/javascript; charset=utf-8" },
		{ "a.json", "application/json" },
		{ "a.svg", "image/svg+xml" },
		{ "a.woff2", "font/woff2" },
		{ "a.wasm", "application/wasm" },
		{ "a.webmanifest", "application/manifest+json" },
		{ "3.3gp", "video/3gpp" },
		{ "a.zst", "application/zstd" },
		{ "html", "application/octet-stream" },
		{ "a.", "application/octet-stream" },
		{ "a.html/b", "application/octet-stream" },
		{ "a.unknown-extension", "application/octet-stream" },
		{ "", "application/octet-stream" },
		{ ".", "application/octet-stream" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_STREQ(mime_of(view_of(cases[i][0]))->type, cases[i][1]);
}
