/* SPDX-License-Identifier: MIT */
#include "server/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/ctl_request.h"
#include "server/log.h"

#define BACKLOG 16
#define ACCEPTS 16u /* in a turn */

void ctl_init(struct ctl *ctl)
{
	*ctl = (struct ctl){ .fd = -1 };
	for (u32 i = 0; i < CTL_CLIENTS; i++)
		ctl->clients[i].fd = -1;
}

/* --- the socket --- */

static int listen_at(const struct ctl *ctl, gid_t group)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int err, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, ctl->path, strlen(ctl->path));
	unlink(ctl->path);
	/* Nobody connects before it listens, and then the mode is right. */
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) ||
	    chown(ctl->path, (uid_t)-1, group) || chmod(ctl->path, 0660) || listen(fd, BACKLOG)) {
		err = -errno;
		unlink(ctl->path);
		close(fd);
		return err;
	}
	return fd;
}

int ctl_open(struct ctl *ctl, const char *folder, gid_t group)
{
	int n = snprintf(ctl->path, sizeof(ctl->path), "%s/control", folder);

	if (n < 0 || (size_t)n >= sizeof(ctl->path))
		return -ENAMETOOLONG;
	ctl->owner = geteuid();
	ctl->fd = listen_at(ctl, group);
	return min(ctl->fd, 0);
}

static void drop(struct ctl_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->out);
	c->out = NULL;
	c->fd = -1;
	c->name = 0;
}

void ctl_close(struct ctl *ctl)
{
	for (u32 i = 0; i < CTL_CLIENTS; i++)
		drop(&ctl->clients[i]);
	if (ctl->fd < 0)
		return;
	unlink(ctl->path);
	close(ctl->fd);
	ctl->fd = -1;
}

/* --- new clients --- */

static bool may_change(const struct ctl *ctl, const struct ucred *who)
{
	return who->uid == 0 || who->uid == ctl->owner;
}

/* Those who may only read leave some places free. */
static struct ctl_client *free_place(struct ctl *ctl, bool changes)
{
	struct ctl_client *found = NULL;
	u32 nr_free = 0;

	for (u32 i = 0; i < CTL_CLIENTS; i++) {
		if (ctl->clients[i].fd >= 0)
			continue;
		nr_free++;
		found = &ctl->clients[i];
	}
	return nr_free > (changes ? 0 : CTL_RESERVED) ? found : NULL;
}

static void refuse_one(int fd)
{
	size_t len;
	char *text = ctl_error_line(NULL, CTL_BUSY, "all places for clients are taken", &len);

	/* A new socket takes that much at once. */
	if (text && send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("control: %s", strerror(errno));
	free(text);
	close(fd);
}

static void take_client(struct ctl *ctl, int fd, u64 now_ms)
{
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(who);
	struct ctl_client *c;
	bool changes;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len)) {
		close(fd);
		return;
	}
	changes = may_change(ctl, &who);
	c = free_place(ctl, changes);
	if (!c) {
		log_limited(LOG_LEVEL_WARN, "control: all %u places for clients are taken uid=%u",
			    CTL_CLIENTS, (u32)who.uid);
		refuse_one(fd);
		return;
	}
	*c = (struct ctl_client){
		.fd = fd,
		.name = ++ctl->last_name,
		.uid = who.uid,
		.pid = who.pid,
		.may_change = changes,
		.deadline_ms = now_ms + CTL_IDLE_MS,
	};
}

static void accept_some(struct ctl *ctl, u64 now_ms)
{
	for (u32 i = 0; i < ACCEPTS && ctl->fd >= 0; i++) {
		int fd = accept4(ctl->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		take_client(ctl, fd, now_ms);
	}
}

/* --- one client --- */

void ctl_answer(struct ctl_client *c, char *out, size_t len, u64 now_ms)
{
	c->out = out;
	c->out_len = len;
	c->out_off = 0;
	c->deadline_ms = now_ms + CTL_SEND_MS;
	c->last |= !out;
}

static void answer_error(struct ctl_client *c, enum ctl_error error, const char *why, u64 now_ms)
{
	size_t len = 0;
	char *text = ctl_error_line(NULL, error, why, &len);

	c->asked = c->last = true;
	ctl_answer(c, text, len, now_ms);
}

/* The answer is out: on with what it had sent meanwhile. */
static void answered(struct ctl_client *c, u64 now_ms)
{
	free(c->out);
	c->out = NULL;
	c->asked = false;
	c->deadline_ms = now_ms + (c->in_len ? CTL_LINE_MS : CTL_IDLE_MS);
	if (c->last)
		drop(c);
}

/* false: nothing more for now. */
static bool send_some(struct ctl_client *c, u64 now_ms)
{
	ssize_t n;

	if (!c->out)
		return false;
	n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop(c);
		return false;
	}
	c->out_off += (size_t)n;
	if (c->out_off == c->out_len)
		answered(c, now_ms);
	return true;
}

static void read_some(struct ctl_client *c, u64 now_ms)
{
	ssize_t n;

	if (c->eof || c->in_len == sizeof(c->in))
		return;
	n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop(c);
		return;
	}
	if (n > 0 && !c->in_len)
		c->deadline_ms = now_ms + CTL_LINE_MS;
	c->in_len += (size_t)n;
	c->eof = n == 0;
}

/* Its first line, if that is whole, goes to the owner. false: there is none. */
static bool take_line(struct ctl *ctl, struct ctl_client *c, u64 now_ms)
{
	char line[CTL_LINE_MAX];
	const char *end = memchr(c->in, '\n', c->in_len);
	size_t len;

	if (!end && c->in_len == sizeof(c->in))
		answer_error(c, CTL_TOO_LONG, "a request is a line of at most 4096 bytes", now_ms);
	if (!end)
		return false;
	len = (size_t)(end - c->in);
	memcpy(line, c->in, len);
	c->in_len -= len + 1;
	memmove(c->in, end + 1, c->in_len);
	c->asked = true;
	c->deadline_ms = 0;
	ctl->line(ctl->arg, c, line, len);
	return true;
}

static void too_late(struct ctl_client *c, u64 now_ms)
{
	if (c->out || !c->in_len)
		drop(c); /* it does not read, or it idles */
	else
		answer_error(c, CTL_TIMEOUT, "the request was not complete in time", now_ms);
}

static void serve(struct ctl *ctl, struct ctl_client *c, u64 now_ms)
{
	send_some(c, now_ms);
	/* One line in a turn: the others, and the workers, have theirs. */
	if (c->fd >= 0 && !c->asked) {
		read_some(c, now_ms);
		if (c->fd >= 0 && take_line(ctl, c, now_ms))
			send_some(c, now_ms);
	}
	if (c->fd >= 0 && c->eof && !c->asked && !memchr(c->in, '\n', c->in_len))
		drop(c);
	if (c->fd >= 0 && c->deadline_ms && now_ms >= c->deadline_ms)
		too_late(c, now_ms);
}

/* --- all of them --- */

nfds_t ctl_poll(const struct ctl *ctl, struct pollfd *fds)
{
	nfds_t n = 0;

	if (ctl->fd >= 0)
		fds[n++] = (struct pollfd){ .fd = ctl->fd, .events = POLLIN };
	for (u32 i = 0; i < CTL_CLIENTS; i++) {
		const struct ctl_client *c = &ctl->clients[i];

		/* Of one that waits for us its hanging up would be news at each turn. */
		if (c->fd >= 0 && (c->out || !c->asked))
			fds[n++] =
				(struct pollfd){ .fd = c->fd, .events = c->out ? POLLOUT : POLLIN };
	}
	return n;
}

/* A whole line that waits for the next turn. */
static bool has_line(const struct ctl_client *c)
{
	return !c->asked && memchr(c->in, '\n', c->in_len);
}

u64 ctl_due_ms(const struct ctl *ctl)
{
	u64 due = 0;

	for (u32 i = 0; i < CTL_CLIENTS; i++) {
		const struct ctl_client *c = &ctl->clients[i];
		u64 at = c->fd < 0 ? 0 : has_line(c) ? 1 : c->deadline_ms;

		if (at && (!due || at < due))
			due = at;
	}
	return due;
}

void ctl_turn(struct ctl *ctl, u64 now_ms)
{
	for (u32 i = 0; i < CTL_CLIENTS; i++)
		if (ctl->clients[i].fd >= 0)
			serve(ctl, &ctl->clients[i], now_ms);
	accept_some(ctl, now_ms);
}

struct ctl_client *ctl_find(struct ctl *ctl, u32 name)
{
	for (u32 i = 0; name && i < CTL_CLIENTS; i++)
		if (ctl->clients[i].fd >= 0 && ctl->clients[i].name == name)
			return &ctl->clients[i];
	return NULL;
}
