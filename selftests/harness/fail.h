/* SPDX-License-Identifier: MIT */
/* The switch behind fail_alloc() of server/fail.h: which allocation fails, and how many there were. */
#ifndef HYPERION_SELFTESTS_FAIL_H
#define HYPERION_SELFTESTS_FAIL_H

#include "server/base.h"

/* Starts counting anew; the @n-th allocation from here fails, once; 0 = none. */
void fail_nth_alloc(u64 n);

/* Allocations asked for since the last fail_nth_alloc() (the failing one counts). */
u64 alloc_count(void);

/*
 * Calls @fn with its 1st, 2nd, ... allocation failing until it comes through without one.
 * @fn must leave nothing behind, whichever fails. Returns how many points of failure there were.
 */
u64 for_each_failing_alloc(void (*fn)(void *arg), void *arg);

#endif
