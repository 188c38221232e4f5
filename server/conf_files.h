/* SPDX-License-Identifier: MIT */
/*
 * The settings by which something is served without the app: each call adds
 * one. 0, or -EINVAL and in @why what is allowed.
 */
#ifndef HYPERION_SERVER_CONF_FILES_H
#define HYPERION_SERVER_CONF_FILES_H

#include "server/base.h"
#include "server/conf.h"

/* PATH=TEXT, which has to live as long as @conf. */
int conf_add_constant(struct conf *conf, const char *value, const char **why) __must_check;

/* PREFIX=DIR; of @what only the switches count. One for the same prefix is replaced. */
int conf_add_tree(struct conf *conf, const char *value, struct conf_tree what,
		  const char **why) __must_check;

/* A folder of files to be read before serving. */
int conf_add_preload(struct conf *conf, const char *value, bool immutable,
		     const char **why) __must_check;

/* A folder within which the app may name files. */
int conf_add_sendfile_root(struct conf *conf, const char *value, const char **why) __must_check;

#endif
