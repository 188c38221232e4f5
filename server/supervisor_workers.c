/* SPDX-License-Identifier: MIT */
#include "server/supervisor_state.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/log.h"
#include "server/spawn.h"

#define SETTLED_MS 1000u /* one that has served for so long is replaced at once */

/* A worker without Ruby is our own child. */
static int fork_plain(struct supervisor *s, u32 id, int control_fd)
{
	struct slot *slot = &s->slots.slots[id];
	struct worker_params params = {
		.id = id,
		.conf = s->conf,
		.backend = s->backend,
		.listeners = slot->listeners,
		.control_fd = control_fd,
		.log_fd = s->log_fd,
		.error_fd = s->error_fd,
		.stats_fds = s->stats.fds[0] >= 0 ? s->stats.fds : NULL,
		.observe_fd = observe_fd(&s->observe),
	};

	return spawn_worker(&s->runas, &params, &s->old_mask, &slot->pid);
}

static int ask_mold(struct supervisor *s, u32 id, int control_fd)
{
	bool observed = observe_fd(&s->observe) >= 0;
	struct control c = { .word = CONTROL_FORK, .number = id };

	c.fds[c.nr_fds++] = control_fd;
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		c.fds[c.nr_fds++] = s->slots.slots[id].listeners[b];
	for (u32 i = 0; s->stats.fds[0] >= 0 && i < NR_STATS_MAPS; i++)
		c.fds[c.nr_fds++] = s->stats.fds[i];
	if (observed)
		c.fds[c.nr_fds++] = observe_fd(&s->observe);
	c.text[0] = s->backend == WORKER_URING ? 'u' : 'e';
	c.text[1] = observed ? 'o' : s->stats.fds[0] >= 0 ? 's' : '-';
	c.text_len = 2 + (u32)strlen(s->conf->admin_token);
	memcpy(c.text + 2, s->conf->admin_token, c.text_len - 2);
	return control_send(s->mold.control_fd, &c);
}

static int start_worker(struct supervisor *s, u32 id)
{
	struct slot *slot = &s->slots.slots[id];
	int pair[2], err = control_pair(pair);

	if (err)
		return err;
	slot->pid = 0;
	err = s->conf->no_app ? fork_plain(s, id, pair[1]) : ask_mold(s, id, pair[1]);
	close(pair[1]);
	if (err) {
		close(pair[0]);
		return err;
	}
	slot->control_fd = pair[0];
	slot->state = SLOT_STARTING;
	slot->ready_at_ms = 0;
	slot->nr_starts++;
	return 0;
}

bool workers_can_start(const struct supervisor *s)
{
	return s->stop == STOP_NONE && s->listening &&
	       (s->conf->no_app || s->mold.state == MOLD_READY);
}

void workers_start(struct supervisor *s)
{
	for (u32 i = 0; workers_can_start(s) && i < s->nr_wanted; i++) {
		struct slot *slot = &s->slots.slots[i];
		int err;

		if (slot->state != SLOT_EMPTY || supervisor_clock_ms() < slot->start_at_ms)
			continue;
		if (slot_open(&s->slots, i)) {
			s->nr_wanted = max(i, 1u);
			return;
		}
		steering_before_start(s, i);
		observing_slot(s, i);
		err = start_worker(s, i);
		if (err) {
			log_error("supervisor: cannot start a worker: %s worker=%u", strerror(-err),
				  i);
			slot->start_at_ms = supervisor_back_off(&slot->backoff_ms);
		}
	}
}

static void tell(struct slot *slot, enum control_word word)
{
	if (slot->state == SLOT_EMPTY)
		return;
	slot->state = SLOT_LEAVING;
	if (slot->control_fd >= 0)
		control_say(slot->control_fd, word, 0);
}

/* Nobody is in the slot any more. */
static void empty_slot(struct supervisor *s, struct slot *slot)
{
	if (slot->control_fd >= 0)
		close(slot->control_fd);
	slot->control_fd = -1;
	slot->state = SLOT_EMPTY;
	slot->has_inbox = false;
	slot->pid = 0;
	if (slot->ready_at_ms) {
		u64 lived = supervisor_clock_ms() - slot->ready_at_ms;

		slot->backoff_ms = 0;
		slot->start_at_ms = lived < SETTLED_MS ? supervisor_back_off(&slot->backoff_ms) : 0;
		return;
	}
	slot->start_at_ms = supervisor_back_off(&slot->backoff_ms);
	if (!s->served && s->stop == STOP_NONE) {
		log_error("supervisor: a worker died while starting; nothing was served");
		supervisor_fail(s, 1);
	}
}

static void say_exit(const struct supervisor *s, const struct slot *slot, int status)
{
	u32 id = (u32)(slot - s->slots.slots);

	if (WIFSIGNALED(status))
		log_warn("supervisor: worker killed by signal %d (%s) worker=%u pid=%d",
			 WTERMSIG(status), strsignal(WTERMSIG(status)), id, (int)slot->pid);
	else if (slot->state != SLOT_LEAVING || WEXITSTATUS(status))
		log_warn("supervisor: worker exited with status %d worker=%u pid=%d",
			 WEXITSTATUS(status), id, (int)slot->pid);
}

static void became_ready(struct supervisor *s, struct slot *slot)
{
	if (slot->state == SLOT_STARTING) {
		slot->state = SLOT_READY;
		steering_ready(s, (u32)(slot - s->slots.slots));
	}
	slot->ready_at_ms = supervisor_clock_ms();
	post_tell(s);
	for (u32 i = 0; i < s->nr_wanted; i++)
		if (!s->slots.slots[i].ready_at_ms)
			return;
	if (!s->served)
		supervisor_serves(s);
}

static void read_worker(struct supervisor *s, struct slot *slot)
{
	struct control c;
	int n;

	while (slot->control_fd >= 0 && (n = control_recv(slot->control_fd, &c, false)) != -EAGAIN) {
		if (n <= 0) {
			/* With a known pid the wait for it says how it ended. */
			close(slot->control_fd);
			slot->control_fd = -1;
			if (!slot->pid)
				empty_slot(s, slot);
			return;
		}
		if (c.word == CONTROL_HELLO)
			slot->pid = c.pid;
		else if (c.word == CONTROL_READY)
			became_ready(s, slot);
		else if (c.word == CONTROL_QUIT && s->served)
			supervisor_stop(s, STOP_DRAIN);
		else if (c.word == CONTROL_FACTS || c.word == CONTROL_TRACED)
			trace_said(s, slot, &c);
	}
}

void workers_change(struct supervisor *s, int by)
{
	u32 wanted = s->nr_wanted + (u32)by;

	if (s->stop != STOP_NONE || !s->served || wanted < 1 || wanted > MAX_WORKERS)
		return;
	if (by > 0 && !steering_has_room(s, wanted)) {
		log_warn(
			"supervisor: no more workers: connections could not be steered to one more "
			"workers=%u",
			s->nr_wanted);
		return;
	}
	s->nr_wanted = wanted;
	log_info("supervisor: workers=%u", wanted);
	post_tell(s);
	if (by > 0)
		return;
	steering_leaves(s, wanted);
	/* Its share of the group ends with the last copy of its listeners. */
	tell(&s->slots.slots[wanted], CONTROL_DRAIN);
	slot_close(&s->slots, wanted);
}

/* Somebody else accepts; where connections are steered also: one that does not hang. */
static bool others_serve(const struct supervisor *s, u32 id)
{
	if (s->steering.steer.nr_slots)
		return steering_has_sibling(s, id);
	for (u32 i = 0; i < s->nr_wanted; i++)
		if (i != id && s->slots.slots[i].state == SLOT_READY)
			return true;
	return false;
}

int workers_drain(struct supervisor *s, u32 id)
{
	struct slot *slot = &s->slots.slots[id];

	if (id >= MAX_WORKERS || slot->state == SLOT_EMPTY)
		return -ENOENT;
	if (slot->state != SLOT_READY)
		return slot->state == SLOT_LEAVING ? -EALREADY : -EAGAIN;
	/* With nobody beside it, what comes meanwhile waits in its queue for the next one. */
	if (others_serve(s, id)) {
		steering_leaves(s, id);
		slot_leave(&s->slots, id);
	}
	tell(slot, CONTROL_DRAIN);
	return 0;
}

/* It may have died just behind our last look at what it says. */
static struct slot *find_slot(struct supervisor *s, pid_t pid)
{
	struct slot *slot = slots_find(&s->slots, pid);

	for (u32 i = 0; !slot && i < MAX_WORKERS; i++) {
		if (s->slots.slots[i].state == SLOT_EMPTY || s->slots.slots[i].pid)
			continue;
		read_worker(s, &s->slots.slots[i]);
		slot = slots_find(&s->slots, pid);
	}
	return slot;
}

void workers_tell(struct supervisor *s, enum control_word word)
{
	for (u32 i = 0; i < MAX_WORKERS; i++)
		tell(&s->slots.slots[i], word);
}

void workers_read(struct supervisor *s)
{
	for (u32 i = 0; i < MAX_WORKERS; i++)
		read_worker(s, &s->slots.slots[i]);
}

void workers_died(struct supervisor *s, pid_t pid, int status)
{
	struct slot *slot = find_slot(s, pid);

	if (!slot)
		return;
	say_exit(s, slot, status);
	steering_died(s, (u32)(slot - s->slots.slots));
	trace_gone(s, pid);
	stats_area_worker_gone(&s->stats, (u32)(slot - s->slots.slots));
	empty_slot(s, slot);
}
