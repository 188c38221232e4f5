/* SPDX-License-Identifier: MIT */
#include "ktls/ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define IV_LEN 16

int tickets_init(struct tickets *t)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (t->cipher)
		return 0;
	pthread_mutex_destroy(&t->lock);
	return -ENOMEM;
}

void tickets_fini(struct tickets *t)
{
	EVP_CIPHER_free(t->cipher);
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof(*t));
}

int tickets_set(struct tickets *t, const struct ticket_key *keys, u32 nr)
{
	if (nr == 0 || nr > TICKET_KEYS_MAX)
		return -EINVAL;
	pthread_mutex_lock(&t->lock);
	OPENSSL_cleanse(t->keys, sizeof(t->keys));
	memcpy(t->keys, keys, nr * sizeof(*keys));
	t->nr = nr;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int mac_init(EVP_MAC_CTX *mac, struct ticket_key *key)
{
	static char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params);
}

enum ticket_result ticket_seal(struct tickets *t, u8 name[16], u8 *iv, EVP_CIPHER_CTX *cipher,
			       EVP_MAC_CTX *mac)
{
	struct ticket_key key;
	bool good;

	pthread_mutex_lock(&t->lock);
	key = t->keys[0];
	good = t->nr > 0;
	pthread_mutex_unlock(&t->lock);
	good = good && RAND_bytes(iv, IV_LEN) == 1 &&
	       EVP_EncryptInit_ex2(cipher, t->cipher, key.aes, iv, NULL) && mac_init(mac, &key);
	memcpy(name, key.name, sizeof(key.name));
	OPENSSL_cleanse(&key, sizeof(key));
	return good ? TICKET_GOOD : TICKET_FAILED;
}

/* Its place, or nr. The names are no secret: they are on the wire. */
static u32 find(const struct tickets *t, const u8 name[16])
{
	u32 i = 0;

	while (i < t->nr && memcmp(t->keys[i].name, name, sizeof(t->keys[i].name)) != 0)
		i++;
	return i;
}

enum ticket_result ticket_open(struct tickets *t, const u8 name[16], const u8 *iv,
			       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key key;
	bool known, good;
	u32 i;

	pthread_mutex_lock(&t->lock);
	i = find(t, name);
	known = i < t->nr;
	if (known)
		key = t->keys[i];
	pthread_mutex_unlock(&t->lock);
	if (!known)
		return TICKET_UNKNOWN;
	good = EVP_DecryptInit_ex2(cipher, t->cipher, key.aes, iv, NULL) && mac_init(mac, &key);
	OPENSSL_cleanse(&key, sizeof(key));
	if (!good)
		return TICKET_FAILED;
	return i == 0 ? TICKET_GOOD : TICKET_RENEW;
}
