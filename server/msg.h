/* SPDX-License-Identifier: MIT */
/*
 * A parsed request head as views into somebody else's bytes. HTTP/1.1 and
 * HTTP/2 both produce it; nothing here owns memory.
 */
#ifndef HYPERION_SERVER_MSG_H
#define HYPERION_SERVER_MSG_H

#include "server/base.h"

enum method {
	METHOD_OTHER, /* a valid token that is none of these */
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_PATCH,
	METHOD_OPTIONS,
	METHOD_CONNECT,
	METHOD_TRACE,
	NR_METHODS,
};

struct header {
	struct view name; /* as sent; compare without case */
	struct view value; /* outer white space removed; may be empty */
};

#define MAX_HEADERS 128 /* more than this: 431 */

struct msg {
	enum method method;
	u8 version_minor; /* HTTP/1.x */
	u32 nr_headers;
	struct view method_name;
	struct view target; /* as sent, never empty */
	struct header headers[MAX_HEADERS];
};

#endif
