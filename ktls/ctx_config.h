/* SPDX-License-Identifier: MIT */
/* What a TLS listener is made from; without OpenSSL, for those who read settings. */
#ifndef HYPERION_KTLS_CTX_CONFIG_H
#define HYPERION_KTLS_CTX_CONFIG_H

#include "server/base.h"

#define CTX_ERROR_LEN 320

enum ctx_version { CTX_TLS_1_2, CTX_TLS_1_3 };

/* For what client certificates are asked. */
enum ctx_verify {
	CTX_VERIFY_NONE,
	CTX_VERIFY_OPTIONAL, /* none is right, a bad one is refused */
	CTX_VERIFY_REQUIRED,
};

struct cert_source {
	const char *name; /* for messages: the file, most likely */
	struct view chain; /* PEM: the certificate, then what leads to its issuer */
	struct view key; /* PEM, not encrypted */
	struct view ocsp; /* DER: an OCSPResponse to be stapled; empty = none */
};

/* RFC 5077 4; random, all of it. */
#define TICKET_KEYS_MAX 8u
struct ticket_key {
	u8 name[16];
	u8 aes[32];
	u8 hmac[32];
};

struct ctx_config {
	/*
	 * The first is the default, for clients that name nobody or somebody
	 * unknown. A certificate serves the DNS names that are in it; those of
	 * different kinds of keys (RSA, ECDSA, Ed25519) with the same name stand
	 * side by side, and the client's algorithms choose; of one kind the
	 * first one serves a name.
	 */
	const struct cert_source *certs;
	u32 nr_certs;
	enum ctx_version min_version;
	/* OpenSSL's names, split by ":"; those of TLS 1.3 begin with TLS_. NULL = the defaults. */
	const char *ciphers;
	const struct view *alpn; /* ours, best first; a client that offers none of them is refused */
	u32 nr_alpn; /* 0 = no ALPN */
	enum ctx_verify verify;
	struct view client_ca; /* PEM, for verify */
	const char *client_ca_name; /* for messages */
	u32 session_cache; /* sessions of TLS 1.2 clients that take no tickets; 0 = none */
	/* The first encrypts, all decrypt; none = no tickets, also later on. */
	const struct ticket_key *ticket_keys;
	u32 nr_ticket_keys;
	u32 nr_tickets; /* sent to a TLS 1.3 client after a full handshake */
	bool keep_secrets; /* connections can be moved into the kernel (engine.h) */
	/* What is odd but no reason to refuse, one line each; may be NULL. */
	void (*warn)(void *arg, const char *text);
	void *warn_arg;
};

/*
 * Mozilla's "intermediate" less the DHE suites, which cost a server far more
 * than who asks for them and serve no client that ECDHE does not.
 */
#define CTX_CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CTX_CIPHERS_12                                                                             \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CTX_GROUPS "X25519:P-256:P-384"
#define CTX_ALPN_MAX 256u /* bytes of the list as sent */

#endif
