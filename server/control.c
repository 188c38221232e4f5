/* SPDX-License-Identifier: MIT */
#include "server/control.h"

#include <sys/socket.h>

int control_send(int fd, enum control_word word)
{
	u32 n = word;

	return send(fd, &n, sizeof(n), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

int control_recv(int fd, enum control_word *word)
{
	u32 got;
	ssize_t n = recv(fd, &got, sizeof(got), MSG_DONTWAIT);

	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n != sizeof(got))
		return 0;
	*word = (enum control_word)got;
	return 1;
}
