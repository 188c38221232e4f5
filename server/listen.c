/* SPDX-License-Identifier: MIT */
#include "server/listen.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse_unix(const char *path, struct bind *b, const char **why)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len < 2 || len >= sizeof(b->addr.un.sun_path)) {
		*why = "unix:///PATH with an absolute path of at most 107 bytes";
		return -EINVAL;
	}
	b->addr.un.sun_family = AF_UNIX;
	memcpy(b->addr.un.sun_path, path, len + 1);
	b->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

static int parse_port(const char *text, char **end)
{
	long port;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	port = strtol(text, end, 10);
	return (**end && **end != '?') || port < 1 || port > 65535 ? -1 : (int)port;
}

static int resolve(const char *host, int port, struct bind *b, const char **why)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;

	if (host[0] == '%') {
		*why = "tcp://%IFACE:PORT with the name of an interface, at most 15 bytes";
		if (!host[1] || strlen(host + 1) >= sizeof(b->iface) || strchr(host, '/'))
			return -EINVAL;
		memcpy(b->iface, host + 1, strlen(host));
		b->addr.in.sin_family = AF_INET;
	} else if (inet_pton(AF_INET, host, &b->addr.in.sin_addr) == 1) {
		b->addr.in.sin_family = AF_INET;
	} else if (inet_pton(AF_INET6, host, &b->addr.in6.sin6_addr) == 1) {
		b->addr.in6.sin6_family = AF_INET6;
	} else {
		if (getaddrinfo(host, NULL, &hints, &found)) {
			*why = "a host that is an address or a name that resolves";
			return -EINVAL;
		}
		memcpy(&b->addr, found->ai_addr, found->ai_addrlen);
		freeaddrinfo(found);
	}
	if (b->addr.any.sa_family == AF_INET) {
		b->addr.in.sin_port = htons((u16)port);
		b->addr_len = sizeof(b->addr.in);
	} else {
		b->addr.in6.sin6_port = htons((u16)port);
		b->addr_len = sizeof(b->addr.in6);
	}
	return 0;
}

bool bind_twin(const struct bind *b, struct bind *twin)
{
	int fd;

	if (!b->iface[0] || b->addr.any.sa_family != AF_INET)
		return false;
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	close(fd);
	*twin = *b;
	memset(&twin->addr, 0, sizeof(twin->addr));
	twin->addr.in6.sin6_family = AF_INET6;
	twin->addr.in6.sin6_port = b->addr.in.sin_port;
	twin->addr_len = sizeof(twin->addr.in6);
	return true;
}

bool congestion_exists(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool exists = true;

	if (fd < 0)
		return true;
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)))
		exists = errno != ENOENT;
	close(fd);
	return exists;
}

/* What follows the port; there is one thing that it may be. */
static int parse_query(const char *query, struct bind *b, const char **why)
{
	static const char key[] = "?congestion=";
	const char *name = query + sizeof(key) - 1;

	if (!*query)
		return 0;
	*why = "behind the port only ?congestion=NAME, one that the kernel has";
	if (strncmp(query, key, sizeof(key) - 1) != 0 || !*name ||
	    strlen(name) >= sizeof(b->congestion) || !congestion_exists(name))
		return -EINVAL;
	memcpy(b->congestion, name, strlen(name) + 1);
	return 0;
}

static int parse_tcp(const char *rest, struct bind *b, const char **why)
{
	const char *query = rest + strcspn(rest, "?");
	const char *colon = memrchr(rest, ':', (size_t)(query - rest));
	char host[128], *end;
	size_t len;
	int port;

	*why = "tcp://HOST:PORT, with an IPv6 host in brackets: tcp://[::1]:9292, or the name of "
	       "an interface: tcp://%eth0:9292";
	if (!colon)
		return -EINVAL;
	len = (size_t)(colon - rest);
	if (len >= 2 && rest[0] == '[' && rest[len - 1] == ']') {
		rest++;
		len -= 2;
		if (!memchr(rest, ':', len))
			return -EINVAL;
	} else if (memchr(rest, ':', len)) {
		return -EINVAL;
	}
	port = parse_port(colon + 1, &end);
	if (port < 0 || end != query) {
		*why = "a port from 1 to 65535";
		return -EINVAL;
	}
	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, rest, len);
	host[len] = '\0';
	return resolve(host, port, b, why) ? -EINVAL : parse_query(query, b, why);
}

int bind_parse(const char *uri, struct bind *b, const char **why)
{
	memset(b, 0, sizeof(*b));
	if (strlen(uri) >= sizeof(b->text)) {
		*why = "at most 159 bytes";
		return -EINVAL;
	}
	strncpy(b->text, uri, sizeof(b->text) - 1);
	if (strncmp(uri, "tcp://", 6) == 0)
		return parse_tcp(uri + 6, b, why);
	if (strncmp(uri, "unix://", 7) == 0)
		return parse_unix(uri + 7, b, why);
	*why = "an address that starts with tcp:// or unix://";
	return -EINVAL;
}

/* A socket file that nobody listens on is left over from a crash. */
static void unlink_stale(const struct bind *b)
{
	struct stat st;
	int fd;

	if (lstat(b->addr.un.sun_path, &st) || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, &b->addr.any, b->addr_len) && errno == ECONNREFUSED)
		unlink(b->addr.un.sun_path);
	close(fd);
}

static int set_options(int fd, const struct bind *b, u32 nr_shares)
{
	int on = 1;

	if (bind_is_unix(b))
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		return -errno;
	/* Follows the addresses of the interface, and takes nothing from others. */
	if (b->iface[0] &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, b->iface, (socklen_t)strlen(b->iface) + 1))
		return -errno;
	if (nr_shares > 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
		return -errno;
	/* Inherited by every connection (tcp(7)). */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return -errno;
	if (b->congestion[0] && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, b->congestion,
					   (socklen_t)strlen(b->congestion)))
		return -errno;
	/* [::] listens for IPv6 only: 0.0.0.0 is an address of its own. */
	if (b->addr.any.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		return -errno;
	return 0;
}

int bind_listen(const struct bind *b, u32 nr_shares)
{
	int fd = socket(b->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -errno;
	err = set_options(fd, b, nr_shares);
	if (err)
		goto err_close;
	if (bind_is_unix(b))
		unlink_stale(b);
	if (bind(fd, &b->addr.any, b->addr_len) || listen(fd, LISTEN_BACKLOG)) {
		err = -errno;
		goto err_close;
	}
	return fd;

err_close:
	close(fd);
	return err;
}

int bind_stop_new(int fd)
{
	/*
	 * Drops what has SYN and not ACK. Connections inherit it, but get no such
	 * segments. The flags are the 14th byte of the TCP header.
	 */
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ? -errno : 0;
}

int bind_steer(int fd, int prog)
{
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog, sizeof(prog)) ? -errno : 0;
}

u32 bind_waiting(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	/* Of a listener these are the connections in its queue (tcp_get_info() in net/ipv4/tcp.c). */
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ? 0 : info.tcpi_unacked;
}

int bind_shut(int fd)
{
	return shutdown(fd, SHUT_RD) ? -errno : 0;
}

int bind_listen_again(int fd)
{
	return listen(fd, LISTEN_BACKLOG) ? -errno : 0;
}

void bind_unlink(const struct bind *b)
{
	if (bind_is_unix(b) && b->addr.un.sun_path[0])
		unlink_stale(b);
}

static int get_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = 0;

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -1 : value;
}

static int show(struct bind *b)
{
	char host[INET6_ADDRSTRLEN] = "";

	switch (b->addr.any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &b->addr.in.sin_addr, host, sizeof(host));
		snprintf(b->text, sizeof(b->text), "tcp://%s:%u", host, ntohs(b->addr.in.sin_port));
		return 0;
	case AF_INET6:
		inet_ntop(AF_INET6, &b->addr.in6.sin6_addr, host, sizeof(host));
		snprintf(b->text, sizeof(b->text), "tcp://[%s]:%u", host,
			 ntohs(b->addr.in6.sin6_port));
		return 0;
	case AF_UNIX:
		/* An abstract name begins with a NUL, and all of its bytes count. */
		if (b->addr.un.sun_path[0])
			snprintf(b->text, sizeof(b->text), "unix://%s", b->addr.un.sun_path);
		else
			snprintf(b->text, sizeof(b->text), "unix://@%.107s", b->addr.un.sun_path + 1);
		return 0;
	default:
		return -EINVAL;
	}
}

/* What its address does not say. */
static void take_scope(int fd, struct bind *b)
{
	socklen_t len = sizeof(b->iface);
	bool any = b->addr.any.sa_family == AF_INET
			   ? !b->addr.in.sin_addr.s_addr
			   : IN6_IS_ADDR_UNSPECIFIED(&b->addr.in6.sin6_addr);

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, b->iface, &len) || !len)
		b->iface[0] = '\0';
	if (b->addr.any.sa_family == AF_INET6) {
		int only = 1;

		len = sizeof(only);
		b->both = any && !getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) && !only;
	}
	if (b->iface[0] && any)
		snprintf(b->text, sizeof(b->text), "tcp://%%%s:%u", b->iface,
			 ntohs(b->addr.in.sin_port));
}

int bind_take(int fd, struct bind *b)
{
	int on = 1;

	memset(b, 0, sizeof(*b));
	b->addr_len = sizeof(b->addr);
	if (get_option(fd, SO_TYPE) != SOCK_STREAM || get_option(fd, SO_ACCEPTCONN) != 1 ||
	    getsockname(fd, &b->addr.any, &b->addr_len) || show(b))
		return -EINVAL;
	if (!bind_is_unix(b))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!bind_is_unix(b))
		take_scope(fd, b);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return 0;
}

bool bind_same(const struct bind *a, const struct bind *b)
{
	return strcmp(a->iface, b->iface) == 0 && a->addr_len == b->addr_len &&
	       memcmp(&a->addr, &b->addr, a->addr_len) == 0;
}
