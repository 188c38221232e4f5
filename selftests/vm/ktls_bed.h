/* SPDX-License-Identifier: MIT */
/* Kernel TLS without a handshake: keys of the test's own, records as OpenSSL reads them. */
#ifndef HYPERION_SELFTESTS_VM_KTLS_BED_H
#define HYPERION_SELFTESTS_VM_KTLS_BED_H

#include <linux/tls.h>
#include <openssl/evp.h>

#include "server/base.h"

#define HEADER_LEN 5
#define TAG_LEN 16
#define NONCE_LEN 12
#define SEQ_LEN 8
#define MAX_RECORD (HEADER_LEN + 16384 + 256)

#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22
#define RECORD_DATA 23

/* For calls that answer -1 and errno. */
#define SYS(x) ((x) < 0 ? -errno : 0)

struct suite {
	u16 version, cipher;
	const EVP_CIPHER *(*evp)(void);
};

/* One direction: what is handed to the kernel, and the same as the RFCs have it. */
struct keys {
	u8 key[32];
	u8 nonce[NONCE_LEN]; /* 1.2: the first 4 are the salt, the rest is sent with each record */
	u64 seq;
};

/* Two ends of a TCP connection; reading from them gives up after 30 s. */
void connected(int fds[2]);

/* 0 or -errno of setsockopt(). @direction: TLS_TX or TLS_RX. */
int set_ulp(int fd);
int set_keys(int fd, int direction, const struct suite *s, const struct keys *k);

void read_all(int fd, void *p, size_t len);
/* The next record on a socket without keys; its length, header included. */
size_t read_record(int fd, u8 *p);
/*
 * Opens record number @nr as RFC 5246, 5288 and 8446 say, by OpenSSL. Returns the length of the
 * plaintext, in 1.3 with the type as its last byte; -1 when the tag is wrong.
 */
int open_record(const struct suite *s, const struct keys *k, u64 nr, const u8 *rec, size_t rec_len,
		u8 *out);

/* As sendmsg() and recvmsg(); @type: 0 when the kernel did not say. */
ssize_t send_record(int fd, u8 type, const void *p, size_t len);
ssize_t recv_record(int fd, u8 *type, void *p, size_t room);

#endif
