/* SPDX-License-Identifier: MIT */
/*
 * A child that the app forks must not keep our sockets: clients would wait for
 * the end of their connection until that child ends, too.
 */
#ifndef HYPERION_SERVER_CHILD_H
#define HYPERION_SERVER_CHILD_H

#include "server/base.h"
#include "server/conf.h"

/*
 * In the child: closes every socket whose own end is one of our addresses
 * (listeners and accepted connections; the app's connections to others have
 * another), and @loop_fd.
 */
void child_close_inherited(const struct conf *conf, int loop_fd);

/* The logs, of which the child has no more to say than any other program: on stderr. */
void child_close_logs(int log_fd);

#endif
