/* SPDX-License-Identifier: MIT */
/* What does not become a handshake: plain HTTP, nonsense, refusals, memory that is out. */
#include "selftests/harness/harness.h"
#include "ktls/engine.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <stdlib.h>

#include <openssl/err.h>

FIXTURE(hello)
{
	struct test_cert cert;
	struct cert_source source;
	struct ctx_config config;
	struct tls_ctx *ctx;
	SSL_CTX *client;
	struct rng rng;
	char error[CTX_ERROR_LEN];
};

FIXTURE_SETUP(hello)
{
	struct cert_wish wish = { .common_name = "a.test", .names = "DNS:a.test,DNS:*.b.test" };

	test_cert_make(&self->cert, &wish);
	self->source = test_cert_source(&self->cert, "a");
	self->config = (struct ctx_config){ .certs = &self->source, .nr_certs = 1 };
	ASSERT_OK(ctx_new(&self->ctx, &self->config, self->error));
	self->client = pair_client_ctx();
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(hello)
{
	ctx_put(self->ctx);
	SSL_CTX_free(self->client);
	test_cert_free(&self->cert);
}

struct sink {
	u8 p[256];
	size_t len;
};

static int to_sink(void *arg, const void *p, size_t len)
{
	struct sink *s = arg;

	if (len <= sizeof(s->p) - s->len)
		memcpy(s->p + s->len, p, len);
	s->len += len;
	return 0;
}

/* Feeds @p to a new engine; what came back is in @s. */
static struct tls *feed(struct self_hello *self, const void *p, size_t len, enum feeding how,
			struct sink *s, ssize_t *ret)
{
	const char *at = p;
	struct tls *t;
	struct feed f;
	size_t n;
	u8 buf[64];

	s->len = 0;
	*ret = -EAGAIN;
	ASSERT_OK(tls_new(&t, self->ctx, to_sink, s));
	feed_init(&f, how, len, &self->rng);
	while ((n = feed_next(&f))) {
		char *piece = malloc(n);
		struct view in = { piece, n };

		memcpy(piece, at, n);
		*ret = tls_recv(t, &in, buf, sizeof(buf));
		ASSERT_TRUE(*ret < 0);
		free(piece);
		at += n;
	}
	return t;
}

TEST_F(hello, plain_http)
{
	static const char *const texts[] = { "GET / HTTP/1.1\r\n\r\n", "POST /x HTTP/1.0\r\n",
					     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "H" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		for (int how = FEED_WHOLE; how <= FEED_RANDOM; how++) {
			struct sink s;
			ssize_t ret;
			struct tls *t =
				feed(self, texts[i], strlen(texts[i]), (enum feeding)how, &s, &ret);

			EXPECT_EQ(ret, -EPROTO);
			EXPECT_TRUE(t->http);
			EXPECT_EQ(t->state, TLS_FAILED);
			EXPECT_EQ(s.len, 0);
			EXPECT_STREQ(t->reason, "plain HTTP on a TLS port");
			tls_free(t);
		}
	}
}

struct bad_case {
	const char *p;
	size_t len;
	int alert;
};

#define BYTES(s) s, sizeof(s) - 1

/* Always an alert record of two bytes, in the clear; never HTTP. */
TEST_F(hello, nonsense)
{
	static const struct bad_case cases[] = {
		{ BYTES("\x17\x03\x01\x00\x05hello"), ALERT_UNEXPECTED_MESSAGE },
		{ BYTES("\x16\x02\x00\x00\x05hello"), ALERT_PROTOCOL_VERSION },
		{ BYTES("\x16\x03\x01\x40\x01hello"), ALERT_RECORD_OVERFLOW },
		{ BYTES("\x16\x03\x01\x00\x00"), ALERT_UNEXPECTED_MESSAGE },
		{ BYTES("\x99\x03\x01\x00\x05hello"), ALERT_UNEXPECTED_MESSAGE },
		{ BYTES("\x14\x03\x01\x00\x01\x01"), ALERT_UNEXPECTED_MESSAGE },
		{ BYTES("\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"), ALERT_UNEXPECTED_MESSAGE },
		{ BYTES("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), 50 /* decode_error */ },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int how = FEED_WHOLE; how <= FEED_BYTES; how++) {
			struct sink s;
			ssize_t ret;
			struct tls *t =
				feed(self, cases[i].p, cases[i].len, (enum feeding)how, &s, &ret);

			EXPECT_EQ(ret, -EPROTO);
			EXPECT_FALSE(t->http);
			EXPECT_NOT_NULL(t->reason);
			EXPECT_EQ(t->alert_sent, cases[i].alert);
			ASSERT_EQ(s.len, 7);
			EXPECT_EQ(s.p[0], RECORD_ALERT);
			EXPECT_EQ(s.p[5], 2);
			EXPECT_EQ(s.p[6], cases[i].alert);
			tls_free(t);
			if (has_failed()) {
				NOTE("case %zu, %s", i, feeding_name((enum feeding)how));
				return;
			}
		}
	}
}

/* Every bit of a ClientHello, in turn: it may even be right, but nothing breaks. */
TEST_F(hello, flipped_hellos)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	u32 nr_failed = 0;

	time_limit(60);
	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, "a.test", NULL));
	SSL_do_handshake(p.client);
	for (size_t bit = 0; bit < 8 * p.to_server.len; bit += 3) {
		struct sink s;
		ssize_t ret;
		struct tls *t;

		p.to_server.p[bit / 8] ^= (u8)(1 << bit % 8);
		t = feed(self, p.to_server.p, p.to_server.len, FEED_RANDOM, &s, &ret);
		EXPECT_NE(t->state, TLS_OPEN);
		nr_failed += t->state == TLS_FAILED;
		p.to_server.p[bit / 8] ^= (u8)(1 << bit % 8);
		tls_free(t);
		ASSERT_EQ(ERR_peek_error(), 0);
	}
	EXPECT_GT(nr_failed, 0);
	pair_fini(&p);
}

/* What the client says when it gives up. */
TEST_F(hello, clients_alert)
{
	struct tls_pair p = { .how = FEED_WHOLE };

	SSL_CTX_set_verify(self->client, SSL_VERIFY_PEER, NULL);
	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, "a.test", NULL));
	EXPECT_FALSE(pair_shake(&p));
	EXPECT_EQ(p.server->state, TLS_FAILED);
	EXPECT_EQ(p.server->alert_got, 48 /* unknown_ca */);
	EXPECT_STREQ(p.server->reason, "unknown CA");
	EXPECT_EQ(p.server->alert_sent, -1);
	pair_fini(&p);
}

/* A group that the client did not guess: HelloRetryRequest, and the second hello in the clear. */
TEST_F(hello, retry)
{
	struct tls_pair p = { .how = FEED_BYTES };
	struct tls_info info;

	SSL_CTX_set1_groups_list(self->client, "P-521:P-384");
	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, "a.test", NULL));
	ASSERT_TRUE(pair_shake(&p));
	tls_info(p.server, &info);
	EXPECT_STREQ(info.group, "secp384r1");
	pair_fini(&p);
}

TEST_F(hello, sending_too_early)
{
	struct sink s = { .len = 0 };
	struct tls *t;

	ASSERT_OK(tls_new(&t, self->ctx, to_sink, &s));
	EXPECT_OK(tls_close(t));
	EXPECT_EQ(s.len, 0);
	EXPECT_EQ(tls_send(t, "x", 1), -EPROTO);
	tls_free(t);
	tls_free(NULL);
}

/* --- memory --- */

static void make_one(void *arg)
{
	struct self_hello *self = arg;
	struct tls_ctx *ctx;
	struct sink s = { .len = 0 };
	struct tls *t;
	int err = ctx_new(&ctx, &self->config, self->error);

	if (err) {
		EXPECT_EQ(err, -ENOMEM);
		return;
	}
	err = tls_new(&t, ctx, to_sink, &s);
	if (err)
		EXPECT_EQ(err, -ENOMEM);
	else
		tls_free(t);
	ctx_put(ctx);
}

TEST_F(hello, out_of_memory)
{
	struct ticket_key key = { .name = "k" };

	self->config.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
	self->config.ticket_keys = &key;
	self->config.nr_ticket_keys = 1;
	EXPECT_GT(for_each_failing_alloc(make_one, self), 6);
}
