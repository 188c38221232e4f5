/* SPDX-License-Identifier: MIT */
/* Certificates made for a test. */
#ifndef HYPERION_SELFTESTS_TLS_CERTS_H
#define HYPERION_SELFTESTS_TLS_CERTS_H

#include <openssl/x509.h>

#include "ktls/ctx_config.h"

enum key_kind { KEY_P256, KEY_RSA, KEY_RSA_1024, KEY_ED25519, KEY_P384 };

struct test_cert {
	X509 *x509;
	EVP_PKEY *key;
	char *chain_pem, *key_pem; /* NUL-terminated */
};

struct cert_wish {
	enum key_kind kind;
	const char *common_name;
	const char *names; /* as OpenSSL's configuration has it: "DNS:a.test,DNS:*.b.test"; may be NULL */
	const struct test_cert *issuer; /* NULL = signs itself */
	const char *digest; /* NULL = SHA256 */
	int days_before, days; /* valid from so many days ago, for so many from now (0 = 30) */
	bool ca;
};

/* Aborts where it fails. The issuer's chain is appended unless it is a root. */
void test_cert_make(struct test_cert *out, const struct cert_wish *wish);
void test_cert_free(struct test_cert *c);

struct cert_source test_cert_source(const struct test_cert *c, const char *name);

/*
 * For PROGRAM_NEEDS(): all cases share one RSA key, which takes long to find.
 */
const char *test_certs_warm(void);

#endif
