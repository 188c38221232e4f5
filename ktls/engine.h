/* SPDX-License-Identifier: MIT */
/*
 * TLS of one connection (RFC 8446, RFC 5246), server side, without I/O: bytes
 * of records in, bytes of records out, plaintext on the other side. Owned by
 * its connection, used by one thread at a time. Freed early once the kernel
 * has both directions (ktls/offload).
 *
 * OpenSSL is given the records one by one and keeps what is incomplete;
 * nothing behind the record that completes the handshake is touched before
 * the handshake is over.
 */
#ifndef HYPERION_KTLS_ENGINE_H
#define HYPERION_KTLS_ENGINE_H

#include "ktls/ctx.h"
#include "ktls/record.h"
#include "ktls/secret.h"
#include "server/base.h"

enum tls_state {
	TLS_HANDSHAKE,
	TLS_OPEN,
	TLS_FAILED, /* the alert, if there is one to be sent, has been put */
};

enum tls_dir { TLS_IN, TLS_OUT, NR_TLS_DIRS };

/*
 * Takes all of @p, records to be sent in this order; 0, or -ENOMEM, which
 * fails the connection.
 */
typedef int (*tls_put_fn)(void *arg, const void *p, size_t len);

struct tls_side {
	struct secret secret; /* TLS 1.3: application traffic, current */
	u64 seq; /* records sealed or opened since the keys changed */
};

struct tls {
	struct ctx_conn conn; /* first: OpenSSL's calls find it */
	struct ssl_st *ssl;
	tls_put_fn put;
	void *arg;
	const char *in; /* what OpenSSL may take now */
	size_t in_len;
	struct record_walk walk;
	struct tls_side side[NR_TLS_DIRS];
	const char *reason; /* why it failed, a constant; NULL = it did not */
	enum tls_state state;
	int alert_sent, alert_got; /* enum tls_alert; -1 = none; both levels */
	bool closed; /* the peer has sent close_notify */
	bool http; /* failed: not TLS, but a text that begins like a request */
	bool out_of_memory;
};

/* 0 or -ENOMEM. Takes a reference of its own to @ctx. */
int tls_new(struct tls **out, struct tls_ctx *ctx, tls_put_fn put, void *arg) __must_check;
/* Wipes what is secret. Puts nothing; NULL is right. */
void tls_free(struct tls *t);

/*
 * Takes received bytes from @in, which is moved on, until some of them are
 * plaintext, which goes to [@buf, @buf + @len). Returns
 * > 0	bytes of plaintext: call again, there may be more, also when @in is empty;
 * 0	the peer has sent close_notify; what follows is not looked at;
 * -EAGAIN	all of @in was taken, more is needed;
 * -EPROTO	it has failed: t->reason, t->alert_sent, t->alert_got, t->http;
 * -ENOMEM	the same for want of memory.
 * The handshake goes on by itself here: look at t->state after each call.
 * @len >= RECORD_PLAIN_MAX takes a record in one call.
 */
ssize_t tls_recv(struct tls *t, struct view *in, void *buf, size_t len) __must_check;

/*
 * How many bytes of the record under way are still to come (record_need());
 * 0 between two records. To reach the end of a record without entering the
 * next one, receive no more than this.
 */
static inline u32 tls_need(const struct tls *t)
{
	return record_need(&t->walk);
}

/*
 * Seals all of @p into records of at most the length set by tls_set_record_len() and puts
 * them. 0, -EPROTO or -ENOMEM. Only in TLS_OPEN.
 */
int tls_send(struct tls *t, const void *p, size_t len) __must_check;

/* Bytes of plaintext per record from now on, 512 <= @len <= RECORD_PLAIN_MAX (the default). */
void tls_set_record_len(struct tls *t, u32 len);

/* Puts close_notify, once; nothing may be sent behind it. Not before TLS_OPEN. 0 or as tls_send(). */
int tls_close(struct tls *t) __must_check;

/* The connection has nothing to do for a while: gives buffers back (about 34 KiB). */
void tls_idle(struct tls *t);

/* --- what was agreed on; from TLS_OPEN --- */

struct tls_info {
	const char *version; /* "TLSv1.3", constants all three */
	const char *cipher; /* OpenSSL's name */
	const char *group; /* of the key exchange; NULL = none was made */
	struct view alpn; /* empty = none; lives as long as the ctx */
	bool resumed;
	bool has_peer_cert;
};

void tls_info(const struct tls *t, struct tls_info *out);

/* What the client has named (RFC 6066 3); NULL = nothing. Lives as long as @t. */
const char *tls_server_name(const struct tls *t);

/* Of a client certificate. */
struct tls_peer {
	char fingerprint[64 + 1]; /* SHA-256 of the DER, hex */
	char subject[]; /* RFC 2253, UTF-8 */
};

/* On the heap, to be given to free(). -ENOENT: it has shown none; -ENOMEM. */
int tls_peer(const struct tls *t, struct tls_peer **out) __must_check;

/* --- for ktls/offload --- */

enum tls_cipher { TLS_AES_128_GCM, TLS_AES_256_GCM, TLS_CHACHA20_POLY1305, NR_TLS_CIPHERS };

/* One direction, from its next record on. A secret: secret_wipe(). */
struct tls_traffic {
	u16 version; /* 0x0303, 0x0304 */
	enum tls_cipher cipher;
	struct secret_key key;
	u64 seq;
	struct secret secret; /* TLS 1.3: what the next KeyUpdate starts from */
};

/*
 * 0; -EAGAIN: not in TLS_OPEN, or (TLS_IN) in the midst of a record: see tls_need(),
 * or (TLS_OUT) a KeyUpdate of ours is due and goes with the next tls_send();
 * -EOPNOTSUPP: a cipher that the kernel lacks, or the ctx keeps no secrets;
 * -ENOMEM. The caller must not use the direction here any more, and for TLS_OUT
 * everything put so far has to be in the socket first.
 */
int tls_traffic(const struct tls *t, enum tls_dir dir, struct tls_traffic *out) __must_check;

/* The connection stays here, or it has moved: wipes the secrets. */
void tls_forget_secrets(struct tls *t);

#endif
