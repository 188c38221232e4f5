/* SPDX-License-Identifier: MIT */
/*
 * What TLS costs the engine: full and resumed handshakes, the private key's
 * share of them, sealing, and the memory of a connection. One core; CPU time
 * of the server's half only.
 */
#include "ktls/engine.h"
#include "selftests/tls_certs.h"
#include "selftests/tls_pair.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/evp.h>

#define SECONDS 2
#define NR_IDLE 500

static u64 cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static struct tls_ctx *make_ctx(enum key_kind kind)
{
	static const struct ticket_key key = { .name = "bench" };
	struct test_cert cert;
	struct cert_wish wish = { .kind = kind, .common_name = "a.test" };
	struct cert_source source;
	struct ctx_config config = { .certs = &source,
				     .nr_certs = 1,
				     .ticket_keys = &key,
				     .nr_ticket_keys = 1,
				     .nr_tickets = 2,
				     .keep_secrets = true };
	char error[CTX_ERROR_LEN];
	struct tls_ctx *ctx;

	test_cert_make(&cert, &wish);
	source = test_cert_source(&cert, "bench");
	if (ctx_new(&ctx, &config, error)) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	test_cert_free(&cert);
	return ctx;
}

/* One handshake; CPU time of what the engine did. */
static u64 shake(struct tls_ctx *ctx, SSL_CTX *client, SSL_SESSION *session)
{
	struct tls_pair p = { .how = FEED_WHOLE };
	u64 ns = 0, start = cpu_ns();

	if (!pair_init(&p, ctx, client, "a.test", session))
		exit(1);
	for (int i = 0; i < 3; i++) {
		ns += i ? 0 : cpu_ns() - start;
		SSL_do_handshake(p.client);
		start = cpu_ns();
		pair_feed(&p);
		ns += cpu_ns() - start;
	}
	if (p.server->state != TLS_OPEN || SSL_session_reused(p.client) != !!session)
		exit(1);
	pair_client_poke(&p);
	pair_fini(&p);
	return ns;
}

static void bench_shakes(const char *name, enum key_kind kind, int version)
{
	struct tls_ctx *ctx = make_ctx(kind);
	SSL_CTX *client = pair_client_ctx();

	SSL_CTX_set_max_proto_version(client, version);
	for (int resumed = 0; resumed <= (version == TLS1_3_VERSION); resumed++) {
		u64 end = cpu_ns() + SECONDS * NSEC_PER_SEC, ns = 0, nr = 0;

		for (; cpu_ns() < end; nr++) {
			SSL_SESSION *session = resumed ? pair_session(client) : NULL;

			ns += shake(ctx, client, session);
			SSL_SESSION_free(session);
		}
		printf("%-12s %s %-8s %7.1f us/handshake %8.0f handshakes/s\n", name,
		       version == TLS1_3_VERSION ? "1.3" : "1.2", resumed ? "resumed" : "full",
		       (double)ns / 1e3 / (double)nr, (double)nr * 1e9 / (double)ns);
	}
	SSL_SESSION_free(pair_session(client));
	SSL_CTX_free(client);
	ctx_put(ctx);
}

static void bench_sign(const char *name, EVP_PKEY *key)
{
	u64 end = cpu_ns() + NSEC_PER_SEC, start = cpu_ns(), nr = 0;
	u8 sig[512], tbs[130] = { 0 };

	for (; cpu_ns() < end; nr++) {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		size_t len = sizeof(sig);

		if (!EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) ||
		    !EVP_DigestSign(ctx, sig, &len, tbs, sizeof(tbs)))
			exit(1);
		EVP_MD_CTX_free(ctx);
	}
	printf("%-12s signing alone   %7.1f us\n", name,
	       (double)(cpu_ns() - start) / 1e3 / (double)nr);
	EVP_PKEY_free(key);
}

static int drop(void *arg, const void *p, size_t len)
{
	(void)p;
	*(u64 *)arg += len;
	return 0;
}

static void bench_seal(u32 record_len)
{
	struct tls_ctx *ctx = make_ctx(KEY_P256);
	SSL_CTX *client = pair_client_ctx();
	struct tls_pair p = { .how = FEED_WHOLE };
	static char data[MIB];
	u64 start, bytes = 0;

	if (!pair_init(&p, ctx, client, NULL, NULL) || !pair_shake(&p))
		exit(1);
	p.server->put = drop;
	p.server->arg = &bytes;
	tls_set_record_len(p.server, record_len);
	start = cpu_ns();
	for (int i = 0; i < 300; i++)
		if (tls_send(p.server, data, sizeof(data)))
			exit(1);
	printf("sealing in records of %5u       %7.1f us/MiB\n", record_len,
	       (double)(cpu_ns() - start) / 1e3 / 300);
	pair_fini(&p);
	SSL_CTX_free(client);
	ctx_put(ctx);
}

/* The client and what the pair itself holds are freed, the engines stay. */
static void bench_memory(int version)
{
	struct tls_ctx *ctx = make_ctx(KEY_P256);
	SSL_CTX *client = pair_client_ctx();
	static struct tls *kept[NR_IDLE];
	size_t before, busy, idle;

	SSL_CTX_set_max_proto_version(client, version);
	shake(ctx, client, NULL);
	before = mallinfo2().uordblks;
	for (u32 i = 0; i < NR_IDLE; i++) {
		struct tls_pair p = { .how = FEED_WHOLE };

		if (!pair_init(&p, ctx, client, "a.test", NULL) || !pair_shake(&p) ||
		    tls_send(p.server, "x", 1))
			exit(1);
		kept[i] = p.server;
		p.server = NULL;
		pair_fini(&p);
		SSL_SESSION_free(pair_session(client));
	}
	busy = mallinfo2().uordblks;
	for (u32 i = 0; i < NR_IDLE; i++)
		tls_idle(kept[i]);
	idle = mallinfo2().uordblks;
	printf("memory of an established connection, %s: %6zu bytes, idle %6zu, struct tls %zu\n",
	       version == TLS1_3_VERSION ? "1.3" : "1.2", (busy - before) / NR_IDLE,
	       (idle - before) / NR_IDLE, sizeof(struct tls));
	for (u32 i = 0; i < NR_IDLE; i++)
		tls_free(kept[i]);
	SSL_CTX_free(client);
	ctx_put(ctx);
}

int main(void)
{
	bench_sign("RSA-2048", EVP_RSA_gen(2048));
	bench_sign("P-256", EVP_EC_gen("P-256"));
	bench_shakes("RSA-2048", KEY_RSA, TLS1_3_VERSION);
	bench_shakes("RSA-2048", KEY_RSA, TLS1_2_VERSION);
	bench_shakes("P-256", KEY_P256, TLS1_3_VERSION);
	bench_shakes("P-256", KEY_P256, TLS1_2_VERSION);
	bench_seal(16384);
	bench_seal(4096);
	bench_memory(TLS1_3_VERSION);
	bench_memory(TLS1_2_VERSION);
	return 0;
}
