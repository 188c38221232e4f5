/* SPDX-License-Identifier: MIT */
#include "ktls/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define LABEL_MAX (255u - 6u)
#define CONTEXT_MAX 255u
#define HASH_MAX SECRET_LEN_MAX

void secret_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}

static size_t hash_len(enum secret_hash hash)
{
	return hash == SECRET_SHA256 ? 32 : 48;
}

static int hmac(enum secret_hash hash, struct view key, const u8 *p, size_t len, u8 *out)
{
	const EVP_MD *md = hash == SECRET_SHA256 ? EVP_sha256() : EVP_sha384();
	unsigned int n;

	return HMAC(md, key.p, (int)key.len, p, len, out, &n) ? 0 : -ENOMEM;
}

/* HKDF-Expand (RFC 5869 2.3) with @info. */
static int expand(enum secret_hash hash, struct view secret, const u8 *info, size_t info_len,
		  u8 *out, size_t len)
{
	size_t n = hash_len(hash), have = 0;
	u8 block[HASH_MAX + 2 + 1 + 255 + 1 + 255 + 1];
	u8 t[HASH_MAX];
	int err = 0;

	for (u8 i = 1; have < len && !err; i++) {
		size_t before = i == 1 ? 0 : n, part = min(n, len - have);

		memcpy(block, t, before);
		memcpy(block + before, info, info_len);
		block[before + info_len] = i;
		err = hmac(hash, secret, block, before + info_len + 1, t);
		if (!err)
			memcpy(out + have, t, part);
		have += part;
	}
	secret_wipe(block, sizeof(block));
	secret_wipe(t, sizeof(t));
	return err;
}

static int hash_of(const struct secret *s, enum secret_hash *out)
{
	*out = s->len == 32 ? SECRET_SHA256 : SECRET_SHA384;
	return s->len == 32 || s->len == 48 ? 0 : -EINVAL;
}

int secret_expand_label(const struct secret *s, struct view label, struct view context, u8 *out,
			size_t len)
{
	struct view secret = { (const char *)s->bytes, s->len };
	u8 info[2 + 1 + 255 + 1 + 255], *p = info;
	enum secret_hash hash;

	if (hash_of(s, &hash) || label.len > LABEL_MAX || context.len > CONTEXT_MAX ||
	    len > 255 * hash_len(hash))
		return -EINVAL;
	*p++ = (u8)(len >> 8);
	*p++ = (u8)len;
	*p++ = (u8)(6 + label.len);
	p = mempcpy(p, "tls13 ", 6);
	p = mempcpy(p, label.p, label.len);
	*p++ = (u8)context.len;
	if (context.len)
		p = mempcpy(p, context.p, context.len);
	return expand(hash, secret, info, (size_t)(p - info), out, len);
}

int secret_key(const struct secret *s, size_t key_len, struct secret_key *out)
{
	struct view none = { NULL, 0 };
	int err;

	if (key_len > SECRET_KEY_MAX)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	out->key_len = (u8)key_len;
	err = secret_expand_label(s, VIEW("key"), none, out->key, key_len);
	if (!err)
		err = secret_expand_label(s, VIEW("iv"), none, out->iv, SECRET_IV_LEN);
	return err;
}

int secret_update(struct secret *s)
{
	struct secret next = { .len = s->len };
	int err = secret_expand_label(s, VIEW("traffic upd"), (struct view){ NULL, 0 }, next.bytes,
				      s->len);

	if (!err)
		*s = next;
	secret_wipe(&next, sizeof(next));
	return err;
}

/* P_hash: A(i) = HMAC(A(i-1)), output HMAC(A(i) + seed). */
int secret_prf(enum secret_hash hash, struct view secret, struct view label, struct view seed,
	       u8 *out, size_t len)
{
	size_t n = hash_len(hash), have = 0, seed_len = label.len + seed.len;
	u8 block[HASH_MAX + 256], t[HASH_MAX], *a = block;
	int err;

	if (label.len > 256 || seed.len > 256 - label.len)
		return -EINVAL;
	memcpy(block + n, label.p, label.len);
	memcpy(block + n + label.len, seed.p, seed.len);
	err = hmac(hash, secret, block + n, seed_len, t);
	while (have < len && !err) {
		size_t part = min(n, len - have);

		memcpy(a, t, n);
		err = hmac(hash, secret, block, n + seed_len, t);
		if (err)
			break;
		memcpy(out + have, t, part);
		have += part;
		err = hmac(hash, secret, a, n, t);
	}
	secret_wipe(block, sizeof(block));
	secret_wipe(t, sizeof(t));
	return err;
}

static const u8 *take(u8 *to, const u8 *from, size_t len)
{
	memcpy(to, from, len);
	return from + len;
}

int secret_key_block(const struct secret_master *m, size_t key_len, size_t iv_len,
		     struct secret_key *client, struct secret_key *server)
{
	u8 block[2 * (SECRET_KEY_MAX + SECRET_IV_LEN)];
	u8 seed[2 * SECRET_RANDOM_LEN];
	const u8 *p = block;
	int err;

	if (key_len > SECRET_KEY_MAX || iv_len > SECRET_IV_LEN)
		return -EINVAL;
	memcpy(seed, m->server_random, SECRET_RANDOM_LEN);
	memcpy(seed + SECRET_RANDOM_LEN, m->client_random, SECRET_RANDOM_LEN);
	memset(client, 0, sizeof(*client));
	memset(server, 0, sizeof(*server));
	client->key_len = server->key_len = (u8)key_len;
	err = secret_prf(m->hash, (struct view){ (const char *)m->master, SECRET_MASTER_LEN },
			 VIEW("key expansion"), (struct view){ (const char *)seed, sizeof(seed) },
			 block, 2 * (key_len + iv_len));
	if (!err) {
		p = take(client->key, p, key_len);
		p = take(server->key, p, key_len);
		p = take(client->iv, p, iv_len);
		take(server->iv, p, iv_len);
	}
	secret_wipe(block, sizeof(block));
	return err;
}
