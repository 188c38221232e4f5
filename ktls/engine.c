/* SPDX-License-Identifier: MIT */
#include "ktls/engine.h"

#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "server/fail.h"

#define HANDSHAKE_CLIENT_HELLO 1
#define HANDSHAKE_SERVER_HELLO 2
#define HANDSHAKE_FINISHED 20
#define HANDSHAKE_KEY_UPDATE 24
#define RECORD_LEN_MIN 512u

static int fail(struct tls *t, const char *reason)
{
	t->state = TLS_FAILED;
	t->reason = t->reason ?: reason;
	tls_forget_secrets(t);
	return t->out_of_memory ? -ENOMEM : -EPROTO;
}

/* --- what OpenSSL calls --- */

static int give_in(struct ctx_conn *c, char *p, int len)
{
	struct tls *t = container_of(c, struct tls, conn);
	size_t n = min(t->in_len, (size_t)len);

	if (n)
		memcpy(p, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static int take_out(struct ctx_conn *c, const char *p, int len)
{
	struct tls *t = container_of(c, struct tls, conn);

	if (t->put(t->arg, p, (size_t)len) == 0)
		return len;
	t->out_of_memory = true;
	return -1;
}

static int nibble(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* "LABEL <client random> <secret>", in hex, as in SSLKEYLOGFILE. */
static void keep_secret(struct ctx_conn *c, const char *line)
{
	static const struct {
		struct view label;
		enum tls_dir dir;
	} kept[] = {
		{ { "CLIENT_TRAFFIC_SECRET_0 ", 24 }, TLS_IN },
		{ { "SERVER_TRAFFIC_SECRET_0 ", 24 }, TLS_OUT },
	};
	struct tls *t = container_of(c, struct tls, conn);
	const char *hex = strrchr(line, ' ');
	size_t len = hex ? strlen(++hex) / 2 : 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept) && len && len <= SECRET_LEN_MAX; i++) {
		struct secret *s = &t->side[kept[i].dir].secret;

		if (strncmp(line, kept[i].label.p, kept[i].label.len) != 0)
			continue;
		for (size_t at = 0; at < len; at++)
			s->bytes[at] = (u8)(nibble(hex[2 * at]) << 4 | nibble(hex[2 * at + 1]));
		s->len = (u8)len;
	}
}

static const struct ctx_conn_ops conn_ops = { give_in, take_out, keep_secret };

/* The message is complete; OpenSSL changes its keys behind it. */
static void on_handshake(struct tls *t, struct tls_side *side, u8 type, bool sent)
{
	bool v13 = SSL_version(t->ssl) == TLS1_3_VERSION;

	switch (type) {
	case HANDSHAKE_SERVER_HELLO: /* HelloRetryRequest too */
		if (v13)
			t->walk.phase = RECORD_SEALED_13;
		break;
	case HANDSHAKE_FINISHED:
		/* Under TLS 1.2 it is the first record of its keys, under 1.3 the last. */
		side->seq = v13 ? 0 : 1;
		break;
	case HANDSHAKE_KEY_UPDATE:
		side->seq = 0;
		if (side->secret.len && secret_update(&side->secret))
			side->secret.len = 0; /* no offload for this one */
		break;
	case HANDSHAKE_CLIENT_HELLO:
		if (!sent && t->state == TLS_OPEN)
			t->reason = "the client wants to renegotiate";
		break;
	}
}

static void on_message(int sent, int version, int type, const void *p, size_t len, SSL *ssl, void *arg)
{
	struct tls *t = arg;
	struct tls_side *side = &t->side[sent ? TLS_OUT : TLS_IN];
	const u8 *bytes = p;

	(void)version, (void)ssl;
	switch (type) {
	case SSL3_RT_HEADER:
		side->seq++;
		break;
	case SSL3_RT_HANDSHAKE:
		if (len)
			on_handshake(t, side, bytes[0], sent);
		break;
	case SSL3_RT_ALERT:
		if (len < 2)
			break;
		*(sent ? &t->alert_sent : &t->alert_got) = bytes[1];
		/* RFC 5246 7.2.2 leaves it at the warning; who asks is of no use here. */
		if (sent && bytes[1] == ALERT_NO_RENEGOTIATION)
			t->reason = "the client wants to renegotiate";
		break;
	}
}

/* --- life --- */

int tls_new(struct tls **out, struct tls_ctx *ctx, tls_put_fn put, void *arg)
{
	struct tls *t = mem_zalloc(sizeof(*t));
	BIO *bio = BIO_new(ctx_bio(ctx));

	if (t)
		t->ssl = SSL_new(ctx_ssl(ctx));
	if (!t || !bio || !t->ssl) {
		BIO_free(bio);
		if (t)
			SSL_free(t->ssl);
		free(t);
		ERR_clear_error();
		return -ENOMEM;
	}
	t->conn = (struct ctx_conn){ ctx_get(ctx), &conn_ops };
	t->put = put;
	t->arg = arg;
	t->alert_sent = t->alert_got = -1;
	BIO_set_data(bio, &t->conn);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_accept_state(t->ssl);
	SSL_set_msg_callback(t->ssl, on_message);
	SSL_set_msg_callback_arg(t->ssl, t);
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	/* A session that was never shut down would be thrown out of the cache (RFC 2246's rule). */
	if (t->state == TLS_OPEN)
		SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	ctx_put(t->conn.ctx);
	tls_forget_secrets(t);
	free(t);
}

/* --- receiving --- */

static int ssl_failed(struct tls *t)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	if (t->alert_got > 0)
		reason = SSL_alert_desc_string_long(t->alert_got);
	ERR_clear_error();
	return fail(t, reason ?: "TLS failed");
}

static ssize_t handshake(struct tls *t)
{
	int ret = SSL_do_handshake(t->ssl);

	if (ret == 1) {
		t->state = TLS_OPEN;
		return 1;
	}
	return SSL_get_error(t->ssl, ret) == SSL_ERROR_WANT_READ ? -EAGAIN : ssl_failed(t);
}

static ssize_t read_some(struct tls *t, void *buf, size_t len)
{
	size_t n;
	int ret = SSL_read_ex(t->ssl, buf, len, &n);

	if (t->reason)
		return fail(t, NULL);
	if (ret == 1)
		return (ssize_t)n;
	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		t->closed = true;
		return 0;
	}
	return ssl_failed(t);
}

/* OpenSSL with what it was given. */
static ssize_t drive(struct tls *t, void *buf, size_t len)
{
	ERR_clear_error();
	if (t->state == TLS_HANDSHAKE) {
		ssize_t ret = handshake(t);

		if (ret <= 0)
			return ret;
	}
	return read_some(t, buf, len);
}

/* Before any keys we can write an alert of our own. */
static ssize_t refuse(struct tls *t, enum record_err err, void *buf, size_t len)
{
	u8 record[] = { RECORD_ALERT, 3, 3, 0, 2, 2, (u8)record_alert(err) };
	ssize_t ret = drive(t, buf, len); /* it judges headers as well, and sends the alert */

	if (t->state == TLS_FAILED)
		return ret;
	if (t->walk.phase == RECORD_PLAIN && t->put(t->arg, record, sizeof(record)) == 0)
		t->alert_sent = record[6];
	return fail(t, record_strerror(err));
}

static bool looks_like_http(const struct tls *t, struct view in)
{
	return t->walk.nr == 0 && t->walk.nr_head == 0 && in.p[0] >= 'A' && in.p[0] <= 'Z';
}

ssize_t tls_recv(struct tls *t, struct view *in, void *buf, size_t len)
{
	ssize_t ret = -EAGAIN;

	if (t->state == TLS_FAILED)
		return fail(t, NULL);
	if (t->closed)
		return 0;
	if (t->state == TLS_OPEN && SSL_pending(t->ssl))
		ret = drive(t, buf, len);
	while (ret == -EAGAIN && in->len) {
		u8 before = t->walk.nr_head;
		bool whole;
		ssize_t n;

		if (looks_like_http(t, *in)) {
			t->http = true;
			return fail(t, "plain HTTP on a TLS port");
		}
		n = record_next(&t->walk, in->p, in->len, &whole);
		t->in = in->p;
		t->in_len = n < 0 ? (size_t)(t->walk.nr_head - before) : (size_t)n;
		if (n < 0)
			return refuse(t, record_err_of(n), buf, len);
		in->p += n;
		in->len -= (size_t)n;
		ret = drive(t, buf, len);
	}
	t->in = NULL;
	t->in_len = 0;
	return ret;
}

/* --- sending --- */

int tls_send(struct tls *t, const void *p, size_t len)
{
	size_t n;
	int ret;

	if (t->state != TLS_OPEN)
		return fail(t, "sending before the handshake");
	if (len == 0)
		return 0;
	ERR_clear_error();
	ret = SSL_write_ex(t->ssl, p, len, &n);
	return ret == 1 && n == len ? 0 : ssl_failed(t);
}

void tls_set_record_len(struct tls *t, u32 len)
{
	u32 n = min(max(len, RECORD_LEN_MIN), RECORD_PLAIN_MAX);

	/* The second one follows the first only downwards. */
	SSL_set_max_send_fragment(t->ssl, n);
	SSL_set_split_send_fragment(t->ssl, n);
}

int tls_close(struct tls *t)
{
	if (t->state != TLS_OPEN || SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
		return t->state == TLS_FAILED ? fail(t, NULL) : 0;
	ERR_clear_error();
	if (SSL_shutdown(t->ssl) < 0 && SSL_get_error(t->ssl, -1) != SSL_ERROR_WANT_READ)
		return ssl_failed(t);
	return 0;
}

void tls_idle(struct tls *t)
{
	if (t->state == TLS_OPEN && !tls_need(t))
		SSL_free_buffers(t->ssl);
}
