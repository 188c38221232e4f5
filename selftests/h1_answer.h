/* SPDX-License-Identifier: MIT */
/*
 * An answer as a strict client reads it. Shares no code with the server, so
 * that both cannot be wrong in the same way.
 */
#ifndef HYPERION_SELFTESTS_H1_ANSWER_H
#define HYPERION_SELFTESTS_H1_ANSWER_H

#include "server/base.h"

struct h1_answer {
	int status;
	struct view head; /* status line and fields, without the empty line */
	struct view body;
	bool close, keep_alive; /* what its Connection field says */
};

/*
 * Takes one answer off [*@p, @end), the answer to a HEAD request if
 * @head_only. NULL, or what is wrong with it; then *@p is not moved.
 */
const char *h1_answer_read(const char **p, const char *end, bool head_only, struct h1_answer *a);

/* Is there a field line "name: value" exactly so? Only "name" asks for any value. */
bool h1_answer_has(const struct h1_answer *a, struct view line);

#endif
