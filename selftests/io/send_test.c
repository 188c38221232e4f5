/* SPDX-License-Identifier: MIT */
/* Files into sockets: from memory, from the disk, and what happens to them on the way. */
#include "selftests/harness/harness.h"
#include "selftests/io/conn_bed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_LEN (1500 * KIB + 123)
#define LONG_LEN (FILE_TRUST + 4 * MIB) /* for the one test that needs it */

FIXTURE(send)
{
	struct bed b;
	char *bytes, *in;
	int fd;
	struct stamp stamp;
};

FIXTURE_VARIANT(send)
{
	enum loop_kind kind;
};

VARIANT(send, uring) = { LOOP_URING };
VARIANT(send, epoll) = { LOOP_EPOLL };

static struct stamp stamp_now(int fd)
{
	struct stat st;

	ASSERT_OK(SYS(fstat(fd, &st)));
	return stamp_of(&st);
}

FIXTURE_SETUP(send)
{
	struct rng rng;

	bed_init(&self->b, variant->kind);
	rng_init(&rng);
	self->bytes = malloc(FILE_LEN);
	self->in = malloc(FILE_LEN + 1);
	ASSERT_TRUE(self->bytes && self->in);
	rng_fill(&rng, self->bytes, FILE_LEN);
	/* In the tree, which is on a disk more often than the folder for temporary files. */
	self->fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(pwrite(self->fd, self->bytes, FILE_LEN, 0), FILE_LEN);
	self->stamp = stamp_now(self->fd);
}

FIXTURE_TEARDOWN(send)
{
	bed_fini(&self->b);
	close(self->fd);
	free(self->bytes);
	free(self->in);
}

/* 1, 0, or -errno where the file system cannot say. */
static int is_resident(int fd)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	if (preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1)
		return 1;
	return errno == EAGAIN ? 0 : -errno;
}

/* Out of the page cache; false where that cannot be seen to happen. */
static bool make_cold(int fd)
{
	ASSERT_OK(SYS(fsync(fd)));
	ASSERT_OK(SYS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)));
	return is_resident(fd) == 0;
}

static void queue_range(struct conn *c, struct self_send *self, u64 off, u64 len)
{
	ASSERT_OK(outq_file_version(&c->link.out, self->fd, off, len, NULL, &self->stamp));
	conn_touch(c);
}

static void expect_range(struct self_send *self, int peer, u64 off, u64 len)
{
	ASSERT_EQ(bed_read(&self->b, peer, self->in, len), (ssize_t)len);
	ASSERT_MEMEQ(self->in, self->bytes + off, len);
}

TEST_F(send, from_memory_nothing_goes_through_a_pipe)
{
	int peer = bed_connect(&self->b, &bed_proto);

	if (is_resident(self->fd) < 0)
		SKIP("page cache: this file system does not say what is in memory");
	queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
	expect_range(self, peer, 0, FILE_LEN);
	EXPECT_EQ(self->b.conns.sender.nr_cold, 0);
	EXPECT_GE(self->b.conns.sender.nr_windows, FILE_LEN / FILE_WINDOW);
	close(peer);
}

TEST_F(send, from_the_disk)
{
	struct sender *s = &self->b.conns.sender;
	int peer = bed_connect(&self->b, &bed_proto);
	bool cold = make_cold(self->fd);

	queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
	expect_range(self, peer, 0, FILE_LEN);
	bed_settle(&self->b);
	/* Read-ahead may have been faster than we for some of them. */
	if (cold && variant->kind == LOOP_URING)
		EXPECT_GT(s->nr_cold, 0);
	if (variant->kind == LOOP_EPOLL)
		EXPECT_EQ(s->nr_cold, 0);
	EXPECT_EQ(s->pipes.nr_lent, 0);
	close(peer);
}

/* Memory, ranges that begin and end anywhere, memory: in this order. */
TEST_F(send, between_other_bytes)
{
	struct conn *c;
	int peer = bed_connect(&self->b, &bed_proto);
	const struct {
		u64 off, len;
	} ranges[] = { { 1, 1 }, { 4095, 2 }, { 100001, 300007 }, { FILE_LEN - 9, 9 } };

	c = bed_conn(&self->b);
	make_cold(self->fd);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		ASSERT_OK(outq_copy(&c->link.out, "head", 4));
		queue_range(c, self, ranges[i].off, ranges[i].len);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		ASSERT_EQ(bed_read(&self->b, peer, self->in, 4), 4);
		ASSERT_MEMEQ(self->in, "head", 4);
		expect_range(self, peer, ranges[i].off, ranges[i].len);
	}
	close(peer);
}

/* Fewer pipes than clients: each has its turn. */
TEST_F(send, pipes_are_waited_for)
{
	int peers[5];

	self->b.conns.sender.pipes.max = 1;
	for (int i = 0; i < 5; i++) {
		peers[i] = bed_connect(&self->b, &bed_proto);
		make_cold(self->fd);
		queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
		bed_turn(&self->b, 0);
	}
	for (int i = 4; i >= 0; i--)
		expect_range(self, peers[i], 0, FILE_LEN);
	bed_settle(&self->b);
	EXPECT_EQ(self->b.conns.sender.pipes.nr_lent, 0);
	for (int i = 0; i < 5; i++)
		close(peers[i]);
}

/* What the connections have left to send, bytes. */
static u64 queued(struct bed *b)
{
	struct list *pos;
	u64 len = 0;

	for (pos = b->conns.all.next; pos != &b->conns.all; pos = pos->next)
		len += outq_len(&list_entry(pos, struct conn, all)->link.out);
	return len;
}

/* All five get their turns although those in front are not read. */
static void send_five(struct self_send *self, u64 len)
{
	u64 before, budget;
	int peers[5];

	for (int i = 0; i < 5; i++) {
		peers[i] = bed_connect(&self->b, &bed_proto);
		queue_range(bed_conn(&self->b), self, 0, len);
	}
	do {
		before = queued(&self->b);
		bed_turn(&self->b, 0);
		budget = self->b.conns.sender.turn_len;
		ASSERT_LE(before - queued(&self->b), budget);
	} while (queued(&self->b) < before);
	for (int i = 4; i >= 0; i--)
		expect_range(self, peers[i], 0, len);
	EXPECT_TRUE(list_empty(&self->b.conns.sender.later));
	for (int i = 0; i < 5; i++)
		close(peers[i]);
}

TEST_F(send, alone_nobody_is_put_off)
{
	send_five(self, 300 * KIB);
	EXPECT_EQ(self->b.conns.sender.turn_len, FILE_TURN);
	EXPECT_EQ(self->b.conns.sender.nr_later, 0);
}

TEST_F(send, beside_short_answers_a_turn_is_short)
{
	self->b.conns.shared_until_ns = UINT64_MAX;
	send_five(self, 300 * KIB);
	EXPECT_EQ(self->b.conns.sender.turn_len, FILE_TURN_SHARED);
	EXPECT_GT(self->b.conns.sender.nr_later, 0);
}

/* The head of a file is no short answer; after a while nothing is. */
TEST_F(send, what_makes_a_turn_short)
{
	struct sender *s = &self->b.conns.sender;
	int peer = bed_connect(&self->b, &bed_proto);

	ASSERT_OK(outq_copy(&bed_conn(&self->b)->link.out, "head", 4));
	queue_range(bed_conn(&self->b), self, 0, 1);
	ASSERT_EQ(bed_read(&self->b, peer, self->in, 5), 5);
	bed_settle(&self->b);
	EXPECT_EQ(s->turn_len, FILE_TURN);
	ASSERT_OK(outq_copy(&bed_conn(&self->b)->link.out, "short", 5));
	conn_touch(bed_conn(&self->b));
	ASSERT_EQ(bed_read(&self->b, peer, self->in, 5), 5);
	bed_settle(&self->b);
	EXPECT_EQ(s->turn_len, FILE_TURN_SHARED);
	bed_wait(&self->b, 100);
	EXPECT_EQ(s->turn_len, FILE_TURN);
	close(peer);
}

/* Closed while it is put off. */
TEST_F(send, put_off_and_closed)
{
	int peers[3];

	self->b.conns.shared_until_ns = UINT64_MAX;
	for (int i = 0; i < 3; i++) {
		peers[i] = bed_connect(&self->b, &bed_proto);
		queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
	}
	for (int i = 0; i < 5 && list_empty(&self->b.conns.sender.later); i++)
		bed_turn(&self->b, 1);
	ASSERT_FALSE(list_empty(&self->b.conns.sender.later));
	conns_close(&self->b.conns);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	EXPECT_TRUE(list_empty(&self->b.conns.sender.later));
	for (int i = 0; i < 3; i++)
		close(peers[i]);
}

/* Little is on its way at any time. */
static int connect_narrow(struct self_send *self)
{
	int peer = bed_connect(&self->b, &bed_proto), small = 64 * 1024;

	ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small))));
	ASSERT_OK(SYS(setsockopt(bed_conn(&self->b)->io.fd, SOL_SOCKET, SO_SNDBUF, &small,
				 sizeof(small))));
	return peer;
}

/* Sends until the peer's buffers are full. */
static int begin(struct self_send *self)
{
	int peer = connect_narrow(self);

	queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
	bed_settle(&self->b);
	ASSERT_GT(outq_len(&bed_conn(&self->b)->link.out), 0);
	return peer;
}

static void read_on(struct self_send *self, int peer, u64 len)
{
	for (size_t n; len; len -= n) {
		n = min(len, MIB);
		ASSERT_EQ(bed_read(&self->b, peer, self->in, n), (ssize_t)n);
	}
}

/* What was in memory for long is trusted, until something is not. */
TEST_F(send, trust_in_a_long_file)
{
	struct sender *s = &self->b.conns.sender;
	int peer = connect_narrow(self);
	struct conn *c = bed_conn(&self->b);

	if (is_resident(self->fd) < 0)
		SKIP("page cache: this file system does not say what is in memory");
	for (u64 off = 0; off < LONG_LEN; off += MIB)
		ASSERT_EQ(pwrite(self->fd, self->bytes, MIB, (off_t)off), MIB);
	ASSERT_OK(outq_file(&c->link.out, self->fd, 0, LONG_LEN, NULL));
	conn_touch(c);
	read_on(self, peer, FILE_TRUST + MIB);
	EXPECT_GE(c->file.warm_len, FILE_TRUST);
	EXPECT_EQ(s->nr_cold, 0);
	if (make_cold(self->fd)) {
		read_on(self, peer, MIB);
		EXPECT_LT(c->file.warm_len, FILE_TRUST);
		EXPECT_EQ(s->nr_cold > 0, variant->kind == LOOP_URING);
	} else {
		read_on(self, peer, MIB);
	}
	read_on(self, peer, LONG_LEN - FILE_TRUST - 2 * MIB);
	EXPECT_EQ(s->pipes.nr_lent, 0);
	close(peer);
}

/* Less than the whole, and then the end. */
static void expect_cut(struct self_send *self, int peer)
{
	ssize_t n = bed_read(&self->b, peer, self->in, FILE_LEN);

	EXPECT_NE(n, -ETIMEDOUT);
	EXPECT_LT(n, (ssize_t)FILE_LEN);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	close(peer);
}

TEST_F(send, truncated_on_the_way)
{
	int peer = begin(self);

	ASSERT_OK(SYS(ftruncate(self->fd, FILE_LEN / 2)));
	expect_cut(self, peer);
}

/* Also when nobody knows which version is meant: there are just no more bytes. */
TEST_F(send, truncated_without_a_version)
{
	int peer = bed_connect(&self->b, &bed_proto);

	ASSERT_OK(outq_file(&bed_conn(&self->b)->link.out, self->fd, 0, FILE_LEN, NULL));
	ASSERT_OK(SYS(ftruncate(self->fd, FILE_LEN / 2)));
	conn_touch(bed_conn(&self->b));
	expect_cut(self, peer);
}

TEST_F(send, written_to_on_the_way)
{
	int peer = begin(self);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1 } };

	ASSERT_EQ(pwrite(self->fd, "changed", 7, FILE_LEN - 7), 7);
	ASSERT_OK(SYS(futimens(self->fd, times))); /* the clock of a file may be slow */
	expect_cut(self, peer);
}

/* Neither a chmod nor an unlink is another version. */
TEST_F(send, renamed_on_the_way)
{
	int peer = begin(self);

	ASSERT_OK(SYS(fchmod(self->fd, 0400)));
	expect_range(self, peer, 0, FILE_LEN);
	close(peer);
}

TEST_F(send, the_peer_goes_in_the_middle)
{
	for (int i = 0; i < 20; i++) {
		int peer = bed_connect(&self->b, &bed_proto);

		make_cold(self->fd);
		queue_range(bed_conn(&self->b), self, 0, FILE_LEN);
		for (int turns = 0; turns < i; turns++)
			bed_turn(&self->b, turns == 3);
		if (i % 2)
			close(peer);
		conns_close(&self->b.conns);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
		if (i % 2 == 0)
			close(peer);
		EXPECT_EQ(self->b.conns.sender.pipes.nr_lent, 0);
	}
}
