/* SPDX-License-Identifier: MIT */
/* The command line of hyperion-ctl as a request: what it says is checked before anybody is asked. */
#ifndef HYPERION_TOOLS_CTL_WORDS_H
#define HYPERION_TOOLS_CTL_WORDS_H

#include <jansson.h>
#include <stdbool.h>

#define CTL_WORDS_VERSION 1 /* of the protocol, docs/CONTROL.md */
#define CTL_WHY_LEN 256u

/*
 * The request for the @nr words of @words, the command first. NULL: @why says what is
 * wrong with them.
 */
json_t *ctl_words_request(int nr, char *const *words, char why[CTL_WHY_LEN]);

/* "90", "90s", "10m", "2h", "1d", "1h30m" as seconds; false: it is none, or too long. */
bool ctl_words_duration(const char *text, long long *seconds);

/* An address, with the length of a prefix or without. */
bool ctl_words_cidr(const char *text);

/* The commands as the help shows them. */
void ctl_words_print_help(void);

#endif
