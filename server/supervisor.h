/* SPDX-License-Identifier: MIT */
/*
 * The process that people start: it owns the listeners, forks the workers,
 * replaces those that die and passes signals on as control words.
 */
#ifndef HYPERION_SERVER_SUPERVISOR_H
#define HYPERION_SERVER_SUPERVISOR_H

#include "server/conf.h"

/* The exit status: 0 after a stop, 1 when it cannot serve. */
int supervisor_run(const struct conf *conf);

/* Which backend the workers will use, in one line on stderr; 0 or -errno. */
int supervisor_pick_backend(const struct conf *conf, bool *uring) __must_check;

#endif
