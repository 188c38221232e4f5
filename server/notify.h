/* SPDX-License-Identifier: MIT */
/* systemd's small protocols: readiness (sd_notify(3)) and sockets (sd_listen_fds(3)). */
#ifndef HYPERION_SERVER_NOTIFY_H
#define HYPERION_SERVER_NOTIFY_H

#include "server/base.h"

/* "READY=1", "STOPPING=1", "STATUS=..."; silent without NOTIFY_SOCKET. */
void notify(const char *state);

#define NOTIFY_FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* How many sockets were passed, from NOTIFY_FIRST_FD on; forgets the variables. */
u32 notify_listen_fds(void);

#endif
