/* SPDX-License-Identifier: MIT */
/* What the settings put in front of the app. */
#ifndef HYPERION_SERVER_FRONT_CONF_H
#define HYPERION_SERVER_FRONT_CONF_H

#include "server/conf.h"
#include "server/front.h"

/* Routes, trees and folders for X-Sendfile. 0 or -errno; what is wrong was said. */
int front_configure(struct front *f, const struct conf *conf) __must_check;

/* The folders that are to be read before serving. */
void front_preload_configured(struct front *f, const struct conf *conf);

#endif
