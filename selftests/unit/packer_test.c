/* SPDX-License-Identifier: MIT */
/* Files that are compressed on a thread: what comes back, and what is thrown away. */
#include "selftests/harness/harness.h"
#include "server/packer.h"

#include <brotli/decode.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zlib.h>

#define LATER (1ull << 40)
#define LARGE (FENTRY_SMALL * 4)

FIXTURE(pack)
{
	char dir[64];
	int wake_fd;
	struct fcache c;
	struct packer p;
	struct froot *root;
	struct fcache_now now;
	char *text;
};

static void wake(void *arg)
{
	u64 one = 1;

	ASSERT_EQ(write(*(int *)arg, &one, sizeof(one)), sizeof(one));
}

static void put(struct self_pack *self, const char *name, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, self->text, len), len);
	close(fd);
}

FIXTURE_SETUP(pack)
{
	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-packer-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	self->wake_fd = eventfd(0, EFD_CLOEXEC);
	ASSERT_GE(self->wake_fd, 0);
	self->text = malloc(LARGE);
	ASSERT_NOT_NULL(self->text);
	for (size_t i = 0; i < LARGE; i++)
		self->text[i] = "some text that repeats \n"[i * i % 24];
	ASSERT_OK(fcache_init(&self->c, &FCACHE_LIMITS_DEFAULT));
	packer_init(&self->p, &self->c, wake, &self->wake_fd);
	ASSERT_OK(froot_new(&self->root, self->dir, false));
	self->now = (struct fcache_now){ NSEC_PER_SEC, LATER };
	put(self, "a.js", 5000);
	put(self, "large.js", LARGE);
}

FIXTURE_TEARDOWN(pack)
{
	char command[96];

	packer_fini(&self->p);
	fcache_fini(&self->c);
	froot_put(self->root);
	close(self->wake_fd);
	free(self->text);
	snprintf(command, sizeof(command), "rm -r %s", self->dir);
	EXPECT_EQ(system(command), 0);
}

static struct fnode *find(struct self_pack *self, const char *path)
{
	struct fnode *n;

	ASSERT_OK(fcache_find(&self->c, self->root, view_of(path), self->now, &n));
	return n;
}

/* Until so many are done; then they are in the cache or thrown away. */
static void reap(struct self_pack *self, u32 nr)
{
	struct pollfd pfd = { .fd = self->wake_fd, .events = POLLIN };
	u64 count;

	while (__atomic_load_n(&self->p.nr_done, __ATOMIC_ACQUIRE) < nr) {
		ASSERT_EQ(poll(&pfd, 1, 8000), 1);
		ASSERT_EQ(read(self->wake_fd, &count, sizeof(count)), sizeof(count));
	}
	packer_reap(&self->p);
}

static void expect_text(struct self_pack *self, const struct fentry *e, size_t len)
{
	char *out = malloc(LARGE);
	size_t n = LARGE;

	ASSERT_NOT_NULL(out);
	if (e->coding == CODING_BR) {
		EXPECT_EQ(BrotliDecoderDecompress(e->body_len, (const u8 *)fentry_body(e), &n,
						  (u8 *)out),
			  BROTLI_DECODER_RESULT_SUCCESS);
	} else {
		z_stream z = { .next_in = (Bytef *)(uintptr_t)fentry_body(e),
			       .avail_in = (uInt)e->body_len,
			       .next_out = (Bytef *)out,
			       .avail_out = LARGE };

		ASSERT_EQ(inflateInit2(&z, 15 + 16), Z_OK);
		EXPECT_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
		n = z.total_out;
		inflateEnd(&z);
	}
	EXPECT_EQ(n, len);
	EXPECT_MEMEQ(out, self->text, min(n, len));
	free(out);
}

TEST_F(pack, both_codings_of_small_and_large)
{
	static const char *const paths[] = { "/a.js", "/large.js" };

	for (int i = 0; i < 2; i++) {
		fcache_want(&self->c, find(self, paths[i]), CODING_GZIP);
		fcache_want(&self->c, find(self, paths[i]), CODING_BR);
	}
	reap(self, 4);
	for (int i = 0; i < 2; i++) {
		const struct fnode *n = find(self, paths[i]);

		EXPECT_EQ(n->codings, 1u << CODING_IDENTITY | 1u << CODING_GZIP | 1u << CODING_BR);
		expect_text(self, n->entries[CODING_GZIP], i ? LARGE : 5000);
		expect_text(self, n->entries[CODING_BR], i ? LARGE : 5000);
	}
	/* They live as long as the file is what it was, and are asked for once. */
	self->now.ns += 5 * NSEC_PER_SEC;
	EXPECT_NOT_NULL(find(self, "/a.js")->entries[CODING_GZIP]);
	EXPECT_EQ(self->c.stats.changed, 0);
	EXPECT_EQ(fcache_codings(&self->c, find(self, "/a.js")), find(self, "/a.js")->codings);
}

TEST_F(pack, thrown_away_when_the_file_has_changed)
{
	fcache_want(&self->c, find(self, "/a.js"), CODING_GZIP);
	fcache_want(&self->c, find(self, "/large.js"), CODING_GZIP);
	put(self, "a.js", 4000);
	self->now.ns += 5 * NSEC_PER_SEC;
	find(self, "/a.js");
	fcache_forget(&self->c, find(self, "/large.js"));
	reap(self, 2);
	EXPECT_EQ(find(self, "/a.js")->codings, 1u << CODING_IDENTITY);
	EXPECT_EQ(find(self, "/large.js")->codings, 1u << CODING_IDENTITY);
	/* The new version is asked for anew. */
	fcache_want(&self->c, find(self, "/a.js"), CODING_GZIP);
	reap(self, 1);
	expect_text(self, find(self, "/a.js")->entries[CODING_GZIP], 4000);
}

TEST_F(pack, not_worth_it)
{
	struct rng rng;

	put(self, "short.js", KIB - 1);
	put(self, "picture.png", 5000);
	EXPECT_FALSE(find(self, "/short.js")->packs);
	EXPECT_FALSE(find(self, "/picture.png")->packs);
	EXPECT_TRUE(find(self, "/a.js")->packs);
	rng_init(&rng);
	rng_fill(&rng, self->text, 5000);
	put(self, "noise.js", 5000);
	fcache_want(&self->c, find(self, "/noise.js"), CODING_GZIP);
	reap(self, 1);
	EXPECT_EQ(find(self, "/noise.js")->codings, 1u << CODING_IDENTITY);
	EXPECT_EQ(fcache_codings(&self->c, find(self, "/noise.js")) & 1u << CODING_GZIP, 0);
}

/* What is made counts, and the others go for it. */
TEST_F(pack, within_the_bounds)
{
	char name[16];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%d.js", i);
		put(self, name, 5000);
		snprintf(name, sizeof(name), "/%d.js", i);
		find(self, name);
	}
	self->c.limits.max_bytes = self->c.bytes;
	fcache_want(&self->c, find(self, "/0.js"), CODING_GZIP);
	reap(self, 1);
	EXPECT_LE(self->c.bytes, self->c.limits.max_bytes);
	EXPECT_EQ(self->c.stats.evicted, 1);
	EXPECT_NOT_NULL(find(self, "/0.js")->entries[CODING_GZIP]);
}

/* The end does not wait for what is still to be done, and loses nothing. */
TEST_F(pack, ends_with_work_left)
{
	for (int i = 0; i < 50; i++) {
		struct fnode *n = find(self, "/large.js");

		fcache_want(&self->c, n, i % 2 ? CODING_BR : CODING_GZIP);
		fcache_forget(&self->c, n);
	}
}
