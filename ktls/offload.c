/* SPDX-License-Identifier: MIT */
#include "ktls/offload.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define HANDSHAKE_NEW_SESSION_TICKET 4
#define HANDSHAKE_KEY_UPDATE 24
#define ALERT_LEVEL_WARNING 1
#define ALERT_LEVEL_FATAL 2
#define ALERT_LEN 2

const u8 offload_key_update[OFFLOAD_KEY_UPDATE_LEN] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0 };

/* --- the bytes that setsockopt takes --- */

static void put_be64(u8 out[8], u64 n)
{
	for (u32 i = 0; i < 8; i++)
		out[i] = (u8)(n >> (56 - 8 * i));
}

/*
 * An AES-GCM nonce is four bytes of salt and eight of iv. TLS 1.3 has both from
 * its key schedule and mixes the number of the record in; TLS 1.2 sends the
 * eight, which only have to be others each time: the number does (RFC 5288 3).
 */
static void fill_gcm(u8 *salt, u8 *iv, const struct tls_traffic *t)
{
	memcpy(salt, t->key.iv, 4);
	if (t->version == TLS_1_2_VERSION)
		put_be64(iv, t->seq);
	else
		memcpy(iv, t->key.iv + 4, 8);
}

size_t offload_fill(union offload_info *out, const struct tls_traffic *t)
{
	memset(out, 0, sizeof(*out));
	out->info.version = t->version;
	switch (t->cipher) {
	case TLS_AES_128_GCM:
		out->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(out->aes_128.key, t->key.key, sizeof(out->aes_128.key));
		fill_gcm(out->aes_128.salt, out->aes_128.iv, t);
		put_be64(out->aes_128.rec_seq, t->seq);
		return sizeof(out->aes_128);
	case TLS_AES_256_GCM:
		out->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(out->aes_256.key, t->key.key, sizeof(out->aes_256.key));
		fill_gcm(out->aes_256.salt, out->aes_256.iv, t);
		put_be64(out->aes_256.rec_seq, t->seq);
		return sizeof(out->aes_256);
	case TLS_CHACHA20_POLY1305:
		out->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(out->chacha20.key, t->key.key, sizeof(out->chacha20.key));
		memcpy(out->chacha20.iv, t->key.iv, sizeof(out->chacha20.iv));
		put_be64(out->chacha20.rec_seq, t->seq);
		return sizeof(out->chacha20);
	case NR_TLS_CIPHERS:
		break;
	}
	return 0;
}

/* --- one connection --- */

int offload_prepare(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ? -errno : 0;
}

int offload_start(int fd, enum tls_dir dir, const struct tls_traffic *t)
{
	union offload_info info;
	size_t len = offload_fill(&info, t);
	int err = 0;

	if (len == 0)
		return -EOPNOTSUPP;
	if (setsockopt(fd, SOL_TLS, dir == TLS_OUT ? TLS_TX : TLS_RX, &info, (socklen_t)len))
		err = -errno;
	secret_wipe(&info, sizeof(info));
	return err;
}

int offload_rekey(int fd, enum tls_dir dir, struct tls_traffic *t)
{
	struct tls_traffic next = *t;
	int err;

	if (t->version != TLS_1_3_VERSION)
		return -EOPNOTSUPP;
	next.seq = 0;
	err = secret_update(&next.secret) ?:
		      secret_key(&next.secret, t->key.key_len, &next.key) ?:
		      offload_start(fd, dir, &next);
	if (!err)
		*t = next;
	secret_wipe(&next, sizeof(next));
	return err;
}

union control {
	struct cmsghdr head;
	char room[OFFLOAD_CMSG_LEN];
};

_Static_assert(OFFLOAD_CMSG_LEN >= CMSG_SPACE(sizeof(u8)), "room for the type of a record");

int offload_send_control(int fd, enum record_type type, const void *p, size_t len)
{
	union control control = { .room = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(sizeof(u8)) };
	ssize_t n;

	control.head.cmsg_level = SOL_TLS;
	control.head.cmsg_type = TLS_SET_RECORD_TYPE;
	control.head.cmsg_len = CMSG_LEN(sizeof(u8));
	*CMSG_DATA(&control.head) = (u8)type;
	do
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int offload_send_alert(int fd, enum tls_alert alert)
{
	u8 bytes[ALERT_LEN] = { alert == ALERT_CLOSE_NOTIFY ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL,
				(u8)alert };

	return offload_send_control(fd, RECORD_ALERT, bytes, sizeof(bytes));
}

enum record_type offload_record_type(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (!c || c->cmsg_level != SOL_TLS || c->cmsg_type != TLS_GET_RECORD_TYPE)
		return RECORD_DATA;
	return (enum record_type) * CMSG_DATA(c);
}

ssize_t offload_recv(int fd, void *p, size_t len, enum record_type *type)
{
	union control control = { .room = { 0 } };
	struct iovec iov = { p, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	*type = n < 0 ? RECORD_DATA : offload_record_type(&msg);
	return n < 0 ? -errno : n;
}

/* --- control records --- */

static enum offload_event read_handshake(u16 version, const u8 *p, size_t len)
{
	u32 body;

	if (version == TLS_1_2_VERSION)
		return OFFLOAD_RENEGOTIATION;
	if (len < 4)
		return OFFLOAD_BAD;
	body = (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
	if (p[0] == HANDSHAKE_NEW_SESSION_TICKET && body == len - 4)
		return OFFLOAD_NEW_SESSION;
	/* RFC 8446 5.1: nothing may stand behind a KeyUpdate in its record. */
	if (p[0] != HANDSHAKE_KEY_UPDATE || body != 1 || len != OFFLOAD_KEY_UPDATE_LEN || p[4] > 1)
		return OFFLOAD_BAD;
	return p[4] ? OFFLOAD_KEY_UPDATE_ASKED : OFFLOAD_KEY_UPDATE;
}

enum offload_event offload_read_control(u16 version, enum record_type type, const u8 *p, size_t len,
					u8 *alert)
{
	switch (type) {
	case RECORD_ALERT:
		if (len != ALERT_LEN)
			return OFFLOAD_BAD;
		*alert = p[1];
		return p[1] == ALERT_CLOSE_NOTIFY ? OFFLOAD_CLOSED : OFFLOAD_ALERT;
	case RECORD_HANDSHAKE:
		return read_handshake(version, p, len);
	case RECORD_CCS:
	case RECORD_DATA:
		break;
	}
	return OFFLOAD_BAD;
}
