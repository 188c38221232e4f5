/* SPDX-License-Identifier: MIT */
/*
 * Memory that is out within OpenSSL, at each of its allocations in turn, while a
 * handshake and an answer go through the engine: it fails or it does not need it,
 * but it ends clean.
 */
#include "selftests/harness/harness.h"
#include "ktls/engine.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"
#include "server/fail.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

static bool in_engine; /* only what the engine asks for counts */

static void *may_fail_malloc(size_t len, const char *file, int line)
{
	(void)file, (void)line;
	return in_engine && fail_alloc() ? NULL : malloc(len);
}

static void *may_fail_realloc(void *p, size_t len, const char *file, int line)
{
	(void)file, (void)line;
	return in_engine && fail_alloc() ? NULL : realloc(p, len);
}

static void plain_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

/* Before OpenSSL's first allocation, which is why it is asked here. */
static const char *take_over_memory(void)
{
	if (!CRYPTO_set_mem_functions(may_fail_malloc, may_fail_realloc, plain_free))
		return "openssl: it has allocated already";
	return NULL;
}
PROGRAM_NEEDS(take_over_memory)

FIXTURE(memory)
{
	struct test_cert cert;
	struct tls_ctx *ctx;
	SSL_CTX *client;
	u32 nr_good, nr_failed;
};

FIXTURE_VARIANT(memory)
{
	int version;
};

VARIANT(memory, v12) = { TLS1_2_VERSION };
VARIANT(memory, v13) = { TLS1_3_VERSION };

static const struct ticket_key some_key = { .name = "some" };

FIXTURE_SETUP(memory)
{
	struct cert_wish wish = { .common_name = "a.test" };
	struct cert_source source;
	struct ctx_config config = { .certs = &source,
				     .nr_certs = 1,
				     .ticket_keys = &some_key,
				     .nr_ticket_keys = 1,
				     .nr_tickets = 1,
				     .keep_secrets = true };
	char error[CTX_ERROR_LEN];

	time_limit(60);
	test_cert_make(&self->cert, &wish);
	source = test_cert_source(&self->cert, "a");
	ASSERT_OK(ctx_new(&self->ctx, &config, error));
	self->client = pair_client_ctx();
	SSL_CTX_set_max_proto_version(self->client, variant->version);
}

FIXTURE_TEARDOWN(memory)
{
	SSL_CTX_free(self->client);
	ctx_put(self->ctx);
	test_cert_free(&self->cert);
}

static int answer(struct tls_pair *p)
{
	int err;

	in_engine = true;
	err = tls_send(p->server, "answer", 6) ?: tls_close(p->server);
	in_engine = false;
	return err;
}

static void converse(void *arg)
{
	struct self_memory *self = arg;
	struct tls_pair p = { .how = FEED_WHOLE, .in_engine = &in_engine };
	int err = -ENOMEM;

	if (!pair_init(&p, self->ctx, self->client, NULL, NULL))
		return;
	for (int i = 0; i < 3; i++) {
		SSL_do_handshake(p.client);
		pair_feed(&p);
	}
	if (p.server->state == TLS_OPEN)
		err = answer(&p);
	EXPECT_EQ(err != 0, p.server->state != TLS_OPEN);
	self->nr_good += !err;
	self->nr_failed += !!err;
	pair_fini(&p);
	SSL_SESSION_free(pair_session(self->client));
}

TEST_F(memory, fails_anywhere)
{
	u64 points = for_each_failing_alloc(converse, self);

	NOTE("%llu allocations, %u conversations failed, %u did not", (unsigned long long)points,
	     self->nr_failed, self->nr_good);
	EXPECT_GT(points, 100);
	EXPECT_GT(self->nr_failed, 50);
	EXPECT_GE(self->nr_good, 1);
}
