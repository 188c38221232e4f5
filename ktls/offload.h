/* SPDX-License-Identifier: MIT */
/*
 * TLS in the kernel (Documentation/networking/tls.rst, include/uapi/linux/tls.h):
 * a socket that takes plaintext and sends records, and the other way round.
 *
 * The order for one connection:
 * 1. offload_prepare() right after accept: the ULP wants an ESTABLISHED socket.
 *    The handshake goes through it untouched.
 * 2. The handshake by ktls/engine. What was received with it may contain whole
 *    records of data: the engine opens them and counts. In the midst of a
 *    record: receive tls_need() bytes, no more, until it is whole.
 * 3. All that was put has left for the socket: tls_traffic(), offload_start(),
 *    TLS_OUT first, then TLS_IN. A direction that the kernel does not take stays
 *    with the engine; with TX in the kernel the engine must not put anything.
 * 4. tls_free() once the kernel has both.
 * Receiving then brings plaintext, and -EIO before a record of another type:
 * offload_recv() takes that one. EBADMSG is final, for sending too.
 */
#ifndef HYPERION_KTLS_OFFLOAD_H
#define HYPERION_KTLS_OFFLOAD_H

#include <linux/tls.h>

#include "ktls/engine.h"
#include "server/base.h"

/* What setsockopt takes; which member says .info.cipher_type. A secret. */
union offload_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes_128;
	struct tls12_crypto_info_aes_gcm_256 aes_256;
	struct tls12_crypto_info_chacha20_poly1305 chacha20;
};

/* Its bytes for @t; their number. */
size_t offload_fill(union offload_info *out, const struct tls_traffic *t);

/* --- what this kernel can do --- */

#define OFFLOAD_WHY_LEN 64

struct offload_caps {
	/* A bit per cipher, 1 << enum tls_cipher, that went through and came back. */
	u8 ciphers_12[NR_TLS_DIRS], ciphers_13[NR_TLS_DIRS];
	bool rekey; /* TLS 1.3: keys can be replaced (Linux 6.14) */
	char why[NR_TLS_DIRS][OFFLOAD_WHY_LEN]; /* a direction has no cipher at all: the reason */
};

/*
 * Tries everything on pairs of loopback sockets, some milliseconds in all; may
 * make the kernel load its module. 0, or -errno when not even sockets can be had.
 */
int offload_probe(struct offload_caps *out) __must_check;

bool offload_can(const struct offload_caps *caps, const struct tls_traffic *t, enum tls_dir dir);

/* --- one connection --- */

/* 0 or -errno: ENOENT the kernel has none, ENOTCONN too late. */
int offload_prepare(int fd) __must_check;

/*
 * From the next record on. 0 or -errno; EBUSY: the direction has keys and this
 * kernel cannot replace them.
 */
int offload_start(int fd, enum tls_dir dir, const struct tls_traffic *t) __must_check;

/* Behind a KeyUpdate of this direction: new keys in @t and in the kernel. 0 or -errno. */
int offload_rekey(int fd, enum tls_dir dir, struct tls_traffic *t) __must_check;

/* One record of another type than data. 0 or -errno, EAGAIN: no room now, nothing was sent. */
int offload_send_control(int fd, enum record_type type, const void *p, size_t len) __must_check;

/* An alert; ALERT_CLOSE_NOTIFY is a warning, all others are fatal (RFC 8446 6). */
int offload_send_alert(int fd, enum tls_alert alert) __must_check;

/*
 * Bytes of one record, at most @len, without waiting; its type. 0: end of file
 * without close_notify; -errno: EAGAIN; EBADMSG, EMSGSIZE, EINVAL: a record that
 * was tampered with or is none; EKEYEXPIRED: new keys first.
 */
ssize_t offload_recv(int fd, void *p, size_t len, enum record_type *type) __must_check;

/* For those who receive by other means: room for the control data, and the type in it. */
#define OFFLOAD_CMSG_LEN 24u
struct msghdr;
enum record_type offload_record_type(struct msghdr *msg);

/* --- what control records say --- */

enum offload_event {
	OFFLOAD_CLOSED, /* close_notify */
	OFFLOAD_ALERT, /* the peer gives up; or user_canceled and the like, which say as much */
	OFFLOAD_NEW_SESSION, /* not of a client */
	OFFLOAD_KEY_UPDATE, /* the peer's keys are others from here */
	OFFLOAD_KEY_UPDATE_ASKED, /* and ours have to be */
	OFFLOAD_RENEGOTIATION, /* TLS 1.2: refuse */
	OFFLOAD_BAD, /* unexpected_message or decode_error is due: close */
};

/* @alert: the description, for the first two. @version as in struct tls_traffic. */
enum offload_event offload_read_control(u16 version, enum record_type type, const u8 *p, size_t len,
					u8 *alert);

/* Our KeyUpdate, not asking for one; to be sent under the old keys (RFC 8446 4.6.3). */
#define OFFLOAD_KEY_UPDATE_LEN 5u
extern const u8 offload_key_update[OFFLOAD_KEY_UPDATE_LEN];

#endif
