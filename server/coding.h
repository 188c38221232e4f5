/* SPDX-License-Identifier: MIT */
/* Content codings, and which of them a client prefers (RFC 9110 12.5.3). */
#ifndef HYPERION_SERVER_CODING_H
#define HYPERION_SERVER_CODING_H

#include "server/base.h"
#include "server/fields.h"

/* In the order in which we prefer them, where the client does not care. */
enum coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD, CODING_BR, NR_CODINGS };

extern const char *const coding_names[NR_CODINGS]; /* "identity", "gzip", ... */
extern const char *const coding_suffixes[NR_CODINGS]; /* of files: "", ".gz", ... */

/*
 * The best of @available (1 << enum coding) by the Accept-Encoding lines;
 * @accept is NULL without the field, then it is identity. -ENOENT: the client
 * takes none of them, not even identity: 406. Parameters other than q and
 * elements that are no coding are passed over.
 */
int coding_choose(const struct lines *accept, u32 available) __must_check;

#endif
