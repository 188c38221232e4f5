/* SPDX-License-Identifier: MIT */
#include "ktls/record.h"

static const u32 body_max[NR_RECORD_PHASES] = {
	[RECORD_PLAIN] = RECORD_PLAIN_MAX,
	[RECORD_SEALED_12] = RECORD_PLAIN_MAX + 2048,
	[RECORD_SEALED_13] = RECORD_PLAIN_MAX + 256,
};

#define TYPE_BIT(type) (1u << (type))

static const u32 types[NR_RECORD_PHASES] = {
	[RECORD_PLAIN] = TYPE_BIT(RECORD_CCS) | TYPE_BIT(RECORD_ALERT) | TYPE_BIT(RECORD_HANDSHAKE),
	[RECORD_SEALED_12] =
		TYPE_BIT(RECORD_ALERT) | TYPE_BIT(RECORD_HANDSHAKE) | TYPE_BIT(RECORD_DATA),
	/* In the open: a second ClientHello, its ChangeCipherSpec, an alert of who has no keys yet. */
	[RECORD_SEALED_13] = TYPE_BIT(RECORD_CCS) | TYPE_BIT(RECORD_ALERT) |
			     TYPE_BIT(RECORD_HANDSHAKE) | TYPE_BIT(RECORD_DATA),
};

enum tls_alert record_alert(enum record_err err)
{
	switch (err) {
	case RECORD_ERR_TYPE:
	case RECORD_ERR_EMPTY:
		return ALERT_UNEXPECTED_MESSAGE;
	case RECORD_ERR_VERSION:
		return ALERT_PROTOCOL_VERSION;
	case RECORD_ERR_LENGTH:
		return ALERT_RECORD_OVERFLOW;
	case NR_RECORD_ERRS:
		break;
	}
	return ALERT_INTERNAL_ERROR;
}

const char *record_strerror(enum record_err err)
{
	static const char *const text[NR_RECORD_ERRS] = {
		[RECORD_ERR_TYPE] = "unexpected type of record",
		[RECORD_ERR_VERSION] = "not a version of TLS",
		[RECORD_ERR_LENGTH] = "record too long",
		[RECORD_ERR_EMPTY] = "empty record",
	};

	return (unsigned int)err < NR_RECORD_ERRS && text[err] ? text[err] : "unknown";
}

static u32 body_len(const struct record_walk *w)
{
	return (u32)w->head[3] << 8 | w->head[4];
}

/* Judges the byte of the header that was added last. */
static enum record_err judge(const struct record_walk *w)
{
	switch (w->nr_head) {
	case 1:
		if (w->head[0] >= 32 || !(types[w->phase] & TYPE_BIT(w->head[0])))
			return RECORD_ERR_TYPE;
		break;
	case 2:
		if (w->head[1] != 3)
			return RECORD_ERR_VERSION;
		break;
	case 3:
		if (w->phase != RECORD_PLAIN && w->head[2] != 3)
			return RECORD_ERR_VERSION;
		break;
	case RECORD_HEAD_LEN:
		if (body_len(w) > body_max[w->phase])
			return RECORD_ERR_LENGTH;
		if (body_len(w) == 0)
			return RECORD_ERR_EMPTY;
		break;
	}
	return 0;
}

static void end(struct record_walk *w)
{
	w->nr_head = 0;
	w->nr++;
	if (w->phase == RECORD_PLAIN && record_type(w) == RECORD_CCS)
		w->phase = RECORD_SEALED_12;
}

ssize_t record_next(struct record_walk *w, const void *p, size_t len, bool *whole)
{
	const u8 *bytes = p;
	size_t n = 0, body;

	*whole = false;
	while (!w->err && w->nr_head < RECORD_HEAD_LEN) {
		if (n == len)
			return (ssize_t)n;
		w->head[w->nr_head++] = bytes[n++];
		w->err = judge(w);
		if (w->nr_head == RECORD_HEAD_LEN)
			w->left = body_len(w);
	}
	if (w->err)
		return -(ssize_t)w->err - RECORD_ERR_BASE;
	body = min(len - n, (size_t)w->left);
	w->left -= (u32)body;
	if (!w->left) {
		end(w);
		*whole = true;
	}
	return (ssize_t)(n + body);
}
