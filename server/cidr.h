/* SPDX-License-Identifier: MIT */
/* Prefixes of addresses as people write them: 192.0.2.0/24, 2001:db8::/32, 192.0.2.7. */
#ifndef HYPERION_SERVER_CIDR_H
#define HYPERION_SERVER_CIDR_H

#include "server/base.h"

#define CIDR_TEXT_LEN 50u /* the longest, with NUL */

struct cidr {
	u8 family; /* 4 or 6 */
	u8 len; /* bits */
	u8 addr[16]; /* network order; IPv4: the first four; 0 behind the prefix */
};

/*
 * An address without a length is itself alone. 0 or -EINVAL; then @why says what
 * is allowed: also for bits behind the prefix, which are more likely a mistake.
 */
int cidr_parse(const char *text, struct cidr *c, const char **why) __must_check;

/* As it would be parsed; single addresses without a length. Returns @out. */
const char *cidr_show(const struct cidr *c, char out[CIDR_TEXT_LEN]);

#endif
