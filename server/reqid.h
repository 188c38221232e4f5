/* SPDX-License-Identifier: MIT */
/*
 * Request ids. A client's own is kept when it is sane, else one is made: a
 * number drawn when the worker started, behind it a counter that is enciphered
 * with a key drawn at the same time. So no two ids of a worker are alike, those
 * of different workers and starts differ in the first half, and none tells the
 * next. Nothing is asked of the kernel beyond the start.
 */
#ifndef HYPERION_SERVER_REQID_H
#define HYPERION_SERVER_REQID_H

#include "server/base.h"

/* Letters, digits, - and _, the first one a letter. So short that Ruby keeps it inside of its object. */
#define REQID_LEN 22u
#define REQID_MAX 128u /* of a client's */
#define REQID_HALF 11u
#define REQID_ROUNDS 27u

struct reqid {
	char start[REQID_HALF];
	u32 keys[REQID_ROUNDS];
	u64 next;
};

/* 0 or -errno. */
int reqid_init(struct reqid *g) __must_check;

/* The same without chance, for tests. */
void reqid_seed(struct reqid *g, u64 start, const u32 key[4]);

void reqid_next(struct reqid *g, char out[REQID_LEN]);

/* May it be taken over? Visible ASCII without quotes and backslashes, not empty, at most REQID_MAX. */
bool reqid_sane(struct view id);

#endif
