/* SPDX-License-Identifier: MIT */
/*
 * What all TLS connections of a listener share: certificates by name, versions
 * and ciphers, ALPN, who has to show a certificate, ticket keys. Made from
 * bytes; no file is read here. Counted: a reload makes a new one, and
 * connections hold theirs. Only ctx_set_tickets() changes one that is in use.
 *
 * Fixed: TLS 1.2 and 1.3 only, no compression, no renegotiation, no early
 * data (RFC 8446 8: it can be replayed).
 */
#ifndef HYPERION_KTLS_CTX_H
#define HYPERION_KTLS_CTX_H

#include "ktls/ctx_config.h"
#include "server/base.h"

struct tls_ctx;

/*
 * 0 with one reference, or -EINVAL (-ENOMEM) and in @error one line that names the
 * certificate or setting and what is wrong with it.
 */
int ctx_new(struct tls_ctx **out, const struct ctx_config *config,
	    char error[CTX_ERROR_LEN]) __must_check;

/* From any thread. */
struct tls_ctx *ctx_get(struct tls_ctx *ctx);
void ctx_put(struct tls_ctx *ctx);

/*
 * From now on these, copied; from any thread, also while handshakes run. A
 * session of any but the first key gets a new ticket. Sessions do not cross
 * between contexts that ask for different client certificates. -EINVAL: none,
 * or more than TICKET_KEYS_MAX; -ENOTSUP: begun without tickets.
 */
int ctx_set_tickets(struct tls_ctx *ctx, const struct ticket_key *keys, u32 nr) __must_check;

/* --- for ktls/engine --- */

struct ssl_ctx_st;
struct bio_method_st;
struct ctx_conn;

/* A connection, as OpenSSL's calls find it: the data of its BIO. */
struct ctx_conn_ops {
	int (*read)(struct ctx_conn *c, char *p, int len); /* bytes, or 0: none are there */
	int (*write)(struct ctx_conn *c, const char *p, int len); /* bytes, or -1 */
	void (*keylog)(struct ctx_conn *c, const char *line);
};

struct ctx_conn {
	struct tls_ctx *ctx;
	const struct ctx_conn_ops *ops;
};

/* Of the default certificate; a server name leads to another one by itself. */
struct ssl_ctx_st *ctx_ssl(const struct tls_ctx *ctx);
const struct bio_method_st *ctx_bio(const struct tls_ctx *ctx);
bool ctx_keeps_secrets(const struct tls_ctx *ctx);

#endif
