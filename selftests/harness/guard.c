/* SPDX-License-Identifier: MIT */
#include "selftests/harness/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_len(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Whole pages for @len, without the guard. */
static size_t usable_len(size_t len)
{
	size_t page = page_len();

	return (len + page - 1) / page * page;
}

/* @guard_at: where the unreadable page lies in the mapping, which has room for @len beside it. */
static char *map_guarded(size_t len, size_t guard_at)
{
	char *p = mmap(NULL, usable_len(len) + page_len(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + guard_at, page_len(), PROT_NONE)) {
		perror("guard pages");
		abort();
	}
	return p;
}

void *guard_alloc(size_t len)
{
	size_t usable = usable_len(len);

	return map_guarded(len, usable) + usable - len;
}

void *guard_copy(const void *p, size_t len)
{
	void *copy = guard_alloc(len);

	if (len)
		memcpy(copy, p, len);
	return copy;
}

void *guard_alloc_before(size_t len)
{
	return map_guarded(len, 0) + page_len();
}

void guard_free(void *p, size_t len)
{
	if (p)
		munmap((char *)p + len - usable_len(len), usable_len(len) + page_len());
}

void guard_free_before(void *p, size_t len)
{
	if (p)
		munmap((char *)p - page_len(), usable_len(len) + page_len());
}
