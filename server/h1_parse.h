/* SPDX-License-Identifier: MIT */
/*
 * Request heads and chunked bodies of HTTP/1.x (RFC 9112), and the field
 * values that frame a message. No state beyond the structs below, no
 * allocation, no I/O, no copies: results are views into the caller's bytes.
 * h1_parse.c has the head, h1_chunked.c the body, h1_field.c the fields.
 */
#ifndef HYPERION_SERVER_H1_PARSE_H
#define HYPERION_SERVER_H1_PARSE_H

#include "server/base.h"
#include "server/msg.h"

/* Why a head or a chunk was refused; h1_parse_status() names the answer. */
enum h1_parse_err {
	H1_ERR_METHOD = 1, /* not a token, or none */
	H1_ERR_TARGET, /* empty, or a byte outside %x21-7E / %x80-FF */
	H1_ERR_VERSION_SYNTAX, /* not "HTTP/" DIGIT "." DIGIT, or none */
	H1_ERR_VERSION, /* syntax right, not 1.0 or 1.1: 505 */
	H1_ERR_LINE_END, /* bare CR or bare LF */
	H1_ERR_HEADER_NAME, /* empty, not a token, or white space before the colon */
	H1_ERR_HEADER_VALUE, /* NUL or control byte other than HTAB */
	H1_ERR_OBS_FOLD, /* a line that starts with SP or HTAB */
	H1_ERR_MANY_HEADERS, /* more than MAX_HEADERS: 431 */
	H1_ERR_CHUNK_SIZE, /* not hex, none, too many digits, or more than 2^63-1 */
	H1_ERR_CHUNK_EXT, /* bad extension, or more bytes of them than the limits below */
	H1_ERR_CHUNK_END, /* chunk data not followed by CRLF */
	H1_ERR_TRAILER, /* bad trailer field, or more than CHUNK_TRAILER_MAX bytes */
	NR_H1_ERRS,
};

/* The status that answers an error: 400, 431 or 505. */
int h1_parse_status(enum h1_parse_err err);
const char *h1_parse_strerror(enum h1_parse_err err);

/*
 * Parses one request head from @buf. @seen is how many of these bytes an
 * earlier call that returned -EAGAIN was given (0 at first). It only saves
 * work: with it, bytes are read once for the end of the head and once when
 * it is there, so a head fed byte by byte costs O(n) in all. The bytes may
 * have moved in between.
 *
 * Returns the length of the head up to and including the empty line,
 * -EAGAIN when it is not complete (an error that is already certain may be
 * reported before), or -(enum h1_parse_err) - H1_ERR_BASE on a refusal.
 * At most one empty CRLF line before the request line is skipped (RFC 9112
 * 2.2) and counted in the length. Bytes behind the head are not judged.
 *
 * After a refusal @msg holds what was read before it, the rest is empty.
 * HTTP/1.2 and above are refused like HTTP/2.0: no such version exists, so
 * who sends one is not a client.
 */
#define H1_ERR_BASE 1000
ssize_t h1_parse_head(const char *buf, size_t len, size_t seen, struct msg *msg) __must_check;

static inline enum h1_parse_err h1_parse_err_of(ssize_t ret)
{
	return (enum h1_parse_err)(-ret - H1_ERR_BASE);
}

static inline ssize_t h1_parse_refuse(enum h1_parse_err err)
{
	return -(ssize_t)err - H1_ERR_BASE;
}

/*
 * A chunked body, decoded in pieces of any size. Zero it to start. A refusal
 * is final: later calls return it again.
 */
struct h1_chunked {
	u64 left; /* bytes of the current chunk's data still to come */
	u64 total; /* bytes of data so far */
	u64 ext_total; /* bytes of extensions so far */
	u32 ext_len; /* bytes of the current chunk's extension */
	u32 trailer_len; /* bytes of the trailer section */
	u8 state;
	u8 digits; /* of the current chunk size */
	u8 err; /* enum h1_parse_err, once refused */
};

#define CHUNK_DIGITS_MAX 16 /* leading zeros included */
#define CHUNK_EXT_MAX 256 /* of one chunk */
#define CHUNK_EXT_FREE 4096 /* of a body, beyond as many as it has bytes of data */
#define CHUNK_TRAILER_MAX 8192 /* the final CRLF included */

/*
 * Takes bytes from [@p, @p + @len) until one run of data is found, the input
 * is used up, or the body has ended. Returns the bytes taken (framing and
 * data) or a refusal as above. @data is the run of data found, possibly
 * empty; a chunk may come in several runs. @done is set behind the last byte
 * of the trailer section, where it stops; trailers are checked for syntax
 * and dropped (RFC 9112 7.1.2 allows it).
 *
 * Extensions are checked against the grammar and dropped. White space around
 * them (BWS, 7.1.1) is refused although the RFC lets a recipient skip it: no
 * sender may produce it, and parsers that differ on "5 ;" are how requests
 * are smuggled.
 */
ssize_t h1_chunked_next(struct h1_chunked *c, const char *p, size_t len, struct view *data,
			bool *done) __must_check;

/* A Content-Length value: digits only, at most 2^63-1. 0 or -EINVAL. */
int h1_parse_length(struct view v, u64 *out) __must_check;

/* Field names that the server itself reads. */
enum known_header {
	HDR_OTHER,
	HDR_HOST,
	HDR_CONNECTION,
	HDR_CONTENT_LENGTH,
	HDR_TRANSFER_ENCODING,
	HDR_EXPECT,
	HDR_UPGRADE,
	HDR_KEEP_ALIVE,
	HDR_TE,
	HDR_TRAILER,
	HDR_HTTP2_SETTINGS,
	HDR_CONTENT_TYPE,
	HDR_ACCEPT_ENCODING,
	HDR_RANGE,
	HDR_IF_RANGE,
	HDR_IF_MATCH,
	HDR_IF_NONE_MATCH,
	HDR_IF_MODIFIED_SINCE,
	HDR_IF_UNMODIFIED_SINCE,
	NR_KNOWN_HEADERS,
};

/* Without case. @name is a token, as the parser leaves it. */
enum known_header h1_known_header(struct view name);

/*
 * Is @token, without case, an element of the comma list @value? For lists of
 * tokens only (Connection, Upgrade): a quoted comma would split.
 */
bool h1_list_has(struct view value, struct view token);

/*
 * The value of the one Transfer-Encoding field of a request (RFC 9112 6.1).
 * 0: exactly "chunked". -ENOTSUP: a list of tokens with a coding that we do
 * not have: 501. -EINVAL: empty or malformed (empty elements and parameters
 * too), chunked twice or not last: 400.
 */
int h1_check_te(struct view v) __must_check;

/*
 * A Host value: uri-host [ ":" port ] (RFC 9110 7.2). 0 or -EINVAL. Empty is
 * right (a target without authority). Refused beyond the grammar: a comma,
 * an empty host with a port, a port above 65535, IPvFuture, IPv6 zones.
 */
int h1_check_host(struct view v) __must_check;

enum target_form {
	TARGET_ORIGIN,
	TARGET_ABSOLUTE, /* authority overrides Host */
	TARGET_AUTHORITY,
	TARGET_ASTERISK,
};

struct target {
	enum target_form form;
	bool has_query; /* "/?" has an empty one, "/" none */
	struct view authority; /* absolute- and authority-form, never empty there */
	struct view path; /* "*" in asterisk-form, "/" where absolute-form has none */
	struct view query; /* without "?" */
};

/*
 * Splits a request target (RFC 9112 3.2): origin-form, absolute-form of http
 * and https, asterisk-form for OPTIONS only, authority-form for CONNECT and
 * for nothing else. Nothing is decoded. 0 or -EINVAL, also for a "#". Views
 * are into @target, except for an absent path.
 */
int h1_split_target(struct view target, enum method m, struct target *out) __must_check;

#endif
