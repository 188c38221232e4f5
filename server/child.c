/* SPDX-License-Identifier: MIT */
#include "server/child.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/listen.h"
#include "server/log.h"

static u16 port_of(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ((const struct sockaddr_in *)sa)->sin_port;
	return sa->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_port : 0;
}

static bool is_ours(const struct conf *conf, int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
		struct sockaddr_un un;
	} addr = { 0 };
	socklen_t len = sizeof(addr);

	if (getsockname(fd, &addr.any, &len))
		return false; /* no socket */
	for (u32 b = 0; b < conf->nr_binds; b++) {
		const struct bind *bind = &conf->binds[b];

		if (bind_is_unix(bind)) {
			/* Abstract names hold NULs, unnamed sockets are short. */
			if (len == bind->addr_len && memcmp(&addr, &bind->addr, len) == 0)
				return true;
		} else if (port_of(&addr.any) && port_of(&addr.any) == port_of(&bind->addr.any)) {
			return true;
		}
	}
	return false;
}

void child_close_inherited(const struct conf *conf, int loop_fd)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	if (loop_fd >= 0)
		close(loop_fd);
	if (!dir)
		return;
	while ((e = readdir(dir))) {
		int fd = atoi(e->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(dir) && is_ours(conf, fd))
			close(fd);
	}
	closedir(dir);
}

void child_close_logs(int log_fd)
{
	if (log_fd > STDERR_FILENO)
		close(log_fd);
	log_use(-1, false);
}
