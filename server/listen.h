/* SPDX-License-Identifier: MIT */
/*
 * Addresses to listen on, and the sockets for them. The supervisor opens one
 * socket per TCP address and worker (SO_REUSEPORT), one in all per Unix path.
 */
#ifndef HYPERION_SERVER_LISTEN_H
#define HYPERION_SERVER_LISTEN_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "server/base.h"

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

#define CONGESTION_LEN 16u /* TCP_CA_NAME_MAX */
#define BIND_IFACE_LEN 16u /* IFNAMSIZ */

struct bind {
	char text[160]; /* as an operator writes it: tcp://127.0.0.1:9292, unix:///run/a.sock */
	char congestion[CONGESTION_LEN]; /* "": the system's */
	char iface[BIND_IFACE_LEN]; /* only what comes in there; "" = any */
	bool both; /* a socket of IPv6 that takes IPv4 as well; never one of ours */
	socklen_t addr_len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} addr;
};

/*
 * tcp://HOST:PORT with HOST an IPv4 or [IPv6] address, a name, or %IFACE for
 * all addresses that this interface has and will have, perhaps with
 * ?congestion=NAME behind it; unix:///PATH.
 * 0 or -EINVAL; then @why says what is wrong.
 */
int bind_parse(const char *uri, struct bind *b, const char **why) __must_check;

/*
 * Of %IFACE bind_parse() gives IPv4; this, IPv6: what it is known by is the same
 * text. false: nothing of that kind, or this kernel has no IPv6.
 */
bool bind_twin(const struct bind *b, struct bind *twin);

static inline bool bind_is_twin(const struct bind *b)
{
	return b->iface[0] && b->addr.any.sa_family == AF_INET6;
}

/*
 * Has the kernel a congestion control of this name? Whether we may use it shows
 * when it is set: Ruby's user may be allowed less than who listens.
 */
bool congestion_exists(const char *name);

static inline bool bind_is_unix(const struct bind *b)
{
	return b->addr.any.sa_family == AF_UNIX;
}

/*
 * A listening socket, or -errno. @nr_shares > 1: with SO_REUSEPORT. A stale
 * Unix socket (nobody listens any more) is replaced.
 */
int bind_listen(const struct bind *b, u32 nr_shares) __must_check;

/*
 * The address of a socket that somebody else has made, which then becomes like
 * those of bind_listen(): CLOEXEC, not blocking, without delay. 0, or -EINVAL
 * if it is no listening stream socket of a family that we know.
 */
int bind_take(int fd, struct bind *b) __must_check;

bool bind_same(const struct bind *a, const struct bind *b);

/* Removes the path of a Unix socket, unless somebody listens there again. */
void bind_unlink(const struct bind *b);

/*
 * From here on no new connection begins on a TCP listener; those that are in its
 * queue can still be accepted. A client that was too late tries again by itself.
 * 0, or -errno: some kernels want a privilege for it; then one may slip in
 * between the last accept and the close.
 */
int bind_stop_new(int fd);

/* Connections to the address of this listener, and all that share it, are from now on its. 0 or -errno. */
int bind_steer(int fd, int prog) __must_check;

/* How many connections wait to be accepted; 0 if that cannot be known. */
u32 bind_waiting(int fd);

/*
 * A TCP listener that is steered listens no more, whoever holds it: what waits in
 * its queue, or is on its way there, goes to the others of its address. It keeps that address,
 * and can listen again.
 */
int bind_shut(int fd);
int bind_listen_again(int fd) __must_check;

#endif
