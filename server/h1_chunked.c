/* SPDX-License-Identifier: MIT */
/*
 * The chunked transfer coding (RFC 9112 7.1): one state per place in the
 * grammar, one byte at a time; only data is taken in runs.
 */
#include "server/h1_parse.h"
#include "server/h1_scan.h"

enum chunk_state {
	CHUNK_SIZE, /* 0: a zeroed struct starts here */
	CHUNK_EXT_NAME_START,
	CHUNK_EXT_NAME,
	CHUNK_EXT_VALUE_START,
	CHUNK_EXT_TOKEN,
	CHUNK_EXT_QUOTED,
	CHUNK_EXT_ESCAPED,
	CHUNK_EXT_UNQUOTED, /* behind the closing quote */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER_START, /* of a field line, or of the empty one */
	CHUNK_TRAILER_NAME,
	CHUNK_TRAILER_VALUE,
	CHUNK_TRAILER_LF,
	CHUNK_END_LF,
	CHUNK_DONE,
};

/* The steps return the next state, or a refusal (negative). */
static int refuse(enum h1_parse_err err)
{
	return (int)h1_parse_refuse(err);
}

static int lf_then(char b, enum chunk_state next, enum h1_parse_err err)
{
	return b == '\n' ? (int)next : refuse(err);
}

static int size_step(struct h1_chunked *c, char b)
{
	int digit = h1_hex(b);

	if (digit >= 0) {
		/* Before the shift: 2^59 sixteens are 2^63. */
		if (c->digits == CHUNK_DIGITS_MAX || c->left >> 59)
			return refuse(H1_ERR_CHUNK_SIZE);
		c->digits++;
		c->left = c->left << 4 | (u64)digit;
		return CHUNK_SIZE;
	}
	if (b == '\n')
		return refuse(H1_ERR_LINE_END);
	if (c->digits == 0)
		return refuse(H1_ERR_CHUNK_SIZE);
	if (b == '\r')
		return CHUNK_SIZE_LF;
	return b == ';' ? CHUNK_EXT_NAME_START : refuse(H1_ERR_CHUNK_SIZE);
}

/* Behind a whole extension: another one, or the end of the line. */
static int ext_end(char b)
{
	if (b == ';')
		return CHUNK_EXT_NAME_START;
	if (b == '\r')
		return CHUNK_SIZE_LF;
	return refuse(b == '\n' ? H1_ERR_LINE_END : H1_ERR_CHUNK_EXT);
}

static int ext_step(enum chunk_state state, char b)
{
	switch (state) {
	case CHUNK_EXT_NAME_START:
		return h1_is(b, H1_TOKEN) ? CHUNK_EXT_NAME : refuse(H1_ERR_CHUNK_EXT);
	case CHUNK_EXT_NAME:
		if (b == '=')
			return CHUNK_EXT_VALUE_START;
		return h1_is(b, H1_TOKEN) ? CHUNK_EXT_NAME : ext_end(b);
	case CHUNK_EXT_VALUE_START:
		if (b == '"')
			return CHUNK_EXT_QUOTED;
		return h1_is(b, H1_TOKEN) ? CHUNK_EXT_TOKEN : refuse(H1_ERR_CHUNK_EXT);
	case CHUNK_EXT_TOKEN:
		return h1_is(b, H1_TOKEN) ? CHUNK_EXT_TOKEN : ext_end(b);
	case CHUNK_EXT_QUOTED:
		if (b == '"')
			return CHUNK_EXT_UNQUOTED;
		if (b == '\\')
			return CHUNK_EXT_ESCAPED;
		return h1_is(b, H1_VALUE) ? CHUNK_EXT_QUOTED : refuse(H1_ERR_CHUNK_EXT);
	case CHUNK_EXT_ESCAPED:
		return h1_is(b, H1_VALUE) ? CHUNK_EXT_QUOTED : refuse(H1_ERR_CHUNK_EXT);
	default: /* CHUNK_EXT_UNQUOTED */
		return ext_end(b);
	}
}

/* The ";" counts, the CR behind the last extension does not. */
static int ext_count(struct h1_chunked *c, int next)
{
	if (next < CHUNK_EXT_NAME_START || next > CHUNK_EXT_UNQUOTED)
		return next;
	c->ext_len++;
	c->ext_total++;
	if (c->ext_len > CHUNK_EXT_MAX || c->ext_total > CHUNK_EXT_FREE + c->total)
		return refuse(H1_ERR_CHUNK_EXT);
	return next;
}

static int trailer_step(struct h1_chunked *c, char b)
{
	if (++c->trailer_len > CHUNK_TRAILER_MAX)
		return refuse(H1_ERR_TRAILER);
	switch (c->state) {
	case CHUNK_TRAILER_START:
		if (b == '\r')
			return CHUNK_END_LF;
		if (h1_is(b, H1_TOKEN))
			return CHUNK_TRAILER_NAME;
		return refuse(b == '\n' ? H1_ERR_LINE_END : H1_ERR_TRAILER);
	case CHUNK_TRAILER_NAME:
		if (b == ':')
			return CHUNK_TRAILER_VALUE;
		return h1_is(b, H1_TOKEN) ? CHUNK_TRAILER_NAME : refuse(H1_ERR_TRAILER);
	case CHUNK_TRAILER_VALUE:
		if (b == '\r')
			return CHUNK_TRAILER_LF;
		if (b == '\n')
			return refuse(H1_ERR_LINE_END);
		return h1_is(b, H1_VALUE) ? CHUNK_TRAILER_VALUE : refuse(H1_ERR_TRAILER);
	case CHUNK_TRAILER_LF:
		return lf_then(b, CHUNK_TRAILER_START, H1_ERR_LINE_END);
	default: /* CHUNK_END_LF */
		return lf_then(b, CHUNK_DONE, H1_ERR_LINE_END);
	}
}

static int step(struct h1_chunked *c, char b)
{
	switch ((enum chunk_state)c->state) {
	case CHUNK_SIZE:
		return ext_count(c, size_step(c, b));
	case CHUNK_EXT_NAME_START ... CHUNK_EXT_UNQUOTED:
		return ext_count(c, ext_step(c->state, b));
	case CHUNK_SIZE_LF:
		return lf_then(b, c->left ? CHUNK_DATA : CHUNK_TRAILER_START, H1_ERR_LINE_END);
	case CHUNK_DATA_CR:
		return b == '\r' ? CHUNK_DATA_LF : refuse(H1_ERR_CHUNK_END);
	case CHUNK_DATA_LF:
		c->digits = 0;
		c->ext_len = 0;
		return lf_then(b, CHUNK_SIZE, H1_ERR_CHUNK_END);
	default: /* CHUNK_TRAILER_START ... CHUNK_END_LF */
		return trailer_step(c, b);
	}
}

ssize_t h1_chunked_next(struct h1_chunked *c, const char *p, size_t len, struct view *data, bool *done)
{
	size_t n = 0;
	int next;

	*data = (struct view){ p, 0 };
	*done = c->state == CHUNK_DONE;
	if (unlikely(c->err))
		return h1_parse_refuse(c->err);
	while (n < len && c->state != CHUNK_DATA && c->state != CHUNK_DONE) {
		next = step(c, p[n++]);
		if (unlikely(next < 0)) {
			c->err = (u8)h1_parse_err_of(next);
			return next;
		}
		c->state = (u8)next;
	}
	*done = c->state == CHUNK_DONE;
	if (c->state != CHUNK_DATA || n == len)
		return (ssize_t)n;

	*data = (struct view){ p + n, min((u64)(len - n), c->left) };
	c->left -= data->len;
	c->total += data->len;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return (ssize_t)(n + data->len);
}
