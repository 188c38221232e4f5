/* SPDX-License-Identifier: MIT */
/*
 * The path of a request as the name of its route: segments that look like
 * values become ":id" (digits), ":uuid", ":token" (long, with digits); an
 * extension stays. Everything else in a name is printable ASCII.
 */
#ifndef HYPERION_SERVER_TEMPLATER_H
#define HYPERION_SERVER_TEMPLATER_H

#include "server/base.h"

/*
 * Writes at most @room bytes and returns how many; a longer name ends with "*"
 * in the place of what did not fit. @room >= 16.
 */
size_t template_path(struct view path, char *out, size_t room);

/* A name that somebody gave: bytes that are not printable ASCII become '?'. */
size_t template_name(struct view name, char *out, size_t room);

#endif
