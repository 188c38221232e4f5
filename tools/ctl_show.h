/* SPDX-License-Identifier: MIT */
/* Answers as text for people; what is in them can do nothing to their terminal. */
#ifndef HYPERION_TOOLS_CTL_SHOW_H
#define HYPERION_TOOLS_CTL_SHOW_H

#include <jansson.h>

/* The answer to @command on stdout. */
void ctl_show(const char *command, const json_t *answer);

/* What an answer that says no gives as its reason. */
const char *ctl_show_reason(const json_t *answer);

#endif
