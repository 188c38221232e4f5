/* SPDX-License-Identifier: MIT */
/*
 * Every setting that is text somewhere: on the command line, in the
 * environment, in the config file. One table serves all three and --help.
 */
#ifndef HYPERION_SERVER_OPTIONS_H
#define HYPERION_SERVER_OPTIONS_H

#include "server/base.h"
#include "server/conf.h"

struct option_desc {
	const char *name;
	char letter;
	const char *arg; /* NULL: a switch; elsewhere it takes true or false */
	const char *env; /* NULL: not settable from the environment */
	const char *help;
	/* 0, or -EINVAL; then @why says what is allowed. NULL: the command line's own. */
	int (*set)(struct conf *conf, const char *value, const char **why);
};

extern const struct option_desc options[];
extern const size_t nr_options;

/* By name; '_' stands for '-'. NULL: there is none. */
const struct option_desc *option_find(const char *name);

void options_print_help(void);

#endif
