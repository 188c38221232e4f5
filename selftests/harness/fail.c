/* SPDX-License-Identifier: MIT */
#include "selftests/harness/fail.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/fail.h"

/* More points than this in one test is a loop that retries for ever. */
#define MAX_FAIL_POINTS 100000

/* Globals, because the code under test asks without knowing who listens; relaxed: only counts. */
static u64 nr_allocs;
static u64 failing;

bool fail_alloc(void)
{
	u64 n = __atomic_add_fetch(&nr_allocs, 1, __ATOMIC_RELAXED);

	return n == __atomic_load_n(&failing, __ATOMIC_RELAXED);
}

void fail_nth_alloc(u64 n)
{
	__atomic_store_n(&failing, n, __ATOMIC_RELAXED);
	__atomic_store_n(&nr_allocs, 0, __ATOMIC_RELAXED);
}

u64 alloc_count(void)
{
	return __atomic_load_n(&nr_allocs, __ATOMIC_RELAXED);
}

u64 for_each_failing_alloc(void (*fn)(void *arg), void *arg)
{
	for (u64 n = 1; n <= MAX_FAIL_POINTS; n++) {
		u64 count;

		fail_nth_alloc(n);
		fn(arg);
		count = alloc_count();
		fail_nth_alloc(0);
		if (count < n)
			return n - 1;
	}
	fprintf(stderr, "for_each_failing_alloc: still failing after %d points\n", MAX_FAIL_POINTS);
	abort();
}
