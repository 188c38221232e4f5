/* SPDX-License-Identifier: MIT */
/* Buffers that end where an unreadable page begins: reading one byte too many crashes. */
#ifndef HYPERION_SELFTESTS_GUARD_H
#define HYPERION_SELFTESTS_GUARD_H

#include "server/base.h"

/* @len zeroed bytes whose end touches the guard; never NULL (aborts); for guard_free(). */
void *guard_alloc(size_t len);
/* The same, filled with a copy of @p. */
void *guard_copy(const void *p, size_t len);
/* The other way round: the guard lies before the first byte; for guard_free_before(). */
void *guard_alloc_before(size_t len);

void guard_free(void *p, size_t len);
void guard_free_before(void *p, size_t len);

#endif
