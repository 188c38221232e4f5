/* SPDX-License-Identifier: MIT */
/*
 * The mold: Ruby with the app loaded, as the run-as user, from which workers
 * are forked. It reads the config file once, sends the settings up, waits for
 * "load", then only forks.
 */
#ifndef HYPERION_SERVER_MOLD_H
#define HYPERION_SERVER_MOLD_H

#include "server/base.h"

/* Its end of the control socket, as a number; tells main() what it is. */
#define MOLD_ENV "HYPERION_MOLD_FD"

/* The mold's life, and in the processes that it forks a worker's. */
int mold_run(int control_fd, int argc, char **argv);

#endif
