/* SPDX-License-Identifier: MIT */
/*
 * A line of the control socket as a request, and an answer as a line: the JSON
 * of docs/CONTROL.md. What a command takes is taken out of the request, and
 * what is left then was not understood.
 */
#ifndef HYPERION_SERVER_CTL_REQUEST_H
#define HYPERION_SERVER_CTL_REQUEST_H

#include <jansson.h>

#include "server/base.h"

#define CTL_VERSION 1
#define CTL_ANSWER_MAX MIB /* bytes of a line */
#define CTL_WHY_LEN 256u

enum ctl_error {
	CTL_MALFORMED, /* no JSON object, or no command in it */
	CTL_TOO_LONG,
	CTL_WRONG_VERSION,
	CTL_UNKNOWN, /* command */
	CTL_BAD_ARGUMENT,
	CTL_FORBIDDEN, /* to this user */
	CTL_REFUSED, /* not in this state */
	CTL_NOT_FOUND,
	CTL_NO_GUARD,
	CTL_FULL,
	CTL_TIMEOUT,
	CTL_BUSY,
	CTL_INTERNAL,
	NR_CTL_ERRORS
};

struct ctl_request {
	json_t *object; /* what has not been taken yet */
	json_t *id; /* comes back with the answer; NULL = none */
	char command[32];
	bool failed;
	enum ctl_error error;
	char why[CTL_WHY_LEN];
};

/* @line of @len bytes; always to be released. What is wrong is in the request. */
void ctl_request_parse(struct ctl_request *r, const char *line, size_t len);
void ctl_request_release(struct ctl_request *r);

/* The first error stays. */
void ctl_request_fail(struct ctl_request *r, enum ctl_error error, const char *fmt, ...)
	__printf(3, 4);

bool ctl_request_has(const struct ctl_request *r, const char *key);

/* An argument that has to be there; else, or out of bounds, the request fails. */
s64 ctl_request_number(struct ctl_request *r, const char *key, s64 low, s64 high);
void ctl_request_text(struct ctl_request *r, const char *key, char *out, size_t room);

/* No more arguments are taken: fails if any is left. true: the request is right. */
bool ctl_request_complete(struct ctl_request *r);

/*
 * The line that answers: @body (taken over, may be NULL) or the request's error.
 * Heap; NULL when memory is out.
 */
char *ctl_answer_line(const struct ctl_request *r, json_t *body, size_t *len);

/* @r may be NULL. */
char *ctl_error_line(const struct ctl_request *r, enum ctl_error error, const char *why, size_t *len);

/* A string of JSON from any bytes: what is no visible ASCII becomes "?". */
json_t *ctl_string(const char *p, size_t len);

#endif
