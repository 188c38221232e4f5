/* SPDX-License-Identifier: MIT */
/*
 * The one door to malloc for memory code, and the switch by which a test lets
 * the n-th allocation fail. Without -DHYPERION_FAIL it costs nothing.
 */
#ifndef HYPERION_SERVER_FAIL_H
#define HYPERION_SERVER_FAIL_H

#include <stdlib.h>

#include "server/base.h"

#ifdef HYPERION_FAIL
bool fail_alloc(void); /* selftests/harness */
#else
static inline bool fail_alloc(void)
{
	return false;
}
#endif

static inline __must_check void *mem_alloc(size_t len)
{
	return fail_alloc() ? NULL : malloc(len);
}

static inline __must_check void *mem_zalloc(size_t len)
{
	return fail_alloc() ? NULL : calloc(1, len);
}

#endif
