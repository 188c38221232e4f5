/* SPDX-License-Identifier: MIT */
/*
 * The text of a setting as a value: 0, or -EINVAL. Those that take @why say
 * there what is allowed.
 */
#ifndef HYPERION_SERVER_OPTION_VALUE_H
#define HYPERION_SERVER_OPTION_VALUE_H

#include "server/base.h"

int option_u64(const char *text, u64 low, u64 high, u64 *out) __must_check;

/* A number from @low to @high, times @scale. */
int option_u32(u32 *out, const char *value, u64 low, u64 high, u32 scale) __must_check;

/* Not empty and shorter than @room. */
int option_text(char *out, size_t room, const char *value, const char **why) __must_check;

/* A switch: NULL on the command line, else words for true and false. */
int option_bool(bool *out, const char *value, const char **why) __must_check;

/* Milliseconds from seconds. */
int option_seconds(u32 *out, const char *value, const char **why) __must_check;

#endif
