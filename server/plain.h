/* SPDX-License-Identifier: MIT */
/* A short text answer made on the spot: the server's own errors, 404, 405. */
#ifndef HYPERION_SERVER_PLAIN_H
#define HYPERION_SERVER_PLAIN_H

#include "server/base.h"
#include "server/date.h"
#include "server/handler.h"
#include "server/outq.h"

struct plain {
	int status;
	const char *why; /* follows the reason phrase in the body; may be NULL */
	u32 allow; /* methods (1 << enum method) for the Allow field, 0 = no such field */
	u32 retry_after; /* seconds, 0 = no such field */
	bool head_only;
	enum persist persist;
};

/* 0 or -ENOMEM. */
int plain_answer(const struct plain *a, const struct date *date, struct outq *q) __must_check;

#endif
