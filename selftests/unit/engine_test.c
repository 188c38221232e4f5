/* SPDX-License-Identifier: MIT */
/* The engine against a client of OpenSSL's: versions, ciphers, keys, feeding, data, closing. */
#include "selftests/harness/harness.h"
#include "ktls/engine.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>

PROGRAM_NEEDS(test_certs_warm)

FIXTURE(conn)
{
	struct test_cert cert;
	struct tls_ctx *ctx;
	SSL_CTX *client;
	struct tls_pair p;
	struct rng rng;
	char error[CTX_ERROR_LEN];
};

FIXTURE_VARIANT(conn)
{
	int version;
	enum key_kind key;
	const char *cipher; /* of the client */
	enum feeding how;
	enum tls_cipher kind;
};

#define V12 TLS1_2_VERSION
#define V13 TLS1_3_VERSION
VARIANT(conn, v13_aes128_p256) = { V13, KEY_P256, "TLS_AES_128_GCM_SHA256", FEED_WHOLE,
				   TLS_AES_128_GCM };
VARIANT(conn, v13_aes256_rsa) = { V13, KEY_RSA, "TLS_AES_256_GCM_SHA384", FEED_BYTES,
				  TLS_AES_256_GCM };
VARIANT(conn, v13_chacha_p384) = { V13, KEY_P384, "TLS_CHACHA20_POLY1305_SHA256", FEED_RANDOM,
				   TLS_CHACHA20_POLY1305 };
VARIANT(conn, v13_ed25519) = { V13, KEY_ED25519, "TLS_AES_128_GCM_SHA256", FEED_RANDOM,
			       TLS_AES_128_GCM };
VARIANT(conn, v12_aes128_p256) = { V12, KEY_P256, "ECDHE-ECDSA-AES128-GCM-SHA256", FEED_BYTES,
				   TLS_AES_128_GCM };
VARIANT(conn, v12_aes256_p256) = { V12, KEY_P256, "ECDHE-ECDSA-AES256-GCM-SHA384", FEED_RANDOM,
				   TLS_AES_256_GCM };
VARIANT(conn, v12_chacha_p256) = { V12, KEY_P256, "ECDHE-ECDSA-CHACHA20-POLY1305", FEED_WHOLE,
				   TLS_CHACHA20_POLY1305 };
VARIANT(conn, v12_aes128_rsa) = { V12, KEY_RSA, "ECDHE-RSA-AES128-GCM-SHA256", FEED_WHOLE,
				  TLS_AES_128_GCM };
VARIANT(conn, v12_aes256_rsa) = { V12, KEY_RSA, "ECDHE-RSA-AES256-GCM-SHA384", FEED_WHOLE,
				  TLS_AES_256_GCM };
VARIANT(conn, v12_chacha_rsa) = { V12, KEY_RSA, "ECDHE-RSA-CHACHA20-POLY1305", FEED_RANDOM,
				  TLS_CHACHA20_POLY1305 };

static const struct ticket_key some_key = { .name = "some", .aes = "aes", .hmac = "hmac" };

FIXTURE_SETUP(conn)
{
	struct cert_wish wish = { .kind = variant->key, .common_name = "a.test" };
	struct cert_source source;
	struct ctx_config config = { .certs = &source,
				     .nr_certs = 1,
				     .ticket_keys = &some_key,
				     .nr_ticket_keys = 1,
				     .nr_tickets = 2,
				     .keep_secrets = true };

	time_limit(30);
	rng_init(&self->rng);
	test_cert_make(&self->cert, &wish);
	source = test_cert_source(&self->cert, "test");
	ASSERT_OK(ctx_new(&self->ctx, &config, self->error));
	self->client = pair_client_ctx();
	SSL_CTX_set_min_proto_version(self->client, variant->version);
	SSL_CTX_set_max_proto_version(self->client, variant->version);
	ASSERT_EQ(variant->version == V13 ? SSL_CTX_set_ciphersuites(self->client, variant->cipher)
					  : SSL_CTX_set_cipher_list(self->client, variant->cipher),
		  1);
	self->p.how = variant->how;
	self->p.rng = &self->rng;
	ASSERT_TRUE(pair_init(&self->p, self->ctx, self->client, "a.test", NULL));
}

FIXTURE_TEARDOWN(conn)
{
	pair_fini(&self->p);
	SSL_SESSION_free(pair_session(self->client));
	SSL_CTX_free(self->client);
	ctx_put(self->ctx);
	test_cert_free(&self->cert);
}

TEST_F(conn, handshake)
{
	struct tls_info info;

	ASSERT_TRUE(pair_shake(&self->p));
	tls_info(self->p.server, &info);
	EXPECT_STREQ(info.version, variant->version == V13 ? "TLSv1.3" : "TLSv1.2");
	EXPECT_STREQ(info.cipher, variant->cipher);
	EXPECT_STREQ(info.group, "x25519");
	EXPECT_FALSE(info.resumed);
	EXPECT_FALSE(info.has_peer_cert);
	EXPECT_EQ(info.alpn.len, 0);
	EXPECT_STREQ(tls_server_name(self->p.server), "a.test");
	EXPECT_EQ(self->p.server->alert_sent, -1);
	EXPECT_EQ(tls_need(self->p.server), 0);
}

TEST_F(conn, data_both_ways)
{
	static const size_t lens[] = { 1, 5, 511, 16384, 16385, 100000, 1 };
	struct tls_pair *p = &self->p;
	u8 *data = malloc(100000), *back = malloc(100000);
	size_t at = 0;

	ASSERT_TRUE(pair_shake(p));
	rng_fill(&self->rng, data, 100000);
	if (p->how == FEED_BYTES)
		p->how = FEED_RANDOM;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		size_t n;

		ASSERT_TRUE(pair_client_write(p, data, lens[i]));
		pair_feed(p);
		ASSERT_EQ(p->got.len - at, lens[i]);
		ASSERT_MEMEQ(p->got.p + at, data, lens[i]);
		at += lens[i];
		ASSERT_OK(tls_send(p->server, data, lens[i]));
		pair_client_read(p, back, lens[i], &n);
		ASSERT_EQ(n, lens[i]);
		ASSERT_MEMEQ(back, data, n);
		if (i % 2)
			tls_idle(p->server);
	}
	free(data);
	free(back);
}

/* The lengths of the records from @from on, as far as they are data. */
static u32 longest_record(const struct pipe_bytes *b, size_t from, u32 *nr)
{
	struct record_walk w = { .phase = RECORD_SEALED_13 };
	u32 longest = 0;
	bool whole;

	for (*nr = 0; from < b->len; ++*nr) {
		ssize_t n = record_next(&w, b->p + from, b->len - from, &whole);

		ASSERT_GT(n, 0);
		ASSERT_TRUE(whole);
		longest = max(longest, (u32)n - RECORD_HEAD_LEN);
		from += (size_t)n;
	}
	return longest;
}

TEST_F(conn, record_length)
{
	static const u32 lens[] = { 1369, 4096, 16384, 512 };
	struct tls_pair *p = &self->p;
	static u8 data[40000];

	ASSERT_TRUE(pair_shake(p));
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		size_t from = p->to_client.len;
		u32 nr, longest;

		tls_set_record_len(p->server, lens[i]);
		ASSERT_OK(tls_send(p->server, data, sizeof(data)));
		longest = longest_record(&p->to_client, from, &nr);
		EXPECT_EQ(nr, (sizeof(data) + lens[i] - 1) / lens[i]);
		EXPECT_GT(longest, lens[i]);
		EXPECT_LE(longest, lens[i] + 8 + 16);
	}
}

TEST_F(conn, we_close)
{
	struct tls_pair *p = &self->p;

	ASSERT_TRUE(pair_shake(p));
	ASSERT_OK(tls_close(p->server));
	EXPECT_EQ(p->server->alert_sent, 0);
	EXPECT_EQ(pair_client_poke(p), SSL_ERROR_ZERO_RETURN);
	/* Only once. */
	p->to_client.taken = p->to_client.len;
	ASSERT_OK(tls_close(p->server));
	EXPECT_EQ(p->to_client.taken, p->to_client.len);
	/* The other half is still open. */
	ASSERT_TRUE(pair_client_write(p, "late", 4));
	pair_feed(p);
	EXPECT_EQ(p->got.len, 4);
}

TEST_F(conn, peer_closes)
{
	struct tls_pair *p = &self->p;
	char back[8];
	size_t n;

	ASSERT_TRUE(pair_shake(p));
	ASSERT_TRUE(pair_client_write(p, "last", 4));
	SSL_shutdown(p->client);
	pair_feed(p);
	EXPECT_EQ(p->got.len, 4);
	EXPECT_EQ(p->ret, 0);
	EXPECT_TRUE(p->server->closed);
	EXPECT_EQ(p->server->alert_got, 0);
	EXPECT_EQ(p->server->state, TLS_OPEN);
	/* The answer may still be sent. */
	ASSERT_OK(tls_send(p->server, "answer", 6));
	pair_client_read(p, back, 6, &n);
	EXPECT_EQ(n, 6);
	ASSERT_OK(tls_close(p->server));
	EXPECT_EQ(pair_client_poke(p), SSL_ERROR_ZERO_RETURN);
}

/* Any bit of a record of data: an alert, a reason, and no plaintext. */
TEST_F(conn, flipped_records)
{
	for (int bit = 0; bit < 8 * 5; bit++) {
		struct tls_pair *p = &self->p;
		size_t from;

		ASSERT_TRUE(pair_shake(p));
		from = p->to_server.len;
		ASSERT_TRUE(pair_client_write(p, "some data", 9));
		p->to_server.p[from + 5 + rng_below(&self->rng, p->to_server.len - from - 5)] ^=
			(u8)(1 << bit % 8);
		pair_feed(p);
		EXPECT_EQ(p->ret, -EPROTO);
		EXPECT_EQ(p->got.len, 0);
		EXPECT_EQ(p->server->alert_sent, 20 /* bad_record_mac */);
		EXPECT_NOT_NULL(p->server->reason);
		EXPECT_EQ(pair_client_poke(p), SSL_ERROR_SSL);
		EXPECT_EQ(tls_send(p->server, "x", 1), -EPROTO);
		pair_fini(p);
		ASSERT_TRUE(pair_init(p, self->ctx, self->client, NULL, NULL));
		if (has_failed())
			return;
	}
}

/* A bit of its header: refused with the alert of record.h, or by the cipher. */
TEST_F(conn, flipped_headers)
{
	for (int bit = 0; bit < 40; bit++) {
		struct tls_pair *p = &self->p;
		static char data[300];
		size_t from;

		ASSERT_TRUE(pair_shake(p));
		from = p->to_server.len;
		ASSERT_TRUE(pair_client_write(p, data, sizeof(data)));
		ASSERT_TRUE(pair_client_write(p, data, sizeof(data)));
		p->to_server.p[from + (size_t)bit / 8] ^= (u8)(0x80 >> bit % 8);
		pair_feed(p);
		EXPECT_EQ(p->got.len, 0);
		/* A longer length: it waits for what does not come. */
		if (p->ret != -EAGAIN)
			EXPECT_EQ(p->server->state, TLS_FAILED);
		else
			EXPECT_GT(tls_need(p->server), 0);
		pair_fini(p);
		ASSERT_TRUE(pair_init(p, self->ctx, self->client, NULL, NULL));
		if (has_failed()) {
			NOTE("bit %d", bit);
			return;
		}
	}
}

/* Cut anywhere, the engine waits; nothing of an incomplete record comes out. */
TEST_F(conn, truncated)
{
	struct tls_pair *p = &self->p;
	size_t from, whole;

	ASSERT_TRUE(pair_shake(p));
	from = p->to_server.len;
	ASSERT_TRUE(pair_client_write(p, "some data", 9));
	whole = p->to_server.len;
	for (size_t end = from + 1; end < whole; end++) {
		p->to_server.len = end;
		pair_feed(p);
		ASSERT_EQ(p->ret, -EAGAIN);
		ASSERT_EQ(p->got.len, 0);
		ASSERT_EQ(tls_need(p->server), end - from < 5 ? 5 - (end - from) : whole - end);
	}
	p->to_server.len = whole;
	pair_feed(p);
	EXPECT_EQ(p->got.len, 9);
}

/* --- what the kernel would be told --- */

static const EVP_CIPHER *evp_of(enum tls_cipher cipher)
{
	switch (cipher) {
	case TLS_AES_128_GCM:
		return EVP_aes_128_gcm();
	case TLS_AES_256_GCM:
		return EVP_aes_256_gcm();
	default:
		return EVP_chacha20_poly1305();
	}
}

/*
 * Opens the record at @p as RFC 8446 5.2, RFC 5288 3 and RFC 7905 2 say, with
 * what the kernel would be given. Length of the plaintext, -1: not right.
 */
static int open_record(const struct tls_traffic *t, u64 seq, const u8 *p, size_t len, u8 *out)
{
	bool v13 = t->version == 0x0304, explicit = !v13 && t->cipher != TLS_CHACHA20_POLY1305;
	size_t nonce_len = explicit ? 8 : 0, body = len - 5 - nonce_len - 16;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	u8 nonce[12], aad[13], *end = out;
	int n, good;

	memcpy(nonce, t->key.iv, 12);
	for (int i = 0; i < 8; i++)
		aad[i] = (u8)(seq >> (56 - 8 * i));
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = explicit ? p[5 + i] : nonce[4 + i] ^ aad[i];
	memcpy(aad + 8, p, 3);
	aad[11] = (u8)(body >> 8);
	aad[12] = (u8)body;
	good = EVP_DecryptInit_ex(ctx, evp_of(t->cipher), NULL, t->key.key, nonce) &&
	       EVP_DecryptUpdate(ctx, NULL, &n, v13 ? p : aad, v13 ? 5 : 13) &&
	       EVP_DecryptUpdate(ctx, out, &n, p + 5 + nonce_len, (int)body) &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, (void *)(uintptr_t)(p + len - 16));
	end += n;
	good = good && EVP_DecryptFinal_ex(ctx, end, &n);
	EVP_CIPHER_CTX_free(ctx);
	return good ? (int)body : -1;
}

static void check_opens(const struct tls_traffic *t, const struct pipe_bytes *b, size_t from,
			const char *want)
{
	int content = (int)strlen(want), len = t->version == 0x0304 ? content + 1 : content;
	u8 out[256];

	ASSERT_EQ(open_record(t, t->seq, b->p + from, b->len - from, out), len);
	EXPECT_MEMEQ(out, want, (size_t)content);
	if (len > content)
		EXPECT_EQ(out[content], RECORD_DATA);
	EXPECT_EQ(open_record(t, t->seq + 1, b->p + from, b->len - from, out), -1);
}

/* The next record of either direction, sealed by OpenSSL, opens with the key, iv and number. */
static void check_traffic(struct tls_pair *p, u64 in_seq, u64 out_seq)
{
	struct tls_traffic in, out;
	size_t from;

	ASSERT_OK(tls_traffic(p->server, TLS_IN, &in));
	ASSERT_OK(tls_traffic(p->server, TLS_OUT, &out));
	EXPECT_EQ(in.seq, in_seq);
	EXPECT_EQ(out.seq, out_seq);
	from = p->to_client.len;
	ASSERT_OK(tls_send(p->server, "from the server", 15));
	check_opens(&out, &p->to_client, from, "from the server");
	from = p->to_server.len;
	ASSERT_TRUE(pair_client_write(p, "from the client", 15));
	check_opens(&in, &p->to_server, from, "from the client");
	pair_feed(p);
	pair_client_poke(p);
}

TEST_F(conn, traffic_keys)
{
	struct tls_pair *p = &self->p;
	bool v13 = variant->version == V13;
	struct tls_traffic t;

	ASSERT_EQ(tls_traffic(p->server, TLS_OUT, &t), -EAGAIN);
	ASSERT_TRUE(pair_shake(p));
	/* TLS 1.3: two tickets. TLS 1.2: Finished. */
	check_traffic(p, v13 ? 0 : 1, v13 ? 2 : 1);
	check_traffic(p, v13 ? 1 : 2, v13 ? 3 : 2);
	ASSERT_OK(tls_traffic(p->server, TLS_IN, &t));
	EXPECT_EQ(t.version, variant->version);
	EXPECT_EQ(t.cipher, variant->kind);
	EXPECT_EQ(t.key.key_len, variant->kind == TLS_AES_128_GCM ? 16 : 32);
}

/* Data in the same segment as the client's Finished: read here, counted, and the keys go on from there. */
TEST_F(conn, data_behind_finished)
{
	struct tls_pair *p = &self->p;
	bool v13 = variant->version == V13;
	struct tls_traffic t;
	size_t whole;

	if (!v13)
		return; /* there the server has the last word */
	SSL_do_handshake(p->client);
	pair_feed(p);
	ASSERT_EQ(SSL_do_handshake(p->client), 1);
	ASSERT_TRUE(pair_client_write(p, "first", 5));
	ASSERT_TRUE(pair_client_write(p, "second", 6));
	whole = p->to_server.len;
	p->to_server.len -= 3;
	pair_feed(p);
	EXPECT_EQ(p->server->state, TLS_OPEN);
	EXPECT_EQ(p->got.len, 5);
	EXPECT_EQ(tls_need(p->server), 3);
	EXPECT_EQ(tls_traffic(p->server, TLS_IN, &t), -EAGAIN);
	p->to_server.len = whole;
	pair_feed(p);
	EXPECT_EQ(p->got.len, 11);
	check_traffic(p, 2, 2);
}

TEST_F(conn, key_updates)
{
	struct tls_pair *p = &self->p;
	struct tls_traffic t;

	if (variant->version != V13)
		return;
	ASSERT_TRUE(pair_shake(p));
	check_traffic(p, 0, 2);
	/* The client's alone, then one that asks for ours. */
	ASSERT_EQ(SSL_key_update(p->client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	ASSERT_TRUE(pair_client_write(p, "a", 1));
	pair_feed(p);
	check_traffic(p, 1, 3);
	ASSERT_EQ(SSL_key_update(p->client, SSL_KEY_UPDATE_REQUESTED), 1);
	ASSERT_TRUE(pair_client_write(p, "a", 1));
	pair_feed(p);
	EXPECT_EQ(tls_traffic(p->server, TLS_OUT, &t), -EAGAIN);
	ASSERT_OK(tls_send(p->server, "b", 1));
	check_traffic(p, 1, 1);
	check_traffic(p, 2, 2);
}

TEST_F(conn, renegotiation_is_refused)
{
	struct tls_pair *p = &self->p;

	if (variant->version != V12)
		return;
	ASSERT_TRUE(pair_shake(p));
	ASSERT_EQ(SSL_renegotiate(p->client), 1);
	SSL_do_handshake(p->client);
	pair_feed(p);
	EXPECT_EQ(p->ret, -EPROTO);
	EXPECT_EQ(p->server->alert_sent, ALERT_NO_RENEGOTIATION);
	EXPECT_STREQ(p->server->reason, "the client wants to renegotiate");
}

TEST_F(conn, no_room_for_output)
{
	struct tls_pair *p = &self->p;

	ASSERT_TRUE(pair_shake(p));
	p->no_room = true;
	EXPECT_EQ(tls_send(p->server, "x", 1), -ENOMEM);
	EXPECT_EQ(p->server->state, TLS_FAILED);
}

TEST_F(conn, no_room_in_the_handshake)
{
	struct tls_pair *p = &self->p;

	p->no_room = true;
	EXPECT_FALSE(pair_shake(p));
	EXPECT_EQ(p->ret, -ENOMEM);
}

TEST_F(conn, secrets_are_wiped)
{
	static const u8 zero[SECRET_LEN_MAX];
	struct tls_pair *p = &self->p;
	struct tls_traffic t;

	ASSERT_TRUE(pair_shake(p));
	if (variant->version == V13) {
		EXPECT_EQ(p->server->side[TLS_IN].secret.len,
			  variant->kind == TLS_AES_256_GCM ? 48 : 32);
		EXPECT_NE(memcmp(p->server->side[TLS_IN].secret.bytes, zero, 32), 0);
	}
	tls_forget_secrets(p->server);
	EXPECT_MEMEQ(p->server->side[TLS_IN].secret.bytes, zero, sizeof(zero));
	EXPECT_MEMEQ(p->server->side[TLS_OUT].secret.bytes, zero, sizeof(zero));
	if (variant->version == V13)
		EXPECT_EQ(tls_traffic(p->server, TLS_OUT, &t), -EOPNOTSUPP);
	/* The connection itself goes on. */
	ASSERT_TRUE(pair_client_write(p, "on", 2));
	pair_feed(p);
	EXPECT_EQ(p->got.len, 2);
}
