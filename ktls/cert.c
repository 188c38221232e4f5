/* SPDX-License-Identifier: MIT */
#include "ktls/cert.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define TIME_TEXT_LEN 64
#define OCSP_SLACK_SECONDS 300

void cert_complain(const struct cert_report *r, const char *fmt, ...)
{
	va_list args;

	if (!r->error)
		return;
	va_start(args, fmt);
	vsnprintf(r->error, CTX_ERROR_LEN, fmt, args);
	va_end(args);
}

void cert_warn(const struct cert_report *r, const char *fmt, ...)
{
	char text[CTX_ERROR_LEN];
	va_list args;

	if (!r->warn)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	r->warn(r->arg, text);
}

const char *cert_openssl_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(e);

	return text ? text : e ? "an error without a name" : "no reason given";
}

/* Nobody sits at a terminal: never ask, and tell the caller that we would have had to. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	(void)buf, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static BIO *bio_of(struct view v)
{
	return v.len && v.len <= INT32_MAX ? BIO_new_mem_buf(v.p, (int)v.len) : NULL;
}

/* 1: one more; 0: the end; < 0: refused. */
static int read_one(BIO *bio, X509 **out)
{
	bool asked = false;
	unsigned long e;

	ERR_clear_error();
	*out = PEM_read_bio_X509(bio, NULL, no_passphrase, &asked);
	if (*out)
		return 1;
	e = ERR_peek_last_error();
	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE ? 0
											 : -EINVAL;
}

int cert_read_all(STACK_OF(X509) * *out, struct view pem, const char *what,
		  const struct cert_report *report)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	BIO *bio = bio_of(pem);
	X509 *x = NULL;
	int more = 0;

	*out = NULL;
	if (!all) {
		BIO_free(bio);
		return -ENOMEM;
	}
	while (bio && (more = read_one(bio, &x)) > 0) {
		if (!sk_X509_push(all, x)) {
			X509_free(x);
			more = -ENOMEM;
			break;
		}
	}
	BIO_free(bio);
	if (more == 0 && sk_X509_num(all) > 0) {
		*out = all;
		return 0;
	}
	if (more == 0)
		cert_complain(report, "%s: no certificate in PEM is in it", what);
	else if (more == -EINVAL)
		cert_complain(report, "%s: certificate %d of it cannot be read: %s", what,
			      sk_X509_num(all) + 1, cert_openssl_reason());
	sk_X509_pop_free(all, X509_free);
	ERR_clear_error();
	return more ?: -EINVAL;
}

static int read_chain(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	char what[CTX_ERROR_LEN];
	int err;

	snprintf(what, sizeof(what), "certificate %.200s", s->name);
	err = cert_read_all(&c->chain, s->chain, what, r);
	if (!err)
		c->x509 = sk_X509_shift(c->chain);
	return err;
}

static int read_key(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	BIO *bio = bio_of(s->key);
	bool asked = false;

	ERR_clear_error();
	c->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked) : NULL;
	BIO_free(bio);
	if (c->key)
		return 0;
	if (asked)
		cert_complain(r, "certificate %s: its key is encrypted; store it without passphrase",
			      s->name);
	else
		cert_complain(r, "certificate %s: its key cannot be read: %s", s->name,
			      bio ? cert_openssl_reason() : "it is empty");
	ERR_clear_error();
	return -EINVAL;
}

static int judge_key(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	int bits = EVP_PKEY_get_bits(c->key);

	switch (EVP_PKEY_get_base_id(c->key)) {
	case EVP_PKEY_RSA:
		c->kind = CERT_RSA;
		if (bits >= CERT_RSA_BITS_MIN)
			return 0;
		cert_complain(r, "certificate %s: its key is too weak: RSA of %d bits, %d are needed",
			      s->name, bits, CERT_RSA_BITS_MIN);
		return -EINVAL;
	case EVP_PKEY_EC:
		c->kind = CERT_ECDSA;
		if (EVP_PKEY_get_security_bits(c->key) >= 112)
			return 0;
		cert_complain(r, "certificate %s: its key is too weak: a curve of %d bits", s->name,
			      bits);
		return -EINVAL;
	case EVP_PKEY_ED25519:
		c->kind = CERT_ED25519;
		return 0;
	}
	cert_complain(r, "certificate %s: its key is of no kind that is used here: %s", s->name,
		      EVP_PKEY_get0_type_name(c->key) ?: "unknown");
	return -EINVAL;
}

static bool is_self_issued(X509 *x)
{
	return X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0;
}

/* Of a root nobody checks the signature. */
static int judge_signatures(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	for (int i = -1; i < sk_X509_num(c->chain); i++) {
		X509 *x = i < 0 ? c->x509 : sk_X509_value(c->chain, i);
		int md = NID_undef;

		if (is_self_issued(x) || !X509_get_signature_info(x, &md, NULL, NULL, NULL))
			continue;
		if (md != NID_md5 && md != NID_sha1 && md != NID_md5_sha1)
			continue;
		cert_complain(r, "certificate %s: number %d of its chain is signed with %s: too weak",
			      s->name, i + 2, OBJ_nid2sn(md));
		return -EINVAL;
	}
	return 0;
}

static void time_text(const ASN1_TIME *t, char text[TIME_TEXT_LEN])
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm) || !strftime(text, TIME_TEXT_LEN, "%Y-%m-%d %H:%M UTC", &tm))
		strcpy(text, "an unreadable time");
}

static void warn_of_oddities(const struct cert *c, const struct cert_source *s,
			     const struct cert_report *r)
{
	X509 *below = c->x509;
	char text[TIME_TEXT_LEN];

	if (X509_cmp_current_time(X509_get0_notAfter(c->x509)) < 0) {
		time_text(X509_get0_notAfter(c->x509), text);
		cert_warn(r, "certificate %s: expired on %s", s->name, text);
	}
	if (X509_cmp_current_time(X509_get0_notBefore(c->x509)) > 0) {
		time_text(X509_get0_notBefore(c->x509), text);
		cert_warn(r, "certificate %s: not valid before %s", s->name, text);
	}
	for (int i = 0; i < sk_X509_num(c->chain); i++) {
		X509 *x = sk_X509_value(c->chain, i);

		if (X509_check_issued(x, below) != X509_V_OK) {
			cert_warn(r, "certificate %s: number %d of its chain did not issue number %d",
				  s->name, i + 2, i + 1);
			return;
		}
		below = x;
	}
}

static s64 seconds_of(const ASN1_GENERALIZEDTIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) ? (s64)timegm(&tm) : INT64_MAX;
}

/* The earliest nextUpdate of what it says. */
static s64 staple_end(OCSP_RESPONSE *response)
{
	OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
	s64 end = INT64_MAX;

	for (int i = 0; basic && i < OCSP_resp_count(basic); i++) {
		ASN1_GENERALIZEDTIME *this = NULL, *next = NULL;

		OCSP_single_get0_status(OCSP_resp_get0(basic, i), NULL, NULL, &this, &next);
		end = min(end, seconds_of(next));
	}
	OCSP_BASICRESP_free(basic);
	return end;
}

static int read_staple(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	const u8 *p = (const u8 *)s->ocsp.p;
	OCSP_RESPONSE *response;
	void *copy;

	if (!s->ocsp.len)
		return 0;
	response = d2i_OCSP_RESPONSE(NULL, &p, (long)min(s->ocsp.len, (size_t)INT32_MAX));
	if (!response || OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		cert_complain(r, "certificate %s: its OCSP response %s", s->name,
			      response ? "is a refusal" : "cannot be read");
		OCSP_RESPONSE_free(response);
		ERR_clear_error();
		return -EINVAL;
	}
	c->ocsp_end = staple_end(response);
	OCSP_RESPONSE_free(response);
	if (c->ocsp_end < (s64)time(NULL) - OCSP_SLACK_SECONDS)
		cert_warn(r, "certificate %s: its OCSP response is out of date and not used",
			  s->name);
	copy = OPENSSL_memdup(s->ocsp.p, s->ocsp.len);
	c->ocsp = (struct view){ copy, copy ? s->ocsp.len : 0 };
	return copy ? 0 : -ENOMEM;
}

int cert_load(struct cert *c, const struct cert_source *s, const struct cert_report *r)
{
	int err;

	memset(c, 0, sizeof(*c));
	err = read_chain(c, s, r) ?: read_key(c, s, r) ?: judge_key(c, s, r);
	if (!err && X509_check_private_key(c->x509, c->key) != 1) {
		cert_complain(r, "certificate %s: the key does not match, it is another one's",
			      s->name);
		err = -EINVAL;
	}
	err = err ?: judge_signatures(c, s, r) ?: read_staple(c, s, r);
	if (err)
		cert_fini(c);
	else
		warn_of_oddities(c, s, r);
	ERR_clear_error();
	return err;
}

void cert_fini(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	sk_X509_pop_free(c->chain, X509_free);
	OPENSSL_free((void *)(uintptr_t)c->ocsp.p);
	memset(c, 0, sizeof(*c));
}

static bool is_name_byte(u8 c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* Letters, digits and the like; "*" only as the first label. Else 0. */
static int give_name(const ASN1_STRING *s, int (*fn)(void *arg, const char *name), void *arg)
{
	const u8 *p = ASN1_STRING_get0_data(s);
	int len = ASN1_STRING_length(s);
	char name[CERT_NAME_MAX + 1];

	if (len <= 0 || len > CERT_NAME_MAX)
		return 0;
	for (int i = 0; i < len; i++) {
		u8 c = ascii_lower(p[i]);

		if (!is_name_byte(c) && !(c == '*' && i == 0 && len > 2 && p[1] == '.'))
			return 0;
		name[i] = (char)c;
	}
	name[len] = 0;
	return fn(arg, name);
}

static int each_common_name(const struct cert *c, int (*fn)(void *arg, const char *name), void *arg)
{
	X509_NAME *subject = X509_get_subject_name(c->x509);
	int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

	if (i < 0)
		return 0;
	return give_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)), fn, arg);
}

int cert_each_name(const struct cert *c, int (*fn)(void *arg, const char *name), void *arg)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(c->x509, NID_subject_alt_name, NULL, NULL);
	bool any = false;
	int ret = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !ret; i++) {
		GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

		if (n->type != GEN_DNS)
			continue;
		any = true;
		ret = give_name(n->d.dNSName, fn, arg);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return any ? ret : each_common_name(c, fn, arg);
}
