/* SPDX-License-Identifier: MIT */
/* A certificate with its key, its chain and its staple, read from bytes and judged. */
#ifndef HYPERION_KTLS_CERT_H
#define HYPERION_KTLS_CERT_H

#include <openssl/x509.h>

#include "ktls/ctx_config.h"
#include "server/base.h"

#define CERT_RSA_BITS_MIN 2048
#define CERT_NAME_MAX 253 /* bytes of a DNS name */

/* Where words go; @warn and @error may be NULL. */
struct cert_report {
	char *error; /* CTX_ERROR_LEN bytes */
	void (*warn)(void *arg, const char *text);
	void *arg;
};

/* One certificate of each kind can stand under one name. */
enum cert_kind { CERT_RSA, CERT_ECDSA, CERT_ED25519, NR_CERT_KINDS };

struct cert {
	X509 *x509;
	EVP_PKEY *key;
	STACK_OF(X509) * chain;
	enum cert_kind kind;
	struct view ocsp; /* on the heap */
	s64 ocsp_end; /* seconds since 1970 from which it is stale; INT64_MAX = never */
};

/*
 * 0, -EINVAL with a line in @report->error, -ENOMEM. Refused: what cannot be
 * read, a key that is encrypted or another's, RSA below 2048 bits, a signature
 * by MD5 or SHA-1. Warned of: expired, not yet valid, a chain out of order, a
 * stale staple.
 */
int cert_load(struct cert *c, const struct cert_source *source,
	      const struct cert_report *report) __must_check;
void cert_fini(struct cert *c);

/* All certificates of @pem, at least one. -EINVAL, -ENOMEM. @what begins the message. */
int cert_read_all(STACK_OF(X509) * *out, struct view pem, const char *what,
		  const struct cert_report *report) __must_check;

/*
 * The DNS names that it serves, in lower case: of subjectAltName, else the common name
 * (RFC 6125 6.4.4). Ends when fn() returns other than 0, and returns that.
 */
int cert_each_name(const struct cert *c, int (*fn)(void *arg, const char *name),
		   void *arg) __must_check;

void cert_complain(const struct cert_report *r, const char *fmt, ...) __printf(2, 3);
void cert_warn(const struct cert_report *r, const char *fmt, ...) __printf(2, 3);

/* What OpenSSL has to say of its last failure; never NULL. */
const char *cert_openssl_reason(void);

#endif
