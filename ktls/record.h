/* SPDX-License-Identifier: MIT */
/*
 * Where TLS records begin and end in a stream of bytes (RFC 8446 5.1, 5.2;
 * RFC 5246 6.2). Headers only: nothing is decrypted, kept or copied but the
 * five bytes of a header. No allocation, no I/O.
 */
#ifndef HYPERION_KTLS_RECORD_H
#define HYPERION_KTLS_RECORD_H

#include "server/base.h"

#define RECORD_HEAD_LEN 5u
#define RECORD_PLAIN_MAX 16384u /* bytes of content in a record */

/* ContentType */
enum record_type {
	RECORD_CCS = 20,
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
};

/* AlertDescription (RFC 8446 6), as far as we use them by name. */
enum tls_alert {
	ALERT_CLOSE_NOTIFY = 0,
	ALERT_UNEXPECTED_MESSAGE = 10,
	ALERT_RECORD_OVERFLOW = 22,
	ALERT_PROTOCOL_VERSION = 70,
	ALERT_INTERNAL_ERROR = 80,
	ALERT_NO_RENEGOTIATION = 100,
};

/* What may stand in the stream, and how long it may be. */
enum record_phase {
	RECORD_PLAIN, /* no keys: 2^14 bytes, no application data, version 3.x (RFC 5246 E.1) */
	RECORD_SEALED_12, /* behind ChangeCipherSpec: 2^14 + 2048, version 3.3 */
	RECORD_SEALED_13, /* behind the ServerHello: 2^14 + 256, version 3.3 */
	NR_RECORD_PHASES,
};

enum record_err {
	RECORD_ERR_TYPE = 1, /* not one of the above, or not in this phase */
	RECORD_ERR_VERSION,
	RECORD_ERR_LENGTH, /* more than the phase allows */
	RECORD_ERR_EMPTY, /* RFC 8446 5.1: only application data may be; sealed it never is */
	NR_RECORD_ERRS,
};

/* The alert that answers an error. */
enum tls_alert record_alert(enum record_err err);
const char *record_strerror(enum record_err err);

/* Zeroed it stands at the start of a connection. */
struct record_walk {
	u8 head[RECORD_HEAD_LEN];
	u8 nr_head; /* bytes of it that are there; 0 = between two records */
	u8 phase; /* enum record_phase; RECORD_SEALED_13 is the caller's to set */
	u8 err; /* enum record_err, once refused */
	u32 left; /* bytes of the body still to come, once the header is whole */
	u64 nr; /* whole records so far */
};

/*
 * Takes bytes, at most to the end of the record that they begin or go on
 * with; @whole tells that it ended with them. Returns how many (> 0 for
 * @len > 0), or -(enum record_err) - RECORD_ERR_BASE as soon as a byte of the
 * header is wrong, however it was split; a refusal is final. w->nr_head then
 * counts up to that byte.
 *
 * A ChangeCipherSpec in RECORD_PLAIN leads to RECORD_SEALED_12: under TLS 1.3
 * the phase is another one before a client may send one.
 */
#define RECORD_ERR_BASE 1000
ssize_t record_next(struct record_walk *w, const void *p, size_t len, bool *whole) __must_check;

static inline enum record_err record_err_of(ssize_t ret)
{
	return (enum record_err)(-ret - RECORD_ERR_BASE);
}

/*
 * Bytes until the record is whole, until its header is when that is not
 * there yet; 0 between two records. Who receives no more than this (and a
 * header's length at 0) never reads into the next record.
 */
static inline u32 record_need(const struct record_walk *w)
{
	if (w->nr_head && w->nr_head < RECORD_HEAD_LEN)
		return RECORD_HEAD_LEN - w->nr_head;
	return w->left;
}

/* Of the record that is under way or was taken last; needs its header. */
static inline enum record_type record_type(const struct record_walk *w)
{
	return (enum record_type)w->head[0];
}

#endif
