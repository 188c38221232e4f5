/* SPDX-License-Identifier: MIT */
#include "server/holder.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TCP_LISTEN_STATE 0x0a /* of include/net/tcp_states.h, as /proc/net/tcp shows it */
#define UNIX_LISTENS 0x10000 /* __SO_ACCEPTCON of include/linux/net.h */

/* IPv4 as it is mapped into IPv6. */
static struct in6_addr mapped(const void *ipv4)
{
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(&a.s6_addr[12], ipv4, 4);
	return a;
}

static bool is_any(const struct in6_addr *a)
{
	static const u8 zeros[4];

	return IN6_IS_ADDR_UNSPECIFIED(a) ||
	       (IN6_IS_ADDR_V4MAPPED(a) && !memcmp(&a->s6_addr[12], zeros, 4));
}

/* "0100007F": words of the address as they lie in memory, printed as numbers. */
static bool read_address(const char *hex, struct in6_addr *a)
{
	size_t len = strlen(hex);
	u32 words[4];

	if (len != 8 && len != 32)
		return false;
	for (size_t i = 0; i < len / 8; i++)
		if (sscanf(hex + 8 * i, "%8x", &words[i]) != 1)
			return false;
	if (len == 8)
		*a = mapped(words);
	else
		memcpy(a, words, sizeof(*a));
	return true;
}

/* A listener of @port whose address overlaps with @addr; 0: none. */
static unsigned long find_tcp(const char *table, const struct in6_addr *addr, u16 port,
			      struct holder *h)
{
	unsigned long inode = 0, found;
	u32 row_port, state, uid;
	struct in6_addr row;
	char line[512], hex[33];
	FILE *f = fopen(table, "re");

	while (f && !inode && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*d: %32[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %u %*u %lu", hex,
			   &row_port, &state, &uid, &found) != 5 ||
		    state != TCP_LISTEN_STATE || row_port != port || !read_address(hex, &row))
			continue;
		if (!is_any(addr) && !is_any(&row) && !IN6_ARE_ADDR_EQUAL(addr, &row))
			continue;
		inode = found;
		h->uid = uid;
		h->has_uid = true;
	}
	if (f)
		fclose(f);
	return inode;
}

static unsigned long find_unix(const char *path)
{
	unsigned long inode = 0, found;
	char line[512];
	FILE *f = fopen("/proc/net/unix", "re");

	while (f && !inode && fgets(line, sizeof(line), f)) {
		u32 flags;
		int at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*x %*x %x %*x %*x %lu %n", &flags, &found, &at) == 2 && at &&
		    flags & UNIX_LISTENS && strcmp(line + at, path) == 0)
			inode = found;
	}
	if (f)
		fclose(f);
	return inode;
}

static unsigned long find_inode(const struct bind *b, struct holder *h)
{
	struct in6_addr addr;
	unsigned long inode;
	u16 port;

	if (bind_is_unix(b))
		return find_unix(b->addr.un.sun_path);
	if (b->addr.any.sa_family == AF_INET) {
		addr = mapped(&b->addr.in.sin_addr);
		port = ntohs(b->addr.in.sin_port);
		inode = find_tcp("/proc/net/tcp", &addr, port, h);
		if (inode)
			return inode;
	} else {
		addr = b->addr.in6.sin6_addr;
		port = ntohs(b->addr.in6.sin6_port);
	}
	return find_tcp("/proc/net/tcp6", &addr, port, h);
}

/* --- whose it is --- */

static bool has_socket(const char *pid, unsigned long inode)
{
	char path[300], link[64], want[64];
	bool found = false;
	struct dirent *e;
	DIR *dir;

	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		link[max(n, (ssize_t)0)] = '\0';
		found = strcmp(link, want) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

static void read_name(struct holder *h)
{
	char path[64];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)h->pid);
	f = fopen(path, "re");
	if (f)
		n = fread(h->name, 1, sizeof(h->name) - 1, f);
	if (f)
		fclose(f);
	h->name[n] = '\0';
	h->name[strcspn(h->name, "\n")] = '\0';
	/* A process names itself. */
	for (char *p = h->name; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
}

/* Several may share it; the first, mostly the oldest, is who was started. */
static void find_process(struct holder *h, unsigned long inode)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	while (proc && !h->pid && (e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]) && has_socket(e->d_name, inode))
			h->pid = (pid_t)atoi(e->d_name);
	if (proc)
		closedir(proc);
	if (h->pid)
		read_name(h);
}

void holder_find(const struct bind *b, struct holder *h)
{
	unsigned long inode;

	*h = (struct holder){ 0 };
	inode = find_inode(b, h);
	h->listens = inode != 0;
	if (inode)
		find_process(h, inode);
}

void holder_show(const struct holder *h, char *text, size_t room)
{
	const struct passwd *pw = h->has_uid && !h->pid ? getpwuid(h->uid) : NULL;

	if (!h->listens)
		snprintf(text, room,
			 "; it is taken, though nobody is seen to listen there: "
			 "`ss -anp` as root may tell, or choose another --bind");
	else if (h->pid)
		snprintf(text,
			 room, "; another process listens there: %s, pid %d; stop it or choose another --bind",
			 h->name, (int)h->pid);
	else
		snprintf(text, room,
			 "; another process listens there%s%s: `ss -lnp` as root shows which; "
			 "stop it or choose another --bind",
			 pw ? ", of user " : "", pw ? pw->pw_name : "");
}
