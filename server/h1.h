/* SPDX-License-Identifier: MIT */
/* HTTP/1.0 and HTTP/1.1 (RFC 9112) on a link. */
#ifndef HYPERION_SERVER_H1_H
#define HYPERION_SERVER_H1_H

#include "server/proto.h"

extern const struct proto h1_proto;

#endif
