/* SPDX-License-Identifier: MIT */
#include "ktls/ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "ktls/cert.h"
#include "ktls/sni.h"
#include "ktls/ticket.h"
#include "server/fail.h"

#define SESSION_SECONDS 7200

struct tls_ctx {
	u32 refs; /* atomic */
	bool keep_secrets;
	bool has_tickets;
	struct cert *certs;
	u32 nr_certs;
	SSL_CTX **hosts; /* a set of certificates each; the first is the default */
	u32 nr_hosts;
	struct sni sni;
	struct tickets tickets;
	BIO_METHOD *bio;
	X509_STORE *client_ca;
	STACK_OF(X509_NAME) * client_ca_names;
	u8 alpn[CTX_ALPN_MAX];
	u32 alpn_len;
	u8 session_scope[SHA256_DIGEST_LENGTH];
};

/* --- what OpenSSL calls --- */

static struct ctx_conn *conn_of(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

static int bio_read(BIO *bio, char *p, int len)
{
	struct ctx_conn *c = BIO_get_data(bio);
	int n = c->ops->read(c, p, len);

	BIO_clear_retry_flags(bio);
	if (n > 0)
		return n;
	BIO_set_retry_read(bio);
	return -1;
}

static int bio_write(BIO *bio, const char *p, int len)
{
	struct ctx_conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	return c->ops->write(c, p, len);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static void keylog(const SSL *ssl, const char *line)
{
	struct ctx_conn *c = conn_of(ssl);

	c->ops->keylog(c, line);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned int in_len, void *arg)
{
	const struct tls_ctx *ctx = arg;
	unsigned char *mine;

	(void)ssl;
	if (SSL_select_next_proto(&mine, out_len, ctx->alpn, ctx->alpn_len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2 */
	*out = mine;
	return SSL_TLSEXT_ERR_OK;
}

static int choose_host(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_ctx *ctx = arg;
	u32 host;

	(void)alert;
	if (!name || !sni_find(&ctx->sni, view_of(name), &host))
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_set_SSL_CTX(ssl, ctx->hosts[host]) ? SSL_TLSEXT_ERR_OK
						      : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int give_staple(SSL *ssl, void *arg)
{
	const struct tls_ctx *ctx = arg;
	const X509 *x509 = SSL_get_certificate(ssl);
	struct view ocsp = { NULL, 0 };
	void *copy;

	for (u32 i = 0; i < ctx->nr_certs; i++)
		if (ctx->certs[i].x509 == x509 && ctx->certs[i].ocsp_end > (s64)time(NULL))
			ocsp = ctx->certs[i].ocsp;
	copy = ocsp.len ? OPENSSL_memdup(ocsp.p, ocsp.len) : NULL;
	if (!copy)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)ocsp.len); /* takes it over */
	return SSL_TLSEXT_ERR_OK;
}

static int ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		  EVP_MAC_CTX *mac, int sealing)
{
	struct tickets *t = &conn_of(ssl)->ctx->tickets;
	enum ticket_result ret;

	if (sealing)
		return (int)ticket_seal(t, name, iv, cipher, mac);
	ret = ticket_open(t, name, iv, cipher, mac);
	/* Clients use a ticket of TLS 1.3 once (RFC 8446 C.4), so that each needs a new one. */
	if (ret == TICKET_GOOD && SSL_version(ssl) == TLS1_3_VERSION)
		ret = TICKET_RENEW;
	return (int)ret;
}

/* --- settings of one SSL_CTX --- */

static int failed(const struct cert_report *r, const char *what)
{
	cert_complain(r, "tls: %s: %s", what, cert_openssl_reason());
	ERR_clear_error();
	return -EINVAL;
}

/* OpenSSL drops names that it does not know without a word; here they are a mistake. */
static int check_cipher(SSL_CTX *ssl, const char *name, const struct cert_report *r)
{
	if (strchr("!-+@", name[0]) || SSL_CTX_set_cipher_list(ssl, name))
		return 0;
	cert_complain(r, "tls: ciphers: OpenSSL knows no cipher %s", name);
	ERR_clear_error();
	return -EINVAL;
}

static int split_ciphers(SSL_CTX *ssl, char *list, char *list12, char *list13,
			 const struct cert_report *r)
{
	char *rest = NULL;

	for (char *s = strtok_r(list, ": ,", &rest); s; s = strtok_r(NULL, ": ,", &rest)) {
		char *to = strncmp(s, "TLS_", 4) == 0 ? list13 : list12;

		if (to == list12 && check_cipher(ssl, s, r))
			return -EINVAL;
		if (*to)
			strcat(to, ":");
		strcat(to, s);
	}
	return 0;
}

static int set_ciphers(SSL_CTX *ssl, const char *ciphers, const struct cert_report *r)
{
	size_t len = ciphers ? strlen(ciphers) + 1 : 0;
	char *copy, *list12, *list13;
	int err;

	if (!SSL_CTX_set_cipher_list(ssl, CTX_CIPHERS_12) ||
	    !SSL_CTX_set_ciphersuites(ssl, CTX_CIPHERS_13))
		return failed(r, "ciphers");
	if (!ciphers)
		return 0;
	copy = mem_zalloc(3 * len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, ciphers, len);
	list12 = copy + len;
	list13 = list12 + len;
	err = split_ciphers(ssl, copy, list12, list13, r);
	/* Who names those of one version only leaves the other's as they are. */
	if (!err && !SSL_CTX_set_cipher_list(ssl, *list12 ? list12 : CTX_CIPHERS_12))
		err = failed(r, "ciphers");
	if (!err && *list13 && !SSL_CTX_set_ciphersuites(ssl, list13))
		err = failed(r, "ciphers of TLS 1.3");
	free(copy);
	return err;
}

static void set_sessions(SSL_CTX *ssl, const struct tls_ctx *ctx, const struct ctx_config *config)
{
	SSL_CTX_set_session_id_context(ssl, ctx->session_scope, sizeof(ctx->session_scope));
	SSL_CTX_set_timeout(ssl, SESSION_SECONDS);
	SSL_CTX_set_session_cache_mode(ssl, config->session_cache ? SSL_SESS_CACHE_SERVER
								  : SSL_SESS_CACHE_OFF);
	SSL_CTX_sess_set_cache_size(ssl, config->session_cache);
	SSL_CTX_set_num_tickets(ssl, ctx->has_tickets ? config->nr_tickets : 0);
	if (ctx->has_tickets)
		SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, ticket);
	else
		SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
}

static int set_verify(SSL_CTX *ssl, const struct tls_ctx *ctx, const struct ctx_config *config)
{
	STACK_OF(X509_NAME) * names;

	if (config->verify == CTX_VERIFY_NONE)
		return 0;
	names = SSL_dup_CA_list(ctx->client_ca_names);
	if (!names || !SSL_CTX_set1_verify_cert_store(ssl, ctx->client_ca)) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return -ENOMEM;
	}
	SSL_CTX_set_client_CA_list(ssl, names);
	SSL_CTX_set_verify(ssl,
			   config->verify == CTX_VERIFY_REQUIRED
				   ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
				   : SSL_VERIFY_PEER,
			   NULL);
	return 0;
}

static int set_up(SSL_CTX *ssl, struct tls_ctx *ctx, const struct ctx_config *config,
		  const struct cert_report *r)
{
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ssl, 0); /* engine.h: never past a record */
	if (!SSL_CTX_set_min_proto_version(
		    ssl, config->min_version == CTX_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) ||
	    !SSL_CTX_set1_groups_list(ssl, CTX_GROUPS))
		return failed(r, "versions and groups");
	set_sessions(ssl, ctx, config);
	SSL_CTX_set_tlsext_servername_callback(ssl, choose_host);
	SSL_CTX_set_tlsext_servername_arg(ssl, ctx);
	SSL_CTX_set_tlsext_status_cb(ssl, give_staple);
	SSL_CTX_set_tlsext_status_arg(ssl, ctx);
	if (ctx->alpn_len)
		SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, ctx);
	if (ctx->keep_secrets)
		SSL_CTX_set_keylog_callback(ssl, keylog);
	return set_ciphers(ssl, config->ciphers, r) ?: set_verify(ssl, ctx, config);
}

static int add_cert(SSL_CTX *ssl, const struct cert *c, const char *name, const struct cert_report *r)
{
	if (SSL_CTX_use_cert_and_key(ssl, c->x509, c->key, c->chain, 1) == 1)
		return 0;
	cert_complain(r, "certificate %s: OpenSSL refuses it: %s", name, cert_openssl_reason());
	ERR_clear_error();
	return -EINVAL;
}

static int make_host(struct tls_ctx *ctx, const struct sni_set *set,
		     const struct ctx_config *config, const struct cert_report *r)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
	int err;

	if (!ssl)
		return -ENOMEM;
	ctx->hosts[ctx->nr_hosts++] = ssl;
	err = set_up(ssl, ctx, config, r);
	for (u32 kind = 0; kind < NR_CERT_KINDS && !err; kind++) {
		s32 i = set->cert[kind];

		if (i >= 0)
			err = add_cert(ssl, &ctx->certs[i], config->certs[i].name, r);
	}
	return err;
}

/* --- building --- */

static int take_alpn(struct tls_ctx *ctx, const struct ctx_config *config,
		     const struct cert_report *r)
{
	for (u32 i = 0; i < config->nr_alpn; i++) {
		struct view v = config->alpn[i];

		if (v.len == 0 || v.len > 255 || ctx->alpn_len + 1 + v.len > CTX_ALPN_MAX) {
			cert_complain(r, "tls: ALPN: name %u is of %zu bytes", i + 1, v.len);
			return -EINVAL;
		}
		ctx->alpn[ctx->alpn_len] = (u8)v.len;
		memcpy(ctx->alpn + ctx->alpn_len + 1, v.p, v.len);
		ctx->alpn_len += 1 + (u32)v.len;
	}
	return 0;
}

static int trust(struct tls_ctx *ctx, X509 *x)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

	if (!name || !sk_X509_NAME_push(ctx->client_ca_names, name)) {
		X509_NAME_free(name);
		return -ENOMEM;
	}
	return X509_STORE_add_cert(ctx->client_ca, x) ? 0 : -ENOMEM;
}

static int take_client_ca(struct tls_ctx *ctx, const struct ctx_config *config,
			  const struct cert_report *r)
{
	STACK_OF(X509) * all;
	char what[CTX_ERROR_LEN];
	int err;

	if (config->verify == CTX_VERIFY_NONE)
		return 0;
	snprintf(what, sizeof(what), "client CA %.200s", config->client_ca_name ?: "");
	err = cert_read_all(&all, config->client_ca, what, r);
	if (err)
		return err;
	ctx->client_ca = X509_STORE_new();
	ctx->client_ca_names = sk_X509_NAME_new_null();
	if (!ctx->client_ca || !ctx->client_ca_names)
		err = -ENOMEM;
	for (int i = 0; i < sk_X509_num(all) && !err; i++)
		err = trust(ctx, sk_X509_value(all, i));
	sk_X509_pop_free(all, X509_free);
	return err;
}

/*
 * A session says that its client has shown a certificate. It must not serve
 * where others are asked for, although the ticket keys may be the same.
 */
static int make_scope(struct tls_ctx *ctx, const struct ctx_config *config)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	u32 verify = config->verify;
	bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
		    EVP_DigestUpdate(md, &verify, sizeof(verify)) &&
		    (verify == CTX_VERIFY_NONE ||
		     EVP_DigestUpdate(md, config->client_ca.p, config->client_ca.len)) &&
		    EVP_DigestFinal_ex(md, ctx->session_scope, NULL);

	EVP_MD_CTX_free(md);
	return good ? 0 : -ENOMEM;
}

static int make_bio(struct tls_ctx *ctx)
{
	ctx->bio = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "connection");
	if (!ctx->bio)
		return -ENOMEM;
	BIO_meth_set_read(ctx->bio, bio_read);
	BIO_meth_set_write(ctx->bio, bio_write);
	BIO_meth_set_ctrl(ctx->bio, bio_ctrl);
	return 0;
}

static int load_certs(struct tls_ctx *ctx, const struct ctx_config *config,
		      const struct cert_report *r)
{
	int err = 0;

	if (config->nr_certs == 0) {
		cert_complain(r, "tls: no certificate is given");
		return -EINVAL;
	}
	ctx->certs = mem_zalloc(config->nr_certs * sizeof(*ctx->certs));
	if (!ctx->certs)
		return -ENOMEM;
	while (ctx->nr_certs < config->nr_certs && !err) {
		err = cert_load(&ctx->certs[ctx->nr_certs], &config->certs[ctx->nr_certs], r);
		ctx->nr_certs += !err;
	}
	return err;
}

static int make_hosts(struct tls_ctx *ctx, const struct ctx_config *config,
		      const struct cert_report *r)
{
	int err = sni_build(&ctx->sni, ctx->certs, ctx->nr_certs);

	if (err)
		return err;
	ctx->hosts = mem_zalloc(ctx->sni.nr_sets * sizeof(SSL_CTX *));
	if (!ctx->hosts)
		return -ENOMEM;
	for (u32 i = 0; i < ctx->sni.nr_sets && !err; i++)
		err = make_host(ctx, &ctx->sni.sets[i], config, r);
	return err;
}

static void ctx_free(struct tls_ctx *ctx)
{
	for (u32 i = 0; i < ctx->nr_hosts; i++)
		SSL_CTX_free(ctx->hosts[i]);
	free(ctx->hosts);
	sni_fini(&ctx->sni);
	for (u32 i = 0; i < ctx->nr_certs; i++)
		cert_fini(&ctx->certs[i]);
	free(ctx->certs);
	sk_X509_NAME_pop_free(ctx->client_ca_names, X509_NAME_free);
	X509_STORE_free(ctx->client_ca);
	BIO_meth_free(ctx->bio);
	tickets_fini(&ctx->tickets);
	free(ctx);
}

int ctx_new(struct tls_ctx **out, const struct ctx_config *config, char error[CTX_ERROR_LEN])
{
	struct cert_report r = { error, config->warn, config->warn_arg };
	struct tls_ctx *ctx = mem_zalloc(sizeof(*ctx));
	int err;

	snprintf(error, CTX_ERROR_LEN, "tls: out of memory");
	if (!ctx)
		return -ENOMEM;
	ctx->refs = 1;
	ctx->keep_secrets = config->keep_secrets;
	err = tickets_init(&ctx->tickets);
	if (err) {
		free(ctx);
		return err;
	}
	if (config->nr_ticket_keys) {
		ctx->has_tickets = true;
		err = tickets_set(&ctx->tickets, config->ticket_keys, config->nr_ticket_keys);
		if (err)
			cert_complain(&r, "tls: %u ticket keys, at most %u can be used",
				      config->nr_ticket_keys, TICKET_KEYS_MAX);
	}
	err = err ?: take_alpn(ctx, config, &r) ?: load_certs(ctx, config, &r);
	err = err ?: take_client_ca(ctx, config, &r) ?: make_scope(ctx, config);
	err = err ?: make_bio(ctx) ?: make_hosts(ctx, config, &r);
	if (err) {
		ctx_free(ctx);
		return err;
	}
	*error = 0;
	*out = ctx;
	return 0;
}

struct tls_ctx *ctx_get(struct tls_ctx *ctx)
{
	__atomic_add_fetch(&ctx->refs, 1, __ATOMIC_RELAXED);
	return ctx;
}

/* Release pairs with acquire of whoever is last: all uses happen before the freeing. */
void ctx_put(struct tls_ctx *ctx)
{
	if (__atomic_sub_fetch(&ctx->refs, 1, __ATOMIC_ACQ_REL) == 0)
		ctx_free(ctx);
}

int ctx_set_tickets(struct tls_ctx *ctx, const struct ticket_key *keys, u32 nr)
{
	return ctx->has_tickets ? tickets_set(&ctx->tickets, keys, nr) : -ENOTSUP;
}

struct ssl_ctx_st *ctx_ssl(const struct tls_ctx *ctx)
{
	return ctx->hosts[0];
}

const struct bio_method_st *ctx_bio(const struct tls_ctx *ctx)
{
	return ctx->bio;
}

bool ctx_keeps_secrets(const struct tls_ctx *ctx)
{
	return ctx->keep_secrets;
}
