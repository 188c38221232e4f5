/* SPDX-License-Identifier: MIT */
/* Content types by the names of files. */
#ifndef HYPERION_SERVER_MIME_H
#define HYPERION_SERVER_MIME_H

#include "server/base.h"

struct mime {
	const char *ext; /* lower case, without the dot */
	const char *type; /* the whole value of Content-Type */
	bool packs; /* compressing it pays */
};

/* By what follows the last dot of the last segment; application/octet-stream where it says nothing. */
const struct mime *mime_of(struct view path);

#endif
