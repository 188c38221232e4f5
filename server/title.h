/* SPDX-License-Identifier: MIT */
/* What ps shows for this process. */
#ifndef HYPERION_SERVER_TITLE_H
#define HYPERION_SERVER_TITLE_H

#include "server/base.h"

/* Once, before anything else uses argv or environ: moves them out of the way. */
void title_init(int argc, char **argv);

/* "hyperion-bpf: ..." */
void title_set(const char *fmt, ...) __printf(1, 2);

#endif
