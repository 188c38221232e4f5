/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "server/conn.h"

static u16 port_of(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)ss)->sin_port);
	return ss->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)ss)->sin6_port) : 0;
}

void conn_find_peer(struct link *l)
{
	struct conn *c = conn_of_link(l);
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct peer *peer = &l->peer;

	*peer = (struct peer){ .known = true };
	if (getpeername(c->io.fd, (struct sockaddr *)&ss, &len))
		return;
	if (ss.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, peer->text,
			  sizeof(peer->text));
	else if (ss.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, peer->text,
			  sizeof(peer->text));
	peer->port = port_of(&ss);
	len = sizeof(ss);
	if (getsockname(c->io.fd, (struct sockaddr *)&ss, &len) == 0)
		peer->server_port = port_of(&ss);
}
