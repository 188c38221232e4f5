/* SPDX-License-Identifier: MIT */
/* Our engine and a client of OpenSSL's, joined by memory. */
#ifndef HYPERION_SELFTESTS_TLS_PAIR_H
#define HYPERION_SELFTESTS_TLS_PAIR_H

#include <openssl/ssl.h>

#include "ktls/engine.h"
#include "selftests/harness/rng.h"

#define PAIR_BYTES (2 * MIB)

struct pipe_bytes {
	u8 *p;
	size_t len, taken;
};

struct tls_pair {
	struct tls *server;
	SSL *client;
	struct pipe_bytes to_client, to_server; /* records on their way */
	struct pipe_bytes got; /* plaintext that the server has read */
	enum feeding how; /* these two and in_engine are kept by pair_init() */
	struct rng *rng;
	ssize_t ret; /* of the last tls_recv() */
	int client_error; /* SSL_get_error() of the handshake; 0 = it is done */
	bool no_room; /* the engine's output is refused */
	bool *in_engine; /* set while the engine is called; may be NULL */
};

/* A client's context with any certificate good; to be changed, then freed by SSL_CTX_free(). */
SSL_CTX *pair_client_ctx(void);

/* NULL when the engine cannot be had; @session may be NULL. */
bool pair_init(struct tls_pair *p, struct tls_ctx *ctx, SSL_CTX *client, const char *name,
	       SSL_SESSION *session);
void pair_fini(struct tls_pair *p);

/* Both sides until neither has anything to say. True when both are established. */
bool pair_shake(struct tls_pair *p);

/* One way: what the client has written is fed to the server; and the other way. */
void pair_feed(struct tls_pair *p);
void pair_client_read(struct tls_pair *p, void *buf, size_t len, size_t *n);
/* The client seals @len bytes; nothing is fed yet. */
bool pair_client_write(struct tls_pair *p, const void *buf, size_t len);

/* Lets the client read tickets and alerts; returns SSL_get_error() of that, 0 = there was data. */
int pair_client_poke(struct tls_pair *p);

/* The session of the client's last ticket, when the context of pair_client_ctx() has got one. */
SSL_SESSION *pair_session(SSL_CTX *client);

#endif
