/* SPDX-License-Identifier: MIT */
/*
 * What our use of kernel TLS takes for granted, tried on the kernel at hand, with keys of our own
 * and no handshake: each cipher in both directions, the records as OpenSSL reads them, sequence
 * numbers, control records, when keys can be set, files, io_uring.
 */
#include "selftests/harness/harness.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/vm/ktls_bed.h"

#define BULK_LEN (256 * KIB)

static struct keys keys_of(u8 first, u64 seq)
{
	struct keys k = { .seq = seq };

	for (size_t i = 0; i < sizeof(k.key); i++)
		k.key[i] = (u8)(first + 7 * i);
	for (size_t i = 0; i < sizeof(k.nonce); i++)
		k.nonce[i] = (u8)(first + 100 + 3 * i);
	return k;
}

static u8 *random_bytes(size_t len)
{
	struct rng rng;
	u8 *p = malloc(len);

	ASSERT_NOT_NULL(p);
	rng_init(&rng);
	rng_fill(&rng, p, len);
	return p;
}

/* --- what every program of its kind asks first --- */

static const char *lacks_ktls(void)
{
	int fds[2], err;

	connected(fds);
	err = set_ulp(fds[0]);
	close(fds[0]);
	close(fds[1]);
	return err ? "ktls: the kernel has no ULP \"tls\"" : NULL;
}

PROGRAM_NEEDS(lacks_ktls)

/* --- each version and cipher --- */

FIXTURE(ktls)
{
	int us, peer; /* both with the ULP, no keys yet */
	struct keys ours, theirs; /* what we send with, what we receive with */
	u8 *bytes;
};

FIXTURE_VARIANT(ktls)
{
	struct suite suite;
};

VARIANT(ktls, tls12_aes128) = {
	.suite = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128, EVP_aes_128_gcm },
};
VARIANT(ktls, tls13_aes128) = {
	.suite = { TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128, EVP_aes_128_gcm },
};
VARIANT(ktls, tls13_aes256) = {
	.suite = { TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_256, EVP_aes_256_gcm },
};
VARIANT(ktls, tls13_chacha20) = {
	.suite = { TLS_1_3_VERSION, TLS_CIPHER_CHACHA20_POLY1305, EVP_chacha20_poly1305 },
};

FIXTURE_SETUP(ktls)
{
	int fds[2];

	connected(fds);
	self->us = fds[0];
	self->peer = fds[1];
	ASSERT_OK(set_ulp(self->us));
	ASSERT_OK(set_ulp(self->peer));
	/* Two tickets have gone out already. */
	self->ours = keys_of(1, 2);
	self->theirs = keys_of(77, 0);
	self->bytes = random_bytes(BULK_LEN);
}

FIXTURE_TEARDOWN(ktls)
{
	free(self->bytes);
	close(self->us);
	close(self->peer);
}

/* Keys of both directions at both ends. */
static void encrypt_all(struct self_ktls *self, const struct suite *s)
{
	ASSERT_OK(set_keys(self->us, TLS_TX, s, &self->ours));
	ASSERT_OK(set_keys(self->us, TLS_RX, s, &self->theirs));
	ASSERT_OK(set_keys(self->peer, TLS_TX, s, &self->theirs));
	ASSERT_OK(set_keys(self->peer, TLS_RX, s, &self->ours));
}

struct sending {
	int fd;
	const u8 *p;
	size_t len;
};

static void *send_all(void *arg)
{
	struct sending *s = arg;

	for (size_t off = 0; off < s->len;) {
		ssize_t n = send(s->fd, s->p + off, s->len - off, MSG_NOSIGNAL);

		EXPECT_GT(n, 0);
		if (n <= 0)
			break;
		off += (size_t)n;
	}
	return NULL;
}

static void check_bulk(int from, int to, const u8 *bytes)
{
	struct sending s = { from, bytes, BULK_LEN };
	pthread_t thread;
	u8 *got = malloc(BULK_LEN);

	ASSERT_NOT_NULL(got);
	ASSERT_OK(-pthread_create(&thread, NULL, send_all, &s));
	read_all(to, got, BULK_LEN);
	ASSERT_OK(-pthread_join(thread, NULL));
	ASSERT_MEMEQ(got, bytes, BULK_LEN);
	free(got);
}

TEST_F(ktls, bytes_pass_in_both_directions)
{
	encrypt_all(self, &variant->suite);
	check_bulk(self->us, self->peer, self->bytes);
	check_bulk(self->peer, self->us, self->bytes);
}

/* Salt, IV and sequence number have the places that we think they have. */
TEST_F(ktls, records_are_those_of_the_rfc)
{
	bool is_13 = variant->suite.version == TLS_1_3_VERSION;
	u8 rec[MAX_RECORD], plain[MAX_RECORD];

	ASSERT_OK(set_keys(self->us, TLS_TX, &variant->suite, &self->ours));
	for (u64 nr = 2; nr < 5; nr++) {
		size_t len = 100 * nr, rec_len;

		ASSERT_EQ(send(self->us, self->bytes, len, 0), len);
		rec_len = read_record(self->peer, rec);
		ASSERT_EQ(rec[0], RECORD_DATA);
		ASSERT_EQ(rec_len, HEADER_LEN + len + TAG_LEN + (is_13 ? 1 : SEQ_LEN));
		ASSERT_NULL(memmem(rec, rec_len, self->bytes, 16));
		ASSERT_EQ(open_record(&variant->suite, &self->ours, nr + 1, rec, rec_len, plain), -1);
		ASSERT_EQ(open_record(&variant->suite, &self->ours, nr, rec, rec_len, plain),
			  len + is_13);
		ASSERT_MEMEQ(plain, self->bytes, len);
		if (is_13)
			ASSERT_EQ(plain[len], RECORD_DATA);
	}
}

TEST_F(ktls, what_came_before_the_keys_is_opened)
{
	char got[12];

	ASSERT_OK(set_keys(self->peer, TLS_TX, &variant->suite, &self->theirs));
	ASSERT_EQ(send(self->peer, "early bytes", 12, 0), 12);
	ASSERT_EQ(recv(self->us, got, 1, MSG_PEEK), 1);
	ASSERT_OK(set_keys(self->us, TLS_RX, &variant->suite, &self->theirs));
	read_all(self->us, got, 12);
	ASSERT_STREQ(got, "early bytes");
}

TEST_F(ktls, a_wrong_sequence_number_is_refused)
{
	struct keys late = self->theirs;
	char got[16];

	late.seq++;
	ASSERT_OK(set_keys(self->peer, TLS_TX, &variant->suite, &self->theirs));
	ASSERT_OK(set_keys(self->us, TLS_RX, &variant->suite, &late));
	ASSERT_EQ(send(self->peer, "x", 1, 0), 1);
	ASSERT_EQ(SYS(recv(self->us, got, sizeof(got), 0)), -EBADMSG);
}

TEST_F(ktls, a_changed_byte_is_refused)
{
	int fds[2];
	u8 rec[MAX_RECORD];
	char got[16];
	size_t len;

	ASSERT_OK(set_keys(self->us, TLS_TX, &variant->suite, &self->ours));
	connected(fds);
	ASSERT_OK(set_ulp(fds[1]));
	ASSERT_OK(set_keys(fds[1], TLS_RX, &variant->suite, &self->ours));
	ASSERT_EQ(send(self->us, "first", 5, 0), 5);
	len = read_record(self->peer, rec);
	ASSERT_EQ(send(fds[0], rec, len, 0), len);
	read_all(fds[1], got, 5);
	ASSERT_MEMEQ(got, "first", 5);
	ASSERT_EQ(send(self->us, "other", 5, 0), 5);
	len = read_record(self->peer, rec);
	rec[len - 1] ^= 1;
	ASSERT_EQ(send(fds[0], rec, len, 0), len);
	ASSERT_EQ(SYS(recv(fds[1], got, sizeof(got), 0)), -EBADMSG);
	close(fds[0]);
	close(fds[1]);
}

/* --- records of other types --- */

/* An alert between data: a plain recv() cannot pass it, recvmsg() brings it and its type. */
TEST_F(ktls, control_records_come_apart)
{
	char got[64];
	u8 type;

	encrypt_all(self, &variant->suite);
	ASSERT_EQ(send(self->us, "before", 6, 0), 6);
	ASSERT_EQ(send_record(self->us, RECORD_ALERT, "\x01\x00", 2), 2);
	ASSERT_EQ(send(self->us, "after", 5, 0), 5);
	read_all(self->peer, got, 6);
	ASSERT_MEMEQ(got, "before", 6);
	ASSERT_EQ(SYS(recv(self->peer, got, sizeof(got), 0)), -EIO);
	ASSERT_EQ(recv_record(self->peer, &type, got, sizeof(got)), 2);
	ASSERT_EQ(type, RECORD_ALERT);
	ASSERT_MEMEQ(got, "\x01\x00", 2);
	ASSERT_EQ(recv_record(self->peer, &type, got, sizeof(got)), 5);
	ASSERT_EQ(type, RECORD_DATA);
	ASSERT_MEMEQ(got, "after", 5);
}

/* --- keys again --- */

/* As RFC 8446, 4.6.3 has it: KeyUpdate under the old key, then the new one; no answer is asked for. */
TEST_F(ktls, new_keys_are_taken_or_refused_whole)
{
	static const u8 update[] = { 24, 0, 0, 1, 0 };
	struct keys new_keys = keys_of(33, 0);
	u8 got[16], type;
	int err;

	encrypt_all(self, &variant->suite);
	ASSERT_EQ(send_record(self->us, RECORD_HANDSHAKE, update, sizeof(update)), sizeof(update));
	err = set_keys(self->us, TLS_TX, &variant->suite, &new_keys);
	NOTE("re-keying: %s", err ? "no" : "yes");
	ASSERT_EQ(recv_record(self->peer, &type, got, sizeof(got)), sizeof(update));
	ASSERT_EQ(type, RECORD_HANDSHAKE);
	ASSERT_MEMEQ(got, update, sizeof(update));
	if (err) {
		ASSERT_EQ(err, -EBUSY);
		ASSERT_EQ(set_keys(self->peer, TLS_RX, &variant->suite, &new_keys), -EBUSY);
	} else {
		ASSERT_EQ(SYS(recv(self->peer, got, sizeof(got), 0)), -EKEYEXPIRED);
		ASSERT_OK(set_keys(self->peer, TLS_RX, &variant->suite, &new_keys));
	}
	check_bulk(self->us, self->peer, self->bytes);
	check_bulk(self->peer, self->us, self->bytes);
}

/* The peer has sent its request and FIN before we are done with the handshake. */
TEST_F(ktls, keys_can_be_set_after_the_peers_fin)
{
	char got[8];

	ASSERT_OK(set_keys(self->peer, TLS_TX, &variant->suite, &self->theirs));
	ASSERT_OK(set_keys(self->peer, TLS_RX, &variant->suite, &self->ours));
	ASSERT_EQ(send(self->peer, "request", 8, 0), 8);
	ASSERT_OK(SYS(shutdown(self->peer, SHUT_WR)));
	ASSERT_EQ(recv(self->us, got, 1, MSG_PEEK), 1);
	ASSERT_OK(set_keys(self->us, TLS_TX, &variant->suite, &self->ours));
	ASSERT_OK(set_keys(self->us, TLS_RX, &variant->suite, &self->theirs));
	read_all(self->us, got, 8);
	ASSERT_STREQ(got, "request");
	ASSERT_EQ(recv(self->us, got, 1, 0), 0);
	check_bulk(self->us, self->peer, self->bytes);
}

TEST(the_ulp_needs_a_connection)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(set_ulp(fd), -ENOTCONN);
	close(fd);
}

/* --- files --- */

struct file_sending {
	int file, socket;
	bool by_pipe;
};

static void *send_file(void *arg)
{
	struct file_sending *s = arg;
	size_t left = BULK_LEN;
	int pipe[2];

	EXPECT_OK(SYS(pipe2(pipe, 0)));
	while (left && !has_failed()) {
		ssize_t n = s->by_pipe ? splice(s->file, NULL, pipe[1], NULL, 64 * KIB, 0)
				       : sendfile(s->socket, s->file, NULL, left);

		EXPECT_GT(n, 0);
		left -= n > 0 ? (size_t)n : 0;
		for (ssize_t m = 1; s->by_pipe && n > 0 && m > 0; n -= m) {
			m = splice(pipe[0], NULL, s->socket, NULL, (size_t)n, 0);
			EXPECT_GT(m, 0);
		}
	}
	close(pipe[0]);
	close(pipe[1]);
	return NULL;
}

TEST_F(ktls, files_go_out_by_sendfile_and_by_splice)
{
	u8 *got = malloc(BULK_LEN);
	int file = memfd_create("file", 0);

	ASSERT_NOT_NULL(got);
	ASSERT_EQ(write(file, self->bytes, BULK_LEN), BULK_LEN);
	encrypt_all(self, &variant->suite);
	for (int by_pipe = 0; by_pipe < 2; by_pipe++) {
		struct file_sending s = { file, self->us, by_pipe };
		pthread_t thread;

		ASSERT_EQ(lseek(file, 0, SEEK_SET), 0);
		ASSERT_OK(-pthread_create(&thread, NULL, send_file, &s));
		read_all(self->peer, got, BULK_LEN);
		ASSERT_OK(-pthread_join(thread, NULL));
		ASSERT_MEMEQ(got, self->bytes, BULK_LEN);
	}
	close(file);
	free(got);
}

/* --- io_uring --- */

static int finish(struct io_uring *ring)
{
	struct __kernel_timespec limit = { .tv_sec = 30 };
	struct io_uring_cqe *cqe;
	int res;

	ASSERT_GE(io_uring_submit(ring), 0);
	ASSERT_OK(io_uring_wait_cqe_timeout(ring, &cqe, &limit));
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

TEST_F(ktls, io_uring_sends_and_receives)
{
	struct io_uring ring;
	size_t off = 0, nr = 0;
	u8 *got = malloc(BULK_LEN);
	int err = io_uring_queue_init(8, &ring, 0);

	if (err)
		SKIP("io_uring: %s", strerror(-err));
	ASSERT_NOT_NULL(got);
	encrypt_all(self, &variant->suite);
	/* Short pieces: both sides are in this thread. */
	while (off < BULK_LEN) {
		size_t want = min((size_t)(16 * KIB), (size_t)BULK_LEN - off);
		int sent, n;

		io_uring_prep_send(io_uring_get_sqe(&ring), self->us, self->bytes + off, want, 0);
		sent = finish(&ring);
		ASSERT_GT(sent, 0);
		for (int left = sent; left > 0; left -= n) {
			io_uring_prep_recv(io_uring_get_sqe(&ring), self->peer, got + off,
					   (size_t)left, 0);
			n = finish(&ring);
			ASSERT_GT(n, 0);
			off += (size_t)n;
		}
		nr++;
	}
	ASSERT_GE(nr, BULK_LEN / (16 * KIB));
	ASSERT_MEMEQ(got, self->bytes, BULK_LEN);
	io_uring_queue_exit(&ring);
	free(got);
}
