/* SPDX-License-Identifier: MIT */
/*
 * One version of one file in one content coding, ready to be sent: its
 * answer's head with, for a small file, the body behind it; a descriptor for a
 * large one. Counted, and never changed but for the Date: a new version is a
 * new entry. One I/O thread.
 */
#ifndef HYPERION_SERVER_FENTRY_H
#define HYPERION_SERVER_FENTRY_H

#include "server/base.h"
#include "server/coding.h"
#include "server/date.h"
#include "server/outq.h"
#include "server/stamp.h"

#define FENTRY_LINES_MAX 400u
#define FENTRY_SMALL (64 * KIB) /* a file up to this is kept in memory */

struct fentry {
	struct hold hold; /* for queues: each put() is one reference */
	u32 refs;
	u32 nr_queued; /* references by queues that may be reading the head */
	enum coding coding;
	bool packed; /* made by us: no file of its own, no ranges, a weak tag */
	int fd; /* -1: the body is in memory */
	struct stamp stamp;
	u64 modified; /* seconds since 1970 */
	struct view etag;
	u64 date_second; /* the second that stands in the head now */
	u32 date_off, typed_off, common_off; /* see fentry_new() */
	u32 head_len; /* up to and including the CRLF of the last line */
	u64 body_len;
	size_t cost; /* bytes of memory */
	char bytes[]; /* head, CRLF, body: contiguous */
};

struct fentry_params {
	int fd; /* taken over, also on errors */
	const char *type;
	const char *lines; /* with their CRLF, at most FENTRY_LINES_MAX bytes; NULL = none */
	enum coding coding;
	bool vary; /* there are other codings of it */
	bool immutable;
};

/*
 * Reads the file. The head is "HTTP/1.1 200 OK", Date, Content-Length; from
 * typed_off what a part of the body has too; from common_off what 304 has too.
 * -EAGAIN: it is being written, -ENOMEM, -errno of reading it.
 */
int fentry_new(const struct fentry_params *p, struct fentry **out) __must_check;

/*
 * What was made of @from: @len bytes at @body. NULL when memory is out. The
 * fields of @params as above, without a descriptor.
 */
struct fentry *fentry_new_packed(const struct fentry *from, const struct fentry_params *params,
				 const char *body, size_t len) __must_check;

static inline struct fentry *fentry_get(struct fentry *e)
{
	e->refs++;
	return e;
}

void fentry_put(struct fentry *e);

/* The head's Date; not while a queue may be reading it (nr_queued). */
static inline void fentry_set_date(struct fentry *e, const struct date *date)
{
	memcpy(e->bytes + e->date_off, date->text, DATE_LEN);
	e->date_second = date->second;
}

static inline const char *fentry_body(const struct fentry *e)
{
	return e->bytes + e->head_len + 2;
}

#endif
