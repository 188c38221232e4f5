/* SPDX-License-Identifier: MIT */
/* The file that tells others this process's id. */
#ifndef HYPERION_SERVER_PIDFILE_H
#define HYPERION_SERVER_PIDFILE_H

#include "server/base.h"

/* 0 or -errno; what is wrong was said. */
int pidfile_write(const char *path) __must_check;

/* Unless another process has written itself there since. */
void pidfile_remove(const char *path);

#endif
