/* SPDX-License-Identifier: MIT */
/*
 * What the kernel is told, and, where it has TLS, whether it then does as told:
 * real sockets, a client of OpenSSL's at the other end.
 */
#include "selftests/harness/harness.h"
#include "ktls/offload.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

static struct tls_traffic some_traffic(u16 version, enum tls_cipher cipher)
{
	struct tls_traffic t = { .version = version, .cipher = cipher, .seq = 0x0102030405060708 };

	t.key.key_len = cipher == TLS_AES_128_GCM ? 16 : 32;
	for (u8 i = 0; i < 32; i++)
		t.key.key[i] = 100 + i;
	for (u8 i = 0; i < 12; i++)
		t.key.iv[i] = 200 + i;
	return t;
}

static const u8 seq[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

TEST(fills_v13)
{
	struct tls_traffic t = some_traffic(0x0304, TLS_AES_128_GCM);
	union offload_info info;

	ASSERT_EQ(offload_fill(&info, &t), sizeof(info.aes_128));
	EXPECT_EQ(info.info.version, TLS_1_3_VERSION);
	EXPECT_EQ(info.info.cipher_type, TLS_CIPHER_AES_GCM_128);
	EXPECT_MEMEQ(info.aes_128.key, t.key.key, 16);
	EXPECT_MEMEQ(info.aes_128.salt, t.key.iv, 4);
	EXPECT_MEMEQ(info.aes_128.iv, t.key.iv + 4, 8);
	EXPECT_MEMEQ(info.aes_128.rec_seq, seq, 8);
	t = some_traffic(0x0304, TLS_AES_256_GCM);
	ASSERT_EQ(offload_fill(&info, &t), sizeof(info.aes_256));
	EXPECT_EQ(info.info.cipher_type, TLS_CIPHER_AES_GCM_256);
	EXPECT_MEMEQ(info.aes_256.key, t.key.key, 32);
	EXPECT_MEMEQ(info.aes_256.salt, t.key.iv, 4);
	EXPECT_MEMEQ(info.aes_256.iv, t.key.iv + 4, 8);
	EXPECT_MEMEQ(info.aes_256.rec_seq, seq, 8);
	t = some_traffic(0x0304, TLS_CHACHA20_POLY1305);
	ASSERT_EQ(offload_fill(&info, &t), sizeof(info.chacha20));
	EXPECT_EQ(info.info.cipher_type, TLS_CIPHER_CHACHA20_POLY1305);
	EXPECT_MEMEQ(info.chacha20.key, t.key.key, 32);
	EXPECT_MEMEQ(info.chacha20.iv, t.key.iv, 12);
	EXPECT_MEMEQ(info.chacha20.rec_seq, seq, 8);
}

/* The explicit part of the nonce goes on with the number of the record. */
TEST(fills_v12)
{
	struct tls_traffic t = some_traffic(0x0303, TLS_AES_128_GCM);
	union offload_info info;

	ASSERT_EQ(offload_fill(&info, &t), sizeof(info.aes_128));
	EXPECT_EQ(info.info.version, TLS_1_2_VERSION);
	EXPECT_MEMEQ(info.aes_128.salt, t.key.iv, 4);
	EXPECT_MEMEQ(info.aes_128.iv, seq, 8);
	EXPECT_MEMEQ(info.aes_128.rec_seq, seq, 8);
	t = some_traffic(0x0303, TLS_CHACHA20_POLY1305);
	ASSERT_EQ(offload_fill(&info, &t), sizeof(info.chacha20));
	EXPECT_MEMEQ(info.chacha20.iv, t.key.iv, 12);
	EXPECT_MEMEQ(info.chacha20.rec_seq, seq, 8);
}

struct control_case {
	u16 version;
	u8 type;
	const char *p;
	u8 len;
	enum offload_event event;
	u8 alert;
};

TEST(control_records)
{
	static const struct control_case cases[] = {
		{ 0x0304, 21, "\1\0", 2, OFFLOAD_CLOSED, 0 },
		{ 0x0303, 21, "\2\0", 2, OFFLOAD_CLOSED, 0 },
		{ 0x0304, 21, "\2\24", 2, OFFLOAD_ALERT, 20 },
		{ 0x0304, 21, "\1\132", 2, OFFLOAD_ALERT, 90 },
		{ 0x0304, 21, "\1", 1, OFFLOAD_BAD, 0 },
		{ 0x0304, 21, "\1\0\1\0", 4, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "\30\0\0\1\0", 5, OFFLOAD_KEY_UPDATE, 0 },
		{ 0x0304, 22, "\30\0\0\1\1", 5, OFFLOAD_KEY_UPDATE_ASKED, 0 },
		{ 0x0304, 22, "\30\0\0\1\2", 5, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "\30\0\0\1\0\30", 6, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "\30\0\0\0", 4, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "\4\0\0\1x", 5, OFFLOAD_NEW_SESSION, 0 },
		{ 0x0304, 22, "\4\0\0\2x", 5, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "\1\0\0\0", 4, OFFLOAD_BAD, 0 },
		{ 0x0304, 22, "", 0, OFFLOAD_BAD, 0 },
		{ 0x0303, 22, "\1\0\0\0", 4, OFFLOAD_RENEGOTIATION, 0 },
		{ 0x0304, 20, "\1", 1, OFFLOAD_BAD, 0 },
		{ 0x0304, 99, "\1", 1, OFFLOAD_BAD, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct control_case *c = &cases[i];
		u8 *p = guard_copy(c->p, c->len), alert = 0;

		EXPECT_EQ(offload_read_control(c->version, (enum record_type)c->type, p, c->len,
					       &alert),
			  c->event);
		EXPECT_EQ(alert, c->alert);
		guard_free(p, c->len);
		if (has_failed()) {
			NOTE("case %zu", i);
			return;
		}
	}
}

/* --- with a kernel that has it --- */

static struct offload_caps caps;

TEST(probe)
{
	ASSERT_OK(offload_probe(&caps));
	for (u32 dir = 0; dir < NR_TLS_DIRS; dir++) {
		bool any = caps.ciphers_12[dir] | caps.ciphers_13[dir];

		EXPECT_EQ(any, caps.why[dir][0] == 0);
		NOTE("%s: TLS 1.2 %x, TLS 1.3 %x, rekey %d%s%s", dir == TLS_IN ? "RX" : "TX",
		     caps.ciphers_12[dir], caps.ciphers_13[dir], caps.rekey, any ? "" : ": ",
		     caps.why[dir]);
	}
}

FIXTURE(kernel)
{
	struct test_cert cert;
	struct tls_ctx *ctx;
	SSL_CTX *client_ctx;
	struct tls *server;
	SSL *client;
	int fd[2]; /* ours, the client's */
	struct tls_traffic traffic[NR_TLS_DIRS];
	u8 early[64];
	ssize_t nr_early;
};

FIXTURE_VARIANT(kernel)
{
	int version;
	const char *cipher;
};

VARIANT(kernel, v13_aes128) = { TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256" };
VARIANT(kernel, v13_aes256) = { TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384" };
VARIANT(kernel, v13_chacha) = { TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256" };
VARIANT(kernel, v12_aes128) = { TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256" };
VARIANT(kernel, v12_aes256) = { TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384" };
VARIANT(kernel, v12_chacha) = { TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305" };

static void connect_pair(int fd[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ASSERT_EQ(bind(listener, (struct sockaddr *)&addr, len), 0);
	ASSERT_EQ(listen(listener, 1), 0);
	ASSERT_EQ(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	fd[1] = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(connect(fd[1], (struct sockaddr *)&addr, len), 0);
	fd[0] = accept(listener, NULL, NULL);
	ASSERT_GE(fd[0], 0);
	close(listener);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
}

static int put_fd(void *arg, const void *p, size_t len)
{
	return send(*(int *)arg, p, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -ENOMEM;
}

static void wait_in(int fd)
{
	struct pollfd poll_fd = { fd, POLLIN, 0 };

	ASSERT_EQ(poll(&poll_fd, 1, 8000), 1);
}

/* What is there, but not past a record that has begun. */
static void serve(struct self_kernel *self)
{
	char in[4096];
	ssize_t n = recv(self->fd[0], in, tls_need(self->server) ?: sizeof(in), 0);
	struct view v = { in, n > 0 ? (size_t)n : 0 };

	self->nr_early = tls_recv(self->server, &v, self->early, sizeof(self->early));
	ASSERT_EQ(v.len, 0);
}

static void shake_fds(struct self_kernel *self, const char *early)
{
	for (int i = 0; i < 20; i++) {
		int ret = SSL_do_handshake(self->client);

		if (ret == 1 && early)
			ASSERT_EQ(SSL_write(self->client, early, (int)strlen(early)),
				  (int)strlen(early));
		if (ret == 1 && early)
			early = NULL;
		if (ret == 1 && self->server->state == TLS_OPEN && !tls_need(self->server))
			return;
		if (self->server->state != TLS_OPEN || tls_need(self->server)) {
			wait_in(self->fd[0]);
			serve(self);
		} else {
			wait_in(self->fd[1]);
		}
	}
	ASSERT_EQ(self->server->state, TLS_OPEN);
}

FIXTURE_SETUP(kernel)
{
	struct cert_wish wish = { .common_name = "a.test" };
	struct ticket_key key = { .name = "k" };
	struct cert_source source;
	struct ctx_config config = { .certs = &source,
				     .nr_certs = 1,
				     .ticket_keys = &key,
				     .nr_ticket_keys = 1,
				     .nr_tickets = 2,
				     .keep_secrets = true };
	char error[CTX_ERROR_LEN];

	time_limit(60);
	connect_pair(self->fd);
	if (offload_prepare(self->fd[0]))
		SKIP("ktls: TCP_ULP is refused");
	test_cert_make(&self->cert, &wish);
	source = test_cert_source(&self->cert, "a");
	ASSERT_OK(ctx_new(&self->ctx, &config, error));
	ASSERT_OK(tls_new(&self->server, self->ctx, put_fd, &self->fd[0]));
	self->client_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(self->client_ctx, variant->version);
	if (variant->version == TLS1_3_VERSION)
		SSL_CTX_set_ciphersuites(self->client_ctx, variant->cipher);
	else
		SSL_CTX_set_cipher_list(self->client_ctx, variant->cipher);
	self->client = SSL_new(self->client_ctx);
	SSL_set_fd(self->client, self->fd[1]);
	SSL_set_connect_state(self->client);
}

FIXTURE_TEARDOWN(kernel)
{
	tls_free(self->server);
	SSL_free(self->client);
	SSL_CTX_free(self->client_ctx);
	ctx_put(self->ctx);
	test_cert_free(&self->cert);
	close(self->fd[0]);
	close(self->fd[1]);
}

static void move_into_kernel(struct self_kernel *self)
{
	ASSERT_OK(tls_traffic(self->server, TLS_OUT, &self->traffic[TLS_OUT]));
	ASSERT_OK(tls_traffic(self->server, TLS_IN, &self->traffic[TLS_IN]));
	ASSERT_OK(offload_start(self->fd[0], TLS_OUT, &self->traffic[TLS_OUT]));
	ASSERT_OK(offload_start(self->fd[0], TLS_IN, &self->traffic[TLS_IN]));
	tls_free(self->server);
	self->server = NULL;
}

static void client_reads(struct self_kernel *self, const char *want)
{
	int len = (int)strlen(want), n = -1;
	char in[64];

	for (int i = 0; i < 20 && n < 0; i++) {
		wait_in(self->fd[1]);
		n = SSL_read(self->client, in, sizeof(in));
		if (n < 0)
			ASSERT_EQ(SSL_get_error(self->client, n), SSL_ERROR_WANT_READ);
	}
	ASSERT_EQ(n, len);
	EXPECT_MEMEQ(in, want, (size_t)len);
}

static void both_ways(struct self_kernel *self)
{
	enum record_type type;
	char in[64];

	ASSERT_EQ(send(self->fd[0], "sealed by the kernel", 20, 0), 20);
	client_reads(self, "sealed by the kernel");
	ASSERT_EQ(SSL_write(self->client, "opened by it", 12), 12);
	wait_in(self->fd[0]);
	ASSERT_EQ(offload_recv(self->fd[0], in, sizeof(in), &type), 12);
	EXPECT_EQ(type, RECORD_DATA);
	EXPECT_MEMEQ(in, "opened by it", 12);
}

TEST_F(kernel, both_directions)
{
	shake_fds(self, NULL);
	move_into_kernel(self);
	for (int i = 0; i < 3; i++)
		both_ways(self);
}

/* Request and Finished together: read by the engine, counted; the kernel goes on behind them. */
TEST_F(kernel, early_data_of_the_client)
{
	shake_fds(self, "GET / HTTP/1.1\r\n\r\n");
	for (int i = 0; i < 4 && self->nr_early <= 0; i++) {
		wait_in(self->fd[0]);
		serve(self);
	}
	ASSERT_EQ(self->nr_early, 18);
	EXPECT_MEMEQ(self->early, "GET / HTTP/1.1\r\n\r\n", 18);
	move_into_kernel(self);
	both_ways(self);
}

/* Sent before the kernel has the keys, read by it. */
TEST_F(kernel, what_is_queued_already)
{
	enum record_type type;
	char in[64];

	shake_fds(self, NULL);
	ASSERT_EQ(SSL_write(self->client, "queued", 6), 6);
	wait_in(self->fd[0]);
	move_into_kernel(self);
	ASSERT_EQ(offload_recv(self->fd[0], in, sizeof(in), &type), 6);
	EXPECT_MEMEQ(in, "queued", 6);
}

TEST_F(kernel, closing)
{
	enum record_type type;
	u8 in[64], alert = 99;
	ssize_t n;

	shake_fds(self, NULL);
	move_into_kernel(self);
	SSL_shutdown(self->client);
	wait_in(self->fd[0]);
	EXPECT_EQ(recv(self->fd[0], in, sizeof(in), 0), -1);
	EXPECT_EQ(errno, EIO);
	n = offload_recv(self->fd[0], in, sizeof(in), &type);
	ASSERT_EQ(type, RECORD_ALERT);
	EXPECT_EQ(offload_read_control((u16)variant->version, type, in, (size_t)n, &alert),
		  OFFLOAD_CLOSED);
	ASSERT_OK(offload_send_alert(self->fd[0], ALERT_CLOSE_NOTIFY));
	wait_in(self->fd[1]);
	n = SSL_read(self->client, in, 1);
	for (int i = 0; i < 5 && SSL_get_error(self->client, (int)n) == SSL_ERROR_WANT_READ; i++) {
		wait_in(self->fd[1]);
		n = SSL_read(self->client, in, 1);
	}
	EXPECT_EQ(SSL_get_error(self->client, (int)n), SSL_ERROR_ZERO_RETURN);
}

TEST_F(kernel, flipped_record)
{
	static const u8 garbage[40] = { RECORD_DATA, 3, 3, 0, 35 };
	enum record_type type;
	char in[64];

	shake_fds(self, NULL);
	move_into_kernel(self);
	ASSERT_EQ(send(self->fd[1], garbage, sizeof(garbage), 0), sizeof(garbage));
	wait_in(self->fd[0]);
	EXPECT_EQ(offload_recv(self->fd[0], in, sizeof(in), &type), -EBADMSG);
}

TEST_F(kernel, key_update)
{
	enum record_type type;
	u8 in[64], alert;
	ssize_t n;
	int err;

	if (variant->version != TLS1_3_VERSION)
		return;
	shake_fds(self, NULL);
	move_into_kernel(self);
	ASSERT_EQ(SSL_key_update(self->client, SSL_KEY_UPDATE_REQUESTED), 1);
	ASSERT_EQ(SSL_do_handshake(self->client), 1);
	wait_in(self->fd[0]);
	n = offload_recv(self->fd[0], in, sizeof(in), &type);
	ASSERT_EQ(n, OFFLOAD_KEY_UPDATE_LEN);
	ASSERT_EQ(type, RECORD_HANDSHAKE);
	EXPECT_EQ(offload_read_control(0x0304, type, in, (size_t)n, &alert),
		  OFFLOAD_KEY_UPDATE_ASKED);
	err = offload_rekey(self->fd[0], TLS_IN, &self->traffic[TLS_IN]);
	if (err) {
		/* Before Linux 6.14: say good-bye under the keys that there are. */
		EXPECT_EQ(err, -EBUSY);
		ASSERT_OK(offload_send_alert(self->fd[0], ALERT_CLOSE_NOTIFY));
		return;
	}
	ASSERT_OK(offload_send_control(self->fd[0], RECORD_HANDSHAKE, offload_key_update,
				       OFFLOAD_KEY_UPDATE_LEN));
	ASSERT_OK(offload_rekey(self->fd[0], TLS_OUT, &self->traffic[TLS_OUT]));
	both_ways(self);
}
