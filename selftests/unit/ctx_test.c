/* SPDX-License-Identifier: MIT */
/* What connections share: certificates by name, ALPN, ciphers, client certificates, staples. */
#include "selftests/harness/harness.h"
#include "ktls/ctx.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>

PROGRAM_NEEDS(test_certs_warm)

#define MAX_CERTS 6

static char warnings[1024];

static void warn(void *arg, const char *text)
{
	(void)arg;
	strcat(warnings, text);
	strcat(warnings, "\n");
}

/* Certificates, a context from them, a client. */
FIXTURE(ctx)
{
	struct test_cert certs[MAX_CERTS];
	struct cert_source sources[MAX_CERTS];
	struct ctx_config config;
	struct tls_ctx *ctx;
	SSL_CTX *client;
	char error[CTX_ERROR_LEN];
};

FIXTURE_SETUP(ctx)
{
	time_limit(30);
	self->config = (struct ctx_config){ .certs = self->sources, .warn = warn };
	self->client = pair_client_ctx();
}

FIXTURE_TEARDOWN(ctx)
{
	if (self->ctx)
		ctx_put(self->ctx);
	for (u32 i = 0; i < MAX_CERTS; i++)
		test_cert_free(&self->certs[i]);
	SSL_SESSION_free(pair_session(self->client));
	SSL_CTX_free(self->client);
}

static void add(struct self_ctx *self, enum key_kind kind, const char *cn, const char *names)
{
	struct cert_wish wish = { .kind = kind, .common_name = cn, .names = names };
	u32 i = self->config.nr_certs++;

	test_cert_make(&self->certs[i], &wish);
	self->sources[i] = test_cert_source(&self->certs[i], "site.pem");
}

static void start(struct self_ctx *self)
{
	int err = ctx_new(&self->ctx, &self->config, self->error);

	if (err)
		NOTE("%s", self->error);
	ASSERT_OK(err);
}

/* The index of the certificate that a client of @name is shown; -1 none, -2 not one of ours. */
static int shown(struct self_ctx *self, const char *name)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	int which = -1;

	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, name, NULL));
	if (pair_shake(&p)) {
		X509 *x = SSL_get0_peer_certificate(p.client);

		which = -2;
		for (u32 i = 0; i < self->config.nr_certs; i++)
			if (X509_cmp(x, self->certs[i].x509) == 0)
				which = (int)i;
	}
	pair_fini(&p);
	return which;
}

TEST_F(ctx, names)
{
	add(self, KEY_P256, "default", "DNS:default.test,DNS:*.wild.test");
	add(self, KEY_P256, "b", "DNS:B.test,DNS:www.b.test");
	add(self, KEY_P256, "exact", "DNS:exact.wild.test,DNS:b.test");
	add(self, KEY_P256, "only a common name", NULL);
	add(self, KEY_P256, "cn.test", NULL);
	start(self);
	EXPECT_EQ(shown(self, NULL), 0);
	EXPECT_EQ(shown(self, "unknown.test"), 0);
	EXPECT_EQ(shown(self, "default.test"), 0);
	EXPECT_EQ(shown(self, "b.test"), 1);
	EXPECT_EQ(shown(self, "B.TEST"), 1);
	EXPECT_EQ(shown(self, "www.b.test"), 1);
	EXPECT_EQ(shown(self, "exact.wild.test"), 2);
	EXPECT_EQ(shown(self, "Other.Wild.test"), 0);
	EXPECT_EQ(shown(self, "cn.test"), 4);
	EXPECT_EQ(shown(self, "."), 0);
	EXPECT_EQ(shown(self, ".test"), 0);
}

/* One label, not none, not two (RFC 6125 6.4.3). */
TEST_F(ctx, wildcards)
{
	add(self, KEY_P256, "default", "DNS:default.test");
	add(self, KEY_P256, "w", "DNS:*.w.test,DNS:part*.w.test,DNS:*.*.v.test,DNS:*");
	start(self);
	EXPECT_EQ(shown(self, "a.w.test"), 1);
	EXPECT_EQ(shown(self, "w.test"), 0);
	EXPECT_EQ(shown(self, "a.b.w.test"), 0);
	EXPECT_EQ(shown(self, "*.w.test"), 1);
	EXPECT_EQ(shown(self, "a.b.v.test"), 0);
	EXPECT_EQ(shown(self, "test"), 0);
}

TEST_F(ctx, rsa_and_ecdsa_side_by_side)
{
	add(self, KEY_RSA, "r", "DNS:both.test,DNS:rsa.test");
	add(self, KEY_P256, "e", "DNS:both.test");
	add(self, KEY_P256, "f", "DNS:both.test,DNS:ec.test");
	start(self);
	SSL_CTX_set1_sigalgs_list(self->client, "ECDSA+SHA256:RSA-PSS+SHA256");
	EXPECT_EQ(shown(self, "both.test"), 1);
	EXPECT_EQ(shown(self, NULL), 1);
	EXPECT_EQ(shown(self, "rsa.test"), 0);
	EXPECT_EQ(shown(self, "ec.test"), 2);
	SSL_CTX_set1_sigalgs_list(self->client, "RSA-PSS+SHA256:RSA+SHA256");
	EXPECT_EQ(shown(self, "both.test"), 0);
	EXPECT_EQ(shown(self, NULL), 0);
	EXPECT_EQ(shown(self, "ec.test"), -1);
	SSL_CTX_set_max_proto_version(self->client, TLS1_2_VERSION);
	EXPECT_EQ(shown(self, "both.test"), 0);
	SSL_CTX_set_cipher_list(self->client, "ECDHE-ECDSA-AES128-GCM-SHA256");
	SSL_CTX_set1_sigalgs_list(self->client, "ECDSA+SHA256");
	EXPECT_EQ(shown(self, "both.test"), 1);
}

/* --- ALPN, versions, ciphers --- */

static const struct view alpn[] = { { "h2", 2 }, { "http/1.1", 8 } };

static void check_alpn(struct self_ctx *self, const char *offer, size_t len, const char *want)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	struct tls_info info;

	SSL_CTX_set_alpn_protos(self->client, (const u8 *)offer, (unsigned int)len);
	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, NULL, NULL));
	EXPECT_EQ(pair_shake(&p), want != NULL);
	if (want) {
		tls_info(p.server, &info);
		EXPECT_VIEW_EQ(info.alpn, want);
	} else {
		EXPECT_EQ(p.server->alert_sent, 120 /* no_application_protocol */);
	}
	pair_fini(&p);
}

TEST_F(ctx, alpn)
{
	add(self, KEY_P256, "a", NULL);
	self->config.alpn = alpn;
	self->config.nr_alpn = 2;
	start(self);
	check_alpn(self, "\10http/1.1\2h2", 12, "h2");
	check_alpn(self, "\10http/1.1", 9, "http/1.1");
	check_alpn(self, "\3foo\10http/1.1", 13, "http/1.1");
	check_alpn(self, "\3foo", 4, NULL);
	check_alpn(self, "", 0, "");
}

TEST_F(ctx, alpn_without_a_list)
{
	add(self, KEY_P256, "a", NULL);
	start(self);
	check_alpn(self, "\2h2", 3, "");
}

static bool agrees(struct self_ctx *self, int version, const char *ciphers, struct tls_info *info)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	SSL_CTX *client = pair_client_ctx();
	bool good;

	SSL_CTX_set_min_proto_version(client, version);
	SSL_CTX_set_max_proto_version(client, version);
	SSL_CTX_set_security_level(client, 0);
	if (ciphers && version == TLS1_3_VERSION)
		SSL_CTX_set_ciphersuites(client, ciphers);
	else if (ciphers)
		SSL_CTX_set_cipher_list(client, ciphers);
	ASSERT_TRUE(pair_init(&p, self->ctx, client, NULL, NULL));
	good = pair_shake(&p);
	if (good)
		tls_info(p.server, info);
	else
		EXPECT_EQ(p.server->state, TLS_FAILED);
	pair_fini(&p);
	SSL_CTX_free(client);
	return good;
}

TEST_F(ctx, defaults_are_intermediate)
{
	struct tls_info info;

	add(self, KEY_RSA, "a", NULL);
	start(self);
	EXPECT_TRUE(agrees(self, TLS1_3_VERSION, NULL, &info));
	EXPECT_TRUE(agrees(self, TLS1_2_VERSION, NULL, &info));
	EXPECT_FALSE(agrees(self, TLS1_1_VERSION, NULL, &info));
	EXPECT_FALSE(agrees(self, TLS1_VERSION, NULL, &info));
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, "AES128-GCM-SHA256", &info));
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA", &info));
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", &info));
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, "ADH-AES128-GCM-SHA256", &info));
	EXPECT_TRUE(agrees(self, TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", &info));
}

TEST_F(ctx, min_version)
{
	struct tls_info info;

	add(self, KEY_P256, "a", NULL);
	self->config.min_version = CTX_TLS_1_3;
	start(self);
	EXPECT_TRUE(agrees(self, TLS1_3_VERSION, NULL, &info));
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, NULL, &info));
}

TEST_F(ctx, ciphers)
{
	struct tls_info info;

	add(self, KEY_RSA, "a", NULL);
	self->config.ciphers = "ECDHE-RSA-AES256-GCM-SHA384:TLS_CHACHA20_POLY1305_SHA256";
	start(self);
	ASSERT_TRUE(agrees(self, TLS1_3_VERSION, NULL, &info));
	EXPECT_STREQ(info.cipher, "TLS_CHACHA20_POLY1305_SHA256");
	ASSERT_TRUE(agrees(self, TLS1_2_VERSION, NULL, &info));
	EXPECT_STREQ(info.cipher, "ECDHE-RSA-AES256-GCM-SHA384");
	EXPECT_FALSE(agrees(self, TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", &info));
}

/* --- client certificates --- */

struct client_case {
	enum ctx_verify verify;
	bool has, known; /* a certificate; of the CA that is asked for */
	int alert; /* -1: accepted */
};

static void try_client(struct self_ctx *self, const struct client_case *c, int version)
{
	struct test_cert ca, other, cert;
	struct cert_wish ca_wish = { .kind = KEY_P256, .common_name = "ca", .ca = true };
	struct cert_wish wish = { .common_name = "J\303\274rgen, x",
				  .issuer = c->known ? &ca : &other };
	struct tls_pair p = { .how = FEED_WHOLE };
	SSL_CTX *client = pair_client_ctx();
	struct tls_peer *peer;

	test_cert_make(&ca, &ca_wish);
	ca_wish.common_name = "other";
	test_cert_make(&other, &ca_wish);
	test_cert_make(&cert, &wish);
	self->config.verify = c->verify;
	self->config.client_ca = view_of(ca.chain_pem);
	start(self);
	SSL_CTX_set_max_proto_version(client, version);
	if (c->has)
		ASSERT_EQ(SSL_CTX_use_cert_and_key(client, cert.x509, cert.key, NULL, 1), 1);
	ASSERT_TRUE(pair_init(&p, self->ctx, client, NULL, NULL));
	EXPECT_EQ(pair_shake(&p), c->alert < 0);
	EXPECT_EQ(p.server->alert_sent, c->alert);
	if (c->alert < 0 && c->has && c->verify != CTX_VERIFY_NONE) {
		u8 digest[32];

		ASSERT_OK(tls_peer(p.server, &peer));
		EXPECT_STREQ(peer->subject, "CN=J\303\274rgen\\, x");
		ASSERT_TRUE(X509_digest(cert.x509, EVP_sha256(), digest, NULL));
		for (int i = 0; i < 32; i++) {
			char hex[3];

			snprintf(hex, sizeof(hex), "%02x", digest[i]);
			EXPECT_MEMEQ(peer->fingerprint + 2 * i, hex, 2);
		}
		EXPECT_EQ(strlen(peer->fingerprint), 64);
		free(peer);
	} else if (c->alert < 0) {
		EXPECT_EQ(tls_peer(p.server, &peer), -ENOENT);
	}
	pair_fini(&p);
	ctx_put(self->ctx);
	self->ctx = NULL;
	SSL_CTX_free(client);
	test_cert_free(&ca);
	test_cert_free(&other);
	test_cert_free(&cert);
}

#define CERTIFICATE_REQUIRED 116
#define HANDSHAKE_FAILURE 40
#define UNKNOWN_CA 48

TEST_F(ctx, client_certificates)
{
	static const struct client_case cases[] = {
		{ CTX_VERIFY_NONE, true, true, -1 },
		{ CTX_VERIFY_OPTIONAL, false, false, -1 },
		{ CTX_VERIFY_OPTIONAL, true, true, -1 },
		{ CTX_VERIFY_OPTIONAL, true, false, UNKNOWN_CA },
		{ CTX_VERIFY_REQUIRED, true, true, -1 },
		{ CTX_VERIFY_REQUIRED, true, false, UNKNOWN_CA },
		{ CTX_VERIFY_REQUIRED, false, false, CERTIFICATE_REQUIRED },
	};

	add(self, KEY_P256, "a", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct client_case c = cases[i];

		try_client(self, &c, TLS1_3_VERSION);
		if (c.alert == CERTIFICATE_REQUIRED)
			c.alert = HANDSHAKE_FAILURE;
		try_client(self, &c, TLS1_2_VERSION);
		if (has_failed()) {
			NOTE("case %zu", i);
			return;
		}
	}
}

/* --- stapling --- */

/* An OCSPResponse about @c, good until @days from now. */
static struct view make_staple(const struct test_cert *c, int days)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha256(), c->x509, c->x509);
	ASN1_TIME *this = X509_gmtime_adj(NULL, -86400L * 9),
		  *next = X509_gmtime_adj(NULL, 86400L * days);
	OCSP_RESPONSE *response;
	u8 *der = NULL;
	int len;

	ASSERT_NOT_NULL(
		OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, this, next));
	ASSERT_EQ(OCSP_basic_sign(basic, c->x509, c->key, EVP_sha256(), NULL, 0), 1);
	response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	len = i2d_OCSP_RESPONSE(response, &der);
	ASSERT_GT(len, 0);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(this);
	ASN1_TIME_free(next);
	return (struct view){ (char *)der, (size_t)len };
}

static struct view stapled(struct tls_pair *p, struct self_ctx *self, const char *name)
{
	const unsigned char *got = NULL;
	long len;

	ASSERT_TRUE(pair_init(p, self->ctx, self->client, name, NULL));
	SSL_set_tlsext_status_type(p->client, TLSEXT_STATUSTYPE_ocsp);
	ASSERT_TRUE(pair_shake(p));
	len = SSL_get_tlsext_status_ocsp_resp(p->client, &got);
	return (struct view){ (const char *)got, len > 0 ? (size_t)len : 0 };
}

TEST_F(ctx, ocsp_staples)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	struct view staple, old;

	add(self, KEY_P256, "a", "DNS:a.test");
	add(self, KEY_P256, "b", "DNS:b.test");
	add(self, KEY_P256, "c", "DNS:c.test");
	staple = make_staple(&self->certs[0], 3);
	old = make_staple(&self->certs[2], -3);
	self->sources[0].ocsp = staple;
	self->sources[2].ocsp = old;
	start(self);
	EXPECT_NOT_NULL(strstr(warnings, "out of date"));
	EXPECT_TRUE(view_eq(stapled(&p, self, "a.test"), staple));
	pair_fini(&p);
	EXPECT_EQ(stapled(&p, self, "b.test").len, 0);
	pair_fini(&p);
	EXPECT_EQ(stapled(&p, self, "c.test").len, 0);
	pair_fini(&p);
	OPENSSL_free((void *)(uintptr_t)staple.p);
	OPENSSL_free((void *)(uintptr_t)old.p);
}

/* --- what is refused, and warned of --- */

static void check_refused(struct self_ctx *self, const char *a, const char *b)
{
	EXPECT_EQ(ctx_new(&self->ctx, &self->config, self->error), -EINVAL);
	if (!strstr(self->error, a) || !strstr(self->error, b)) {
		NOTE("the message: %s", self->error);
		EXPECT_STREQ(self->error, a);
	}
}

TEST_F(ctx, refusals_name_the_certificate)
{
	struct cert_source *s = &self->sources[0];
	struct cert_source good;

	check_refused(self, "no certificate", "");
	add(self, KEY_P256, "a", NULL);
	add(self, KEY_P256, "b", NULL);
	good = *s;
	s->key = self->sources[1].key;
	check_refused(self, "certificate site.pem", "does not match");
	s->key = (struct view){ NULL, 0 };
	check_refused(self, "certificate site.pem", "key cannot be read: it is empty");
	s->key = VIEW("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	check_refused(self, "certificate site.pem", "key cannot be read");
	*s = good;
	s->chain = VIEW("");
	check_refused(self, "certificate site.pem", "no certificate in PEM");
	s->chain = s->key;
	check_refused(self, "certificate site.pem", "no certificate in PEM");
	s->chain = VIEW("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	check_refused(self, "certificate site.pem", "certificate 1 of it cannot be read");
	s->chain = (struct view){ good.chain.p, good.chain.len / 2 };
	check_refused(self, "certificate site.pem", "cannot be read");
	*s = good;
	s->ocsp = VIEW("nonsense");
	check_refused(self, "certificate site.pem", "OCSP response cannot be read");
	*s = good;
	self->config.verify = CTX_VERIFY_REQUIRED;
	self->config.client_ca_name = "clients.pem";
	check_refused(self, "client CA clients.pem", "no certificate in PEM");
	self->config.verify = CTX_VERIFY_NONE;
	self->config.ciphers = "ECDHE-RSA-AES256-GCM-SHA384:NOT-A-CIPHER";
	check_refused(self, "ciphers", "NOT-A-CIPHER");
	self->config.ciphers = "TLS_NOT_A_SUITE";
	check_refused(self, "ciphers of TLS 1.3", "");
	self->config.ciphers = NULL;
	start(self);
}

TEST_F(ctx, encrypted_keys_are_refused_and_nobody_is_asked)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	long len;

	add(self, KEY_P256, "a", NULL);
	ASSERT_EQ(PEM_write_bio_PKCS8PrivateKey(bio, self->certs[0].key, EVP_aes_128_cbc(),
						"secret", 6, NULL, NULL),
		  1);
	len = BIO_get_mem_data(bio, &p);
	self->sources[0].key = (struct view){ p, (size_t)len };
	check_refused(self, "certificate site.pem", "encrypted");
	BIO_free(bio);
}

static void remake(struct self_ctx *self, const struct cert_wish *wish)
{
	test_cert_free(&self->certs[0]);
	test_cert_make(&self->certs[0], wish);
	self->sources[0] = test_cert_source(&self->certs[0], "site.pem");
	self->config.nr_certs = 1;
}

TEST_F(ctx, weak_ones_are_refused)
{
	struct test_cert ca;
	struct cert_wish ca_wish = { .kind = KEY_P256, .common_name = "ca", .ca = true };

	test_cert_make(&ca, &ca_wish);
	remake(self, &(struct cert_wish){ .kind = KEY_RSA_1024, .common_name = "a" });
	check_refused(self, "site.pem", "too weak: RSA of 1024 bits");
	remake(self, &(struct cert_wish){ .common_name = "a", .issuer = &ca, .digest = "SHA1" });
	check_refused(self, "site.pem", "too weak");
	test_cert_free(&ca);
}

TEST_F(ctx, odd_ones_are_warned_of)
{
	struct test_cert root, middle;
	struct cert_wish root_wish = { .common_name = "root", .ca = true };
	struct cert_wish middle_wish = { .common_name = "middle", .ca = true, .issuer = &root };
	char *odd;

	remake(self, &(struct cert_wish){ .common_name = "a", .days_before = 9, .days = -2 });
	start(self);
	EXPECT_NOT_NULL(strstr(warnings, "certificate site.pem: expired on 20"));
	ctx_put(self->ctx);
	*warnings = 0;
	remake(self, &(struct cert_wish){ .common_name = "a", .days_before = -2 });
	start(self);
	EXPECT_NOT_NULL(strstr(warnings, "certificate site.pem: not valid before 20"));
	ctx_put(self->ctx);
	*warnings = 0;
	test_cert_make(&root, &root_wish);
	test_cert_make(&middle, &middle_wish);
	remake(self, &(struct cert_wish){ .common_name = "a", .issuer = &middle });
	start(self);
	EXPECT_STREQ(warnings, "");
	ctx_put(self->ctx);
	odd = malloc(strlen(self->certs[0].chain_pem) + strlen(root.chain_pem) + 1);
	strcpy(odd, root.chain_pem);
	strcat(odd, self->certs[0].chain_pem);
	self->sources[0].chain = view_of(odd);
	self->sources[0].key = view_of(root.key_pem);
	start(self);
	EXPECT_NOT_NULL(strstr(warnings, "number 2 of its chain did not issue number 1"));
	free(odd);
	test_cert_free(&root);
	test_cert_free(&middle);
}

/* The whole chain is sent, and the client is content with it. */
TEST_F(ctx, chain)
{
	struct test_cert root, middle;
	struct cert_wish root_wish = { .common_name = "root", .ca = true };
	struct cert_wish middle_wish = { .common_name = "middle", .ca = true, .issuer = &root };

	test_cert_make(&root, &root_wish);
	test_cert_make(&middle, &middle_wish);
	remake(self, &(struct cert_wish){ .common_name = "a", .issuer = &middle });
	start(self);
	SSL_CTX_set_verify(self->client, SSL_VERIFY_PEER, NULL);
	EXPECT_EQ(shown(self, "a"), -1);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(self->client), root.x509);
	EXPECT_EQ(shown(self, "a"), 0);
	test_cert_free(&root);
	test_cert_free(&middle);
}

TEST_F(ctx, connections_outlive_the_owner)
{
	struct tls_pair p = { .how = FEED_WHOLE };

	add(self, KEY_P256, "a", NULL);
	start(self);
	ASSERT_TRUE(pair_init(&p, self->ctx, self->client, NULL, NULL));
	ctx_put(self->ctx);
	self->ctx = NULL;
	ASSERT_TRUE(pair_shake(&p));
	ASSERT_OK(tls_send(p.server, "x", 1));
	pair_fini(&p);
}
