/* SPDX-License-Identifier: MIT */
#include "selftests/vm/ktls_bed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "selftests/harness/harness.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* Every layout of linux/tls.h starts with the version and the cipher. */
union crypto {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes128;
	struct tls12_crypto_info_aes_gcm_256 aes256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

static void put_be64(u8 *p, u64 v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (u8)(v >> (56 - 8 * i));
}

int set_keys(int fd, int direction, const struct suite *s, const struct keys *k)
{
	union crypto c = { .info = { .version = s->version, .cipher_type = s->cipher } };
	u8 seq[SEQ_LEN];
	size_t len = 0;

	put_be64(seq, k->seq);
#define FILL(m)                                                                                    \
	do {                                                                                       \
		memcpy(c.m.key, k->key, sizeof(c.m.key));                                          \
		memcpy(c.m.salt, k->nonce, sizeof(c.m.salt));                                      \
		memcpy(c.m.iv, k->nonce + sizeof(c.m.salt), sizeof(c.m.iv));                       \
		memcpy(c.m.rec_seq, seq, sizeof(c.m.rec_seq));                                     \
		len = sizeof(c.m);                                                                 \
	} while (0)
	switch (s->cipher) {
	case TLS_CIPHER_AES_GCM_128:
		FILL(aes128);
		break;
	case TLS_CIPHER_AES_GCM_256:
		FILL(aes256);
		break;
	case TLS_CIPHER_CHACHA20_POLY1305:
		FILL(chacha);
		break;
	}
	return SYS(setsockopt(fd, SOL_TLS, direction, &c, (socklen_t)len));
}

int set_ulp(int fd)
{
	return SYS(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")));
}

void connected(int fds[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = 30 };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ASSERT_GE(listener, 0);
	ASSERT_OK(SYS(bind(listener, (struct sockaddr *)&sin, sizeof(sin))));
	ASSERT_OK(SYS(listen(listener, 1)));
	ASSERT_OK(SYS(getsockname(listener, (struct sockaddr *)&sin, &len)));
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_GE(fds[0], 0);
	ASSERT_OK(SYS(connect(fds[0], (struct sockaddr *)&sin, sizeof(sin))));
	fds[1] = accept(listener, NULL, NULL);
	ASSERT_GE(fds[1], 0);
	close(listener);
	for (int i = 0; i < 2; i++)
		ASSERT_OK(SYS(setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit))));
}

void read_all(int fd, void *p, size_t len)
{
	for (size_t off = 0; off < len;) {
		ssize_t n = recv(fd, (u8 *)p + off, len - off, 0);

		ASSERT_OK(SYS(n));
		ASSERT_GT(n, 0);
		off += (size_t)n;
	}
}

size_t read_record(int fd, u8 *p)
{
	size_t len;

	read_all(fd, p, HEADER_LEN);
	len = (size_t)p[3] << 8 | p[4];
	ASSERT_LE(len, MAX_RECORD - HEADER_LEN);
	read_all(fd, p + HEADER_LEN, len);
	return HEADER_LEN + len;
}

int open_record(const struct suite *s, const struct keys *k, u64 nr, const u8 *rec, size_t rec_len,
		u8 *out)
{
	bool is_12 = s->version == TLS_1_2_VERSION;
	size_t explicit_len = is_12 ? SEQ_LEN : 0;
	const u8 *body = rec + HEADER_LEN + explicit_len;
	int len = (int)(rec_len - HEADER_LEN - explicit_len) - TAG_LEN, n, end;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	u8 nonce[NONCE_LEN], seq[SEQ_LEN], aad[13], tag[TAG_LEN];
	bool ok;

	ASSERT_NOT_NULL(ctx);
	ASSERT_GE(len, 0);
	put_be64(seq, nr);
	memcpy(nonce, k->nonce, sizeof(nonce));
	if (is_12) {
		memcpy(nonce + 4, rec + HEADER_LEN, explicit_len);
		memcpy(aad, seq, sizeof(seq));
		memcpy(aad + SEQ_LEN, rec, 3);
		aad[11] = (u8)(len >> 8);
		aad[12] = (u8)len;
	} else {
		for (int i = 0; i < SEQ_LEN; i++)
			nonce[4 + i] ^= seq[i];
		memcpy(aad, rec, HEADER_LEN);
	}
	memcpy(tag, body + len, TAG_LEN);
	ok = EVP_DecryptInit_ex(ctx, s->evp(), NULL, k->key, nonce) == 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &n, aad, is_12 ? 13 : HEADER_LEN) == 1 &&
	     EVP_DecryptUpdate(ctx, out, &n, body, len) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1 &&
	     EVP_DecryptFinal_ex(ctx, out + n, &end) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok ? len : -1;
}

ssize_t send_record(int fd, u8 type, const void *p, size_t len)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(1)];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_TLS;
	c->cmsg_type = TLS_SET_RECORD_TYPE;
	c->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(c) = type;
	return sendmsg(fd, &msg, 0);
}

ssize_t recv_record(int fd, u8 *type, void *p, size_t room)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(1)];
	} control = { 0 };
	struct iovec iov = { p, room };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	*type = 0;
	if (n >= 0 && c && c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE)
		*type = *CMSG_DATA(c);
	return n;
}
