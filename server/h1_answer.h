/* SPDX-License-Identifier: MIT */
/* The app's typed answers as bytes of HTTP/1.x. */
#ifndef HYPERION_SERVER_H1_ANSWER_H
#define HYPERION_SERVER_H1_ANSWER_H

#include "server/base.h"
#include "server/date.h"
#include "server/job.h"
#include "server/outq.h"
#include "server/req.h"

/*
 * Queues one answer of @r in @q: head, data, file, end, whatever it has, and
 * takes over its memory and descriptor. Decides how the body is delimited
 * (r->chunked_out, and r->last where only the close can). 0 or -ENOMEM, then
 * a part may be queued.
 */
int h1_put_answer(struct req *r, struct answer *a, const struct date *date,
		  struct outq *q) __must_check;

/*
 * The same for one with ANSWER_NAMED. -ENOENT: there is nothing to send, and
 * r->file.status says why.
 */
int h1_put_named(struct req *r, struct answer *a, const struct date *date,
		 struct outq *q) __must_check;

#endif
