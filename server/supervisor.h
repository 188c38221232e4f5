/* SPDX-License-Identifier: MIT */
/*
 * The process that people start: it owns the listeners, has workers forked
 * (by the mold, or by itself where there is no app), replaces what dies and
 * passes signals on as control words. It never runs Ruby.
 */
#ifndef HYPERION_SERVER_SUPERVISOR_H
#define HYPERION_SERVER_SUPERVISOR_H

#include "server/conf.h"

/*
 * @action: CONF_RUN, or CONF_CHECK: do all that a start does up to the loaded
 * app, say what would run, stop. @conf comes from this command line; the
 * settings of a config file are still missing in it.
 */
int supervisor_run(struct conf *conf, enum conf_action action, int argc, char **argv);

#endif
