/* SPDX-License-Identifier: MIT */
#include "selftests/tls_certs.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			ERR_print_errors_fp(stderr);                                               \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define SECONDS_PER_DAY 86400L

static EVP_PKEY *shared_rsa;

const char *test_certs_warm(void)
{
	shared_rsa = EVP_RSA_gen(2048);
	return shared_rsa ? NULL : "rsa: no key";
}

static EVP_PKEY *key_make(enum key_kind kind)
{
	switch (kind) {
	case KEY_P256:
		return EVP_EC_gen("P-256");
	case KEY_P384:
		return EVP_EC_gen("P-384");
	case KEY_RSA:
		if (!shared_rsa || !EVP_PKEY_up_ref(shared_rsa))
			return EVP_RSA_gen(2048);
		return shared_rsa;
	case KEY_RSA_1024:
		return EVP_RSA_gen(1024);
	case KEY_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	}
	return NULL;
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX v3;

	X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	MUST(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

static char *take_text(BIO *bio)
{
	char *p, *copy;
	long len = BIO_get_mem_data(bio, &p);

	copy = malloc((size_t)len + 1);
	MUST(copy);
	memcpy(copy, p, (size_t)len);
	copy[len] = 0;
	BIO_free(bio);
	return copy;
}

static bool is_root(const struct test_cert *c)
{
	return X509_NAME_cmp(X509_get_subject_name(c->x509), X509_get_issuer_name(c->x509)) == 0;
}

static void write_pem(struct test_cert *c, const struct test_cert *issuer)
{
	BIO *chain = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());

	MUST(PEM_write_bio_X509(chain, c->x509));
	if (issuer && !is_root(issuer))
		MUST(BIO_puts(chain, issuer->chain_pem) > 0);
	MUST(PEM_write_bio_PKCS8PrivateKey(key, c->key, NULL, NULL, 0, NULL, NULL));
	c->chain_pem = take_text(chain);
	c->key_pem = take_text(key);
}

void test_cert_make(struct test_cert *out, const struct cert_wish *wish)
{
	const struct test_cert *issuer = wish->issuer ?: out;
	static long serial = 1;
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();
	const EVP_MD *md;

	out->x509 = x;
	out->key = key_make(wish->kind);
	MUST(out->key && x && name);
	MUST(X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), serial++));
	X509_gmtime_adj(X509_getm_notBefore(x), -SECONDS_PER_DAY * wish->days_before - 60);
	X509_gmtime_adj(X509_getm_notAfter(x), SECONDS_PER_DAY * (wish->days ?: 30));
	MUST(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					(const u8 *)wish->common_name, -1, -1, 0));
	MUST(X509_set_subject_name(x, name) && X509_set_pubkey(x, out->key));
	MUST(X509_set_issuer_name(x, X509_get_subject_name(issuer->x509)));
	X509_NAME_free(name);
	extend(x, issuer->x509, NID_basic_constraints,
	       wish->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (wish->names)
		extend(x, issuer->x509, NID_subject_alt_name, wish->names);
	md = EVP_PKEY_get_base_id(issuer->key) == EVP_PKEY_ED25519
		     ? NULL
		     : EVP_get_digestbyname(wish->digest ?: "SHA256");
	MUST(X509_sign(x, issuer->key, md));
	write_pem(out, wish->issuer);
}

void test_cert_free(struct test_cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	free(c->chain_pem);
	free(c->key_pem);
	memset(c, 0, sizeof(*c));
}

struct cert_source test_cert_source(const struct test_cert *c, const char *name)
{
	return (struct cert_source){ .name = name,
				     .chain = view_of(c->chain_pem),
				     .key = view_of(c->key_pem) };
}
