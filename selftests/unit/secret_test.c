/* SPDX-License-Identifier: MIT */
/* Against the numbers of RFC 8448 and against OpenSSL's own key derivation. */
#include "selftests/harness/harness.h"
#include "ktls/secret.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>

static size_t unhex(const char *hex, u8 *out)
{
	size_t n = 0;
	int used;
	unsigned int b;

	for (; sscanf(hex, "%2x%n", &b, &used) == 1; hex += used)
		out[n++] = (u8)b;
	return n;
}

static struct secret secret_of(const char *hex)
{
	struct secret s;

	s.len = (u8)unhex(hex, s.bytes);
	return s;
}

struct vector {
	const char *secret, *key, *iv;
};

/* RFC 8448, section 3: handshake and application keys of both sides. */
static const struct vector rfc8448[] = {
	{ "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
	  "3fce516009c21727d0f2e4e86ee403bc", "5d313eb2671276ee13000b30" },
	{ "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
	  "dbfaa693d1762c5b666af5d950258d01", "5bd3c71b836e0b76bb73265f" },
	{ "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	  "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984" },
	{ "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
	  "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9" },
};

TEST(keys_of_rfc8448)
{
	for (size_t i = 0; i < ARRAY_SIZE(rfc8448); i++) {
		struct secret s = secret_of(rfc8448[i].secret);
		u8 key[16], iv[SECRET_IV_LEN];
		struct secret_key k;

		ASSERT_EQ(unhex(rfc8448[i].key, key), 16);
		ASSERT_EQ(unhex(rfc8448[i].iv, iv), 12);
		ASSERT_OK(secret_key(&s, 16, &k));
		EXPECT_EQ(k.key_len, 16);
		EXPECT_MEMEQ(k.key, key, 16);
		EXPECT_MEMEQ(k.iv, iv, 12);
	}
}

/* The same section's resumption secret, from its nonce: a label with a context. */
TEST(resumption_secret_of_rfc8448)
{
	struct secret s =
		secret_of("7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c");
	struct secret want =
		secret_of("4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3");
	u8 out[32];

	ASSERT_OK(secret_expand_label(&s, VIEW("resumption"), VIEW("\0\0"), out, 32));
	EXPECT_MEMEQ(out, want.bytes, 32);
}

static void openssl_kdf(const char *name, OSSL_PARAM *params, u8 *out, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);

	ASSERT_NOT_NULL(ctx);
	ASSERT_EQ(EVP_KDF_derive(ctx, out, len, params), 1);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}

static void openssl_expand_label(const char *md, struct secret *s, const char *label, u8 *out,
				 size_t len)
{
	char name[8], prefix[] = "tls13 ", text[32];
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, s->bytes, s->len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, 6),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, text, strlen(label)),
		OSSL_PARAM_construct_end(),
	};

	strcpy(name, md);
	strcpy(text, label);
	openssl_kdf("TLS13-KDF", params, out, len);
}

FIXTURE(hash)
{
	struct secret s;
	struct rng rng;
};

FIXTURE_VARIANT(hash)
{
	u8 len;
	enum secret_hash hash;
	const char *md;
};

VARIANT(hash, sha256) = { 32, SECRET_SHA256, "SHA256" };
VARIANT(hash, sha384) = { 48, SECRET_SHA384, "SHA384" };

FIXTURE_SETUP(hash)
{
	rng_init(&self->rng);
	rng_fill(&self->rng, &self->s, sizeof(self->s));
	self->s.len = variant->len;
}

FIXTURE_TEARDOWN(hash)
{
	secret_wipe(&self->s, sizeof(self->s));
}

TEST_F(hash, keys_as_openssl)
{
	u8 key[32], iv[12];
	struct secret_key k;

	openssl_expand_label(variant->md, &self->s, "key", key, 32);
	openssl_expand_label(variant->md, &self->s, "iv", iv, 12);
	ASSERT_OK(secret_key(&self->s, 32, &k));
	EXPECT_MEMEQ(k.key, key, 32);
	EXPECT_MEMEQ(k.iv, iv, 12);
}

TEST_F(hash, updates_as_openssl)
{
	u8 next[48];

	for (int i = 0; i < 3; i++) {
		openssl_expand_label(variant->md, &self->s, "traffic upd", next, variant->len);
		ASSERT_OK(secret_update(&self->s));
		EXPECT_EQ(self->s.len, variant->len);
		EXPECT_MEMEQ(self->s.bytes, next, variant->len);
	}
}

TEST_F(hash, many_blocks_as_openssl)
{
	u8 want[255], got[255];

	for (size_t len = 1; len <= sizeof(got); len++) {
		openssl_expand_label(variant->md, &self->s, "some label", want, len);
		ASSERT_OK(secret_expand_label(&self->s, VIEW("some label"),
					      (struct view){ NULL, 0 }, got, len));
		ASSERT_MEMEQ(got, want, len);
	}
}

static void openssl_prf(const char *md, u8 *secret, size_t secret_len, const char *label, u8 *seed,
			size_t seed_len, u8 *out, size_t len)
{
	char name[8], text[32];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, text, strlen(label)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, seed_len),
		OSSL_PARAM_construct_end(),
	};

	strcpy(name, md);
	strcpy(text, label);
	openssl_kdf("TLS1-PRF", params, out, len);
}

TEST_F(hash, prf_as_openssl)
{
	u8 key[48], seed[64], want[200], got[200];

	rng_fill(&self->rng, key, sizeof(key));
	rng_fill(&self->rng, seed, sizeof(seed));
	for (size_t len = 1; len <= sizeof(got); len += 7) {
		openssl_prf(variant->md, key, 48, "key expansion", seed, 64, want, len);
		ASSERT_OK(secret_prf(variant->hash, (struct view){ (char *)key, 48 },
				     VIEW("key expansion"), (struct view){ (char *)seed, 64 }, got,
				     len));
		ASSERT_MEMEQ(got, want, len);
	}
}

static void check_key_block(const char *md, const struct secret_master *m, size_t key_len,
			    size_t iv_len)
{
	struct secret_key client, server;
	u8 block[88], seed[64], master[48], zero[12] = { 0 };

	memcpy(master, m->master, 48);
	memcpy(seed, m->server_random, 32);
	memcpy(seed + 32, m->client_random, 32);
	openssl_prf(md, master, 48, "key expansion", seed, 64, block, 2 * (key_len + iv_len));
	ASSERT_OK(secret_key_block(m, key_len, iv_len, &client, &server));
	EXPECT_EQ(client.key_len, key_len);
	EXPECT_EQ(server.key_len, key_len);
	EXPECT_MEMEQ(client.key, block, key_len);
	EXPECT_MEMEQ(server.key, block + key_len, key_len);
	EXPECT_MEMEQ(client.iv, block + 2 * key_len, iv_len);
	EXPECT_MEMEQ(server.iv, block + 2 * key_len + iv_len, iv_len);
	EXPECT_MEMEQ(client.iv + iv_len, zero, SECRET_IV_LEN - iv_len);
}

TEST_F(hash, key_block_as_openssl)
{
	struct secret_master m;

	rng_fill(&self->rng, &m, sizeof(m));
	m.hash = variant->hash;
	check_key_block(variant->md, &m, 16, SECRET_SALT_LEN);
	check_key_block(variant->md, &m, 32, SECRET_SALT_LEN);
	check_key_block(variant->md, &m, 32, SECRET_IV_LEN);
}

/* A published vector of the PRF with SHA-256. */
TEST(prf_vector)
{
	u8 secret[16], seed[16], want[100], got[100];

	unhex("9bbe436ba940f017b17652849a71db35", secret);
	unhex("a0ba9f936cda311827a6f796ffd5198c", seed);
	unhex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9"
	      "c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789ba"
	      "a48082d122ee42c5a72e5a5110fff70187347b66",
	      want);
	ASSERT_OK(secret_prf(SECRET_SHA256, (struct view){ (char *)secret, 16 }, VIEW("test label"),
			     (struct view){ (char *)seed, 16 }, got, sizeof(got)));
	EXPECT_MEMEQ(got, want, sizeof(want));
}

TEST(lengths_that_cannot_be)
{
	struct secret none = { .len = 0 }, odd = { .len = 20 }, good = { .len = 32 };
	static const char long_text[256];
	struct secret_key k;
	u8 out[16];

	EXPECT_EQ(secret_key(&none, 16, &k), -EINVAL);
	EXPECT_EQ(secret_key(&odd, 16, &k), -EINVAL);
	EXPECT_EQ(secret_key(&good, 33, &k), -EINVAL);
	EXPECT_EQ(secret_expand_label(&good, (struct view){ long_text, 250 },
				      (struct view){ NULL, 0 }, out, 16),
		  -EINVAL);
	EXPECT_EQ(secret_expand_label(&good, VIEW("a"), (struct view){ long_text, 256 }, out, 16),
		  -EINVAL);
	EXPECT_EQ(secret_prf(SECRET_SHA256, VIEW("a"), VIEW("b"), (struct view){ long_text, 256 },
			     out, 16),
		  -EINVAL);
}
