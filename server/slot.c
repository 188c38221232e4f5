/* SPDX-License-Identifier: MIT */
#include "server/slot.h"

#include <unistd.h>

#include "server/listen.h"
#include "server/log.h"

#define FIRST_INHERITED 3 /* sd_listen_fds(3) */

void slots_init(struct slots *s, const struct conf *conf, u32 nr_inherited)
{
	s->conf = conf;
	s->nr_inherited = min(nr_inherited, conf->nr_binds);
	for (u32 i = 0; i < MAX_WORKERS; i++) {
		s->slots[i] = (struct slot){ .control_fd = -1 };
		for (u32 b = 0; b < MAX_BINDS; b++)
			s->slots[i].listeners[b] = -1;
	}
}

/* One socket for all workers: a Unix path, or one that systemd holds. */
static bool is_shared(const struct slots *s, u32 b)
{
	return b < s->nr_inherited || bind_is_unix(&s->conf->binds[b]);
}

static void listen_failed(const struct bind *b, int err)
{
	const char *hint = "";

	if (err == -EADDRINUSE)
		hint = "; another process listens there, choose another --bind or stop it";
	else if (err == -EACCES)
		hint = "; ports below 1024 need CAP_NET_BIND_SERVICE, paths write permission";
	else if (err == -EADDRNOTAVAIL)
		hint = "; no interface of this host has that address";
	log_error("listen: --bind %s: %s%s", b->text, strerror(-err), hint);
}

int slots_claim(const struct slots *s)
{
	for (u32 b = s->nr_inherited; b < s->conf->nr_binds; b++) {
		const struct bind *bind = &s->conf->binds[b];
		int fd;

		if (bind_is_unix(bind))
			continue;
		fd = bind_listen(bind, 1);
		if (fd < 0) {
			listen_failed(bind, fd);
			return fd;
		}
		close(fd);
	}
	return 0;
}

static int open_one(struct slots *s, u32 id, u32 b)
{
	if (b < s->nr_inherited)
		return FIRST_INHERITED + (int)b;
	if (is_shared(s, b) && id > 0)
		return s->slots[0].listeners[b];
	return bind_listen(&s->conf->binds[b], MAX_WORKERS);
}

int slot_open(struct slots *s, u32 id)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int *fd = &s->slots[id].listeners[b];

		if (*fd >= 0)
			continue;
		*fd = open_one(s, id, b);
		if (*fd < 0) {
			int err = *fd;

			listen_failed(&s->conf->binds[b], err);
			*fd = -1;
			slot_close(s, id);
			return err;
		}
	}
	return 0;
}

void slot_close(struct slots *s, u32 id)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		int *fd = &s->slots[id].listeners[b];

		if (*fd >= 0 && (id == 0 || !is_shared(s, b)))
			close(*fd);
		*fd = -1;
	}
}

void slots_close(struct slots *s)
{
	for (u32 i = MAX_WORKERS; i-- > 0;)
		slot_close(s, i);
}

struct slot *slots_find(struct slots *s, pid_t pid)
{
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots[i].state != SLOT_EMPTY && s->slots[i].pid == pid)
			return &s->slots[i];
	return NULL;
}

bool slots_any(const struct slots *s)
{
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots[i].state != SLOT_EMPTY)
			return true;
	return false;
}
