/* SPDX-License-Identifier: MIT */
/* Tickets across contexts, as across workers and their replacements, and across rotations. */
#include "selftests/harness/harness.h"
#include "ktls/ctx.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <openssl/err.h>

FIXTURE(resume)
{
	struct test_cert cert, ca;
	struct ticket_key keys[4];
	struct ctx_config config;
	struct cert_source source;
	SSL_CTX *client;
	SSL_SESSION *session;
	bool renewed; /* the last handshake brought a new ticket */
	char error[CTX_ERROR_LEN];
};

FIXTURE_VARIANT(resume)
{
	int version;
};

VARIANT(resume, v12) = { TLS1_2_VERSION };
VARIANT(resume, v13) = { TLS1_3_VERSION };

FIXTURE_SETUP(resume)
{
	struct cert_wish wish = { .common_name = "a.test" };
	struct cert_wish ca_wish = { .common_name = "ca", .ca = true };
	struct rng rng;

	rng_init(&rng);
	rng_fill(&rng, self->keys, sizeof(self->keys));
	test_cert_make(&self->cert, &wish);
	test_cert_make(&self->ca, &ca_wish);
	self->source = test_cert_source(&self->cert, "a");
	self->config = (struct ctx_config){ .certs = &self->source,
					    .nr_certs = 1,
					    .ticket_keys = self->keys,
					    .nr_ticket_keys = 1,
					    .nr_tickets = 1 };
	self->client = pair_client_ctx();
	SSL_CTX_set_max_proto_version(self->client, variant->version);
}

FIXTURE_TEARDOWN(resume)
{
	SSL_SESSION_free(self->session);
	SSL_CTX_free(self->client);
	test_cert_free(&self->cert);
	test_cert_free(&self->ca);
}

static struct tls_ctx *begin(struct self_resume *self)
{
	struct tls_ctx *ctx;

	ASSERT_OK(ctx_new(&ctx, &self->config, self->error));
	return ctx;
}

static struct view ticket_of(const SSL_SESSION *s)
{
	const unsigned char *p = NULL;
	size_t len = 0;

	if (s)
		SSL_SESSION_get0_ticket(s, &p, &len);
	return (struct view){ (const char *)p, len };
}

/* TLS 1.3 announces its sessions; of 1.2 a renewed one is only found in the connection. */
static void keep_session(struct self_resume *self, struct tls_pair *p)
{
	SSL_SESSION *session = pair_session(self->client) ?: SSL_get1_session(p->client);

	self->renewed =
		ticket_of(session).len && !view_eq(ticket_of(session), ticket_of(self->session));
	SSL_SESSION_free(self->session);
	self->session = session;
}

/* Connects with the last session; keeps the new one. True when it was resumed. */
static bool connect_to(struct self_resume *self, struct tls_ctx *ctx)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	struct tls_info info;

	ASSERT_TRUE(pair_init(&p, ctx, self->client, "a.test", self->session));
	ASSERT_TRUE(pair_shake(&p));
	pair_client_poke(&p);
	tls_info(p.server, &info);
	EXPECT_EQ(info.resumed, SSL_session_reused(p.client));
	keep_session(self, &p);
	pair_fini(&p);
	return info.resumed;
}

TEST_F(resume, other_worker)
{
	struct tls_ctx *a = begin(self), *b = begin(self);

	EXPECT_FALSE(connect_to(self, a));
	EXPECT_TRUE(connect_to(self, a));
	EXPECT_TRUE(connect_to(self, b));
	ctx_put(a);
	ctx_put(b);
	/* The replacement, made when both are gone. */
	a = begin(self);
	EXPECT_TRUE(connect_to(self, a));
	ctx_put(a);
}

TEST_F(resume, other_keys)
{
	struct tls_ctx *a = begin(self), *b;

	EXPECT_FALSE(connect_to(self, a));
	self->config.ticket_keys = self->keys + 1;
	b = begin(self);
	EXPECT_FALSE(connect_to(self, b));
	ctx_put(a);
	ctx_put(b);
}

TEST_F(resume, rotation)
{
	struct tls_ctx *a = begin(self);
	struct ticket_key rotated[3] = { self->keys[2], self->keys[1], self->keys[0] };

	EXPECT_FALSE(connect_to(self, a));
	ASSERT_OK(ctx_set_tickets(a, rotated + 1, 2));
	/* An old key's ticket resumes, and is replaced. */
	EXPECT_TRUE(connect_to(self, a));
	EXPECT_TRUE(self->renewed);
	/* So that it survives the end of the old key. */
	ASSERT_OK(ctx_set_tickets(a, rotated, 2));
	EXPECT_TRUE(connect_to(self, a));
	EXPECT_TRUE(self->renewed);
	ASSERT_OK(ctx_set_tickets(a, rotated, 1));
	EXPECT_TRUE(connect_to(self, a));
	/* But not the end of all that it knows. */
	ASSERT_OK(ctx_set_tickets(a, self->keys + 3, 1));
	EXPECT_FALSE(connect_to(self, a));
	ctx_put(a);
}

/* TLS 1.2 keeps the ticket of the newest key; 1.3 gives one for each connection. */
TEST_F(resume, renewed_only_when_needed)
{
	struct tls_ctx *a = begin(self);

	EXPECT_FALSE(connect_to(self, a));
	EXPECT_TRUE(connect_to(self, a));
	EXPECT_EQ(self->renewed, variant->version == TLS1_3_VERSION);
	ctx_put(a);
}

TEST_F(resume, rotation_while_a_handshake_runs)
{
	struct tls_ctx *a = begin(self);
	struct tls_pair p = { .how = FEED_WHOLE };

	EXPECT_FALSE(connect_to(self, a));
	ASSERT_TRUE(pair_init(&p, a, self->client, "a.test", NULL));
	SSL_do_handshake(p.client);
	pair_feed(&p);
	ASSERT_OK(ctx_set_tickets(a, self->keys + 1, 2));
	ASSERT_TRUE(pair_shake(&p));
	pair_client_poke(&p);
	keep_session(self, &p);
	pair_fini(&p);
	EXPECT_TRUE(self->renewed);
	EXPECT_TRUE(connect_to(self, a));
	ctx_put(a);
}

TEST_F(resume, none_without_keys)
{
	struct tls_ctx *a;

	self->config.nr_ticket_keys = 0;
	a = begin(self);
	EXPECT_EQ(ctx_set_tickets(a, self->keys, 1), -ENOTSUP);
	EXPECT_FALSE(connect_to(self, a));
	EXPECT_FALSE(connect_to(self, a));
	ctx_put(a);
}

TEST_F(resume, wrong_key_sets)
{
	struct ticket_key many[TICKET_KEYS_MAX + 1] = { { .name = "x" } };
	struct tls_ctx *a = begin(self);

	EXPECT_EQ(ctx_set_tickets(a, many, 0), -EINVAL);
	EXPECT_EQ(ctx_set_tickets(a, many, TICKET_KEYS_MAX + 1), -EINVAL);
	EXPECT_FALSE(connect_to(self, a));
	EXPECT_TRUE(connect_to(self, a));
	ctx_put(a);
	self->config.ticket_keys = many;
	self->config.nr_ticket_keys = TICKET_KEYS_MAX + 1;
	EXPECT_EQ(ctx_new(&a, &self->config, self->error), -EINVAL);
}

/* A session made without a certificate must not open what asks for one. */
TEST_F(resume, not_into_another_verify)
{
	struct tls_ctx *a = begin(self), *b;

	EXPECT_FALSE(connect_to(self, a));
	self->config.verify = CTX_VERIFY_OPTIONAL;
	self->config.client_ca = view_of(self->ca.chain_pem);
	b = begin(self);
	EXPECT_FALSE(connect_to(self, b));
	EXPECT_TRUE(connect_to(self, b));
	EXPECT_FALSE(connect_to(self, a));
	ctx_put(a);
	ctx_put(b);
}

/* Sessions by id, for TLS 1.2 clients that take no tickets: within one context only. */
TEST_F(resume, session_cache)
{
	struct tls_ctx *a, *b;

	if (variant->version == TLS1_3_VERSION)
		return;
	self->config.session_cache = 100;
	SSL_CTX_set_options(self->client, SSL_OP_NO_TICKET);
	a = begin(self);
	b = begin(self);
	EXPECT_FALSE(connect_to(self, a));
	EXPECT_TRUE(connect_to(self, a));
	EXPECT_FALSE(connect_to(self, b));
	ctx_put(a);
	ctx_put(b);
	self->config.session_cache = 0;
	a = begin(self);
	EXPECT_FALSE(connect_to(self, a));
	EXPECT_FALSE(connect_to(self, a));
	ctx_put(a);
}
