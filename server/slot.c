/* SPDX-License-Identifier: MIT */
#include "server/slot.h"

#include <unistd.h>

#include "server/holder.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/notify.h"

static bool has_bind(const struct bind *binds, u32 nr, const struct bind *b)
{
	for (u32 i = 0; i < nr; i++)
		if (bind_same(&binds[i], b))
			return true;
	return false;
}

static void take_inherited(struct slots *s, struct conf *conf, u32 nr_passed)
{
	struct bind binds[MAX_BINDS];
	u32 nr = 0;

	for (u32 i = 0; i < nr_passed; i++) {
		int fd = NOTIFY_FIRST_FD + (int)i;

		if (nr < MAX_BINDS && bind_take(fd, &binds[nr]) == 0) {
			s->inherited[nr++] = fd;
			continue;
		}
		log_warn("listen: descriptor %d from LISTEN_FDS is not used: %s", fd,
			 nr < MAX_BINDS ? "it is no listening stream socket" : "too many addresses");
		close(fd);
	}
	s->nr_inherited = nr;
	/* The default address is for those who have said nothing. */
	for (u32 b = 0; nr && b < conf->nr_binds && conf->binds_layer != CONF_DEFAULT; b++)
		if (nr < MAX_BINDS && !has_bind(binds, nr, &conf->binds[b]))
			binds[nr++] = conf->binds[b];
	if (!nr)
		return;
	memcpy(conf->binds, binds, nr * sizeof(binds[0]));
	conf->nr_binds = nr;
}

void slots_init(struct slots *s, struct conf *conf, u32 nr_passed)
{
	s->conf = conf;
	take_inherited(s, conf, nr_passed);
	for (u32 i = 0; i < MAX_WORKERS; i++) {
		s->slots[i] = (struct slot){ .control_fd = -1 };
		for (u32 b = 0; b < MAX_BINDS; b++)
			s->slots[i].listeners[b] = -1;
	}
}

bool slots_shared(const struct slots *s, u32 b)
{
	return b < s->nr_inherited || bind_is_unix(&s->conf->binds[b]);
}

static void listen_failed(const struct bind *b, int err)
{
	struct holder holder;
	const char *hint = "";
	char who[256];

	if (err == -EADDRINUSE) {
		holder_find(b, &holder);
		holder_show(&holder, who, sizeof(who));
		hint = who;
	} else if (err == -EACCES) {
		hint = "; ports below 1024 need CAP_NET_BIND_SERVICE, paths write permission";
	} else if (err == -ENODEV) {
		hint = "; no interface has that name, `ip link` lists them";
	} else if (err == -EADDRNOTAVAIL) {
		hint = "; no interface of this host has that address";
	}
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
		return s->inherited[b];
	if (slots_shared(s, b) && id > 0)
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

static void close_one(struct slots *s, u32 id, u32 b)
{
	int *fd = &s->slots[id].listeners[b];

	/* Its worker closes its copy when the queue is empty: it has to become empty. */
	if (*fd >= 0 && !slots_shared(s, b))
		bind_stop_new(*fd);
	if (*fd >= 0 && (id == 0 || !slots_shared(s, b)))
		close(*fd);
	*fd = -1;
}

void slot_close(struct slots *s, u32 id)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		close_one(s, id, b);
}

void slot_leave(struct slots *s, u32 id)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		if (!slots_shared(s, b))
			close_one(s, id, b);
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
