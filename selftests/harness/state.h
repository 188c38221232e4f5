/* SPDX-License-Identifier: MIT */
/* What the harness and its checks share; not for tests. */
#ifndef HYPERION_SELFTESTS_STATE_H
#define HYPERION_SELFTESTS_STATE_H

#include "server/base.h"

/* Written by the case's process, read by the one that watches it. */
struct harness_shared {
	u32 limit_s;
	bool failed;
	char skip[256]; /* reason; empty = not skipped */
};

extern struct harness_shared *harness_shared;

/* Ends the case at once, by way of its tear-down. */
void harness_leave(void);

#endif
