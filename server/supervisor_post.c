/* SPDX-License-Identifier: MIT */
/* The inboxes of connections that workers give to each other: who gets them, and what lies in them. */
#include <poll.h>
#include <unistd.h>

#include "server/log.h"
#include "server/supervisor_state.h"

void post_open(struct supervisor *s)
{
	const struct conf *conf = s->conf;
	u32 nr = min(conf->nr_workers + STATS_SPARE_SLOTS, MAX_WORKERS);
	int err;

	/* Handlers on the I/O thread hold up what would give, and workers have to know of each other. */
	if (!conf->rebalance || conf->no_app || !conf->nr_threads || s->stats.fds[0] < 0)
		return;
	err = inboxes_open(&s->inboxes, nr);
	if (err)
		log_warn("supervisor: connections stay where they are, no inboxes: %s",
			 strerror(-err));
	else if (conf->nr_workers > INBOX_MAX)
		log_warn("supervisor: connections move between the first %u workers only", INBOX_MAX);
}

static void tell(struct supervisor *s, u32 id)
{
	const struct inboxes *b = &s->inboxes;
	struct slot *slot = &s->slots.slots[id];
	struct control c = { .word = CONTROL_INBOXES };
	int err;

	if (id >= b->nr || slot->state != SLOT_READY || slot->has_inbox)
		return;
	c.fds[c.nr_fds++] = b->in[id];
	for (u32 i = 0; i < b->nr; i++)
		c.fds[c.nr_fds++] = b->to[i];
	err = control_send(slot->control_fd, &c);
	slot->has_inbox = !err;
	if (err)
		log_warn("supervisor: connections of a worker stay there: %s worker=%u",
			 strerror(-err), id);
}

void post_tell(struct supervisor *s)
{
	u32 nr = min(s->nr_wanted, s->inboxes.nr);

	/* One alone has nobody to give to. */
	for (u32 i = 0; s->nr_wanted > 1 && i < nr; i++)
		tell(s, i);
}

/* Somebody who reads, if need be one that is about to go; INBOX_MAX: nobody. */
static u32 taker(const struct supervisor *s)
{
	u32 found = INBOX_MAX;

	for (u32 i = 0; i < s->inboxes.nr; i++) {
		const struct slot *slot = &s->slots.slots[i];

		if (!slot->has_inbox || slot->state == SLOT_EMPTY)
			continue;
		if (slot->state == SLOT_READY)
			return i;
		found = i;
	}
	return found;
}

/* Nobody will come to read it. */
static bool is_left(const struct supervisor *s, u32 id)
{
	return s->slots.slots[id].state == SLOT_EMPTY && (id >= s->nr_wanted || s->stop != STOP_NONE);
}

u32 post_poll(const struct supervisor *s, struct pollfd *fds)
{
	u32 nr = 0;

	for (u32 i = 0; taker(s) < INBOX_MAX && i < s->inboxes.nr; i++)
		if (is_left(s, i))
			fds[nr++] = (struct pollfd){ .fd = s->inboxes.in[i], .events = POLLIN };
	return nr;
}

static void pass_on(struct supervisor *s, u32 from)
{
	struct parcel p;
	int fd, n;

	while ((n = inbox_recv(s->inboxes.in[from], &p, &fd)) != 0) {
		u32 to = taker(s);
		int err = -ESRCH;

		if (n < 0)
			continue;
		if (to < INBOX_MAX)
			err = inbox_send(s->inboxes.to[to], &p, fd);
		if (err)
			log_warn(
				"supervisor: a connection is lost that a worker had given away: %s",
				to < INBOX_MAX ? strerror(-err) : "no worker is left");
		close(fd);
	}
}

void post_pass_on(struct supervisor *s)
{
	/* While somebody may still come they wait. */
	for (u32 i = 0; i < s->inboxes.nr; i++)
		if (is_left(s, i) && (taker(s) < INBOX_MAX || s->stop != STOP_NONE))
			pass_on(s, i);
}

void post_close(struct supervisor *s)
{
	inboxes_close(&s->inboxes);
}
