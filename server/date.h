/* SPDX-License-Identifier: MIT */
/* The Date header's value (RFC 9110 5.6.7), rendered at most once a second. */
#ifndef HYPERION_SERVER_DATE_H
#define HYPERION_SERVER_DATE_H

#include "server/base.h"

#define DATE_LEN 29u /* "Sun, 06 Nov 1994 08:49:37 GMT" */

struct date {
	u64 second; /* since 1970 */
	char text[DATE_LEN + 1];
};

/* Renders @second (since 1970, UTC) unless it already stands there. */
void date_set(struct date *d, u64 second);

/* An HTTP-date in any of the three forms a recipient must accept; -EINVAL. */
int date_parse(struct view v, u64 *second) __must_check;

#endif
