/* SPDX-License-Identifier: MIT */
/* The interactive hyperion-top: reads, draws, and does what keys ask for. */
#ifndef HYPERION_TOOLS_TOP_SCREEN_H
#define HYPERION_TOOLS_TOP_SCREEN_H

/* Until q. The exit status. */
int top_screen_run(const char *instance, double interval);

#endif
