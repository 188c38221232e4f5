/* SPDX-License-Identifier: MIT */
#include "selftests/tls_pair.h"

#include <stdlib.h>

#include <openssl/err.h>

#define MAX_ROUNDS 100

static size_t push(struct pipe_bytes *b, const void *p, size_t len)
{
	if (!b->p)
		b->p = malloc(PAIR_BYTES);
	if (!b->p || len > PAIR_BYTES - b->len)
		abort();
	memcpy(b->p + b->len, p, len);
	b->len += len;
	return len;
}

static size_t left(const struct pipe_bytes *b)
{
	return b->len - b->taken;
}

/* --- the client's BIO --- */

static int client_read(BIO *bio, char *p, int len)
{
	struct tls_pair *pair = BIO_get_data(bio);
	struct pipe_bytes *b = &pair->to_client;
	size_t n = min(left(b), (size_t)len);

	BIO_clear_retry_flags(bio);
	if (!n) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(p, b->p + b->taken, n);
	b->taken += n;
	return (int)n;
}

static int client_write(BIO *bio, const char *p, int len)
{
	struct tls_pair *pair = BIO_get_data(bio);

	return (int)push(&pair->to_server, p, (size_t)len);
}

static long client_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *client_bio(void)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "client");
		BIO_meth_set_read(method, client_read);
		BIO_meth_set_write(method, client_write);
		BIO_meth_set_ctrl(method, client_ctrl);
	}
	return method;
}

/* --- sessions --- */

static SSL_SESSION *last_session;

static int new_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(last_session);
	last_session = session;
	return 1;
}

SSL_SESSION *pair_session(SSL_CTX *client)
{
	SSL_SESSION *session = last_session;

	(void)client;
	last_session = NULL;
	return session;
}

SSL_CTX *pair_client_ctx(void)
{
	SSL_CTX *client = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client, new_session);
	return client;
}

/* --- the pair --- */

static void enter(struct tls_pair *p, bool in)
{
	if (p->in_engine)
		*p->in_engine = in;
}

static int take_out(void *arg, const void *bytes, size_t len)
{
	struct tls_pair *p = arg;

	if (p->no_room)
		return -ENOMEM;
	push(&p->to_client, bytes, len);
	return 0;
}

bool pair_init(struct tls_pair *p, struct tls_ctx *ctx, SSL_CTX *client, const char *name,
	       SSL_SESSION *session)
{
	BIO *bio;
	int err;

	*p = (struct tls_pair){ .how = p->how, .rng = p->rng, .in_engine = p->in_engine };
	enter(p, true);
	err = tls_new(&p->server, ctx, take_out, p);
	enter(p, false);
	if (err)
		return false;
	bio = BIO_new(client_bio());
	BIO_set_data(bio, p);
	BIO_set_init(bio, 1);
	p->client = SSL_new(client);
	SSL_set_bio(p->client, bio, bio);
	SSL_set_connect_state(p->client);
	if (name)
		SSL_set_tlsext_host_name(p->client, name);
	if (session)
		SSL_set_session(p->client, session);
	return true;
}

void pair_fini(struct tls_pair *p)
{
	tls_free(p->server);
	if (p->client && SSL_is_init_finished(p->client))
		SSL_set_shutdown(p->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(p->client);
	free(p->to_client.p);
	free(p->to_server.p);
	free(p->got.p);
	ERR_clear_error();
}

/* Each piece in memory that ends with it. */
static void feed_piece(struct tls_pair *p, const u8 *bytes, size_t len)
{
	u8 *copy = malloc(len), buf[RECORD_PLAIN_MAX];
	struct view in = { (const char *)copy, len };

	memcpy(copy, bytes, len);
	do {
		enter(p, true);
		p->ret = tls_recv(p->server, &in, buf, sizeof(buf));
		enter(p, false);
		if (p->ret > 0)
			push(&p->got, buf, (size_t)p->ret);
	} while (p->ret > 0);
	free(copy);
}

void pair_feed(struct tls_pair *p)
{
	struct pipe_bytes *b = &p->to_server;
	struct feed f;
	size_t n;

	feed_init(&f, p->how, left(b), p->rng);
	while ((n = feed_next(&f))) {
		b->taken += n;
		feed_piece(p, b->p + b->taken - n, n);
	}
}

bool pair_shake(struct tls_pair *p)
{
	for (int i = 0; i < MAX_ROUNDS; i++) {
		size_t before = p->to_client.len + p->to_server.len;
		int ret = SSL_do_handshake(p->client);

		p->client_error = ret == 1 ? 0 : SSL_get_error(p->client, ret);
		pair_feed(p);
		if (p->to_client.len + p->to_server.len == before && !left(&p->to_client))
			break;
	}
	return p->client_error == 0 && p->server->state == TLS_OPEN;
}

void pair_client_read(struct tls_pair *p, void *buf, size_t len, size_t *n)
{
	u8 *bytes = buf;
	size_t part;

	*n = 0;
	while (*n < len && SSL_read_ex(p->client, bytes + *n, len - *n, &part) == 1)
		*n += part;
	ERR_clear_error();
}

bool pair_client_write(struct tls_pair *p, const void *buf, size_t len)
{
	size_t n;

	return SSL_write_ex(p->client, buf, len, &n) == 1 && n == len;
}

int pair_client_poke(struct tls_pair *p)
{
	char byte;
	int ret = SSL_read(p->client, &byte, 1);

	ret = ret == 1 ? 0 : SSL_get_error(p->client, ret);
	return ret;
}
