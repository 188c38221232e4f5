/* SPDX-License-Identifier: MIT */
/*
 * What answers a route: a constant (a prebuilt response whose Date is kept
 * true), a file tree, or code of the app that the route calls by its number.
 * Counted, as tables that follow each other share it. A handler belongs to one
 * worker (it is patched in place).
 */
#ifndef HYPERION_SERVER_HANDLER_H
#define HYPERION_SERVER_HANDLER_H

#include "server/base.h"
#include "server/date.h"
#include "server/outq.h"

struct ftree;

enum handler_kind {
	HANDLER_CONSTANT,
	HANDLER_TREE,
	HANDLER_PAGE, /* http->page answers */
	HANDLER_DIRECT,
};

/* How the connection goes on after an answer; one header line or none. */
enum persist { PERSIST_DEFAULT, PERSIST_KEEP_ALIVE, PERSIST_CLOSE };

/* The header line for it with its CRLF; empty for the default. */
struct view persist_line(enum persist persist);

struct handler {
	enum handler_kind kind;
	u32 refs;
	struct ftree *tree; /* HANDLER_TREE, and nothing below */
	u32 direct; /* HANDLER_DIRECT, and nothing below: the app's number for it, not 0 */
	u16 status;
	u32 head_len; /* up to and including the CRLF of the last header line */
	u32 date_off; /* of the 29 bytes of the Date value */
	u32 body_len;
	u64 date_second; /* the second that stands there now */
	u32 page; /* HANDLER_PAGE: which */
	char *bytes; /* head, CRLF, body: contiguous */
};

/*
 * A constant answer. @headers: whole lines with CRLF besides Date,
 * Content-Length and Content-Type; may be empty. NULL when memory is out.
 */
struct handler *handler_constant(int status, struct view content_type, struct view headers,
				 struct view body) __must_check;

/* A page of the server's own. NULL when memory is out. */
struct handler *handler_page(u32 page) __must_check;

/* Takes the tree over, also when memory is out, which @tree NULL says too. */
struct handler *handler_tree(struct ftree *tree) __must_check;

struct handler *handler_direct(u32 number) __must_check;

static inline struct handler *handler_get(struct handler *h)
{
	h->refs++;
	return h;
}

void handler_put(struct handler *h); /* NULL is fine */

/* Of a constant: queues the whole answer, without the body for HEAD. 0 or -ENOMEM. */
int handler_answer(struct handler *h, const struct date *date, struct outq *q, bool head_only,
		   enum persist persist) __must_check;

#endif
