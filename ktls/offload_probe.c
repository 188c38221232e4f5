/* SPDX-License-Identifier: MIT */
/* What kernel TLS can do here, found out by sending a record from one socket to another. */
#include "ktls/offload.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PROBE_WAIT_US 500000 /* for one record on the loopback interface */

struct pair {
	int fd[NR_TLS_DIRS]; /* the receiver, the sender */
};

static int bound_listener(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	*addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	if (bind(fd, (struct sockaddr *)addr, len) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, (struct sockaddr *)addr, &len) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static void pair_close(const struct pair *p)
{
	for (u32 i = 0; i < NR_TLS_DIRS; i++)
		if (p->fd[i] >= 0)
			close(p->fd[i]);
}

static int pair_open(struct pair *p)
{
	struct timeval wait = { .tv_usec = PROBE_WAIT_US };
	struct sockaddr_in addr;
	int err = 0, listener = bound_listener(&addr);

	p->fd[TLS_IN] = p->fd[TLS_OUT] = -1;
	if (listener < 0)
		return listener;
	p->fd[TLS_OUT] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd[TLS_OUT] < 0 || connect(p->fd[TLS_OUT], (struct sockaddr *)&addr, sizeof(addr)) != 0)
		err = -errno;
	if (!err) {
		p->fd[TLS_IN] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (p->fd[TLS_IN] < 0 ||
		    setsockopt(p->fd[TLS_IN], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0)
			err = -errno;
	}
	close(listener);
	if (err)
		pair_close(p);
	return err;
}

static void say(struct offload_caps *caps, enum tls_dir dir, const char *what, int err)
{
	const char *name = strerrorname_np(-err);

	if (!caps->why[dir][0])
		snprintf(caps->why[dir], OFFLOAD_WHY_LEN, "%s: %s%s", what, name ? name : "?",
			 err == -ENOENT ? " (no kernel TLS)" : "");
}

static bool passes(const struct pair *p)
{
	char in[8];

	return send(p->fd[TLS_OUT], "probe", 5, MSG_NOSIGNAL) == 5 &&
	       recv(p->fd[TLS_IN], in, sizeof(in), 0) == 5 && memcmp(in, "probe", 5) == 0;
}

static void try_on(const struct pair *p, const struct tls_traffic *t, struct offload_caps *caps)
{
	u8 *ciphers = t->version == TLS_1_3_VERSION ? caps->ciphers_13 : caps->ciphers_12;
	u8 bit = (u8)(1u << t->cipher);
	int err[NR_TLS_DIRS];

	for (u32 dir = 0; dir < NR_TLS_DIRS; dir++) {
		err[dir] = offload_prepare(p->fd[dir]);
		if (err[dir]) {
			say(caps, (enum tls_dir)dir, "TCP_ULP", err[dir]);
			continue;
		}
		err[dir] = offload_start(p->fd[dir], (enum tls_dir)dir, t);
		if (err[dir])
			say(caps, (enum tls_dir)dir, dir == TLS_OUT ? "TLS_TX" : "TLS_RX", err[dir]);
		else
			ciphers[dir] |= bit;
	}
	if (err[TLS_IN] || err[TLS_OUT])
		return;
	if (!passes(p)) {
		for (u32 dir = 0; dir < NR_TLS_DIRS; dir++) {
			ciphers[dir] &= (u8)~bit;
			say(caps, (enum tls_dir)dir, "a record that was sent did not arrive", -EIO);
		}
		return;
	}
	if (t->version == TLS_1_3_VERSION && offload_start(p->fd[TLS_OUT], TLS_OUT, t) == 0)
		caps->rekey = true;
}

int offload_probe(struct offload_caps *out)
{
	static const u16 versions[] = { TLS_1_2_VERSION, TLS_1_3_VERSION };

	memset(out, 0, sizeof(*out));
	for (u32 v = 0; v < ARRAY_SIZE(versions); v++) {
		for (u32 cipher = 0; cipher < NR_TLS_CIPHERS; cipher++) {
			/* Any key will do, and no record of it ever leaves this host. */
			struct tls_traffic t = { .version = versions[v],
						 .cipher = (enum tls_cipher)cipher,
						 .key.key_len = cipher == TLS_AES_128_GCM ? 16 : 32 };
			struct pair p;
			int err = pair_open(&p);

			if (err) {
				say(out, TLS_IN, "loopback sockets", err);
				say(out, TLS_OUT, "loopback sockets", err);
				return err;
			}
			try_on(&p, &t, out);
			pair_close(&p);
		}
	}
	for (u32 dir = 0; dir < NR_TLS_DIRS; dir++)
		if (out->ciphers_12[dir] | out->ciphers_13[dir])
			out->why[dir][0] = 0;
	return 0;
}

bool offload_can(const struct offload_caps *caps, const struct tls_traffic *t, enum tls_dir dir)
{
	const u8 *ciphers = t->version == TLS_1_3_VERSION ? caps->ciphers_13 : caps->ciphers_12;

	return ciphers[dir] >> t->cipher & 1;
}
