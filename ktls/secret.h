/* SPDX-License-Identifier: MIT */
/*
 * Keys from secrets: the key schedule of TLS 1.3 from the traffic secrets on
 * (RFC 8446 7.1-7.3) and the key block of TLS 1.2 (RFC 5246 5, 6.3). All
 * return 0, -EINVAL for lengths that cannot be, -ENOMEM when the library
 * fails; what they leave on the stack is wiped. The results are secrets too:
 * secret_wipe() when they have served.
 */
#ifndef HYPERION_KTLS_SECRET_H
#define HYPERION_KTLS_SECRET_H

#include "server/base.h"

#define SECRET_LEN_MAX 48u
#define SECRET_KEY_MAX 32u
#define SECRET_IV_LEN 12u
#define SECRET_SALT_LEN 4u /* of an AES-GCM iv in TLS 1.2 (RFC 5288 3); the rest is sent */
#define SECRET_MASTER_LEN 48u
#define SECRET_RANDOM_LEN 32u

enum secret_hash { SECRET_SHA256, SECRET_SHA384 };

/* A traffic secret; its length says the hash: 32 SHA-256, 48 SHA-384, 0 none. */
struct secret {
	u8 bytes[SECRET_LEN_MAX];
	u8 len;
};

struct secret_key {
	u8 key[SECRET_KEY_MAX];
	u8 iv[SECRET_IV_LEN]; /* TLS 1.2 AES-GCM: the salt, then zeroes */
	u8 key_len; /* bytes: 16 or 32 */
};

void secret_wipe(void *p, size_t len);

/* HKDF-Expand-Label (RFC 8446 7.1); @label without "tls13 ", @len at most 255 of the hash. */
int secret_expand_label(const struct secret *s, struct view label, struct view context, u8 *out,
			size_t len) __must_check;

/* The key and iv of one direction (7.3). */
int secret_key(const struct secret *s, size_t key_len, struct secret_key *out) __must_check;

/* The secret behind a KeyUpdate (7.2). */
int secret_update(struct secret *s) __must_check;

/* The PRF of TLS 1.2 (RFC 5246 5); @seed is what follows the label. */
int secret_prf(enum secret_hash hash, struct view secret, struct view label, struct view seed,
	       u8 *out, size_t len) __must_check;

/* Where a TLS 1.2 connection's keys come from. */
struct secret_master {
	enum secret_hash hash;
	u8 master[SECRET_MASTER_LEN];
	u8 client_random[SECRET_RANDOM_LEN];
	u8 server_random[SECRET_RANDOM_LEN];
};

/*
 * The key block of an AEAD cipher (RFC 5246 6.3): @iv_len is SECRET_SALT_LEN for
 * AES-GCM, SECRET_IV_LEN for ChaCha20-Poly1305 (RFC 7905 2).
 */
int secret_key_block(const struct secret_master *m, size_t key_len, size_t iv_len,
		     struct secret_key *client, struct secret_key *server) __must_check;

#endif
