/* SPDX-License-Identifier: MIT */
/* What guard.c and guard_attach.c share, and tests of the program use. */
#ifndef HYPERION_SERVER_GUARD_STATE_H
#define HYPERION_SERVER_GUARD_STATE_H

#include "server/guard.h"

/* The program's constants by the settings, and what is said of them; about->ifaces are there. 0 or -E2BIG. */
int guard_set_rules(struct guard_rules *rules, u8 first_place[65536], struct guard_about *about,
		    const struct guard_config *config) __must_check;

/* How the interfaces are guarded, for readers. 0 or -errno. */
int guard_publish(struct guard *g) __must_check;

/* --- guard_after.c --- */

/* A process that waits for our end; killed, we leave nothing behind. 0 or -errno. */
int guard_after_start(struct guard *g, void (*forked)(void)) __must_check;

/* We clean up ourselves. */
void guard_after_stop(struct guard *g);

/* --- guard_attach.c --- */

/* In that process, when @owner has died: pins, filters; not where another server has taken over. */
void guard_clean_up(struct guard *g, pid_t owner);

#endif
