/* SPDX-License-Identifier: MIT */
/*
 * What a parsed head says about its body and its connection, checked as a
 * whole: everything on which two servers in a row could disagree is refused
 * (RFC 9112 sections 3.2, 6 and 9, RFC 9110 sections 7.2 and 10.1.1).
 */
#ifndef HYPERION_SERVER_FRAMING_H
#define HYPERION_SERVER_FRAMING_H

#include "server/base.h"
#include "server/h1_parse.h"
#include "server/msg.h"

struct framing {
	u64 length; /* Content-Length, bytes; 0 without one */
	bool chunked;
	bool persistent; /* the client wants to keep the connection */
	bool expect; /* 100-continue */
	bool upgrade; /* the client would like to speak another protocol (RFC 9110 7.8) */
	struct target target;
};

/* 0, or the status that refuses the head; then @why says it in words. */
int framing_read(const struct msg *m, struct framing *f, const char **why) __must_check;

#endif
