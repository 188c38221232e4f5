/* SPDX-License-Identifier: MIT */
/*
 * Bodies too long for memory, in unlinked files below TMPDIR. The loop writes
 * them, one write of a file at a time; a disk that is slow makes the request's
 * client wait and nobody else.
 */
#ifndef HYPERION_SERVER_SPILL_H
#define HYPERION_SERVER_SPILL_H

#include "server/body.h"
#include "server/loop.h"

/* Its priv is the struct loop. */
extern const struct spill_ops spill_ops;

#endif
