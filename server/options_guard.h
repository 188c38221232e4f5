/* SPDX-License-Identifier: MIT */
/* Settings of the guard, for the table in options.c. */
#ifndef HYPERION_SERVER_OPTIONS_GUARD_H
#define HYPERION_SERVER_OPTIONS_GUARD_H

#include "server/conf.h"

int set_attach(struct conf *conf, const char *value, const char **why);
int set_guard_mode(struct conf *conf, const char *value, const char **why);
int set_guard_deny(struct conf *conf, const char *value, const char **why);
int set_guard_allow(struct conf *conf, const char *value, const char **why);
int set_guard_syn_rate(struct conf *conf, const char *value, const char **why);
int set_guard_syn_burst(struct conf *conf, const char *value, const char **why);
int set_guard_syn_prefix_v4(struct conf *conf, const char *value, const char **why);
int set_guard_syn_prefix_v6(struct conf *conf, const char *value, const char **why);

#endif
