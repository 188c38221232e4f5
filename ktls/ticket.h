/* SPDX-License-Identifier: MIT */
/*
 * Session tickets (RFC 5077 4: AES-256-CBC and HMAC-SHA-256) under a set of
 * keys that comes from outside, so that every process of the server takes
 * every other's tickets. From any thread.
 */
#ifndef HYPERION_KTLS_TICKET_H
#define HYPERION_KTLS_TICKET_H

#include <pthread.h>

#include <openssl/evp.h>

#include "ktls/ctx_config.h"
#include "server/base.h"

struct tickets {
	pthread_mutex_t lock; /* of the keys: they are copied out and in, nothing else */
	struct ticket_key keys[TICKET_KEYS_MAX]; /* the first encrypts, all decrypt */
	u32 nr;
	EVP_CIPHER *cipher; /* fetched once: a fetch costs more than its use */
};

int tickets_init(struct tickets *t) __must_check; /* 0 or -ENOMEM */
void tickets_fini(struct tickets *t); /* wipes */

/* Copied. -EINVAL: none, or more than TICKET_KEYS_MAX. */
int tickets_set(struct tickets *t, const struct ticket_key *keys, u32 nr) __must_check;

/* Values of SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
enum ticket_result {
	TICKET_FAILED = -1,
	TICKET_UNKNOWN = 0, /* no key of this name: a full handshake */
	TICKET_GOOD = 1,
	TICKET_RENEW = 2, /* good, of an older key */
};

/* Readies both for a new ticket, whose key's name and iv are written. */
enum ticket_result ticket_seal(struct tickets *t, u8 name[16], u8 *iv, EVP_CIPHER_CTX *cipher,
			       EVP_MAC_CTX *mac);

/* Readies both for a ticket that came. */
enum ticket_result ticket_open(struct tickets *t, const u8 name[16], const u8 *iv,
			       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);

#endif
