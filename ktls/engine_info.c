/* SPDX-License-Identifier: MIT */
/* What an established connection has agreed on, and its keys for the kernel. */
#include "ktls/engine.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "server/fail.h"

void tls_info(const struct tls *t, struct tls_info *out)
{
	const unsigned char *alpn;
	unsigned int alpn_len;
	int group = (int)SSL_get_negotiated_group(t->ssl);

	SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
	*out = (struct tls_info){
		.version = SSL_get_version(t->ssl),
		.cipher = SSL_get_cipher_name(t->ssl),
		.group = group ? SSL_group_to_name(t->ssl, group) : NULL,
		.alpn = { (const char *)alpn, alpn_len },
		.resumed = SSL_session_reused(t->ssl),
		.has_peer_cert = SSL_get0_peer_certificate(t->ssl) != NULL,
	};
}

const char *tls_server_name(const struct tls *t)
{
	return SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
}

static BIO *subject_of(X509 *x)
{
	BIO *bio = BIO_new(BIO_s_mem());
	/* As RFC 2253 writes it, but with UTF-8 left as it is. */
	unsigned long how = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB;

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, how) >= 0)
		return bio;
	BIO_free(bio);
	return NULL;
}

int tls_peer(const struct tls *t, struct tls_peer **out)
{
	static const char hex[] = "0123456789abcdef";
	X509 *x = SSL_get0_peer_certificate(t->ssl);
	u8 digest[EVP_MAX_MD_SIZE];
	struct tls_peer *peer = NULL;
	unsigned int n;
	char *subject;
	long len;
	BIO *bio;

	if (!x)
		return -ENOENT;
	bio = subject_of(x);
	if (bio && X509_digest(x, EVP_sha256(), digest, &n)) {
		len = BIO_get_mem_data(bio, &subject);
		peer = mem_zalloc(sizeof(*peer) + (size_t)len + 1);
		if (peer && len)
			memcpy(peer->subject, subject, (size_t)len);
		for (u32 i = 0; peer && i < 32; i++) {
			peer->fingerprint[2 * i] = hex[digest[i] >> 4];
			peer->fingerprint[2 * i + 1] = hex[digest[i] & 15];
		}
	}
	BIO_free(bio);
	*out = peer;
	return peer ? 0 : -ENOMEM;
}

/* --- for the offload --- */

static int cipher_of(const struct tls *t, enum tls_cipher *out)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(t->ssl);

	switch (c ? SSL_CIPHER_get_cipher_nid(c) : NID_undef) {
	case NID_aes_128_gcm:
		*out = TLS_AES_128_GCM;
		return 0;
	case NID_aes_256_gcm:
		*out = TLS_AES_256_GCM;
		return 0;
	case NID_chacha20_poly1305:
		*out = TLS_CHACHA20_POLY1305;
		return 0;
	}
	return -EOPNOTSUPP;
}

static size_t key_len_of(enum tls_cipher cipher)
{
	return cipher == TLS_AES_128_GCM ? 16 : 32;
}

static int keys_12(const struct tls *t, enum tls_dir dir, struct tls_traffic *out)
{
	const EVP_MD *md = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(t->ssl));
	bool chacha = out->cipher == TLS_CHACHA20_POLY1305;
	struct secret_key client, server;
	struct secret_master m;
	int err;

	m.hash = EVP_MD_get_type(md) == NID_sha384 ? SECRET_SHA384 : SECRET_SHA256;
	if (SSL_SESSION_get_master_key(SSL_get_session(t->ssl), m.master, sizeof(m.master)) !=
	    sizeof(m.master))
		return -EOPNOTSUPP;
	SSL_get_client_random(t->ssl, m.client_random, sizeof(m.client_random));
	SSL_get_server_random(t->ssl, m.server_random, sizeof(m.server_random));
	err = secret_key_block(&m, key_len_of(out->cipher),
			       chacha ? SECRET_IV_LEN : SECRET_SALT_LEN, &client, &server);
	out->key = dir == TLS_IN ? client : server;
	secret_wipe(&client, sizeof(client));
	secret_wipe(&server, sizeof(server));
	secret_wipe(&m, sizeof(m));
	return err;
}

int tls_traffic(const struct tls *t, enum tls_dir dir, struct tls_traffic *out)
{
	const struct tls_side *side = &t->side[dir];
	int err;

	memset(out, 0, sizeof(*out));
	if (t->state != TLS_OPEN || t->closed ||
	    (dir == TLS_IN && (tls_need(t) || SSL_has_pending(t->ssl))))
		return -EAGAIN;
	if (dir == TLS_OUT && SSL_get_key_update_type(t->ssl) != SSL_KEY_UPDATE_NONE)
		return -EAGAIN;
	if (!ctx_keeps_secrets(t->conn.ctx))
		return -EOPNOTSUPP;
	err = cipher_of(t, &out->cipher);
	if (err)
		return err;
	out->version = (u16)SSL_version(t->ssl);
	out->seq = side->seq;
	if (out->version == TLS1_2_VERSION)
		return keys_12(t, dir, out);
	if (!side->secret.len)
		return -EOPNOTSUPP;
	out->secret = side->secret;
	return secret_key(&side->secret, key_len_of(out->cipher), &out->key);
}

void tls_forget_secrets(struct tls *t)
{
	for (u32 dir = 0; dir < NR_TLS_DIRS; dir++) {
		secret_wipe(&t->side[dir].secret, sizeof(t->side[dir].secret));
		t->side[dir].secret.len = 0;
	}
}
